"""How well a table of fingerprints ranks jazz above the rest: in sources it knows, and in others.

Every split is by group (work and artist): a model that has met a piece's work or its pianist would
be asked what it knows by heart. Small boosted trees do the ranking, since a fingerprint is seldom a
slope ("exactly 220 ticks") and they need no scaling.

Shapes: P pieces, W rows of a table (one a piece, or one a window), F features.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

FOLDS = 5
DRAWS = 200  # of a bootstrap
HALVINGS = 6
TREES = 40


@dataclass(frozen=True)
class Pieces:
    """Facts of the pieces under audit, arrays (P,).

    Attributes:
        jazz: the label.
        source: where a piece comes from.
        group: works and artists that hang together.
    """

    jazz: np.ndarray
    source: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.jazz)


@dataclass(frozen=True)
class Table:
    """Fingerprints: `values` (W, F), and `piece` (W,), the piece each row belongs to, ascending."""

    values: np.ndarray
    piece: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """An area under the curve with its 95% interval; `count` pieces, groups or sources."""

    auc: float
    low: float
    high: float
    count: int


def auc(scores: np.ndarray, jazz: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of pairs (jazz, not) ranked right, ties counted half.

    Args:
        scores: (P,).
        jazz: bool (P,).
        weights: (..., P) how often each piece counts; None counts each once.

    Returns:
        (...); nan where a class has no weight.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))  # of each run of equal scores
    plus = np.add.reduceat(weights[..., order] * jazz[order], first, axis=-1)
    minus = np.add.reduceat(weights[..., order] * ~jazz[order], first, axis=-1)
    below = np.cumsum(minus, axis=-1) - minus / 2
    pairs = plus.sum(-1) * minus.sum(-1)
    return np.where(pairs > 0, (plus * below).sum(-1) / np.where(pairs > 0, pairs, 1), np.nan)


def estimate(scores: np.ndarray, jazz: np.ndarray, group: np.ndarray, seed: int) -> Estimate:
    """The area with an interval from drawing whole groups with replacement."""
    members, place = np.unique(group, return_inverse=True)
    generator = np.random.default_rng([seed, 1])
    drawn = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=DRAWS)
    areas = auc(scores, jazz, drawn[:, place].astype(np.float64))
    areas = areas[~np.isnan(areas)]
    low, high = np.quantile(areas, [0.025, 0.975]) if len(areas) else (np.nan, np.nan)
    return Estimate(float(auc(scores, jazz)), float(low), float(high), len(jazz))


def mean_over_sources(found: dict[str, Estimate], seed: int) -> Estimate | None:
    """The mean area over sources, with an interval from drawing sources; None without any."""
    areas = np.array([one.auc for one in found.values()])
    if not len(areas):
        return None
    generator = np.random.default_rng([seed, 2])
    means = areas[generator.integers(len(areas), size=(1000, len(areas)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(areas.mean()), float(low), float(high), len(areas))


def folds_of(pieces: Pieces, seed: int) -> np.ndarray:
    """The fold (P,) of each piece: whole groups, the largest first, to the fold that lacks most."""
    members, place = np.unique(pieces.group, return_inverse=True)
    counts = np.zeros((len(members), 2))
    np.add.at(counts, (place, pieces.jazz.astype(int)), 1)
    total = np.maximum(counts.sum(0), 1)
    order = np.random.default_rng([seed, 3]).permutation(len(members))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    have = np.zeros((FOLDS, 2))
    fold = np.zeros(len(members), dtype=np.int64)
    for member in order:
        fold[member] = int(((have / total) @ counts[member]).argmin())
        have[fold[member]] += counts[member]
    return fold[place]


def cross_validated(table: Table, pieces: Pieces, folds: np.ndarray, seed: int) -> np.ndarray:
    """Scores (P,) of each piece by a model that met none of its group; nan where none could be."""
    scores = np.full(len(pieces), np.nan)
    for fold in range(FOLDS):
        test = folds == fold
        if test.any():
            scores[test] = _scores(table, pieces, ~test, test, seed)
    return scores


def left_out(
    table: Table, pieces: Pieces, folds: np.ndarray, fewest: int, seed: int
) -> dict[str, Estimate]:
    """Area on every source of some size by a model that never met it.

    A source of one class is ranked against the other class's pieces of one fold of the other
    sources, which are kept out of training too. Sources whose absence leaves training without a
    class are passed over.
    """
    found = {}
    for source in np.unique(pieces.source):
        inside = pieces.source == source
        if inside.sum() < fewest:
            continue
        beside = np.zeros(len(pieces), dtype=bool)
        if len(np.unique(pieces.jazz[inside])) == 1:
            beside = ~inside & (folds == 0) & (pieces.jazz != pieces.jazz[inside][0])
        test = inside | beside
        train = ~test & ~np.isin(pieces.group, pieces.group[test])
        scores = _scores(table, pieces, train, test, seed)
        if not np.isnan(scores).any() and len(np.unique(pieces.jazz[test])) == 2:
            one = estimate(scores, pieces.jazz[test], pieces.group[test], seed)
            found[str(source)] = Estimate(one.auc, one.low, one.high, int(inside.sum()))
    return found


def unseen(table: Table, pieces: Pieces, fewest: int, seed: int) -> dict[str, Estimate]:
    """Area on every source of some size against the other label, all of sources never met.

    `left_out` ranks a new source against pieces of known sources, and those may be told by their
    machine alone. Here half of each label's sources trains and the other half is ranked, several
    times over; a source's area is their mean, with their range and their number.
    """
    generator = np.random.default_rng([seed, 5])
    names, place = np.unique(pieces.source, return_inverse=True)
    share = np.bincount(place, pieces.jazz) / np.bincount(place)
    areas: dict[str, list[float]] = {}
    for _ in range(HALVINGS):
        half = np.zeros(len(names), dtype=bool)
        for members in (np.flatnonzero(share >= 0.5), np.flatnonzero(share < 0.5)):
            half[generator.permutation(members)[: (len(members) + 1) // 2]] = True
        for chosen in (half, ~half):
            test = chosen[place]
            train = ~test & ~np.isin(pieces.group, pieces.group[test])
            scores = np.full(len(pieces), np.nan)
            scores[test] = _scores(table, pieces, train, test, seed)
            for name in names[chosen]:
                inside = pieces.source == name
                if len(np.unique(pieces.jazz[inside])) == 1:
                    asked = inside | (test & (pieces.jazz != pieces.jazz[inside][0]))
                else:
                    asked = inside
                area = float(auc(scores[asked], pieces.jazz[asked]))
                if inside.sum() >= fewest and not np.isnan([area, *scores[asked]]).any():
                    areas.setdefault(str(name), []).append(area)
    return {
        name: Estimate(
            float(np.mean(found)), float(np.min(found)), float(np.max(found)), len(found)
        )
        for name, found in sorted(areas.items())
    }


def recognised(table: Table, pieces: Pieces, source: str, seed: int) -> float:
    """Area of telling one source's pieces from all others', each judged by the other half's model.

    Halves are of pieces and not of groups: this asks what machine a file went through, and a source
    of one artist would lie in one half whole.
    """
    inside = pieces.source == source
    half = np.zeros(len(pieces), dtype=bool)
    generator = np.random.default_rng([seed, 4])
    for members in (np.flatnonzero(inside), np.flatnonzero(~inside)):
        half[generator.permutation(members)[::2]] = True
    asked = Pieces(inside, np.where(inside, source, ""), np.arange(len(pieces)))
    scores = np.zeros(len(pieces))
    scores[half] = _scores(table, asked, ~half, half, seed)
    scores[~half] = _scores(table, asked, half, ~half, seed)
    return float(auc(scores, inside))


def _scores(
    table: Table, pieces: Pieces, train: np.ndarray, test: np.ndarray, seed: int
) -> np.ndarray:
    """Mean log-odds of jazz (test pieces,) over a piece's rows; nan if training lacks a class."""
    rows = train[table.piece]
    target = pieces.jazz[table.piece[rows]]
    if len(np.unique(target)) < 2 or not test[table.piece].any():
        return np.full(int(test.sum()), np.nan)
    model = HistGradientBoostingClassifier(
        max_iter=TREES, learning_rate=0.2, max_leaf_nodes=15, l2_regularization=1.0, max_bins=127,
        min_samples_leaf=min(20, 2 + len(target) // 50), early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(table.values[rows], target, sample_weight=_weights(pieces, train)[table.piece[rows]])
    asked = test[table.piece]
    odds = model.decision_function(table.values[asked])
    owner = table.piece[asked]
    sums = np.bincount(owner, odds, len(pieces)) / np.maximum(
        np.bincount(owner, minlength=len(pieces)), 1
    )
    return sums[test]


def _weights(pieces: Pieces, train: np.ndarray) -> np.ndarray:
    """Weights (P,): labels evenly, a label's sources by the root of their size, as in training."""
    weights = np.zeros(len(pieces))
    for label in (False, True):
        chosen = train & (pieces.jazz == label)
        _, place, counts = np.unique(pieces.source[chosen], return_inverse=True, return_counts=True)
        weights[chosen] = 1 / np.sqrt(counts)[place] if len(counts) else 0
        weights[chosen] *= chosen.sum() / max(weights[chosen].sum(), 1e-12)
    return weights
