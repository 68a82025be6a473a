"""The whole system in minutes, on music it composes itself: `make demo`.

Every stage is a command a person could type; it is printed, then run. What is finished is not done
again, so a second call only prints the table. The last column of the table comes from a judge of
another architecture and seed that never gave the generator a gradient.
"""

import json
import shlex
import time
from pathlib import Path

import click
import numpy as np

from data_tools.files import write_json
from gan.cli import main

SAMPLES = 32
LENGTH = 384


def stage(*words: str | Path) -> None:
    """Prints a command and runs it."""
    arguments = [str(word) for word in words]
    click.secho(f"\n$ gan {shlex.join(arguments)}", bold=True)
    began = time.monotonic()
    main(arguments, standalone_mode=False)
    click.echo(f"({time.monotonic() - began:.0f} s)")


def opinions(checkpoint: Path, classifiers: list[Path]) -> list[float]:
    """Mean p(jazz) that each classifier gives the same pieces of a generator."""
    from discriminator.classifier import Classifier
    from generator.compose import Composer

    pieces = Composer.load(checkpoint).compose(SAMPLES, seed=7, length=LENGTH)
    means = []
    for folder in classifiers:
        classifier = Classifier.load(folder / "classifier")
        verdicts = [classifier.score_tokens(piece.ids) for piece in pieces]
        means.append(float(np.mean([v.p_jazz for v in verdicts if v.p_jazz is not None])))
    return means


def bits_per_note(run: Path, step: int) -> float:
    """Validation bits a note at a step of a run."""
    lines = (json.loads(line) for line in (run / "metrics.jsonl").open())
    return next(
        line["validation/bits_per_note"]
        for line in lines
        if line["step"] == step and "validation/bits_per_note" in line
    )


def real_opinions(corpus_folder: Path, classifiers: list[Path]) -> list[float]:
    """Mean p(jazz) of held-out real jazz, cut to the samples' length."""
    from data_tools.corpus import Corpus
    from discriminator.classifier import Classifier

    corpus = Corpus(corpus_folder)
    pieces = [corpus.piece(number)[:LENGTH] for number in corpus.select("test", "jazz")]
    means = []
    for folder in classifiers:
        classifier = Classifier.load(folder / "classifier")
        means.append(float(np.mean([classifier.score_tokens(piece).p_jazz for piece in pieces])))
    return means


def table(out: Path) -> str:
    """What came of it, as markdown; also written to `demo.json`."""
    run, disc, judge = out / "gan", out / "disc", out / "judge"
    auc = [
        json.loads((folder / "report.json").read_text())["overall"]["auc"]
        for folder in (disc, judge)
    ]
    lines = (json.loads(line) for line in (run / "metrics.jsonl").open())
    steps = [line["step"] for line in lines if "validation/bits_per_note" in line]
    handover = next(
        json.loads(line)["step"]
        for line in (run / "metrics.jsonl").open()
        if "loss/adversarial" in line
    )
    before = max(step for step in steps if step <= handover)
    stages = {
        "cross-entropy": (before, run / "cross_entropy"),
        "+ adversarial": (steps[-1], run / "generator"),
    }
    rows = [("untrained", bits_per_note(run, 0), None, None)]
    for name, (step, checkpoint) in stages.items():
        rows.append((name, bits_per_note(run, step), *opinions(checkpoint, [disc, judge])))
    rows.append(("held-out jazz", None, *real_opinions(out / "corpus", [disc, judge])))
    write_json(out / "demo.json", {"auc": auc, "rows": rows})
    text = [
        f"discriminator AUC {auc[0]:.3f}, judge AUC {auc[1]:.3f} (test split)",
        "",
        "| generator | bits per note | p(jazz), discriminator | p(jazz), judge |",
        "|---|---:|---:|---:|",
    ]
    for name, *figures in rows:
        cells = ["" if value is None else f"{value:.2f}" for value in figures]
        text.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(text)


@click.command()
@click.option("--out", type=Path, default=Path("runs/demo"), show_default=True)
@click.option("--pieces", type=int, default=600, show_default=True)
def demo(out: Path, pieces: int) -> None:
    """Compose, build, pretrain, train, write MIDI, and say what came of it."""
    began = time.monotonic()
    corpus = out / "corpus"
    training = ("--corpus", corpus, "--resume", "--out")
    stage("data", "practice", "--out", out / "midi", "--count", str(pieces))
    stage("data", "build", out / "midi", "--out", corpus)
    stage("pretrain-disc", *training, out / "disc", "--preset", "demo-disc")
    stage("pretrain-disc", *training, out / "judge", "--preset", "demo-judge")
    stage(
        "train", *training, out / "gan", "--preset", "demo-gan", "--discriminator", out / "disc"
    )  # fmt: skip
    stage("generate", "--run", out / "gan", "--count", "8", "--out", out / "music")
    click.echo("\n" + table(out))
    click.echo(f"\nrun          {out / 'gan'}")
    click.echo(f"TensorBoard  tensorboard --logdir {out}")
    click.echo(f"MIDI         {out / 'music'}  (real practice pieces: {out / 'midi'})")
    click.echo(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    demo()
