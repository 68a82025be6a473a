"""Thinned windows: fewer of the same notes, a function of the generator; what each way drops."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from data_tools import midi
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import Events, Representation
from data_tools.settings import RepresentationSettings, ThinningSettings
from data_tools.thinning import THINNINGS, Thinner

seeds = st.integers(0, 2**32 - 1)
ALWAYS = ThinningSettings(thin_share=1.0)


def solo(seed: int = 0, strokes: int = 60) -> Notes:
    """A bass note, three notes of a chord and a melody note to every stroke, 0.4 s apart."""
    rng = np.random.default_rng(seed)
    start = np.repeat(np.arange(strokes) * 20, 5)
    pitch = np.stack(
        [
            rng.integers(30, 42, strokes), rng.integers(58, 60, strokes),
            rng.integers(61, 64, strokes), rng.integers(65, 68, strokes),
            rng.integers(76, 90, strokes),
        ],
        axis=1,
    ).ravel()  # fmt: skip
    notes = Notes(start, start + 15, pitch, rng.integers(1, 128, len(pitch)))
    return midi.clean(notes.take(np.lexsort((notes.pitch, start))))


def encoded(notes: Notes, representation: Representation) -> np.ndarray:
    return representation.encode_events(Events(notes)).astype(np.int64)


@pytest.fixture(scope="module", params=["duration", "performance", "remi"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return Representation(RepresentationSettings(preset=request.param))


@hypothesis_settings(max_examples=60)
@given(seeds, st.integers(1, 80), st.sampled_from(list(THINNINGS)))
def test_what_is_left_are_some_of_the_notes_as_they_were(
    representation: Representation, seed: int, strokes: int, name: str
) -> None:
    ids = encoded(solo(seed, strokes), representation)
    before = ids.copy()
    thin = Thinner(representation, ALWAYS)
    left = thin.thinned(ids, name, np.random.default_rng(seed))
    assert ids.tolist() == before.tolist(), "the window itself is left alone"
    if left is None:
        return
    again = thin.thinned(ids, name, np.random.default_rng(seed))
    assert again is not None
    assert left.tolist() == again.tolist()
    whole, fewer = representation.events(ids).notes, representation.events(left).notes
    assert 24 <= len(fewer) <= len(whole)
    gaps = np.unique(np.diff(np.unique(fewer.start)) % 20)
    assert gaps.tolist() in ([0], []), "onsets keep their distance"
    assert set(zip(fewer.pitch, fewer.end - fewer.start, strict=True)) <= set(
        zip(whole.pitch, whole.end - whole.start, strict=True)
    )


def test_each_way_drops_what_it_says() -> None:
    representation = Representation()
    ids = encoded(solo(), representation)
    thin = Thinner(representation, ALWAYS)

    def pitches(name: str, seed: int) -> np.ndarray:
        left = thin.thinned(ids, name, np.random.default_rng(seed))
        assert left is not None
        return representation.events(left).notes.pitch

    for seed in range(20):
        assert pitches("without bass", seed).min() >= 45
        assert pitches("without melody", seed).max() < 76
        assert pitches("without melody", seed).min() < 42
        assert pitches("without bass", seed).max() >= 76
        assert pitches("inner", seed).min() >= 45
        assert pitches("inner", seed).max() < 76
        assert len(pitches("chords", seed)) == 300, "every stroke has five notes"
        assert pitches("middle chords", seed).min() >= 45
        assert pitches("middle chords", seed).max() <= 82


def test_a_line_has_no_chords() -> None:
    representation = Representation()
    line = solo().take(np.arange(3, 300, 5))
    thin = Thinner(representation, ALWAYS)
    rng = np.random.default_rng(0)
    for name in ("chords", "middle chords"):
        assert thin.thinned(encoded(line, representation), name, rng) is None
    spread = solo()
    spread = Notes(
        spread.start + np.tile(np.arange(5) // 2, 60), spread.end + 3, spread.pitch, spread.velocity
    )
    left = thin.thinned(encoded(spread, representation), "chords", rng)
    assert left is not None, "struck within 50 ms is struck as one"
    assert len(representation.events(left).notes) == 300


def test_a_run_is_no_chord() -> None:
    representation = Representation()
    start = np.arange(60) * 2  # 40 ms apart
    run = Notes(start, start + 2, 60 + np.arange(60) % 12, np.full(60, 64))
    thin = Thinner(representation, ALWAYS)
    ids = encoded(run, representation)
    for seed in range(10):
        left = thin.thinned(ids, "chords", np.random.default_rng(seed))
        if left is not None:  # two notes lie within 50 ms, three do not
            assert len(representation.events(left).notes) == 60


@pytest.mark.parametrize("time_base", ["clock", "beat"])
def test_a_window_is_filled_from_what_follows_and_begins_at_once(time_base: str) -> None:
    representation = Representation(RepresentationSettings(preset="duration", time_base=time_base))
    ids = encoded(solo(0, 300), representation)
    thin, names = Thinner(representation, ALWAYS), set()
    for seed in range(60):
        window = thin(ids, 400, np.random.default_rng(seed))
        assert len(window) == 400
        assert window.tolist() == thin(ids, 400, np.random.default_rng(seed)).tolist()
        found = representation.events(window).notes
        if time_base == "clock":
            assert found.start[0] == 0
        names.add(tuple(np.unique(found.pitch // 12)))
    assert len(names) > 4, "all ways are taken"


def test_a_rest_in_front_is_taken_away_with_the_pedal() -> None:
    representation = Representation(RepresentationSettings(preset="performance", pedal="tokens"))
    music = solo(0, 60)
    start = np.concatenate([[0], music.start + 100])  # one low note, and then chords
    joined = Notes(start, start + 15, np.append(30, music.pitch), np.append(64, music.velocity))
    pedals = np.array([[10, 60], [90, 130], [200, 240]])
    ids = representation.encode_events(Events(joined, pedals)).astype(np.int64)
    assert representation.events(ids).pedals.tolist() == pedals.tolist()
    left = Thinner(representation, ALWAYS).thinned(ids, "chords", np.random.default_rng(0))
    assert left is not None
    events = representation.events(left)
    assert events.notes.start[0] == 0
    assert len(events.notes) == 300
    assert events.pedals.tolist() == [[0, 30], [100, 140]]


@given(seeds)
def test_the_share_is_that_of_windows(seed: int) -> None:
    representation = Representation()
    ids = encoded(solo(0, 100), representation)
    drawn = np.random.default_rng(seed)
    off = Thinner(representation, ThinningSettings())
    assert off(ids, 400, drawn).tolist() == ids[:400].tolist()
    assert drawn.random() == np.random.default_rng(seed).random(), "nothing drawn where it is off"
    half, rng = Thinner(representation, ThinningSettings(thin_share=0.5)), np.random.default_rng(1)
    whole = [half(ids, 400, rng).tolist() == ids[:400].tolist() for _ in range(40)]
    assert 10 < sum(whole) < 32


def test_too_few_notes_stay_as_they_are() -> None:
    representation = Representation()
    ids = encoded(solo(strokes=4), representation)
    for seed in range(10):
        left = Thinner(representation, ALWAYS)(ids, 400, np.random.default_rng(seed))
        assert left.tolist() == ids.tolist()


def test_several_instruments_are_refused() -> None:
    raw = Representation(RepresentationSettings(preset="raw"))
    Thinner(raw, ThinningSettings())
    with pytest.raises(UserError, match="--thin-share at 0"):
        Thinner(raw, ALWAYS)


@hypothesis_settings(max_examples=40)
@given(seeds, st.integers(1, 80))
def test_a_line_is_the_top_notes_one_at_a_time(
    representation: Representation, seed: int, strokes: int
) -> None:
    ids = encoded(solo(seed, strokes), representation)
    thin = Thinner(representation, ThinningSettings())
    line = thin.line(ids)
    if strokes < 24:
        assert line is None
        return
    assert line is not None
    whole, alone = representation.events(ids), representation.events(line)
    assert not len(alone.pedals)
    notes = alone.notes
    _, stroke = np.unique(whole.notes.start, return_inverse=True)
    top = np.zeros(stroke[-1] + 1, dtype=np.int64)
    np.maximum.at(top, stroke, whole.notes.pitch)
    assert notes.pitch.tolist() == top.tolist()
    assert notes.start.tolist() == np.unique(whole.notes.start).tolist()
    assert (notes.end[:-1] <= notes.start[1:]).all()


def test_a_line_lets_go_when_it_moves_on() -> None:
    """Notes that overlap, of other pitches: one voice has one at a time."""
    representation = Representation()
    start = np.arange(30) * 20
    legato = Notes(start, start + 50, 60 + np.arange(30) % 7, np.full(30, 64))
    line = Thinner(representation, ALWAYS).line(encoded(legato, representation))
    assert line is not None
    notes = representation.events(line).notes
    assert notes.start.tolist() == start.tolist()
    assert (notes.end - notes.start)[:-1].tolist() == [20] * 29


def test_on_the_beat_a_stroke_is_what_begins_together() -> None:
    representation = Representation(RepresentationSettings(time_base="beat"))
    music = solo()
    line = Thinner(representation, ALWAYS).line(encoded(music, representation))
    assert line is not None
    assert representation.events(line).notes.pitch.tolist() == music.pitch[4::5].tolist()


def test_a_window_begins_when_it_did() -> None:
    music = solo()
    late = replace(music, start=music.start + 30, end=music.end + 30)  # a rest comes first
    for base, begins in (("clock", 30), ("beat", 30)):
        representation = Representation(RepresentationSettings(time_base=base))
        thin = Thinner(representation, ALWAYS)
        left = thin.thinned(encoded(late, representation), "chords", np.random.default_rng(0))
        assert left is not None
        assert representation.events(left).notes.start[0] == begins


def test_nothing_has_no_line(representation: Representation) -> None:
    assert Thinner(representation, ALWAYS).line(np.zeros(0, dtype=np.int64)) is None
