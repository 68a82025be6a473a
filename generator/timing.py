"""A steadier beat: a lower temperature for when, and not for how soon.

A small model knows about when the next note comes, and what it draws is scattered around the beat
that a player would keep. A lower temperature mends that at a price: it favours the commonest time
shifts, which are short, and the music gets busier. Here shifts are tempered in neighbourhoods:
each neighbourhood keeps the probability it had, and within it the likelier shifts get more of it.
Neighbourhoods overlap and add up to one (a partition of unity, Gaussian in the logarithm of time),
so there are no edges; but what falls off steeply still moves a little towards the shorter.

Shapes: B batch, V vocabulary, M time shifts, as many as neighbourhoods.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_tools.representation import Representation, TokenType

REACH = 0.3  # of a shift's length: the standard deviation of its neighbourhood
_FAR = 1e-6  # what has less of its weight in a neighbourhood is not in it
_SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Shifts:
    """The tokens that let time pass.

    Attributes:
        ids: (M,) int64.
        belongs: (M, M) float32, rows add up to 1: how far a shift belongs to the neighbourhood of
            another.
    """

    ids: Tensor
    belongs: Tensor

    @classmethod
    def of(
        cls, representation: Representation, device: torch.device | str = "cpu"
    ) -> "Shifts | None":
        """Those of a representation; None where time is told by places in a bar (`remi`)."""
        ids = np.flatnonzero(representation.token_types == TokenType.TIME_SHIFT)
        if not len(ids):
            return None
        length = np.log(representation.token_values[ids].astype(np.float64))
        near = np.exp(-(((length[:, None] - length) / REACH) ** 2) / 2)
        near[near < _FAR] = 0
        belongs = (near / near.sum(1, keepdims=True)).astype(np.float32)
        return cls(torch.as_tensor(ids, device=device), torch.as_tensor(belongs, device=device))

    def steadied(self, scores: Tensor, power: float) -> Tensor:
        """Scores (B, V), float32, with time shifts tempered in their neighbourhoods.

        Args:
            scores: logits, minus infinity where a token is ruled out, as it then stays.
            power: within a neighbourhood probabilities are raised to it: 1 changes nothing, more
                makes the likelier moments likelier.

        Returns:
            (B, V): all shifts together are as likely as they were, and so is every other token.
        """
        own = scores.index_select(1, self.ids)
        top = own.amax(1, keepdim=True)
        p = (own - top).exp().nan_to_num(0.0)  # none allowed: infinity from infinity
        raised = p**power
        kept = (p @ self.belongs) / (raised @ self.belongs).clamp_min(_SMALLEST)
        return scores.index_copy(1, self.ids, (raised * (kept @ self.belongs.T)).log() + top)
