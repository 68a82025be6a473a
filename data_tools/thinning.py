"""Thinning: windows with parts of their texture left out.

A pianist alone plays everything: bass, chords and melody. In a band the bass and the melody are
other people's, a lead sheet has chords and melody, a beginner's piece no more than two notes at a
time. A classifier that learnt from solo piano takes the fuller texture for jazz; so windows of
either label are shown to it without their bass, without their melody, or without their lines.
Dropping what another process would not have written keeps the harmony and its turns.

Letters: T tokens, N notes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import CLOCK_STEP_SECONDS, Representation
from data_tools.settings import ThinningSettings

Kept = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

REACH = 3  # times a window's tokens are read, so that what is left of them fills it
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
        clock = representation.settings.time_base == "clock"
        self._apart = _STROKE / CLOCK_STEP_SECONDS if clock else 0.0  # grid steps

    def __call__(self, ids: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
        """The first `length` ids, or what is left of up to `REACH` times as many, thinned.

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
        return ids[:length] if left is None else left[: REACH * length]

    def thinned(
        self, ids: np.ndarray, name: str, generator: np.random.Generator
    ) -> np.ndarray | None:
        """What one of `THINNINGS` leaves of music ids (T,); None of too few notes."""
        events = self.representation.events(ids)
        notes: Notes = events.notes
        if len(notes) < _LEAST:
            return None
        new = np.diff(notes.start, prepend=notes.start[0]) > self._apart
        kept = THINNINGS[name](notes.pitch.astype(np.int64), np.cumsum(new), generator)
        if kept.sum() < _LEAST:
            return None
        fewer = replace(events, notes=notes.take(np.flatnonzero(kept)))
        return self.representation.encode_events(fewer)
