"""`performance` and `raw`: notes begin and end by tokens of their own (MidiTok's MIDILike).

    performance  Velocity_79 NoteOn_60 TimeShift_0.6.12 NoteOff_60 NoteOn_64 ...
    raw          Channel_1 Program_0 Velocity_79 NoteOn_60 Channel_10 NoteOn_36 TimeShift_0.6.12 ...

Velocity, tempo, and in `raw` the channel and each channel's program, hold until changed, as in
Oore et al. 2018 and as MIDI's own running status does; a token stands only where something
changes, and the first note always has its velocity. Within a moment: tempo, then channel by channel
in ascending order the pedal, the releases and the strokes, these by ascending pitch.
"""

from dataclasses import replace

import numpy as np

from data_tools.ensemble import clean_parts
from data_tools.midi import Notes
from data_tools.representation.events import Events
from data_tools.representation.timeline import (
    changes,
    last_place,
    read_tempos,
    tempo_tokens,
    times,
    velocity_ids,
    written,
)
from data_tools.representation.vocabulary import DEFAULT_VELOCITY, TokenType, Vocabulary

_TEMPO, _PEDAL, _OFF, _ON = range(4)  # the order within a moment and a channel
_PITCHES = 128


def write(vocabulary: Vocabulary, events: Events) -> np.ndarray:
    """The ids of events."""
    notes, count = events.notes, len(events.notes)
    channels = events.channels if len(events.channels) else np.ones(count, dtype=np.int64)
    pedals = events.pedals
    pedal_channels = events.pedal_channels
    if not len(pedal_channels):
        pedal_channels = np.ones(len(pedals), dtype=np.int64)
    tempo_times, tempos = tempo_tokens(vocabulary, events)
    down, up = vocabulary.first(TokenType.PEDAL_ON), vocabulary.first(TokenType.PEDAL_OFF)
    time = np.concatenate([tempo_times, pedals[:, 0], pedals[:, 1], notes.end, notes.start])
    channel = np.concatenate(
        [np.zeros(len(tempos), dtype=np.int64), pedal_channels, pedal_channels, channels, channels]
    )
    token = np.concatenate(
        [
            tempos,
            np.full(len(pedals), down),
            np.full(len(pedals), up),
            vocabulary.id_of(TokenType.NOTE_OFF, notes.pitch),
            vocabulary.id_of(TokenType.NOTE_ON, notes.pitch),
        ]
    )
    kind = np.repeat([_TEMPO, _PEDAL, _OFF, _ON], [len(tempos), 2 * len(pedals), count, count])
    order = np.lexsort((kind, channel, time))  # stable: releases in the order of their notes
    strokes = np.flatnonzero(kind[order] == _ON)  # in the order of the notes
    before = []
    if vocabulary.preset == "raw":
        moving = np.flatnonzero(channel[order])
        moving = moving[changes(channel[order][moving])]
        before.append((moving, vocabulary.id_of(TokenType.CHANNEL, channel[order][moving])))
        programs = events.programs if len(events.programs) else np.zeros(count, dtype=np.int64)
        within = np.argsort(channels, kind="stable")
        fresh = changes(channels[within] * _PITCHES + programs[within])
        fresh = np.sort(within[fresh])
        before.append((strokes[fresh], vocabulary.id_of(TokenType.PROGRAM, programs[fresh])))
    for column in velocity_ids(vocabulary, notes.velocity).T:
        louder = changes(column)
        before.append((strokes[louder], column[louder]))
    return written(vocabulary, time[order], token[order], before)


def read(vocabulary: Vocabulary, ids: np.ndarray, close: bool) -> Events:
    """The events of music ids.

    Args:
        vocabulary: whose ids.
        ids: (T,) music ids.
        close: end what still sounds one step after the last event; it is dropped otherwise.
    """
    kinds, values = vocabulary.types[ids], vocabulary.values[ids].astype(np.int64)
    time = times(vocabulary, ids)
    channel = np.ones(len(ids), dtype=np.int64)
    if vocabulary.preset == "raw":
        place = last_place(kinds == TokenType.CHANNEL)
        channel = np.where(place >= 0, values[place], 1)
    finish = int(time[-1]) + 1 if close and len(time) else None
    on, off = _spans(kinds, channel * _PITCHES + values, time, TokenType.NOTE_ON, finish)
    velocity = _velocities(vocabulary, kinds, values)[on]
    notes, channels, programs = clean_parts(
        Notes(time[on], off, values[on], velocity),
        channel[on],
        _programs(kinds, values, channel, on),
    )
    down, up = _spans(kinds, channel, time, TokenType.PEDAL_ON, finish)
    pedals = np.stack([time[down], up], 1)
    order = np.lexsort((channel[down], pedals[:, 0]))
    order = order[pedals[order, 1] > pedals[order, 0]]
    events = Events(notes, pedals[order])
    if vocabulary.beat:
        events = replace(events, tempos=read_tempos(vocabulary, ids, kinds, time))
    if vocabulary.preset != "raw":
        return events
    return replace(
        events, channels=channels, programs=programs, pedal_channels=channel[down][order]
    )


def _spans(
    kinds: np.ndarray, lane: np.ndarray, time: np.ndarray, begin: TokenType, finish: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the tokens that begin something, and when each ends: with the lane's next token.

    Args:
        kinds, lane, time: (T,).
        begin: NOTE_ON or PEDAL_ON.
        finish: the end of what nothing ends; None drops it.
    """
    ending = TokenType.NOTE_OFF if begin == TokenType.NOTE_ON else TokenType.PEDAL_OFF
    at = np.flatnonzero((kinds == begin) | (kinds == ending))
    at = at[np.argsort(lane[at], kind="stable")]
    if begin == TokenType.PEDAL_ON:  # pressing what is down changes nothing
        same = np.concatenate([[False], lane[at][1:] == lane[at][:-1]])[: len(at)]
        again = same & (kinds[at] == np.roll(kinds[at], 1))
        at = at[~again]
    follows = np.append(lane[at][1:] == lane[at][:-1], False)[: len(at)]
    end = np.where(follows, time[np.roll(at, -1)], -1 if finish is None else finish)
    wanted = (kinds[at] == begin) & (end >= 0)
    places, ends = at[wanted], end[wanted]
    order = np.argsort(places)
    return places[order], ends[order]


def _velocities(vocabulary: Vocabulary, kinds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(T,) the velocity in force; before the first token of it, that token's."""
    named = np.flatnonzero(kinds == TokenType.VELOCITY)
    if not len(named):
        silent = vocabulary.levels[0] if len(vocabulary.levels) == 1 else DEFAULT_VELOCITY
        return np.full(len(kinds), silent, dtype=np.int64)
    place = last_place(kinds == TokenType.VELOCITY)
    return values[np.where(place >= 0, place, named[0])]


def _programs(
    kinds: np.ndarray, values: np.ndarray, channel: np.ndarray, on: np.ndarray
) -> np.ndarray:
    """The program in force on its channel at each of the places `on`; 0 before any is named."""
    named = np.flatnonzero(kinds == TokenType.PROGRAM)
    if not len(named):
        return np.zeros(len(on), dtype=np.int64)
    length = len(kinds)
    keys = np.sort(channel[named] * length + named)
    found = np.searchsorted(keys, channel[on] * length + on) - 1
    key = keys[np.maximum(found, 0)]
    valid = (found >= 0) & (key // length == channel[on])
    return np.where(valid, values[key % length], 0)
