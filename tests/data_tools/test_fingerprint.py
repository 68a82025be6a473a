"""Fingerprints: a planted mark is found, and a change of one thing moves nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import fingerprint, midi
from data_tools.fingerprint import GROUPS, NAMES
from data_tools.midi import Notes

NOTES = 200


def played(seed: int, count: int = NOTES) -> Notes:
    """Notes in seconds, as a player without any grid would strike them."""
    generator = np.random.default_rng(seed)
    start = np.cumsum(generator.gamma(2.0, 0.1, count))
    pitch = generator.integers(40, 80, count).astype(np.int16)
    velocity = generator.integers(30, 110, count).astype(np.int16)
    return Notes(start, start + 0.2, pitch, velocity)


def file_of(notes: Notes, ticks: int = 480, bpm: float = 120.0) -> tuple[np.ndarray, Notes]:
    """The fingerprint of these seconds written into a file, and its notes in seconds."""
    per_second = ticks * bpm / 60
    start, end = (
        np.rint(times * per_second).astype(np.int64) for times in (notes.start, notes.end)
    )
    score = midi.score_of(Notes(start, end, notes.pitch, notes.velocity), ticks, bpm)
    table = midi.notes_of(score.tracks[0])
    timed = Notes(
        midi.seconds_of(score, table.start), midi.seconds_of(score, table.end),
        table.pitch, table.velocity,
    )  # fmt: skip
    return fingerprint.measure(score, timed), timed


def value(vector: np.ndarray, name: str) -> float:
    return float(vector[NAMES.index(name)])


def gridded(notes: Notes, period: float, offset: float = 0.0) -> Notes:
    start = np.rint(notes.start / period) * period + offset
    order = np.lexsort((notes.pitch, start))
    return Notes(start, start + 0.2, notes.pitch, notes.velocity).take(order)


def test_names_are_the_groups_in_their_order() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(file_of(played(0))[0])
    assert [NAMES[place] for group in GROUPS for place in fingerprint.columns(group)] == list(NAMES)
    assert set(GROUPS) == {
        "ticks", "tempo", "velocity", "grid", "timing", "length", "pedal", "register",
    }  # fmt: skip


@given(st.floats(10, 62), st.floats(0, 1), st.integers(0, 99))
def test_a_grid_is_found_with_its_period_and_place(period: float, place: float, seed: int) -> None:
    notes = gridded(played(seed), period / 1000, offset=place * period / 1000)
    vector, _ = file_of(notes, ticks=960)
    assert value(vector, "grid_strength") > 0.95
    assert value(vector, "grid_period") == pytest.approx(period, rel=0.005)
    away = abs(place - round(place))
    assert value(vector, "grid_off_zero") == pytest.approx(away, abs=0.06)
    assert value(vector, "grid_off_first") < 0.06


def test_a_transcribers_grid_survives_coarse_ticks_and_the_longest_period_is_named() -> None:
    vector, _ = file_of(gridded(played(1), 0.032), ticks=220)
    assert value(vector, "grid_period") == pytest.approx(32, abs=0.1)
    for period in (8, 16, 32):
        assert value(vector, f"grid_{period}_ms") > fingerprint.HOLDS
    for period in (5, 10, 20, 24, 25, 40, 48, 50):
        assert value(vector, f"grid_{period}_ms") < 0.3


def test_a_player_has_no_grid() -> None:
    for seed in range(20):
        vector, _ = file_of(played(seed))
        assert value(vector, "grid_period") == 0
        strengths = [value(vector, f"grid_{period:g}_ms") for period in (8, 20, 32, 50)]
        assert max(strengths) < 0.35


@pytest.mark.parametrize(
    ("change", "groups"),
    [
        (lambda n: Notes(n.start, n.end, n.pitch + 3, n.velocity), {"register"}),
        (lambda n: Notes(n.start, n.end, n.pitch, n.velocity // 2 + 1), {"velocity"}),
        (lambda n: Notes(n.start + 0.5, n.end + 0.5, n.pitch, n.velocity), {"length", "grid"}),
    ],
    ids=["transposed", "softer", "later"],
)
def test_a_change_moves_its_own_groups_only(change, groups) -> None:
    notes = gridded(played(3), 0.032)
    before, after = file_of(notes)[0], file_of(change(notes))[0]
    moved = {
        group for group in GROUPS
        if not np.allclose(*(v[fingerprint.columns(group)] for v in (before, after)), atol=1e-4)
    }  # fmt: skip
    assert moved == groups


def test_ticks_tempo_and_pedal_are_the_files() -> None:
    notes = gridded(played(4), 0.125)
    vector, timed = file_of(notes, ticks=96, bpm=120)
    assert value(vector, "ticks_per_beat") == 96
    assert value(vector, "tick_step") == 24
    assert value(vector, "tempo_only_120") == 1
    assert value(vector, "on_beats") == 1
    assert value(vector, "notes") == len(timed)
    assert value(vector, "pedals_a_minute") == value(vector, "pedal_share") == 0
    other, _ = file_of(notes, ticks=96, bpm=90)
    assert value(other, "tempo_first") == pytest.approx(90)
    assert value(other, "tempo_only_120") == 0


def test_strength_is_the_mean_resultant_without_its_share_of_chance() -> None:
    onsets = played(5).start[:64]
    angle = 2 * np.pi * onsets / 0.032
    power = np.mean(np.cos(angle)) ** 2 + np.mean(np.sin(angle)) ** 2
    expected = np.sqrt(max((len(onsets) * power - 1) / (len(onsets) - 1), 0))
    found = fingerprint.of_notes(played(5))["grid_32_ms"]
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 40), st.integers(0, 50))
def test_anything_short_or_dense_has_a_finite_fingerprint(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    start = np.sort(generator.integers(0, 4, count) * 0.02)
    notes = Notes(start, start + 0.02, np.full(count, 60), np.full(count, 64))
    window = fingerprint.measure_window(notes, np.zeros((0, 2)), 3 * count, 0.02)
    assert np.isfinite(window).all()
    assert np.isfinite(file_of(notes)[0]).all()
    assert window.shape == (len(NAMES),)
    nothing = notes.take(np.zeros(0, dtype=np.int64))
    assert fingerprint.measure_window(nothing, np.zeros((0, 2)), 1, 0.02).any()


def test_on_a_coarse_clock_a_rhythm_is_not_taken_for_a_fine_grid() -> None:
    """Semiquavers of 120 ms, sampled in 20 ms, fit 24 ms exactly; nobody stepped in 24 ms."""
    start = np.cumsum(np.random.default_rng(0).integers(1, 4, 100)) * 0.12
    notes = Notes(start, start + 0.1, np.full(100, 60), np.full(100, 64))
    window = fingerprint.measure_window(notes, np.zeros((0, 2)), 300, 0.02)
    assert value(window, "grid_24_ms") == 0
    assert value(window, "grid_40_ms") > 0.9


def test_real_transcriptions_show_the_transcribers_grid(mini: Path) -> None:
    seen = set()
    for path in sorted(mini.rglob("*.mid")):
        score = midi.prepare(path).score
        notes = midi.notes_of(score.tracks[0])
        timed = Notes(
            midi.seconds_of(score, notes.start), midi.seconds_of(score, notes.end),
            notes.pitch, notes.velocity,
        )  # fmt: skip
        vector = fingerprint.measure(score, timed)
        assert np.isfinite(vector).all()
        pijama = path.parent.name == "pijama"
        seen.add(pijama)
        assert (value(vector, "grid_32_ms") > fingerprint.HOLDS) == pijama
        assert (value(vector, "ticks_per_beat") == 220) == pijama
    assert seen == {True, False}
