"""`gan ensemble` from the command line: one classifier of several, or one line saying why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data_tools.corpus import Corpus
from data_tools.representation import Representation, RepresentationSettings
from discriminator import features
from discriminator.classifier import MUSIC, Classifier
from discriminator.ensemble import MUSIC_ODDS
from discriminator.feature_judge import FeatureJudge, JudgeSettings
from gan.cli import main
from gan.cli_ensemble import ensemble


def join(out: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["ensemble", *map(str, arguments), "--out", str(out)])


def test_members_become_one(tiny_discriminator: Path, tmp_path: Path) -> None:
    facts = {"scale": 2.0, "bias": 0.5, "low": 0.2, "high": 0.7}
    (tmp_path / "table.json").write_text(json.dumps({"calibration": facts}))
    result = join(tmp_path / "whole", tiny_discriminator, tiny_discriminator, "--window", 64,
                  "--most", 3, "--calibration", tmp_path / "table.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "unsure" not in result.output
    settings = Classifier.load(tmp_path / "whole").settings
    assert settings.model.kind == "ensemble"
    assert len(settings.model.members) == 2
    assert (settings.window, settings.most) == (64, 3)
    assert {name: getattr(settings, name) for name in facts} == facts


def test_a_classifier_is_not_replaced_unasked(tiny_discriminator: Path, tmp_path: Path) -> None:
    first = join(tmp_path / "one", tiny_discriminator)
    assert first.exit_code == 0
    assert "no verdict is 'unsure', p_jazz from 0.5 on is jazz" in first.output
    before = (tmp_path / "one" / "model.safetensors").read_bytes()
    refused = join(tmp_path / "one", tiny_discriminator, tiny_discriminator)
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == before
    assert join(tmp_path / "one", tiny_discriminator, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "no calibration"),
        ("no json", "no calibration"),
        ('{"calibration": {"scale": 1, "bias": 0, "low": 0.6, "high": 0.4}}', "lies above high"),
        ('{"calibration": {"scale": 0, "bias": 0, "low": 0.4, "high": 0.6}}', "scale"),
        ('{"calibration": {"scale": Infinity, "bias": 0, "low": 0.4, "high": 0.6}}', "scale: "),
        ('{"calibration": {"scale": 1, "bias": NaN, "low": 0.4, "high": 0.6}}', "bias: "),
        ('{"calibration": {"scale": 1, "bias": 0, "low": NaN, "high": 0.6}}', "low: "),
        ('{"calibration": {"scale": 1, "bias": 0, "low": 0.4, "high": NaN}}', "high: "),
        (f'{{"calibration": {{"scale": 1{"0" * 400}}}}}', "no calibration"),
    ],
)
def test_a_bad_calibration_is_one_line(
    tiny_discriminator: Path, tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "table.json").write_text(text)
    result = join(tmp_path / "whole", tiny_discriminator, "--calibration", tmp_path / "table.json")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert reason in line


def test_an_ensemble_is_no_member(tiny_discriminator: Path, tmp_path: Path) -> None:
    assert join(tmp_path / "one", tiny_discriminator).exit_code == 0
    result = join(tmp_path / "two", tmp_path / "one", tiny_discriminator)
    assert result.exit_code == 1
    assert "give its members instead" in result.stderr


@pytest.fixture
def tiny_gate(tiny_discriminator: Path, tmp_path: Path) -> Path:
    """Weights that learnt neither, marked as a gate's."""
    found = Classifier.load(tiny_discriminator)
    gate = Classifier(found.model, found.representation, found.settings, labels=MUSIC)
    gate.save(tmp_path / "gate")
    return tmp_path / "gate"


def test_a_gate_is_no_member_and_a_jazz_classifier_no_gate(
    tiny_discriminator: Path, tiny_gate: Path, tmp_path: Path
) -> None:
    for arguments in (
        (tiny_discriminator, tiny_gate),
        (tiny_discriminator, "--gate", tiny_discriminator),
    ):
        result = join(tmp_path / "whole", *arguments)
        assert result.exit_code == 1
        (line,) = result.stderr.strip().splitlines()
        assert "is needed here; gates are made by" in line
    assert Classifier.load(tiny_gate, labels=MUSIC).labels == MUSIC
    result = CliRunner().invoke(main, ["score", str(tmp_path), "--model", str(tiny_gate)])
    assert result.exit_code == 1
    assert "tells music from noise" in result.stderr


def test_trees_that_are_none_are_told(tiny_discriminator: Path, tmp_path: Path) -> None:
    result = join(tmp_path / "whole", tiny_discriminator, "--trees", tiny_discriminator)
    assert result.exit_code == 1
    assert "experiments.recipes.trees" in result.stderr


def test_an_ensemble_is_given_a_gate_and_keeps_its_calibration(
    tiny_discriminator: Path, tiny_gate: Path, tmp_path: Path
) -> None:
    facts = {"scale": 2.0, "bias": 0.5, "low": 0.2, "high": 0.7}
    (tmp_path / "table.json").write_text(json.dumps({"calibration": facts}))
    calibrated = ("--calibration", tmp_path / "table.json", "--most", 3)
    join(tmp_path / "plain", tiny_discriminator, *calibrated)
    gate = ("--gate", tiny_gate, "--music-odds", 5)
    result = join(tmp_path / "later", tmp_path / "plain", *gate)
    assert result.exit_code == 0, result.output
    result = join(tmp_path / "once", tiny_discriminator, *calibrated, *gate)
    assert result.exit_code == 0, result.output
    later, once = (Classifier.load(tmp_path / name) for name in ("later", "once"))
    assert later.settings == once.settings
    assert later.settings.model.kind == "ensemble"
    assert later.settings.model.gate is not None
    assert (later.settings.low, later.settings.high, later.settings.most) == (0.2, 0.7, 3)
    assert (later.settings.scale, later.settings.bias) == (1.0, 0.0), "they are the members' now"
    for wrong in ("nan", "inf", "0"):
        odd = join(tmp_path / "odd", tiny_discriminator, *gate[:2], "--music-odds", wrong)
        assert odd.exit_code == 2
        assert "--music-odds" in odd.stderr
    odd = join(tmp_path / "odd", tiny_discriminator, "--music-odds", 5)
    assert odd.exit_code == 1
    assert "--gate" in odd.stderr


def test_an_ensemble_is_given_trees_and_may_get_a_gate_later(
    tiny_discriminator: Path, tiny_gate: Path, tmp_path: Path, practice_corpus: Corpus
) -> None:
    plain = Classifier.load(tiny_discriminator)
    rows = features.of_pieces(map(practice_corpus.piece, range(40)), plain.representation)
    labels = np.arange(40) % 2 == 0
    judge = FeatureJudge.fit(
        rows, labels, ["here"] * 40, 0, JudgeSettings(trees=2), plain.representation
    )
    judge.save(tmp_path / "trees")
    facts = {"scale": 2.0, "bias": 0.5, "low": 0.2, "high": 0.7}
    (tmp_path / "table.json").write_text(json.dumps({"calibration": facts}))
    told = ("--calibration", tmp_path / "table.json", "--trees", tmp_path / "trees")
    result = join(tmp_path / "two", tiny_discriminator, *told)
    assert result.exit_code == 0, result.output
    ids = practice_corpus.piece(0)
    before = Classifier.load(tmp_path / "two")
    assert before.trees is not None
    logit = before.trees.opinion(ids)
    assert logit == pytest.approx(judge.opinion(ids))
    gate = ("--gate", tiny_gate)
    assert join(tmp_path / "three", tmp_path / "two", *gate).exit_code == 0
    after = Classifier.load(tmp_path / "three")
    assert after.trees is not None
    assert after.trees.opinion(ids) == pytest.approx(2.0 * logit + 0.5)
    # What calibrated an ensemble before its gate is not known any more when the trees come later.
    late = join(tmp_path / "late", tmp_path / "three", "--trees", tmp_path / "trees")
    assert late.exit_code == 1
    assert "trees come before it" in late.stderr
    other = FeatureJudge(
        judge.forest, judge.settings, Representation(RepresentationSettings(time_base="beat"))
    )
    other.save(tmp_path / "other")
    result = join(tmp_path / "four", tiny_discriminator, "--trees", tmp_path / "other")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "another grid" in line


def test_the_help_says_the_odds_that_are_taken() -> None:
    said = " ".join(CliRunner().invoke(ensemble, ["--help"]).output.split())
    assert f"pieces of music to one of noise, in use. [{MUSIC_ODDS:g}]" in said
