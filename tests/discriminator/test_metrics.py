"""Figures worked by hand, and scikit-learn's where it has them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from discriminator.metrics import (
    HEAD,
    auc_interval,
    by_source,
    calibration_error,
    report,
)

LABELS = [1, 1, 0, 0]
PROBABILITIES = [0.9, 0.4, 0.6, 0.1]


def noisy(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    logits = 2.0 * (labels - 0.5) + rng.normal(0, 1.5, n)
    return labels, 1 / (1 + np.exp(-logits))


def test_four_pieces_by_hand():
    row = report(LABELS, PROBABILITIES).overall
    assert row.auc == pytest.approx(3 / 4)  # one of four pairs is the wrong way round
    assert row.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert row.accuracy == pytest.approx(0.5)
    # Four bins of one piece each: gaps 0.1, 0.6, 0.6, 0.1.
    assert row.calibration_error == pytest.approx(0.35)
    assert (row.n, row.n_jazz, row.mean_p) == (4, 2, pytest.approx(0.5))
    assert report([1, 0], [0.5, 0.4]).overall.accuracy == 1.0, "a half is jazz"


def test_pieces_of_one_bin_cancel_out():
    assert calibration_error([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5]) == pytest.approx(0.0)
    assert calibration_error([1, 1, 1, 0], [0.5, 0.5, 0.5, 0.5]) == pytest.approx(0.25)
    assert calibration_error([1, 0], [1.0, 0.0]) == 0.0
    assert calibration_error([0, 1], [1.0, 0.0]) == 1.0
    weights = np.array([3.0, 1.0])  # three pieces and one, in one bin
    assert calibration_error([1, 0], [0.9, 0.9], weights=weights) == pytest.approx(0.15)


def test_scikit_learn_agrees():
    labels, probabilities = noisy()
    row = report(labels, probabilities).overall
    assert row.auc == pytest.approx(roc_auc_score(labels, probabilities))
    assert row.average_precision == pytest.approx(average_precision_score(labels, probabilities))
    assert row.accuracy == pytest.approx(balanced_accuracy_score(labels, probabilities >= 0.5))


def test_a_source_of_one_class_is_ranked_against_the_rest_and_says_so():
    labels = [1, 1, 0, 1, 0]
    probabilities = [0.9, 0.3, 0.2, 0.8, 0.7]
    sources = ["solo", "solo", "score", "mixed", "mixed"]
    rows = {row.source: row for row in by_source(labels, probabilities, sources)}
    assert list(rows) == ["mixed", "score", "solo"]
    assert not rows["mixed"].against_all
    assert rows["mixed"].auc == 1.0
    assert rows["solo"].against_all
    assert rows["solo"].auc == pytest.approx(3 / 4)  # 0.9 and 0.3 against 0.2 and 0.7
    assert rows["solo"].accuracy == 0.5
    assert rows["solo"].n == rows["solo"].n_jazz == 2
    assert rows["score"].against_all
    assert rows["score"].auc == 1.0
    assert rows["score"].n_jazz == 0


def test_without_the_other_class_there_is_no_ranking():
    found = report([1, 1], [0.7, 0.2], ["a", "b"])
    assert found.overall.auc is None
    assert found.auc_interval is None
    assert [row.auc for row in found.sources] == [None, None]
    assert "| a | 1 | 1 | - | - | 1.000 |" in found.table()


def test_the_interval_is_repeatable_and_holds_the_figure():
    labels, probabilities = noisy(150)
    low, high = auc_interval(labels, probabilities)
    assert (low, high) == auc_interval(labels, probabilities)
    assert low < roc_auc_score(labels, probabilities) < high
    wide = auc_interval(*noisy(60))
    narrow = auc_interval(*noisy(2000))
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_the_interval_matches_resampling_with_scikit_learn():
    labels, probabilities = noisy(80)
    probabilities = probabilities.round(1)  # many ties
    rng = np.random.default_rng(0)
    draws = [rng.integers(80, size=80) for _ in range(1000)]
    expected = [roc_auc_score(labels[d], probabilities[d]) for d in draws]
    assert auc_interval(labels, probabilities) == pytest.approx(
        tuple(np.percentile(expected, [2.5, 97.5]))
    )


def test_two_pieces_still_have_an_interval():
    assert auc_interval([0, 1], [0.1, 0.9]) == (1.0, 1.0)


def test_reports_go_into_json_and_markdown():
    found = report(LABELS, PROBABILITIES, ["a|b", "c", "c", "c"])
    assert json.loads(json.dumps(found.as_dict()))["overall"]["auc"] == pytest.approx(0.75)
    rows = [line for line in found.table().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 1 + 2
    assert {line.replace("\\|", "").count("|") for line in rows} == {9}
    assert "1.000\\*" in rows[3]
    assert "95% interval" in found.table()


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40))
def test_figures_stay_within_their_range(pieces):
    labels, probabilities = zip(*pieces, strict=True)
    (row,) = by_source(labels, probabilities, ["s"] * len(pieces))
    for value in (row.auc, row.average_precision, row.accuracy, row.calibration_error, row.mean_p):
        assert value is None or 0 <= value <= 1
    assert (row.auc is None) == (len(set(labels)) == 1)


@pytest.mark.parametrize(
    ("labels", "probabilities", "says"),
    [
        ([], [], "not empty"),
        ([0, 1], [0.5], "must match"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, 1.2], "within"),
        ([0, 1], [0.1, math.nan], "within"),
    ],
)
def test_nonsense_is_refused(labels, probabilities, says):
    with pytest.raises(ValueError, match=says):
        report(labels, probabilities)


def test_the_table_of_the_screen_is_the_markdowns_without_its_signs() -> None:
    found = report([1, 1, 0, 0], [0.9, 0.4, 0.2, 0.1], ["a|b", "a|b", "a|b", "c"])
    assert HEAD[5] == "balanced accuracy"
    lines = found.table().splitlines()
    assert lines[0] == f"| {' | '.join(HEAD)} |"
    assert lines[4] == "| c | 1 | 0 | 1.000\\* | 1.000\\* | 1.000 | 0.100 | 0.100 |"
    assert lines[3].startswith("| a\\|b | 3 |")
    assert found.rows()[2][:4] == ["c", "1", "0", "1.000*"]
    assert found.remarks()[1] == "Of one class there are 2: too few for this interval to hold."
    assert found.remarks()[2].startswith("* one class only")
    many = report([1, 0] * 20, [0.9, 0.1] * 20)
    assert len(many.remarks()) == 1
