"""How a note sounds: a region's sample at the note's pitch, filtered, under its envelope.

A voice is made once a key and then only scaled and cut to length, which is what makes rendering
fast: a piece strikes few keys often. What is made is kept, the least used forgotten first.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from data_tools.soundfont.reader import Region, Soundfont

SILENCE = 1e-4  # of full: 80 dB below it nothing is heard
KEPT = 192 * 2**20  # bytes of voices
FILTERED = 64 * 2**20  # bytes of filtered samples
LONGEST = 30.0  # seconds a note sounds; a piano has long faded, an organ is cut
_SHORTEST_RELEASE, _LONGEST_RELEASE = 0.03, 1.0  # seconds to silence: no click, and no blur
_STEP = 3  # cutoffs an octave; an ear tells no more
_STRETCH = 2**14  # frames resampled at once
_STRIDE = 2**10  # frames of a decay that are computed; the others are multiples of them
_FURTHEST = 9600.0  # cents from its sample that a note is played; damaged soundfonts say more
_OFF_PITCH = 5e-5  # share, a tenth of a cent: what a loop may be off pitch
_ROUND = 0.5  # seconds: voices are made so much longer than needed, and may do for the next note


@dataclass(frozen=True)
class Voice:
    """One sample of a note at full velocity's level.

    Attributes:
        wave: (N,) float32, envelope applied; it ends early where it has died away.
        left, right: gain by its place between the speakers.
        fade: (R,) float32 from 1 to 0, for when the key is released.
    """

    wave: np.ndarray
    left: float
    right: float
    fade: np.ndarray


class Store:
    """Arrays by key, up to so many bytes; the least recently used go first."""

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self._arrays: OrderedDict[tuple[object, ...], np.ndarray] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> np.ndarray | None:
        """The array of a key, where it is kept."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
        return self._arrays.get(key)

    def put(self, key: tuple[object, ...], array: np.ndarray) -> None:
        """Keeps an array, in place of the one of that key."""
        if key in self._arrays:
            self.bytes -= self._arrays.pop(key).nbytes
        self._arrays[key] = array
        self.bytes += array.nbytes
        while self.bytes > self.most and len(self._arrays) > 1:
            self.bytes -= self._arrays.popitem(last=False)[1].nbytes


class Voices:
    """A soundfont's notes at one sample rate.

    Args:
        font: whose.
        rate: samples a second.
    """

    def __init__(self, font: Soundfont, rate: int) -> None:
        self.font, self.rate = font, rate
        self._waves, self._filtered = Store(KEPT), Store(FILTERED)
        self._fades: dict[float, np.ndarray] = {}
        self._regions: dict[tuple[int, ...], list[Region]] = {}

    def of(self, bank: int, program: int, pitch: int, velocity: int, seconds: float) -> list[Voice]:
        """The voices of a note, two for a sample in stereo, none where the soundfont is silent.

        Args:
            bank, program: the instrument.
            pitch, velocity: the note.
            seconds: how long the key is held; waves are longer by their fade.
        """
        seconds = min(seconds, LONGEST)
        regions = self._of_stroke(bank, program, pitch, velocity)
        return [self._voice(region, pitch, velocity, seconds) for region in regions]

    def silent(self, bank: int, program: int, pitch: int, velocity: int) -> bool:
        """Whether the soundfont has nothing for this note: not every preset has every key."""
        return not self._of_stroke(bank, program, pitch, velocity)

    def _of_stroke(self, *stroke: int) -> list[Region]:
        if stroke not in self._regions:
            bank, program, pitch, velocity = stroke
            self._regions[stroke] = [
                region
                for region in self.font.regions(bank, program)
                if region.keys[0] <= pitch <= region.keys[1]
                and region.velocities[0] <= velocity <= region.velocities[1]
            ]
        return self._regions[stroke]

    def _voice(self, region: Region, pitch: int, velocity: int, seconds: float) -> Voice:
        fade = self._fade(region.release)
        needed = round(seconds * self.rate) + len(fade)
        place = round(_STEP * np.log2(region.filter(pitch, velocity)))
        key = (*region.sound(), pitch, place)
        wave = self._waves.get(key)
        if wave is None or (len(wave) < needed and wave[-1] != 0):
            length = needed + round(_ROUND * self.rate)
            wave = self._wave(region, pitch, 2 ** (place / _STEP), length)
            self._waves.put(key, wave)
        gain = region.gain(pitch, velocity)
        angle = (region.pan + 0.5) * np.pi / 2
        return Voice(wave, gain * float(np.cos(angle)), gain * float(np.sin(angle)), fade)

    def _fade(self, release: float) -> np.ndarray:
        """100 dB in `release` seconds, down to silence, ending in nought."""
        if release not in self._fades:
            seconds = min(_LONGEST_RELEASE, max(_SHORTEST_RELEASE, 0.6 * release))
            time = np.linspace(0, 1, max(2, round(seconds * self.rate)))
            self._fades[release] = (10 ** (-3 * time) * (1 - time)).astype(np.float32)
        return self._fades[release]

    def _wave(self, region: Region, pitch: int, cutoff: float, length: int) -> np.ndarray:
        """A region at a pitch: (N,) with its envelope, N up to `length`; ends in 0 if all of it."""
        sample = self.font.sample(region)
        step = sample.rate / self.rate
        cents = (pitch - region.root) * region.scale + region.tune
        step *= 2 ** (min(_FURTHEST, max(-_FURTHEST, cents)) / 1200)
        envelope = self._envelope(region, pitch, length)
        begin, end = sample.loop if region.loops else (0, 0)
        made, turn = len(envelope), 0
        if end:
            turns, turn = _whole_turns((end - begin) / step)
            once = int(end / step) + 1  # frames until the loop has begun again
            made = min(made, once + turn)
        reach = int((made + 1) * step) + 8
        top = 0.5 / max(1.0, step)
        source = self._low_passed(region, cutoff / (self.rate * step), top, reach)
        if end and reach > end:
            copies = -(-(reach - end) // (end - begin))
            source = np.concatenate([source[:end], np.tile(source[begin:end], copies)])
        if made == len(envelope):
            wave = _resampled(source[:reach], step, made)
        else:
            # From the second turn on a loop is made once, a hair off pitch, so that a whole number
            # of frames later it is where it was: its copies follow each other without a seam.
            first = _resampled(source, step, once)
            loop = _resampled(source, turns * (end - begin) / turn, turn, once * step)
            wave = np.concatenate([first, np.resize(loop, len(envelope) - once)])
        wave *= envelope[: len(wave)]
        if len(wave) < length:  # died away, or the sample is over
            wave[-1] = 0
        return wave

    def _envelope(self, region: Region, pitch: int, length: int) -> np.ndarray:
        """(N,) up to `length`: linear rise, hold, a fall in decibels to the level of sustain."""
        low = 60 - pitch
        hold = region.hold * 2 ** (low * region.key_to_hold / 1200)
        decay = region.decay * 2 ** (low * region.key_to_decay / 1200)
        times = np.cumsum([region.delay, region.attack, hold, decay * region.sustain / 100])
        if region.sustain >= 80:
            length = min(length, round((times[2] + 0.8 * decay) * self.rate) + 1)
        quiet, risen, held, fallen = (min(length, round(t * self.rate)) for t in times)
        envelope = np.empty(length, dtype=np.float32)
        envelope[:quiet] = 0
        envelope[quiet:risen] = np.linspace(0, 1, risen - quiet, endpoint=False)
        envelope[risen:held] = 1
        # 100 dB over the decay; powers of a power are products, which are quicker made.
        per = 5 * np.log(10) / max(1.0, decay * self.rate)
        coarse = np.exp(-per * _STRIDE * np.arange(-(-(fallen - held) // _STRIDE)))
        fine = np.exp(-per * np.arange(_STRIDE))
        falling = np.multiply.outer(coarse.astype(np.float32), fine.astype(np.float32))
        envelope[held:fallen] = falling.ravel()[: fallen - held]
        envelope[fallen:] = 10 ** (-region.sustain / 20)
        return envelope

    def _low_passed(self, region: Region, cutoff: float, nyquist: float, reach: int) -> np.ndarray:
        """The sample through a low-pass filter of two poles.

        Args:
            region: whose sample.
            cutoff: in cycles a sample.
            nyquist: above which nothing may be left, in the same unit.
            reach: how much of it is needed; the rest of a long one is left out.
        """
        sample = self.font.sample(region)
        if cutoff >= 0.45 and nyquist >= 0.5:
            return sample.data
        # One filter does for the keys that share a sample: they lie within a few semitones.
        place, top = round(_STEP * np.log2(cutoff)), round(_STEP * 4 * np.log2(nyquist)) / 4
        data, loop = sample.data, sample.loop
        if _quick(reach) < (loop[1] or len(data)):
            data, loop = data[: _quick(reach)], (0, 0)
        key = (region.sample, region.offsets, place, top, len(data))
        filtered = self._filtered.get(key)
        if filtered is None:
            filtered = _filtered(data, loop, 2 ** (place / _STEP), 2 ** (top / _STEP))
            self._filtered.put(key, filtered)
        return filtered


def _filtered(data: np.ndarray, loop: tuple[int, int], cutoff: float, nyquist: float) -> np.ndarray:
    """(N,) filtered in one transform; where it loops, as if it had looped for a while."""
    begin, end = loop
    length = end or len(data)
    turns = 1 + 2048 // (end - begin) if end else 0
    longer = np.concatenate([data[:length], *([data[begin:end]] * turns)])
    size = _quick(len(longer) + 1024)
    frequency = np.fft.rfftfreq(size).astype(np.float32)
    ratio = frequency / np.float32(cutoff)
    response = 1 / (1 - ratio**2 + np.complex64(1j * 2**0.5) * ratio)
    response[frequency > nyquist] = 0
    result = np.fft.irfft(np.fft.rfft(longer, size) * response, size).astype(np.float32)
    if end:
        # The first turn still hears the attack; the last one is what all others sound like.
        last = len(longer) - (end - begin)
        result[begin:end] = result[last : last + end - begin]
    return result[:length]


def _quick(size: int) -> int:
    """The next size that a Fourier transform is quick with: a power of two, or three halves."""
    power = 1 << (size - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= size else power


def _whole_turns(period: float) -> tuple[int, int]:
    """Turns of a loop of so many frames that take nearly a whole number of frames, and that one."""
    turns = np.arange(1, 2 + int(0.5 / (_OFF_PITCH * period)))
    frames = np.round(turns * period)
    found = int(np.flatnonzero(np.abs(frames / (turns * period) - 1) <= _OFF_PITCH)[0])
    return int(turns[found]), int(frames[found])


def _resampled(source: np.ndarray, step: float, length: int, begin: float = 0.0) -> np.ndarray:
    """(N,) every `step`-th place of a wave, N up to `length`, by cubics through four points.

    Args:
        source: the wave.
        step: of its frames to the next place.
        length: places.
        begin: the first of them, in frames of the wave.
    """
    count = min(length, int((len(source) - 3 - begin) / step))
    if count < 2:
        return np.zeros(2, dtype=np.float32)
    # The first point stands before its place: a wave begins with one more.
    padded = np.concatenate([source[:1], source])
    wave = np.empty(count, dtype=np.float32)
    half = np.float32(0.5)
    # In stretches that stay in the processor's cache, which makes it three times as fast.
    for first in range(0, count, _STRETCH):
        place = begin + np.arange(first, min(first + _STRETCH, count)) * step
        whole = place.astype(np.intp)
        t = (place - whole).astype(np.float32)
        near = padded[whole[0] : whole[-1] + 4]
        whole -= whole[0]
        a, b, c, d = (near[shift:].take(whole, mode="clip") for shift in range(4))
        cubic = half * (d - a) + np.float32(1.5) * (b - c)
        square = a - np.float32(2.5) * b + 2 * c - half * d
        slope = half * (c - a)
        wave[first : first + len(t)] = ((cubic * t + square) * t + slope) * t + b
    return wave
