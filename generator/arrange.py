"""Tokens as a file to open: one piano, tempos, bars, markers, perhaps a whistle.

A prompt's notes stand in it as they were given; what the model wrote follows. A whistle between the
two (program 79 of General MIDI on a channel of its own) tells the listener where: it stands at the
prompt's end, and a rest that the model begins with stays a rest after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import miditoolkit
import numpy as np
from miditoolkit import TempoChange

from data_tools import midi
from data_tools.representation import Representation
from generator.bars import put_on
from generator.prompt import Prompt

Event: TypeAlias = TempoChange | miditoolkit.TimeSignature | miditoolkit.ControlChange

TICKS = 480  # a quarter
FINE = 64 * TICKS  # while a piece is laid out that is put on a prompt's own bars then
WHISTLE, WHISTLE_NAME = 78, "Whistle"  # General MIDI's 79th, counted from 0
# Of the soundfont that comes with pretty_midi, the whistle is silent from 79 to 101.
WHISTLE_PITCH, WHISTLE_VELOCITY = 76, 90
REST, SIGNAL = 0.25, 0.5  # seconds before and after the whistle, and of it
LINGER = 1.0  # seconds after the prompt's end, its last token, that the whistle lets it sound on


@dataclass(frozen=True)
class Arrangement:
    """How a piece is put on paper.

    Attributes:
        story: how it was made, for the first marker.
        tempo: quarters a minute; None for the prompt's bars, or else the representation's own. On
            the clock notes keep their seconds.
        whistle: signal between prompt and continuation.
    """

    story: str
    tempo: float | None = None
    whistle: bool = False


def arrange(
    representation: Representation,
    ids: np.ndarray,
    prompt_tokens: int,
    prompt: Prompt | None,
    how: Arrangement,
) -> miditoolkit.MidiFile:
    """The file of music tokens `ids`, of which the first are the prompt's."""
    result = midi.to_miditoolkit(representation.decode(ids))
    bars = prompt.bars if prompt and not how.tempo else None
    ticks = FINE if bars else TICKS
    factor = ticks / result.ticks_per_beat
    result.ticks_per_beat = ticks
    tempo = how.tempo if representation.settings.time_base == "clock" else None
    if tempo:
        factor *= tempo / result.tempo_changes[0].tempo
        result.tempo_changes = [TempoChange(tempo, 0)]
    _stretch(result, factor)
    result.markers = [_marker(how.story, 0)]
    if prompt_tokens:
        count = representation.decode(ids[:prompt_tokens]).note_num()
        boundary = round(int(representation.times(ids[:prompt_tokens])[-1]) * factor)
        _part(result, count, boundary, prompt, representation, how.whistle)
    if bars:
        put_on(result, bars)
    result.max_tick = max(
        (note.end for track in result.instruments for note in track.notes), default=0
    )
    return result


def _stretch(piece: miditoolkit.MidiFile, factor: float) -> None:
    """Multiplies all times."""
    for track in piece.instruments:
        for note in track.notes:
            start = round(note.start * factor)
            note.start, note.end = start, max(start + 1, round(note.end * factor))
        for event in track.control_changes:
            event.time = round(event.time * factor)
        track.pedals = []  # miditoolkit writes control changes; these are a view of them
    for event in [*piece.tempo_changes, *piece.time_signature_changes]:
        event.time = round(event.time * factor)


def _part(
    piece: miditoolkit.MidiFile,
    count: int,
    boundary: int,
    prompt: Prompt | None,
    representation: Representation,
    whistle: bool,
) -> None:
    """Tells the prompt (the first `count` notes) from the rest, exact notes and whistle included.

    Args:
        piece: changed in place.
        count: notes that the prompt's tokens stand for.
        boundary: tick of the prompt's last token.
        prompt: with exact notes, or without.
        representation: says the unit of exact notes.
        whistle: put one in between.
    """
    track = piece.instruments[0]
    everything = sorted(
        ((note.start, note.pitch, number, note)
         for number, each in enumerate(piece.instruments) for note in each.notes),
        key=lambda each: each[:3],
    )  # fmt: skip
    written = [note for *_, note in everything[count:]]
    first = min((note.start for note in written), default=boundary)
    end = boundary
    exact = prompt is not None and prompt.notes is not None and len(piece.instruments) == 1
    given: list[miditoolkit.Note] = []
    # The prompt's own: the model's are moved behind the whistle.
    tempos = [(each.time, each.tempo) for each in piece.tempo_changes if each.time <= boundary]
    if exact:
        assert prompt is not None
        unit = float(piece.ticks_per_beat)
        if representation.settings.time_base == "clock":
            unit *= piece.tempo_changes[0].tempo / 60
        given = _exact(prompt, unit)
        end = max(end, max(note.start for note in given))
        if len(prompt.tempos):
            tempos = [(quarter * unit, bpm) for quarter, bpm in prompt.tempos.tolist()]
    # The grid may put the model's first note a little before the prompt's last one.
    own = _own(piece, boundary)
    _later([*written, *own], max(0, end - first))
    signal = generated = max(end, first)
    if whistle:
        sounds = max(note.end for note in given or [note for *_, note in everything[:count]])
        signal = max(end, min(sounds, end + round(LINGER * _second(piece, tempos, end))))
        second = _second(piece, tempos, signal)
        generated = signal + round((2 * REST + SIGNAL) * second)
        # All that the model wrote, a rest before its first note too.
        _later([*written, *own], generated - end)
    if exact:
        assert prompt is not None
        track.notes = given + written
        _conduct(piece, prompt, unit, signal, generated, own)
        _untangle(track.notes)
    track.notes.sort(key=lambda note: (note.start, note.pitch))
    piece.markers.append(_marker("prompt", 0))
    if whistle:
        start = signal + round(REST * second)
        sound = miditoolkit.Instrument(WHISTLE, False, WHISTLE_NAME)
        stop = start + round(SIGNAL * second)
        sound.notes.append(miditoolkit.Note(WHISTLE_VELOCITY, WHISTLE_PITCH, start, stop))
        piece.instruments.append(sound)
        piece.markers.append(_marker("whistle", signal))
    piece.markers.append(_marker("generated", generated))


def _second(piece: miditoolkit.MidiFile, tempos: Sequence[tuple[float, float]], tick: int) -> float:
    """The ticks of a second at the tempo that is in force at a tick."""
    passed = [bpm for time, bpm in tempos if time <= tick]
    now = passed[-1] if passed else tempos[0][1] if tempos else 120.0
    return piece.ticks_per_beat * now / 60


def _own(piece: miditoolkit.MidiFile, boundary: int) -> list[Event]:
    """The model's own events besides notes: those after the prompt's last token."""
    changes = [*piece.tempo_changes, *piece.time_signature_changes]
    # At that token's moment a prompt lets go of a pedal, and only the model can press one.
    pedals = [
        each
        for track in piece.instruments
        for each in track.control_changes
        if each.time > boundary or (each.time == boundary and each.value)
    ]
    return [each for each in changes if each.time > boundary] + pedals


def _later(what: Sequence[miditoolkit.Note | Event], by: int) -> None:
    """Moves notes and events by so many ticks."""
    for each in what:
        if isinstance(each, miditoolkit.Note):
            each.start, each.end = each.start + by, each.end + by
        else:
            each.time += by


def _conduct(
    piece: miditoolkit.MidiFile,
    prompt: Prompt,
    unit: float,
    end: int,
    generated: int,
    own: Sequence[Event],
) -> None:
    """Tempo and pedal as the prompt had them, then the model's own.

    The prompt's tempos hold up to its `end`; its pedal may do until the rest is `generated`.
    """
    track = piece.instruments[0]
    pedals = (prompt.pedals * unit).round().astype(int).clip(max=generated).tolist()
    track.control_changes = [
        miditoolkit.ControlChange(64, value, time)
        for down, up in pedals
        if up > down
        for value, time in ((127, down), (0, up))
    ] + [each for each in own if isinstance(each, miditoolkit.ControlChange)]
    if len(prompt.tempos):
        changes = [each for each in own if isinstance(each, TempoChange)]
        given = [
            TempoChange(bpm, max(0, round(quarter * unit)) if number else 0)
            for number, (quarter, bpm) in enumerate(prompt.tempos.tolist())
            if quarter * unit < min([end, *(each.time for each in changes)])
        ]
        piece.tempo_changes = given + changes


def _exact(prompt: Prompt, unit: float) -> list[miditoolkit.Note]:
    notes = prompt.notes
    assert notes is not None
    start = (notes.start * unit).round().astype(int)
    end = np.maximum((notes.end * unit).round().astype(int), start + 1)
    columns = (notes.velocity, notes.pitch, start, end)
    return [miditoolkit.Note(*map(int, row)) for row in zip(*columns, strict=True)]


def _untangle(notes: list[miditoolkit.Note]) -> None:
    """A string struck again stops its earlier note: prompt and continuation met off the grid."""
    last: dict[int, miditoolkit.Note] = {}
    for note in sorted(notes, key=lambda note: note.start):
        earlier = last.get(note.pitch)
        if earlier is not None and earlier.end > note.start:
            earlier.end = max(earlier.start + 1, note.start)
        last[note.pitch] = note


def _marker(text: str, tick: int) -> miditoolkit.Marker:
    # MIDI's text events are Latin-1; and a line, whatever a file is called.
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return miditoolkit.Marker(text.encode("latin-1", "replace").decode("latin-1"), tick)
