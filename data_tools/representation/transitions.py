"""Which type of token may come right after which; `generator.grammar` adds what needs memory."""

import numpy as np

from data_tools.representation.vocabulary import TokenType, Vocabulary

T = TokenType


def follows(vocabulary: Vocabulary) -> np.ndarray:
    """(types, types) bool: may a token of the second type come right after one of the first?"""
    after = _bars(vocabulary) if vocabulary.preset == "remi" else _shifts(vocabulary)
    after |= {T.PAD: {T.PAD}, T.EOS: {T.PAD}, T.CONDITION: {T.CONDITION, T.BOS}}
    used = {*np.unique(vocabulary.types).tolist(), T.CONDITION}
    table = np.zeros((len(T), len(T)), dtype=bool)
    for first, seconds in after.items():
        table[first, list(seconds & used)] = True
    return table


def _note(loud: bool) -> dict[TokenType, set[TokenType]]:
    """A note of three tokens, or of two without velocities; what follows is the preset's matter."""
    return {T.PITCH: {T.VELOCITY}, T.VELOCITY: {T.DURATION}} if loud else {T.PITCH: {T.DURATION}}


def _shifts(vocabulary: Vocabulary) -> dict[TokenType, set[TokenType]]:
    loud = bool(len(vocabulary.of_type(T.VELOCITY)))
    stroke = {T.VELOCITY, T.NOTE_ON} if vocabulary.note_offs else {T.PITCH}
    start = stroke | {T.TIME_SHIFT, T.TEMPO, T.PEDAL_ON, T.CHANNEL}
    start |= {T.PROGRAM} if vocabulary.preset == "raw" else set()
    free = start | {T.NOTE_OFF, T.PEDAL_OFF, T.EOS}
    # A tempo stands before everything else of its moment, so two never meet.
    later = free - {T.TEMPO}
    after: dict[TokenType, set[TokenType]] = {
        T.BOS: start,
        T.TIME_SHIFT: free - {T.EOS},
        T.TEMPO: later - {T.EOS},
        T.PEDAL_ON: later,
        T.PEDAL_OFF: later,
    }
    if not vocabulary.note_offs:
        return after | _note(loud) | {T.DURATION: later}
    return after | {
        T.NOTE_ON: later - {T.EOS},
        T.NOTE_OFF: later,
        T.VELOCITY: {T.NOTE_ON},
        T.PROGRAM: stroke,
        T.CHANNEL: (later - {T.EOS, T.CHANNEL, T.TIME_SHIFT}),
    }


def _bars(vocabulary: Vocabulary) -> dict[TokenType, set[TokenType]]:
    loud = bool(len(vocabulary.of_type(T.VELOCITY)))
    onward = {T.BAR, T.POSITION}
    return _note(loud) | {
        T.BOS: {T.BAR},
        T.BAR: {T.TIME_SIGNATURE} if vocabulary.beat else onward,
        T.TIME_SIGNATURE: onward,
        T.POSITION: {T.TEMPO, T.PITCH},
        T.TEMPO: onward | {T.PITCH},
        T.DURATION: onward | {T.PITCH, T.EOS},
    }
