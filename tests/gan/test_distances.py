"""Distances between sets: closed forms, sets that are equal or apart, and intervals that cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.covariance import ledoit_wolf_shrinkage

from gan.evaluation import distances

histogram = arrays(np.float64, 8, elements=st.floats(0, 10)).filter(lambda h: h.sum() > 0.1)


def with_moments(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows (count, F) whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(seed).normal(size=(count, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(x.T)))).T
    return x @ np.linalg.cholesky(covariance).T + mean


@given(histogram, histogram)
def test_overlap_and_divergence_are_of_their_kind(one: np.ndarray, other: np.ndarray) -> None:
    overlap = distances.overlap_area(one, other)
    assert 0 <= overlap <= 1 + 1e-12
    assert overlap == pytest.approx(distances.overlap_area(3 * other, one))
    assert distances.divergence(one, other) >= -1e-12
    assert distances.overlap_area(one, 2 * one) == pytest.approx(1)
    assert distances.divergence(one, 2 * one) == pytest.approx(0, abs=1e-12)


def test_divergence_is_what_it_should_be() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert distances.divergence(p, q, prior=0) == pytest.approx(1)
    assert distances.divergence(q, p, prior=0) == math.inf
    assert 1 < distances.divergence(q, p) < 20  # large, finite
    assert distances.overlap_area(p, q) == pytest.approx(0.5)
    assert math.isnan(distances.overlap_area(p, np.zeros(3)))
    assert math.isnan(distances.divergence(p, np.zeros(3)))


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
def test_densities_overlap_as_gaussians_do(apart: float) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=4000), rng.normal(apart, size=4000)
    expected = math.erfc(apart / 2 / math.sqrt(2))  # 2 Φ(-d / 2)
    assert distances.density_overlap(one, other) == pytest.approx(expected, abs=0.05)


def test_densities_see_spread_and_survive_sets_of_one_value() -> None:
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0, 0.1, 500), rng.normal(0, 1, 500)
    assert distances.density_overlap(narrow, wide) < 0.4
    assert distances.density_overlap(np.zeros(5), np.zeros(5)) == pytest.approx(1)
    assert distances.density_overlap(np.zeros(5), np.ones(5)) < 0.01
    assert math.isnan(distances.density_overlap(np.array([1, np.nan]), narrow))


@given(st.integers(0, 1000), st.integers(1, 6))
def test_frechet_of_gaussians_is_the_closed_form(seed: int, width: int) -> None:
    # Covariances with common axes, whose root of the product is known.
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
    means = rng.normal(size=(2, width))
    spreads = rng.uniform(0.1, 3, size=(2, width))
    x, y = (
        with_moments(mean, turn @ np.diag(spread**2) @ turn.T, 20 + width, seed + place)
        for place, (mean, spread) in enumerate(zip(means, spreads, strict=True))
    )
    expected = ((means[0] - means[1]) ** 2).sum() + ((spreads[0] - spreads[1]) ** 2).sum()
    assert distances.frechet(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_any_gaussians_is_the_root_of_the_product() -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) + 0.3 for _ in range(2))
    first, second = np.cov(x.T), np.cov(y.T)
    root = np.sqrt(np.linalg.eigvals(first @ second).real).sum()  # positive for covariances
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(first) + np.trace(second) - 2 * root
    assert distances.frechet(x, y) == pytest.approx(expected)
    assert distances.frechet(y, x) == pytest.approx(expected)


def test_frechet_stands_few_samples_and_far_features() -> None:
    x = np.random.default_rng(0).normal(size=(5, 40)) * np.geomspace(1e-6, 1e4, 40)
    assert distances.frechet(x, x) == pytest.approx(0, abs=1e-6)
    assert distances.frechet(x, x + 1) == pytest.approx(40)
    assert np.isfinite(distances.frechet(x, 2 * x, shrinkage=None))


def test_shrinkage_is_ledoit_and_wolfs_and_brings_few_samples_nearer() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40, 30))
    skewed = x @ rng.normal(size=(30, 30))
    for features in (x, skewed):
        assert distances.best_shrinkage(features) == pytest.approx(ledoit_wolf_shrinkage(features))
    assert distances.frechet(x, y, shrinkage=None) < 0.3 * distances.frechet(x, y)  # truth: 0
    full = distances.frechet(x, y, shrinkage=1.0)
    gap = x.mean(0) - y.mean(0)
    spread = [30 * np.sqrt(np.trace(np.cov(z.T)) / 30) / np.sqrt(30) for z in (x, y)]
    assert full == pytest.approx(gap @ gap + (spread[0] - spread[1]) ** 2)


def test_equal_sets_are_within_reach_and_distant_ones_are_not() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5)) + 1000
    same = distances.neighbourhoods(x, x)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density == pytest.approx(1)
    apart = distances.neighbourhoods(x, x + 100)
    assert vars(apart) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    copies = np.repeat(x[:10], 10, axis=0)  # balls of no size
    assert distances.neighbourhoods(copies, copies).coverage == 1


def test_neighbourhoods_tell_collapse_from_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    fresh = distances.neighbourhoods(x, rng.normal(size=(300, 4)))
    assert fresh.density == pytest.approx(1, abs=0.15)
    assert min(fresh.precision, fresh.recall, fresh.coverage) > 0.8
    collapsed = distances.neighbourhoods(x, rng.normal(0, 0.1, size=(300, 4)))
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.3
    assert collapsed.density > 1
    noise = distances.neighbourhoods(x, rng.normal(0, 5, size=(300, 4)))
    assert noise.precision < 0.2
    assert noise.recall > 0.9


@given(st.integers(0, 10_000))
def test_neighbourhoods_are_what_a_search_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, 3)), rng.normal(0.5, 1.2, size=(9, 3))
    k = 3

    def reach(z: np.ndarray, place: int) -> float:
        return sorted(float(np.linalg.norm(z[place] - other)) for other in z)[k]

    inside = np.array([[np.linalg.norm(a - b) <= reach(x, i) for b in y] for i, a in enumerate(x)])
    back = np.array([[np.linalg.norm(a - b) <= reach(y, j) for j, b in enumerate(y)] for a in x])
    found = distances.neighbourhoods(x, y, k)
    assert found.precision == pytest.approx(inside.any(0).mean())
    assert found.coverage == pytest.approx(inside.any(1).mean())
    assert found.density == pytest.approx(inside.sum() / k / len(y))
    assert found.recall == pytest.approx(back.any(1).mean())


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hit = 0
    for trial in range(60):
        seeds = [rng.normal(rng.normal(0, 1), 1, size=20) for _ in range(12)]
        found = distances.interval(seeds, draws=200, seed=trial)
        hit += found.low <= 0 <= found.high
    assert 49 <= hit <= 60  # of 95%, a little narrow with twelve seeds


def test_seeds_count_and_not_only_pieces() -> None:
    rng = np.random.default_rng(0)
    seeds = [rng.normal(mean, 0.1, size=200) for mean in (-1, 0, 1)]
    apart = distances.interval(seeds)
    together = distances.interval([np.concatenate(seeds)])
    assert apart.value == pytest.approx(together.value)
    assert apart.high - apart.low > 5 * (together.high - together.low)


def test_a_difference_has_an_interval_of_any_statistic() -> None:
    rng = np.random.default_rng(0)
    one, other = ([rng.normal(mean, 1, size=(40, 3)) for _ in range(3)] for mean in (0.0, 1.0))
    reference = rng.normal(size=(100, 3))

    def far(pieces: np.ndarray) -> float:
        return distances.frechet(pieces, reference)

    found = distances.interval(other, far, against=one, draws=100)
    assert found.low < found.value < found.high
    assert found.low > 1.5
    again = distances.interval(other, far, against=one, draws=100)
    assert again == found


def test_what_cannot_be_measured_is_refused() -> None:
    x = np.zeros((10, 3))
    with pytest.raises(ValueError, match="6 pieces"):
        distances.neighbourhoods(x, x[:5])
    with pytest.raises(ValueError, match="3 features against 2"):
        distances.frechet(x, x[:, :2])
    with pytest.raises(ValueError, match="finite"):
        distances.frechet(x, x * np.nan)
    with pytest.raises(ValueError, match="between 0 and 1"):
        distances.frechet(x, x, shrinkage=2)
    with pytest.raises(ValueError, match="every arm"):
        distances.interval([np.zeros(0)])
