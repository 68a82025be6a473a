"""What a discriminator looks at: the tokens, or the notes with what a musician would say of them.

A view is a fixed projection of the vocabulary: whatever it leaves out no training can use. Views
differ in what they show of time and touch, because those tell where a file comes from before they
tell what is played; which one transfers best to music from elsewhere was measured, see README.md.

Letters: B pieces, T tokens, N notes, V vocabulary, F features, C channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from discriminator.layers import TokenEmbedding, blind
from discriminator.note_features import Harmony, Rhythm, Touch
from discriminator.notes import NoteReader, TokenTable, neighbourhood
from discriminator.settings import View


class Seen(NamedTuple):
    """What a view makes of a batch: features of notes and who is real, or the tokens as given."""

    values: Tensor  # (B, N, F), or ids (B, T), or rows (B, T, V)
    real: Tensor | None  # (B, N), or the mask given with the tokens
    statistics: Tensor | None = None  # (B, 2F + E), of the notes over the piece, not yet scaled


class NoteView(nn.Module):
    """Tokens to features of notes; holds no weights.

    Args:
        table: what the tokens say.
        view: "harmony", "rhythm" (harmony and coarse timing) or "touch" (these and velocity).
    """

    def __init__(self, table: TokenTable, view: View) -> None:
        super().__init__()
        self.reader = NoteReader(table)
        self.harmony = Harmony(self.reader.pitches, self.reader.lowest)
        self.rhythm = Rhythm() if view in ("rhythm", "touch") else None
        self.touch = Touch() if view == "touch" else None
        parts = (self.harmony, self.rhythm, self.touch)
        self.size = sum(part.size for part in parts if part is not None)
        self.patterns = self.harmony.patterns

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Seen:
        """Ids (B, T) or rows (B, T, V) to features (B, N, F)."""
        # Counts and sums of products: half precision would blur them for no gain in speed.
        with torch.autocast(x.device.type, enabled=False):
            notes = self.reader(x, mask)
            near = neighbourhood(notes)
            harmony, patterns = self.harmony(notes, near)
            parts = [harmony]
            if self.rhythm is not None:
                parts.append(self.rhythm(notes, near))
            if self.touch is not None:
                parts.append(self.touch(notes))
            values = torch.cat(parts, -1) if len(parts) > 1 else harmony
            return Seen(values, notes.real, statistics_of(values, notes.real, patterns))

    def narrowed(self, seen: Seen) -> Seen:
        """What this view sees where a richer one has `seen` all of it and more."""
        assert seen.statistics is not None
        rich = seen.values.shape[-1]
        mean, variance, patterns = seen.statistics.split([rich, rich, self.patterns], -1)
        parts = [mean[:, : self.size], variance[:, : self.size], patterns]
        return Seen(seen.values[..., : self.size], seen.real, torch.cat(parts, -1))


class TokenView(nn.Module):
    """Leaves the tokens as they are, for a model that embeds them itself."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Seen:
        """Ids (B, T) or rows (B, T, V), passed on."""
        return Seen(x, mask)


class Statistics(nn.Module):
    """Brings to scale the mean and deviation of every feature, and patterns; all of them as roots.

    Of one-hot features the mean is a histogram; its root (Hellinger) keeps rare intervals from
    drowning among the common ones, and so does the scale: a rare interval varies a hundred times
    less than the register, and may say more.

    On that scale a turn that the training music hardly knows, and another place's music is full of,
    lies ten deviations out and drowns all else: a `bound` bends what lies far out.

    Args:
        features: F.
        patterns: E.
        bound: see `CNNSettings`.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, patterns: int, bound: float = 0.0) -> None:
        super().__init__()
        self.size, self.bound = 2 * features + patterns, bound
        self.register_buffer("centre", torch.zeros(self.size))
        self.register_buffer("spread", torch.ones(self.size))

    def forward(self, seen: Seen) -> Tensor:
        """What the view has counted, (B, 2F + E), scaled."""
        assert seen.statistics is not None
        return self.scaled(seen.statistics)

    def standardise(self, seen: Sequence[Seen]) -> None:
        """Sets the scale from batches of what is to be learnt from."""
        self.set_scale(torch.cat([one.statistics for one in seen if one.statistics is not None]))

    def set_scale(self, raw: Tensor) -> None:
        """Sets the scale from unscaled statistics (pieces, 2F + E)."""
        self.centre.copy_(raw.mean(0))
        self.spread.copy_(raw.std(0) + 1e-3)

    def scaled(self, raw: Tensor) -> Tensor:
        """Unscaled statistics (B, 2F + E) on the scale of what was learnt from."""
        scaled = (raw - self.centre) / self.spread
        return self.bound * (scaled / self.bound).tanh() if self.bound else scaled


def statistics_of(values: Tensor, real: Tensor, patterns: Tensor) -> Tensor:
    """Unscaled statistics (B, 2F + E) of features (B, N, F), zero where not `real` (B, N)."""
    count = real.sum(1, keepdim=True).clamp(min=1)
    mean = values.sum(1) / count
    variance = (values.square().sum(1) / count - mean.square()).clamp(min=0)
    return (torch.cat([mean, variance, patterns], -1) + 1e-4).sqrt()


class NoteEmbedding(nn.Module):
    """Features of notes to channels, and their statistics over the piece.

    Args:
        features: F.
        patterns: E.
        width: C.
        bound: of the statistics, see `Statistics`.
    """

    def __init__(self, features: int, patterns: int, width: int, bound: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(features, width)
        self.summary = Statistics(features, patterns, bound)
        self.statistics = self.summary.size

    def standardise(self, seen: Sequence[Seen]) -> None:
        """Sets the scale of the statistics."""
        self.summary.standardise(seen)

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """Channels (B, N, C), which notes are real (B, N), and the statistics (B, 2F + E)."""
        assert seen.real is not None
        h = blind(nn.functional.gelu(self.inner(seen.values)), seen.real)
        return h, seen.real, self.summary(seen)


class TokensEmbedded(TokenEmbedding):
    """The token embedding behind the same face; tokens have no statistics."""

    statistics = 0

    def standardise(self, seen: Sequence[Seen]) -> None:
        """There is nothing to bring to scale."""

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Channels (B, T, C), which tokens are real (B, T), and nothing (B, 0)."""
        h, real = super().forward(seen.values, seen.real)
        return h, real, h.new_zeros(h.shape[0], 0)


def view_of(
    view: View, table: TokenTable, width: int, groups: Sequence[int] | None, bound: float = 0.0
) -> tuple[NoteView | TokenView, NoteEmbedding | TokensEmbedded]:
    """A view and the embedding of what it shows, (B, S, C).

    Raises:
        ValueError: the view needs other tokens, or hides tokens it does not show.
    """
    if view == "tokens":
        return TokenView(), TokensEmbedded(len(table), width, groups)
    if groups is not None:
        raise ValueError(f"tokens can only be hidden in the view 'tokens', not in '{view}'")
    shown = NoteView(table, view)
    return shown, NoteEmbedding(shown.size, shown.patterns, width, bound)
