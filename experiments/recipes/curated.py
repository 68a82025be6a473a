"""Which training pieces the style discriminator calls jazz: `curated.json` of the experiment.

python -m experiments.recipes.curated --corpus CORPUS --discriminator RUN --out curated.json
"""

from pathlib import Path

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.files import write_json
from experiments.recipes.thin import thin_sources
from gan.plain import PlainCommand

MIDDLE = 1024  # tokens read of a piece


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", type=Path, required=True, help="From 'gan data build'.")
@click.option("--discriminator", type=Path, required=True, help="A classifier's folder or run.")
@click.option("--out", type=Path, required=True)
@click.option(
    "--least", default=0.8, show_default=True, help="p(jazz) from which on a piece stays."
)
def curated(folder: Path, discriminator: Path, out: Path, least: float) -> None:
    """Write the paths of the training pieces a discriminator is sure of."""
    from discriminator.classifier import Classifier
    from gan.run import classifier_folder

    corpus = Corpus(folder)
    # The judges of what comes of it are trees: pieces that trees chose would flatter it.
    classifier = Classifier.load(classifier_folder(discriminator)).without_trees()
    numbers = corpus.select("train", exclude_sources=thin_sources(corpus))
    pieces = [np.asarray(corpus.piece(number)) for number in numbers]
    middles = [piece[max(0, len(piece) - MIDDLE) // 2 :][:MIDDLE] for piece in pieces]
    p = 1 / (1 + np.exp(-classifier.logits(middles)))
    rows = [corpus.rows[number] for number, sure in zip(numbers, p >= least, strict=True) if sure]
    write_json(out, [row["path"] for row in rows])
    right = sum(row["label"] == "jazz" for row in rows)
    click.echo(f"{len(rows)} of {len(numbers)} pieces kept, {right} of them labelled jazz")


if __name__ == "__main__":
    curated()
