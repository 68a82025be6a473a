"""`gan explain`: why a piece got its p(jazz), as tables, JSON or a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from data_tools.errors import UserError
from gan import tables

if TYPE_CHECKING:
    from discriminator.attribution import Explanation

_PASSAGE = 8.0  # seconds of the passages that are named
LOW_FIT = 0.3  # of the variance of the variants' logits
_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def _span(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, float] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    try:
        span = _seconds(first), _seconds(last)
    except (ValueError, OverflowError):
        raise click.BadParameter("give it as 1:20-2:05 or 80-125") from None
    if not span[0] < span[1]:
        raise click.BadParameter("it must end after it begins")
    return span


def _seconds(text: str) -> float:
    minutes, _, seconds = text.rpartition(":")
    return 60 * int(minutes or 0) + float(seconds)


@click.command(short_help="Why a piece is called jazz or not.")
@click.argument(
    "path", type=click.Path(exists=True, dir_okay=False, readable=False, path_type=Path)
)
@click.option("--model", type=Path, help="A classifier's folder or pretrain-disc run.")
@click.option("--out", type=Path, help="Draw it: a file ending in .png, .svg or .pdf.")
@click.option(
    "--span",
    callback=_span,
    help="Part of the piece to draw, as 1:20-2:05; 1:20-inf goes to its end.  [all]",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table",
              show_default=True)  # fmt: skip
@click.option("--method", type=click.Choice(["subsets", "gradient"]), default="subsets",
              show_default=True, help="Notes taken out at random; or slopes, quick and coarse.",
)  # fmt: skip
@click.option("--variants", type=click.IntRange(1), help="Forward passes for subsets.  [2000]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
def explain(
    path: Path, model: Path | None, out: Path | None, span: tuple[float, float] | None,
    form: str, method: str, variants: int | None, device: str,
) -> None:  # fmt: skip
    """Why a piece is called jazz or not: p(jazz) over time, and what each note adds to it."""
    if span and not out:
        raise click.UsageError("--span is the part to draw; give a picture's name as --out")
    if variants and method == "gradient":
        raise click.UsageError("--variants are of --method subsets; gradient has none")
    from discriminator import attribution
    from discriminator.classifier import Classifier
    from discriminator.picture import SUFFIXES, picture
    from gan.engine import engine
    from gan.run import classifier_folder

    if out and out.suffix.lower() not in SUFFIXES:  # before the work, not after it
        raise UserError(f"{out}: a picture ends in {', '.join(SUFFIXES)}")
    folder = classifier_folder(model) if model else None
    classifier = Classifier.load(folder, engine(device).device)
    chosen = attribution.VARIANTS if variants is None else variants
    explanation = attribution.explain(
        classifier, path, "gradient" if method == "gradient" else "subsets", chosen
    )
    if out:
        picture(explanation, out, span)
    if form == "json":
        tables.show([explanation.as_dict()], "json")
        return
    _print(explanation)
    if out:
        click.echo(f"\npicture: {out}")


def _print(explanation: "Explanation") -> None:
    fit = "" if explanation.fit is None else f", fit {explanation.fit:.2f}"
    if explanation.fit is not None and explanation.fit < LOW_FIT:
        fit += " (low: which notes carried it is a rough guess; more --variants help)"
    click.echo(
        f"{explanation.path}: {explanation.verdict}, p(jazz) {explanation.p_jazz:.3f}\n"
        f"{len(explanation.notes)} notes, {explanation.read:.0%} of them read by the networks"
        f"{fit}\n"
    )
    tables.show(
        (
            {
                "from": _clock(moment.start_s),
                "to": _clock(moment.end_s),
                "p_jazz": round(moment.p_jazz, 3),
            }
            for moment in explanation.curve
        ),
        "table",
    )
    click.echo("")
    for sign, words in ((1, "most for jazz"), (-1, "most against")):
        start, end, total = explanation.strongest(_PASSAGE, sign)
        click.echo(f"{words + ':':16}{_clock(start)} to {_clock(end)}, logit {total:+.2f}")
    for sign, words in ((1, "notes for jazz"), (-1, "notes against")):
        known = [note for note in explanation.notes if sign * (note.contribution or 0) > 0]
        known.sort(key=lambda note: -abs(note.contribution or 0))
        names = (
            f"{_NAMES[n.pitch % 12]}{n.pitch // 12 - 1} at {_clock(n.onset_s)} "
            f"({n.contribution:+.3f})"
            for n in known[:5]
        )
        click.echo(f"{words + ':':16}{', '.join(names) or 'none'}")


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"
