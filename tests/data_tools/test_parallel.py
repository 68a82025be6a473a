"""The ordered map: order, bounded look-ahead, and a crash costs one item."""

import os
import time
from collections.abc import Iterator

import pytest

from data_tools.parallel import cores, ordered_map

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


def test_a_worker_that_dies_while_the_caller_is_busy() -> None:
    items = iter([1, FATAL, *range(10, 14)])
    results = ordered_map(work, items, crashed, 2)
    first = next(results)
    time.sleep(1.0)  # the pool breaks now; the next item is then offered to a broken pool
    expected = [("done", 1), ("crashed", FATAL), *(("done", item) for item in range(10, 14))]
    assert [first, *results] == expected


def test_nothing_to_do() -> None:
    assert list(ordered_map(work, [], crashed, 2)) == []


def test_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
