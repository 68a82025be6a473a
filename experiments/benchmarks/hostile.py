"""How check, build and score bear hostile files: nothing may crash, hang or eat the memory.

Each mutated file goes to all three as bytes, in worker processes with a time bound; timings of
single files are taken inside the workers.
"""

import resource
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_tools import inspect
from data_tools.corpus import worker
from data_tools.parallel import ordered_map
from data_tools.settings import CorpusSettings
from experiments.benchmarks.mutations import mutants

Row = tuple[str, str, float, int]  # name, outcome, seconds, peak KiB of the worker


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _build(item: tuple[str, bytes]) -> Row:
    began = time.perf_counter()
    piece = worker.tokenise((item[1], ""))
    return item[0], piece.reason or "kept", time.perf_counter() - began, _peak()


def _check(item: tuple[str, bytes]) -> Row:
    began = time.perf_counter()
    row = inspect.inspect(item[1], item[0])
    # "readable" or the reason, whatever the columns are called.
    outcome = "readable" if row.readable else row.reason
    return item[0], outcome, time.perf_counter() - began, _peak()


def _start_scoring() -> None:
    global _classifier
    from discriminator.classifier import Classifier

    _classifier = Classifier.load()


_classifier: Any = None


def _score(item: tuple[str, bytes]) -> Row:
    began = time.perf_counter()
    verdict = _classifier.score(item[1])
    return item[0], verdict.error or "scored", time.perf_counter() - began, _peak()


def _crashed(item: tuple[str, bytes]) -> Row:
    return item[0], "crashed", 0.0, 0


def _late(item: tuple[str, bytes]) -> Row:
    return item[0], "late", 0.0, 0


def run(source: Path, count: int, seed: int, seconds: float, workers: int) -> dict[str, Any]:
    """Counts what becomes of mutated files.

    Args:
        source: a folder of MIDI files.
        count: files made of them.
        seed: of the mutations.
        seconds: a file may take.
        workers: processes; 0 takes all cores, and one is made two, which alone can be bounded.
    """
    files = [path.read_bytes() for path in sorted(source.rglob("*.mid"))[:400]]
    workers = workers if workers != 1 else 2
    bounds: dict[str, Any] = {"workers": workers, "late": _late, "seconds": seconds, "batch": 8}
    settings = (CorpusSettings(),)
    return {
        "files": count,
        "seed": seed,
        "parts": {
            "check": _summary(ordered_map(_check, mutants(files, count, seed), _crashed, **bounds)),
            "build": _summary(
                ordered_map(
                    _build, mutants(files, count, seed), _crashed,
                    initializer=worker.start, initargs=settings, **bounds,
                )
            ),
            "score": _summary(
                ordered_map(
                    _score, mutants(files, count, seed), _crashed,
                    initializer=_start_scoring, **bounds,
                )
            ),
        },
    }  # fmt: skip


def _summary(results: Iterable[Row]) -> dict[str, Any]:
    rows = list(results)
    slowest = max(rows, key=lambda row: row[2])
    outcomes = Counter(outcome.split(" (")[0][:60] for _, outcome, _, _ in rows)
    unforeseen = [row[:2] for row in rows if "Error: " in row[1]]
    return {
        "crashed": [name for name, outcome, _, _ in rows if outcome == "crashed"],
        "late": [name for name, outcome, _, _ in rows if outcome == "late"],
        "unforeseen": unforeseen[:20],
        "slowest": [slowest[0], round(slowest[2], 3)],
        "peak_worker_mib": round(max(row[3] for row in rows) / 1024, 1),
        "outcomes": dict(outcomes.most_common(30)),
    }
