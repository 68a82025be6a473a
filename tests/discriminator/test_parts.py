"""Listings and parts: every file once and in order, tables whole or absent, runs never mixed."""

import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.errors import UserError
from discriminator.parts import (
    Item,
    Parts,
    items,
    pieces_of,
    read_listing,
    read_parts,
    write_listing,
)
from discriminator.scores import Score

GOOD = Score("a.mid", 0.75, "jazz", 3, "")
BAD = Score("b.mid", None, "unsure", 0, "empty file")


def files(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03}.mid" for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def packed(path: Path, paths: list[Path]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for one in paths:
                archive.write(one, one.name)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            for one in paths:
                archive.add(one, one.name)
    return path


def contents(part: list[Item], base: Path) -> list[bytes]:
    """What each row's music holds, in the order of the rows."""
    found: dict[int, Any] = {}
    for row, piece in pieces_of(part, base):
        assert row not in found
        assert piece.path.endswith(part[row].path.split(":")[-1])
        music = piece.music
        found[row] = music.read_bytes() if isinstance(music, Path) else music
    assert sorted(found) == list(range(len(part)))
    return [found[row] for row in sorted(found)]


@given(counts=st.lists(st.integers(1, 12), min_size=1, max_size=4), size=st.integers(1, 9))
def test_parts_hold_every_file_once(tmp_path_factory, counts, size):
    top = tmp_path_factory.mktemp("parts")
    expected, locations = [], []
    for number, count in enumerate(counts):
        paths = files(top / str(number), count)
        expected += [path.name.encode() for path in paths]
        kind = [None, ".zip", ".tar", ".tar.gz"][number % 4]
        location = packed(top / f"{number}{kind}", paths) if kind else top / str(number)
        locations.append(location)
    listing = write_listing(locations, top / "listing", size)
    found = []
    for part, count in enumerate(listing.counts):
        rows = read_listing(listing.path, *listing.span(part))
        assert len(rows) == count
        assert count <= size or any(row.archive.endswith(".gz") for row in rows)
        found += contents(rows, Path("/"))
    assert found == expected
    again = write_listing(locations, top / "again", size)
    assert again == again.__class__(top / "again", listing.digest, listing.ends, listing.counts)


def test_a_compressed_tar_is_one_part(tmp_path):
    paths = files(tmp_path / "music", 10)
    whole = packed(tmp_path / "shard.tar.gz", paths)
    listing = write_listing([paths[0], whole, paths[1], paths[2]], tmp_path / "listing", 3)
    assert list(listing.counts) == [11, 2]


def test_lists_name_anything(tmp_path, monkeypatch):
    paths = files(tmp_path / "music", 3)
    shard = packed(tmp_path / "shard.zip", paths)
    table = tmp_path / "list.txt"
    table.write_text(f"music\n\n{shard}\nmusic/gone.mid\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = [item.path for item in items([table])]
    names = [path.name for path in paths]
    assert found == [
        *(f"music/{name}" for name in names), *(f"{shard}:{name}" for name in names),
        "music/gone.mid",
    ]  # fmt: skip


def test_a_list_may_begin_with_a_mark(tmp_path):
    (path,) = files(tmp_path / "music", 1)
    table = tmp_path / "list.txt"
    table.write_text(f"{path}\n", encoding="utf-8-sig")
    assert [item.path for item in items([table])] == [str(path)]


def test_where_relative_paths_start_is_part_of_the_digest(tmp_path, monkeypatch):
    digests = set()
    for name in "ab":
        files(tmp_path / name / "music", 1)
        monkeypatch.chdir(tmp_path / name)
        digests.add(write_listing([Path("music")], Path("listing"), 5).digest)
    assert len(digests) == 2
    absolute = set()
    for name in "ab":
        monkeypatch.chdir(tmp_path / name)
        absolute.add(write_listing([tmp_path / "a" / "music"], Path("listing"), 5).digest)
    assert len(absolute) == 1


def test_what_cannot_be_had_is_a_row_with_its_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    (path,) = files(tmp_path / "music", 1)
    damaged = tmp_path / "shard.zip"
    damaged.write_bytes(b"PK no archive")
    listing = write_listing([tmp_path / "empty", damaged, path], tmp_path / "listing", 9)
    rows = read_listing(listing.path, *listing.span(0))
    found = dict(pieces_of(rows, tmp_path))
    assert [rows[row].path for row in sorted(found)] == [
        str(tmp_path / "empty"), str(damaged), str(path)
    ]  # fmt: skip
    assert "no .mid file" in found[0].error
    assert "damaged archive" in found[1].error
    assert found[2].error == ""


def test_nothing_to_score_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.mid file in any"):
        write_listing([tmp_path / "empty"], tmp_path / "listing", 9)
    with pytest.raises(UserError, match=r"list\.txt: No such file"):
        write_listing([tmp_path / "list.txt"], tmp_path / "listing", 9)


def test_an_archive_that_changed_gives_no_other_music(tmp_path):
    paths = files(tmp_path / "music", 4)
    shard = packed(tmp_path / "shard.zip", paths)
    listing = write_listing([shard], tmp_path / "listing", 9)
    packed(shard, paths[1:])
    rows = read_listing(listing.path, *listing.span(0))
    assert {piece.error for _, piece in pieces_of(rows, tmp_path)} == {"no longer in its archive"}


# ---- tables


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_tables_round_trip(tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    parts = Parts(tmp_path / "run", form, {"listing": "x"})
    parts.write(0, [GOOD, BAD])
    parts.write(1, [BAD])
    assert [parts.done(number) for number in range(3)] == [True, True, False]
    assert list(read_parts(tmp_path / "run" / "scores")) == [GOOD]
    assert list(read_parts(tmp_path / "run" / "errors")) == [BAD, BAD]


def test_a_part_without_its_scores_is_not_done(tmp_path, monkeypatch):
    parts = Parts(tmp_path, "csv", {})
    write = Parts._write

    def killed(self, path, rows):
        if path.parent.name == "scores":
            raise KeyboardInterrupt
        write(self, path, rows)

    monkeypatch.setattr(Parts, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        parts.write(0, [GOOD, BAD])
    monkeypatch.undo()
    assert not parts.done(0)
    parts.write(0, [GOOD, GOOD])  # the file could be read this time
    assert not list(read_parts(tmp_path / "errors"))


def test_runs_do_not_mix(tmp_path):
    Parts(tmp_path, "csv", {"listing": "x", "classifier": "y"})
    Parts(tmp_path, "csv", {"listing": "x", "classifier": "y"})
    with pytest.raises(UserError, match="another classifier, form"):
        Parts(tmp_path, "jsonl", {"listing": "x", "classifier": "z"})
    card = tmp_path / "run.json"
    assert json.loads(card.read_text(encoding="utf-8"))["classifier"] == "y"
    (tmp_path / "scores").mkdir()
    card.unlink()
    with pytest.raises(UserError, match="unknown run"):
        Parts(tmp_path, "csv", {})


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_names_that_are_no_text_survive(tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    name = os.fsdecode(b"caf\xe9.mid")
    rows = [GOOD._replace(path=one) for one in (name, r"caf\xe9.mid", "a\rb.mid")]
    Parts(tmp_path, form, {}).write(0, rows)
    assert list(read_parts(tmp_path / "scores")) == rows


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_listing_holds_names_that_are_no_text(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    path = folder / os.fsdecode(b"caf\xe9.mid")
    path.write_bytes(b"x")
    listing = write_listing([folder], tmp_path / "listing", 9)
    assert contents(read_listing(listing.path, *listing.span(0)), tmp_path) == [b"x"]
