"""The ordered map: order, bounded look-ahead, and a crash costs one item."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from data_tools.parallel import _batches, cores, ordered_map

FATAL = 3


def work(item: int) -> tuple[str, int]:
    """Slow for even items, deadly for FATAL."""
    if item == FATAL:
        os._exit(7)
    time.sleep(0.02 * (item % 2 == 0))
    return "done", item


def crashed(item: int) -> tuple[str, int]:
    return "crashed", item


def counted(taken: list[int], count: int) -> Iterator[int]:
    for item in range(100, 100 + count):
        taken.append(item)
        yield item


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_bounded_look_ahead(workers: int) -> None:
    taken: list[int] = []
    results = ordered_map(work, counted(taken, 40), crashed, workers)
    assert taken == []
    for number in range(40):
        assert next(results) == ("done", 100 + number)
        assert len(taken) <= number + 4 * workers
    assert next(results, None) is None


def test_a_dead_worker_costs_its_item_alone() -> None:
    results = ordered_map(work, iter([1, 2, FATAL, 4, 5]), crashed, 2)
    expected = [("done", 1), ("done", 2), ("crashed", FATAL), ("done", 4), ("done", 5)]
    assert list(results) == expected


def test_a_single_worker_can_be_bounded_too() -> None:
    results = ordered_map(work, iter([1, FATAL, 5]), crashed, 1, bounded=True)
    assert list(results) == [("done", 1), ("crashed", FATAL), ("done", 5)]


def test_nobody_is_started_while_all_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its end Python ends the workers, and a thread may still wait for one of them."""
    monkeypatch.setattr("multiprocessing.util._exiting", True)
    results = ordered_map(work, iter([1, FATAL, 5]), crashed, 1, bounded=True)
    assert list(results) == [("done", 1)]


def test_a_worker_that_dies_while_the_caller_is_busy() -> None:
    items = iter([1, FATAL, *range(10, 14)])
    results = ordered_map(work, items, crashed, 2)
    first = next(results)
    time.sleep(1.0)  # the pool breaks now; the next item is then offered to a broken pool
    expected = [("done", 1), ("crashed", FATAL), *(("done", item) for item in range(10, 14))]
    assert [first, *results] == expected


def hang(item: int) -> tuple[str, int]:
    """FATAL sleeps on in compiled code, as a reader in an endless loop would."""
    if item == FATAL:
        time.sleep(600)
    return "done", item


def late(item: int) -> tuple[str, int]:
    return "late", item


def test_an_item_that_hangs_costs_itself_alone() -> None:
    items = [1, 2, FATAL, 4, 5, FATAL, 7]
    results = ordered_map(hang, items, crashed, 2, late=late, seconds=0.5, batch=3)
    assert list(results) == [("late" if item == FATAL else "done", item) for item in items]


def greedy(item: int) -> int:
    """Asks for far more memory than a worker may have."""
    try:
        return len(bytearray(item * 2**30))
    except MemoryError:
        return -1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")
def test_an_item_that_eats_memory_is_refused_it() -> None:
    assert list(ordered_map(greedy, [0, 64, 0], crashed, 2)) == [0, -1, 0]  # type: ignore[arg-type]


def fail(item: int) -> int:
    raise KeyError(item)


def no_start() -> None:
    raise OSError("no such thing")


def test_a_bug_is_raised_and_not_taken_for_bad_music() -> None:
    with pytest.raises(KeyError):
        list(ordered_map(fail, [1, 2], crashed, 2))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="no such thing"):
        list(ordered_map(work, [1], crashed, 2, no_start))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_the_items_raise_comes_behind_the_results_before(workers: int, batch: int) -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, FATAL, 4, 5, 6)
        raise LookupError("the list ends here")

    results = ordered_map(work, items(), crashed, workers, batch=batch, bounded=True)
    for item in (1, 2, FATAL, 4, 5, 6):
        assert next(results) == ("crashed" if item == FATAL else "done", item)
    with pytest.raises(LookupError, match="the list ends here"):
        next(results)


def deaf(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no masks")
def test_keys_are_for_the_parent() -> None:
    """From the start: a process that is importing would die of Ctrl-C, and print where."""
    assert list(ordered_map(deaf, range(8), crashed, 2, batch=1)) == [True] * 8
    assert not deaf(0)


def test_heavy_items_travel_alone() -> None:
    taken: list[int] = []

    def items(weight: int) -> Iterator[tuple[int, bytes]]:
        for number in range(30):
            taken.append(number)
            yield number, bytes(weight)

    heavy = _batches(items(2**20), 16)
    assert [len(next(heavy)) for _ in range(5)] == [1] * 5
    assert len(taken) == 5
    assert [len(batch) for batch in _batches(items(2**10), 16)] == [16, 14]


def test_nothing_to_do() -> None:
    assert list(ordered_map(work, [], crashed, 2)) == []


def test_fewer_than_no_workers_are_refused() -> None:
    """An empty pool would wait for its first worker for ever."""
    with pytest.raises(ValueError, match="-1 workers"):
        next(ordered_map(work, [1], crashed, -1))


def test_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


def threads(item: int) -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))


def test_a_process_computes_in_one_thread_but_where_the_user_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = ordered_map(threads, iter([1]), crashed, 1, bounded=True)  # type: ignore[arg-type]
    assert list(found) == [("3", "1")]
    assert "OPENBLAS_NUM_THREADS" not in os.environ
