"""A decoder-only transformer over music tokens.

Pre-norm blocks, a gated feed-forward part (SwiGLU, Shazeer 2020); by default rotary positions,
LayerNorm without bias, GPT-2's scaled initialisation and tied embeddings. The alternatives live in
`norms`, `positions` and `initialise`. Dropout is on the embedding and on what each part adds; on
the weights of attention it would leave the fused kernels, and cost a CPU half its speed.

Shapes: B batch, T positions, t new positions in a step, P positions already cached, V vocabulary,
C width, H heads, D channels of a head.
"""

import math
from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generator.causal import causal_attention
from generator.initialise import start_transformer
from generator.model import Cache, GeneratorModel, embed
from generator.norms import fixed_length, norm_of
from generator.positions import Places, Positions, rotate
from generator.products import MOST, Products
from generator.settings import TransformerSettings
from generator.single import SingleSteps, suits


class KeyValueCache:
    """Keys and values of the positions read so far; `length` of them are filled.

    Attributes:
        both: (B, 2, H, room, D) a layer, keys and then values; room is `max_len` or a little more.
        single: the way of single steps at batch 1 on a CPU; made by the first one, for it copies
            the weights, which takes as long as some steps.
        products: the way of single steps of more sequences; likewise.
        keys, values: views of these, (B, H, room, D) a layer.
        length: positions filled, equal for all sequences of the batch.
        max_len: positions that may be.
    """

    def __init__(self, both: list[Tensor], max_len: int) -> None:
        self.both, self.max_len = both, max_len
        self.single: SingleSteps | None = None
        self.products: Products | None = None
        self.keys = [layer[:, 0] for layer in both]
        self.values = [layer[:, 1] for layer in both]
        self.length = 0

    @cached_property
    def seen(self) -> Tensor:
        """(room, room) what a position sees of the cache: 0, minus infinity what comes later."""
        first = self.both[0]
        future = torch.full((first.shape[3], first.shape[3]), -torch.inf, device=first.device)
        return future.triu(1)

    def select(self, rows: Tensor) -> None:
        """See `Cache`."""
        for layer in self.both:  # in place: a captured graph knows the memory and not the object
            layer.copy_(layer[rows])

    def clear(self) -> None:
        """See `Cache`; the weights may have changed when it is read into again."""
        self.length, self.single, self.products = 0, None, None


class Attention(nn.Module):
    """Causal self-attention over a whole sequence, or over new positions and a cache."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.mix = nn.Linear(settings.width, 3 * settings.width, bias=False)
        self.out = nn.Linear(settings.width, settings.width, bias=False)
        # Logits of attention cannot grow without bound (Henry et al. 2020; Dehghani et al. 2023).
        channels = settings.width // settings.heads
        self.qk_norm = nn.LayerNorm(channels, bias=False) if settings.qk_norm else None

    def parts(self, x: Tensor, places: Places) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, t, D) of states (B, t, C)."""
        batch, new, _ = x.shape
        mixed = self.mix(x).view(batch, new, 3 * self.heads, -1).transpose(1, 2)  # (B, 3H, t, D)
        # Split and not sliced: the backward of slices adds up whole tensors of zeros.
        pair, value = mixed.split([2 * self.heads, self.heads], 1)
        if self.qk_norm is not None:
            pair = self.qk_norm(pair)
        if places.turns is not None:
            pair = rotate(pair, *places.turns)
        query, key = pair.chunk(2, 1)  # (B, H, t, D)
        return query, key, value

    def forward(self, x: Tensor, places: Places, cache: KeyValueCache | None, layer: int) -> Tensor:
        batch, new, width = x.shape
        query, key, value = self.parts(x, places)
        mask, past = places.bias, 0
        if cache is not None:
            past = cache.length
            keys, values = cache.keys[layer], cache.values[layer]
            keys[:, :, past : past + new] = key
            values[:, :, past : past + new] = value
            key, value = keys[:, :, : past + new], values[:, :, : past + new]
        query, key = query.to(value.dtype), key.to(value.dtype)
        if mask is not None:
            mask = mask.to(value.dtype)
        elif past and new > 1:
            mask = torch.ones(new, past + new, dtype=torch.bool, device=x.device).tril(past)
        if mask is None and not (past and new == 1):
            mixed = causal_attention(query, key, value)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, new, width).to(x.dtype))

    def one(
        self, x: Tensor, places: Places, cache: KeyValueCache, layer: int, times: Products
    ) -> Tensor:
        """The same for one new position (B, C) of each sequence, in as few operations as can be.

        At batch 1 most of a step is not arithmetic but calling for it.
        """
        batch, width = x.shape
        mixed = times(x, self.mix.weight).view(batch, 3 * self.heads, -1)  # (B, 3H, D)
        pair = mixed.narrow(1, 0, 2 * self.heads)
        if self.qk_norm is not None:
            pair.copy_(self.qk_norm(pair))
        if places.turns is not None:
            cosine, sine = places.turns
            halves = pair.roll(pair.shape[-1] // 2, -1)
            pair.mul_(cosine).addcmul_(halves, sine)
        both = cache.both[layer]
        fresh = mixed.view(batch, 3, self.heads, -1).narrow(1, 1, 2)
        if places.at is None:
            both.select(3, cache.length).copy_(fresh)
            both = both.narrow(3, 0, cache.length + 1)
        else:
            both.index_copy_(3, places.at, fresh.unsqueeze(3))
        keys, values = both.unbind(1)
        mixed = F.scaled_dot_product_attention(
            pair.narrow(1, 0, self.heads).unsqueeze(2), keys, values, attn_mask=places.bias
        )
        return mixed.view(batch, width)


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
        self.attention_norm = norm_of(settings.norm, settings.width)
        self.attention = Attention(settings)
        self.feed_forward_norm = norm_of(settings.norm, settings.width)
        self.feed_forward = FeedForward(settings)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, places: Places, cache: KeyValueCache | None, layer: int) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), places, cache, layer))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def one(
        self, x: Tensor, places: Places, cache: KeyValueCache, layer: int, times: Products
    ) -> Tensor:
        """The same for one new position (B, C) of each sequence, without dropout."""
        attention, forward = self.attention, self.feed_forward
        mixed = attention.one(self.attention_norm(x), places, cache, layer, times)
        x = times(mixed, attention.out.weight, x)
        return times.gated(self.feed_forward_norm(x), forward.spread.weight, forward.out.weight, x)


class Transformer(GeneratorModel):
    """See `GeneratorModel`.

    Args:
        vocab_size: V, music tokens and condition tokens together.
        settings: size and regularisation.
    """

    def __init__(self, vocab_size: int, settings: TransformerSettings | None = None) -> None:
        super().__init__()
        settings = settings or TransformerSettings()
        self.settings: TransformerSettings = settings
        self.context = settings.max_length
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, settings.width)
        self.positions = Positions(settings)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = norm_of(settings.norm, settings.width)
        tied = settings.tie_embeddings
        self.head = None if tied else nn.Linear(settings.width, vocab_size, bias=False)
        start_transformer(self, settings)

    def forward(self, x: Tensor) -> Tensor:
        """See `GeneratorModel`."""
        self._check_length(x.shape[1])
        return self._logits(self._states(x, None))

    def new_cache(
        self,
        batch: int,
        max_len: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> KeyValueCache:
        """See `GeneratorModel`; room for `max_len` positions is taken at once.

        It is a multiple of eight: a GPU's attention would copy masks of any other length at every
        step.
        """
        max_len = max_len or self.context
        self._check_length(max_len)
        device = torch.device(device or self.embedding.weight.device)
        dtype = self.cache_type(device, dtype)
        heads = self.settings.heads
        shape = (batch, 2, heads, -(-max_len // 8) * 8, self.settings.width // heads)
        both = [torch.zeros(shape, device=device, dtype=dtype) for _ in self.blocks]
        return KeyValueCache(both, max_len)

    @torch.no_grad()
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """See `GeneratorModel`."""
        assert isinstance(cache, KeyValueCache)
        if cache.length + ids.shape[1] > cache.max_len:
            raise ValueError(f"the cache holds {cache.max_len} positions and is full")
        # In mixed precision the stream itself stays float32, which takes the longer way.
        mixed = cache.both[0].dtype != self.embedding.weight.dtype
        if ids.shape[1] == 1 and not mixed:
            logits = self._next(ids[:, 0], cache)
        else:
            logits = self._logits(self._states(ids, cache)[:, -1])
        cache.length += ids.shape[1]
        return logits

    def _next(self, ids: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (B, V) after one new token (B,) a sequence."""
        if cache.single is None and suits(self, cache):
            cache.single = SingleSteps(self, cache)
        if cache.single is not None:
            return cache.single.step(ids)
        if cache.products is None:
            cache.products = Products(self._matrices() if len(ids) <= MOST else ())
        places = self.positions(cache.length, cache.length + 1)
        states = self._one(ids, cache, places, cache.products)
        return cache.products(states, self._weights_of_logits()).float()

    @torch.no_grad()
    def static_step(self, ids: Tensor, cache: KeyValueCache, at: Tensor) -> Tensor:
        """`step` for one token (B,) at a place (1,) only the device knows, for CUDA graphs.

        Nothing in it depends on how much the cache holds: it attends to all of the cache, with
        what is not filled masked. `cache.length` is left to the caller.
        """
        places = self.positions.place(at, cache.seen)
        return self._logits(self._one(ids, cache, places, Products()))

    def _one(self, ids: Tensor, cache: KeyValueCache, places: Places, times: Products) -> Tensor:
        """(B, C) after one new token (B,) a sequence."""
        states = self.embed(ids)
        if places.vectors is not None:
            states = states + places.vectors
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            states = block.one(states, places, cache, layer, times)
        return self.norm(states)

    def embed(self, x: Tensor) -> Tensor:
        """Vectors (B, T, C) of ids or rows; see `generator.model.embed`."""
        return embed(x, self.weights_of_tokens())

    def weights_of_tokens(self) -> Tensor:
        """(V, C), a vector a token."""
        weight = self.embedding.weight
        return fixed_length(weight) if self.settings.fix_norm else weight

    def _states(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        start = cache.length if cache is not None else 0
        places = self.positions(start, start + x.shape[1])
        states = self.embed(x)  # (B, t, C)
        if places.vectors is not None:
            states = states + places.vectors
        states = self.dropout(states)
        for layer, block in enumerate(self.blocks):
            states = block(states, places, cache, layer)
        return self.norm(states)

    def _logits(self, states: Tensor) -> Tensor:
        return F.linear(states, self._weights_of_logits()).float()

    def _weights_of_logits(self) -> Tensor:
        """(V, C)."""
        return self.weights_of_tokens() if self.head is None else self.head.weight

    def _matrices(self) -> Iterator[Tensor]:
        """What a single step multiplies with."""
        yield from (layer.weight for layer in self.blocks.modules() if isinstance(layer, nn.Linear))
        if not (self.head is None and self.settings.fix_norm):  # made anew at every step
            yield self._weights_of_logits()

    def _check_length(self, length: int) -> None:
        if length > self.context:
            raise ValueError(f"{length} positions exceed the model's max_length of {self.context}")
