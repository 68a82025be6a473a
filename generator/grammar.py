"""Which token may come next, so that whatever is sampled is music.

`Representation.follows` says which type of token may follow which; the rest needs memory: a string
that sounds is not struck again, only what sounds can stop and not at the moment it began, what
begins at one moment comes in ascending pitch (as encoded music does, so no pitch is struck twice at
once), and a piece ends only when it has notes and nothing is held. What a preset lets hold until
changed is in `generator.memory`. All of it is tensors over the batch. `replay` finds the masks of
whole sequences in one parallel pass, for the gradient pass over a rollout, and gives what stepping
gives.

Shapes: B batch, T positions, V vocabulary, K lanes: the pedal and then the 128 pitches, of one
channel or, for `raw`, of each of sixteen; W columns of memory.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from data_tools.parts import DRUMS
from data_tools.representation import Representation, TokenType
from generator.memory import CHANNELS, last_time, memories_of
from generator.timing import Shifts

LANES = 129
_MOVES = (TokenType.TIME_SHIFT, TokenType.BAR, TokenType.POSITION)  # these end a moment
_START = len(TokenType)  # the row of the table for "nothing read yet"


@dataclass(frozen=True)
class GrammarState:
    """What the tokens read so far leave open; rows are sequences of the batch.

    Attributes:
        last: (B,) type of the last token.
        held: (B, K) lanes sounding now.
        settled: (B, K) lanes sounding since before the current moment: these may stop.
        top: (B,) highest lane begun at the current moment, -1 where none.
        notes: (B,) notes begun.
        memory: (B, W) see `generator.memory`; the channel in force is the first column of `raw`.
    """

    last: Tensor
    held: Tensor
    settled: Tensor
    top: Tensor
    notes: Tensor
    memory: Tensor

    def take(self, rows: Tensor) -> "GrammarState":
        """The state of these rows."""
        return GrammarState(*(getattr(self, field.name)[rows] for field in fields(self)))

    def copy(self) -> "GrammarState":
        """The same in memory of its own."""
        return GrammarState(*(getattr(self, field.name).clone() for field in fields(self)))


FIELDS = [field.name for field in fields(GrammarState)]


class Grammar:
    """The mask over the vocabulary, step by step or for whole sequences.

    Args:
        representation: whose tokens these are.
        device: where masks are wanted.
        min_notes: EOS is out of reach before this many notes.
    """

    def __init__(
        self,
        representation: Representation,
        device: torch.device | str = "cpu",
        min_notes: int = 1,
    ) -> None:
        kinds, values = representation.token_types, representation.token_values
        pitched = np.isin(kinds, [TokenType.PITCH, TokenType.NOTE_ON, TokenType.NOTE_OFF])
        lowest, highest = representation.vocabulary.pitches
        playable = (values >= lowest) & (values <= highest)
        table = _type_table(representation.follows)[:, kinds] & (playable | ~pitched)  # (types, V)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, device=device)

        self.min_notes = max(1, min_notes)
        self.device = torch.device(device)
        self.eos, self.condition_size = representation.eos, len(representation.conditions)
        self._table = tensor(table)
        self._kind = tensor(kinds.astype(np.int64))
        self._lane = tensor(np.where(pitched, values + 1, 0).astype(np.int64))
        strikes = np.isin(kinds, [TokenType.PITCH, TokenType.NOTE_ON])
        self.strikes = tensor(strikes)  # (V,) bool: tokens that begin a note
        self.shifts = Shifts.of(representation, device)
        self._begins = tensor(strikes | (kinds == TokenType.PEDAL_ON))
        self._holds = tensor(np.isin(kinds, [TokenType.NOTE_ON, TokenType.PEDAL_ON]))
        self._ends = tensor(np.isin(kinds, [TokenType.NOTE_OFF, TokenType.PEDAL_OFF]))
        # What the step by step way looks up: other answers, and all at once.
        self._begins_nothing, self._ends_nothing = ~self._begins, ~self._ends
        # Where nothing is ever held no token ends a note, and what begins none is always free.
        self._lane_unheld = torch.where(self._begins, self._lane, LANES)
        self._moves = tensor(np.isin(kinds, _MOVES))
        # What begins a new ascent of pitches: another moment, or another channel.
        self._resets = tensor(np.isin(kinds, [*_MOVES, TokenType.CHANNEL]))
        columns = (self._holds, self._ends, self._moves, self._begins, self._resets)
        self._traits = torch.stack([self._lane, self._kind, self.strikes.long()], 1)  # (V, 3)
        self._signs = torch.stack(columns, 1)  # (V, 5) bool
        self._sustains = bool(self._holds.any())  # else nothing is ever held
        self._several = representation.settings.preset == "raw"
        self._width = LANES * (CHANNELS if self._several else 1)
        self._lanes = torch.arange(self._width, device=device)
        self._memories = memories_of(representation, device)
        start = [value for memory in self._memories for value in memory.start]
        self._memory_start = torch.tensor(start, dtype=torch.int64, device=device)
        self._memory_widths = [len(memory.start) for memory in self._memories]

    @property
    def forgetful(self) -> bool:
        """Whether nothing is remembered but notes, as for `duration`: masks are then quick."""
        return not self._memories

    def start(self, batch: int) -> GrammarState:
        """The state before any token: a condition or BOS comes first."""
        none = torch.zeros(batch, self._width, dtype=torch.bool, device=self.device)
        count = torch.zeros(batch, dtype=torch.int64, device=self.device)
        memory = self._memory_start.expand(batch, -1)
        return GrammarState(count + _START, none, none, count - 1, count, memory)

    def allowed(self, state: GrammarState) -> Tensor:
        """Tokens that may come next, (B, V) bool; never none."""
        if not self._sustains:
            allowed = self._table.index_select(0, state.last)
            allowed &= self._lane_unheld > state.top[:, None]
            allowed[:, self.eos] &= state.notes >= self.min_notes
            for memory, own in zip(self._memories, self._columns(state), strict=True):
                memory.restrict(own, allowed)
            return allowed
        held, settled = self._here(state.held, state), self._here(state.settled, state)
        free = (self._lane > state.top[:, None]) > held.index_select(1, self._lane)  # and not
        allowed = self._table.index_select(0, state.last) & (free | self._begins_nothing)
        allowed &= settled.index_select(1, self._lane) | self._ends_nothing
        allowed[:, self.eos] &= (state.notes >= self.min_notes) & ~state.held.any(1)
        for memory, own in zip(self._memories, self._columns(state), strict=True):
            memory.restrict(own, allowed)
        return allowed

    def drumming(self, state: GrammarState) -> Tensor:
        """(B,) bool: the channel in force is the drums'."""
        if not self._several:
            return torch.zeros_like(state.last, dtype=torch.bool)
        return state.memory[:, 0] == DRUMS - 1

    def _columns(self, state: GrammarState) -> tuple[Tensor, ...]:
        """What each memory remembers."""
        return state.memory.split(self._memory_widths, 1) if self._memories else ()

    def _here(self, lanes: Tensor, state: GrammarState) -> Tensor:
        """The lanes (B, LANES) of the channel in force."""
        if not self._several:
            return lanes
        rows = torch.arange(len(lanes), device=self.device)
        return lanes.view(-1, CHANNELS, LANES)[rows, state.memory[:, 0].clamp(min=0)]

    def advance(self, state: GrammarState, ids: Tensor) -> GrammarState:
        """The state after one more token a sequence; the old state stays as it is.

        Tokens that the mask forbids are read as well as they can be, so a prompt may begin in the
        middle of a piece.

        Args:
            state: before the tokens.
            ids: (B,).
        """
        lane, kind, strikes = self._traits.index_select(0, ids).unbind(1)
        holds, ends, moves, begins, resets = self._signs.index_select(0, ids).unbind(1)
        memory = state.memory
        if self._memories:
            pairs = zip(self._memories, self._columns(state), strict=True)
            memory = torch.cat([each.advance(own, ids) for each, own in pairs], 1)
        top = torch.where(begins, torch.maximum(state.top, lane), state.top)
        top = top.masked_fill(resets, -1)
        notes = state.notes + strikes
        if not self._sustains:
            return GrammarState(kind, state.held, state.settled, top, notes, memory)
        here = self._lanes == self._own_lane(lane, memory)[:, None]  # (B, K)
        held = (state.held | (here & holds[:, None])) > (here & ends[:, None])  # and not
        settled = held & (state.settled | moves[:, None])
        return GrammarState(kind, held, settled, top, notes, memory)

    def _own_lane(self, lane: Tensor, memory: Tensor) -> Tensor:
        """Lanes counted on from channel to channel."""
        return lane + LANES * memory[..., 0].clamp(min=0) if self._several else lane

    def read(self, ids: Tensor) -> GrammarState:
        """The state after whole sequences (B, T)."""
        states = self._states(ids)
        return GrammarState(*(getattr(states, name)[:, -1] for name in FIELDS))

    def replay(self, ids: Tensor) -> Tensor:
        """The mask in force when each token was drawn, (B, T, V): `[:, 0]` before any token."""
        batch, length = ids.shape
        first = self.start(batch)
        if length == 0:
            return torch.zeros(batch, 0, len(self._kind), dtype=torch.bool, device=self.device)
        after = self._states(ids)
        before = [
            torch.cat([getattr(first, name)[:, None], getattr(after, name)[:, :-1]], 1)
            for name in FIELDS
        ]
        flat = GrammarState(*(each.flatten(0, 1) for each in before))
        return self.allowed(flat).view(batch, length, -1)

    def _states(self, ids: Tensor) -> GrammarState:
        """The state after every token of (B, T) ids; fields gain a T dimension.

        Running maxima over "when did it last happen" stand in for the steps.
        """
        lane, kind = self._lane[ids], self._kind[ids]
        memory = self._memory_start.expand(*ids.shape, -1)
        if self._memories:
            memory = torch.cat([each.states(ids) for each in self._memories], -1)
        time = torch.arange(ids.shape[1], device=self.device, dtype=torch.int32)[:, None]
        here = self._lanes == self._own_lane(lane, memory)[..., None]  # (B, T, K)
        began = last_time(here & self._holds[ids][..., None], time)
        ended = last_time(here & self._ends[ids][..., None], time)
        held = began > ended
        settled = last_time(~held, time) < last_time(self._moves[ids][..., None], time)
        # Each moment lifts the values above those of the one before, so one maximum serves all.
        moment = self._resets[ids].long().cumsum(1) * (LANES + 1)
        top = (moment + (lane + 1) * self._begins[ids]).cummax(1).values - moment - 1
        notes = self.strikes[ids].long().cumsum(1)
        return GrammarState(kind, held, settled, top, notes, memory)


def _type_table(follows: np.ndarray) -> np.ndarray:
    """`follows` with a row for the start, and with what holds for every preset made sure of."""
    table = np.concatenate([follows, np.zeros_like(follows[:1])])
    table[:, [TokenType.PAD, TokenType.BOS, TokenType.CONDITION]] = False
    openings = [TokenType.CONDITION, TokenType.BOS]
    table[np.ix_([_START, TokenType.CONDITION], openings)] = True
    # A file may change its tempo once more after its last note.
    table[TokenType.TEMPO, TokenType.EOS] = True
    ended = [TokenType.EOS, TokenType.PAD]
    table[ended] = False
    table[ended, TokenType.PAD] = True
    return table
