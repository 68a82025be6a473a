"""Archives from the net, unpacked without trust: .zip and .tar, plain or compressed.

A name that would leave the folder condemns the whole archive, since no honest one holds any; links
and devices are left out. Size, number of members and compression ratio are bounded while reading,
so that a bomb is refused before it fills a disk. Names are made fit for every file system; where
two would then be one file (duplicates, or names that differ in case alone), the later gets "~2".
"""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from data_tools.errors import UserError
from data_tools.files import name_in_zip

CHUNK = 2**20
_LONGEST = 120  # bytes of one part of a path; file systems take 255, and suffixes are added
_SLACK = 64 * 2**20  # what any archive may unpack to, whatever its ratio
_JUNK = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$|Thumbs\.db$)")
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError, ValueError, struct.error,
)  # fmt: skip


class ArchiveError(UserError):
    """An archive that is damaged, hostile, or not what it should be."""


@dataclass(frozen=True)
class Limits:
    """Bounds on an archive: members of any kind, bytes unpacked, and their ratio to its size."""

    members: int = 100_000
    bytes: int = 4 * 2**30
    ratio: float = 200.0


@dataclass(frozen=True)
class Member:
    """A file that was unpacked: its name in the archive, and where it lies in the folder."""

    name: str
    path: str


def unpack(
    archive: Path, out: Path, wanted: Callable[[str], bool], limits: Limits | None = None
) -> list[Member]:
    """Unpacks the members whose names `wanted` takes into the new folder `out`.

    The files lie in a temporary folder beside it until all are written.

    Args:
        archive: a .zip or .tar archive, recognised by its bytes.
        out: a folder that does not exist yet, or is empty.
        wanted: asked with the member's name, slashes forward.
        limits: bounds on the archive.

    Returns:
        What was written, in the archive's order.

    Raises:
        ArchiveError: damaged, hostile, over a bound, or no archive.
        UserError: no space.
    """
    limits = limits or Limits()
    partial = out.with_name(f".{out.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    names = _Names()
    members = []
    try:
        for name, stream in _files(archive, limits):
            if _JUNK.search(name) or not wanted(name):
                continue
            path = names.free(_fit(name))
            target = partial / path
            target.parent.mkdir(parents=True, exist_ok=True)
            # "x": whatever the bookkeeping says, nothing that lies there is written over.
            with target.open("xb") as file:
                shutil.copyfileobj(stream, file, CHUNK)
            members.append(Member(name, path))
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UserError(f"{out.parent}: no space left; free some and try again") from None
        # A damaged .zip may send the reader to a place before its beginning: "invalid argument".
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's fault, not the archive's
        reason = str(error) or type(error).__name__
        raise ArchiveError(f"{archive}: damaged archive ({reason}); fetch it again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return members


def _files(archive: Path, limits: Limits) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of an archive with their bytes, every name checked."""
    with archive.open("rb") as file:
        magic = file.read(6)
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        yield from _zip_files(archive, limits)
    elif magic[:1] == b"<" or magic.lstrip()[:1] == b"<":
        raise ArchiveError(f"{archive}: a web page, not an archive; fetch it again")
    else:
        yield from _tar_files(archive, limits, magic)


def _zip_files(archive: Path, limits: Limits) -> Iterator[tuple[str, IO[bytes]]]:
    budget = _Budget(archive, limits)
    with zipfile.ZipFile(archive) as opened:
        budget.member(len(opened.infolist()))
        for info in opened.infolist():
            name = _checked(name_in_zip(info.orig_filename, info.flag_bits), archive)
            mode = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or mode not in (0, stat.S_IFREG):
                continue
            if info.flag_bits & 1:
                raise ArchiveError(f"{archive}: {name[:80]!r} is encrypted")
            # What the header says of its size may be a lie; what comes out of it is counted.
            with opened.open(info) as stream:
                yield name, _counted(stream, budget)


def _tar_files(archive: Path, limits: Limits, magic: bytes) -> Iterator[tuple[str, IO[bytes]]]:
    openers: dict[bytes, Callable[..., Any]] = {
        b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open,
    }  # fmt: skip
    opener = next((op for head, op in openers.items() if magic.startswith(head)), open)
    budget = _Budget(archive, limits)
    with opener(archive, "rb") as plain:
        # Counted below tarfile: long names and headers, which it reads whole, are bounded too.
        counted = _counted(plain, budget)
        with tarfile.open(fileobj=counted, mode="r|", bufsize=2**16, tarinfo=_Whole) as opened:
            for info in opened:
                budget.member()
                # tarfile would keep every header: memory would grow with the archive.
                opened.members = []  # type: ignore[attr-defined]
                name = _checked(info.name, archive)
                # A sparse file holds more than its bytes in the archive: not counted, so not taken.
                if info.isreg() and not info.issparse() and (stream := opened.extractfile(info)):
                    yield name, stream
        # Past the end marker nothing is music, but the packer's checksum of the whole is there.
        while counted.read(CHUNK):
            pass


class _Whole(tarfile.TarInfo):
    """`tarfile` takes any header it cannot read for the end: damage would be a smaller archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Whole":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end marker
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a member's header: {error}") from None


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.members = self.bytes = 0
        self.most = min(limits.bytes, _SLACK + limits.ratio * archive.stat().st_size)

    def member(self, count: int = 1) -> None:
        self.members += count
        if self.members > self.limits.members:
            raise ArchiveError(f"{self.archive}: more than {self.limits.members:,} members")

    def read(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.most:
            raise ArchiveError(
                f"{self.archive}: unpacks to more than {self.most / 2**20:,.0f} MiB, "
                f"from {self.archive.stat().st_size / 2**20:,.1f} MiB; refused"
            )


def _counted(stream: IO[bytes], budget: _Budget) -> IO[bytes]:
    """The same bytes, counted as they are read."""

    class Counted(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            data = stream.read(min(size, CHUNK) if size >= 0 else CHUNK)
            budget.read(len(data))
            return data

    return Counted()  # type: ignore[return-value]


def _checked(name: str, archive: Path) -> str:
    """A member's name with slashes forward.

    Raises:
        ArchiveError: it would leave the folder.
    """
    name = name.replace("\\", "/").removeprefix("./")
    parts = PurePosixPath(name).parts
    drive = re.match(r"^[A-Za-z]:", name)
    if name.startswith("/") or drive or ".." in parts or "\0" in name:
        raise ArchiveError(f"{archive}: hostile archive; {name[:80]!r} would leave the folder")
    return name


def _fit(name: str) -> str:
    """A relative path that every common file system takes, of the same meaning to a person."""
    parts = []
    for part in PurePosixPath(unicodedata.normalize("NFC", name)).parts:
        # Undecodable bytes arrive as lone surrogates, which UTF-8 cannot hold.
        part = part.encode("utf-8", "replace").decode()
        part = _UNFIT.sub("_", part).strip().rstrip(".") or "_"
        if _RESERVED.match(part):
            part = f"_{part}"
        if len(part.encode()) > _LONGEST:
            stem, suffix = os.path.splitext(part)
            suffix = suffix if len(suffix.encode()) <= 8 else ""
            mark = hashlib.sha256(part.encode()).hexdigest()[:8]
            room = _LONGEST - len(suffix.encode()) - len(mark) - 1
            part = f"{stem.encode()[:room].decode(errors='ignore')}~{mark}{suffix}"
        parts.append(part)
    return "/".join(parts)


class _Names:
    """The names given so far; two names are one where only their case differs."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.folders: set[str] = set()

    def free(self, path: str) -> str:
        """The path, or the first like it that is no other file's or folder's."""
        *parents, last = path.split("/")
        folder = ""
        for part in parents:
            folder = _first(folder + part, (self.files,)) + "/"
            self.folders.add(folder.removesuffix("/").casefold())
        free = _first(folder + last, (self.files, self.folders))
        self.files.add(free.casefold())
        return free


def _first(path: str, taken: tuple[set[str], ...]) -> str:
    stem, suffix = os.path.splitext(path)
    candidate, number = path, 1
    while any(candidate.casefold() in names for names in taken):
        number += 1
        candidate = f"{stem}~{number}{suffix}"
    return candidate
