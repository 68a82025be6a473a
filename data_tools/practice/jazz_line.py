"""The improviser's right hand: bebop phrases, blues riffs, heads in AABA.

Lines are built the way Baker ("How to Play Bebop", 1985) teaches them: chord tones, and guide tones
where the chord changes, on the beat; approach notes, enclosures and bebop runs between.
"""

import numpy as np

from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Knobs, Note
from data_tools.practice.theory import Chord, bebop_scale, chord_scale, nearest, scale, step_in

# Two-bar riffs as (onset, length) in beats.
RIFFS = (
    ((0, 1), (1.5, 0.5), (2, 1), (3.5, 1.5)), ((0.5, 0.5), (1, 0.5), (1.5, 1), (3, 0.5), (3.5, 1)),
    ((0, 0.5), (0.5, 0.5), (1.5, 1), (3, 0.5), (3.5, 1.5)),
    ((1, 0.5), (1.5, 0.5), (2.5, 0.5), (3, 2)),
    ((0, 0.5), (0.5, 1), (2, 0.5), (2.5, 1), (4.5, 0.5), (5, 1)),
)  # fmt: skip


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
    if abs(gap) <= 5:
        return step_in(steps, start, sign)
    return nearest(chord.tones, (start + goal) / 2)


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
                sounding = chords[start + beat + i // 2]
                if i % 2 == 0 and pitch % 12 not in sounding.tones:
                    # Down where the nearest chord tone would repeat the note before.
                    near = nearest(sounding.tones[:4], pitch)
                    pitch = near if near <= pitch else step_in(sounding.tones[:4], pitch, -1)
                notes.append(Note(start + beat + i / 2, 0.5, pitch, 0.2 + 0.3 * (i % 2)))
                pitch = step_in(bebop_scale(sounding), pitch, -1)
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
    """Call and response: riff, answer, riff over IV, answer, then a line to the turnaround."""
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


def one_at_a_time(notes: list[Note]) -> list[Note]:
    """A single voice: each note ends where the next begins, and the louder of two at once stays."""
    voice: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.onset, -note.accent)):
        if voice and note.onset - voice[-1].onset < 0.01:
            continue
        if voice:
            last = voice[-1]
            voice[-1] = last._replace(length=min(last.length, note.onset - last.onset))
        voice.append(note)
    return voice
