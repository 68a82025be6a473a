"""Straight-through Gumbel-softmax over a finished rollout.

Forward, the discriminator sees the sampled one-hot tokens; backward, the gradient goes through the
softmax that the same noise relaxes (Jang et al. 2017; Maddison et al. 2017; straight-through after
Bengio et al. 2013). Noise and softmax are float32 whatever the autocast.

Shapes: B rollouts, S sampled tokens, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def straight_through(logits: Tensor, noise: Tensor, ids: Tensor, relaxation: float) -> Tensor:
    """Rows that are hard one-hots forward and Gumbel-softmax backward.

    Args:
        logits: (B, S, V) float32, masked and divided by the sampling temperature.
        noise: (B, S, V) float32, the Gumbel noise the tokens were drawn with.
        ids: (B, S) the tokens drawn; argmax of logits + noise, PAD after the end.
        relaxation: temperature of the backward softmax alone; the tokens do not depend on it.

    Returns:
        (B, S, V) float32.
    """
    soft = ((logits + noise) / relaxation).softmax(-1)
    hard = F.one_hot(ids, logits.shape[-1]).to(soft.dtype)
    # Exactly hard forward: soft - soft.detach() is zero to the last bit.
    return hard + (soft - soft.detach())


def agreement(logits: Tensor, noise: Tensor, ids: Tensor, real: Tensor) -> float:
    """Share of sampled tokens that the replayed pass draws again; 1 but for rounding ties.

    Args:
        logits, noise, ids: as for `straight_through`.
        real: (B, S) bool, False on padding.
    """
    again = (logits + noise).argmax(-1) == ids
    return float(torch.where(real, again, True).float().mean())
