"""The bar lines and tempos of a prompt, for a piece that a model wrote in seconds.

On the clock a model knows of no bars, but whoever gave it a prompt does: what he opens beside his
own file should have its lines where that has them.
"""

import math
from dataclasses import dataclass
from typing import Self

import miditoolkit
import numpy as np
from symusic.core import ScoreTick

from data_tools import midi

FINEST = 32767  # ticks a quarter that a MIDI file can name
FINEST_METER = 128  # the shortest note of a meter that notation knows
COARSEST = 480
LONGEST = 1 / 800  # seconds of a tick, where the file can name so many


@dataclass(frozen=True)
class Bars:
    """Where the quarters and bars of a piece lie in its seconds.

    Attributes:
        resolution: ticks a quarter, a multiple of the prompt's own, so that its notes stay on them.
        tempos: (K, 3) seconds, the quarter there, and quarters a minute from there on; the first
            is at or before second 0.
        meters: (quarter, numerator, denominator) from the first bar line, quarter 0, on.
    """

    resolution: int
    tempos: np.ndarray
    meters: tuple[tuple[float, int, int], ...]

    @classmethod
    def of(cls, score: ScoreTick, start: float) -> Self:
        """Of music whose first note begins at second `start` of the piece.

        Before it, below 0, where the piece has the end of the music alone. The piece begins with
        the bar in which its second 0 lies: whole bars of silence are left out.
        """
        notes = [midi.notes_of(track) for track in score.tracks]
        first = min(int(each.start.min()) for each in notes if len(each))
        last = max(int(each.start.max()) for each in notes if len(each))
        quarter = score.ticks_per_quarter
        # Of several at one tick the file's last holds.
        changes = sorted({max(0, int(one.time)): float(one.qpm) for one in score.tempos}.items())
        changes = [(0, 120.0)] * (not changes or changes[0][0] > 0) + changes
        changes = [one for one in changes if one[0] <= last]
        ticks = np.array([tick for tick, _ in changes])
        begun, *seconds = midi.seconds_of(score, np.array([first, *ticks]))
        tempos = np.stack(
            [np.array(seconds) - begun + start, ticks / quarter, [qpm for _, qpm in changes]], 1
        )
        tempos = tempos[max(0, int((tempos[:, 0] <= 0).sum()) - 1) :]
        # Half a tick of the arithmetic's own is no bar.
        begins = float(_quarters(tempos, np.array([0.0]))[0]) * quarter + 0.5
        here = max(0, int(begins))
        line, length = bar_before(score, here)
        while line > begins:
            line -= length
        tempos[:, 1] -= line / quarter
        now = [each for each in meters_of(score) if each[0] <= here][-1]
        later = [each for each in meters_of(score) if here < each[0] <= last]
        meters = [(0.0, *now[1:]), *(((tick - line) / quarter, n, d) for tick, n, d in later)]
        wanted = max(COARSEST, 60 / (float(tempos[:, 2].min()) * LONGEST))
        resolution = quarter * max(1, min(math.ceil(wanted / quarter), FINEST // quarter))
        return cls(resolution, tempos, tuple(meters))

    def quarters(self, seconds: np.ndarray) -> np.ndarray:
        """The quarters (N,) at some seconds (N,), from the first bar line on."""
        return _quarters(self.tempos, seconds)


def put_on(piece: miditoolkit.MidiFile, bars: Bars) -> None:
    """Gives a piece of one tempo the bars; every event keeps its second.

    Args:
        piece: changed in place; its first marker, at 0, stays there.
    """
    second = piece.ticks_per_beat * piece.tempo_changes[0].tempo / 60

    def moved(ticks: list[int]) -> list[int]:
        quarters = bars.quarters(np.array(ticks, dtype=np.float64) / second)
        return np.round(quarters * bars.resolution).astype(int).clip(min=0).tolist()

    for track in piece.instruments:
        starts = moved([note.start for note in track.notes])
        ends = moved([note.end for note in track.notes])
        for note, start, end in zip(track.notes, starts, ends, strict=True):
            note.start, note.end = start, max(start + 1, end)
        for event, time in zip(
            track.control_changes, moved([e.time for e in track.control_changes]), strict=True
        ):
            event.time = time
    marks = piece.markers[1:]
    for mark, time in zip(marks, moved([each.time for each in marks]), strict=True):
        mark.time = time
    piece.ticks_per_beat = bars.resolution
    piece.tempo_changes = [
        miditoolkit.TempoChange(bpm, max(0, round(quarter * bars.resolution)) if number else 0)
        for number, (_, quarter, bpm) in enumerate(bars.tempos.tolist())
    ]
    piece.time_signature_changes = [
        miditoolkit.TimeSignature(numerator, denominator, round(quarter * bars.resolution))
        for quarter, numerator, denominator in bars.meters
    ]


def meters_of(score: ScoreTick) -> list[tuple[int, int, int]]:
    """(tick, numerator, denominator) from tick 0 on; 4/4 where nothing is said.

    Of several at one tick the file's last holds. What damaged files say of bars without a length,
    or of next to none, is not heeded.
    """
    said = {
        int(each.time): (each.numerator, each.denominator)
        for each in score.time_signatures
        if each.numerator > 0 and 0 < each.denominator <= FINEST_METER
    }
    found = [(tick, *meter) for tick, meter in sorted(said.items())]
    return found if found and found[0][0] <= 0 else [(0, 4, 4), *found]


def bar_before(score: ScoreTick, tick: int) -> tuple[float, float]:
    """The bar line at or before a tick, and the bar's length, both in ticks."""
    time, numerator, denominator = [each for each in meters_of(score) if each[0] <= tick][-1]
    length = score.ticks_per_quarter * numerator * 4 / denominator
    return time + (tick - time) // length * length, length


def _quarters(tempos: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    section = (np.searchsorted(tempos[:, 0], seconds, side="right") - 1).clip(min=0)
    at, quarter, bpm = tempos[section].T
    return quarter + (seconds - at) * bpm / 60
