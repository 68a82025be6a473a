"""`duration`: a note is its pitch, its velocity and its length (MidiTok's TSD).

Pitch_60 Velocity_79 Duration_0.12.24 TimeShift_0.6.24 Pitch_64 ...
"""

import numpy as np

from data_tools.midi import Notes, clean
from data_tools.representation.events import Events
from data_tools.representation.timeline import (
    read_tempos,
    tempo_tokens,
    times,
    velocity_ids,
    written,
)
from data_tools.representation.vocabulary import TokenType, Vocabulary


def note_ids(vocabulary: Vocabulary, notes: Notes) -> np.ndarray:
    """(N, 3) ids of pitch, velocity and duration; (N, 2) without velocities."""
    pitch = vocabulary.id_of(TokenType.PITCH, notes.pitch)[:, None]
    duration = vocabulary.nearest_id(TokenType.DURATION, notes.end - notes.start)[:, None]
    return np.concatenate([pitch, velocity_ids(vocabulary, notes.velocity), duration], 1)


def read_notes(
    vocabulary: Vocabulary, kinds: np.ndarray, values: np.ndarray, time: np.ndarray
) -> Notes:
    """The notes of which every token is there."""
    loud = bool(len(vocabulary.of_type(TokenType.VELOCITY)))
    last = 1 + loud
    at = np.flatnonzero(kinds[: max(0, len(kinds) - last)] == TokenType.PITCH)
    at = at[kinds[at + last] == TokenType.DURATION]
    if loud:
        at = at[kinds[at + 1] == TokenType.VELOCITY]
    velocity = values[at + 1] if loud else np.full(len(at), vocabulary.levels[0])
    start = time[at]
    notes = Notes(start, start + values[at + last], values[at], velocity)
    return clean(notes, pitches=vocabulary.pitches)


def write(vocabulary: Vocabulary, events: Events) -> np.ndarray:
    """The ids of events."""
    table = note_ids(vocabulary, events.notes)
    changed, tempos = tempo_tokens(vocabulary, events)
    time = np.concatenate([changed, np.repeat(events.notes.start, table.shape[1])])
    # Stable: MidiTok puts a tempo before the notes of its moment.
    order = np.argsort(time, kind="stable")
    return written(vocabulary, time[order], np.concatenate([tempos, table.ravel()])[order])


def read(vocabulary: Vocabulary, ids: np.ndarray, close: bool) -> Events:
    """The events of music ids; there is nothing to `close`."""
    kinds, values = vocabulary.types[ids], vocabulary.values[ids]
    time = times(vocabulary, ids)
    notes = read_notes(vocabulary, kinds, values, time)
    if not vocabulary.beat:
        return Events(notes)
    return Events(notes, tempos=read_tempos(vocabulary, ids, kinds, time))
