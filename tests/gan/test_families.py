"""A preset in another family or size keeps what is not the model's size."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from data_tools.corpus import Corpus
from discriminator.settings import model_name
from gan.cli import main
from generator import settings as generators


def begun(corpus: Corpus, folder: Path, preset: dict[str, object], *words: str) -> Result:
    """A run of no more than a step, of a preset in a file."""
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(preset))
    fixed = ["--corpus", str(corpus.folder), "--out", str(folder / "run"), "--preset", str(file)]
    return CliRunner().invoke(main, [words[0], *fixed, "--device", "cpu", *words[1:]])


BRIEF = {"steps": 1, "batch": 2, "validation_windows": 2, "samples": 0, "length": 64}
OWN = {"layers": 1, "width": 32, "heads": 2, "dropout": 0.3, "max_length": 96, "qk_norm": True}


@pytest.mark.parametrize(
    ("words", "family", "kept", "gone"),
    [
        (("--model", "lstm"), "lstm", {"dropout": 0.3, "layers": 2, "hidden": 448},
         ("layers 1", "width 32", "heads 2", "max_length 96", "qk_norm True")),
        (("--model", "lstm", "--layers", "1", "--hidden", "16"), "lstm",
         {"dropout": 0.3, "layers": 1, "hidden": 16, "width": 256}, ("width 32",)),
        (("--size", "small"), "transformer",
         {"dropout": 0.3, "max_length": 96, "qk_norm": True, "layers": 4, "width": 256},
         ("layers 1", "width 32", "heads 2")),
        (("--model", "transformer"), "transformer", OWN, ()),
        ((), "transformer", OWN, ()),
    ],
)  # fmt: skip
def test_a_generator_keeps_what_is_not_its_size(
    practice_corpus: Corpus, tmp_path: Path, words: tuple[str, ...], family: str,
    kept: dict[str, object], gone: tuple[str, ...],
) -> None:  # fmt: skip
    preset = BRIEF | {"generator": OWN}
    told = begun(practice_corpus, tmp_path, preset, "train", *words)
    assert told.exit_code == 0, told.output
    written = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    own = written["generator"]
    assert own["kind"] == family
    assert {name: own[name] for name in kept} == kept
    notes = [line for line in told.output.splitlines() if "gave way" in line]
    assert len(notes) == bool(gone)
    for each in gone:
        assert each in notes[0]


def test_a_slip_of_the_pen_is_told_in_any_family(practice_corpus: Corpus, tmp_path: Path) -> None:
    preset = BRIEF | {"generator": {"widht": 64}}
    told = begun(practice_corpus, tmp_path, preset, "train", "--model", "lstm")
    assert told.exit_code == 1
    assert "widht" in told.output
    for command, model in (("train", "generator"), ("pretrain-disc", "model")):
        for kind in ("rnn", ["lstm"]):
            preset = {"steps": 1, model: {"kind": kind}}
            for words in ((), ("--size", "base")):
                told = begun(practice_corpus, tmp_path, preset, command, *words)
                assert isinstance(told.exception, SystemExit), told.exception
                assert told.exit_code == 1
    for stride in ("two", None):
        preset = {"steps": 1, "model": {"kind": "cnn", "stride": stride}}
        told = begun(practice_corpus, tmp_path, preset, "pretrain-disc")
        assert "stride" in told.output
    told = begun(practice_corpus, tmp_path, BRIEF | {"generator": 3}, "train")
    assert told.exit_code == 1
    assert "not 3" in told.output


@pytest.mark.parametrize(
    ("held", "words", "expected"),
    [
        ({"kind": "statistics", "view": "rhythm", "width": 16, "bound": 0.5}, ("--size", "small"),
         {"kind": "statistics", "view": "rhythm", "width": 512, "bound": 0.5}),
        ({"kind": "cnn", "view": "harmony", "width": 8, "kernel": 5}, ("--model", "statistics"),
         {"kind": "statistics", "view": "harmony", "width": 512, "bound": 1.0}),
        ({"kind": "cnn", "view": "tokens", "width": 8, "dropout": 0.4}, ("--model", "statistics"),
         {"kind": "statistics", "view": "harmony", "dropout": 0.4}),
        ({"kind": "cnn", "view": "harmony", "width": 8, "blocks": 2}, ("--model", "cnn"),
         {"kind": "cnn", "view": "harmony", "width": 8, "blocks": 2, "bound": 0.0}),
    ],
)  # fmt: skip
def test_a_discriminator_keeps_what_is_not_its_size(
    practice_corpus: Corpus, tmp_path: Path, held: dict[str, object], words: tuple[str, ...],
    expected: dict[str, object],
) -> None:  # fmt: skip
    preset = {"steps": 1, "batch": 2, "window": 64, "shortest": 48, "model": held}
    told = begun(practice_corpus, tmp_path, preset, "pretrain-disc", *words)
    assert told.exit_code == 0, told.output
    card = json.loads((tmp_path / "run" / "classifier" / "classifier.json").read_text())
    own = card["settings"]["model"]
    assert {name: own[name] for name in expected} == expected


def test_fields_tell_which_model_they_make() -> None:
    assert model_name({}) == "cnn"
    assert model_name({"kind": "statistics"}) == "statistics"
    assert model_name({"kind": "transformer"}) == "conv-transformer"
    assert model_name({"kind": "transformer", "stride": 1}) == "transformer"
    assert "hidden" in generators.OF_SIZE
    assert "kind" not in generators.OF_SIZE
