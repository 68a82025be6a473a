"""`remi`: time is a bar and a position in it (Huang & Yang 2020; MidiTok's REMI).

    Bar TimeSig_4/4 Position_0 Tempo_121.29 Pitch_60 Velocity_79 Duration_0.12.24 Position_6 ...

On `beat` bars are the file's own, from its time signatures; a bar that is no whole number of
quarters is joined with the next (7/8 twice is 7/4), one of more than eight is split (12/4 is 6/4
twice), and a change within a bar waits for the next, as in MidiTok. On `clock` a bar is a frame of
1.92 seconds without musical meaning.
"""

from fractions import Fraction

import numpy as np

from data_tools.representation.durations import note_ids, read_notes
from data_tools.representation.events import Events
from data_tools.representation.timeline import last_place, read_tempos, tempo_tokens
from data_tools.representation.vocabulary import LONGEST_BAR, TokenType, Vocabulary


def quarters(numerator: int, denominator: int) -> int:
    """How many quarters a bar of this time signature is written with, 1 to 8."""
    if numerator <= 0 or denominator <= 0:
        return 4
    bar = Fraction(4 * numerator, denominator)
    joined = bar.numerator  # bars times their number that makes quarters whole
    return max(part for part in range(1, LONGEST_BAR + 1) if joined % part == 0)


def aligned(meters: np.ndarray) -> np.ndarray:
    """Meters (K, 2) whose changes stand on bar lines; the first is at step 0, none repeats."""
    result = [[0, int(meters[0, 1])]]
    for step, length in meters[1:].tolist():
        start, current = result[-1]
        start += -(-max(0, step - start) // current) * current
        if start == result[-1][0]:
            result.pop()
        if not result or result[-1][1] != length:
            result.append([start, length])
    return np.array(result, dtype=np.int64)


def bar_lines(meters: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of every bar up to the one of step `last`."""
    ends = np.append(meters[1:, 0], last + 1)
    sections = [
        np.arange(start, max(start, min(end, last + 1)), length)
        for (start, length), end in zip(meters.tolist(), ends.tolist(), strict=True)
    ]
    starts = np.concatenate(sections)
    lengths = np.repeat(meters[:, 1], [len(section) for section in sections])
    return starts, lengths


def write(vocabulary: Vocabulary, events: Events) -> np.ndarray:
    """The ids of events."""
    table = note_ids(vocabulary, events.notes)
    changed, tempos = tempo_tokens(vocabulary, events)
    time = np.concatenate([changed, np.repeat(events.notes.start, table.shape[1])])
    order = np.argsort(time, kind="stable")
    time, token = time[order], np.concatenate([tempos, table.ravel()])[order]
    meters = events.meters
    if not len(meters):
        meters = np.array([[0, 4 * vocabulary.steps_per_beat]])
    starts, lengths = bar_lines(meters, int(time[-1]))
    bar = np.searchsorted(starts, time, side="right") - 1
    heads = np.full((len(starts), 1 + vocabulary.beat), vocabulary.first(TokenType.BAR))
    if vocabulary.beat:
        heads[:, 1] = vocabulary.id_of(TokenType.TIME_SIGNATURE, lengths)
    # A moment's first token has the position before it; MidiTok names it anew in every bar.
    opens = np.flatnonzero(np.diff(time, prepend=-1))
    position = vocabulary.id_of(TokenType.POSITION, (time - starts[bar])[opens])
    owners = [np.arange(len(time)), opens, np.searchsorted(bar, np.arange(len(starts)))]
    return _joined(
        [token, position, heads.ravel()],
        [owners[0], owners[1], np.repeat(owners[2], heads.shape[1])],
        [2, 1, 0],
    )


def _joined(parts: list[np.ndarray], owners: list[np.ndarray], ranks: list[int]) -> np.ndarray:
    rank = np.concatenate([np.full(len(part), r) for part, r in zip(parts, ranks, strict=True)])
    # Stable, so bars before one token keep their own order.
    order = np.lexsort((rank, np.concatenate(owners)))
    return np.concatenate(parts)[order].astype(np.uint16)


def read(vocabulary: Vocabulary, ids: np.ndarray, close: bool) -> Events:
    """The events of music ids; there is nothing to `close`."""
    kinds, values = vocabulary.types[ids], vocabulary.values[ids]
    starts, lengths = _bars(vocabulary, kinds, values)
    time = _times(starts, kinds, values)
    notes = read_notes(vocabulary, kinds, values, time)
    if not vocabulary.beat:
        return Events(notes)
    whole = np.flatnonzero(lengths)
    changed = np.diff(lengths[whole], prepend=0) != 0
    meters = np.stack([starts[whole], lengths[whole]], 1)[changed]
    return Events(notes, tempos=read_tempos(vocabulary, ids, kinds, time), meters=meters)


def times(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """(T,) the grid step each token stands at."""
    kinds, values = vocabulary.types[ids], vocabulary.values[ids]
    return _times(_bars(vocabulary, kinds, values)[0], kinds, values)


def _times(starts: np.ndarray, kinds: np.ndarray, values: np.ndarray) -> np.ndarray:
    bar = np.cumsum(kinds == TokenType.BAR)
    if not len(bar):
        return bar
    place = last_place((kinds == TokenType.BAR) | (kinds == TokenType.POSITION))
    return starts[bar] + np.where(place >= 0, values[place], 0)


def _bars(
    vocabulary: Vocabulary, kinds: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of every bar; the first is what stands before any `Bar`."""
    lengths = _bar_lengths(vocabulary, kinds, values, np.cumsum(kinds == TokenType.BAR))
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths


def _bar_lengths(
    vocabulary: Vocabulary, kinds: np.ndarray, values: np.ndarray, bar: np.ndarray
) -> np.ndarray:
    """Steps of every bar; the first is what stands before any `Bar`, of no length if nothing."""
    count = int(bar[-1]) + 1 if len(bar) else 1
    lengths = np.zeros(count, dtype=np.int64)
    named = kinds == TokenType.TIME_SIGNATURE
    lengths[bar[named]] = values[named]
    known = np.flatnonzero(lengths)
    if len(known):
        place = last_place(lengths > 0)
        lengths = lengths[np.where(place >= 0, place, known[0])]
    else:
        lengths[:] = 4 * vocabulary.steps_per_beat
    if len(kinds) and kinds[0] == TokenType.BAR:
        lengths[0] = 0
    return lengths
