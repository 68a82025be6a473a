"""From files to token windows, in this process or in several, in order and in bounded memory.

Without torch, so that a reading process starts quickly; a piece that cannot be used becomes a
`Reading` with its reason, and the rest goes on.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

import numpy as np

from data_tools.errors import MidiError, UserError
from data_tools.midi import Music, name_of
from data_tools.representation import Representation

CHUNK = 8  # pieces a process reads at a time


@dataclass(frozen=True)
class Reading:
    """One piece as token ids (T,), or the reason why there are none."""

    path: str
    ids: np.ndarray
    error: str = ""


def read_piece(music: Music, representation: Representation) -> Reading:
    """Reads, cleans and encodes one piece; trouble goes into the reading's `error`."""
    path = name_of(music)
    try:
        return Reading(path, representation.encode(representation.prepare(music).score))
    except MidiError as trouble:
        reason = trouble.reason
    except Exception as trouble:
        # Among millions of files from the wild some trip the readers in ways nobody foresaw; the
        # error's type is kept so that a bug of ours does not pass for a bad file.
        reason = f"{type(trouble).__name__}: {trouble}"
    return Reading(path, np.zeros(0, dtype=np.uint16), " ".join(reason.split()))


def read_many(
    music: Iterable[Music], representation: Representation, workers: int = 0
) -> Iterator[Reading]:
    """Reads many pieces, in their order.

    Args:
        music: pieces, taken one by one as they are needed.
        representation: how to encode.
        workers: processes that read; 0 reads in this one. They start afresh, so a script that asks
            for them needs the usual `if __name__ == "__main__"`.

    Raises:
        UserError: a reading process died.
    """
    if workers == 0:
        for piece in music:
            yield read_piece(piece, representation)
        return
    source = iter(music)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    pending: deque[tuple[tuple[Music, ...], Future[list[Reading]]]] = deque()
    try:
        while True:
            while len(pending) < 4 * workers and (chunk := tuple(islice(source, CHUNK))):
                pending.append((chunk, pool.submit(_read_chunk, chunk, representation)))
            if not pending:
                return
            chunk, future = pending.popleft()
            yield from future.result()
    except BrokenProcessPool:
        raise UserError(
            f"{name_of(chunk[0])}: a reading process died on this file or one of the "
            f"{CHUNK * 4 * workers} after it; set the file aside or read with fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _read_chunk(chunk: tuple[Music, ...], representation: Representation) -> list[Reading]:
    return [read_piece(piece, representation) for piece in chunk]


def windows(ids: np.ndarray, length: int) -> list[np.ndarray]:
    """Cuts (T,) into windows of `length`, the last one flush with the end.

    A piece no longer than one window is one window.
    """
    if len(ids) <= length:
        return [ids]
    last = len(ids) - length
    starts = [*range(0, last, length), last]
    return [ids[start : start + length] for start in starts]
