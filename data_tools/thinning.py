"""Thinning: windows with parts of their texture left out.

A pianist alone plays everything: bass, chords and melody. In a band the bass and the melody are
other people's, a lead sheet has chords and melody, a beginner's piece no more than two notes at a
time. A classifier that learnt from solo piano takes the fuller texture for jazz; so windows of
either label are shown to it without their bass, without their melody, or without their lines.

Letters: T tokens, N notes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data_tools.errors import UserError
from data_tools.representation import CLOCK_STEP_SECONDS, Representation
from data_tools.settings import ThinningSettings

Kept = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

REACH = 4  # times a window's tokens are read, so that what is left nearly always fills it
_STROKE = 0.05  # seconds within which notes are struck as one
_LEAST = 24  # notes that must be left, else the window stays whole
# MIDI pitches between which a threshold is drawn.
_BASS, _MELODY, _CHORDS_LOW, _CHORDS_HIGH = (45, 58), (60, 73), (45, 55), (70, 82)


def without_bass(
    pitch: np.ndarray, stroke: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Without what lies below a pitch: another plays the bass."""
    return pitch >= generator.integers(*_BASS)


def without_melody(
    pitch: np.ndarray, stroke: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Without the top note of every stroke, where it is a high one: another has the melody."""
    top = np.zeros(stroke[-1] + 1, dtype=np.int64)
    np.maximum.at(top, stroke, pitch)
    return (pitch < top[stroke]) | (pitch < generator.integers(*_MELODY))


def inner(pitch: np.ndarray, stroke: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Without either."""
    kept = without_bass(pitch, stroke, generator)
    return kept & without_melody(pitch, stroke, generator)


def chords(pitch: np.ndarray, stroke: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Strokes of two notes and more, or of three and more: no lines."""
    return np.bincount(stroke)[stroke] >= generator.integers(2, 4)


def middle_chords(
    pitch: np.ndarray, stroke: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """What strokes of two notes and more have in the middle of the keyboard, as when comping."""
    several = np.bincount(stroke)[stroke] >= 2
    low, high = generator.integers(*_CHORDS_LOW), generator.integers(*_CHORDS_HIGH)
    return several & (pitch >= low) & (pitch <= high)


THINNINGS: dict[str, Kept] = {
    "without bass": without_bass,
    "without melody": without_melody,
    "inner": inner,
    "chords": chords,
    "middle chords": middle_chords,
}


class Thinner:
    """Leaves parts out of windows of music ids; a function of the generator it is called with.

    Args:
        representation: whose ids these are: one piano.
        settings: how often; never where `thin_share` is 0.

    Raises:
        UserError: the preset holds several instruments.
    """

    def __init__(self, representation: Representation, settings: ThinningSettings) -> None:
        if settings.thin_share and representation.settings.preset == "raw":
            raise UserError(
                "thinning is for one piano, not for 'raw'; build the corpus with --preset "
                "duration, or leave --thin-share at 0"
            )
        self.representation, self.share = representation, settings.thin_share
        self._clock = representation.settings.time_base == "clock"

    def __call__(self, ids: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
        """At most `length` ids: the first ones, or what is left of `REACH` times as many, thinned.

        A window of which too little would be left stays whole.

        Args:
            ids: (T,) all that follows from the window's beginning.
            length: of the window.
            generator: all that is drawn; nothing is where the share is 0.
        """
        if not self.share or generator.random() >= self.share:
            return ids[:length]
        name = tuple(THINNINGS)[int(generator.integers(len(THINNINGS)))]
        left = self.thinned(ids[: REACH * length], name, generator)
        return (ids if left is None else left)[:length]

    def thinned(
        self, ids: np.ndarray, name: str, generator: np.random.Generator
    ) -> np.ndarray | None:
        """What one of `THINNINGS` leaves of music ids (T,); None of too few notes.

        On the clock it begins when the window did: a rest in front would tell that notes are gone.
        """
        events = self.representation.events(ids)
        notes = events.notes
        if len(notes) < _LEAST:
            return None
        pitch, stroke = notes.pitch.astype(np.int64), self._strokes(notes.start)
        kept = np.flatnonzero(THINNINGS[name](pitch, stroke, generator))
        if len(kept) < _LEAST:
            return None
        rest = int(notes.start[kept[0]] - notes.start[0]) if self._clock else 0
        notes = notes.take(kept)
        notes = replace(notes, start=notes.start - rest, end=notes.end - rest)
        pedals = np.maximum(events.pedals - rest, 0)
        pedals = pedals[pedals[:, 1] > pedals[:, 0]]
        return self.representation.encode_events(replace(events, notes=notes, pedals=pedals))

    def line(self, ids: np.ndarray) -> np.ndarray | None:
        """The top note of every stroke of music ids (T,), held until the next at most: one voice.

        None of too few notes.
        """
        events = self.representation.events(ids)
        notes = events.notes
        if not len(notes):
            return None
        stroke = self._strokes(notes.start)
        order = np.lexsort((notes.pitch, stroke))
        notes = notes.take(order[np.flatnonzero(np.diff(stroke[order], append=-1))])
        if len(notes) < _LEAST:
            return None
        end = np.minimum(notes.end, np.append(notes.start[1:], notes.end[-1:]))
        alone = replace(events, notes=replace(notes, end=end), pedals=events.pedals[:0])
        return self.representation.encode_events(alone)

    def _strokes(self, start: np.ndarray) -> np.ndarray:
        """(N,) the stroke each note belongs to: what begins within 50 ms of its first note.

        On the beat, where steps are no times, what begins together.
        """
        apart = _STROKE / CLOCK_STEP_SECONDS if self._clock else 0.0
        stroke, number, first = np.empty(len(start), dtype=np.int64), -1, -np.inf
        for place, onset in enumerate(start.tolist()):
            if onset - first > apart:
                number, first = number + 1, onset
            stroke[place] = number
        return stroke
