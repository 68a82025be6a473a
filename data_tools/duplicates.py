"""Near-duplicates: performances, transpositions and re-encodings of one piece.

A piece is the set of its top line's and its bass line's interval 8-grams, taken over onset
clusters: transposing, stretching or playing it in again leaves most of them in place. Sets are
compared by MinHash (Broder 1997) under locality-sensitive hashing.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from data_tools.midi import Notes

PERMUTATIONS = 64
CLUSTER_SECONDS = 0.05  # onsets this near are one chord, played unevenly
SHINGLE = 8
_BITS = np.uint64(31)
_PRIME = np.uint64((1 << 31) - 1)  # of Mersenne's: the remainder is taken without division
_POWERS = np.uint64(257) ** np.arange(SHINGLE, dtype=np.uint64)
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
        # A repeated note or trill says nothing; polynomial hash of the rest.
        moves = np.concatenate([[0], np.cumsum(steps != 128)])
        telling = moves[SHINGLE:] - moves[:-SHINGLE] > SHINGLE // 2
        hashed = np.full(len(telling), mark, dtype=np.uint64)
        for place, power in enumerate(_POWERS):
            hashed += steps[place : place + len(telling)].astype(np.uint64) * power
        hashed = hashed[telling]
        shingles.append(hashed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33))
    every = np.sort(np.concatenate(shingles))
    # Faster than `unique`, which hashes.
    every = every[np.concatenate([[True], every[1:] != every[:-1]])[: len(every)]]
    if len(every) < SHINGLE:
        return np.full(PERMUTATIONS, np.iinfo(np.uint64).max)
    return np.concatenate(
        [_least(every, _SCALE[block], _SHIFT[block]) for block in _blocks(len(every))]
    )


def _blocks(count: int) -> list[slice]:
    """Permutations a few at a time, so that their numbers stay in the processor's cache."""
    size = max(1, 12_288 // count)
    return [slice(first, first + size) for first in range(0, PERMUTATIONS, size)]


def _least(every: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(P,) the least of (every * scale + shift) modulo the prime, for each permutation."""
    values = np.multiply(scale[:, None], every)  # (P, N); below 2 ** 62, so nothing overflows
    values += shift[:, None]
    # 2 ** 31 is 1 modulo the prime: adding the high bits to the low ones keeps the remainder, which
    # is then below twice the prime.
    high = values >> _BITS
    values &= _PRIME
    values += high
    short = values.astype(np.uint32)
    # Where the prime cannot be taken off, the difference wraps round and is the larger.
    least = np.minimum(short, short - np.uint32(_PRIME)).min(axis=1)
    return least.astype(np.uint64)


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Estimated Jaccard similarity of two signatures."""
    return float(np.mean(first == second))


def near_duplicates(
    signatures: Sequence[np.ndarray], threshold: float = 0.4
) -> Iterator[tuple[int, int]]:
    """Yields index pairs whose estimated Jaccard similarity reaches `threshold`."""
    # Here and not above: it brings half of SciPy, and only this needs it.
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    # One object for all: the index keeps none, and to make one draws random permutations.
    sketch = MinHash(num_perm=PERMUTATIONS, scheme="legacy")
    for number, values in enumerate(signatures):
        if values[0] == np.iinfo(np.uint64).max:
            continue
        sketch.hashvalues = values
        for other in sorted(index.query(sketch)):
            if similarity(signatures[other], values) >= threshold:
                yield other, number
        index.insert(number, sketch)
