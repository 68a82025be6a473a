"""Near-duplicates: performances, transpositions and re-encodings of one piece.

A piece is the set of its top line's and its bass line's interval 8-grams, taken over onset
clusters: transposing, stretching or playing it in again leaves most of them in place. Sets are
compared by MinHash (Broder 1997) under locality-sensitive hashing.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH

from data_tools.midi import Notes

PERMUTATIONS = 64
CLUSTER_SECONDS = 0.05  # onsets this near are one chord, played unevenly
SHINGLE = 8
_PRIME = np.uint64((1 << 31) - 1)
_RANDOM = np.random.default_rng(1997)
_SCALE = _RANDOM.integers(1, int(_PRIME), PERMUTATIONS, dtype=np.uint64)
_SHIFT = _RANDOM.integers(0, int(_PRIME), PERMUTATIONS, dtype=np.uint64)


def signature(notes: Notes) -> np.ndarray:
    """MinHash signature of a piece.

    Args:
        notes: sorted by onset, times in seconds.

    Returns:
        uint64 (PERMUTATIONS,); all ones' complement of zero where the piece is too short to tell.
    """
    starts_chord = np.diff(notes.start, prepend=-np.inf) > CLUSTER_SECONDS
    first = np.flatnonzero(starts_chord)
    if len(first) <= SHINGLE:
        return np.full(PERMUTATIONS, np.iinfo(np.uint64).max)
    shingles = []
    for line, mark in ((np.maximum, 1), (np.minimum, 2)):
        steps = np.diff(line.reduceat(notes.pitch.astype(np.int64), first)) + 128
        windows = np.lib.stride_tricks.sliding_window_view(steps, SHINGLE)
        # A repeated note or trill says nothing; polynomial hash of the rest.
        telling = np.count_nonzero(windows != 128, axis=1) > SHINGLE // 2
        powers = np.uint64(257) ** np.arange(SHINGLE, dtype=np.uint64)
        hashed = windows[telling].astype(np.uint64) @ powers + np.uint64(mark)
        shingles.append(np.unique(hashed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33)))
    every = np.concatenate(shingles)
    if len(every) < SHINGLE:
        return np.full(PERMUTATIONS, np.iinfo(np.uint64).max)
    return ((every[:, None] * _SCALE + _SHIFT) % _PRIME).min(axis=0)


def near_duplicates(
    signatures: Sequence[np.ndarray], threshold: float = 0.4
) -> Iterator[tuple[int, int]]:
    """Yields index pairs whose estimated Jaccard similarity reaches `threshold`."""
    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    for number, values in enumerate(signatures):
        if values[0] == np.iinfo(np.uint64).max:
            continue
        sketch = MinHash(num_perm=PERMUTATIONS, hashvalues=values, scheme="legacy")
        for other in index.query(sketch):
            if np.mean(signatures[other] == values) >= threshold:
                yield other, number
        index.insert(number, sketch)
