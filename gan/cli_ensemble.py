"""`gan ensemble`: several classifiers as one. Torch is imported inside the command."""

import math
from pathlib import Path

import click
from pydantic import ValidationError

from data_tools.errors import UserError
from data_tools.files import parse_json


@click.command(short_help="Join classifiers of one representation into one.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=Path, help="The classifier's folder.")
@click.option(
    "--calibration",
    type=Path,
    help="The transfer table's JSON: scale, bias and unsure range from left-out sources.",
)
@click.option(
    "--gate",
    type=click.Path(exists=True, path_type=Path),
    help="A run of 'experiments.recipes.gate': what it takes for noise is not called jazz.",
)
@click.option("--music-odds", type=click.FloatRange(min=0, min_open=True),
              help="With --gate: pieces of music to one of noise, in use.  [50]")  # fmt: skip
@click.option(
    "--trees",
    type=click.Path(exists=True, path_type=Path),
    help="From 'experiments.recipes.trees': has an opinion of whole pieces, as one more of RUNS.",
)
@click.option("--window", type=click.IntRange(2), help="Tokens read at once.  [the longest of all]")
@click.option("--most", type=click.IntRange(0),
              help="Windows read of a piece at most; 0: all.  [as the first of RUNS]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a classifier that is at --out.")
@click.option("--half", is_flag=True, help="Store weights as float16.")
def ensemble(
    runs: tuple[Path, ...], out: Path, calibration: Path | None, gate: Path | None,
    music_odds: float | None, trees: Path | None, window: int | None, most: int | None,
    force: bool, half: bool,
) -> None:  # fmt: skip
    """Join classifiers of one representation into one: the mean of their calibrated logits.

    RUNS are pretrain-disc runs or classifiers' folders; or one ensemble, to be given a gate, or
    trees before it has one.
    """
    from discriminator.classifier import MUSIC, Classifier
    from discriminator.ensemble import MUSIC_ODDS, Ensemble, gated, joined
    from discriminator.feature_judge import CARD, FeatureJudge
    from gan.run import classifier_folder

    if music_odds is not None and not math.isfinite(music_odds):
        raise click.BadParameter(f"{music_odds} is no number of pieces", param_hint="--music-odds")
    if music_odds is not None and gate is None:
        raise UserError("--music-odds says how much a gate weighs; give --gate RUN too")
    if not force and (out / "classifier.json").exists():
        raise UserError(f"{out}: there is a classifier; --force replaces it")
    classifiers = [Classifier.load(classifier_folder(run)) for run in runs]
    whole, changes = classifiers[0], dict[str, float | int]()
    given = gate is not None or trees is not None
    if not given or len(classifiers) > 1 or whole.settings.model.kind != "ensemble":
        whole = joined(classifiers)
    if trees and isinstance(whole.model, Ensemble) and whole.model.gate is not None:
        # What calibrated the ensemble is its members' since then, and would have to be the trees'.
        raise UserError(
            f"{runs[0]}: has a gate, and trees come before it; join its members anew, with "
            "--trees and --gate together"
        )
    if trees and not (trees / CARD).is_file():
        raise UserError(f"{trees}: no trees; `python -m experiments.recipes.trees` makes them")
    voice = FeatureJudge.load(trees) if trees else whole.trees
    if most is not None:
        changes["most"] = most
    if window:
        changes["window"] = window
    if calibration:
        try:
            facts = parse_json(calibration.read_text(encoding="utf-8"))["calibration"]
            changes |= {name: float(facts[name]) for name in ("scale", "bias", "low", "high")}
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise UserError(f"{calibration}: no calibration ({error!r})") from None
    try:
        settings = type(whole.settings).model_validate(whole.settings.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "low and high"
        raise UserError(f"{calibration}: {place}: {first['msg']}") from None
    try:
        whole = Classifier(whole.model, whole.representation, settings, trees=voice)
    except ValueError as error:
        raise UserError(f"{trees}: {error}; fit trees on the corpus of the runs") from None
    if gate:  # after the calibration, which becomes the members'
        whole = gated(
            whole, Classifier.load(classifier_folder(gate), labels=MUSIC), music_odds or MUSIC_ODDS
        )
    whole.save(out, half)
    click.echo(f"classifier: {out}")
    if settings.low == settings.high:
        click.echo(
            f"note: no verdict is 'unsure', p_jazz from {settings.low:g} on is jazz; a range comes "
            "with --calibration"
        )
