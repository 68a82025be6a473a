"""How far a logit can be believed: Platt scaling, and a band of "unsure" with a stated error rate.

Pieces of one source are alike, so pieces of other sources are what counts: fit and choose on pieces
of sources that the model never met, classes and sources weighing evenly. The band is selective
classification (Geifman & El-Yaniv 2017): the threshold of a verdict is the most lenient whose error
rate lies below the bound with confidence, as in risk-controlling prediction sets (Bates et al.
2021). The confidence limit is a Bayesian bootstrap over sources (Rubin 1981) whose rates have
Jeffreys posteriors, so that no errors among a few pieces are not taken for none ever.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

FEWEST = 10  # pieces of a class a source needs to count by itself; smaller ones count as one
DRAWS = 1000
# Candidate thresholds, even in log-odds, fixed before any piece is looked at.
CANDIDATES = 1 / (1 + np.exp(-np.linspace(0, 6, 31)))


@dataclass(frozen=True)
class Side:
    """One of the two sure verdicts, in a collection of half jazz whose sources weigh evenly.

    Attributes:
        error: share of these verdicts that are wrong; None where the verdict is never given.
        upper: the limit that this share stays below with the confidence asked for; where the
            verdict is never given, the least limit that any threshold could have.
        recall: share of the verdict's own class that gets it.
    """

    error: float | None
    upper: float
    recall: float


@dataclass(frozen=True)
class Thresholds:
    """A band of "unsure": not_jazz below `low`, jazz from `high` on.

    Attributes:
        low, high: `low` <= 0.5 <= `high`; 0 or 1 where no threshold keeps its error rate.
        error: the error rate asked for, of each sure verdict by itself.
        confidence: that the error rate over sources like these stays below it.
        coverage: share of pieces with a sure verdict, classes and sources weighing evenly.
        jazz, not_jazz: the two verdicts' own figures.
    """

    low: float
    high: float
    error: float
    confidence: float
    coverage: float
    jazz: Side
    not_jazz: Side

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SureRow:
    """A source's sure verdicts: `coverage` is their share, `error` the share wrong among them."""

    source: str
    n: int
    n_jazz: int
    coverage: float
    error: float | None


def calibrate(
    logits: Sequence[float] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    sources: Sequence[str] | np.ndarray | None = None,
    few: int = 0,
) -> tuple[float, float]:
    """The (scale, bias) of Platt scaling, p = sigmoid(scale * logit + bias), fitted by likelihood.

    Fit it on pieces the model was not trained on, of sources it never met where there are any. Both
    classes weigh the same, whatever the corpus's share of jazz, so that 0.5 stays the point where
    both are as likely.

    Args:
        logits: (N,) mean logits of the pieces' windows.
        labels: (N,) 1 for jazz, 0 for not.
        sources: (N,) where the pieces are from; a class's sources then weigh the same too.
        few: with fewer pieces than that of a class, p goes no nearer to 0 and 1 than so few pieces
            can tell: Platt's targets (1999), (n + 1) / (n + 2) and 1 / (n + 2).

    Raises:
        ValueError: a class is missing, or higher logits do not mean more jazz.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    names = np.zeros(len(y), dtype=str) if sources is None else sources
    # A trace of regularisation keeps separable sets finite.
    weight = even_weights(y, names)
    sizes = np.bincount(y.astype(np.int64), minlength=2)
    if 0 < sizes.min() < few:
        doubt = 1 / (sizes[y.astype(np.int64)] + 2)
        z, y = np.concatenate([z, z]), np.concatenate([y, 1 - y])
        weight = np.concatenate([weight * (1 - doubt), weight * doubt])
    fit = LogisticRegression(C=1e3).fit(z[:, None], y, weight)
    scale, bias = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if scale <= 0:
        raise ValueError("higher logits do not mean more jazz here; calibration would flip them")
    return scale, bias


def even_weights(
    labels: Sequence[int] | np.ndarray, sources: Sequence[str] | np.ndarray
) -> np.ndarray:
    """Weights (N,), 1 on average: classes weigh the same, and so do the sources of a class."""
    strata = _strata(np.asarray(labels).astype(np.int64), sources)
    weights = np.zeros(len(strata))
    for label in (0, 1):
        here = [stratum for stratum in np.unique(strata) if stratum % 2 == label]
        for stratum in here:
            weights[strata == stratum] = 1 / ((strata == stratum).sum() * len(here))
    return weights / weights.mean()


def thresholds(
    probabilities: Sequence[float] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    sources: Sequence[str] | np.ndarray,
    error: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
) -> Thresholds:
    """The narrowest band of "unsure" that keeps the error rate of each sure verdict.

    The promise is about the average over sources like these, half of the music being jazz. In a
    collection with a share s of jazz, r = error / (1 - error) wrong "jazz" verdicts for each right
    one become r * (1 - s) / s.

    The confidence is nearly what it is called: with 95% asked for, of simulated sets of sources the
    true rate exceeded the bound in 3% with twenty of a class, in 5 to 8% with nine and sixteen, in
    10% with eight, and in 18% with ten whose mean logits lie as wide apart as the two classes.

    Args:
        probabilities: (N,) calibrated p(jazz) of pieces whose sources the model never met.
        labels: (N,) 1 for jazz, 0 for not.
        sources: (N,) where the pieces are from; at least two a class.
        error: the largest share of wrong ones among the verdicts "jazz", and among "not_jazz".
        confidence: of that limit, for each of the two by itself.
        seed: of the bootstrap.

    Raises:
        ValueError: a class has fewer than two sources, or a number is out of its range.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels).astype(np.int64)
    if not (0 < error < 0.5 and 0 < confidence < 1):
        raise ValueError(f"error {error} must lie in 0..0.5 and confidence {confidence} in 0..1")
    strata = _strata(y, sources)
    if len({stratum for stratum in strata.tolist() if stratum % 2}) < 2 or (
        len({stratum for stratum in strata.tolist() if stratum % 2 == 0}) < 2
    ):
        raise ValueError("each class needs pieces of two sources: they are the unit of chance here")
    rng = np.random.default_rng(seed)
    high, jazz = _side(p[:, None] >= CANDIDATES, y == 1, strata, error, confidence, rng)
    low, rest = _side(p[:, None] < 1 - CANDIDATES, y == 0, strata, error, confidence, rng)
    band = (
        0.0 if low is None else float(1 - CANDIDATES[low]),
        1.0 if high is None else float(CANDIDATES[high]),
    )
    sure = _sure(p, *band)
    coverage = float(np.average(sure, weights=even_weights(y, sources)))
    return Thresholds(*band, error, confidence, coverage, jazz, rest)


def by_source(
    probabilities: Sequence[float] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    sources: Sequence[str] | np.ndarray,
    low: float,
    high: float,
) -> list[SureRow]:
    """Coverage and error of a band, a row a source."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels).astype(np.int64)
    names = np.asarray(sources, dtype=str)
    wrong = np.where(y == 1, p < low, p >= high)
    rows = []
    for name in np.unique(names):
        here = names == name
        sure = _sure(p[here], low, high)
        rate = float(wrong[here][sure].mean()) if sure.any() else None
        rows.append(SureRow(str(name), len(sure), int(y[here].sum()), float(sure.mean()), rate))
    return rows


def left_out(
    probabilities: Sequence[float] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    sources: Sequence[str] | np.ndarray,
    error: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[SureRow]:
    """What the promise is worth on a source that took no part: each row's band is the others'.

    Raises:
        ValueError: as for `thresholds`, where a source is missed.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels).astype(np.int64)
    names = np.asarray(sources, dtype=str)
    rows = []
    for name in np.unique(names):
        here = names == name
        band = thresholds(p[~here], y[~here], names[~here], error, confidence, seed)
        rows += by_source(p[here], y[here], names[here], band.low, band.high)
    return rows


def table(rows: Sequence[SureRow]) -> str:
    """Rows as a table in GitHub's markdown."""
    lines = [
        "| source | pieces | jazz | sure | wrong among the sure |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        name = row.source.replace("|", "\\|")
        wrong = "-" if row.error is None else f"{row.error:.3f}"
        lines.append(f"| {name} | {row.n} | {row.n_jazz} | {row.coverage:.3f} | {wrong} |")
    return "\n".join(lines) + "\n"


def _sure(p: np.ndarray, low: float, high: float) -> np.ndarray:
    # A bound of 1 is none that was found, and a sigmoid may round to it.
    return (p < low) | ((p >= high) & (high < 1))


def _strata(y: np.ndarray, sources: Sequence[str] | np.ndarray) -> np.ndarray:
    """(N,) a number for each (source, class), odd for jazz; small ones of a class share one."""
    _, place = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
    if place.shape != y.shape:
        raise ValueError(f"{len(place)} sources for {len(y)} pieces")
    strata = 2 * (place + 1) + y  # 0 and 1 are the small ones'
    numbers, back, counts = np.unique(strata, return_inverse=True, return_counts=True)
    return np.where(counts < FEWEST, numbers % 2, numbers)[back]


def _side(
    given: np.ndarray,
    own: np.ndarray,
    strata: np.ndarray,
    error: float,
    confidence: float,
    rng: np.random.Generator,
) -> tuple[int | None, Side]:
    """The most lenient candidate whose limit keeps the error rate, and its figures.

    Args:
        given: bool (N, C), whether a piece gets the verdict at each candidate, strictest last.
        own: bool (N,), whether it deserves the verdict.
        strata: (N,) from `_strata`.
    """
    right, right_draws = _rates(given[own], strata[own], rng)
    wrong, wrong_draws = _rates(given[~own], strata[~own], rng)
    upper = np.quantile(wrong_draws / (wrong_draws + right_draws), confidence, axis=0)  # (C,)
    best = int(upper.argmin())
    if upper[best] > error:
        return None, Side(None, float(upper[best]), 0.0)
    # The strictest candidates have too few verdicts to prove anything, so the walk begins at the
    # surest one and ends at the first that fails. Bates et al. begin at one fixed beforehand: what
    # the same pieces chose is a little too sure, see `thresholds`.
    while best and upper[best - 1] <= error:
        best -= 1
    rate = float(wrong[best] / max(wrong[best] + right[best], 1e-12))
    return best, Side(rate, float(upper[best]), float(right[best]))


def _rates(
    given: np.ndarray, strata: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Share of pieces given the verdict, sources weighing evenly: (C,), and draws of it (D, C)."""
    numbers = np.unique(strata)
    pieces = np.array([(strata == number).sum() for number in numbers])  # (S,)
    hits = np.stack([given[strata == number].sum(0) for number in numbers])  # (S, C)
    # A flat Dirichlet's mean varies less than a mean of so few; this one's variance is unbiased.
    spread = max(len(numbers) - 2, 0.5) / len(numbers)
    weights = rng.dirichlet(np.full(len(numbers), spread), size=DRAWS)  # (D, S)
    draws = np.zeros((DRAWS, given.shape[1]))
    for weight, count, hit in zip(weights.T, pieces, hits, strict=True):
        draws += weight[:, None] * rng.beta(hit + 0.5, count - hit + 0.5, size=draws.shape)
    return (hits / pieces[:, None]).mean(0), draws
