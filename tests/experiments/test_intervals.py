"""Whether intervals hold: sets are drawn apart, and the share that holds the mean is counted."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data_tools.corpus import Corpus
from experiments.recipes.intervals import BITS, drawn, held, main, of_works
from gan.evaluation.comparison import Bits
from gan.evaluation.distances import Interval


def test_no_piece_is_in_two_sets_of_a_round() -> None:
    pieces = [np.array([number]) for number in range(30)]
    sets = drawn(pieces, 4, 7, seed=1)
    assert [len(one) for one in sets] == [7] * 4
    assert len({int(piece[0]) for one in sets for piece in one}) == 28


def test_what_is_held_is_counted() -> None:
    sets = [
        {"a": Interval(value, value - 1, value + 1), "none": Interval(1, np.nan, np.nan)}
        for value in (0.0, 0.5, 1.0, 4.5)
    ]
    found = held(sets, 48)
    assert found["a"]["mean"] == 1.5
    assert found["a"]["held"] == 0.5
    assert found["a"]["told"] == pytest.approx(1 / 2.0117, abs=1e-4)  # t of 47
    assert "none" not in found


def test_sets_of_works_hold_what_all_works_have() -> None:
    """Works that differ: about 95% of the sets, the difference of the two surer than either."""
    rng = np.random.default_rng(0)
    notes = rng.integers(20, 200, 400).astype(float)
    own = rng.normal(10, 2, 400)
    first = Bits(("",) * 400, np.stack([own * notes, notes], 1))
    second = Bits(("",) * 400, np.stack([(own + rng.normal(0.1, 0.05, 400)) * notes, notes], 1))
    found = of_works(first, second, 48, 60)
    bits, gap = (found[f"{name}, 48 works"] for name in BITS)
    assert bits["mean"] == pytest.approx(10, abs=0.3)
    assert gap["mean"] == pytest.approx(0.1, abs=0.02)
    assert bits["held"] >= 0.85
    assert gap["held"] >= 0.85
    assert 10 * gap["width"] < bits["width"]


def test_works_are_drawn_as_if_there_were_more() -> None:
    """Half of all works would lie nearer to all of them than works that are met anew."""
    notes = np.full(60, 100.0)
    own = np.random.default_rng(0).normal(10, 2, 60)
    bits = Bits(("",) * 60, np.stack([own * notes, notes], 1))
    found = of_works(bits, bits, 30, 400)[f"{BITS[0]}, 30 works"]
    assert 0.9 <= found["held"] <= 0.975


def test_it_measures_a_corpus_and_asks_for_enough(practice_corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "intervals.json"
    words = ["--corpus", practice_corpus.folder, "--out", out, "--length", 64, "--rounds", 1]
    few = CliRunner().invoke(main, [*map(str, words)])
    assert few.exit_code == 1
    assert "ask for fewer" in few.output
    assert not out.exists()
