"""What a MIDI file holds, in one row: `gan data check`.

A file is fit for a piano corpus when it is readable and all its notes sound on the piano; otherwise
the row says why not. Two readers look at it: `symusic`, with which a corpus is built, for the
notes' times, and `data_tools.smf` for what that hides: tracks, channels, program changes, damage.

What counts as an instrument: General MIDI's piano family (programs 0 to 7) is one, every other
program is one, channel 10 is drums. Only what sounds counts: an empty track does not, nor a program
change without a note after it; one midway that sounds makes two instruments. Several tracks or
channels of one program (one a hand) are one instrument. In format 0 each channel is a part. The
tracks of format 2, which are pieces of their own, are looked at together. A note sounds with the
last program change before it on its channel in its own track, else in any track, else program 0.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from data_tools import midi, smf, suspicion
from data_tools.curate import facts_of, reason_of, too_few
from data_tools.errors import MidiError
from data_tools.files import IRREGULAR, is_irregular
from data_tools.general_midi import DRUMS, PIANO, instrument_of, program_name
from data_tools.parallel import ordered_map
from data_tools.settings import CorpusSettings

# By chance a played onset falls this near to a sixteenth or an eighth triplet 15% of the time.
_GRID_TOLERANCE_BEATS = 1 / 96
_MOST_NAMES = 4  # of instruments in a reason; the column `programs` has them all


@dataclass(frozen=True)
class Inspection:
    """One file's row. Everything but `path`, `damage` and `reason` is empty where unreadable bytes
    leave nothing to say; what the scanner saw of a file that the reader refuses is told.

    Attributes:
        path: as given; of a file in an archive, `archive:path`.
        readable: whether a corpus can be built of its bytes.
        format: 0, 1 or 2.
        tracks, empty_tracks: track chunks, and how many of them hold no note.
        instruments: distinct instruments that sound, drums apart.
        programs: the General MIDI programs that sound, drums apart.
        drums: whether channel 10 sounds.
        channels: the channels that sound, 1..16.
        mixed_tracks: tracks in which several channels sound.
        program_changes: how often a track's channel changes its program between two of its notes,
            drum kits included.
        hands: tracks (in format 0 channels) that play the one instrument with most of them.
        single_instrument: one instrument and no drums, or drums alone.
        piano: whether nothing but the piano family sounds.
        key_signatures, time_signatures: distinct ones, in order of appearance.
        tempo: the first, in beats a minute; 120 where none is given.
        tempo_changes: later tempos that differ from the one before.
        pedal: share of the time with the sustain pedal down.
        notes: number of note-ons, drums included.
        seconds: time of the last note's end.
        polyphony, polyphony_max: notes sounding together while any sounds, mean and most; no drums.
        timing: "played", "quantized", "mixed", or "" without notes.
        stuck: note-ons after which no release of their pitch comes.
        suspicious: what looks wrong in the music; see `data_tools.suspicion`.
        damage: what is wrong with the bytes.
        kept: "yes" where `gan data build` would keep it (copies of a file apart), else why not.
        reason: why it is not a single-instrument piano file; empty when it is.
    """

    path: str
    readable: bool
    format: int | None = None
    tracks: int = 0
    empty_tracks: int = 0
    instruments: int = 0
    programs: tuple[int, ...] = ()
    drums: bool = False
    channels: tuple[int, ...] = ()
    mixed_tracks: int = 0
    program_changes: int = 0
    hands: int = 0
    single_instrument: bool = False
    piano: bool = False
    key_signatures: tuple[str, ...] = ()
    time_signatures: tuple[str, ...] = ()
    tempo: float | None = None
    tempo_changes: int = 0
    pedal: float = 0.0
    notes: int = 0
    seconds: float = 0.0
    polyphony: float = 0.0
    polyphony_max: int = 0
    timing: str = ""
    stuck: int = 0
    suspicious: tuple[str, ...] = field(default=())
    damage: tuple[str, ...] = field(default=())
    kept: str = ""
    reason: str = ""

    def row(self) -> dict[str, object]:
        """The same as a dictionary, in column order."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(column.name for column in fields(Inspection))


def inspect(music: midi.Music, name: str = "") -> Inspection:
    """Looks at one file; never raises for bad music.

    Args:
        music: a path, bytes or an object.
        name: the row's path, where it is another.
    """
    name = name or midi.name_of(music)
    try:
        return _inspect(music, name)
    except MidiError as error:
        return _refused(name, error.reason)
    except Exception as error:  # a file nobody foresaw gets its row all the same
        return _refused(name, f"{type(error).__name__}: {error}")


def _refused(name: str, reason: str) -> Inspection:
    reason = " ".join(reason.split()).removesuffix(":")  # one line, whatever a library says
    return Inspection(name, False, kept=reason, reason=reason)


def _inspect(music: midi.Music, name: str) -> Inspection:
    data = _bytes_of(music, name)
    file = smf.scan(data, name)
    facts = _facts(file)
    try:
        score = midi.read(data)
    except MidiError as error:
        # The bytes' own fault says more than the reader's stumbling over it.
        told = not file.damage or any(damage in error.reason for damage in file.damage)
        reason = error.reason if told else f"not readable: {'; '.join(file.damage)}"
        return Inspection(name, False, **facts, kept=reason, reason=reason)
    sounding = [(track, midi.notes_of(track)) for track in score.tracks if track.notes]
    if not sounding:
        reason = smf.UNENDED if facts["notes"] else "no notes"
        return Inspection(name, True, **facts, suspicious=(reason,), kept=reason, reason=reason)
    every = _joined([notes for _, notes in sounding], score)
    pitched = _joined([notes for track, notes in sounding if not track.is_drum], score)
    seconds = float(every.end.max())
    polyphony, polyphony_max = _polyphony(pitched)
    return Inspection(
        name, True, **facts,
        pedal=_pedal_share(score, seconds), seconds=round(seconds, 2), polyphony=polyphony,
        polyphony_max=polyphony_max, timing=timing_of(score),
        suspicious=suspicion.of_bytes(file, facts["notes"], len(every), facts["stuck"])
        + suspicion.of_notes(pitched, [notes for track, notes in sounding if not track.is_drum]),
        kept=_kept(score), reason=_reason(facts),
    )  # fmt: skip


def _bytes_of(music: midi.Music, name: str) -> bytes:
    if isinstance(music, bytes):
        return music
    if isinstance(music, str | Path):
        try:
            if is_irregular(Path(music)):
                raise MidiError(name, IRREGULAR)
            with Path(music).open("rb") as stream:
                return stream.read(smf.LARGEST + 1)
        except OSError as error:
            raise MidiError(name, error.strerror or str(error)) from None
    return midi.to_bytes(music, name)


def _joined(parts: list[midi.Notes], score: ScoreTick) -> midi.Notes:
    """Notes of several tracks in seconds, sorted by onset, then pitch."""
    if not parts:
        nothing = np.zeros(0)
        return midi.Notes(nothing, nothing, nothing, nothing)
    start, end, pitch, velocity = (
        np.concatenate([getattr(part, key) for part in parts])
        for key in ("start", "end", "pitch", "velocity")
    )
    start, end = (midi.seconds_of(score, ticks) for ticks in (start, end))
    notes = midi.Notes(start, end, pitch, velocity)
    return notes.take(np.lexsort((pitch, start)))


def _facts(file: smf.Smf) -> dict[str, Any]:
    """The columns that the scanner answers."""
    events = file.events
    struck, program = programs_of_notes(events)
    part = struck.track * 16 + struck.channel
    parts, number = np.unique(part, return_inverse=True)
    order = np.argsort(number, kind="stable")
    changes = (np.diff(number[order]) == 0) & (np.diff(program[order]) != 0)
    pitched = struck.channel != DRUMS
    drums = not pitched.all()
    programs = np.unique(program[pitched]).tolist()
    instruments = {instrument_of(one) for one in programs}
    # Distinct pairs of a part and an instrument, counted by instrument.
    instrument = np.where(np.isin(program, PIANO), 0, program)[pitched]
    pairs = np.unique(number[pitched] * 128 + instrument)
    hands = np.unique(pairs % 128, return_counts=True)[1]
    tempos = file.tempos[:, 2]
    return {
        "format": file.format,
        "tracks": len(file.tracks),
        "empty_tracks": len(file.tracks) - len(np.unique(struck.track)),
        "instruments": len(instruments),
        "programs": tuple(programs),
        "drums": drums,
        "channels": tuple((np.unique(struck.channel) + 1).tolist()),
        "mixed_tracks": int((np.unique(parts // 16, return_counts=True)[1] > 1).sum()),
        "program_changes": int(changes.sum()),
        "hands": int(hands.max(initial=0)),
        "single_instrument": len(instruments) + drums == 1,
        "piano": instruments == {0} and not drums,
        "key_signatures": _distinct(smf.key_name(k[2], k[3]) for k in file.key_signatures.tolist()),
        "time_signatures": _distinct(f"{t[2]}/{t[3]}" for t in file.time_signatures.tolist()),
        "tempo": round(6e7 / max(int(tempos[0]), 1), 2) if len(tempos) else 120.0,
        "tempo_changes": int((np.diff(tempos) != 0).sum()),
        "notes": len(struck),
        "stuck": sum(smf.stuck_notes(events).values()),
        "damage": file.damage,
    }


def programs_of_notes(events: smf.Events) -> tuple[smf.Events, np.ndarray]:
    """The note-ons and, for each, the program it sounds with."""
    struck = np.flatnonzero((events.kind == smf.NOTE_ON) & (events.second > 0))
    change = np.flatnonzero(events.kind == smf.PROGRAM)
    notes, changes = events.take(struck), events.take(change)
    program = np.zeros(len(struck), dtype=np.int64)
    if not len(change):
        return notes, program

    def latest(asked: np.ndarray, given: np.ndarray, group: np.ndarray, own: np.ndarray) -> None:
        """Overwrites `program` by the last change not after each note within its group."""
        order = np.lexsort((given, group))
        # One number holds group and moment, so that one search serves all groups.
        span = int(max(asked.max(initial=0), given.max(initial=0))) + 1
        place = np.searchsorted((group * span + given)[order], own * span + asked, "right") - 1
        found = order[np.maximum(place, 0)]
        hit = (place >= 0) & (group[found] == own)
        program[hit] = changes.first[found[hit]]

    moment = np.empty(len(events), dtype=np.int64)
    moment[np.argsort(events.tick, kind="stable")] = np.arange(len(events))
    latest(moment[struck], moment[change], changes.channel, notes.channel)
    latest(struck, change, changes.track * 16 + changes.channel, notes.track * 16 + notes.channel)
    return notes, program


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _reason(facts: dict[str, Any]) -> str:
    programs: tuple[int, ...] = facts["programs"]
    names = [f"{one} {program_name(one)}" for one in programs if one not in PIANO]
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES - 1 :] = [f"{len(names) - _MOST_NAMES + 1} more"]
    others = ", ".join(names)
    reasons = ["drums"] if facts["drums"] else []
    if not programs:
        reasons = ["nothing but drums"]
    elif programs[0] not in PIANO:
        reasons.append(f"no piano, but {others}")
    elif others:
        reasons.append(f"{facts['instruments']} instruments: piano, {others}")
    return "; ".join(reasons)


def _kept(score: ScoreTick) -> str:
    settings = CorpusSettings()
    try:
        whole = midi.prepare(score)
    except MidiError as error:
        return error.reason.split(", only")[0]  # the row's own `reason` names what there is
    prepared = whole.score
    notes = midi.notes_of(prepared.tracks[0])
    if len(notes) < settings.min_notes:
        return too_few(len(notes), settings.min_notes, whole.dropped)
    timed = replace(
        notes,
        start=midi.seconds_of(prepared, notes.start),
        end=midi.seconds_of(prepared, notes.end),
    )
    return reason_of(facts_of(notes, timed, prepared.ticks_per_quarter), settings) or "yes"


def _polyphony(notes: midi.Notes) -> tuple[float, int]:
    """Mean over the time in which anything sounds, and the most at once."""
    notes = notes.take(notes.end > notes.start)
    if not len(notes):
        return 0.0, 0
    time = np.concatenate([notes.end, notes.start])
    step = np.repeat([-1, 1], len(notes))
    order = np.lexsort((step, time))  # a note that ends where another begins is over
    depth, length = np.cumsum(step[order])[:-1], np.diff(time[order])
    return round(float(depth @ length / length[depth > 0].sum()), 2), int(depth.max())


def _pedal_share(score: ScoreTick, seconds: float) -> float:
    pedals = [track.pedals.numpy() for track in score.tracks if track.pedals]
    if not pedals or not seconds:
        return 0.0
    down = np.concatenate([table["time"] for table in pedals])
    up = down + np.concatenate([table["duration"] for table in pedals])
    order = np.argsort(down, kind="stable")
    down, up = (midi.seconds_of(score, ticks[order]).clip(max=seconds) for ticks in (down, up))
    # Pedals of several tracks overlap: each counts from where those before it have come up.
    before = np.maximum.accumulate(np.concatenate([[0.0], up[:-1]]))
    return round(float((up - np.maximum(down, before)).clip(min=0).sum() / seconds), 3)


def timing_of(score: ScoreTick) -> str:
    """Whether onsets lie on the file's own beat grid: "quantized", "played" or "mixed".

    Share of onsets within 1/96 beat of a sixteenth or an eighth triplet: above 0.85 quantized,
    below 0.55 played.
    """
    onsets = [midi.notes_of(track).start for track in score.tracks if track.notes]
    return timing_of_onsets(np.concatenate(onsets), score.ticks_per_quarter) if onsets else ""


def timing_of_onsets(onsets: np.ndarray, ticks_per_quarter: int) -> str:
    """The same for onsets (N,) in ticks, at least one."""
    beats = onsets / ticks_per_quarter
    away = [np.abs(beats * n - np.rint(beats * n)) / n for n in (4, 3)]
    share = float(np.mean(np.minimum(*away) <= _GRID_TOLERANCE_BEATS))
    return "quantized" if share > 0.85 else "played" if share < 0.55 else "mixed"


# A file's name, and its path or bytes, or why there are none.
Item = tuple[str, Path | bytes | MidiError]


def _inspect_item(item: Item) -> Inspection:
    name, music = item
    return _refused(name, music.reason) if isinstance(music, MidiError) else inspect(music, name)


def _crashed(item: Item) -> Inspection:
    return _refused(item[0], "crashed the reader")


def _late(item: Item) -> Inspection:
    return _refused(item[0], "takes too long to read")


def inspect_many(music: Iterable[Path | Item], workers: int = 0) -> Iterator[Inspection]:
    """Rows in the order of `music`, over several processes, which a hang or a crash cannot stop.

    Args:
        music: paths, or pairs of a name and a path, bytes or the reason there are none; read
            lazily.
        workers: processes; 0 takes every core, 1 stays in this process and is stopped by both.
    """
    items = ((str(one), one) if isinstance(one, Path) else one for one in music)
    return ordered_map(_inspect_item, items, _crashed, workers, late=_late, batch=16)
