"""All measures of a set of generated pieces against a set of real ones, by name.

None of it has given a generator a gradient. The features of the Fréchet distance and the neighbour
figures are those of `discriminator.features`, counted and not learnt; README.md beside this says
what each name means and what real jazz gives against other real jazz.
"""

from collections.abc import Sequence

import numpy as np

from data_tools.representation import Representation
from discriminator import features
from gan.evaluation import distances, diversity, musical, novelty
from generator.degenerate import describe as statistics_of
from generator.degenerate import signs

AXES = 32  # principal axes of the real features that distances are measured along
NEIGHBOURS = 5
TOKENS = 4  # in the token n-grams: with `duration` a note and the time to the next
INTERVALS = 6  # in the n-grams of intervals, so seven notes
FURTHEST = 5.0  # standard deviations a feature counts as far at most
SEED = 0  # of the draw that makes two halves of the real set


def describe(
    generated: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    representation: Representation,
    train: Sequence[np.ndarray] | None = None,
) -> dict[str, float]:
    """Everything measured.

    Sets of one size and pieces of one length (cut all to 512 tokens, say): nearly every figure
    depends a little on both.

    Args:
        generated, real: token ids (T,) each, of the same meaning.
        representation: what they mean.
        train: the training set's pieces, for what is copied from it; `real` must be none of it.

    Returns:
        Floats by name, NaN where the music has no such value. `X` of the generated stands beside
        `X_real`.

    Raises:
        ValueError: fewer than 2 * (`NEIGHBOURS` + 1) pieces in a set.
    """
    least = 2 * (NEIGHBOURS + 1)
    if min(len(generated), len(real)) < least:
        raise ValueError(
            f"{len(generated)} generated and {len(real)} real pieces: {least} of each are needed"
        )
    result = {"pieces": float(len(generated)), "pieces_real": float(len(real))}
    result |= _musical(generated, real, representation)
    result |= _spaces(*(features.of_pieces(pieces, representation) for pieces in (generated, real)))
    for suffix, pieces in (("", generated), ("_real", real)):
        result |= {f"{name}{suffix}": value for name, value in _set(pieces, representation).items()}
    if train is not None:
        found = novelty.of_tokens(generated, real, train, representation)
        result |= {
            "copied_run": float(found.longest.mean()),
            "copied_run_real": float(found.longest_held_out.mean()),
            "copied_run_bound": found.bound,
            "copied": found.copied,
            "train_overlap": distances.mean_of(found.shares),
            "train_overlap_real": distances.mean_of(found.shares_held_out),
            "train_overlapping": found.overlapping,
        }
    return result


def _musical(
    generated: Sequence[np.ndarray], real: Sequence[np.ndarray], representation: Representation
) -> dict[str, float]:
    """Means of the figures, and how the sets' figures and histograms overlap."""
    bar = None if representation.settings.time_base == "beat" else musical.BAR
    made, true = (
        [musical.of_tokens(ids, representation, bar) for ids in pieces]
        for pieces in (generated, real)
    )
    result = {}
    for name in musical.FIGURES:
        ours, theirs = (np.array([one.figures[name] for one in part]) for part in (made, true))
        result[name] = distances.mean_of(ours)
        result[f"{name}_real"] = distances.mean_of(theirs)
        result[f"{name}_overlap_area"] = distances.density_overlap(ours, theirs)
    for name in musical.HISTOGRAMS:
        # Every piece weighs the same, whatever the number of its notes.
        mean, usual = (
            np.sum([one.histograms[name] for one in part], axis=0) for part in (made, true)
        )
        result[f"{name}_overlap_area"] = distances.overlap_area(mean, usual)
        result[f"{name}_kl"] = distances.divergence(usual, mean)
    return result


def _spaces(generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Distances of two sets of symbolic features (N, F)."""
    made, true = space(generated, real)
    near = distances.neighbourhoods(true, made, NEIGHBOURS)
    order = np.random.default_rng(SEED).permutation(len(true))
    halves = true[order[::2]], true[order[1::2]]
    floor = distances.neighbourhoods(*halves, NEIGHBOURS)
    return {
        "frechet": distances.frechet(made, true, shrinkage=None),
        "frechet_real": distances.frechet(*halves, shrinkage=None),
        **vars(near),
        **{f"{name}_real": value for name, value in vars(floor).items()},
        "vendi": diversity.vendi(made),
        "vendi_real": diversity.vendi(true),
    }


def space(generated: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in common coordinates, (A, K) and (B, K).

    Each feature is standardised by the real set, then all are turned to the first `AXES` principal
    axes of both sets together: over a thousand features, most of them rare, leave distances of a
    hundred pieces to chance. Axes of the real set alone would flatter it: along them it is wider
    than any other music, other real jazz included, which then counts as crowded in its middle.

    Args:
        generated, real: (A, F) and (B, F).
    """
    mean, spread = real.mean(0, dtype=np.float64), real.std(0, dtype=np.float64)
    # A feature that the real set never varies says nothing about degrees.
    varied = spread > 1e-6
    both = np.concatenate([generated, real])
    both = ((both - mean)[:, varied] / spread[varied]).clip(-FURTHEST, FURTHEST)
    axes = np.linalg.svd(both - both.mean(0), full_matrices=False)[2][: min(AXES, len(both) // 4)]
    both = both @ axes.T
    return both[: len(generated)], both[len(generated) :]


def _set(pieces: Sequence[np.ndarray], representation: Representation) -> dict[str, float]:
    """What a set says of itself."""
    within, over = diversity.distinct(pieces, TOKENS)
    pitch = [diversity.pitches(ids, representation) for ids in pieces]
    lines = [diversity.steps(each) for each in pitch]
    lines_within, lines_over = diversity.distinct(lines, INTERVALS)
    found = [bool(signs(statistics_of(representation.decode(ids)))) for ids in pieces]
    return {
        "distinct_tokens": within,
        "distinct_tokens_set": over,
        "distinct_intervals": lines_within,
        "distinct_intervals_set": lines_over,
        "self_overlap": diversity.self_overlap(pitch, INTERVALS + 1),
        "self_overlap_any_key": diversity.self_overlap(lines, INTERVALS),
        "degenerate": float(np.mean(found)),
    }
