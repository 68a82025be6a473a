"""What a composer is asked for: checked, and made into what the sampler takes."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_tools import midi
from data_tools.errors import UserError
from data_tools.representation import EOS, Representation
from generator.arrange import Arrangement, arrange
from generator.choice import Choice
from generator.grammar import Grammar
from generator.hints import key_bias, tempo_opening
from generator.merged import MergedGrammar, grammar_of
from generator.prompt import Prompt, read_prompt

ATTEMPTS = 4  # seeds tried for a piece before giving up
USUAL_LENGTH = 1024  # tokens
FEWEST_NOTES = 8  # before the model may end a piece, where nothing is said
MOST = 1 << 18  # that seconds alone ask for: an hour of the densest music, some hours of any other
DENSEST = 64  # tokens a second: sixteen notes, more than nearly all music has


@dataclass(frozen=True)
class Request:
    """A request to compose, ready for the sampler.

    Attributes:
        prefix: ids that every piece opens with, conditions first.
        without: the same without the conditions, None where there are none.
        music_start: where music begins in the prefix.
        prompt, grammar, bias, length, seconds, choice, arrangement, end_at_pause: see
            `Composer.compose`.
    """

    prefix: list[int]
    without: list[int] | None
    music_start: int
    prompt: Prompt | None
    grammar: Grammar | MergedGrammar
    bias: Tensor | None
    length: int
    seconds: float | None
    choice: Choice
    arrangement: Arrangement
    end_at_pause: bool = False


def request_of(
    representation: Representation,
    family: str,
    device: torch.device,
    default_label: str | None = None,
    *,
    count: int = 1,
    seed: int = 0,
    length: int | None = None,
    seconds: float | None = None,
    label: str | None = None,
    artist: str | None = None,
    key: str | None = None,
    tempo: float | None = None,
    prompt: midi.Music | Prompt | None = None,
    prompt_length: int = 512,
    prompt_bars: float | None = None,
    prompt_seconds: float | None = None,
    whistle: bool = False,
    min_notes: int = FEWEST_NOTES,
    end_at_pause: bool = False,
    batch: int = 16,
    told: str = "",
    choice: dict[str, Any] | None = None,
    **more: Any,
) -> Request:
    """What `Composer.compose` was asked for, checked and made into tensors; see there.

    Raises:
        UserError: a choice out of range, an unknown label or artist, or a prompt that is none.
    """
    asked = {
        "tempo": tempo, "length": length, "seconds": seconds, "prompt bars": prompt_bars,
        "prompt seconds": prompt_seconds,
        "min notes": None if min_notes == FEWEST_NOTES else min_notes,
    }  # fmt: skip
    length = length_of(length, seconds)
    chosen = Choice(**((choice or {}) | more))
    chosen.check()
    _check(count, seed, length, seconds, tempo, prompt_length, batch)
    if whistle and prompt is None:
        raise UserError("whistle: it stands between a prompt and what follows; give a prompt")
    label = None if label == "none" else label or default_label
    names = [f"label:{label}"] * bool(label) + [f"artist:{artist}"] * bool(artist)
    conditions = [representation.condition_id(name) for name in names]
    if chosen.guidance != 1 and not conditions:
        raise UserError("label guidance: there is no label to be led to; give --label or --artist")
    given: Prompt | None = None
    opening = [representation.bos]
    if prompt is not None:
        if tempo and representation.settings.time_base == "beat":
            raise UserError("tempo: on the beat a prompt goes on in its own; leave one of them out")
        if isinstance(prompt, Prompt):
            given = prompt
        else:
            given = read_prompt(representation, prompt, prompt_length, prompt_bars, prompt_seconds)
        opening = given.ids
        music = np.array([index for index in opening if index > EOS])
        if seconds is not None:
            _check_room(representation, music, given, Arrangement("", tempo, whistle), seconds)
    elif tempo and representation.settings.time_base == "beat":
        opening = [*opening, *tempo_opening(representation, tempo)]
    prefix = conditions + opening
    notes = int(representation.strikes[np.asarray(prefix)].sum())
    grammar = grammar_of(representation, device, notes + min_notes)
    if chosen.steady != 1 and grammar.shifts is None:
        raise UserError(
            "steady: it is for tokens that say how much time passes (duration, performance, raw; "
            "not merged), and this generator's do not"
        )
    story = _story(family, told, label, artist, key, chosen, given, asked)
    story += ", ends at a pause" if end_at_pause else ""
    return Request(
        prefix=prefix,
        without=opening if conditions else None,
        music_start=len(conditions) + (opening[0] == representation.bos),
        prompt=given,
        grammar=grammar,
        bias=key_bias(representation, key).to(device) if key else None,
        length=length,
        seconds=seconds,
        choice=chosen,
        arrangement=Arrangement(story, tempo, whistle),
        end_at_pause=end_at_pause,
    )


def length_of(length: int | None, seconds: float | None) -> int:
    """Most tokens that a piece adds: as many as were asked for, or as its seconds may take."""
    if length is not None:
        return length
    if seconds is None or not 0 < seconds < math.inf:
        return USUAL_LENGTH
    return max(USUAL_LENGTH, min(MOST, math.ceil(seconds * DENSEST)))


def _check_room(
    representation: Representation,
    music: np.ndarray,
    prompt: Prompt,
    how: Arrangement,
    seconds: float,
) -> None:
    alone = arrange(representation, music, len(music), prompt, how)
    (begins,) = midi.seconds_of(midi.read(alone), np.array([alone.markers[-1].time]))
    if seconds <= begins:
        raise UserError(
            f"seconds {seconds:g}: they count from the beginning of the piece, and the prompt "
            f"alone has {begins:.1f}{' with its whistle' if how.whistle else ''}; ask for more, or "
            "for less of the prompt"
        )


def seconds_at(representation: Representation, music: np.ndarray) -> np.ndarray:
    """(T,) the second at which each of some music ids (T,) stands, by their own tempos."""
    steps = representation.times(music)
    if representation.settings.time_base == "clock":
        return steps * representation.grid_seconds
    return midi.seconds_of(representation.decode(music), steps)  # whose ticks are grid steps


def _story(
    family: str,
    told: str,
    label: str | None,
    artist: str | None,
    key: str | None,
    choice: Choice,
    prompt: Prompt | None,
    asked: dict[str, float | None],
) -> str:
    parts = [f"composed by {'an LSTM' if family == 'lstm' else 'a transformer'}"]
    parts += [told] if told else []
    parts += [f"label {label}"] if label else []
    parts += [f"artist {artist}"] if artist else []
    parts += [f"key {key}"] if key else []
    parts += [
        f"{name.replace('_', '-')} {value:g}"
        for name, value in asdict(choice).items()
        if name == "temperature" or value != getattr(Choice, name)
    ]
    parts += [f"prompt {prompt.name}"] if prompt else []
    parts += [f"{name} {value:g}" for name, value in asked.items() if value is not None]
    return ", ".join(parts)


def _check(
    count: int,
    seed: int,
    length: int,
    seconds: float | None,
    tempo: float | None,
    prompt_length: int,
    batch: int,
) -> None:
    bound = 2**63 - count  # later pieces count up
    rules = {
        f"count {count}: ask for at least one piece": count >= 1,
        f"seed {seed}: must be from 0 to 2^63 - 1, all {count} pieces included": 0 <= seed <= bound,
        f"length {length}: ask for at least one token": length >= 1,
        f"seconds {seconds}: must be above 0": seconds is None or 0 < seconds < math.inf,
        f"tempo {tempo}: must be from 20 to 400 a minute": tempo is None or 20 <= tempo <= 400,
        f"prompt length {prompt_length}: use at least one token": prompt_length >= 1,
        f"batch {batch}: must be at least 1": batch >= 1,
    }
    for message, holds in rules.items():
        if not holds:
            raise UserError(message)
