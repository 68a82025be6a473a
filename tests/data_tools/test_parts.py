"""Channels and programs survive the way from a file to tokens and back to a file."""

import io
from pathlib import Path

import miditoolkit
import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools import midi, parts, smf
from data_tools.ensemble import prepare_parts
from data_tools.errors import MidiError
from data_tools.representation import Representation, RepresentationSettings, TokenType

Row = tuple[int, int, int, int, int]  # channel, program, start, pitch, velocity


def rows_of(data: bytes) -> list[Row]:
    """Every stroke in a file's own words: the channel's program is the one last chosen on it."""
    events = smf.scan(data).events
    events = events.take(np.argsort(events.tick, kind="stable"))
    program, rows = dict.fromkeys(range(16), 0), []
    for tick, kind, channel, first, second in zip(
        events.tick.tolist(), events.kind.tolist(), events.channel.tolist(),
        events.first.tolist(), events.second.tolist(), strict=True,
    ):  # fmt: skip
        if kind == smf.PROGRAM:
            program[channel] = first
        elif kind == smf.NOTE_ON and second:
            rows.append((channel + 1, program[channel], tick, first, second))
    return sorted(rows)


def score_from(
    notes: list[tuple[int, int, int, int, int, int]], pedals: list[tuple[int, int, int]]
) -> symusic.core.ScoreTick:
    """(channel, program, start, length, pitch, velocity) and (channel, down, length)."""
    score = symusic.Score(480)
    tracks: dict[tuple[int, int], symusic.core.TrackTick] = {}
    for channel, program, start, length, pitch, velocity in notes:
        if (channel, program) not in tracks:
            tracks[channel, program] = parts.track_of(channel, program)
        tracks[channel, program].notes.append(symusic.Note(start, length, pitch, velocity))
    for track in tracks.values():
        score.tracks.append(track)
    given = set()
    for part in parts.parts_of(score):
        if part.channel not in given:
            given.add(part.channel)
            for channel, down, length in sorted(pedals):
                if channel == part.channel:
                    part.track.pedals.append(symusic.Pedal(down, length))
    return score


ensembles = st.builds(
    score_from,
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, 10, 16]), st.sampled_from([0, 33, 127]),
            st.integers(0, 3000), st.integers(1, 900), st.integers(0, 127), st.integers(1, 127),
        ),
        min_size=1, max_size=30,
    ),
    st.lists(
        st.tuples(st.sampled_from([1, 10]), st.integers(0, 3000), st.integers(1, 900)), max_size=4
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(score=ensembles, beat=st.booleans())
def test_file_to_tokens_to_file(score: symusic.core.ScoreTick, beat: bool) -> None:
    base = "beat" if beat else "clock"
    rep = Representation(RepresentationSettings(preset="raw", time_base=base, velocities=127))
    prepared = rep.prepare(score).score
    wanted = rep.grid(prepared)
    ids = rep.encode(prepared)
    found = rep.events(ids)
    for key in ("start", "end", "pitch", "velocity"):
        assert getattr(found.notes, key).tolist() == getattr(wanted.notes, key).tolist()
    for key in ("channels", "programs", "pedals", "pedal_channels", "tempos"):
        assert getattr(found, key).tolist() == getattr(wanted, key).tolist(), key
    assert rep.encode_events(found).tolist() == ids.tolist()
    # The file says the same as the tokens, and reading it again gives the tokens again.
    data = parts.dumped(rep.decode(ids))
    expected = zip(
        wanted.channels.tolist(), wanted.programs.tolist(), wanted.notes.start.tolist(),
        wanted.notes.pitch.tolist(), wanted.notes.velocity.tolist(), strict=True,
    )  # fmt: skip
    assert rows_of(data) == sorted(expected)
    assert rep.encode(rep.prepare(data).score).tolist() == ids.tolist()


def test_each_part_alone_is_a_performance() -> None:
    """Without its channel and program tokens, a piece of one part is `performance`."""
    raw = Representation(RepresentationSettings(preset="raw"))
    plain = Representation(RepresentationSettings(preset="performance"))
    score = score_from([(3, 33, 0, 480, 40, 80), (3, 33, 480, 480, 43, 90)], [(3, 100, 700)])
    ids = raw.encode(raw.prepare(score).score)
    names = [n for n in raw.tokens(ids) if not n.startswith(("Channel", "Program"))]
    assert names == plain.tokens(plain.encode(score))
    assert raw.tokens(ids)[:2] == ["Channel_3", "Program_33"]


def test_all_sixteen_channels_and_a_change_of_program_midway() -> None:
    rows = [(c, c, 100 * c, 50, 40 + c, 80) for c in range(1, 17)]
    rows += [(1, 20, 5000, 50, 60, 80), (1, 1, 5100, 50, 60, 80)]
    rep = Representation(RepresentationSettings(preset="raw"))
    prepared = rep.prepare(score_from(rows, [])).score
    names = rep.tokens(rep.encode(prepared))
    assert [n for n in names if n.startswith("Channel")] == [
        *(f"Channel_{c}" for c in range(1, 17)), "Channel_1",
    ]  # fmt: skip
    assert names.count("Program_1") == 2
    events = rep.events(rep.encode(prepared))
    assert events.programs.tolist() == [*range(1, 17), 20, 1]
    assert len(midi.merged_notes(prepared)) == 18


def test_a_stream_read_without_its_beginning() -> None:
    rep = Representation(RepresentationSettings(preset="raw"))
    names = "NoteOn_60 Velocity_71 NoteOn_64 TimeShift_0.2.12 NoteOff_64 NoteOff_60 NoteOff_50"
    events = rep.events(np.array([rep.names.index(name) for name in names.split()]))
    assert events.notes.pitch.tolist() == [60, 64]
    assert events.notes.velocity.tolist() == [71, 71]
    assert events.channels.tolist() == [1, 1]


def test_miditoolkit_objects_keep_their_channels() -> None:
    score = score_from([(10, 0, 0, 100, 36, 90), (5, 40, 0, 100, 70, 90)], [(5, 0, 200)])
    held = midi.to_miditoolkit(score)
    assert {part.name for part in held.instruments} == {
        "Channel 10 Program 0",
        "Channel 5 Program 40",
    }
    again = prepare_parts(held).score
    assert [part.channel for part in parts.parts_of(again)] == [5, 10]
    assert [(p.time, p.end) for p in again.tracks[0].pedals] == [(0, 200)]


def test_tracks_without_a_channel_get_one() -> None:
    score = symusic.Score(480)
    for program, drums in ((0, False), (33, False), (0, True)):
        score.tracks.append(symusic.Track("x", program, drums))
    assert [(p.channel, p.program) for p in parts.parts_of(score)] == [(1, 0), (2, 33), (10, 0)]
    for _ in range(30):
        score.tracks.append(symusic.Track("x", 5, False))
    assert {p.channel for p in parts.parts_of(score)} == set(range(1, 17))


@pytest.mark.parametrize("data", [b"", b"MThd", b"x" * 40])
def test_what_is_no_midi_is_an_error_of_the_music(data: bytes) -> None:
    with pytest.raises(MidiError):
        prepare_parts(data)


def test_symusic_agrees_on_the_notes_of_real_ensembles() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "ensemble"
    files = sorted(folder.rglob("*.mid"))[:6]
    if not files:
        pytest.skip("no real ensembles beside this checkout")
    for path in files:
        ours = parts.read_parts(path.read_bytes())
        assert ours is not None
        theirs = midi.read(path)
        table = [
            sorted((n.time, n.pitch, n.velocity) for track in score.tracks for n in track.notes)
            for score in (ours, theirs)
        ]
        assert len(set(table[0]) ^ set(table[1])) <= 0.01 * len(table[1]), path.name
        rep = Representation(RepresentationSettings(preset="raw"))
        prepared = rep.prepare(path)
        ids = rep.encode(prepared.score)
        assert rep.encode(rep.prepare(parts.dumped(prepared.score)).score).tolist() == ids.tolist()
        assert (rep.token_types[ids] == TokenType.CHANNEL).any()
        read = miditoolkit.MidiFile(file=io.BytesIO(parts.dumped(rep.decode(ids))))
        assert sum(len(i.notes) for i in read.instruments) == rep.decode(ids).note_num()


def test_waits_longer_than_can_be_counted_are_told() -> None:
    def note(pitch: int) -> bytes:
        return bytes([0, 0x90, pitch, 64, 96, 0x80, pitch, 0])

    wait = b"\xff\xff\xff\x7f\xb0\x01\x00"
    events = note(64) + 10 * wait + note(65) + b"\x00\xff\x2f\x00"
    head = b"MThd\0\0\0\6\0\0\0\1\1\xe0"
    with pytest.raises(MidiError, match="waits are longer than can be counted"):
        prepare_parts(head + b"MTrk" + len(events).to_bytes(4, "big") + events)
