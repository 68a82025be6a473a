"""Building a corpus: from folders, archives and manifests to one folder, whole or not at all.

It streams: a file is read, cleaned, tokenised and forgotten, so memory does not grow with the
number of files beyond a row for each. What becomes of every file is written down, in `files.csv`.
"""

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_tools import fingerprint
from data_tools.corpus import tables, worker
from data_tools.corpus.built import Corpus
from data_tools.corpus.edits import Edits
from data_tools.corpus.tables import COLUMNS, Fate
from data_tools.corpus.worker import Offer, Piece
from data_tools.curate import Conflict, conflicts_of, copies_to_drop, pairs_of
from data_tools.errors import UserError
from data_tools.files import parse_json, sole_writer, write_json
from data_tools.parallel import ordered_map
from data_tools.representation import Representation
from data_tools.settings import CorpusSettings
from data_tools.sources import UNLABELLED, Entry, Source

__all__ = ["COLUMNS", "FORMAT", "build"]

FORMAT = 3  # since 3 a pedal is the same on every channel
_BATCH = 16  # files sent to a worker at once


@dataclass
class _Read:
    """What is known after every file was read.

    Attributes:
        fates: one a file, in the order of reading.
        kept: the fates that tokens were written for, in the order of the tokens.
        pieces: their pieces, without ids.
        lengths: their numbers of tokens.
        copies: pairs of numbers in `kept` that are the very same music.
        conflicts: exact copies left out, as (path, label) of the kept one and of the copy.
    """

    fates: list[Fate] = field(default_factory=list)
    kept: list[Fate] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    conflicts: list[tuple[Fate, Fate, float]] = field(default_factory=list)


def build(
    locations: Sequence[str | Path],
    out: str | Path,
    settings: CorpusSettings | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    manifest: str | Path | None = None,
    force: bool = False,
    bounded: bool = False,
) -> tuple[Corpus, bool]:
    """Builds a corpus, or only verifies it when nothing has changed.

    A corpus of the same sources and settings is rebuilt when their files have changed; one of
    others is not touched.

    Args:
        locations: folders, archives or manifests.
        out: the corpus folder.
        settings: how to build it.
        workers: processes; 0 takes every core; 1 stays in this process and bounds nothing.
        progress: called with (files done, files in all).
        manifest: a corpus's manifest.csv, edited, that overrides what the sources say.
        force: replace a corpus of other sources or settings.
        bounded: let a single worker be a process too, its files bounded in time and memory.

    Returns:
        The corpus, and whether it was built now.

    Raises:
        UserError: nothing usable, or `out` holds something else.
    """
    if settings is None:
        settings = CorpusSettings()
    if settings.validation + settings.test >= 1:
        raise UserError("validation and test together take every piece; leave some for train")
    # Resolved: a folder that is a link is replaced where it lies, the link stays.
    given, out = out, Path(out).resolve()
    if out.is_file():
        raise UserError(f"{given}: a file; give a folder as --out")
    there = _made(out) if out.exists() and any(out.iterdir()) else {}
    if there is None:
        raise UserError(f"{given}: not empty and not a corpus; choose another --out")
    sources = [Source(location) for location in locations]
    for source in sources:
        source.check_any_there()
    edits = Edits(Path(manifest) if manifest else None, [source.name for source in sources])
    request = {
        "format": FORMAT,
        "settings": settings.model_dump(),
        "representation": Representation(settings.representation).digest,
        "inputs": [source.digest() for source in sources],
        "called": [source.called() for source in sources],
        "manifest": edits.digest(),
    }
    made_from = [str(source.location.absolute()) for source in sources]
    if there:
        if _asked(there, request) == request:
            corpus = Corpus(out)
            corpus.verify()
            return corpus, False
        _refuse_another(given, there, request, made_from, force)
    with sole_writer(out):
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            content = {"request": request, "made_from": made_from}
            content |= _write(sources, edits, partial, settings, workers, progress, bounded)
            write_json(partial / "corpus.json", content)
            old = _old(out)
            if out.exists():
                out.replace(old)
            partial.replace(out)
            _keep_others(old, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Corpus(out), True


def _old(out: Path) -> Path:
    """Where a corpus lies while another takes its place; one that a killed build left is seen to.

    What lies in a corpus and is none of it, an edited manifest or somebody's notes, is never lost.
    """
    old = out.with_name(f".{out.name}.old")
    _keep_others(old, out)
    return old


def _keep_others(old: Path, out: Path) -> None:
    """Moves what the corpus in `out` does not have from the old one, of which the rest goes."""
    if not old.is_dir():
        return
    if not out.exists():
        old.replace(out)
        return
    for path in old.iterdir():
        if not (out / path.name).exists():
            path.replace(out / path.name)
    shutil.rmtree(old)


def _made(out: Path) -> dict[str, Any] | None:
    """What a corpus says of its making; nothing where it is damaged, None where there is none."""
    try:
        content = parse_json((out / "corpus.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _asked(there: dict[str, Any], request: dict[str, Any]) -> Any:
    """What a corpus was asked for; older versions do not say what their music was called."""
    before = there.get("request")
    return {"called": request["called"]} | before if isinstance(before, dict) else before


def _refuse_another(
    out: str | Path,
    there: dict[str, Any],
    request: dict[str, Any],
    made_from: list[str],
    force: bool,
) -> None:
    before = _asked(there, request)
    if force or not isinstance(before, dict) or not isinstance(before.get("settings"), dict):
        return
    differs = []
    # An older version names no sources; then their digests must do.
    if "made_from" in there:
        other_sources = there["made_from"] != made_from
    else:
        other_sources = before.get("inputs") != request["inputs"]
    if other_sources and any(before.get(key) != request[key] for key in ("inputs", "called")):
        differs.append(f"sources ({', '.join(there.get('made_from', ['unknown']))})")
    was, now = _flat(before["settings"]), _flat(request["settings"])
    differs += [
        f"{name} ({was[name]}, now {now[name]})"
        for name in now
        if name in was and was[name] != now[name]
    ]
    if before.get("manifest", "") != request["manifest"]:
        differs.append("edits by --manifest")
    if differs:
        raise UserError(
            f"{out}: holds a corpus made with other {'; '.join(differs)}; choose another --out, "
            "or give --force to replace it"
        )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    inner = settings.get("representation")
    return settings | (inner if isinstance(inner, dict) else {}) | {"representation": ""}


def _write(
    sources: list[Source],
    edits: Edits,
    out: Path,
    settings: CorpusSettings,
    workers: int,
    progress: Callable[[int, int], None] | None,
    bounded: bool,
) -> dict[str, Any]:
    """Writes everything but `corpus.json`, and returns the rest of what that says."""
    offers = [
        (source, [edits.apply(entry, source.name) for entry in source.entries()])
        for source in sources
    ]
    edits.check_all_used()
    total = sum(len(entries) for _, entries in offers)
    read = _read(offers, total, out, settings, workers, progress, bounded)
    pairs = pairs_of([piece.sketch for piece in read.pieces], read.copies) if read.pieces else []
    conflicts = _drop_copies(read, pairs, settings)
    here = [number for number, fate in enumerate(read.kept) if not fate.reason]
    if not here:
        raise UserError(f"no usable MIDI in {total} files{tables.commonest(read.fates)}")
    digest = _compact(out / "tokens.bin", read.lengths, here)
    place = {number: row for row, number in enumerate(here)}
    for number, row in place.items():
        read.kept[number].piece = row
    pieces = [read.pieces[number] for number in here]
    lengths = [read.lengths[number] for number in here]
    facts = [read.kept[number].facts | {"location": read.kept[number].location} for number in here]
    pairs = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
    rows = tables.rows(pieces, facts, lengths, pairs, settings)
    np.save(out / "index.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
    np.save(out / "fingerprints.npy", np.stack([piece.fingerprint for piece in pieces]))
    tables.write(out / "manifest.csv", COLUMNS, ([row[key] for key in COLUMNS] for row in rows))
    tables.write_fates(out, read.fates)
    tables.write_conflicts(out / "conflicts.csv", conflicts)
    Representation(settings.representation).save(out / "representation.json")
    return {
        "digest": digest,
        "fingerprints": fingerprint.NAMES,
        "counts": tables.counts(rows, read.fates, len(conflicts)),
    }


def _read(
    offers: list[tuple[Source, list[Entry]]],
    total: int,
    out: Path,
    settings: CorpusSettings,
    workers: int,
    progress: Callable[[int, int], None] | None,
    bounded: bool,
) -> _Read:
    """Tokenises every file; those of the very same music are told apart here, the rest later."""
    entered: deque[tuple[Source, Entry]] = deque()

    def stream() -> Iterator[Offer]:
        # A worker needs only the bytes; entries wait here for its answer.
        for source, entries in offers:
            for entry, data in source.contents(entries):
                entered.append((source, entry))
                yield data, entry.refused

    read = _Read()
    seen: dict[bytes, int] = {}
    ahead: dict[int, int] = {}  # of a piece that gave way to a labelled copy, that copy
    results = ordered_map(
        worker.tokenise, stream(), worker.crashed, workers, worker.start, (settings,),
        late=worker.late, batch=_BATCH, bounded=bounded,
    )  # fmt: skip
    with (out / "tokens.bin").open("wb") as tokens:
        for done, piece in enumerate(results, 1):
            if progress:
                progress(done, total)
            source, entry = entered.popleft()
            fate = Fate(source.name, entry.path, entry.facts, piece.sha256, piece.reason)
            read.fates.append(fate)
            if fate.reason:
                continue
            number = len(read.kept)
            keys = (bytes.fromhex(piece.sha256), b"ids" + hashlib.sha256(piece.ids).digest())
            for key, word in zip(keys, ("file", "music"), strict=True):
                if (first := seen.get(key)) is None:
                    continue
                kept = read.kept[first := ahead.get(first, first)]
                if settings.duplicates != "drop":
                    read.copies.append((first, number))
                elif kept.facts["label"] == UNLABELLED != fate.facts["label"]:
                    # The label is not lost to a copy that only comes first.
                    tables.leave_out(kept, fate, f"same {word} as")
                    ahead[first] = number
                else:
                    tables.leave_out(fate, kept, f"same {word} as")
                    if tables.contradict(kept.facts, fate.facts):
                        read.conflicts.append((kept, fate, 1.0))
                break
            if fate.reason:
                continue
            for key in keys:
                seen.setdefault(key, number)
            tokens.write(piece.ids)
            read.lengths.append(len(piece.ids) // 2)
            read.kept.append(fate)
            read.pieces.append(replace(piece, ids=b""))
    return read


def _drop_copies(
    read: _Read, pairs: list[tuple[int, int]], settings: CorpusSettings
) -> list[tuple[Fate, Fate, float]]:
    """Gives reasons to what the settings leave out; returns every conflict of labels."""
    labels = [fate.facts["label"] for fate in read.kept]
    found: list[Conflict] = conflicts_of(pairs, labels, [piece.sketch for piece in read.pieces])
    conflicts = read.conflicts + [
        (read.kept[one.first], read.kept[one.second], one.similarity) for one in found
    ]
    if settings.conflicts == "drop":
        for first, second, _ in conflicts:
            for fate, other in ((first, second), (second, first)):
                tables.leave_out(fate, other, why=", which has another label")
    gone = {number for number, fate in enumerate(read.kept) if fate.reason}
    if settings.near_duplicates == "drop":
        notes = [piece.notes for piece in read.pieces]
        known = [label != UNLABELLED for label in labels]
        for number, kept_one in copies_to_drop(pairs, notes, known, gone).items():
            tables.leave_out(read.kept[number], read.kept[kept_one])
    return conflicts


def _compact(path: Path, lengths: Sequence[int], here: Sequence[int]) -> str:
    """Takes the pieces that are not `here` out of the tokens; returns the digest of the rest."""
    whole = hashlib.sha256()
    ends = np.cumsum(lengths, dtype=np.int64) * 2
    partial = path.with_suffix(".kept")
    with path.open("rb") as given, partial.open("wb") as taken:
        for number in here:
            given.seek(int(ends[number]) - 2 * lengths[number])
            data = given.read(2 * lengths[number])
            whole.update(data)
            taken.write(data)
    partial.replace(path)
    return whole.hexdigest()
