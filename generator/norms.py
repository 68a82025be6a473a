"""Normalisations to choose from, as functions of the last dimension C; N is rows of a batch."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generator.initialise import SCALE


class ScaleNorm(nn.Module):
    """g x / |x|: one learnt length for the whole vector (Nguyen & Salazar 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.tensor([math.sqrt(width)]))

    def forward(self, x: Tensor) -> Tensor:
        return (F.normalize(x.float(), dim=-1, eps=1e-5) * self.length).to(x.dtype)


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy 2015) of which padding is no part.

    How much of a batch is padding says nothing about music, and at sampling there is none.
    """

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Normalises rows (N, C), in training by the mean and variance of the `real` (N,) ones."""
        if not self.training or real is None:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        rows, weight = x.float(), real.float()[:, None]
        count = weight.sum().clamp(min=1)
        mean = (rows * weight).sum(0) / count
        centred = rows - mean
        variance = (centred.square() * weight).sum(0) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        normal = centred * (variance + self.eps).rsqrt()
        return (normal * self.weight + self.bias).to(x.dtype)


def norm_of(kind: Literal["layer", "rms", "scale", "none"], width: int) -> nn.Module:
    """The normalisation of a name, over C = `width` channels.

    layer: LayerNorm without bias (Ba et al. 2016). rms: RMSNorm (Zhang & Sennrich 2019), which has
    no fused CPU kernel and takes 3 to 4 times as long there. scale: ScaleNorm. none: as it is.
    """
    if kind == "layer":
        return nn.LayerNorm(width, bias=False)
    if kind == "rms":
        return nn.RMSNorm(width, eps=1e-5)
    return ScaleNorm(width) if kind == "scale" else nn.Identity()


def fixed_length(embedding: Tensor) -> Tensor:
    """FixNorm (Nguyen & Chiang 2018): rows of (V, C) at one length, that of a fresh embedding.

    With ScaleNorm before it, the output layer is then a cosine times one learnt number.
    """
    return F.normalize(embedding, dim=-1) * SCALE * math.sqrt(embedding.shape[-1])
