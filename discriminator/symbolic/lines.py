"""Features of the top line and the bass line: their intervals, pairs of them, runs and turns.

A note belongs to the top line if nothing higher sounds when it is struck, to the bass line if
nothing lower does. In a single line both are the line itself.
"""

import numpy as np

from discriminator.features import Piece, Table
from discriminator.symbolic import counting as count

LEAP = 13  # intervals of an octave and more, up or down, count as one
# Steps and leaps of a kind, for pairs: a class ends at each of these intervals.
_ENDS = np.array([-5, -3, -2, -1, 0, 1, 2, 4])
KINDS = len(_ENDS) + 1


def melody(piece: Piece, table: Table) -> None:
    """Adds the features of the top line."""
    _line(_outer(piece, top=True), "top", table)


def bass(piece: Piece, table: Table) -> None:
    """Adds the features of the bass line."""
    line = _outer(piece, top=False)
    _line(line, "bass", table)
    step = np.diff(line)
    table.add("bass_class", count.histogram(step % 12, 0, 11))
    moved = step[step != 0]
    table.add("bass_class_pairs", count.pairs(moved % 12, 12) if len(moved) else np.zeros(144))


def _outer(piece: Piece, top: bool) -> np.ndarray:
    """The pitches (n,) of the top or bottom line, in order."""
    ends = count.bounds(piece.sounding)[int(top)]
    return ends[piece.struck[np.arange(len(ends)), ends]]


def _line(line: np.ndarray, name: str, table: Table) -> None:
    step = np.diff(line)
    table.add(f"{name}_interval", count.histogram(step, -LEAP, LEAP), range(-LEAP, LEAP + 1))
    kinds = np.searchsorted(_ENDS, step)
    table.add(f"{name}_pairs", count.pairs(kinds, KINDS) if len(kinds) else np.zeros(KINDS**2))
    table.add(
        f"{name}_second", count.histogram(line[2:] - line[:-2], -LEAP, LEAP), range(-LEAP, LEAP + 1)
    )
    table.add(
        f"{name}_variety", [count.variety(count.grams(kinds, KINDS, n), 32) for n in (2, 3, 4)]
    )
    table.add(
        f"{name}_interval_entropy",
        count.entropy(np.bincount(np.abs(step).clip(0, LEAP), minlength=1)),
    )
    moved = np.sign(step[step != 0])
    turns = moved[1:] != moved[:-1]
    table.add(f"{name}_turns", turns.mean() if len(turns) else 0.0)
    for kind, small, lengths in (
        ("chromatic", np.abs(step) == 1, (2, 3, 4)),
        ("stepwise", np.abs(step) < 3, (2, 4, 6)),
    ):
        ways = (count.runs(small & (step > 0), lengths), count.runs(small & (step < 0), lengths))
        table.add(f"{name}_{kind}", np.sum(ways, axis=0), lengths)
    table.add(f"{name}_classes", count.fourier(count.windows(line % 12, 16)).mean(0), range(1, 7))
