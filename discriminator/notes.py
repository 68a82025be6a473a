"""From tokens to notes, as tensors: what is struck, how long it sounds, who is bass and who is top.

Written for token sets in which a note is `Pitch [Velocity] Duration` and time moves by time shifts
(the preset `duration`). What stands where is read from the ids and carries no gradient; what a note
is does: of relaxed rows the pitch columns are kept beside the notes read from their largest entry.

Letters: B pieces, T tokens, N notes, P pitches of the vocabulary, W places around a note.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from data_tools.representation import Representation, TokenType

PAD = 0
TOGETHER = 2.5  # grid steps (50 ms) within which notes are struck as one: played chords are spread
BEFORE, AFTER = (
    20,
    6,
)  # notes looked at around each: what may still sound, and what is struck with it
HELD = 100.0  # grid steps (2 s) a note counts as sounding at most: pedals differ, harmonies do not
UNKNOWN = 12.0  # grid steps a note is held whose length the crop has cut off


class Notes(NamedTuple):
    """The notes of a batch, in the order of their tokens, padded at the right.

    Attributes:
        pitch: (B, N) int64, place of the pitch among the vocabulary's P pitches.
        onset, end: (B, N) float32, grid steps from the crop's beginning.
        velocity: (B, N) float32, 0 to 127, 0 where the tokens do not say.
        real: (B, N) bool.
        rows: (B, N, P) weights over the pitches; None where ids were given.
    """

    pitch: Tensor
    onset: Tensor
    end: Tensor
    velocity: Tensor
    real: Tensor
    rows: Tensor | None


@dataclass(frozen=True)
class TokenTable:
    """What each of V tokens says; arrays of (V,), of a representation's music tokens.

    Attributes:
        pitch: MIDI pitch, -1 where it is none.
        shift: grid steps by which it moves time, 0 where it does not.
        duration: grid steps it holds a note, 0 where it does not.
        velocity: how hard a note is struck, 0 where it does not say.
    """

    pitch: np.ndarray
    shift: np.ndarray
    duration: np.ndarray
    velocity: np.ndarray

    def __len__(self) -> int:
        return len(self.pitch)

    @classmethod
    def of(cls, representation: Representation) -> "TokenTable":
        """The table of a representation's music tokens."""
        size = representation.music_size
        kinds, values = representation.token_types[:size], representation.token_values[:size]

        def only(kind: TokenType, otherwise: int) -> np.ndarray:
            return np.where(kinds == kind, values, otherwise)

        return cls(
            only(TokenType.PITCH, -1),
            only(TokenType.TIME_SHIFT, 0),
            only(TokenType.DURATION, 0),
            only(TokenType.VELOCITY, 0),
        )


class NoteReader(nn.Module):
    """Reads notes from token ids (B, T) or rows of weights over the vocabulary (B, T, V).

    Args:
        table: what the tokens say.

    Raises:
        ValueError: the pitch tokens do not lie side by side, or there are no durations.
    """

    pitch: Tensor
    shift: Tensor
    duration: Tensor
    velocity: Tensor

    def __init__(self, table: TokenTable) -> None:
        super().__init__()
        places = np.flatnonzero(table.pitch >= 0)
        if not len(places) or (np.diff(places) != 1).any() or not table.duration.any():
            raise ValueError(
                "this view needs tokens that give every note a pitch and a duration, as the preset "
                "'duration' does; take the view 'tokens' for others"
            )
        self.first, self.pitches = int(places[0]), len(places)
        self.lowest = int(table.pitch[places[0]])
        index = np.where(table.pitch >= 0, table.pitch - self.lowest, -1)
        self.register_buffer("pitch", torch.tensor(index).long(), persistent=False)
        for name in ("shift", "duration", "velocity"):
            values = torch.tensor(getattr(table, name)).float()
            self.register_buffer(name, values, persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Notes:
        """The notes of `x`; a position is padding where its id is PAD or `mask` (B, T) is False."""
        soft = x.is_floating_point()
        ids = x.detach().argmax(-1) if soft else x
        if soft:  # a row of zeros is padding, too
            ids = ids.masked_fill(x.detach()[..., 1:].sum(-1) < 0.5, PAD)
        if mask is not None:
            ids = ids.masked_fill(~mask, PAD)
        pitch = self.pitch[ids]  # (B, T)
        struck = pitch >= 0
        place, real = self._places(struck)
        rows = None
        if soft:
            wide = place[..., None].expand(-1, -1, self.pitches)
            columns = x[..., self.first : self.first + self.pitches]
            rows = columns.gather(1, wide).to(self.shift.dtype) * real[..., None]
        onset = self.shift[ids].cumsum(1).gather(1, place)
        length = _following(self.duration[ids], place)
        end = onset + torch.where(length > 0, length, UNKNOWN)
        velocity = _following(self.velocity[ids], place)
        return Notes(pitch.gather(1, place).clamp(min=0), onset, end, velocity, real, rows)

    def _places(self, struck: Tensor) -> tuple[Tensor, Tensor]:
        """The places (B, N) of the notes among the tokens, and which of them are real."""
        count, length = struck.sum(1, keepdim=True), struck.shape[1]
        if torch.compiler.is_compiling():
            most = length // 2 + 1  # a bound that does not depend on the data: a note is two tokens
        else:
            most = max(int(count.max()), 1)
        rank = struck.cumsum(1) - 1
        slot = torch.where(struck & (rank < most), rank, most)
        steps = torch.arange(length, device=struck.device).expand_as(slot)
        place = torch.zeros_like(slot[:, :1]).expand(-1, most + 1).scatter(1, slot, steps)
        return place[:, :most], torch.arange(most, device=struck.device) < count


def _following(values: Tensor, place: Tensor) -> Tensor:
    """The first value over 0 among the two tokens after each `place` (B, N), else 0."""
    after = torch.nn.functional.pad(values, (0, 2))
    first, second = (after.gather(1, place + step) for step in (1, 2))
    return torch.where(first > 0, first, second)


class Neighbourhood(NamedTuple):
    """Who sounds with whom: of each note its places before and after, (B, N, W) unless said.

    Attributes:
        sounding: the neighbour sounds when the note has been struck; the note itself does.
        struck: the neighbour is struck together with the note; the note itself is.
        bass: (B, N) the lowest sounding note's place among the N.
        top: (B, N) bool, no higher note is struck together with it.
        lowest: (B, N) bool, the note itself is the bass.
        previous, previous_top, previous_bass: (B, N) the place of the last note, top note and bass
            struck before; -1 where there is none.
    """

    sounding: Tensor
    struck: Tensor
    bass: Tensor
    top: Tensor
    lowest: Tensor
    previous: Tensor
    previous_top: Tensor
    previous_bass: Tensor


def around(values: Tensor, fill: float) -> Tensor:
    """(B, N) to (B, N, W): each note's neighbours from BEFORE places before to AFTER after."""
    padded = torch.nn.functional.pad(values, (BEFORE, AFTER), value=fill)
    return padded.unfold(1, BEFORE + 1 + AFTER, 1)


def neighbourhood(notes: Notes) -> Neighbourhood:
    """Finds who sounds with whom; notes further than the W places away are not seen."""
    far = 1e9
    onset = notes.onset.masked_fill(~notes.real, far)
    now = notes.onset[..., None]
    real = around(notes.real.float(), 0.0) > 0.5
    start = around(onset, far)
    stop = around(torch.minimum(notes.end, notes.onset + HELD), -far)
    struck = real & ((start - now).abs() <= TOGETHER)
    sounding = struck | (real & (start <= now) & (stop > now + TOGETHER))
    height = around(notes.pitch.float(), 0.0)
    offset = torch.arange(-BEFORE, AFTER + 1, device=onset.device)
    index = torch.arange(onset.shape[1], device=onset.device)
    bass = index + offset[height.masked_fill(~sounding, far).argmin(-1)]
    bass = bass.clamp(0, onset.shape[1] - 1)
    mine = notes.pitch.float()
    top = notes.real & (height.masked_fill(~struck, -far).amax(-1) <= mine)
    lowest = notes.real & (height.masked_fill(~sounding, far).amin(-1) >= mine)
    # The first note struck together with this one: what came before it is the past.
    group = index + offset[struck.float().argmax(-1)]
    last = (_last(here, group) for here in (notes.real, top, lowest))
    return Neighbourhood(sounding, struck, bass, top, lowest, *last)


def _last(here: Tensor, group: Tensor) -> Tensor:
    """(B, N) the last place before `group` (B, N) at which `here` (B, N) holds, -1 for none."""
    count = here.shape[1]
    index = torch.arange(count, device=here.device)
    # The places in a row, and how many of them lie before each note (`cummax` has no ONNX form).
    rank = here.cumsum(1)  # (B, N)
    slot = torch.where(here, rank, count + 1)
    places = torch.full_like(rank[:, :1], -1).expand(-1, count + 2)
    places = places.scatter(1, slot, index.expand_as(rank))
    before = torch.nn.functional.pad(rank, (1, 0))  # at place i: up to i - 1
    return places.gather(1, before.gather(1, group.clamp(0, count - 1)))
