"""`gan data audit` on a real corpus of files: its tables, its report, its exit codes."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_tools.audit import ranking
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from gan.cli_audit import audit


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "TREES", 3)
    monkeypatch.setattr(ranking, "HALVINGS", 1)


def test_the_practice_corpus_is_shown_and_written(practice_corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    arguments = [str(practice_corpus.folder), "--view", "files", "--out", str(out)]
    result = CliRunner().invoke(audit, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "40 labelled pieces" in result.stdout
    assert "known sources" in result.stdout
    assert "audit: files: fingerprints" in result.stderr
    report = json.loads(out.read_text())
    assert result.stdout.rstrip().endswith(report["verdict"])
    assert report["looked_at"] == 40
    assert {one["view"] for one in report["findings"]} == {"files"}


def test_csv_has_one_row_a_figure(practice_corpus: Corpus) -> None:
    arguments = [str(practice_corpus.folder), "--view", "tokens", "--format", "csv", "--quiet"]
    result = CliRunner().invoke(audit, arguments, catch_exceptions=False)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["measured"] for row in rows} >= {"known"}
    assert all(0 <= float(row["auc"]) <= 1 for row in rows)
    again = CliRunner().invoke(audit, arguments, catch_exceptions=False)
    assert again.stdout == result.stdout


def test_json_is_the_whole_report_a_line_a_figure(practice_corpus: Corpus) -> None:
    arguments = [str(practice_corpus.folder), "--view", "files", "--format", "json", "--quiet"]
    result = CliRunner().invoke(audit, arguments, catch_exceptions=False)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"view", "fingerprint", "measured", "source", "auc", "low", "high", "count"} == set(
        rows[0]
    )


def test_tokens_that_were_changed_are_not_measured(practice_corpus: Corpus, tmp_path: Path) -> None:
    other = tmp_path / "corpus"
    shutil.copytree(practice_corpus.folder, other)
    tokens = bytearray((other / "tokens.bin").read_bytes())
    tokens[20] ^= 1
    (other / "tokens.bin").write_bytes(tokens)
    result = CliRunner().invoke(audit, [str(other), "--view", "tokens"])
    assert result.exit_code != 0
    assert "tokens.bin was changed" in str(result.exception)


@pytest.mark.parametrize("names", [None, 3, "beat", ["beat"], [None], {}])
def test_a_corpus_that_does_not_name_its_fingerprints_is_one_line(
    practice_corpus: Corpus, tmp_path: Path, names: object
) -> None:
    other = tmp_path / "corpus"
    shutil.copytree(practice_corpus.folder, other)
    content = json.loads((other / "corpus.json").read_text()) | {"fingerprints": names}
    (other / "corpus.json").write_text(json.dumps(content))
    result = CliRunner().invoke(audit, [str(other), "--view", "files", "--quiet"])
    assert isinstance(result.exception, UserError)
    said = "files: the corpus holds other fingerprints, or none; build it again"
    assert str(result.exception) == f"{other}: {said}"
