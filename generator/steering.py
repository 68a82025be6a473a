"""Guidance at decoding: several continuations of each piece, of which a judge of taste keeps one.

Every so many tokens each piece's companions are scored, and all of them go on from one drawn by
softmax(weight x score): blockwise controlled decoding (Mudgal et al. 2024). Who scores is no
business of the generator's.

Shapes: B rows, `width` companions of each piece one after another; N tokens so far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_tools.errors import UserError

Score = Callable[[Tensor], Tensor]  # music ids (B, N) -> logits (B,)


@dataclass(frozen=True)
class Steering:
    """How continuations are chosen.

    Attributes:
        score: says how good rows of music ids (B, N) are.
        weight: 0 draws evenly; the larger, the surer the best is taken.
        width: companions of each piece.
        block: tokens between two choices.
    """

    score: Score
    weight: float = 1.0
    width: int = 4
    block: int = 64

    def __post_init__(self) -> None:
        if self.weight < 0 or self.width < 2 or self.block < 1:
            raise UserError(
                "guidance needs a weight of 0 or more, 2 companions and a token or more"
            )

    def over(
        self, seeds: Sequence[int], music_start: int
    ) -> Callable[[Tensor, bool], Tensor | None]:
        """The `reselect` of a batch of pieces, drawing by their seeds alone.

        The last choice is made wherever sampling ends: companions that all ended early have theirs
        at once when they are alone, and with the next block in longer company.
        """
        chance = [torch.Generator().manual_seed(seed) for seed in seeds]
        begun: list[int] = []

        def reselect(ids: Tensor, last: bool) -> Tensor | None:
            begun[:] = begun or [ids.shape[1] - 1]
            whole = (ids.shape[1] - begun[0]) % self.block == 0
            if whole == last:  # after a whole block it has been made
                return None
            scores = self.weight * self.score(ids[:, music_start:]).view(-1, self.width).cpu()
            picks = [
                int(row.softmax(0).multinomial(1, generator=one))
                for row, one in zip(scores, chance, strict=True)
            ]
            first = torch.arange(0, len(ids), self.width)
            return (first + torch.tensor(picks)).repeat_interleave(self.width).to(ids.device)

        return reselect
