"""Sources: a folder, a .zip, a .tar and a manifest are one list, and no archive escapes."""

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from itertools import islice
from pathlib import Path
from unicodedata import normalize

import pytest

from data_tools.errors import UserError
from data_tools.sources import LINKED, NOWHERE, SYMBOLIC, Source
from discriminator.collection import pieces

FILES = {
    "jazz/blue/a.mid": b"first",
    "not_jazz/folk/b.MID": b"second",
    "loose.kar": b"third",
    "jazz/notes.txt": b"not music",
}
MIDI = {name: data for name, data in FILES.items() if not name.endswith(".txt")}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def pack(path: Path, files: dict[str, bytes], prefix: str = "") -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(prefix + name, data)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:]}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def read(source: Source) -> dict[str, tuple[bytes | None, str]]:
    found = list(source.contents(source.entries()))
    assert len({entry.path for entry, _ in found}) == len(found)
    return {entry.path: (data, entry.facts["label"]) for entry, data in found}


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    return [
        fill(tmp_path / "music", FILES),
        pack(tmp_path / "music.zip", FILES),
        pack(tmp_path / "music.tar.xz", FILES),
        pack(tmp_path / "dotted.tar.gz", FILES, prefix="./"),
    ]


def test_every_kind_is_read_alike(places: list[Path]) -> None:
    expected = {
        "jazz/blue/a.mid": (b"first", "jazz"),
        "not_jazz/folk/b.MID": (b"second", "not_jazz"),
        "loose.kar": (b"third", "unlabelled"),
    }
    for place in places:
        assert read(Source(place)) == expected, place


def test_facts_without_a_manifest(places: list[Path]) -> None:
    facts = {entry.path: entry.facts for entry in Source(places[0]).entries()}
    assert facts["jazz/blue/a.mid"]["source"] == "blue"
    assert facts["jazz/blue/a.mid"]["title"] == "a"
    assert facts["loose.kar"]["source"] == "music"


@pytest.mark.parametrize("kind", ["folder", "csv", "zip", "tar.xz"])
def test_a_manifest_names_the_pieces(kind: str, tmp_path: Path) -> None:
    table = (
        "\ufeffpath,label,source,artist\n"
        'loose.kar,jazz,archive,"Tatum, Art"\nabsent.mid,not_jazz,archive,\njazz/blue/a.mid,,,\n'
    )
    files = FILES | {"manifest.csv": table.encode()}
    if kind in ("folder", "csv"):
        place = fill(tmp_path / "music", files)
        place = place / "manifest.csv" if kind == "csv" else place
    else:
        place = pack(tmp_path / f"music.{kind}", files)
    source = Source(place)
    assert read(source) == {
        "loose.kar": (b"third", "jazz"),
        "absent.mid": (None, "not_jazz"),
        "jazz/blue/a.mid": (b"first", "jazz"),
    }
    facts = {entry.path: entry.facts for entry in source.entries()}
    assert facts["loose.kar"]["artist"] == "Tatum, Art"
    assert facts["jazz/blue/a.mid"]["source"] == "blue"


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize(("there", "here"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_found_however_they_are_spelt(
    kind: str, there: str, here: str, tmp_path: Path
) -> None:
    """A Mac spells an accent as a letter of its own, a table that went through another does not."""
    name = "jazz/Dvořák – Humoresque.mid"
    files = {normalize(there, name): b"first", "manifest.csv": b""}
    files["manifest.csv"] = f"path,label\n{normalize(here, name)},jazz\nnone.mid,jazz\n".encode()
    if kind == "folder":
        place = fill(tmp_path / "music", files)
    else:
        place = pack(tmp_path / f"music.{kind}", files)
    source = Source(place)
    found = read(source)
    assert found == {normalize(here, name): (b"first", "jazz"), "none.mid": (None, "jazz")}
    assert source.unlisted() == []
    source.check_any_there()
    # Two files that differ in nothing else are two.
    both = {normalize(form, "é.mid"): form.encode() for form in ("NFC", "NFD")}
    place = (
        fill(tmp_path / "two", both) if kind == "folder" else pack(tmp_path / f"two.{kind}", both)
    )
    assert {name: data for name, (data, _) in read(Source(place)).items()} == both
    one = normalize(here, "é.mid")
    named = both | {"manifest.csv": f"path\n{one}\n".encode()}
    place = (
        fill(tmp_path / "one", named) if kind == "folder" else pack(tmp_path / f"one.{kind}", named)
    )
    assert read(Source(place)) == {one: (here.encode(), "unlabelled")}
    if kind == "folder":
        assert Source(place).unlisted() == [normalize(there, "é.mid")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"path,label\na.mid,polka\n", "label 'polka'"),
        (b"file,label\na.mid,jazz\n", "no column 'path'"),
        (b"path,label\n\xff\xfe.mid,jazz\n", "no UTF-8"),
    ],
)
def test_a_bad_manifest(table: bytes, message: str, tmp_path: Path) -> None:
    place = fill(tmp_path / "music", {"a.mid": b"x", "manifest.csv": table})
    with pytest.raises(UserError, match=message):
        Source(place).entries()


@pytest.mark.parametrize("damage", ["bytes", "size", "link"])
def test_a_manifest_that_cannot_be_read_in_its_archive_is_no_archive_without_one(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"manifest.csv": b"path,label\na.mid,jazz\n", "a.mid": b"x"}
    place, why = pack(tmp_path / "a.zip", files), "larger than"
    if damage == "bytes":
        place.write_bytes(place.read_bytes().replace(b"a.mid,jazz", b"a.mid,jizz", 1))
        why = "Bad CRC-32"
    elif damage == "size":
        monkeypatch.setattr("data_tools.sources.MAX_BYTES", 4)
    else:
        place, why = tmp_path / "a.tar", SYMBOLIC
        with tarfile.open(place, "w") as archive:
            info = tarfile.TarInfo("manifest.csv")
            info.type, info.linkname = tarfile.SYMTYPE, "real.csv"
            archive.addfile(info)
    with pytest.raises(UserError, match="its manifest") as raised:
        Source(place)
    assert why in str(raised.value)


def test_a_manifest_may_name_its_files_from_here(tmp_path: Path) -> None:
    files = {"manifest.csv": b"path\n./a.mid\n", "a.mid": b"x"}
    for place in (
        fill(tmp_path / "here", files),
        pack(tmp_path / "here.zip", files, prefix="./"),
        pack(tmp_path / "a.zip", files),
        pack(tmp_path / "a.tar", files),
    ):
        assert read(Source(place)) == {"./a.mid": (b"x", "unlabelled")}


def test_a_link_to_nowhere_is_not_lost(tmp_path: Path) -> None:
    place = fill(tmp_path / "music", {"a.mid": b"x"})
    (place / "b.mid").symlink_to("gone.mid")
    (place / "folder.mid").symlink_to(tmp_path)
    source = Source(place)
    before = source.digest()
    found = {entry.path: (data, entry.refused) for entry, data in source.contents(source.entries())}
    assert found == {"a.mid": (b"x", ""), "b.mid": (None, NOWHERE)}
    fill(place, {"gone.mid": b"y"})
    assert Source(place).digest() != before


def test_a_row_that_breaks_off_is_a_missing_file(tmp_path: Path) -> None:
    place = fill(
        tmp_path / "music", {"manifest.csv": b"label,path\njazz,a.mid\njazz\n", "a.mid": b"x"}
    )
    assert read(Source(place)) == {"a.mid": (b"x", "jazz"), "": (None, "jazz")}


def test_one_file(tmp_path: Path) -> None:
    place = fill(tmp_path, {"tune.mid": b"data"}) / "tune.mid"
    assert read(Source(place)) == {"tune.mid": (b"data", "unlabelled")}


@pytest.mark.skipif(os.name == "nt", reason="no such pipes")
@pytest.mark.parametrize("name", ["a.mid", "a.zip", "a.csv"])
def test_a_pipe_is_refused_and_nobody_waits_for_its_end(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="not a regular file"):
        Source(tmp_path / name)


def test_names_in_a_zip_are_utf_8_with_and_without_its_flag(tmp_path: Path) -> None:
    """Many packers write UTF-8 and do not say so; those of DOS write code page 437."""
    place = pack(tmp_path / "a.zip", {"M##nil.mid": b"one", "caf#.mid": b"two", "Ça.mid": b"three"})
    data = place.read_bytes().replace(b"M##nil", "Ménil".encode()).replace(b"caf#", b"caf\x82")
    place.write_bytes(data)
    found = {name: data for name, (data, _) in read(Source(place)).items()}
    assert found == {"Ménil.mid": b"one", "café.mid": b"two", "Ça.mid": b"three"}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_name_twice_in_an_archive_is_not_lost(kind: str, tmp_path: Path) -> None:
    place = pack(tmp_path / f"a.{kind}", {"manifest.csv": b"path\na.mid\na.mid\n", "a.mid": b"x"})
    source = Source(place)
    assert [data for _, data in source.contents(source.entries())] == [b"x", b"x"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_second_member_of_one_name_is_told_of(kind: str, tmp_path: Path) -> None:
    place = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for data in (b"first", b"second"):
                archive.writestr("a.mid", data)
    else:
        with tarfile.open(place, "w") as tar:
            for data in (b"first", b"second"):
                info = tarfile.TarInfo("a.mid")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    source = Source(place)
    found = sorted((entry.refused, data) for entry, data in source.contents(source.entries()))
    assert found == [("", b"first"), ("another file of that name comes before it", None)]


def test_a_damaged_member_costs_itself_alone(tmp_path: Path) -> None:
    place = pack(tmp_path / "a.zip", {"a.mid": b"first", "b.mid": b"second", "c.mid": b"third"})
    data = place.read_bytes()
    place.write_bytes(data.replace(b"second", b"secohd", 1))
    source = Source(place)
    found = {entry.path: (data, entry.refused) for entry, data in source.contents(source.entries())}
    assert found["a.mid"] == (b"first", "")
    assert found["c.mid"] == (b"third", "")
    assert found["b.mid"][0] is None
    assert found["b.mid"][1].startswith("damaged in its archive (Bad CRC-32")


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_what_is_not_read_has_its_reason(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a.mid": b"1", "b.mid": b"12345"}
    monkeypatch.setattr("data_tools.sources.MAX_BYTES", 4)
    place = tmp_path / f"music.{kind}"
    monkeypatch.setattr("data_tools.sources.MANIFEST", "none")
    monkeypatch.setattr(
        Source, "_read_manifest", lambda self: [{"path": f"{n}.mid"} for n in "abc"]
    )
    source = Source(fill(place, files) if kind == "folder" else pack(place, files))
    found = {entry.path: entry.refused for entry, _ in source.contents(source.entries())}
    assert found == {"a.mid": "", "b.mid": "larger than 16 MiB", "c.mid": "missing"}


def test_a_name_too_long_for_a_file_is_one_reject(tmp_path: Path) -> None:
    fill(tmp_path, {"a.mid": b"1"})
    name = f"{'x' * 300}.mid"
    (tmp_path / "manifest.csv").write_text(f"path,label\n{name},jazz\na.mid,jazz\n")
    source = Source(tmp_path)
    source.check_any_there()
    assert source.digest() == Source(tmp_path).digest()
    found = {entry.path: entry.refused for entry, _ in source.contents(source.entries())}
    assert found.pop(name) in ("missing", "File name too long")
    assert found == {"a.mid": ""}


def test_a_file_that_may_not_be_read_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = fill(tmp_path / "music", {"a.mid": b"1", "b.mid": b"2"})
    read_bytes, shut = Path.read_bytes, place / "a.mid"

    def refuse(path: Path) -> bytes:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    source = Source(place)
    found = {entry.path: (data, entry.refused) for entry, data in source.contents(source.entries())}
    assert found == {"a.mid": (None, "Permission denied"), "b.mid": (b"2", "")}


def test_archives_inside_a_folder_are_told_of(tmp_path: Path) -> None:
    place = fill(tmp_path / "music", {"a.mid": b"x", "old/b.tar.gz": b"y", "c.ZIP": b"z"})
    refused = {entry.path: entry.refused for entry in Source(place).entries()}
    inside = "an archive inside a folder; give it by its own name"
    assert refused == {"a.mid": "", "old/b.tar.gz": inside, "c.ZIP": inside}


def test_a_folder_is_called_what_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = fill(tmp_path / "jazz", {"a.mid": b"x", "b/c.txt": b""})
    monkeypatch.chdir(place)
    for location in (".", "b/.."):
        source = Source(location)
        (entry,) = source.entries()
        assert (source.name, entry.facts["source"], entry.facts["label"]) == (
            "jazz",
            "jazz",
            "jazz",
        )


def test_the_second_name_of_a_packed_file_is_told(tmp_path: Path) -> None:
    music = fill(tmp_path / "music", {"a.mid": b"1"})
    os.link(music / "a.mid", music / "b.mid")
    with tarfile.open(tmp_path / "music.tar", "w") as archive:
        archive.add(music, "music")
    source = Source(tmp_path / "music.tar")
    found = {entry.path: (data, entry.refused) for entry, data in source.contents(source.entries())}
    assert found.keys() == {"music/a.mid", "music/b.mid"}
    assert sorted(data or b"" for data, _ in found.values()) == [b"", b"1"]
    assert [why for data, why in found.values() if data is None] == [LINKED]


def test_a_tar_cannot_escape(tmp_path: Path) -> None:
    secret = fill(tmp_path, {"secret.mid": b"secret"}) / "secret.mid"
    inside = tmp_path / "inside"
    inside.mkdir()
    place = inside / "evil.tar"
    with tarfile.open(place, "w") as archive:
        for name in ("../evil.mid", str(tmp_path / "absolute.mid"), "good.mid"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"mine"))
        for name, kind in (("link.mid", tarfile.SYMTYPE), ("hard.mid", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
        table = f"path\n../secret.mid\n{secret}\nlink.mid\nhard.mid\n".encode()
        info = tarfile.TarInfo("manifest.csv")
        info.size = len(table)
        archive.addfile(info, io.BytesIO(table))
    before = sorted(tmp_path.rglob("*"))
    assert {data for data, _ in read(Source(place)).values()} == {None}
    names = {"../evil.mid", "good.mid", "link.mid", "hard.mid"}
    everything = {name: data for name, data, _ in Source(place)._members(names)}
    links = {"link.mid": None, "hard.mid": None}
    assert everything == {"../evil.mid": b"mine", "good.mid": b"mine"} | links
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_archive(kind: str, damage: str, tmp_path: Path) -> None:
    noise = bytes((i * i * 31 + i // 7) % 251 for i in range(40_000))
    suffix = kind.rsplit(".", 1)[-1]
    whole = pack(tmp_path / f"whole.{suffix}", {"a.mid": noise, "b.mid": noise[::-1]})
    place = tmp_path / f"music.{kind}"
    if suffix == "tar" and damage == "cut":
        place.write_bytes(whole.read_bytes()[:20_000])
    else:
        data = whole.read_bytes()
        place.write_bytes(
            {"cut": data[: len(data) // 2], "garbage": b"x" * 999, "empty": b""}[damage]
        )
    with pytest.raises(UserError, match="damaged or unreadable"):
        read(Source(place))


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Source(tmp_path / "absent")
    with pytest.raises(UserError, match="give a folder"):
        Source(fill(tmp_path, {"letter.txt": b"dear"}) / "letter.txt")


def test_the_digest_changes_with_a_byte(places: list[Path]) -> None:
    for place in places:
        before = Source(place).digest()
        assert Source(place).digest() == before
        target = place / "jazz" / "blue" / "a.mid" if place.is_dir() else place
        data = bytearray(target.read_bytes())
        data[-1] ^= 1
        target.write_bytes(data)
        if place.is_dir():
            assert Source(place).digest() != before
            target.rename(target.with_name("renamed.mid"))
            assert Source(place).digest() != before


def test_the_digest_of_a_manifest_counts_its_words_and_what_is_missing(tmp_path: Path) -> None:
    place = fill(tmp_path, {"a.mid": b"x", "m.csv": b"path,label\na.mid,jazz\n"}) / "m.csv"
    digests = [Source(place).digest()]
    place.write_bytes(b"path,label\na.mid,not_jazz\n")
    digests.append(Source(place).digest())
    (tmp_path / "a.mid").unlink()
    digests.append(Source(place).digest())
    assert len(set(digests)) == 3


def test_the_nearest_class_folder_gives_the_label_even_above_the_source(tmp_path: Path) -> None:
    song = fill(tmp_path / "jazz", {"not_jazz/waltz.mid": b"1", "blues.mid": b"2"})
    labels = {entry.path: entry.facts["label"] for entry in Source(song).entries()}
    assert labels == {"not_jazz/waltz.mid": "not_jazz", "blues.mid": "jazz"}
    (alone,) = Source(song / "blues.mid").entries()
    assert alone.facts["label"] == "jazz"


def test_a_class_folder_may_be_written_as_people_write(tmp_path: Path) -> None:
    files = {
        "Jazz/evans/a.mid": b"1",
        "Not-Jazz/b.mid": b"2",
        "Not Jazz/c.mid": b"3",
        "NotJazz/e.mid": b"5",
        "non-jazz/f.mid": b"6",
        "jazzy/d.mid": b"4",
    }
    entries = Source(fill(tmp_path / "songs", files)).entries()
    assert {entry.path: entry.facts["label"] for entry in entries} == {
        "Jazz/evans/a.mid": "jazz", "Not-Jazz/b.mid": "not_jazz", "Not Jazz/c.mid": "not_jazz",
        "NotJazz/e.mid": "not_jazz", "non-jazz/f.mid": "not_jazz", "jazzy/d.mid": "unlabelled",
    }  # fmt: skip
    (evans,) = (entry for entry in entries if entry.path.startswith("Jazz"))
    assert evans.facts["source"] == "evans", "a class is no source"


def test_a_short_row_has_empty_cells(tmp_path: Path) -> None:
    folder = fill(tmp_path / "music", {"a.mid": b"1"})
    (folder / "manifest.csv").write_text("path,label,source,artist\na.mid,jazz\n")
    (entry,) = Source(folder).entries()
    assert entry.facts["artist"] == ""


def test_a_zip_whose_names_are_not_in_their_encoding_is_damaged(tmp_path: Path) -> None:
    path = pack(tmp_path / "music.zip", {"jazz/\u00e9.mid": b"first"})
    data = path.read_bytes()
    name = data.rindex("\u00e9".encode())  # in the list at the end
    path.write_bytes(data[:name] + b"\xff" + data[name + 1 :])
    with pytest.raises(UserError, match=r"damaged or unreadable \.zip .*utf-8"):
        Source(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tars_headers_are_not_read_into_memory_without_bound(kind: bytes, tmp_path: Path) -> None:
    head = tarfile.TarInfo("head")
    head.type, head.size = kind, 2**21
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(head.tobuf(tarfile.USTAR_FORMAT) + bytes(2**21))
        stream.write(tarfile.TarInfo("a.mid").tobuf() + bytes(2**10))
    with pytest.raises(UserError, match="a member's header of 2 MiB"):
        Source(path)
    (damaged,) = pieces([path])
    assert "a member's header of 2 MiB" in damaged.error


def long_header(kind: bytes, number: int, size: int) -> bytes:
    """A header of so many bytes before a member, as PAX or GNU write it."""
    head = tarfile.TarInfo("head")
    head.type, head.size = kind, size
    start = b"%d k%d=" % (size, number)
    content = start + bytes([120]) * (size - len(start) - 1) + b"\n"
    if kind == tarfile.GNUTYPE_LONGNAME:
        content = b"x" * (size - 1) + b"\0"
    return head.tobuf(tarfile.USTAR_FORMAT) + content


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("between", [True, False])
def test_many_long_headers_of_a_tar_are_bounded_in_their_sum(
    kind: bytes, between: bool, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(tarfile.TarInfo("0.mid").tobuf())
        for number in range(100):
            stream.write(long_header(kind, number, 2**20))
            stream.write(tarfile.TarInfo(f"{number}.mid").tobuf() if between else b"")
        stream.write(tarfile.TarInfo("a.mid").tobuf() + bytes(2**10))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"damaged or unreadable \.tar \(headers of \d+ MiB bef"):
        Source(path).entries()
    assert "headers of" in list(pieces([path]))[-1].error
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 2**26


def test_usual_headers_of_a_tar_are_read_however_many(tmp_path: Path) -> None:
    path = tmp_path / "music.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(long_header(tarfile.XGLTYPE, 0, 2**10))
        for number in range(6000):
            stream.write(long_header(tarfile.XHDTYPE, number, 2**10))
            stream.write(tarfile.TarInfo(f"{number}.mid").tobuf())
        stream.write(bytes(2**10))
    assert len(Source(path).entries()) == 6000 == len(list(pieces([path])))


@pytest.mark.parametrize(("place", "why"), [(148, "header is spoilt"), (124, "size below zero")])
def test_a_tar_whose_headers_are_damaged_is_no_smaller_one_and_none_without_end(
    place: int, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "music.tar"
    pack(path, {"a.mid": b"a", "b.mid": b"b", "c.mid": b"c"})
    with tarfile.open(path) as archive:
        start = archive.getmember("b.mid").offset
    data = bytearray(path.read_bytes())
    if place == 124:  # a size of -512, with the checksum of that
        data[start + 124 : start + 136] = (-512).to_bytes(12, signed=True)
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    else:
        data[start + place] = ord("z")
    path.write_bytes(data)
    assert why in [piece.error for piece in islice(pieces([path]), 9)][-1]
    with pytest.raises(UserError, match=rf"damaged or unreadable \.tar \(a member.*{why}"):
        Source(path).entries()
