"""The token sets of the four presets, as MidiTok builds them, and tables for arithmetic on ids.

MidiTok owns the names, their order and the configuration that is saved; `raw` adds channel and
program tokens to its MIDILike vocabulary by MidiTok's own hook. The pitch range of a MidiTok
configuration is inclusive, so 0 to 127 gives all 128 note-ons and note-offs, and the upper end of
`duration` is one token more than a piano has keys: never written, kept for the weights that know
its place.
"""

from enum import IntEnum
from functools import cached_property

import numpy as np

from data_tools.light_import import no_collators
from data_tools.midi import ALL_PITCHES, HIGHEST_PITCH, LOWEST_PITCH, PIANO_PITCHES
from data_tools.settings import RepresentationSettings

with no_collators():
    import miditok

PAD, BOS, EOS = 0, 1, 2
CLOCK_STEP_SECONDS = 0.02
CHANNELS, PROGRAMS = 16, 128
LONGEST_BAR = 8  # quarters; longer bars of `remi` are split
DEFAULT_VELOCITY = 100  # MidiTok's, where there are no velocity tokens


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
    BAR = 13
    TIME_SIGNATURE = 14
    POSITION = 15
    CHANNEL = 16
    PROGRAM = 17


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
    "Bar": TokenType.BAR,
    "TimeSig": TokenType.TIME_SIGNATURE,
    "Position": TokenType.POSITION,
    "Channel": TokenType.CHANNEL,
    "Program": TokenType.PROGRAM,
}

# Steps per beat, finer for short spans: what an ear tells apart.
_FINE = {(0, 1): 24, (1, 2): 12, (2, 4): 6, (4, 8): 2, (8, 16): 1}
_EVEN = {(0, 4): 12}
_GRID = {"duration": _FINE, "performance": _EVEN, "remi": _FINE, "raw": _EVEN}
NOTE_OFFS = ("performance", "raw")  # presets whose notes end by a note-off


class Raw(miditok.MIDILike):
    """MIDILike with running status: a channel, and a program on it, hold until changed."""

    def _create_base_vocabulary(self) -> list[str]:
        channels = [f"Channel_{number}" for number in range(1, CHANNELS + 1)]
        programs = [f"Program_{number}" for number in range(PROGRAMS)]
        return super()._create_base_vocabulary() + channels + programs


_CLASS = {
    "duration": miditok.TSD,
    "performance": miditok.MIDILike,
    "remi": miditok.REMI,
    "raw": Raw,
}


class Vocabulary:
    """The music tokens of some settings.

    Args:
        settings: preset, time base and velocities.
        pedal_tokens: whether the sustain pedal is written as tokens.

    Attributes:
        preset, beat: the preset, and whether the grid is the file's beat.
        steps_per_beat: grid steps of a quarter note.
        bpm: the tempo that makes a grid step of `clock` 20 ms; 120 on `beat`.
        levels: ascending MIDI velocities that tokens stand for; one level where there are none.
        tempos: ascending beats per minute of the tempo tokens.
        pitches: lowest and highest pitch written.
        tokenizer: MidiTok's.
    """

    def __init__(self, settings: RepresentationSettings, pedal_tokens: bool) -> None:
        self.preset, self.beat = settings.preset, settings.time_base == "beat"
        self.note_offs = self.preset in NOTE_OFFS
        self.pitches = ALL_PITCHES if self.note_offs else PIANO_PITCHES
        grid = _GRID[self.preset]
        self.steps_per_beat = max(grid.values())
        self.bpm = 120.0 if self.beat else 60.0 / (self.steps_per_beat * CLOCK_STEP_SECONDS)
        ranges = {"duration": (LOWEST_PITCH, HIGHEST_PITCH + 1)}
        config = miditok.TokenizerConfig(
            pitch_range=ranges.get(self.preset, self.pitches),
            beat_res=grid,
            use_velocities=settings.velocities > 0,
            num_velocities=max(1, settings.velocities),
            special_tokens=["PAD", "BOS", "EOS"],
            use_tempos=self.beat,
            num_tempos=32,
            tempo_range=(40, 250),
            log_tempos=True,
            delete_equal_successive_tempo_changes=True,
            use_sustain_pedals=pedal_tokens,
            use_time_signatures=self.preset == "remi" and self.beat,
            time_signature_range={4: list(range(1, LONGEST_BAR + 1))},
            use_pitchdrum_tokens=False,
        )
        self.tokenizer = _CLASS[self.preset](config)
        velocities = self.tokenizer.velocities
        self.levels = velocities if settings.velocities else np.array([DEFAULT_VELOCITY])
        self.tempos: np.ndarray = self.tokenizer.tempos if self.beat else np.zeros(0)

    @property
    def size(self) -> int:
        """V: how many music tokens there are."""
        return len(self.tokenizer.vocab)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every token's name by id, e.g. `Pitch_60`."""
        vocab = self.tokenizer.vocab
        ordered = sorted(vocab, key=vocab.__getitem__)
        return tuple(name.removesuffix("_None") for name in ordered)

    @cached_property
    def types(self) -> np.ndarray:
        """(V,) uint8: the `TokenType` of every id."""
        kinds = [_TYPE_OF_NAME[name.split("_")[0]] for name in self.names]
        return np.array(kinds, dtype=np.uint8)

    @cached_property
    def values(self) -> np.ndarray:
        """(V,) int32: pitch, grid steps, velocity, rounded bpm, channel or program; 0 for none."""
        values = np.zeros(self.size, dtype=np.int32)
        for index, name in enumerate(self.names):
            kind, _, value = name.partition("_")
            if kind in ("Duration", "TimeShift"):
                beats, position, resolution = map(int, value.split("."))
                values[index] = (beats * resolution + position) * self.steps_per_beat // resolution
            elif kind == "TimeSig":
                values[index] = int(value.split("/")[0]) * self.steps_per_beat
            elif value:
                values[index] = round(float(value))
        return values

    @cached_property
    def _members(self) -> dict[TokenType, tuple[int, np.ndarray]]:
        return {
            kind: (int(np.argmax(self.types == kind)), self.values[self.types == kind])
            for kind in TokenType
        }

    def first(self, kind: TokenType) -> int:
        """The lowest id of a type; a type's ids are consecutive."""
        return self._members[kind][0]

    def of_type(self, kind: TokenType) -> np.ndarray:
        """The values of a type's tokens, ascending; empty where there are none."""
        return self._members[kind][1]

    def id_of(self, kind: TokenType, values: np.ndarray) -> np.ndarray:
        """Ids of the tokens of a type with these very values."""
        return self.first(kind) + np.searchsorted(self.of_type(kind), values)

    def nearest_id(self, kind: TokenType, values: np.ndarray) -> np.ndarray:
        """Ids of the tokens of a type with the nearest values."""
        return self.first(kind) + nearest(self.of_type(kind), values)


def nearest(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index of the nearest of ascending `levels`; halfway goes up, as MidiTok rounds."""
    if len(levels) == 1:
        return np.zeros(len(values), dtype=np.int64)
    upper = np.searchsorted(levels, values).clip(1, len(levels) - 1)
    return upper - (values - levels[upper - 1] < levels[upper] - values)
