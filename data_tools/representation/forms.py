"""How `performance` relates to MidiTok's MIDILike, which repeats the velocity after every note-on.

Both ways are pure functions on ids of one vocabulary:

    MidiTok   NoteOn_60 Velocity_79 NoteOn_64 Velocity_79 NoteOn_67 Velocity_95
    ours      Velocity_79 NoteOn_60 NoteOn_64 Velocity_95 NoteOn_67

`collapse` of MidiTok's ids gives ours, and MidiTok reads `expand` of ours as the same music. They
hold for `raw` too, once its channel and program tokens are taken out of a piece of one part.
"""

import numpy as np

from data_tools.representation.timeline import last_place
from data_tools.representation.vocabulary import TokenType, Vocabulary


def collapse(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Ids (T,) with each velocity before its note-on, and only where it changes."""
    ids = np.array(ids, dtype=np.int64)
    at = np.flatnonzero(vocabulary.types[ids] == TokenType.VELOCITY)
    result = ids.copy()
    result[at - 1], result[at] = ids[at], ids[at - 1]
    same = np.concatenate([[False], ids[at][1:] == ids[at][:-1]])[: len(at)]
    return np.delete(result, (at - 1)[same])


def expand(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Ids (T,) with the velocity in force after every note-on, and nowhere else."""
    ids = np.array(ids, dtype=np.int64)
    kinds = vocabulary.types[ids]
    loud = kinds == TokenType.VELOCITY
    on = kinds == TokenType.NOTE_ON
    if not loud.any():
        return ids
    place = last_place(loud)
    in_force = ids[np.where(place >= 0, place, np.argmax(loud))]
    doubled = np.stack([ids, in_force], 1)
    wanted = np.stack([~loud, on], 1)
    return doubled[wanted]
