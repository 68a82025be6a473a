"""The classic: an embedding, stacked LSTMs (Hochreiter & Schmidhuber 1997), a dense ReLU head.

It has no context to overrun: what it knows of the past is in its cells, so sampling goes on for as
long as is wanted.

Shapes: B batch, T positions, V vocabulary, C width, N hidden, L layers.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.representation import PAD
from generator.initialise import start_embedding
from generator.model import Cache, GeneratorModel, embed
from generator.norms import TokenBatchNorm
from generator.settings import LSTMSettings


@dataclass
class Cells:
    """Outputs and cells after the positions read so far, (L, B, N) each."""

    hidden: Tensor
    cell: Tensor
    length: int = 0
    max_len: int = sys.maxsize

    def select(self, rows: Tensor) -> None:
        """See `Cache`."""
        self.hidden, self.cell = self.hidden[:, rows], self.cell[:, rows]

    def clear(self) -> None:
        """See `Cache`."""
        self.hidden, self.cell = torch.zeros_like(self.hidden), torch.zeros_like(self.cell)
        self.length = 0


class LSTM(GeneratorModel):
    """See `GeneratorModel`.

    Args:
        vocab_size: V.
        settings: size and regularisation.
    """

    context = sys.maxsize

    def __init__(self, vocab_size: int, settings: LSTMSettings | None = None) -> None:
        super().__init__()
        settings = settings or LSTMSettings()
        self.settings: LSTMSettings = settings
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, settings.width)
        start_embedding(self.embedding.weight, settings.embedding_start)
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = nn.LSTM(
            settings.width,
            settings.hidden,
            settings.layers,
            batch_first=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )
        # Remember at first (Jozefowicz et al. 2015): a forget gate's bias of 1, over its two parts.
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias"):
                nn.init.constant_(bias.detach()[settings.hidden : 2 * settings.hidden], 0.5)
        sizes = [settings.hidden] + [settings.width] * settings.dense
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(
            TokenBatchNorm(settings.width) if settings.batch_norm else nn.Identity()
            for _ in self.dense
        )
        self.head = None if settings.tie_embeddings else nn.Linear(sizes[-1], vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """See `GeneratorModel`; PAD inputs take no part in the statistics of a batch."""
        vectors = self.dropout(embed(x, self.embedding.weight))
        with self._differentiable(vectors.device):
            states, _ = self.lstm(vectors)
        real = x[..., PAD] < 0.5 if x.is_floating_point() else x != PAD
        return self._logits(states, real.flatten())

    def new_cache(
        self,
        batch: int,
        max_len: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Cells:
        """See `GeneratorModel`; `max_len` is no limit here."""
        device = torch.device(device or self.embedding.weight.device)
        shape = (self.settings.layers, batch, self.settings.hidden)
        zeros = torch.zeros(shape, device=device, dtype=dtype or self.embedding.weight.dtype)
        return Cells(zeros, zeros.clone())

    @torch.no_grad()
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """See `GeneratorModel`."""
        assert isinstance(cache, Cells)
        vectors = embed(ids, self.embedding.weight)
        states, (hidden, cell) = self.lstm(vectors, (cache.hidden, cache.cell))
        cache.hidden, cache.cell = hidden.to(cache.hidden.dtype), cell.to(cache.cell.dtype)
        cache.length += ids.shape[1]
        return self._logits(states[:, -1:])[:, 0]

    def _differentiable(self, device: torch.device) -> AbstractContextManager[None]:
        """Without cuDNN where it has no backward pass: on a GPU, in eval mode."""
        if device.type == "cuda" and torch.is_grad_enabled() and not self.training:
            return torch.backends.cudnn.flags(enabled=False)
        return nullcontext()

    def _logits(self, states: Tensor, real: Tensor | None = None) -> Tensor:
        """(B, T, V) from states (B, T, N), of which those of `real` (B * T,) inputs count."""
        batch, length, _ = states.shape
        rows = states.flatten(0, 1)
        for dense, norm in zip(self.dense, self.norms, strict=True):
            rows = F.relu(dense(self.dropout(rows)))
            rows = norm(rows, real) if isinstance(norm, TokenBatchNorm) else rows
        rows = self.dropout(rows)
        weight = self.embedding.weight if self.head is None else self.head.weight
        logits = F.linear(rows, weight, None if self.head is None else self.head.bias)
        return logits.view(batch, length, -1).float()
