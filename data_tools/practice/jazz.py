"""A jazz piece: a form, a left-hand manner, a solo, and a swing that runs through all of them."""

import numpy as np

from data_tools.practice import jazz_forms
from data_tools.practice.draws import chance, weighted
from data_tools.practice.jazz_hands import comping, stride, walking_bass
from data_tools.practice.jazz_line import blues_solo, one_at_a_time, solo
from data_tools.practice.performance import Brief, Knobs, Note, Sketch, swing_part
from data_tools.practice.theory import chords_by_beat, nearest


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
        upper = comping(rng, chords, beats, metre, knobs)
    lowest = min(note.pitch for note in upper if note.onset == beats - metre)
    root = nearest((chords[-1].root,), min(knobs.bass, lowest - 8))
    bass.append(Note(beats - metre, metre, root, 0.3))
    if "blues" in name and chance(rng, 0.55):
        melody = blues_solo(rng, chords, beats, brief.key, knobs)
    else:
        melody = solo(rng, chords, beats, metre, name, knobs)
    # The last word is the tonic chord's: a ninth, a fifth or a third on top, off the beat.
    close = beats - metre - (0.5 if chance(rng, 0.5) else 0)
    melody = [note for note in melody if note.onset < close]
    final = nearest(chords[-1].tones[1:3], melody[-1].pitch)
    melody.append(Note(close, beats - close, final, 0.6))
    melody = one_at_a_time(melody)
    parts = {"melody": melody, "chords": upper, "bass": bass}
    played = {part: swing_part(notes, brief.swing) for part, notes in parts.items()}
    return Sketch(name, played, changes, metre, brief.swing)
