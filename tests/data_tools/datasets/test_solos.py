"""Note tables as MIDI: every note at its second, the tempo map on the annotated beats."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.datasets.solos import TICKS, score_of_solo
from data_tools.errors import MidiError
from data_tools.midi import notes_of, seconds_of


def table(rows: list[dict[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def solo(onsets: np.ndarray, lengths: float = 0.1) -> list[dict[str, object]]:
    return [
        {"onset": onset, "duration": lengths, "signature": '"4/4"', "pitch": 60 + i % 12,
         "loud_median": 60 + i % 7}
        for i, onset in enumerate(onsets.tolist())
    ]  # fmt: skip


@given(
    st.floats(0.15, 1.5), st.floats(-0.2, 0.2), st.integers(2, 30), st.floats(0, 20),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_notes_keep_their_seconds(
    beat: float, drift: float, count: int, first: float, seed: int
) -> None:
    """Whatever the beats do, the notes sound where the table says, to a thousandth of a beat."""
    generator = np.random.default_rng(seed)
    lengths = beat * (1 + drift * generator.uniform(-1, 1, count))
    beats = first + np.cumsum(lengths)
    onsets = np.sort(generator.uniform(max(0, first - 3), beats[-1] + 3, 20))
    onsets = onsets[np.concatenate([[True], np.diff(onsets) > 0.01])]
    rows = solo(onsets)
    score = score_of_solo(table(rows), table([{"onset": b} for b in beats.tolist()]), "a.csv")
    heard = seconds_of(score, notes_of(score.tracks[0]).start)
    assert len(heard) == len(onsets)
    shift = heard[0] - onsets[0]
    assert np.allclose(heard - shift, onsets, atol=1.5 * beat / TICKS + 1e-3)
    # The music begins no later than one beat before its first note or beat.
    assert 0 <= heard[0] <= max(onsets[0] - beats[0], 0) + 1.3 * beat + 1e-6


def test_beats_fall_on_beats() -> None:
    beats = 5 + 0.4 * np.arange(9)
    score = score_of_solo(table(solo(beats)), table([{"onset": b} for b in beats.tolist()]), "a")
    notes = notes_of(score.tracks[0])
    assert (notes.start == TICKS * np.arange(9)).all()
    assert score.tempos[0].qpm == pytest.approx(150, abs=1e-3)
    assert score.tracks[0].program == 0


def test_without_beats_it_is_120() -> None:
    score = score_of_solo(table(solo(3 + 0.25 * np.arange(4))), None, "a")
    assert notes_of(score.tracks[0]).start.tolist() == [0, 240, 480, 720]
    assert [tempo.qpm for tempo in score.tempos] == [120]


def test_velocities_follow_loudness_about_its_median() -> None:
    rows = solo(np.arange(5) * 0.5)
    for row, loud in zip(rows, (50, 60, 64, "", 90), strict=True):
        row["loud_median"] = loud
    notes = notes_of(score_of_solo(table(rows), None, "a").tracks[0])
    assert notes.velocity.tolist() == [50, 75, 85, 80, 120]
    for row in rows:
        del row["loud_median"]
    notes = notes_of(score_of_solo(table(rows), None, "a").tracks[0])
    assert set(notes.velocity.tolist()) == {80}


def test_the_shortest_notes_survive_slow_beats() -> None:
    """A note of 2 ms in a beat of 3 s is a third of a tick."""
    rows = solo(np.arange(4) * 3.0, lengths=0.002)
    score = score_of_solo(table(rows), table([{"onset": 3.0 * i} for i in range(5)]), "a")
    assert len(notes_of(score.tracks[0])) == 4


def test_insane_rows_are_left_out() -> None:
    rows = solo(np.arange(7) * 0.5)
    for row, (column, value) in zip(rows[1:], [
        ("onset", "nan"), ("onset", ""), ("pitch", 300), ("duration", -1), ("pitch", "x"),
        ("duration", "inf"),
    ], strict=True):  # fmt: skip
        row[column] = value
    assert len(notes_of(score_of_solo(table(rows), None, "a").tracks[0])) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"onset,pitch\n1,2\n", "no column 'duration'"),
        (b"onset,duration,pitch\n", "no notes"),
        (b"onset,duration,pitch\n1,1,5\n", "88 keys"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "no column"),
    ],
)
def test_no_solo_is_told_with_its_name(data: bytes, message: str) -> None:
    with pytest.raises(MidiError, match=message) as caught:
        score_of_solo(data, None, "solo.csv")
    assert caught.value.source == "solo.csv"
