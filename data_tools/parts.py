"""Music of several instruments, with the channel numbers that readers of notes leave out.

A *part* is one instrument on one MIDI channel. In a score it is one track called
`Channel 10 Program 0`; that name is all that carries the channel, so it survives symusic and
miditoolkit, neither of which keeps channels. A track of any other name gets a channel of its own:
10 for drums, the next free one else.
"""

import io
import re
from dataclasses import dataclass

import mido
import numpy as np
import symusic
from symusic.core import ScoreTick, TrackTick

from data_tools import smf
from data_tools.errors import MidiError

CHANNELS = 16
DRUMS = 10
SUSTAIN = 64
_Row = tuple[int, int, int, int]  # start, length, pitch, velocity
_NAME = re.compile(r"Channel (\d+) Program (\d+)")


@dataclass(frozen=True)
class Part:
    """One instrument on one channel.

    Attributes:
        channel: 1..16; 10 is the drums'.
        program: General MIDI's, 0..127; on the drums' channel the kit.
        track: its notes and pedals.
    """

    channel: int
    program: int
    track: TrackTick


def name_of(channel: int, program: int) -> str:
    """The track name that says where a part belongs."""
    return f"Channel {channel} Program {program}"


def named(name: str) -> tuple[int, int] | None:
    """Channel and program as a track's name gives them; None where it does not."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    channel, program = map(int, match.groups())
    return (channel, program) if 1 <= channel <= CHANNELS and program < 128 else None


def parts_of(score: ScoreTick) -> list[Part]:
    """The parts of a score in ascending order of channel and program."""
    tracks = [(track, named(track.name)) for track in score.tracks]
    taken = {place[0] for _, place in tracks if place}
    free = [c for c in range(1, CHANNELS + 1) if c != DRUMS and c not in taken]
    parts, other = [], 0
    for track, place in tracks:
        if not place and track.is_drum:
            place = DRUMS, track.program
        elif not place:
            # More than sixteen instruments share channels, as they must in a MIDI file.
            place = (free[other % len(free)] if free else 1), track.program
            other += 1
        parts.append(Part(*place, track))
    return sorted(parts, key=lambda part: (part.channel, part.program))


def track_of(channel: int, program: int) -> TrackTick:
    """An empty track of this channel and program."""
    return symusic.Track(name_of(channel, program), program, channel == DRUMS)


def read_parts(data: bytes) -> ScoreTick | None:
    """A score of one named track a part, from the bytes of a MIDI file.

    A note's program is the one last chosen on its channel within its own track, or else anywhere.
    Tempos, time signatures and markers are left to the caller.

    Returns:
        None where the bytes are no MIDI file with a resolution.

    Raises:
        MidiError: it goes on for longer than a score's ticks can count.
    """
    try:
        file = smf.scan(data)
    except MidiError:
        return None
    if not file.ticks_per_beat:
        return None
    if file.events.tick.max(initial=0) > np.iinfo(np.int32).max:
        raise MidiError("<bytes>", "its waits are longer than can be counted")
    notes, pedals = _pair(file.events)
    score = symusic.Score(file.ticks_per_beat)
    for (channel, program), rows in sorted(notes.items()):
        table = np.array(rows, dtype=np.int32)
        track = track_of(channel, program)
        track.notes = symusic.Note.from_numpy(
            table[:, 0].copy(), table[:, 1].copy(),
            table[:, 2].astype(np.int8), table[:, 3].astype(np.int8),
        )  # fmt: skip
        spans = np.array(pedals.pop(channel, []), dtype=np.int32).reshape(-1, 2)
        # The pedal is the channel's; its first part carries it.
        track.pedals = symusic.Pedal.from_numpy(spans[:, 0].copy(), spans[:, 1].copy())
        score.tracks.append(track)
    return score


def _pair(
    events: smf.Events,
) -> tuple[
    dict[tuple[int, int], list[tuple[int, int, int, int]]], dict[int, list[tuple[int, int]]]
]:
    """Notes (start, length, pitch, velocity) of every part, pedals (start, length) of channels."""
    order = np.argsort(events.tick, kind="stable")  # tracks in their order at one tick
    events = events.take(order)
    notes: dict[tuple[int, int], list[_Row]] = {}
    pedals: dict[int, list[tuple[int, int]]] = {}
    sounding: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    pressed: dict[int, int] = {}
    anywhere: dict[int, int] = {}
    chosen: dict[tuple[int, int], int] = {}
    columns = (events.track, events.tick, events.kind, events.channel, events.first, events.second)
    for track, tick, kind, channel, first, second in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        channel += 1
        if kind == smf.PROGRAM:
            chosen[track, channel] = anywhere[channel] = first
        elif kind == smf.NOTE_ON and second:
            program = chosen.get((track, channel), anywhere.get(channel, 0))
            sounding.setdefault((track, channel, first), []).append((tick, second, program))
        elif kind in (smf.NOTE_ON, smf.NOTE_OFF):
            if begun := sounding.get((track, channel, first)):
                start, velocity, program = begun.pop(0)  # first in, first out
                row = start, tick - start, first, velocity
                notes.setdefault((channel, program), []).append(row)
        elif kind == smf.CONTROL and first == SUSTAIN:
            if second >= 64:
                pressed.setdefault(channel, tick)
            elif channel in pressed:
                start = pressed.pop(channel)
                pedals.setdefault(channel, []).append((start, tick - start))
    last = int(events.tick[-1]) if len(events) else 0
    for channel, start in pressed.items():
        pedals.setdefault(channel, []).append((start, last - start))
    return notes, pedals


def dumped(score: ScoreTick) -> bytes:
    """The bytes of a MIDI file whose channels are the parts' own; one MIDI track a part.

    Where parts share a channel, the program is chosen anew whenever the other one played last.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=score.ticks_per_quarter)
    file.tracks.append(_in_time(_head(score)))
    parts = parts_of(score)
    switches = _switches(parts)
    for number, part in enumerate(parts):
        file.tracks.append(_midi_track(part, switches[number]))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _head(score: ScoreTick) -> list[tuple[int, int, mido.MetaMessage]]:
    """Tempos, time signatures and markers; mido wants their values within MIDI's bounds."""
    events = []
    for tempo in score.tempos:
        mspq = min(max(tempo.mspq, 1), 2**24 - 1)
        events.append((tempo.time, 1, mido.MetaMessage("set_tempo", tempo=mspq)))
    for meter in score.time_signatures:
        powers = meter.denominator > 0 and meter.denominator & (meter.denominator - 1) == 0
        if powers and 0 < meter.numerator < 256:
            message = mido.MetaMessage(
                "time_signature", numerator=meter.numerator, denominator=meter.denominator
            )
            events.append((meter.time, 0, message))
    for marker in score.markers:
        text = marker.text.encode("latin-1", "replace").decode("latin-1")
        events.append((marker.time, 2, mido.MetaMessage("marker", text=text)))
    return events


def _in_time(events: list[tuple[int, int, mido.Message]]) -> mido.MidiTrack:
    """A track of (tick, rank, message), sorted."""
    track, now = mido.MidiTrack(), 0
    for time, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=time - now))
        now = time
    return track


def _switches(parts: list[Part]) -> list[list[int]]:
    """For every part the ticks at which its channel takes up its program."""
    strokes = sorted(
        {
            (time, number)
            for number, part in enumerate(parts)
            for time in part.track.notes.numpy()["time"].tolist()
        }
    )
    result: list[list[int]] = [[] for _ in parts]
    playing: dict[int, int] = {}
    for time, number in strokes:
        channel = parts[number].channel
        if playing.get(channel) != number:
            playing[channel] = number
            result[number].append(time)
    return result


def _midi_track(part: Part, switches: list[int]) -> mido.MidiTrack:
    channel = part.channel - 1
    # At one tick: releases, the program, the pedal, strokes.
    events = [(t, 1, mido.Message("program_change", channel=channel, program=part.program))
              for t in switches]  # fmt: skip
    table = part.track.notes.numpy()
    for start, length, pitch, velocity in zip(
        table["time"].tolist(), table["duration"].tolist(),
        table["pitch"].tolist(), table["velocity"].tolist(), strict=True,
    ):  # fmt: skip
        on = mido.Message("note_on", channel=channel, note=pitch, velocity=velocity)
        off = mido.Message("note_off", channel=channel, note=pitch, velocity=0)
        events += [(start, 3, on), (start + length, 0, off)]
    pedals = part.track.pedals.numpy()
    for start, length in zip(pedals["time"].tolist(), pedals["duration"].tolist(), strict=True):
        for time, value, rank in ((start, 127, 2), (start + length, 0, 0)):
            control = mido.Message("control_change", channel=channel, control=SUSTAIN, value=value)
            events.append((time, rank, control))
    name = name_of(part.channel, part.program)
    return _in_time([(0, -1, mido.MetaMessage("track_name", name=name)), *events])
