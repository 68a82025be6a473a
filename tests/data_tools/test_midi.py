"""MIDI in and out: every kind of input is one music, bad files say why, notes are a piano's."""

import io
import os
import pickle
from pathlib import Path

import miditoolkit
import mido
import numpy as np
import pytest
import symusic
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_tools import midi, smf
from data_tools.errors import MidiError
from data_tools.midi import Notes


def song(*tracks: tuple[int, bool, int], count: int = 24) -> miditoolkit.MidiFile:
    """One track for each (program, drums, lowest pitch), `count` notes each."""
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    for number, (program, drums, lowest) in enumerate(tracks):
        track = miditoolkit.Instrument(program, is_drum=drums, name=f"part {number}")
        for i in range(count):
            note = miditoolkit.Note(40 + i, lowest + i % 12, i * 240, i * 240 + 200)
            track.notes.append(note)
        music.instruments.append(track)
    music.tempo_changes.append(miditoolkit.TempoChange(90, 0))
    return music


def data_of(music: miditoolkit.MidiFile) -> bytes:
    buffer = io.BytesIO()
    music.dump(file=buffer)
    return buffer.getvalue()


def table(notes: Notes) -> list[tuple[int, ...]]:
    columns = (notes.start, notes.end, notes.pitch, notes.velocity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def notes_in(music: midi.Music) -> list[tuple[int, ...]]:
    return table(midi.notes_of(midi.prepare(music).score.tracks[0]))


note_lists = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-1, 40), st.integers(15, 115), st.integers(0, 127)),
    max_size=40,
)


def notes_from(rows: list[tuple[int, int, int, int]], pitch_type: type = np.int16) -> Notes:
    start, length, pitch, velocity = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    notes = Notes(start, start + length, pitch.astype(pitch_type), velocity.astype(pitch_type))
    return notes.take(np.lexsort((notes.pitch, notes.start)))


# Reading


def test_every_kind_of_input_is_the_same_music(tmp_path: Path) -> None:
    music = song((0, False, 60))
    data = data_of(music)
    path = tmp_path / "a.mid"
    path.write_bytes(data)
    expected = notes_in(data)
    assert len(expected) == 24
    for same in (path, str(path), music, midi.read(path), midi.to_miditoolkit(midi.read(path))):
        assert notes_in(same) == expected


def test_symusic_and_miditoolkit_agree_on_real_files(mini: Path) -> None:
    for path in sorted(mini.rglob("*.mid"))[::6]:
        tracks = miditoolkit.MidiFile(str(path)).instruments
        rows = [
            (note.start, note.end, note.pitch, note.velocity)
            for track in tracks
            if not track.is_drum and track.program in midi.PIANO_PROGRAMS
            for note in track.notes
        ]
        columns = np.array(rows).T
        notes = Notes(*columns).take(np.lexsort((columns[2], columns[0])))
        ours = {row[:3] for row in notes_in(path)}
        theirs = {row[:3] for row in table(midi.clean(notes))}
        assert len(ours ^ theirs) <= 0.002 * len(theirs), path


def breakages(tmp_path: Path) -> list[tuple[Path, str]]:
    whole = data_of(song((0, False, 60)))
    for name, data in (
        ("empty.mid", b""),
        ("garbage.mid", b"dear diary, " * 40),
        ("header.mid", whole[:10]),
        ("truncated.mid", whole[: len(whole) // 2]),
    ):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.mid").mkdir()
    return [
        (tmp_path / "missing.mid", "No such file"),
        (tmp_path / "empty.mid", "empty file"),
        (tmp_path / "garbage.mid", "not readable as MIDI"),
        (tmp_path / "header.mid", "not readable as MIDI"),
        (tmp_path / "truncated.mid", "not readable as MIDI"),
        (tmp_path / "folder.mid", "Is a directory"),
    ]


def test_what_cannot_be_read_names_the_file_and_the_reason(tmp_path: Path) -> None:
    for path, reason in breakages(tmp_path):
        with pytest.raises(MidiError, match=reason) as caught:
            midi.read(path)
        assert caught.value.source == str(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.skipif(os.name == "nt", reason="no such pipes")
def test_a_pipe_is_not_called_an_empty_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.mid")
    with pytest.raises(MidiError, match="not a regular file"):
        midi.read(tmp_path / "endless.mid")


def test_a_track_cut_anywhere_is_refused() -> None:
    # symusic alone reads past the end of the bytes, and finds notes there on some days.
    whole = data_of(song((0, False, 60)))
    track = whole.rindex(b"MTrk")
    for cut in range(track + 4, len(whole)):
        with pytest.raises(MidiError, match="breaks off"):
            midi.read(whole[:cut])
    assert notes_in(whole + b"junk after the last track") == notes_in(whole)


def test_a_file_too_large_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi, "MAX_BYTES", 2**20)
    path = tmp_path / "large.mid"
    path.write_bytes(data_of(song((0, False, 60))) + bytes(2**20))
    with pytest.raises(MidiError, match="larger than 1 MiB"):
        midi.read(path)


def test_an_archive_is_called_one(tmp_path: Path) -> None:
    for name in ("music.zip", "MUSIC.TAR.XZ"):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(MidiError, match="an archive; unpack it first"):
            midi.read(tmp_path / name)


def test_an_error_without_words_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def from_midi(*_: object, **__: object) -> None:
            raise MemoryError

    monkeypatch.setattr(midi.symusic, "Score", Full)
    with pytest.raises(MidiError, match=r"not readable as MIDI \(MemoryError\)"):
        midi.read(b"MThd")


def test_check_and_build_take_the_same_sizes() -> None:
    assert midi.MAX_BYTES == smf.LARGEST


@pytest.mark.parametrize(("field", "value"), [("velocity", 200), ("pitch", 130), ("start", -5)])
def test_an_object_with_values_midi_cannot_hold(field: str, value: int, tmp_path: Path) -> None:
    music = song((0, False, 60))
    setattr(music.instruments[0].notes[0], field, value)
    with pytest.raises(MidiError, match="cannot be written as MIDI"):
        midi.read(music)
    with pytest.raises(MidiError, match="cannot be written as MIDI"):
        midi.write(music, tmp_path / "a.mid")
    assert list(tmp_path.iterdir()) == []


def test_errors_cross_process_boundaries() -> None:
    error = pickle.loads(pickle.dumps(MidiError("a.mid", "no notes")))
    assert (error.source, error.reason, str(error)) == ("a.mid", "no notes", "a.mid: no notes")


# One piano track


def test_prepare_drops_what_is_no_piano_and_says_so() -> None:
    prepared = midi.prepare(song((0, False, 60), (33, False, 30), (0, True, 36)))
    assert prepared.dropped == ("part 1 (program 33)", "drums")
    assert len(prepared.score.tracks) == 1
    pitches = midi.notes_of(prepared.score.tracks[0]).pitch
    assert pitches.min() == 60
    assert len(pitches) == 24


def test_prepare_merges_two_hands() -> None:
    music = song((0, False, 72), (4, False, 40))
    notes = notes_in(music)
    assert len(notes) == 48
    assert {row[2] >= 60 for row in notes} == {True, False}
    assert notes == sorted(notes, key=lambda row: (row[0], row[2]))


def test_prepare_without_a_piano() -> None:
    with pytest.raises(MidiError, match=r"no piano track, only part 0 \(program 33\), drums"):
        midi.prepare(song((33, False, 40), (0, True, 36)))
    for count, end in ((3, r"part 2 \(program 42\)"), (12, r"part 2 \(program 42\) and 9 more")):
        parts = [(40 + number, False, 40) for number in range(count)]
        with pytest.raises(MidiError, match=rf"only part 0 \(program 40\), [^,]*, {end}$"):
            midi.prepare(song(*parts))
    with pytest.raises(MidiError, match="no notes"):
        midi.prepare(song((0, False, 60), count=0))
    with pytest.raises(MidiError, match="88 keys"):
        midi.prepare(song((0, False, 0), count=12))


def test_prepare_says_why_no_note_can_be_played() -> None:
    silent = [(0, 0, 60, 80), (10, 0, 64, 80)]
    high = [(0, 10, 120, 80), (0, 0, 110, 80)]
    for rows, reason in (
        (silent, "has a length"), (high, "no notes on a piano"), (silent + high, "has a length")
    ):  # fmt: skip
        with pytest.raises(MidiError, match=reason):
            midi.prepare(midi.score_of(notes_from(rows), 480))


def test_prepare_unites_the_pedals_of_two_hands() -> None:
    music = song((0, False, 72), (0, False, 40))
    for track, spans in zip(
        music.instruments,
        ([(0, 500), (1000, 1200)], [(100, 200), (400, 900), (1050, 1100)]),
        strict=True,
    ):
        for down, up in spans:
            track.control_changes.append(miditoolkit.ControlChange(64, 127, down))
            track.control_changes.append(miditoolkit.ControlChange(64, 0, up))
    pedals = midi.prepare(music).score.tracks[0].pedals
    assert [(pedal.time, pedal.end) for pedal in pedals] == [(0, 900), (1000, 1200)]


@pytest.mark.parametrize(("program", "piano"), [(0, True), (7, True), (8, False)])
def test_a_clavinet_is_a_piano_and_a_celesta_is_none(program: int, piano: bool) -> None:
    prepared = midi.prepare(song((0, False, 60), (program, False, 40)))
    assert bool(prepared.dropped) != piano
    assert len(prepared.score.tracks[0].notes) == (48 if piano else 24)


def test_prepare_leaves_its_input_alone() -> None:
    score = midi.read(data_of(song((0, False, 60), (33, False, 30))))
    before = score.copy()
    prepared = midi.prepare(score).score
    prepared.tempos.append(symusic.Tempo(5000, 33))
    assert score == before


# Cleaning


@given(note_lists)
def test_clean_leaves_what_a_piano_can_play(rows: list[tuple[int, int, int, int]]) -> None:
    notes = midi.clean(notes_from(rows))
    cleaned = table(notes)
    assert cleaned == sorted(cleaned, key=lambda row: (row[0], row[2]))
    assert table(midi.clean(notes)) == cleaned
    assert all(end > start for start, end, *_ in cleaned)
    assert all(21 <= pitch <= 108 and velocity > 0 for *_, pitch, velocity in cleaned)
    for pitch in set(notes.pitch.tolist()):
        own = notes.take(notes.pitch == pitch)
        assert np.all(own.end[:-1] <= own.start[1:])
    # Nothing playable is lost: every onset of a pitch is still there, once.
    wanted = {(s, p) for s, d, p, v in rows if d > 0 and v > 0 and 21 <= p <= 108}
    assert {(start, pitch) for start, _, pitch, _ in cleaned} == wanted
    assert len(cleaned) == len(wanted)


@given(note_lists)
def test_clean_does_not_overflow_narrow_integers(rows: list[tuple[int, int, int, int]]) -> None:
    narrow, wide = (midi.clean(notes_from(rows, kind)) for kind in (np.int8, np.int64))
    assert table(narrow) == table(wide)


@given(note_lists, st.integers(1, 12))
def test_clean_keeps_nothing_shorter_than_asked(
    rows: list[tuple[int, int, int, int]], shortest: int
) -> None:
    notes = midi.clean(notes_from(rows), shortest)
    assert np.all(notes.end - notes.start >= shortest)
    assert table(midi.clean(notes, shortest)) == table(notes)


def test_clean_at_one_onset_keeps_the_longer() -> None:
    notes = notes_from([(0, 5, 60, 50), (0, 9, 60, 70), (0, 7, 64, 60), (4, 9, 60, 80)])
    assert table(midi.clean(notes)) == [(0, 4, 60, 70), (0, 7, 64, 60), (4, 13, 60, 80)]


def test_fold_pedal() -> None:
    notes = notes_from([(0, 10, 60, 64), (20, 10, 62, 64), (50, 10, 64, 64), (70, 5, 65, 64)])
    folded = midi.fold_pedal(notes, np.array([5, 60]), np.array([40, 72]))
    # Released under the pedal; under it too; under the second, from its first tick; after all.
    assert folded.end.tolist() == [40, 40, 72, 75]
    assert folded.start.tolist() == notes.start.tolist()
    nothing = np.zeros(0, dtype=int)
    assert midi.fold_pedal(notes, nothing, nothing).end.tolist() == notes.end.tolist()


# Time


def check_seconds(score: symusic.core.ScoreTick) -> None:
    notes = score.tracks[0].notes.numpy()
    expected = score.to("second").tracks[0].notes.numpy()
    for ours, theirs in (
        (midi.seconds_of(score, notes["time"]), expected["time"]),
        (midi.seconds_of(score, notes["time"] + notes["duration"]),
         expected["time"] + expected["duration"]),
    ):  # fmt: skip
        # symusic keeps seconds in single precision.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-4)


def test_seconds_follow_the_tempo_map() -> None:
    music = song((0, False, 60))
    music.tempo_changes = [miditoolkit.TempoChange(60, 0), miditoolkit.TempoChange(240, 960)]
    score = midi.prepare(music).score
    assert midi.seconds_of(score, np.array([0, 480, 960, 1440])).tolist() == [0, 1, 2, 2.25]
    check_seconds(score)


def test_tempo_changes_may_come_in_any_order() -> None:
    """A score in memory is edited by hand; it stays as it is, and is read by its times."""
    score = midi.read(song((0, False, 60)))
    score.tempos = symusic.core.TempoTickList([symusic.Tempo(960, 60), symusic.Tempo(0, 120)])
    prepared = midi.prepare(score).score
    assert midi.seconds_of(prepared, np.array([0, 480, 960, 1440])).tolist() == [0, 0.5, 1, 2]
    assert [tempo.time for tempo in score.tempos] == [960, 0]


def test_seconds_follow_real_tempo_maps(mini: Path) -> None:
    changes = 0
    for path in sorted(mini.rglob("*.mid"))[::4]:
        score = midi.prepare(path).score
        changes = max(changes, len(score.tempos))
        check_seconds(score)
    assert changes > 10


# Writing


def test_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = midi.prepare(song((0, False, 60))).score
    path = midi.write(score, tmp_path / "new" / "a.mid")
    assert [entry.name for entry in path.parent.iterdir()] == ["a.mid"]
    assert notes_in(path) == notes_in(score)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        midi.write(song((0, False, 40)), path)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.mid"]
    assert path.read_bytes() == before


def test_miditoolkit_round_trip() -> None:
    music = song((0, False, 60))
    music.instruments[0].control_changes += [
        miditoolkit.ControlChange(64, 127, 100),
        miditoolkit.ControlChange(64, 0, 700),
    ]
    score = midi.prepare(music).score
    held = midi.to_miditoolkit(score)
    assert held.ticks_per_beat == 480
    assert held.tempo_changes[0].tempo == pytest.approx(90, abs=0.01)
    again = midi.prepare(held).score
    assert notes_in(again) == notes_in(score)
    assert [(p.time, p.end) for p in again.tracks[0].pedals] == [(100, 700)]


def test_damaged_timing_is_refused() -> None:
    far = miditoolkit.MidiFile()
    piano = miditoolkit.Instrument(0)
    piano.notes = [miditoolkit.Note(80, 60, start, start + 100) for start in (0, 700_000)]
    far.instruments.append(piano)
    with pytest.raises(MidiError, match="gap of over 5 minutes"):
        midi.prepare(far)
    buffer = io.BytesIO()
    far.dump(file=buffer)
    data = bytearray(buffer.getvalue())
    data[12:14] = b"\0\0"  # the header's ticks per beat
    with pytest.raises(MidiError, match=r"no usable timing|not readable"):
        midi.read(bytes(data))


@pytest.mark.parametrize(
    "start", [b"PK\x03\x04", b"\x1f\x8b\x08", b"Rar!\x1a\x07", b"\xfd7zXZ\x00"]
)
def test_an_archive_is_told(start: bytes) -> None:
    with pytest.raises(MidiError, match="it is an archive; unpack it first"):
        midi.read(start + bytes(100))


@pytest.mark.parametrize("unit", ["second", "quarter"])
def test_a_score_in_seconds_or_quarters_reads_as_one_in_ticks(
    practice_music: Path, unit: str
) -> None:
    path = sorted((practice_music / "jazz").glob("*.mid"))[0]
    score = symusic.Score(str(path))
    there = midi.read(score.to(unit)).tracks[0].notes.numpy()
    here = midi.read(score).tracks[0].notes.numpy()
    assert all(np.abs(there[name] - here[name]).max() <= 1 for name in here)


def test_what_is_no_music_is_refused_by_name() -> None:
    with pytest.raises(MidiError, match=r"<bytearray in memory>: no music; give a path"):
        midi.read(bytearray(b"MThd"))  # type: ignore[arg-type]


def test_a_pedal_let_go_and_pressed_again_at_one_tick_is_two_pedals() -> None:
    """As notation programs write it: the dampers fall, and a chord does not ring into the next."""
    score = symusic.Score(480)
    track = symusic.Track("Piano", 0, False)
    track.notes = symusic.core.NoteTickList(
        [symusic.Note(480 * beat, 100, 60 + beat, 80) for beat in range(4)]
    )
    table = [(0, 480), (480, 480), (960, 480), (1440, 480)]
    track.pedals = symusic.core.PedalTickList([symusic.Pedal(*one) for one in table])
    score.tracks.append(track)
    other = track.copy()  # a second staff with the same pedal
    score.tracks.append(other)
    prepared = midi.prepare(score).score
    pedals = prepared.tracks[0].pedals.numpy()
    assert list(zip(pedals["time"], pedals["duration"], strict=True)) == table
    notes = midi.notes_of(prepared.tracks[0])
    folded = midi.clean(midi.fold_pedal(notes, pedals["time"], pedals["time"] + pedals["duration"]))
    assert (folded.end - folded.start).tolist() == [480] * 4


def on_channel(channel: int, pedal: list[tuple[int, int]]) -> bytes:
    """Notes of a tenth of a beat on a channel, and its pedal (tick, value)."""
    said = [(beat * 480, mido.Message("note_on", channel=channel, note=60 + beat, velocity=80))
            for beat in range(12)]  # fmt: skip
    said += [(beat * 480 + 48, mido.Message("note_off", channel=channel, note=60 + beat))
             for beat in range(12)]  # fmt: skip
    said += [(tick, mido.Message("control_change", channel=channel, control=64, value=value))
             for tick, value in pedal]  # fmt: skip
    track, now = mido.MidiTrack(), 0
    for tick, message in sorted(said, key=lambda one: one[0]):
        track.append(message.copy(time=tick - now))
        now = tick
    buffer = io.BytesIO()
    mido.MidiFile(tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def test_a_pedal_that_a_score_has_out_of_order_is_in_order() -> None:
    score = midi.read(on_channel(3, [(2400, 127), (2600, 0)])).copy()
    track = score.tracks[0]
    late, early = (symusic.ControlChange(time, 64, value) for time, value in ((500, 0), (200, 127)))
    track.controls = symusic.core.ControlChangeTickList([late, early])
    track.pedals = symusic.core.PedalTickList([symusic.Pedal(0, 500)])
    read = midi.read(score).tracks[0].pedals
    assert [(each.time, each.duration) for each in read] == [(200, 300)]


turns = st.lists(st.tuples(st.integers(0, 12 * 480), st.integers(0, 127)), max_size=12)


@given(turns, st.integers(1, 15).filter(lambda channel: channel != 9))
@example([(0, 0), (0, 127), (480, 0)], 3)
@settings(max_examples=60)
def test_a_pedal_is_the_same_on_every_channel(pedal: list[tuple[int, int]], channel: int) -> None:
    """symusic has it down from the beginning on all but the first."""
    one, other = (midi.read(on_channel(each, pedal)).tracks[0] for each in (0, channel))
    assert list(one.pedals) == list(other.pedals)
    down, expected = None, []
    for tick, value in sorted(pedal, key=lambda turn: turn[0]):
        if value >= 64 and down is None:
            down = tick
        elif value < 64 and down is not None:
            expected.append((down, tick - down))
            down = None
    assert [(each.time, each.duration) for each in other.pedals] == expected


@pytest.mark.parametrize("kind", ["bytes", "symusic", "miditoolkit"])
@pytest.mark.parametrize("pedal", [[(2400, 127), (2600, 0), (3000, 90), (4000, 20)], [(2400, 0)]])
def test_a_pedal_on_another_channel_holds_no_notes_before_it(
    kind: str, pedal: list[tuple[int, int]]
) -> None:
    def music(channel: int) -> midi.Music:
        data = on_channel(channel, pedal)
        if kind == "symusic":
            return symusic.Score.from_midi(data)
        if kind == "miditoolkit":  # which numbers channels as it likes
            return miditoolkit.MidiFile(file=io.BytesIO(data))
        return data

    four = music(4)
    found = midi.prepare(four).score.tracks[0]
    assert [each.time for each in found.pedals] == [tick for tick, value in pedal if value >= 64]
    if isinstance(four, symusic.core.ScoreTick):
        assert [each.time for each in four.tracks[0].pedals][:1] == [0], "it is as it was given"
    assert midi.to_bytes(midi.prepare(four).score) == midi.to_bytes(midi.prepare(music(0)).score)


@pytest.mark.parametrize("back", [False, True])
def test_a_pedal_held_over_a_program_change_holds_no_notes_before_it(back: bool) -> None:
    """It is lost on all channels but the first, whose notes it must not lengthen; others stay."""
    turns = [(100, 127), (1000, 0), (2500, 127), (3000, 0)]
    changes = [(500, 4), (2000, 0)] if back else [(500, 4)]
    tracks = mido.MidiFile(file=io.BytesIO(on_channel(0, []))).tracks
    held = mido.MidiFile(file=io.BytesIO(on_channel(3, turns))).tracks[0]
    times = np.cumsum([message.time for message in held]).tolist()
    said = list(zip(times, held, strict=True))[:-1]
    for tick, program in changes:
        message = mido.Message("program_change", channel=3, program=program)
        said.insert(next(n for n, (time, _) in enumerate(said) if time > tick), (tick, message))
    waits = np.diff([time for time, _ in said], prepend=0).tolist()
    tracks.append(
        mido.MidiTrack(
            message.copy(time=wait) for wait, (_, message) in zip(waits, said, strict=True)
        )
    )
    buffer = io.BytesIO()
    mido.MidiFile(tracks=tracks, type=1).save(file=buffer)
    raw = symusic.Score.from_midi(buffer.getvalue())
    assert (0, 1000) in [(each.time, each.end) for track in raw.tracks for each in track.pedals]
    found = midi.prepare(buffer.getvalue()).score.tracks[0]
    assert [(each.time, each.end) for each in found.pedals] == [(2500, 3000)]
    notes, pedals = midi.notes_of(found), found.pedals.numpy()
    folded = midi.fold_pedal(notes, pedals["time"], pedals["time"] + pedals["duration"])
    longer = notes.start[folded.end > notes.end]
    assert set(longer.tolist()) == {2880}, "the notes of both channels under the later pedal"
