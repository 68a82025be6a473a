"""`gan render`: MIDI to listen to and to look at. Torch is loaded for --explain alone."""

import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from data_tools.errors import UserError
from gan import tables
from gan.bars import ProgressBar

if TYPE_CHECKING:
    from data_tools.render import Renderer
    from data_tools.roll import Opinion
    from discriminator.classifier import Classifier

_HOUR = 3600.0  # seconds that a file may take: the longest as .mp3 on a slow machine


@dataclass(frozen=True)
class _Order:
    """What is made of every file."""

    form: str | None
    soundfont: Path | None
    rate: int
    pictures: tuple[str, ...]
    explain: bool
    model: Path | None
    device: str


@dataclass(frozen=True)
class _Made:
    """A file's row: its sound's seconds, and what was written under `out` with which suffixes."""

    path: str
    seconds: float | None
    out: str
    kinds: tuple[str, ...]
    error: str = ""

    def as_row(self) -> dict[str, object]:
        seconds = None if self.seconds is None else round(self.seconds, 1)
        return vars(self) | {"seconds": seconds, "out": self.out if self.kinds else ""}


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, readable=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the results.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["wav", "ogg", "mp3", "none"]), default="wav",
              show_default=True, help="Of the sound; none: only draw.")  # fmt: skip
@click.option("--soundfont", type=click.Path(path_type=Path),
              help="An SF2 or SF3 file.  [the best on this machine]")  # fmt: skip
@click.option("--rate", type=click.IntRange(8000, 96_000), default=44_100, show_default=True,
              help="Samples a second.")  # fmt: skip
@click.option("--roll", type=click.Choice(["svg", "png", "both"]), help="Also draw a piano roll.")
@click.option("--explain", is_flag=True,
              help="In it: p(jazz) over time and the notes that carried it.")  # fmt: skip
@click.option("--model", type=Path, help="Whose p(jazz): a classifier's folder.  [the shipped one]")
@click.option("--device", default="auto", show_default=True, help="For --explain: auto, cpu, cuda.")
@click.option("--workers", type=click.IntRange(0), default=0,
              help="Processes.  [one a core; 1 with --explain]")  # fmt: skip
@click.option("--fetch-soundfont", is_flag=True,
              help="First download FluidR3Mono (MIT; 48 MB, verified) for all later renderings.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def render(
    paths: tuple[Path, ...], out: Path | None, form: str, soundfont: Path | None, rate: int,
    roll: str | None, explain: bool, model: Path | None, device: str, workers: int,
    fetch_soundfont: bool, quiet: bool,
) -> None:  # fmt: skip
    """Sound and pictures of MIDI files, or of all below a folder.

    All instruments of a file sound, with velocities and sustain pedal. Every file has its row; a
    bad one says why in it, one with notes that the soundfont lacks how many, and the rest goes on.
    Of files that differ in their folder, suffix or case alone, the second is NAME-2 and so on. A
    rerun replaces what lies in --out under the same name. Exit code 0: every file has its row; 1:
    none could be rendered, or the work failed.
    """
    if fetch_soundfont:
        fetched = _fetch(quiet)
        soundfont = soundfont or fetched
    if not paths and fetch_soundfont:
        return
    if not paths or out is None:
        raise click.UsageError("give MIDI files or folders, and a folder as --out")
    if explain and not roll:
        raise click.UsageError("--explain is drawn into a piano roll; say --roll svg, png or both")
    if form == "none" and not roll:
        raise click.UsageError("--format none leaves nothing to do; say --roll svg, png or both")
    if (model or device != "auto") and not explain:
        raise click.UsageError("--model and --device are for --explain")
    from data_tools.parallel import cores, ordered_map

    pictures = ("svg", "png") if roll == "both" else (roll,) if roll else ()
    if form != "none":  # before the work, not in every row of it
        soundfont = _checked(soundfont, form, rate)
        if not quiet:
            click.echo(f"soundfont: {soundfont}", err=True)
    order = _Order(
        form if form != "none" else None, soundfont, rate, pictures, explain, model, device
    )
    jobs = list(_jobs(paths, out))
    count = min(len(jobs), workers or (1 if explain else cores()))
    made = ordered_map(
        _make, jobs, _crashed, max(1, count), _begin, (order,), _late, seconds=_HOUR
    )  # fmt: skip
    _report(made, len(jobs), quiet)


def _fetch(quiet: bool) -> Path:
    from data_tools.soundfont import places
    from gan.cli_fetch import Bar

    with Bar(quiet) as bar:
        path = places.fetch(progress=bar)
    if not quiet:
        click.echo(f"fetched: {path}", err=True)
    return path


def _checked(soundfont: Path | None, form: str, rate: int) -> Path:
    """The soundfont, when it can be read and the sound can be written."""
    from data_tools.render import Renderer, check_format

    check_format(Path(f"--format {form}"), form, rate)
    return Renderer(soundfont, rate).soundfont


def _jobs(paths: Iterable[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Each file and where its results go, without a suffix; folders keep their inner order."""
    taken: set[str] = set()
    for path in paths:
        for file in tables.midi_files([path]):
            target = out / (file.relative_to(path) if path.is_dir() else Path(file.name))
            stem, number = target.with_suffix(""), 1
            # a.mid and a.midi, or one name in two folders; to some disks a.mid and A.mid, too
            while str(stem).casefold() in taken:
                number += 1
                stem = target.with_name(f"{target.stem}-{number}")
            taken.add(str(stem).casefold())
            yield file, stem


def _report(made: Iterator[_Made], total: int, quiet: bool) -> None:
    rows, bad = [], 0
    with ProgressBar("rendering", total, quiet=quiet, slow=1) as bar:
        for number, one in enumerate(made, 1):
            rows.append(one.as_row())
            bad += not one.kinds
            if one.error and quiet:
                click.echo(f"{one.path}: {one.error}", err=True)
            bar.update(number)
    if not quiet:
        tables.show(rows, "table")
    if bad == total:
        reason = rows[0]["error"] if total == 1 else "the rows say why"
        raise UserError(f"none of {total:,} files could be rendered; {reason}")


# What a process makes its files with; set once by `_begin`.
_order: _Order
_renderer: "Renderer | None" = None
_classifier: "Classifier | None" = None


def _begin(order: _Order) -> None:
    global _order, _renderer, _classifier
    if multiprocessing.parent_process():
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no terminal that says so
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)
    _order, _renderer, _classifier = order, None, None
    if order.form:
        from data_tools.render import Renderer

        _renderer = Renderer(order.soundfont, order.rate)
    if order.explain:
        from gan.cli_score import load

        _classifier = load(order.model, order.device, "auto")


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Work that is stopped ends its processes so: a file that is half written goes with them."""
    sys.exit(1)


def _make(job: tuple[Path, Path]) -> _Made:
    """Renders and draws one file."""
    source, stem = job
    kinds: list[str] = []
    seconds = None
    errors: dict[str, None] = {}  # a bad file is bad for sound and picture alike
    try:
        if _renderer:
            target = stem.with_name(f"{stem.name}.{_order.form}")
            seconds = _renderer.write(source, target)
            kinds.append(target.suffix[1:])
            silent, notes = _renderer.silent
            if silent:
                errors[
                    f"{silent:,} of {notes:,} notes have no sound in {_renderer.soundfont.name}; "
                    "another --soundfont may have them"
                ] = None
    except UserError as error:
        errors[getattr(error, "reason", str(error))] = None
    if _order.pictures:
        try:
            opinion = _opinion(source) if _classifier else None
        except UserError as error:
            opinion = None
            errors[getattr(error, "reason", str(error))] = None
        try:
            kinds += _pictures(source, stem, opinion)
        except UserError as error:
            errors[getattr(error, "reason", str(error))] = None
    return _Made(str(source), seconds, str(stem), tuple(kinds), "; ".join(errors))


def _pictures(source: Path, stem: Path, opinion: "Opinion | None") -> tuple[str, ...]:
    from data_tools.files import write_bytes, write_text
    from data_tools.roll import roll_of
    from data_tools.roll_drawing import draw

    roll = roll_of(source)
    canvas = draw(roll, opinion)
    for kind in _order.pictures:
        target = stem.with_name(f"{stem.name}.{kind}")
        if kind == "svg":
            write_text(target, canvas.svg(roll.name))
        else:
            write_bytes(target, canvas.png())
    return _order.pictures


def _opinion(source: Path) -> "Opinion":
    """What the classifier says of a file, as arrays."""
    import numpy as np

    from data_tools.roll import Opinion
    from discriminator.attribution import explain

    assert _classifier is not None
    found = explain(_classifier, source)
    verdict = {"not_jazz": "not jazz"}.get(found.verdict, found.verdict)
    share = [np.nan if note.contribution is None else note.contribution for note in found.notes]
    return Opinion(
        title=f"p(jazz) = {found.p_jazz:.2f}, {verdict}",
        curve=np.array([((m.start_s + m.end_s) / 2, m.p_jazz) for m in found.curve]),
        onset=np.array([note.onset_s for note in found.notes]),
        pitch=np.array([note.pitch for note in found.notes]),
        share=np.array(share, dtype=float),
    )


def _crashed(job: tuple[Path, Path]) -> _Made:
    return _Made(str(job[0]), None, "", (), "its process ended unexpectedly (out of memory?)")


def _late(job: tuple[Path, Path]) -> _Made:
    return _Made(str(job[0]), None, "", (), f"took over {_HOUR / 60:.0f} minutes")
