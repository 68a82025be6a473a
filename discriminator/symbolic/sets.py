"""Sets of pitches that sound or begin together, kept as their members.

A chord has a handful of notes and the keyboard 128 keys, so sorted members are counted many times
faster than rows of keys. What depends on a set's pitch classes alone is looked up by its mask, of
which there are 4096.

Shapes: N notes, K moments, M members of all sets.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

MASKS = 4096
_PITCH_BITS = 7
_CLASS_BIT = (1 << np.arange(1 << _PITCH_BITS) % 12).astype(np.uint16)


@dataclass(frozen=True)
class Sets:
    """A set of pitches for each moment, none of them empty.

    Attributes:
        low: (K,) the lowest member of each.
        size: (K,) how many members it has.
        over: (M,) int8, by how much each member, set after set and ascending, exceeds its lowest.
    """

    low: np.ndarray
    size: np.ndarray
    over: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    @cached_property
    def begin(self) -> np.ndarray:
        """(K,) the place of the lowest members."""
        return self.size.cumsum() - self.size

    @cached_property
    def span(self) -> np.ndarray:
        """(K,) by how much the highest member exceeds the lowest."""
        return self.over[self.begin + self.size - 1]

    @cached_property
    def high(self) -> np.ndarray:
        """(K,) the highest members."""
        return self.low + self.span

    @cached_property
    def masks(self) -> np.ndarray:
        """(K,) the pitch classes above the lowest member as a number, its own the lowest bit."""
        return np.bitwise_or.reduceat(_CLASS_BIT[self.over], self.begin)

    def codes(self, width: int) -> np.ndarray:
        """(K,) the members less than `width` <= 63 semitones above the lowest as a number."""
        bits = np.where(self.over < width, np.int64(1) << self.over, 0)
        return np.bitwise_or.reduceat(bits, self.begin)

    def classes(self) -> np.ndarray:
        """(K,) the pitch classes from C as a number, C the lowest bit."""
        by = self.low % 12
        return (self.masks << by | self.masks >> (12 - by)) & (MASKS - 1)

    def larger(self, size: int) -> "Sets":
        """The sets of more members than that."""
        kept = self.size > size
        return Sets(self.low[kept], self.size[kept], self.over[kept.repeat(self.size)])


def sounding(pitch: np.ndarray, first: np.ndarray, until: np.ndarray, count: int) -> Sets:
    """What sounds in each moment, from notes' pitches (0..127) and bounds (N,); see `Moments`."""
    return _sets(_held(_keys(pitch, first), until - first), count)


def struck(pitch: np.ndarray, first: np.ndarray, count: int) -> Sets:
    """What begins in each moment, from notes' pitches (0..127) and moments (N,)."""
    return _sets(_keys(pitch, first), count)


@lru_cache(maxsize=1)
def members() -> np.ndarray:
    """(4096, 12) float64 of noughts and ones: the pitch classes of each mask."""
    return (np.arange(MASKS)[:, None] >> np.arange(12) & 1).astype(np.float64)


@lru_cache(maxsize=1)
def sizes() -> np.ndarray:
    """(4096,) how many pitch classes each mask has."""
    return np.bitwise_count(np.arange(MASKS)).astype(np.int64)


@lru_cache(maxsize=1)
def interval_classes() -> np.ndarray:
    """(4096, 6) float64: how many pairs in each mask stand 1..6 semitones apart."""
    rows = members()
    pairs = [(rows * np.roll(rows, by, 1)).sum(1) for by in range(1, 7)]
    pairs[5] = pairs[5] / 2  # a tritone is its own inversion
    return np.stack(pairs, 1)


@lru_cache(maxsize=1)
def set_classes() -> np.ndarray:
    """(4096,) the smallest mask that each mask can be transposed to: one a set class."""
    mask = np.arange(MASKS)
    turns = [(mask >> by) | (mask << (12 - by)) & (MASKS - 1) for by in range(12)]
    return np.min(turns, axis=0)


def _keys(pitch: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Moment and pitch as one number (N,), which sorts faster than two."""
    return first << _PITCH_BITS | pitch


def _held(keys: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Each key (N,) once for every moment, of the given numbers (N,), that its note lasts."""
    end = length.cumsum()
    moment = 1 << _PITCH_BITS
    # Half the memory where that will do: a dense piece has dozens of keys a note.
    largest = int(keys.max()) + moment * int(length.max())
    held = np.full(end[-1], moment, dtype=np.int32 if largest < 1 << 31 else np.int64)
    held[0] = keys[0]
    held[end[:-1]] = keys[1:] - keys[:-1] - moment * (length[:-1] - 1)
    return np.cumsum(held, dtype=held.dtype, out=held)


def _sets(keys: np.ndarray, count: int) -> Sets:
    """Sets of members given in any order, some perhaps twice; sorts `keys` in place."""
    keys.sort()
    new = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    if not new.all():
        keys = keys[new]
    size = np.bincount(keys >> _PITCH_BITS, minlength=count)
    pitch = (keys & ((1 << _PITCH_BITS) - 1)).astype(np.int8)
    low = pitch[size.cumsum() - size]
    return Sets(low.astype(np.int64), size, pitch - low.repeat(size))
