"""What stands beside an ensemble's members: the gate and its lessons, and the trees."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from discriminator.classifier import MUSIC, Classifier
from discriminator.feature_judge import FeatureJudge
from experiments.recipes import trees
from experiments.recipes.gate import MusicAndNoise, gate


def _at_once(corpus: Corpus, ids: np.ndarray) -> int:
    """How many notes begin together at most."""
    start = corpus.representation.events(ids.astype(np.int64)).notes.start
    return int(np.unique(start, return_counts=True)[1].max())


def test_every_piece_is_there_as_it_is_and_corrupted(practice_corpus: Corpus) -> None:
    both = MusicAndNoise(practice_corpus.folder)
    count, lines = len(practice_corpus), 0
    assert len(both) == 2 * count
    for number in range(count):
        music, noise = both.rows[number], both.rows[number + count]
        assert (music["label"], noise["label"]) == ("jazz", "not_jazz")
        assert (music["split"], music["group"]) == (noise["split"], noise["group"])
        piece, spoilt = both.piece(number), both.piece(number + count)
        whole = practice_corpus.piece(number)
        alone = _at_once(both, piece) == 1 < _at_once(both, whole)
        lines += alone
        assert alone or np.array_equal(piece, whole)
        assert spoilt.dtype == piece.dtype
        assert not np.array_equal(piece, spoilt)
        assert np.array_equal(spoilt, both.piece(number + count)), "the same at every look"
    assert 0 < lines < count / 2, "some are their top line alone"
    train = both.select("train")
    assert len(both.select("train", "jazz")) == len(both.select("train", "not_jazz"))
    assert len(train) == 2 * len(practice_corpus.select("train"))


def test_a_gate_is_marked_goes_on_and_says_its_own_defaults(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    """Whoever takes it for a classifier of jazz, or a jazz classifier for it, is told."""
    flags = ("--corpus", practice_corpus.folder, "--out", tmp_path / "gate", "--steps", 4)
    told = CliRunner().invoke(gate, list(map(str, flags)))
    assert told.exit_code == 0, told.output
    for _ in range(2):
        assert Classifier.load(tmp_path / "gate" / "classifier", labels=MUSIC).labels == MUSIC
        with pytest.raises(UserError, match="tells music from noise"):
            Classifier.load(tmp_path / "gate" / "classifier")
        told = CliRunner().invoke(gate, [*map(str, flags), "--resume"])
        assert told.exit_code == 0, told.output
    assert "--batch 128" in CliRunner().invoke(gate, ["--help"]).output


def test_trees_are_fitted_for_an_ensemble_and_not_replaced(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "SETTINGS", trees.SETTINGS.model_copy(update={"trees": 3}))
    flags = ["--corpus", str(practice_corpus.folder), "--out", str(tmp_path / "trees")]
    told = CliRunner().invoke(trees.main, flags)
    assert told.exit_code == 0, told.output
    judge = FeatureJudge.load(tmp_path / "trees")
    numbers = practice_corpus.select("validation")
    said = np.array([judge.opinion(practice_corpus.piece(n)) for n in numbers])
    jazz = np.array([practice_corpus.rows[n]["label"] == "jazz" for n in numbers])
    assert said[jazz].mean() > 0 > said[~jazz].mean(), "calibrated on the validation split"
    again = CliRunner().invoke(trees.main, flags)
    assert again.exit_code == 1
    assert "take another --out" in again.output
