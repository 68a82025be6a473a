"""What a musician would say of each note, made easy to see: features that no transposition changes.

For every note: the interval above the sounding bass, the step from the last top note and from the
last bass, what sounds with it as a set of pitch classes seen from the bass and from the note, which
pitch classes were heard lately, how evenly or unevenly they fill the octave (magnitudes of their
discrete Fourier transform: Lewin 1959, Quinn 2007, Amiot 2016), how many notes, and the register.
All are sums of products of the notes' pitch rows, so a relaxed row gets the gradient of exactly
what a one-hot row says; who is bass or top is read from the hard notes.

Patterns are counted over the whole piece: two melodic steps in a row, two bass steps, and chords as
sets over their bass. They are what tells harmony apart that single intervals do not.

Beside harmony stand coarse rhythm and touch. They say more about how a file was made than about
what is played, so they are views of their own, to be chosen by what transfers.

Letters: B pieces, N notes, W places of a note's neighbourhood, P pitches, F features.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from discriminator.notes import AFTER, BEFORE, Neighbourhood, Notes

ABOVE_BASS = 48  # semitones above the bass told apart
STEP = 16  # semitones of a melodic or bass step told apart, either way
WINDOWS = (8, 16, 48)  # notes over which pitch classes are gathered
REGISTERS = 15  # of six semitones
COUNTS = 8
LATELY = 16  # notes that say what is usual
SPANS = (2.5, 4.5, 7.5, 12.5, 20.5, 34.5, 60.5, 120.5)  # grid steps: bounds of the time classes
RATIOS = (0.3, 0.45, 0.6, 0.85, 1.2, 1.7, 2.4, 4.0)  # and of spans against the usual one
LOUDNESS = (40.0, 64.0, 88.0)
ACCENTS = (0.8, 1.0, 1.2)
SHORT_STEP = 8  # semitones told apart in pairs of steps, either way
LARGEST_SET = 5  # pitch classes of the largest chord counted as a set


class Harmony(nn.Module):
    """Pitch and harmony around every note, (B, N, F), and their patterns over the piece, (B, E).

    Args:
        pitches: P.
        lowest: MIDI pitch of the first.
    """

    chroma: Tensor
    register: Tensor
    waves: Tensor
    short: Tensor
    sets: Tensor
    number: Tensor

    size = (
        (ABOVE_BASS + 2) + 2 * (2 * STEP + 2) + 4 * 12 + 6 * len(WINDOWS) + 2 * COUNTS + 2
    ) + REGISTERS
    patterns = 2 * (2 * SHORT_STEP + 1) ** 2 + sum(math.comb(11, k) for k in range(LARGEST_SET))

    def __init__(self, pitches: int, lowest: int) -> None:
        super().__init__()
        self.pitches = pitches
        midi = torch.arange(lowest, lowest + pitches)
        self.register_buffer("chroma", F.one_hot(midi % 12, 12).float(), persistent=False)
        bins = ((midi - 21) // 6).clamp(0, REGISTERS - 1)
        self.register_buffer("register", F.one_hot(bins, REGISTERS).float(), persistent=False)
        angle = 2 * math.pi / 12 * torch.arange(12)[:, None] * torch.arange(1, 7)
        self.register_buffer("waves", torch.cat([angle.cos(), angle.sin()], 1), persistent=False)
        step = torch.arange(-STEP, STEP + 1).clamp(-SHORT_STEP, SHORT_STEP) + SHORT_STEP
        short = F.one_hot(step, 2 * SHORT_STEP + 1).float()
        self.register_buffer("short", F.pad(short, (0, 0, 0, 1)), persistent=False)  # none: no row
        chords = [set_ for k in range(LARGEST_SET) for set_ in combinations(range(11), k)]
        sets = torch.zeros(len(chords), 11)
        for row, members in zip(sets, chords, strict=True):
            row[list(members)] = 1.0
        self.register_buffer("sets", sets, persistent=False)
        number = torch.full((2**11,), len(chords))  # of every set; larger ones share the last
        number[self._binary(sets)] = torch.arange(len(chords))
        self.register_buffer("number", number, persistent=False)

    def forward(self, notes: Notes, near: Neighbourhood) -> tuple[Tensor, Tensor]:
        """Features (B, N, F), zero for a padded note, and patterns (B, E); float32."""
        chroma = self.chroma[notes.pitch] if notes.rows is None else notes.rows @ self.chroma
        chroma = chroma * notes.real[..., None]  # (B, N, 12)
        bass = chroma.gather(1, near.bass[..., None].expand(-1, -1, 12))  # (B, N, 12)
        sounding = _gathered(chroma, near.sounding).clamp(max=1)  # (B, N, 12)
        recent = [_shares(chroma, window) for window in WINDOWS]
        both = torch.cat([sounding, recent[1]], -1)
        over_bass = _seen_from(both, bass)
        top_step = self._interval(notes, near.previous_top, near.top, -STEP, STEP)
        bass_step = self._interval(notes, near.previous_bass, near.lowest, -STEP, STEP)
        parts = [
            self._interval(notes, near.bass, notes.real, 0, ABOVE_BASS),
            top_step,
            bass_step,
            over_bass,
            _seen_from(both, chroma),
            *(self._spectrum(share) for share in recent),
            _one_hot(near.struck.sum(-1).clamp(1, COUNTS) - 1, COUNTS),
            _one_hot(near.sounding.sum(-1).clamp(1, COUNTS) - 1, COUNTS),
            torch.stack([near.top, near.lowest], -1).float(),
            self.register[notes.pitch] if notes.rows is None else notes.rows @ self.register,
        ]
        patterns = [
            self._pairs(top_step, near.previous_top),
            self._pairs(bass_step, near.previous_bass),
            self._chords(over_bass[..., 1:12], notes),
        ]
        return torch.cat(parts, -1) * notes.real[..., None], torch.cat(patterns, -1)

    def _pairs(self, step: Tensor, previous: Tensor) -> Tensor:
        """Shares (B, 17 * 17) of each step after each step."""
        short = step.to(self.short.dtype) @ self.short  # (B, N, 17), zeros where there is no step
        wide = previous.clamp(min=0)[..., None].expand_as(short)
        pairs = (short.transpose(1, 2) @ short.gather(1, wide)).flatten(1)
        return pairs / pairs.sum(-1, keepdim=True).clamp(min=1)

    def _chords(self, over_bass: Tensor, notes: Notes) -> Tensor:
        """Shares (B, sets) of the sets of pitch classes (B, N, 11) over the bass."""
        real = notes.real
        count = real.sum(1, keepdim=True).clamp(min=1)
        if notes.rows is None:
            number = self.number[self._binary(over_bass)]  # (B, N)
            share = over_bass.new_zeros(real.shape[0], len(self.sets) + 1)
            return share.scatter_add(1, number, real.to(share.dtype))[:, :-1] / count
        signs = 2 * self.sets - 1
        agree = over_bass @ signs.T + (1 - self.sets).sum(1)  # of 11 pitch classes, (B, N, sets)
        # One where all agree, none where one does not, and a slope in between for relaxed rows.
        return ((agree - 10).relu() * real[..., None]).sum(1) / count

    @staticmethod
    def _binary(sets: Tensor) -> Tensor:
        """Each set (..., 11) of noughts and ones as a number."""
        # In float32, where it is exact: there are no integer matrix products on a GPU.
        return (sets @ (2.0 ** torch.arange(11, device=sets.device)).to(sets.dtype)).long()

    def _interval(self, notes: Notes, other: Tensor, when: Tensor, least: int, most: int) -> Tensor:
        """The interval from the note at `other` (B, N), one-hot; a last column where none is."""
        there = when & (other >= 0)
        place = other.clamp(min=0)
        if notes.rows is None:
            step = (notes.pitch - notes.pitch.gather(1, place)).clamp(least, most) - least
            # One row too many in the table, so that "none" is one more class.
            return _one_hot(step.masked_fill(~there, most - least + 1), most - least + 2)
        wide = place[..., None].expand(-1, -1, self.pitches)
        found = intervals(notes.rows.gather(1, wide), notes.rows, least, most)
        return torch.cat([found * there[..., None], (~there).float()[..., None]], -1)

    def _spectrum(self, share: Tensor) -> Tensor:
        """Magnitudes (B, N, 6) of the pitch classes' Fourier coefficients 1 to 6."""
        cosine, sine = (share @ self.waves).chunk(2, dim=-1)
        return (cosine.square() + sine.square() + 1e-6).sqrt()


class Rhythm(nn.Module):
    """Coarse timing of every note, (B, N, F): time since the last stroke and length, in classes.

    Both are also seen against the mean over the last sixteen notes, so that a swung pair looks the
    same at any tempo. Read from the hard notes: no gradient.
    """

    size = 2 * (len(SPANS) + 1) + 2 * (len(RATIOS) + 1)

    def forward(self, notes: Notes, near: Neighbourhood) -> Tensor:
        """(B, N, F) float32; a padded note's features are zero."""
        before = notes.onset.gather(1, near.previous.clamp(min=0))
        gap = torch.where(near.previous >= 0, notes.onset - before, 0.0)
        parts = []
        for span in (gap, notes.end - notes.onset):
            usual = _usual(span, notes.real).clamp(min=1)
            parts += [_classes(span, SPANS), _classes(span / usual, RATIOS)]
        return torch.cat(parts, -1) * notes.real[..., None]


class Touch(nn.Module):
    """Loudness of every note in classes, (B, N, F), as it is and against the last sixteen notes."""

    size = len(LOUDNESS) + len(ACCENTS) + 2

    def forward(self, notes: Notes) -> Tensor:
        """(B, N, F) float32; a padded note's features are zero."""
        usual = _usual(notes.velocity, notes.real).clamp(min=1)
        parts = [_classes(notes.velocity, LOUDNESS), _classes(notes.velocity / usual, ACCENTS)]
        return torch.cat(parts, -1) * notes.real[..., None]


def intervals(low: Tensor, high: Tensor, least: int, most: int) -> Tensor:
    """Weights (B, N, most - least + 1) of the intervals from `low` to `high`, both (B, N, P).

    What lies outside least..most is counted at the ends. One-hot rows give one-hot weights.
    """
    pitches = low.shape[-1]
    nothing = torch.zeros_like(low[..., 0])
    parts = [nothing] * (most - least + 1)
    for step in range(1 - pitches, pitches):
        if step >= 0:
            weight = (low[..., : pitches - step] * high[..., step:]).sum(-1)
        else:
            weight = (low[..., -step:] * high[..., :step]).sum(-1)
        place = min(max(step, least), most) - least
        parts[place] = parts[place] + weight
    return torch.stack(parts, -1)


def _one_hot(index: Tensor, size: int) -> Tensor:
    # A table look-up writes float32 at once; F.one_hot would write int64 first.
    return F.embedding(index, torch.eye(size, device=index.device))


def _gathered(chroma: Tensor, chosen: Tensor) -> Tensor:
    """(B, N, 12) counts of pitch classes over the chosen (B, N, W) neighbours."""
    count = chroma.shape[1]
    padded = F.pad(chroma, (0, 0, BEFORE, AFTER))  # (B, N + W - 1, 12)
    weight = chosen.to(chroma.dtype)
    total = torch.zeros_like(chroma)
    # Place by place: all windows at once would be written out, 27 times the notes.
    for place in range(chosen.shape[-1]):
        total = torch.addcmul(total, padded[:, place : place + count], weight[..., place, None])
    return total


def _seen_from(chroma: Tensor, origin: Tensor) -> Tensor:
    """(B, N, K * 12) K sets of pitch classes (B, N, K * 12) counted from `origin` (B, N, 12)."""
    sets = chroma.unflatten(-1, (-1, 12))  # (B, N, K, 12)
    turned = torch.cat([sets, sets[..., :11]], -1).unfold(-1, 12, 1)  # (B, N, K, 12, 12)
    return (origin[:, :, None, None] @ turned).squeeze(-2).flatten(2)


def _shares(chroma: Tensor, window: int) -> Tensor:
    """Shares (B, N, 12) of the pitch classes among the last `window` notes."""
    total = F.pad(chroma, (0, 0, 1, 0)).cumsum(1)  # (B, N + 1, 12)
    earlier = F.pad(total, (0, 0, window, 0))[:, : total.shape[1]]
    count = (total - earlier)[:, 1:]
    return count / count.sum(-1, keepdim=True).clamp(min=1)


def _usual(values: Tensor, real: Tensor) -> Tensor:
    """(B, N) the mean over each note and those just before it."""
    both = torch.stack([values * real, real.float()], -1)
    total = F.pad(both, (0, 0, 1, 0)).cumsum(1)
    earlier = F.pad(total, (0, 0, LATELY, 0))[:, : total.shape[1]]
    part, count = (total - earlier)[:, 1:].unbind(-1)
    return part / count.clamp(min=1)


def _classes(values: Tensor, bounds: Sequence[float]) -> Tensor:
    """(B, N) to one-hot (B, N, len(bounds) + 1)."""
    edges = torch.tensor(bounds, device=values.device)
    return _one_hot((values[..., None] > edges).sum(-1), len(bounds) + 1)
