"""What both kinds of music share: the brief, and the way a sketch is played into MIDI.

A classifier must learn the music and not the file. So tempo, key, mode, length, note density,
register, loudness, articulation and timing noise are drawn here, before anyone knows whether the
piece is jazz, and the playing of the finished sketch asks nothing of its label.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import miditoolkit
import numpy as np

from data_tools.practice.theory import NAMES, Change

TICKS = 480  # per beat
LOWEST, HIGHEST = 21, 108  # the piano


class Note(NamedTuple):
    """A written note: onset and length in beats, accent in arbitrary units around 0."""

    onset: float
    length: float
    pitch: int
    accent: float = 0.0


@dataclass(frozen=True)
class Brief:
    """What a composer is asked for; drawn from (seed, index) alone, the same for every label."""

    tempo: float  # beats per minute
    beats: int  # 48, 64, 96 or 128: twelve, sixteen, ... bars of four
    key: int
    minor: bool
    density: float  # notes per beat
    centre: float  # mean pitch
    spread: float  # standard deviation of pitch
    velocity: float
    velocity_spread: float
    length: float  # mean length of a note, in beats
    jitter: float  # standard deviation of an onset, in seconds
    swing: float  # long eighth over short, where the music swings

    @property
    def key_name(self) -> str:
        return f"{NAMES[self.key]} {'minor' if self.minor else 'major'}"


@dataclass(frozen=True)
class Knobs:
    """What a composer may be told to do differently in its next draft."""

    density: float = 0.5  # 0 sparse .. 1 full
    centre: float = 60.0  # pitch between the hands
    spread: float = 12.0  # semitones from there to melody and to bass

    @property
    def melody(self) -> float:
        return self.centre + self.spread

    @property
    def chords(self) -> float:
        return self.centre - 0.25 * self.spread

    @property
    def bass(self) -> float:
        return max(self.centre - 1.2 * self.spread, 38.0)


@dataclass(frozen=True)
class Sketch:
    """A written piece: its parts, its chart, and the swing already in its onsets (1 = none)."""

    form: str
    parts: dict[str, list[Note]]
    changes: list[Change]
    metre: int  # beats to a bar
    swing: float = 1.0

    @property
    def notes(self) -> list[Note]:
        return [note for part in self.parts.values() for note in part]


def draw_brief(rng: np.random.Generator) -> Brief:
    """A brief whose piece lasts 25 to 60 seconds."""
    beats = (48, 64, 96, 128)[int(np.searchsorted((0.28, 0.54, 0.80), rng.random()))]
    tempo = float(np.exp(rng.uniform(np.log(max(72, beats)), np.log(min(180, beats * 2.3)))))
    # The faster the beat, the fewer notes it holds: what hands can play.
    density = rng.uniform(2.8, 3.9) - 0.7 * (tempo - 72) / 108
    return Brief(
        tempo=round(tempo, 1), beats=beats, key=int(rng.integers(12)), minor=rng.random() < 0.35,
        density=density, centre=rng.normal(60.5, 1.5), spread=rng.uniform(9.0, 11.0),
        velocity=rng.uniform(60, 82), velocity_spread=rng.uniform(7, 13),
        length=rng.uniform(0.62, 0.85), jitter=rng.uniform(0.004, 0.013),
        swing=rng.uniform(1.3, 2.2),
    )  # fmt: skip


def revise(knobs: Knobs, brief: Brief, sketch: Sketch) -> tuple[Knobs, float]:
    """Turn the knobs towards the brief; also how far the sketch is from it (1 = too far)."""
    pitches = np.array([note.pitch for note in sketch.notes])
    density = len(pitches) / brief.beats - brief.density
    centre = float(pitches.mean()) - brief.centre
    spread = float(pitches.std()) - brief.spread
    miss = max(abs(density) / 0.2, abs(centre) / 1.0, abs(spread) / 1.2)
    return replace(
        knobs,
        density=float(np.clip(knobs.density - 0.35 * density, 0.0, 1.0)),
        centre=float(np.clip(knobs.centre - 0.9 * centre, 52.0, 70.0)),
        spread=float(np.clip(knobs.spread - 0.9 * spread, 8.0, 16.0)),
    ), miss


def swung(beat: float, ratio: float) -> float:
    """Where a written eighth off the beat is played; everything else stays."""
    whole = int(beat // 1)
    return whole + ratio / (1 + ratio) if abs(beat - whole - 0.5) < 1e-6 else beat


def swing_part(notes: list[Note], ratio: float) -> list[Note]:
    """A part with its offbeat eighths, and the ends that fall on them, delayed."""
    played = []
    for note in notes:
        onset = swung(note.onset, ratio)
        end = swung(note.onset + note.length, ratio)
        played.append(note._replace(onset=onset, length=end - onset))
    return played


def play(sketch: Sketch, brief: Brief, rng: np.random.Generator) -> miditoolkit.MidiFile:
    """Play a sketch: loudness, articulation and human timing, all set by the brief."""
    written = np.array(sorted(sketch.notes), dtype=float)  # (N, 4): the fields of a note
    onset, length, pitch, accent = written[:, 0], written[:, 1], written[:, 2], written[:, 3]

    accent = accent + rng.normal(0, 0.5, len(accent))
    accent = (accent - accent.mean()) / accent.std()
    velocity = np.clip(brief.velocity + brief.velocity_spread * accent, 20, 118).round()

    # Articulation: one factor for all lengths, within what still sounds like the style.
    length = length * np.clip(brief.length / length.mean(), 0.55, 1.5)

    # Time wanders together (a slow walk, by the beat) and each note a little by itself.
    walk = np.cumsum(rng.normal(0, 0.0025, int(onset.max()) + 3))
    walk -= np.linspace(walk[0], walk[-1], len(walk))
    walk *= brief.jitter > 0  # who does not waver keeps the beat, too
    seconds = np.interp(onset, np.arange(len(walk)), walk) + rng.normal(0, brief.jitter, len(onset))
    start = np.maximum(onset + seconds * brief.tempo / 60, 0.0)
    shortest = 0.045 * brief.tempo / 60
    end = start + np.maximum(length, shortest)

    notes = [
        miditoolkit.Note(int(v), int(p), round(s * TICKS), round(e * TICKS))
        for v, p, s, e in zip(velocity, pitch, start, end, strict=True)
        if LOWEST <= p <= HIGHEST
    ]
    track = miditoolkit.Instrument(program=0, is_drum=False, name="Piano")
    track.notes = sorted(
        without_overlaps(notes, round(shortest * TICKS)), key=lambda note: (note.start, note.pitch)
    )
    score = miditoolkit.MidiFile(ticks_per_beat=TICKS)
    score.tempo_changes = [miditoolkit.TempoChange(brief.tempo, 0)]
    score.instruments = [track]
    score.max_tick = max(note.end for note in track.notes)
    return score


def without_overlaps(notes: list[miditoolkit.Note], shortest: int) -> list[miditoolkit.Note]:
    """The notes with each one ended before its key is struck again; doublings are dropped."""
    kept: list[miditoolkit.Note] = []
    for note in sorted(notes, key=lambda note: (note.pitch, note.start, -note.end)):
        if kept and kept[-1].pitch == note.pitch:
            if note.start - kept[-1].start < 2 * shortest:
                kept[-1].end = max(kept[-1].end, note.end)
                continue
            kept[-1].end = min(kept[-1].end, note.start)
        kept.append(note)
    return kept
