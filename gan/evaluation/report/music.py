"""A sample's notes as the page needs them: milliseconds in columns, eight bytes a note.

The page draws and plays from these bytes, so fifty thousand notes cost half a megabyte and no
element each.
"""

import base64
import math
from dataclasses import dataclass

import numpy as np

from data_tools import midi
from data_tools.errors import MidiError
from gan.evaluation.report.content import Sample

MOST_NOTES = 50_000  # of one sample; of a longer one the beginning is shown
MOST_SECONDS = 4e6  # milliseconds must fit 32 bits
_LONGEST = 65_535  # milliseconds a note is held at most: a string is silent long before
_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


@dataclass(frozen=True)
class Played:
    """A sample ready for the page.

    Attributes:
        notes: how many there are.
        seconds: how long it is.
        pitches: lowest and highest.
        packed: the columns, base64; see `assets/player.js`, which unpacks them.
        size: bytes of it all.
        message: what to say about it, as that it is empty or cut; "" for nothing.
    """

    notes: int
    seconds: float
    pitches: tuple[int, int]
    packed: dict[str, str]
    size: int
    message: str = ""

    @property
    def words(self) -> str:
        """What the piano roll shows, for those who do not see it."""
        if not self.notes:
            return "Piano roll: no notes"
        low, high = (pitch_name(pitch) for pitch in self.pitches)
        return f"Piano roll: {self.notes:,} notes from {low} to {high}, {clock(self.seconds)}"


def pitch_name(pitch: int) -> str:
    """As C4 for middle C."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def clock(seconds: float) -> str:
    """As 1:04, or 3:00:00."""
    whole = int(seconds + 0.5)
    hours, minutes = divmod(whole // 60, 60)
    ending = f"{whole % 60:02d}"
    return f"{hours}:{minutes:02d}:{ending}" if hours else f"{minutes}:{ending}"


def played(sample: Sample) -> Played:
    """Packs a sample; one that cannot be read is empty and its message says why."""
    try:
        table, pedal = _table(sample)
    except MidiError as error:
        return _packed(np.zeros((0, 4)), np.zeros((0, 2)), 0.0, error.reason)
    usable = np.isfinite(table).all(1) & (table[:, 1] > 0) & (table[:, 0] < MOST_SECONDS)
    table = table[usable & (table[:, 2] >= 0) & (table[:, 2] <= 127) & (table[:, 3] > 0)]
    table = table[np.lexsort((table[:, 2], table[:, 0]))]
    message = "" if len(table) else "no notes"
    if len(table) > MOST_NOTES:
        message = f"the first {MOST_NOTES:,} of {len(table):,} notes"
        table = table[:MOST_NOTES]
    end = float((table[:, 0] + table[:, 1]).max(initial=0.0))
    cut = message.startswith("the first")
    given = sample.seconds if sample.seconds is not None and math.isfinite(sample.seconds) else end
    seconds = end if cut else max(end, float(given))
    return _packed(table, pedal, min(seconds, MOST_SECONDS), message)


def _table(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Onset, length, pitch, velocity (N, 4) and pedal (P, 2), in seconds from the piece's start."""
    music = sample.music
    if isinstance(music, np.ndarray) or music is None:
        table = np.zeros((0, 4)) if music is None else np.asarray(music, dtype=np.float64)
        pedal = np.zeros((0, 2)) if sample.pedal is None else np.asarray(sample.pedal, float)
        if table.size == 0:
            table = table.reshape(0, 4)
        if table.ndim != 2 or table.shape[1] != 4:
            raise MidiError(sample.title, f"notes of shape {table.shape}, wanted (N, 4)")
        return table.clip(min=[0, -np.inf, -np.inf, -np.inf]), pedal.reshape(-1, 2)
    score = midi.read(music)
    tracks = [track for track in score.tracks if not track.is_drum]
    columns = []
    for track in tracks:
        notes = midi.notes_of(track)
        start, end = midi.seconds_of(score, notes.start), midi.seconds_of(score, notes.end)
        columns.append(np.stack([start, end - start, notes.pitch, notes.velocity], 1))
    time, duration = midi.pedal_union([pedal for track in tracks for pedal in track.pedals])
    down, up = midi.seconds_of(score, time), midi.seconds_of(score, time + duration)
    return np.concatenate([np.zeros((0, 4)), *columns]), np.stack([down, up], 1)


def _packed(table: np.ndarray, pedal: np.ndarray, seconds: float, message: str) -> Played:
    held = np.isfinite(pedal).all(1) & (pedal[:, 1] > pedal[:, 0]) & (pedal[:, 0] < MOST_SECONDS)
    pedal = pedal[held][:MOST_NOTES].clip(0, MOST_SECONDS)
    table = table.round(6)
    columns = {
        "start": (table[:, 0] * 1000).round().astype("<u4"),
        "length": (table[:, 1] * 1000).round().clip(1, _LONGEST).astype("<u2"),
        "pitch": table[:, 2].round().astype("u1"),
        "velocity": table[:, 3].round().clip(1, 127).astype("u1"),
        "down": (pedal[:, 0] * 1000).round().astype("<u4"),
        "up": (pedal[:, 1] * 1000).round().astype("<u4"),
    }
    packed = {key: base64.b64encode(value.tobytes()).decode() for key, value in columns.items()}
    pitch = columns["pitch"]
    pitches = (int(pitch.min()), int(pitch.max())) if len(pitch) else (60, 72)
    size = sum(len(value) for value in packed.values())
    return Played(len(table), seconds, pitches, packed, size, message)
