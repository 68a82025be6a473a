"""Does the adversarial term make the music jazzier? Every arm, trained and sampled.

    python -m experiments.recipes.adversarial --corpus CORPUS --bases RUNS --out runs/adversarial
    python -m experiments.recipes.adversarial_table --corpus CORPUS --runs runs/adversarial \\
        --bases RUNS --out experiments/results/adversarial

RUNS holds the cross-entropy generators `none-SEED` and `label-0`, the discriminators `style`,
`harmony` and `control`, `judges/` and `curated.json`; see the README of the results for the
commands that make them. What is finished is not done again. With `--workers` several processes take
arms from one list, each arm once; a GPU with small models is kept busy that way.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json
from data_tools.representation import BOS, EOS
from experiments.recipes.adversarial_arms import (
    ARMS,
    BY_NAME,
    COMMON,
    COUNT,
    FRONTIER,
    FRONTIER_ARMS,
    LENGTH,
    LONG_ARMS,
    LONG_COUNT,
    LONG_LENGTH,
    TEMPERATURES,
    Arm,
)
from experiments.recipes.thin import thin_sources
from gan.plain import PlainCommand

WINDOWS, WINDOW = 256, 512  # of held-out jazz, for bits a note


def folder_of(arm: Arm, seed: int, bases: Path, runs: Path) -> Path:
    """The generator an arm goes on from."""
    if arm.base in BY_NAME:
        return runs / f"{arm.base}-{seed}" / "generator"
    return bases / ("label-0" if arm.base == "label" else f"none-{seed}")


def restricted(corpus: Corpus, pieces: str, bases: Path) -> Corpus:
    """The corpus with nothing in train but the pieces an arm's cross-entropy learns from."""
    if pieces == "all":
        return corpus
    kept = set(json.loads((bases / "curated.json").read_text())) if pieces == "curated" else set()
    for row in corpus.rows:
        mine = row["path"] in kept if pieces == "curated" else row["label"] == "jazz"
        if row["split"] == "train" and not mine:
            row["split"] = "unused"
    return corpus


def train(
    arm: Arm, seed: int, corpus: Path, bases: Path, out: Path, runs: Path, **changes: Any
) -> None:
    """Trains an arm from its base."""
    from gan.adversarial.trainer import Trainer
    from gan.settings import TrainSettings, build

    choices = COMMON | arm.changes | changes
    if name := choices.get("discriminator"):
        choices["discriminator"] = str(bases / str(name))
    choices |= {"seed": seed, "init": str(folder_of(arm, seed, bases, runs))}
    if arm.changes.get("adv_weight") and (bases / "judges" / "roll.safetensors").is_file():
        choices["judge"] = str(bases / "judges" / "roll.safetensors")
    music = restricted(Corpus(corpus), arm.pieces, bases)
    settings = build(TrainSettings, choices | {"exclude_sources": thin_sources(music)})
    resume = (out / "settings.yaml").is_file()
    Trainer(music, out, settings, resume=resume, quiet=True).train()


def bits(generator: Path, corpus: Corpus, device: str, windows: int) -> dict[str, float]:
    """Bits a note on held-out windows, of jazz and of the rest."""
    from gan.data import validation_windows
    from gan.engine import engine
    from gan.evaluation.language import summary, token_bits
    from generator.compose import Composer

    compute = engine(device, "fp32")
    composer = Composer.load(generator, compute.device)
    found = {}
    for label in ("jazz", "not_jazz"):
        numbers = corpus.select("validation", label, thin_sources(corpus))
        pair = validation_windows(corpus, numbers, composer.representation, WINDOW, windows)
        values, hits = token_bits(composer.model, *pair, compute)
        result = summary(values, hits, pair[1].numpy(), composer.representation)
        found[label] = result["bits_per_note"]
    return found


def draw(
    generator: Path, arm: Arm, seed: int, bases: Path, device: str, temperature: float,
    top_p: float = 1.0, count: int = COUNT, length: int = LENGTH,
) -> np.ndarray:  # fmt: skip
    """Samples of an arm: music ids (count, length) uint16, PAD after the end."""
    import torch

    from discriminator.classifier import Classifier
    from gan.selection import steering
    from generator.choice import Choice
    from generator.compose import Composer
    from generator.grammar import Grammar
    from generator.sampling import sample, seeded

    composer = Composer.load(generator, device)
    names = composer.representation.conditions
    known = [composer.representation.condition_id("label:jazz")] if "label:jazz" in names else []
    opening = [*known, BOS]
    grammar = Grammar(composer.representation, composer.device, min_notes=8)
    choice = Choice(temperature=temperature, top_p=top_p)
    wide = {"best": 4, "guidance": 4}.get(arm.choose, 1)
    rows = count * wide
    reselect = None
    if arm.choose:
        classifier = Classifier.load(bases / "style", composer.device)
    if arm.choose == "guidance":
        seeds = [10_000 * seed + number for number in range(count)]
        reselect = steering(classifier, 4.0, wide).over(seeds, len(opening))
    found = []
    for first in range(0, rows, 512):
        here = range(first, min(rows, first + 512))
        if arm.choose == "guidance":
            here = range(rows)  # companions stay together
        prefix = torch.tensor([opening] * len(here), device=composer.device)
        seeds = [1_000_003 * (seed + 1) + number for number in here]
        drawn = sample(
            composer.model, grammar, prefix, length, generators=seeded(seeds), choice=choice,
            reselect=reselect,
        )  # fmt: skip
        found.append(drawn.ids[:, len(opening) :].cpu().numpy())
        if arm.choose == "guidance":
            break
    most = max(part.shape[1] for part in found)
    ids = np.concatenate([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in found])
    if arm.choose == "guidance":
        ids = ids[::wide]
    if arm.choose == "best":
        with torch.inference_mode():
            music = torch.from_numpy(ids * (ids > EOS)).to(composer.device)
            logits = torch.cat(
                [classifier.model(part, part > 0).float() for part in music.split(64)]
            )
        best = logits.view(count, wide).argmax(1).cpu().numpy()
        ids = ids.reshape(count, wide, -1)[np.arange(count), best]
    return ids.astype(np.uint16)


def one(
    arm: Arm, seed: int, corpus: Path, bases: Path, runs: Path, device: str, scale: float
) -> None:
    """Trains and samples an arm, and writes what the table needs.

    Args:
        scale: of steps and samples, for a quick look.
    """
    out = runs / f"{arm.name}-{seed}"
    began = time.monotonic()
    steps = int((COMMON | arm.changes)["steps"] * scale)
    trained: float | None = 0.0
    if arm.trains:
        whole = not out.is_dir()  # what goes on from a checkpoint, or was trained before, is not
        if not (out / "generator" / "generator.json").is_file():
            train(arm, seed, corpus, bases, out, runs, steps=max(2, steps), device=device)
        trained = round(time.monotonic() - began, 1) if whole else None
    generator = out / "generator" if arm.trains else folder_of(arm, seed, bases, runs)
    out.mkdir(parents=True, exist_ok=True)
    count = max(4, int(COUNT * scale))
    grids = [(temperature, 1.0) for temperature in TEMPERATURES]
    if arm.name in FRONTIER_ARMS and seed == 0:
        grids += list(FRONTIER)
    samples = {
        f"t{temperature:g}-p{top_p:g}": draw(
            generator, arm, seed, bases, device, temperature, top_p, count
        )
        for temperature, top_p in grids
    }
    if arm.name in LONG_ARMS:
        few = max(4, int(LONG_COUNT * scale))
        samples["long"] = draw(generator, arm, seed, bases, device, 1.0, 1.0, few, LONG_LENGTH)
    np.savez_compressed(out / "samples.npz", **samples)  # type: ignore[arg-type]
    write_json(
        out / "result.json",
        {
            "arm": arm.name, "seed": seed, "training_seconds": trained,
            "seconds": round(time.monotonic() - began, 1),
            "bits_per_note": bits(
                generator, Corpus(corpus), device, max(4, int(WINDOWS * scale))
            ),
        },
    )  # fmt: skip


def jobs(only: str, runs: Path) -> list[tuple[Arm, int]]:
    """Arms and seeds, what others go on from first.

    Args:
        only: arms by commas, or empty for all.
        runs: where what they go on from may lie.

    Raises:
        UserError: there is no such arm, or what one goes on from is neither named nor there.
    """
    names = only.split(",") if only else list(BY_NAME)
    for name in names:
        if name not in BY_NAME:
            raise UserError(f"no arm '{name}'; there are: {', '.join(BY_NAME)}")
        arm = BY_NAME[name]
        if (
            arm.base in BY_NAME
            and arm.base not in names
            and not all(_ready(arm, seed, runs) for seed in range(arm.seeds))
        ):
            raise UserError(f"{name} goes on from {arm.base}, which is not done; add it to --only")
    found = [
        (arm, seed)
        for seed in range(max(arm.seeds for arm in ARMS))
        for arm in ARMS
        if seed < arm.seeds and arm.name in names
    ]
    # The first arms of all seeds before the last arms of any: an experiment cut short has them.
    return sorted(found, key=lambda job: (job[0].last, job[1]))


def _ready(arm: Arm, seed: int, runs: Path) -> bool:
    return arm.base not in BY_NAME or (runs / f"{arm.base}-{seed}" / "result.json").is_file()


def _given_up(base: str, runs: Path) -> bool:
    """Whether a base failed, or nobody works on it."""
    if (runs / base / "result.json").is_file():
        return False
    return (runs / f"{base}.failed").is_dir() or not _at_work(runs / f"{base}.taken")


def _take(mark: Path) -> bool:
    """Marks an arm as this process's, unless another has it."""
    try:
        with mark.open("x", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def _at_work(mark: Path) -> bool:
    """Whether the process that took an arm is still there."""
    try:
        os.kill(int(mark.read_text(encoding="ascii") or os.getpid()), 0)
    except PermissionError:  # somebody else's
        return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def work(corpus: Path, bases: Path, runs: Path, device: str, only: str, scale: float) -> bool:
    """Takes arms from the list until all are done or taken; whether none of its own failed."""
    waiting, sound = jobs(only, runs), True
    while waiting:
        for arm, seed in list(waiting):
            out = runs / f"{arm.name}-{seed}"
            if (out / "result.json").is_file():
                waiting.remove((arm, seed))
                continue
            if not _ready(arm, seed, runs):
                continue
            waiting.remove((arm, seed))
            if not _take(runs / f"{arm.name}-{seed}.taken"):
                continue
            began = time.monotonic()
            try:
                one(arm, seed, corpus, bases, runs, device, scale)
                click.echo(f"{arm.name} {seed}: done in {time.monotonic() - began:.0f} s")
            except Exception as error:  # a row that is missing, and the rest goes on
                if isinstance(error, UserError):
                    click.echo(f"{arm.name} {seed}: {error}", err=True)
                else:
                    traceback.print_exc()
                sound = False
                (runs / f"{arm.name}-{seed}.failed").mkdir(exist_ok=True)
        # What goes on from another arm waits for it, unless that one will never be there.
        waiting = [
            (arm, seed) for arm, seed in waiting if not _given_up(f"{arm.base}-{seed}", runs)
        ]
        if waiting:
            time.sleep(1)
    return sound


@click.command(cls=PlainCommand)
@click.option("--corpus", type=Path, required=True, help="From 'gan data build'.")
@click.option("--bases", type=Path, required=True, help="Generators, discriminators, judges.")
@click.option("--out", "runs", type=Path, required=True, help="The arms' runs.")
@click.option("--device", default="auto", show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that share the list.")
@click.option("--only", default="", help="Arms, by commas.")
@click.option("--scale", default=1.0, show_default=True, help="Of steps and samples.")
def experiment(
    corpus: Path, bases: Path, runs: Path, device: str, workers: int, only: str, scale: float
) -> None:
    """Train and sample every arm that is missing."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    runs.mkdir(parents=True, exist_ok=True)
    if workers > 1 or "ADVERSARIAL_WORKER" not in os.environ:
        jobs(only, runs)  # a wrong name is told once
        for mark in runs.glob("*.taken"):
            if not _at_work(mark):
                mark.unlink()
        for mark in runs.glob("*.failed"):
            if not mark.with_suffix(".taken").exists():
                mark.rmdir()
    if workers == 1:
        if not work(corpus, bases, runs, device, only, scale):
            raise UserError("some arms failed; the same command tries them again")
        return
    words = [
        "--corpus", corpus, "--bases", bases, "--out", runs, "--device", device, "--only", only,
        "--scale", scale,
    ]  # fmt: skip
    command = [sys.executable, "-m", "experiments.recipes.adversarial", *map(str, words)]
    environment = os.environ | {"ADVERSARIAL_WORKER": "1"}
    processes = [subprocess.Popen(command, env=environment) for _ in range(workers)]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise UserError("some arms failed; the same command tries them again")


if __name__ == "__main__":
    experiment()
