"""The shipped generator without its label tokens: one base of the experiment.

    python -m experiments.recipes.unlabelled --out bases/none-0

It met a tenth of its windows without a label, so it also writes from nothing: jazz and other
music mixed. Here the label tokens themselves are cut from its vocabulary, for good.
"""

from pathlib import Path

import click
import torch

from data_tools.representation import Representation
from gan.plain import PlainCommand
from generator.compose import Composer
from generator.model import GeneratorModel, build


def without_conditions(model: GeneratorModel, representation: Representation) -> GeneratorModel:
    """The model with the rows of condition tokens cut from its embedding and its output."""
    size, known = representation.music_size, representation.vocab_size
    weights = {
        name: tensor[:size] if tensor.dim() and len(tensor) == known else tensor
        for name, tensor in model.state_dict().items()
    }
    smaller = build(size, model.settings)
    smaller.load_state_dict(weights)
    return smaller


@click.command(cls=PlainCommand)
@click.option("--generator", default="ce", show_default=True, help="Its folder, or a shipped one.")
@click.option("--out", type=Path, required=True, help="The new generator's folder.")
def unlabelled(generator: str, out: Path) -> None:
    """Cut the labels from a generator."""
    composer = Composer.load(generator)
    plain = Representation(composer.representation.settings)
    with torch.no_grad():
        model = without_conditions(composer.model, composer.representation)
    Composer(model, plain).save(out)


if __name__ == "__main__":
    unlabelled()
