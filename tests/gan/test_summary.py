"""One summary: real music matches real music, other music does not, and nothing is left unsaid."""

import math
import subprocess
import sys

import numpy as np
import pytest

from data_tools.corpus import Corpus
from data_tools.representation import Representation
from gan.evaluation import distances, musical, summary


@pytest.fixture(scope="module")
def music(practice_corpus: Corpus) -> dict[str, list[np.ndarray]]:
    """Windows of 160 tokens: two lots of jazz from other pieces, and what is not jazz."""
    found: dict[str, list[np.ndarray]] = {}
    for label in ("jazz", "not_jazz"):
        numbers = practice_corpus.select(label=label)
        for half in (0, 1):
            found[f"{label}{half}"] = [
                practice_corpus.piece(number)[start : start + 160].astype(np.int64)
                for number in numbers[half::2] for start in (0, 160)
            ]  # fmt: skip
    return found


def test_jazz_is_nearer_to_jazz_than_other_music(
    music: dict[str, list[np.ndarray]], practice_corpus: Corpus
) -> None:
    representation = practice_corpus.representation
    same = summary.describe(music["jazz0"], music["jazz1"], representation)
    other = summary.describe(music["not_jazz0"], music["jazz1"], representation)
    assert same["frechet"] < other["frechet"]
    assert same["coverage"] > other["coverage"]
    overlaps = [f"{name}_overlap_area" for name in musical.HISTOGRAMS]
    assert sum(same[name] for name in overlaps) > sum(other[name] for name in overlaps)
    for name, value in same.items():
        if name.endswith("_real"):
            assert value == pytest.approx(other[name]) or name.removesuffix("_real") in (
                "frechet", "precision", "recall", "density", "coverage", "vendi",
            )  # fmt: skip
    assert not any(math.isnan(value) for value in same.values())
    assert 0 < same["frechet_real"] < other["frechet"], "of two halves, none of them the other"


def test_directions_are_what_their_names_say(
    music: dict[str, list[np.ndarray]], practice_corpus: Corpus
) -> None:
    """One real piece again and again: all of it is real, and most of what is real is missing."""
    representation, real = practice_corpus.representation, music["jazz1"]
    one = summary.describe([real[0]] * 14, real, representation)
    assert one["precision"] == 1 > 0.5 > one["recall"]
    for name in ("pitch_class", "top_interval"):
        usual, made = (
            np.sum([musical.of_tokens(ids, representation).histograms[name] for ids in part], 0)
            for part in (real, real[:1])
        )
        missing, spurious = distances.divergence(usual, made), distances.divergence(made, usual)
        assert one[f"{name}_kl"] == pytest.approx(missing)
        assert missing != pytest.approx(spurious)


def test_sets_that_are_compared_share_their_axes(
    music: dict[str, list[np.ndarray]], practice_corpus: Corpus
) -> None:
    representation, real = practice_corpus.representation, music["jazz1"]
    sets = [music["jazz0"], music["not_jazz0"], music["not_jazz1"][:15]]
    for order in (sets, sets[::-1]):
        axes = summary.axes_of(real, order, representation)
        found = [summary.describe(each, real, representation, axes=axes) for each in sets]
        for name in ("frechet_real", "coverage_real", "vendi_real"):
            assert found[0][name] == pytest.approx(found[1][name]) == pytest.approx(found[2][name])
        if order is sets:
            first = found
    for one, two in zip(first, found, strict=True):
        for name in ("frechet", "coverage", "density", "vendi"):
            assert one[name] == pytest.approx(two[name]), name
    own = summary.axes_of(real, [sets[0]], representation)
    alone = summary.describe(sets[0], real, representation)
    assert summary.describe(sets[0], real, representation, axes=own) == alone
    assert alone["frechet"] != pytest.approx(first[0]["frechet"])


def test_a_small_set_weighs_as_much_as_a_large_one() -> None:
    chance = np.random.default_rng(0)
    real, other = chance.normal(size=(40, 6)), chance.normal(size=(40, 6)) * (9, 1, 1, 1, 1, 1)
    once = summary.Axes.of(real, other)
    often = summary.Axes.of(np.tile(real, (5, 1)), other)
    twice = summary.Axes.of(real, other, other)  # half of the weight is the real set's all the same
    for again in (often, twice):
        turns = np.abs((once.turned * again.turned).sum(0))  # signs of axes are arbitrary
        assert turns == pytest.approx(1, abs=1e-6)


def test_what_real_music_never_varies_is_no_distance() -> None:
    chance = np.random.default_rng(0)
    real, other = chance.normal(size=(40, 6)), chance.normal(size=(40, 6))
    real[:, 2] = 1.0
    axes = summary.Axes.of(real, other)
    far = other.copy()
    far[:, 2] += 100
    assert axes.place(far) == pytest.approx(axes.place(other))


def test_intervals_lie_around_the_same_figures(
    music: dict[str, list[np.ndarray]], practice_corpus: Corpus
) -> None:
    sets = music["jazz0"], music["jazz1"], practice_corpus.representation
    train = music["not_jazz0"]
    found, plain = summary.described(*sets, train), summary.describe(*sets, train)
    assert {name: figure.value for name, figure in found.items()} == plain
    for name, figure in found.items():
        known = not math.isnan(figure.low)
        assert known == (figure.low <= figure.value <= figure.high), name
        if name in ("degenerate", "degenerate_real", "coverage", "precision", "copied"):
            assert figure.low < figure.high, "shares of pieces are never certain"
        if name.endswith("_kl") or name in ("frechet", "density", "vendi", "polyphony"):
            assert figure.low < figure.value < figure.high, "other pieces would have others"
        if name.endswith("_overlap_area") or name.startswith("distinct"):
            assert 0 <= figure.low <= figure.high <= 1
    without = {name for name, figure in found.items() if math.isnan(figure.low)}
    assert without == {
        "pieces", "pieces_real", "self_overlap", "self_overlap_real", "self_overlap_any_key",
        "self_overlap_any_key_real", "frechet_real", "precision_real", "recall_real",
        "density_real", "coverage_real", "copied_run_bound",
    }  # fmt: skip


def test_equal_sets_are_equal(music: dict[str, list[np.ndarray]], practice_corpus: Corpus) -> None:
    jazz = music["jazz0"]
    found = summary.describe(jazz, jazz, practice_corpus.representation)
    for name, value in found.items():
        if f"{name}_real" in found and f"{name}_overlap_area" in found:
            assert value == found[f"{name}_real"]
        if name.endswith("_overlap_area"):
            assert value == pytest.approx(1)
        if name.endswith("_kl") or name == "frechet":
            assert value == pytest.approx(0, abs=1e-9)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["distinct_tokens"] == found["distinct_tokens_real"]


def test_what_is_wrong_with_a_generator_shows(
    music: dict[str, list[np.ndarray]], practice_corpus: Corpus
) -> None:
    representation, jazz = practice_corpus.representation, music["jazz1"]
    usual = summary.describe(music["jazz0"], jazz, representation, train=music["not_jazz0"])
    copies = summary.describe(music["not_jazz0"], jazz, representation, train=music["not_jazz0"])
    assert copies["copied"] == 1 > usual["copied"]
    assert copies["train_overlap"] == 1 > usual["train_overlap"]
    one = summary.describe([music["jazz0"][0]] * 20, jazz, representation)
    assert one["vendi"] == pytest.approx(1)
    assert one["self_overlap"] == 1
    assert one["distinct_tokens_set"] < 0.1
    assert one["recall"] < usual["recall"]
    loops = [np.tile(piece[:8], 20) for piece in music["jazz0"]]
    looped = summary.describe(loops, jazz, representation)
    assert looped["degenerate"] > 0.7 > 0.1 > usual["degenerate"]
    assert looped["distinct_tokens"] < 0.2 < usual["distinct_tokens"]


def test_pieces_without_music_stop_nothing(
    music: dict[str, list[np.ndarray]], practice_corpus: Corpus
) -> None:
    nothing = [np.array([Representation.bos, Representation.eos])] * 15
    found = summary.describe(nothing, music["jazz0"], practice_corpus.representation)
    assert found["degenerate"] == 1
    assert math.isnan(found["grooving"])
    assert found["coverage"] < 0.5
    with pytest.raises(ValueError, match="12 of each"):
        summary.describe(nothing[:5], music["jazz0"], practice_corpus.representation)


def test_no_torch_is_loaded() -> None:
    code = "import sys, gan.evaluation.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
