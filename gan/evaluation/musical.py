"""What one piece is like, in figures and histograms that real jazz has too.

Pitch-class entropy, grooving similarity and chord-progression irregularity after Wu & Yang 2020
("The Jazz Transformer on the Front Line", MusDr); density, polyphony and histograms after Yang &
Lerch 2020 ("On the evaluation of generative models in music"); the pulse after Lartillot et al.
2008 ("Multi-feature modeling of pulse clarity"). All are to be matched, not raised.

Played and transcribed piano has no trustworthy beats: unless told otherwise a "bar" is a window of
2 seconds from the first onset on, with 16 slots of an eighth of a second. It has no musical
meaning and needs none, so long as real music is measured with the same.

Letters: N notes, B bars, Q slots in a bar.
"""

from dataclasses import dataclass

import numpy as np

from data_tools import midi
from data_tools.midi import Notes
from data_tools.representation import Representation, TokenType
from data_tools.representation.bars import bar_lines
from discriminator.features import DRUMS, Piece
from discriminator.symbolic import counting as count
from gan.evaluation import chords

BAR = 2.0  # seconds
SLOTS = 16
FIGURES = (
    "pitch_class_entropy_1", "pitch_class_entropy_4", "grooving", "pulse", "chord_irregularity",
    "note_density", "polyphony", "velocity_mean",
)  # fmt: skip
LEAP = 12  # intervals of a line beyond an octave count as an octave
FRAME = 0.02  # seconds of the curve of onsets that a pulse is looked for in
NEARLY = np.array([0.25, 0.5, 1.0, 0.5, 0.25])  # onsets a frame or two apart count as together
BEATS = (0.2, 1.6)  # seconds that a pulse may last, from 300 to 37.5 to the minute
SPAN = 48  # semitones between the outer voices; wider ones count as this
TIMES = 0.0625 * 2.0 ** (np.arange(12) / 2)  # seconds, 1/16 to 2.8: bounds of times' histograms
_BINS = {
    "pitch_class": 12, "top_interval": 2 * LEAP + 1, "bass_interval": 2 * LEAP + 1,
    "outer_interval": SPAN + 1, "inter_onset": len(TIMES) + 1, "duration": len(TIMES) + 1,
    "velocity": 8,
}  # fmt: skip
HISTOGRAMS = tuple(_BINS)


@dataclass(frozen=True)
class Measures:
    """One piece's measures.

    Attributes:
        figures: by the names `FIGURES`; NaN where the piece is too short to have one, velocity
            where the tokens do not say it.
        histograms: by the names `HISTOGRAMS`, shares that sum to 1, or all zero for nothing to
            count. Pitch classes from C; intervals from an octave down to an octave up; times by
            `TIMES`; velocities by sixteens.
    """

    figures: dict[str, float]
    histograms: dict[str, np.ndarray]


def of_tokens(ids: np.ndarray, representation: Representation, bar: float | None = BAR) -> Measures:
    """Measures token ids (T,), a whole piece or a window cut from one; drums do not count.

    Args:
        ids: any ids.
        representation: what they mean.
        bar: seconds; None for bars of the tokens' own (`remi` on beat) or else four beats. On the
            time base clock None means nothing musical.
    """
    loud = bool((representation.token_types == TokenType.VELOCITY).any())
    events = representation.events(ids, close=True)
    notes = events.notes
    if len(events.channels):
        notes = notes.take(events.channels != DRUMS)
    if representation.settings.time_base == "clock" and bar is not None:
        return measure(_scaled(notes, representation.grid_seconds), bar, loud)
    score = representation.decode(ids)  # its ticks are grid steps
    seconds = _in_seconds(notes, score)
    return measure(seconds, _own_bars(score) if bar is None else bar, loud)


def of_music(music: midi.Music, bar: float | None = BAR) -> Measures:
    """Measures the piano of a file, a `miditoolkit.MidiFile` or a `symusic.Score`, pedal folded in.

    Args:
        music: anything that can be read.
        bar: seconds; None for the bars of its own time signatures and tempo map.

    Raises:
        MidiError: it cannot be used.
    """
    score = midi.prepare(music).score
    return measure(_in_seconds(piano_notes(score), score), _own_bars(score) if bar is None else bar)


def piano_notes(score: midi.ScoreTick) -> Notes:
    """The notes of a prepared score in ticks, each held as long as the sustain pedal holds it."""
    (track,) = score.tracks
    pedals = track.pedals.numpy()
    notes = midi.notes_of(track)
    return midi.clean(midi.fold_pedal(notes, pedals["time"], pedals["time"] + pedals["duration"]))


def measure(notes: Notes, bars: float | np.ndarray = BAR, loud: bool = True) -> Measures:
    """Measures notes.

    Args:
        notes: in seconds, sorted by onset, no pitch overlapping itself.
        bars: the length of all bars in seconds, counted from the first onset; or the times (L,) of
            bar lines, ascending.
        loud: whether velocities mean anything.
    """
    figures = dict.fromkeys(FIGURES, float("nan"))
    if not len(notes):
        return Measures(figures, {name: np.zeros(bins) for name, bins in _BINS.items()})
    place = in_bars(notes, bars)
    onsets = onset_grid(place.start)
    bar = _slots(place.start) // SLOTS
    figures["pitch_class_entropy_1"] = pitch_class_entropy(notes.pitch, bar, 1)
    figures["pitch_class_entropy_4"] = pitch_class_entropy(notes.pitch, bar, 4)
    figures["grooving"] = grooving(onsets)
    figures["pulse"] = pulse(notes)
    figures["chord_irregularity"] = chord_irregularity(place)
    figures["note_density"] = note_density(notes)
    figures["polyphony"] = polyphony(notes)
    if loud:
        figures["velocity_mean"] = float(notes.velocity.mean())
    return Measures(figures, histograms(notes, loud))


def in_bars(notes: Notes, bars: float | np.ndarray) -> Notes:
    """The notes with their times counted in bars from the bar of the first onset on, >= 0."""
    if np.ndim(bars) == 0:
        first = notes.start.min()
        start, end = ((times - first) / float(bars) for times in (notes.start, notes.end))
    else:
        lines = np.asarray(bars, dtype=np.float64)
        last = lines[-1] - lines[-2]
        more = max(notes.end.max() - lines[-1], 0) // last + 1
        lines = np.concatenate([lines, lines[-1] + last * np.arange(1, more + 1)])
        start, end = (
            np.interp(times, lines, np.arange(len(lines))) for times in (notes.start, notes.end)
        )
        # A little before a line is on it: as the slots are rounded.
        first = max(np.floor(start.min() + 0.5 / SLOTS), 0)
        start, end = np.maximum(start - first, 0), np.maximum(end - first, 0)
    return Notes(start, end, notes.pitch, notes.velocity)


def _slots(start: np.ndarray, slots: int = SLOTS) -> np.ndarray:
    """The slot nearest to each onset (N,) in bars, counted through the piece."""
    return np.floor(start * slots + 0.5 + 1e-9).astype(np.int64)


def onset_grid(start: np.ndarray, slots: int = SLOTS) -> np.ndarray:
    """In which slots of which bars something is struck, bool (B, Q), to the last onset's bar.

    Args:
        start: (N,) onsets in bars; each goes to the nearest slot.
        slots: Q.
    """
    place = _slots(start, slots)
    grid = np.zeros((int(place.max()) // slots + 1, slots), dtype=bool)
    grid.flat[place] = True
    return grid


def pitch_class_entropy(pitch: np.ndarray, bar: np.ndarray, width: int) -> float:
    """Mean bits of the pitch classes struck in windows of some bars, one bar apart.

    Windows without a note are left out; a piece shorter than a window is one window.

    Args:
        pitch: (N,) MIDI pitches, at least one.
        bar: (N,) the bar each is struck in.
        width: bars in a window.
    """
    bars = int(bar.max()) + 1
    counts = np.bincount(bar * 12 + pitch.astype(np.int64) % 12, minlength=bars * 12)
    total = np.zeros((bars + 1, 12))
    total[1:] = np.cumsum(counts.reshape(bars, 12), axis=0)
    width = min(width, bars)
    windows = total[width:] - total[:-width]
    return float(count.entropy(windows[windows.any(1)]).mean())


def grooving(onsets: np.ndarray) -> float:
    """Grooving similarity: the share of slots alike in two bars, averaged over all pairs of bars.

    1 - XOR / Q as in Wu & Yang 2020, of all pairs and not only of neighbours.

    Args:
        onsets: bool (B, Q).

    Returns:
        0 to 1; NaN for fewer than two bars.
    """
    bars, slots = onsets.shape
    if bars < 2:
        return float("nan")
    struck = onsets.sum(0)  # pairs that differ in a slot: one of those struck, one of the rest
    return 1 - float((struck * (bars - struck)).sum()) / (slots * bars * (bars - 1) / 2)


def pulse(notes: Notes) -> float:
    """How clear a pulse is, whatever its tempo: of onsets, how many have others one beat later.

    The greatest autocorrelation of the curve of onsets at any lag within `BEATS`, beside that at
    none, the curve's mean taken away. Unlike grooving it needs no bars.

    Args:
        notes: in seconds.

    Returns:
        near 1 for a metronome, about 0.07 for onsets at random in 45 seconds, more for short
        pieces and where some stretches are far denser than others; NaN for a piece under two
        longest beats.
    """
    frames = np.floor((notes.start - notes.start.min()) / FRAME + 0.5).astype(np.int64)
    shortest, longest = (round(beat / FRAME) for beat in BEATS)
    if frames.max() < 2 * longest:
        return float("nan")
    curve = np.convolve(np.bincount(frames), NEARLY, "same")
    curve -= curve.mean()
    power = np.abs(np.fft.rfft(curve, 2 * len(curve))) ** 2  # padded: the end meets no beginning
    alike = np.fft.irfft(power)[: longest + 1]
    return float(alike[shortest:].max() / alike[0])


def chord_irregularity(place: Notes) -> float:
    """Share of different trigrams among chords estimated every half bar; NaN for too few.

    Args:
        place: notes whose times are counted in bars; they count for a bar at most, since a pedal
            holds notes longer than harmonies last.
    """
    start = 2 * place.start
    halves = Notes(start, np.minimum(2 * place.end, start + 2), place.pitch, place.velocity)
    return chords.irregularity(chords.estimate(halves, int(start.max()) + 1))


def note_density(notes: Notes) -> float:
    """Onsets a second between the first and the last; NaN where all are one."""
    span = float(notes.start.max() - notes.start.min())
    return (len(notes) - 1) / span if span > 0 else float("nan")


def polyphony(notes: Notes) -> float:
    """How many notes sound on average while any does; no pitch may overlap itself."""
    order = np.argsort(notes.start, kind="stable")
    start, end = notes.start[order], notes.end[order]
    heard = np.concatenate([start[:1], np.maximum.accumulate(end)[:-1]])
    sounding = np.maximum(end - np.maximum(start, heard), 0).sum()
    return float((end - start).sum() / sounding) if sounding > 0 else float("nan")


def histograms(notes: Notes, loud: bool = True) -> dict[str, np.ndarray]:
    """The histograms of notes in seconds, at least one; see `Measures`.

    Top and bass are the notes that nothing higher, or lower, sounds with when they are struck, and
    the outer interval is what lies between the highest and the lowest of two or more that sound.
    """
    piece = Piece(notes, step=1.0)
    heard, hit = piece.heard, piece.hit
    top, bass = (
        np.diff(heard.high[heard.high == hit.high]),
        np.diff(heard.low[heard.low == hit.low]),
    )
    gaps, held = np.diff(piece.moments.time), notes.end - notes.start
    # A hair above each bound: times on a grid must not be decided by the last bit.
    bounds = TIMES * (1 - 1e-9)
    return {
        "pitch_class": count.histogram(notes.pitch.astype(np.int64) % 12, 0, 11),
        "top_interval": count.histogram(top, -LEAP, LEAP),
        "bass_interval": count.histogram(bass, -LEAP, LEAP),
        "outer_interval": count.histogram(heard.span[heard.size > 1], 0, SPAN),
        "inter_onset": count.histogram(bounds.searchsorted(gaps, "right"), 0, len(TIMES)),
        "duration": count.histogram(bounds.searchsorted(held, "right"), 0, len(TIMES)),
        "velocity": count.histogram(notes.velocity // 16, 0, 7) if loud else np.zeros(8),
    }


def _scaled(notes: Notes, step: float) -> Notes:
    return Notes(notes.start * step, notes.end * step, notes.pitch, notes.velocity)


def _in_seconds(notes: Notes, score: midi.ScoreTick) -> Notes:
    start, end = (midi.seconds_of(score, ticks) for ticks in (notes.start, notes.end))
    return Notes(start, end, notes.pitch, notes.velocity)


def _own_bars(score: midi.ScoreTick) -> np.ndarray:
    """The bar lines of a score in seconds, two at least: its time signatures, 4/4 before any."""
    ticks = score.ticks_per_quarter
    last = max((int(midi.notes_of(track).end.max(initial=0)) for track in score.tracks), default=0)
    rows = [[0, 4 * ticks]]
    for meter in sorted(score.time_signatures, key=lambda meter: meter.time):
        bar = 4 * ticks * meter.numerator / meter.denominator if meter.numerator > 0 else 4 * ticks
        if meter.time == rows[-1][0]:
            rows.pop()
        rows.append([meter.time, max(round(bar), 1)])
    starts, lengths = bar_lines(np.array(rows, dtype=np.int64), last)
    return midi.seconds_of(score, np.append(starts, starts[-1] + lengths[-1]))
