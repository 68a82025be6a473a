"""The corpus: a folder of tokens ready to train on, made once from any MIDI and only read after.

    corpus.json          settings, digests, counts
    representation.json  what the tokens mean
    manifest.csv         one row a piece, in the order of the tokens; a person may read and edit it
    tokens.bin           uint16 ids of all pieces, one after another, memory-mapped
    index.npy            int64 (pieces + 1,) where each piece begins
    rejects.csv          every file left out, and why

`build` streams: a file is read, cleaned, tokenised and forgotten, so memory does not grow with the
number of files beyond their manifest rows.
"""

import csv
import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_tools import midi
from data_tools.duplicates import near_duplicates, signature
from data_tools.errors import MidiError, UserError
from data_tools.files import file_digest, write_json, write_text
from data_tools.inspect import timing_of
from data_tools.parallel import ordered_map
from data_tools.representation import Representation
from data_tools.settings import CorpusSettings, RepresentationSettings
from data_tools.sources import LABELS, UNLABELLED, Entry, Source
from data_tools.splits import SPLITS, assign, groups_of

FORMAT = 1
COLUMNS = (
    "path", "label", "source", "artist", "title", "licence", "work_group", "near_duplicates",
    "group", "split", "notes", "seconds", "tokens", "timing", "dropped",
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """What a worker makes of one file; `reason` is empty when it is kept."""

    entry: Entry
    reason: str = ""
    ids: np.ndarray | None = None
    notes: int = 0
    seconds: float = 0.0
    timing: str = ""
    dropped: str = ""
    sketch: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))


_worker: tuple[Representation, int] | None = None


def _start_worker(settings: RepresentationSettings, min_notes: int) -> None:
    global _worker
    _worker = Representation(settings), min_notes


def _tokenise(item: tuple[Entry, bytes | None]) -> Piece:
    entry, data = item
    assert _worker is not None
    representation, min_notes = _worker
    if data is None:
        return Piece(entry, "missing, or larger than 64 MiB")
    try:
        prepared = midi.prepare(data)
        notes = midi.notes_of(prepared.score.tracks[0])
        if len(notes) < min_notes:
            return Piece(entry, f"fewer than {min_notes} notes ({len(notes)})")
        ids = representation.encode(prepared.score)
    except MidiError as error:
        return Piece(entry, error.reason)
    except Exception as error:  # a file nobody foresaw is set aside, and the rest goes on
        return Piece(entry, f"{type(error).__name__}: {error}")
    start = midi.seconds_of(prepared.score, notes.start)
    timed = midi.Notes(start, start, notes.pitch, notes.velocity)
    end = float(midi.seconds_of(prepared.score, notes.end.max(keepdims=True))[0])
    timing = timing_of(prepared.score)
    dropped = "; ".join(prepared.dropped)
    return Piece(entry, "", ids, len(notes), end, timing, dropped, signature(timed))


def _crashed(item: tuple[Entry, bytes | None]) -> Piece:
    return Piece(item[0], "crashed the reader")


def build(
    locations: Sequence[str | Path],
    out: str | Path,
    settings: CorpusSettings | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple["Corpus", bool]:
    """Builds a corpus, or only verifies it when nothing has changed.

    Args:
        locations: folders, archives or manifests.
        out: the corpus folder.
        settings: how to build it.
        workers: processes; 0 takes every core.
        progress: called with (files done, files in all).

    Returns:
        The corpus, and whether it was built now.

    Raises:
        UserError: nothing usable, or `out` holds something else.
    """
    out, settings = Path(out).absolute(), settings or CorpusSettings()
    sources = [Source(location) for location in locations]
    request = {
        "format": FORMAT,
        "settings": settings.model_dump(),
        "representation": Representation(settings.representation).digest,
        "inputs": [source.digest() for source in sources],
    }
    if _matches(out, request):
        corpus = Corpus(out)
        corpus.verify()
        return corpus, False
    if settings.validation + settings.test >= 1:
        raise UserError("validation and test together take every piece; leave some for train")
    if out.is_file():
        raise UserError(f"{out}: a file; give a folder as --out")
    if out.exists() and any(out.iterdir()) and not (out / "corpus.json").is_file():
        raise UserError(f"{out}: not empty and not a corpus; choose another --out")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write(sources, partial, settings, request, workers, progress)
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Corpus(out), True


def _matches(out: Path, request: dict[str, Any]) -> bool:
    try:
        return json.loads((out / "corpus.json").read_text())["request"] == request
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(
    sources: list[Source],
    out: Path,
    settings: CorpusSettings,
    request: dict[str, Any],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    offers = [(source, source.entries()) for source in sources]
    total = sum(len(entries) for _, entries in offers)
    stream = (item for source, entries in offers for item in source.contents(entries))
    pieces: list[Piece] = []
    rejects: list[tuple[str, str]] = []
    seen: dict[bytes, str] = {}
    lengths: list[int] = []
    whole = hashlib.sha256()
    arguments = (settings.representation, settings.min_notes)
    results = ordered_map(_tokenise, stream, _crashed, workers, _start_worker, arguments)
    with (out / "tokens.bin").open("wb") as tokens:
        for done, piece in enumerate(results, 1):
            if progress:
                progress(done, total)
            data = b"" if piece.ids is None else piece.ids.tobytes()
            key = hashlib.sha256(data).digest()
            reason = piece.reason
            if not reason and key in seen:
                reason = f"same music as {seen[key]}"
            if reason:
                rejects.append((piece.entry.path, reason))
                continue
            seen[key] = piece.entry.path
            whole.update(data)
            tokens.write(data)
            lengths.append(len(data) // 2)
            pieces.append(_without_ids(piece))
    if not pieces:
        why = Counter(reason for _, reason in rejects).most_common(1)
        raise UserError(f"no usable MIDI in {total} files" + (f": {why[0][0]}" if why else ""))
    np.save(out / "index.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
    rows = _rows(pieces, lengths, settings)
    _write_csv(out / "manifest.csv", COLUMNS, ([row[key] for key in COLUMNS] for row in rows))
    _write_csv(out / "rejects.csv", ("path", "reason"), rejects)
    Representation(settings.representation).save(out / "representation.json")
    content = {
        "request": request,
        "digest": whole.hexdigest(),
        "counts": _counts(rows, rejects, total),
    }
    write_json(out / "corpus.json", content)


def _without_ids(piece: Piece) -> Piece:
    return Piece(**{**piece.__dict__, "ids": None})


def _rows(
    pieces: list[Piece], lengths: list[int], settings: CorpusSettings
) -> list[dict[str, Any]]:
    facts = [piece.entry.facts for piece in pieces]
    pairs = list(near_duplicates([piece.sketch for piece in pieces]))
    empty = [""] * len(pieces)
    duplicate_groups = groups_of(empty, empty, pairs)
    size = Counter(duplicate_groups)
    works = [fact.get("work_group", "") for fact in facts]
    artists = [fact.get("artist", "") for fact in facts]
    groups = groups_of(works, artists, pairs)
    fractions = (1 - settings.validation - settings.test, settings.validation, settings.test)
    strata = [(fact["label"], fact["source"]) for fact in facts]
    splits = assign(groups, strata, fractions, settings.seed)
    chosen = _chosen_splits(facts, groups)
    splits = [chosen.get(group, split) for group, split in zip(groups, splits, strict=True)]
    rows = []
    for number, (piece, fact) in enumerate(zip(pieces, facts, strict=True)):
        duplicates = duplicate_groups[number]
        rows.append(
            {column: fact.get(column, "") for column in COLUMNS}
            | {
                "near_duplicates": str(duplicates) if size[duplicates] > 1 else "",
                "group": str(groups[number]),
                "split": splits[number],
                "notes": piece.notes,
                "seconds": round(piece.seconds, 2),
                "tokens": lengths[number],
                "timing": piece.timing,
                "dropped": piece.dropped,
            }
        )
    return rows


def _chosen_splits(facts: list[dict[str, str]], groups: list[int]) -> dict[int, str]:
    """A person's own choice of split, in an edited manifest, holds for the piece's whole group."""
    chosen: dict[int, str] = {}
    for fact, group in zip(facts, groups, strict=True):
        split = fact.get("split", "")
        if not split:
            continue
        if split not in SPLITS:
            raise UserError(f"{fact['path']}: split '{split}' is none of {', '.join(SPLITS)}")
        if chosen.setdefault(group, split) != split:
            raise UserError(
                f"{fact['path']}: split '{split}', but a piece of the same work, artist or near-"
                f"duplicate is in '{chosen[group]}'; give them one split or clear the column"
            )
    return chosen


def _counts(
    rows: list[dict[str, Any]], rejects: list[tuple[str, str]], total: int
) -> dict[str, Any]:
    grouped = Counter(row["near_duplicates"] for row in rows if row["near_duplicates"])
    kinds = Counter(reason.split(" (")[0].split(" as ")[0] for _, reason in rejects)
    return {
        "files": total,
        "kept": len(rows),
        "rejected": len(rejects),
        "rejected_by_reason": dict(kinds.most_common()),
        "notes": sum(row["notes"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "near_duplicate_groups": len(grouped),
        "pieces_in_near_duplicate_groups": sum(grouped.values()),
        "groups": len({row["group"] for row in rows}),
        "splits": {
            split: dict(Counter(row["label"] for row in rows if row["split"] == split))
            for split in SPLITS
        },
    }


def _write_csv(path: Path, columns: Sequence[str], rows: Any) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


class Corpus:
    """A built corpus, memory-mapped.

    Attributes:
        folder: where it lies.
        rows: the manifest's rows, in the order of the pieces.
        representation: what its tokens mean.
        index: int64 (pieces + 1,) bounds of the pieces in `tokens`.

    Raises:
        UserError: not a corpus, or its files do not fit together.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "corpus.json").is_file():
            raise UserError(f"{folder}: not a corpus; make one with 'gan data build'")
        try:
            self.facts = json.loads((self.folder / "corpus.json").read_text())
            with (self.folder / "manifest.csv").open(encoding="utf-8-sig", newline="") as stream:
                self.rows = list(csv.DictReader(stream))
            self.index = np.load(self.folder / "index.npy")
            self.digest: str = self.facts["digest"]
            lengths = [int(row["tokens"]) for row in self.rows]
            size = (self.folder / "tokens.bin").stat().st_size
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise UserError(f"{folder}: damaged corpus ({error}); build it again") from None
        self.representation = Representation.load(self.folder / "representation.json")
        for row in self.rows:
            if row.get("split") not in SPLITS or row.get("label") not in (*LABELS, UNLABELLED):
                raise UserError(
                    f"{folder}: manifest.csv gives '{row.get('path')}' the label "
                    f"'{row.get('label')}' and the split '{row.get('split')}'; one is unknown"
                )
        if len(self.rows) + 1 != len(self.index):
            raise UserError(
                f"{folder}: manifest.csv has {len(self.rows)} rows for {len(self.index) - 1} "
                "pieces; edit a copy and give it to 'gan data build'"
            )
        if lengths != np.diff(self.index).tolist():
            raise UserError(f"{folder}: manifest.csv has its rows in another order than the tokens")
        if size != 2 * self.index[-1]:
            raise UserError(f"{folder}: tokens.bin is cut short or too long; build it again")

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def tokens(self) -> np.ndarray:
        """uint16 ids of all pieces, one after another, memory-mapped."""
        return np.memmap(self.folder / "tokens.bin", dtype=np.uint16, mode="r")

    def piece(self, number: int) -> np.ndarray:
        """uint16 (T,) ids of one piece, without BOS and EOS."""
        return self.tokens[self.index[number] : self.index[number + 1]]

    def select(
        self,
        split: str | None = None,
        label: str | None = None,
        exclude_sources: Sequence[str] = (),
    ) -> list[int]:
        """Numbers of the pieces of a split and label, without some sources.

        Raises:
            UserError: an excluded source is not in the corpus.
        """
        unknown = set(exclude_sources) - {row["source"] for row in self.rows}
        if unknown:
            raise UserError(f"{self.folder}: no source called {', '.join(sorted(unknown))}")
        return [
            number
            for number, row in enumerate(self.rows)
            if (split is None or row["split"] == split)
            and (label is None or row["label"] == label)
            and row["source"] not in exclude_sources
        ]

    def sequences(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields [BOS] music [EOS] of each piece, int64."""
        for number in numbers:
            music = self.piece(number).astype(np.int64)
            yield np.concatenate([[Representation.bos], music, [Representation.eos]])

    def inputs(self) -> dict[str, str]:
        """Digests of what a training run reads: tokens, and the manifest a person may edit."""
        return {"corpus": self.digest, "manifest": file_digest(self.folder / "manifest.csv")}

    def verify(self) -> None:
        """Checks the tokens against their recorded digest.

        Raises:
            UserError: they differ.
        """
        if file_digest(self.folder / "tokens.bin") != self.digest:
            raise UserError(f"{self.folder}: tokens.bin was changed; delete the folder and rebuild")
