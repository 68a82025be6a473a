"""What a MIDI file holds, in one row: `gan data check`.

A file is fit for a piano corpus when it is readable and all its notes sit in piano-family tracks;
otherwise the row says why not. Several piano tracks (one a hand) are one instrument.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from symusic.core import ScoreTick

from data_tools import midi
from data_tools.errors import MidiError
from data_tools.parallel import ordered_map

# By chance a played onset falls this near to a sixteenth or an eighth triplet 15% of the time.
_GRID_TOLERANCE_BEATS = 1 / 96


@dataclass(frozen=True)
class Inspection:
    """One file's row.

    Attributes:
        path: as given.
        readable: whether it parses as MIDI.
        instruments: distinct General MIDI programs that play notes, the piano family counted once;
            drums apart.
        drums: whether a percussion track plays.
        notes: number of notes, drums included.
        seconds: time of the last note's end.
        timing: "played", "quantized", "mixed", or "" without notes.
        reason: why it is not a single-instrument piano file; empty when it is.
    """

    path: str
    readable: bool
    instruments: int = 0
    drums: bool = False
    notes: int = 0
    seconds: float = 0.0
    timing: str = ""
    reason: str = ""

    def row(self) -> dict[str, object]:
        """The same as a dictionary, in column order."""
        return asdict(self)


def inspect(music: midi.Music) -> Inspection:
    """Looks at one file; never raises for bad music."""
    name = midi.name_of(music)
    try:
        score = midi.read(music)
    except MidiError as error:
        return Inspection(name, False, reason=error.reason)
    except Exception as error:  # a file nobody foresaw gets its row all the same
        return Inspection(name, False, reason=f"{type(error).__name__}: {error}")
    sounding = [track for track in score.tracks if track.notes]
    drums = any(track.is_drum for track in sounding)
    programs = {track.program for track in sounding if not track.is_drum}
    families = {0 if program in midi.PIANO_PROGRAMS else program for program in programs}
    others = sorted(families - {0})
    notes = sum(len(track.notes) for track in sounding)
    if not notes:
        return Inspection(name, True, reason="no notes")
    reasons = []
    if drums:
        reasons.append("drums")
    if not programs:
        reasons.append("nothing but drums")
    elif 0 not in families:
        reasons.append(f"no piano (programs {', '.join(map(str, others))})")
    elif others:
        reasons.append(f"{len(families)} instruments (programs {', '.join(map(str, others))})")
    # Not score.end(), which counts controllers and pedals too.
    end = max(int(midi.notes_of(track).end.max()) for track in sounding)
    seconds = float(midi.seconds_of(score, np.array([end]))[0])
    return Inspection(
        name, True, len(families), drums, notes, round(seconds, 2), timing_of(score),
        "; ".join(reasons),
    )  # fmt: skip


def timing_of(score: ScoreTick) -> str:
    """Whether onsets lie on the file's own beat grid: "quantized", "played" or "mixed".

    Share of onsets within 1/96 beat of a sixteenth or an eighth triplet: above 0.85 quantized,
    below 0.55 played.
    """
    onsets = [midi.notes_of(track).start for track in score.tracks if track.notes]
    if not onsets:
        return ""
    beats = np.concatenate(onsets) / score.ticks_per_quarter
    distance = np.min([np.abs(beats * n - np.rint(beats * n)) / n for n in (4, 3)], axis=0)
    share = float(np.mean(distance <= _GRID_TOLERANCE_BEATS))
    return "quantized" if share > 0.85 else "played" if share < 0.55 else "mixed"


def _crashed(path: Path) -> Inspection:
    return Inspection(str(path), False, reason="crashed the reader")


def inspect_many(paths: Iterable[Path], workers: int = 0) -> Iterator[Inspection]:
    """Rows in the order of `paths`, over several processes."""
    return ordered_map(inspect, paths, _crashed, workers)
