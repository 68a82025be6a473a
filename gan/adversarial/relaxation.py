"""Gumbel-softmax over drawn tokens: hard or soft forward, soft backward.

By default straight-through: the discriminator sees the sampled one-hot tokens, and the gradient
goes through the softmax that the same noise relaxes (Jang et al. 2017; Maddison et al. 2017;
straight-through after Bengio et al. 2013). Forward and backward temperatures are apart, which
steadies straight-through estimators. Noise and softmax are float32 whatever the autocast.

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
    backward = ((logits + noise) / relaxation).softmax(-1)
    hard = F.one_hot(ids, logits.shape[-1]).to(backward.dtype)
    # Exactly hard forward: soft - soft.detach() is zero to the last bit.
    return hard + (backward - backward.detach())


def soft(logits: Tensor, noise: Tensor, ids: Tensor, relaxation: float, forward: float) -> Tensor:
    """Rows that are relaxed forward too, each a mixture of tokens.

    Args:
        logits, noise, ids, relaxation: as for `straight_through`.
        forward: temperature of what the discriminator sees; towards 0 it sees one-hots.
    """
    scores = logits + noise
    seen = (scores / forward).softmax(-1)
    # After the end nothing is drawn, and nothing is mixed.
    seen = torch.where(ids[..., None] > 0, seen, F.one_hot(ids, logits.shape[-1]).to(seen.dtype))
    if forward == relaxation:
        return seen
    backward = (scores / relaxation).softmax(-1)
    return seen.detach() + (backward - backward.detach())


def temperature_at(step: int, start: float, end: float, steps: int) -> float:
    """A temperature that goes from `start` to `end` in `steps` steps, by equal factors."""
    return start * (end / start) ** min(1.0, step / max(1, steps))


def agreement(logits: Tensor, noise: Tensor, ids: Tensor, real: Tensor) -> float:
    """Share of sampled tokens that the replayed pass draws again; 1 but for rounding.

    Which is a tie now and then in one precision, and 0.6% of tokens where they were drawn in
    float32 and are replayed in bfloat16, as on a CPU.

    Args:
        logits, noise, ids: as for `straight_through`.
        real: (B, S) bool, False on padding.
    """
    again = (logits + noise).argmax(-1) == ids
    return float(again[real].float().mean()) if real.any() else 1.0
