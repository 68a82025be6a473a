"""`gan data check`: one honest row a file, whatever the file."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import miditoolkit
import mido
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi, smf
from data_tools.corpus import build
from data_tools.errors import UserError
from data_tools.general_midi import program_name
from data_tools.inspect import COLUMNS, Inspection, inspect, inspect_many, programs_of_notes
from data_tools.suspicion import of_notes


def song(*tracks: tuple[int, bool], notes: int = 24, jitter: int = 0) -> miditoolkit.MidiFile:
    rng = np.random.default_rng(0)
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    for program, drums in tracks:
        track = miditoolkit.Instrument(program, is_drum=drums)
        for i in range(notes):
            start = i * 240 + (int(rng.integers(0, jitter)) if jitter else 0)
            track.notes.append(miditoolkit.Note(64 + i % 3, 48 + i % 12, start, start + 240))
        music.instruments.append(track)
    return music


def file_of(*tracks: list[tuple[str, dict[str, int]]], form: int = 1) -> bytes:
    """A file of (message, its values) lists, for what miditoolkit cannot say."""
    file = mido.MidiFile(type=form, ticks_per_beat=480)
    for track in tracks:
        make = {"set_tempo", "time_signature", "key_signature"}
        file.tracks.append(mido.MidiTrack(
            (mido.MetaMessage if kind in make else mido.Message)(kind, **values)
            for kind, values in track
        ))  # fmt: skip
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def stroke(note: int = 60, channel: int = 0, length: int = 240) -> list[tuple[str, dict[str, int]]]:
    return [
        ("note_on", {"note": note, "channel": channel, "velocity": 64}),
        ("note_off", {"note": note, "channel": channel, "time": length}),
    ]


def program(number: int, channel: int = 0) -> list[tuple[str, dict[str, int]]]:
    return [("program_change", {"program": number, "channel": channel})]


PIANO, OTHER_HAND, BASS, DRUMS = (0, False), (2, False), (33, False), (0, True)


@pytest.mark.parametrize(
    ("tracks", "instruments", "drums", "hands", "reason"),
    [
        ([PIANO], 1, False, 1, ""),
        ([PIANO, OTHER_HAND], 1, False, 2, ""),
        ([PIANO, DRUMS], 1, True, 1, "drums"),
        ([BASS, PIANO], 2, False, 1, "2 instruments: piano, 33 fingered bass"),
        ([BASS, PIANO, DRUMS], 2, True, 1, "drums; 2 instruments: piano, 33 fingered bass"),
        ([BASS], 1, False, 1, "no piano, but 33 fingered bass"),
        ([DRUMS], 0, True, 0, "nothing but drums"),
    ],
)
def test_rows(
    tracks: list[tuple[int, bool]], instruments: int, drums: bool, hands: int, reason: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = midi.write(song(*tracks), tmp_path / "a.mid")
    row = inspect(path)
    pitched = [number for number, is_drum in tracks if not is_drum]
    assert row.path == str(path)
    assert row.readable
    assert (row.instruments, row.drums, row.hands) == (instruments, drums, hands)
    assert row.programs == tuple(sorted(pitched))
    assert row.notes == 24 * len(tracks)
    assert (row.seconds, row.timing) == (6.0, "quantized")
    assert row.single_instrument == (instruments + drums == 1)
    assert row.piano == (row.reason == "")
    assert row.reason == reason
    assert row.kept == ("yes" if any(number < 8 for number in pitched) else "no piano track")
    assert (row.stuck, row.suspicious, row.damage) == (0, (), ())
    assert list(row.row()) == list(COLUMNS)
    assert inspect(path.read_bytes()) == replace(row, path="<bytes in memory>")
    assert inspect(song(*tracks)).notes == row.notes
    assert inspect(midi.read(path)).programs == row.programs


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # A program change that never sounds is nobody's instrument.
        (file_of(program(33) + program(0) + stroke() + program(56)), ((0,), 1, 0, 1)),
        # One midway that sounds makes two.
        (file_of(program(0) + stroke() + program(33) + stroke()), ((0, 33), 2, 1, 1)),
        (file_of(program(0) + stroke() + program(3) + stroke()), ((0, 3), 1, 1, 1)),
        (file_of(program(0) + stroke() + program(0) + stroke()), ((0,), 1, 0, 1)),
        # Format 0: each channel is a part of its own.
        (file_of(program(5, 1) + stroke() + stroke(channel=1), form=0), ((0, 5), 1, 0, 2)),
        (file_of(program(33, 1) + stroke() + stroke(channel=1), form=0), ((0, 33), 2, 0, 1)),
        # An empty track does not count, whatever it says.
        (file_of(program(33, 5), stroke()), ((0,), 1, 0, 1)),
        # A program set in another track holds where a track sets none itself.
        (file_of(program(33), stroke()), ((33,), 1, 0, 1)),
        (file_of(program(33), program(0) + stroke()), ((0,), 1, 0, 1)),
        # Two tracks on one channel, each with a program of its own.
        (file_of(program(0) + stroke(), program(33) + stroke()), ((0, 33), 2, 0, 1)),
        (file_of(stroke(), stroke(), stroke(), form=2), ((0,), 1, 0, 3)),
    ],
)
def test_programs_that_sound(data: bytes, expected: tuple[tuple[int, ...], int, int, int]) -> None:
    row = inspect(data)
    assert (row.programs, row.instruments, row.program_changes, row.hands) == expected


def test_channels_and_tracks() -> None:
    mixed = stroke() + stroke(channel=9) + stroke(channel=3)
    row = inspect(file_of(mixed, stroke(channel=3), program(4)))
    assert (row.tracks, row.empty_tracks, row.mixed_tracks) == (3, 1, 1)
    assert row.channels == (1, 4, 10), "counted from 1, as people do"
    assert row.format == 1
    assert inspect(file_of(mixed, form=0)).format == 0


def test_signatures_tempos_and_pedal() -> None:
    head: list[tuple[str, dict]] = [
        ("time_signature", {"numerator": 3, "denominator": 4}),
        ("key_signature", {"key": "Eb"}),
        ("set_tempo", {"tempo": 400_000}),
        ("set_tempo", {"tempo": 400_000, "time": 480}),
        ("key_signature", {"key": "F#m"}),
        ("set_tempo", {"tempo": 1_000_000, "time": 480}),
        ("time_signature", {"numerator": 3, "denominator": 4}),
    ]
    pedal = [
        ("control_change", {"control": 64, "value": 127}),
        *stroke(length=480),
        ("control_change", {"control": 64, "value": 0}),
        *stroke(length=480),
    ]
    row = inspect(file_of(head, pedal))
    assert row.time_signatures == ("3/4",)
    assert row.key_signatures == ("Eb", "F#m")
    assert (row.tempo, row.tempo_changes) == (150.0, 1)
    assert row.seconds == 0.8
    assert row.pedal == 0.5
    assert (row.polyphony, row.polyphony_max) == (1.0, 1)
    assert (inspect(file_of(stroke())).tempo, inspect(file_of(stroke())).pedal) == (120.0, 0.0)


def test_pedals_of_two_tracks_that_overlap_count_once() -> None:
    def held(down: int, up: int) -> list[tuple[str, dict[str, int]]]:
        return [
            ("control_change", {"control": 64, "value": 127, "time": down}),
            ("control_change", {"control": 64, "value": 0, "time": up - down}),
        ]

    long = stroke(length=1000)
    assert inspect(file_of(long, held(100, 700) + stroke(), held(200, 300) + stroke())).pedal == 0.6
    assert inspect(file_of(long, held(100, 300) + stroke(), held(200, 400) + stroke())).pedal == 0.3


def test_polyphony() -> None:
    chord = [("note_on", {"note": note, "velocity": 9}) for note in (60, 64, 67)]
    ends = [("note_off", {"note": note, "time": 100}) for note in (60, 64, 67)]
    row = inspect(file_of([*chord, *ends]))
    assert (row.polyphony, row.polyphony_max) == (2.0, 3)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=30))
def test_polyphony_against_counting(spans: list[tuple[int, int]]) -> None:
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    music.instruments.append(miditoolkit.Instrument(0))
    for number, (start, length) in enumerate(spans):
        music.instruments[0].notes.append(
            miditoolkit.Note(64, 30 + number, 480 * start, 480 * (start + length))
        )
    depth = np.zeros(100)
    for start, length in spans:
        depth[start : start + length] += 1
    row = inspect(music)
    assert row.polyphony_max == depth.max()
    assert row.polyphony == pytest.approx(depth[depth > 0].mean(), abs=0.01)


def test_no_notes_and_unreadable(tmp_path: Path) -> None:
    assert inspect(song(PIANO, notes=0)).reason == "no notes"
    assert inspect(song(PIANO, notes=0)).readable
    assert inspect(file_of(stroke()[:1])).reason == "no note that ends"
    (tmp_path / "empty.mid").touch()
    (tmp_path / "garbage.mid").write_bytes(b"hello, world" * 9)
    for name, reason in (("empty", "empty file"), ("garbage", "not readable"), ("none", "No such")):
        row = inspect(tmp_path / f"{name}.mid")
        assert not row.readable
        assert row.reason.startswith(reason)
        assert row.kept == row.reason
        assert row.notes == 0
    cut = inspect(midi.to_bytes(song(PIANO))[:-9])
    assert cut.reason == "not readable as MIDI (a track breaks off)"
    assert cut.notes > 0, "what was seen of it is told"


def test_whatever_happens_inside_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(smf, "scan", broken)
    assert inspect(b"x", "a.mid") == Inspection(
        "a.mid", False, kept="ZeroDivisionError: oh", reason="ZeroDivisionError: oh"
    )


@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    whole = bytearray(file_of(program(0) + 9 * stroke(), stroke(40, 3)))
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(14, len(whole) - 1))] = data.draw(st.integers(0, 255))
    row = inspect(bytes(whole[: data.draw(st.integers(0, len(whole)))]), "a.mid")
    assert row.path == "a.mid"
    assert row.readable or row.reason
    assert np.isfinite([row.seconds, row.polyphony, row.pedal, row.tempo or 0]).all()


def notes(
    start: list[float], length: float = 0.5, pitch: int = 60, velocity: int = 1
) -> midi.Notes:
    at = np.array(start)
    rising = np.arange(len(at)) % 3
    return midi.Notes(at, at + length, pitch + rising, velocity + rising)


STEADY = [0.5 * i for i in range(40)]


@pytest.mark.parametrize(
    ("music", "marks"),
    [
        (notes(STEADY), ()),
        (notes([]), ()),
        (replace(notes(STEADY), pitch=np.full(40, 60)), ("one pitch",)),
        (replace(notes(STEADY), velocity=np.full(40, 60)), ("one velocity",)),
        (replace(notes(STEADY[:9]), velocity=np.full(9, 60)), ()),
        (notes([*STEADY, 40.0], pitch=110), ("off the 88 keys (100%)",)),
        (notes([*STEADY, 100.0]), ("long silence (80 s)",)),
        (notes([x + 61 for x in STEADY]), ("long silence (61 s)",)),
        (notes(STEADY, length=2.0), ("struck while sounding (92%)",)),
        (replace(notes(STEADY), end=np.array([*STEADY[1:], 200.0])), ("long note (180 s)",)),
    ],
)
def test_suspicion(music: midi.Notes, marks: tuple[str, ...]) -> None:
    assert of_notes(music, [music]) == marks


def test_suspicious_bytes() -> None:
    stuck = stroke() + [("note_on", {"note": 50, "velocity": 64})]
    assert inspect(file_of(stuck)).suspicious == ("stuck notes (1)",)
    doubled = stroke()[:1] + stroke()
    assert inspect(file_of(doubled)).suspicious == ("notes not read (1)",)
    both = doubled + stroke(40)[:1]
    assert inspect(file_of(both)).suspicious == ("stuck notes (1)", "notes not read (1)")
    fast: list[tuple[str, dict]] = [("set_tempo", {"tempo": 60})]
    assert inspect(file_of(fast + stroke())).suspicious == ("absurd tempo (1e+06)",)


def test_two_hands_may_hold_one_key() -> None:
    row = inspect(song(PIANO, OTHER_HAND))
    assert row.suspicious == ()
    assert row.polyphony == 2.0


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


def test_rows_agree_with_the_manifest_of_real_files(mini: Path) -> None:
    with (mini / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        facts = list(csv.DictReader(stream))
    for fact in facts:
        row = inspect(mini / fact["path"])
        known = {"performed": "played", "quantized": "quantized"}.get(fact["timing"], "mixed")
        assert "mixed" in (row.timing, known) or row.timing == known, row.path
        assert row.notes - int(fact["n_notes"]) in range(row.stuck + 1), row.path
        # There the file's last event ends it, here its last note.
        assert 0.8 < row.seconds / float(fact["duration_s"]) < 1.001, row.path


def test_kept_is_what_a_build_keeps(mini: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    wild = [path for kind in ("broken", "ensemble") for path in (mini.parent / kind).glob("*.mid")]
    for path in wild:
        (music / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    midi.write(song(PIANO, notes=15), music / "few.mid")
    midi.write(song(PIANO, notes=16), music / "enough.mid")
    trill = miditoolkit.MidiFile(ticks_per_beat=480)
    trill.instruments.append(miditoolkit.Instrument(0))
    for i in range(99):
        trill.instruments[0].notes.append(miditoolkit.Note(64, 60, i * 100, i * 100 + 90))
    midi.write(trill, music / "one-pitch.mid")
    corpus, _ = build([music], tmp_path / "corpus", workers=1)
    kept = {row["path"] for row in corpus.rows}
    rows = inspect_many(sorted(music.iterdir()), workers=1)
    assert {Path(row.path).name for row in rows if row.kept == "yes"} == kept
    assert "enough.mid" in kept
    assert inspect(music / "one-pitch.mid").kept.startswith("one bar or pitch again and again")
    assert inspect(music / "few.mid").kept == "fewer than 16 notes (15)"
    band = song(PIANO, (33, False), notes=15)
    assert inspect(band).kept == "fewer than 16 notes in its piano part (15)"
    midi.write(band, tmp_path / "band" / "few.mid")
    with pytest.raises(UserError, match=r"fewer than 16 notes in its piano part"):
        build([tmp_path / "band"], tmp_path / "other", workers=1)


def test_programs_agree_with_the_corpus_reader(mini: Path) -> None:
    for path in sorted(mini.rglob("*.mid*")):
        notes, program = programs_of_notes(smf.scan(path.read_bytes()).events)
        tracks = [track for track in midi.read(path).tracks if track.notes and not track.is_drum]
        assert set(program[notes.channel != 9].tolist()) == {track.program for track in tracks}


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
        assert (row.seconds > 0) == (row.timing != "")
        assert np.isfinite(row.seconds)
    if kind == "ensemble":
        assert sum(row.reason != "" for row in rows) >= 0.8 * len(rows)


def test_names_of_instruments() -> None:
    names = [program_name(number) for number in range(128)]
    assert len(set(names)) == 128
    assert names[0] == "acoustic grand piano"
    assert (names[33], names[66], names[127]) == ("fingered bass", "tenor sax", "gunshot")
    many = file_of(*(program(10 * i, i) + stroke(channel=i) for i in range(7)))
    assert inspect(many).reason == (
        "7 instruments: piano, 10 music box, 20 reed organ, 30 distortion guitar, 3 more"
    )
