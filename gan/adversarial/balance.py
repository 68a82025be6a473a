"""Weighing the adversarial term against cross-entropy, at the generator's logits.

Raw weights are not portable: how steep a discriminator is decides what 0.1 means. Measured at the
logits, the adversarial gradient can be given a fixed share of the cross-entropy gradient's norm
instead (after the loss balancer of EnCodec, Défossez et al. 2022).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Balanced:
    """The adversarial gradient at the logits, ready to be sent back through the generator.

    Attributes:
        adversarial: weighted gradient of the adversarial loss at its own.
        weight: what the adversarial loss was multiplied by.
        share: norm of `adversarial` over norm of `ce`.
    """

    adversarial: Tensor
    weight: float
    share: float


def balance(
    ce: Tensor, adversarial: Tensor, weight: float, scale: Literal["loss", "gradient"]
) -> Balanced:
    """Weighs two gradients.

    Args:
        ce: gradient of cross-entropy at its logits, any shape.
        adversarial: gradient of the adversarial loss at its own, any shape.
        weight: multiplies the loss, or is the share of norms wanted.
        scale: which of the two.
    """
    norms = torch.linalg.vector_norm(ce), torch.linalg.vector_norm(adversarial)
    ce_norm, adversarial_norm = float(norms[0]), float(norms[1])
    factor = weight
    if scale == "gradient":
        # Where the hinge is satisfied there is no gradient, and none is made up.
        factor = weight * ce_norm / adversarial_norm if adversarial_norm > 1e-12 else 0.0
    share = factor * adversarial_norm / ce_norm if ce_norm else 0.0
    return Balanced(adversarial * factor, factor, share)
