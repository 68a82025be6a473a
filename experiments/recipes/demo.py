"""The whole system in minutes, on music it composes itself: `make demo`.

Every stage is a command a person could type; it is printed, then run. What is finished is not done
again, so a second call is short. The last column of the table comes from a judge of
another architecture and seed that never gave the generator a gradient.
"""

import json
import shlex
import time
from collections.abc import Sequence
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
    if main(arguments, standalone_mode=False):  # the error is on the screen already
        raise SystemExit(1)
    click.echo(f"({time.monotonic() - began:.0f} s)")


def mean_p(pieces: Sequence[np.ndarray], folder: Path) -> str:
    """A classifier's mean p(jazz) of token sequences, with its 95% interval over the pieces."""
    from discriminator.classifier import Classifier

    classifier = Classifier.load(folder / "classifier")
    verdicts = [classifier.score_tokens(piece).p_jazz for piece in pieces]
    p = np.array([value for value in verdicts if value is not None])
    return f"{p.mean():.2f} ± {1.96 * p.std(ddof=1) / np.sqrt(len(p)):.2f}"


def composed(checkpoint: Path) -> list[np.ndarray]:
    """Token ids of pieces of a generator, the same seeds every time."""
    from generator.compose import Composer

    return [p.ids for p in Composer.load(checkpoint).compose(SAMPLES, seed=7, length=LENGTH)]


def held_out_jazz(folder: Path) -> list[np.ndarray]:
    """Token ids of the test split's jazz, cut to the samples' length."""
    from data_tools.corpus import Corpus

    corpus = Corpus(folder)
    return [corpus.piece(number)[:LENGTH] for number in corpus.select("test", "jazz")]


def table(out: Path) -> str:
    """What came of it, as markdown; also written to `demo.json`."""
    run, classifiers = out / "gan", (out / "disc", out / "judge")
    reports = [json.loads((folder / "report.json").read_text()) for folder in classifiers]
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    bits = {
        line["step"]: line["validation/bits_per_note"]
        for line in logged
        if "validation/bits_per_note" in line
    }
    first_adversarial = min(line["step"] for line in logged if "loss/adversarial" in line)
    before, after = max(step for step in bits if step < first_adversarial), max(bits)
    generated = composed(run / "cross_entropy"), composed(run / "generator")
    rows = [
        ("untrained", f"{bits[0]:.2f}", "", ""),
        ("cross-entropy", f"{bits[before]:.2f}", *(mean_p(generated[0], c) for c in classifiers)),
        ("+ adversarial", f"{bits[after]:.2f}", *(mean_p(generated[1], c) for c in classifiers)),
        ("held-out jazz", "", *(mean_p(held_out_jazz(out / "corpus"), c) for c in classifiers)),
    ]
    auc = [report["overall"]["auc"] for report in reports]
    write_json(out / "demo.json", {"auc": auc, "rows": rows})
    lines = [
        f"discriminator AUC {auc[0]:.3f}, judge AUC {auc[1]:.3f} (test split)",
        "",
        "| generator | bits per note | p(jazz), discriminator | p(jazz), judge |",
        "|---|---:|---:|---:|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


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
    stage("generate", "--run", out / "gan", "--count", "8", "--out", out / "music", "--force")
    click.echo("\n" + table(out))
    click.echo(f"\nrun          {out / 'gan'}")
    click.echo(f"TensorBoard  tensorboard --logdir {out}")
    click.echo(f"MIDI         {out / 'music'}  (real practice pieces: {out / 'midi'})")
    click.echo(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    demo()
