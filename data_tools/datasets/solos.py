"""Note tables of the Weimar Jazz Database as MIDI: one solo, its annotated beats as the tempo map.

The columns are those of the Jazz Transformer's CSV files: `onset` and `duration` in seconds,
`pitch` as a MIDI number, `loud_median` in decibels (not in every file, and empty at times); the
table of beats has `onset`. The music begins on the beat that holds the first note, or on the first
annotated one if that is earlier: what was on the record before the solo is left out.
"""

import csv
import io
import math

import numpy as np
import symusic
from symusic.core import ScoreTick

from data_tools.errors import MidiError
from data_tools.midi import Notes, clean, score_of

TICKS = 480
MEDIAN_VELOCITY = 80
STEPS_PER_DECIBEL = 2.5  # the middle half of a solo lies within about 6 dB: some 15 steps
PLAIN_BEAT = 0.5  # seconds a beat where none are annotated: 120 bpm


def score_of_solo(notes: bytes, beats: bytes | None, name: str) -> ScoreTick:
    """A solo as a one-track score.

    Args:
        notes: the note table, CSV.
        beats: the table of beats, CSV; without it, 120 bpm.
        name: the file's name, for messages.

    Raises:
        MidiError: no table of notes, or no note in it.
    """
    rows = _rows(notes, ("onset", "duration", "pitch"), name)
    table = np.array([[row["onset"], row["duration"], row["pitch"]] for row in rows])
    if not len(table):
        raise MidiError(name, "no notes in the table")
    grid = _grid(beats, name, table[:, 0].min(), (table[:, 0] + table[:, 1]).max())
    start = _ticks(grid, table[:, 0])
    end = np.maximum(_ticks(grid, table[:, 0] + table[:, 1]), start + 1)
    order = np.lexsort((table[:, 2], start))
    heard = Notes(start, end, table[:, 2].astype(np.int16), _velocities(rows)).take(order)
    cleaned = clean(heard)
    if not len(cleaned):
        raise MidiError(name, "no notes on a piano's 88 keys")
    score = score_of(cleaned, TICKS)
    mspq = np.rint(np.diff(grid) * 1e6).astype(int)
    changed = np.concatenate([[True], mspq[1:] != mspq[:-1]])
    for beat in np.flatnonzero(changed).tolist():
        score.tempos.append(symusic.Tempo(beat * TICKS, mspq=int(mspq[beat])))
    return score


def _rows(data: bytes, needed: tuple[str, ...], name: str) -> list[dict[str, float]]:
    """The numbers of a table's rows; rows whose needed columns are no sane numbers are left out."""
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns = [*needed, "loud_median"]
        if missing := [column for column in needed if column not in (reader.fieldnames or ())]:
            raise MidiError(name, f"no column '{missing[0]}' in the table")
        table = [{column: _number(row.get(column)) for column in columns} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MidiError(name, f"no UTF-8 table ({error})") from None
    sane = {"onset": (-100, 1e5), "duration": (1e-3, 1e3), "pitch": (0, 127)}
    return [
        row for row in table
        if all(sane[column][0] <= row[column] <= sane[column][1] for column in needed)
    ]  # fmt: skip


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _grid(beats: bytes | None, name: str, first: float, last: float) -> np.ndarray:
    """(B,) seconds of the beats from the one at or before `first` to the one after `last`."""
    rows = _rows(beats, ("onset",), name) if beats is not None else []
    onsets = np.unique([row["onset"] for row in rows])
    # Beats closer than 50 ms are slips of the annotation; a tempo of 1,200 helps nobody.
    if len(onsets):
        onsets = onsets[np.concatenate([[True], np.diff(onsets) >= 0.05])]
    if len(onsets) < 2:
        onsets = first + PLAIN_BEAT * np.arange(2)
    before = math.ceil(max(0.0, onsets[0] - first) / (onsets[1] - onsets[0]))
    after = math.floor(max(0.0, last - onsets[-1]) / (onsets[-1] - onsets[-2])) + 1
    lead = onsets[0] - (onsets[1] - onsets[0]) * np.arange(before, 0, -1)
    tail = onsets[-1] + (onsets[-1] - onsets[-2]) * np.arange(1, after + 1)
    return np.concatenate([lead, onsets, tail])


def _ticks(grid: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return np.rint(np.interp(seconds, grid, TICKS * np.arange(len(grid)))).astype(np.int64)


def _velocities(rows: list[dict[str, float]]) -> np.ndarray:
    """Loudness relative to the solo's median: levels differ between records."""
    loud = np.array([row["loud_median"] for row in rows])
    known = np.isfinite(loud)
    median = np.median(loud[known]) if known.any() else 0.0
    steps = np.where(
        known, STEPS_PER_DECIBEL * (np.nan_to_num(loud, posinf=0, neginf=0) - median), 0
    )
    return np.clip(np.rint(MEDIAN_VELOCITY + steps), 20, 120).astype(np.int16)
