"""Rows on the screen: a table for people, CSV and JSON for programs."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from data_tools.errors import UserError
from data_tools.files import MIDI_SUFFIXES

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


def show(rows: Iterable[dict[str, object]], form: str) -> None:
    """Prints rows of equal columns; CSV and JSON as they come, one object a line for JSON."""
    if form == "json":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    stream = iter(rows)
    first = next(stream, None)
    if first is None:
        return
    every = chain([first], stream)
    if form == "csv":
        writer = csv.DictWriter(sys.stdout, list(first), lineterminator="\n")
        writer.writeheader()
        for row in every:
            writer.writerow({key: _plain(value) for key, value in row.items()})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, value in first.items():
        right = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in every:
        table.add_row(*(_plain(value) for value in row.values()))
    console = Console(highlight=False, markup=False)
    # Paths are for copying: outside a terminal nothing is cut to its width.
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=240)
    console.print(table)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
