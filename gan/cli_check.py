"""`gan data check`: what is in MIDI files. No torch in here."""

from pathlib import Path

import click

from data_tools.errors import UserError
from gan import tables


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format", "form", type=tables.FORMATS, default="table",
    show_default=True,
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with 1 unless every file is piano alone.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes; 0: all cores.",
)
def check(paths: tuple[Path, ...], form: str, strict: bool, workers: int) -> None:
    """One row a file: readable?, instruments, drums, notes, seconds, timing, reason."""
    from data_tools.inspect import inspect_many

    found = list(tables.midi_files(paths))
    # A process costs more to start than a hundred files to read.
    rows = list(inspect_many(found, workers or (1 if len(found) < 200 else 0)))
    tables.show((row.row() for row in rows), form)
    refused = sum(bool(row.reason) for row in rows)
    if strict and refused:
        raise UserError(f"{refused} of {len(rows)} files are not single-instrument piano")
