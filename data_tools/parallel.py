"""A map over processes that keeps order, bounds memory, and outlives a crash in a worker."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    crashed: Callable[[Item], Result],
    workers: int = 0,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Yields `function(item)` in the order of `items`, a few items in flight per worker.

    Args:
        function: a module-level function; must not raise for bad input.
        items: read lazily; at most four per worker are held.
        crashed: the result for an item whose worker died (a reader's segmentation fault, say).
        workers: processes; 0 takes every core, 1 stays in this process.
        initializer, initargs: run once in every worker.
    """
    workers = workers or cores()
    if workers == 1:
        if initializer:
            initializer(*initargs)
        yield from map(function, items)
        return

    def pool(size: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(size, context, initializer, initargs)

    def alone(item: Item) -> Result:
        with pool(1) as single:
            try:
                return single.submit(function, item).result()
            except BrokenProcessPool:
                return crashed(item)

    def submitted(item: Item) -> Future[Result]:
        try:
            return executor.submit(function, item)
        except BrokenProcessPool as error:
            # A worker died while the caller held an earlier result: its item is found below.
            future: Future[Result] = Future()
            future.set_exception(error)
            return future

    executor = pool(workers)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    source = iter(items)
    exhausted = False
    try:
        while waiting or not exhausted:
            while not exhausted and len(waiting) < 4 * workers:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                    break
                waiting.append((item, submitted(item)))
            if not waiting:
                break
            item, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                # One item killed its worker, and with it the pool: find it by running each alone.
                executor.shutdown(wait=False, cancel_futures=True)
                yield alone(item)
                while waiting:
                    item, future = waiting.popleft()
                    yield future.result() if _succeeded(future) else alone(item)
                executor = pool(workers)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _succeeded(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
