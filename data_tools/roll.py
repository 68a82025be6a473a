"""What is drawn of a piece: its notes and who wrote them, pedal and bars, in seconds.

The generator's files say in markers where a prompt ends, and a whistle may stand in between. A
classifier's opinion of the piece comes as arrays, so that nothing here knows classifiers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from symusic.core import ScoreTick

from data_tools import midi
from data_tools.errors import MidiError
from data_tools.midi import Music, Notes

_PARTS = ("prompt", "whistle", "generated")
_WHISTLE = 78  # the program that generated files signal with
_MOST_BARS = 5000


@dataclass(frozen=True)
class Opinion:
    """What a classifier thinks of a piece.

    Attributes:
        title: its verdict in words.
        curve: (M, 2) seconds and p(jazz), by time.
        onset, pitch, share: (N,) seconds and pitch of notes, and what each adds to the logit; NaN
            where that is not known.
    """

    title: str
    curve: np.ndarray
    onset: np.ndarray
    pitch: np.ndarray
    share: np.ndarray


@dataclass(frozen=True)
class Roll:
    """All that is drawn of a piece; times in seconds.

    Attributes:
        name: of the piece.
        notes: of all instruments but drums.
        generated: (N,) bool, whether a note is the generator's; all are where nobody says.
        pedals: (P, 2) when the sustain pedal goes down and up.
        bars: (B,) where bars begin, by the file's own time signatures.
        parts: where the parts named by markers begin, and their names.
        drums: notes of drums, which are not drawn.
    """

    name: str
    notes: Notes
    generated: np.ndarray
    pedals: np.ndarray
    bars: np.ndarray
    parts: tuple[tuple[float, str], ...]
    drums: int

    @property
    def seconds(self) -> float:
        """Until the last note is over."""
        return float(self.notes.end.max())


def roll_of(music: Music) -> Roll:
    """Reads what is drawn.

    Raises:
        MidiError: unreadable, or no notes but drums.
    """
    name = midi.name_of(music)
    score = midi.read(music)
    marks = {mark.text: mark.time for mark in score.markers}
    drums = sum(len(track.notes) for track in score.tracks if track.is_drum)
    shown = [
        track
        for track in score.tracks
        if track.notes
        and not track.is_drum
        and not ("whistle" in marks and track.program == _WHISTLE)
    ]
    if not shown:
        raise MidiError(name, "only drums, which a piano roll has no place for" if drums
                        else "no notes")  # fmt: skip
    columns = zip(
        *((n.start, n.end, n.pitch, n.velocity) for n in map(midi.notes_of, shown)), strict=True
    )
    notes = Notes(*(np.concatenate(column) for column in columns))
    notes = notes.take(np.lexsort((notes.pitch, notes.start)))
    down, held = midi.pedal_union([pedal for track in shown for pedal in track.pedals])
    bars = _bars(score, int(notes.end.max()))
    seconds = [
        midi.seconds_of(score, ticks) for ticks in (notes.start, notes.end, down, down + held, bars)
    ]
    parts = sorted((time, text) for text, time in marks.items() if text in _PARTS)
    times = midi.seconds_of(score, np.array([time for time, _ in parts], dtype=float))
    return Roll(
        name=name if name.startswith("<") else Path(name).name,
        notes=Notes(seconds[0], seconds[1], notes.pitch, notes.velocity),
        generated=notes.start >= marks.get("generated", 0),
        pedals=np.stack(seconds[2:4], axis=1),
        bars=seconds[4],
        parts=tuple((float(time), text) for time, (_, text) in zip(times, parts, strict=True)),
        drums=drums,
    )


def _bars(score: ScoreTick, end: int) -> np.ndarray:
    """Ticks at which bars begin; none where they would be more than anybody could see."""
    signatures = sorted((s.time, s.numerator, s.denominator) for s in score.time_signatures)
    if not signatures or signatures[0][0] > 0:
        signatures.insert(0, (0, 4, 4))
    bars: list[np.ndarray] = []
    for place, (time, over, under) in enumerate(signatures):
        stop = signatures[place + 1][0] if place + 1 < len(signatures) else end
        length = max(1.0, 4 * score.ticks_per_quarter * over / max(1, under))
        if (stop - time) / length > _MOST_BARS:
            return np.zeros(0)
        bars.append(np.arange(time, stop, length))
    return np.concatenate(bars)


def matched(notes: Notes, opinion: Opinion, slack: float = 0.05) -> np.ndarray:
    """(N,) what each note adds, as a classifier that may read a coarser grid says; NaN for unknown.

    Args:
        notes: in seconds.
        opinion: whose notes are looked through for the nearest onset of the same pitch.
        slack: seconds that the two may differ by.
    """
    share = np.full(len(notes), np.nan)
    for pitch in np.unique(notes.pitch):
        ours, theirs = notes.pitch == pitch, opinion.pitch == pitch
        if not theirs.any():
            continue
        onset = opinion.onset[theirs]
        right = np.searchsorted(onset, notes.start[ours]).clip(0, len(onset) - 1)
        left = (right - 1).clip(0)
        away = np.abs(onset[np.stack([left, right])] - notes.start[ours])
        nearest = np.where(away[0] <= away[1], left, right)
        share[ours] = np.where(away.min(0) <= slack, opinion.share[theirs][nearest], np.nan)
    return share
