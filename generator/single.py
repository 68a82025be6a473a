"""One token of one sequence after another on a CPU, through NumPy.

At a token a step most of the time of a small model is not arithmetic: it is calling for it, and the
weights' way from memory. NumPy is called in a third of PyTorch's time, and its library multiplies a
vector by a matrix faster. The weights are the model's, normalisation's gain multiplied into the
matrix after it; the cache is the one that `Transformer.step` fills with prompts.

Shapes: C width, H heads, D channels of a head, L positions up to here, V vocabulary.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from generator.transformer import Block, KeyValueCache, Transformer

Array = np.ndarray[Any, np.dtype[np.float32]]


class _Layer(NamedTuple):
    """A block's matrices, (in, out) each, contiguous."""

    mix: Array
    attention_out: Array
    spread: Array
    out: Array


def suits(model: "Transformer", cache: "KeyValueCache") -> bool:
    """Whether this way is open: one sequence, float32, a CPU, and no rarer option."""
    settings, memory = model.settings, cache.both[0]
    return (
        len(memory) == 1
        and memory.device.type == "cpu"
        and memory.dtype == model.embedding.weight.dtype == torch.float32
        and settings.norm in ("layer", "rms")
        and settings.positions != "relative"
        and not settings.qk_norm
    )


class SingleSteps:
    """`Transformer.step` for single tokens, of a model whose weights stay as they are.

    Args:
        model: one that `suits`.
        cache: its cache.
    """

    def __init__(self, model: "Transformer", cache: "KeyValueCache") -> None:
        self._cache = cache
        self._centred = model.settings.norm == "layer"
        blocks: list[Block] = list(model.blocks)  # type: ignore[arg-type]
        self._epsilon = float(model.norm.eps)  # type: ignore[arg-type]
        self._layers = [_layer(block) for block in blocks]
        embedding = model.weights_of_tokens()
        self._embedding = _array(embedding)
        head = embedding if model.head is None else model.head.weight
        self._head = _after(model.norm, head)
        self._both = [_array(both)[0] for both in cache.both]  # (2, H, room, D)
        places = model.positions(0, cache.max_len)
        self._turns = None if places.turns is None else [_array(each) for each in places.turns]
        self._vectors = None if places.vectors is None else _array(places.vectors)

    def step(self, ids: Tensor) -> Tensor:
        """Logits (1, V) after one more token (1,); `cache.length` is left to the caller."""
        at = self._cache.length
        x = self._embedding[int(ids)]
        if self._vectors is not None:
            x = x + self._vectors[at]
        # A gate's exponential may be infinite; what is divided by it is nothing, as it should be.
        with np.errstate(over="ignore"):
            for layer, both in zip(self._layers, self._both, strict=True):
                x = x + self._attention(self._normal(x) @ layer.mix, both, at) @ layer.attention_out
                spread = self._normal(x) @ layer.spread
                gate, up = spread[: len(spread) // 2], spread[len(spread) // 2 :]
                up *= gate
                np.negative(gate, out=gate)
                np.exp(gate, out=gate)
                gate += 1
                up /= gate  # silu(gate) * up
                x += up @ layer.out
        return torch.from_numpy(self._normal(x) @ self._head)[None]

    def _normal(self, x: Array) -> Array:
        """x (C,) centred, if that is the norm's way, and at length √C."""
        if self._centred:
            x = x - np.add.reduce(x) / len(x)
        return x * (np.dot(x, x) / len(x) + self._epsilon) ** -0.5

    def _attention(self, mixed: Array, both: Array, at: int) -> Array:
        """What is attended to (C,), of queries, keys and values (3C,) and those before."""
        _, heads, _, channels = both.shape
        parts = mixed.reshape(3, heads, channels)
        pair, half = parts[:2], channels // 2
        if self._turns is not None:
            cosine, sine = self._turns[0][at], self._turns[1][at]
            turned = pair * cosine
            turned[..., :half] += pair[..., half:] * sine[:half]
            turned[..., half:] += pair[..., :half] * sine[half:]
            pair = turned
        both[0, :, at] = pair[1]
        both[1, :, at] = parts[2]
        keys, values = both[:, :, : at + 1]
        scores = keys @ (pair[0] * channels**-0.5)[..., None]  # (H, L, 1)
        scores -= np.maximum.reduce(scores, 1, keepdims=True)
        np.exp(scores, out=scores)
        weights = scores.swapaxes(1, 2)  # (H, 1, L)
        found: Array = weights @ values / np.add.reduce(weights, 2, keepdims=True)
        return found.reshape(-1)


def _array(tensor: Tensor) -> Array:
    """The same memory."""
    return tensor.detach().numpy()


def _after(norm: nn.Module, weight: Tensor) -> Array:
    """A matrix (in, out) that stands after a norm: its gain is in it."""
    gain: Tensor = norm.weight  # type: ignore[assignment]
    return _array((weight.detach() * gain.detach()).t().contiguous())


def _layer(block: "Block") -> _Layer:
    attention, forward = block.attention, block.feed_forward
    return _Layer(
        _after(block.attention_norm, attention.mix.weight),
        _array(attention.out.weight.t().contiguous()),
        _after(block.feed_forward_norm, forward.spread.weight),
        _array(forward.out.weight.t().contiguous()),
    )
