"""Diversity of a set, against counting by hand and sets whose worth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.corpus import Corpus
from data_tools.midi import Notes
from data_tools.representation import Representation, RepresentationSettings
from data_tools.representation.events import Events
from gan.evaluation import diversity

sets = st.lists(st.lists(st.integers(-3, 3), max_size=15), min_size=1, max_size=6)


def grams(piece: list[int], length: int) -> list[tuple[int, ...]]:
    return [tuple(piece[i : i + length]) for i in range(len(piece) - length + 1)]


@given(sets, st.integers(1, 4))
def test_grams_are_what_counting_finds(pieces: list[list[int]], length: int) -> None:
    each = [grams(piece, length) for piece in pieces]
    every = [gram for part in each for gram in part]
    within = [len(set(part)) / len(part) for part in each if part]
    arrays = [np.array(piece, dtype=np.int64) for piece in pieces]
    expected = (np.mean(within), len(set(every)) / len(every)) if every else (np.nan, np.nan)
    found = diversity.distinct(arrays, length)
    assert found == pytest.approx(expected, nan_ok=True)
    shared = []
    for place, part in enumerate(each):
        others = {gram for other in each[:place] + each[place + 1 :] for gram in other}
        if part:
            shared.append(np.mean([gram in others for gram in part]))
    expected_overlap = np.mean(shared) if len(shared) > 1 else np.nan
    overlap = diversity.self_overlap(arrays, length)
    assert overlap == pytest.approx(expected_overlap, nan_ok=True)


def test_drums_have_no_pitches() -> None:
    representation = Representation(RepresentationSettings(preset="raw"))
    start = np.arange(4) * 10
    notes = Notes(start, start + 5, np.array([60, 36, 64, 38]), np.full(4, 80))
    channels, programs = np.array([1, 10, 1, 10]), np.zeros(4, dtype=np.int64)
    ids = representation.encode_events(Events(notes, channels=channels, programs=programs))
    assert diversity.pitches(ids, representation).tolist() == [60, 64]


def test_a_transposed_copy_is_found_by_its_steps_alone() -> None:
    rng = np.random.default_rng(0)
    tune, other = rng.integers(40, 80, 100), rng.integers(40, 80, 100)
    pieces = [tune, tune + 5, other]
    assert diversity.self_overlap(pieces, 7) < 0.01
    in_any_key = diversity.self_overlap([diversity.steps(piece) for piece in pieces], 6)
    assert in_any_key == pytest.approx(2 / 3, abs=0.01)


def test_a_loop_is_not_distinct_and_copies_overlap() -> None:
    rng = np.random.default_rng(0)
    fresh = [rng.integers(0, 200, 500) for _ in range(10)]
    assert diversity.distinct(fresh, 4) == pytest.approx((1, 1), abs=0.01)
    loops = [np.tile(piece[:10], 50) for piece in fresh]
    assert diversity.distinct(loops, 4)[0] < 0.03
    within, over = diversity.distinct([fresh[0]] * 10, 4)
    assert (within, over) == pytest.approx((1, 0.1), abs=0.01)
    assert diversity.self_overlap([fresh[0]] * 10, 4) == 1
    assert diversity.self_overlap(fresh, 4) < 0.01


def test_vendi_counts_kinds() -> None:
    kinds = np.eye(6)
    assert diversity.vendi(kinds) == pytest.approx(6)
    assert diversity.vendi(np.repeat(kinds[:2], 5, axis=0)) == pytest.approx(2)
    assert diversity.vendi(kinds[:1] * np.arange(1, 5)[:, None]) == pytest.approx(1)
    assert diversity.vendi(np.zeros((4, 3))) == pytest.approx(1)
    with pytest.raises(ValueError, match="finite rows"):
        diversity.vendi(np.full((3, 3), np.nan))


@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 20))
def test_vendi_is_the_published_formula(seed: int, count: int, width: int) -> None:
    x = np.random.default_rng(seed).normal(size=(count, width))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    share = np.linalg.eigvalsh(unit @ unit.T / count).clip(1e-300)
    expected = np.exp(-(share * np.log(share)).sum())
    found = diversity.vendi(x)
    assert found == pytest.approx(expected, rel=1e-6)
    assert 1 - 1e-9 <= found <= min(count, width) + 1e-6


def test_pitches_are_those_of_the_music(practice_corpus: Corpus) -> None:
    representation = practice_corpus.representation
    ids = practice_corpus.piece(0)
    (track,) = representation.decode(ids).tracks
    expected = [note.pitch for note in sorted(track.notes, key=lambda n: (n.time, n.pitch))]
    assert diversity.pitches(ids, representation).tolist() == expected
