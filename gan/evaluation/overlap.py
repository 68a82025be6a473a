"""How much of a piece stands in the training set already: its longest run found there.

The share of its runs of one length that stand there is the other figure.
Every run of one length is hashed (Rabin & Karp 1987); the corpus is read length by length, some
tens of millions of tokens a second, until no piece has a run so long.
"""

from collections.abc import Sequence

import numpy as np

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it can be divided by modulo 2 ** 64
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_BITS = 22  # of the table that rules out most of the corpus at once


def longest_overlaps(
    pieces: Sequence[np.ndarray], corpus: Sequence[np.ndarray], most: int = 512
) -> list[int]:
    """The longest run of tokens of each piece that some piece of the corpus holds.

    Args:
        pieces: ids (T,) each.
        corpus: ids (T,) each; a run never spans two of them.
        most: longer runs count as this long.
    """
    known, longest = prefixes(corpus), [0] * len(pieces)
    alive = list(range(len(pieces)))
    length = 0
    while alive and length < most:
        length += 1
        wanted = [run_hashes(prefixes([pieces[number]]), length) for number in alive]
        found = _present(np.concatenate(wanted), run_hashes(known, length))
        alive = [n for n, hashes in zip(alive, wanted, strict=True) if _among(hashes, found).any()]
        for number in alive:
            longest[number] = length
    return longest


def prefixes(pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sums of id * base ** place up to every place of the pieces laid end to end; their ends."""
    none = np.zeros(0, dtype=np.uint64)  # what no pieces are, laid end to end
    numbers = (np.asarray(piece).astype(np.uint64) for piece in pieces)
    ids = np.concatenate([none, *numbers]) + np.uint64(1)
    sums = np.zeros(len(ids) + 1, dtype=np.uint64)
    np.cumsum(ids * _powers(_BASE, len(ids)), out=sums[1:])
    return sums, np.cumsum([len(piece) for piece in pieces])


def _powers(base: np.uint64, count: int) -> np.ndarray:
    """base ** 0 .. base ** (count - 1) modulo 2 ** 64."""
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def run_hashes(laid: tuple[np.ndarray, np.ndarray], length: int) -> np.ndarray:
    """Hashes of all runs of one length within one piece of those `prefixes` laid end to end."""
    sums, ends = laid
    count = len(sums) - length
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    # A difference of sums holds the place of its run as a power, which is divided out.
    hashes = (sums[length:] - sums[:count]) * _powers(_INVERSE, count)
    inside = np.ones(count, dtype=bool)
    for end in ends[:-1]:
        inside[max(0, end - length + 1) : end] = False
    return hashes[inside]


def found_in(pieces: Sequence[np.ndarray], corpus: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The share of each piece's runs of one length that stand in the corpus, (pieces,) float64.

    NaN for a piece that is shorter.

    Args:
        pieces: ids (T,) each.
        corpus: ids (T,) each; a run never spans two of them.
        length: tokens in a run.
    """
    wanted = [run_hashes(prefixes([piece]), length) for piece in pieces]
    every = np.concatenate([*wanted, np.zeros(0, dtype=np.uint64)])
    found = _among(every, _present(every, run_hashes(prefixes(corpus), length)))
    bounds = np.cumsum([0, *map(len, wanted)])
    total = np.concatenate([[0], np.cumsum(found)])[bounds]
    counts = np.diff(bounds)
    shares = np.full(len(pieces), np.nan)
    np.divide(np.diff(total), counts, out=shares, where=counts > 0)
    return shares


def _present(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which hashes are wanted and known; the table keeps this from sorting the corpus."""
    shift = np.uint64(64 - _BITS)
    table = np.zeros(1 << _BITS, dtype=bool)
    table[(wanted >> shift).astype(np.int64)] = True
    likely = known[table[(known >> shift).astype(np.int64)]]
    return np.intersect1d(wanted, likely)


def _among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which hashes are known, by sorting: NumPy 2.0.0's own choice overflows above 2 ** 63."""
    return np.isin(hashes, known, kind="sort")
