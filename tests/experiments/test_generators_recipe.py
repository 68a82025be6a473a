"""The recipe's results: reused for what they are of alone, failures told, rows never left out."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from experiments.recipes import generators
from experiments.recipes.generators import flags, run
from experiments.recipes.generators_rows import LSTM, TRANSFORMER, Row
from experiments.recipes.generators_table import markdown
from experiments.recipes.thin import thin_sources

ROW = Row("transformer", TRANSFORMER)


def known(out: Path, corpus: Corpus, command: str) -> dict[str, Any]:
    result = {"name": "transformer", "seed": 0, "command": command}
    out.mkdir(parents=True)
    (out / "result.json").write_text(json.dumps(result))
    (out / "settings.yaml").write_text(yaml.safe_dump({"inputs": corpus.inputs()}))
    return result


def ending(monkeypatch: pytest.MonkeyPatch, code: int, said: str, begun: bool = True) -> None:
    """Trainings that end so."""

    def stand_in(words: list[str], **_: object) -> SimpleNamespace:
        out = Path(words[words.index("--out") + 1])
        if begun:
            out.mkdir(parents=True, exist_ok=True)
            (out / "metrics.jsonl").write_text("{}")
        return SimpleNamespace(returncode=code, stderr=said)

    monkeypatch.setattr(subprocess, "run", stand_in)


def test_a_result_is_reused_wherever_its_corpus_lies(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    words = " ".join(flags(ROW, 0))
    command = f"gan train --corpus /elsewhere/c --out /elsewhere/r {words}"
    result = known(tmp_path / "transformer-0", practice_corpus, command)
    assert run(ROW, 0, practice_corpus.folder, tmp_path) == result


def test_a_result_of_something_else_is_refused(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(tmp_path / "transformer-0", practice_corpus, f"gan train {' '.join(flags(ROW, 0))}")
    changed = Row("transformer", TRANSFORMER, {"steps": 9})
    with pytest.raises(UserError, match="other settings; move it away"):
        run(changed, 0, practice_corpus.folder, tmp_path)
    other = SimpleNamespace(digest="other", rows=[])
    monkeypatch.setattr(generators, "Corpus", lambda folder: other)
    with pytest.raises(UserError, match="another corpus"):
        run(ROW, 0, practice_corpus.folder, tmp_path)


@pytest.mark.parametrize(
    ("code", "said", "begun", "told", "kept"),
    [
        (1, "warning\nerror: step 3: the loss is nan\n", True, "error: step 3: the loss", True),
        (-9, "", True, "exit code -9, no message", False),
        (-9, "a warning\n", True, "a warning", False),
        (1, "error: no such corpus\n", False, "error: no such corpus", False),
    ],
)
def test_failures_that_are_results_are_kept(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str,
    begun: bool, told: str, kept: bool,
) -> None:  # fmt: skip
    ending(monkeypatch, code, said, begun)
    result = run(ROW, 0, practice_corpus.folder, tmp_path)
    assert result["failed"].startswith(told)
    assert (tmp_path / "transformer-0" / "result.json").is_file() == kept
    assert str(tmp_path) not in result["command"]


def test_every_row_is_in_the_table() -> None:
    reading = {"bits_per_note": 3.0, "bits_per_event": 1.5, "token_accuracy": 0.5}
    good = {"validation": reading, "train": reading, "tokens_per_second": 10.0, "peak_mib": 5.0,
            "weights": 10}  # fmt: skip
    rows = [(group.name, name) for group in (TRANSFORMER, LSTM) for name in ("one", "two", "three")]
    results = [
        {"group": "lstm", "name": "one", "seed": 0, "failed": "error: nan"},
        {"group": "lstm", "name": "two", "seed": 0, **good},
    ]
    lines = markdown(results, rows).splitlines()
    assert lines[0].startswith("### The LSTM")
    assert lines[4].startswith("| one | 1 | failed: error: nan |")
    assert lines[5].startswith("| two | 1 | 3.00 |")
    assert lines[6].startswith("| three | 0 | not trained |")
    assert {line.count("|") for line in lines[2:7]} == {11}


def test_any_corpus_will_do_and_failures_say_why(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the sources that are left out is in it, and naming one is refused."""
    assert thin_sources(practice_corpus) == ()
    ending(monkeypatch, 1, "error: step 3: the loss is nan\n")
    monkeypatch.setattr(generators, "ROWS", [ROW, Row("other", TRANSFORMER)])
    words = ["--corpus", str(practice_corpus.folder), "--runs", str(tmp_path / "runs")]
    words += ["--out", str(tmp_path / "table"), "--seeds", "1"]
    ran = CliRunner().invoke(generators.compare, [*words, "--only", "former"])
    assert ran.exit_code == 0
    assert "transformer seed 0: failed: error: step 3: the loss is nan" in ran.output
    [result] = json.loads((tmp_path / "table.json").read_text())
    assert "--exclude-sources" not in result["command"]
    assert "| other | 0 | not trained |" in (tmp_path / "table.md").read_text()
    assert CliRunner().invoke(generators.compare, [*words, "--only", "nowhere"]).exit_code == 1
