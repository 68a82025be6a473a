"""The tables beside a corpus's tokens: pieces, what became of every file, conflicting labels."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.corpus.worker import Piece
from data_tools.errors import UserError
from data_tools.rows import csv_writer
from data_tools.settings import CorpusSettings
from data_tools.sources import UNLABELLED
from data_tools.splits import SPLITS, assign, groups_of

COLUMNS = (
    "path", "label", "source", "artist", "title", "licence", "work_group", "near_duplicates",
    "group", "split", "notes", "seconds", "tokens", "timing", "dropped", "sha256", "location",
)  # fmt: skip
FILES = ("location", "path", "sha256", "outcome", "reason", "piece", "duplicate_of")
_PARTICULARS = re.compile(r" \(| as | of |, only ")
CONFLICTS = ("first", "first_label", "second", "second_label", "similarity")


@dataclass
class Fate:
    """What became of one file.

    Attributes:
        location: the name of the folder or archive it came from.
        path: its name in there.
        facts: what is known of it, by column.
        sha256: of its bytes; empty where there are none.
        reason: why it was left out; empty where it was kept.
        duplicate_of: the path of the piece it is a copy of, where that is the reason.
        piece: its row in the manifest, where it was kept.
    """

    location: str
    path: str
    facts: dict[str, str]
    sha256: str
    reason: str
    duplicate_of: str = ""
    piece: int | None = None


def contradict(first: dict[str, str], second: dict[str, str]) -> bool:
    """Whether two pieces have labels, and different ones."""
    labels = {first["label"], second["label"]}
    return len(labels) == 2 and UNLABELLED not in labels


def leave_out(fate: Fate, other: Fate, what: str = "near-duplicate of", why: str = "") -> None:
    """Notes that a file is left out for another one; the first reason stands."""
    if not fate.reason:
        fate.reason = f"{what} {other.path}{why}"
        fate.duplicate_of = other.path


def commonest(fates: Sequence[Fate]) -> str:
    """The most frequent reason, for a message; empty where no file was offered."""
    why = Counter(fate.reason for fate in fates).most_common(1)
    return f": {why[0][0]}" if why else ""


def rows(
    pieces: Sequence[Piece],
    facts: Sequence[dict[str, str]],
    lengths: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    settings: CorpusSettings,
) -> list[dict[str, Any]]:
    """The manifest: a row a piece, its group and split among the columns.

    Raises:
        UserError: a split chosen by a person is unknown or tears a group.
    """
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
    result = []
    for number, (piece, fact) in enumerate(zip(pieces, facts, strict=True)):
        duplicates, group = duplicate_groups[number], groups[number]
        result.append(
            {column: fact.get(column, "") for column in COLUMNS}
            | {
                "near_duplicates": str(duplicates) if size[duplicates] > 1 else "",
                "group": str(group),
                "split": chosen.get(group, splits[number]),
                "notes": piece.notes,
                "seconds": round(piece.seconds, 2),
                "tokens": lengths[number],
                "timing": piece.timing,
                "dropped": piece.dropped,
                "sha256": piece.sha256,
            }
        )
    return result


def _chosen_splits(facts: Sequence[dict[str, str]], groups: Sequence[int]) -> dict[int, str]:
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


def counts(rows: Sequence[dict[str, Any]], fates: Sequence[Fate], conflicts: int) -> dict[str, Any]:
    """The numbers a person wants to see after a build."""
    grouped = Counter(row["near_duplicates"] for row in rows if row["near_duplicates"])
    reasons = [fate.reason for fate in fates if fate.reason]
    # Without the particulars, of which there are as many as files.
    kinds = Counter(_PARTICULARS.split(reason, maxsplit=1)[0] for reason in reasons)
    return {
        "files": len(fates),
        "kept": len(rows),
        "rejected": len(reasons),
        "rejected_by_reason": dict(kinds.most_common()),
        "notes": sum(row["notes"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "near_duplicate_groups": len(grouped),
        "pieces_in_near_duplicate_groups": sum(grouped.values()),
        "label_conflicts": conflicts,
        "groups": len({row["group"] for row in rows}),
        "splits": {
            split: dict(Counter(row["label"] for row in rows if row["split"] == split))
            for split in SPLITS
        },
    }


def write_fates(folder: Path, fates: Sequence[Fate]) -> None:
    """Writes `files.csv`, every file, and `rejects.csv`, those left out."""
    write(
        folder / "files.csv",
        FILES,
        (
            (fate.location, fate.path, fate.sha256, "dropped" if fate.reason else "kept",
             fate.reason, "" if fate.piece is None else fate.piece, fate.duplicate_of)
            for fate in fates
        ),
    )  # fmt: skip
    rejects = ((fate.path, fate.reason) for fate in fates if fate.reason)
    write(folder / "rejects.csv", ("path", "reason"), rejects)


def write_conflicts(path: Path, conflicts: Iterable[tuple[Fate, Fate, float]]) -> None:
    """Writes pairs of one music under two labels, the most alike first."""
    ordered = sorted(conflicts, key=lambda one: (-one[2], one[0].path, one[1].path))
    write(
        path,
        CONFLICTS,
        (
            (first.path, first.facts["label"], second.path, second.facts["label"], round(alike, 3))
            for first, second, alike in ordered
        ),
    )


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table row by row, into a folder that is not yet in its place."""
    # A file's name may hold bytes that are no text.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv_writer(stream)
        writer(columns)
        for row in rows:
            writer(row)
