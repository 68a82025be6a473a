"""How attention learns where a token stands: rotary, learned or relative positions.

Computed once a pass and shared by all layers.

Shapes: T positions, t new positions, C width, H heads, D channels of a head.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from generator.settings import TransformerSettings

ROTARY_BASE = 10_000.0
BUCKETS, FAR = 32, 256  # of relative positions: exact up to 16 back, logarithmic up to FAR


@dataclass(frozen=True)
class Places:
    """What a pass over positions [start, stop) needs.

    Attributes:
        turns: cosines and signed sines, (t, D) each; None but for rotary positions.
        bias: (H, t, stop) added to attention scores, minus infinity at the future; None but for
            relative positions.
        vectors: (t, C) added to the embeddings; None but for learned positions.
        at: (1,) the one position, where only the device knows it; `bias` then masks the rest.
    """

    turns: tuple[Tensor, Tensor] | None
    bias: Tensor | None
    vectors: Tensor | None
    at: Tensor | None = None


class Positions(nn.Module):
    """Rotary (Su et al. 2021): queries and keys turned by angles that grow with the position.

    Learned (GPT-2, Radford et al. 2019): a vector a position, added to the embedding. Relative (T5,
    Raffel et al. 2020): a learnt bias a head for how far back a key lies, in buckets.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.kind, length = settings.positions, settings.max_length
        if self.kind == "rotary":
            cosine, sine = rotary_tables(length, settings.width // settings.heads)
            self.register_buffer("cosine", cosine, persistent=False)
            self.register_buffer("sine", sine, persistent=False)
        elif self.kind == "learned":
            self.table = nn.Embedding(length, settings.width)
        elif self.kind == "relative":
            self.table = nn.Embedding(BUCKETS, settings.heads)

    def forward(self, start: int, stop: int) -> Places:
        if self.kind == "rotary":
            return Places((self.cosine[start:stop], self.sine[start:stop]), None, None)
        if self.kind == "learned":
            return Places(None, None, self.table.weight[start:stop])
        if self.kind == "relative":
            device = self.table.weight.device
            here = torch.arange(start, stop, device=device)[:, None]
            back = here - torch.arange(stop, device=device)  # (t, stop)
            bias = self.table(bucket(back)).permute(2, 0, 1)  # (H, t, stop)
            return Places(None, bias.masked_fill(back < 0, -torch.inf), None)
        return Places(None, None, None)

    def place(self, at: Tensor, seen: Tensor) -> Places:
        """The same for one position `at` (1,), by its value on the device.

        Args:
            at: which.
            seen: (N, N) added to what each position sees of N: 0, or minus infinity.
        """
        bias = seen.index_select(0, at)  # (1, N)
        if self.kind == "rotary":
            turns = self.cosine.index_select(0, at), self.sine.index_select(0, at)
            return Places(turns, bias, None, at)
        if self.kind == "learned":
            return Places(None, bias, self.table.weight.index_select(0, at), at)
        if self.kind == "relative":
            back = at - torch.arange(len(seen), device=at.device)  # (N,)
            bias = self.table(bucket(back)).T[:, None] + bias  # (H, 1, N)
        return Places(None, bias, None, at)


def bucket(back: Tensor) -> Tensor:
    """The bucket of a distance backwards: itself up to half the buckets, then logarithmic."""
    exact = BUCKETS // 2
    far = torch.log(back.clamp(min=1) / exact) / math.log(FAR / exact) * (BUCKETS - exact)
    coarse = (exact + far.long()).clamp(max=BUCKETS - 1)
    return torch.where(back < exact, back.clamp(min=0), coarse)


def rotary_tables(length: int, channels: int) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of every position, (length, channels) each, float32.

    The first half of the sines is negative, so that `rotate` needs a roll and no negation.
    """
    frequency = ROTARY_BASE ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency)  # (length, D / 2)
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat([cosine, cosine], 1).float(), torch.cat([-sine, sine], 1).float()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns each channel pair (d, d + D/2) of `x` (..., T, D) by its position's angle."""
    turned = torch.addcmul(x * cosine, x.roll(x.shape[-1] // 2, -1), sine)
    return turned.to(x.dtype)
