"""Music as token ids and back: MidiTok's vocabularies on a beat grid or a clock grid.

MidiTok owns the vocabulary, the configuration and the meaning of every token. Quantising and the
token order are done here in numpy: simultaneous notes get one canonical order (ascending pitch), no
string is struck twice at once, and a piece costs a fraction of a millisecond instead of tens; the
tests hold the ids equal to MidiTok's own.

| preset | MidiTok class | example |
|---|---|---|
| `duration` | TSD | `Pitch_60 Velocity_79 Duration_0.12.24 TimeShift_0.6.24` |
| `performance` | MIDILike | `NoteOn_60 Velocity_79 TimeShift_0.6.12 NoteOff_60` |

On the time base `clock` a grid step is 20 ms of real time; on `beat` it is a fraction of the file's
own beat and `Tempo` tokens carry the tempo map.
"""

import hashlib
import json
from collections.abc import Sequence
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import miditok
import numpy as np
import symusic
from symusic.core import ScoreTick

from data_tools import midi
from data_tools.errors import UserError
from data_tools.files import write_json
from data_tools.midi import Notes
from data_tools.settings import RepresentationSettings

PAD, BOS, EOS = 0, 1, 2
CLOCK_STEP_SECONDS = 0.02


class TokenType(IntEnum):
    """What a token does; the rows and columns of `Representation.follows`."""

    PAD = 0
    BOS = 1
    EOS = 2
    PITCH = 3
    NOTE_ON = 4
    NOTE_OFF = 5
    VELOCITY = 6
    DURATION = 7
    TIME_SHIFT = 8
    TEMPO = 9
    PEDAL_ON = 10
    PEDAL_OFF = 11
    CONDITION = 12


_TYPE_OF_NAME = {
    "PAD": TokenType.PAD,
    "BOS": TokenType.BOS,
    "EOS": TokenType.EOS,
    "Pitch": TokenType.PITCH,
    "NoteOn": TokenType.NOTE_ON,
    "NoteOff": TokenType.NOTE_OFF,
    "Velocity": TokenType.VELOCITY,
    "Duration": TokenType.DURATION,
    "TimeShift": TokenType.TIME_SHIFT,
    "Tempo": TokenType.TEMPO,
    "Pedal": TokenType.PEDAL_ON,
    "PedalOff": TokenType.PEDAL_OFF,
}

# Steps per beat, finer for short spans: what an ear tells apart.
_GRID = {
    "duration": {(0, 1): 24, (1, 2): 12, (2, 4): 6, (4, 8): 2, (8, 16): 1},
    "performance": {(0, 4): 12},
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
        duration = self.settings.preset == "duration"
        if self.settings.pedal == "tokens" and duration:
            raise UserError("pedal tokens need the preset 'performance'; 'duration' folds or drops")
        self.pedal = self.settings.pedal
        if self.pedal == "auto":
            self.pedal = "fold" if duration else "tokens"
        self.conditions = tuple(conditions)
        grid = _GRID[self.settings.preset]
        self.steps_per_beat = max(grid.values())
        beat_base = self.settings.time_base == "beat"
        self.bpm = 120.0 if beat_base else 60.0 / (self.steps_per_beat * CLOCK_STEP_SECONDS)
        self.grid_seconds = 60.0 / (self.bpm * self.steps_per_beat)
        config = miditok.TokenizerConfig(
            pitch_range=(midi.LOWEST_PITCH, midi.HIGHEST_PITCH + 1) if duration else (0, 127),
            beat_res=grid,
            num_velocities=self.settings.velocities,
            special_tokens=["PAD", "BOS", "EOS"],
            use_tempos=beat_base,
            num_tempos=32,
            tempo_range=(40, 250),
            log_tempos=True,
            delete_equal_successive_tempo_changes=True,
            use_sustain_pedals=self.pedal == "tokens",
            use_time_signatures=False,
            use_pitchdrum_tokens=False,
        )
        self.tokenizer = (miditok.TSD if duration else miditok.MIDILike)(config)

    @property
    def music_size(self) -> int:
        """V: the number of tokens a discriminator sees."""
        return len(self.tokenizer.vocab)

    @property
    def vocab_size(self) -> int:
        """The number of tokens a generator sees: music and conditions."""
        return self.music_size + len(self.conditions)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every token's name by id, e.g. `Pitch_60`, `label:jazz`."""
        vocab = self.tokenizer.vocab
        ordered = sorted(vocab, key=vocab.__getitem__)
        return tuple(name.removesuffix("_None") for name in ordered) + self.conditions

    @cached_property
    def token_types(self) -> np.ndarray:
        """(vocab_size,) uint8: the `TokenType` of every id."""
        music = [_TYPE_OF_NAME[name.split("_")[0]] for name in self.names[: self.music_size]]
        return np.array(music + [TokenType.CONDITION] * len(self.conditions), dtype=np.uint8)

    @cached_property
    def token_values(self) -> np.ndarray:
        """(vocab_size,) int32: pitch, grid steps, velocity or rounded bpm; 0 where none."""
        values = np.zeros(self.vocab_size, dtype=np.int32)
        for index, name in enumerate(self.names[: self.music_size]):
            kind, _, value = name.partition("_")
            if kind in ("Duration", "TimeShift"):
                beats, position, resolution = map(int, value.split("."))
                values[index] = (beats * resolution + position) * self.steps_per_beat // resolution
            elif value:
                values[index] = round(float(value))
        return values

    @cached_property
    def follows(self) -> np.ndarray:
        """(types, types) bool: may a token of the second type come right after one of the first?"""
        T = TokenType
        used = set(self.token_types.tolist())
        start = {T.PITCH, T.NOTE_ON, T.TIME_SHIFT, T.TEMPO, T.PEDAL_ON} & used
        free = start | ({T.NOTE_OFF, T.PEDAL_OFF, T.EOS} & used)
        after: dict[TokenType, set[TokenType]] = {
            T.PAD: {T.PAD},
            T.EOS: {T.PAD},
            T.CONDITION: {T.CONDITION, T.BOS},
            T.BOS: start,
            T.PITCH: {T.VELOCITY},
            T.NOTE_ON: {T.VELOCITY},
            T.VELOCITY: {T.DURATION} if T.DURATION in used else free,
            T.DURATION: free - {T.TEMPO},
            T.TIME_SHIFT: free - {T.EOS} if T.DURATION in used else free,
            # A tempo stands before everything else of its moment, so two never meet.
            T.TEMPO: free - {T.TEMPO, T.EOS},
            T.NOTE_OFF: free - {T.TEMPO},
            T.PEDAL_ON: free - {T.TEMPO},
            T.PEDAL_OFF: free - {T.TEMPO},
        }
        if T.DURATION not in used:
            after[T.VELOCITY] = free - {T.TEMPO, T.EOS}
        table = np.zeros((len(T), len(T)), dtype=bool)
        for first, seconds in after.items():
            table[first, list(seconds)] = True
        return table

    @cached_property
    def music_digest(self) -> str:
        """Hash of what fixes the meaning of music ids: vocabulary and time base."""
        content = {"names": self.names[: self.music_size], "time_base": self.settings.time_base}
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
            known = ", ".join(self.conditions[:8]) or "none"
            raise UserError(f"unknown condition '{name}'; this vocabulary has: {known}")
        return self.music_size + self.conditions.index(name)

    def tokens(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        """The names of token ids."""
        return [self.names[int(index)] for index in ids]

    def quantize(self, score: ScoreTick) -> ScoreTick:
        """Puts a one-track score on the grid: the exact music that `encode` writes down.

        The first onset (on `beat`: the beat it falls in) becomes time zero. A tempo change after
        the last event is left out: it changes nothing that sounds.

        Raises:
            MidiError: there are no notes.
        """
        if not score.tracks or not score.tracks[0].notes:
            raise midi.MidiError("music", "no notes")
        track = score.tracks[0]
        notes = midi.notes_of(track)
        down = track.pedals.numpy()["time"]
        up = down + track.pedals.numpy()["duration"]
        if self.pedal == "fold":
            notes = midi.fold_pedal(notes, down, up)
        origin = self._steps(score, notes.start[:1])[0]
        if self.settings.time_base == "beat":
            origin -= origin % self.steps_per_beat
        start, end, down, up = (
            self._steps(score, times) - origin for times in (notes.start, notes.end, down, up)
        )
        levels = self.tokenizer.velocities
        velocity = levels[_nearest(levels, notes.velocity)]
        gridded = midi.clean(Notes(start, np.maximum(end, start + 1), notes.pitch, velocity))
        result = midi.score_of(gridded, self.steps_per_beat)
        # With durations the last event is an onset, with note-offs a release.
        ends = gridded.start if self.settings.preset == "duration" else gridded.end
        result.tempos = self._tempos(score, origin, last=int(ends.max(initial=0)))
        if self.pedal == "tokens":
            down = np.maximum(down, 0)
            result.tracks[0].pedals = _pedals(down, np.maximum(up, down + 1), up > 0)
        return result

    def _steps(self, score: ScoreTick, ticks: np.ndarray) -> np.ndarray:
        if self.settings.time_base == "clock":
            return np.rint(midi.seconds_of(score, ticks) / CLOCK_STEP_SECONDS).astype(np.int64)
        return np.rint(ticks * self.steps_per_beat / score.ticks_per_quarter).astype(np.int64)

    def _tempos(self, score: ScoreTick, origin: int, last: int) -> symusic.core.TempoTickList:
        if self.settings.time_base == "clock":
            return symusic.core.TempoTickList([symusic.Tempo(0, self.bpm)])
        table = score.tempos.numpy()
        times = np.concatenate([[0], np.maximum(self._steps(score, table["time"]) - origin, 0)])
        mspq = np.concatenate([[500_000], table["mspq"]])
        times, mspq = times[times <= last], mspq[times <= last]
        # The last change of a moment holds; changes to the tempo already in force are none.
        holds = np.concatenate([times[1:] != times[:-1], [True]])
        times, mspq = times[holds], mspq[holds]
        slowest_last = len(self.tokenizer.tempos) - 1
        ascending = (60e6 / self.tokenizer.tempos)[::-1]  # microseconds a quarter
        level = slowest_last - _nearest(ascending, mspq)
        changed = np.concatenate([[True], level[1:] != level[:-1]])
        tempos = self.tokenizer.tempos[level[changed]]
        return symusic.core.TempoTickList(
            [
                symusic.Tempo(int(time), float(bpm))
                for time, bpm in zip(times[changed], tempos, strict=True)
            ]
        )

    def encode(self, score: ScoreTick) -> np.ndarray:
        """Token ids of a prepared one-track score, without BOS and EOS.

        Returns:
            uint16 (T,).

        Raises:
            MidiError: no note is left on the grid.
        """
        gridded = self.quantize(score)
        track = gridded.tracks[0]
        notes = midi.notes_of(track)
        if not len(notes):
            raise midi.MidiError("music", "no notes on the grid")
        times: list[np.ndarray] = []
        ids: list[np.ndarray] = []
        # MidiTok's order at one moment: tempos, pedals, then notes as they lie; a stable sort
        # by time keeps it.
        if self.settings.time_base == "beat":
            times.append(gridded.tempos.numpy()["time"])
            bpm = np.rint([tempo.tempo for tempo in gridded.tempos]).astype(np.int64)
            ids.append(self._id_of_value(TokenType.TEMPO, bpm))
        if track.pedals:
            down = track.pedals.numpy()["time"]
            times.append(np.stack([down, down + track.pedals.numpy()["duration"]], 1).ravel())
            pair = [self._first(TokenType.PEDAL_ON), self._first(TokenType.PEDAL_OFF)]
            ids.append(np.tile(pair, len(down)))
        velocity = self._id_of_value(TokenType.VELOCITY, notes.velocity)
        if self.settings.preset == "duration":
            nearest = _nearest(self._values(TokenType.DURATION), notes.end - notes.start)
            duration = self._first(TokenType.DURATION) + nearest
            pitch = self._id_of_value(TokenType.PITCH, notes.pitch)
            times.append(np.repeat(notes.start, 3))
            ids.append(np.stack([pitch, velocity, duration], 1).ravel())
        else:
            on = self._id_of_value(TokenType.NOTE_ON, notes.pitch)
            off = self._id_of_value(TokenType.NOTE_OFF, notes.pitch)
            times.append(np.stack([notes.start, notes.start, notes.end], 1).ravel())
            ids.append(np.stack([on, velocity, off], 1).ravel())
        time, token = np.concatenate(times), np.concatenate(ids)
        order = np.argsort(time, kind="stable")
        return self._with_time_shifts(time[order], token[order]).astype(np.uint16)

    def _with_time_shifts(self, time: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Inserts before each event the largest-first time shifts that lead to it."""
        shifts = self._values(TokenType.TIME_SHIFT)
        gap = np.diff(time, prepend=0)
        remaining, parts, owners = gap.copy(), [token], [np.arange(len(token))]
        ranks = [np.full(len(token), 1 << 30)]
        rank = 0
        moving = np.flatnonzero(remaining)
        while len(moving):
            index = np.searchsorted(shifts, remaining[moving], side="right") - 1
            parts.append(self._first(TokenType.TIME_SHIFT) + index)
            owners.append(moving)
            ranks.append(np.full(len(moving), rank))
            remaining[moving] -= shifts[index]
            moving, rank = moving[remaining[moving] > 0], rank + 1
        order = np.lexsort((np.concatenate(ranks), np.concatenate(owners)))
        return np.concatenate(parts)[order]

    def _first(self, kind: TokenType) -> int:
        return int(np.argmax(self.token_types == kind))

    def _values(self, kind: TokenType) -> np.ndarray:
        return self.token_values[self.token_types == kind]

    def _id_of_value(self, kind: TokenType, values: np.ndarray) -> np.ndarray:
        return self._first(kind) + np.searchsorted(self._values(kind), values)

    def decode(self, ids: Sequence[int] | np.ndarray) -> ScoreTick:
        """The score that token ids stand for; specials and conditions are skipped.

        Notes still sounding at the end are closed there, a string struck again stops its earlier
        note, and nothing has zero length; resolution is `steps_per_beat` ticks a quarter.
        """
        music = [int(i) for i in ids if EOS < int(i) < self.music_size]
        music += self._closing(music)
        decoded = self.tokenizer.decode([music])
        notes = midi.notes_of(decoded.tracks[0]) if decoded.tracks else None
        if notes is None:
            empty = np.zeros(0, dtype=np.int32)
            notes = Notes(empty, empty, empty, empty)
        result = midi.score_of(midi.clean(notes), self.steps_per_beat)
        result.tempos = decoded.tempos
        if self.settings.time_base == "clock" or not len(result.tempos):
            result.tempos = symusic.core.TempoTickList([symusic.Tempo(0, self.bpm)])
        if decoded.tracks:
            result.tracks[0].pedals = decoded.tracks[0].pedals
        return result

    def _closing(self, ids: list[int]) -> list[int]:
        """Note-offs for whatever still sounds, one step after the last event."""
        if self.settings.preset == "duration":
            return []
        sounding: dict[int, None] = {}
        for index in ids:
            kind, value = self.token_types[index], int(self.token_values[index])
            if kind == TokenType.NOTE_ON:
                sounding[value] = None
            elif kind == TokenType.NOTE_OFF:
                sounding.pop(value, None)
        if not sounding:
            return []
        off = self._id_of_value(TokenType.NOTE_OFF, np.array(list(sounding)))
        return [self._first(TokenType.TIME_SHIFT), *off.tolist()]

    def save(self, path: str | Path) -> None:
        """Writes `representation.json`: settings, conditions, digest and MidiTok's own config."""
        content = {
            "settings": self.settings.model_dump(),
            "conditions": self.conditions,
            "digest": self.digest,
            "music_digest": self.music_digest,
            "music_size": self.music_size,
            "miditok": self.tokenizer.config.to_dict(serialize=True),
        }
        write_json(Path(path), content)

    @classmethod
    def load(cls, path: str | Path) -> "Representation":
        """Reads `representation.json`.

        Raises:
            UserError: missing, malformed, or of another vocabulary than this version builds.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text())
            settings = RepresentationSettings(**content["settings"])
            representation = cls(settings, content["conditions"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be used as a representation ({error})") from None
        if representation.digest != content["digest"]:
            raise UserError(
                f"{path}: made with another vocabulary (digest {content['digest']}, "
                f"here {representation.digest}); build the corpus or train the model again"
            )
        return representation


def _nearest(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index of the nearest of ascending `levels`; halfway goes up, as MidiTok rounds."""
    upper = np.searchsorted(levels, values).clip(1, len(levels) - 1)
    return upper - (values - levels[upper - 1] < levels[upper] - values)


def _pedals(down: np.ndarray, up: np.ndarray, keep: np.ndarray) -> symusic.core.PedalTickList:
    """Pedals on the grid; those that meet after rounding become one."""
    merged: list[list[int]] = []
    for time, end in zip(down[keep].tolist(), up[keep].tolist(), strict=True):
        if merged and time <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([time, end])
    table = np.array(merged, dtype=np.int32).reshape(-1, 2)
    return symusic.Pedal.from_numpy(table[:, 0].copy(), table[:, 1] - table[:, 0])
