"""Counting in notes: which sound together, in what windows, and how their counts are summed up.

Hands do not strike a chord at one instant, and legato notes overlap a little. Notes begin together
when their onsets lie within `TOGETHER` seconds, and a note held on counts only if it outlasts the
new ones' onset by as much: so played, transcribed and written music give the same sets.

Shapes: N notes, K moments, W windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.midi import Notes

TOGETHER = 0.05  # seconds
_FOURIER = np.exp(-2j * np.pi * np.outer(np.arange(12), np.arange(1, 7)) / 12)  # (12, 6)


@dataclass(frozen=True)
class Moments:
    """Times at which notes are struck together.

    Attributes:
        time, last: (K,) the first and last onset of each, in the notes' own unit.
        first: (N,) the moment a note begins in.
    """

    time: np.ndarray
    last: np.ndarray
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    def until(self, end: np.ndarray, step: float) -> np.ndarray:
        """(N,) the first moment in which each note, of the given ends, is silent again."""
        beyond = np.searchsorted(self.last, end - TOGETHER / step, side="left")
        return np.maximum(beyond, self.first + 1)


def moments(notes: Notes, step: float) -> Moments:
    """Gathers onsets into moments no longer than `TOGETHER`, from the first note on.

    Args:
        notes: sorted by onset, at least one.
        step: seconds in a unit of the notes' times.
    """
    wide = TOGETHER / step
    new = np.diff(notes.start, prepend=notes.start[0] - 1) > 0
    onsets, place = notes.start[new], np.cumsum(new) - 1
    beyond = np.searchsorted(onsets, onsets + wide, side="right").tolist()
    fresh, at = [], 0
    while at < len(onsets):
        fresh.append(at)
        at = beyond[at]
    begins = np.zeros(len(onsets), dtype=np.int64)
    begins[fresh] = 1
    first = (np.cumsum(begins) - 1)[place]
    last = onsets[np.array([*fresh[1:], len(onsets)]) - 1]
    return Moments(onsets[fresh], last, first)


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts over their sum along the last axis; zeros where there is nothing."""
    return counts / np.maximum(counts.sum(-1, keepdims=True), 1e-12)


def tally(values: np.ndarray, kinds: int) -> np.ndarray:
    """Shares (kinds,) of whole numbers 0..kinds - 1."""
    return shares(np.bincount(values, minlength=kinds))


def histogram(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """Shares (high - low + 1,) of whole numbers; those beyond the ends count as the ends."""
    inside = np.minimum(np.maximum(values, low), high)  # np.clip looks up its bounds' types, slowly
    return tally(inside - low, high - low + 1)


def pairs(classes: np.ndarray, kinds: int, apart: int = 1) -> np.ndarray:
    """Shares (kinds * kinds,) of the pairs that classes (N,) form with those some places on."""
    return tally(classes[:-apart] * kinds + classes[apart:], kinds * kinds)


def mean_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation along the first axis, to the bit what numpy's own give."""
    mean = np.add.reduce(values, axis=0, dtype=np.float64) / len(values)
    away = values - mean
    return mean, np.sqrt(np.add.reduce(away * away, axis=0) / len(values))


def quantiles(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`np.quantile` of values (N,), to the bit, without what makes it slow on a few thousand."""
    place = at * (len(values) - 1)
    below = place.astype(np.int64)
    part = place - below
    ordered = np.sort(values)
    lower, upper = ordered[below], ordered[np.minimum(below + 1, len(values) - 1)]
    step = upper - lower
    return np.where(part < 0.5, lower + step * part, upper - step * (1 - part))


def entropy(counts: np.ndarray) -> np.ndarray:
    """Bits along the last axis."""
    share = shares(counts)
    return -(share * np.log2(np.maximum(share, 1e-12))).sum(-1)


def fourier(counts: np.ndarray) -> np.ndarray:
    """How far counts of pitch classes (..., 12) follow each equal division of the octave.

    Magnitudes (..., 6) of the discrete Fourier transform, 1 where one class has all: 3 is high for
    augmented triads, 4 for diminished sevenths, 5 for diatonic and 6 for whole-tone music (Quinn
    2006, Amiot 2016, "Music Through Fourier Space").
    """
    return np.abs(shares(counts) @ _FOURIER)


def halves(values: np.ndarray, width: int) -> np.ndarray:
    """The full half windows (H, width / 2) of values (N,); two neighbours are a window."""
    half = width // 2
    return values[: len(values) // half * half].reshape(-1, half)


def windows(classes: np.ndarray, width: int) -> np.ndarray:
    """Counts (W, 12) of pitch classes (N,) in windows of `width` notes, each half over the last.

    Fewer notes than that are one window. The width is even.
    """
    if len(classes) <= width:
        return np.bincount(classes, minlength=12)[None]
    parts = halves(classes, width)
    place = parts + 12 * np.arange(len(parts))[:, None]
    counts = np.bincount(place.ravel(), minlength=12 * len(parts)).reshape(-1, 12)
    return counts[1:] + counts[:-1]


def variety(codes: np.ndarray, width: int) -> float:
    """Mean share of different codes in windows of `width`; in all of them where there are fewer.

    Windows of one size: a long piece repeats itself more than a short one of the same kind.
    """
    if len(codes) <= width:
        return len(np.unique(codes)) / max(len(codes), 1)
    parts = halves(codes, width)
    ordered = np.concatenate([parts[:-1], parts[1:]], axis=1)
    ordered.sort(axis=1)
    changes = np.count_nonzero(ordered[:, 1:] != ordered[:, :-1])
    return (1 + changes / len(ordered)) / width


def runs(way: np.ndarray, lengths: Sequence[int]) -> list[float]:
    """Shares of the places (N,) bool from which on so many in a row are true."""
    found, going = [], way
    for length in range(1, max(lengths) + 1):
        if length > 1:
            going = going[:-1] & way[length - 1 :]
        if length in lengths:
            found.append(np.count_nonzero(going) / len(going) if len(going) else 0.0)
    return found


def grams(classes: np.ndarray, kinds: int, length: int) -> np.ndarray:
    """A code (N - length + 1,) for every `length` classes in a row."""
    count = max(len(classes) - length + 1, 0)
    codes = np.zeros(count, dtype=np.int64)
    for offset in range(length):
        codes = codes * kinds + classes[offset : offset + count]
    return codes
