"""Signs of a degenerate piece: loops, runs on one pitch, silence, next to nothing.

The bounds are what nearly all real music stays within; `python -m experiments.recipes.samples`
gives the share of held-out music beyond them beside that of samples. Of a piece that goes on from a
prompt, what the model wrote is judged and not what it was given.
"""

import numpy as np
from symusic.core import ScoreTick

from data_tools.midi import merged_notes, seconds_of
from data_tools.representation import EOS, Representation

# Of what `describe` gives: whole numbers.
COUNTS = ("notes", "distinct_pitches", "longest_run", "of_prompt", "generated")
# Beyond these a piece counts as degenerate.
LONGEST_RUN = 16  # notes in a row on one pitch
MOST_REPEATED = 0.9  # share of four-note sequences heard before, in a piece or a stretch of it
STRETCH = 128  # notes; a loop may begin late, and the piece before it hides it
LONGEST_SILENCE = 10.0  # seconds
FEWEST_PITCHES = 5  # in a piece of at least as many notes as below
ENOUGH_NOTES = 32


def describe(score: ScoreTick, given: int = 0, until: float = 0.0) -> dict[str, float]:
    """Signs of a degenerate piece.

    Args:
        score: the piece.
        given: how many of its notes, the first ones, are a prompt's.
        until: the second at which its tokens end: what rests for ever ends, as a file, with its
            last note.

    Returns:
        notes, seconds (to the last note's end), distinct_pitches, longest_run (notes in a row on
        one pitch), repeated_4grams (share of the four-pitch sequences seen before in the piece),
        looped (the greatest such share within `STRETCH` notes) and longest_silence (seconds in
        which nothing sounds, before the first note and after the last included). With a prompt all
        but notes and seconds are those of what follows it, the silence between them included;
        of_prompt says how many of the notes it has, and generated how many follow it.
    """
    notes = merged_notes(score)
    if not len(notes):
        names = ("notes", "seconds", "distinct_pitches", "longest_run", "repeated_4grams", "looped")
        return dict.fromkeys((*names, "longest_silence"), 0.0)
    start, end = seconds_of(score, notes.start), seconds_of(score, notes.end)
    pitch = notes.pitch[given:]
    rest = max(0.0, until - float(end.max()))
    changes = np.flatnonzero(np.diff(pitch, prepend=-1, append=-1))
    heard_until = np.concatenate([[0.0], np.maximum.accumulate(end)[:-1]])
    return {
        "notes": float(len(notes)),
        "seconds": float(end.max()),
        "distinct_pitches": float(len(np.unique(pitch))),
        "longest_run": float(np.diff(changes).max(initial=0)),
        "repeated_4grams": repeated(pitch, len(pitch)),
        "looped": repeated(pitch, STRETCH),
        "longest_silence": float((start - heard_until)[given:].max(initial=rest)),
    } | ({"of_prompt": float(given), "generated": float(len(pitch))} if given else {})


def describe_ids(ids: np.ndarray, representation: Representation) -> dict[str, float]:
    """The same of a whole piece's tokens (T,), what they rest after the last note included."""
    music = ids[ids > EOS]
    score = representation.decode(music)  # whose ticks are grid steps
    until = seconds_of(score, representation.times(music)[-1:])
    return describe(score, until=float(until.max(initial=0.0)))


def repeated(pitches: np.ndarray, stretch: int) -> float:
    """The greatest share of four-pitch sequences (of N pitches) seen before within a stretch.

    Args:
        pitches: (N,).
        stretch: notes in a row; one begins every quarter of it, and one ends with the piece.
    """
    if len(pitches) < 4:
        return 0.0
    _, gram = np.unique(np.lib.stride_tricks.sliding_window_view(pitches, 4), axis=0,
                        return_inverse=True)  # fmt: skip
    gram = gram.ravel()
    size = min(len(gram), stretch - 3)
    order = np.argsort(gram, kind="stable")
    before = np.full(len(gram), -1)  # where the same sequence was last
    same = gram[order[1:]] == gram[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    starts = {*range(0, len(gram) - size, max(1, stretch // 4)), len(gram) - size}
    return float(max((before[start : start + size] >= start).mean() for start in starts))


def signs(statistics: dict[str, float]) -> list[str]:
    """What is degenerate about a piece of these statistics; nothing for a sound one."""
    notes = statistics.get("generated", statistics["notes"])
    enough = notes >= ENOUGH_NOTES
    found = {
        "empty": notes < 1,
        "run": statistics["longest_run"] > LONGEST_RUN,
        "loop": enough and max(statistics["repeated_4grams"], statistics["looped"]) > MOST_REPEATED,
        "silence": statistics["longest_silence"] > LONGEST_SILENCE,
        "monotone": enough and statistics["distinct_pitches"] < FEWEST_PITCHES,
    }
    return [name for name, holds in found.items() if holds]
