"""Three judges that never gave a generator a gradient, asked together.

Harmony and rhythm are boosted trees over named features, the piano roll is a small convolutional
network: another family, another representation and other pieces than any discriminator in a
training loop. A discriminator's own score proves nothing (see the project's results).

Shapes: N pieces, T tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from data_tools.errors import UserError
from data_tools.representation import Representation
from discriminator.feature_judge import FeatureJudge
from gan.evaluation.roll_judge import RollJudge

JUDGES = ("harmony", "rhythm", "roll")
SHIPPED = Path(__file__).parent / "pretrained" / "judges"


class Judges:
    """The judges of a folder; see `experiments.recipes.judges`.

    Args:
        trees: by name, `harmony` and `rhythm`.
        roll: of the piano roll.
    """

    def __init__(self, trees: dict[str, FeatureJudge], roll: RollJudge) -> None:
        self.trees, self.roll = trees, roll

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Self:
        """Reads a folder of judges, or those this package ships.

        Raises:
            UserError: one is missing or damaged.
        """
        folder = Path(folder or SHIPPED)
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no judges there; fit some with 'python -m experiments.recipes.judges'"
            )
        trees = {name: FeatureJudge.load(folder / name) for name in JUDGES[:2]}
        return cls(trees, RollJudge.load(folder / "roll.safetensors"))

    def p_jazz(
        self, pieces: Sequence[np.ndarray], representation: Representation
    ) -> dict[str, np.ndarray]:
        """p(jazz) (N,) of token ids (T,) by each judge.

        A piece of few notes, or of none, has a number like any other: a share of pieces called jazz
        is one of all that were written. Silence is no jazz to the judges that are shipped.
        """
        found = {
            name: judge.probability(judge.measure(pieces, representation))
            for name, judge in self.trees.items()
        }
        logits = self.roll.logits(pieces, representation)
        return found | {"roll": 1 / (1 + np.exp(-logits))}
