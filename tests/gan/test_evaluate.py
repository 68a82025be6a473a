"""`gan evaluate` and `gan compare`: what they write, say and refuse.

The shipped generator and the shipped judges, on composed music: the figures mean nothing here, that
they are there and agree with each other does.
"""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_tools.corpus import Corpus
from gan.cli import main
from gan.evaluation.judging import JUDGES, Judges

FEW = ("--count", "12", "--length", "96", "--device", "cpu", "--shown", "2")


def gan(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def found(
    practice_corpus: Corpus, practice_music: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("comparison")
    music = tmp_path_factory.mktemp("files")
    for number, path in enumerate(sorted(practice_music.rglob("*.mid"))[:13]):
        (music / f"{number:02d}.mid").write_bytes(path.read_bytes())
    (music / "0-broken.mid").write_bytes(b"MThd and nothing else")
    result = gan("compare", "net=ce", f"files={music}", "--real", practice_corpus.folder,
                 "--train", practice_corpus.folder, "--split", "train", "--out", out,
                 *FEW)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "0-broken.mid" in result.output, "what was left out is named"
    return out


def test_the_numbers_are_all_there(found: Path) -> None:
    content = json.loads((found / "evaluation.json").read_text())
    net, files = content["systems"]
    for judge in JUDGES:
        for system in (net, files, content["real"]):
            rate = system["figures"][f"jazz rate, {judge}"]
            p = system["p_jazz"][judge]
            assert rate["value"] == pytest.approx(sum(x >= 0.5 for x in p) / len(p), abs=1e-4)
            assert rate["low"] <= rate["value"] <= rate["high"]
        gap = files["beside_first"][judge]
        difference = (
            files["figures"][f"jazz rate, {judge}"]["value"]
            - net["figures"][f"jazz rate, {judge}"]["value"]
        )
        assert gap["value"] == pytest.approx(difference, abs=1e-4)
    assert net["beside_first"] == {}
    assert net["figures"]["bits a note"]["value"] > 0
    assert "bits a note" not in files["figures"], "files have no likelihood"
    assert {"frechet", "copied", "variety", "pitch_class_entropy_4"} <= net["figures"].keys()


def test_the_music_and_the_page_are_there(found: Path) -> None:
    assert len(list((found / "samples" / "net").glob("*.mid"))) == 12
    page = (found / "report.html").read_text()
    assert "net" in page
    assert "real jazz" in page
    table = (found / "table.md").read_text()
    assert table.startswith(json.loads((found / "evaluation.json").read_text())["verdict"])
    assert "| figure | net | files | real jazz |" in table


def test_one_system_and_a_sweep(practice_corpus: Corpus, tmp_path: Path) -> None:
    result = gan("evaluate", "ce", "--real", practice_corpus.folder, "--split", "train",
                 "--out", tmp_path, "--frontier", "--quiet", "--count", 2, "--length", 64,
                 "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output == ""
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(content["frontier"]["ce"]) == 7
    assert "temperature 1, top-p 0.9" in content["frontier"]["ce"]


def test_listeners_come_back(found: Path, practice_corpus: Corpus, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"c{number}", "listener": "a", "left_system": "net", "right_system": "files",
            "left_sample": "No. 1", "right_sample": "No. 2", "choice": answer,
            "left_rating": "", "right_rating": "",
        }
        for number, answer in enumerate(["left", "left", "right", "tie"])
    ]  # fmt: skip
    export = tmp_path / "choices.csv"
    with export.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    result = gan("compare", "net=ce", f"files={found / 'samples' / 'net'}", "--real",
                 practice_corpus.folder, "--split", "train", "--out", tmp_path / "out",
                 "--ratings", export, "--no-judges", "--count", 2, "--length", 64,
                 "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    (rate,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["ratings"]
    assert rate["rate"] == pytest.approx(0.625 if rate["first"] == "net" else 0.375)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "nowhere"), "nowhere: no run"),
        (("compare", "ce", "ce"), "two systems are called 'ce'"),
        (("evaluate", "ce", "--split", "nought"), "no jazz"),
        (("evaluate", "ce", "--judges", "."), "no judge"),
    ],
)
def test_mistakes_are_one_line(
    practice_corpus: Corpus, tmp_path: Path, words: tuple[str, ...], says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = words if "--split" in words else (*words, "--split", "train")
    result = gan(*given, "--real", practice_corpus.folder, "--out", tmp_path / "out", *FEW)
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output


def test_one_system_is_no_comparison(practice_corpus: Corpus, tmp_path: Path) -> None:
    result = gan("compare", "ce", "--real", practice_corpus.folder, "--out", tmp_path)
    assert result.exit_code == 2


def test_the_judges_tell_composed_music_apart(practice_corpus: Corpus) -> None:
    judges = Judges.load()
    pieces = [practice_corpus.piece(n).astype(int) for n in practice_corpus.select("train")]
    found = judges.p_jazz(pieces[:6], practice_corpus.representation)
    assert set(found) == set(JUDGES)
    assert all(((p > 0) & (p < 1)).all() and len(p) == 6 for p in found.values())
