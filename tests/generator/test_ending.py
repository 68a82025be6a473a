"""What breaks off may end at a pause: which one, and that nothing else of the piece changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools import midi
from data_tools.midi import Notes
from data_tools.representation import EOS, Events, Representation, RepresentationSettings
from generator import Composer
from generator.ending import LATEST, last_pause

from .conftest import build


@pytest.fixture(scope="module", params=["duration", "performance", "remi"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return Representation(RepresentationSettings(preset=request.param))


def spelt(gaps: list[int], representation: Representation) -> np.ndarray:
    """Ids of notes so many steps apart."""
    start = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    pitch = 48 + np.arange(len(start)) % 24
    notes = midi.clean(Notes(start, start + 10, pitch, np.full(len(start), 64)))
    return representation.encode_events(Events(notes)).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 12), min_size=1, max_size=80), st.data())
def test_it_ends_before_the_longest_gap_of_the_last_quarter(
    representation: Representation, gaps: list[int], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(gaps) - 1))
    gaps[place] = 60  # over a second on either time base
    ids = spelt(gaps, representation)
    kept = ids[: last_pause(representation, ids, 0)]
    late = place >= int(len(gaps) * (1 - LATEST))
    if len(gaps) + 1 < 16 or not late:
        assert len(kept) == len(ids)
        return
    whole, left = representation.events(ids).notes, representation.events(kept).notes
    assert len(left) == place + 1
    for name in ("start", "end", "pitch", "velocity"):
        assert getattr(left, name).tolist() == getattr(whole, name)[: place + 1].tolist()
    prompt = int(np.flatnonzero(representation.strikes[ids])[place]) + 1
    assert last_pause(representation, ids, prompt) >= prompt, "a prompt stays"


def test_an_even_stream_and_an_early_pause_stay_whole(representation: Representation) -> None:
    for gaps in ([10] * 40, [100] + [10] * 40):
        ids = spelt(gaps, representation)
        assert last_pause(representation, ids, 0) == len(ids)


def test_only_what_breaks_off_is_cut(durations: Representation) -> None:
    composer = Composer(build(durations), durations, default_label="jazz")
    choices = {"length": 400, "temperature": 1.0}
    plain = composer.compose(12, 3, **choices)
    ended = composer.compose(12, 3, end_at_pause=True, **choices)
    cut = 0
    for before, after in zip(plain, ended, strict=True):
        assert after.ids.tolist() == before.ids[: len(after.ids)].tolist()
        if before.ids[-1] == EOS:
            assert len(after.ids) == len(before.ids)
        cut += len(after.ids) < len(before.ids)
        assert "ends at a pause" in after.midi.markers[0].text
        mine, whole = (piece.midi.instruments[0].notes for piece in (after, before))
        assert len(mine) >= (1 - LATEST) * len(whole) - 1
    assert cut
    short = composer.compose(12, 3, seconds=40.0, end_at_pause=True, **choices)
    late = composer.compose(12, 3, seconds=40.0, **choices)
    assert any(len(a.ids) < len(b.ids) for a, b in zip(short, late, strict=True))


def test_a_prompt_is_never_cut(durations: Representation) -> None:
    composer = Composer(build(durations), durations, default_label="jazz")
    rng = np.random.default_rng(0)
    start = np.cumsum(rng.integers(100, 900, 30))
    music = midi.score_of(Notes(start, start + 90, 40 + np.arange(30), np.full(30, 70)), 480, 120.0)
    for seconds in (None, 40.0):
        for piece in composer.compose(4, 1, prompt=music, length=200, seconds=seconds,
                                      end_at_pause=True):  # fmt: skip
            pitches = [note.pitch for note in piece.midi.instruments[0].notes][:30]
            assert sorted(pitches) == list(range(40, 70))
