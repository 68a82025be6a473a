"""Where music to be scored lies: files, folders, .zip and .tar archives, manifests.

One file after the other in a fixed order, without a list of them all, because there may be
millions. What cannot be had, a damaged member or a folder nobody may open, is a place with its
reason. A manifest.csv counts where it is named itself; labels and facts matter to corpora only,
see `data_tools.sources`.
"""

import lzma
import os
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from data_tools.errors import MidiError, UserError
from data_tools.files import DAMAGED, IRREGULAR, MIDI_SUFFIXES, is_irregular, name_in_zip
from data_tools.sources import LINKED, NOWHERE, REPEATED, SYMBOLIC, Source
from data_tools.tars import BoundedTar, each_member
from discriminator.reading import LARGEST, Piece, too_large

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_ARCHIVES = (".zip", *_TARS)
NO_MUSIC = "no .mid file in it"
_INSIDE = "an archive inside a folder; give it by its own name"
# RuntimeError: a .zip with a password; NotImplementedError, its kind: an unknown compression.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One file of a collection.

    Attributes:
        path: what tables call it: a path, or archive:member.
        inner: its path within the collection, with "/"; see `leaves`.
        file: where it is on disk; None within an archive.
        error: why it cannot be read, known already.
        member: reads an archive's member; to be called before the next place is taken.
    """

    path: str
    inner: str
    file: Path | None = None
    error: str = ""
    member: Callable[[], bytes] | None = None

    def data(self) -> bytes:
        """Its bytes.

        Raises:
            MidiError: it cannot be read, or is too large.
        """
        if self.error:
            raise MidiError(self.path, self.error)
        if self.member:
            try:
                return self.member()
            except _DAMAGE as error:
                raise MidiError(self.path, f"damaged in its archive ({error})") from None
        assert self.file is not None
        try:
            if (size := self.file.stat().st_size) > LARGEST:
                raise MidiError(self.path, too_large(size))
            return self.file.read_bytes()
        except OSError as error:
            raise MidiError(self.path, error.strerror or str(error)) from None

    def piece(self) -> Piece:
        """Its music, named: a path that the reader opens, or a member's bytes."""
        if self.error or self.file:
            return Piece(self.path, None if self.error else self.file, self.error)
        try:
            return Piece(self.path, self.data())
        except MidiError as error:
            return Piece(self.path, None, error.reason)


def leaves(inner: str) -> bool:
    """Whether an archive's member, unpacked under its own name, would land in another folder."""
    path = PurePath(inner)
    return bool(path.is_absolute() or path.drive or path.root) or ".." in path.parts


def places(location: Path) -> Iterator[Place]:
    """Every MIDI file of a folder, an archive or a manifest; a file is itself.

    Raises:
        UserError: there is nothing at `location`, or a manifest without the column `path`.
    """
    name = location.name.lower()
    if location.is_dir():
        return _in_folder(location)
    if is_irregular(location):
        return iter([Place(str(location), location.name, None, IRREGULAR)])
    if name.endswith(".zip"):
        return _in_zip(location)
    if name.endswith(_TARS):
        return _in_tar(location)
    if name.endswith(".csv"):
        return _in_manifest(location)
    return iter([Place(str(location), location.name, location)])


def pieces(
    locations: Iterable[Path], wanted: Callable[[str], bool] = lambda path: True
) -> Iterator[Piece]:
    """The music of several locations, for `discriminator.reading.read_many`.

    Args:
        locations: see `places`; one without music, or a table that is no manifest, is a piece that
            says so, because what comes behind it must not suffer.
        wanted: of a path as tables call it: whether it is to be read.
    """
    for location in locations:
        for place in _places_or_why_not(location):
            if wanted(place.path):
                yield place.piece()


def check_any(location: Path) -> None:
    """Refuses a single location without music before any work.

    Raises:
        UserError: there is no MIDI file in it, or see `places`.
    """
    if next(places(location), None) is None:
        kind = "folder" if location.is_dir() else "file"
        raise UserError(f"{location}: no .mid file in this {kind}; give another")


def _places_or_why_not(location: Path) -> Iterator[Place]:
    reason = NO_MUSIC
    try:
        for place in places(location):
            reason = ""
            yield place
    except UserError as error:
        reason = str(error).removeprefix(f"{location}: ")
    if reason:
        yield Place(str(location), location.name, None, reason)


def count(locations: Iterable[Path], seconds: float = 1.0) -> int | None:
    """How many pieces there are; None where it takes longer than so long to find out."""
    end = time.monotonic() + seconds
    total = 0
    for location in locations:
        for _ in _places_or_why_not(location):
            total += 1
            if time.monotonic() > end:
                return None
    return total


def _in_folder(top: Path) -> Iterator[Place]:
    """Folder by folder, each in the order of its names; links to folders are not followed."""
    pending = [""]
    while pending:
        inner = pending.pop()
        here = os.path.join(top, inner) if inner else str(top)
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield Place(here, inner, None, f"this folder cannot be listed ({error.strerror})")
            continue
        folders = []
        for entry in entries:
            path = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif _is_midi(entry.name):
                try:
                    if entry.is_file():
                        yield Place(entry.path, path, Path(entry.path))
                    elif entry.is_symlink() and not os.path.exists(entry.path):
                        # As git-annex leaves music that was not fetched: a loss to be seen.
                        yield Place(entry.path, path, None, NOWHERE)
                except OSError as error:  # a link in a circle, or into a closed folder
                    yield Place(entry.path, path, None, error.strerror or str(error))
            elif entry.name.lower().endswith(_ARCHIVES):
                yield Place(entry.path, path, None, _INSIDE)
        pending += reversed(folders)


def _in_manifest(table: Path) -> Iterator[Place]:
    source = Source(table)
    for entry in source.entries():
        path = table.parent / entry.path
        yield Place(str(path), entry.path, path, entry.refused)


def _in_zip(archive: Path) -> Iterator[Place]:
    try:
        with zipfile.ZipFile(archive) as opened:
            repeated = _repetitions()
            for info in opened.infolist():
                name = name_in_zip(info.filename, info.flag_bits)
                if info.is_dir() or not _is_midi(name):
                    continue
                if nth := repeated(name):
                    yield _again(archive, name, nth)
                    continue

                def member(info: zipfile.ZipInfo = info) -> bytes:
                    return opened.read(info)

                yield _member(archive, name, info.file_size, member)
    except _DAMAGE as error:
        yield _damaged(archive, error)


def _in_tar(archive: Path) -> Iterator[Place]:
    try:
        with BoundedTar.open(archive) as opened:
            repeated = _repetitions()
            for info in each_member(opened):
                name = info.name.removeprefix("./")
                link = LINKED if info.islnk() else SYMBOLIC if info.issym() else ""
                if not (info.isfile() or link) or not _is_midi(name):
                    continue
                if nth := repeated(name):
                    yield _again(archive, name, nth)
                    continue
                if link:
                    yield Place(f"{archive}:{name}", name, None, link)
                    continue

                def member(info: tarfile.TarInfo = info) -> bytes:
                    stream = opened.extractfile(info)
                    assert stream is not None  # it is a file
                    return stream.read()

                yield _member(archive, name, info.size, member)
    except _DAMAGE as error:
        yield _damaged(archive, error)


def _repetitions() -> Callable[[str], int]:
    """A function that says of names, one after the other, how often each has come before."""
    seen: dict[int, int] = {}

    def repeated(name: str) -> int:
        key = hash(os.path.normpath(name))  # names would take several times the memory
        before = seen.get(key, 0)
        seen[key] = before + 1
        return before

    return repeated


def _again(archive: Path, name: str, before: int) -> Place:
    """A member whose name has come before: scores are known by paths, so it has one of its own."""
    name = f"{name}#{before + 1}"
    return Place(f"{archive}:{name}", name, None, REPEATED)


def _member(archive: Path, name: str, size: int, read: Callable[[], bytes]) -> Place:
    refused = too_large(size) if size > LARGEST else ""
    return Place(f"{archive}:{name}", name, None, refused, read)


def _damaged(archive: Path, error: Exception) -> Place:
    reason = f"{DAMAGED} ({error}); what lies behind the damage is not read"
    return Place(str(archive), archive.name, None, reason)


def _is_midi(name: str) -> bool:
    return name.lower().endswith(MIDI_SUFFIXES)
