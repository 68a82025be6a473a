"""The style discriminator learns the practice corpus, and reports on pieces it has not seen."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from data_tools.corpus import Corpus, build
from data_tools.errors import UserError
from data_tools.practice import write_practice
from data_tools.representation import TokenType
from discriminator.classifier import Classifier
from discriminator.metrics import Report
from discriminator.settings import CNNSettings, sized
from gan import pretrain as module
from gan.cli import main
from gan.engine import derived_seed
from gan.pretrain import pretrain
from gan.settings import PretrainSettings


def settings(**changes: Any) -> PretrainSettings:
    tiny = {
        "model": {"kind": "cnn", "width": 32, "blocks": 4, "dropout": 0.1},
        "hide": ["velocity", "duration"], "device": "cpu", "precision": "fp32",
        "steps": 60, "batch": 16, "window": 512, "shortest": 256,
        "learning_rate": 0.01, "warmup": 5, "evaluate_every": 20,
    }  # fmt: skip
    return PretrainSettings.model_validate(tiny | changes)


@pytest.fixture(scope="module")
def trained(
    practice_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("pretrain") / "run"
    return out, pretrain(practice_corpus, out, settings(), quiet=True)


def test_it_tells_unseen_jazz_from_the_rest(
    trained: tuple[Path, Report], practice_corpus: Corpus
) -> None:
    report = trained[1].overall
    assert report.n == len(practice_corpus.select("test")) == 8
    assert report.n_jazz == 4
    assert report.auc is not None
    assert report.auc > 0.8


def test_the_report_is_written(trained: tuple[Path, Report]) -> None:
    out, report = trained
    written = json.loads((out / "report.json").read_text())
    assert written["overall"]["auc"] == report.overall.auc
    title, _, rest = (out / "report.md").read_text().partition("\n\n")
    assert title == "# Jazz or not, on the test split"
    assert rest == report.table() + "\n"
    assert (out / "checkpoints" / written["checkpoint"] / "model.safetensors").is_file()
    assert written["checkpoint"] == (out / "checkpoints" / "best").read_text()


def test_validation_and_training_are_logged(trained: tuple[Path, Report]) -> None:
    lines = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    validations = [line for line in lines if "validation/loss" in line]
    assert [line["step"] for line in validations] == [20, 40, 60]
    assert all("validation/auc" in line for line in validations)
    assert [line["step"] for line in lines if "discriminator/loss" in line] == [25, 50]


def test_the_best_checkpoint_is_the_one_of_least_loss(trained: tuple[Path, Report]) -> None:
    lines = [json.loads(line) for line in (trained[0] / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["validation/loss"] for line in lines if "validation/loss" in line}
    best = min(losses, key=lambda step: losses[step])
    assert (trained[0] / "checkpoints" / "best").read_text() == f"step-{best:06d}"


def test_the_classifier_scores_files(
    trained: tuple[Path, Report], practice_corpus: Corpus, practice_music: Path
) -> None:
    classifier = Classifier.load(trained[0] / "classifier")
    rows = [practice_corpus.rows[number] for number in practice_corpus.select("test")]
    verdicts = [classifier.score(practice_music / row["path"]) for row in rows]
    assert not any(verdict.error for verdict in verdicts)
    jazz = [v.p_jazz for v, row in zip(verdicts, rows, strict=True) if row["label"] == "jazz"]
    rest = [v.p_jazz for v, row in zip(verdicts, rows, strict=True) if row["label"] != "jazz"]
    assert np.mean(jazz) > np.mean(rest)


@pytest.mark.parametrize("folds", [0, 3])
def test_a_fold_left_out_is_not_learnt_from_without_its_labels_either(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    met: list[int] = []

    def spotting(learner: object, draw: object, numbers: list[int]) -> float:
        met.extend(numbers)
        raise UserError("seen enough")

    monkeypatch.setattr(module, "spot_replaced", spotting)
    chosen = settings(folds=folds, fold=1, spotting_steps=1)
    with pytest.raises(UserError, match="seen enough"):
        pretrain(practice_corpus, tmp_path / "run", chosen, quiet=True)
    train = practice_corpus.select("train")
    left_out = {n for n in train if folds and _fold(practice_corpus, n, folds) == 1}
    assert set(met) == set(train) - left_out
    assert bool(left_out) == bool(folds)


def _fold(corpus: Corpus, number: int, folds: int) -> int:
    return derived_seed(corpus.rows[number]["group"]) % folds


def test_a_second_corpus_is_learnt_and_not_reported_on(
    practice_corpus: Corpus, trained: tuple[Path, Report], tmp_path: Path
) -> None:
    write_practice(tmp_path / "rags", 12, rags=True)
    rags, _ = build([tmp_path / "rags"], tmp_path / "second", workers=1)
    out = tmp_path / "run"
    yaml = out.with_suffix(".yaml")
    yaml.write_text(settings().model_dump_json())
    words = ["pretrain-disc", "--corpus", str(practice_corpus.folder), "--out", str(out)]
    words += ["--preset", str(yaml), "--quiet"]
    told = CliRunner().invoke(main, [*words, "--also", str(rags.folder)])
    assert told.exit_code == 0, told.output
    written = json.loads((out / "report.json").read_text())
    assert written["overall"]["n"] == trained[1].overall.n
    assert "practice-ragtime" not in written["sources"]

    def heard(run: Path) -> float:
        classifier = Classifier.load(run / "classifier")
        said = (classifier.score_tokens(rags.piece(number)).p_jazz for number in range(len(rags)))
        return float(np.mean([p or 0.0 for p in said]))

    assert heard(out) > heard(trained[0]) + 0.25
    told = CliRunner().invoke(main, [*words, "--resume"])
    assert told.exit_code == 1
    assert "differs in inputs" in told.output


def test_a_view_by_itself_is_a_cnn_s(practice_corpus: Corpus, tmp_path: Path) -> None:
    words = ["pretrain-disc", "--corpus", str(practice_corpus.folder), "--out", str(tmp_path / "a")]
    words += ["--view", "harmony", "--thin-share", "0.5", "--steps", "1", "--batch", "2"]
    told = CliRunner().invoke(main, [*words, "--device", "cpu", "--quiet"])
    assert told.exit_code == 0, told.output
    model = Classifier.load(tmp_path / "a" / "classifier").settings.model
    assert model == CNNSettings.model_validate(sized("cnn", "small") | {"view": "harmony"})


def test_hidden_token_types_cannot_be_seen(practice_corpus: Corpus, tmp_path: Path) -> None:
    chosen = settings(hide=["velocity"], steps=1, evaluate_every=1)
    pretrain(practice_corpus, tmp_path / "run", chosen, quiet=True)
    classifier = Classifier.load(tmp_path / "run" / "classifier")
    representation = classifier.representation
    ids = practice_corpus.piece(0).astype(np.int64)

    def swapped(kind: TokenType) -> np.ndarray:
        members = np.flatnonzero(representation.token_types == kind)
        table = np.arange(representation.vocab_size)
        table[members] = members[::-1]
        return table[ids]

    p = classifier.score_tokens(ids).p_jazz
    assert not np.array_equal(swapped(TokenType.VELOCITY), ids)
    assert classifier.score_tokens(swapped(TokenType.VELOCITY)).p_jazz == p
    assert classifier.score_tokens(swapped(TokenType.PITCH)).p_jazz != p


def test_patience_ends_a_run_that_learns_nothing(practice_corpus: Corpus, tmp_path: Path) -> None:
    # At such a rate nothing changes, so hardly any validation is better than the last.
    chosen = settings(learning_rate=1e-12, steps=40, evaluate_every=1, patience=2, batch=2)
    pretrain(practice_corpus, tmp_path / "run", chosen, quiet=True)
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert max(line["step"] for line in lines) < 40


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_label_missing_from_a_split_is_named_and_leaves_no_folder(
    practice_corpus: Corpus, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        row | {"label": "not_jazz"} if row["split"] == split else row
        for row in practice_corpus.rows
    ]
    monkeypatch.setattr(practice_corpus, "rows", rows)
    with pytest.raises(UserError, match=f"no 'jazz' pieces .* {split}"):
        pretrain(practice_corpus, tmp_path / "run", settings(), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("split", "middle"), [("validation", 0), ("validation", 256), ("test", 0)])
def test_pieces_nobody_could_judge_are_none(
    practice_corpus: Corpus, split: str, middle: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All jazz, or all of the test split, on one pitch: at least where validation listens."""
    pitches = np.flatnonzero(practice_corpus.representation.token_types == TokenType.PITCH)
    whole = practice_corpus.piece

    def piece(number: int) -> np.ndarray:
        row, ids = practice_corpus.rows[number], whole(number).copy()
        if row["split"] == split and (split == "test" or row["label"] == "jazz"):
            start = (len(ids) - middle) // 2 if middle else 0
            heard = ids[start : start + middle] if middle else ids
            heard[np.isin(heard, pitches)] = pitches[40]
        return ids

    monkeypatch.setattr(practice_corpus, "piece", piece)
    if middle:
        monkeypatch.setattr(module, "VALIDATION_TOKENS", middle)
    with pytest.raises(UserError, match=f"no .* pieces in {split} .*enough"):
        pretrain(practice_corpus, tmp_path / "run", settings(), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_validation_that_is_no_number_stops_the_run(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Classifier.logits

    def broken(self: Classifier, pieces: Iterable[np.ndarray], batch_size: int = 64) -> np.ndarray:
        logits = plain(self, pieces, batch_size)
        logits[0] = np.nan
        return logits

    monkeypatch.setattr(Classifier, "logits", broken)
    chosen = settings(steps=2, batch=2, evaluate_every=2)
    with pytest.raises(UserError, match=r"step 2: the .* is nan; .*lower learning rate"):
        pretrain(practice_corpus, tmp_path / "run", chosen, quiet=True)
