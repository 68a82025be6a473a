"""The jazz pianist: a right hand that improvises, voicings that comp, a left hand that walks.

Lines are built the way Baker ("How to Play Bebop", 1985) teaches them: chord tones, and guide tones
where the chord changes, on the beat; approach notes, enclosures and bebop runs between. Everything
is written in straight eighths and swung at the end.
"""

import numpy as np

from data_tools.practice import jazz_forms
from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Brief, Knobs, Note, Sketch, swing_part
from data_tools.practice.theory import (
    Change, Chord, bebop_scale, chord_scale, nearest, rootless, scale, shell, smoothest, step_in,
)  # fmt: skip

# Comping rhythms as (onset, length) in a bar of four; the first is the Charleston.
HITS = {
    1: (((0.0, 1.5),), ((1.5, 2.0),), ((3.5, 0.5),), ((2.5, 1.0),)),
    2: (((0.0, 1.0), (1.5, 0.5)), ((0.5, 0.5), (2.0, 1.5)), ((1.5, 0.5), (3.5, 0.5)),
        ((1.0, 0.5), (3.0, 0.5)), ((0.0, 1.5), (2.5, 1.0))),
    3: (((0.0, 0.5), (1.5, 1.0), (3.5, 0.5)), ((0.5, 0.5), (1.5, 1.0), (3.0, 0.5)),
        ((0.0, 1.0), (1.5, 0.5), (3.0, 1.0)), ((1.0, 0.5), (2.5, 0.5), (3.5, 0.5))),
}  # fmt: skip
RIFFS = (
    ((0, 1), (1.5, 0.5), (2, 1), (3.5, 1.5)), ((0.5, 0.5), (1, 0.5), (1.5, 1), (3, 0.5), (3.5, 1)),
    ((0, 0.5), (0.5, 0.5), (1.5, 1), (3, 0.5), (3.5, 1.5)), ((1, 0.5), (1.5, 0.5), (2.5, 0.5), (3, 2)),
    ((0, 0.5), (0.5, 1), (2, 0.5), (2.5, 1), (4.5, 0.5), (5, 1)),
)  # fmt: skip


def chords_by_beat(changes: list[Change], beats: int) -> list[Chord]:
    """The chord of every beat, and the last one once more for what is anticipated past the end."""
    chords: list[Chord] = []
    for change in changes:
        chords += [change.chord] * int(change.beats)
    return [*chords[:beats], *[chords[-1]] * 5]


def walking_bass(
    rng: np.random.Generator, changes: list[Change], centre: float, feel: int = 1
) -> list[Note]:
    """A bass line of one note every `feel` beats: roots on the changes, approached by step.

    The last note before a change is a semitone or a scale step from the root to come, or its fifth.
    """
    notes: list[Note] = []
    pitch = nearest((changes[0].chord.root,), centre)
    low, high = centre - 8, centre + 8
    for change, following in zip(changes, [*changes[1:], changes[0]], strict=True):
        chord = change.chord
        if notes:
            moved = notes[-1].pitch
            pitch = nearest((chord.root,), 0.75 * moved + 0.25 * centre)
            if chord.root == moved % 12 or chance(rng, 0.08):
                pitch = nearest((chord.third, chord.tones[2]), moved)
        steps = max(1, round(change.beats / feel))
        goal = nearest((following.chord.root,), 0.75 * pitch + 0.25 * centre)
        tones = chord.tones[:4]
        direction = 1 if goal > pitch or (goal == pitch and chance(rng, 0.5)) else -1
        for i in range(steps):
            if i and i == steps - 1:
                above, below = step_in(chord_scale(chord), goal, 1), goal - 1
                pitch = weighted(rng, (below, above, goal + 1, goal + 7 if goal < centre else goal - 5),
                                 (4, 3, 2, 1))  # fmt: skip
            elif i:
                moves = chord_scale(chord) if chance(rng, 0.45) else tones
                if not low < pitch < high:
                    direction = 1 if pitch <= low else -1
                pitch = step_in(moves, pitch, direction)
            pitch += 12 * (pitch < 28)
            span = min(feel, change.beats - i * feel)
            notes.append(Note(change.beat + i * feel, span * 0.95, pitch, 0.2 if i else 0.4))
    return notes


def voicing(chord: Chord, size: int, centre: float, previous: tuple[int, ...]) -> tuple[int, ...]:
    """A shell (`size` 2) or a rootless voicing of three or four notes, led from `previous`."""
    if size == 2:
        return shell(chord, centre)
    choices = [
        tuple(p for i, p in enumerate(rootless(chord, form, around)) if size == 4 or i != fifth)
        for form, fifth in (("A", 1), ("B", 3))
        for around in (centre - 4, centre, centre + 4)
    ]
    return smoothest(previous, choices, centre)


def comping(
    rng: np.random.Generator, chords: list[Chord], beats: int, metre: int, knobs: Knobs
) -> list[Note]:
    """Voicings in comping rhythms; a hit on the last offbeat already has the next bar's chord."""
    notes: list[Note] = []
    previous: tuple[int, ...] = ()
    size_bias = knobs.density
    fullness = 0.5 + 2.3 * knobs.density * metre / 4
    favourite = {hits: pick(rng, HITS[hits]) for hits in HITS}
    for bar in range(0, beats - metre, metre):
        hits = min(3, int(fullness + rng.random()))
        if not hits:
            continue
        rhythm = favourite[hits] if chance(rng, 0.45) else pick(rng, HITS[hits])
        for onset, length in rhythm:
            if onset >= metre:
                continue
            chord = chords[int(bar + onset + 0.5)]
            size = weighted(rng, (2, 3, 4), (1.2 - size_bias, 0.8, 0.1 + size_bias))
            previous = voicing(chord, size, knobs.chords, previous)
            accent = -0.3 + 0.3 * (onset % 1 > 0)
            notes += [Note(bar + onset, length, pitch, accent) for pitch in previous]
    chord = chords[beats - metre]
    final = voicing(chord, 4, knobs.chords, previous)
    return [*notes, *(Note(beats - metre, metre, pitch, 0.0) for pitch in final)]


def stride(
    rng: np.random.Generator, chords: list[Chord], beats: int, metre: int, knobs: Knobs
) -> tuple[list[Note], list[Note]]:
    """Waller's left hand: bass on the strong beats, a voicing on the weak; (bass, chords)."""
    bass: list[Note] = []
    upper: list[Note] = []
    previous: tuple[int, ...] = ()
    size = pick(rng, (2, 3)) if knobs.density < 0.5 else pick(rng, (3, 4))
    for beat in range(beats - metre):
        chord = chords[beat]
        if beat % metre in (0, 2) and metre == 4 or beat % metre == 0:
            fifth = beat % metre == 2 and chords[beat - 2] == chord
            pitch = nearest((chord.tones[2] if fifth else chord.root,), knobs.bass)
            bass.append(Note(beat, 0.9, pitch, 0.3))
            if chance(rng, 0.5 * knobs.density):
                bass.append(Note(beat, 0.9, pitch + 12 if pitch < 40 else pitch - 12, 0.0))
        else:
            previous = voicing(chord, size, knobs.chords, previous)
            upper += [Note(beat, 0.6, pitch, -0.5) for pitch in previous]
    last = beats - metre
    bass.append(Note(last, metre, nearest((chords[last].root,), knobs.bass), 0.3))
    upper += [Note(last, metre, p, 0.0) for p in voicing(chords[last], 4, knobs.chords, previous)]
    return bass, upper


def connection(rng: np.random.Generator, chord: Chord, start: int, goal: int) -> int:
    """The offbeat note that leads from one chord tone to the next."""
    gap = goal - start
    sign = 1 if gap > 0 else -1
    steps = chord_scale(chord)
    if gap == 0:
        return step_in(steps, start, 1) if chance(rng, 0.6) else start - 1
    if abs(gap) <= 2:  # step over the goal and come back: half of an enclosure
        return step_in(steps, goal, 1) if gap > 0 else goal - 1
    if chance(rng, 0.3):
        return goal - sign
    return step_in(steps, start, sign) if abs(gap) <= 5 else nearest(chord.tones, (start + goal) / 2)


def phrase(
    rng: np.random.Generator, chords: list[Chord], start: int, beats: int, pitch: int, knobs: Knobs
) -> list[Note]:
    """A bebop phrase of `beats` beats that begins near `pitch`, in eighths."""
    notes: list[Note] = []
    low, high = knobs.melody - 8, knobs.melody + 9
    direction = pick(rng, (-1, 1))
    offbeats = 0.62 + 0.35 * knobs.density
    if chance(rng, 0.4) and start:  # a pickup leads in from a semitone below
        notes.append(Note(start - 0.5, 0.5, pitch - 1, 0.0))
    beat = 0
    while beat < beats:
        chord = chords[start + beat]
        if pitch < low or pitch > high or chance(rng, 0.2):
            direction = 1 if pitch < low else -1 if pitch > high else -direction
        run = min(beats - beat, 4)
        if run >= 2 and pitch > knobs.melody and chance(rng, 0.3):
            for i in range(2 * run):
                tones = bebop_scale(chords[start + beat + i // 2])
                if i % 2 == 0 and pitch % 12 not in (chords[start + beat + i // 2].tones):
                    pitch = nearest(chords[start + beat + i // 2].tones[:4], pitch - 0.1)
                notes.append(Note(start + beat + i / 2, 0.5, pitch, 0.2 + 0.3 * (i % 2)))
                pitch = step_in(tones, pitch, -1)
            pitch, beat = nearest(chords[start + beat + run].tones[:4], pitch), beat + run
            direction = 1
            continue
        following = chords[start + beat + 1]
        tones = following.tones[:4]
        if following != chord and chance(rng, 0.7):
            tones = (following.third, following.seventh)
        goal = nearest(tones, pitch + direction * (1.5 + 3 * rng.random()))
        ends = beat == beats - 1
        if not ends and chance(rng, 0.07):  # a turn in triplets
            turn = (pitch, step_in(chord_scale(chord), pitch, 1), pitch)
            notes += [Note(start + beat + i / 3, 1 / 3, p, 0.3) for i, p in enumerate(turn)]
        elif ends and chance(rng, 0.5):
            notes.append(Note(start + beat, 1.5, pitch, 0.6))
        elif chance(rng, offbeats):
            between = connection(rng, chord, pitch, goal)
            if ends:
                between = nearest(chord.tones[:4], pitch - 4)
            notes.append(Note(start + beat, 0.5, pitch, 0.3))
            notes.append(Note(start + beat + 0.5, 0.5, between, 0.6))
        else:
            notes.append(Note(start + beat, 0.9, pitch, 0.4))
        pitch, beat = goal, beat + 1
    return notes


def improvise(
    rng: np.random.Generator, chords: list[Chord], start: int, end: int, knobs: Knobs
) -> list[Note]:
    """Phrases and rests from beat `start` to `end`."""
    notes: list[Note] = []
    beat = start + int(rng.random() * 2)
    pitch = knobs.melody + rng.uniform(-4, 5)
    while end - beat >= 2:
        beats = min(3 + int(rng.random() * (2 + 6 * knobs.density)), end - beat)
        first = nearest(chords[beat].tones[:4], pitch)
        notes += phrase(rng, chords, beat, beats, first, knobs)
        pitch = 0.5 * notes[-1].pitch + 0.5 * knobs.melody + rng.uniform(-4, 4)
        beat += beats + 1 + int(rng.random() * (1.2 + 2.2 * (1 - knobs.density)))
    return notes


def riff(rng: np.random.Generator, chord: Chord, key: int, knobs: Knobs) -> list[Note]:
    """A two-bar blues riff on the blues scale of `key`, starting at beat 0."""
    tones = scale("major blues" if chance(rng, 0.3) and not chord.minor else "blues", key)
    pitch = nearest((key, chord.tones[2]), knobs.melody + rng.uniform(-4, 6))
    notes: list[Note] = []
    for onset, length in pick(rng, RIFFS):
        notes.append(Note(onset, length, pitch, 0.5))
        wanders = weighted(rng, (-2, -1, 0, 1, 2), (1, 4, 1, 3, 1))
        for _ in range(abs(wanders)):
            pitch = step_in(tones, pitch, 1 if wanders > 0 else -1)
    return notes


def blues_solo(
    rng: np.random.Generator, chords: list[Chord], beats: int, key: int, knobs: Knobs
) -> list[Note]:
    """Call and response: riff, answer, riff again over IV, answer, then a line to the turnaround."""
    notes: list[Note] = []
    for chorus in range(0, beats, 48):
        call = riff(rng, chords[chorus], key, knobs)
        for start in (chorus, chorus + 16):
            for note in call:
                pitch = note.pitch
                if pitch % 12 == (key + 4) % 12 and start != chorus:
                    pitch -= 1  # the third turns blue over IV
                notes.append(note._replace(onset=start + note.onset, pitch=pitch))
            notes += improvise(rng, chords, start + 8, start + 15, knobs)
        end = chorus + 48 - (4 if chorus + 48 == beats else 1)
        notes += improvise(rng, chords, chorus + 32, end, knobs)
    return notes


def solo(
    rng: np.random.Generator, chords: list[Chord], beats: int, metre: int, name: str, knobs: Knobs
) -> list[Note]:
    """A head: AABA whose A sections share their melody, or improvisation throughout."""
    section = beats // 4
    if "blues" in name or chance(rng, 0.4):
        return improvise(rng, chords, 0, beats - metre, knobs)
    head = improvise(rng, chords, 0, section - metre, knobs)
    notes = list(head)
    for i in range(4):
        start = i * section
        end = start + section - (metre if i == 3 else 0)
        if i == 2:
            notes += improvise(rng, chords, start, end, knobs)
            continue
        if i:
            notes += [note._replace(onset=note.onset + start) for note in head]
        if i < 3:
            notes += improvise(rng, chords, start + section - metre, end, knobs)
    return notes


def compose(rng: np.random.Generator, brief: Brief, knobs: Knobs) -> Sketch:
    """A jazz piece that fills the brief."""
    name, metre, changes = jazz_forms.form(rng, brief.key, brief.minor, brief.beats)
    beats = brief.beats
    chords = chords_by_beat(changes, beats)
    texture = weighted(rng, ("walking", "two", "stride"), (5, 2, 3))
    if texture == "stride":
        bass, upper = stride(rng, chords, beats, metre, knobs)
    else:
        feel = 1 if texture == "walking" else 2 if metre == 4 else 3
        bass = walking_bass(rng, changes, knobs.bass, feel)
        bass = [note for note in bass if note.onset < beats - metre]
        bass.append(Note(beats - metre, metre, nearest((chords[-1].root,), knobs.bass), 0.3))
        upper = comping(rng, chords, beats, metre, knobs)
    if "blues" in name and chance(rng, 0.55):
        melody = blues_solo(rng, chords, beats, brief.key, knobs)
    else:
        melody = solo(rng, chords, beats, metre, name, knobs)
    # The last word is the tonic chord's: a ninth, a fifth or a third on top, off the beat.
    close = beats - metre - (0.5 if chance(rng, 0.5) else 0)
    melody = [note for note in melody if note.onset < close]
    final = nearest(chords[-1].tones[1:3], melody[-1].pitch)
    melody.append(Note(close, beats - close, final, 0.6))
    parts = {"melody": melody, "chords": upper, "bass": bass}
    played = {part: swing_part(notes, brief.swing) for part, notes in parts.items()}
    return Sketch(name, played, changes, metre, brief.swing)
