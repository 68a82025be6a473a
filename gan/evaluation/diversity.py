"""How much a set of pieces says that it has not said already.

Distinct n-grams (Li et al. 2016), the overlap of each piece with the rest of its set (after Zhu et
al.'s 2018 self-BLEU, as a plain share), and the Vendi score (Friedman & Dieng 2023): how many
entirely different pieces the set is worth. Real jazz repeats itself too, within a tune and across
tunes, so these are read beside real music's.
"""

from collections.abc import Sequence

import numpy as np

from data_tools.representation import Representation
from discriminator.features import DRUMS
from gan.evaluation.overlap import prefixes, run_hashes


def pitches(ids: np.ndarray, representation: Representation) -> np.ndarray:
    """The pitches (N,) of token ids (T,) by onset, then height; drums left out."""
    events = representation.events(ids, close=True)
    pitch = events.notes.pitch.astype(np.int64)
    return pitch[events.channels != DRUMS] if len(events.channels) else pitch


def steps(pitch: np.ndarray) -> np.ndarray:
    """The intervals (N - 1,) from each of N notes to the next: alike in all keys."""
    return np.diff(pitch)


def distinct(sequences: Sequence[np.ndarray], length: int) -> tuple[float, float]:
    """The share of different n-grams within a piece, on average, and over the whole set.

    The second falls with the size of the set: compare sets of one size. NaN for no n-gram at all.

    Args:
        sequences: whole numbers (T,) each: token ids, pitches or intervals.
        length: n.
    """
    grams, owner, _ = _grams(sequences, length)
    if not len(grams):
        return float("nan"), float("nan")
    order = np.lexsort((grams, owner))
    sorted_grams, sorted_owner = grams[order], owner[order]
    first = np.ones(len(grams), dtype=bool)
    first[1:] = (sorted_grams[1:] != sorted_grams[:-1]) | (sorted_owner[1:] != sorted_owner[:-1])
    count = np.bincount(owner)
    within = np.bincount(sorted_owner[first], minlength=len(count))[count > 0]
    over = len(np.unique(grams)) / len(grams)
    return float((within / count[count > 0]).mean()), over


def self_overlap(sequences: Sequence[np.ndarray], length: int) -> float:
    """The mean share of a piece's n-grams that stand in another piece of the set, too.

    It rises with the size of the set: compare sets of one size. Pieces shorter than an n-gram do
    not count; NaN where no two are long enough.

    Args:
        sequences: whole numbers (T,) each; `steps` of their pitches, so that a transposed copy is
            found, or the pitches themselves.
        length: n.
    """
    grams, owner, count = _grams(sequences, length)
    if np.count_nonzero(count) < 2:
        return float("nan")
    order = np.lexsort((owner, grams))
    grams, owner = grams[order], owner[order]
    begins = np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1]]))
    ends = np.append(begins[1:], len(grams)) - 1
    # Sorted by owner within a gram: it is shared where the first and the last differ.
    shared = np.repeat(owner[begins] != owner[ends], ends - begins + 1)
    found = np.bincount(owner, shared, minlength=len(count))
    return float((found[count > 0] / count[count > 0]).mean())


def _grams(
    sequences: Sequence[np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes of all n-grams, the number of each one's piece, and how many each piece has."""
    count = np.array([max(len(each) - length + 1, 0) for each in sequences], dtype=np.int64)
    owner = np.repeat(np.arange(len(count)), count)
    if not len(owner):
        return np.zeros(0, dtype=np.uint64), owner, count
    long = [each for each, some in zip(sequences, count, strict=True) if some]
    return run_hashes(prefixes(long), length), owner, count


def vendi(features: np.ndarray) -> float:
    """The Vendi score under the cosine of features: 1 for copies, N for N unrelated pieces.

    exp of the entropy of the eigenvalues of K / N, where K holds the cosines. It grows with the
    set: compare sets of one size.

    Args:
        features: (N, F), centred where they have a common part, or all pieces look alike; pieces
            without any feature are taken for copies of one another.

    Raises:
        ValueError: no pieces, or no finite numbers.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or not len(x) or not np.isfinite(x).all():
        raise ValueError(f"features {x.shape}: finite rows, one a piece, are needed")
    length = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.concatenate([x / np.where(length > 0, length, 1), length == 0], axis=1)
    share = np.linalg.svd(x, compute_uv=False) ** 2 / len(x)
    share = share[share > 1e-15]
    return float(np.exp(-(share * np.log(share)).sum()))
