"""Curation: keeps the files of a collection that a classifier is sure enough about.

First every file gets its score, in `scores.csv`, row by row and safe on disk; then the kept ones
are copied, linked or listed, in the folders they came from. Either half goes on after a kill: rows
that are there are not scored again, files that are there are not written again. Nothing of the
source is changed, and no file that was there before is overwritten.
"""

import csv
import errno
import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_tools import midi
from data_tools.errors import MidiError, UserError
from data_tools.files import DAMAGED, file_digest, parse_json, write_json
from data_tools.rows import csv_writer
from data_tools.sources import MANIFEST, Source
from discriminator.collection import Place, check_any, leaves, pieces, places
from discriminator.reading import Piece
from discriminator.scores import LATER, Score, ScoreFile, Scores, read_rows

COLUMNS = ("path", "p_jazz", "verdict", "windows", "kept", "reason", "output")
MUSIC = "music"  # the folder within the results that holds what was kept
BINS = 10
# A name that cannot be here (too long, a file where a folder must be) is the file's own trouble.
_UNNAMEABLE = {
    errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ELOOP,
}  # fmt: skip
_UNLINKABLE = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


class Choice(BaseModel):
    """What to keep, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: Literal["jazz", "not_jazz"] = Field("jazz", description="the class to keep")
    min_prob: float = Field(0.8, ge=0, le=1, description="its least probability")
    drop_unsure: bool = Field(False, description="drop what the classifier calls unsure")
    min_notes: int = Field(0, ge=0, description="drop files of fewer notes, all tracks together")
    mode: Literal["copy", "link", "list"] = Field("copy", description="what becomes of the kept")


class Fate(NamedTuple):
    """Whether a file is kept and why; `kind` is the reason without the particulars."""

    kept: bool
    kind: str
    reason: str


class Summary:
    """Counts over all files, for the report."""

    def __init__(self) -> None:
        self.kinds: Counter[tuple[bool, str]] = Counter()
        self.folders: Counter[tuple[str, bool]] = Counter()
        self.histogram = np.zeros((BINS, 2), dtype=np.int64)  # (bins, dropped and kept)
        self.told = ""  # of the rows that were there before: see `curate`
        self.note = ""  # what of the source could not be taken along

    def add(self, inner: str, p: float | None, fate: Fate) -> None:
        """Counts a file."""
        self.kinds[fate.kept, fate.kind] += 1
        self.folders["/".join(inner.split("/")[:-1][:2]) or ".", fate.kept] += 1
        if p is not None:
            self.histogram[min(int(p * BINS), BINS - 1), int(fate.kept)] += 1

    @property
    def files(self) -> int:
        """All files."""
        return self.kinds.total()

    @property
    def damaged(self) -> int:
        """The damaged archives: what lies behind the damage has no row."""
        return self.kinds[False, f"not scored: {DAMAGED}"]

    @property
    def kept(self) -> int:
        """The files kept."""
        return sum(count for (kept, _), count in self.kinds.items() if kept)


def decide(score: Score | None, choice: Choice, notes: Callable[[], int]) -> Fate:
    """Whether a file is kept.

    Args:
        score: its row, None where there is none.
        choice: what to keep.
        notes: counts its notes; called only where they matter.
    """
    if score is None:
        return Fate(False, "no score", "no row in the scores")
    if score.p_jazz is None:
        return Fate(False, f"not scored: {_kind(score.error)}", f"not scored: {score.error}")
    p = score.p_jazz if choice.keep == "jazz" else round(1 - score.p_jazz, 4)
    name, least = f"p({choice.keep})", f"{choice.min_prob:g}"
    if p < choice.min_prob:
        return Fate(False, f"{name} under {least}", f"{name} {p:.4f} is under {least}")
    if choice.drop_unsure and score.verdict == "unsure":
        return Fate(False, "unsure", f"{name} {p:.4f} is unsure")
    if choice.min_notes:
        try:
            found = notes()
        except MidiError as error:
            return Fate(False, f"not read: {_kind(error.reason)}", f"not read: {error.reason}")
        if found < choice.min_notes:
            least = f"{choice.min_notes:,}"
            return Fate(False, f"fewer than {least} notes", f"{found:,} notes, under {least}")
    return Fate(True, f"{name} at least {least}", f"{name} {p:.4f} is at least {least}")


def _kind(reason: str) -> str:
    """A reason without its particulars, of which there are as many as files."""
    return reason.split(" (")[0].split(": ")[0].split(", ")[0][:60]


def curate(
    source: Path,
    out: Path,
    choice: Choice,
    facts: dict[str, Any],
    score: Callable[[Iterable[Piece], Mapping[str, int]], Iterable[Score]] | None = None,
    scores: Path | None = None,
    resume: bool = False,
    tell: Callable[[str], None] = lambda remark: None,
) -> Summary:
    """Curates a collection into a folder; see `preview` for a dry run.

    Args:
        source: a folder, archive or manifest.
        out: the folder of results: `music/` or `kept.txt`, `curation.csv`, `scores.csv`.
        choice: what to keep, and how.
        facts: what the scores depend on, model and precision; recorded and compared.
        score: scores pieces, in their order; it is also told `Scores.counts` of those before.
        scores: a file of scores to use instead.
        resume: go on with what lies in `out`.
        tell: told of rows of before that could not be read, before any work, and of those whose
            music has changed, also where the work is stopped; "" where there are none.

    Raises:
        UserError: `out` lies within the source or holds other things, there is no music in the
            source, or the disk is full.
    """
    check_apart(source, out)
    check_any(source)
    known = None
    if scores:
        if not resume:
            known = scored(source, scores)
        facts = facts | {"scores": file_digest(scores)}
    identity = {"format": 1, "source": str(source.absolute())} | choice.model_dump() | facts
    begun, rows, remarks = _open(out, identity, resume), 0, list[str]()
    try:
        if score:
            with ScoreFile(out / "scores.csv", "csv", facts, resume=True) as file:
                remarks.append(file.lost())
                tell(remarks[-1])
                new = pieces([source], file.lacks)
                try:
                    for row in score(new, file.before.counts()):
                        file.write(row)
                        rows += 1
                finally:  # also of work that is stopped: for the next run those files are old news
                    remarks.append(file.changed())
                    tell(remarks[-1])
            scores = out / "scores.csv"
        assert scores is not None
        if known is None:
            known = Scores(read_rows(scores))
    except UserError:
        if begun and not rows:
            _take_back(out)
        raise
    summary = _choose(source, out, choice, known)
    summary.told = "; ".join(filter(None, remarks))
    return summary


def preview(source: Path, choice: Choice, rows: Iterable[Score]) -> Summary:
    """What `curate` would do, without writing anything; the rows may be read from a file.

    Raises:
        UserError: there is no music in the source.
    """
    check_any(source)
    summary = Summary()
    for place, row, fate in _fates(source, choice, Scores(rows)):
        summary.add(place.inner, row.p_jazz if row else None, fate)
    return summary


def scored(source: Path, scores: Path) -> Scores:
    """Scores from a file, if they are of the source's files.

    Raises:
        UserError: none of its files has a row.
    """
    known = Scores(read_rows(scores))
    if not any(place.path in known for place in places(source)):
        theirs = next((row.path for row in read_rows(scores)), "none")
        mine = next(places(source)).path
        raise UserError(
            f"{scores}: none of the files of {source} has a row; its paths are like '{theirs}', "
            f"theirs like '{mine}'; run from the folder it was written in, or score them again"
        )
    return known


def check_apart(source: Path, out: Path) -> None:
    """Refuses results that would be found as music the next time, or a source among results.

    Raises:
        UserError: `out` lies within the source, or holds it.
    """
    inside, outside = out.resolve(), source.resolve()
    if source.is_dir() and inside.is_relative_to(outside):
        raise UserError(f"{out}: lies within {source}; choose an --out elsewhere")
    if outside.is_relative_to(inside):
        raise UserError(f"{out}: holds {source}; choose an --out elsewhere")


def _take_back(out: Path) -> None:
    """A mistake noticed before the first score leaves nothing in the way of its correction."""
    for name in ("scores.csv", "scores.csv.run.json", "curation.json"):
        (out / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        out.rmdir()


def _open(out: Path, identity: dict[str, Any], resume: bool) -> bool:
    """Begins a curation (True), or finds the same begun before.

    Raises:
        UserError: `out` holds something else, or another curation.
    """
    card = out / "curation.json"
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; give a folder as --out")
    if not card.exists():
        if out.exists() and any(out.iterdir()):
            raise UserError(f"{out}: not empty and no curation; choose another --out")
        write_json(card, identity)
        return True
    if not resume:
        raise UserError(f"{out}: holds a curation; go on with it by --resume, or choose another")
    try:
        before = parse_json(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict):
        raise UserError(f"{card}: damaged; choose another --out")
    before = {key: identity[key] for key in LATER & identity.keys()} | before
    changed = [key for key in identity | before if before.get(key) != identity.get(key)]
    if changed:
        told = ", ".join(f"{key} ({before.get(key)}, now {identity.get(key)})" for key in changed)
        way = "give the same, or another --out"
        if set(changed) <= Choice.model_fields.keys() and (kept := out / "scores.csv").is_file():
            way += f" and, to score nothing anew, --from-scores {kept}"
        raise UserError(f"{out}: begun with different {told}; {way}")
    return False


def _fates(
    source: Path, choice: Choice, scores: Scores
) -> Iterator[tuple[Place, Score | None, Fate]]:
    for place in places(source):

        def notes(place: Place = place) -> int:
            return midi.read(place.data()).note_num()

        row = scores.get(place.path)
        yield place, row, decide(row, choice, notes)


def _choose(source: Path, out: Path, choice: Choice, scores: Scores) -> Summary:
    """Writes the kept files, and last the table that says what became of every one."""
    summary, root = Summary(), out / MUSIC
    partial = out / ".curation.csv.tmp"
    kept = array("Q")
    with partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        table = csv_writer(stream)
        table(COLUMNS)
        for place, row, fate in _fates(source, choice, scores):
            output = ""
            if fate.kept and choice.mode != "list":
                try:
                    deliver(place, root, out / ".copying", choice.mode == "link")
                    output = f"{MUSIC}/{PurePosixPath(place.inner).as_posix()}"
                    kept.append(_hash(place.inner))
                except MidiError as error:
                    kind = f"not written: {_kind(error.reason)}"
                    fate = Fate(False, kind, f"not written: {error.reason}")
            _, p, verdict, windows, _ = row or Score(place.path, None, "unsure", 0, "")
            table((place.path, p, verdict, windows, "yes" if fate.kept else "no",
                            fate.reason, output))  # fmt: skip
            summary.add(place.inner, p, fate)
        stream.flush()
        os.fsync(stream.fileno())
    if choice.mode == "list":
        _write_list(partial, out / "kept.txt")
    else:
        try:
            _write_manifest(source, root, set(kept), partial)
        except UserError as error:  # a damaged archive, or its table: the music is there
            (root / ".manifest.csv.tmp").unlink(missing_ok=True)
            summary.note = " ".join(f"no manifest.csv was taken along ({error})".splitlines())
    partial.replace(out / "curation.csv")
    return summary


def deliver(place: Place, root: Path, partial: Path, link: bool) -> None:
    """Puts a file where it belongs below `root`: whole, and never over another file.

    Args:
        place: the file.
        root: the folder that takes the place of the collection's top.
        partial: the name a copy has until it is whole, on the same disk.
        link: a hard link, a symbolic one where the disk allows none; archives have copies.

    Raises:
        MidiError: it cannot be read, or not be written under this name; with the reason.
        OSError: the disk is full or the like.
    """
    if leaves(place.inner):
        raise MidiError(place.path, "its name leads out of the archive")
    target = root / place.inner
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(root.resolve()):
            raise MidiError(place.path, "a link leads out of the folder of results")
        there = os.path.lexists(target)
        if link and place.file:
            original = place.file.resolve()
            if not there:
                _link(original, target)
            elif not target.exists() or not target.samefile(original):
                raise MidiError(place.path, "another file of that name is there")
            return
        data = place.data()
        if there:
            if not target.is_file() or target.read_bytes() != data:
                raise MidiError(place.path, "another file of that name is there")
            return
        partial.write_bytes(data)
        if place.file:
            with suppress(OSError):
                facts = place.file.stat()
                os.utime(partial, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        partial.replace(target)
    except ValueError as error:  # a null byte
        raise MidiError(place.path, f"its name is none here ({error})") from None
    except OSError as error:
        if error.errno not in _UNNAMEABLE:
            raise
        raise MidiError(place.path, f"its name is none here ({error.strerror})") from None


def _link(original: Path, target: Path) -> None:
    try:
        os.link(original, target)
    except OSError as error:
        if error.errno not in _UNLINKABLE:
            raise
        target.symlink_to(original)


def _hash(inner: str) -> int:
    name = PurePosixPath(inner).as_posix().encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def _write_list(table: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.tmp")
    ways = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with table.open(**ways) as rows, partial.open("w", **ways) as stream:  # type: ignore[call-overload]
        for row in csv.DictReader(rows):
            if row["kept"] == "yes":
                stream.write(row["path"] + "\n")
    partial.replace(target)


def _write_manifest(source: Path, root: Path, kept: set[int], table: Path) -> None:
    """Takes along what the source's manifest says of the kept: artists, works, licences.

    Whoever builds a corpus of the folder reads what its manifest names and nothing else: kept
    files that the source's manifest does not name get rows, too, with nothing but their paths.
    """
    found = _manifest(source)
    head = next(found, [])
    if "path" not in head or not root.is_dir():
        return
    place, named = head.index("path"), array("Q")
    partial = root / ".manifest.csv.tmp"
    ways: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with partial.open("w", **ways) as stream, table.open(**ways) as fates:
        write = csv_writer(stream)
        write(head)
        for row in found:
            if len(row) > place and _hash(row[place]) in kept:
                row[place] = PurePosixPath(row[place]).as_posix()
                named.append(_hash(row[place]))
                write(row)
        left = kept.difference(named)
        for fate in csv.DictReader(fates) if left else ():
            inner = fate["output"].removeprefix(f"{MUSIC}/")
            if inner and _hash(inner) in left:
                write([inner if column == place else "" for column in range(len(head))])
    partial.replace(root / "manifest.csv")


def _manifest(source: Path) -> Iterator[list[str]]:
    """The rows of the table beside, or in, a collection, its head first; none where it has none."""
    if source.is_dir() or source.suffix.lower() == ".csv":
        table = source / MANIFEST if source.is_dir() else source
        if os.path.isfile(table):  # of a closed folder `Path` may raise
            with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as rows:
                try:
                    yield from csv.reader(rows)
                except csv.Error as error:
                    raise UserError(f"{table}: no table ({error})") from None
        return
    archived = Source(source).rows
    if archived:
        head = [name for name in archived[0] if name]  # a row too long has cells of no name
        yield head
        yield from ([row[name] for name in head] for row in archived)
