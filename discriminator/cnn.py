"""A dilated CNN that tells jazz from not-jazz, token by token or note by note.

Residual blocks with dilations 1, 2, 4, ... (WaveNet, van den Oord et al. 2016; TCN, Bai et al.
2018) see some 250 tokens at once at a fraction of attention's cost, and their gradients reach every
token. The norm is over the channels of one position, so that neither padding nor the other pieces
of a batch touch a score.

Letters: B pieces, S positions after the stem, C channels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from discriminator.body import SequenceDiscriminator
from discriminator.layers import Convolution, blind
from discriminator.notes import TokenTable
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


class DilatedCNN(SequenceDiscriminator):
    """The default discriminator; see `CNNSettings` for its size and `SequenceDiscriminator`."""

    def __init__(
        self, settings: CNNSettings, table: TokenTable, groups: Sequence[int] | None = None
    ) -> None:
        super().__init__(settings, table, groups)
        self.blocks = nn.ModuleList(
            Block(settings.width, settings.kernel, 2**depth, settings.dropout)
            for depth in range(settings.blocks)
        )

    def body(self, h: Tensor, real: Tensor) -> Tensor:
        """Channels (B, S, C) and which positions are real (B, S) to channels (B, S, C)."""
        for block in self.blocks:
            h = block(h, real)
        return h
