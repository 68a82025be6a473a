"""Changes to a piece that a judge of music should answer to, or should not: one function each.

Each takes a prepared score of one piano track (see `data_tools.midi.prepare`) and a generator, and
gives a new score; the tempo map stays unless it is what changes. Notes that an edit puts on top of
each other are one when the score is read again.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import symusic
from symusic.core import ScoreTick

from data_tools import midi
from data_tools.midi import Notes

Edit = Callable[[ScoreTick, np.random.Generator], ScoreTick]

CHORD = 0.035  # seconds after its first note within which a chord's other notes come
MIDDLE_C, OCTAVE = 60, 12
SHORT = 0.1  # seconds
TRIAD = np.array([60, 64, 67], dtype=np.int16)
TRANSCRIBER = 0.032  # seconds, PiJAMA's grid
TRANSCRIBER_TICKS = 220  # a beat, at 120 bpm


def pedals_of(score: ScoreTick) -> np.ndarray:
    """(P, 2) ticks at which the sustain pedal goes down and comes up."""
    table = score.tracks[0].pedals.numpy()
    return np.stack([table["time"], table["time"] + table["duration"]], 1)


def with_notes(score: ScoreTick, notes: Notes, pedals: np.ndarray | None = None) -> ScoreTick:
    """The score with other notes, in its ticks, and with other pedals where given."""
    pedals = pedals_of(score) if pedals is None else pedals
    result = midi.score_of(notes, score.ticks_per_quarter)
    result.tempos = score.tempos.copy()
    result.time_signatures = score.time_signatures.copy()
    down, up = pedals.astype(np.int32).T
    result.tracks[0].pedals = symusic.Pedal.from_numpy(down.copy(), up - down)
    return result


def chords_of(score: ScoreTick, notes: Notes) -> np.ndarray:
    """(N,) the number of each note's chord, from 0: notes that begin together but for a breath."""
    seconds = midi.seconds_of(score, notes.start)
    number = np.zeros(len(notes), dtype=np.int64)
    first = 0
    for place in range(1, len(notes)):
        begins = seconds[place] - seconds[first] > CHORD
        first = place if begins else first
        number[place] = number[place - 1] + begins
    return number


def same(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Nothing is changed."""
    return score


def excerpt(score: ScoreTick, count: int) -> ScoreTick:
    """The first `count` notes."""
    notes = midi.notes_of(score.tracks[0])
    notes, pedals = notes.take(np.arange(min(count, len(notes)))), pedals_of(score)
    return with_notes(score, notes, pedals[pedals[:, 0] <= notes.end.max()])


def shuffled(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Pitches permuted over all notes: rhythm and the histogram of pitches stay, harmony goes."""
    notes = midi.notes_of(score.tracks[0])
    return with_notes(score, replace(notes, pitch=rng.permutation(notes.pitch)))


def shuffled_by_size(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Pitches permuted among the notes of chords of one size: bass, chords and lines stay apart."""
    notes = midi.notes_of(score.tracks[0])
    chord = chords_of(score, notes)
    size = np.bincount(chord)[chord]
    pitch = notes.pitch.copy()
    for number in np.unique(size):
        pitch[size == number] = rng.permutation(pitch[size == number])
    return with_notes(score, replace(notes, pitch=pitch))


def backwards(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The last onset first, lengths as they were; the pedal is folded into them."""
    notes = _folded(score)
    start = notes.start.max() - notes.start
    notes = replace(notes, start=start, end=start + notes.end - notes.start)
    return with_notes(score, notes.take(np.argsort(start, kind="stable")), np.zeros((0, 2)))


def one_chord(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The piece's commonest chord of three keys or more, at every onset."""
    notes = midi.notes_of(score.tracks[0])
    chord = chords_of(score, notes)
    first = np.flatnonzero(np.diff(chord, prepend=-1))
    found: dict[tuple[int, ...], int] = {}
    for keys in np.split(notes.pitch, first[1:]):
        key = tuple(np.unique(keys).tolist())
        if len(key) >= 3:
            found[key] = found.get(key, 0) + 1
    keys = np.array(max(found, key=lambda key: found[key]), dtype=np.int16) if found else TRIAD
    heads = notes.take(np.repeat(first, len(keys)))
    return with_notes(score, replace(heads, pitch=np.tile(keys, len(first))))


def shuffled_time(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The times between chords in another order: what is played stays, and its rhythm goes."""
    notes = _folded(score)
    chord = chords_of(score, notes)
    head = notes.start[np.flatnonzero(np.diff(chord, prepend=-1))]
    moved = head[0] + np.concatenate([[0], rng.permutation(np.diff(head)).cumsum()])
    start = notes.start + (moved - head)[chord]
    notes = replace(notes, start=start, end=start + notes.end - notes.start)
    return with_notes(score, notes.take(np.lexsort((notes.pitch, start))), np.zeros((0, 2)))


def noise(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """As many notes in the piece's register and time, each anywhere in both."""
    notes = midi.notes_of(score.tracks[0])
    low, high = np.percentile(notes.pitch, [5, 95]).round().astype(int)
    start = np.sort(rng.integers(0, notes.start.max() + 1, len(notes)))
    return with_notes(score, replace(
        notes, start=start, end=start + notes.end - notes.start,
        pitch=rng.integers(low, high + 1, len(notes)).astype(np.int16),
    ))  # fmt: skip


def transposed(score: ScoreTick, rng: np.random.Generator, steps: int) -> ScoreTick:
    """Semitones up or down; what would leave the keyboard takes the nearest octave on it."""
    notes = midi.notes_of(score.tracks[0])
    pitch = notes.pitch + steps
    pitch = np.where(pitch < midi.LOWEST_PITCH, pitch + OCTAVE, pitch)
    pitch = np.where(pitch > midi.HIGHEST_PITCH, pitch - OCTAVE, pitch)
    return with_notes(score, replace(notes, pitch=pitch.astype(np.int16)))


def on_sixteenths(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Onsets and ends on the sixteenths of the file's own beats."""
    step = score.ticks_per_quarter / 4
    notes = midi.notes_of(score.tracks[0])
    start, end = (np.rint(np.rint(t / step) * step).astype(np.int64) for t in _ends(notes))
    notes = replace(notes, start=start, end=np.maximum(end, start + max(1, int(step))))
    return with_notes(score, notes.take(np.lexsort((notes.pitch, start))))


def on_transcriber_grid(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """As a transcriber would leave it: onsets on 32 ms, 220 ticks a beat, 120 bpm, no pedal."""
    notes = _folded(score)
    seconds = [np.rint(midi.seconds_of(score, t) / TRANSCRIBER) for t in _ends(notes)]
    per_step = TRANSCRIBER * 2 * TRANSCRIBER_TICKS
    start, end = (
        np.rint(t * per_step).astype(np.int64)
        for t in (seconds[0], np.maximum(seconds[1], seconds[0] + 1))
    )
    order = np.lexsort((notes.pitch, start))
    return midi.score_of(replace(notes, start=start, end=end).take(order), TRANSCRIBER_TICKS, 120.0)


def level(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """Every note equally loud."""
    notes = midi.notes_of(score.tracks[0])
    return with_notes(score, replace(notes, velocity=np.full_like(notes.velocity, 64)))


def at_tempo(score: ScoreTick, rng: np.random.Generator, factor: float) -> ScoreTick:
    """Faster by `factor` throughout."""
    result = with_notes(score, midi.notes_of(score.tracks[0]))
    tempos = [(tempo.time, tempo.qpm) for tempo in score.tempos] or [(0, 120.0)]
    if tempos[0][0] > 0:  # a file's first tempo may come late; until then 120 bpm hold
        tempos.insert(0, (0, 120.0))
    result.tempos = symusic.core.TempoTickList(
        [symusic.Tempo(time, bpm * factor) for time, bpm in tempos]
    )
    return result


def right_hand(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """What lies from middle C up; all of it where nothing does."""
    notes = midi.notes_of(score.tracks[0])
    above = notes.pitch >= MIDDLE_C
    return with_notes(score, notes.take(above)) if above.any() else score


def top_line(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """The highest note of every chord, held no longer than until the next: one voice."""
    notes = _folded(score)
    chord = chords_of(score, notes)
    order = np.lexsort((notes.pitch, chord))
    notes = notes.take(order[np.flatnonzero(np.diff(chord[order], append=-1))])
    until = np.append(notes.start[1:], notes.end[-1:])
    # One that begins a chord may sound with the next chord's first.
    end = np.maximum(np.minimum(notes.end, until), notes.start + 1)
    return with_notes(score, replace(notes, end=end), np.zeros((0, 2)))


def left_out(score: ScoreTick, rng: np.random.Generator, share: float) -> ScoreTick:
    """A share of the notes is missing, as a transcriber misses them; at least one is left."""
    notes = midi.notes_of(score.tracks[0])
    kept = rng.random(len(notes)) >= share
    kept[0] = True
    return with_notes(score, notes.take(kept))


def short(score: ScoreTick, rng: np.random.Generator) -> ScoreTick:
    """No note longer than a tenth of a second, and no pedal."""
    notes = midi.notes_of(score.tracks[0])
    start, end = (midi.seconds_of(score, ticks) for ticks in _ends(notes))
    share = np.minimum(1, SHORT / np.maximum(end - start, SHORT))
    length = np.maximum(np.rint(share * (notes.end - notes.start)), 1).astype(np.int64)
    end = notes.start + length
    return with_notes(score, replace(notes, end=end), np.zeros((0, 2)))


def _ends(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    return notes.start, notes.end


def _folded(score: ScoreTick) -> Notes:
    notes = midi.fold_pedal(midi.notes_of(score.tracks[0]), *pedals_of(score).T)
    return midi.clean(notes)


TRANSPOSITIONS: dict[str, Edit] = {
    f"transposed {steps:+d}": partial(transposed, steps=steps)
    for steps in (*range(-6, 0), *range(1, 7))
}
EDITS: dict[str, Edit] = {
    "original": same,
    "pitches shuffled over all notes": shuffled,
    "pitches shuffled within chord sizes": shuffled_by_size,
    "backwards": backwards,
    "one chord repeated": one_chord,
    "times between chords shuffled": shuffled_time,
    "random notes of the same register": noise,
    "on a sixteenth grid": on_sixteenths,
    "on a transcriber's 32 ms grid": on_transcriber_grid,
    "all notes equally loud": level,
    "tempo × 0.8": partial(at_tempo, factor=0.8),
    "tempo × 1.25": partial(at_tempo, factor=1.25),
    "tempo × 0.5": partial(at_tempo, factor=0.5),
    "tempo × 2": partial(at_tempo, factor=2.0),
    "every note short": short,
    "a fifth of the notes left out": partial(left_out, share=0.2),
    "an octave down": partial(transposed, steps=-OCTAVE),
    "an octave up": partial(transposed, steps=OCTAVE),
    "from middle C up": right_hand,
    "the top line alone": top_line,
    **TRANSPOSITIONS,
}
