"""From music to token windows, in this process or in several, in order and in bounded memory.

Without torch, so that a reading process starts quickly. Nothing that a file holds stops the rest: a
piece that cannot be used, takes a minute or two gigabytes, or takes its reader's process along
becomes a `Reading` with its reason.
"""

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_tools import midi
from data_tools.errors import MidiError
from data_tools.files import ARCHIVES
from data_tools.midi import Music, name_of
from data_tools.parallel import SECONDS, ordered_map
from data_tools.representation import Representation

LARGEST = midi.MAX_BYTES  # bytes of a file that is read; real piano stays under one megabyte
MOST_NOTES = 250_000  # of a piece that is read, all tracks together; hours of the densest piano
_BATCH = 16  # pieces a process is given at a time: sending costs less, and it never waits for long
_AHEAD = 256  # readings that wait for whoever uses them
_LONGEST = 200  # letters of a reason

# Of a piece's ids (T,), what a judge of whole pieces makes of it; see `FeatureJudge.opinion`.
Opinion = Callable[[np.ndarray], float]


class Piece(NamedTuple):
    """Music with a name of its own, as an archive's member has one; or the reason there is none."""

    path: str
    music: Music | None
    error: str = ""


@dataclass(frozen=True)
class Reading:
    """One piece as token ids (T,) uint16, or the reason why there are none.

    Attributes:
        opinion: the logit of a judge of the whole piece, NaN where that has none; None where its
            reader was to ask no judge.
    """

    path: str
    ids: np.ndarray
    error: str = ""
    opinion: float | None = None


def read_piece(
    music: Music | Piece, representation: Representation, opinion: Opinion | None = None
) -> Reading:
    """Reads, cleans and encodes one piece; trouble goes into the reading's `error`.

    Args:
        music: the piece.
        representation: how to encode.
        opinion: a judge to ask of the whole piece.
    """
    piece = music if isinstance(music, Piece) else Piece(name_of(music), music)
    try:
        ids = _encoded(piece, representation)
        return Reading(piece.path, ids, opinion=opinion(ids) if opinion else None)
    except MidiError as trouble:
        reason = trouble.reason
    except OSError as trouble:
        reason = trouble.strerror or str(trouble)
    except Exception as trouble:
        # Among millions of files from the wild some trip the readers in ways nobody foresaw; the
        # error's type is kept so that a bug of ours does not pass for a bad file.
        reason = f"{type(trouble).__name__}: {trouble}"
    return _failed(piece.path, reason)


def read_many(
    music: Iterable[Music | Piece],
    representation: Representation,
    workers: int = 0,
    opinion: Opinion | None = None,
) -> Iterator[Reading]:
    """Reads many pieces, in their order.

    Args:
        music: pieces, taken as they are needed: a few hundred ahead of what is asked for.
        representation: how to encode.
        workers: processes that read, each piece bounded in time and memory; 0 reads in this one,
            where nothing is. They start afresh, so a script that asks for them needs the usual
            `if __name__ == "__main__"`.
        opinion: a judge to ask of every piece, by the process that reads it.

    Raises:
        ValueError: a negative number of workers.
    """
    if workers == 0:
        for piece in music:
            yield read_piece(piece, representation, opinion)
        return
    readings = ordered_map(
        _read, music, _crashed, workers, _start, (representation, opinion),
        late=_late, batch=_BATCH, bounded=True,
    )  # fmt: skip
    with closing(_ahead(readings)) as ready:
        yield from ready


def too_large(size: int) -> str:
    """The reason why a file of `size` bytes is not read."""
    return f"larger than {LARGEST // 2**20} MiB ({size / 2**20:.1f} MiB)"


def _encoded(piece: Piece, representation: Representation) -> np.ndarray:
    if piece.music is None:
        raise MidiError(piece.path, piece.error or midi.NO_MUSIC)
    _check_size(piece.path, piece.music)
    score = midi.read(piece.music)
    if (notes := score.note_num()) > MOST_NOTES:
        raise MidiError(piece.path, f"too long: {notes:,} notes, at most {MOST_NOTES:,} are read")
    # Channels are in a file's bytes alone: of its score `raw` would make up others.
    music = piece.music if representation.settings.preset == "raw" else score
    return representation.encode(representation.prepare(music).score)


def _check_size(path: str, music: Music) -> None:
    size = 0
    if isinstance(music, bytes):
        size = len(music)
    elif isinstance(music, str | Path):
        size = os.stat(music).st_size
        if os.fspath(music).lower().endswith(ARCHIVES):
            raise MidiError(path, midi.PACKED)
    if size > LARGEST:
        raise MidiError(path, too_large(size))


_own: tuple[Representation, Opinion | None] | None = None  # what a reading process reads with


def _start(representation: Representation, opinion: Opinion | None) -> None:
    global _own
    _own = representation, opinion


def _read(music: Music | Piece) -> Reading:
    assert _own is not None
    return read_piece(music, *_own)


def _failed(path: str, reason: str) -> Reading:
    reason = " ".join(reason.split())
    if len(reason) > _LONGEST:
        reason = f"{reason[: _LONGEST - 4]} ..."
    return Reading(path, np.zeros(0, dtype=np.uint16), reason)


def _name(music: Music | Piece) -> str:
    return music.path if isinstance(music, Piece) else name_of(music)


def _crashed(music: Music | Piece) -> Reading:
    return _failed(_name(music), "crashed the reader")


def _late(music: Music | Piece) -> Reading:
    return _failed(_name(music), f"took longer than {SECONDS:g} s")


def _ahead(readings: Iterator[Reading]) -> Generator[Reading, None, None]:
    """Takes readings in a thread, so that the processes go on while this one runs the model."""
    ready: queue.Queue[Reading | BaseException | None] = queue.Queue(_AHEAD)
    unwanted = threading.Event()

    def put(one: Reading | BaseException | None) -> None:
        while not unwanted.is_set():
            try:
                return ready.put(one, timeout=0.1)
            except queue.Full:
                pass

    def take() -> None:
        try:
            with closing(readings):  # type: ignore[type-var]
                for one in readings:
                    put(one)
                    if unwanted.is_set():
                        return
            put(None)
        except BaseException as trouble:
            put(trouble)

    thread = threading.Thread(target=take, name="reading", daemon=True)
    thread.start()
    try:
        while (one := ready.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        unwanted.set()
        thread.join(1.0)  # no longer: a file may hold its process for a minute yet


def windows(ids: np.ndarray, length: int, most: int = 0) -> list[np.ndarray]:
    """Cuts (T,) into windows of `length`; see `starts`."""
    return [ids[start : start + length] for start in starts(len(ids), length, most)]


def starts(tokens: int, length: int, most: int = 0) -> list[int]:
    """Where the windows of a piece begin, side by side, the last one flush with the end.

    A piece no longer than one window is one window. Of more than `most`, where that is not 0, an
    even choice is taken, from the first to the last.
    """
    last = max(0, tokens - length)
    found = [*range(0, last, length), last]
    if most and len(found) > most:
        found = [found[place] for place in np.linspace(0, len(found) - 1, most).round().astype(int)]
    return found
