"""Rows on the screen: a table for people, CSV and JSON for programs."""

import io
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import click
from rich.cells import cell_len

from data_tools.errors import UserError
from data_tools.files import MIDI_SUFFIXES, closed
from data_tools.rows import csv_writer, json_line

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DECIMAL = re.compile(r"-?\d+\.\d+")

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
            raise UserError(f"{path}: {closed(path) or 'no .mid file in this folder'}")
        yield from found


def show(
    rows: Iterable[dict[str, object]],
    form: str,
    columns: Sequence[str] | None = None,
    heads: Mapping[str, str] | None = None,
) -> None:
    """Prints rows of equal columns; CSV and JSON as they come, one object a line for JSON.

    Args:
        rows: what to print; lists in them become words in a table and in CSV.
        form: one of `FORMATS`.
        columns: which to print, in this order; all by default.
        heads: what some are called in a table.
    """
    reconfigure(form)
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
    called = [(heads or {}).get(name, name) for name in names]
    cells = [list(row.values()) for row in every]
    right = [_is_of_numbers(column) for column in zip(*cells, strict=True)]
    _print(_aligned(cells), called, right)


def _is_of_numbers(column: Sequence[object]) -> bool:
    """Whether a column holds numbers, but for empty cells."""
    found = [value for value in column if value is not None]
    return bool(found) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in found
    )


def _aligned(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Cells as words; the fractions of a column have as many decimals each, so points align."""
    columns = []
    for values in zip(*rows, strict=True):
        cells = [_shown(value) for value in values]
        fractions = {k: cells[k] for k, value in enumerate(values) if isinstance(value, float)}
        if all(_DECIMAL.fullmatch(cell) for cell in fractions.values()):
            most = max((len(cell.partition(".")[2]) for cell in fractions.values()), default=0)
            for k, cell in fractions.items():
                cells[k] = cell + "0" * (most - len(cell.partition(".")[2]))
        columns.append(cells)
    return [list(row) for row in zip(*columns, strict=True)]


def _print(rows: Sequence[Sequence[str]], names: Sequence[str], right: Sequence[bool]) -> None:
    """A table; on a terminal too narrow for it the first column, of paths, has its own lines.

    Paths are for copying: nothing is cut or folded.

    Args:
        rows: of as many cells as there are names.
        names: of the columns.
        right: whether a column is set to the right.
    """
    screen = sys.stdout.isatty()
    head, *below = _lines(rows, names, right, screen)
    sys.stdout.write((click.style(head, bold=True) if screen else head) + "\n")
    sys.stdout.writelines(line + "\n" for line in below)


def plain(rows: Sequence[Sequence[str]], names: Sequence[str]) -> str:
    """A table as text: names to the left, all other columns, of figures, to the right."""
    right = [number > 0 for number in range(len(names))]
    shown = [[_shown(cell) for cell in row] for row in rows]
    return "\n".join(_lines(shown, names, right, screen=False))


def _lines(
    rows: Sequence[Sequence[str]], names: Sequence[str], right: Sequence[bool], screen: bool
) -> list[str]:
    sizes = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    apart = screen and sum(sizes) + 2 * (len(names) - 1) > shutil.get_terminal_size().columns
    kept = list(range(len(names)))
    if apart:  # and what is empty throughout takes no room
        kept = [k for k in kept[1:] if any(row[k] for row in rows)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for k in kept:
            room = " " * (sizes[k] - cell_len(cells[k]))
            padded.append(room + cells[k] if right[k] else cells[k] + room)
        text = "  ".join(padded).rstrip()
        return f"{cells[0]}\n  {text}".rstrip() if apart else text

    return [line(names), *map(line, rows)]


def reconfigure(form: str) -> None:
    """Any file's name can be printed, and programs get the bytes that a file would hold.

    Args:
        form: one of `FORMATS`; "table" stands for all that is for people.
    """
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    if form != "table":
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    elif sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _shown(value: object) -> str:
    """A cell of a table: what would move the cursor, or break the line, is spelled out."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", _plain(value))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        words = [str(one) for one in value]
        return ("; " if any(" " in word for word in words) else " ").join(words)
    return "" if value is None else str(value)
