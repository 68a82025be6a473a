"""`gan data check`: what is in MIDI files, and which of them fit. No torch in here."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_tools.errors import MidiError, UserError
from data_tools.files import ARCHIVES, MIDI_SUFFIXES
from data_tools.sources import INSIDE, Source
from gan import tables

if TYPE_CHECKING:
    from data_tools.inspect import Inspection, Item

# What fits a terminal; --wide shows the rest.
SHORT = (
    "path", "readable", "instruments", "drums", "notes", "seconds", "timing", "suspicious", "kept",
    "reason",
)  # fmt: skip

# People read it beside `kept` as the reason for that; programs know it by its own name.
HEADS = {"reason": "remarks"}

REQUIREMENTS: "dict[str, Callable[[Inspection], bool]]" = {
    "readable": lambda row: row.readable,
    "single-instrument": lambda row: row.readable and row.single_instrument,
    "piano": lambda row: row.readable and row.piano,
    "notes": lambda row: row.readable and row.notes > 0,
    "no-suspicious": lambda row: row.readable and not row.suspicious,
}

_LISTS = (*ARCHIVES, ".csv")  # of what names files and is none
_NAMED = (*MIDI_SUFFIXES, *ARCHIVES)


def _columns(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    from data_tools.inspect import COLUMNS

    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(","))
    if unknown := [name for name in names if name not in COLUMNS]:
        raise click.BadParameter(f"no column '{unknown[0]}'; choose from {', '.join(COLUMNS)}")
    return tuple(dict.fromkeys(names))


@click.command(short_help="What is in MIDI files, and which are piano alone.")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, readable=False, path_type=Path)
)
@click.option(
    "--format", "form", type=tables.FORMATS, default="table",
    show_default=True,
)  # fmt: skip
@click.option("--wide", is_flag=True, help="Every column in the table; csv and json have them all.")
@click.option("--columns", callback=_columns, metavar="A,B,C", help="These columns, in this order.")
@click.option(
    "--require",
    "required",
    multiple=True,
    type=click.Choice(list(REQUIREMENTS)),
    help="Print only files of which this is true (may be given several times: all of them), and "
    "exit with 1 if any is left out.",
)
@click.option("--failing", is_flag=True, help="With --require: print the files left out instead.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless every file is piano alone.")
@click.option(
    "--summary", is_flag=True, help="Counts at the end (on standard error for csv, json)."
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes; 0: all cores, two for few files; 1: none but this one, which a file that "
    "crashes its reader takes along.",
)
def check(
    paths: tuple[Path, ...],
    form: str,
    wide: bool,
    columns: tuple[str, ...] | None,
    required: tuple[str, ...],
    failing: bool,
    strict: bool,
    summary: bool,
    workers: int,
) -> None:
    """One row a file: is it readable, one instrument, piano; what it holds; what looks wrong.

    Files, folders, .zip and .tar archives, or a manifest.csv. Several tracks of one instrument, a
    hand each, are one instrument; channel 10 is drums. `kept` says whether `gan data build` keeps
    the file at its defaults.
    """
    from data_tools.inspect import COLUMNS, inspect_many

    if failing and not required:
        raise click.UsageError("--failing shows what --require leaves out; give --require as well")
    counts: Counter[tuple[str, str]] = Counter()
    damaged: list[UserError] = []

    def chosen() -> Iterator[dict[str, object]]:
        for row in inspect_many(_music(paths, damaged), workers or (0 if _many(paths) else 2)):
            fits = all(REQUIREMENTS[name](row) for name in required)
            counts.update(_facts(row))
            counts["left out", ""] += not fits
            if fits != failing:
                yield row.row()

    shown = columns or (COLUMNS if wide or form != "table" else SHORT)
    tables.show(chosen(), form, shown, None if columns or form != "table" else HEADS)
    if summary:
        _print_summary(counts, error=form != "table")
    if damaged:
        raise damaged[0]
    for path in paths:
        if path.is_dir() and (misnamed := misnamed_in(Source(path))):
            click.echo(misnamed, err=True)
    total = counts["files", ""]
    if left_out := counts["left out", ""]:
        raise UserError(f"{left_out} of {total} files left out: not {', '.join(required)}")
    if strict and (refused := total - counts["reason", "none"]):
        raise UserError(f"{refused} of {total} files are not single-instrument piano")


def misnamed_in(place: Source) -> str:
    """A note on MIDI files of a folder that nobody can know by their names; empty for none."""
    names = place.misnamed()
    if not names:
        return ""
    return (
        f"note: MIDI files by what is in them and not by name, and not read: {len(names):,} "
        f"({names[0]} ...); rename them to .mid"
    )


def _music(paths: tuple[Path, ...], damaged: list[UserError]) -> "Iterator[Item]":
    """Names and contents of all files; an archive is read as it goes."""
    for path in paths:
        if path.is_dir():
            for found in _in_folder(path):
                if isinstance(found, MidiError):
                    yield found.source, found
                    continue
                inside = found.name.lower().endswith(ARCHIVES)
                yield str(found), MidiError(found, INSIDE) if inside else found
            continue
        if not path.name.lower().endswith(_LISTS):
            yield str(path), path
            continue
        try:
            source = Source(path)
            entries = source.entries()
            if not entries:
                raise UserError(f"{path}: no .mid file in it")
            join = "/" if source.kind == "manifest" else ":"
            above = path.parent if source.kind == "manifest" else path
            for entry, data in source.contents(entries):
                name = f"{above}{join}{entry.path}"
                yield name, MidiError(name, entry.refused) if data is None else data
        except UserError as error:
            damaged.append(error)  # the rows of all others are shown first


def _in_folder(folder: Path) -> list[Path | MidiError]:
    """Every MIDI file and every archive under a folder, in a fixed order; then what is closed.

    Raises:
        UserError: there is none.
    """
    closed: list[OSError] = []
    found: list[Path] = []
    for here, _, names in os.walk(folder, onerror=closed.append):
        found += [Path(here, name) for name in names if name.lower().endswith(_NAMED)]
    # A named pipe has no end; a link to nowhere is a loss to be seen.
    found = sorted(p for p in found if p.is_file() or (p.is_symlink() and not p.exists()))
    if not found and not closed:
        raise UserError(f"{folder}: no .mid file in this folder")
    reasons = (
        MidiError(error.filename, f"this folder cannot be listed ({error.strerror})")
        for error in closed
    )
    return [*found, *reasons]


def _many(paths: tuple[Path, ...]) -> bool:
    """Whether every core pays: a process costs more to start than a hundred files to read."""
    found = 0
    for path in paths:
        if path.is_dir():
            found += len(_in_folder(path))
        elif path.name.lower().endswith(ARCHIVES):
            found += path.stat().st_size // 2**12  # a few kilobytes a file, packed
        elif path.name.lower().endswith(_LISTS):
            found += path.stat().st_size // 2**7  # a line a file
        else:
            found += 1
    return found >= 200


def _facts(row: "Inspection") -> Iterator[tuple[str, str]]:
    """What a summary counts of a row."""
    yield "files", ""
    # Without the particulars, of which there are as many as files.
    for reason in (row.reason or "none").split("; ") if row.readable else ["not readable"]:
        several = reason[0].isdigit()
        yield "reason", "several instruments" if several else reason.split(", but")[0]
    yield "timing", row.timing or "none"
    yield "kept", "yes" if row.kept == "yes" else "no"
    for mark in row.suspicious or ("nothing",):
        yield "suspicious", mark.split(" (")[0]


def _print_summary(counts: Counter[tuple[str, str]], error: bool) -> None:
    click.echo(f"\n{counts['files', '']:,} files", err=error)
    for heading in ("kept", "reason", "timing", "suspicious"):
        found = [(what, number) for (kind, what), number in counts.items() if kind == heading]
        for what, number in sorted(found, key=lambda pair: (-pair[1], pair[0])):
            click.echo(f"{number:>8,}  {HEADS.get(heading, heading)}: {what}", err=error)
