"""The self-referential reward docks what no real piece does to itself, where it does it, no more.

Hand-written music that should and should not be docked, each part by itself; what is within the
bounds of a corpus costs nothing, and no dock is ever a prize.
"""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from data_tools.corpus import Corpus
from data_tools.midi import Notes
from data_tools.representation import BOS, EOS, PAD, Representation, TokenType
from data_tools.representation.events import Events
from data_tools.settings import RepresentationSettings
from gan.adversarial import rewards
from gan.adversarial.rewards import FADE, PARTS, Bounds, bounds_of, docks, hear, measured, returns

CLOCK = Representation(RepresentationSettings())
SECOND = round(1 / CLOCK.grid_seconds)  # in grid steps
# Neither jazz nor anything else: bounds that keep one part apart from the next.
WIDE = Bounds(
    dict.fromkeys(PARTS, 1e6) | {"phrases": 1.0, "bars": 1.0, "pitch_classes": 9, "rhythms": 9},
    {"pitch_classes": 0.0, "rhythms": 0.0},
)
WITHIN = ("run", "phrases", "bars", "rhythm", "silence")


def write(
    onsets: list[float], pitches: list[int], representation: Representation = CLOCK
) -> np.ndarray:
    """Ids of notes that begin at `onsets` seconds."""
    unit = representation.grid_seconds
    if representation.settings.time_base == "beat":
        unit = 0.5 / representation.steps_per_beat
    start = np.round(np.array(onsets) / unit).astype(int)
    order = np.lexsort((pitches, start))
    notes = Notes(start, start + 3, np.array(pitches), np.full(len(pitches), 80))
    notes = Notes(*(each[order] for each in (notes.start, notes.end, notes.pitch, notes.velocity)))
    return representation.encode_events(Events(notes)).astype(np.int64)


def tight(**high: float) -> Bounds:
    """Bounds that only these parts have."""
    low = {name: high.pop(f"low_{name}", 0.0) for name in ("pitch_classes", "rhythms")}
    return Bounds(WIDE.high | high, low)


def notes_of(ids: np.ndarray) -> np.ndarray:
    """The places of the tokens that begin notes."""
    return np.flatnonzero(CLOCK.token_types[ids] == TokenType.PITCH)


def docked(ids: np.ndarray, bounds: Bounds) -> dict[str, list[int]]:
    """Each part that docks anything, and which notes (counted from 0) it docks."""
    found = docks(ids, CLOCK, bounds)
    places = notes_of(ids).tolist()
    result = {}
    for name, row in found.items():
        where = np.flatnonzero(row).tolist()
        assert set(where) <= set(places), "nothing but notes is blamed"
        if where:
            result[name] = [places.index(place) for place in where]
    return result


def even(pitches: list[int], step: float = 0.25) -> np.ndarray:
    return write([step * number for number in range(len(pitches))], pitches)


SCALE = [60, 62, 64, 65, 67, 69, 71, 72]


@pytest.mark.parametrize("base", ["clock", "beat"])
def test_notes_moments_and_times_are_heard(base: str) -> None:
    representation = Representation(RepresentationSettings(time_base=base), ("label:jazz",))
    music = write([0.5, 0.5, 1.0], [60, 64, 67], representation)
    ids = np.concatenate([[representation.music_size, BOS], music, [EOS, PAD, PAD]])
    heard = hear(ids, representation)
    assert heard.size == len(ids)
    assert heard.pitch.tolist() == [60, 64, 67]
    np.testing.assert_allclose(heard.onset, [0.5, 0.5, 1.0], atol=0.02)
    assert heard.first.tolist() == [heard.place[0], heard.place[2]]
    assert (representation.token_types[ids[heard.place]] == TokenType.PITCH).all()


def test_a_run_is_docked_from_where_it_is_too_long() -> None:
    ids = even([60, 62, 62, 62, 62, 62, 64, 64])
    assert docked(ids, tight(run=3)) == {"run": [4, 5]}
    assert docked(ids, tight(run=5)) == {}
    # Struck together with something else is no run: pitches ascend within a moment.
    chords = write([0, 0, 0.5, 0.5, 1, 1], [60, 64, 60, 64, 60, 64])
    assert docked(chords, tight(run=1)) == {}


def test_a_phrase_is_docked_when_it_comes_again() -> None:
    phrase = [60, 63, 67, 70]
    ids = even([*phrase, 61, *phrase, 62])
    assert docked(ids, tight(phrases=0.0)) == {"phrases": [8]}
    assert measured(hear(ids, CLOCK))["phrases"] == pytest.approx(1 / 10)
    # It is pitches that make a phrase, at whatever speed; transposed, it is another.
    slower = write([0, 1, 2, 3, 3.5, 4, 4.2, 4.4, 4.6], [*phrase, 61, *phrase])
    assert docked(slower, tight(phrases=0.0)) == {"phrases": [8]}
    assert docked(even([*phrase, 50, *(p + 1 for p in phrase)]), tight(phrases=0.0)) == {}
    # What is docked is the share beyond the bound alone.
    half = docks(even([60, 62] * 10), CLOCK, tight(phrases=0.5))["phrases"]
    share = measured(hear(even([60, 62] * 10), CLOCK))["phrases"]
    assert half.max() == pytest.approx(1 - 0.5 / share)


def test_a_bar_is_docked_when_it_is_copied() -> None:
    bar = [0.0, 0.5, 1.25]
    onsets = [*bar, *(2 + at for at in bar), *(4 + at for at in bar)]
    ids = write(onsets, [60, 64, 67, 60, 64, 67, 60, 64, 68])
    assert docked(ids, tight(bars=0.0)) == {"bars": [3, 4, 5]}
    moved = write([*bar, 2.0, 2.75, 3.25], [60, 64, 67, 60, 64, 67])
    assert docked(moved, tight(bars=0.0)) == {}
    # A bar of silence between is no bar with notes to copy.
    later = write([*bar, *(6 + at for at in bar)], [60, 64, 67, 60, 64, 67])
    assert docked(later, tight(bars=0.0)) == {"bars": [3, 4, 5]}


def test_a_stuck_rhythm_is_docked_chords_counted_once() -> None:
    ids = write([0, 0.5, 0.5, 1.0, 1.5, 2.0, 2.7], [60, 62, 66, 64, 65, 67, 69])
    assert measured(hear(ids, CLOCK))["rhythm"] == 4
    assert docked(ids, tight(rhythm=3)) == {"rhythm": [5]}
    assert docked(ids, tight(rhythm=4)) == {}
    swung = write([0, 0.6, 0.9, 1.5, 1.8, 2.4, 2.7], SCALE[:7])
    assert docked(swung, tight(rhythm=1)) == {}


def test_silence_is_docked_where_it_ends() -> None:
    ids = write([0.0, 0.5, 3.0, 3.2], [60, 62, 64, 65])
    found = docks(ids, CLOCK, tight(silence=2.0))
    assert docked(ids, tight(silence=2.0)) == {"silence": [2]}
    assert found["silence"].max() == pytest.approx(0.5, abs=0.03)
    assert docked(ids, tight(silence=2.6)) == {}
    # Before the first note, too; and no silence, however long, costs more than a token.
    late = write([30.0, 30.5], [60, 62])
    assert docked(late, tight(silence=2.0)) == {"silence": [0]}
    assert docks(late, CLOCK, tight(silence=2.0))["silence"].max() == 1


def test_silence_after_the_last_note_is_silence() -> None:
    """Nobody gets round the dock by leaving out the note at which it would be docked."""
    ids = write([0.0, 0.5, 3.0], [60, 62, 64])
    left_out = ids[: int(notes_of(ids)[2])]
    assert measured(hear(left_out, CLOCK))["silence"] == pytest.approx(2.5)
    found = docks(left_out, CLOCK, tight(silence=2.0))["silence"]
    assert np.flatnonzero(found).tolist() == [len(left_out) - 1]
    assert found[-1] == pytest.approx(0.5)
    ended = np.append(left_out, [EOS, PAD])
    assert np.array_equal(docks(ended, CLOCK, tight(silence=2.0))["silence"][:-2], found)
    assert not docks(left_out, CLOCK, tight(silence=2.6))["silence"].any()
    broken_off = ids[: len(left_out) + 1]  # amid the note, whose first token is the last
    found = docks(broken_off, CLOCK, tight(silence=2.0))["silence"]
    assert found[-1] == pytest.approx(0.5)
    bounds = bounds_of([left_out, ids], CLOCK)
    assert not bounds.beyond(left_out, CLOCK)["silence"]


@pytest.mark.parametrize("preset", ["performance", "raw"])
def test_a_last_chord_that_is_held_is_no_silence(preset: str) -> None:
    """Where tokens say when notes end, the last wait begins when all have."""
    representation = Representation(RepresentationSettings(preset=preset))
    start = np.array([0, SECOND, SECOND])
    notes = Notes(start, np.array([5, 6, 7]) * SECOND, np.array([60, 64, 67]), np.full(3, 80))
    ids = representation.encode_events(Events(notes)).astype(np.int64)
    assert measured(hear(ids, representation))["silence"] == pytest.approx(1.0)
    shift = int(representation.vocabulary.first(TokenType.TIME_SHIFT))
    while representation.times(ids)[-1] < 10 * SECOND:
        ids = np.append(ids, shift)
    assert measured(hear(ids, representation))["silence"] == pytest.approx(3.0, abs=0.05)
    offs = np.flatnonzero(representation.token_types[ids] == TokenType.NOTE_OFF)
    held = np.delete(ids, offs[-1])
    assert measured(hear(held, representation))["silence"] == pytest.approx(1.0)


def test_too_few_and_too_many_pitch_classes_are_docked() -> None:
    octaves, chromatic = even([48, 60, 72, 60, 48, 60]), even(list(range(60, 72)))
    assert measured(hear(octaves, CLOCK))["pitch_classes"] == 0
    assert measured(hear(chromatic, CLOCK))["pitch_classes"] == pytest.approx(np.log2(12))
    bounds = tight(pitch_classes=3.0, low_pitch_classes=2.0)
    assert docked(octaves, bounds) == {"pitch_classes": [0, 1, 2, 3, 4, 5]}
    assert docked(chromatic, bounds) == {"pitch_classes": list(range(12))}
    assert docked(even(SCALE), bounds) == {}
    # By how far it is outside, in widths of the bounds, a fifth at most.
    assert docks(octaves, CLOCK, bounds)["pitch_classes"].max() == pytest.approx(0.2)
    far = docks(chromatic, CLOCK, bounds)["pitch_classes"].max()
    assert far == pytest.approx(0.2 * (np.log2(12) - 3))


def test_too_few_and_too_many_rhythms_are_docked() -> None:
    metronome = even(SCALE)
    wild = write([0, 0.12, 0.4, 0.48, 1.0, 1.2, 2.4, 2.8], SCALE)
    assert measured(hear(metronome, CLOCK))["rhythms"] == 0
    assert measured(hear(wild, CLOCK))["rhythms"] == pytest.approx(np.log2(7))
    bounds = tight(rhythms=2.5, low_rhythms=0.5)
    assert docked(metronome, bounds) == {"rhythms": list(range(8))}
    assert docked(wild, bounds) == {"rhythms": list(range(8))}
    assert docked(write([0, 0.5, 1.0, 1.25, 1.5, 2], SCALE[:6]), bounds) == {}


@pytest.mark.parametrize("ids", [[], [PAD], [EOS, PAD, PAD], [BOS, EOS]])
def test_a_piece_without_notes_is_all_silence(ids: list[int]) -> None:
    found = docks(np.array(ids, dtype=np.int64), CLOCK, WIDE)
    assert set(found) == set(PARTS)
    assert sum(row.sum() for row in found.values()) == pytest.approx(1 if ids else 0)
    assert found["silence"].sum() == pytest.approx(1 if ids else 0)
    assert set(measured(hear(np.array(ids, dtype=np.int64), CLOCK)).values()) == {0.0}


def test_rests_alone_are_no_way_out() -> None:
    shift = int(CLOCK.vocabulary.first(TokenType.TIME_SHIFT))
    found = docks(np.full(20, shift), CLOCK, WIDE)
    assert found["silence"].sum() == pytest.approx(1)
    assert (found["silence"] > 0).all()


def test_bounds_are_percentiles_of_the_pieces() -> None:
    pieces = [even([60] * count + [62, 64]) for count in range(1, 101)]
    bounds = bounds_of(pieces, CLOCK)
    assert bounds.high["run"] == pytest.approx(np.percentile(np.arange(1, 101), 98))
    assert set(bounds.high) == set(PARTS)
    assert set(bounds.low) == {"pitch_classes", "rhythms"}
    every = [measured(hear(ids, CLOCK))["pitch_classes"] for ids in pieces]
    assert bounds.low["pitch_classes"] == pytest.approx(np.percentile(every, 2))
    with pytest.raises(ValueError, match="need pieces"):
        bounds_of(pieces[:1], CLOCK)


def test_too_little_is_as_far_beyond_as_too_much() -> None:
    poor, rich = even([60] * 8), even([60, 61, 63, 66, 68, 70, 71, 73])
    bounds = tight(pitch_classes=2.0, low_pitch_classes=1.0)
    for ids, beyond in ((poor, True), (even([60, 62] * 4), False), (rich, True)):
        assert bounds.beyond(ids, CLOCK)["pitch_classes"] == beyond


def test_nearly_all_of_a_corpus_is_within_its_own_bounds(practice_corpus: Corpus) -> None:
    pieces = [np.asarray(practice_corpus.piece(number))[:256] for number in range(40)]
    bounds = bounds_of(pieces, practice_corpus.representation)
    for name in PARTS:
        beyond = [bounds.beyond(ids, practice_corpus.representation)[name] for ids in pieces]
        assert sum(beyond) <= (2 if name in bounds.low else 1)
    stuck = practice_corpus.representation.encode_events(
        Events(Notes(*(np.array(row) for row in ([0, 10, 20], [5, 15, 25], [60] * 3, [80] * 3))))
    )
    assert bounds.beyond(np.tile(stuck, 30), practice_corpus.representation)["run"]


def test_returns_are_a_double_loop() -> None:
    table = np.random.default_rng(0).random((3, 17)) * (np.arange(17) % 3 == 0)
    expected = np.zeros_like(table)
    for row in range(3):
        for place in range(17):
            for later in range(place, 17):
                expected[row, place] -= FADE ** (later - place) * table[row, later]
    np.testing.assert_allclose(returns(table), expected, rtol=1e-12)
    np.testing.assert_allclose(returns(table[1]), expected[1], rtol=1e-12)
    assert returns(np.zeros((2, 0))).shape == (2, 0)


def test_what_came_after_the_offence_is_not_blamed() -> None:
    ids = even([60, 62, 62, 62, 62, 64, 65, 67])
    offence = int(notes_of(ids)[4])
    after, shares = rewards.rewards(ids[None], partial(docks, representation=CLOCK,
                                                       bounds=tight(run=3)))  # fmt: skip
    assert after.shape == (1, len(ids))
    assert (after[0, : offence + 1] < 0).all()
    assert (np.diff(after[0, : offence + 1]) < 0).all(), "the nearer, the more"
    assert not after[0, offence + 1 :].any()
    assert after[0, offence] == -1
    assert shares["reward/run"] == 1
    assert shares["reward/phrases"] == 0
    assert shares["reward/docked"] == 1


def test_shares_are_of_pieces() -> None:
    bad, good = even([60] * 8), even(SCALE)
    size = max(len(bad), len(good))
    rows = np.stack([np.pad(ids, (0, size - len(ids))) for ids in (bad, good, good, good)])
    after, shares = rewards.rewards(rows, partial(docks, representation=CLOCK, bounds=tight(run=4)))
    assert shares["reward/run"] == 0.25
    assert shares["reward/docked"] == 1.0  # four notes of one piece, over four pieces
    assert not after[1:].any()


tokens = st.lists(st.integers(0, CLOCK.music_size - 1), max_size=60).map(
    lambda ids: np.array(ids, dtype=np.int64)
)
tunes = st.lists(
    st.tuples(st.integers(0, 60), st.integers(40, 46)), min_size=1, max_size=24, unique=True
).map(lambda notes: write([at * 0.12 for at, _ in notes], [pitch for _, pitch in notes]))


@given(tokens | tunes)
@examples(max_examples=60)
def test_docks_are_never_a_prize_and_always_finite(ids: np.ndarray) -> None:
    strict = Bounds(dict.fromkeys(PARTS, 0.0) | {"rhythms": 1.0}, {"pitch_classes": 0.0,
                                                                   "rhythms": 0.5})  # fmt: skip
    for bounds in (strict, WIDE, tight(run=2, phrases=0.1, silence=0.5, rhythm=2, bars=0.1)):
        found = docks(ids, CLOCK, bounds)
        assert set(found) == set(PARTS)
        for row in found.values():
            assert row.shape == ids.shape
            assert np.isfinite(row).all()
            assert (row >= 0).all()
            assert (row <= 1).all()
        assert (returns(sum(found.values(), np.zeros(len(ids)))) <= 0).all()


@given(st.lists(tunes, min_size=2, max_size=6))
@examples(max_examples=40)
def test_a_piece_is_docked_for_exactly_what_is_beyond_the_bounds(pieces: list[np.ndarray]) -> None:
    bounds = bounds_of(pieces, CLOCK)
    for ids in pieces:
        beyond, found = bounds.beyond(ids, CLOCK), docks(ids, CLOCK, bounds)
        for name in WITHIN:
            assert found[name].any() == beyond[name], name


@given(tunes)
@examples(max_examples=40)
def test_padding_and_an_end_change_no_dock(ids: np.ndarray) -> None:
    bounds = tight(run=2, phrases=0.1, silence=0.5, rhythm=2, bars=0.1, low_rhythms=1.0)
    short, long = docks(ids, CLOCK, bounds), docks(np.append(ids, [EOS, PAD, PAD]), CLOCK, bounds)
    for name in PARTS:
        assert np.array_equal(long[name][: len(ids)], short[name])
        assert not long[name][len(ids) :].any()
