"""Intervals: the textbooks' numbers, no collapse to a point, and coverage where truth is known."""

import math

import numpy as np
import pytest

from gan.evaluation.confidence import clipped, difference, jackknife, rated, share, wider, wilson
from gan.evaluation.distances import Interval


def test_wilsons_interval_is_the_one_in_the_books() -> None:
    # 8 of 10, as in Brown, Cai & DasGupta (2001) and every statistics package.
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0.0, 10)[0] == 0.0
    assert wilson(1.0, 10)[1] == 1.0
    assert wilson(0.5, 0) == (0.0, 1.0)


def test_pieces_that_all_agree_are_no_certainty() -> None:
    every, none = share(np.ones(48, dtype=bool)), share(np.zeros(48, dtype=bool))
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(0.926, abs=1e-3)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.074, abs=1e-3)
    gap = difference(every, every)
    assert gap.low < gap.value == 0.0 < gap.high


def test_a_difference_of_shares_is_newcombes() -> None:
    # 56 of 70 less 48 of 80: Newcombe (1998), table II, method 10.
    gap = difference(rated(56 / 70, 70), rated(48 / 80, 80))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=40)
    found = jackknife(lambda places: {"mean": float(values[places].mean())}, 40)["mean"]
    error = values.std(ddof=1) / math.sqrt(40)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(2.022691 * error)  # t of 39


def test_a_large_set_is_left_out_in_groups_and_its_interval_holds_the_truth() -> None:
    calls = 0

    def spread(values: np.ndarray) -> dict[str, float]:
        nonlocal calls
        calls += 1
        return {"spread": float(values.std(ddof=1))}

    held = []
    for seed in range(40):
        values = np.random.default_rng(seed).normal(size=250)
        found = jackknife(lambda places, values=values: spread(values[places]), 250)["spread"]
        held.append(found.low <= 1 <= found.high)
    assert calls == 40 * 101
    assert 0.85 <= np.mean(held) <= 1


def test_a_figure_that_some_pieces_decide_alone_has_no_interval() -> None:
    values = np.array([math.nan, 1.0, math.nan])

    def mean(places: np.ndarray) -> dict[str, float]:
        known = values[places][np.isfinite(values[places])]
        return {"": float(known.mean()) if len(known) else math.nan}

    found = jackknife(mean, 3)[""]
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert math.isnan(clipped(found, 0, 1).high)


def test_intervals_keep_to_a_figures_range_and_join() -> None:
    assert clipped(Interval(0.9, 0.7, 1.1), 0, 1) == Interval(0.9, 0.7, 1.0)
    assert wider(Interval(0.5, 0.4, 0.6), Interval(0.5, 0.45, 0.7)) == Interval(0.5, 0.4, 0.7)
