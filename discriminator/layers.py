"""The parts both discriminators share: the token embedding, the strided stem, pooling and the head.

All are blind to padding: a masked position is zeroed before it can reach a neighbour, so padding at
the right changes no score. Ids and one-hot (or relaxed) rows go through the same weights, which is
what lets a Gumbel-softmax relaxation (Jang et al. 2017) carry gradients to a generator.

Letters: B pieces, T tokens, S positions after the stem (T / stride, rounded up), V vocabulary,
C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 0


def widened(x: Tensor) -> Tensor:
    """`x` in float32 whatever the autocast, or in float64 where a whole model is."""
    return x if x.dtype == torch.float64 else x.float()


def blind(h: Tensor, mask: Tensor) -> Tensor:
    """Zeroes `h` (B, S, C) wherever `mask` (B, S) is False, so that no gradient passes there."""
    return h.masked_fill(~mask[..., None], 0.0)


class TokenEmbedding(nn.Module):
    """Embeds token ids, or rows of weights over the vocabulary, with one table.

    Args:
        vocab_size: V, the music tokens (condition tokens are never shown to a discriminator).
        width: C.
        groups: for each token the token in whose place it is seen (V,), or None to see them all.
            Tokens of one group are indistinguishable, see `discriminator.tied_tokens`. The groups
            are stored with the weights, so what a model sees cannot drift from what it learnt.
    """

    groups: Tensor

    def __init__(self, vocab_size: int, width: int, groups: Sequence[int] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, width))
        with torch.no_grad():
            self.weight[PAD] = 0.0
        seen_as = torch.arange(vocab_size) if groups is None else torch.tensor(groups)
        if seen_as.shape != (vocab_size,):
            raise ValueError(f"groups name {len(seen_as)} tokens, the vocabulary has {vocab_size}")
        self.register_buffer("groups", seen_as.long())

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embeds `x`, ids (B, T) or rows (B, T, V), to (B, T, C); also returns the mask (B, T).

        A position is real where the id is not PAD, or where at least half the row's mass lies off
        PAD (a row of zeros is padding too), and where `mask`, if given, agrees.
        """
        if x.is_floating_point():
            real = x.detach()[..., 1:].sum(-1) >= 0.5  # (B, T)
            h = x.to(self.weight.dtype) @ self.weight[self.groups]  # (B, T, C)
        else:
            real = x != PAD
            h = F.embedding(self.groups[x], self.weight)
        if mask is not None:
            real = real & mask
        return blind(h, real), real


class Convolution(nn.Conv2d):
    """A convolution over positions, (B, S, C) to (B, S', C).

    In two dimensions, one of them flat: seen so, (B, S, C) is PyTorch's channels-last layout, which
    needs no transposing copies. That is a quarter of a CPU step saved against `Conv1d`.
    """

    def __init__(self, width: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            width,
            width,
            (1, kernel),
            stride=(1, stride),
            dilation=(1, dilation),
            padding=(0, dilation * (kernel // 2)),
        )

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)


class Stem(nn.Module):
    """A convolution that folds `stride` tokens into one position: most of the speed on a CPU."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = Convolution(width, 2 * stride + 1, stride=stride)

    def forward(self, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, T, C) and its mask (B, T) to (B, S, C) and (B, S).

        A position is real where any of its tokens is; the kernel spans all of them.
        """
        # Padded by hand and pooled in two dimensions: `ceil_mode` fixes the length on export.
        room = F.pad(mask.float()[:, None, None], (0, self.stride - 1))
        folded = F.max_pool2d(room, (1, self.stride))[:, 0, 0] > 0.5
        return blind(self.conv(h), folded), folded


def pool(h: Tensor, mask: Tensor) -> Tensor:
    """Mean, maximum and standard deviation over the real positions: (B, S, C) to (B, 3C), float32.

    A piece with no real position pools to zeros (and the floor of the deviation).
    """
    h = blind(widened(h), mask)
    count = mask.sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    mean = h.sum(1) / count
    spread = blind(h - mean[:, None], mask).square().sum(1) / count
    top = h.masked_fill(~mask[..., None], float("-inf")).amax(1)
    top = top.masked_fill(~mask.any(1, keepdim=True), 0.0)
    return torch.cat([mean, top, (spread + 1e-5).sqrt()], dim=-1)


class Head(nn.Sequential):
    """Features (B, D) to one logit a piece, through one hidden layer."""

    def __init__(self, features: int, width: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(features),
            nn.Dropout(dropout),
            nn.Linear(features, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, 1),
        )
