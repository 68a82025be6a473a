"""MIDI in and out: any kind of music becomes one cleaned piano track, and is written again.

`symusic` reads (about 170 times faster than pure Python), `miditoolkit` is the object a user holds.
Everything that takes music takes a path, bytes, a `miditoolkit.MidiFile` or a `symusic.Score`;
whatever cannot be used raises one exception, `MidiError`, with the file and the reason.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import miditoolkit
import numpy as np
import symusic
from symusic.core import ScoreQuarter, ScoreSecond, ScoreTick, TrackTick

from data_tools import parts, smf
from data_tools.errors import MidiError
from data_tools.files import ARCHIVES, IRREGULAR, is_irregular, write_bytes

Music: TypeAlias = str | Path | bytes | miditoolkit.MidiFile | ScoreTick

PIANO_PROGRAMS = range(8)  # General MIDI's piano family, clavinet and harpsichord included
PACKED = "an archive; unpack it first"
NO_MUSIC = "no music; give a path, bytes, or a score of symusic or miditoolkit"
MAX_BYTES = smf.LARGEST  # one bound for all who read: what check refuses is not built upon
LOWEST_PITCH, HIGHEST_PITCH = 21, 108  # the 88 keys
PIANO_PITCHES, ALL_PITCHES = (LOWEST_PITCH, HIGHEST_PITCH), (0, 127)
LONGEST_SILENCE = 300  # seconds between onsets; beyond that the timing is damaged
SUSTAIN = 64  # the pedal's controller number
PRESSED = 64  # the least value of it that is down


@dataclass(frozen=True)
class Notes:
    """Notes as parallel arrays of shape (N,), sorted by onset, then pitch.

    Attributes:
        start, end: onset and offset, in ticks, grid steps or seconds as the caller says.
        pitch: MIDI pitch, 0..127.
        velocity: MIDI velocity, 1..127.
    """

    start: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: np.ndarray) -> "Notes":
        """The notes at `index` (integers or a boolean mask)."""
        return Notes(self.start[index], self.end[index], self.pitch[index], self.velocity[index])


@dataclass(frozen=True)
class Prepared:
    """One piece, ready to be tokenised.

    Attributes:
        score: a tick-based score of exactly one piano track, its notes cleaned.
        dropped: what was left out, in words ("drums", "bass (program 33)").
    """

    score: ScoreTick
    dropped: tuple[str, ...]


def name_of(music: Music) -> str:
    """What to call this music in a message or a table: its path where it has one."""
    return str(music) if isinstance(music, str | Path) else f"<{type(music).__name__} in memory>"


def read(music: Music) -> ScoreTick:
    """Reads music as a tick-based score; payload bytes over 127 are clamped.

    Raises:
        MidiError: the file is missing, too large, not MIDI, or breaks off.
    """
    name = name_of(music)
    if isinstance(music, miditoolkit.MidiFile):
        music = to_bytes(music, name)
    if isinstance(music, ScoreSecond | ScoreQuarter):
        music = music.to("tick")
    if isinstance(music, ScoreTick):
        return _pedals_read(_in_order(music), own=False)
    if not isinstance(music, bytes | str | Path):
        raise MidiError(name, NO_MUSIC)
    try:
        data = smf.unwrapped(music if isinstance(music, bytes) else bytes_of(Path(music)))
        if _breaks_off(data):
            raise MidiError(name, "not readable as MIDI (a track breaks off)")
        score = _pedals_read(symusic.Score.from_midi(data, sanitize_data=True))
    except OSError as error:
        raise MidiError(name, error.strerror or str(error)) from None
    except (RuntimeError, ValueError, MemoryError) as error:
        # Python's own MemoryError says nothing.
        words = (str(error).splitlines() or [type(error).__name__])[0]
        words = words.removeprefix("MiniMidi: ").removesuffix(": iostream error")[:80]
        if words.startswith("Unexpected EOF"):
            words = "it breaks off"
        if words.startswith("Division type"):
            words = smf.FILM
        if not data.startswith(b"MThd"):
            words = "it begins as no MIDI file does" if data else "it is empty"
            if data.startswith((b"PK", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"\xfd7zXZ")):
                words = f"it is {PACKED}"
        raise MidiError(name, f"not readable as MIDI ({words})") from None
    if score.ticks_per_quarter <= 0 or (score.tempos.numpy()["mspq"] <= 0).any():
        raise MidiError(name, "no usable timing (a resolution or tempo of zero)")
    return score


def _in_order(score: ScoreTick) -> ScoreTick:
    """The score itself, or a copy where its tempo changes are not in the order of their times."""
    times = score.tempos.numpy()["time"]
    if (times[1:] >= times[:-1]).all():
        return score
    score = score.copy()
    score.tempos = symusic.core.TempoTickList(sorted(score.tempos, key=lambda one: one.time))
    return score


def _pedals_read(score: ScoreTick, own: bool = True) -> ScoreTick:
    """The score with the pedals that its control changes press, or a copy where it is not our own.

    On every channel but the first, symusic 0.5.9 takes the pedal to be down from the beginning: its
    first pedal lasts from tick 0 to where a pedal is first let go. One that is down while the
    program changes is lost there.
    """
    for number, track in enumerate(score.tracks):
        if not track.pedals or track.pedals[0].time:
            continue
        controls = track.controls.numpy()
        mine = controls["number"] == SUSTAIN
        if not mine.any():  # built of pedals alone
            continue
        order = np.argsort(controls["time"][mine], kind="stable")
        time, down = controls["time"][mine][order], controls["value"][mine][order] >= PRESSED
        turns = np.flatnonzero(np.diff(down, prepend=False))
        pressed, let_go = time[turns[::2]], time[turns[1::2]]
        pressed = pressed[: len(let_go)]  # one that is never let go is none
        if len(pressed) == len(track.pedals) and not pressed[0]:
            continue
        if not own:
            score, own = score.copy(), True
        score.tracks[number].pedals = symusic.Pedal.from_numpy(pressed, let_go - pressed)
    return score


def _with_pedal_controls(score: ScoreTick) -> ScoreTick:
    """A copy whose pedals are control changes too: symusic writes the latter alone."""
    score = score.copy()
    for track in score.tracks:
        if not track.pedals:
            continue
        table = track.pedals.numpy()
        kept = [control for control in track.controls if control.number != SUSTAIN]
        for time, duration in zip(table["time"].tolist(), table["duration"].tolist(), strict=True):
            kept.append(symusic.ControlChange(time, SUSTAIN, 127))
            kept.append(symusic.ControlChange(time + duration, SUSTAIN, 0))
        track.controls = symusic.core.ControlChangeTickList(kept)
    return score


def to_bytes(music: ScoreTick | miditoolkit.MidiFile, name: str | Path = "music") -> bytes:
    """The bytes of the .mid file that an object would be written as.

    Channels are kept where tracks are named after them (see `data_tools.parts`).

    Raises:
        MidiError: the object holds values that MIDI cannot.
    """
    if not isinstance(music, miditoolkit.MidiFile):
        if any(parts.named(track.name) for track in music.tracks):
            return parts.dumped(music)
        return _with_pedal_controls(music).dumps_midi()
    buffer = io.BytesIO()
    try:
        music.dump(file=buffer)
    except (ValueError, TypeError) as error:  # a velocity of 200, a negative time, a lone float
        raise MidiError(name, f"cannot be written as MIDI ({error})") from None
    data = buffer.getvalue()
    if any(parts.named(instrument.name) for instrument in music.instruments):
        # miditoolkit numbers channels as it likes; the names say which they are.
        return parts.dumped(_pedals_read(symusic.Score.from_midi(data)))
    return data


def bytes_of(path: Path) -> bytes:
    """A file's content, unless it is too large, empty or an archive."""
    if path.name.lower().endswith(ARCHIVES):
        raise MidiError(path, PACKED)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MidiError(path, f"larger than {MAX_BYTES // 2**20} MiB")
    if size == 0:
        raise MidiError(path, IRREGULAR if is_irregular(path) else "empty file")
    return path.read_bytes()


def _breaks_off(data: bytes) -> bool:
    """Whether a track is longer than the file: symusic would read on into other memory."""
    place = 0
    while place + 4 <= len(data):
        end = place + 8 + int.from_bytes(data[place + 4 : place + 8], "big")
        if data[place : place + 4] == b"MTrk" and end > len(data):
            return True
        place = end  # junk after the last track, common in the wild, is left to symusic
    return False


def merged_notes(score: ScoreTick) -> Notes:
    """The notes of all tracks of a prepared score, in its ticks, sorted by onset and pitch.

    For counting, timing and comparing pieces of several instruments.
    """
    tracks = [notes_of(track) for track in score.tracks]
    if len(tracks) == 1:
        return tracks[0]
    columns = zip(*((n.start, n.end, n.pitch, n.velocity) for n in tracks), strict=True)
    notes = Notes(*(np.concatenate(column) for column in columns))
    return notes.take(np.lexsort((notes.pitch, notes.start)))


def notes_of(track: TrackTick) -> Notes:
    """The notes of a track as arrays, in the track's own time unit."""
    table = track.notes.numpy()
    notes = Notes(
        table["time"],
        table["time"] + table["duration"],
        table["pitch"].astype(np.int16),
        table["velocity"].astype(np.int16),
    )
    order = notes.start.astype(np.int64) << 8 | notes.pitch  # one number sorts faster than two
    if (order[1:] >= order[:-1]).all():  # what was sorted before
        return notes
    return notes.take(np.argsort(order, kind="stable"))


def clean(notes: Notes, shortest: float = 1, pitches: tuple[int, int] = PIANO_PITCHES) -> Notes:
    """Keeps what a piano can play: its keys, one string a pitch, nothing of no length.

    Two notes of one pitch at one onset become the longer; a note still sounding when its pitch is
    struck again ends there. Notes come sorted by onset; they go back sorted by onset and pitch.

    Args:
        notes: notes in any time unit.
        shortest: the least length kept, in that unit.
        pitches: lowest and highest pitch kept; the 88 keys.
    """
    playable = (
        (notes.end - notes.start >= shortest)
        & (notes.velocity > 0)
        & (notes.pitch >= pitches[0])
        & (notes.pitch <= pitches[1])
    )
    notes = notes.take(playable)
    if not len(notes):
        return notes
    notes = notes.take(_by_pitch(notes))
    same_pitch = notes.pitch[1:] == notes.pitch[:-1]
    repeated = np.concatenate([[False], same_pitch & (notes.start[1:] == notes.start[:-1])])
    if repeated.any():
        notes = notes.take(~repeated)
    same_pitch = notes.pitch[1:] == notes.pitch[:-1]
    end = notes.end.copy()
    end[:-1] = np.where(same_pitch, np.minimum(end[:-1], notes.start[1:]), end[:-1])
    notes = replace(notes, end=end).take(end - notes.start >= shortest)
    if notes.start.dtype.kind == "i" and len(notes):  # no two are alike now, so any sort will do
        first = notes.start.min()
        return notes.take(
            np.argsort((notes.start - first).astype(np.int64) << 16 | notes.pitch.astype(np.int64))
        )
    return notes.take(np.lexsort((notes.pitch, notes.start)))


def _by_pitch(notes: Notes) -> np.ndarray:
    """The order by pitch, then onset, then the longest first, so that the rest can be dropped."""
    if notes.start.dtype.kind == "i":
        # One number sorts several times faster than three, where no two notes are alike in it.
        whole = notes.pitch.astype(np.int64) << 40 | (notes.start - notes.start.min())
        order = np.argsort(whole)
        ordered = whole[order]
        if (ordered[1:] > ordered[:-1]).all():
            return order
    return np.lexsort((-notes.end, notes.start, notes.pitch))


def fold_pedal(notes: Notes, down: np.ndarray, up: np.ndarray) -> Notes:
    """Lengthens every note whose key is released under a held sustain pedal to the pedal's release.

    A later stroke of the same pitch still ends it; run `clean` afterwards.

    Args:
        notes: notes in any time unit.
        down: (P,) when the pedal goes down, ascending, in the same unit.
        up: (P,) when it comes up again.
    """
    if not len(down) or not len(notes):
        return notes
    last = np.searchsorted(down, notes.end, side="right") - 1
    held = (last >= 0) & (notes.end < up[np.maximum(last, 0)])
    return replace(notes, end=np.where(held, up[np.maximum(last, 0)], notes.end))


def prepare(music: Music, pitches: tuple[int, int] = PIANO_PITCHES) -> Prepared:
    """Reduces music to one cleaned piano track: piano-family tracks are merged, the rest dropped.

    Tempo map and sustain pedal are kept; the resolution stays the file's own.

    Args:
        music: anything that can be read.
        pitches: lowest and highest pitch kept; the 88 keys.

    Raises:
        MidiError: unreadable, or no piano track with a playable note.
    """
    name = name_of(music)
    score = read(music)
    piano = [t for t in score.tracks if not t.is_drum and t.program in PIANO_PROGRAMS and t.notes]
    dropped = tuple(
        "drums" if t.is_drum else f"{t.name.strip() or 'track'} (program {t.program})"
        for t in score.tracks
        if t.notes and (t.is_drum or t.program not in PIANO_PROGRAMS)
    )
    if not piano:
        raise MidiError(
            name, f"no piano track, only {_first(dropped)}" if dropped else _silence(music)
        )
    parts = [notes_of(track) for track in piano]
    merged = Notes(
        *(np.concatenate([getattr(part, key) for part in parts])
          for key in ("start", "end", "pitch", "velocity"))
    )  # fmt: skip
    cleaned = clean(merged, pitches=pitches)
    if not len(cleaned):
        keys = (merged.pitch >= pitches[0]) & (merged.pitch <= pitches[1])
        if keys.any() and (merged.end <= merged.start)[keys].all():
            raise MidiError(name, "no note on a piano's 88 keys has a length")
        raise MidiError(name, "no notes on a piano's 88 keys")
    if np.diff(seconds_of(score, cleaned.start)).max(initial=0) > LONGEST_SILENCE:
        raise MidiError(name, f"a gap of over {LONGEST_SILENCE // 60} minutes between notes")
    pedals = [pedal for track in piano for pedal in track.pedals]
    result = score_of(cleaned, score.ticks_per_quarter)
    # symusic shares lists on assignment: a copy, or a change here would change the input.
    result.tempos = score.tempos.copy()
    result.time_signatures = score.time_signatures.copy()
    result.tracks[0].pedals = symusic.Pedal.from_numpy(*pedal_union(pedals))
    return Prepared(result, dropped)


def _first(names: tuple[str, ...], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _silence(music: Music) -> str:
    """Why there is no note: a reader leaves out those that are struck and never end."""
    try:
        data = bytes_of(Path(music)) if isinstance(music, str | Path) else music
        events = smf.scan(data).events if isinstance(data, bytes) else None
    except (MidiError, OSError):
        return "no notes"
    if events is None or not ((events.kind == smf.NOTE_ON) & (events.second > 0)).any():
        return "no notes"
    return smf.UNENDED


def note_list(notes: Notes) -> symusic.core.NoteTickList:
    """Notes as symusic's list of them."""
    return symusic.Note.from_numpy(
        notes.start.astype(np.int32),
        (notes.end - notes.start).astype(np.int32),
        notes.pitch.astype(np.int8),
        notes.velocity.astype(np.int8),
    )


def pedal_union(pedals: list[symusic.Pedal]) -> tuple[np.ndarray, np.ndarray]:
    """Merges the pedals of several tracks, which may overlap, into (time, duration)."""
    merged: list[list[int]] = []
    for time, end in sorted((pedal.time, pedal.end) for pedal in pedals):
        if end <= time:
            continue
        # Let go and pressed again at one tick, the dampers fall between.
        if merged and time < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([time, end])
    table = np.array(merged, dtype=np.int32).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1] - table[:, 0]


def seconds_of(score: ScoreTick, ticks: np.ndarray) -> np.ndarray:
    """Converts ticks to seconds along the score's own tempo map (120 bpm where it has none)."""
    changes = score.tempos.numpy()
    time = np.concatenate([[0], changes["time"]]).astype(np.float64)
    per_tick = np.concatenate([[500_000], changes["mspq"]]) / (1e6 * score.ticks_per_quarter)
    if len(time) == 1 or (len(time) == 2 and time[1] == 0):
        return ticks * per_tick[-1]  # one tempo throughout
    at_change = np.concatenate([[0.0], np.cumsum(np.diff(time) * per_tick[:-1])])
    section = np.searchsorted(time, ticks, side="right") - 1
    return at_change[section] + (ticks - time[section]) * per_tick[section]


def score_of(notes: Notes, ticks_per_quarter: int, bpm: float | None = None) -> ScoreTick:
    """A one-track piano score from notes in ticks, at a constant tempo where `bpm` is given."""
    score = symusic.Score(ticks_per_quarter)
    track = symusic.Track(name="Piano", program=0, is_drum=False)
    track.notes = note_list(notes)
    score.tracks.append(track)
    if bpm is not None:
        score.tempos.append(symusic.Tempo(0, bpm))
    return score


def to_miditoolkit(score: ScoreTick) -> miditoolkit.MidiFile:
    """The same music as the object a user holds and edits."""
    return miditoolkit.MidiFile(file=io.BytesIO(to_bytes(score)))


def write(music: ScoreTick | miditoolkit.MidiFile, path: str | Path) -> Path:
    """Writes a .mid file whole or not at all, and returns its path.

    Raises:
        MidiError: the object holds values that MIDI cannot.
    """
    path = Path(path)
    write_bytes(path, to_bytes(music, path))
    return path
