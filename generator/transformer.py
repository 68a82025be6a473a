"""A decoder-only transformer over music tokens.

Pre-norm blocks, rotary positions (Su et al. 2021), a gated feed-forward part (SwiGLU, Shazeer 2020)
and GPT-2's scaled initialisation; layer norm without bias rather than RMSNorm, which has no fused
CPU kernel and takes 3 to 4 times as long there. Two ways through the same weights: `forward` reads
a whole sequence at once and carries gradients; `step` reads the next tokens against a preallocated
key-value cache, for sampling. Relaxed one-hot rows may stand in for ids, so that a gradient can
flow back through tokens the model has drawn itself.

Shapes: B batch, T positions, t new positions in a step, P positions already cached, V vocabulary,
C width, H heads, D channels of a head.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generator.settings import TransformerSettings

ROTARY_BASE = 10_000.0


@dataclass
class KeyValueCache:
    """Keys and values of the positions read so far; `length` of them are filled.

    Attributes:
        keys: one (B, H, max_len, D) tensor a layer.
        values: the same.
        length: positions filled, equal for all sequences of the batch.
    """

    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0

    @property
    def max_len(self) -> int:
        return self.keys[0].shape[2]


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


class Attention(nn.Module):
    """Causal self-attention over a whole sequence, or over new positions and a cache."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.dropout = settings.dropout
        self.mix = nn.Linear(settings.width, 3 * settings.width, bias=False)
        self.out = nn.Linear(settings.width, settings.width, bias=False)

    def forward(
        self, x: Tensor, cosine: Tensor, sine: Tensor, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        batch, new, width = x.shape
        mixed = self.mix(x).view(batch, new, 3 * self.heads, -1).transpose(1, 2)  # (B, 3H, t, D)
        turned = rotate(mixed[:, : 2 * self.heads], cosine, sine)
        query, key = turned[:, : self.heads], turned[:, self.heads :]
        value = mixed[:, 2 * self.heads :]  # (B, H, t, D)
        mask, past = None, 0
        if cache is not None:
            past = cache.length
            keys, values = cache.keys[layer], cache.values[layer]
            keys[:, :, past : past + new] = key
            values[:, :, past : past + new] = value
            key, value = keys[:, :, : past + new], values[:, :, : past + new]
            query = query.to(key.dtype)
            if past and new > 1:
                mask = torch.ones(new, past + new, dtype=torch.bool, device=x.device).tril(past)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=not past and new > 1,
        )
        return self.out(mixed.transpose(1, 2).reshape(batch, new, width).to(x.dtype))


class FeedForward(nn.Module):
    """SwiGLU, sized to weigh as much as a two-matrix MLP of `mlp_ratio`."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        # Multiples of 16 keep the matrix products on fast paths.
        hidden = 16 * math.ceil(settings.mlp_ratio * settings.width * 2 / 3 / 16)
        self.spread = nn.Linear(settings.width, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, settings.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.spread(x).chunk(2, -1)
        return self.out(F.silu(gate) * up)


class Block(nn.Module):
    """Attention and feed-forward, each normalised before and added after."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(settings.width, bias=False)
        self.attention = Attention(settings)
        self.feed_forward_norm = nn.LayerNorm(settings.width, bias=False)
        self.feed_forward = FeedForward(settings)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(
        self, x: Tensor, cosine: Tensor, sine: Tensor, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        mixed = self.attention(self.attention_norm(x), cosine, sine, cache, layer)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Transformer(nn.Module):
    """Predicts the next music token from those before it.

    Args:
        vocab_size: V, music tokens and condition tokens together.
        settings: size and regularisation.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, vocab_size: int, settings: TransformerSettings | None = None) -> None:
        super().__init__()
        settings = settings or TransformerSettings()
        self.settings = settings
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, settings.width)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width, bias=False)
        tied = settings.tie_embeddings
        self.head = None if tied else nn.Linear(settings.width, vocab_size, bias=False)
        cosine, sine = rotary_tables(settings.max_length, settings.width // settings.heads)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        residual = 0.02 / math.sqrt(2 * self.settings.layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=residual if name.endswith("out.weight") else 0.02)

    def embed(self, x: Tensor) -> Tensor:
        """Vectors of tokens, (B, T, C), from ids (B, T) or from float rows (B, T, W), W <= V.

        Rows narrower than the vocabulary hold music tokens alone: conditions come last in it.
        """
        if not x.is_floating_point():
            return self.embedding(x)
        return x @ self.embedding.weight[: x.shape[-1]].to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the token after each position.

        Args:
            x: ids (B, T), or one-hot or relaxed rows (B, T, W) with W <= V; T <= max_length.

        Returns:
            (B, T, V), float32 whatever the autocast.

        Raises:
            ValueError: a sequence longer than the context.
        """
        self._check_length(x.shape[1])
        return self._logits(self._states(x, None))

    def new_cache(
        self,
        batch: int,
        max_len: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> KeyValueCache:
        """An empty cache for `batch` aligned sequences.

        The device defaults to the weights', the dtype to the autocast's and then the weights'.
        """
        max_len = max_len or self.settings.max_length
        self._check_length(max_len)
        heads, weight = self.settings.heads, self.embedding.weight
        device = torch.device(device or weight.device)
        if dtype is None and torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        shape = (batch, heads, max_len, self.settings.width // heads)
        keys, values = (
            [torch.zeros(shape, device=device, dtype=dtype or weight.dtype) for _ in self.blocks]
            for _ in range(2)
        )
        return KeyValueCache(keys, values)

    def step(self, ids: Tensor, cache: KeyValueCache) -> Tensor:
        """Reads the next t >= 1 tokens of every sequence and adds them to the cache.

        Args:
            ids: (B, t).
            cache: from `new_cache`; changed in place.

        Returns:
            Logits of the token after the last one, (B, V), float32.

        Raises:
            ValueError: the cache has no room for t more positions.
        """
        if cache.length + ids.shape[1] > cache.max_len:
            raise ValueError(f"the cache holds {cache.max_len} positions and is full")
        states = self._states(ids, cache)
        cache.length += ids.shape[1]
        return self._logits(states[:, -1])

    def _states(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        start = cache.length if cache is not None else 0
        stop = start + x.shape[1]
        cosine, sine = self.cosine[start:stop], self.sine[start:stop]
        states = self.dropout(self.embed(x))  # (B, t, C)
        for layer, block in enumerate(self.blocks):
            states = block(states, cosine, sine, cache, layer)
        return self.norm(states)

    def _logits(self, states: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(states, weight).float()

    def _check_length(self, length: int) -> None:
        if length > self.settings.max_length:
            raise ValueError(
                f"{length} positions exceed the model's max_length of {self.settings.max_length}"
            )
