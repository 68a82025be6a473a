"""An SF2 or SF3 file as regions: which sample sounds for a key and a velocity, and how.

The format is SoundFont 2.04 (Creative, 2006); SF3 is the same with Ogg Vorbis samples (MuseScore).
It is read here and not by symusic's synthesizer, which leaves out velocity, envelopes and pedal,
and ends the process where a table of the file is damaged.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_tools.errors import UserError
from data_tools.soundfont.tables import Modulator, Zone, chunks, zones

DRUM_BANK = 128

# Generators of the standard, chapter 8.1.
_START, _END, _LOOP_START, _LOOP_END, _START_FAR = 0, 1, 2, 3, 4
_FILTER, _BEND_TO_FILTER, _END_FAR, _PAN = 8, 11, 12, 17
_BEND_ATTACK, _BEND_HOLD, _BEND_DECAY, _BEND_SUSTAIN = 26, 27, 28, 29
_DELAY, _ATTACK, _HOLD, _DECAY, _SUSTAIN, _RELEASE, _KEY_TO_HOLD, _KEY_TO_DECAY = range(33, 41)
_INSTRUMENT, _KEYS, _VELOCITIES, _LOOP_START_FAR = 41, 43, 44, 45
_ATTENUATION, _LOOP_END_FAR, _COARSE, _FINE, _SAMPLE, _MODES = 48, 50, 51, 52, 53, 54
_SCALE, _ROOT = 56, 58
_DEFAULTS = {
    _FILTER: 13500, _DELAY: -12000, _ATTACK: -12000, _HOLD: -12000, _DECAY: -12000,
    _RELEASE: -12000, _SCALE: 100, _ROOT: -1, _BEND_ATTACK: -12000, _BEND_HOLD: -12000,
    _BEND_DECAY: -12000,
}  # fmt: skip
# A preset adds to its instrument, apart from what only an instrument may say.
_INSTRUMENT_ONLY = {
    _START, _END, _LOOP_START, _LOOP_END, _START_FAR, _END_FAR, _LOOP_START_FAR, _LOOP_END_FAR,
    _KEYS, _VELOCITIES, _MODES, _ROOT, _SAMPLE, _INSTRUMENT,
}  # fmt: skip
_VORBIS, _ROM = 0x10, 0x8000
_EVERY = (0, 127)
_HEARD = 0.25  # seconds after the onset
_SAMPLES = 128  # kept as numbers, of a megabyte or two at most
_BENDABLE = (_FILTER, _BEND_TO_FILTER, _ATTENUATION)
# Of the standard's own modulators, what a soft stroke does to loudness; its low-pass filter for
# soft strokes most players have given up.
_USUAL: dict[Modulator, int] = {(0x502, _ATTENUATION, 0): 960}


@dataclass(frozen=True)
class Region:
    """A sample and how it is played, for some keys and velocities; times in seconds.

    Attributes:
        keys, velocities: first and last, inclusive.
        sample: number of the sample.
        offsets: added to the sample's start, end, loop start and loop end.
        root: the key the sample was recorded at.
        tune: cents added.
        scale: cents from a key to the next.
        quiet: centibels below full.
        pan: -0.5 is left, 0.5 right.
        cutoff: of the low-pass filter, cents above 8.176 Hz.
        lift, level: cents that an envelope adds, and the share of it that is heard.
        bends: what velocity and key do to loudness and filter.
        loops: whether the loop is played, which the sample has.
        delay, attack, hold, decay, release: of the volume; the last two are what 100 dB take.
        key_to_hold, key_to_decay: cents of time that a key below 60 adds.
        sustain: dB below full that the decay ends at.
    """

    keys: tuple[int, int]
    velocities: tuple[int, int]
    sample: int
    offsets: tuple[int, int, int, int]
    root: int
    tune: float
    scale: float
    quiet: float
    pan: float
    cutoff: float
    lift: float
    level: float
    bends: tuple[tuple[Modulator, int], ...]
    loops: bool
    delay: float
    attack: float
    hold: float
    decay: float
    release: float
    key_to_hold: int
    key_to_decay: int
    sustain: float

    def sound(self) -> tuple[object, ...]:
        """All that shapes a note but its loudness, filter and release: a key to keep it by."""
        return (
            self.sample, self.offsets, self.root, self.tune, self.scale, self.loops, self.delay,
            self.attack, self.hold, self.decay, self.sustain, self.key_to_hold, self.key_to_decay,
        )  # fmt: skip

    def gain(self, pitch: int, velocity: int) -> float:
        """How loud it is, linear."""
        return float(
            10 ** (-max(0.0, self.quiet + self._bent(_ATTENUATION, pitch, velocity)) / 200)
        )

    def filter(self, pitch: int, velocity: int) -> float:
        """Where its low-pass filter begins, in Hz."""
        lift = self.lift + self._bent(_BEND_TO_FILTER, pitch, velocity)
        cents = self.cutoff + self._bent(_FILTER, pitch, velocity) + self.level * lift
        return float(8.176 * 2 ** (min(13500.0, max(1500.0, cents)) / 1200))

    def _bent(self, what: int, pitch: int, velocity: int) -> float:
        return sum(
            amount
            * _curve(source, pitch, velocity)
            * (_curve(scale, pitch, velocity) if scale else 1)
            for (source, generator, scale), amount in self.bends
            if generator == what
        )


@dataclass(frozen=True)
class Sample:
    """A recording: (N,) float32 within ±1, its rate in Hz, its loop, or (0, 0) for none."""

    data: np.ndarray
    rate: int
    loop: tuple[int, int]


class Soundfont:
    """A soundfont file, its samples read when they are asked for.

    Args:
        path: an .sf2 or .sf3 file, whatever its name.

    Raises:
        UserError: missing, no soundfont, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # mmap calls an empty file a ValueError
            reason = error.strerror if isinstance(error, OSError) else "empty file"
            raise UserError(f"{path}: {reason}; give another --soundfont") from None
        try:
            self._waves, tables = chunks(self._bytes)
            self._samples = tables[b"shdr"][:-1]
            presets = tables[b"phdr"]
            found = zones(presets, tables[b"pbag"], tables[b"pgen"], tables[b"pmod"], _INSTRUMENT)
            self._instruments = zones(
                tables[b"inst"], tables[b"ibag"], tables[b"igen"], tables[b"imod"], _SAMPLE
            )
        except (KeyError, IndexError, ValueError, struct.error) as error:
            raise UserError(f"{path}: no usable soundfont ({error}); give another") from None
        self._presets = {
            (int(row["bank"]), int(row["preset"])): zone
            for row, zone in zip(presets[:-1], found, strict=True)
        }
        if not self._presets:
            raise UserError(f"{path}: a soundfont without any instrument; give another")
        self._regions: dict[tuple[int, int], list[Region]] = {}
        # Not a decorator: that would keep every soundfont there ever was.
        self._sample = lru_cache(_SAMPLES)(self._read)

    def regions(self, bank: int, program: int) -> list[Region]:
        """The regions of an instrument; one that is missing is played by the nearest relative.

        As General MIDI players do: program 0 of the bank, then any (of drums: any drums, or none).
        """
        there = self._presets
        choice = [(bank, program), (bank, 0)]
        if bank == DRUM_BANK:
            choice += [key for key in sorted(there) if key[0] == DRUM_BANK]
        else:
            choice += [(0, program), (0, 0), *sorted(k for k in there if k[0] != DRUM_BANK)]
        found = next((key for key in choice if key in there), None)
        if found is None:
            return []
        if found not in self._regions:
            self._regions[found] = list(self._combined(there[found]))
        return self._regions[found]

    def _combined(self, above_all: list[Zone]) -> list[Region]:
        regions = []
        for above in above_all:
            number = above.say[_INSTRUMENT]
            if number >= len(self._instruments):
                raise UserError(f"{self.path}: damaged soundfont (instrument {number})")
            for zone in self._instruments[number]:
                keys = _both(above.say.get(_KEYS), zone.say.get(_KEYS))
                velocities = _both(above.say.get(_VELOCITIES), zone.say.get(_VELOCITIES))
                if keys[0] > keys[1] or velocities[0] > velocities[1]:
                    continue
                say, bend = _DEFAULTS | zone.say, _USUAL | zone.bend
                for what, amount in above.say.items():
                    if what not in _INSTRUMENT_ONLY:
                        say[what] = say.get(what, 0) + amount
                for modulator, amount in above.bend.items():
                    bend[modulator] = bend.get(modulator, 0) + amount
                region = self._region(Zone(say, bend), keys, velocities)
                if region:
                    regions.append(region)
        return regions

    def _region(
        self, zone: Zone, keys: tuple[int, int], velocities: tuple[int, int]
    ) -> Region | None:
        say = zone.say
        number = say[_SAMPLE]
        if number >= len(self._samples):
            raise UserError(f"{self.path}: damaged soundfont (sample {number})")
        header = self._samples[number]
        if int(header["type"]) & _ROM:
            return None
        root = say[_ROOT] if say[_ROOT] >= 0 else int(header["root"])
        return Region(
            keys=keys,
            velocities=velocities,
            sample=number,
            offsets=(
                say.get(_START, 0) + 32768 * say.get(_START_FAR, 0),
                say.get(_END, 0) + 32768 * say.get(_END_FAR, 0),
                say.get(_LOOP_START, 0) + 32768 * say.get(_LOOP_START_FAR, 0),
                say.get(_LOOP_END, 0) + 32768 * say.get(_LOOP_END_FAR, 0),
            ),
            root=root if root <= 127 else 60,
            tune=100.0 * say.get(_COARSE, 0) + say.get(_FINE, 0) + int(header["cents"]),
            scale=float(say[_SCALE]),
            # The chips that the format was made for took 0.4 of what the standard says, and
            # soundfonts are voiced for them; every player does the same.
            quiet=0.4 * max(0, say.get(_ATTENUATION, 0)),
            pan=min(500, max(-500, say.get(_PAN, 0))) / 1000,
            cutoff=say[_FILTER],
            lift=say.get(_BEND_TO_FILTER, 0),
            level=_level(say),
            bends=tuple((m, n) for m, n in zone.bend.items() if n and m[1] in _BENDABLE),
            loops=say.get(_MODES, 0) in (1, 3),
            delay=_seconds(say[_DELAY]),
            attack=_seconds(say[_ATTACK]),
            hold=_seconds(say[_HOLD]),
            decay=_seconds(say[_DECAY]),
            release=_seconds(say[_RELEASE]),
            key_to_hold=say.get(_KEY_TO_HOLD, 0),
            key_to_decay=say.get(_KEY_TO_DECAY, 0),
            sustain=min(144.0, max(0, say.get(_SUSTAIN, 0)) / 10),
        )

    def sample(self, region: Region) -> Sample:
        """The recording of a region, cut and looped as the region says.

        Raises:
            UserError: it lies outside the file, or cannot be decoded.
        """
        return self._sample(region.sample, region.offsets)

    def _read(self, number: int, offsets: tuple[int, int, int, int]) -> Sample:
        header = self._samples[number]
        start, end = int(header["start"]), int(header["end"])
        loop = int(header["loop_start"]), int(header["loop_end"])
        if int(header["type"]) & _VORBIS:
            data, rate = _decoded(self.path, bytes(self._waves[start:end]))
        else:
            raw = np.frombuffer(self._waves, "<i2", len(self._waves) // 2)[start:end]
            data, rate = raw.astype(np.float32) / 32768, int(header["rate"])
            loop = loop[0] - start, loop[1] - start
        first, last = max(0, offsets[0]), len(data) + min(0, offsets[1])
        if last - first < 2 or not 1000 <= rate <= 200_000:
            raise UserError(f"{self.path}: damaged soundfont (sample {number})")
        data = data[first:last]
        loop = loop[0] + offsets[2] - first, loop[1] + offsets[3] - first
        if not 0 <= loop[0] < loop[1] - 1 < len(data):
            loop = (0, 0)
        return Sample(data, rate, loop)


def _decoded(path: Path, data: bytes) -> tuple[np.ndarray, int]:
    """An Ogg Vorbis sample as (N,) float32, and its rate."""
    import io

    try:
        import soundfile
    except ImportError:
        raise UserError(
            f"{path}: an SF3 needs soundfile; pip install 'jazz-gan[audio]', or give an SF2"
        ) from None
    try:
        wave, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{path}: damaged soundfont ({error})") from None
    return np.ascontiguousarray(wave[:, 0]), int(rate)


def _both(one: int | None, other: int | None) -> tuple[int, int]:
    """Where two ranges, each two bytes of a number or every value, overlap."""
    pairs = [_EVERY if pair is None else (pair & 0xFF, pair >> 8 & 0xFF) for pair in (one, other)]
    return max(low for low, _ in pairs), min(high for _, high in pairs)


def _level(say: dict[int, int]) -> float:
    """Where the filter's envelope is a quarter of a second after the onset, 0 to 1.

    It stands still here: on a piano it moves over many seconds.
    """
    left = _HEARD - _seconds(say[_BEND_ATTACK]) - _seconds(say[_BEND_HOLD])
    fallen = max(0.0, left) / _seconds(say[_BEND_DECAY])
    return max(1 - fallen, 1 - min(1000, max(0, say.get(_BEND_SUSTAIN, 0))) / 1000)


def _curve(source: int, pitch: int, velocity: int) -> float:
    """A modulator's source at a note: 0 to 1, or -1 to 1; controllers rest at nought."""
    number, controller = source & 0x7F, source & 0x80
    if controller or number not in (2, 3):
        return 0.0
    x = (velocity if number == 2 else pitch) / 127
    x = 1 - x if source & 0x100 else x
    shape = source >> 10
    if shape == 1:  # concave: 96 dB over the range
        x = min(1.0, -40 / 96 * math.log10(max(1 - x, 1e-3)))
    elif shape == 2:
        x = max(0.0, 1 + 40 / 96 * math.log10(max(x, 1e-3)))
    elif shape == 3:
        x = float(x >= 0.5)
    return 2 * x - 1 if source & 0x200 else x


def _seconds(timecents: int) -> float:
    return float(2 ** (min(8000, max(-12000, timecents)) / 1200))
