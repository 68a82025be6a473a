"""A representation: settings, a vocabulary, conditions, and the ways from music to ids and back.

MidiTok owns the vocabulary, the configuration and the meaning of every token. Quantising and the
token order are done in numpy: simultaneous notes get one canonical order (ascending pitch), no
string is struck twice at once, and a piece costs a fraction of a millisecond instead of tens; the
tests hold the ids equal to MidiTok's own.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
from symusic.core import ScoreTick

from data_tools import midi
from data_tools.ensemble import prepare_parts
from data_tools.errors import UserError
from data_tools.files import parse_json, write_json
from data_tools.representation import bars, durations, note_offs
from data_tools.representation.events import Events
from data_tools.representation.grid import grid, score_of
from data_tools.representation.transitions import follows
from data_tools.representation.vocabulary import BOS, EOS, NOTE_OFFS, PAD, TokenType, Vocabulary
from data_tools.settings import RepresentationSettings

MOST_NAMED = 8  # conditions, in an error
_UNIT = 0.01  # seconds; of real time on the time base beat
_WRITERS: dict[str, ModuleType] = {
    "duration": durations,
    "performance": note_offs,
    "remi": bars,
    "raw": note_offs,
}
# What the names of the tokens do not say; part of the digest, but for the preset that came first.
_MEANING = {
    "performance": "velocity before its note-on, held until changed",
    "remi": "bars folded to quarters",
    "raw": "velocity, channel and program held until changed",
}


class Representation:
    """Encodes scores to token ids and decodes them.

    Ids 0, 1, 2 are PAD, BOS, EOS; music tokens follow; condition tokens (labels, artists) stand at
    the end, so models that never see a condition share the ids of those that do.

    Args:
        settings: the preset and its time base.
        conditions: names such as "label:jazz" or "artist:Art Tatum".
    """

    pad, bos, eos = PAD, BOS, EOS

    def __init__(
        self,
        settings: RepresentationSettings | None = None,
        conditions: Sequence[str] = (),
    ) -> None:
        self.settings = settings or RepresentationSettings()
        preset = self.settings.preset
        if self.settings.pedal == "tokens" and preset not in NOTE_OFFS:
            raise UserError(
                f"pedal tokens need the preset 'performance' or 'raw'; '{preset}' folds or drops"
            )
        self.pedal = self.settings.pedal
        if self.pedal == "auto":
            self.pedal = "tokens" if preset in NOTE_OFFS else "fold"
        self.conditions = tuple(conditions)
        self.vocabulary = Vocabulary(self.settings, self.pedal == "tokens")
        self.tokenizer = self.vocabulary.tokenizer
        self.steps_per_beat, self.bpm = self.vocabulary.steps_per_beat, self.vocabulary.bpm
        self.grid_seconds = 60.0 / (self.bpm * self.steps_per_beat)

    @property
    def _writer(self) -> ModuleType:
        # Not kept: processes that get a representation could not be sent a module.
        return _WRITERS[self.settings.preset]

    @property
    def music_size(self) -> int:
        """V: the number of tokens a discriminator sees."""
        return self.vocabulary.size

    @property
    def vocab_size(self) -> int:
        """The number of tokens a generator sees: music and conditions."""
        return self.music_size + len(self.conditions)

    @cached_property
    def plain(self) -> "Representation":
        """The same without merged tokens (see `data_tools.bytepair`), of which there are none."""
        return self

    def expand(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Ids (T,) as ids of `plain`, int64."""
        return np.asarray(ids, dtype=np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every token's name by id, e.g. `Pitch_60`, `label:jazz`."""
        return self.vocabulary.names + self.conditions

    @cached_property
    def token_types(self) -> np.ndarray:
        """(vocab_size,) uint8: the `TokenType` of every id."""
        conditions = np.full(len(self.conditions), TokenType.CONDITION, dtype=np.uint8)
        return np.concatenate([self.vocabulary.types, conditions])

    @cached_property
    def token_values(self) -> np.ndarray:
        """(vocab_size,) int32: pitch, grid steps, velocity or rounded bpm; 0 where none."""
        nothing = np.zeros(len(self.conditions), dtype=np.int32)
        return np.concatenate([self.vocabulary.values, nothing])

    @cached_property
    def strikes(self) -> np.ndarray:
        """(vocab_size,) how many notes each token begins."""
        return np.isin(self.token_types, [TokenType.PITCH, TokenType.NOTE_ON]).astype(np.int64)

    @cached_property
    def follows(self) -> np.ndarray:
        """(types, types) bool: may a token of the second type come right after one of the first?"""
        return follows(self.vocabulary)

    @cached_property
    def music_digest(self) -> str:
        """Hash of what fixes the meaning of music ids: vocabulary and time base."""
        content: dict[str, object] = {
            "names": self.names[: self.music_size],
            "time_base": self.settings.time_base,
        }
        if self.settings.preset in _MEANING:
            content["meaning"] = _MEANING[self.settings.preset]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @cached_property
    def digest(self) -> str:
        """Hash of settings, vocabulary and conditions; must match between corpus and model."""
        content = [self.music_digest, self.settings.model_dump(), self.conditions]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def condition_id(self, name: str) -> int:
        """The id of a condition token such as "label:jazz".

        Raises:
            UserError: there is no such condition.
        """
        if name not in self.conditions:
            kind, _, value = name.partition(":")
            known = [one.removeprefix(f"{kind}:") for one in self.conditions
                     if one.startswith(f"{kind}:")]  # fmt: skip
            more = ", ..." if len(known) > MOST_NAMED else ""
            raise UserError(
                f"unknown {kind} '{value}'; the model knows "
                + (", ".join(map(repr, known[:MOST_NAMED])) + more if known else f"no {kind}")
            )
        return self.music_size + self.conditions.index(name)

    def tokens(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The names of token ids."""
        return [self.names[int(index)] for index in ids]

    def prepare(self, music: midi.Music) -> midi.Prepared:
        """Reads and cleans music as this preset wants it: the piano, or for `raw` every part.

        Raises:
            MidiError: it cannot be used.
        """
        if self.settings.preset == "raw":
            return prepare_parts(music)
        return midi.prepare(music, self.vocabulary.pitches)

    def grid(self, score: ScoreTick) -> Events:
        """A prepared score's music as it is written down; see `data_tools.representation.grid`.

        Raises:
            MidiError: there are no notes.
        """
        return grid(score, self.vocabulary, self.pedal)

    def quantize(self, score: ScoreTick) -> ScoreTick:
        """Puts a prepared score on the grid: the exact music that `encode` writes down.

        Raises:
            MidiError: there are no notes.
        """
        return score_of(self.grid(score), self.vocabulary)

    def encode(self, score: ScoreTick) -> np.ndarray:
        """Token ids of a prepared score, without BOS and EOS.

        Returns:
            uint16 (T,).

        Raises:
            MidiError: no note is left on the grid.
        """
        events = self.grid(score)
        if not len(events.notes):
            raise midi.MidiError("music", "no notes on the grid")
        return self.encode_events(events)

    def encode_events(self, events: Events) -> np.ndarray:
        """The ids (T,) uint16 of events; undoes `events` on whatever `encode` writes."""
        return self._writer.write(self.vocabulary, events)

    def events(self, ids: Sequence[int] | np.ndarray, close: bool = False) -> Events:
        """What ids (T,) say, also those of a window cut from a piece.

        Specials and conditions are skipped. A string struck again stops its earlier note, and
        nothing has zero length.

        Args:
            ids: any ids.
            close: end what still sounds one step after the last event; such notes, and notes of
                which a token is missing, are dropped otherwise.
        """
        ids = np.asarray(ids, dtype=np.int64)
        ids = ids[(ids > EOS) & (ids < self.music_size)]
        return self._writer.read(self.vocabulary, ids, close)

    def clocked(self, events: Events) -> tuple[midi.Notes, float]:
        """The notes of events in real time, and the seconds in a unit of it; see `events`.

        On beat the unit is a hundredth of a second, and tempos are followed: 120 where none is.
        """
        notes = events.notes
        if self.settings.time_base == "clock":
            return notes, self.grid_seconds
        score = score_of(events, self.vocabulary)  # its ticks are grid steps
        start, end = (
            np.round(midi.seconds_of(score, steps) / _UNIT).astype(np.int64)
            for steps in (notes.start, notes.end)
        )
        timed = midi.Notes(start, np.maximum(end, start + 1), notes.pitch, notes.velocity)
        return timed, _UNIT

    def times(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """(T,) the grid step at which each of some music ids (T,) stands."""
        ids = np.asarray(ids, dtype=np.int64)
        return self._writer.times(self.vocabulary, ids)

    def in_force(self, ids: np.ndarray, start: int) -> list[int]:
        """The tokens to put before `ids[start:]` so that it means what it means in the whole.

        Bar, time signature and position, the tempo, channels with their programs, the velocity: of
        each what holds at `start`, as far as the preset has it.
        """
        kinds = self.token_types[ids[:start]]

        def last(kind: TokenType) -> list[int]:
            return ids[:start][kinds == kind][-1:].tolist()

        head, position = (
            last(TokenType.BAR) + last(TokenType.TIME_SIGNATURE),
            last(TokenType.POSITION),
        )
        if position:  # the tempo holds from the bar's beginning
            nought = self.vocabulary.first(TokenType.POSITION)
            tempo = [nought, *last(TokenType.TEMPO)] if last(TokenType.TEMPO) else []
            head += tempo + (position if position != [nought] or not tempo else [])
        else:
            head += last(TokenType.TEMPO)
        pair = np.isin(kinds, [TokenType.CHANNEL, TokenType.PROGRAM])
        chosen: dict[int, int] = {}
        channel = 0
        for token, kind in zip(ids[:start][pair].tolist(), kinds[pair].tolist(), strict=True):
            if kind == TokenType.CHANNEL:
                channel = token
            else:
                chosen[channel] = token
        if channel in chosen:  # the channel in force comes last
            chosen[channel] = chosen.pop(channel)
        head += [token for each in chosen.items() for token in each]
        return head + last(TokenType.VELOCITY) * (self.settings.preset in NOTE_OFFS)

    def decode(self, ids: Sequence[int] | np.ndarray) -> ScoreTick:
        """The score that token ids stand for; specials and conditions are skipped.

        Notes still sounding at the end are closed there, a string struck again stops its earlier
        note, and nothing has zero length; resolution is `steps_per_beat` ticks a quarter.
        """
        return score_of(self.events(ids, close=True), self.vocabulary)

    def save(self, path: str | Path) -> None:
        """Writes `representation.json`: settings, conditions, digest and MidiTok's own config."""
        content = {
            "settings": self.settings.model_dump(),
            "conditions": self.conditions,
            "digest": self.digest,
            "music_digest": self.music_digest,
            "music_size": self.music_size,
            "miditok": self.tokenizer.config.to_dict(serialize=True),
        } | self._more
        write_json(Path(path), content)

    @property
    def _more(self) -> dict[str, object]:
        """What a kind of representation saves besides."""
        return {}

    @classmethod
    def load(cls, path: str | Path) -> "Representation":
        """Reads `representation.json`.

        Raises:
            UserError: missing, malformed, or of another vocabulary than this version builds.
        """
        path = Path(path)
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            made_with = content["digest"]
            settings = RepresentationSettings(**content["settings"])
            if "byte_pairs" in content:
                # Here and not above: it is built on this class.
                from data_tools.bytepair import MergedRepresentation

                pairs = content["byte_pairs"]
                representation: Representation = MergedRepresentation(
                    settings, content["conditions"], pairs
                )
            else:
                representation = cls(settings, content["conditions"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be used as a representation ({error})") from None
        if representation.digest != made_with:
            raise UserError(
                f"{path}: made with another vocabulary (digest {made_with}, "
                f"here {representation.digest}); build the corpus or train the model again"
            )
        return representation
