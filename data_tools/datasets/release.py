"""The archives of a dataset as pieces of music: unpacked, converted where they are tables, listed.

Everything that differs between datasets stands in the catalogue: which members are music, which
table names their composers, how a genre becomes a label. Here it is only carried out.
"""

import csv
import re
import unicodedata
from pathlib import Path, PurePosixPath

from data_tools.datasets.catalog import OTHER, Dataset
from data_tools.datasets.download import Progress
from data_tools.datasets.solos import score_of_solo
from data_tools.datasets.unpack import ArchiveError, Limits, Member, unpack
from data_tools.errors import MidiError
from data_tools.midi import write

Row = dict[str, str]


def unpack_all(
    dataset: Dataset, archives: list[Path], folder: Path, progress: Progress | None
) -> list[Member]:
    """Unpacks what the catalogue wants of the archives into `folder`, a folder each if several.

    Raises:
        ArchiveError: one is damaged or hostile, or lacks the music or its table.
    """
    patterns = [re.compile(p) for p in (dataset.midi, dataset.beats) if p]
    patterns += [re.compile(dataset.table.member)] if dataset.table else []
    count = 0

    def wanted(name: str) -> bool:
        nonlocal count
        if not any(pattern.search(name) for pattern in patterns):
            return False
        count += 1
        if progress:
            progress("unpacking", count, None)
        return True

    limits = Limits(dataset.max_members, dataset.max_bytes)
    members: list[Member] = []
    for number, archive in enumerate(archives, 1):
        inner = f"{number}/" if len(archives) > 1 else ""
        got = unpack(archive, folder / inner, wanted, limits)
        members += [Member(member.name, inner + member.path) for member in got]
    needed = {"music": dataset.midi} | ({"table": dataset.table.member} if dataset.table else {})
    for what, pattern in needed.items():
        if not any(re.search(pattern, member.name) for member in members):
            raise ArchiveError(
                f"{archives[0]}: nothing in it where {dataset.title} has its {what}; "
                "another file, or changed by its publisher"
            )
    return members


def pieces_of(
    dataset: Dataset, folder: Path, members: list[Member], progress: Progress | None
) -> tuple[list[Member], list[str]]:
    """The members that are music, tables of notes turned into MIDI, and what could not be."""
    music = [member for member in members if re.search(dataset.midi, member.name)]
    if not dataset.beats:
        return music, []
    tables = {
        _solo(member.name): member for member in members if re.search(dataset.beats, member.name)
    }
    converted, problems = [], []
    for number, member in enumerate(music, 1):
        if progress:
            progress("converting", number, len(music))
        beats = tables.get(_solo(member.name))
        path = str(PurePosixPath(member.path).with_suffix(".mid"))
        try:
            score = score_of_solo(
                (folder / member.path).read_bytes(),
                (folder / beats.path).read_bytes() if beats else None,
                member.path,  # fit for a screen, which the archive's own name may not be
            )
            write(score, folder / path)
            converted.append(Member(member.name, path))
        except MidiError as error:
            problems.append(str(error))
    for member in [*music, *tables.values()]:
        (folder / member.path).unlink()
    return converted, problems


def _solo(name: str) -> str:
    """What a solo's two tables have in common: the file's name up to "_FINAL"."""
    return PurePosixPath(name).name.removesuffix(".csv").split("_FINAL")[0]


def rows_of(
    dataset: Dataset, folder: Path, pieces: list[Member], members: list[Member], prefix: str
) -> tuple[list[Row], int]:
    """The manifest's rows, by path, and how many pieces the archive's own table does not name.

    Args:
        dataset: from the catalogue.
        folder: where the members lie.
        pieces: the music.
        members: all that was unpacked.
        prefix: the folder as seen from the manifest.

    Raises:
        ArchiveError: the archive's table is not what the catalogue says.
    """
    named = _table(dataset, folder, members)
    rows = []
    for piece in pieces:
        found = re.search(dataset.midi, piece.name)
        facts = {k: _clean(v) for k, v in (found.groupdict("") if found else {}).items()}
        facts |= named.get(piece.name, {})
        if dataset.beats:
            facts = {key: _words(value) for key, value in facts.items()}
        label = dataset.label
        if dataset.genres:
            label = dataset.genres.get(facts.get("genre", ""), dataset.genres[OTHER])
        rows.append({
            "path": f"{prefix}/{piece.path}",
            "label": label,
            "source": dataset.name,
            "artist": facts.get("artist", ""),
            "title": facts.get("title") or _clean(PurePosixPath(piece.name).stem),
            "licence": dataset.licence.id,
            "work_group": _work(dataset.work_group, facts),
        })  # fmt: skip
    unlisted = sum(piece.name not in named for piece in pieces) if dataset.table else 0
    return sorted(rows, key=lambda row: row["path"]), unlisted


def _work(template: str, facts: dict[str, str]) -> str:
    """The work group, empty where a part of it is not known: strangers must not share one."""
    known = all(facts.get(part) for part in re.findall(r"\{(\w+)\}", template))
    return template.format_map(facts) if known else ""


def _table(dataset: Dataset, folder: Path, members: list[Member]) -> dict[str, dict[str, str]]:
    """Artist and title by the music's name in the archive, from the archive's own table."""
    table = dataset.table
    named: dict[str, dict[str, str]] = {}
    if table is None:
        return named
    for member in members:
        if not re.search(table.member, member.name):
            continue
        above = PurePosixPath(member.name).parent
        try:
            with (folder / member.path).open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream, restval="")
                lacking = {table.artist, table.title, *table.paths} - {*(reader.fieldnames or ())}
                if lacking:
                    raise ArchiveError(f"{member.name}: no column {', '.join(sorted(lacking))}")
                for row in reader:
                    facts = {"artist": _clean(row[table.artist]), "title": _clean(row[table.title])}
                    named |= {str(above / row[column]): facts for column in table.paths}
        except (UnicodeDecodeError, csv.Error) as error:
            raise ArchiveError(f"{member.name}: no UTF-8 table ({error})") from None
    return named


def _clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text.replace("_", " ")).split())


def _words(text: str) -> str:
    """Spaces in a name that has none: "Art Pepper" from "ArtPepper"."""
    return " ".join(re.sub(r"(?<=[a-z.'])(?=[A-Z][a-z])", " ", text).split())
