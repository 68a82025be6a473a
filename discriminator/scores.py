"""Scores on disk: rows appended as they come, read back to go on or to curate.

A killed run leaves whole rows and at most a part of one, which is cut off when it goes on. A card
beside the file, FILE.run.json, says of which model and of what music the rows are, so that rows of
different runs never mix. Of rows that are read back a few bytes each are held, for millions.
"""

import csv
import hashlib
import math
import os
import time
from array import array
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TextIO

import numpy as np

from data_tools.errors import UserError
from data_tools.files import parse_json, whole, write_json
from data_tools.rows import csv_writer, json_line
from discriminator import parquet

if TYPE_CHECKING:
    from discriminator.classifier import Classifier, Verdict

VERDICTS = ("jazz", "not_jazz", "unsure")
FORMATS = ("csv", "jsonl", "parquet")
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
LATER = frozenset({"precision"})  # what the cards of earlier versions do not say
FOLDER = "folder"  # which the paths of rows count from, where they are relative
DIGITS = 4  # of p(jazz) in a row, on which `gan curate` decides
_SYNC_SECONDS = 2.0  # what a power cut may cost; a kill costs nothing that was written


class Score(NamedTuple):
    """One row: what a classifier said of a file; `p_jazz` to four digits, None with an `error`."""

    path: str
    p_jazz: float | None
    verdict: str
    windows: int
    error: str


COLUMNS = Score._fields
_TYPES = ("string", "double", "string", "int32", "string")
PARQUET = dict(zip(COLUMNS, _TYPES, strict=True))  # its columns and their types


def score_of(verdict: "Verdict") -> Score:
    """A verdict as a row."""
    p = None if verdict.p_jazz is None else round(verdict.p_jazz, DIGITS)
    return Score(verdict.path, p, verdict.verdict, verdict.windows, verdict.error)


def classifier_digest(classifier: "Classifier") -> str:
    """Hash of all that scores depend on: settings, representation, weights and trees."""
    total = hashlib.sha256(classifier.settings.model_dump_json().encode())
    total.update(classifier.representation.digest.encode())
    if classifier.trees:
        total.update(classifier.trees.digest.encode())
    for name, tensor in sorted(classifier.model.state_dict().items()):
        total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


class Scores:
    """Rows by path, without the paths: their hashes, 33 bytes a row."""

    def __init__(self, rows: Iterable[Score] = ()) -> None:
        keys, numbers = array("Q"), array("d")
        verdicts, windows, errors = array("B"), array("l"), array("l")
        self._reasons: list[str] = []
        known: dict[str, int] = {}
        for row in rows:
            keys.append(_key(row.path))
            numbers.append(math.nan if row.p_jazz is None else row.p_jazz)
            verdicts.append(VERDICTS.index(row.verdict))
            windows.append(row.windows)
            if row.error not in known:
                known[row.error] = len(self._reasons)
                self._reasons.append(row.error)
            errors.append(known[row.error])
        every = np.array(keys, dtype=np.uint64)
        order = np.argsort(every, kind="stable")
        self._keys = every[order]
        self._numbers, self._verdicts = np.array(numbers)[order], np.array(verdicts)[order]
        self._windows, self._errors = np.array(windows)[order], np.array(errors)[order]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, path: str) -> bool:
        return self._place(path) is not None

    def get(self, path: str) -> Score | None:
        """The row of a path, None where there is none; the first of several."""
        place = self._place(path)
        if place is None:
            return None
        p = float(self._numbers[place])
        verdict = VERDICTS[self._verdicts[place]]
        error = self._reasons[self._errors[place]]
        return Score(path, None if math.isnan(p) else p, verdict, int(self._windows[place]), error)

    def counts(self) -> dict[str, int]:
        """How many rows there are of each verdict; those without a probability are "error"."""
        failed = np.isnan(self._numbers)
        found = {name: int((self._verdicts[~failed] == i).sum()) for i, name in enumerate(VERDICTS)}
        return found | {"error": int(failed.sum())}

    def reasons(self) -> list[str]:
        """Why rows have no probability, each reason once."""
        return [reason for reason in self._reasons if reason]

    def _place(self, path: str) -> int | None:
        key = np.uint64(_key(path))
        place = int(np.searchsorted(self._keys, key))
        return place if place < len(self) and self._keys[place] == key else None


def _newer(path: str, since: float) -> bool:
    """Whether a file, or the archive of an archive:member, was written after a time."""
    ends = [place for place, letter in enumerate(path) if letter == ":"]
    for place in (path, *(path[:end] for end in ends)):
        with suppress(OSError, ValueError):  # the latter of a member's name that no file can have
            return os.stat(place).st_mtime > since
    return False


def _key(path: str) -> int:
    name = os.path.abspath(path).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


class ScoreFile:
    """A file of scores that grows row by row.

    Args:
        path: where; `form` "parquet" keeps its rows in a .jsonl beside it until `finish`.
        form: one of `FORMATS`.
        identity: what the rows depend on; must be the same when a run goes on.
        resume: go on with what is there.

    Attributes:
        before: the rows that were there.

    Raises:
        UserError: something is there and `resume` is not given, or it is of another run.
    """

    def __init__(self, path: Path, form: str, identity: dict[str, Any], resume: bool) -> None:
        self.path, self.form = path, form
        self._rows = path if form != "parquet" else path.with_name(f".{path.name}.rows.jsonl")
        self._form_of_rows = "jsonl" if form == "parquet" else form
        if form == "parquet":
            parquet.pyarrow()
        card = path.with_name(f"{path.name}.run.json")
        there = path.exists() or self._rows.exists()
        if there and not resume:
            raise UserError(f"{path}: there already; go on with it by --resume, or choose another")
        self._changed, self._first_changed, self._since = 0, "", math.inf
        if there:
            folder = _check_same(path, card, identity)
            _check_folder(path, self._rows, self._form_of_rows, folder)
            self._since = (self._rows if self._rows.exists() else path).stat().st_mtime
            if not self._rows.exists():
                _copy_rows(path, self._rows)
            self.before, whole, self._lost = _whole(self._rows, self._form_of_rows)
            if self._lost:
                whole = _drop_lost(self._rows, self._form_of_rows)
            os.truncate(self._rows, whole)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(card, identity | {FOLDER: str(Path.cwd())})
            self.before, whole, self._lost = Scores(), 0, []
        self._stream = self._rows.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        self._write = row_writer(self._stream, self._form_of_rows, header=whole == 0)
        self._synced = time.monotonic()

    def lacks(self, path: str) -> bool:
        """Whether a path has no row of a run before; notes down those that have, and have changed
        since the last of those rows was written."""
        if path not in self.before:
            return True
        if _newer(path, self._since):
            self._first_changed = self._first_changed or path
            self._changed += 1
        return False

    def lost(self) -> str:
        """What is to be said of lines that could not be read, "" where there are none; known from
        the beginning."""
        if not self._lost:
            return ""
        name, first = self._rows.name, f"{self._lost[0]:,}"
        which = f"line {first} of {name}"
        if len(self._lost) > 1:
            which = f"{len(self._lost):,} lines of {name}, from line {first} on,"
        return f"{which} could not be read and went; a file without its row is scored again"

    def changed(self) -> str:
        """What is to be said of rows whose music has changed since, as far as `lacks` was asked."""
        if not self._changed:
            return ""
        which = (
            f"{self._first_changed} is"
            if self._changed == 1
            else (f"{self._changed:,} files are (as {self._first_changed})")
        )
        return f"{which} newer than the row of before; for a new row begin another --out"

    def write(self, row: Score) -> None:
        """Appends a row."""
        self._write(row)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()

    def finish(self) -> None:
        """Closes the file; a parquet file is there only from now on."""
        self.close()
        if self.form == "parquet":
            parquet.write(self.path, read_rows(self._rows), PARQUET)
            self._rows.unlink()

    def close(self) -> None:
        """Makes all rows safe on disk."""
        if not self._stream.closed:
            try:
                self._stream.flush()
                os.fsync(self._stream.fileno())
            finally:
                self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


def row_writer(stream: TextIO, form: str, header: bool = True) -> Callable[[Score], None]:
    """A function that writes rows to a stream: CSV, with its header first, or a JSON a line."""
    if form == "csv":
        table = csv_writer(stream)
        if header:
            table(COLUMNS)

    def write(row: Score) -> None:
        if form == "csv":
            table(row)
        else:
            stream.write(json_line(row._asdict()))
        stream.flush()

    return write


def form_of(path: Path) -> str:
    """Which of the `FORMATS` a file's name stands for; csv where it says nothing."""
    return SUFFIXES.get(path.suffix.lower(), "csv")


def _form_found(path: Path) -> str:
    """The format of a file, by how it begins where its name says nothing."""
    if path.suffix.lower() in SUFFIXES or not path.is_file():
        return form_of(path)
    with path.open("rb") as stream:
        start = stream.read(4)
    return "parquet" if start == b"PAR1" else "jsonl" if start.startswith(b"{") else "csv"


def read_rows(path: Path) -> Iterator[Score]:
    """The rows of a file of scores, of the format its name says, or its first bytes; a broken last
    row is skipped.

    Raises:
        UserError: missing, or without the columns `path` and `p_jazz`.
    """
    form = _form_found(path)
    if form == "parquet":
        for row in parquet.read(path, partial(_check_columns, path)):
            yield _score(path, row)
    else:
        for score, _, _ in _rows_and_places(path, form):
            yield score


def _rows_and_places(
    path: Path, form: str, lost: list[int] | None = None
) -> Iterator[tuple[Score, int, int]]:
    """Rows, and from which byte to which each goes; a row without its line's end is none.

    Args:
        path: where.
        form: csv or jsonl.
        lost: gets the numbers of lines that cannot be read; without it, most are an error.
    """
    end, number, whole = 0, 0, True

    def lines() -> Iterator[str]:
        nonlocal end, number, whole
        for raw in stream:
            number += 1
            marked = end == 0 and raw.startswith(BOM_UTF8)  # by Excel, say
            end += len(raw)
            whole = raw.endswith(b"\n")
            yield raw.decode("utf-8-sig" if marked else "utf-8", "surrogateescape")

    with path.open("rb") as stream:
        rows: Iterator[Any] = map(parse_json, lines())
        if form == "csv":
            rows = table = csv.DictReader(lines(), strict=lost is not None)
            try:
                _check_columns(path, table.fieldnames or ())
            except csv.Error as error:
                raise _refusal(path, number, error) from None
        while True:
            start, first, score = end, number + 1, None
            try:
                row = next(rows)
                if whole and form == "jsonl":
                    _check_columns(path, row if isinstance(row, dict) else ())
                # In a row of CSV that was broken off, the last columns are missing.
                if whole and not (form == "csv" and None in row.values()):
                    score = _score(path, row)
            except StopIteration:
                return
            except (csv.Error, ValueError, UserError) as error:
                if lost is None and (whole or form == "csv"):
                    raise _refusal(path, number, error) from None
            if score:
                yield score, start, end
            elif lost is not None:
                lost.extend(range(first, number + whole))


def _refusal(path: Path, number: int, error: Exception) -> UserError:
    """What is said of a line that cannot be read."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, csv.Error):
        return UserError(f"{path}: no table of scores ({error})")
    return UserError(f"{path}: line {number} is no JSON")


def _check_columns(path: Path, names: Iterable[str]) -> None:
    if missing := {"path", "p_jazz"} - set(names):
        raise UserError(f"{path}: no column '{min(missing)}'; give what `gan score` wrote")


def _score(path: Path, row: dict[str, Any]) -> Score:
    try:
        p = None if row["p_jazz"] in ("", None) else float(row["p_jazz"])
        verdict = row.get("verdict") or ("unsure" if p is None else VERDICTS[p < 0.5])
        if verdict not in VERDICTS or (p is not None and not 0 <= p <= 1):
            raise ValueError
        error = str(row.get("error") or ("" if p is not None else "no probability"))
        windows = int(row.get("windows") or 0)
        if not 0 <= windows < 2**31:  # as Parquet has them
            raise ValueError
        return Score(str(row["path"]), p, verdict, windows, error)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{path}: the row of '{row['path']}' is no score") from None


def _whole(path: Path, form: str) -> tuple[Scores, int, list[int]]:
    """What is in a file that a killed run left, how many bytes of it are whole rows, and the
    numbers of whole lines that cannot be read."""
    whole, lost = 0, list[int]()

    def rows() -> Iterator[Score]:
        nonlocal whole
        for row, _, end in _rows_and_places(path, form, lost):
            whole = end
            yield row

    if form == "csv":
        with path.open("rb") as stream:
            head = stream.readline()
        if not head.endswith(b"\n"):
            return Scores(), 0, lost
        whole = len(head)
    return Scores(rows()), whole, lost


def _drop_lost(path: Path, form: str) -> int:
    """Leaves of a file its header and the rows that can be read, byte for byte; its new size."""
    with whole(path) as fresh, path.open("rb") as old, fresh.open("wb") as new:
        if form == "csv":
            new.write(old.readline())
        for _, start, end in _rows_and_places(path, form, []):
            old.seek(start)
            new.write(old.read(end - start))
    return path.stat().st_size


def _check_same(path: Path, card: Path, identity: dict[str, Any]) -> str:
    """Refuses rows of another run; the folder that theirs began in, "" of earlier versions."""
    try:
        before = parse_json(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict):
        raise UserError(f"{path}: cannot be gone on with, {card.name} is missing or damaged; "
                        "choose another file")  # fmt: skip
    folder = str(before.pop(FOLDER, ""))
    before = {key: identity[key] for key in LATER & identity.keys()} | before
    changed = sorted(key for key in before | identity if before.get(key) != identity.get(key))
    if changed:
        raise UserError(
            f"{path}: begun with different {', '.join(changed)}; give the same, or another file"
        )
    return folder


def _check_folder(path: Path, rows: Path, form: str, folder: str) -> None:
    """Refuses relative paths that count from another folder: none of their rows would be found,
    and all of them would be written a second time."""
    if not folder or Path(folder) == Path.cwd():  # as paths: Windows minds no case
        return
    readable = (row for row, _, _ in _rows_and_places(rows, form, []))
    relative = False
    with suppress(UserError):  # of a broken table that which goes on with it will tell
        found = readable if rows.exists() else read_rows(path)
        relative = any(not os.path.isabs(row.path) for row in found)
    if relative:
        raise UserError(
            f"{path}: its paths count from {folder}; go on with it from there, or choose another "
            "file"
        )


def _copy_rows(finished: Path, rows: Path) -> None:
    with whole(rows) as unfinished, unfinished.open("w", encoding="utf-8") as stream:
        stream.writelines(json_line(row._asdict()) for row in read_rows(finished))
