"""Scores put on the grid, and gridded events as scores again."""

from dataclasses import replace

import numpy as np
import symusic
from symusic.core import ScoreTick

from data_tools import midi, parts
from data_tools.ensemble import clean_parts, gathered, score_of_parts
from data_tools.midi import Notes
from data_tools.representation.bars import aligned, bar_lines, quarters
from data_tools.representation.events import Events
from data_tools.representation.vocabulary import CLOCK_STEP_SECONDS, Vocabulary, nearest


def grid(score: ScoreTick, vocabulary: Vocabulary, pedal: str) -> Events:
    """The exact music that tokens write down.

    The first onset (on `beat`: the beat it falls in, for `remi` the bar) becomes time zero. A tempo
    change after the last event is left out: it changes nothing that sounds.

    Args:
        score: prepared, in ticks.
        vocabulary: says the grid and the levels.
        pedal: "fold", "tokens" or "drop".

    Raises:
        MidiError: there are no notes.
    """
    several = vocabulary.preset == "raw"
    found = _parts(score, several)
    tracks = [part for part in found if part.track.notes]
    if not tracks:
        raise midi.MidiError("music", "no notes")
    pedals = _pedals_of(found)
    if pedal == "fold":
        tracks = [_folded(part, pedals) for part in tracks]
    played, channels, programs = gathered(tracks)
    meters = _meters(score, vocabulary)
    first = int(_steps(score, vocabulary, played.start.min(keepdims=True))[0])
    origin = _origin(first, vocabulary, meters)
    start, end = (_steps(score, vocabulary, t) - origin for t in (played.start, played.end))
    velocity = vocabulary.levels[nearest(vocabulary.levels, played.velocity)].astype(np.int64)
    lowest, highest = vocabulary.pitches
    inside = (played.pitch >= lowest) & (played.pitch <= highest)
    notes = Notes(start, np.maximum(end, start + 1), played.pitch, velocity).take(inside)
    notes, channels, programs = clean_parts(notes, channels[inside], programs[inside])
    # With durations the last event is an onset, with note-offs a release.
    last = int((notes.end if vocabulary.note_offs else notes.start).max(initial=0))
    meters = _from_origin(meters, origin)
    events = Events(
        notes,
        tempos=_tempos(score, vocabulary, origin, last),
        meters=meters[meters[:, 0] <= last],
    )
    if pedal == "tokens":
        spans, owners = _pedal_spans(score, vocabulary, pedals, origin)
        events = replace(events, pedals=spans, pedal_channels=owners if several else owners[:0])
    return replace(events, channels=channels, programs=programs) if several else events


def _parts(score: ScoreTick, several: bool) -> list[parts.Part]:
    if several:
        return parts.parts_of(score)
    return [parts.Part(1, 0, track) for track in score.tracks[:1]]


def _folded(part: parts.Part, pedals: dict[int, tuple[np.ndarray, np.ndarray]]) -> parts.Part:
    """The part with its channel's pedal folded into its notes."""
    if part.channel not in pedals:
        return part
    track = part.track.copy()
    track.notes = midi.note_list(midi.fold_pedal(midi.notes_of(track), *pedals[part.channel]))
    return replace(part, track=track)


def _pedals_of(tracks: list[parts.Part]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Ticks at which each channel's pedal goes down and comes up."""
    result = {}
    for part in tracks:
        if part.track.pedals:
            table = part.track.pedals.numpy()
            result[part.channel] = (table["time"], table["time"] + table["duration"])
    return result


def _steps(score: ScoreTick, vocabulary: Vocabulary, ticks: np.ndarray) -> np.ndarray:
    if not vocabulary.beat:
        return np.rint(midi.seconds_of(score, ticks) / CLOCK_STEP_SECONDS).astype(np.int64)
    steps = ticks * vocabulary.steps_per_beat / score.ticks_per_quarter
    return np.rint(steps).astype(np.int64)


def _origin(first: int, vocabulary: Vocabulary, meters: np.ndarray) -> int:
    if not vocabulary.beat:
        return first
    if not len(meters):
        return first - first % vocabulary.steps_per_beat
    return int(bar_lines(meters, first)[0][-1])


def _meters(score: ScoreTick, vocabulary: Vocabulary) -> np.ndarray:
    """(K, 2) step and bar length in steps; none but for `remi` on beat."""
    if vocabulary.preset != "remi" or not vocabulary.beat:
        return np.zeros((0, 2), dtype=np.int64)
    rows = [(0, 4 * vocabulary.steps_per_beat)]
    for meter in sorted(score.time_signatures, key=lambda meter: meter.time):
        step = int(_steps(score, vocabulary, np.array([meter.time]))[0])
        rows.append(
            (step, quarters(meter.numerator, meter.denominator) * vocabulary.steps_per_beat)
        )
    return aligned(np.array(rows, dtype=np.int64))


def _from_origin(meters: np.ndarray, origin: int) -> np.ndarray:
    if not len(meters):
        return meters
    first = int(np.searchsorted(meters[:, 0], origin, side="right")) - 1
    meters = meters[first:] - [origin, 0]
    meters[0, 0] = 0
    return meters


def _tempos(score: ScoreTick, vocabulary: Vocabulary, origin: int, last: int) -> np.ndarray:
    if not vocabulary.beat:
        return np.zeros((0, 2), dtype=np.int64)
    table = score.tempos.numpy()
    changed = _steps(score, vocabulary, table["time"]) - origin
    times = np.concatenate([[0], np.maximum(changed, 0)])
    mspq = np.concatenate([[500_000], table["mspq"]])
    times, mspq = times[times <= last], mspq[times <= last]
    # The last change of a moment holds; changes to the tempo already in force are none.
    holds = np.concatenate([times[1:] != times[:-1], [True]])
    times, mspq = times[holds], mspq[holds]
    slowest_last = len(vocabulary.tempos) - 1
    ascending = (60e6 / vocabulary.tempos)[::-1]  # microseconds a quarter
    level = slowest_last - nearest(ascending, mspq)
    differs = np.concatenate([[True], level[1:] != level[:-1]])
    return np.stack([times[differs], level[differs]], 1)


def _pedal_spans(
    score: ScoreTick,
    vocabulary: Vocabulary,
    pedals: dict[int, tuple[np.ndarray, np.ndarray]],
    origin: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 2) steps of all pedals in order of time, then channel, and (P,) their channels."""
    spans, owners = [np.zeros((0, 2), dtype=np.int64)], []
    for channel, (down, up) in sorted(pedals.items()):
        steps = (_steps(score, vocabulary, ticks) - origin for ticks in (down, up))
        spans.append(_pedal_steps(*steps))
        owners += [channel] * len(spans[-1])
    table, numbers = np.concatenate(spans), np.array(owners, dtype=np.int64)
    order = np.lexsort((numbers, table[:, 0]))
    return table[order], numbers[order]


def _pedal_steps(down: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(P, 2) pedals on the grid; those that meet after rounding become one."""
    keep = up > 0
    down = np.maximum(down, 0)
    up = np.maximum(up, down + 1)
    merged: list[list[int]] = []
    for time, end in zip(down[keep].tolist(), up[keep].tolist(), strict=True):
        if merged and time <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([time, end])
    return np.array(merged, dtype=np.int64).reshape(-1, 2)


def score_of(events: Events, vocabulary: Vocabulary) -> ScoreTick:
    """Events as a score whose ticks are grid steps."""
    if vocabulary.preset == "raw" and len(events.notes):
        score = score_of_parts(
            events.notes, events.channels, events.programs, vocabulary.steps_per_beat
        )
    else:
        score = midi.score_of(events.notes, vocabulary.steps_per_beat)
    for part in _parts(score, vocabulary.preset == "raw"):
        spans = events.pedals
        if vocabulary.preset == "raw":
            if len(part.track.pedals) or _has_pedals(score, part.channel):
                continue
            spans = spans[events.pedal_channels == part.channel]
        table = spans.astype(np.int32)
        part.track.pedals = symusic.Pedal.from_numpy(table[:, 0].copy(), table[:, 1] - table[:, 0])
    tempos = [
        symusic.Tempo(int(time), float(vocabulary.tempos[level])) for time, level in events.tempos
    ]
    score.tempos = symusic.core.TempoTickList(tempos or [symusic.Tempo(0, vocabulary.bpm)])
    score.time_signatures = symusic.core.TimeSignatureTickList(
        [
            symusic.TimeSignature(int(time), int(length) // vocabulary.steps_per_beat, 4)
            for time, length in events.meters
        ]
    )
    return score


def _has_pedals(score: ScoreTick, channel: int) -> bool:
    """Whether a part of the channel already carries its pedal."""
    return any(part.channel == channel and part.track.pedals for part in parts.parts_of(score))
