"""What looks wrong in a readable file: the marks of a bad export, a bad transcription, a test file.

Nothing here makes a file unusable; a person decides. The limits are loose on purpose: music within
them is common. Each mark is a name, with its figure in brackets where it has one.
"""

from collections.abc import Sequence

import numpy as np

from data_tools import smf
from data_tools.midi import HIGHEST_PITCH, LOWEST_PITCH, Notes

LONGEST_NOTE = 120.0  # seconds
LONGEST_SILENCE = 60.0  # seconds between onsets, and before the first
SLOWEST, FASTEST = 10.0, 500.0  # beats a minute
FEW = 16  # notes, below which sameness is no mark of anything
OVERLAPS = 0.05  # share of notes struck while the same pitch still sounds
OFF_KEYBOARD = 0.1  # share of notes off the 88 keys


def of_bytes(file: smf.Smf, notes: int, read: int, stuck: int) -> tuple[str, ...]:
    """What is odd in a file apart from its notes, in words.

    Args:
        file: what the scanner saw.
        notes: note-ons that it counted.
        read: notes that a corpus would be built of.
        stuck: note-ons that are never released.
    """
    found = []
    if stuck:
        found.append(f"stuck notes ({stuck})")
    if read != notes - stuck:
        # Doubled note-ons that share a release, or bytes that the corpus's reader loses its way in.
        found.append(f"notes not read ({notes - stuck - read})")
    bpm = 6e7 / np.maximum(file.tempos[:, 2], 1)
    absurd = bpm[(bpm < SLOWEST) | (bpm > FASTEST)]
    if len(absurd):
        found.append(f"absurd tempo ({absurd[0]:.4g})")
    return tuple(found)


def of_notes(notes: Notes, parts: Sequence[Notes]) -> tuple[str, ...]:
    """What is odd in the notes, in words.

    Args:
        notes: all notes but drums, in seconds, sorted by onset; may be empty.
        parts: the same by track, in any unit: two hands may well hold one key.
    """
    if not len(notes):
        return ()
    found = []
    if len(notes) >= FEW and len(np.unique(notes.pitch)) == 1:
        found.append("one pitch")
    if len(notes) >= FEW and len(np.unique(notes.velocity)) == 1:
        found.append("one velocity")
    longest = float((notes.end - notes.start).max())
    if longest > LONGEST_NOTE:
        found.append(f"long note ({longest:.0f} s)")
    silence = float(np.diff(notes.start, prepend=0.0).max())
    if silence > LONGEST_SILENCE:
        found.append(f"long silence ({silence:.0f} s)")
    share = sum(_struck_while_sounding(part) for part in parts) / len(notes)
    if share > OVERLAPS and len(notes) >= FEW:
        found.append(f"struck while sounding ({share:.0%})")
    off = float(np.mean((notes.pitch < LOWEST_PITCH) | (notes.pitch > HIGHEST_PITCH)))
    if off > OFF_KEYBOARD:
        found.append(f"off the 88 keys ({off:.0%})")
    return tuple(found)


def _struck_while_sounding(notes: Notes) -> int:
    order = np.lexsort((notes.start, notes.pitch))
    start, end, pitch = notes.start[order], notes.end[order], notes.pitch[order]
    return int(np.sum((np.diff(pitch) == 0) & (start[1:] < end[:-1])))
