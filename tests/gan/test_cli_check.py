"""`gan data check` from the command line: formats, filters, archives and exit codes."""

import csv
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import miditoolkit
import pytest
from click.testing import CliRunner, Result

from data_tools import midi
from data_tools.inspect import COLUMNS
from gan.cli import main
from gan.cli_check import SHORT


def check(*arguments: object) -> Result:
    return CliRunner().invoke(
        main, ["data", "check", *(str(argument) for argument in arguments), "--workers", "1"]
    )


def table(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


def names(result: Result) -> list[str]:
    return [Path(row["path"].split(":")[-1]).name for row in table(result)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six files: a piano alone, one of one velocity, a trio, a bass, one without notes, rubbish."""
    folder = tmp_path_factory.mktemp("files") / "music"
    instruments = {"a-piano": [0, 2], "b-flat": [0], "c-trio": [0, 33, -1], "d-bass": [33], "e": []}
    for name, programs in instruments.items():
        music = miditoolkit.MidiFile(ticks_per_beat=480)
        for program in programs:
            part = miditoolkit.Instrument(max(program, 0), is_drum=program < 0)
            for i in range(20):
                velocity = 64 if name == "b-flat" else 50 + i
                part.notes.append(miditoolkit.Note(velocity, 40 + i, 240 * i, 240 * i + 200))
            music.instruments.append(part)
        midi.write(music, folder / f"{name}.mid")
    (folder / "f.mid").write_bytes(b"MThd, more or less")
    return folder


def test_csv_and_json_carry_every_column(folder: Path) -> None:
    result = check(folder, "--format", "csv")
    assert result.exit_code == 0, result.stderr
    rows = table(result)
    assert all(list(row) == list(COLUMNS) for row in rows)
    assert [row["readable"] for row in rows] == ["yes"] * 5 + ["no"]
    trio = rows[2]
    assert (trio["programs"], trio["channels"], trio["drums"]) == ("0 33", "1 2 10", "yes")
    assert trio["reason"] == "drums; 2 instruments: piano, 33 fingered bass"
    assert [row["kept"] for row in rows] == [
        "yes", "yes", "yes", "no piano track", "no notes", "not readable as MIDI (no track)",
    ]  # fmt: skip
    objects = [json.loads(line) for line in check(folder, "--format", "json").stdout.splitlines()]
    assert all(list(one) == list(COLUMNS) for one in objects)
    assert objects[2]["programs"] == [0, 33]
    assert objects[0]["hands"] == 2
    assert objects[5]["format"] is None


def test_the_table_is_short_unless_asked(folder: Path) -> None:
    heads = [
        check(folder, *flags).stdout.splitlines()[0].split()
        for flags in ((), ("--wide",), ("--columns", "notes,path"))
    ]
    short, wide = ([*names[:-1], "remarks"] for names in (SHORT, COLUMNS))
    assert SHORT[-1] == COLUMNS[-1] == "reason"
    assert heads == [short, wide, ["notes", "path"]]
    result = check(folder, "--columns", "path, timing,path", "--format", "csv")
    assert list(table(result)[0]) == ["path", "timing"]
    wide = check(folder, "--wide").stdout
    assert len(wide.splitlines()) == 7, "one line a file, whatever the width"
    assert all(str(path) in wide for path in folder.iterdir())


@pytest.mark.parametrize(
    ("requirements", "fit"),
    [
        (["readable"], ["a-piano", "b-flat", "c-trio", "d-bass", "e"]),
        (["notes"], ["a-piano", "b-flat", "c-trio", "d-bass"]),
        (["single-instrument"], ["a-piano", "b-flat", "d-bass"]),
        (["piano"], ["a-piano", "b-flat"]),
        (["no-suspicious"], ["a-piano", "c-trio", "d-bass"]),
        (["single-instrument", "no-suspicious"], ["a-piano", "d-bass"]),
    ],
)
def test_require_prints_what_fits_and_failing_the_rest(
    requirements: list[str], fit: list[str], folder: Path
) -> None:
    flags = [flag for one in requirements for flag in ("--require", one)]
    result = check(folder, *flags, "--format", "csv")
    assert names(result) == [f"{name}.mid" for name in fit]
    assert result.exit_code == 1
    left_out = 6 - len(fit)
    wanted = f"error: {left_out} of 6 files left out: not {', '.join(requirements)}\n"
    assert result.stderr == wanted
    rest = check(folder, *flags, "--failing", "--format", "csv")
    assert sorted(names(result) + names(rest)) == sorted(path.name for path in folder.iterdir())
    assert (rest.exit_code, rest.stderr) == (1, wanted)
    good = [folder / f"{name}.mid" for name in fit]
    result = check(*good, *flags)
    assert (result.exit_code, result.stderr) == (0, "")
    none = check(*good, *flags, "--failing", "--format", "csv")
    assert none.exit_code == 0
    assert none.stdout == ",".join(COLUMNS) + "\n"


def test_strict_prints_all_and_fails(folder: Path) -> None:
    result = check(folder, "--strict", "--format", "csv")
    assert len(table(result)) == 6
    assert result.exit_code == 1
    assert result.stderr == "error: 4 of 6 files are not single-instrument piano\n"
    assert check(folder / "a-piano.mid", folder / "b-flat.mid", "--strict").exit_code == 0


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "csv"])
def test_archives_and_manifests_are_read_as_folders_are(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / f"music.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in sorted(folder.iterdir()):
                out.write(path, f"in/{path.name}")
    elif kind == "tar.gz":
        with tarfile.open(archive, "w:gz") as out:
            for path in sorted(folder.iterdir()):
                out.add(path, f"in/{path.name}")
    else:
        lines = [str(path.relative_to(folder.parent)) for path in sorted(folder.iterdir())]
        archive = folder.parent / "manifest.csv"
        archive.write_text("\n".join(["path", *lines, "music/gone.mid"]) + "\n")
    expected = [row | {"path": ""} for row in table(check(folder, "--format", "csv"))]
    result = check(archive, "--format", "csv")
    assert result.exit_code == 0, result.stderr
    rows = table(result)
    if kind == "csv":
        assert rows.pop()["reason"] == "missing"
        assert rows[0]["path"] == str(folder / "a-piano.mid")
    else:
        assert rows[0]["path"] == f"{archive}:in/a-piano.mid"
    assert [row | {"path": ""} for row in rows] == expected


def test_a_damaged_archive_does_not_hide_the_others(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "music.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        out.add(folder / "a-piano.mid", "a-piano.mid")
    archive.write_bytes(archive.read_bytes()[:-40])
    result = check(folder / "b-flat.mid", archive, folder / "e.mid")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        str(folder / "b-flat.mid"), str(folder / "e.mid"),
    ]  # fmt: skip
    assert result.exit_code == 1
    assert "damaged or unreadable .tar" in result.stderr


def test_an_archive_inside_a_folder_has_its_row(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as out:
        out.write(folder / "a-piano.mid", "a-piano.mid")
    (row,) = table(check(tmp_path, "--format", "csv"))
    assert (row["readable"], row["path"]) == ("no", str(tmp_path / "more.zip"))
    assert row["reason"] == "an archive inside a folder; give it by its own name"


def test_several_processes_give_the_same_rows(folder: Path) -> None:
    alone = check(folder, folder, "--format", "csv").stdout
    arguments = ["data", "check", str(folder), str(folder), "--format", "csv", "--workers", "2"]
    assert CliRunner().invoke(main, arguments).stdout == alone


def test_summary(folder: Path) -> None:
    result = check(folder, "--summary")
    lines = [line.strip() for line in result.stdout.splitlines()[-17:]]
    assert "6 files" in lines
    for line in ("3  kept: yes", "1  remarks: several instruments", "2  remarks: none",
                 "1  remarks: not readable", "4  timing: quantized", "2  timing: none",
                 "1  suspicious: one velocity", "1  suspicious: no notes"):  # fmt: skip
        assert line in lines
    result = check(folder, "--summary", "--format", "json")
    assert len(result.stdout.splitlines()) == 6
    assert "6 files" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--failing",),
        ("--columns", "path,colour"),
        ("--columns", ""),
        ("--require", "jazz"),
        ("--format", "xml"),
    ],
)
def test_wrong_usage(flags: tuple[str, ...], folder: Path) -> None:
    result = check(folder, *flags)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"no archive at all")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as out:
        out.writestr("readme.txt", "hello")
    (tmp_path / "music.csv").write_text("title\nx\n")
    for name, said in (("bad.zip", "damaged"), ("none.zip", "no .mid"), ("music.csv", "'path'")):
        result = check(tmp_path / name)
        assert result.exit_code == 1
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert check(tmp_path / "nothing").exit_code == 2


def test_a_name_that_is_no_text_is_printed(folder: Path, tmp_path: Path) -> None:
    try:
        os.link(folder / "a-piano.mid", os.fsencode(tmp_path) + b"/caf\xe9.mid")
    except OSError:
        pytest.skip("this file system holds no such names")
    for form in ("table", "csv", "json"):
        result = check(tmp_path, "--format", form)
        assert result.exit_code == 0, result.exception
        assert "caf" in result.stdout


def test_a_file_of_any_name_is_looked_at(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / "no-suffix"
    odd.write_bytes((folder / "a-piano.mid").read_bytes())
    assert table(check(odd, "--format", "csv"))[0]["piano"] == "yes"


def test_a_kept_file_has_remarks_and_no_reason(folder: Path) -> None:
    """What is told of a band that is kept for its piano is none why it would not be."""
    assert check(folder).stdout.splitlines()[0].split()[-2:] == ["kept", "remarks"]
    assert "reason" in check(folder, "--columns", "path,reason").stdout.splitlines()[0]
    assert "reason" in check(folder, "--format", "csv").stdout.splitlines()[0]


def test_a_pipe_among_the_files_is_passed_over_and_a_link_to_nowhere_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.mid")
    (tmp_path / "gone.mid").symlink_to("nowhere.mid")
    told = CliRunner().invoke(main, ["data", "check", str(tmp_path), "--format", "csv"])
    assert told.exit_code == 0, told.output
    assert "endless" not in told.output
    assert "gone.mid" in told.output


def test_a_pipe_by_name_is_told_and_nobody_waits_for_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.mid")
    told = CliRunner().invoke(main, ["data", "check", str(tmp_path / "endless.mid")])
    assert "not a regular file" in told.output


@pytest.mark.parametrize("kept", [True, False])
def test_a_folder_that_cannot_be_listed_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    (tmp_path / "closed").mkdir()
    if kept:
        (tmp_path / "song.mid").write_bytes(b"no music")
    really = os.scandir

    def scandir(path: str) -> object:
        if os.path.basename(os.fspath(path)) == "closed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told = CliRunner().invoke(main, ["data", "check", str(tmp_path), "--format", "csv"])
    assert "this folder cannot be listed (Permission denied)" in told.output
