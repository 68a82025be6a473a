"""The losses, one named function each.

Shapes: B batch, T tokens, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor

from data_tools.representation import PAD


def cross_entropy(
    logits: Tensor, targets: Tensor, count: Tensor | float | None = None, smoothing: float = 0.0
) -> Tensor:
    """Mean nats a token over logits (B, T, V) and targets (B, T); PAD targets do not count.

    Args:
        logits, targets: of this part of a step.
        count: targets of the whole step, if this is a part of it: parts then add up to its mean.
        smoothing: probability that the target distribution spreads over all tokens (Szegedy et al.
            2016).
    """
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=PAD,
        reduction="sum",
        label_smoothing=smoothing,
    )
    return total / ((targets != PAD).sum() if count is None else count)


def hinge(logit: Tensor, target: float) -> Tensor:
    """Pushes logits (B,) up to `target` and no further: matching real jazz, not outdoing it."""
    return F.relu(target - logit).mean()


def non_saturating(logit: Tensor) -> Tensor:
    """-log p(jazz) of logits (B,) (Goodfellow et al. 2014), which always pushes on."""
    return F.softplus(-logit).mean()
