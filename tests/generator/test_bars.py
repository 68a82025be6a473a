"""A piece goes on in the bars of its prompt, second by second as it was."""

import miditoolkit
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.midi import Notes, symusic
from data_tools.representation import Representation, RepresentationSettings
from generator import Composer
from generator.bars import FINEST, Bars, bar_before, meters_of

from .conftest import build

TEMPOS = st.lists(
    st.tuples(st.integers(0, 60), st.floats(20, 300)), max_size=5, unique_by=lambda each: each[0]
)


def played(quarter: int, first: int, tempos: list[tuple[int, float]]) -> midi.ScoreTick:
    """Thirty notes of an eighth, the first at `first` eighths; tempos at (quarters, bpm)."""
    start = (first + np.arange(30)) * quarter // 2
    notes = Notes(start, start + quarter // 3, 48 + np.arange(30) * 7 % 36, np.full(30, 70))
    score = midi.score_of(notes, quarter)
    for at, bpm in tempos:
        score.tempos.append(symusic.Tempo(at * quarter, bpm))
    return midi.read(score)


@given(st.sampled_from([24, 220, 384, 480, 1024, 30_000]), st.integers(0, 40), TEMPOS)
def test_seconds_and_the_prompts_own_ticks_stay(
    quarter: int, first: int, tempos: list[tuple[int, float]]
) -> None:
    score = played(quarter, first, tempos)
    notes = midi.notes_of(score.tracks[0])
    bars = Bars.of(score, 0.0)
    seconds = midi.seconds_of(score, notes.start)
    since = seconds - seconds[0]
    line, _ = bar_before(score, int(notes.start[0]))
    assert bars.resolution % quarter == 0
    assert bars.resolution <= FINEST
    times = bars.resolution // quarter
    found = np.round(bars.quarters(since) * bars.resolution)
    assert np.abs(found - (notes.start - line) * times).max() == 0
    # A tick is short, wherever the file can say so.
    slowest = bars.tempos[:, 2].min()
    assert 60 / slowest / bars.resolution <= 1 / 800 + 1e-9 or bars.resolution > FINEST / 2


def test_where_a_piece_begins_later_its_first_bar_does() -> None:
    """A first note at 2.5 seconds, in bars of two: there is room for one of silence."""
    bars = Bars.of(played(480, 3, [(0, 120.0)]), 2.5)
    assert bars.quarters(np.array([2.5]))[0] == pytest.approx(5.5)
    assert bars.quarters(np.array([0.0]))[0] == pytest.approx(0.5)


def test_meters_go_on() -> None:
    score = played(480, 10, [(0, 90.0)])
    for time, numerator in ((0, 4), (4 * 480, 3), (10 * 480, 5)):
        score.time_signatures.append(symusic.TimeSignature(time, numerator, 4))
    score.time_signatures.append(symusic.TimeSignature(999_999, 7, 8))
    assert bar_before(score, 5 * 480) == (4 * 480, 3 * 480)
    assert Bars.of(score, 0.0).meters == ((0.0, 3, 4), (6.0, 5, 4))
    assert meters_of(played(480, 0, [])) == [(0, 4, 4)]


@pytest.mark.parametrize("tempos", [(200.0, 60.0), (60.0, 200.0)])
def test_of_two_at_one_tick_the_last_holds(
    durations: Representation, tempos: tuple[float, float]
) -> None:
    score = played(480, 0, [(0, 120.0), *((4, bpm) for bpm in tempos)])
    for meter in ((7, 4), (3, 4)):
        score.time_signatures.append(symusic.TimeSignature(4 * 480, *meter))
    bars = Bars.of(score, 0.0)
    expected = midi.seconds_of(score, 480 * np.arange(12))
    assert bars.quarters(expected) == pytest.approx(np.arange(12))
    assert bars.meters == ((0.0, 4, 4), (4.0, 3, 4))
    (piece,) = Composer(build(durations), durations).compose(1, prompt=score, length=60)
    found = midi.seconds_of(midi.read(piece.midi), piece.midi.ticks_per_beat * np.arange(12))
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_piece_opens_beside_its_prompt(durations: Representation) -> None:
    """Two tempos, a pick-up: notes on their ticks, markers and continuation in their seconds."""
    score = played(220, 7, [(0, 120.0), (8, 82.0)])
    notes = midi.notes_of(score.tracks[0])
    composer = Composer(build(durations), durations)
    choices = {"length": 90, "prompt": score, "whistle": True, "min_notes": 12}
    (piece,) = composer.compose(1, **choices)
    (level,) = composer.compose(1, tempo=125.0, **choices)
    assert [round(each.tempo, 2) for each in piece.midi.tempo_changes] == [120, 82]
    times = piece.midi.ticks_per_beat // 220
    assert [each.time for each in piece.midi.tempo_changes] == [0, 8 * 220 * times]
    given_ticks = sorted(note.start for note in piece.midi.instruments[0].notes)[:30]
    assert given_ticks == (notes.start * times).tolist()

    def heard(one: miditoolkit.MidiFile, at: list[int]) -> np.ndarray:
        return np.asarray(one.get_tick_to_time_mapping())[at]

    shift = 7 * 0.25  # the pick-up, a bar's first three quarters and a half
    for track, same in zip(piece.midi.instruments, level.midi.instruments, strict=True):
        own = sorted((note.start, note.pitch) for note in track.notes)
        other = sorted((note.start, note.pitch) for note in same.notes)
        ours = heard(piece.midi, [start for start, _ in own])
        theirs = heard(level.midi, [start for start, _ in other])
        np.testing.assert_allclose(ours, theirs + shift, atol=0.003)
    marks = heard(piece.midi, [mark.time for mark in piece.midi.markers[1:]])
    theirs = heard(level.midi, [mark.time for mark in level.midi.markers[1:]])
    np.testing.assert_allclose(marks, theirs + shift, atol=0.003)


@pytest.mark.parametrize("preset", ["duration", "performance", "remi"])
def test_the_end_of_long_music_has_its_bars_too(preset: str) -> None:
    """Notes lie on the tokens' grid, and as far from the bar lines as in the whole."""
    representation = Representation(RepresentationSettings(preset=preset))
    score = played(480, 5, [(0, 120.0), (6, 75.0)])
    notes = midi.notes_of(score.tracks[0])
    composer = Composer(build(representation), representation)
    (piece,) = composer.compose(1, length=60, prompt=score, prompt_length=45, min_notes=4)
    read = midi.read(piece.midi)
    count = int(representation.strikes[piece.ids[: piece.prompt]].sum())
    found = midi.notes_of(read.tracks[0]).start[:count]
    assert 5 < len(found) < 30
    own = notes.start[-len(found) :]
    bar = 4 * 480
    into = found * 480 / piece.midi.ticks_per_beat
    assert 0 <= into[0] < 2 * bar  # `remi` begins with a bar of its own
    shift = own - into
    # Twenty milliseconds are as many ticks at 125 quarters a minute.
    np.testing.assert_allclose(shift, round(shift[0] / bar) * bar, atol=20)
    assert [round(each.tempo) for each in piece.midi.tempo_changes] == [75]


@pytest.mark.parametrize("meter", [(0, 4), (0, 32), (4, 0), (1, 200)])
def test_bars_without_a_length_are_not_heeded(meter: tuple[int, int]) -> None:
    score = played(480, 4, [])
    score.time_signatures.append(symusic.TimeSignature(0, *meter))
    assert meters_of(score) == [(0, 4, 4)]
    score.time_signatures.append(symusic.TimeSignature(960, 3, 4))
    assert meters_of(score) == [(0, 4, 4), (960, 3, 4)]
    assert bar_before(score, 961) == (960, 1440)
