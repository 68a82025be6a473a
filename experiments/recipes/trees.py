"""Boosted trees over features of whole pieces, as one more voice of a classifier.

    python -m experiments.recipes.trees --corpus CORPUS --also RAGS --out runs/trees
    gan ensemble runs/disc-a runs/disc-b --trees runs/trees --out classifier

They learn from the training split, of both corpora where there are two, and are calibrated on the
validation split. Two minutes on one core, most of it in the trees.
"""

from pathlib import Path

import click
import numpy as np

from data_tools.corpus import Corpus, Enlarged
from data_tools.errors import UserError
from discriminator import features
from discriminator.calibration import calibrate
from discriminator.feature_judge import CARD, FeatureJudge, JudgeSettings
from gan.plain import PlainCommand

# Trees that learnt from whole pieces know no short music: of fewer notes they have no opinion.
SETTINGS = JudgeSettings(minimum=64)


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", required=True, type=Path, help="From 'gan data build'.")
@click.option("--also", type=click.Path(exists=True, path_type=Path), help="A second corpus.")
@click.option("--out", required=True, type=Path, help="The trees' folder.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(folder: Path, also: Path | None, out: Path, seed: int) -> None:
    """Fit trees on a corpus."""
    if (out / CARD).exists():
        raise UserError(f"{out}: trees lie here already; take another --out")
    fitted(Enlarged(folder, also) if also else Corpus(folder), seed).save(out)
    click.echo(f"trees: {out}")


def fitted(corpus: Corpus, seed: int) -> FeatureJudge:
    """Trees that learnt from the training split, calibrated on the validation split.

    Raises:
        UserError: a split lacks a label.
    """
    judge = FeatureJudge.fit(
        *_measured(corpus, "train"), seed, SETTINGS, representation=corpus.representation
    )
    rows, labels, sources = _measured(corpus, "validation")
    try:
        scale, bias = calibrate(judge.logits(rows), labels.astype(int), sources)
    except ValueError as error:
        raise UserError(f"{corpus.folder}: trees cannot be calibrated: {error}") from None
    return judge.rescaled(scale, bias)


def _measured(corpus: Corpus, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, F), labels and sources (N,) of a split's pieces."""
    rows = corpus.rows
    numbers = [n for n in corpus.select(split) if rows[n]["label"] in ("jazz", "not_jazz")]
    found = features.of_pieces(map(corpus.piece, numbers), corpus.representation, SETTINGS.groups)
    labels = np.array([rows[number]["label"] == "jazz" for number in numbers], dtype=bool)
    if labels.all() or not labels.any():
        raise UserError(
            f"{corpus.folder}: the {split} split holds one label alone; pieces of both are needed "
            "(--also adds a second corpus to the training split)"
        )
    return found, labels, np.array([rows[number]["source"] for number in numbers])


if __name__ == "__main__":
    main()
