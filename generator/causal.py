"""Causal self-attention in blocks of rows, for training on CPUs.

PyTorch's fused kernel computes attention tile by tile and never keeps its weights, which saves
memory and costs a CPU time: small products, and the weights twice. Here every block of queries is
multiplied with the keys up to its end in one product, so that most of the square above the diagonal
is never computed, and the weights are kept for the backward. Forward and backward together take
half the fused kernel's time in bfloat16 and three quarters in float32 (512 positions).

Shapes: B batch, H heads, T positions, D channels of a head.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 128  # of a block; 64 and 256 are slower at 512 and at 1,024 positions
# Below, calling costs more than it saves; above, what is kept (B H T T bytes) grows too large.
SHORTEST, LONGEST = 64, 1024


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention (B, H, T, D) of each position to itself and those before.

    Equals `scaled_dot_product_attention(..., is_causal=True)` up to rounding, and is that where no
    gradient is asked for and off the CPU. In bfloat16 its scores are rounded before the softmax,
    which the fused kernel's are not: where attention is sharp its errors are some times as large.
    """
    length = query.shape[2]
    learning = torch.is_grad_enabled() and query.requires_grad
    if learning and query.device.type == "cpu" and SHORTEST <= length <= LONGEST:
        if torch.is_autocast_enabled("cpu"):  # which the products of the backward know nothing of
            kind = torch.get_autocast_dtype("cpu")
            query, key, value = query.to(kind), key.to(kind), value.to(kind)
        mixed: Tensor = _Blocks.apply(query, key, value)
        return mixed
    return F.scaled_dot_product_attention(query, key, value, is_causal=length > 1)


class _Blocks(torch.autograd.Function):
    """The products and their gradients, written out: autograd would add up slices of zeros."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        shape = query.shape
        length, channels = shape[2:]
        ctx.scale = 1 / math.sqrt(channels)
        query = (query * ctx.scale).reshape(-1, length, channels)  # (BH, T, D)
        key, value = (each.reshape(-1, length, channels) for each in (key, value))
        later = query.new_full((ROWS, ROWS), -math.inf).triu(1)
        mixed = torch.empty_like(query)
        weights = []
        for start in range(0, length, ROWS):
            end = min(length, start + ROWS)
            scores = torch.bmm(query[:, start:end], key[:, :end].transpose(1, 2))
            scores[:, :, start:] += later[: end - start, : end - start]
            weights.append(scores.softmax(-1))  # (BH, rows, end)
            mixed[:, start:end] = torch.bmm(weights[-1], value[:, :end])
        ctx.save_for_backward(query, key, value, *weights)
        return mixed.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *weights = ctx.saved_tensors
        shape = gradient.shape
        gradient = gradient.reshape(query.shape)
        of_query = torch.empty_like(query)
        # Sums over blocks, in single precision at least.
        of_key, of_value = (
            torch.zeros_like(key, dtype=torch.promote_types(key.dtype, torch.float32))
            for _ in range(2)
        )
        for number, weight in enumerate(weights):
            start, end = number * ROWS, weight.shape[2]
            rows = gradient[:, start:end]
            of_value[:, :end] += torch.bmm(weight.transpose(1, 2), rows)
            of_weight = torch.bmm(rows, value[:, :end].transpose(1, 2))
            of_score = torch._softmax_backward_data(of_weight, weight, -1, weight.dtype)
            of_query[:, start:end] = torch.bmm(of_score, key[:, :end])
            of_key[:, :end] += torch.bmm(of_score.transpose(1, 2), query[:, start:end])
        return (
            of_query.mul_(ctx.scale).view(shape),
            of_key.to(key.dtype).view(shape),
            of_value.to(value.dtype).view(shape),
        )
