"""Calibration finds what was put in; the band of "unsure" keeps its promise on other sources."""

import json

import numpy as np
import pytest

from discriminator.calibration import (
    FEWEST,
    _rates,
    _sure,
    by_source,
    calibrate,
    even_weights,
    left_out,
    table,
    thresholds,
)


def world(
    seed: int, sources: tuple[int, int], spread: float, pieces: int = 60, apart: float = 2.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and sources: every source's log-odds lie a little elsewhere."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1] * sources[0] + [0] * sources[1], pieces)
    place = np.repeat(rng.normal(0, spread, sum(sources)), pieces)
    odds = apart * (2 * labels - 1) + place + rng.normal(0, 1.5, len(labels))
    names = np.repeat([f"s{number:02}" for number in range(sum(sources))], pieces)
    return 1 / (1 + np.exp(-odds)), labels, names


def wrong_share(p: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Share of the verdicts "jazz" that are wrong where both labels are as many."""
    wrong, right = ((p[labels == label] >= threshold).mean() for label in (0, 1))
    return float(wrong / (wrong + right))


# ---- probabilities


def test_calibration_finds_the_scale_and_shift_that_were_put_in():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-truth))
    scale, bias = calibrate(2.0 * truth + 1.0, labels)
    assert scale == pytest.approx(0.5, rel=0.05)
    assert bias == pytest.approx(-0.5, abs=0.1)


def test_calibration_does_not_learn_the_share_of_jazz():
    logits, labels, _ = world(0, (20, 20), 0, 100, apart=1)
    logits = np.log(logits / (1 - logits))
    keep = (labels == 0) | (np.arange(len(labels)) % 10 == 0)
    assert calibrate(logits, labels) == pytest.approx(
        calibrate(logits[keep], labels[keep]), rel=0.25, abs=0.15
    )


def test_calibration_does_not_learn_the_size_of_a_source():
    """One source is copied ten times over: with sources named nothing moves, without it does."""
    p, labels, names = world(1, (5, 5), 1.5, 40)
    logits = np.log(p / (1 - p))
    times = np.where(names == "s00", 10, 1)
    many = [np.repeat(array, times) for array in (logits, labels, names)]
    assert calibrate(*many) == pytest.approx(calibrate(logits, labels, names), abs=1e-3)
    assert calibrate(*many[:2]) != pytest.approx(calibrate(logits, labels), abs=1e-2)


def test_a_few_pieces_do_not_make_it_sure():
    """Five of either label that lie apart: six of seven is what they can tell."""
    z, y = np.repeat([3.0, -3.0], [5, 11]), np.repeat([1, 0], [5, 11])
    scale, bias = calibrate(z, y, few=50)
    assert 1 / (1 + np.exp(-(scale * z[-1] + bias))) == pytest.approx(1 / 13, abs=0.01)
    z, y = np.repeat([3.0, -3.0], 5), np.repeat([1, 0], 5)
    scale, bias = calibrate(z, y, few=50)
    assert 1 / (1 + np.exp(-(scale * z[0] + bias))) == pytest.approx(6 / 7, abs=0.01)
    assert 1 / (1 + np.exp(-(scale * z[-1] + bias))) == pytest.approx(1 / 7, abs=0.01)
    sure, _ = calibrate(z, y)
    assert sure > 3 * scale
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], 60)
    z = rng.normal(2.0 * y - 1)
    assert calibrate(z, y, few=50) == calibrate(z, y)


def test_calibration_refuses_reversed_logits():
    with pytest.raises(ValueError, match="flip"):
        calibrate([-1.0, -2.0, 1.0, 2.0], [1, 1, 0, 0])


def test_weights_are_even_and_small_sources_count_as_one():
    labels = [1] * 30 + [0] * 50
    names = ["a"] * 20 + ["b"] * 5 + ["c"] * 5 + ["a"] * 50
    assert FEWEST == 10
    weights = even_weights(labels, names)
    assert weights.mean() == pytest.approx(1)
    assert weights[30:].sum() == pytest.approx(40)
    assert weights[:20].sum() == weights[20:30].sum() == pytest.approx(20)
    with pytest.raises(ValueError, match="2 sources for 3 pieces"):
        even_weights([0, 1, 1], ["a", "b"])


# ---- the band


def test_figures_of_a_band_by_hand():
    """The error is that of even classes and sources, whatever the number of pieces."""
    p = np.array([0.99] * 90 + [0.6] * 10 + [0.99] * 40 + [0.01] * 200 + [0.01] * 38 + [0.99] * 2)
    labels = np.array([1] * 140 + [0] * 240)
    names = np.array(["a"] * 100 + ["b"] * 40 + ["c"] * 200 + ["d"] * 40)
    band = thresholds(p, labels, names, error=0.2)
    assert band.high <= 0.6
    assert band.jazz.recall == 1.0
    # Wrong: none of c's and 2 of d's 40, on average 0.025, beside 1.0 that are right.
    assert band.jazz.error == pytest.approx(0.025 / 1.025)
    assert band.jazz.error < band.jazz.upper <= 0.2
    assert band.not_jazz.error == 0.0
    assert 0 < band.not_jazz.upper <= 0.2
    assert band.coverage == 1.0
    assert json.loads(json.dumps(band.as_dict()))["jazz"]["recall"] == 1.0
    rows = {row.source: row for row in by_source(p, labels, names, 0.5, 0.7)}
    assert (rows["a"].coverage, rows["a"].error) == (0.9, 0.0)
    assert (rows["d"].n, rows["d"].n_jazz, rows["d"].error) == (40, 0, 0.05)
    assert "| d | 40 | 0 | 1.000 | 0.050 |" in table([rows["d"]])
    (edge,) = by_source([0.7, 0.5, 0.6], [0, 1, 0], ["e"] * 3, 0.5, 0.7)
    assert (edge.coverage, edge.error) == (1 / 3, 1.0), "jazz from the upper bound on"


def test_the_promise_is_kept_on_sources_never_seen():
    """Bands from 12 and 18 sources, judged on 400 other sources."""
    fresh, labels, _ = world(999, (200, 200), 1.0)
    assert wrong_share(fresh, labels, 0.5) > 0.07  # without a band the promise would be broken
    even, sure = [], []
    for seed in range(15):
        for level, broken in ((0.5, even), (0.95, sure)):
            band = thresholds(*world(seed, (12, 18), 1.0), 0.05, level, seed)
            broken.append(band.high < 1 and wrong_share(fresh, labels, band.high) > 0.05)
            broken.append(band.low > 0 and wrong_share(1 - fresh, 1 - labels, 1 - band.low) > 0.05)
    assert np.mean(sure) <= 0.1
    assert np.mean(even) >= 0.25  # an even chance is no promise


def test_a_stricter_promise_leaves_more_unsure():
    music = world(0, (12, 18), 0.5)
    bands = [thresholds(*music, error) for error in (0.15, 0.08, 0.04)]
    assert all(band.low <= 0.5 <= band.high for band in bands)
    coverage = [band.coverage for band in bands]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] > coverage[-1]
    for band in bands:
        assert max(band.jazz.upper, band.not_jazz.upper) <= band.error
    assert thresholds(*music, 0.08) == bands[1]


def test_a_verdict_is_given_from_the_least_error_on_that_can_be_promised():
    music = world(0, (12, 18), 0.5)
    never = thresholds(*music, 0.001)
    for side in ("jazz", "not_jazz"):
        least = getattr(never, side).upper
        assert getattr(never, side).error is None
        assert getattr(thresholds(*music, 0.99 * least), side).error is None
        assert getattr(thresholds(*music, 1.01 * least), side).error is not None


def test_where_nothing_is_wrong_there_is_no_band():
    p, labels, names = world(0, (12, 12), 0.1, 60, apart=9)
    band = thresholds(p, labels, names)
    assert (band.low, band.high, band.coverage) == (0.5, 0.5, 1.0)


def test_a_rate_varies_as_a_mean_of_its_sources_does():
    chance = np.random.default_rng(1)
    strata = np.repeat(np.arange(6), 2000)
    each = np.array([0.2, 0.3, 0.5, 0.6, 0.8, 0.9])
    given = chance.random(len(strata)) < each[strata]
    rate, draws = _rates(given[:, None], strata, chance)
    assert rate == pytest.approx(each.mean(), abs=0.02)
    assert draws.std() == pytest.approx(each.std(ddof=1) / 6**0.5, rel=0.08)


def test_labels_swapped_swap_the_band():
    p, labels, names = world(3, (14, 14), 0.5, 80)
    band, other = (thresholds(*m, 0.08) for m in ((p, labels, names), (1 - p, 1 - labels, names)))
    assert other.low == pytest.approx(1 - band.high, abs=0.05)
    assert other.high == pytest.approx(1 - band.low, abs=0.05)


def test_what_tells_nothing_is_never_sure():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 200)
    band = thresholds(rng.random(400), labels, np.repeat(list("abcdefgh"), 50))
    assert (band.low, band.high, band.coverage) == (0.0, 1.0, 0.0)
    assert not _sure(np.array([0.0, 0.5, 1.0]), band.low, band.high).any()
    assert (band.jazz.error, band.not_jazz.error) == (None, None)
    assert band.jazz.upper > 0.05  # the least that could be promised
    (row, *_) = by_source([0.4, 0.9], [1, 0], ["a", "a"], band.low, band.high)
    assert (row.coverage, row.error) == (0.0, None)
    assert "| a | 2 | 1 | 0.000 | - |" in table([row])


def test_few_pieces_without_a_mistake_are_no_proof():
    labels = np.repeat([1, 0], 20)
    band = thresholds(np.where(labels == 1, 0.99, 0.01), labels, np.repeat(list("abcd"), 10))
    assert band.coverage == 0.0


def test_a_left_out_source_has_no_say_in_its_band():
    """A source of pieces all wrong spoils the others' band, and shows its errors under theirs."""
    p, labels, names = world(0, (8, 8), 0.3, apart=4)
    p, names = p.copy(), names.copy()
    bad = names == "s00"
    p[bad] = 0.01
    rows = {row.source: row for row in left_out(p, labels, names, 0.1)}
    assert sorted(rows) == sorted(set(names))
    assert (rows["s00"].coverage, rows["s00"].error) == (1.0, 1.0)
    others = thresholds(p[~bad], labels[~bad], names[~bad], 0.1)
    assert others.coverage > thresholds(p, labels, names, 0.1).coverage


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [([1, 1, 0, 0], 0.05, "two sources"), ([1, 1, 0, 0], 0.7, r"0\.\.0\.5")],
)
def test_what_cannot_be_promised_is_refused(labels, error, says):
    with pytest.raises(ValueError, match=says):
        thresholds([0.9, 0.8, 0.1, 0.2], labels, ["a", "a", "b", "b"], error)
