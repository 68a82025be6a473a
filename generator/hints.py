"""Hints to the sampler: a key, as a bias on pitches; a tempo, as the tokens a piece opens with."""

import re

import numpy as np
import torch
from torch import Tensor

from data_tools.bytepair import MergedRepresentation
from data_tools.errors import UserError
from data_tools.parts import DRUMS
from data_tools.representation import Representation, TokenType

KEY_STRENGTH = 1.5  # nats off the scale: blue notes stay possible
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11)
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def scale(key: str) -> set[int]:
    """Pitch classes of a key such as "C", "Bb", "F#m" or "eb minor"; minor has both sevenths.

    Raises:
        UserError: no key is called that.
    """
    found = re.fullmatch(r"([A-Ga-g])([#b]?)\s*(maj|major|m|min|minor)?", key.strip())
    if not found:
        raise UserError(f"key '{key}': write a letter, # or b, and m for minor: C, Bb, F#m")
    letter, sign, mode = found.groups()
    root = _LETTERS[letter.upper()] + {"#": 1, "b": -1}.get(sign, 0)
    steps = _MINOR if mode in ("m", "min", "minor") else _MAJOR
    return {(root + step) % 12 for step in steps}


def key_bias(representation: Representation, key: str) -> Tensor:
    """(2, V) to be added to logits: tokens that begin a note outside the key are less likely.

    A merged token is as much less likely as its parts are together. The second row is for where the
    drums' channel is in force (`raw`): what sounds there has no key.
    """
    if isinstance(representation, MergedRepresentation):
        return _merged_bias(representation, key_bias(representation.plain, key))
    wanted = scale(key)
    begins = representation.strikes > 0
    classes = representation.token_values % 12
    outside = begins & ~np.isin(classes, sorted(wanted))
    bias = torch.from_numpy(np.where(outside, -KEY_STRENGTH, 0.0)).float()
    drums = representation.settings.preset == "raw"
    return torch.stack([bias, torch.zeros_like(bias) if drums else bias])


def _merged_bias(representation: MergedRepresentation, plain: Tensor) -> Tensor:
    """(2, M) of the plain tokens' (2, V): a merged token may change the channel in its middle."""
    kinds, values = representation.plain.token_types, representation.plain.token_values
    weights = plain.tolist()
    channels = {int(part): int(values[part] == DRUMS)
                for part in np.flatnonzero(kinds == TokenType.CHANNEL)}  # fmt: skip
    rows = []
    for first in range(2):
        row = []
        for parts in representation.parts:
            place, total = first, 0.0
            for part in parts:
                place = channels.get(part, place)
                total += weights[place][part]
            row.append(total)
        rows.append(row)
    return torch.tensor(rows)


def tempo_opening(representation: Representation, bpm: float) -> list[int]:
    """What a piece of the tempo nearest to `bpm` opens with, after BOS.

    The tempo's token; for `remi`, which has tempos within bars alone, also the bar of four and the
    place in it that come before it in all music the model has read.

    Raises:
        UserError: this representation has none.
    """
    tokens = np.flatnonzero(representation.token_types == TokenType.TEMPO)
    if not len(tokens):
        raise UserError("tempo: this representation has no tempo tokens")
    values = representation.token_values[tokens]
    tempo = int(tokens[np.abs(values - bpm).argmin()])
    if representation.settings.preset != "remi":
        return [tempo]
    meter = 4 * representation.steps_per_beat
    places = ((TokenType.BAR, None), (TokenType.TIME_SIGNATURE, meter), (TokenType.POSITION, 0))
    return [*(_token(representation, *place) for place in places), tempo]


def _token(representation: Representation, kind: TokenType, value: int | None) -> int:
    """The id of a kind, of a value; the first of the kind where it has none."""
    found = representation.token_types == kind
    if value is not None:
        found &= representation.token_values == value
    return int(found.argmax())  # tokens merged of it come later
