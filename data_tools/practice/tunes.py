"""Harmony and melody of the plain kind: four-bar phrases, motifs, antecedent and consequent.

A piece is a plan of phrases ("AABA"). Phrases of one letter share their harmony and their motif;
those at the end of a pair close on the tonic, the others stay open on the dominant, as Caplin
("Classical Form", 1998) describes the period.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Knobs, Note
from data_tools.practice.theory import Change, Chord, chart, key_scale, nearest, step_in

PLANS = {
    3: ("ABA", "AAB", "ABB"), 4: ("AABA", "ABAC", "AABB", "ABCA"),
    6: ("AABBAA", "ABABCA", "AABACA"), 8: ("AABBAACC", "AABBCCAA", "ABACABAA", "AABAABCA"),
}  # fmt: skip

# Two-bar beginnings of the letter A, of the others, and two-bar cadences, open and closed.
HEADS = ("I|IV", "I|V7", "I|VIm", "I|I", "I|IIm", "I V|VIm", "I IV|I")
CONTRASTS = ("V|I", "VIm|IIIm", "IV|I", "II7|V", "VIm|IIm", "III7|VIm", "IV|IIm")
OPEN = ("IV|V", "IIm|V", "I|V", "II7|V", "VIm II7|V")
CLOSED = ("V7|I", "IV V7|I", "IIm V7|I", "I V7|I")
MINOR_HEADS = ("Im|IVm", "Im|V7", "Im|bVI", "Im|Im", "Im V7|Im", "Im bVII|bIII")
MINOR_CONTRASTS = ("bIII|bVII", "bVI|bIII", "IVm|Im", "bIII|IVm", "bVII|bIII", "V7|Im")
MINOR_OPEN = ("IVm|V", "bVI|V", "Im|V", "IIdim|V")
MINOR_CLOSED = ("V7|Im", "IVm V7|Im", "bVI V7|Im", "IIdim V7|Im")
LOOPS = ("I|V|VIm|IV", "VIm|IV|I|V", "I|VIm|IV|V", "I|IV|VIm|V", "IV|V|IIIm|VIm", "I|IIIm|IV|V")
MINOR_LOOPS = ("Im|bVI|bIII|bVII", "Im|bVII|bVI|bVII", "Im|IVm|bVI|V", "Im|bIII|bVII|IVm")

# Rhythms of a bar, in beats; a tune picks those whose number of notes it needs.
COMMON = (
    (2, 2), (2, 1, 1), (1, 1, 2), (3, 1), (1, 1, 1, 1), (1.5, 0.5, 1, 1), (1, 0.5, 0.5, 1, 1),
    (1, 1, 0.5, 0.5, 1), (1.5, 0.5, 1.5, 0.5), (0.5, 0.5, 1, 0.5, 0.5, 1),
    (0.5, 0.5, 0.5, 0.5, 1, 1), (1, 0.5, 0.5, 0.5, 0.5, 1),
    (0.5,) * 6 + (1,), (0.5,) * 8, (1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
)  # fmt: skip
TRIPLE = (
    (2, 1), (1, 1, 1), (1.5, 0.5, 1), (1, 0.5, 0.5, 1), (1, 1, 0.5, 0.5), (0.5, 0.5, 1, 1), (3,),
    (0.5, 0.5, 0.5, 0.5, 1), (1, 0.5, 0.5, 0.5, 0.5), (0.5,) * 6,
)  # fmt: skip
MARCH = (
    (1, 1, 2), (1, 1, 1, 1), (0.75, 0.25, 1, 1, 1), (0.75, 0.25, 1, 0.75, 0.25, 1), (1.5, 0.5, 2),
    (0.75, 0.25, 0.75, 0.25, 1, 1), (1, 0.5, 0.5, 1, 1), (1, 1, 0.5, 0.5, 0.5, 0.5), (2, 1.5, 0.5),
)  # fmt: skip
POP = (
    (1.5, 1.5, 1), (0.5, 0.5, 0.5, 1, 1.5), (1, 0.5, 1, 0.5, 1), (1.5, 0.5, 2), (0.5, 1, 0.5, 1, 1),
    (2, 2), (1, 1, 2), (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1), (1.5, 2.5), (0.5, 1, 0.5, 0.5, 0.5, 1),
)  # fmt: skip
_T = 1 / 3
JIG = (
    (_T,) * 12, (2 * _T, _T) * 4, (*(_T,) * 6, 2 * _T, _T, 1), (2 * _T, _T, _T, _T, _T) * 2,
    (2 * _T, _T, *(_T,) * 3, 2 * _T, _T, 1), (1, 2 * _T, _T, 1, 2 * _T, _T), (*(_T,) * 3, 1) * 2,
)  # fmt: skip
REEL = (
    (0.5,) * 8, (1, 0.5, 0.5) * 2, (0.5, 0.5, 0.5, 0.5, 1, 0.5, 0.5), (0.5,) * 6 + (1,),
    (1, 1, 1, 1), (0.5, 0.25, 0.25) * 2 + (0.5,) * 4, (1, 1, 0.5, 0.5, 1), (0.5, 0.5, 1) * 2,
)  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """Four bars of a plan: its letter, and whether it closes on the tonic."""

    letter: str
    closed: bool


def plan(rng: np.random.Generator, phrases: int) -> list[Phrase]:
    """A form of `phrases` four-bar phrases, the last one closed."""
    letters = pick(rng, PLANS[phrases])
    return [Phrase(letter, i % 2 == 1 or i == phrases - 1) for i, letter in enumerate(letters)]


def harmony(
    rng: np.random.Generator, phrases: list[Phrase], key: int, minor: bool, metre: int
) -> list[Change]:
    """Changes for the phrases, alike for those of one letter except at their cadences."""
    heads = {letter: pick(rng, MINOR_CONTRASTS if minor else CONTRASTS) for letter in "BC"}
    heads["A"] = pick(rng, MINOR_HEADS if minor else HEADS)
    bars = []
    cadences: dict[Phrase, str] = {}
    for phrase in phrases:
        if phrase not in cadences:
            closed, opened = (MINOR_CLOSED, MINOR_OPEN) if minor else (CLOSED, OPEN)
            cadences[phrase] = pick(rng, closed if phrase.closed else opened)
        bars += [heads[phrase.letter], cadences[phrase]]
    return chart("|".join(bars), key, metre)


def loops(rng: np.random.Generator, phrases: list[Phrase], key: int, minor: bool) -> list[Change]:
    """Four-chord loops, one a letter, and home in the last bar."""
    loop = {letter: pick(rng, MINOR_LOOPS if minor else LOOPS) for letter in "ABC"}
    bars = "|".join(loop[phrase.letter] for phrase in phrases).split("|")
    return chart("|".join([*bars[:-2], *(("V", "Im") if minor else ("V", "I"))]), key)


def _rhythm(rng: np.random.Generator, cells: Sequence[tuple], per_bar: float) -> tuple:
    return weighted(rng, cells, [np.exp(-abs(len(cell) - per_bar)) for cell in cells])


def _contour(rng: np.random.Generator, notes: int) -> list[int]:
    """Scale steps above a bar's first note: mostly steps, turning now and then."""
    height, direction, steps = 0, pick(rng, (-1, 1)), [0]
    for _ in range(notes - 1):
        if chance(rng, 0.3) or abs(height) > 3:
            direction = -1 if height > 3 else 1 if height < -3 else -direction
        height += direction * weighted(rng, (0, 1, 2), (1.2, 6, 1.5))
        steps.append(height)
    return steps


def _bar(
    cell: Sequence[float], contour: list[int], tones: list[Chord], metre: int, anchor: float,
    key: int, minor: bool,
) -> list[Note]:  # fmt: skip
    """A motif laid over a bar: it starts on a chord tone, and strong beats are chord tones too."""
    onset, notes, pitch = 0.0, [], nearest(tones[0].tones[:3], anchor)
    height = 0
    strong = (0, 2) if metre == 4 else (0,)
    for length, target in zip(cell, contour, strict=True):
        chord = tones[min(int(onset + 0.01), metre - 1)]
        steps = key_scale(key, minor, chord)
        previous, turn = pitch, target - height
        for _ in range(abs(turn)):
            pitch = step_in(steps, pitch, 1 if turn > 0 else -1)
        height = target
        on_beat = any(abs(onset - beat) < 0.01 for beat in strong)
        if on_beat or length >= 1:
            pitch = nearest(chord.tones, pitch)
            if turn and pitch == previous:  # the motif moves, so the tune does
                pitch = step_in(chord.tones, pitch, 1 if turn > 0 else -1)
        elif pitch % 12 not in steps:
            pitch = nearest(steps, pitch)
        notes.append(Note(onset, length * 0.97, pitch, 0.7 if on_beat else 0.1))
        onset += length
    return notes


def melody(
    rng: np.random.Generator, phrases: list[Phrase], chords: list[Chord], metre: int, key: int,
    minor: bool, cells: Sequence[tuple], knobs: Knobs,
) -> list[Note]:  # fmt: skip
    """A tune over the chords of every beat, one phrase after the other."""
    per_bar = metre * (0.55 + 1.35 * knobs.density)
    motifs = {}
    for letter in "ABC":
        bars = [_rhythm(rng, cells, per_bar) for _ in range(2)]
        order = pick(rng, ((0, 0, 1), (0, 1, 0), (0, 1, 1)))
        contours = [_contour(rng, len(cell)) for cell in bars]
        arch = [rng.uniform(-4, 1), rng.uniform(-1, 5), rng.uniform(0, 6)]
        motifs[letter] = [(bars[i], contours[i], rise) for i, rise in zip(order, arch, strict=True)]
    notes: list[Note] = []
    previous = knobs.melody
    for number, phrase in enumerate(phrases):
        lift = 2.0 if phrase.letter == "B" else 0.0
        start = number * 4 * metre
        for bar, (cell, contour, rise) in enumerate(motifs[phrase.letter]):
            at = start + bar * metre
            # Midway between where the arch wants to be and where the last note left off.
            anchor = 0.6 * (knobs.melody + rise + lift) + 0.4 * previous
            tones = chords[at : at + metre]
            written = _bar(cell, contour, tones, metre, anchor, key, minor)
            notes += [note._replace(onset=note.onset + at) for note in written]
            previous = notes[-1].pitch
        notes += _cadence(rng, phrase, chords, start + 3 * metre, metre, key, minor, notes)
        previous = notes[-1].pitch
        if number == len(phrases) - 1:
            notes[-1] = notes[-1]._replace(length=start + 4 * metre - notes[-1].onset)
    return notes


def _cadence(
    rng: np.random.Generator, phrase: Phrase, chords: list[Chord], at: int, metre: int, key: int,
    minor: bool, notes: list[Note],
) -> list[Note]:  # fmt: skip
    """The last bar: home by step to the tonic, or a rest on the dominant."""
    last = notes[-1]
    if phrase.closed:
        home = nearest((key,), last.pitch)
        steps = key_scale(key, minor, Chord((key + 7) % 12, "7"))
        leading = step_in(steps, home, 1 if last.pitch >= home else -1)
        if leading % 12 in chords[at - 1].tones:
            notes[-1] = last._replace(pitch=leading)
        return [Note(at, metre - 1, home, 0.6)]
    pitch = nearest(chords[at].tones[:3], last.pitch)
    other = nearest(chords[at].tones[:3], pitch + pick(rng, (-4, 4)))
    if chance(rng, 0.5):
        return [Note(at, metre - 1, pitch, 0.5)]
    return [Note(at, 1, pitch, 0.5), Note(at + 1, metre - 2 if metre > 3 else 1, other, 0.2)]


def doubled(
    rng: np.random.Generator, tune: list[Note], chords: list[Chord], key: int, minor: bool,
    share: float,
) -> list[Note]:  # fmt: skip
    """Thirds and sixths below a share of the notes that last: the second voice of a song."""
    second = []
    for note in tune:
        if note.length < 0.45 or not chance(rng, share):
            continue
        chord = chords[int(note.onset + 0.01)]
        steps = key_scale(key, minor, chord)
        third = step_in(steps, step_in(steps, note.pitch, -1), -1)
        if third % 12 not in chord.tones and note.pitch % 12 in chord.tones:
            third = step_in(chord.tones, note.pitch - 3, -1)
        second.append(note._replace(pitch=third, accent=note.accent - 0.5))
    return second
