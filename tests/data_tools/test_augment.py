"""Augmentation: the same kind of music, moved; never another token type, never off the keyboard."""

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.augment import Augmenter
from data_tools.midi import Notes
from data_tools.parts import DRUMS
from data_tools.representation import Representation, TokenType
from data_tools.settings import AugmentSettings, RepresentationSettings

PITCHED = (TokenType.PITCH, TokenType.NOTE_ON, TokenType.NOTE_OFF)
NOTHING = AugmentSettings(transpose=0, stretch=0, jitter=0, loudness=0)
EVERYTHING = AugmentSettings(transpose=12, stretch=0.2, jitter=0.5, loudness=3)

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=["duration", "performance"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return Representation(RepresentationSettings(preset=request.param), ("label:jazz",))


def window(rep: Representation, lowest: int = 40, highest: int = 80, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    start = np.cumsum(rng.integers(0, 300, 80))
    pitch = rng.integers(lowest, highest + 1, 80)
    notes = Notes(start, start + rng.integers(20, 900, 80), pitch, rng.integers(30, 110, 80))
    notes = notes.take(np.lexsort((pitch, start)))
    return rep.encode(midi.score_of(midi.clean(notes), 480))


def pitches(rep: Representation, ids: np.ndarray) -> np.ndarray:
    return rep.token_values[ids[np.isin(rep.token_types[ids], PITCHED)]]


def shift_steps(rep: Representation, ids: np.ndarray) -> int:
    return int(rep.token_values[ids[rep.token_types[ids] == TokenType.TIME_SHIFT]].sum())


@given(seeds)
def test_only_values_change(representation: Representation, seed: int) -> None:
    ids = window(representation)
    before = ids.copy()
    changed = Augmenter(representation, EVERYTHING)(ids, np.random.default_rng(seed))
    assert ids.tolist() == before.tolist()
    assert len(changed) == len(ids)
    types = representation.token_types
    assert types[changed].tolist() == types[ids].tolist()


@given(seeds)
def test_the_same_generator_gives_the_same_window(
    representation: Representation, seed: int
) -> None:
    ids, augment = window(representation), Augmenter(representation, EVERYTHING)
    first, second = (augment(ids, np.random.default_rng(seed)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_different_generators_give_different_windows(representation: Representation) -> None:
    ids, augment = window(representation), Augmenter(representation, EVERYTHING)
    assert len({augment(ids, np.random.default_rng(seed)).tobytes() for seed in range(8)}) == 8


def test_zeros_change_nothing(representation: Representation) -> None:
    ids = window(representation)
    augmented = Augmenter(representation, NOTHING)(ids, np.random.default_rng(0))
    assert augmented.tolist() == ids.tolist()


@given(seed=seeds, edges=st.sampled_from([(21, 60), (60, 108), (21, 108), (50, 60)]))
def test_transposition_keeps_the_chord_and_the_keyboard(
    representation: Representation, seed: int, edges: tuple[int, int]
) -> None:
    ids = window(representation, *edges, seed=seed % 7)
    settings = NOTHING.model_copy(update={"transpose": 12})
    changed = Augmenter(representation, settings)(ids, np.random.default_rng(seed))
    before, after = pitches(representation, ids), pitches(representation, changed)
    assert len(set((after - before).tolist())) == 1
    assert abs(after[0] - before[0]) <= 12
    assert after.min() >= 21
    assert after.max() <= 108


def test_every_transposition_is_drawn(representation: Representation) -> None:
    ids = window(representation)
    augment = Augmenter(representation, NOTHING.model_copy(update={"transpose": 2}))
    first = pitches(representation, ids)[0]
    draws = {
        int(pitches(representation, augment(ids, np.random.default_rng(seed)))[0] - first)
        for seed in range(60)
    }
    assert draws == {-2, -1, 0, 1, 2}


def test_notes_beyond_the_keyboard_do_not_stop_the_run() -> None:
    rep = Representation(RepresentationSettings(preset="performance"))
    augment = Augmenter(rep, AugmentSettings(transpose=2))
    for pitch in (1, 125):  # a generator may write them: MIDILike's vocabulary holds them
        ids = np.flatnonzero((rep.token_types == TokenType.NOTE_ON) & (rep.token_values == pitch))
        assert len(ids) == 1
        for seed in range(10):
            moved = pitches(rep, augment(ids, np.random.default_rng(seed)))
            assert abs(int(moved[0]) - pitch) <= 2


def test_drums_stay_the_instruments_they_are() -> None:
    rep = Representation(RepresentationSettings(preset="raw"))
    score = symusic.Score(480)
    for drums, heights in ((False, (60, 64, 67, 72)), (True, (36, 38, 36, 42))):
        track = symusic.Track(is_drum=drums)
        for place, pitch in enumerate(heights):
            track.notes.append(symusic.Note(480 * place, 240, pitch, 80))
        score.tracks.append(track)
    ids = rep.encode(rep.prepare(score).score).astype(np.int64)
    augment = Augmenter(rep, NOTHING.model_copy(update={"transpose": 5}))
    moves = set()
    for seed in range(12):
        events = rep.events(augment(ids, np.random.default_rng(seed)))
        drums = events.channels == DRUMS
        assert events.notes.pitch[drums].tolist() == [36, 38, 36, 42]
        moved = events.notes.pitch[~drums] - [60, 64, 67, 72]
        assert len(set(moved.tolist())) == 1
        moves.add(int(moved[0]))
    assert len(moves) > 3
    # Of a window without any channel nobody knows; most music is no drums.
    within = ids[~np.isin(rep.token_types[ids], [TokenType.CHANNEL, TokenType.PROGRAM])]
    assert any((augment(within, np.random.default_rng(seed)) != within).any() for seed in range(12))


def test_a_window_without_notes(representation: Representation) -> None:
    ids = np.flatnonzero(representation.token_types == TokenType.TIME_SHIFT)
    changed = Augmenter(representation, EVERYTHING)(ids, np.random.default_rng(0))
    assert set(representation.token_types[changed]) == {TokenType.TIME_SHIFT}


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_stretching_scales_time(representation: Representation, factor: float) -> None:
    ids = window(representation, seed=3)
    stretched = Augmenter(representation, NOTHING).stretched(factor)[ids]
    before, after = shift_steps(representation, ids), shift_steps(representation, stretched)
    assert after / before == pytest.approx(factor, rel=0.06)
    assert pitches(representation, stretched).tolist() == pitches(representation, ids).tolist()
    if factor == 1:
        assert stretched.tolist() == ids.tolist()


@pytest.mark.parametrize("preset", ["duration", "performance", "remi", "raw"])
def test_on_the_beat_the_tempo_changes_and_the_beats_stay(preset: str) -> None:
    rep = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    score = symusic.Score(480)
    track = symusic.Track()
    for place in range(16):
        track.notes.append(symusic.Note(240 * place, 240, 60 + place, 80))
    score.tracks.append(track)
    score.tempos.append(symusic.Tempo(0, 100))
    ids = rep.encode(rep.prepare(score).score)
    before = rep.events(ids)
    for factor in (0.8, 1.25):
        after = rep.events(Augmenter(rep, NOTHING).stretched(factor)[ids])
        assert after.notes.start.tolist() == before.notes.start.tolist()
        assert after.notes.end.tolist() == before.notes.end.tolist()
        slow, fast = (rep.vocabulary.tempos[each.tempos[0, 1]] for each in (before, after))
        assert slow / fast == pytest.approx(factor, rel=0.04)


def test_on_the_clock_bars_of_no_meaning_are_not_stretched() -> None:
    rep = Representation(RepresentationSettings(preset="remi"))
    augment = Augmenter(rep, NOTHING)
    assert augment.stretched(1.25).tolist() == list(range(rep.vocab_size))


def test_jitter_moves_its_share_by_one_step(representation: Representation) -> None:
    ids = np.concatenate([window(representation, seed=seed) for seed in range(10)])
    augment = Augmenter(representation, NOTHING.model_copy(update={"jitter": 0.4}))
    changed = augment(ids, np.random.default_rng(0))
    shifts = representation.token_types[ids] == TokenType.TIME_SHIFT
    moved = changed[shifts].astype(int) - ids[shifts]
    assert changed[~shifts].tolist() == ids[~shifts].tolist()
    assert set(moved.tolist()) == {-1, 0, 1}
    assert np.mean(moved != 0) == pytest.approx(0.4, abs=0.08)


def test_loudness_stops_at_the_ends(representation: Representation) -> None:
    velocities = np.flatnonzero(representation.token_types == TokenType.VELOCITY)
    augment = Augmenter(representation, NOTHING.model_copy(update={"loudness": 3}))
    for seed in range(12):
        changed = augment(velocities, np.random.default_rng(seed))
        move = int(np.median(changed - velocities))
        assert abs(move) <= 3
        expected = (velocities + move).clip(velocities[0], velocities[-1])
        assert changed.tolist() == expected.tolist()
