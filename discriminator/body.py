"""What all discriminators have in common: view, embedding, stem, a body of layers, pooling, head.

    tokens -> view -> embedding -> stem -> body -> mean, maximum, deviation + statistics -> logit

A view without weights is shared by an ensemble's members, so looking and judging are two steps.

Letters: B pieces, T tokens, S positions after the stem, V vocabulary, C channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from discriminator.layers import Head, Stem, pool, widened
from discriminator.notes import TokenTable
from discriminator.settings import CNNSettings, TransformerSettings
from discriminator.view import NoteView, Seen, TokenView, view_of


class Discriminator(nn.Module):
    """A model over tokens with one logit a piece: a view, and a judgement of what it shows.

    Attributes:
        vocab_size: V.
        view_name: which view; models with views of one name and vocabulary can share one.
        view: tokens to what is seen of them, without weights.
    """

    vocab_size: int
    view_name: str
    view: NoteView | TokenView

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head reads: ids (B, T) or rows (B, T, V), mask (B, T) to (B, D), float32."""
        return self.gist(self.view(x, mask))

    def gist(self, seen: Seen) -> Tensor:
        """What the head reads (B, D) float32, of what the view has seen."""
        raise NotImplementedError

    def judge(self, seen: Seen) -> Tensor:
        """The logit (B,) float32 of what the view has seen."""
        raise NotImplementedError

    def standardise(self, batches: Sequence[Tensor]) -> None:
        """Sets the scale of the view's statistics from batches of ids (B, T), before training."""
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logit of p(jazz), (B,) float32; float64 of a model that has been made so.

        Args:
            x: ids (B, T) int64, or rows (B, T, V) float with the same weights.
            mask: (B, T) bool, True = real token; padding is masked in any case.
        """
        return self.judge(self.view(x, mask))


class SequenceDiscriminator(Discriminator):
    """What CNN and transformer share; subclasses hold the body.

    Args:
        settings: view and size.
        table: what the tokens say; its length is V.
        groups: see `TokenEmbedding`; only the view "tokens" can hide tokens.
    """

    def __init__(
        self,
        settings: CNNSettings | TransformerSettings,
        table: TokenTable,
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.vocab_size, self.view_name = len(table), settings.view
        width = settings.width
        self.view, self.embedding = view_of(settings.view, table, width, groups, settings.bound)
        self.stem = Stem(width, settings.stride)
        self.norm = nn.LayerNorm(width)
        features = 3 * width + self.embedding.statistics
        self.head = Head(features, settings.head, settings.dropout)

    def body(self, h: Tensor, real: Tensor) -> Tensor:
        """Channels (B, S, C) and which positions are real (B, S) to channels (B, S, C)."""
        raise NotImplementedError

    def gist(self, seen: Seen) -> Tensor:
        """What the head reads (B, D) float32, of what the view has seen."""
        h, real, statistics = self.embedding(seen)
        h, real = self.stem(h, real)
        return torch.cat([pool(self.norm(self.body(h, real)), real), statistics], -1)

    def judge(self, seen: Seen) -> Tensor:
        """The logit (B,) float32 of what the view has seen."""
        return widened(self.head(self.gist(seen)).squeeze(-1))

    def standardise(self, batches: Sequence[Tensor]) -> None:
        """Sets the scale of the view's statistics from batches of ids (B, T), before training."""
        self.embedding.standardise([self.view(ids) for ids in batches])
