"""Curation: what is measured on a piece, and which of several copies stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools import midi
from data_tools.curate import (
    Facts,
    conflicts_of,
    copies_to_drop,
    facts_of,
    pairs_of,
    reason_of,
    repetition,
)
from data_tools.duplicates import near_duplicates, signature, similarity
from data_tools.midi import Notes
from data_tools.settings import CorpusSettings

TICKS = 480


def notes_at(start: list[int], pitch: list[int], length: int = 100) -> Notes:
    begins = np.array(start, dtype=np.int32)
    return Notes(begins, begins + length, np.array(pitch, np.int16), np.full(len(start), 64))


def in_seconds(notes: Notes) -> Notes:
    return Notes(notes.start / 960, notes.end / 960, notes.pitch, notes.velocity)


def random_piece(seed: int, count: int = 400) -> Notes:
    rng = np.random.default_rng(seed)
    start = np.cumsum(rng.choice([0.25, 0.5, 1.0], count))
    pitch = rng.integers(40, 80, count).astype(np.int16)
    return Notes(start, start + 0.2, pitch, np.full(count, 64))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    shift=st.integers(-9, 9),
    stretch=st.floats(0.5, 2.0),
    cut=st.integers(0, 60),
)
def test_moved_copies_are_near_duplicates(seed, shift, stretch, cut):
    piece = random_piece(seed)
    copy = Notes(
        piece.start[cut:] * stretch, piece.end[cut:] * stretch, piece.pitch[cut:] + shift,
        piece.velocity[cut:],
    )  # fmt: skip
    sketches = [signature(piece), signature(random_piece(seed + 1)), signature(copy)]
    assert list(near_duplicates(sketches)) == [(0, 2)]
    if not cut:
        assert similarity(sketches[0], sketches[2]) == 1.0


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), count=st.integers(1, 900))
def test_signatures_are_remainders_of_division(seed, count):
    """The fast remainder gives what `%` gives, in Python's own integers."""
    from data_tools import duplicates as module

    every = np.unique(np.random.default_rng(seed).integers(0, 2**31, count, dtype=np.uint64))
    prime = int(module._PRIME)
    for number in (0, module.PERMUTATIONS - 1):
        scale, shift = (table[number : number + 1] for table in (module._SCALE, module._SHIFT))
        expected = min((int(one) * int(scale[0]) + int(shift[0])) % prime for one in every)
        assert module._least(every, scale, shift).tolist() == [expected]


@pytest.mark.parametrize("quarters", [3, 4])
def test_one_bar_over_and_over(quarters: int) -> None:
    bar = quarters * TICKS
    place = [0, 240, 480, 960]
    pitch = [60, 64, 67, 72]
    loop = notes_at([n * bar + p for n in range(8) for p in place], pitch * 8)
    assert repetition(loop, TICKS) == 1.0
    # Half of its bars played elsewhere on the keyboard, each in a place of its own.
    half = notes_at(
        [n * bar + p for n in range(8) for p in place],
        pitch * 4 + [p + 1 + n for n in range(4) for p in pitch],
    )
    assert 0.5 <= repetition(half, TICKS) < 0.7


def test_one_pitch_over_and_over() -> None:
    rng = np.random.default_rng(0)
    start = np.cumsum(rng.integers(50, 500, 100)).tolist()
    assert repetition(notes_at(start, [60] * 90 + list(range(61, 71))), TICKS) == 0.9


def test_a_played_piece_repeats_nothing() -> None:
    rng = np.random.default_rng(0)
    start = np.cumsum(rng.integers(50, 500, 300)).tolist()
    assert repetition(notes_at(start, rng.integers(40, 80, 300).tolist()), TICKS) < 0.1


def test_silences() -> None:
    # Half a second of music a second in; 4 s of nothing; a note held over another's silence.
    notes = notes_at([960, 960 + 4320, 960 + 5000], [60, 62, 64], 480)
    notes.end[1] += 4800
    facts = facts_of(notes, in_seconds(notes), TICKS)
    assert facts.lead == 1.0
    assert facts.silence == pytest.approx(4.0)
    assert facts.seconds == pytest.approx(notes.end.max() / 960)
    assert facts.silent_share == pytest.approx(4.0 / (facts.seconds - 1.0))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"max_notes": 99}, "more than 99 notes (100)"),
        ({"min_seconds": 60.5}, "shorter than 60.5 s (60.0)"),
        ({"max_seconds": 59.5}, "longer than 59.5 s (60.0)"),
        ({"max_repetition": 0.4}, "one bar or pitch again and again (50% of the piece)"),
        ({"max_lead": 4.0}, "begins after more than 4 s of silence (5.0)"),
        ({"max_silence": 7}, "silent for more than 7 s (8.0)"),
        ({"max_silent_share": 0.2}, "mostly silent (30% of its time)"),
    ],
)
def test_each_filter_says_what_it_measured(setting, words):
    facts = Facts(100, 60.0, 0.5, 5.0, 8.0, 0.3)
    assert reason_of(facts, CorpusSettings(**setting)) == words
    assert reason_of(facts, CorpusSettings()) == ""


def test_nothing_real_falls_at_the_defaults(mini) -> None:
    for path in sorted(mini.rglob("*.mid"))[::6]:
        score = midi.prepare(path).score
        notes = midi.notes_of(score.tracks[0])
        times = [midi.seconds_of(score, ticks) for ticks in (notes.start, notes.end)]
        timed = Notes(*times, notes.pitch, notes.velocity)
        facts = facts_of(notes, timed, score.ticks_per_quarter)
        assert reason_of(facts, CorpusSettings()) == "", path


def test_of_every_cluster_the_longest_stays() -> None:
    pairs = [(0, 1), (1, 2), (3, 4)]
    notes, all_known = [5, 9, 9, 7, 7, 1], [True] * 6
    assert copies_to_drop(pairs, notes, all_known, set()) == {0: 1, 2: 1, 4: 3}
    # What is already left out stands for nobody, and joins nobody.
    assert copies_to_drop(pairs, notes, all_known, {1}) == {4: 3}
    # A label is not lost for some notes more.
    known = [True, False, False, False, True, False]
    assert copies_to_drop(pairs, notes, known, set()) == {1: 0, 2: 0, 3: 4}


def test_conflicts_need_two_labels() -> None:
    pieces = [random_piece(0), random_piece(1), random_piece(0), random_piece(1)]
    sketches = [signature(piece) for piece in pieces]
    pairs = pairs_of(sketches, [(0, 2)])
    assert pairs == [(0, 2), (1, 3)]
    found = conflicts_of(pairs, ["jazz", "jazz", "not_jazz", "unlabelled"], sketches)
    assert [(one.first, one.second, one.similarity) for one in found] == [(0, 2, 1.0)]
