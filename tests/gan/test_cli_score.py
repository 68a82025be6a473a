"""`gan score` from the command line: formats, archives, resumption, exit codes, what it needs."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from discriminator.classifier import Classifier
from discriminator.scores import Score, ScoreFile, read_rows
from gan.cli import main
from gan.cli_score import readers

Run = Callable[..., Result]
COLUMNS = ["path", "p_jazz", "verdict", "windows", "error"]


@pytest.fixture(scope="module")
def files(practice_music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good files, one empty, one that is no MIDI, one of 50 MB."""
    folder = tmp_path_factory.mktemp("music")
    for path in sorted((practice_music / "jazz").glob("*.mid"))[:2]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "w-empty.mid").write_bytes(b"")
    (folder / "x-text.mid").write_text("no music in here")
    with (folder / "y-huge.mid").open("wb") as stream:
        stream.truncate(50 * 10**6)
    return folder


@pytest.fixture
def score(tiny_discriminator: Path) -> Run:
    def run(*arguments: object) -> Result:
        words = ["score", *map(str, arguments), "--model", str(tiny_discriminator)]
        return CliRunner().invoke(main, [*words, "--device", "cpu"])

    return run


def as_dicts(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_file_has_its_row_and_all_are_counted(score: Run, files: Path) -> None:
    result = score(files, "--format", "csv")
    assert result.exit_code == 0, result.stderr
    rows = as_dicts(result.stdout)
    assert [Path(row["path"]).name for row in rows] == sorted(p.name for p in files.iterdir())
    assert list(rows[0]) == COLUMNS
    assert [bool(row["p_jazz"]) for row in rows] == [True, True, False, False, False]
    for row, words in zip(rows[2:], ("empty", "not readable", "larger than 16 MiB"), strict=True):
        assert words in row["error"]
        assert (row["verdict"], row["windows"]) == ("unsure", "0")
    assert result.stderr.startswith("5 files: ")
    assert "3 errors; " in result.stderr


def test_formats_agree(score: Run, files: Path, tmp_path: Path) -> None:
    told = score(files, "--format", "csv").stdout
    lines = [json.loads(line) for line in score(files, "--format", "jsonl").stdout.splitlines()]
    plain = [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines]
    assert plain == as_dicts(told)
    out = tmp_path / "scores.csv"
    result = score(files, "--out", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert out.read_text() == told
    assert score(files, "--format", "json", "--out", tmp_path / "b").exit_code == 0
    assert [json.loads(line) for line in (tmp_path / "b").read_text().splitlines()] == lines
    table = score(files).stdout
    assert table.split()[:5] == COLUMNS
    assert all(row["path"] in table for row in lines)


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_odd_names_are_the_same_bytes_on_standard_output(
    score: Run, files: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [os.fsdecode(b"caf\xe9.mid"), "a\rb.mid", 'a, "b"\nc.mid']
    for name in names:
        (folder / name).write_bytes(min(files.glob("*.mid")).read_bytes())
    for form in ("csv", "jsonl"):
        out = tmp_path / f"scores.{form}"
        told = score(folder, "--format", form).stdout_bytes
        assert score(folder, "--out", out).exit_code == 0
        assert told == out.read_bytes()
        assert {Path(row.path).name for row in read_rows(out)} == set(names)


def test_archives_and_manifests_are_scored_alike(score: Run, files: Path, tmp_path: Path) -> None:
    archive = tmp_path / "music.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(files, "in")
    table = tmp_path / "manifest.csv"
    (tmp_path / "a.mid").write_bytes(min(files.glob("*.mid")).read_bytes())
    table.write_text("path,label\na.mid,jazz\n")
    plain = [(row["p_jazz"], row["verdict"]) for row in as_dicts(
        score(files, "--format", "csv").stdout)]  # fmt: skip
    rows = as_dicts(score(archive, table, "--format", "csv").stdout)
    assert [(row["p_jazz"], row["verdict"]) for row in rows] == [*plain, plain[0]]
    assert rows[0]["path"].startswith(f"{archive}:in/")


def test_what_a_cut_archive_has_lost_is_no_success(
    score: Run, practice_music: Path, tmp_path: Path
) -> None:
    """Rows of the files before the cut are there, and nobody takes them for all."""
    whole, cut = tmp_path / "whole.tar.gz", tmp_path / "cut.tar.gz"
    with tarfile.open(whole, "w:gz") as opened:
        for path in sorted((practice_music / "jazz").glob("*.mid")):
            opened.add(path, path.name)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    assert score(whole).exit_code == 0
    out = tmp_path / "scores.csv"
    for flags in ((), ("--resume",)):
        result = score(cut, "--out", out, *flags)
        assert result.exit_code == 1
        assert "error: what lies behind the damage of an archive has no row" in result.stderr
    rows = as_dicts(out.read_text())
    assert sum(bool(row["p_jazz"]) for row in rows) > 2
    assert rows[-1]["error"].startswith("damaged archive")


def test_what_has_changed_since_its_row_was_written_is_told(
    score: Run, files: Path, tmp_path: Path
) -> None:
    music, packed = tmp_path / "music", tmp_path / "packed.tar"
    shutil.copytree(files, music)
    with tarfile.open(packed, "w") as opened:
        opened.add(min(files.glob("*.mid")), "in/a.mid")
    for name in ("scores.csv", "scores.jsonl"):
        out = tmp_path / name
        assert score(music, packed, "--out", out).exit_code == 0
        assert "note:" not in score(music, packed, "--out", out, "--resume").stderr
        later = out.stat().st_mtime + 5
        changed = min(music.glob("*.mid"))
        os.utime(changed, (later, later))
        result = score(music, packed, "--out", out, "--resume")
        assert f"note: {changed} is newer than the row of before" in result.stderr
        os.utime(packed, (later, later))
        result = score(music, packed, "--out", out, "--resume")
        assert f"note: 2 files are (as {changed}) newer" in result.stderr
        for path in (changed, packed):
            os.utime(path, (0, 0))


def test_what_is_stopped_tells_what_has_changed_too(
    score: Run, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    music, out = tmp_path / "music", tmp_path / "scores.csv"
    shutil.copytree(files, music)
    assert score(music, "--out", out).exit_code == 0
    later = out.stat().st_mtime + 5
    changed = min(music.glob("*.mid"))
    os.utime(changed, (later, later))
    shutil.copy(changed, music / "zz.mid")

    def stopped(file: ScoreFile, row: Score) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ScoreFile, "write", stopped)
    result = score(music, "--out", out, "--resume")
    assert result.exit_code != 0
    assert f"note: {changed} is newer than the row of before" in result.stderr


def test_a_members_name_that_no_file_can_have_does_not_end_what_goes_on(
    score: Run, files: Path, tmp_path: Path
) -> None:
    packed, out = tmp_path / "packed.tar", tmp_path / "scores.csv"
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as opened:
        member = opened.gettarinfo(min(files.glob("*.mid")), "a.mid")
        member.pax_headers = {"path": "a\0b.mid"}
        with min(files.glob("*.mid")).open("rb") as stream:
            opened.addfile(member, stream)
    assert score(packed, "--out", out).exit_code == 0
    later = out.stat().st_mtime + 5
    os.utime(packed, (later, later))
    result = score(packed, "--out", out, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "newer than the row of before" in result.stderr


def test_lines_that_cannot_be_read_are_told_and_their_files_scored_again(
    score: Run, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    assert score(files, "--out", out).exit_code == 0
    rows = as_dicts(out.read_text())
    lines = out.read_text().splitlines(keepends=True)
    lines[1:3] = [line.partition(",")[0] + "\n" for line in lines[1:3]]
    out.write_text("".join(lines))
    result = score(files, "--out", out, "--resume")
    assert result.exit_code == 0, result.stderr
    assert "note: 2 lines of scores.csv, from line 2 on, could not be read" in result.stderr
    assert "5 files: " in result.stderr
    again = as_dicts(out.read_text())
    assert sorted(row["path"] for row in again) == [row["path"] for row in rows]
    assert all(row["verdict"] for row in again)


@pytest.mark.parametrize("relative", [True, False])
def test_relative_paths_go_on_from_the_folder_they_count_from(
    score: Run, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """Elsewhere no row would be found, and every file would get a second one."""
    out = tmp_path / "scores.csv"
    monkeypatch.chdir(files)
    assert score("." if relative else files, "--out", out).exit_code == 0
    rows = out.read_text()
    monkeypatch.chdir(files.parent)
    result = score(files.name if relative else files, "--out", out, "--resume")
    assert result.exit_code == int(relative)
    assert (f"scores.csv: its paths count from {files};" in result.stderr) == relative
    assert out.read_text() == rows
    monkeypatch.chdir(files)
    assert score(files, "--out", out, "--resume").exit_code == 0
    assert out.read_text() == rows


def test_a_folder_without_music_has_its_row(score: Run, files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    good = min(files.glob("*.mid"))
    flags = (tmp_path / "empty", good, "--out", tmp_path / "scores.csv", "--workers", 1)
    for more in ((), ("--resume",)):
        assert score(*flags, *more).exit_code == 0
        first, second = as_dicts((tmp_path / "scores.csv").read_text())
        assert (first["path"], first["error"]) == (str(tmp_path / "empty"), "no .mid file in it")
        assert (second["path"], second["error"]) == (str(good), "")


def test_where_none_can_be_scored_the_work_failed(score: Run, files: Path) -> None:
    result = score(files / "x-text.mid", files / "w-empty.mid", "--format", "csv")
    assert result.exit_code == 1
    assert len(as_dicts(result.stdout)) == 2
    assert "error: none of 2 files could be scored" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--resume",),
        ("--format", "parquet"),
        ("--format", "table", "--out", "x.csv"),
        ("--format", "parquet", "--out", "x.csv"),
        ("--format", "csv", "--out", "x.JSON"),
        ("--workers", "-1"),
    ],
)
def test_flags_that_do_not_go_together(score: Run, files: Path, flags: tuple[str, ...]) -> None:
    assert score(files, *flags).exit_code == 2


def test_a_file_there_is_not_touched(score: Run, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("somebody's own")
    for flags in ((), ("--resume",)):
        assert score(files, "--out", out, *flags).exit_code == 1
        assert out.read_text() == "somebody's own"


def program(*arguments: object, before: str = "") -> list[str]:
    code = f"import sys\n{before}\nif __name__ == '__main__':\n from gan.cli import main\n main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_a_killed_run_goes_on_to_the_same_rows(
    practice_music: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    flags = (practice_music, "--model", tiny_discriminator, "--device", "cpu", "--workers", 0)
    subprocess.run(program("score", *flags, "--out", tmp_path / "a.csv"), check=True)
    out = tmp_path / "b.csv"
    # Slow, so that there is time to kill it between its first row and its last.
    slow = ("import time, discriminator.scores as s\nplain = s.ScoreFile.write\n"
            "s.ScoreFile.write = lambda *a: (plain(*a), time.sleep(0.05))")  # fmt: skip
    process = subprocess.Popen(program("score", *flags, "--out", out, before=slow))
    while not (out.exists() and out.read_text().count("\n") > 3):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = out.read_text()
    whole = (tmp_path / "a.csv").read_text()
    assert len(before) < len(whole)
    out.write_text(before[:-5])  # as a power cut may leave it
    subprocess.run(program("score", *flags, "--out", out, "--resume"), check=True)
    # Batches differ, and with them a last digit may.
    for one, two in zip(as_dicts(out.read_text()), as_dicts(whole), strict=True):
        assert (one["path"], one["windows"]) == (two["path"], two["windows"])
        assert float(one["p_jazz"]) == pytest.approx(float(two["p_jazz"]), abs=2e-4)


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals")
def test_a_table_on_a_terminal_shows_a_bar_and_keeps_its_rows_when_stopped(
    files: Path, tiny_discriminator: Path
) -> None:
    ours, theirs = os.openpty()
    # A shell's background jobs ignore SIGINT, and so would what they start.
    slow = ("import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "import time, discriminator.scores as s\nplain = s.score_of\n"
            "s.score_of = lambda verdict: (time.sleep(0.5), plain(verdict))[1]")  # fmt: skip
    command = program("score", files, "--model", tiny_discriminator, "--device", "cpu",
                      "--workers", 0, before=slow)  # fmt: skip
    there = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    text = ""

    def more() -> bool:
        nonlocal text
        try:
            text += os.read(ours, 65536).decode()
        except OSError:  # closed
            return False
        return True

    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=there) as process:
        os.close(theirs)
        while "2/5" not in text:
            assert more(), text
        assert ".mid" not in text, "the rows are held back"
        process.send_signal(signal.SIGINT)
        while more():
            pass
    os.close(ours)
    assert process.returncode == 1
    first, second, *_ = sorted(path.name for path in files.iterdir())
    table = text.split("verdict")[1]
    assert first in table
    assert second in table
    assert "stopped" in table


def test_only_the_classifiers_own_packages_are_needed(
    files: Path, tiny_discriminator: Path
) -> None:
    block = (
        "blocked = {'sklearn', 'scipy', 'tensorboard', 'datasketch', 'pooch', 'pyarrow', 'onnx'}\n"
        "class Blocked:\n"
        " def find_spec(self, name, path=None, target=None):\n"
        "  if name.split('.')[0] in blocked: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())"
    )
    arguments = ("score", files, "--model", tiny_discriminator, "--format", "csv")
    done = subprocess.run(
        program(*arguments, before=block), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(as_dicts(done.stdout)) == 5


def test_the_classifiers_packages_are_among_all_packages() -> None:
    root = Path(__file__).resolve().parents[2]

    def lines(path: Path) -> set[str]:
        return {line for line in path.read_text().splitlines() if line and line[0] != "#"}

    some = lines(root / "discriminator" / "requirements.txt")
    assert some < lines(root / "requirements.txt")
    unwanted = ("scikit-learn", "tensorboard", "datasketch", "pooch")
    assert not [line for line in some if line.startswith(unwanted)]


def test_a_table_of_no_known_kind_is_refused(score: Run, files: Path, tmp_path: Path) -> None:
    result = score(files, "--out", tmp_path / "scores.txt")
    assert result.exit_code == 1
    assert "a table ends in .csv" in result.stderr
    assert not (tmp_path / "scores.txt").exists()
    assert score(files, "--out", tmp_path / "scores.txt", "--format", "csv").exit_code == 0


def test_a_file_goes_on_in_the_precision_it_was_begun_with(
    score: Run, files: Path, tmp_path: Path
) -> None:
    out, card = tmp_path / "scores.csv", tmp_path / "scores.csv.run.json"
    begin = (files, "--out", out, "--precision")
    assert score(*begin, "fp32").exit_code == 0
    assert score(*begin, "fp32", "--resume").exit_code == 0
    result = score(*begin, "bf16", "--resume")
    assert result.exit_code == 1
    assert "begun with different precision" in result.stderr
    content = json.loads(card.read_text())
    del content["precision"]  # as files from before say nothing of it
    card.write_text(json.dumps(content))
    assert score(*begin, "bf16", "--resume").exit_code == 0


def test_readers_and_torch_share_the_cores(
    tiny_discriminator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier.load(tiny_discriminator)
    given: list[int] = []
    monkeypatch.setattr("data_tools.parallel.cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    assert [readers(workers, classifier) for workers in (None, 3, 20, 0)] == [2, 3, 20, 0]
    assert given == [6, 5, 1], "who reads in this process leaves torch all"
    classifier.device = torch.device("cuda")
    assert readers(None, classifier) == 7
