"""Corrupted music: readable, a function of its generator, and what each way keeps and destroys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from data_tools import midi
from data_tools.corrupt import CORRUPTIONS, OF_PITCH, OF_TIME, Corruptor, heard_by
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import Events, Representation
from data_tools.settings import RepresentationSettings

seeds = st.integers(0, 2**32 - 1)


def piece(seed: int = 0, count: int = 60, widest: int = 12) -> Notes:
    """A line over chords, on the grid, as a window of a real piece is."""
    rng = np.random.default_rng(seed)
    start = np.cumsum(rng.integers(0, widest, count))
    start -= start[0]
    notes = Notes(
        start, start + rng.integers(1, 40, count), rng.integers(36, 84, count),
        rng.integers(1, 128, count),
    )  # fmt: skip
    return midi.clean(notes.take(np.lexsort((notes.pitch, start))))


@pytest.fixture(scope="module", params=["duration", "performance", "remi"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return Representation(RepresentationSettings(preset=request.param))


@hypothesis_settings(max_examples=60)
@given(seeds, st.integers(1, 120), st.sampled_from([1, 3, 30]), st.sampled_from([*CORRUPTIONS, ""]))
def test_what_comes_out_is_music_in_canonical_order(
    representation: Representation, seed: int, count: int, widest: int, name: str
) -> None:
    ids = representation.encode_events(Events(piece(seed, count, widest))).astype(np.int64)
    before = ids.copy()
    corrupt = Corruptor(representation)
    result = corrupt(ids, np.random.default_rng(seed), name)
    assert ids.tolist() == before.tolist(), "the window itself is left alone"
    if result is None:
        assert len(representation.events(ids).notes) < 8
        return
    assert result.tolist() == corrupt(ids, np.random.default_rng(seed), name).tolist()
    assert len(result)
    assert result.dtype == np.int64
    events = representation.events(result)
    assert len(events.notes)
    assert (events.notes.end > events.notes.start).all()
    assert representation.encode_events(events).tolist() == result.tolist()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_changes_a_window(name: str) -> None:
    representation = Representation()
    ids = representation.encode_events(Events(piece())).astype(np.int64)
    for seed in range(5):
        result = Corruptor(representation)(ids, np.random.default_rng(seed), name)
        assert result is not None
        assert result.tolist() != ids.tolist()


def rhythm(notes: Notes) -> list[tuple[int, int]]:
    return sorted(zip(notes.start.tolist(), notes.end.tolist(), strict=True))


@pytest.mark.parametrize(
    "name", ["shuffled pitches", "random pitches", "moved pitches", "wandering pitches"]
)
def test_corrupted_pitches_leave_the_rhythm(name: str) -> None:
    notes = piece()
    result = CORRUPTIONS[name](notes, np.random.default_rng(1))
    assert rhythm(result) == rhythm(notes)
    differ = (result.pitch != notes.pitch).mean()
    assert differ > 0.25
    if name == "shuffled pitches":
        assert sorted(result.pitch.tolist()) == sorted(notes.pitch.tolist())
    else:
        assert result.pitch.min() >= notes.pitch.min() - 7
        assert result.pitch.max() <= notes.pitch.max() + 7


@pytest.mark.parametrize("name", OF_TIME)
def test_corrupted_time_leaves_pitches_and_chords(name: str) -> None:
    """A view without time sees no difference, so it must not be taught that there is one."""
    notes = piece()
    result = CORRUPTIONS[name](notes, np.random.default_rng(1))
    assert result.pitch.tolist() == notes.pitch.tolist()
    together = notes.start[1:] == notes.start[:-1]
    assert ((result.start[1:] == result.start[:-1]) == together).all()
    assert result.start.tolist() != notes.start.tolist()
    if name == "shuffled gaps":
        gaps = [np.sort(np.diff(np.unique(n.start))).tolist() for n in (notes, result)]
        assert gaps[0] == gaps[1]


def test_a_repeated_figure_is_one() -> None:
    notes = piece(count=100)
    for seed in range(20):
        result = CORRUPTIONS["repeated figure"](notes, np.random.default_rng(seed))
        period = next(
            size for size in range(1, 13)
            if (result.pitch[size:] == result.pitch[:-size]).all()
        )  # fmt: skip
        distance = result.start[period:] - result.start[:-period]
        assert distance[0] > 0
        assert (distance == distance[0]).all()
        assert len(result) > 80


def test_sparse_is_next_to_nothing() -> None:
    notes = piece(count=100)
    results = [CORRUPTIONS["sparse"](notes, np.random.default_rng(seed)) for seed in range(40)]
    assert {len(result) for result in results} == set(range(1, 9))
    assert all(set(result.pitch) <= set(notes.pitch) for result in results)
    assert max(int(result.start[-1]) for result in results) > 5 * int(notes.start[-1])


def test_a_view_without_time_is_shown_no_corrupted_time() -> None:
    assert heard_by("harmony") == OF_PITCH
    assert heard_by("rhythm") == heard_by("tokens", ("velocity",)) == CORRUPTIONS
    assert heard_by("tokens", ("duration", "time_shift")) == OF_PITCH


def test_too_few_notes_cannot_be_corrupted() -> None:
    representation = Representation()
    ids = representation.encode_events(Events(piece(count=60).take(np.arange(5))))
    assert Corruptor(representation)(ids, np.random.default_rng(0)) is None


def test_several_instruments_are_refused() -> None:
    raw = Representation(RepresentationSettings(preset="raw"))
    with pytest.raises(UserError, match="--preset duration"):
        Corruptor(raw)
