"""Chords, scales and voicings: what a theory book's first chapters say, as small functions.

Pitches are MIDI numbers, pitch classes 0..11 with C = 0. A chord symbol is a root and a quality
("Bb7b9"); a chart is written in numerals relative to the key ("IIm7 V7 | Imaj7"), so one text
serves twelve keys. Voicings follow Levine, "The Jazz Piano Book" (1989).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NUMERALS = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
_ACCIDENTALS = {"": 0, "b": -1, "#": 1}

# Semitones above the root, the seventh (or the sixth that stands for it) always fourth.
QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8), "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "69": (0, 4, 7, 9, 14), "m69": (0, 3, 7, 9, 14),
    "maj7": (0, 4, 7, 11), "maj9": (0, 4, 7, 11, 14), "mM7": (0, 3, 7, 11),
    "m7": (0, 3, 7, 10), "m9": (0, 3, 7, 10, 14), "m11": (0, 3, 7, 10, 14, 17),
    "m7b5": (0, 3, 6, 10), "dim7": (0, 3, 6, 9),
    "7": (0, 4, 7, 10), "9": (0, 4, 7, 10, 14), "13": (0, 4, 7, 10, 14, 21),
    "7b9": (0, 4, 7, 10, 13), "7#9": (0, 4, 7, 10, 15), "7#11": (0, 4, 7, 10, 18),
    "7b13": (0, 4, 7, 10, 20), "7alt": (0, 4, 8, 10, 13, 15), "7sus4": (0, 5, 7, 10),
}  # fmt: skip

_SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10), "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10), "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "lydian dominant": (0, 2, 4, 6, 7, 9, 10), "phrygian dominant": (0, 1, 4, 5, 7, 8, 10),
    "altered": (0, 1, 3, 4, 6, 8, 10), "whole-half": (0, 2, 3, 5, 6, 8, 9, 11),
    "blues": (0, 3, 5, 6, 7, 10), "major blues": (0, 2, 3, 4, 7, 9),
}  # fmt: skip


@dataclass(frozen=True)
class Chord:
    """A chord symbol: `root` pitch class and `quality`, a key of `QUALITIES`."""

    root: int
    quality: str

    @property
    def name(self) -> str:
        return NAMES[self.root] + self.quality

    @property
    def tones(self) -> tuple[int, ...]:
        """Pitch classes, root first, extensions last."""
        return tuple((self.root + interval) % 12 for interval in QUALITIES[self.quality])

    @property
    def third(self) -> int:
        """The third, or the fourth of a suspended chord."""
        return self.tones[1]

    @property
    def seventh(self) -> int:
        """The seventh, or the sixth that takes its place; a triad has its fifth here."""
        return self.tones[3] if len(self.tones) > 3 else self.tones[2]

    @property
    def dominant(self) -> bool:
        return QUALITIES[self.quality][1:2] == (4,) and 10 in QUALITIES[self.quality]

    @property
    def minor(self) -> bool:
        return QUALITIES[self.quality][1] == 3


@dataclass(frozen=True)
class Change:
    """One chord of a chart: where it starts and how long it lasts, in beats."""

    beat: float
    beats: float
    chord: Chord


def parse_chord(symbol: str) -> Chord:
    """The chord of a symbol such as "F#m7b5"; ValueError where there is none."""
    match = re.fullmatch(r"([A-G])([b#]?)(.*)", symbol)
    if match is None or match[3] not in QUALITIES:
        raise ValueError(f"no such chord: {symbol!r}")
    return Chord((_LETTERS[match[1]] + _ACCIDENTALS[match[2]]) % 12, match[3])


@lru_cache(maxsize=4096)
def numeral(text: str, key: int) -> Chord:
    """The chord of a numeral ("bVII7": major-scale degree, then quality) in the key `key`."""
    match = re.fullmatch(r"([b#]?)(VII|VI|V|IV|III|II|I)(.*)", text)
    if match is None or match[3] not in QUALITIES:
        raise ValueError(f"no such numeral: {text!r}")
    return Chord((key + _NUMERALS[match[2]] + _ACCIDENTALS[match[1]]) % 12, match[3])


def chart(text: str, key: int, beats: int = 4) -> list[Change]:
    """Numerals with bars parted by "|", the chords of a bar sharing its beats, as changes."""
    changes = []
    for bar, symbols in enumerate(text.split("|")):
        chords = symbols.split()
        # Two chords in three beats fall two and one, on beats and not between them.
        starts = [round(i * beats / len(chords) + 1e-6) for i in range(len(chords))] + [beats]
        for i, symbol in enumerate(chords):
            span = starts[i + 1] - starts[i]
            changes.append(Change(bar * beats + starts[i], span, numeral(symbol, key)))
    return changes


def chords_by_beat(changes: list[Change], beats: int) -> list[Chord]:
    """The chord of every beat, and the last one once more for what is anticipated past the end."""
    chords: list[Chord] = []
    for change in changes:
        chords += [change.chord] * int(change.beats)
    return [*chords[:beats], *[chords[-1]] * 5]


def scale(name: str, root: int) -> tuple[int, ...]:
    """The pitch classes of a scale, its root first."""
    return tuple((root + step) % 12 for step in _SCALES[name])


@lru_cache(maxsize=4096)
def chord_scale(chord: Chord) -> tuple[int, ...]:
    """The scale an improviser plays over `chord`; contains its chord tones."""
    names = {
        "m7": "dorian", "m9": "dorian", "m11": "dorian", "m": "dorian", "m6": "melodic minor",
        "m69": "melodic minor", "mM7": "melodic minor", "m7b5": "locrian", "dim7": "whole-half",
        "dim": "locrian", "7": "mixolydian", "9": "mixolydian", "13": "mixolydian",
        "7sus4": "mixolydian", "7b9": "phrygian dominant", "7b13": "phrygian dominant",
        "7#9": "altered", "7alt": "altered", "7#11": "lydian dominant", "aug": "altered",
    }  # fmt: skip
    steps = scale(names.get(chord.quality, "major"), chord.root)
    clashing = {tone for tone in chord.tones if tone not in steps}
    return tuple(sorted({*steps, *clashing}, key=lambda tone: (tone - chord.root) % 12))


@lru_cache(maxsize=4096)
def bebop_scale(chord: Chord) -> tuple[int, ...]:
    """Eight tones, so that a run of eighths keeps its chord tones on the beat (Baker, 1985)."""
    added = 11 if chord.dominant else 4 if chord.quality in ("m7", "m9") else 8
    tones = {*chord_scale(chord), (chord.root + added) % 12}
    return tuple(sorted(tones, key=lambda tone: (tone - chord.root) % 12))


@lru_cache(maxsize=4096)
def key_scale(key: int, minor: bool, chord: Chord) -> tuple[int, ...]:
    """The key's scale bent to `chord`: V in minor raises the seventh, V/V the fourth."""
    steps = list(scale("minor" if minor else "major", key))
    for tone in chord.tones:
        if tone not in steps:
            near = min(steps, key=lambda step: min((step - tone) % 12, (tone - step) % 12))
            steps[steps.index(near)] = tone
    return tuple(sorted(steps, key=lambda tone: (tone - key) % 12))


def tritone_substitute(chord: Chord) -> Chord:
    """The dominant a tritone away: the same third and seventh, exchanged."""
    return Chord((chord.root + 6) % 12, "7")


def nearest(tones: Iterable[int], pitch: float) -> int:
    """The pitch nearest to `pitch` whose class is among `tones`."""
    best, gap = 0, 99.0
    base = round(pitch)
    for tone in tones:
        candidate = base + (tone - base + 6) % 12 - 6
        distance = abs(candidate - pitch)
        if distance < gap:
            best, gap = candidate, distance
    return best


def step_in(tones: Sequence[int], pitch: int, direction: int) -> int:
    """The next pitch above or below `pitch` whose class is among `tones`."""
    for distance in range(1, 13):
        if (pitch + direction * distance) % 12 in tones:
            return pitch + direction * distance
    return pitch


def shell(chord: Chord, centre: float) -> tuple[int, ...]:
    """Third and seventh alone, the closest to `centre` (Powell's left hand without its root)."""
    low = nearest((chord.third, chord.seventh), centre - 3)
    other = chord.seventh if low % 12 == chord.third else chord.third
    return tuple(sorted((low, low + (other - low) % 12)))


def rootless(chord: Chord, form: str, centre: float) -> tuple[int, ...]:
    """Evans's rootless voicing: form A stands on the third, form B on the seventh.

    Args:
        chord: a chord with a seventh or a sixth.
        form: "A" = 3 5 7 9, "B" = 7 9 3 5; a dominant has its thirteenth for its fifth.
        centre: pitch the voicing lies around.
    """
    intervals = QUALITIES[chord.quality]
    third, fifth, seventh = intervals[1], intervals[2], intervals[3]
    ninth = {"7b9": 13, "7alt": 13, "7b13": 13, "7#9": 15, "m7b5": 17}.get(chord.quality, 14)
    if chord.dominant:
        fifth = {"7alt": 8, "7b13": 8, "7b9": 8, "7#9": 8, "7#11": 6}.get(chord.quality, 9)
    order = (third, fifth, seventh, ninth) if form == "A" else (seventh, ninth, third, fifth)
    pitches = [0]
    for low, high in pairwise(order):
        pitches.append(pitches[-1] + ((high - low) % 12 or 12))
    bottom = nearest(((chord.root + order[0]) % 12,), centre - pitches[-1] / 2)
    return tuple(bottom + pitch for pitch in pitches)


def smoothest(
    previous: Sequence[int], choices: Sequence[tuple[int, ...]], centre: float
) -> tuple[int, ...]:
    """The choice that moves least from `previous`, held loosely around `centre`."""

    def cost(choice: tuple[int, ...]) -> float:
        drift = abs(sum(choice) / len(choice) - centre) * 0.6
        return drift + sum(min(abs(p - q) for q in previous) for p in choice) if previous else drift

    return min(choices, key=cost)
