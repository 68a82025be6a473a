"""How far one set of music is from another, and how sure one can be of any such figure.

Overlap and divergence of histograms (Yang & Lerch 2020), the Fréchet distance of Gaussians (Heusel
et al. 2017), precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al.
2020), and bootstrap intervals that draw seeds first and pieces within them (Davison & Hinkley
1997): pieces of one trained model are no independent evidence about the way it was trained.

Letters: A, B pieces of two sets, F features, S seeds, D draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from discriminator.intervals import Interval

PRIOR = 1e-3  # share of an even histogram mixed in, so that an empty bin costs much but not all
_GRID = 512  # points a density is drawn at
_TIE = 1e-9  # of the mean squared length: what rounding may do to a squared distance


def overlap_area(first: np.ndarray, second: np.ndarray) -> float:
    """The area two histograms share, 0 to 1; each (K,) is divided by its own sum.

    NaN where one of them is empty.
    """
    p, q = _shares(first), _shares(second)
    return float(np.minimum(p, q).sum())


def divergence(real: np.ndarray, generated: np.ndarray, prior: float = PRIOR) -> float:
    """Kullback-Leibler divergence KL(real ‖ generated) of two histograms (K,), in bits.

    It is large where real music has what is never generated. NaN where one of them is empty.

    Args:
        real, generated: counts or shares.
        prior: share of an even histogram mixed into both.
    """
    p, q = ((1 - prior) * _shares(h) + prior / len(h) for h in (real, generated))
    if np.isnan(p + q).any():
        return float("nan")
    held = p > 0
    with np.errstate(divide="ignore"):
        return float((p[held] * np.log2(p[held] / q[held])).sum())


def _shares(histogram: np.ndarray) -> np.ndarray:
    values = np.asarray(histogram, dtype=np.float64)
    total = values.sum()
    return values / total if total > 0 else np.full(len(values), np.nan)


def density_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """The area shared by the densities of one figure in two sets, 0 to 1.

    Gaussian kernels with Scott's (1992) width, as Yang & Lerch draw them. Equal means with unequal
    spread, which a comparison of means misses, overlap less than 1.

    Args:
        first, second: (A,) and (B,); NaN are left out, and NaN comes back for a set of fewer than
            two.
    """
    sets = [values[np.isfinite(values)] for values in map(np.asarray, (first, second))]
    if min(map(len, sets)) < 2:
        return float("nan")
    both = np.concatenate(sets)
    # A set of one value has no spread of its own to be smoothed by.
    least = max(float(np.ptp(both)), 1e-9) / _GRID
    widths = [max(float(values.std(ddof=1)) * len(values) ** -0.2, least) for values in sets]
    margin = 4 * max(widths)
    grid = np.linspace(both.min() - margin, both.max() + margin, _GRID)
    curves = []
    for values, width in zip(sets, widths, strict=True):
        curve = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(1)
        curves.append(curve / curve.sum())
    return float(np.minimum(*curves).sum())


def frechet(first: np.ndarray, second: np.ndarray, shrinkage: float | None = 0.0) -> float:
    """Squared Fréchet distance of two Gaussians fitted to sets of features.

    |m1 - m2|² + Tr(C1 + C2 - 2 (C1 C2)^½). The last trace is the sum of the singular values of
    R1ᵀ R2, where C = R Rᵀ: no root of an unsymmetric matrix, nothing complex, and fewer pieces than
    features do no harm. Few samples make it too large, so that sets of one size only compare.

    Args:
        first, second: (A, F) and (B, F), two pieces at least.
        shrinkage: share of each covariance given to a multiple of the identity; None for the share
            that Ledoit & Wolf (2004) find best for each set.

    Raises:
        ValueError: too few pieces, features that do not match, or no finite numbers.
    """
    x, y = _matrix(first, 2), _matrix(second, 2)
    _same_features(x, y)
    gap = x.mean(0) - y.mean(0)
    roots = [_root(values - values.mean(0), shrinkage) for values in (x, y)]
    shared = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    spread = sum(float((root**2).sum()) for root in roots)
    return max(float(gap @ gap) + spread - 2 * float(shared), 0.0)


def _root(centred: np.ndarray, shrinkage: float | None) -> np.ndarray:
    """R (F, R) with R Rᵀ the covariance of centred features (A, F)."""
    share = best_shrinkage(centred) if shrinkage is None else shrinkage
    if not 0 <= share <= 1:
        raise ValueError(f"shrinkage must lie between 0 and 1, not {share}")
    root = centred.T / np.sqrt(len(centred) - 1)
    if share == 0:
        return root
    covariance = root @ root.T
    mean = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt((1 - share) * values.clip(0) + share * mean)


def best_shrinkage(features: np.ndarray) -> float:
    """The share of the identity in a covariance that Ledoit & Wolf (2004) expect least error of."""
    x = features - features.mean(0)
    count, width = x.shape
    covariance = x.T @ x / count
    mean = np.trace(covariance) / width
    away = ((covariance - mean * np.eye(width)) ** 2).sum()
    noise = (((x**2).sum(1) ** 2).sum() / count - (covariance**2).sum()) / count
    return float(min(max(noise, 0.0) / away, 1.0)) if away > 0 else 0.0


@dataclass(frozen=True)
class Neighbourhoods:
    """Two sets by who is near whom.

    Attributes:
        precision: share of the generated that lie within the real set's reach.
        recall: share of the real that lie within the generated set's reach.
        density: mean number of real neighbourhoods, over k, a generated piece lies in; 1 for equal
            distributions, over 1 for a crowd in the middle.
        coverage: share of real neighbourhoods with a generated piece in it.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real: np.ndarray, generated: np.ndarray, k: int = 5) -> Neighbourhoods:
    """Precision, recall, density and coverage with balls that reach to the k-th neighbour.

    A piece on the edge of a ball is within it but for density, which would exceed 1 for equal sets.

    Args:
        real, generated: (A, F) and (B, F), over `k` pieces each.
        k: neighbours; 5 after Naeem et al., 3 in Kynkäänniemi et al.

    Raises:
        ValueError: too few pieces, features that do not match, or no finite numbers.
    """
    x, y = _matrix(real, k + 1), _matrix(generated, k + 1)
    _same_features(x, y)
    centre = np.concatenate([x, y]).mean(0)
    x, y = x - centre, y - centre
    tie = _TIE * float((x**2).sum(1).mean() + (y**2).sum(1).mean())
    # The smallest is a piece's distance from itself.
    near_real, near_made = (np.partition(_squares(z, z), k, axis=1)[:, k] for z in (x, y))
    between = _squares(x, y)  # (A, B)
    within = between <= near_real[:, None] + tie
    return Neighbourhoods(
        precision=float(within.any(0).mean()),
        recall=float((between <= near_made + tie).any(1).mean()),
        density=float((between < near_real[:, None] - tie).sum(0).mean()) / k,
        coverage=float(within.any(1).mean()),
    )


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances (A, B)."""
    return ((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T).clip(0)


def _matrix(features: np.ndarray, least: int) -> np.ndarray:
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < least:
        raise ValueError(f"features {values.shape}: {least} pieces or more are needed, as rows")
    if not np.isfinite(values).all():
        raise ValueError("features must be finite")
    return values


def _same_features(x: np.ndarray, y: np.ndarray) -> None:
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} features against {y.shape[1]}")


def mean_of(values: np.ndarray) -> float:
    """The mean over pieces, those without a value left out; NaN for none at all."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def interval(
    seeds: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], float] = mean_of,
    against: Sequence[np.ndarray] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic of all pieces and its 95% bootstrap interval over seeds and pieces.

    Each draw takes seeds with replacement and then, of each, its pieces with replacement. With one
    seed the interval is about that one model; with two or three it is still too narrow, since S
    seeds drawn from S show (S - 1) / S of their variance.

    Args:
        seeds: of each of S seeds its pieces' values (N,) or features (N, F).
        statistic: of the pieces of all drawn seeds together, (N,) or (N, F).
        against: another arm's seeds; the figure is then the first arm's minus this one's.
        draws: D.
        seed: of the draws.

    Raises:
        ValueError: no seeds, or a seed without pieces.
    """
    arms = [list(map(np.asarray, arm)) for arm in (seeds, against) if arm is not None]
    if any(not arm or any(not len(pieces) for pieces in arm) for arm in arms):
        raise ValueError("every arm needs a seed and every seed a piece")
    rng = np.random.default_rng(seed)

    def drawn(arm: list[np.ndarray]) -> np.ndarray:
        chosen = [arm[number] for number in rng.integers(len(arm), size=len(arm))]
        return np.concatenate([
            pieces[rng.integers(len(pieces), size=len(pieces))] for pieces in chosen
        ])  # fmt: skip

    def figure(sets: Sequence[np.ndarray]) -> float:
        return statistic(sets[0]) - statistic(sets[1]) if len(sets) > 1 else statistic(sets[0])

    values = np.array([figure([drawn(arm) for arm in arms]) for _ in range(draws)])
    whole = figure([np.concatenate(arm) for arm in arms])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
    return Interval(whole, float(low), float(high))
