"""`gan data check`: one honest row a file, whatever the file."""

from pathlib import Path

import miditoolkit
import numpy as np
import pytest

from data_tools import midi
from data_tools.inspect import Inspection, inspect, inspect_many


def song(*tracks: tuple[int, bool], notes: int = 24, jitter: int = 0) -> miditoolkit.MidiFile:
    rng = np.random.default_rng(0)
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    for program, drums in tracks:
        track = miditoolkit.Instrument(program, is_drum=drums)
        for i in range(notes):
            start = i * 240 + (int(rng.integers(0, jitter)) if jitter else 0)
            track.notes.append(miditoolkit.Note(64, 48 + i % 12, start, start + 240))
        music.instruments.append(track)
    return music


PIANO, OTHER_HAND, BASS, DRUMS = (0, False), (2, False), (33, False), (0, True)


@pytest.mark.parametrize(
    ("tracks", "instruments", "drums", "reason"),
    [
        ([PIANO], 1, False, ""),
        ([PIANO, OTHER_HAND], 1, False, ""),
        ([PIANO, DRUMS], 1, True, "drums"),
        ([BASS, PIANO], 2, False, "2 instruments (programs 33)"),
        ([BASS, PIANO, DRUMS], 2, True, "drums; 2 instruments (programs 33)"),
        ([BASS], 1, False, "no piano (programs 33)"),
        ([DRUMS], 0, True, "drums; nothing but drums"),
    ],
)
def test_rows(
    tracks: list[tuple[int, bool]], instruments: int, drums: bool, reason: str, tmp_path: Path
) -> None:
    path = midi.write(song(*tracks), tmp_path / "a.mid")
    row = inspect(path)
    assert row == Inspection(
        str(path), True, instruments, drums, 24 * len(tracks), 6.0, "quantized", reason
    )
    assert list(row.row()) == [
        "path", "readable", "instruments", "drums", "notes", "seconds", "timing", "reason",
    ]  # fmt: skip


def test_no_notes_and_unreadable(tmp_path: Path) -> None:
    assert inspect(song(PIANO, notes=0)).reason == "no notes"
    assert inspect(song(PIANO, notes=0)).readable
    (tmp_path / "empty.mid").touch()
    (tmp_path / "garbage.mid").write_bytes(b"hello, world" * 9)
    for name, reason in (("empty", "empty file"), ("garbage", "not readable"), ("none", "No such")):
        row = inspect(tmp_path / f"{name}.mid")
        assert not row.readable
        assert row.reason.startswith(reason)
        assert row.notes == 0


def test_seconds_end_with_the_last_note() -> None:
    music = song(PIANO)
    music.instruments[0].control_changes.append(miditoolkit.ControlChange(7, 100, 480 * 1000))
    assert inspect(music).seconds == 6.0


def test_timing() -> None:
    assert inspect(song(PIANO, notes=400)).timing == "quantized"
    assert inspect(song(PIANO, notes=400, jitter=200)).timing == "played"
    mixed = song(PIANO, PIANO, notes=400)
    mixed.instruments[1] = song(PIANO, notes=400, jitter=240).instruments[0]
    assert inspect(mixed).timing == "mixed"


def test_timing_agrees_with_the_manifest_of_real_files(mini: Path) -> None:
    # PiJAMA's onsets come from a transcriber, Joplin's from scores.
    played = [inspect(path).timing for path in sorted((mini / "jazz" / "pijama").glob("*"))[:8]]
    assert played.count("quantized") == 0
    assert played.count("played") >= 0.8 * len(played)
    for path in sorted((mini / "jazz" / "joplin-kern").glob("*"))[:4]:
        assert inspect(path).timing == "quantized"


@pytest.mark.parametrize("kind", ["broken", "ensemble"])
def test_wild_files_give_a_row_each(kind: str, mini: Path) -> None:
    folder = mini.parent / kind
    if not folder.is_dir():
        pytest.skip(f"no folder of {kind} files")
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    rows = list(inspect_many(paths, workers=1))
    assert [row.path for row in rows] == [str(path) for path in paths]
    for row in rows:
        assert row.readable or row.reason
        assert (row.notes > 0) == (row.timing != "")
        assert np.isfinite(row.seconds)
    if kind == "ensemble":
        assert sum(row.reason != "" for row in rows) >= 0.8 * len(rows)
