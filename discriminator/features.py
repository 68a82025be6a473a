"""What a piece holds, as a vector of named numbers: harmony, lines, voicing; rhythm and touch.

Pitch features do not change when a piece is transposed. Rhythm and touch are groups of their own
and no part of `PITCH`: how a file is timed and struck tells which machine wrote it, and a judge
that reads it learns the machine. Counts of pitch classes, intervals and n-grams are the common
ground of symbolic feature sets (McKay's jSymbolic, 2018).

Shapes: N notes, K moments (notes struck together), F features.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike
from symusic.core import ScoreTick

from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import Events, Representation
from discriminator.symbolic import counting as count
from discriminator.symbolic import sets

GROUPS = ("harmony", "melody", "bass", "voicing", "rhythm", "touch")
PITCH = GROUPS[:4]
HELD = 2.0  # seconds a note counts as sounding at most: pedals differ more than harmonies do
DRUMS = 10  # the channel


@dataclass(frozen=True)
class Piece:
    """Notes in grid steps and what several groups of features need of them."""

    notes: Notes
    step: float

    @cached_property
    def moments(self) -> count.Moments:
        return count.moments(self.notes, self.step)

    @cached_property
    def heard(self) -> sets.Sets:
        """What sounds in each moment."""
        moments = self.moments
        return sets.sounding(self.notes.pitch, moments.first, self._until, len(moments))

    @cached_property
    def hit(self) -> sets.Sets:
        """What is struck in each."""
        return sets.struck(self.notes.pitch, self.moments.first, len(self.moments))

    @cached_property
    def _until(self) -> np.ndarray:
        """(N,) the moment in which each note is silent again."""
        notes = self.notes
        end = np.minimum(notes.end, notes.start + HELD / self.step)
        return self.moments.until(end, self.step)


class Table:
    """Features as they are measured: blocks of values, and how to name what is in them."""

    def __init__(self) -> None:
        self.values: list[np.ndarray] = []
        self._labels: list[tuple[str, Sequence[object]]] = []  # named when somebody asks

    def add(self, name: str, values: ArrayLike, labels: Sequence[object] = ()) -> None:
        """Adds one number, or an array (n,) whose places are numbered or have `labels`."""
        self.values.append(np.asarray(values, dtype=np.float64))
        self._labels.append((name, labels))

    def names(self) -> list[str]:
        return [
            f"{name}_{label}" if label != "" else name
            for (name, labels), block in zip(self._labels, self.values, strict=True)
            for label in labels or (range(len(block)) if block.ndim else ("",))
        ]


def names(groups: Sequence[str] = PITCH) -> tuple[str, ...]:
    """The names of the features (F,) of some groups, in order.

    Raises:
        UserError: there is no such group.
    """
    return _names(tuple(groups))


def measure(notes: Notes, step: float, groups: Sequence[str] = PITCH) -> np.ndarray:
    """The features of notes.

    Args:
        notes: any number of them, in any order of onset, pitches 0..127.
        step: seconds in a unit of their times.
        groups: some of `GROUPS`.

    Returns:
        float32 (F,), finite; all zero where there are no notes.

    Raises:
        UserError: there is no such group.
    """
    if not len(notes):
        return np.zeros(len(names(groups)), dtype=np.float32)
    table = _table(notes, step, groups)
    return np.concatenate(table.values, axis=None, dtype=np.float32)


def notes_of(events: Events) -> int:
    """How many notes are measured: drums do not count."""
    return len(events.notes) - int((events.channels == DRUMS).sum())


def of_events(
    events: Events, representation: Representation, groups: Sequence[str] = PITCH
) -> np.ndarray:
    """The features (F,) of music on the grid, in its own tempo; drums do not count."""
    notes, step = representation.clocked(events)
    if len(events.channels):
        notes = notes.take(events.channels != DRUMS)
    return measure(notes, step, groups)


def of_tokens(
    ids: np.ndarray, representation: Representation, groups: Sequence[str] = PITCH
) -> np.ndarray:
    """The features (F,) of token ids (T,), a whole piece or a window cut from one."""
    return of_events(representation.events(ids, close=True), representation, groups)


def of_pieces(
    pieces: Iterable[np.ndarray], representation: Representation, groups: Sequence[str] = PITCH
) -> np.ndarray:
    """The features (N, F) of many pieces or windows of token ids."""
    rows = [of_tokens(ids, representation, groups) for ids in pieces]
    return np.stack(rows) if rows else np.zeros((0, len(names(groups))), dtype=np.float32)


def of_score(
    score: ScoreTick, representation: Representation, groups: Sequence[str] = PITCH
) -> np.ndarray:
    """The features (F,) of a score that `representation.prepare` gave.

    Raises:
        MidiError: it has no notes.
    """
    return of_events(representation.grid(score), representation, groups)


@lru_cache(maxsize=16)
def _names(groups: tuple[str, ...]) -> tuple[str, ...]:
    one = np.array([0])
    return tuple(_table(Notes(one, one + 1, one + 60, one + 64), 0.02, groups).names())


def _table(notes: Notes, step: float, groups: Sequence[str]) -> Table:
    from discriminator.symbolic import (  # here: they take `Piece` from this module
        harmony,
        lines,
        touch,
    )

    parts: dict[str, Callable[[Piece, Table], None]] = {
        "harmony": harmony.harmony,
        "melody": lines.melody,
        "bass": lines.bass,
        "voicing": harmony.voicing,
        "rhythm": touch.rhythm,
        "touch": touch.touch,
    }
    unknown = [group for group in groups if group not in parts]
    if unknown or not groups:
        raise UserError(
            f"features: no group '{''.join(unknown[:1])}'; choose from {', '.join(GROUPS)}"
        )
    piece = Piece(_ordered(notes), step)
    table = Table()
    for group in groups:
        parts[group](piece, table)
    return table


def _ordered(notes: Notes) -> Notes:
    """Notes by onset, then pitch, as most come: looking is cheaper than sorting."""
    later = notes.start[1:] > notes.start[:-1]
    alike = notes.start[1:] == notes.start[:-1]
    if (later | alike & (notes.pitch[1:] >= notes.pitch[:-1])).all():
        return notes
    return notes.take(np.lexsort((notes.pitch, notes.start)))
