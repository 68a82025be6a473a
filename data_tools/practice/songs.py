"""Everything that is not jazz: sonatina, minuet, waltz, march, pop song, folk dance, chorale.

One tune, and an accompaniment in the manner of the form. How full it is (chord size, subdivision,
a second voice under the tune) follows the density asked for.
"""

import numpy as np

from data_tools.practice import chorale, tunes
from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Brief, Knobs, Note, Sketch, swing_part
from data_tools.practice.theory import Chord, chords_by_beat, nearest, smoothest, step_in

Hands = tuple[list[Note], list[Note]]  # (bass, chords)


def close_position(
    chord: Chord, size: int, centre: float, previous: tuple[int, ...]
) -> tuple[int, ...]:
    """A chord of two to four tones within an octave, led from `previous`."""
    tones = chord.tones if len(chord.tones) > 3 and size > 3 else chord.tones[:3]
    if len(chord.tones) > 3 and size == 3:
        tones = (chord.third, chord.seventh, chord.root)
    choices = []
    for tone in tones:
        low = nearest((tone,), centre - 4)
        pitches = [low]
        while len(pitches) < max(size, 2):
            pitches.append(step_in(tones, pitches[-1], 1))
        if size > 2 or chord.third in (pitches[0] % 12, pitches[1] % 12):
            choices.append(tuple(pitches))
    return smoothest(previous, choices, centre)


def bass_note(chord: Chord, fifth: bool, centre: float) -> int:
    """The root, or the fifth, of the chord near `centre`."""
    return nearest((chord.tones[2] if fifth else chord.root,), centre)


def broken(rng: np.random.Generator, chords: list[Chord], metre: int, knobs: Knobs) -> Hands:
    """Alberti bass, low-high-middle-high, or in three the rising broken chord, in eighths."""
    upper: list[Note] = []
    bass: list[Note] = []
    previous: tuple[int, ...] = ()
    figure = pick(rng, ((0, 2, 1, 2), (0, 1, 2, 1)))
    # Sparse music keeps the figure in quarters, rich music holds a bass under it.
    step = 0.5 if knobs.density > 0.12 else 1.0
    held = chance(rng, 1.2 * knobs.density)
    position = 0
    for beat, chord in enumerate(chords):
        if beat % metre == 0 or chord != chords[beat - 1]:
            previous = close_position(chord, 3, knobs.chords - 3, previous)
            position = 0
            root = bass_note(chord, False, knobs.bass)
            if held:
                span = 2 if beat % metre == 0 and metre == 4 else 1
                bass.append(Note(beat, span, root, 0.2))
        for i in range(round(1 / step)):
            order = figure if metre == 4 else (0, 1, 2, 1, 2, 1)
            voice = order[position % len(order)]
            onset = beat + i * step
            if voice == 0 and not held:
                bass.append(Note(onset, step, bass_note(chord, False, knobs.bass), 0.1))
            else:
                upper.append(Note(onset, step, previous[voice], -0.5))
            position += 1
    return bass, upper


def oompah(rng: np.random.Generator, chords: list[Chord], metre: int, knobs: Knobs) -> Hands:
    """Bass on the strong beats, chords on the weak: a waltz in three, a march or polka in four."""
    bass: list[Note] = []
    upper: list[Note] = []
    previous: tuple[int, ...] = ()
    sizes = (2, 3) if knobs.density < 0.5 else (3, 4) if knobs.density > 0.8 else (3,)
    size = pick(rng, sizes)
    octaves = chance(rng, 0.7 * knobs.density)
    skips = 0.35 if knobs.density < 0.3 and metre == 3 else 0.0
    for beat, chord in enumerate(chords):
        place = beat % metre
        if place == 0 or (place == 2 and metre == 4):
            again = chord == chords[beat - 2 if metre == 4 else beat - 3]
            fifth = again and (place == 2 if metre == 4 else beat // 3 % 2 == 1)
            pitch = bass_note(chord, fifth, knobs.bass)
            bass.append(Note(beat, 0.9, pitch, 0.4))
            if octaves:
                bass.append(Note(beat, 0.9, pitch - 12 if pitch > 44 else pitch + 12, 0.2))
        elif not (place == 2 and chance(rng, skips)):
            previous = close_position(chord, size, knobs.chords, previous)
            upper += [Note(beat, 0.6, pitch, -0.5) for pitch in previous]
    return bass, upper


def pop_hands(rng: np.random.Generator, chords: list[Chord], metre: int, knobs: Knobs) -> Hands:
    """Arpeggios in eighths, block chords on the beat, or a syncopated broken pattern."""
    manner = pick(rng, ("arpeggio", "blocks", "syncopated"))
    size = 3 if knobs.density > 0.35 else 2
    bass: list[Note] = []
    upper: list[Note] = []
    previous: tuple[int, ...] = ()
    for beat in range(0, len(chords), 4):
        chord = chords[beat]
        previous = close_position(chord, 3, knobs.chords, previous)
        root = bass_note(chord, False, knobs.bass)
        if manner == "arpeggio":
            fifth = step_in(chord.tones[2:3], root, 1)
            ladder = sorted({root, fifth, root + 12, *previous})
            order = (0, 1, 2, 3, 4, 3, 2, 1) if knobs.density < 0.6 else (0, 1, 2, 4, 5, 4, 3, 4)
            for i, voice in enumerate(order):
                part = bass if voice < 2 else upper
                sounding = 2.0 if i == 0 else 0.5
                pitch = ladder[min(voice, len(ladder) - 1)]
                part.append(Note(beat + i / 2, sounding, pitch, 0.3 if i == 0 else -0.4))
            continue
        offbeat = (0, 1.5, 2.5) if size == 2 else (0, 1.5, 2, 3.5)
        hits = (0, 1, 2, 3) if manner == "blocks" else offbeat
        for onset in hits:
            upper += [Note(beat + onset, 0.9, p, -0.3) for p in previous[-size:]]
        steps = ((0, 2), (2, 1.5), (3.5, 0.5)) if chance(rng, 0.4) else ((0, 3), (3, 1))
        for onset, length in steps:
            bass.append(Note(beat + onset, length, root, 0.3))
            if chance(rng, 0.6 * knobs.density):
                bass.append(Note(beat + onset, length, root + 12, 0.0))
    return bass, upper


def drone(rng: np.random.Generator, chords: list[Chord], metre: int, knobs: Knobs) -> Hands:
    """A bagpipe's fifth, struck every two beats, and the chord's third above it."""
    bass: list[Note] = []
    upper: list[Note] = []
    key = chords[0].root  # every plan begins at home
    every = 4 if knobs.density < 0.3 else 2
    for beat in range(0, len(chords), every):
        root = bass_note(Chord(key, ""), False, knobs.bass)
        bass += [Note(beat, every, root, 0.3), Note(beat, every, root + 7, 0.0)]
        chord = chords[beat]
        for i in range(0, every, 1 if knobs.density > 0.5 else 2):
            pitches = close_position(chord, 2, knobs.chords, ())
            upper += [Note(beat + i, 0.8, pitch, -0.5) for pitch in pitches]
    return bass, upper


def compose(rng: np.random.Generator, brief: Brief, knobs: Knobs) -> Sketch:
    """A piece that fills the brief and is not jazz."""
    triple = brief.beats in (48, 96) and chance(rng, 0.4)
    form = weighted(
        rng,
        ("minuet", "waltz") if triple else ("sonatina", "march", "pop", "jig", "reel", "chorale"),
        (1, 1) if triple else (1, 1, 1.3, 0.6, 0.7, 1.3),
    )
    metre, key, minor = (3 if triple else 4), brief.key, brief.minor
    if form == "chorale":
        return chorale.compose(rng, brief, knobs)
    phrases = tunes.plan(rng, brief.beats // metre // 4)
    if form == "pop":
        changes = tunes.loops(rng, phrases, key, minor)
    else:
        changes = tunes.harmony(rng, phrases, key, minor, metre)
    chords = chords_by_beat(changes, brief.beats)
    cells = {
        "minuet": tunes.TRIPLE, "waltz": tunes.TRIPLE, "march": tunes.MARCH, "pop": tunes.POP,
        "jig": tunes.JIG, "reel": tunes.REEL,
    }.get(form, tunes.COMMON)  # fmt: skip
    tune = tunes.melody(rng, phrases, chords, metre, key, minor, cells, knobs)
    hands = {"minuet": broken, "sonatina": broken, "waltz": oompah, "march": oompah,
             "pop": pop_hands}.get(form) or pick(rng, (oompah, drone))  # fmt: skip
    last = brief.beats - metre
    bass, upper = hands(rng, chords[:last], metre, knobs)
    bass.append(Note(last, metre, bass_note(chords[last], False, knobs.bass), 0.3))
    final = close_position(chords[last], 3, knobs.chords, ())
    upper += [Note(last, metre, pitch, 0.0) for pitch in final]
    second = tunes.doubled(rng, tune, chords, key, minor, max(0.0, 1.5 * knobs.density - 0.6))
    parts = {"melody": tune, "second": second, "chords": upper, "bass": bass}
    # A hornpipe is a reel with lilting eighths: not every uneven eighth is jazz.
    swing = brief.swing if form == "reel" and chance(rng, 0.4) else 1.0
    if swing > 1:
        form = "hornpipe"
        parts = {part: swing_part(notes, swing) for part, notes in parts.items()}
    return Sketch(form, parts, changes, metre, swing)
