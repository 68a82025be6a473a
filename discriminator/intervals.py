"""How far a ranking can be believed: areas under the curve with their 95% bootstrap intervals.

What is drawn with replacement must be what is independent. Pieces of one work or artist are not, so
groups are drawn whole, within their source, whose share of the set stays as it is; models of
several seeds are drawn too. A percentile bootstrap after Efron & Tibshirani 1993.

Letters: N pieces, D draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.audit.ranking import auc

RESAMPLES = 1000
_AT_ONCE = 100  # draws held in memory together


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LeftOut:
    """How one model ranked a source it never met.

    Attributes:
        source: the source left out.
        seed: of the model's training.
        labels: (N,) 1 for jazz, 0 for not; a source of one class comes with pieces of the other.
        scores: (N,) higher for more jazz.
        groups: (N,) work or artist; pieces of one source under all seeds in the same order.
    """

    source: str
    seed: int
    labels: np.ndarray
    scores: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class LeftOutMean:
    """Areas on sources left out.

    Attributes:
        mean: over these sources, weighing the same; its interval draws seeds and groups.
        further: the same mean, its interval drawing sources too: what other sources may bring.
        sources: each source's area, its interval drawing seeds and groups.
    """

    mean: Interval
    further: Interval
    sources: dict[str, Interval]


def grouped_auc(
    labels: Sequence[int] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    sources: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """The area, its interval from drawing whole groups within each source; None for one class.

    Args:
        labels: (N,) 1 for jazz, 0 for not.
        scores: (N,) any numbers that rise with jazz.
        groups: (N,) work or artist.
        sources: (N,) where the pieces are from; None draws from all groups alike.
        seed: of the draws.
        resamples: draws.
    """
    jazz, z = _checked(labels, scores, groups)
    if jazz.all() or not jazz.any():
        return None
    names = np.zeros(len(z), dtype=str) if sources is None else np.asarray(sources, dtype=str)
    rng = np.random.default_rng(seed)
    areas = np.concatenate([
        auc(z, jazz, _drawn(names, np.asarray(groups), count, rng)) for count in _parts(resamples)
    ])  # fmt: skip
    return _interval(float(auc(z, jazz)), areas)


def left_out_auc(
    found: Sequence[LeftOut], seed: int = 0, resamples: int = RESAMPLES
) -> LeftOutMean:
    """Mean area over sources left out, over any number of seeds each.

    Raises:
        ValueError: nothing was found, a source lacks a class, or its seeds differ in their pieces.
    """
    if not found:
        raise ValueError("no source was left out")
    rng = np.random.default_rng(seed)
    sources: dict[str, Interval] = {}
    draws = []
    for source in sorted({one.source for one in found}):
        runs = [one for one in found if one.source == source]
        jazz, _ = _checked(runs[0].labels, runs[0].scores, runs[0].groups)
        for one in runs:
            if not np.array_equal(one.groups, runs[0].groups) or (
                not np.array_equal(one.labels, runs[0].labels)
            ):
                raise ValueError(f"{source}: seeds {runs[0].seed} and {one.seed} differ in pieces")
        if jazz.all() or not jazz.any():
            raise ValueError(f"{source}: one class only; add pieces of the other to rank against")
        value = float(np.mean([auc(one.scores, jazz) for one in runs]))
        parts = []
        for count in _parts(resamples):
            # The two classes may come from different sources; each keeps its share.
            weights = _drawn(jazz.astype(str), runs[0].groups, count, rng)
            areas = np.stack([auc(one.scores, jazz, weights) for one in runs])  # (seeds, D)
            chosen = rng.integers(len(runs), size=areas.shape)
            parts.append(np.take_along_axis(areas, chosen, 0).mean(0))
        draws.append(np.concatenate(parts))
        sources[source] = _interval(value, draws[-1])
    table = np.stack(draws)  # (S, D)
    mean = float(np.mean([one.value for one in sources.values()]))
    others = rng.integers(len(table), size=table.shape)
    return LeftOutMean(
        _interval(mean, table.mean(0)),
        _interval(mean, np.take_along_axis(table, others, 0).mean(0)),
        sources,
    )


def left_out_differences(
    found: Sequence[LeftOut], others: Sequence[LeftOut], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """By source, by how much one model's area exceeds another's on the very same pieces.

    Mean over the seeds that both have; the interval draws seeds and groups, the same for both.

    Raises:
        ValueError: a source has one class only, or the two differ in its pieces.
    """
    rng = np.random.default_rng(seed)
    against = {(one.source, one.seed): one for one in others}
    result = {}
    for source in sorted({one.source for one in found}):
        pairs = [
            (one, against[source, one.seed])
            for one in found
            if one.source == source and (source, one.seed) in against
        ]
        if not pairs:
            continue
        groups = pairs[0][0].groups
        jazz, _ = _checked(pairs[0][0].labels, pairs[0][0].scores, groups)
        for one in (one for pair in pairs for one in pair):
            same = np.array_equal(one.groups, groups) and np.array_equal(one.labels, jazz)
            if not same or jazz.all() or not jazz.any():
                raise ValueError(f"{source}: other pieces, or pieces of one class only")
        value = np.mean([auc(one.scores, jazz) - auc(other.scores, jazz) for one, other in pairs])
        parts = []
        for count in _parts(resamples):
            weights = _drawn(jazz.astype(str), groups, count, rng)
            gaps = np.stack(
                [
                    auc(one.scores, jazz, weights) - auc(other.scores, jazz, weights)
                    for one, other in pairs
                ]
            )  # (seeds, D)
            chosen = rng.integers(len(pairs), size=gaps.shape)
            parts.append(np.take_along_axis(gaps, chosen, 0).mean(0))
        result[source] = _interval(float(value), np.concatenate(parts))
    return result


def _checked(labels: object, scores: object, groups: object) -> tuple[np.ndarray, np.ndarray]:
    y, z, g = np.asarray(labels), np.asarray(scores, dtype=np.float64), np.asarray(groups)
    if y.ndim != 1 or not len(y) or not y.shape == z.shape == g.shape:
        raise ValueError(f"labels {y.shape}, scores {z.shape}, groups {g.shape} must match")
    if not np.isin(y, (0, 1)).all() or not np.isfinite(z).all():
        raise ValueError("labels must be 0 or 1, scores finite")
    return y.astype(bool), z


def _drawn(
    sources: np.ndarray, groups: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """(D, N) how often each piece is drawn, whole groups of a source with replacement."""
    weights = np.zeros((count, len(groups)))
    for name in np.unique(sources):
        here = np.flatnonzero(sources == name)
        members, place = np.unique(groups[here], return_inverse=True)
        times = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
        weights[:, here] = times[:, place]
    return weights


def _parts(resamples: int) -> list[int]:
    return [min(_AT_ONCE, resamples - done) for done in range(0, resamples, _AT_ONCE)]


def _interval(value: float, draws: np.ndarray) -> Interval:
    """The 95% interval of draws, those without one of the classes left aside."""
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Interval(value, float(low), float(high))
