"""Weighing the adversarial term against cross-entropy, at the generator's logits.

Raw weights are not portable: how steep a discriminator is decides what 0.1 means. Measured at the
logits, the adversarial gradient can be given a fixed share of the cross-entropy gradient's norm
instead (after the loss balancer of EnCodec, Défossez et al. 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gan.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Balanced:
    """The adversarial gradient at the logits, ready to be sent back through the generator.

    Attributes:
        adversarial: weighted gradient of the adversarial loss at its own.
        weight: what the adversarial loss was multiplied by.
        share: norm of `adversarial` over cross-entropy's.
    """

    adversarial: Tensor
    weight: float
    share: float


def norm_at_logits(gradients: Sequence[Tensor], ranks: Ranks = ALONE) -> float:
    """The norm of a gradient that lies in parts, on all ranks.

    A rank's loss is its share times their number, since ranks are averaged; undone here.
    """
    square = sum(torch.linalg.vector_norm(each.float()) ** 2 for each in gradients)
    assert isinstance(square, Tensor)
    return float(ranks.total(square).sqrt()) / ranks.world


def balance(
    ce_norm: float,
    adversarial: Tensor,
    weight: float,
    scale: Literal["loss", "gradient"],
    ranks: Ranks = ALONE,
) -> Balanced:
    """Weighs two gradients.

    Args:
        ce_norm: norm of the gradient of cross-entropy at its logits; see `norm_at_logits`.
        adversarial: gradient of the adversarial loss at its own, any shape.
        weight: multiplies the loss, or is the share of norms wanted.
        scale: which of the two.
        ranks: norms are over all of them.
    """
    adversarial_norm = norm_at_logits([adversarial], ranks)
    factor = weight
    if scale == "gradient":
        # Where a loss has nothing to ask for there is no gradient, and none is made up.
        factor = weight * ce_norm / adversarial_norm if adversarial_norm > 1e-12 else 0.0
    share = factor * adversarial_norm / ce_norm if ce_norm else 0.0
    return Balanced(adversarial * factor, factor, share)
