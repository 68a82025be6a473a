"""Bootstrap intervals of areas: groups drawn whole, within their source, and over seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from discriminator.intervals import (
    LeftOut,
    _interval,
    grouped_auc,
    left_out_auc,
    left_out_differences,
)
from discriminator.metrics import auc_interval


def pieces(groups: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and groups; pieces of a group share their label and nearly their score."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups) % 2, each)
    scores = np.repeat(rng.normal(0, 1, groups), each) + labels + rng.normal(0, 0.01, groups * each)
    return labels, scores, np.repeat(np.arange(groups), each)


def width(interval) -> float:
    low, high = interval if isinstance(interval, tuple) else (interval.low, interval.high)
    return high - low


def test_copies_within_a_group_do_not_make_it_surer():
    labels, scores, groups = pieces(40, 25)
    p = 1 / (1 + np.exp(-scores))
    once = pieces(40, 1)
    grouped = grouped_auc(labels, scores, groups)
    assert grouped.value == pytest.approx(roc_auc_score(labels, scores))
    assert width(grouped) > 3 * width(auc_interval(labels, p))
    assert width(grouped) == pytest.approx(width(grouped_auc(*once)), rel=0.25)


def test_groups_of_one_piece_are_the_plain_bootstrap():
    labels, scores, groups = pieces(200, 1)
    plain = auc_interval(labels, 1 / (1 + np.exp(-scores)))
    grouped = grouped_auc(labels, scores, groups)
    assert (grouped.low, grouped.high) == pytest.approx(plain, abs=0.02)
    assert grouped == grouped_auc(labels, scores, groups)


def test_it_holds_all_but_a_fortieth_at_either_end():
    found = _interval(0.4, np.append(np.linspace(0, 1, 401), np.nan))
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.025, 0.975))


def test_a_source_keeps_its_share():
    """Two sources of one piece each, right and wrong: within its source each is always drawn."""
    labels, scores = [1, 0, 1, 0], [1.0, 0.0, 0.0, 1.0]
    sources = ["a", "b", "c", "d"]
    fixed = grouped_auc(labels, scores, sources, sources)
    assert (fixed.value, fixed.low, fixed.high) == (0.5, 0.5, 0.5)
    free = grouped_auc(labels, scores, sources)
    assert width(free) > 0.5


def test_one_class_has_no_area():
    assert grouped_auc([1, 1], [0.1, 0.2], ["a", "b"]) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 5)), min_size=2))
def test_an_interval_lies_within_its_range(rows):
    labels, scores, groups = map(np.array, zip(*rows, strict=True))
    found = grouped_auc(labels.astype(int), scores, groups, labels, resamples=50)
    if labels.all() or not labels.any():
        assert found is None
    else:
        assert 0 <= found.low <= found.high <= 1
        assert found.value == pytest.approx(roc_auc_score(labels, scores))


def runs(source: str, shifts: list[float], seed: int = 0, groups: int = 40) -> list[LeftOut]:
    """A source judged by models of several seeds, which differ in how far they part the classes."""
    labels, scores, group = pieces(groups, 3, seed)
    return [LeftOut(source, n, labels, scores + s * labels, group) for n, s in enumerate(shifts)]


def test_sources_weigh_the_same_whatever_their_size():
    found = runs("small", [0.0], groups=10) + runs("large", [3.0], groups=400)
    areas = [roc_auc_score(one.labels, one.scores) for one in found]
    result = left_out_auc(found)
    assert result.mean.value == pytest.approx(np.mean(areas))
    assert result.sources["small"].value == pytest.approx(areas[0])
    assert result.mean.low < result.mean.value < result.mean.high
    assert width(result.further) > width(result.mean)


def test_seeds_that_disagree_widen_the_interval():
    agreed = left_out_auc(runs("s", [1.0, 1.0, 1.0]))
    split = left_out_auc(runs("s", [-1.0, 1.0, 3.0]))
    assert width(split.mean) > 1.3 * width(agreed.mean)
    # With one source there is none other to draw.
    assert split.further == split.mean


def test_seeds_judge_the_same_pieces():
    first, second = runs("s", [0.0])[0], runs("s", [0.0], groups=20)[0]
    with pytest.raises(ValueError, match="differ in pieces"):
        left_out_auc([first, second])
    with pytest.raises(ValueError, match="no source"):
        left_out_auc([])
    single = LeftOut("s", 0, np.ones(3), np.ones(3), np.arange(3))
    with pytest.raises(ValueError, match="one class only"):
        left_out_auc([single])


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "says"),
    [
        ([], [], [], "must match"),
        ([0, 1], [0.1, 0.2], ["a"], "must match"),
        ([0, 2], [0.1, 0.2], ["a", "b"], "0 or 1"),
        ([0, 1], [0.1, np.nan], ["a", "b"], "finite"),
    ],
)
def test_nonsense_is_refused(labels, scores, groups, says):
    with pytest.raises(ValueError, match=says):
        grouped_auc(labels, scores, groups)


def test_a_difference_is_drawn_of_pairs():
    labels, scores, groups = pieces(60, 3)
    noise = np.random.default_rng(5).normal(0, 0.05, len(labels))
    ours = [LeftOut("bar", seed, labels, scores, groups) for seed in (0, 1)]
    theirs = [
        LeftOut("bar", seed, labels, scores - 0.3 * labels + noise, groups) for seed in (0, 1)
    ]
    gap = left_out_differences(ours, theirs)["bar"]
    assert gap.value == pytest.approx(
        roc_auc_score(labels, scores) - roc_auc_score(labels, theirs[0].scores)
    )
    assert 0 < gap.low < gap.value < gap.high, "each alone is far less sure"
    alone = left_out_auc(ours).sources["bar"]
    assert width(gap) < 0.7 * width(alone)
    back = left_out_differences(theirs, ours)["bar"]
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low))
    same = left_out_differences(ours, ours)["bar"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_difference_takes_seeds_that_both_have_and_the_same_pieces():
    labels, scores, groups = pieces(20, 1)
    ours = [LeftOut("bar", seed, labels, scores + seed, groups) for seed in range(3)]
    better = LeftOut("bar", 1, labels, labels.astype(float), groups)
    gap = left_out_differences(ours, [better])["bar"]
    assert gap.value == pytest.approx(roc_auc_score(labels, scores) - 1)
    assert left_out_differences(ours, [LeftOut("hall", 1, labels, scores, groups)]) == {}
    with pytest.raises(ValueError, match="bar: other pieces"):
        left_out_differences(ours, [LeftOut("bar", 1, labels, scores, groups[::-1])])
