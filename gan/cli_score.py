"""`gan score`: how jazzy MIDI files are, one row a file, for a handful or for millions."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_tools.errors import UserError
from data_tools.files import DAMAGED, FULL
from gan import tables
from gan.bars import ProgressBar
from gan.stopping import heeding

if TYPE_CHECKING:
    from discriminator.classifier import Classifier
    from discriminator.scores import Score

SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")
BEYOND = "what lies behind the damage of an archive has no row; the rows say which; pack it again"
_PAGE = 1000  # rows of a table that are held to find its widths


def scoring_options(command: Any) -> Any:
    """What `gan score` and `gan curate` share."""
    for option in reversed(
        [
            click.option("--model", type=Path, help="A classifier's folder or pretrain-disc run.  "
                         "[the shipped one]"),
            click.option(
                "--workers", type=click.IntRange(0),
                help="Processes that read, each file bounded in time and memory. 0: this process "
                "reads itself, which a file that crashes its reader takes along.  "
                "[a third of the cores, with a GPU all but one; at least one]",
            ),
            click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
            click.option(
                "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto",
                show_default=True, help="auto takes bf16 where the device has it: quicker, p_jazz "
                "moves by less than 0.005; fp32 gives the same on every machine.",
            ),
            click.option("--quiet", is_flag=True, help="Nothing on standard error but errors."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(short_help="How jazzy MIDI files are.")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, readable=False, path_type=Path)
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json", "jsonl", "parquet"]),
              help="json and jsonl are one object a line; parquet needs --out.  "
              "[table, or what --out ends in]")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the rows to this file: .csv, .jsonl or .parquet.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the --out of a run that was stopped.")
@scoring_options
def score(
    paths: tuple[Path, ...], form: str | None, out: Path | None, resume: bool,
    model: Path | None, workers: int | None, device: str, precision: str, quiet: bool,
) -> None:  # fmt: skip
    """How jazzy MIDI files are: path, p_jazz, verdict, windows, error.

    PATHs are MIDI files, folders with all below them, .zip and .tar archives, or a manifest.csv.
    Every file has its row; what cannot be scored is "unsure" and its error says why. Exit code 0:
    every file has its row; 1: none could be scored, an archive is damaged, or the work failed.
    """
    if out is None and resume:
        raise click.UsageError("--resume goes on with a file; give its name as --out")
    if out is None and form == "parquet":
        raise click.UsageError("parquet is no text for the screen; give a file as --out")
    if out is not None and form == "table":
        raise click.UsageError("a table is for the screen; give csv, jsonl or parquet with --out")
    if out is not None and form is None and out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{out}: a table ends in {', '.join(SUFFIXES)}; or say --format")
    from data_tools.files import sole_writer
    from discriminator.collection import count, pieces
    from discriminator.scores import ScoreFile, classifier_digest, form_of, score_of

    kept = "jsonl" if form == "json" else form
    if out and kept and out.suffix.lower() in SUFFIXES and kept != form_of(out):
        # Whoever reads it back goes by its name.
        raise click.UsageError(
            f"--format {form} and a name that ends in {out.suffix}; leave one out"
        )
    classifier = load(model, device, precision)
    if out is None:
        verdicts = classifier.score_many(pieces(paths), workers=readers(workers, classifier))
        rows = map(score_of, verdicts)
        form = form or "table"
        # No bar where rows appear on the same screen as they come; a table's are held back.
        bar = None if sys.stdout.isatty() and form != "table" else lambda: count(paths)
        tally = Tally(Counter(), quiet, bar)
        _show(rows, form, tally)
        return tally.finish()
    kept = kept or form_of(out)
    made_of = {
        "format": 1,
        "model": classifier_digest(classifier),
        "precision": "fp32" if classifier.half is None else "bf16",
        "paths": [str(path.absolute()) for path in paths],
    }
    with resumable(), sole_writer(out), ScoreFile(out, kept, made_of, resume) as file:
        tell(file.lost(), quiet)
        new = pieces(paths, wanted=file.lacks)
        tally = Tally(Counter(file.before.counts()), quiet, lambda: count(paths))
        tally.heed(file.before.reasons())
        verdicts = classifier.score_many(new, workers=readers(workers, classifier))
        try:
            for row in tally.watch(map(score_of, verdicts)):
                file.write(row)
            file.finish()
        finally:  # also of work that is stopped: for the next run those files are old news
            tell(file.changed(), quiet)
    tally.finish()


def tell(remark: str, quiet: bool) -> None:
    """Says on standard error what is worth a note, if there is anything."""
    if remark and not quiet:
        click.echo(f"note: {remark}", err=True)


def counted(files: int) -> str:
    """Such as "1 file" or "7,678 files"."""
    return f"{files:,} file{'s' * (files != 1)}"


@contextmanager
def resumable() -> Iterator[None]:
    """Says where work goes on that is stopped by a key, a scheduler or a closed terminal, or for
    which the disk has no room."""
    try:
        with heeding():
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on from there with --resume") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"{error.filename}: {error.strerror}; free some space, then the same command goes on "
            "from there with --resume"
        ) from None


def load(model: Path | None, device: str, precision: str) -> "Classifier":
    """The classifier of a folder or of a `pretrain-disc` run, or the shipped one."""
    from discriminator.classifier import Classifier
    from gan.engine import engine

    if model and (model / "classifier").is_dir():
        model = model / "classifier"
    compute = engine(device, precision)
    return Classifier.load(model, compute.device, compute.autocast_type)


def readers(workers: int | None, classifier: "Classifier") -> int:
    """How many processes read: one at least, since a file may crash its reader.

    Torch is left the other cores: where both want all of them, threads that wait for each other
    take half as long again.
    """
    import torch

    from data_tools.parallel import cores

    alone = classifier.device.type == "cpu"
    if workers is None:
        workers = max(1, cores() // 3 if alone else cores() - 1)
    if alone and workers:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores() - workers)))
    return workers


class Tally:
    """Counts verdicts, shows how far it is, and says so at the end.

    Args:
        counts: of rows that were there before, by verdict and "error".
        quiet: show and say nothing.
        total: finds how many there are in all, None where that takes long; None shows no progress.
    """

    def __init__(
        self,
        counts: Counter[str],
        quiet: bool = False,
        total: Callable[[], int | None] | None = None,
    ) -> None:
        self.counts, self._quiet = counts, quiet
        self._total = cache(total) if total else None
        self._new = 0
        self._damaged = False
        self._start = self._shown = time.monotonic()

    def watch(self, rows: "Iterator[Score]") -> "Iterator[Score]":
        """Passes rows on and counts them; may be called again for those that follow."""
        hidden = self._quiet or self._total is None
        total = self._total() if self._total and not hidden else None
        with ProgressBar("scoring", total, self.counts.total(), hidden, slow=1) as bar:
            for row in rows:
                self.counts["error" if row.p_jazz is None else row.verdict] += 1
                self._new += 1
                self.heed([row.error])
                if time.monotonic() - self._shown > 0.2:
                    self._shown = time.monotonic()
                    bar.update(self.counts.total(), what=f"{self.counts['jazz']:,} jazz")
                yield row

    def heed(self, reasons: Iterable[str]) -> None:
        """Looks for a damaged archive among reasons why there is no probability."""
        self._damaged |= any(reason.startswith(DAMAGED) for reason in reasons)

    def line(self) -> str:
        """Files so far, verdict by verdict, and the rate."""
        total = self.counts.total()
        rate = f"{self._new / max(time.monotonic() - self._start, 1e-9):.0f} files/s"
        before = f", {total - self._new:,} of them scored before" if total > self._new else ""
        jazz, other, unsure, errors = (
            self.counts[name] for name in ("jazz", "not_jazz", "unsure", "error")
        )
        return (
            f"{counted(total)}: {jazz:,} jazz, {other:,} not jazz, "
            f"{unsure:,} unsure, {errors:,} error{'s' * (errors != 1)}; "
            f"{rate + before if self._new else 'all of them scored before'}"
        )

    def finish(self) -> None:
        """Prints the line.

        Raises:
            UserError: there were files, and none could be scored; or an archive is damaged.
        """
        if not self._quiet:
            click.echo(self.line(), err=True)
        if self.counts.total() == self.counts["error"]:
            raise UserError(
                f"none of {counted(self.counts.total())} could be scored; the rows say why"
            )
        if self._damaged:
            raise UserError(BEYOND)


def _show(rows: "Iterator[Score]", form: str, tally: Tally) -> None:
    if form != "table":
        every = (row._asdict() for row in tally.watch(rows))
        tables.show(every, "json" if form == "jsonl" else form)
        return
    full = True
    while full:
        page: list[dict[str, object]] = []
        try:  # every page has its bar, which is gone when the page is printed
            page.extend(row._asdict() for row in tally.watch(islice(rows, _PAGE)))
        finally:  # also of work that is stopped or fails
            tables.show(page, "table")
        full = len(page) == _PAGE
