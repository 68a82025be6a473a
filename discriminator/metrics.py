"""How well p(jazz) separates, and how far it can be believed.

A single figure over a mixed corpus hides the shortcut of telling sources apart, so every figure is
also given source by source. Calibration error after Guo et al. 2017. Labels are 1 for jazz and 0
for not-jazz throughout. Intervals that draw works or artists whole: `discriminator.intervals`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

BINS = 15
RESAMPLES = 1000
FEW = 20  # of a class: a resample of fewer hardly varies, and its interval is too narrow
HEAD = (
    "source", "pieces", "jazz", "AUC", "average precision", "balanced accuracy",
    "calibration error", "mean p(jazz)",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """The figures of one group of pieces; None where a figure cannot be had.

    Attributes:
        source: the group's name.
        n, n_jazz: pieces, and jazz pieces among them.
        auc: area under the ROC curve.
        average_precision: area under the precision-recall curve; depends on the share of jazz.
        accuracy: balanced accuracy at 0.5; the plain one where the group holds a single class.
        calibration_error: expected calibration error over 15 equal bins.
        mean_p: mean p(jazz).
        against_all: the group holds one class, so AUC and average precision rank it against every
            held-out piece of the other class: never compare them with a group's own.
    """

    source: str
    n: int
    n_jazz: int
    auc: float | None
    average_precision: float | None
    accuracy: float
    calibration_error: float
    mean_p: float
    against_all: bool = False


@dataclass(frozen=True)
class Report:
    """The figures over all pieces, the 95% interval of their AUC, and a row for each source."""

    overall: Row
    auc_interval: tuple[float, float] | None
    sources: tuple[Row, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return asdict(self)

    def table(self) -> str:
        """The report as a table in GitHub's markdown."""
        cells = [[_escaped(cell) for cell in row] for row in self.rows()]
        rule = "|---|" + "---:|" * (len(HEAD) - 1)
        text = [_line(HEAD), rule, *map(_line, cells)]
        for remark in self.remarks():
            text += ["", _escaped(remark)]
        return "\n".join(text) + "\n"

    def rows(self) -> list[list[str]]:
        """The cells below `HEAD`; a star marks what is ranked against all, see `remarks`."""
        return [_cells(row) for row in (self.overall, *self.sources)]

    def remarks(self) -> list[str]:
        """What is to be said below the table."""
        said = []
        if self.auc_interval:
            low, high = self.auc_interval
            said.append(f"95% interval of the overall AUC: {low:.3f} to {high:.3f}.")
            rarer = min(self.overall.n_jazz, self.overall.n - self.overall.n_jazz)
            if rarer < FEW:
                said.append(f"Of one class there are {rarer}: too few for this interval to hold.")
        if any(row.against_all and row.auc is not None for row in self.sources):
            said.append("* one class only: ranked against all pieces of the other class.")
        return said


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    star = "*" if row.against_all else ""
    ranked = (row.auc, row.average_precision)
    figures = (row.accuracy, row.calibration_error, row.mean_p)
    return [
        row.source,
        str(row.n),
        str(row.n_jazz),
        *("-" if value is None else f"{value:.3f}{star}" for value in ranked),
        *(f"{value:.3f}" for value in figures),
    ]


def report(
    labels: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    sources: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
) -> Report:
    """All figures of a set of pieces.

    Args:
        labels: (N,) 1 for jazz, 0 for not.
        probabilities: (N,) p(jazz) in 0..1.
        sources: (N,) where each piece is from, for the rows by source.
        seed: of the bootstrap behind the interval.

    Raises:
        ValueError: the arrays do not match, are empty, or hold anything else.
    """
    y, p = _checked(labels, probabilities)
    rows = () if sources is None else tuple(by_source(y, p, sources))
    return Report(_row("all", y, p, *_rank(y, p)), auc_interval(y, p, seed=seed), rows)


def by_source(
    labels: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    sources: Sequence[str] | np.ndarray,
) -> list[Row]:
    """One row a source, by name; see `Row.against_all` for sources of a single class."""
    y, p = _checked(labels, probabilities)
    names = np.asarray(sources, dtype=str)
    if names.shape != y.shape:
        raise ValueError(f"{len(names)} sources for {len(y)} pieces")
    rows = []
    for name in np.unique(names):
        here = names == name
        single = y[here].min() == y[here].max()
        ranked = here | (y != y[here][0]) if single else here
        rows.append(_row(str(name), y[here], p[here], *_rank(y[ranked], p[ranked]), bool(single)))
    return rows


def calibration_error(
    labels: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    bins: int = BINS,
    weights: np.ndarray | None = None,
) -> float:
    """Expected calibration error: |mean p(jazz) - share of jazz|, averaged over pieces' bins.

    Args:
        labels: (N,) 1 for jazz, 0 for not.
        probabilities: (N,) p(jazz).
        bins: of equal width.
        weights: (N,) what each piece counts; all the same where left out.
    """
    y, p = _checked(labels, probabilities)
    count = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    which = np.minimum((p * bins).astype(int), bins - 1)
    gap = np.bincount(which, weights=count * (p - y), minlength=bins)
    return float(np.abs(gap).sum() / count.sum())


def auc_interval(
    labels: Sequence[int] | np.ndarray,
    probabilities: Sequence[float] | np.ndarray,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """The 95% bootstrap interval of the AUC over pieces, None where a class is missing."""
    y, p = _checked(labels, probabilities)
    if y.min() == y.max():
        return None
    _, level = np.unique(p, return_inverse=True)  # pieces of one level are tied
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y))
        jazz = np.bincount(level, weights=drawn * y)
        other = np.bincount(level, weights=drawn * (1 - y))
        pairs = jazz.sum() * other.sum()
        if pairs:  # a small set's resample may lack a class
            values.append(float(jazz @ (np.cumsum(other) - other / 2) / pairs))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _checked(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    y, p = np.asarray(labels).astype(np.int64), np.asarray(probabilities, dtype=np.float64)
    if y.ndim != 1 or y.shape != p.shape or not len(y):
        raise ValueError(f"labels {y.shape} and probabilities {p.shape} must match, not empty")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must lie within 0 and 1")
    return y, p


def _rank(y: np.ndarray, p: np.ndarray) -> tuple[float | None, float | None]:
    if y.min() == y.max():
        return None, None
    return float(roc_auc_score(y, p)), float(average_precision_score(y, p))


def _row(
    name: str,
    y: np.ndarray,
    p: np.ndarray,
    auc: float | None,
    average_precision: float | None,
    against_all: bool = False,
) -> Row:
    right = (p >= 0.5) == y
    accuracy = np.mean([right[y == label].mean() for label in np.unique(y)])
    return Row(
        source=name,
        n=len(y),
        n_jazz=int(y.sum()),
        auc=auc,
        average_precision=average_precision,
        accuracy=float(accuracy),
        calibration_error=calibration_error(y, p),
        mean_p=float(p.mean()),
        against_all=against_all,
    )
