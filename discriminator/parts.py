"""A collection too large for one go, cut into numbered parts that are scored one by one.

The listing, one line a file in a fixed order, is written to disk once, and a part is a run of its
lines. What was scored of a part is written whole or not at all, so a killed run goes on with the
parts that are missing, and what is finished is never touched again. No list of all the files is
held in memory, only a few bytes a part.
"""

import hashlib
import io
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_tools.errors import UserError
from data_tools.files import DAMAGED, parse_json, write_bytes, write_json
from discriminator import parquet
from discriminator.collection import NO_MUSIC, places
from discriminator.reading import Piece
from discriminator.scores import FORMATS, PARQUET, Score, read_rows, row_writer

FORMAT = 1
_SOLID = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")  # can only be read from their beginning
_GONE = "no longer in its archive"


class Item(NamedTuple):
    """A line of the listing.

    Attributes:
        path: what tables call the file: a path as it was given, or archive:member.
        archive: the archive it lies in, "" for a file.
        number: its place among the archive's MIDI files.
        error: why it cannot be read, where the listing found out.
    """

    path: str
    archive: str = ""
    number: int = 0
    error: str = ""


@dataclass(frozen=True)
class Listing:
    """A listing on disk.

    Attributes:
        path: the file.
        digest: hash of every line, and of the folder that relative paths start from.
        ends: the byte at which each part ends.
        counts: the files of each part.
    """

    path: Path
    digest: str
    ends: Sequence[int]
    counts: Sequence[int]

    def span(self, part: int) -> tuple[int, int]:
        """The bytes of a part, from and to."""
        return (self.ends[part - 1] if part else 0), self.ends[part]


def items(locations: Iterable[Path]) -> Iterator[Item]:
    """Every MIDI file of files, folders, archives, manifests, and of lists of these.

    Args:
        locations: as for `discriminator.collection.places`, or a .txt with a location a line.

    Raises:
        UserError: a list that is not there, or a manifest without the column `path`.
    """
    for location in _listed(locations):
        empty, folder = True, location.is_dir()
        for index, place in enumerate(places(location)):
            empty = False
            if place.file or folder:
                yield Item(place.path, error=place.error)
            else:
                yield Item(place.path, str(location), index)
        if empty:
            yield Item(str(location), error=NO_MUSIC)


def write_listing(locations: Iterable[Path], path: Path, size: int) -> Listing:
    """Lists a collection and cuts it into parts.

    Args:
        locations: see `items`.
        path: where the listing is written.
        size: files of a part; a compressed .tar, read front to back, is never cut.

    Raises:
        UserError: there is nothing to score, or see `items`.
    """
    total = hashlib.sha256()
    ends, counts = array("Q"), array("Q")
    position, usable, relative, before = 0, False, False, ""
    with path.open("wb") as stream:
        for item in items(locations):
            whole = item.archive == before and before.lower().endswith(_SOLID)
            if not counts or (counts[-1] >= size and not whole):
                counts.append(0)
                ends.append(position)
            line = json.dumps(item).encode() + b"\n"
            stream.write(line)
            total.update(line)
            position += len(line)
            counts[-1] += 1
            ends[-1] = position
            before, usable = item.archive, usable or not item.error
            relative = relative or not os.path.isabs(item.archive or item.path)
    if relative:
        total.update(os.fsencode(Path.cwd()))
    if not usable:
        path.unlink()
        raise UserError("no .mid file in any of these places; give folders, archives or files")
    return Listing(path, total.hexdigest(), ends, counts)


def read_listing(path: Path, start: int, stop: int) -> list[Item]:
    """The items in some bytes of a listing, see `Listing.span`."""
    with path.open("rb") as stream:
        stream.seek(start)
        return [Item(*json.loads(line)) for line in stream.read(stop - start).splitlines()]


def pieces_of(part: Sequence[Item], base: Path) -> Iterator[tuple[int, Piece]]:
    """The music of a part with each one's row in it; files first, then archive by archive.

    Args:
        part: items as `read_listing` gives them.
        base: the folder that relative paths start from.
    """
    archives: dict[str, dict[int, int]] = {}
    for row, item in enumerate(part):
        if item.archive:
            archives.setdefault(item.archive, {})[item.number] = row
        else:
            yield row, Piece(item.path, None if item.error else base / item.path, item.error)
    for archive, rows in archives.items():
        last, inside = max(rows), len(str(base / archive))
        for index, place in enumerate(places(base / archive)):
            if index in rows:
                row = rows.pop(index)
                # Another archive of this name may lie there by now.
                same = part[row].path == archive + place.path[inside:] or place.error
                yield row, place.piece() if same else Piece(part[row].path, None, _GONE)
            if index >= last:
                break
        yield from ((row, Piece(part[row].path, None, _GONE)) for row in rows.values())


class Parts:
    """The tables of a run: `scores/` of pieces with a probability, `errors/` of all others.

    Args:
        folder: the run's folder; made if missing.
        form: one of `discriminator.scores.FORMATS`.
        identity: what the scores depend on; must be the same when a run goes on.

    Raises:
        UserError: the folder holds another run, or pyarrow is missing for parquet.
    """

    def __init__(self, folder: Path, form: str, identity: dict[str, Any]) -> None:
        assert form in FORMATS
        self.folder, self.form = folder, form
        if form == "parquet":
            parquet.pyarrow()
        card = folder / "run.json"
        facts = {"format": FORMAT, "form": form, **identity}
        if card.exists():
            _check_same(card, facts)
        elif (folder / "scores").exists():
            raise UserError(f"{folder}: holds scores of an unknown run; choose another folder")
        else:
            write_json(card, facts)
        for left in folder.glob("*/.part-*.tmp"):  # of a process that was killed
            left.unlink()

    def done(self, number: int) -> bool:
        """Whether a part is finished."""
        return self._path("scores", number).exists()

    def write(self, number: int, rows: Sequence[Score]) -> None:
        """Writes the tables of a part; that of the scores, which says it is finished, last."""
        failed = [row for row in rows if row.p_jazz is None]
        if failed:
            self._write(self._path("errors", number), failed)
        else:
            self._path("errors", number).unlink(missing_ok=True)  # of a try that was cut short
        scored = [row for row in rows if row.p_jazz is not None]
        self._write(self._path("scores", number), scored)

    def damaged(self) -> bool:
        """Whether an archive is damaged, so that more may lie in it than there are rows."""
        return any(row.error.startswith(DAMAGED) for row in read_parts(self.folder / "errors"))

    def _path(self, table: str, number: int) -> Path:
        return self.folder / table / f"part-{number:06}.{self.form}"

    def _write(self, path: Path, rows: Sequence[Score]) -> None:
        if self.form == "parquet":
            parquet.write(path, rows, PARQUET)
            return
        buffer = io.StringIO()
        write = row_writer(buffer, self.form)
        for row in rows:
            write(row)
        write_bytes(path, buffer.getvalue().encode(errors="surrogateescape"))


def read_parts(folder: Path) -> Iterator[Score]:
    """The rows of one table, a folder of parts, in the listing's order."""
    for path in sorted(folder.glob("part-*")):
        yield from read_rows(path)


def _listed(locations: Iterable[Path]) -> Iterator[Path]:
    for location in locations:
        if location.suffix.lower() != ".txt":
            yield location
            continue
        try:
            with location.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
                yield from (Path(name) for line in stream if (name := line.rstrip("\r\n")))
        except OSError as error:
            raise UserError(f"{location}: {error.strerror}; give a file that is there") from None


def _check_same(card: Path, facts: dict[str, Any]) -> None:
    try:
        before = parse_json(card.read_text(encoding="utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise UserError(f"{card}: damaged; choose another folder")
    changed = sorted(key for key in before | facts if before.get(key) != facts.get(key))
    if changed:
        raise UserError(
            f"{card.parent}: holds scores of another {', '.join(changed)}; give the same as "
            "before, or choose another folder"
        )
