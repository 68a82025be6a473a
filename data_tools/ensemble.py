"""Music of several instruments made ready for tokens: every part with its channel and program.

Cleaning is a channel's matter and not a track's: two instruments that share a channel share its
keys, and a note-off there cannot say whose note it ends.
"""

from pathlib import Path

import miditoolkit
import numpy as np
import symusic
from symusic.core import ScoreTick

from data_tools import midi, parts
from data_tools.errors import MidiError
from data_tools.midi import Music, Notes, Prepared

_PITCHES = 128


def clean_parts(
    notes: Notes, channels: np.ndarray, programs: np.ndarray
) -> tuple[Notes, np.ndarray, np.ndarray]:
    """`midi.clean` channel by channel; all come back sorted by onset, channel and pitch.

    Args:
        notes: (N,) of all channels, in any order.
        channels: (N,) 1..16.
        programs: (N,) 0..127.
    """
    # The channel rides through the cleaning beside the pitch, the program beside the velocity.
    lane = channels.astype(np.int64) * _PITCHES + notes.pitch
    packed = Notes(notes.start, notes.end, lane, notes.velocity * _PITCHES + programs)
    packed = midi.clean(packed, pitches=(0, (parts.CHANNELS + 1) * _PITCHES))
    pitch, velocity = packed.pitch % _PITCHES, packed.velocity // _PITCHES
    return (
        Notes(packed.start, packed.end, pitch, velocity),
        packed.pitch // _PITCHES,
        packed.velocity % _PITCHES,
    )


def prepare_parts(music: Music) -> Prepared:
    """Reads every instrument with its channel and program, notes cleaned channel by channel.

    Each part is one track, named as in `data_tools.parts`; all 128 pitches are kept, and nothing is
    dropped. Channels come from the file's bytes; a symusic score, which has none, gets channels by
    the order of its tracks unless they are named.

    Raises:
        MidiError: unreadable, or no notes.
    """
    name = midi.name_of(music)
    if isinstance(music, str | Path) and Path(music).is_file():
        music = midi.bytes_of(Path(music))
    elif isinstance(music, miditoolkit.MidiFile):
        music = midi.to_bytes(music, name)
    try:
        score = midi.read(music)
        split = parts.read_parts(music) if isinstance(music, bytes) else None
    except MidiError as error:
        raise MidiError(name, error.reason) from None
    found = [part for part in parts.parts_of(split or score) if part.track.notes]
    if not found:
        raise MidiError(name, "no notes")
    notes, channels, programs = clean_parts(*gathered(found))
    if not len(notes):
        raise MidiError(name, "no notes of any length")
    if np.diff(midi.seconds_of(score, notes.start)).max(initial=0) > midi.LONGEST_SILENCE:
        raise MidiError(name, f"a gap of over {midi.LONGEST_SILENCE // 60} minutes between notes")
    result = score_of_parts(notes, channels, programs, score.ticks_per_quarter)
    held: dict[int, list[symusic.Pedal]] = {}
    for part in found:
        held.setdefault(part.channel, []).extend(part.track.pedals)
    for part in parts.parts_of(result):
        part.track.pedals = symusic.Pedal.from_numpy(*midi.pedal_union(held.pop(part.channel, [])))
    result.tempos = score.tempos.copy()
    result.time_signatures = score.time_signatures.copy()
    return Prepared(result, ())


def gathered(found: list[parts.Part]) -> tuple[Notes, np.ndarray, np.ndarray]:
    """The notes of parts one after another, with their channels and programs."""
    lists = [midi.notes_of(part.track) for part in found]
    sizes = [len(notes) for notes in lists]
    notes = Notes(
        *(
            np.concatenate([getattr(notes, key).astype(np.int64) for notes in lists])
            for key in ("start", "end", "pitch", "velocity")
        )
    )
    channels = np.repeat([part.channel for part in found], sizes)
    return notes, channels, np.repeat([part.program for part in found], sizes)


def score_of_parts(
    notes: Notes, channels: np.ndarray, programs: np.ndarray, ticks_per_quarter: int
) -> ScoreTick:
    """A score of one named track a part, from notes with their channels and programs."""
    score = symusic.Score(ticks_per_quarter)
    places = channels * _PITCHES + programs
    for place in np.unique(places).tolist():
        track = parts.track_of(*divmod(place, _PITCHES))
        track.notes = midi.note_list(notes.take(places == place))
        score.tracks.append(track)
    return score
