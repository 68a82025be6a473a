"""`gan curate`: the files of a collection that a classifier is sure enough about, and a report."""

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_tools.errors import UserError
from gan.cli_score import BEYOND, Tally, counted, load, readers, resumable, scoring_options, tell

if TYPE_CHECKING:
    from discriminator.curate import Choice, Summary
    from discriminator.reading import Piece
    from discriminator.scores import Score

_MOST_FOLDERS = 100  # rows of the report's table of folders
_BAR = 40  # characters of the longest bar


@click.command(short_help="Keep the jazz, or the rest, of a collection.")
@click.argument("source", type=click.Path(exists=True, readable=False, path_type=Path))
@click.option("--keep", type=click.Choice(["jazz", "not_jazz"]), required=True, help="Which class.")
@click.option("--min-prob", type=click.FloatRange(0, 1), default=0.8, show_default=True,
              help="The least probability of that class.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="A new folder for the results.")
@click.option("--mode", type=click.Choice(["copy", "link", "list"]), default="copy",
              show_default=True, help="copy; link: hard links, symbolic ones where the disk has "
              "none (archives are copied); list: only names, in kept.txt.")  # fmt: skip
@click.option("--drop-unsure", is_flag=True, help="Also drop what the classifier calls unsure; "
              "a high --min-prob has done so.")  # fmt: skip
@click.option("--min-notes", type=click.IntRange(0), default=0, help="Drop files of fewer notes.")
@click.option("--from-scores", "scores", type=click.Path(exists=True, path_type=Path),
              help="Use what 'gan score --out' wrote of these files, score none.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Write nothing; print the report.")
@click.option("--resume", is_flag=True, help="Go on with a curation that was stopped.")
@scoring_options
def curate(
    source: Path, out: Path | None, scores: Path | None, dry_run: bool, resume: bool,
    model: Path | None, workers: int | None, device: str, precision: str, quiet: bool,
    **choices: Any,
) -> None:  # fmt: skip
    """Keep the jazz, or the rest, of a folder, an archive or a manifest.

    The results: music/ with the kept files in the folders they came from, curation.csv with a row a
    file and why it was kept or dropped, scores.csv, report.md. The source is only read, and no file
    that is there is overwritten. Exit code 0: every file has its row; 1: none could be scored, an
    archive is damaged, or the work failed.
    """
    if out is None and not dry_run:
        raise click.UsageError("give a folder as --out, or --dry-run")
    if dry_run and resume:
        raise click.UsageError(
            "--dry-run keeps nothing to go on with; for scores that are there: --from-scores FILE"
        )
    if scores:
        said = click.get_current_context().get_parameter_source
        for name in ("model", "workers", "device", "precision"):
            if said(name) == click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--from-scores scores nothing; leave out --{name}")
    from data_tools.files import sole_writer, write_text
    from discriminator import curate as library
    from discriminator.collection import pieces
    from discriminator.scores import read_rows

    if out:
        library.check_apart(source, out)
    choice = library.Choice(**choices)
    facts: dict[str, Any] = {"scores": scores.absolute()} if scores else {}
    score = None
    if not scores:
        score = _scorer(source, model, device, precision, workers, quiet, facts)
    if dry_run:
        if scores:
            library.scored(source, scores)  # refuses scores of other files
        rows = score(pieces([source]), {}) if score else read_rows(scores or source)
        summary = library.preview(source, choice, rows)
        click.echo(report(summary, source, choice, facts), nl=False)
    else:
        assert out is not None
        with resumable(), sole_writer(out):
            summary = library.curate(
                source, out, choice, facts, score, scores, resume, lambda note: tell(note, quiet)
            )
            write_text(out / "report.md", report(summary, source, choice, facts))
    place = "" if dry_run else f": {out}"
    if not quiet:
        tell(summary.note, quiet)
        least = f"p({choice.keep}) at least {choice.min_prob:g}"
        told = f"kept {summary.kept:,} of {counted(summary.files)}, {least}{place}"
        click.echo(told, err=True)
    if not summary.histogram.any():
        raise UserError(f"none of {counted(summary.files)} has a score; the reasons are counted")
    if summary.damaged:
        raise UserError(BEYOND)


def _scorer(
    source: Path, model: Path | None, device: str, precision: str, workers: int | None, quiet: bool,
    facts: dict[str, Any],
) -> "Callable[[Iterable[Piece], Mapping[str, int]], Iterator[Score]]":  # fmt: skip
    """A function that scores pieces, told of those before; `facts` get the model's digest, and the
    precision."""
    from discriminator.collection import count
    from discriminator.scores import classifier_digest, score_of

    classifier = load(model, device, precision)
    processes = readers(workers, classifier)
    facts["model"] = classifier_digest(classifier)
    facts["precision"] = "fp32" if classifier.half is None else "bf16"

    def score(pieces: "Iterable[Piece]", before: "Mapping[str, int]") -> "Iterator[Score]":
        tally = Tally(Counter(before), quiet, lambda: count([source]))
        yield from tally.watch(map(score_of, classifier.score_many(pieces, workers=processes)))
        if not quiet:
            click.echo(tally.line(), err=True)

    return score


def report(summary: "Summary", source: Path, choice: "Choice", facts: dict[str, Any]) -> str:
    """The report in Markdown: settings, counts by reason and folder, a histogram of p(jazz)."""
    settings = {"source": source.absolute()} | choice.model_dump() | facts
    lines = [
        "# Curation",
        "",
        f"{summary.kept:,} of {counted(summary.files)} kept.",
        *(f"Note: {note}." for note in (summary.note, summary.told) if note),
        "",
        *_table(("setting", "value"), [(key, f"`{value}`") for key, value in settings.items()]),
        "",
        f"Command: `{shlex.join(['gan', *sys.argv[1:]])}`",
        "",
        "## Reasons",
        "",
    ]
    kinds = sorted(summary.kinds.items(), key=lambda one: (not one[0][0], -one[1], one[0][1]))
    rows = [("kept" if kept else "dropped", kind, f"{n:,}") for (kept, kind), n in kinds]
    lines += [*_table(("", "reason", "files"), rows), "", "## p(jazz)", "", "```"]
    totals = summary.histogram.sum(axis=1)
    for number, (total, kept) in enumerate(zip(totals, summary.histogram[:, 1], strict=True)):
        low, high = number / len(totals), (number + 1) / len(totals)
        bar = "#" * round(_BAR * total / max(1, totals.max()))
        lines.append(f"{low:.1f} to {high:.1f} {total:>9,}, kept {kept:>9,}  {bar}".rstrip())
    lines += ["```", "", "## Folders", ""]
    folders: Counter[str] = Counter()
    for (folder, _), count in summary.folders.items():
        folders[folder] += count
    rows = [
        (f"`{folder}`", f"{count:,}", f"{summary.folders[folder, True]:,}")
        for folder, count in sorted(folders.items(), key=lambda one: (-one[1], one[0]))
    ]
    lines += _table(("folder", "files", "kept"), rows[:_MOST_FOLDERS])
    if len(rows) > _MOST_FOLDERS:
        lines += ["", f"and {len(rows) - _MOST_FOLDERS:,} smaller folders"]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        shown = (" ".join(str(cell).splitlines()).replace("|", "\\|") for cell in cells)
        return "| " + " | ".join(shown) + " |"

    return [line(head), line("---" for _ in head), *(line(row) for row in rows)]
