"""The event scanner against mido on real files, on random music, and on bytes that mean harm."""

import io
import struct
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi, smf
from data_tools.errors import MidiError
from data_tools.inspect import inspect
from data_tools.smf import FILM, UNENDED

END = b"\x00\xff\x2f\x00"


def written(
    *tracks: bytes, form: int = 1, division: int = 480, announced: int | None = None
) -> bytes:
    """A file of tracks' bytes."""
    count = len(tracks) if announced is None else announced
    head = b"MThd" + struct.pack(">IHHH", 6, form, count, division)
    return head + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


STATUS = {
    "note_off": 0x80, "note_on": 0x90, "polytouch": 0xA0, "control_change": 0xB0,
    "program_change": 0xC0, "aftertouch": 0xD0, "pitchwheel": 0xE0,
}  # fmt: skip


def reference(file: mido.MidiFile) -> dict[str, list[tuple[object, ...]]]:
    """The same facts by mido."""
    found: dict[str, list[tuple[object, ...]]] = {
        "events": [], "tempos": [], "keys": [], "times": [], "names": []
    }  # fmt: skip
    for number, track in enumerate(file.tracks):
        tick, name = 0, ""
        for message in track:
            tick += message.time
            if message.type in STATUS:
                data = [*message.bytes()[1:], 0][:2]
                found["events"].append((number, tick, STATUS[message.type], message.channel, *data))
            elif message.type == "set_tempo":
                found["tempos"].append((number, tick, message.tempo))
            elif message.type == "key_signature":
                found["keys"].append((number, tick, message.key))
            elif message.type == "time_signature":
                found["times"].append((number, tick, message.numerator, message.denominator))
            elif message.type == "track_name" and not name:
                name = message.name
            elif message.type == "end_of_track":
                break  # mido reads on
        found["names"].append((name.strip(),))
    return found


def scanned(file: smf.Smf) -> dict[str, list[tuple[object, ...]]]:
    events = file.events
    columns = (getattr(events, name).tolist() for name in events.__dataclass_fields__)
    keys = ((track, tick, smf.key_name(sharps, minor))
            for track, tick, sharps, minor in file.key_signatures.tolist())  # fmt: skip
    by_file = {
        "events": list(zip(*columns, strict=True)),
        "tempos": [tuple(row) for row in file.tempos.tolist()],
        "keys": list(keys),
        "times": [tuple(row) for row in file.time_signatures.tolist()],
    }
    return {name: sorted(rows) if name != "events" else rows for name, rows in by_file.items()}


def agree(data: bytes) -> None:
    file, other = smf.scan(data), mido.MidiFile(file=io.BytesIO(data))
    expected, found = reference(other), scanned(file)
    assert file.format == other.type
    assert file.ticks_per_beat == other.ticks_per_beat
    assert len(file.tracks) == len(other.tracks)
    assert found["events"] == expected["events"]
    for name in ("tempos", "keys", "times"):
        assert found[name] == sorted(expected[name]), name
    # Three of Stanford's rolls end their tracks twice.
    assert set(file.damage) <= {"data after the end of a track"}


def test_every_event_of_real_files_is_as_mido_reads_it(mini: Path) -> None:
    paths = sorted(mini.rglob("*.mid*"))
    for path in paths[::3]:
        agree(path.read_bytes())


@pytest.mark.slow
def test_every_event_of_every_real_file_is_as_mido_reads_it(mini: Path) -> None:
    for path in sorted(mini.rglob("*.mid*")):
        agree(path.read_bytes())


def test_the_notes_are_those_a_corpus_is_built_of(mini: Path) -> None:
    for path in sorted(mini.rglob("*.mid*")):
        data = path.read_bytes()
        events, score = smf.scan(data).events, midi.read(data)
        struck = events.take((events.kind == smf.NOTE_ON) & (events.second > 0))
        ours = Counter(
            zip(struck.tick.tolist(), struck.first.tolist(), struck.second.tolist(), strict=True)
        )
        theirs: Counter[tuple[int, int, int]] = Counter()
        for track in score.tracks:
            notes = midi.notes_of(track)
            theirs.update(
                zip(
                    notes.start.tolist(), notes.pitch.tolist(), notes.velocity.tolist(), strict=True
                )
            )
        stuck = sum(smf.stuck_notes(events).values())
        assert not theirs - ours, path
        assert (ours - theirs).total() == stuck, path


channel_events = st.one_of(
    st.builds(
        mido.Message, st.sampled_from(["note_on", "note_off"]), channel=st.integers(0, 15),
        note=st.integers(0, 127), velocity=st.integers(0, 127), time=st.integers(0, 2**28 - 1),
    ),
    st.builds(
        mido.Message, st.just("control_change"), channel=st.integers(0, 15),
        control=st.integers(0, 127), value=st.integers(0, 127), time=st.integers(0, 999),
    ),
    st.builds(
        mido.Message, st.sampled_from(["program_change"]), channel=st.integers(0, 15),
        program=st.integers(0, 127), time=st.integers(0, 999),
    ),
    st.builds(mido.Message, st.just("aftertouch"), value=st.integers(0, 127), time=st.just(3)),
    st.builds(mido.Message, st.just("pitchwheel"), pitch=st.integers(-8192, 8191), time=st.just(1)),
    st.builds(
        mido.Message, st.just("sysex"), data=st.lists(st.integers(0, 127), max_size=200),
        time=st.integers(0, 300),
    ),
)  # fmt: skip
keys = st.sampled_from([*smf._MAJOR.split(), *smf._MINOR.split()])
metas = st.one_of(
    st.builds(
        mido.MetaMessage, st.just("set_tempo"), tempo=st.integers(1, 2**24 - 1), time=st.just(5)
    ),
    st.builds(mido.MetaMessage, st.just("key_signature"), key=keys, time=st.integers(0, 300)),
    st.builds(
        mido.MetaMessage, st.just("time_signature"), numerator=st.integers(1, 32),
        denominator=st.sampled_from([1, 2, 4, 8, 16, 32]), time=st.integers(0, 300),
    ),
    st.builds(mido.MetaMessage, st.just("text"), text=st.just("x" * 200), time=st.integers(0, 300)),
    st.builds(mido.MetaMessage, st.just("track_name"), name=st.just("Left hand"), time=st.just(0)),
)  # fmt: skip
tracks = st.lists(st.lists(st.one_of(channel_events, metas), max_size=30), min_size=1, max_size=4)


@given(tracks, st.integers(1, 2**15 - 1))
def test_whatever_mido_writes_is_read_back(parts: list[list[mido.Message]], division: int) -> None:
    file = mido.MidiFile(type=1, ticks_per_beat=division)
    for part in parts:
        file.tracks.append(mido.MidiTrack(part))
    buffer = io.BytesIO()
    file.save(file=buffer)
    agree(buffer.getvalue())
    names = [(track.name,) for track in smf.scan(buffer.getvalue()).tracks]
    assert names == reference(mido.MidiFile(file=io.BytesIO(buffer.getvalue())))["names"]


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, headed: bool) -> None:
    if headed:
        data = written(data, data[:7], form=data[0] if data else 0)
    try:
        file = smf.scan(data)
    except MidiError:
        assert not headed
        return
    assert len(file.events) <= len(data) / 2
    assert (np.diff(file.events.tick)[np.diff(file.events.track) == 0] >= 0).all()
    smf.stuck_notes(file.events)


@given(st.data())
def test_a_damaged_real_file_is_read_or_refused(mini: Path, data: st.DataObject) -> None:
    whole = bytearray(min(mini.rglob("*.mid"), key=lambda path: path.stat().st_size).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        smf.stuck_notes(smf.scan(bytes(whole[: data.draw(st.integers(0, len(whole)))])).events)
    except MidiError:
        return


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"MThd", "no header"),
        (b"hello, world" * 9, "no header"),
        (b"RIFF1234RMID" + bytes(90), "no header"),
        (written(), "no track"),
        (b"MThd\xff\xff\xff\xff\x00\x01\x00\x01\x01\xe0", "no track"),
        (bytes(smf.LARGEST + 1), "larger than 16 MiB"),
    ],
)
def test_what_is_no_midi_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MidiError, match=reason) as caught:
        smf.scan(data, "a.mid")
    assert caught.value.source == "a.mid"


NOTE = b"\x00\x90\x3c\x40\x10\x3c\x00"


@pytest.mark.parametrize(
    ("data", "events", "damage"),
    [
        (written(NOTE + END), 2, ()),
        (written(NOTE), 2, ("a track without its end",)),
        (written(NOTE + END, announced=3), 2, ("3 tracks announced, 1 found",)),
        (written(NOTE + END, form=7), 2, ("unknown format 7",)),
        (written(NOTE + END, division=0), 2, ("a resolution of zero",)),
        (written(NOTE + END, division=0xE728), 2, ("time in film frames (SMPTE), not beats",)),
        (written(NOTE + END)[:-4], 2, ("a track breaks off",)),
        (written(NOTE + b"\x00\x3c"), 2, ("a track breaks off",)),
        (written(b"\x00\x3c\x40" + NOTE), 0, ("data without a status",)),
        (written(b"\xff\xff\xff\xff\x01" + NOTE), 0, ("a time of more than four bytes",)),
        (written(b"\x00\x90\x3c\xf0\x10\x3c\x00" + END), 2, ("data bytes over 127 (1)",)),
        (b"RIFF1234RMIDdata5678" + written(NOTE + END), 2, ("wrapped in RIFF",)),
        (written(NOTE + END) + b"junk after the music", 2, ()),
        (written(NOTE + END + NOTE + END), 2, ("data after the end of a track",)),
        (written(NOTE + END + bytes(9)), 2, ()),
        (written(b"\x00\xf0\x02\x01\xf7" + NOTE + b"\x00\xf8" + NOTE + END), 4, ()),
        (written(NOTE + b"\x00\xf0\x01\xf7" + b"\x00\x3e\x40\x10\x3e\x00" + END), 4, ()),
    ],
)  # fmt: skip
def test_damage_is_told_and_the_rest_is_read(
    data: bytes, events: int, damage: tuple[str, ...]
) -> None:
    file = smf.scan(data)
    assert len(file.events) == events
    assert file.damage == damage


@pytest.mark.parametrize("before", [b"", b"LIST\x03\x00\x00\x00abc\x00"])
def test_a_wrapper_is_taken_off(before: bytes) -> None:
    music = written(NOTE + END)
    music += bytes(len(music) % 2)
    data = before + b"data" + len(music).to_bytes(4, "little") + music + b"LIST\x02\x00\x00\x00ab"
    wrapped = b"RIFF" + (len(data) + 4).to_bytes(4, "little") + b"RMID" + data
    assert smf.unwrapped(wrapped) == music
    assert smf.unwrapped(music) is music
    assert midi.read(wrapped).note_num() == midi.read(music).note_num() == 1
    for size in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        odd = b"RIFF" + size + b"RMIDdata" + size + music
        assert smf.unwrapped(odd) == music
    picture = b"RIFF" + wrapped[4:8] + b"WAVE" + data
    with pytest.raises(MidiError, match="begins as no MIDI file does"):
        midi.read(picture)
    with pytest.raises(MidiError, match=r"it is empty|begins as no"):
        midi.read(b"RIFF\x04\x00\x00\x00RMID")


def test_frames() -> None:
    assert smf.scan(written(END, division=0xE728)).frames == (25, 40)
    assert smf.scan(written(END)).frames is None


def test_data_bytes_are_clamped_as_the_corpus_reads_them() -> None:
    data = written(b"\x00\x90\xe9\xf0\x10\x80\xe9\x00" + END)
    events = smf.scan(data).events
    assert events.first.tolist() == [127, 127]
    assert events.second.tolist() == [127, 0]
    note = midi.read(data).tracks[0].notes[0]
    assert (note.pitch, note.velocity) == (127, 127)


@pytest.mark.parametrize(
    ("track", "stuck"),
    [
        (b"\x00\x90\x3c\x40\x10\x3c\x00", {}),
        (b"\x00\x90\x3c\x40\x10\x80\x3c\x40", {}),
        (b"\x00\x90\x3c\x40", {(0, 60): 1}),
        (b"\x00\x90\x3c\x40\x00\x91\x3c\x40\x10\x3c\x00", {(0, 60): 1}),
        # A release frees both; strokes after it stay.
        (b"\x00\x90\x3c\x40\x10\x3c\x40\x10\x3c\x00", {}),
        (b"\x00\x90\x3c\x40\x10\x3c\x00\x10\x3c\x40\x10\x3c\x40", {(0, 60): 2}),
        (b"\x00\x90\x3c\x00\x10\x3c\x40\x10\x3d\x40", {(0, 60): 1, (0, 61): 1}),
        (b"\x00\xb0\x3c\x40", {}),
    ],
)
def test_stuck_notes(track: bytes, stuck: dict[tuple[int, int], int]) -> None:
    assert smf.stuck_notes(smf.scan(written(track + END)).events) == stuck
    twice = smf.scan(written(track + END, track + END)).events
    assert smf.stuck_notes(twice) == {key: 2 * count for key, count in stuck.items()}


def test_key_names() -> None:
    assert (smf.key_name(0, 0), smf.key_name(-3, 1), smf.key_name(7, 0)) == ("C", "Cm", "C#")
    assert smf.key_name(8, 0) == smf.key_name(-8, 1) == "?"


def test_many_tiny_tracks_and_one_long_one_are_bounded() -> None:
    many = written(*[b""] * 70_000, announced=1)
    assert len(smf.scan(many).tracks) == smf.MOST_TRACKS
    long = written(b"\x00\x90" + b"\x3c\x40\x7f" * 300_000)
    assert len(smf.scan(long).events) == 300_000
    late = written(b"\xff\xff\xff\x7f\xc0\x00" + b"\xff\xff\xff\x7f\x00" * 200_000)
    assert smf.scan(late).damage in (("a track without its end",), ("a time beyond all measure",))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (written(NOTE + END, division=0xE728), FILM),
        (written(b"\x00\x90\x3c\x40" + END), UNENDED),
        (written(END), "no notes"),
    ],
)
def test_a_check_and_a_score_give_the_same_reason(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file.mid"
    path.write_bytes(data)
    for music in (data, path):
        with pytest.raises(MidiError) as told:
            midi.prepare(music)
        assert told.value.reason == inspect(music).reason
        assert words in told.value.reason
