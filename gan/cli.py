"""The command line: `gan data`, `pretrain-disc`, `train`, `generate`, `score`, `curate`.

Torch is imported inside commands, so that `--help` answers at once. Exit codes: 0 done, 1 the work
failed, 2 wrong usage; an error is one line on standard error, a traceback only with `--debug`.
"""

import errno
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from data_tools.errors import UserError
from data_tools.files import FULL
from discriminator.settings import FAMILIES, MODELS, OF_SIZE, SIZES, VIEWS, model_name, sized
from gan import options, settings, tables
from gan.cli_cluster import ray_score
from gan.cli_curate import curate
from gan.cli_data import data
from gan.cli_ensemble import ensemble
from gan.cli_evaluate import compare, evaluate
from gan.cli_explain import explain
from gan.cli_generate import generate
from gan.cli_render import render
from gan.cli_score import score
from gan.families import gave_way, refitted
from gan.stopping import terminable
from generator import settings as generators


class Group(click.Group):
    """Turns a person's mistakes into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with terminable():
                return super().invoke(ctx)
        except UserError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)
        except OSError as error:
            # A reader that hangs up (`| head`) is click's business.
            if error.errno == errno.EPIPE or ctx.params.get("debug"):
                raise
            where = f"{error.filename}: " if error.filename else ""
            onward = "; free some space, then try again" if error.errno in FULL else ""
            click.echo(f"error: {where}{error.strerror or error}{onward}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt as stopped:
            click.echo(": ".join(["stopped", *map(str, stopped.args)]), err=True)
            ctx.exit(1)


# How often idle threads look for work before they sleep, where a command draws tokens. Two
# adversarial trainings on two cores take 1.4 times as long for it, one alone 0.6 of its time; with
# ten times as much it is five times and 0.5.
SPINS = {"generate": "10000", "train": "1000", "evaluate": "1000", "compare": "1000"}


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jazz-gan", prog_name="gan")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """Jazz from a transformer with a discriminator's opinion, and a jazz classifier for MIDI."""
    # Idle threads that spin instead of sleeping make a shared machine several times slower; but
    # sampling is thousands of moments of parallel work, and waking up for each costs a third to a
    # half. So there they spin for some microseconds, no longer: on idle cores that is as fast as
    # for ever.
    if context.invoked_subcommand not in SPINS:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    elif "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS[context.invoked_subcommand])
    tables.reconfigure("table")  # names are in what is said, too


main.add_command(data)
main.add_command(score)
main.add_command(curate)
main.add_command(explain)
main.add_command(ray_score)
main.add_command(ensemble)
main.add_command(generate)
main.add_command(evaluate)
main.add_command(compare)
main.add_command(render)


# What stands above which flag in `--help`.
PRETRAIN_SECTIONS = {
    "corpus": "Run", "model": "Model", "seed": "Device and data", "steps": "Training",
    "transpose": "Augmentation", "neutral_share": "Neutralised timing",
    "thin_share": "Texture", "evaluate_every": "Validation",
}  # fmt: skip
TRAIN_SECTIONS = {
    "corpus": "Run", "layers": "Generator", "init": "Beginning and conditions",
    "steps": "Cross-entropy", "augmentation": "Augmentation",
    "evaluate_every": "Validation, checkpoints, samples", "adv_weight": "Adversarial term",
    "realism_loss": "Realism discriminator, trained along", "adv_batch": "Rollouts",
    "relax": "Relaxation", "reward_weight": "Reward and restraint", "judge": "Judge and guards",
}  # fmt: skip


def _training(command: Any) -> Any:
    for option in reversed(
        [
            click.option("--corpus", required=True, type=Path, help="From 'gan data build'."),
            click.option("--out", required=True, type=Path, help="The run's folder."),
            click.option("--preset", help="A shipped preset or a YAML file; flags override it."),
            click.option("--resume", is_flag=True, help="Go on from the latest checkpoint, with "
                         "the same settings, --steps too: no finished run gets longer."),
            click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def _preset_for(kind: type[BaseModel], corpora: list[Path], preset: str) -> dict[str, Any]:
    """A preset as it suits corpora: of the sources it leaves out, those that are there."""
    from data_tools.corpus import Corpus

    layer = settings.preset_for(kind, preset)
    if "exclude_sources" in layer:
        known = {row["source"] for corpus in corpora for row in Corpus(corpus).rows}
        layer["exclude_sources"] = [one for one in layer["exclude_sources"] if one in known]
    return layer


def _held(layer: dict[str, Any], field: str) -> dict[str, Any]:
    """Takes the model out of a preset."""
    held = layer.pop(field, {})
    if not isinstance(held, dict):
        raise UserError(f"setting '{field}': a model is a list of 'field: value' lines, not {held}")
    return held


@main.command("pretrain-disc", cls=options.sectioned(PRETRAIN_SECTIONS))
@_training
@click.option("--also", type=click.Path(exists=True, path_type=Path), metavar="CORPUS",
              help="Train on all of this one too; none validates or tests. What shares a file, "
              "work or artist with pieces that do is left out.")  # fmt: skip
@click.option("--model", type=click.Choice(MODELS), help="Kind of model.  [cnn]")
@click.option("--size", type=click.Choice(SIZES), help="Of the model: 1 or 8 M weights.  [small]")
@click.option("--view", type=click.Choice(VIEWS), help="What it looks at.  [tokens]")
@options.options(settings.PretrainSettings)
def pretrain_disc(
    corpus: Path, out: Path, preset: str | None, resume: bool, quiet: bool, model: str | None,
    size: str | None, view: str | None, also: Path | None, **flags: Any,
) -> None:  # fmt: skip
    """Train the style discriminator: jazz or not."""
    from data_tools.corpus import Corpus, Enlarged
    from gan.lock import training
    from gan.pretrain import pretrain

    corpora = [corpus, also] if also else [corpus]
    layers = [_preset_for(settings.PretrainSettings, corpora, preset)] if preset else []
    held = _held(layers[0], "model") if layers else {}
    own, lost = model_name(held), dict[str, Any]()
    # What is no model at all is told by `build`.
    if not held or (own in MODELS and (size or model not in (None, own))):
        held, lost = refitted(held, sized(model or own, size or "small"), FAMILIES, OF_SIZE)
    layers.append({"model": held})
    if lost and not quiet:
        click.echo(gave_way(lost))
    given = options.given(settings.PretrainSettings, flags)
    if view:
        given["model"] = {"view": view}
    named = options.names(settings.PretrainSettings) | {"view"}
    chosen = settings.build(
        settings.PretrainSettings, *layers, given, flags=named, preset=bool(preset)
    )
    music = Enlarged(corpus, also) if also else Corpus(corpus)
    if isinstance(music, Enlarged) and not quiet:
        click.echo(f"learns from {music.told()}")
    with training(out):
        if not quiet:
            _tell_slow(chosen)
        pretrain(music, out, chosen, resume, quiet)
    if not quiet:
        click.echo(f"classifier: {out / 'classifier'}   report: {out / 'report.md'}")


def _tell_slow(chosen: settings.PretrainSettings | settings.TrainSettings) -> None:
    if chosen.warmup > chosen.steps:
        click.echo(
            f"note: the learning rate never comes to its peak: --warmup {chosen.warmup:,} goes on "
            f"beyond the last of {chosen.steps:,} steps"
        )


def _never_whole(chosen: settings.TrainSettings) -> bool:
    return chosen.adv_start + chosen.adv_ramp > chosen.steps


@main.command(
    cls=options.sectioned(TRAIN_SECTIONS),
    short_help="Train the generator: cross-entropy and adversarial term.",
)
@_training
@click.option("--model", type=click.Choice(generators.MODELS), help="Family.  [transformer]")
@click.option(
    "--size", type=click.Choice(generators.SIZES), help="3, 10 or 100 M weights.  [small]"
)
@click.option(
    "--check",
    type=click.IntRange(1),
    metavar="RANKS",
    help="Train nothing; say whether a run on so many processes would start, or why not.",
)
@options.options(settings.TrainSettings, choices=True)
def train(
    corpus: Path, out: Path, preset: str | None, resume: bool, quiet: bool, model: str | None,
    size: str | None, check: int | None, **flags: Any,
) -> None:  # fmt: skip
    """Train the generator: cross-entropy, plus --adv-weight times the adversarial term.

    On several GPUs or nodes: torchrun --nproc-per-node N -m gan train ... --resume
    """
    from data_tools.corpus import Corpus
    from gan.adversarial.setup import with_its_generator
    from gan.adversarial.trainer import Trainer
    from gan.engine import engine
    from gan.lock import training
    from gan.ranks import joined

    layers = [_preset_for(settings.TrainSettings, [corpus], preset)] if preset else []
    held = _held(layers[0], "generator") if layers else {}
    lost = dict[str, Any]()
    family = held.get("kind", "transformer")
    if family in generators.MODELS and (size or model not in (None, family)):
        asked = generators.sized(model or family, size or "small")
        held, lost = refitted(held, asked, generators.FAMILIES, generators.OF_SIZE)
    layers.append({"generator": held})
    given = options.given(settings.TrainSettings, flags, choices=True)
    named = options.names(settings.TrainSettings, choices=True)
    own = given.get("generator", {})
    if any(layer.get("init") for layer in (*layers, given)):
        given.pop("generator", None)  # of whichever family that generator is: it is asked below
    chosen = settings.build(
        settings.TrainSettings, *layers, given, flags=named, preset=bool(preset)
    )
    if chosen.init:
        chosen = with_its_generator(chosen, model, size, own, given.get("condition"))
    if check:
        from gan.rehearsal import rehearse

        rehearse(Corpus(corpus), out, chosen, resume, check)
        if not quiet:
            click.echo(f"{out}: a run on {check:,} process{'es' * (check > 1)} would start")
        return
    fields = list(settings.TrainSettings.model_fields)
    idle = [name for name in fields[fields.index("adv_weight") + 1 :] if given.get(name)]
    early = chosen.adversarial and not chosen.init and chosen.adv_start <= chosen.warmup
    early &= not chosen.adv_start or chosen.adv_start < chosen.steps // 2
    early &= not (resume and (out / "checkpoints" / "latest").is_file())
    with (
        joined(engine(chosen.device, chosen.precision).device) as ranks,
        training(out) if ranks.main else nullcontext(),
    ):
        trainer = Trainer(Corpus(corpus), out, chosen, resume, quiet, ranks)
        if lost and not quiet and ranks.main:
            click.echo(gave_way(lost))
        if idle and not chosen.adversarial and not quiet and ranks.main:
            told = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
            click.echo(f"note: nothing comes of {told} without --adv-weight or --reward-weight")
        if chosen.adversarial and chosen.adv_start >= chosen.steps and not quiet and ranks.main:
            click.echo(
                f"note: no adversarial term: --adv-start {chosen.adv_start:,} comes after the last "
                f"of {chosen.steps:,} steps"
            )
        elif chosen.adversarial and _never_whole(chosen) and not quiet and ranks.main:
            click.echo(
                f"note: the adversarial term never has its whole weight: --adv-ramp "
                f"{chosen.adv_ramp:,} goes on beyond the last of {chosen.steps:,} steps"
            )
        if not quiet and ranks.main:
            _tell_slow(chosen)
        if early and not quiet and ranks.main:
            click.echo(
                "note: the adversarial term begins with a generator that has learnt nothing; "
                f"--adv-start {chosen.steps // 2} lets cross-entropy go first, --init RUN goes on "
                "from a trained one"
            )
        folder = trainer.train()
    if not quiet and ranks.main:
        click.echo(f"generator: {folder}   tensorboard --logdir {out / 'tensorboard'}")


if __name__ == "__main__":
    sys.exit(main())
