"""What counts as a degenerate piece."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.midi import Notes
from data_tools.representation import (
    Events,
    Representation,
    RepresentationSettings,
    TokenType,
)
from generator import Composer
from generator.degenerate import describe, describe_ids, repeated, signs

from .conftest import build


def piece(*notes: tuple[float, float, int]) -> dict[str, float]:
    start, end, pitch = np.array(notes, dtype=np.int32).T
    velocity = np.full(len(pitch), 64)
    return describe(midi.score_of(Notes(start, end, pitch, velocity), 480, 120.0))


def test_description() -> None:
    beat = 480  # half a second
    pitches = (60, 62, 64, 65, 60, 62, 64, 65, 65, 65)
    found = piece(*((i * beat, (i + 1) * beat, pitch) for i, pitch in enumerate(pitches)))
    assert found["notes"] == 10
    assert found["distinct_pitches"] == 4
    assert found["longest_run"] == 3
    assert found["seconds"] == pytest.approx(5)
    assert found["repeated_4grams"] == pytest.approx(1 / 7)
    assert found["longest_silence"] == 0
    gap = piece((0, 4 * beat, 60), (beat, 2 * beat, 62), (8 * beat, 9 * beat, 64))
    assert gap["longest_silence"] == pytest.approx(2)
    assert gap["repeated_4grams"] == 0


def line(pitches: Sequence[int]) -> dict[str, float]:
    return piece(*((i * 480, (i + 1) * 480, pitch) for i, pitch in enumerate(pitches)))


def test_a_loop_that_begins_late_is_a_loop() -> None:
    chance = np.random.default_rng(0)
    music = [int(pitch) for pitch in chance.integers(40, 90, 300)]
    assert signs(line(music)) == []
    late = line(music + [60, 64, 67, 71] * 40)
    assert late["repeated_4grams"] < 0.4
    assert late["looped"] > 0.95
    assert signs(late) == ["loop"]
    early = line([60, 64, 67, 71] * 40 + music)
    assert signs(early) == ["loop"]


def test_a_prompt_is_not_judged() -> None:
    chance = np.random.default_rng(0)
    music = [int(pitch) for pitch in chance.integers(40, 90, 60)]
    loop, run = [60, 64, 67, 71] * 20, [60] * 20

    def after(prompt: list[int], pitches: list[int], rest: int = 0) -> dict[str, float]:
        """Notes of half a second, the prompt's second half after twenty of silence."""
        late = [40 * (number > len(prompt) // 2) for number in range(len(prompt))]
        late += [40 + rest] * len(pitches)
        rows = zip(late, range(len(late)), prompt + pitches, strict=True)
        notes = np.array([(480 * (wait + place), pitch) for wait, place, pitch in rows])
        start, pitch = notes.T
        score = midi.score_of(Notes(start, start + 480, pitch, start * 0 + 64), 480, 120.0)
        return describe(score, len(prompt))

    for prompt in (loop, run):
        found = after(prompt, music)
        assert signs(found) == []
        assert (found["notes"], found["of_prompt"]) == (60 + len(prompt), len(prompt))
        assert found["generated"] == 60
        assert found["seconds"] == pytest.approx((100 + len(prompt)) / 2)
        assert found["distinct_pitches"] == len(set(music))
        assert found["longest_silence"] == 0
    assert signs(after(music, loop)) == ["loop", "monotone"]
    assert signs(after(music, run + music)) == ["run"]
    # The model's rest before its first note is its own.
    assert signs(after(music, music, rest=24)) == ["silence"]
    assert after(music, music, rest=24)["longest_silence"] == pytest.approx(12)
    # Of few notes nobody can tell, however many were given.
    assert signs(after(music, [60, 62, 60, 62] * 2)) == []


@pytest.mark.parametrize("preset", ["duration", "performance"])
def test_resting_for_ever_is_silence(preset: str) -> None:
    """As greed may: the file ends with its last note, and would pass for a short piece."""
    representation = Representation(RepresentationSettings(preset=preset))
    start = np.arange(6) * 50  # of 20 ms
    notes = Notes(start, start + 40, np.arange(60, 66), np.full(6, 64))
    ids = representation.encode_events(Events(midi.clean(notes))).astype(np.int64)
    assert describe_ids(ids, representation)["longest_silence"] == pytest.approx(0.2)
    longest = np.flatnonzero(representation.token_types == TokenType.TIME_SHIFT)[-1]
    stuck = np.append(ids, [longest] * 20)
    found = describe_ids(stuck, representation)
    lasts = representation.token_values[longest] * 20 * 0.02
    assert found["longest_silence"] == pytest.approx(lasts, abs=1)
    assert found["seconds"] == pytest.approx(5.8)
    assert signs(found) == ["silence"]


def test_what_a_composer_rests_at_the_end_counts(
    durations: Representation, monkeypatch: pytest.MonkeyPatch
) -> None:
    composer = Composer(build(durations), durations, default_label="jazz")
    [piece] = composer.compose(1, 3, length=100)
    rest = np.flatnonzero(durations.token_types == TokenType.TIME_SHIFT)[-1]
    stuck = torch.tensor([[*piece.ids, *[rest] * 100]])
    begins = composer._request(count=1, seed=3, batch=1).prefix
    grown = torch.cat([torch.tensor([begins]), stuck], 1)
    monkeypatch.setattr(Composer, "_tokens", lambda *_: iter([grown]))
    [found] = composer.compose(1, 3, length=200)
    assert found.statistics["seconds"] == piece.statistics["seconds"]
    assert "silence" in signs(found.statistics)


@given(st.lists(st.integers(60, 63), min_size=4, max_size=300), st.integers(8, 64))
def test_repetition_is_counted_stretch_by_stretch(pitches: list[int], stretch: int) -> None:
    size = min(len(pitches), stretch) - 3
    grams = [tuple(pitches[i : i + 4]) for i in range(len(pitches) - 3)]
    starts = [*range(0, len(grams) - size, stretch // 4), len(grams) - size]
    shares = [1 - len(set(grams[start : start + size])) / size for start in starts]
    assert repeated(np.array(pitches), stretch) == pytest.approx(max(shares))


def test_description_of_nothing(durations: Representation) -> None:
    assert set(describe(durations.decode([])).values()) == {0.0}


def test_signs_of_degenerate_pieces() -> None:
    sound = {
        "notes": 100.0, "longest_run": 3.0, "repeated_4grams": 0.3, "longest_silence": 1.0,
        "distinct_pitches": 30.0, "seconds": 40.0, "looped": 0.5,
    }  # fmt: skip
    assert signs(sound) == []
    for change, sign in (
        ({"notes": 0.0}, "empty"),
        ({"longest_run": 40.0}, "run"),
        ({"repeated_4grams": 0.95}, "loop"),
        ({"looped": 0.95}, "loop"),
        ({"longest_silence": 20.0}, "silence"),
        ({"distinct_pitches": 2.0}, "monotone"),
    ):
        assert signs(sound | change) == [sign]
    short = {"notes": 8.0, "repeated_4grams": 0.95, "distinct_pitches": 2.0}
    assert signs(sound | short) == [], "too short to tell a loop"
