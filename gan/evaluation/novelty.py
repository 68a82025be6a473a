"""Is generated music copied from the training set, more than jazz is from jazz?

Real music shares runs of notes with other music: quotes, licks, scales, other takes of one tune. So
the longest run of intervals that a piece shares with the training set is held against the same of
held-out music, and only what exceeds the held-out pieces' own 95th percentile counts as copied.
Runs of intervals between notes, not of tokens: a copy in another key, tempo or touch is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.representation import Representation
from gan.evaluation.diversity import pitches, steps
from gan.evaluation.overlap import found_in, longest_overlaps

LENGTH = 8  # intervals, so nine notes, in the n-grams that are counted
QUANTILE = 95


@dataclass(frozen=True)
class Novelty:
    """Generated (G pieces) and held-out music (H) against the training set.

    Attributes:
        longest: (G,) intervals in the longest run found in training.
        longest_held_out: (H,).
        bound: the held-out runs' 95th percentile.
        copied: share of the generated with a longer run; 0.05 or less where it copies no more than
            real music.
        shares: (G,) share of each piece's n-grams that stand in training; NaN for none.
        shares_held_out: (H,).
        overlapping: share of the generated whose share is above the held-out shares' 95th
            percentile.
    """

    longest: np.ndarray
    longest_held_out: np.ndarray
    bound: float
    copied: float
    shares: np.ndarray
    shares_held_out: np.ndarray
    overlapping: float


def novelty(
    generated: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    train: Sequence[np.ndarray],
    length: int = LENGTH,
    most: int = 512,
) -> Novelty:
    """Compares sequences of pitches; see `of_tokens`.

    Args:
        generated, held_out, train: pitches (N,) each, by onset, then height. Longer pieces have
            longer runs: cut the first two alike.
        length: intervals in an n-gram.
        most: longer runs count as this long.

    Raises:
        ValueError: one of the sets is empty.
    """
    if not (len(generated) and len(held_out) and len(train)):
        raise ValueError("novelty needs generated, held-out and training music")
    ours, real, known = ([steps(each) for each in group] for group in (generated, held_out, train))
    longest = np.array(longest_overlaps([*ours, *real], known, most))
    shares = found_in([*ours, *real], known, length)
    own, other = longest[: len(ours)], longest[len(ours) :]
    share, usual = shares[: len(ours)], shares[len(ours) :]
    bound = float(np.percentile(other, QUANTILE))
    known_share = usual[np.isfinite(usual)]
    ceiling = np.percentile(known_share, QUANTILE) if len(known_share) else np.nan
    return Novelty(
        own,
        other,
        bound,
        float((own > bound).mean()),
        share,
        usual,
        float((share > ceiling).mean()),
    )


def of_tokens(
    generated: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    train: Sequence[np.ndarray],
    representation: Representation,
    length: int = LENGTH,
) -> Novelty:
    """`novelty` of token ids (T,) each."""
    ours, real, known = (
        [pitches(ids, representation) for ids in part] for part in (generated, held_out, train)
    )
    return novelty(ours, real, known, length)
