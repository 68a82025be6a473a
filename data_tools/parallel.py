"""A map over processes that keeps order, bounds memory and time, and outlives what kills a worker.

Every worker has a pipe and one batch at a time, and sends each result as it comes: when it dies,
the item it died of is known, and only that one is lost. A watchdog in the worker ends an item that
takes too long, also inside compiled code, and the operating system ends one that eats memory.
"""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.util import is_exiting
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS = 60.0  # an item may take; the largest real files take well under one
SPARE_BYTES = 2 * 2**30  # a worker may use beyond what it begins with, where Linux can bound it
_ALARM = int(getattr(signal, "SIGALRM", 0))  # none on Windows, where nothing bounds the time
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_HEAVY = 2**20  # bytes of items that fill a batch, however few they are


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker(Generic[Item]):
    """A process, our end of its pipe, and what it still owes: (number, item) in order."""

    process: Any
    pipe: Connection
    owes: deque[tuple[int, Item]] = field(default_factory=deque)
    ready: bool = False


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    crashed: Callable[[Item], Result],
    workers: int = 0,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    late: Callable[[Item], Result] | None = None,
    seconds: float = SECONDS,
    batch: int = 1,
    bounded: bool = False,
) -> Iterator[Result]:
    """Yields `function(item)` in the order of `items`, a few items in flight per worker.

    Args:
        function: a module-level function; must not raise for bad input.
        items: read lazily; at most four batches per worker are held. What they raise comes behind
            the results of all items before.
        crashed: the result for an item whose worker died (a reader's segmentation fault, say).
        workers: processes; 0 takes one a core, 1 stays in this process and bounds nothing.
        initializer, initargs: run once in every worker.
        late: the result for an item that took too long; `crashed` where there is none.
        seconds: an item may take.
        batch: items sent at once, fewer where they are large; more cost less to send.
        bounded: let a single worker be a process too, bounded like several.

    Raises:
        ValueError: a negative number of workers.
    """
    if workers < 0:
        raise ValueError(f"{workers} workers: give how many, or 0 for one a core")
    if workers == 1 and not bounded:
        if initializer:
            initializer(*initargs)
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")

    def start() -> _Worker[Item]:
        ours, theirs = context.Pipe()
        arguments = (theirs, function, initializer, initargs, seconds)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        with _deaf_to_keys(), _one_thread_each():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def give(worker: _Worker[Item], owed: Iterable[tuple[int, Item]]) -> None:
        worker.owes = deque(owed)
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; `wait` will say so
            worker.pipe.send([item for _, item in worker.owes])

    trouble: Exception | None = None

    def untroubled() -> Iterator[Item]:
        nonlocal trouble
        try:
            yield from items
        except Exception as error:  # it comes behind what was taken before it
            trouble = error

    batches = _batches(untroubled(), batch)
    count = workers or cores()
    pool = [start() for _ in range(count)]
    done: dict[int, Result] = {}
    due, taken = 0, 0  # the next number to yield, and to send
    ready = next(batches, None)
    try:
        while True:
            for worker in pool:
                if worker.owes or ready is None or taken + len(ready) - due >= 4 * count * batch:
                    continue
                give(worker, enumerate(ready, taken))
                taken += len(ready)
                ready = next(batches, None)  # read ahead while the workers are busy
            while due in done:
                yield done.pop(due)
                due += 1
            busy = {worker.pipe: place for place, worker in enumerate(pool) if worker.owes}
            if not busy and ready is None:
                if trouble:
                    raise trouble
                return
            for pipe in wait(list(busy)) if busy else ():
                place = busy[pipe]  # type: ignore[index]
                worker = pool[place]
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    if is_exiting():  # which ends all workers; a new one would die loudly
                        return
                    if not worker.ready:
                        raise RuntimeError(
                            "a worker process could not start; scripts that call this need "
                            "if __name__ == '__main__'"
                        ) from None
                    number, item = worker.owes.popleft()
                    slow = worker.process.exitcode == -_ALARM
                    done[number] = (late or crashed)(item) if slow else crashed(item)
                    worker.pipe.close()
                    pool[place] = start()
                    if worker.owes:
                        give(pool[place], worker.owes)
                    continue
                if kind == "ready":
                    worker.ready = True
                elif kind == "raised":
                    raise value
                else:
                    done[worker.owes.popleft()[0]] = value
    finally:
        for worker in pool:
            worker.process.terminate()
            worker.process.join()
            worker.pipe.close()


@contextmanager
def _deaf_to_keys() -> Iterator[None]:
    """Ctrl-C is for the parent: a process that starts meanwhile would die in an import, loudly."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else it starts with the process, and lifts the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which it inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Numpy in a process that starts meanwhile computes in one thread: the others have the cores.

    With a thread a core in every process they mostly wait for each other.
    """
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    heavy = 0
    for item in items:
        batch.append(item)
        parts = item if isinstance(item, tuple) else (item,)
        heavy += sum(len(part) for part in parts if isinstance(part, bytes))
        if len(batch) == size or heavy >= _HEAVY:
            yield batch
            batch, heavy = [], 0
    if batch:
        yield batch


def _serve(
    pipe: Connection,
    function: Callable[[Any], Any],
    initializer: Callable[..., None] | None,
    initargs: tuple[Any, ...],
    seconds: float,
) -> None:
    """A worker's life: batches in, one result at a time out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this one
    try:
        if initializer:
            initializer(*initargs)
        _bound_memory()
        pipe.send(("ready", None))
        while True:
            for item in pipe.recv():
                _watch(seconds)
                result = function(item)
                _watch(0)
                pipe.send(("done", result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has all it wants
    except Exception as error:
        _watch(0)
        with suppress(OSError):
            pipe.send(("raised", error))


def _watch(seconds: float) -> None:
    """Ends this process in `seconds`, 0 for not; its default action works in compiled code too."""
    if _ALARM:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _bound_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as stream:
        now = int(stream.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = now + SPARE_BYTES
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
