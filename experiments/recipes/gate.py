"""The gate: music, of whatever style, or noise.

    python -m experiments.recipes.gate --corpus CORPUS --out runs/gate
    gan ensemble runs/a runs/b runs/c --gate runs/gate --out runs/classifier

Every piece of the corpus is there twice, as it is and corrupted (see `data_tools.corrupt`), and
where a style discriminator learns jazz from other music this one learns the first from the second.
In its report, and for its flags, "jazz" therefore stands for music.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.corrupt import OF_PITCH, Corruptor
from data_tools.settings import ThinningSettings
from data_tools.thinning import Thinner
from gan import options, settings
from gan.engine import numpy_generator
from gan.plain import PlainCommand

# A small perceptron over the statistics of harmony, which a classifier's members count anyway:
# about three minutes on one core.
SETTINGS: dict[str, Any] = {
    "model": {"kind": "statistics", "width": 256, "layers": 2, "dropout": 0.2},
    "steps": 600, "batch": 128, "shortest": 96, "window": 2048, "learning_rate": 5e-4,
    "weight_decay": 0.3, "warmup": 50, "average": 0.99, "label_smoothing": 0.005,
    "corrupt_share": 0.0, "evaluate_every": 200, "neutralise": {"neutral_share": 0.4},
    "thinning": {"thin_share": 0.3},
}  # fmt: skip
LONGEST = 4096  # tokens of a piece that are corrupted
# Of the pieces, and of what they are corrupted from: heard with their top line alone, so that one
# voice is no noise.
LINES = 0.2


class MusicAndNoise(Corpus):
    """A corpus beside itself: pieces as they are, labelled jazz, and corrupted, labelled not_jazz.

    Args:
        folder: from `gan data build`.
        seed: of the corruptions.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        super().__init__(folder)
        self._seed = seed
        self._corrupt = Corruptor(self.representation, tuple(OF_PITCH))
        self._thinner = Thinner(self.representation, ThinningSettings())
        self._music = len(self.rows)
        self.rows = [row | {"label": "jazz"} for row in self.rows] + [
            row | {"label": "not_jazz", "path": f"{row['path']} (corrupted)"} for row in self.rows
        ]

    def piece(self, number: int) -> np.ndarray:
        """uint16 (T,) ids of a piece, or of what is left of it."""
        original = number % self._music
        ids, chance = super().piece(original), numpy_generator(self._seed, "line", original)
        if chance.random() < LINES and (line := self._thinner.line(ids)) is not None:
            ids = line.astype(np.uint16)
        if number < self._music:
            return ids
        chance = numpy_generator(self._seed, "noise", number)
        spoilt = self._corrupt(ids[:LONGEST].astype(np.int64), chance)
        return np.zeros(0, dtype=np.uint16) if spoilt is None else spoilt.astype(np.uint16)

    def inputs(self) -> dict[str, str]:
        """What a run reads: the corpus, and how it was corrupted."""
        names = ", ".join(self._corrupt.names)
        return super().inputs() | {"noise": f"{self._seed}: {names}; lines {LINES:g}"}


def trained(folder: Path, out: Path, chosen: settings.PretrainSettings, resume: bool) -> None:
    """Trains a gate, and marks it as one.

    Args:
        folder: of the corpus.
        out: the run's folder.
        chosen: how.
        resume: whether to go on with a run.

    Raises:
        UserError: the run's folder is taken, or is no run of these settings.
    """
    from discriminator.classifier import MUSIC, Classifier
    from gan.pretrain import pretrain

    pretrain(MusicAndNoise(folder, chosen.seed), out, chosen, resume)
    found = Classifier.load(out / "classifier")
    marked = Classifier(found.model, found.representation, found.settings, labels=MUSIC)
    marked.save(out / "classifier")


def _told(values: dict[str, Any]) -> str:
    """Settings as flags, those within others without what holds them."""
    parts = [
        _told(value) if isinstance(value, dict) else f"--{name.replace('_', '-')} {value}"
        for name, value in values.items()
    ]
    return ", ".join(parts)


@click.command(cls=PlainCommand, epilog=f"Its own defaults, before those above: {_told(SETTINGS)}.")
@click.option("--corpus", type=Path, required=True, help="From 'gan data build'.")
@click.option("--out", type=Path, required=True, help="The run's folder.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@options.options(settings.PretrainSettings)
def gate(corpus: Path, out: Path, resume: bool, **flags: object) -> None:
    """Learn music from noise; flags as for `gan pretrain-disc`."""
    given = options.given(settings.PretrainSettings, flags)
    trained(corpus, out, settings.build(settings.PretrainSettings, SETTINGS, given), resume)
    click.echo(f"gate: {out}   (in the table, jazz is music)   gan ensemble ... --gate {out}")


if __name__ == "__main__":
    gate()
