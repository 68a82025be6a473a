"""How fast a corpus is built beside plain MidiTok, with the same processes on the same files.

Four ways, in turn within one run, so that whatever else the machine does hits all:

    build       `data_tools.corpus.build`, everything included: start of its processes, digests,
                cleaning, near-duplicates, fingerprints, splits, tables
    tokens      `Representation` alone: reads, cleans and tokenises, ids written to one file a
                process; what the plain ways do, and no more
    miditok     symusic reads, MidiTok tokenises, ids are written to one file a process
    miditoolkit the same, but read by miditoolkit and handed on as an object

The last three run on a random sample where that is smaller; the start of their processes is not
counted, for on few files it would weigh too much. Memory is the most that all processes of a way
hold at once (PSS: a page that several share counts once), sampled twice a second.
"""

import functools
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.parallel import cores
from data_tools.representation import Representation

Measured = tuple[float, float]  # files a second, peak MiB
READERS = {"tokens": "ours", "miditok": "symusic", "miditoolkit": "miditoolkit"}


def _start() -> None:
    # As the build does: no thread pools inside processes.
    global _representation
    _representation = Representation()


_representation: Any = None


def _plain(paths: list[str], out: str, reader: str) -> float:
    """Tokenises files and writes their ids; returns the seconds it took."""
    import miditoolkit
    import symusic

    began = time.perf_counter()
    with Path(out).open("wb") as stream:
        for path in paths:
            with suppress(Exception):  # what a plain reader refuses costs it nothing more
                if reader == "ours":
                    prepared = _representation.prepare(Path(path))
                    stream.write(_representation.encode(prepared.score).tobytes())
                    continue
                if reader == "symusic":
                    score = symusic.Score(path)
                else:
                    score = _through_miditoolkit(miditoolkit.MidiFile(path))
                sequences = _representation.tokenizer(score)
                for one in sequences if isinstance(sequences, list) else [sequences]:
                    stream.write(np.asarray(one.ids, dtype=np.uint16).tobytes())
    return time.perf_counter() - began


def _through_miditoolkit(file: Any) -> Any:
    """What MidiTok takes, from miditoolkit's object: symusic knows no way but through bytes."""
    from data_tools import midi

    return midi.read(file)


def _in_processes(paths: list[Path], folder: Path, reader: str, workers: int) -> None:
    parts = [[str(path) for path in paths[place::workers]] for place in range(workers)]
    jobs = [(part, str(folder / f"{place}.ids"), reader) for place, part in enumerate(parts)]
    with multiprocessing.get_context("spawn").Pool(workers, _start) as pool:
        seconds = max(pool.starmap(_plain, jobs, chunksize=1))
    (folder / "seconds").write_text(str(seconds))


def _build(paths: list[Path], archive: Path, folder: Path, workers: int) -> None:
    from data_tools.corpus import build

    links = folder / "music"
    for path in paths:
        link = links / path.relative_to(archive)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    began = time.perf_counter()
    build([links], folder / "corpus", workers=workers)
    (folder / "seconds").write_text(str(time.perf_counter() - began))


def _run_apart(function: Callable[[], None]) -> None:
    function()


def peak_of(function: Callable[[], None]) -> float:
    """Runs a way in a fresh process; the most MiB that it and all its children hold."""
    process = multiprocessing.get_context("spawn").Process(target=_run_apart, args=(function,))
    process.start()
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], memory_of(process.pid or 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.join()
    over.set()
    watcher.join()
    if process.exitcode:
        raise RuntimeError("a way to build failed; see its traceback above")
    return peak[0]


def memory_of(root: int) -> float:
    """MiB of a process and all under it; 0 where there is no /proc."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
    family = {root}
    while grown := {child for child, parent in parents.items() if parent in family} - family:
        family |= grown
    total = 0
    for one in family:
        with suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def compare(
    archive: Path, counts: list[int], sample: int, repeats: int, workers: int
) -> dict[str, Any]:
    """Files a second and peak memory of the four ways.

    Args:
        archive: a folder of MIDI files.
        counts: of how many files each corpus is built.
        sample: of how many the plain ways tokenise, at most.
        repeats: how often all is run.
        workers: processes; 0 for as many as there are cores.
    """
    archive, workers = archive.resolve(), workers or cores()
    paths = sorted(archive.rglob("*.mid"))
    results = []
    for count in counts:
        chosen = random.Random(0).sample(paths, min(count, len(paths)))
        ways: dict[str, list[Measured]] = {}
        for _ in range(repeats):
            for way in ("build", *READERS):
                files = chosen if way == "build" else chosen[:sample]
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    if way == "build":
                        run = functools.partial(_build, files, archive, folder, workers)
                    else:
                        reader = READERS[way]
                        run = functools.partial(_in_processes, files, folder, reader, workers)
                    peak = peak_of(run)
                    seconds = float((folder / "seconds").read_text())
                    ways.setdefault(way, []).append((len(files) / seconds, peak))
        rates = {way: np.array([rate for rate, _ in runs]) for way, runs in ways.items()}
        results.append(
            {
                "files": len(chosen),
                "sample_of_plain_ways": min(sample, len(chosen)),
                "files_per_second": {way: _spread(rate) for way, rate in rates.items()},
                "peak_mib": {
                    way: round(max(peak for _, peak in runs), 1) for way, runs in ways.items()
                },
                "build_over": {
                    way: _spread(rates["build"] / rates[way]) for way in ("miditok", "miditoolkit")
                },
                "tokens_over": {
                    way: _spread(rates["tokens"] / rates[way]) for way in ("miditok", "miditoolkit")
                },
            }
        )
    return {"workers": workers, "cores": cores(), "repeats": repeats, "results": results}


def _spread(values: np.ndarray) -> list[float]:
    """Least, median, most."""
    return [round(float(v), 2) for v in np.percentile(values, [0, 50, 100])]


def markdown(result: dict[str, Any]) -> str:
    """The result as a table: medians, with the least and the most in brackets."""

    def shown(spread: list[float], digits: int) -> str:
        least, median, most = (f"{value:,.{digits}f}" for value in spread)
        return f"{median} ({least}–{most})"

    lines = [
        f"{result['workers']} processes, {result['repeats']} repeats: median (least–most)",
        "",
        "| files | way | files a second | build is faster by | tokens is | peak memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["results"]:
        for way, rate in row["files_per_second"].items():
            build, tokens = (
                shown(row[over][way], 1) + " ×" if way in row[over] else ""
                for over in ("build_over", "tokens_over")
            )
            files = row["files"] if way == "build" else row["sample_of_plain_ways"]
            lines.append(
                f"| {files:,} | {way} | {shown(rate, 1)} | {build} | {tokens} "
                f"| {row['peak_mib'][way]:,.0f} |"
            )
    return "\n".join(lines) + "\n"
