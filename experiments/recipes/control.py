"""The negative control of adversarial training: a discriminator that learnt shuffled labels.

    python -m experiments.recipes.control --corpus CORPUS --out runs/disc-control --preset disc-cnn

Same pieces, same network, same steps, and nothing to know about jazz. A generator trained against
it shows what a discriminator's mere presence does; what the true one gains beyond that is style.
"""

from pathlib import Path

import click

from data_tools.corpus import Corpus
from gan import options, settings
from gan.engine import numpy_generator
from gan.plain import PlainCommand


def shuffled(corpus: Corpus, seed: int) -> Corpus:
    """The corpus with its labels permuted among the labelled pieces of each split, in memory."""
    for split in ("train", "validation", "test"):
        rows = [row for row in corpus.rows if row["split"] == split]
        rows = [row for row in rows if row["label"] in ("jazz", "not_jazz")]
        labels = [row["label"] for row in rows]
        order = numpy_generator(seed, "shuffled labels", split).permutation(len(rows))
        for row, place in zip(rows, order.tolist(), strict=True):
            row["label"] = labels[place]
    return corpus


@click.command(cls=PlainCommand)
@click.option("--corpus", type=Path, required=True, help="From 'gan data build'.")
@click.option("--out", type=Path, required=True, help="The run's folder.")
@click.option("--preset", default="disc-cnn", show_default=True)
@options.options(settings.PretrainSettings)
def control(corpus: Path, out: Path, preset: str, **flags: object) -> None:
    """Pretrain the control; flags as for `gan pretrain-disc`."""
    from gan.pretrain import pretrain

    given = options.given(settings.PretrainSettings, flags)
    chosen = settings.build(settings.PretrainSettings, settings.read_preset(preset), given)
    pretrain(shuffled(Corpus(corpus), chosen.seed), out, chosen, quiet=True)


if __name__ == "__main__":
    control()
