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
_FURTHEST = 127
_KIND = np.searchsorted(_ENDS, np.arange(-_FURTHEST, _FURTHEST + 1))  # of every interval there is


def melody(piece: Piece, table: Table) -> None:
    """Adds the features of the top line."""
    _line(_outer(piece, top=True), "top", table)


def bass(piece: Piece, table: Table) -> None:
    """Adds the features of the bass line."""
    line = _outer(piece, top=False)
    _line(line, "bass", table)
    step = np.diff(line)
    table.add("bass_class", count.tally(step % 12, 12))
    moved = step[step != 0]
    table.add("bass_class_pairs", count.pairs(moved % 12, 12) if len(moved) else np.zeros(144))


def _outer(piece: Piece, top: bool) -> np.ndarray:
    """The pitches (n,) of the top or bottom line, in order."""
    heard, hit = (sets.high if top else sets.low for sets in (piece.heard, piece.hit))
    return heard[heard == hit]


def _line(line: np.ndarray, name: str, table: Table) -> None:
    step = line[1:] - line[:-1]
    table.add(f"{name}_interval", count.histogram(step, -LEAP, LEAP), range(-LEAP, LEAP + 1))
    kinds = _KIND[step + _FURTHEST]
    table.add(f"{name}_pairs", count.pairs(kinds, KINDS) if len(kinds) else np.zeros(KINDS**2))
    table.add(
        f"{name}_second", count.histogram(line[2:] - line[:-2], -LEAP, LEAP), range(-LEAP, LEAP + 1)
    )
    table.add(
        f"{name}_variety", [count.variety(count.grams(kinds, KINDS, n), 32) for n in (2, 3, 4)]
    )
    table.add(
        f"{name}_interval_entropy",
        count.entropy(np.bincount(np.minimum(np.abs(step), LEAP), minlength=1)),
    )
    moved = np.sign(step[step != 0])
    turns = moved[1:] != moved[:-1]
    table.add(f"{name}_turns", np.count_nonzero(turns) / max(len(turns), 1))
    for kind, largest, lengths in (("chromatic", 1, (2, 3, 4)), ("stepwise", 2, (2, 4, 6))):
        up = count.runs((step > 0) & (step <= largest), lengths)
        down = count.runs((step < 0) & (step >= -largest), lengths)
        table.add(f"{name}_{kind}", np.add(up, down), lengths)
    table.add(f"{name}_classes", count.fourier(count.windows(line % 12, 16)).mean(0), range(1, 7))
