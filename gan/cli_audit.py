"""`gan data audit`: what tells the label without the music. No torch in here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_tools.errors import UserError
from data_tools.settings import NEUTRAL, NeutraliseSettings
from gan import options, tables

if TYPE_CHECKING:
    from data_tools.audit import Report
    from data_tools.audit.ranking import Estimate

_SHOWN = 8  # sources in the table; CSV and JSON hold all


@click.command(short_help="What gives the label away apart from the music.")
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--exclude-sources", multiple=True, help="Sources to leave aside.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True,
    help="Of the pieces looked at, the folds, the windows and the models.",
)  # fmt: skip
@click.option(
    "--view", "views", type=click.Choice(["files", "tokens", "neutralised"]), multiple=True,
    help="Take this view only; may be given twice.  [all three]",
)  # fmt: skip
@click.option("--format", "form", type=tables.FORMATS, default="table", show_default=True)
@click.option("--out", type=Path, help="Also write the whole report there, as JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless the fingerprints are harmless.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@options.options(NeutraliseSettings)
def audit(
    corpus: Path,
    exclude_sources: tuple[str, ...],
    seed: int,
    views: tuple[str, ...],
    form: str,
    out: Path | None,
    strict: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """How well ticks, tempo, velocity, grid, pedal and length alone predict the label of CORPUS.

    Small models see nothing but these, in three views: of the files, of the corpus's tokens, and of
    tokens that were neutralised (all of them, unless --neutral-share says less). Each is asked
    about sources it knows, about a source left out, and about sources of both labels never seen.
    """
    from data_tools.audit import audit as audit_corpus
    from data_tools.corpus import Corpus
    from data_tools.files import write_json

    chosen = NeutraliseSettings.model_validate(
        NEUTRAL.model_dump() | options.given(NeutraliseSettings, flags)
    )
    if out is not None and out.is_dir():
        raise UserError(f"{out}: a folder; give a file as --out")

    def say(text: str) -> None:
        if not quiet:
            click.echo(f"audit: {text}", err=True)

    wanted = views or ("files", "tokens", "neutralised")
    built = Corpus(corpus)
    built.verify()
    report = audit_corpus(built, exclude_sources, chosen, seed, wanted, say)
    if out is not None:
        write_json(out, report.facts())
    if form == "table":
        _print(report)
    else:
        tables.show(_rows(report), form)
        click.echo(report.verdict, err=True)
    if strict and not report.harmless:
        raise UserError(report.verdict)


def _rows(report: "Report") -> list[dict[str, object]]:
    """One row a view, group and source; the source is empty in the rows of all together."""
    rows: list[dict[str, object]] = []
    for one in report.findings:
        means = [
            ("known", one.in_source), ("left out", one.left_out), ("unseen", one.unseen),
        ]  # fmt: skip
        for source, measured, area in [
            *(("", kind, area) for kind, area in means if area is not None),
            *((source, "left out", area) for source, area in one.by_source.items()),
        ]:
            rows.append(
                {
                    "view": one.view, "fingerprint": one.group, "measured": measured,
                    "source": source, "auc": round(area.auc, 4), "low": round(area.low, 4),
                    "high": round(area.high, 4), "count": area.count,
                }
            )  # fmt: skip
    return rows


def _print(report: "Report") -> None:
    click.echo(
        f"{report.pieces:,} labelled pieces, {report.looked_at:,} looked at; area under the curve "
        "for jazz, 95% interval\n"
    )
    rows: list[dict[str, object]] = [
        {
            "view": one.view, "fingerprint": one.group,
            "known sources": _interval(one.in_source),
            "a source left out": _interval(one.left_out),
            "unseen sources": _interval(one.unseen),
        }
        for one in report.findings
    ]  # fmt: skip
    tables.show(rows, "table")
    click.echo("\nsources told by their fingerprint alone (area in each view):")
    for told in report.sources[:_SHOWN]:
        areas = ", ".join(f"{view} {area:.2f}" for view, area in told.areas.items())
        click.echo(f"\n{told.source}: {told.label}, {told.pieces:,} pieces; {areas}")
        for mark in told.marks[:5]:
            click.echo(f"  {mark}")
        click.echo(f"  -> {told.advice}")
    if len(report.sources) > _SHOWN:
        click.echo(f"\nand {len(report.sources) - _SHOWN} more (--format json, --out report.json)")
    for note in report.notes:
        click.echo(f"\nnot looked at: {note}")
    click.echo(f"\n{report.verdict}")


def _interval(area: "Estimate | None") -> str:
    return "" if area is None else f"{area.auc:.2f} ({area.low:.2f}–{area.high:.2f})"
