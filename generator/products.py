"""Products of a few rows with a model's weights, for steps of one token a sequence.

Such a step reads every weight and uses it once a sequence: on a CPU the weights' way from memory is
what takes the time. Where their values are float16's, as those of a generator that was saved so
are, they stay float16 until they are multiplied (FBGEMM, Khudia et al. 2021): half the way, and
nothing is lost, for sums are float32. A step then takes 0.5 to 0.6 of its time for 2 to 8 sequences
and 0.75 for 16; a single one has a way of its own (`generator.single`).

Shapes: B rows, I in, O out.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 24  # above, a weight is used so often that its way is no matter


class Products:
    """Rows times weights.

    Args:
        weights: (O, I) each, which stay as they are as long as this is used.
    """

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        self._packed = _packed(list(weights))

    def __call__(self, x: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        """Rows x (B, I) times a weight (O, I), and rows (B, O) added."""
        packed = self._packed.get(weight)
        if packed is not None and x.dtype == torch.float32:
            found: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, packed)
            return found if added is None else found.add_(added)
        if x.device.type == "cpu":
            # The few columns stand on the right: the library shares out the rows on the left.
            found = weight.mm(x.t()).t()
            return found.contiguous() if added is None else added + found
        return x.mm(weight.t()) if added is None else torch.addmm(added, x, weight.t())

    def gated(self, x: Tensor, spread: Tensor, out: Tensor, added: Tensor) -> Tensor:
        """SwiGLU of rows x (B, I) by weights (2 · hidden, I) and (O, hidden), and rows added."""
        half = spread in self._packed and x.dtype == torch.float32
        if x.device.type == "cpu" and not half:  # columns all the way
            gate, up = spread.mm(x.t()).chunk(2)
            return added + out.mm(F.silu(gate).mul_(up)).t()
        gate, up = self(x, spread).chunk(2, -1)
        return self(F.silu(gate).mul_(up), out, added)


def _packed(weights: list[Tensor]) -> dict[Tensor, Any]:
    """Of each weight its float16 form; empty where one of them would be changed."""
    packed = {}
    for weight in weights:
        if weight.device.type != "cpu" or weight.dtype != torch.float32 or not is_half(weight):
            return {}
        try:
            packed[weight] = torch.ops.quantized.linear_prepack_fp16(weight.detach(), None)
        except RuntimeError:  # another processor than x86 with AVX2
            return {}
    return packed


def is_half(weight: Tensor) -> bool:
    """Whether float16 holds every value as it is."""
    return torch.equal(weight.half().float(), weight)
