"""Ragtime: a march in the left hand, syncopated arpeggios and octaves in the right.

Written from what textbooks say of classic rags (Berlin, "Ragtime: A Musical and Cultural History",
1980), not from any score: strains of sixteen bars, the trio a fourth higher, secondary dominants
in chains of fifths, diminished sevenths and the minor subdominant on the way home, and the rhythms
that Berlin calls untied and tied syncopation. A bar of two beats is written here as one of four.
It stands in for rags among what a classifier learns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Brief, Note, Sketch
from data_tools.practice.songs import close_position
from data_tools.practice.theory import (
    Change,
    Chord,
    chart,
    chords_by_beat,
    key_scale,
    nearest,
    step_in,
)

BAR, STRAIN = 4, 16  # beats of a bar, bars of a strain
FORMS = ("AABBACC", "AABBACCDD", "AABBCC", "AABACC", "ABACD")

# Phrases of four bars: how a strain begins (twice), halts on the dominant, and comes home.
OPENINGS = (
    "I|I|V7|V7", "I|V7|I|V7", "V7|I|V7|I", "I|VI7|II7|V7", "I|I7|IV|IVm", "I|#Idim7|V7|I",
    "III7|VI7|II7|V7", "VIm|III7|VIm|VIm", "I|bVI7|I|I", "I|I|IV|I", "IV|I|V7|I", "I V7|I|I V7|I",
    "V7|V7|I|I", "VI7|VI7|II7|II7", "I|IIIm|VI7|II7", "I|bIIIdim7|V7|V7",
)  # fmt: skip
MINOR_OPENINGS = ("Im|V7|Im|V7", "Im|Im|IVm|Im", "V7|Im|V7|Im", "Im|bVI7|Im|V7", "Im|IVm|Im|V7")
HALTS = (
    "I|VI7|II7|V7", "VI7|VI7|II7|V7", "I|I|II7|V7", "VIm|II7|V7|V7", "I|#IVdim7|II7|V7",
    "IIIm VI7|II7|V7|V7", "I|III7|VIm II7|V7", "II7|II7|V7|V7",
)  # fmt: skip
MINOR_HALTS = ("Im|bVI7|V7|V7", "IVm|Im|II7|V7", "bIII|bIII|II7|V7", "Im|IVm|V7|V7")
CLOSES = (
    "IV #IVdim7|I VI7|II7 V7|I", "IV IVm|I VI7|II7 V7|I", "I|VI7|II7 V7|I", "IV|#IVdim7|I V7|I",
    "II7|V7|I V7|I", "IV bVI7|I VI7|II7 V7|I", "#IVdim7|I VI7|II7 V7|I", "IV IVm|I|V7|I",
)  # fmt: skip
MINOR_CLOSES = ("IVm|Im|V7|Im", "IVm #IVdim7|Im|II7 V7|Im", "bVI7|Im|V7|Im", "IVm Im|bVI7 V7|Im|Im")

# Where half a bar's notes begin, in eighths: short-long-short is ragtime's own.
HALVES = ((0, 1, 3), (0, 1, 2, 3), (0, 2), (0, 2, 3), (1, 2, 3), (1, 3), (0,), (0, 1, 2))
_LIKELY = (6, 4, 2, 2, 2, 2, 1, 1)
MANNERS = ("arpeggio", "step", "neighbour", "again")  # in which short notes move
_USUAL = (5.0, 2.5, 2.0, 0.5)


@dataclass(frozen=True)
class Cell:
    """A bar of a tune that can come again over other chords.

    Attributes:
        slots: where its notes begin, in eighths of the bar.
        manners: how each moves, one of `MANNERS`.
        directions: whither, 1 up and -1 down.
    """

    slots: tuple[int, ...]
    manners: tuple[str, ...]
    directions: tuple[int, ...]


def compose(rng: np.random.Generator, brief: Brief) -> Sketch:
    """A rag in the brief's key, one and a half to four minutes long."""
    form = pick(rng, FORMS)
    strains = {letter: _strain(rng, letter, brief) for letter in sorted(set(form))}
    parts: dict[str, list[Note]] = {"melody": [], "chords": [], "bass": []}
    changes: list[Change] = []
    at = 0.0
    if chance(rng, 0.7):
        changes = chart("Im|Im|V7|V7" if brief.minor else "I|I|V7|V7", brief.key)
        parts["melody"], parts["bass"] = _introduction(rng, changes, brief)
        at = 4.0 * BAR
    for letter in form:
        played, harmony = strains[letter]
        for name, notes in played.items():
            parts[name] += [note._replace(onset=note.onset + at) for note in notes]
        changes += [Change(c.beat + at, c.beats, c.chord) for c in harmony]
        at += STRAIN * BAR
    return Sketch("ragtime", parts, changes, BAR)


def _strain(
    rng: np.random.Generator, letter: str, brief: Brief
) -> tuple[dict[str, list[Note]], list[Change]]:
    """Sixteen bars: its parts, and its chords. The trio, C and on, is a fourth higher, in major."""
    key = (brief.key + 5) % 12 if letter in "CD" else brief.key
    minor = brief.minor and (letter == "A" or (letter == "B" and chance(rng, 0.5)))
    opening = pick(rng, MINOR_OPENINGS if minor else OPENINGS)
    halt = pick(rng, MINOR_HALTS if minor else HALTS)
    close = pick(rng, MINOR_CLOSES if minor else CLOSES)
    changes = chart("|".join((opening, halt, opening, close)), key)
    chords = chords_by_beat(changes, STRAIN * BAR)
    bass, upper = _left_hand(rng, chords, key, minor)
    melody = _right_hand(rng, chords, key, minor, rng.uniform(71, 78))
    return {"melody": melody, "chords": upper, "bass": bass}, changes


def _introduction(
    rng: np.random.Generator, changes: list[Change], brief: Brief
) -> tuple[list[Note], list[Note]]:
    """Four bars of both hands in octaves, the last on the dominant."""
    chords, cells = chords_by_beat(changes, 4 * BAR), [_cell(rng), _cell(rng)]
    line = _Line(brief.key, brief.minor, 75.0)
    melody: list[Note] = []
    for bar in range(3):
        melody += line.bar(cells[bar % 2], chords, bar)
    melody.append(Note(3.0 * BAR, 1.8, nearest((chords[-1].root,), line.pitch), 0.4))
    below = [note._replace(pitch=note.pitch - 12) for note in melody]
    bass = [note._replace(pitch=note.pitch - 24) for note in melody]
    return melody + below, bass


def _left_hand(
    rng: np.random.Generator, chords: list[Chord], key: int, minor: bool
) -> tuple[list[Note], list[Note]]:
    """Octaves on the strong beats, chords on the weak, and runs of octaves between phrases."""
    bass: list[Note] = []
    upper: list[Note] = []
    low, middle = rng.uniform(38, 44), rng.uniform(53, 58)
    octaves, sixths = rng.uniform(0.4, 1.0), chance(rng, 0.2)
    previous: tuple[int, ...] = ()
    for bar in range(STRAIN):
        at, last = bar * BAR, bar == STRAIN - 1
        if bar % 4 == 3 and not last and chance(rng, 0.35):
            for beat, pitch in enumerate(_run(rng, chords[at : at + BAR + 1], key, minor, low)):
                bass += [Note(at + beat, 0.9, p, 0.3) for p in (pitch, pitch + 12)]
            continue
        for beat in range(BAR - last):  # the last one comes home and rests
            chord = chords[at + beat]
            if beat % 2:
                previous = close_position(chord, pick(rng, (3, 3, 4)), middle, previous)
                upper += [Note(at + beat, 0.6, pitch, -0.4) for pitch in previous]
                continue
            again = beat == 2 and chords[at] == chord and not last
            tone = chord.tones[2] if again else chord.root
            if not last and chance(rng, 0.15):
                tone = chord.third
            pitch = nearest((tone,), low)
            bass.append(Note(at + beat, 0.9, pitch, 0.4))
            if last or chance(rng, octaves):
                bass.append(Note(at + beat, 0.9, pitch + (12 if pitch < 41 else -12), 0.2))
            elif sixths:
                bass.append(Note(at + beat, 0.9, step_in(chord.tones[:3], pitch + 6, 1), 0.0))
    return bass, upper


def _run(
    rng: np.random.Generator, chords: Sequence[Chord], key: int, minor: bool, low: float
) -> tuple[int, ...]:
    """A bar's four steps from a root to the root of the next bar, by scale or by semitone."""
    first = nearest((chords[0].root,), low)
    goal = nearest((chords[BAR].root,), low)
    away = -1 if goal > first or (goal == first and chance(rng, 0.5)) else 1
    chromatic, line = chance(rng, 0.5), [goal]
    steps = key_scale(key, minor, chords[2])
    while len(line) < BAR:
        last = line[-1]
        line.append(last + away if chromatic else step_in(steps, last, away))
    return (first, *line[:0:-1])


def _right_hand(
    rng: np.random.Generator, chords: list[Chord], key: int, minor: bool, centre: float
) -> list[Note]:
    """A syncopated tune: the short notes single, the long ones octaves, thirds or full chords."""
    cells = [_cell(rng) for _ in range(3)]
    plan = pick(rng, ((0, 1, 0, 2), (0, 1, 0, 1), (0, 0, 1, 2), (0, 1, 2, 1)))
    thickness = weighted(rng, ("octaves", "full", "single", "thirds"), (4, 3, 2, 1.5))
    line, bars = _Line(key, minor, centre), list[list[Note]]()
    for bar in range(STRAIN):
        if 8 <= bar < 12:  # the opening comes again, and what follows goes on from there
            bars.append([note._replace(onset=note.onset + 8 * BAR) for note in bars[bar - 8]])
            line.pitch = max(bars[-1], key=lambda note: (note.onset, note.pitch)).pitch
            continue
        last = bar == STRAIN - 1
        tune = _home(line, chords[-1]) if last else line.bar(cells[plan[bar % 4]], chords, bar)
        bars.append([])
        for note in tune:
            chord = chords[int(note.onset)]
            under = _under(rng, chord, note.pitch, thickness, note.length / 0.9)
            bars[-1] += [note, *(note._replace(pitch=p, accent=note.accent - 0.3) for p in under)]
    return [note for bar in bars for note in bar]


def _home(line: "_Line", tonic: Chord) -> list[Note]:
    """The last bar: from the third or the fifth to the tonic, or a stroke on it and one more."""
    end = nearest((tonic.root,), line.pitch)
    first = nearest(tonic.tones[1:3], line.pitch) if abs(line.pitch - end) > 2 else end
    at = (STRAIN - 1) * BAR
    inner = step_in(tonic.tones[:3], end, 1 if first > end else -1)
    notes = ((0, 1, first), (1, 1, inner), (2, 1.5, end))
    return [Note(at + beat, length * 0.9, pitch, 0.5) for beat, length, pitch in notes]


class _Line:
    """A tune as it goes: where it is, and how it moves on over chords.

    Args:
        key, minor: whose scale it steps along.
        centre: the pitch it stays within a seventh or so of.
    """

    def __init__(self, key: int, minor: bool, centre: float) -> None:
        self.key, self.minor, self.centre = key, minor, centre
        self.pitch, self.leaning = round(centre), False

    def bar(self, cell: Cell, chords: Sequence[Chord], bar: int) -> list[Note]:
        """The cell's notes over the bar's chords."""
        notes = []
        moves = zip(_lengths(cell.slots), cell.manners, cell.directions, strict=True)
        for (slot, length), manner, direction in moves:
            chord = chords[bar * BAR + slot // 2]
            if abs(self.pitch - self.centre) > 9:
                direction = -1 if self.pitch > self.centre else 1
            self._move(chord, manner, direction, length)
            accent = 0.5 if length >= 1 else 0.0
            notes.append(Note(bar * BAR + slot / 2, length * 0.9, self.pitch, accent))
        return notes

    def _move(self, chord: Chord, manner: str, direction: int, length: float) -> None:
        """To a chord tone where it rests; between them by chord, scale or semitone."""
        tones = chord.tones[:4]
        if self.leaning:  # on what lies a semitone above
            self.pitch, self.leaning = nearest(tones, self.pitch + 1), False
        elif length >= 1:
            near = nearest(tones, self.pitch)
            here = near != self.pitch and manner in ("step", "again")
            self.pitch = near if here else step_in(tones, self.pitch, direction)
        elif manner == "arpeggio":
            self.pitch = step_in(tones, self.pitch, direction)
        elif manner == "step":
            steps = key_scale(self.key, self.minor, chord)
            self.pitch = step_in(steps, self.pitch, direction)
        elif manner == "neighbour":
            self.pitch, self.leaning = step_in(tones, self.pitch, direction) - 1, True


def _cell(rng: np.random.Generator) -> Cell:
    """A bar's rhythm and the way its notes move; it keeps a direction for a few of them."""
    slots = _rhythm(rng)
    directions = [pick(rng, (-1, 1))]
    for _ in slots[1:]:
        directions.append(-directions[-1] if chance(rng, 0.3) else directions[-1])
    manners = tuple(weighted(rng, MANNERS, _USUAL) for _ in slots)
    return Cell(slots, manners, tuple(directions))


def _rhythm(rng: np.random.Generator) -> tuple[int, ...]:
    """Where a bar's notes begin, in eighths; now and then one is tied over the middle."""
    first, second = weighted(rng, HALVES, _LIKELY), weighted(rng, HALVES, _LIKELY)
    slots = [*first, *(BAR + slot for slot in second)]
    if 3 in slots and 4 in slots and chance(rng, 0.5):
        slots.remove(4)
    return tuple(slots)


def _lengths(slots: Sequence[int]) -> list[tuple[int, float]]:
    """Each slot with its length in beats, up to the next or to the bar's end."""
    return [
        (slot, (end - slot) / 2) for slot, end in zip(slots, [*slots[1:], 2 * BAR], strict=True)
    ]


def _under(
    rng: np.random.Generator, chord: Chord, pitch: int, thickness: str, length: float
) -> list[int]:
    """What sounds below a note of the tune."""
    if thickness == "single" or (length < 1 and not chance(rng, 0.12)):
        return []
    if thickness == "thirds":
        return [step_in(chord.tones[:4], pitch - 2, -1)]
    inner = [step_in(chord.tones[:4], pitch - 2, -1)] if thickness == "full" else []
    if thickness == "full" and chance(rng, 0.4):
        inner.append(step_in(chord.tones[:4], inner[0], -1))
    return [p for p in inner if p > pitch - 12] + [pitch - 12]
