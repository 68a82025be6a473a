"""Music to go on from: what the model reads of it, and what of it stands in the piece.

The model reads tokens, on a grid. The piece holds the very notes that were given, wherever the
prompt is the beginning of the music: nobody wants his playing rounded.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import symusic
from symusic.core import ScoreTick, TrackTick

from data_tools import midi
from data_tools.bytepair import MergedRepresentation
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import EOS, Representation, TokenType
from data_tools.representation.timeline import written
from generator.bars import Bars, bar_before, meters_of

NOTHING = np.zeros((0, 2))
_NEARLY = 1e-6  # steps that are the arithmetic's own


@dataclass(frozen=True)
class Prompt:
    """A prompt, ready to be continued.

    Attributes:
        ids: its music tokens, BOS first where it is the beginning of a piece; where it was cut, up
            to where, in silence too.
        notes: (N,) notes as given, in seconds (on the clock) or quarters (on the beat); None where
            the tokens are all there is.
        pedals: (M, 2) when the pedal was down, in the same unit.
        tempos: (K, 2) quarters and beats a minute from there on; none on the clock.
        name: what to call it.
        bars: on the clock, with notes as given: where its bars lie.
        left_out: what of the music is not used, in words.
    """

    ids: list[int]
    notes: Notes | None
    pedals: np.ndarray
    tempos: np.ndarray
    name: str
    bars: Bars | None = None
    left_out: tuple[str, ...] = ()


def read_prompt(
    representation: Representation,
    music: midi.Music,
    most: int = 512,
    bars: float | None = None,
    seconds: float | None = None,
) -> Prompt:
    """Reads a prompt.

    Args:
        representation: the model's.
        music: anything that can be read.
        most: of longer music only so many tokens, the last ones, are used.
        bars: only the first bars, from that of the first note on.
        seconds: only the first seconds, from the first note on.

    Raises:
        UserError: no note starts in what was asked for.
        MidiError: it cannot be read.
    """
    name = midi.name_of(music)
    prepared = representation.prepare(music)
    score = prepared.score
    cut = bars is not None or seconds is not None
    line = np.inf
    if cut:
        score, line = _beginning(score, bars, seconds, name)
    left_out = [f"left out: {', '.join(prepared.dropped)}"] * bool(prepared.dropped)
    if beyond := _beyond(music, representation.plain.vocabulary.pitches, line):
        left_out.append(f"left out: {beyond:,} note{'s' * (beyond > 1)} outside a piano's 88 keys")
    ids = representation.encode(score)
    # A merged token may begin a note and then go on in time.
    plain = representation.plain
    struck = _struck(plain, representation.expand(ids))
    if cut:
        until = _step_of(score, plain, line, int(struck[0]))
        ids = _waited(plain, representation.expand(ids), until)
        if isinstance(representation, MergedRepresentation):
            ids = representation.merge(ids)
    if len(ids) <= most or cut:
        given = _exactly(score, representation, int(struck[0]))
        lines = None
        if given[0] is not None and representation.settings.time_base == "clock":
            lines = Bars.of(score, float(given[0].start.min()))
        opening = [representation.bos, *ids.tolist()]
        return Prompt(opening, *given, name, lines, tuple(left_out))
    # The middle of a piece: it starts with a note, after what is then in force, without BOS.
    starts = np.flatnonzero(representation.strikes[ids])
    starts = starts[starts >= len(ids) - most]
    if not len(starts):
        raise UserError(f"{name}: no note starts in its last {most} tokens; use more")
    kept = [*representation.in_force(ids, starts[0]), *ids[starts[0] :].tolist()]
    lines = None
    if representation.settings.time_base == "clock" and representation.settings.preset != "raw":
        notes = int(plain.strikes[representation.expand(ids[: starts[0]])].sum())
        here = _struck(plain, representation.expand(np.array(kept)))[0] - struck[notes]
        lines = Bars.of(score, float(struck[0] + here) * representation.grid_seconds)
    left_out.append(
        f"gone on from its last {representation.strikes[kept].sum():,} of {len(struck):,} notes, "
        f"{most:,} tokens; --prompt-bars takes its beginning"
    )
    return Prompt(kept, None, NOTHING, NOTHING, name, lines, tuple(left_out))


def _beyond(music: midi.Music, pitches: tuple[int, int], end: float) -> int:
    """How many notes of its piano, up to tick `end`, no token stands for."""
    if pitches == midi.ALL_PITCHES:
        return 0
    tracks = [t for t in midi.read(music).tracks if t.program in midi.PIANO_PROGRAMS]
    parts = [midi.notes_of(track) for track in tracks if track.notes and not track.is_drum]
    return sum(
        int((((part.pitch < pitches[0]) | (part.pitch > pitches[1])) & (part.start < end)).sum())
        for part in parts
    )


def _struck(plain: Representation, ids: np.ndarray) -> np.ndarray:
    """(N,) the steps at which the notes of plain ids (T,) begin."""
    return plain.times(ids)[np.flatnonzero(plain.strikes[ids])]


def _step_of(score: ScoreTick, plain: Representation, tick: float, first: int) -> int:
    """The first grid step at or after a tick, where the first note has the step `first`."""
    starts = np.concatenate([midi.notes_of(track).start for track in score.tracks])
    begun = float(starts.min())
    if plain.settings.time_base == "clock":  # where notes as given count from the first
        since, now = midi.seconds_of(score, np.array([begun, tick])) / plain.grid_seconds
        return first + math.ceil(now - since - _NEARLY)
    since, now = np.array([begun, tick]) * plain.steps_per_beat / score.ticks_per_quarter
    return first + math.ceil(now - _NEARLY) - round(since)


def _waited(plain: Representation, ids: np.ndarray, until: int) -> np.ndarray:
    """Plain ids (T,) and the time up to a step after them, as the representation writes it.

    `remi` has no time but its bars: it goes on to the first that begins there or later.
    """
    times, kinds = plain.times(ids), plain.token_types[ids]
    if times[-1] >= until:
        return ids
    if plain.settings.preset != "remi":
        more = written(plain.vocabulary, np.array([until - times[-1]]), np.array([EOS]))[:-1]
        return np.concatenate([ids, more.astype(np.int64)])
    bar = np.flatnonzero(kinds == TokenType.BAR)[-1]
    meter = ids[kinds == TokenType.TIME_SIGNATURE][-1:]
    length = int(plain.token_values[meter[0]]) if len(meter) else 4 * plain.steps_per_beat
    count = -(-(until - int(times[bar])) // length)
    return np.concatenate([ids, np.tile([ids[bar], *meter], count)])


def _beginning(
    score: ScoreTick, bars: float | None, seconds: float | None, name: str
) -> tuple[ScoreTick, float]:
    """The music up to a bar line or a time, counted from its first note; and that time's tick.

    Of silence after its last note no more belongs to it than that note's bar has.
    """
    starts = np.concatenate([midi.notes_of(track).start for track in score.tracks])
    first, last = int(starts.min()), int(starts.max())
    stop = np.inf
    if bars is not None:
        if bars <= 0:
            raise UserError(f"prompt bars {bars:g}: must be above 0")
        stop = _bar_line(score, first, bars)
    if seconds is not None:
        if seconds <= 0:
            raise UserError(f"prompt seconds {seconds:g}: must be above 0")
        end = math.ceil(_bar_line(score, last, 1)) + 1
        tick = _tick_after(score, first, end, seconds)
        stop = min(stop, tick if tick < end else np.inf)
    kept = score.copy()
    for track in kept.tracks:
        notes, (down, up) = midi.notes_of(track), _pedals(track)
        track.notes = midi.note_list(notes.take(np.flatnonzero(notes.start < stop)))
        # A pedal pressed later is none of the prompt's, and one held on ends with it.
        pressed = down < stop
        down, up = down[pressed], np.minimum(up[pressed], stop).astype(np.int64)
        track.pedals = symusic.Pedal.from_numpy(down, up - down)
    kept.tempos = symusic.core.TempoTickList([one for one in kept.tempos if one.time < stop])
    given = np.concatenate([midi.notes_of(track).start for track in kept.tracks])
    if not len(given):
        raise UserError(f"{name}: no note in the prompt asked for; use more bars or seconds")
    return kept, min(stop, _bar_line(score, int(given.max()), 1))


def _tick_after(score: ScoreTick, first: int, end: int, seconds: float) -> int:
    """The first tick so many seconds after tick `first`, `end` where that lies beyond."""

    def since(tick: int) -> float:
        begun, now = midi.seconds_of(score, np.array([first, tick]))
        return float(now - begun)

    return first + bisect_left(range(first, end), seconds, key=since)


def _pedals(track: TrackTick) -> tuple[np.ndarray, np.ndarray]:
    """Ticks at which pedals are pressed and let go, each (M,)."""
    table = track.pedals.numpy()
    return table["time"], table["time"] + table["duration"]


def _bar_line(score: ScoreTick, first: int, bars: float) -> float:
    """The tick `bars` bars after the line before tick `first`, by the meters of the file."""
    at, length = bar_before(score, first)
    changes = [tick for tick, *_ in meters_of(score) if tick > first]
    for change in changes:
        here = (change - at) / length
        if bars <= here:
            break
        bars -= here
        at, length = bar_before(score, change)
    return at + bars * length


def _exactly(
    score: ScoreTick, representation: Representation, first: int
) -> tuple[Notes | None, np.ndarray, np.ndarray]:
    """Notes, pedals and tempos as given, placed so that the first note is where its token is."""
    if representation.settings.preset == "raw":
        return None, NOTHING, NOTHING
    track = score.tracks[0]
    notes = midi.notes_of(track)
    down, up = _pedals(track)
    if representation.settings.time_base == "clock":
        units = [midi.seconds_of(score, ticks) for ticks in (notes.start, notes.end, down, up)]
        step = representation.grid_seconds
    else:
        quarter = score.ticks_per_quarter
        units = [ticks / quarter for ticks in (notes.start, notes.end, down, up)]
        step = 1 / representation.steps_per_beat
    shift = first * step - units[0].min()
    tempos = NOTHING
    if representation.settings.time_base == "beat":
        changes = [(tempo.time / score.ticks_per_quarter, tempo.qpm) for tempo in score.tempos]
        # Until a file says otherwise it is at 120, also where it says so in the middle.
        changes = [(0.0, 120.0)] * (not changes or changes[0][0] > 0) + changes
        tempos = np.array(changes) + [shift, 0.0]
    start, end, down, up = (unit + shift for unit in units)
    pedals = np.stack([down, up], 1).clip(min=0) if len(down) else NOTHING
    return Notes(start, end, notes.pitch, notes.velocity), pedals, tempos
