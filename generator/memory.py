"""What a grammar has to remember beyond the notes that sound: values that hold until changed.

Each memory owns a few columns of `GrammarState.memory` and narrows the mask by them: the velocity
in force (`performance`, `raw`), the place in the bar (`remi`), the channel and each channel's
program (`raw`). A value is named only where it changes, as encoded music does, and never where no
note could follow it.

Shapes: B batch, T positions, V vocabulary, W columns.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data_tools.representation import Representation, TokenType

CHANNELS = 16
UNSET = -1


class Memory(Protocol):
    """One thing remembered, over W columns."""

    start: list[int]  # W values before any token

    def restrict(self, columns: Tensor, mask: Tensor) -> None:
        """Takes what (B, W) columns forbid out of the mask (B, V), in place."""

    def advance(self, columns: Tensor, ids: Tensor) -> Tensor:
        """The columns (B, W) after one more token (B,) a sequence."""

    def states(self, ids: Tensor) -> Tensor:
        """The columns (B, T, W) after every token of ids (B, T)."""


def memories_of(representation: Representation, device: torch.device | str) -> list[Memory]:
    """The memories a representation needs; none for `duration`."""
    preset, kinds = representation.settings.preset, representation.token_types
    if preset == "remi":
        return [Bars(representation, device)]
    memories: list[Memory] = [Channels(representation, device)] if preset == "raw" else []
    if preset in ("performance", "raw") and (kinds == TokenType.VELOCITY).any():
        # Last: it takes note-ons away, which the others look for.
        memories.append(Velocity(representation, device))
    return memories


def last_time(happened: Tensor, time: Tensor) -> Tensor:
    """For every position, when it last `happened` (B, T, K) up to there; -1 for never."""
    return torch.where(happened, time, -1).cummax(1).values


def _members(representation: Representation, kind: TokenType, device: torch.device | str) -> Tensor:
    return torch.as_tensor(np.flatnonzero(representation.token_types == kind), device=device)


def _held(values: Tensor, here: Tensor, start: int) -> Tensor:
    """(B, T) the last of `values` (B, T) where `here` (B, T) held, `start` before any."""
    time = torch.arange(values.shape[1], device=values.device)
    place = last_time(here, time)
    return torch.where(place >= 0, values.gather(1, place.clamp(min=0)), start)


class Velocity:
    """The velocity in force: named before the first note, and then only where it changes."""

    def __init__(self, representation: Representation, device: torch.device | str) -> None:
        self.start = [UNSET]
        self._ids = _members(representation, TokenType.VELOCITY, device)
        self._strikes = _members(representation, TokenType.NOTE_ON, device)

    def restrict(self, columns: Tensor, mask: Tensor) -> None:
        """See `Memory`."""
        possible = mask[:, self._strikes].any(1, keepdim=True)
        mask[:, self._ids] &= possible & (self._ids != columns)
        mask[:, self._strikes] &= columns != UNSET

    def advance(self, columns: Tensor, ids: Tensor) -> Tensor:
        """See `Memory`."""
        named = torch.isin(ids, self._ids)
        return torch.where(named[:, None], ids[:, None], columns)

    def states(self, ids: Tensor) -> Tensor:
        """See `Memory`."""
        return _held(ids, torch.isin(ids, self._ids), UNSET)[..., None]


class Bars:
    """The position within the bar, which only grows, and the bar's length, which bounds it."""

    def __init__(self, representation: Representation, device: torch.device | str) -> None:
        self.start = [UNSET, 4 * representation.steps_per_beat]
        self._positions = _members(representation, TokenType.POSITION, device)
        self._values = torch.as_tensor(representation.token_values.astype(np.int64), device=device)
        self._kind = torch.as_tensor(representation.token_types.astype(np.int64), device=device)

    def restrict(self, columns: Tensor, mask: Tensor) -> None:
        """See `Memory`."""
        position, length = columns[:, :1], columns[:, 1:]
        values = self._values[self._positions]
        mask[:, self._positions] &= (values > position) & (values < length)

    def advance(self, columns: Tensor, ids: Tensor) -> Tensor:
        """See `Memory`."""
        position, length = columns.unbind(1)
        kind, values = self._kind[ids], self._values[ids]
        position = torch.where(kind == TokenType.POSITION, values, position)
        position = torch.where(kind == TokenType.BAR, UNSET, position)
        length = torch.where(kind == TokenType.TIME_SIGNATURE, values, length)
        return torch.stack([position, length], 1)

    def states(self, ids: Tensor) -> Tensor:
        """See `Memory`."""
        kind, values = self._kind[ids], self._values[ids]
        opens = kind == TokenType.BAR
        places = torch.where(opens, UNSET, values)
        position = _held(places, opens | (kind == TokenType.POSITION), self.start[0])
        length = _held(values, kind == TokenType.TIME_SIGNATURE, self.start[1])
        return torch.stack([position, length], -1)


class Channels:
    """The channel in force, whether it acted at this moment, and the program of every channel.

    Within a moment channels come in ascending order; columns are the channel from 0, the flag, and
    sixteen programs.
    """

    _ACTS = (
        TokenType.CHANNEL, TokenType.PROGRAM, TokenType.VELOCITY, TokenType.NOTE_ON,
        TokenType.NOTE_OFF, TokenType.PEDAL_ON, TokenType.PEDAL_OFF,
    )  # fmt: skip

    def __init__(self, representation: Representation, device: torch.device | str) -> None:
        self.start = [UNSET, 0] + [UNSET] * CHANNELS
        self._channels = _members(representation, TokenType.CHANNEL, device)
        self._programs = _members(representation, TokenType.PROGRAM, device)
        self._strikes = _members(representation, TokenType.NOTE_ON, device)
        values = representation.token_values.astype(np.int64)
        values = values - (representation.token_types == TokenType.CHANNEL)
        self._values = torch.as_tensor(values, device=device)
        self._kind = torch.as_tensor(representation.token_types.astype(np.int64), device=device)
        acts = np.isin(representation.token_types, self._ACTS)
        self._acts = torch.as_tensor(acts, device=device)
        self._numbers = torch.arange(CHANNELS, device=device)

    def restrict(self, columns: Tensor, mask: Tensor) -> None:
        """See `Memory`."""
        channel, acted = columns[:, :1], columns[:, 1:2] > 0
        numbers = self._numbers
        mask[:, self._channels] &= (numbers != channel) & (~acted | (numbers > channel))
        program = columns[:, 2:].gather(1, channel.clamp(min=0))
        possible = mask[:, self._strikes].any(1, keepdim=True)
        mask[:, self._programs] &= possible & (self._values[self._programs] != program)

    def advance(self, columns: Tensor, ids: Tensor) -> Tensor:
        """See `Memory`."""
        kind, values = self._kind[ids], self._values[ids]
        channel = torch.where(kind == TokenType.CHANNEL, values, columns[:, 0])
        acted = torch.where(self._acts[ids], 1, columns[:, 1])
        acted = torch.where(kind == TokenType.TIME_SHIFT, 0, acted)
        chosen = (kind == TokenType.PROGRAM)[:, None] & (
            self._numbers == channel.clamp(min=0)[:, None]
        )
        programs = torch.where(chosen, values[:, None], columns[:, 2:])
        return torch.cat([channel[:, None], acted[:, None], programs], 1)

    def states(self, ids: Tensor) -> Tensor:
        """See `Memory`."""
        kind, values = self._kind[ids], self._values[ids]
        channel = _held(values, kind == TokenType.CHANNEL, UNSET)
        time = torch.arange(ids.shape[1], device=ids.device)
        acted = last_time(self._acts[ids], time) > last_time(kind == TokenType.TIME_SHIFT, time)
        chosen = kind == TokenType.PROGRAM
        programs = [
            _held(values, chosen & (channel.clamp(min=0) == number), UNSET)
            for number in range(CHANNELS)
        ]
        return torch.stack([channel, acted.long(), *programs], -1)
