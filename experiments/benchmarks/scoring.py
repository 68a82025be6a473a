"""How fast `gan score` is, as a person runs it: a process of its own, from start to last row.

Files of an archive with a typical number of notes are linked into a folder; each number of files is
scored with each number of reading processes. What the start costs shows in the small folder's rate;
memory is the most that all processes hold at once (PSS), and must not grow with the folder.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import symusic

from data_tools.parallel import cores
from experiments.benchmarks.throughput import memory_of


def typical(archive: Path, most: int, notes: tuple[int, int]) -> list[tuple[Path, int]]:
    """Files of `notes[0]` to `notes[1]` notes and how many, at most `most` of them, shuffled."""
    paths = sorted(archive.resolve().rglob("*.mid"))
    random.Random(0).shuffle(paths)
    found: list[tuple[Path, int]] = []
    for path in paths:
        if len(found) == most:
            break
        count = symusic.Score(path).note_num()
        if notes[0] <= count <= notes[1]:
            found.append((path, count))
    return found


def measure(
    archive: Path, counts: list[int], workers: list[int], model: Path | None,
    notes: tuple[int, int],
) -> dict[str, Any]:  # fmt: skip
    """Seconds, files a second and peak memory of each run."""
    chosen = typical(archive, max(counts), notes)
    runs = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            music = Path(name) / "music"
            music.mkdir()
            for number, (path, _) in enumerate(chosen[:count]):
                (music / f"{number:06}.mid").symlink_to(path)
            for reading in workers:
                seconds, peak = _score(music, reading, model)
                used = min(count, len(chosen))
                runs.append({
                    "files": used,
                    "workers": reading,
                    "seconds": round(seconds, 2),
                    "files_per_second": round(used / seconds, 1),
                    "peak_mib": round(peak, 1),
                })  # fmt: skip
    return {
        "cores": cores(),
        "notes_median": int(np.median([count for _, count in chosen])),
        "runs": runs,
    }


def _score(folder: Path, workers: int, model: Path | None) -> tuple[float, float]:
    out = folder.parent / f"{workers}.csv"
    command = [sys.executable, "-m", "gan.cli", "score", str(folder), "--out", str(out)]
    command += ["--workers", str(workers), "--device", "cpu"]
    command += ["--model", str(model)] if model else []
    began, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                peak = max(peak, memory_of(process.pid))
                time.sleep(0.2)
        finally:
            process.kill()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {' '.join(command)}")
    return seconds, peak


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [
        f"{result['cores']} cores, files of {result['notes_median']:,} notes (median)",
        "",
        "| files | reading processes | seconds | files a second | peak memory, MiB |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run['files']:,} | {run['workers']} | {run['seconds']:.1f} "
        f"| {run['files_per_second']:.0f} | {run['peak_mib']:,.0f} |"
        for run in result["runs"]
    ]
    return "\n".join(lines) + "\n"
