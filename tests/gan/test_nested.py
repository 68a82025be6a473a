"""Files nested deeper than Python reads: damaged like others, in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_tools.corpus import Corpus
from data_tools.corpus.build import _made
from data_tools.datasets.fetch import _read_json
from data_tools.errors import UserError
from data_tools.files import parse_json
from data_tools.representation import Representation
from discriminator.classifier import Classifier
from discriminator.scores import ScoreFile, read_rows
from gan.evaluation.report.ratings import read_choices
from gan.evaluation.samples import _listed
from gan.evaluation.systems import _curves
from gan.logbook import _seconds
from gan.run import _recorded, _step_of, load_state
from gan.settings import read_preset
from generator.folder import settings_of

DEEP = "[" * 100_000


def test_deep_json_is_a_value_error() -> None:
    for text in (DEEP, '{"a":' * 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(text)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("classifier.json", lambda path: Classifier.load(path.parent)),
        ("generator.json", lambda path: settings_of(path.parent)),
        ("corpus.json", lambda path: Corpus(path.parent)),
        ("representation.json", Representation.load),
        ("scores.jsonl", lambda path: list(read_rows(path))),
        ("choices.json", lambda path: read_choices([path])),
        ("trainer.json", lambda path: load_state(path.parent, torch.device("cpu"))),
        ("fetch.lock.json", _read_json),
        ("a.yaml", lambda path: read_preset(str(path))),
        ("settings.yaml", _recorded),
    ],
)
def test_a_file_nested_deep_is_one_line(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / name
    path.write_text(DEEP[: 2000 if path.suffix == ".yaml" else None] + "\n")  # YAML is slow
    with pytest.raises(UserError, match=str(tmp_path)) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_card_of_scores_nested_deep_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    ScoreFile(path, "csv", {}, resume=False).close()
    (tmp_path / "scores.csv.run.json").write_text(DEEP)
    with pytest.raises(UserError, match="missing or damaged"):
        ScoreFile(path, "csv", {}, resume=True)


def test_what_is_read_past_damage_is_read_past_deep_nesting(tmp_path: Path) -> None:
    for name in ("metrics.jsonl", ".written.json", "corpus.json"):
        (tmp_path / name).write_text(DEEP + "\n")
    assert _step_of(DEEP.encode()) == float("inf")
    assert _seconds(tmp_path / "metrics.jsonl") == 0
    assert not _curves(tmp_path)
    assert not _listed(tmp_path)
    assert _made(tmp_path) == {}
