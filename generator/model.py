"""What every generator is: a model that predicts the next token, at once or step by step.

Two ways through the same weights: `forward` reads whole sequences and carries gradients; `step`
reads the next tokens against a memory of those before, for sampling. Relaxed one-hot rows may stand
in for ids, so that a gradient can flow back through tokens the model has drawn itself.

Shapes: B batch, T positions, t new positions in a step, V vocabulary, W <= V, C width.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from generator.settings import LSTMSettings, ModelSettings


class Cache(Protocol):
    """What a model remembers of the positions read so far.

    Attributes:
        length: positions read, equal for all sequences of the batch.
        max_len: positions it has room for.
    """

    length: int

    @property
    def max_len(self) -> int: ...

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows (B,) of the batch, some perhaps more than once."""

    def clear(self) -> None:
        """Forgets everything."""


class GeneratorModel(nn.Module, ABC):
    """Predicts the next music token from those before it.

    Attributes:
        vocab_size: V, music tokens and condition tokens together.
        settings: what it is made of.
        context: positions it can read at once, and in all before something must be forgotten.
    """

    vocab_size: int
    settings: ModelSettings
    context: int
    embedding: nn.Embedding

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Logits of the token after each position.

        Args:
            x: ids (B, T), or one-hot or relaxed rows (B, T, W); T <= context.

        Returns:
            (B, T, V), float32 whatever the autocast.

        Raises:
            ValueError: a sequence longer than the context.
        """

    @abstractmethod
    def new_cache(
        self,
        batch: int,
        max_len: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Cache:
        """An empty memory for `batch` aligned sequences.

        The device defaults to the weights', the dtype to the autocast's and then the weights'.
        """

    @abstractmethod
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """Reads the next t >= 1 tokens of every sequence, without gradient.

        Args:
            ids: (B, t).
            cache: from `new_cache`; changed in place.

        Returns:
            Logits of the token after the last one, (B, V), float32.

        Raises:
            ValueError: the cache has no room for t more positions.
        """

    def cache_type(self, device: torch.device, dtype: torch.dtype | None) -> torch.dtype:
        """The dtype of a new cache."""
        if dtype is None and torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return dtype or self.embedding.weight.dtype


def build(vocab_size: int, settings: ModelSettings) -> GeneratorModel:
    """The model that settings ask for, with initial weights."""
    # Here: both are built on this module.
    from generator.lstm import LSTM
    from generator.transformer import Transformer

    if isinstance(settings, LSTMSettings):
        return LSTM(vocab_size, settings)
    return Transformer(vocab_size, settings)


def embed(x: Tensor, weight: Tensor) -> Tensor:
    """Vectors of tokens, (B, T, C), from ids (B, T) or from float rows (B, T, W).

    Rows narrower than the vocabulary hold music tokens alone: conditions come last in it.
    """
    if not x.is_floating_point():
        return nn.functional.embedding(x, weight)
    return x @ weight[: x.shape[-1]].to(x.dtype)
