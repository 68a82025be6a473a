"""Archives that mean harm, archives that mean well but are untidy, and plain ones."""

import gzip
import io
import os
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.datasets.unpack import Limits, Member, _fit, _Names, unpack
from data_tools.errors import UserError

MIB = 2**20


def take_all(_: str) -> bool:
    return True


def zipped(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info, data in members:
            info.size = len(data) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def everything_under(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def test_names_in_a_zip_are_utf_8_without_its_flag_too(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("M##nil.mid", b"one"), ("caf#.mid", b"two")])
    data = archive.read_bytes().replace(b"M##nil", "Ménil".encode()).replace(b"caf#", b"caf\x82")
    archive.write_bytes(data)
    unpack(archive, tmp_path / "out", take_all)
    assert everything_under(tmp_path / "out") == ["Ménil.mid", "café.mid"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_is_unpacked_and_only_what_is_wanted(tmp_path: Path, mode: str) -> None:
    names = ["./top/a.mid", "top/inner/b.mid", "top/readme.txt"]
    archive = tmp_path / "archive"
    if mode == "zip":
        zipped(archive, [(name, name.encode()) for name in names])
    else:
        tarred(archive, [(tarfile.TarInfo(name), name.encode()) for name in names], mode)
    got = unpack(archive, tmp_path / "out", lambda name: name.endswith(".mid"))
    assert got == [Member("top/a.mid", "top/a.mid"), Member("top/inner/b.mid", "top/inner/b.mid")]
    assert everything_under(tmp_path / "out") == ["top/a.mid", "top/inner/b.mid"]
    assert (tmp_path / "out/top/inner/b.mid").read_bytes() == b"top/inner/b.mid"
    assert everything_under(tmp_path) == ["archive", "out/top/a.mid", "out/top/inner/b.mid"]


@pytest.mark.parametrize(
    "name", ["../x.mid", "/etc/x.mid", "a/../../x.mid", "..\\x.mid", "C:\\x.mid", "C:x.mid", "a/.."]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_would_leave_the_folder_condemns_the_archive(
    tmp_path: Path, name: str, kind: str
) -> None:
    archive = tmp_path / "archive"
    good = "good.mid"
    if kind == "zip":
        zipped(archive, [(good, b"x"), (name, b"x")])
    else:
        tarred(archive, [(tarfile.TarInfo(good), b"x"), (tarfile.TarInfo(name), b"x")])
    with pytest.raises(UserError, match="hostile"):
        unpack(archive, tmp_path / "deep" / "out", take_all)
    assert everything_under(tmp_path) == ["archive"]


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    archive = tarred(tmp_path / "a.tar", [
        (special("link.mid", tarfile.SYMTYPE, str(secret)), b""),
        (special("folder", tarfile.SYMTYPE, str(tmp_path)), b""),
        (tarfile.TarInfo("folder/secret"), b"overwritten"),
        (special("hard.mid", tarfile.LNKTYPE, str(secret)), b""),
        (special("device.mid", tarfile.CHRTYPE), b""),
        (special("pipe.mid", tarfile.FIFOTYPE), b""),
        (tarfile.TarInfo("real.mid"), b"real"),
    ])  # fmt: skip
    unpack(archive, tmp_path / "out", take_all)
    assert everything_under(tmp_path / "out") == ["folder/secret", "real.mid"]
    assert secret.read_text() == "kept"
    link = zipfile.ZipInfo("link.mid")
    link.external_attr = 0o120777 << 16
    unpack(zipped(tmp_path / "a.zip", [(link, b"/etc/passwd"), ("r.mid", b"r")]), tmp_path / "z",
           take_all)  # fmt: skip
    assert everything_under(tmp_path / "z") == ["r.mid"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_tools.datasets.unpack._SLACK", MIB)
    zeros = bytes(8 * MIB)  # 1,000 to 1 when compressed
    archive = tmp_path / "bomb"
    if kind == "zip":
        zipped(archive, [("a.mid", zeros)])
    else:
        archive.write_bytes(gzip.compress(tar_of("a.mid", zeros), 1))
    with pytest.raises(UserError, match="unpacks to more than"):
        unpack(archive, tmp_path / "out", take_all)
    with pytest.raises(UserError, match="unpacks to more than 1 MiB"):
        unpack(archive, tmp_path / "out", take_all, Limits(bytes=MIB))
    assert everything_under(tmp_path) == ["bomb"]


def tar_of(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@pytest.fixture(scope="module")
def many() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(6):
            info = tarfile.TarInfo(f"{number}.mid")
            info.size = 700
            archive.addfile(info, io.BytesIO(bytes([number]) * 700))
    return stream.getvalue()


@given(cut=st.integers(1, 9215))
def test_a_tar_that_breaks_off_is_damaged(many: bytes, cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "cut.tar").write_bytes(many[:cut])
        with pytest.raises(UserError, match=r"damaged|not an archive|no archive"):
            unpack(Path(name) / "cut.tar", Path(name) / "out", take_all)


@given(
    place=st.integers(0, 147) | st.integers(156, 511),
    member=st.integers(1, 5),
    bit=st.integers(0, 7),
)
def test_a_spoilt_header_is_damage(many: bytes, place: int, member: int, bit: int) -> None:
    """Not the end of the archive, as `tarfile` has it."""
    spoilt = bytearray(many)
    spoilt[member * 1536 + place] ^= 1 << bit
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "spoilt.tar").write_bytes(bytes(spoilt))
        with pytest.raises(UserError, match="damaged"):
            unpack(Path(name) / "spoilt.tar", Path(name) / "out", take_all)


def test_what_the_packer_says_of_the_whole_is_heeded(many: bytes, tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(many, 1))
    packed[-6] ^= 1  # of the checksum
    (tmp_path / "a.tar.gz").write_bytes(bytes(packed))
    with pytest.raises(UserError, match="damaged"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", take_all)


def test_a_bomb_in_a_header_is_counted_too(tmp_path: Path) -> None:
    """A long name is read whole by tarfile before anybody sees the member."""
    head = special("././@LongLink", b"L")
    head.size = 8 * MIB
    bomb = head.tobuf(tarfile.GNU_FORMAT) + b"a" * head.size + tar_of("a", b"x")
    (tmp_path / "bomb").write_bytes(gzip.compress(bomb, 1))
    with pytest.raises(UserError, match="unpacks to more than 1 MiB"):
        unpack(tmp_path / "bomb", tmp_path / "out", take_all, Limits(bytes=MIB))


def test_a_sparse_file_is_left_out(tmp_path: Path) -> None:
    """It would hold a terabyte of zeros that are nowhere in the archive."""
    head = special("sparse.mid", tarfile.GNUTYPE_SPARSE)
    buffer = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    buffer[386:398], buffer[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    buffer[483:495] = b"%011o\0" % 2**32
    buffer[148:156] = b"        "
    buffer[148:156] = b"%06o\0 " % sum(buffer)
    (tmp_path / "a.tar").write_bytes(bytes(buffer) + tar_of("real.mid", b"x"))
    unpack(tmp_path / "a.tar", tmp_path / "out", take_all)
    assert everything_under(tmp_path / "out") == ["real.mid"]


def empty_members(count: int) -> bytes:
    """A .zip of many empty files, written by hand: zipfile takes seconds."""
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 5, 0) + b"a.mid"
    fixed = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    central = (fixed + b"a.mid") * count
    sizes = struct.pack("<2Q", count, count)
    end64 = struct.pack("<4sQ2H2I", b"PK\6\6", 44, 45, 45, 0, 0) + sizes
    end64 += struct.pack("<2Q", len(central), len(local))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(local) + len(central), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return local + central + end64 + locator + end


def test_a_hundred_thousand_members_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(empty_members(100_001))
    with pytest.raises(UserError, match="more than 100,000 members"):
        unpack(tmp_path / "a.zip", tmp_path / "out", lambda name: False)
    head = tarfile.TarInfo("a.mid").tobuf() * 1001 + bytes(1024)
    (tmp_path / "a.tar").write_bytes(head)
    with pytest.raises(UserError, match="more than 1,000 members"):
        unpack(tmp_path / "a.tar", tmp_path / "out", lambda name: False, Limits(members=1000))


def test_names_that_would_be_one_file_become_several(tmp_path: Path) -> None:
    names = ["Jazz/a.mid", "jazz/A.MID", "Jazz/a.mid", "x.mid", "x.mid/y.mid", "d/e.mid", "d"]
    archive = tmp_path / "a.tar"
    tarred(archive, [(tarfile.TarInfo(n), str(i).encode()) for i, n in enumerate(names)])
    got = unpack(archive, tmp_path / "out", take_all)
    assert [member.name for member in got] == names
    paths = [member.path for member in got]
    assert paths == [
        "Jazz/a.mid", "jazz/A~2.MID", "Jazz/a~3.mid", "x.mid", "x~2.mid/y.mid", "d/e.mid", "d~2",
    ]  # fmt: skip
    assert len({path.casefold() for path in paths}) == len(names)
    for number, path in enumerate(paths):
        assert (tmp_path / "out" / path).read_text() == str(number)


def test_rubbish_of_other_systems_is_left_out(tmp_path: Path) -> None:
    names = ["__MACOSX/a/._b.mid", "a/._b.mid", "a/.DS_Store", "a/b.mid"]
    unpack(zipped(tmp_path / "a.zip", [(n, b"x") for n in names]), tmp_path / "out", take_all)
    assert everything_under(tmp_path / "out") == ["a/b.mid"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"nothing of the kind" * 50, "damaged archive"),
        (b"", "damaged archive"),
        (gzip.compress(os.urandom(5000))[:2000], "damaged archive"),
        (zlib_broken := b"PK\3\4" + bytes(200), "damaged archive"),
    ],
)
def test_what_is_no_archive_is_told_so(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        unpack(tmp_path / "a.zip", tmp_path / "out", take_all)
    assert "\n" not in str(caught.value)
    assert everything_under(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_cut_archive_leaves_nothing(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / f"a.{kind}"
    noise = [os.urandom(4000) for _ in range(5)]
    if kind == "zip":
        zipped(whole, [(f"{i}.mid", data) for i, data in enumerate(noise)])
    else:
        tarred(whole, [(tarfile.TarInfo(f"{i}.mid"), data) for i, data in enumerate(noise)])
    data = whole.read_bytes()
    for cut in range(100, len(data) - 30, 3000):
        whole.write_bytes(data[:cut])
        with pytest.raises(UserError, match="damaged"):
            unpack(whole, tmp_path / "out", take_all)
    assert everything_under(tmp_path) == [whole.name]


def small_archives() -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.mid", bytes(100))
        archive.writestr("a/c.mid", bytes(100))
    plain = tar_of("a/b.mid", bytes(100))
    return [stream.getvalue(), plain, gzip.compress(plain, mtime=0)]


changes = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=9)


@given(st.sampled_from(small_archives()), changes, st.booleans())
def test_a_damaged_archive_is_refused_or_read_and_nothing_else(
    data: bytes, changed: list[tuple[int, int]], near_end: bool
) -> None:
    damaged = bytearray(data)
    for place, value in changed:
        place = place % min(len(data), 300)
        damaged[-1 - place if near_end else place] = value
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        archive.write_bytes(damaged)
        refused = None
        try:
            unpack(archive, Path(folder) / "inner" / "out", take_all, Limits(bytes=MIB))
        except UserError as error:
            refused = str(error)
        if refused is not None:
            assert "\n" not in refused
            assert everything_under(Path(folder)) == ["archive"]
        assert {path.name for path in Path(folder).iterdir()} <= {"archive", "inner"}


def test_a_directory_that_points_before_the_beginning(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a.mid", b"x")])
    data = bytearray(path.read_bytes())
    data[-6:-2] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        unpack(path, tmp_path / "out", take_all)


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a.mid", b"x")])
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="encrypted"):
        unpack(path, tmp_path / "out", take_all)


parts = st.text(st.characters(exclude_characters="/\\", exclude_categories=()), min_size=1)


@given(st.lists(st.lists(parts, min_size=1, max_size=4), max_size=12))
def test_any_names_become_distinct_fit_paths(names: list[list[str]]) -> None:
    given_out = _Names()
    paths = [given_out.free(_fit("/".join(name))) for name in names if ".." not in name]
    assert len({path.casefold() for path in paths}) == len(paths)
    folders = {path.rsplit("/", 1)[0].casefold() for path in paths if "/" in path}
    assert not folders & {path.casefold() for path in paths}
    for path in paths:
        for part in path.split("/"):
            assert part not in ("", ".", "..")
            assert len(part.encode()) <= 140
            assert not set(part) & set('<>:"|?*\0\n\\')
