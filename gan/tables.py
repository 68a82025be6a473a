"""Rows on the screen: a table for people, CSV and JSON for programs."""

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from data_tools.errors import UserError
from data_tools.files import MIDI_SUFFIXES
from data_tools.rows import csv_writer, json_line

_MOST_COLUMNS = 12
_WIDE = 10_000  # characters; a table takes what it needs of them

FORMATS = click.Choice(["table", "csv", "json"])


def midi_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as given and every MIDI file under folders, in a fixed order.

    Raises:
        UserError: a folder without any.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in MIDI_SUFFIXES)
        if not found:
            raise UserError(f"{path}: no .mid file in this folder")
        yield from found


def show(
    rows: Iterable[dict[str, object]], form: str, columns: Sequence[str] | None = None
) -> None:
    """Prints rows of equal columns; CSV and JSON as they come, one object a line for JSON.

    Args:
        rows: what to print; lists in them become words in a table and in CSV.
        form: one of `FORMATS`.
        columns: which to print, in this order; all by default.
    """
    _reconfigure(form)
    stream = iter(rows)
    first = next(stream, None)
    if first is None:
        if form == "csv" and columns:
            csv_writer(sys.stdout)(columns)
        return
    names = list(columns or first)
    every = ({name: row[name] for name in names} for row in chain([first], stream))
    if form == "json":
        for row in every:
            sys.stdout.write(json_line(row))
            sys.stdout.flush()
        return
    if form == "csv":
        write = csv_writer(sys.stdout)
        write(names)
        for row in every:
            write([_plain(value) for value in row.values()])
            sys.stdout.flush()
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        value = first[name]
        right = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in every:
        table.add_row(*(_plain(value) for value in row.values()))
    console = Console(highlight=False, markup=False)
    screen = console.is_terminal
    # Paths are for copying: outside a terminal nothing is cut to its width, nor in it where there
    # are more columns than it could hold.
    if not screen or len(names) > _MOST_COLUMNS:
        console = Console(highlight=False, markup=False, width=_WIDE, soft_wrap=True)
    if screen:
        console.print(table)
        return
    with console.capture() as printed:
        console.print(table)
    lines = printed.get().removesuffix("\n").split("\n")
    sys.stdout.writelines(line.rstrip() + "\n" for line in lines)


def _reconfigure(form: str) -> None:
    """Any file's name can be printed, and programs get the bytes that a file would hold."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    if form != "table":
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    elif sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        words = [str(one) for one in value]
        return ("; " if any(" " in word for word in words) else " ").join(words)
    return "" if value is None else str(value)
