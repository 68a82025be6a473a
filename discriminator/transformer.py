"""A transformer encoder that tells jazz from not-jazz, of another family than the CNN.

Pre-norm layers with rotary positions (Su et al. 2021), which need no longest length, over a
convolution that may shorten the sequence; pooled over the real positions, without a CLS token.

Letters: B pieces, S positions after the stem, C channels, H heads, D channels per head.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discriminator.body import SequenceDiscriminator
from discriminator.layers import widened
from discriminator.notes import TokenTable
from discriminator.settings import TransformerSettings


def rotary(length: int, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (S, D/2) of the angles that positions 0..S-1 turn channel pairs by."""
    rate = 10_000.0 ** (-torch.arange(0, channels, 2, device=device) / channels)  # (D/2,)
    angle = torch.arange(length, device=device)[:, None] * rate  # (S, D/2)
    return angle.cos(), angle.sin()


def turn(h: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the channel pairs of (B, H, S, D) by their position's angles."""
    a, b = widened(h).chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(h.dtype)


class Layer(nn.Module):
    """Masked self-attention and a feed-forward net, each behind a norm and a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, keys: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, S, C) to (B, S, C); `keys` (B, 1, 1, S) says which positions may be attended to."""
        qkv = self.qkv(self.attention_norm(h)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, S, D)
        mixed = F.scaled_dot_product_attention(
            turn(q, cos, sin), turn(k, cos, sin), v, attn_mask=keys
        )
        h = h + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return h + self.dropout(self.feed(self.feed_norm(h)))


class TransformerEncoder(SequenceDiscriminator):
    """The attention discriminator; see `TransformerSettings` for its size.

    With a stride over 1 it is a convolutional stem and a transformer. A gradient penalty
    differentiates twice, which only the plain attention kernel can: run it within
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.
    """

    def __init__(
        self, settings: TransformerSettings, table: TokenTable, groups: Sequence[int] | None = None
    ) -> None:
        super().__init__(settings, table, groups)
        self.head_width = settings.width // settings.heads
        self.layers = nn.ModuleList(
            Layer(settings.width, settings.heads, settings.dropout) for _ in range(settings.layers)
        )

    def body(self, h: Tensor, real: Tensor) -> Tensor:
        """Channels (B, S, C) and which positions are real (B, S) to channels (B, S, C)."""
        # A row without a single key would be a softmax over nothing, so an empty piece sees all.
        keys = (real | ~real.any(1, keepdim=True))[:, None, None]  # (B, 1, 1, S)
        cos, sin = rotary(h.shape[1], self.head_width, h.device)
        for layer in self.layers:
            h = layer(h, keys, cos, sin)
        return h
