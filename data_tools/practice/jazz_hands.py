"""The jazz pianist's accompaniment: walking bass, comping in rootless voicings, stride.

Voicings and the Charleston rhythms follow Levine, "The Jazz Piano Book" (1989). Everything is
written in straight eighths; the swing is put in when the piece is complete.
"""

from functools import lru_cache

import numpy as np

from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Knobs, Note
from data_tools.practice.theory import (
    Change,
    Chord,
    chord_scale,
    nearest,
    rootless,
    shell,
    smoothest,
    step_in,
)

# Comping rhythms as (onset, length) in a bar of four; the first is the Charleston.
HITS = {
    1: (((0.0, 1.5),), ((1.5, 2.0),), ((3.5, 0.5),), ((2.5, 1.0),)),
    2: (((0.0, 1.0), (1.5, 0.5)), ((0.5, 0.5), (2.0, 1.5)), ((1.5, 0.5), (3.5, 0.5)),
        ((1.0, 0.5), (3.0, 0.5)), ((0.0, 1.5), (2.5, 1.0))),
    3: (((0.0, 0.5), (1.5, 1.0), (3.5, 0.5)), ((0.5, 0.5), (1.5, 1.0), (3.0, 0.5)),
        ((0.0, 1.0), (1.5, 0.5), (3.0, 1.0)), ((1.0, 0.5), (2.5, 0.5), (3.5, 0.5))),
}  # fmt: skip


def walking_bass(
    rng: np.random.Generator, changes: list[Change], centre: float, feel: int = 1
) -> list[Note]:
    """A bass line of one note every `feel` beats: roots on the changes, approached by step.

    The last note before a change is a semitone or a scale step from the root to come, or its fifth.
    """
    notes: list[Note] = []
    pitch = nearest((changes[0].chord.root,), centre)
    low, high = centre - 7, centre + 6
    for change, following in zip(changes, [*changes[1:], changes[0]], strict=True):
        chord = change.chord
        if notes:
            moved = notes[-1].pitch
            pitch = nearest((chord.root,), 0.5 * moved + 0.5 * centre)
            if chord.root == moved % 12 or chance(rng, 0.08):
                pitch = nearest((chord.third, chord.tones[2]), moved)
        steps = max(1, round(change.beats / feel))
        goal = nearest((following.chord.root,), 0.5 * pitch + 0.5 * centre)
        tones = chord.tones[:4]
        direction = 1 if goal > pitch or (goal == pitch and chance(rng, 0.5)) else -1
        for i in range(steps):
            if i and i == steps - 1:
                fifth = goal + 7 if goal < centre else goal - 5
                above = step_in(chord_scale(chord), goal, 1)
                last = pitch
                pitch = weighted(rng, (goal - 1, above, goal + 1, fifth), (4, 3, 2, 1))
                if pitch == last:
                    pitch = goal - 1 if last != goal - 1 else goal + 1
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
    return smoothest(previous, _rootless_choices(chord, size, round(centre)), centre)


@lru_cache(maxsize=8192)
def _rootless_choices(chord: Chord, size: int, centre: int) -> tuple[tuple[int, ...], ...]:
    found = {
        tuple(p for i, p in enumerate(rootless(chord, form, around)) if size == 4 or i != fifth)
        for form, fifth in (("A", 1), ("B", 3))
        for around in (centre - 4, centre, centre + 4)
    }
    return tuple(sorted(found))


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
    return [*notes, *final_chord(chords[beats - metre], beats, metre, knobs, previous)]


def final_chord(
    chord: Chord, beats: int, metre: int, knobs: Knobs, previous: tuple[int, ...]
) -> list[Note]:
    """The voicing that fills the last bar."""
    final = voicing(chord, 4, knobs.chords, previous)
    return [Note(beats - metre, metre, pitch, 0.0) for pitch in final]


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
        if beat % metre in ((0, 2) if metre == 4 else (0,)):
            fifth = beat % metre == 2 and chords[beat - 2] == chord
            pitch = nearest((chord.tones[2] if fifth else chord.root,), knobs.bass)
            bass.append(Note(beat, 0.9, pitch, 0.3))
            if chance(rng, 0.5 * knobs.density):
                bass.append(Note(beat, 0.9, pitch + 12 if pitch < 40 else pitch - 12, 0.0))
        else:
            previous = voicing(chord, size, knobs.chords, previous)
            upper += [Note(beat, 0.6, pitch, -0.5) for pitch in previous]
    return bass, [*upper, *final_chord(chords[beats - metre], beats, metre, knobs, previous)]
