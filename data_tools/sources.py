"""Where music comes from: folders, .zip and .tar archives, or a manifest.csv, read alike.

Archives are read member by member and never unpacked to disk, so no path in them can escape. A
`manifest.csv` at the top of a folder or archive names the pieces and what is known of them;
without one, the nearest folder called `jazz` or `not_jazz` above a file gives its label; `Jazz`,
`Not-Jazz`, `NotJazz` and `non-jazz` are as good.
"""

import csv
import hashlib
import io
import lzma
import os
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from data_tools import smf
from data_tools.errors import UserError
from data_tools.files import (
    ARCHIVES,
    IRREGULAR,
    MIDI_SUFFIXES,
    TARS,
    closed,
    file_digest,
    is_irregular,
    name_in_zip,
)
from data_tools.midi import MAX_BYTES
from data_tools.tars import BoundedTar, each_member

LABELS = ("jazz", "not_jazz")
_SPELLINGS = {"jazz": "jazz", "notjazz": "not_jazz", "nonjazz": "not_jazz"}
UNLABELLED = "unlabelled"
MANIFEST = "manifest.csv"
INSIDE = "an archive inside a folder; give it by its own name"
# How `tar` packs the second name of a file that has two.
SYMBOLIC = "a symbolic link in an archive; pack with 'tar --dereference'"
LINKED = "a link to another file of its archive; pack with 'tar --hard-dereference'"
REPEATED = "another file of that name comes before it"
NOWHERE = "a link to a file that is not there"
TOO_LARGE = f"larger than {MAX_BYTES // 2**20} MiB"

# RuntimeError: a .zip with a password; NotImplementedError, its kind: an unknown compression.
# ValueError: a name that is not in the encoding it says it is in.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One file offered to a corpus.

    Attributes:
        path: its name inside its source.
        facts: what the manifest says of it, by column; at least `label` and `source`.
        refused: why it is not read, where it is not.
    """

    path: str
    facts: dict[str, str] = field(default_factory=dict)
    refused: str = ""


class Source:
    """A folder, an archive or a manifest as a list of entries and their bytes.

    Attributes:
        location: as given.
        name: its last part.

    Raises:
        UserError: missing, closed, of an unknown kind, damaged, or its manifest lacks the column
            `path`.
    """

    def __init__(self, location: str | Path) -> None:
        self.location = Path(location)
        if not self.location.exists():
            raise UserError(f"{location}: no such file or folder")
        if is_irregular(self.location):
            raise UserError(f"{location}: {IRREGULAR}")
        self.kind = _kind_of(self.location)
        if self.kind == "folder" and (why := closed(self.location)):
            raise UserError(f"{location}: {why}")
        # "." and ".." have names, too, that a table can show.
        self.absolute = Path(os.path.abspath(self.location))
        self.name = self.absolute.name
        self.root = self.location.parent if self.kind == "manifest" else self.location
        self._rows = self._read_manifest()

    @property
    def rows(self) -> list[dict[str, str]] | None:
        """The rows of its manifest as they stand there; None where it has no manifest."""
        return self._rows

    def entries(self) -> list[Entry]:
        """Every MIDI file named by the manifest or found, in a fixed order; looked up once."""
        return self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        if self._rows is not None:
            return [
                Entry(row["path"], self._facts(row["path"], row), _leaves(row["path"]))
                for row in self._rows
            ]
        if self.kind == "file":
            return [Entry(self.location.name, self._facts(self.location.name, {}))]
        entries, seen = [], set()
        for name in self._names():
            why = REPEATED if name in seen else ""
            if not _is_midi(name):
                why = INSIDE
            entries.append(Entry(name, self._facts(name, {}), why))
            seen.add(name)
        return entries

    def unlisted(self) -> list[str]:
        """MIDI files below a folder that the manifest at its top does not name."""
        if self._rows is None or self.kind != "folder":  # who gives a table means that table
            return []
        named = {self._at(entry.path) for entry in self.entries() if not entry.refused}
        found = (p for p in self.root.rglob("*") if p not in named and _is_midi(p.name))
        return sorted(p.relative_to(self.root).as_posix() for p in found if p.is_file())

    def misnamed(self) -> list[str]:
        """Files below a folder that begin as MIDI files do and are not called so: not read."""
        if self._rows is not None or self.kind != "folder":
            return []
        found = []
        for path in self.root.rglob("*"):
            if path.name.lower().endswith((*MIDI_SUFFIXES, *ARCHIVES)) or not _there(path):
                continue
            with suppress(OSError), path.open("rb") as stream:
                if smf.unwrapped(stream.read(4096)).startswith(b"MThd"):
                    found.append(path.relative_to(self.root).as_posix())
        return sorted(found)

    def check_any_there(self) -> None:
        """Tells a corpus's own table, whose music lies elsewhere, from a manifest beside its music.

        Raises:
            UserError: the manifest names files, and none of them is there.
        """
        if self._rows and self.kind in ("folder", "manifest"):
            entries = self.entries()
            if not any(not e.refused and _there(self._at(e.path)) for e in entries):
                table = self.location / MANIFEST if self.kind == "folder" else self.location
                raise UserError(
                    f"{table}: none of its {len(entries):,} files lies beside it; if it is a "
                    f"corpus's table, give the corpus's sources and add --manifest {table}"
                )

    def contents(self, entries: list[Entry]) -> Iterator[tuple[Entry, bytes | None]]:
        """Yields each entry with its bytes; those without bytes say why in `refused`.

        Archives yield in their own order, whatever the manifest's: a tar is read front to back.
        """
        if self.kind in ("folder", "manifest", "file"):
            for entry in entries:
                path = self.location if self.kind == "file" else self._at(entry.path)
                yield (entry, None) if entry.refused else _offered(entry, *_small_bytes(path))
            return
        wanted: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.refused:
                yield entry, None
            else:
                # As `find .` writes paths; members go without.
                wanted.setdefault(entry.path.removeprefix("./"), []).append(entry)
        for name, data, why in self._members(wanted):
            yield from (_offered(entry, data, why) for entry in wanted.pop(name))
        for left in wanted.values():
            yield from (_offered(entry, None, "missing") for entry in left)

    def digest(self) -> str:
        """SHA-256 over everything that is read: names and bytes."""
        if self.kind not in ("folder", "manifest"):
            return file_digest(self.location)
        total = hashlib.sha256()
        manifest = self.root / MANIFEST if self.kind == "folder" else self.location
        if manifest.is_file():
            total.update(manifest.read_bytes())
        for entry in self.entries():
            path = self._at(entry.path)
            content = "missing"
            if not entry.refused and _there(path):
                # What cannot be read is left out with its reason when its turn comes.
                with suppress(OSError):
                    content = file_digest(path)
            # Names of bytes that are no text have lone surrogates in them.
            total.update(f"{entry.path}\0{content}\n".encode(errors="surrogatepass"))
        return total.hexdigest()

    def called(self) -> str:
        """SHA-256 over labels and sources: names above the music give them, too."""
        total = hashlib.sha256()
        for entry in self.entries():
            facts = f"{entry.path}\0{entry.facts['label']}\0{entry.facts['source']}\n"
            total.update(facts.encode(errors="surrogatepass"))
        return total.hexdigest()

    def _at(self, path: str) -> Path:
        """Where a file lies; a manifest may spell its accents otherwise than its folder does."""
        here = self.root / path
        if self._rows is None or path.isascii() or _there(here):
            return here
        others = (self.root / unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
        return next((other for other in others if _there(other)), here)

    def _names(self) -> list[str]:
        if self.kind == "folder":
            suffixes = (*MIDI_SUFFIXES, *ARCHIVES)
            found = (p for p in self.location.rglob("*") if p.name.lower().endswith(suffixes))
            # As git-annex leaves music that was not fetched: a loss to be seen.
            kept = (p for p in found if p.is_file() or (p.is_symlink() and not p.exists()))
            return sorted(p.relative_to(self.location).as_posix() for p in kept)
        if self.kind == "zip":
            with self._zip() as archive:
                return [name for name in map(_member_name, archive.infolist()) if _is_midi(name)]
        with self._tar() as archive:
            members = (m for m in each_member(archive) if m.isfile() or m.islnk() or m.issym())
            names = (m.name.removeprefix("./") for m in members)
            return [name for name in names if _is_midi(name)]

    def _members(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | None, str]]:
        """Yields (name, bytes or None, why there are none) of the members wanted.

        Names are as they are wanted, which may be in another spelling than the archive's.
        """
        # A name that is there is meant as it is; whether it is, a tar tells at its end alone.
        accented = [name for name in wanted if not name.isascii()]
        # Without a manifest all are.
        there = set(self._names()) if accented and self._rows is not None else set(accented)
        spellings = {_spelt(name): name for name in accented if name not in there}

        def asked(name: str) -> str:
            name = name.removeprefix("./")
            return name if name in wanted else spellings.get(_spelt(name), name)

        if self.kind == "zip":
            with self._zip() as packed:
                for info in packed.infolist():
                    name = asked(_member_name(info))
                    if name not in wanted:
                        continue
                    if info.file_size > MAX_BYTES:
                        yield name, None, TOO_LARGE
                        continue
                    try:
                        data = packed.read(info)
                    except _DAMAGE as error:  # the other members do not suffer
                        yield name, None, f"damaged in its archive ({error})"
                        continue
                    yield name, data, ""
            return
        with self._tar() as archive:
            for member in each_member(archive):
                name = asked(member.name)
                if member.islnk() and name in wanted:
                    yield name, None, LINKED
                elif member.issym() and name in wanted:
                    yield name, None, SYMBOLIC
                elif member.isfile() and name in wanted:
                    stream = archive.extractfile(member)
                    if stream and member.size <= MAX_BYTES:
                        yield name, stream.read(), ""
                    else:
                        yield name, None, TOO_LARGE

    @contextmanager
    def _zip(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.location) as archive:
                yield archive
        except _DAMAGE as error:
            raise UserError(f"{self.location}: damaged or unreadable .zip ({error})") from None

    @contextmanager
    def _tar(self) -> Iterator[tarfile.TarFile]:
        try:
            with BoundedTar.open(self.location) as archive:
                yield archive
        except _DAMAGE as error:
            raise UserError(f"{self.location}: damaged or unreadable .tar ({error})") from None

    def _read_manifest(self) -> list[dict[str, str]] | None:
        data: bytes | None = None
        if self.kind == "manifest":
            data = self.location.read_bytes()
        elif self.kind == "folder":
            path = self.location / MANIFEST
            data = path.read_bytes() if path.is_file() else None
        elif self.kind != "file":
            _, data, why = next(self._members({MANIFEST}), ("", None, ""))
            if why:  # without its labels the music would be built as if there were none
                raise UserError(f"{self.location}: its {MANIFEST}: {why}")
        if data is None:
            return None
        try:
            text = io.StringIO(data.decode("utf-8-sig"), newline="")
            rows = list(csv.DictReader(text, restval=""))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{self.location}: its manifest is no UTF-8 table ({error})") from None
        if rows and "path" not in rows[0]:
            what = "it" if self.kind == "manifest" else f"its {MANIFEST}"
            raise UserError(f"{self.location}: {what} has no column 'path'")
        return rows

    def label_above(self, path: str) -> str:
        """The label that the nearest folder of a class above one of its files gives."""
        top = self.absolute if self.kind == "folder" else self.absolute.parent
        above = (*reversed(PurePosixPath(path).parts[:-1]), top.name)
        return next((label for part in above if (label := _label_of(part))), UNLABELLED)

    def _facts(self, path: str, row: dict[str, str]) -> dict[str, str]:
        parts = PurePosixPath(path).parts[:-1]
        label = row.get("label") or self.label_above(path)
        if label not in (*LABELS, UNLABELLED):
            raise UserError(
                f"{self.location}: '{path}' has the label '{label}'; use jazz, not_jazz or nothing"
            )
        folders = [part for part in parts if not _label_of(part)]
        source = row.get("source") or (folders[0] if folders else self.absolute.stem)
        title = row.get("title") or PurePosixPath(path).stem
        return {**row, "path": path, "label": label, "source": source, "title": title}


def _spelt(name: str) -> str:
    """A name in one of the two spellings of accents; what a Mac made may have the other."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _label_of(folder: str) -> str:
    """The label a folder's name gives, or nothing."""
    return _SPELLINGS.get(re.sub(r"[-_\s]", "", folder.casefold()), "")


def _kind_of(path: Path) -> str:
    name = path.name.lower()
    if path.is_dir():
        return "folder"
    if name.endswith(".csv"):
        return "manifest"
    if name.endswith(".zip"):
        return "zip"
    if name.endswith(TARS):
        return "tar"
    if name.endswith(MIDI_SUFFIXES):
        return "file"
    raise UserError(f"{path}: give a folder, a MIDI file, a .zip or .tar archive, or a .csv")


def _leaves(path: str) -> str:
    """Why a manifest's path is refused: one from elsewhere must not make us read another folder."""
    for parts in (PurePosixPath(path), PureWindowsPath(path)):
        if parts.is_absolute() or parts.drive or parts.root or ".." in parts.parts:
            return "its path leaves the folder of its manifest"
    return ""


def _member_name(info: zipfile.ZipInfo) -> str:
    return name_in_zip(info.filename, info.flag_bits).removeprefix("./")


def _is_midi(name: str) -> bool:
    return name.lower().endswith(MIDI_SUFFIXES)


def _there(path: Path) -> bool:
    """Whether it is a file; a manifest may name what no file can be called."""
    try:
        return path.is_file()
    except OSError:  # a name too long, before Python 3.14
        return False


def _small_bytes(path: Path) -> tuple[bytes | None, str]:
    """A file's bytes, or why there are none."""
    try:
        if not path.is_file():
            return None, NOWHERE if path.is_symlink() else "missing"
        if path.stat().st_size > MAX_BYTES:
            return None, TOO_LARGE
        return path.read_bytes(), ""
    except OSError as error:
        return None, error.strerror or str(error)


def _offered(entry: Entry, data: bytes | None, why: str) -> tuple[Entry, bytes | None]:
    return replace(entry, refused=why) if why else entry, data
