"""All measures of a set of generated pieces against a set of real ones, by name.

None of it has given a generator a gradient. The features of the Fréchet distance and the neighbour
figures are those of `discriminator.features`, counted and not learnt; README.md beside this says
what each name means and what real jazz gives against other real jazz.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from data_tools.representation import Representation
from discriminator import features
from discriminator.intervals import Interval
from gan.evaluation import distances, diversity, musical, novelty
from gan.evaluation.confidence import clipped, jackknife, point, rated, wider
from gan.evaluation.distances import interval
from generator.degenerate import describe_ids, signs

AXES = 32  # principal axes of the real features that distances are measured along
NEIGHBOURS = 5
TOKENS = 4  # in the token n-grams: with `duration` a note and the time to the next
INTERVALS = 6  # in the n-grams of intervals, so seven notes
FURTHEST = 5.0  # standard deviations a feature counts as far at most
SEED = 0  # of the draw that makes two halves of the real set
_SHARES = ("distinct", "recall", "coverage", "grooving", "chord_irregularity")


@dataclass(frozen=True)
class _Set:
    """What is measured of each of N pieces once; all figures of a set are figures of these.

    Attributes:
        measures: each piece's own.
        features: (N, F), `discriminator.features`.
        tokens, pitch, steps: the ids, the pitches, and the intervals between them.
        degenerate: (N,) bool.
    """

    measures: list[musical.Measures]
    features: np.ndarray
    tokens: list[np.ndarray]
    pitch: list[np.ndarray]
    steps: list[np.ndarray]
    degenerate: np.ndarray

    @classmethod
    def of(cls, pieces: Sequence[np.ndarray], representation: Representation) -> Self:
        bar = None if representation.settings.time_base == "beat" else musical.BAR
        pitch = [diversity.pitches(ids, representation) for ids in pieces]
        return cls(
            [musical.of_tokens(ids, representation, bar) for ids in pieces],
            features.of_pieces(pieces, representation),
            list(pieces),
            pitch,
            [diversity.steps(each) for each in pitch],
            np.array([bool(signs(describe_ids(ids, representation))) for ids in pieces]),
        )

    def take(self, places: np.ndarray) -> Self:
        """The pieces at these places."""
        lists = (
            [column[place] for place in places]
            for column in (self.measures, self.tokens, self.pitch, self.steps)
        )
        measures, tokens, pitch, steps = lists
        return type(self)(
            measures, self.features[places], tokens, pitch, steps, self.degenerate[places]
        )


@dataclass(frozen=True)
class Axes:
    """The coordinates that distances are measured in, of F features K.

    Each feature is standardised by the real set, then all are turned to the first `AXES` principal
    axes of all sets together: over a thousand features, most of them rare, leave distances of a
    hundred pieces to chance. Axes of the real set alone would flatter it: along them it is wider
    than any other music, other real jazz included, which then counts as crowded in its middle.

    Attributes:
        mean, spread: (F,) of the real set.
        turned: (F, K).
    """

    mean: np.ndarray
    spread: np.ndarray
    turned: np.ndarray

    @classmethod
    def of(cls, real: np.ndarray, *generated: np.ndarray) -> Self:
        """The axes of features (B, F) and (A, F) each: half of the weight is the real set's.

        Distances of several sets from the real one compare if all of them are given here.
        """
        mean, spread = real.mean(0, dtype=np.float64), real.std(0, dtype=np.float64)
        # A feature that the real set never varies says nothing about degrees.
        spread[spread <= 1e-6] = np.inf
        sets = [((each - mean) / spread).clip(-FURTHEST, FURTHEST) for each in (real, *generated)]
        shares = [1 / 2, *(1 / 2 / len(generated) for _ in generated)]
        middle = sum(share * each.mean(0) for share, each in zip(shares, sets, strict=True))
        weighed = [
            (share / len(each)) ** 0.5 * (each - middle)
            for share, each in zip(shares, sets, strict=True)
        ]
        count = min(AXES, min(len(real) + len(each) for each in generated) // 4)
        turned = np.linalg.svd(np.concatenate(weighed), full_matrices=False)[2][:count].T
        return cls(mean, spread, turned)

    def place(self, features: np.ndarray) -> np.ndarray:
        """Places (N, K) of features (N, F)."""
        standard = (features - self.mean) / self.spread
        return standard.clip(-FURTHEST, FURTHEST) @ self.turned


def axes_of(
    real: Sequence[np.ndarray],
    generated: Sequence[Sequence[np.ndarray]],
    representation: Representation,
) -> Axes:
    """The axes of pieces, for `describe`: of real ones, and of all sets to be compared."""
    return Axes.of(*(features.of_pieces(pieces, representation) for pieces in (real, *generated)))


def describe(
    generated: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    representation: Representation,
    train: Sequence[np.ndarray] | None = None,
    axes: Axes | None = None,
) -> dict[str, float]:
    """Everything measured.

    Sets of one size and pieces of one length (cut all to 512 tokens, say): nearly every figure
    depends a little on both.

    Args:
        generated, real: token ids (T,) each, of the same meaning.
        representation: what they mean.
        train: the training set's pieces, for what is copied from it; `real` must be none of it.
        axes: of this set and others, if it is to be compared with them; else its own.

    Returns:
        Floats by name, NaN where the music has no such value. `X` of the generated stands beside
        `X_real`.

    Raises:
        ValueError: fewer than 2 * (`NEIGHBOURS` + 1) pieces in a set.
    """
    made, true, x, y = _measured(generated, real, representation, axes)
    result = {"pieces": float(len(generated)), "pieces_real": float(len(real))}
    result |= _alone(made, x) | _against(made, true, x, y)
    result |= {f"{name}_real": value for name, value in (_alone(true, y) | _floor(y)).items()}
    if train is not None:
        found = _copied(generated, real, train, representation)
        result |= {name: figure.value for name, figure in found.items()}
    return result


def described(
    generated: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    representation: Representation,
    train: Sequence[np.ndarray] | None = None,
    axes: Axes | None = None,
) -> dict[str, Interval]:
    """`describe` with 95% intervals over pieces; what compares with the real set takes it as given.

    Without: how many pieces there are, the real set's halves against each other, the bound of what
    counts as copied, and self-overlap, which a few pairs of pieces decide: on real jazz its
    intervals turned out too narrow (`experiments.recipes.intervals`).
    """
    made, true, x, y = _measured(generated, real, representation, axes)
    result = {"pieces": point(len(generated)), "pieces_real": point(len(real))}
    result |= _jackknifed(made, true, x, y)
    theirs = jackknife(lambda places: _alone(true.take(places), y[places]), len(real))
    result |= {f"{name}_real": figure for name, figure in theirs.items()}
    for name, figure in result.items():
        if name.startswith("self_overlap"):
            result[name] = point(figure.value)
            continue
        is_share = name.startswith(_SHARES) or name.endswith("_overlap_area")
        result[name] = clipped(figure, 0.0, 1.0 if is_share else math.inf)
    # Shares of generated pieces, and of real pieces with generated ones near them.
    for name, count in (
        ("degenerate", len(generated)), ("degenerate_real", len(real)),
        ("precision", len(generated)),
    ):  # fmt: skip
        result[name] = rated(result[name].value, count)
    for name in ("recall", "coverage"):
        result[name] = wider(result[name], rated(result[name].value, len(real)))
    result |= {f"{name}_real": point(value) for name, value in _floor(y).items()}
    if train is not None:
        result |= _copied(generated, real, train, representation)
    return result


def jackknifed(
    generated: Sequence[np.ndarray], real: Sequence[np.ndarray], representation: Representation
) -> dict[str, Interval]:
    """The figures of the generated set, all with the jackknife's interval, also where it fails."""
    return _jackknifed(*_measured(generated, real, representation))


def _jackknifed(made: _Set, true: _Set, x: np.ndarray, y: np.ndarray) -> dict[str, Interval]:
    def figures(places: np.ndarray) -> dict[str, float]:
        part, where = made.take(places), x[places]
        return _alone(part, where) | _against(part, true, where, y)

    return jackknife(figures, len(x))


def _measured(
    generated: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    representation: Representation,
    axes: Axes | None = None,
) -> tuple[_Set, _Set, np.ndarray, np.ndarray]:
    """Both sets, and their places in common coordinates (A, K) and (B, K)."""
    least = 2 * (NEIGHBOURS + 1)
    if min(len(generated), len(real)) < least:
        raise ValueError(
            f"{len(generated)} generated and {len(real)} real pieces: {least} of each are needed"
        )
    made, true = (_Set.of(pieces, representation) for pieces in (generated, real))
    axes = axes or Axes.of(true.features, made.features)
    return made, true, axes.place(made.features), axes.place(true.features)


def _alone(part: _Set, where: np.ndarray) -> dict[str, float]:
    """What a set says of itself; `where` are its places (N, K)."""
    within, over = diversity.distinct(part.tokens, TOKENS)
    steps_within, steps_over = diversity.distinct(part.steps, INTERVALS)
    return {
        **{
            name: distances.mean_of(np.array([each.figures[name] for each in part.measures]))
            for name in musical.FIGURES
        },
        "distinct_tokens": within,
        "distinct_tokens_set": over,
        "distinct_intervals": steps_within,
        "distinct_intervals_set": steps_over,
        "self_overlap": diversity.self_overlap(part.pitch, INTERVALS + 1),
        "self_overlap_any_key": diversity.self_overlap(part.steps, INTERVALS),
        "degenerate": float(part.degenerate.mean()),
        "vendi": diversity.vendi(where),
    }


def _against(made: _Set, true: _Set, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """How sets overlap, and how far apart their places (A, K) and (B, K) are."""
    result = {}
    for name in musical.FIGURES:
        ours, theirs = (
            np.array([one.figures[name] for one in part.measures]) for part in (made, true)
        )
        result[f"{name}_overlap_area"] = distances.density_overlap(ours, theirs)
    for name in musical.HISTOGRAMS:
        # Every piece weighs the same, whatever the number of its notes.
        mean, usual = (
            np.sum([one.histograms[name] for one in part.measures], axis=0) for part in (made, true)
        )
        result[f"{name}_overlap_area"] = distances.overlap_area(mean, usual)
        result[f"{name}_kl"] = distances.divergence(usual, mean)
    result["frechet"] = distances.frechet(x, y, shrinkage=None)
    return result | vars(distances.neighbourhoods(y, x, NEIGHBOURS))


def _floor(y: np.ndarray) -> dict[str, float]:
    """The distances of two halves of the real set (B, K)."""
    order = np.random.default_rng(SEED).permutation(len(y))
    halves = y[order[::2]], y[order[1::2]]
    near = distances.neighbourhoods(*halves, NEIGHBOURS)
    return {"frechet": distances.frechet(*halves, shrinkage=None), **vars(near)}


def _copied(
    generated: Sequence[np.ndarray],
    real: Sequence[np.ndarray],
    train: Sequence[np.ndarray],
    representation: Representation,
) -> dict[str, Interval]:
    """What stands in the training set; the real pieces' bounds are taken as given."""
    found = novelty.of_tokens(generated, real, train, representation)
    return {
        "copied_run": interval([found.longest]),
        "copied_run_real": interval([found.longest_held_out]),
        "copied_run_bound": point(found.bound),
        "copied": rated(found.copied, len(generated)),
        "train_overlap": interval([found.shares]),
        "train_overlap_real": interval([found.shares_held_out]),
        "train_overlapping": rated(found.overlapping, len(generated)),
    }
