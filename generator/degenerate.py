"""Signs of a degenerate piece: loops, runs on one pitch, silence, next to nothing.

The bounds are what nearly all real music stays within; `python -m experiments.recipes.samples`
gives the share of held-out music beyond them beside that of samples.
"""

import numpy as np
from symusic.core import ScoreTick

from data_tools.midi import merged_notes, seconds_of

COUNTS = ("notes", "distinct_pitches", "longest_run")  # of what `describe` gives: whole numbers
# Beyond these a piece counts as degenerate.
LONGEST_RUN = 16  # notes in a row on one pitch
MOST_REPEATED = 0.9  # share of four-note sequences heard before
LONGEST_SILENCE = 10.0  # seconds
FEWEST_PITCHES = 5  # in a piece of at least as many notes as below
ENOUGH_NOTES = 32


def describe(score: ScoreTick) -> dict[str, float]:
    """Signs of a degenerate piece.

    Returns:
        notes, seconds (to the last note's end), distinct_pitches, longest_run (notes in a row on
        one pitch), repeated_4grams (share of the four-pitch sequences seen before in the piece) and
        longest_silence (seconds in which nothing sounds, a silence before the first note included).
    """
    notes = merged_notes(score)
    if not len(notes):
        names = ("notes", "seconds", "distinct_pitches", "longest_run", "repeated_4grams")
        return dict.fromkeys((*names, "longest_silence"), 0.0)
    start, end = seconds_of(score, notes.start), seconds_of(score, notes.end)
    changes = np.flatnonzero(np.diff(notes.pitch, prepend=-1, append=-1))
    grams = [tuple(notes.pitch[i : i + 4]) for i in range(len(notes) - 3)]
    heard_until = np.concatenate([[0.0], np.maximum.accumulate(end)[:-1]])
    return {
        "notes": float(len(notes)),
        "seconds": float(end.max()),
        "distinct_pitches": float(len(np.unique(notes.pitch))),
        "longest_run": float(np.diff(changes).max()),
        "repeated_4grams": 1 - len(set(grams)) / len(grams) if grams else 0.0,
        "longest_silence": float((start - heard_until).max().clip(0)),
    }


def signs(statistics: dict[str, float]) -> list[str]:
    """What is degenerate about a piece of these statistics; nothing for a sound one."""
    enough = statistics["notes"] >= ENOUGH_NOTES
    found = {
        "empty": statistics["notes"] < 1,
        "run": statistics["longest_run"] > LONGEST_RUN,
        "loop": enough and statistics["repeated_4grams"] > MOST_REPEATED,
        "silence": statistics["longest_silence"] > LONGEST_SILENCE,
        "monotone": enough and statistics["distinct_pitches"] < FEWEST_PITCHES,
    }
    return [name for name, holds in found.items() if holds]
