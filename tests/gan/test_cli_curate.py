"""`gan curate` from the command line: what lies in its results, a dry run, exit codes."""

import csv
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from discriminator.scores import Score, ScoreFile
from gan.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def files(practice_music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good files in two folders, and one that is no MIDI."""
    folder = tmp_path_factory.mktemp("music")
    for kind in ("jazz", "not_jazz"):
        (folder / kind).mkdir()
        for path in sorted((practice_music / kind).glob("*.mid"))[:4]:
            (folder / kind / path.name).write_bytes(path.read_bytes())
    (folder / "text.mid").write_text("no music in here")
    return folder


@pytest.fixture(scope="module")
def scores(files: Path, tiny_discriminator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "scores.csv"
    result = run("score", files, "--out", out, "--model", tiny_discriminator, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    return out


def by_path(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as stream:
        return {row["path"]: row for row in csv.DictReader(stream)}


def test_curating_is_scoring_and_choosing(
    files: Path, scores: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    known = by_path(scores)
    middle = sorted(float(row["p_jazz"]) for row in known.values() if row["p_jazz"])[4]
    out = tmp_path / "out"
    flags = ("--keep", "jazz", "--min-prob", middle)
    result = run("curate", files, *flags, "--model", tiny_discriminator, "--device", "cpu",
                 "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    told = by_path(out / "curation.csv")
    assert list(told) == list(known)
    assert by_path(out / "scores.csv") == known
    kept = {path for path, row in told.items() if row["kept"] == "yes"}
    assert kept == {p for p, row in known.items() if row["p_jazz"] and
                    float(row["p_jazz"]) >= middle}  # fmt: skip
    written = {path.relative_to(out / "music") for path in (out / "music").rglob("*.mid")}
    assert written == {Path(path).relative_to(files) for path in kept}
    assert f"kept {len(kept)} of 9 files" in result.stderr
    report = (out / "report.md").read_text()
    for words in ("not scored: not readable", f"{len(kept)} of 9 files kept", "gan ", "`jazz`"):
        assert words in report
    again = tmp_path / "again"
    assert run("curate", files, *flags, "--from-scores", scores, "--out", again).exit_code == 0
    assert by_path(again / "curation.csv") == told


def test_a_dry_run_prints_the_report(files: Path, scores: Path, tmp_path: Path) -> None:
    flags = ("--keep", "not_jazz", "--min-prob", 0, "--from-scores", scores)
    dry = run("curate", files, *flags, "--dry-run", "--out", tmp_path / "out")
    assert dry.exit_code == 0, dry.stderr
    assert not list(tmp_path.iterdir())
    assert "8 of 9 files kept" in dry.stdout
    assert run("curate", files, *flags, "--dry-run", "--resume").exit_code == 2
    assert run("curate", files, *flags, "--out", tmp_path / "out", "--mode", "list").exit_code == 0

    def counts(text: str) -> str:
        return text.split("## Reasons")[1]

    assert counts((tmp_path / "out" / "report.md").read_text()) == counts(dry.stdout)
    assert len((tmp_path / "out" / "kept.txt").read_text().splitlines()) == 8


def test_few_notes_are_dropped(files: Path, scores: Path) -> None:
    flags = ("--keep", "jazz", "--min-prob", 0, "--from-scores", scores, "--dry-run")
    result = run("curate", files, *flags, "--min-notes", 10**6)
    assert "| dropped | fewer than 1,000,000 notes | 8 |" in result.stdout


def test_where_nothing_can_be_scored_the_work_failed(
    files: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    result = run("curate", files / "text.mid", "--keep", "jazz", "--out", tmp_path / "out",
                 "--model", tiny_discriminator, "--device", "cpu")  # fmt: skip
    assert result.exit_code == 1
    assert "none of 1 file has a score" in result.stderr
    assert len(by_path(tmp_path / "out" / "curation.csv")) == 1


def test_what_a_cut_archive_has_lost_is_no_success(
    files: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.tar.gz"
    with tarfile.open(cut, "w:gz") as opened:
        opened.add(files, "in")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    result = run("curate", cut, "--keep", "jazz", "--min-prob", 0, "--out", tmp_path / "out",
                 "--model", tiny_discriminator, "--device", "cpu")  # fmt: skip
    assert result.exit_code == 1
    assert "error: what lies behind the damage of an archive has no row" in result.stderr
    assert list((tmp_path / "out" / "music").rglob("*.mid"))


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--keep", "jazz"), 2),
        (("--out", "x"), 2),
        (("--keep", "jazz", "--out", "x", "--dry-run", "--resume"), 2),
        (("--keep", "blues", "--out", "x"), 2),
        (("--keep", "jazz", "--out", "x", "--min-prob", "1.2"), 2),
        (("--keep", "jazz", "--out", "x", "--from-scores", __file__, "--model", "m"), 2),
        (("--keep", "jazz", "--out", "x", "--from-scores", __file__, "--workers", "2"), 2),
        (("--keep", "jazz", "--out", "x", "--from-scores", __file__, "--device", "cpu"), 2),
        (("--keep", "jazz", "--out", "x", "--from-scores", __file__, "--precision", "fp32"), 2),
        (("--keep", "jazz", "--out", "x", "--from-scores", __file__), 1),
    ],
)
def test_wrong_usage(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("curate", files, *flags)
    assert result.exit_code == code
    assert "Error" in result.stderr or result.stderr.startswith("error: ")


def test_a_mistake_leaves_nothing_in_the_way(
    files: Path, tmp_path: Path, tiny_discriminator: Path
) -> None:
    (tmp_path / "empty").mkdir()
    out = ("--keep", "jazz", "--out", tmp_path / "kept", "--model", tiny_discriminator)
    result = run("curate", tmp_path / "empty", *out)
    assert result.exit_code == 1
    assert not (tmp_path / "kept").exists()
    wrong = ("--keep", "jazz", "--out", tmp_path / "kept", "--from-scores", __file__)
    assert run("curate", files, *wrong).exit_code == 1
    assert not (tmp_path / "kept").exists()
    result = run("curate", files, *out)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "kept" / "curation.csv").is_file()


def test_a_curation_goes_on_in_the_precision_it_was_begun_with(
    files: Path, tmp_path: Path, tiny_discriminator: Path
) -> None:
    out, card = tmp_path / "out", tmp_path / "out" / "curation.json"
    begin = ("curate", files, "--keep", "jazz", "--out", out, "--model", tiny_discriminator)
    assert run(*begin, "--precision", "fp32").exit_code == 0
    assert run(*begin, "--precision", "fp32", "--resume").exit_code == 0
    result = run(*begin, "--precision", "bf16", "--resume")
    assert result.exit_code == 1
    assert "begun with different precision (fp32, now bf16)" in result.stderr
    for path in (card, out / "scores.csv.run.json"):  # as those from before say nothing of it
        content = json.loads(path.read_text())
        del content["precision"]
        path.write_text(json.dumps(content))
    assert run(*begin, "--precision", "bf16", "--resume").exit_code == 0


def test_what_goes_on_counts_the_files_scored_before(
    files: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    begin = ("curate", files, "--keep", "jazz", "--out", out, "--model", tiny_discriminator,
             "--device", "cpu", "--workers", 0)  # fmt: skip
    assert "before" not in run(*begin).stderr
    lines = (out / "scores.csv").read_text().splitlines(keepends=True)
    (out / "scores.csv").write_text("".join(lines[:4]))  # as a kill may leave it
    result = run(*begin, "--resume")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("9 files: ")
    assert ", 3 of them scored before\n" in result.stderr


def test_a_curation_tells_what_has_changed_since(
    files: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    music, out = tmp_path / "music", tmp_path / "out"
    shutil.copytree(files, music)
    begin = ("curate", music, "--keep", "jazz", "--out", out, "--model", tiny_discriminator,
             "--device", "cpu", "--workers", 0)  # fmt: skip
    assert "note:" not in run(*begin).stderr
    changed = min(path for path in music.rglob("*.mid"))
    later = (out / "scores.csv").stat().st_mtime + 5
    os.utime(changed, (later, later))
    result = run(*begin, "--resume")
    assert result.exit_code == 0, result.stderr
    assert f"note: {changed} is newer than the row of before" in result.stderr
    assert "newer than the row of before" in (out / "report.md").read_text()


def test_rows_that_went_are_told_before_the_work_and_once(
    files: Path, tiny_discriminator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, words = tmp_path / "out", "note: line 2 of scores.csv could not be read and went"
    begin = ("curate", files, "--keep", "jazz", "--out", out, "--model", tiny_discriminator,
             "--device", "cpu", "--workers", 0)  # fmt: skip
    assert run(*begin).exit_code == 0

    def broken(kept: int) -> None:
        lines = (out / "scores.csv").read_text().splitlines(keepends=True)
        (out / "scores.csv").write_text("".join([lines[0], "half a row\n", *lines[kept:]]))

    def stopped(file: ScoreFile, row: Score) -> None:
        raise KeyboardInterrupt

    broken(2)
    with monkeypatch.context() as patch:
        patch.setattr(ScoreFile, "write", stopped)
        result = run(*begin, "--resume")
    assert result.exit_code != 0
    assert result.stderr.startswith(words)
    broken(1)
    result = run(*begin, "--resume")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(words)
    assert result.stderr.count(words) == 1
    assert words.removeprefix("note: ") in (out / "report.md").read_text()


def test_results_within_the_source_are_refused_before_any_work(files: Path) -> None:
    result = run("curate", files, "--keep", "jazz", "--out", files / "out", "--model", "nowhere")
    assert result.exit_code == 1
    assert "lies within" in result.stderr
    assert not (files / "out").exists()
