"""Reading in bulk: order, names, reasons, bounds, and every place music may lie in."""

import gc
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import mido
import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.errors import MidiError, UserError
from data_tools.parallel import ordered_map
from data_tools.representation import Representation
from data_tools.settings import RepresentationSettings
from discriminator import collection, reading
from discriminator.collection import NO_MUSIC, NOWHERE, leaves, pieces, places
from discriminator.reading import Piece, read_many, read_piece


def melody(notes: int, seed: int = 0) -> symusic.Score:
    rng = np.random.default_rng(seed)
    score = symusic.Score(480)
    track = symusic.Track("Piano", 0, False)
    for index in range(notes):
        track.notes.append(symusic.Note(240 * index, 200, int(rng.integers(40, 80)), 64))
    score.tracks.append(track)
    return score


@pytest.fixture(scope="module")
def representation() -> Representation:
    return Representation()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folders within folders, whose order is neither that of making nor of length."""
    top = tmp_path / "music"
    for number, name in enumerate(("b/two.mid", "a.mid", "b/c/one.MIDI", "a/z.kar", "b2.mid")):
        midi.write(melody(20 + number, number), top / name)
    (top / "b" / "notes.txt").write_text("no music")
    return top


NAMES = ["a.mid", "b2.mid", "a/z.kar", "b/two.mid", "b/c/one.MIDI"]


# ---- reading


def test_several_instruments_are_read_as_a_corpus_reads_them(tmp_path: Path) -> None:
    """Two tracks on one channel: in `raw` they are one part, whether read to learn or to score."""
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    for pitch in (60, 67):
        track = mido.MidiTrack()
        for number in range(8):
            for kind, velocity, wait in (("note_on", 80, 0), ("note_off", 0, 240)):
                note = pitch + number
                track.append(mido.Message(kind, channel=4, note=note, velocity=velocity, time=wait))
        file.tracks.append(track)
    path = tmp_path / "two.mid"
    file.save(path)
    raw = Representation(RepresentationSettings(preset="raw"))
    learnt = raw.encode(raw.prepare(path).score)
    assert raw.tokens(learnt[:1]) == ["Channel_5"]
    for music in (path, path.read_bytes()):
        assert read_piece(music, raw).ids.tolist() == learnt.tolist()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_pieces_come_in_order_with_their_names(
    folder: Path, representation: Representation, workers: int
) -> None:
    files = [folder / name for name in NAMES] * 12
    offered = [Piece(f"{i}:{path}", path) for i, path in enumerate(files)]
    found = list(read_many(offered, representation, workers))
    assert [one.path for one in found] == [piece.path for piece in offered]
    for one, path in zip(found, files, strict=True):
        assert one.ids.dtype == np.uint16
        expected = representation.encode(representation.prepare(path).score)
        assert np.array_equal(one.ids, expected)
        assert not one.error


def test_bad_pieces_are_rows_with_reasons(tmp_path: Path, representation: Representation) -> None:
    (tmp_path / "empty.mid").write_bytes(b"")
    (tmp_path / "text.mid").write_text("no music")
    with (tmp_path / "huge.mid").open("wb") as stream:
        stream.truncate(50 * 2**20)
    offered = [
        *(tmp_path / name for name in ("empty.mid", "text.mid", "huge.mid", "none.mid")),
        tmp_path,
        Piece("refused.mid", None, "damaged in its archive"),
        b"MThd" + bytes(17 * 2**20),
        melody(30),
    ]
    found = list(read_many(offered, representation, 1))
    says = ["empty", "not readable", "larger than 16 MiB (50.0 MiB)", "No such", "directory",
            "damaged in its archive", "larger than 16 MiB (17.0 MiB)", ""]  # fmt: skip
    for one, words in zip(found, says, strict=True):
        assert words in one.error
        assert bool(one.error) == bool(words)
        assert (len(one.ids) == 0) == bool(words)
        assert "\n" not in one.error


def test_a_flood_of_notes_is_too_long(
    representation: Representation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_NOTES", 29)
    assert "too long: 30 notes, at most 29" in read_piece(melody(30), representation).error
    assert not read_piece(melody(29), representation).error


def deadly(music: Piece) -> reading.Reading:
    """In place of the reader: what a fault in compiled code would do."""
    if music.path == "deadly":
        os._exit(11)
    return reading._failed(music.path, "read")


def test_a_crash_costs_its_own_piece_alone(
    representation: Representation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_read", deadly)
    offered = [Piece(name, b"") for name in ("a", "b", "deadly", "c", "d")]
    found = [(one.path, one.error) for one in read_many(offered, representation, 1)]
    assert found == [("a", "read"), ("b", "read"), ("deadly", "crashed the reader"),
                     ("c", "read"), ("d", "read")]  # fmt: skip


def slow(music: Piece) -> reading.Reading:
    """In place of the reader: one that never ends on some file."""
    if music.path == "slow":
        time.sleep(600)
    return reading._failed(music.path, "read")


def test_a_piece_that_takes_too_long_is_left(
    representation: Representation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_read", slow)
    monkeypatch.setattr(reading, "ordered_map", partial(ordered_map, seconds=2))
    offered = [Piece(name, b"") for name in ("a", "slow", "b")]
    found = [one.error for one in read_many(offered, representation, 1)]
    assert found == ["read", "took longer than 60 s", "read"]


def test_an_endless_stream_is_read_only_a_little_ahead(
    folder: Path, representation: Representation
) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for _ in count():
            taken += 1
            yield folder / "a.mid"

    stream = read_many(endless(), representation, 1)
    assert len(list(islice(stream, 40))) == 40
    stream.close()  # type: ignore[attr-defined]
    gc.collect()
    assert taken < 40 + reading._AHEAD + 8 * reading._BATCH


def test_a_source_that_fails_says_so(folder: Path, representation: Representation) -> None:
    def failing() -> Iterator[Path]:
        yield folder / "a.mid"
        raise UserError("the disk is gone")

    with pytest.raises(UserError, match="the disk is gone"):
        list(read_many(failing(), representation, 1))


def test_reading_processes_load_no_torch() -> None:
    program = (
        "import sys, discriminator.reading, discriminator.collection, discriminator.curate\n"
        "sys.exit(bool({'torch', 'sklearn', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# ---- where music lies


def inner(location: Path) -> list[str]:
    return [place.inner for place in places(location)]


def contents(location: Path) -> dict[str, bytes]:
    return {place.inner: place.data() for place in places(location) if not place.error}


def packed(folder: Path, kind: str, out: Path) -> Path:
    path = out / f"music.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in NAMES:
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
            archive.add(folder, ".")
    return path


def test_folders_are_walked_in_one_order(folder: Path) -> None:
    assert inner(folder) == NAMES
    assert [place.path for place in places(folder)] == [str(folder / name) for name in NAMES]


@pytest.mark.skipif(os.name == "nt", reason="no such pipes")
@pytest.mark.parametrize("name", ["a.mid", "a.zip", "a.tar.gz", "a.csv"])
def test_a_pipe_is_told_and_nobody_waits_for_its_end(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (piece,) = pieces([tmp_path / name])
    assert "not a regular file" in piece.error


def test_names_in_a_zip_are_utf_8_without_its_flag_too(
    practice_music: Path, tmp_path: Path
) -> None:
    archive, music = tmp_path / "a.zip", next(practice_music.rglob("*.mid")).read_bytes()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("M##nil.mid", music)
    archive.write_bytes(archive.read_bytes().replace(b"M##nil", "Ménil".encode()))
    assert [(one.path, one.music) for one in pieces([archive])] == [(f"{archive}:Ménil.mid", music)]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_hold_the_same(folder: Path, tmp_path: Path, kind: str) -> None:
    archive = packed(folder, kind, tmp_path)
    assert contents(archive) == contents(folder)
    found = {piece.path: piece.music for piece in pieces([archive])}
    assert found == {f"{archive}:{name}": data for name, data in contents(folder).items()}


def test_what_is_not_wanted_is_not_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(folder, "zip", tmp_path)
    read = []
    plain = zipfile.ZipFile.read

    def watched(self: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
        read.append(info.filename)
        return plain(self, info)

    monkeypatch.setattr(zipfile.ZipFile, "read", watched)
    found = list(pieces([archive], lambda path: "two" in path))
    assert [piece.path for piece in found] == [f"{archive}:b/two.mid"]
    assert read == ["b/two.mid"]


def test_a_manifest_names_its_files_and_none_elsewhere(folder: Path) -> None:
    table = folder / "manifest.csv"
    table.write_text("path,label\na.mid,jazz\n../out.mid,jazz\ngone.mid,\n")
    found = list(places(table))
    assert [place.inner for place in found] == ["a.mid", "../out.mid", "gone.mid"]
    assert "leaves" in found[1].error
    assert found[1].piece().music is None


def test_a_damaged_member_does_not_harm_the_others(folder: Path, tmp_path: Path) -> None:
    archive = packed(folder, "zip", tmp_path)
    raw = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        start = opened.getinfo("a/z.kar").header_offset
    raw[start + 60] ^= 0xFF
    archive.write_bytes(raw)
    found = {piece.path.split(":")[-1]: piece for piece in pieces([archive])}
    assert list(found) == NAMES
    assert "damaged in its archive" in found["a/z.kar"].error
    assert sum(not piece.error for piece in found.values()) == 4


@pytest.mark.parametrize("harm", ["cut", "header"])
def test_a_damaged_tar_says_where_it_ends(folder: Path, tmp_path: Path, harm: str) -> None:
    archive = packed(folder, "tar", tmp_path)
    with tarfile.open(archive) as opened:
        last = [member for member in opened if member.isfile()][-2]
    raw = bytearray(archive.read_bytes())
    if harm == "cut":
        raw = raw[: last.offset_data + 30]
    else:
        raw[last.offset + 100 : last.offset + 140] = b"x" * 40
    archive.write_bytes(raw)
    found = list(pieces([archive]))
    assert "damaged" in found[-1].error
    assert 0 < sum(not piece.error for piece in found) < len(NAMES)


@pytest.mark.parametrize("name", ["music.zip", "music.tar"])
def test_no_archive_at_all_is_one_row(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    (found,) = pieces([tmp_path / name])
    assert found.path == str(tmp_path / name)
    assert "damaged archive" in found.error


def test_a_member_too_large_is_not_read(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("bomb.mid", bytes(50 * 2**20))
    (found,) = pieces([archive])
    assert "larger than 16 MiB" in found.error


def test_what_is_no_file_is_passed_over(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.mid").symlink_to(folder / "loop", target_is_directory=True)
    os.mkfifo(folder / "pipe.mid")
    assert inner(folder) == NAMES


def test_an_archive_in_a_folder_is_a_row(folder: Path) -> None:
    (folder / "more.zip").write_bytes(b"")
    rows = {place.inner: place.error for place in places(folder)}
    assert "archive inside a folder" in rows["more.zip"]


def test_a_location_without_music_is_a_row_and_the_next_is_read(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.csv").write_text("name\na.mid\n")
    zipfile.ZipFile(tmp_path / "none.zip", "w").close()
    locations = [tmp_path / "empty", tmp_path / "odd.csv", tmp_path / "none.zip"]
    found = list(pieces([*locations, folder / "a.mid"]))
    assert [piece.path for piece in found] == [*map(str, locations), str(folder / "a.mid")]
    assert [piece.error for piece in found] == [
        NO_MUSIC, "it has no column 'path'", NO_MUSIC, ""
    ]  # fmt: skip
    assert collection.count([*locations, folder / "a.mid"]) == 4
    seen = {str(locations[0])}
    assert len(list(pieces(locations, lambda path: path not in seen))) == 2


def test_tar_members_do_not_pile_up(tmp_path: Path) -> None:
    archive = tmp_path / "many.tar"
    with tarfile.open(archive, "w") as opened:
        for number in range(50):
            info = tarfile.TarInfo(f"{number}.mid")
            info.size = 4
            opened.addfile(info, io.BytesIO(b"MThd"))
    seen: Callable[[], int] = lambda: sum(  # noqa: E731
        type(one) is tarfile.TarInfo for one in gc.get_objects()
    )
    before, most = seen(), 0
    for _ in places(archive):
        most = max(most, seen() - before)
    assert most < 5


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b.mid"]), min_size=1))
def test_a_name_leaves_exactly_where_its_path_does(parts: list[str]) -> None:
    name = "/".join(parts)
    root = "/root/of/results"
    if leaves(name):
        assert name.startswith("/") or ".." in parts
    else:
        assert os.path.normpath(os.path.join(root, name)).startswith(root)


def test_the_bound_is_the_corpus_tools_own() -> None:
    assert reading.LARGEST == midi.MAX_BYTES
    assert collection.LARGEST == reading.LARGEST


def test_a_link_in_a_circle_is_a_row_with_its_reason(folder: Path) -> None:
    (folder / "circle.mid").symlink_to(folder / "circle.mid")
    (found,) = (place for place in places(folder) if place.inner == "circle.mid")
    assert "symbolic links" in found.error
    assert len(list(places(folder))) > 1, "the rest goes on"


def test_a_link_to_nothing_is_a_row_with_its_reason(folder: Path) -> None:
    """So are files of a data set that were not fetched: none may be missed unnoticed."""
    (folder / "gone.mid").symlink_to(folder / "nowhere")
    (found,) = (place for place in places(folder) if place.inner == "gone.mid")
    assert found.error == NOWHERE
    assert inner(folder) == [*NAMES[:2], "gone.mid", *NAMES[2:]]


@given(st.integers(0, 5000), st.integers(1, 900), st.integers(0, 9))
def test_windows_cover_a_piece_or_an_even_choice_of_it(tokens: int, length: int, most: int) -> None:
    ids = np.arange(tokens)
    cut = reading.windows(ids, length, most)
    whole = reading.windows(ids, length)
    assert np.array_equal(np.unique(np.concatenate(whole)), ids)
    assert len(cut) == (min(len(whole), most) if most else len(whole))
    assert np.array_equal(cut[0], whole[0])
    if len(cut) > 1:
        assert np.array_equal(cut[-1], whole[-1])
    starts = reading.starts(tokens, length, most)
    assert all(np.array_equal(ids[s : s + length], w) for s, w in zip(starts, cut, strict=True))


def test_a_long_reason_is_cut_where_one_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(piece: Piece, representation: Representation) -> None:
        raise MidiError(piece.path, "word\n" * int(piece.path))

    monkeypatch.setattr("discriminator.reading._encoded", refuse)
    short, long = (read_piece(Piece(count, None), Representation()) for count in ("40", "41"))
    assert short.error == " ".join(["word"] * 40)
    assert len(long.error) == 200
    assert long.error.endswith("word w ...")
