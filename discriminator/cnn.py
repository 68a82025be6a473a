"""A dilated CNN that tells jazz from not-jazz, token by token.

Residual blocks with dilations 1, 2, 4, ... (WaveNet, van den Oord et al. 2016; TCN, Bai et al.
2018) see some 250 tokens at once at a fraction of attention's cost, and their gradients reach every
token. The norm is over the channels of one position, so that neither padding nor the other pieces
of a batch touch a score.

Letters: B pieces, T tokens, S positions after the stem, V vocabulary, C channels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from discriminator.layers import Convolution, Head, Stem, TokenEmbedding, blind, pool
from discriminator.settings import CNNSettings


class Block(nn.Module):
    """x + pointwise(gelu(dilated(norm(x)))); what enters the dilated convolution is masked.

    Padded positions of the result hold leftovers; the masks of the next block and of the pooling
    keep those from everything else.
    """

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dilated = Convolution(width, kernel, dilation=dilation)
        self.pointwise = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:  # (B, S, C), (B, S) -> (B, S, C)
        branch = self.dilated(blind(self.norm(h), mask))
        return h + self.dropout(self.pointwise(F.gelu(branch)))


class DilatedCNN(nn.Module):
    """The default discriminator; see `CNNSettings` for its size.

    Args:
        settings: the size.
        vocab_size: V.
        groups: see `TokenEmbedding`.
    """

    def __init__(
        self, settings: CNNSettings, vocab_size: int, groups: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        width = settings.width
        self.embedding = TokenEmbedding(vocab_size, width, groups)
        self.stem = Stem(width, settings.stride)
        self.blocks = nn.ModuleList(
            Block(width, settings.kernel, 2**depth, settings.dropout)
            for depth in range(settings.blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.head = Head(3 * width, width, settings.dropout)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head reads: ids (B, T) or rows (B, T, V), mask (B, T) to (B, 3C), float32."""
        h, real = self.embedding(x, mask)
        h, real = self.stem(h, real)
        for block in self.blocks:
            h = block(h, real)
        return pool(self.norm(h), real)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logit of p(jazz), (B,) float32.

        Args:
            x: ids (B, T) int64, or rows (B, T, V) float with the same weights.
            mask: (B, T) bool, True = real token; padding is masked in any case.
        """
        return self.head(self.features(x, mask)).squeeze(-1).float()
