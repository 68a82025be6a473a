"""Neutralising: windows that no longer show by what process they were timed.

A transcriber, a piano roll's scanner and a notation program each leave a pattern in the small time
shifts. It survives any change that maps token to token, so here a window is decoded, put into
continuous time (a uniform draw within each grid step, as dither undoes quantisation: Schuchman,
1964), stretched, every note moved a little, and put back on the grid at an arbitrary phase. Played
windows may be snapped to a beat and quantized ones be given a player's deviations, so that neither
kind belongs to one label.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import CLOCK_STEP_SECONDS, Events, Representation, TokenType
from data_tools.settings import NeutraliseSettings

MARGIN = 1.25  # of a window's length read before neutralising, so that it is full afterwards too
STEP = 1000 * CLOCK_STEP_SECONDS  # milliseconds
_CHORD = 40.0 / STEP  # onsets nearer than this belong to one stroke when a window is snapped
_FAR = 1 << 40  # steps between one string's onsets and the next string's, when all lie on a line
_LOUDEST, _MIDDLE, _ACCENT = 127, 64, 20


class Neutraliser:
    """Changes windows of music ids; a function of the generator it is called with.

    Args:
        representation: whose ids these are: one piano on the time base clock.
        settings: how far to go; off where `neutral_share` is 0.

    Raises:
        UserError: the time base is beat, or the preset holds several instruments.
    """

    def __init__(self, representation: Representation, settings: NeutraliseSettings) -> None:
        if settings.neutral_share and representation.settings.time_base != "clock":
            raise UserError(
                "neutralising needs the time base 'clock': on 'beat' the timing is the file's own; "
                "build the corpus with --time-base clock, or leave --neutral-share at 0"
            )
        if settings.neutral_share and representation.settings.preset == "raw":
            raise UserError(
                "neutralising is for one piano, not for 'raw'; build the corpus with --preset "
                "duration, or leave --neutral-share at 0"
            )
        self.representation, self.settings = representation, settings
        self._width = _duration_widths(representation)

    def __call__(
        self, ids: np.ndarray, generator: np.random.Generator, timing: str = ""
    ) -> np.ndarray:
        """A neutralised copy of music ids (T,), in canonical order; its length may differ.

        Notes that the window cuts are dropped, as are BOS, EOS, PAD and conditions. A window
        without a whole note comes back as it is.

        Args:
            ids: (T,) from anywhere in a piece.
            generator: all that is drawn.
            timing: the manifest's word: only "played" and "mixed" windows are snapped to a beat,
                only "quantized" ones given deviations.
        """
        share = self.settings.neutral_share
        if share < 1 and generator.random() >= share:
            return ids.copy()
        events = self.representation.events(ids)
        if not len(events.notes):
            return ids.copy()
        return self.representation.encode_events(self.changed(events, generator, timing))

    def changed(self, events: Events, generator: np.random.Generator, timing: str) -> Events:
        """Neutralised events, again in whole grid steps; there must be notes."""
        chosen, notes, pedals = self.settings, events.notes, events.pedals
        draw = generator.random(2)
        snap = timing in ("played", "mixed") and draw[0] < chosen.neutral_quantize
        humanise = timing == "quantized" and draw[1] < chosen.neutral_humanise
        timed = chosen.neutral_stretch or chosen.neutral_jitter or chosen.neutral_length
        if timed or chosen.neutral_merge or snap or humanise:
            start, length, pedals = self._continuous(notes, pedals, generator)
            if chosen.neutral_merge or snap:
                start = _merged(start, max(chosen.neutral_merge / STEP, _CHORD if snap else 0.0))
            if snap:
                start, length = _snapped(start, length, generator)
            if humanise:
                start, length, pedals = _humanised(start, length, pedals, generator)
            if chosen.neutral_jitter:
                move = generator.random(len(start) + 2 * len(pedals)) * 2 - 1
                move *= chosen.neutral_jitter / STEP
                start = start + move[: len(start)]
                pedals = pedals + move[len(start) :].reshape(-1, 2)
            if chosen.neutral_length:
                length = length * np.exp(
                    generator.standard_normal(len(length)) * chosen.neutral_length
                )
            notes, pedals = _gridded(notes, start, length, pedals, generator)
        velocity = self._velocity(notes.velocity, generator, humanise)
        return replace(events, notes=replace(notes, velocity=velocity), pedals=pedals)

    def _continuous(
        self, notes: Notes, pedals: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Onsets and lengths (N,) and pedals (P, 2) in steps, dithered and stretched.

        The notes of one onset are dithered as one: what was struck together stays together.
        """
        count = len(notes)
        draw = generator.random(2 * count + 2 * len(pedals) + 1) - 0.5
        onset, length, pedal = np.split(draw[1:], [count, 2 * count])
        first_of_onset = np.searchsorted(notes.start, notes.start)
        factor = np.exp(2 * draw[0] * np.log1p(self.settings.neutral_stretch))
        steps = notes.end - notes.start
        width = self._width[np.minimum(steps, len(self._width) - 1)]
        return (
            (notes.start + onset[first_of_onset]) * factor,
            (steps + length * width) * factor,
            (pedals + pedal.reshape(-1, 2)) * factor,
        )

    def _velocity(
        self, velocity: np.ndarray, generator: np.random.Generator, humanise: bool
    ) -> np.ndarray:
        """Loudness flattened, coarsened or kept, and the whole window louder or softer."""
        kind, gain = self.settings.neutral_velocity, self.settings.neutral_gain
        if not (humanise or gain or kind != "keep"):
            return velocity
        if humanise:
            spread = generator.uniform(3, 12)
            velocity = velocity + spread * generator.standard_normal(len(velocity))
        if kind == "flat":
            velocity = np.full(len(velocity), _MIDDLE)
        elif kind == "coarse":
            centred = velocity - velocity.mean()
            limit = 0.6 * centred.std() + 1e-6
            velocity = _MIDDLE + _ACCENT * (np.sign(centred) * (np.abs(centred) > limit))
        if gain:
            velocity = velocity + generator.uniform(-gain, gain)
        return np.rint(velocity).clip(1, _LOUDEST).astype(np.int64)


def windows(
    corpus: Corpus,
    numbers: Sequence[int],
    length: int,
    settings: NeutraliseSettings,
    seed: int = 0,
    epoch: int = 0,
    count: int = 1,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields neutralised windows as (piece number, ids of at most `length`).

    A window is a function of (seed, epoch, piece); with `settings` off it is the plain crop at the
    same place.

    Args:
        corpus: where the pieces are.
        numbers: the pieces, in the order of the windows.
        length: tokens a window has at most.
        settings: how windows are neutralised.
        seed, epoch: of everything drawn.
        count: windows a piece.

    Raises:
        UserError: the corpus is on the time base beat.
    """
    neutralise = Neutraliser(corpus.representation, settings)
    for number in numbers:
        generator = np.random.default_rng([seed, epoch, number])
        piece = corpus.piece(number)
        for child in generator.spawn(count):
            start = int(child.integers(max(1, len(piece) - length + 1)))
            crop = piece[start : start + reach(length, settings)].astype(np.int64)
            yield number, neutralise(crop, child, corpus.rows[number]["timing"])[:length]


def reach(length: int, settings: NeutraliseSettings) -> int:
    """Tokens to read, so that `length` are left after neutralising."""
    return round(length * MARGIN) if settings.neutral_share else length


def _duration_widths(representation: Representation) -> np.ndarray:
    """(L,) by length in steps: how many true lengths the vocabulary writes as that one."""
    kinds, values = representation.token_types, representation.token_values
    durations = values[kinds == TokenType.DURATION].astype(np.float64)
    if len(durations) < 3:
        return np.ones(2)
    between = (durations[1:] + durations[:-1]) / 2
    width = np.diff(between, prepend=durations[0] - 0.5, append=durations[-1] + 0.5)
    steps = np.arange(int(durations[-1]) + 1)
    return width[np.searchsorted(durations, steps).clip(0, len(width) - 1)]


def _merged(start: np.ndarray, gap: float) -> np.ndarray:
    """Ascending onsets, each at most `gap` after the one before, drawn to the first of them.

    Those over twice `gap` after the first keep their time: a run or a trill is no chord.
    """
    heads = np.flatnonzero(np.diff(start, prepend=-np.inf) > gap)
    first = np.repeat(start[heads], np.diff(heads, append=len(start)))
    return np.where(start - first <= 2 * gap, first, start)


def _snapped(
    start: np.ndarray, length: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and ends pulled towards sixteenths or triplets of a random tempo.

    The grid is halved until the shorter gaps of the window hold a line of it: no run is crushed.
    """
    tempo, phase, strength, kind = generator.random(4)
    bpm = 70 * (200 / 70) ** tempo
    grid = 60_000 / bpm / (4 if kind < 0.6 else 3) / STEP
    gaps = np.diff(np.unique(start))
    shortest = np.partition(gaps, len(gaps) // 10)[len(gaps) // 10] if len(gaps) else grid
    while grid > max(shortest, 60 / STEP):
        grid /= 2
    strength = 1 - 0.4 * max(0.0, 2 * strength - 1)  # half the time all the way
    offset = phase * grid

    def pulled(time: np.ndarray) -> np.ndarray:
        return time + strength * (np.rint((time - offset) / grid) * grid + offset - time)

    onset = pulled(start)
    return onset, np.maximum(pulled(start + length) - onset, grid / 2)


def _humanised(
    start: np.ndarray, length: np.ndarray, pedals: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A player's deviations: the tempo drifts, onsets and the notes of a chord part, lengths vary.

    Time is warped by slow waves of the tempo, so order and pedals stay with the notes.
    """
    seconds = STEP / 1000
    period = generator.uniform(3, 20, 3) / seconds  # steps
    phase = generator.uniform(0, 2 * np.pi, 3)
    depth = generator.uniform(0, 0.04) * period / (2 * np.pi)

    def warped(time: np.ndarray) -> np.ndarray:
        waves: np.ndarray = np.sin(time[..., None] * (2 * np.pi / period) + phase) @ depth
        return time + waves

    scale = generator.random(4)
    noise = generator.standard_normal((3, len(start))).clip(-3, 3)
    first_of_onset = np.searchsorted(start, start)  # as dithered, an onset's notes share a time
    apart = (4 + 14 * scale[0]) * noise[0][first_of_onset] + (2 + 8 * scale[1]) * noise[1]
    touch = (0.75 + 0.3 * scale[2]) * np.exp((0.05 + 0.25 * scale[3]) * noise[2])
    return warped(start) + apart / STEP, length * touch, warped(pedals)


def _gridded(
    notes: Notes,
    start: np.ndarray,
    length: np.ndarray,
    pedals: np.ndarray,
    generator: np.random.Generator,
) -> tuple[Notes, np.ndarray]:
    """Back into whole steps, at an arbitrary phase; the window's first onset keeps its step.

    No note is lost: a stroke that falls on its own string's last one comes a step later.
    """
    origin = int(notes.start[0])
    place = origin + generator.random() - start.min()
    onset = np.floor(start + place).astype(np.int64)
    end = np.floor(start + length + place).astype(np.int64)
    if len(pedals):
        pedals = _in_order(np.maximum(np.floor(pedals + place).astype(np.int64), 0))
    string = notes.pitch.astype(np.int64) * _FAR
    order = np.argsort(string + onset, kind="stable")
    rank = np.arange(len(order))
    place_on_string = np.maximum.accumulate((string + onset)[order] - rank) + rank
    onset = place_on_string - string[order]
    next_onset = np.append(place_on_string[1:] - string[order][:-1], _FAR)
    end = np.minimum(np.maximum(end[order], onset + 1), next_onset)
    result = Notes(onset, end, notes.pitch[order], notes.velocity[order])
    return result.take(np.argsort(onset, kind="stable")), pedals  # stable: by pitch within an onset


def _in_order(pedals: np.ndarray) -> np.ndarray:
    """Pedals (P, 2) without those of no length; one lifted and pressed at once was not lifted."""
    down = pedals[:, 0]
    up = np.maximum.accumulate(pedals[:, 1])
    down, up = down[up > down], up[up > down]
    lifted = np.flatnonzero(down[1:] > up[:-1])
    heads, ends = np.append(-1, lifted) + 1, np.append(lifted, len(down) - 1)
    return np.stack([down[heads], up[ends]], 1) if len(down) else pedals[:0]
