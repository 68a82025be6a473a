"""The grammar lets every real piece pass, and nothing that is no music."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_tools import midi, parts
from data_tools.representation import Representation, RepresentationSettings, TokenType
from generator.grammar import Grammar

from .conftest import CONDITIONS, PRESETS

Kind = tuple[str, str, str, int]
KINDS: list[Kind] = [
    (preset, base, pedal, velocities)
    for preset in PRESETS
    for base in ("clock", "beat")
    for pedal in (("auto", "drop") if preset in ("performance", "raw") else ("auto",))
    for velocities in (16, 1, 0)
]
REPRESENTATIONS = {
    kind: Representation(
        RepresentationSettings(
            preset=kind[0], time_base=kind[1], pedal=kind[2], velocities=kind[3]
        ),
        CONDITIONS,
    )
    for kind in KINDS
}
PERFORMANCE, DURATION = ("performance", "clock", "auto", 16), ("duration", "clock", "auto", 16)
GRAMMARS = {kind: Grammar(representation) for kind, representation in REPRESENTATIONS.items()}


def walk(
    representation: Representation,
    batch: int,
    steps: int,
    seed: int,
    even_types: bool,
    min_notes: int = 1,
    closing: float = 1,
) -> Tensor:
    """(B, steps) ids drawn evenly over the allowed tokens, or over their types.

    What ends something is taken `closing` times as often.
    """
    generator = torch.Generator().manual_seed(seed)
    grammar = Grammar(representation, min_notes=min_notes)
    state, drawn = grammar.start(batch), []
    types = torch.from_numpy(representation.token_types.astype(np.int64))
    kinds = torch.nn.functional.one_hot(types, len(TokenType)).double()  # (V, types)
    enders = [TokenType.NOTE_OFF, TokenType.PEDAL_OFF, TokenType.EOS]
    favour = torch.where(torch.isin(types, torch.tensor(enders)), closing, 1.0)
    for _ in range(steps):
        allowed = grammar.allowed(state)
        assert allowed.any(1).all()
        weight = allowed.double()
        if even_types:
            per_type = weight @ kinds
            weight = weight / (per_type @ kinds.T).clamp(min=1)
        ids = (weight * favour).multinomial(1, generator=generator)[:, 0]
        drawn.append(ids)
        state = grammar.advance(state, ids)
    return torch.stack(drawn, 1)


def assert_clean(representation: Representation, ids: np.ndarray) -> None:
    score = representation.decode(ids)
    events = representation.events(ids, close=True)
    notes, kinds = events.notes, representation.token_types[ids]
    strikes = np.isin(kinds, [TokenType.PITCH, TokenType.NOTE_ON]).sum()
    cut = representation.settings.preset in ("duration", "remi") and TokenType.EOS not in kinds
    assert strikes - cut <= len(notes) <= strikes
    assert (notes.end > notes.start).all()
    assert (notes.start >= 0).all()
    lanes = notes.pitch + 128 * (events.channels if len(events.channels) else 0)
    for lane in np.unique(lanes):
        of_lane = notes.take(lanes == lane)
        assert (of_lane.end[:-1] <= of_lane.start[1:]).all()
    written = midi.to_miditoolkit(score)
    assert sum(len(part.notes) for part in written.instruments) == len(notes)


@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(5, 90), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_walk_is_music(kind: Kind, seed: int, steps: int, even_types: bool) -> None:
    representation = REPRESENTATIONS[kind]
    drawn = walk(representation, 4, steps, seed, even_types)
    for ids in drawn.numpy():
        assert_clean(representation, ids)
    assert GRAMMARS[kind].replay(drawn).gather(2, drawn[..., None]).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_replay_equals_stepping(kind: Kind) -> None:
    grammar = GRAMMARS[kind]
    ids = torch.cat([walk(REPRESENTATIONS[kind], 2, 30, 3, even) for even in (True, False)])
    # Tokens out of place too: a prompt may start in mid-piece.
    noise = torch.randint(REPRESENTATIONS[kind].vocab_size, (4, 30), generator=torch.manual_seed(0))
    ids = torch.cat([ids, noise, ids], 1)
    masks, state = grammar.replay(ids), grammar.start(len(ids))
    for position in range(ids.shape[1]):
        assert torch.equal(grammar.allowed(state), masks[:, position])
        state = grammar.advance(state, ids[:, position])
        if position % 10 == 0:
            read = grammar.read(ids[:, : position + 1])
            assert torch.equal(grammar.allowed(read), grammar.allowed(state))


def test_ended_pieces_have_notes_and_nothing_held(representation: Representation) -> None:
    drawn = walk(representation, 24, 80, 0, True, closing=20).numpy()
    ended = [ids for ids in drawn if representation.eos in ids]
    assert len(ended) > 3
    for ids in ended:
        end = ids.tolist().index(representation.eos)
        assert (ids[end + 1 :] == representation.pad).all()
        assert len(midi.merged_notes(representation.decode(ids)))
        names = representation.tokens(ids[:end])
        for on, off in (("NoteOn", "NoteOff"), ("Pedal_", "PedalOff")):
            counts = [sum(name.startswith(prefix) for name in names) for prefix in (on, off)]
            assert counts[0] == counts[1]


def test_written_order_is_the_order_encoding_gives(durations: Representation) -> None:
    """What the grammar allows is canonical: simultaneous notes are written in one way only."""
    for ids in walk(durations, 24, 200, 5, True).numpy():
        kinds, values = durations.token_types[ids], durations.token_values[ids]
        top = -1
        for kind, value in zip(kinds, values, strict=True):
            if kind == TokenType.TIME_SHIFT:
                top = -1
            elif kind == TokenType.PITCH:
                assert value > top
                top = value


def after(names: str, kind: Kind) -> set[str]:
    """Names of the tokens allowed after some tokens."""
    representation = REPRESENTATIONS[kind]
    ids = [representation.names.index(name) for name in names.split()]
    allowed = GRAMMARS[kind].allowed(GRAMMARS[kind].read(torch.tensor([ids])))[0]
    return {representation.names[i] for i in allowed.nonzero()[:, 0].tolist()}


def test_rules_of_note_on_and_note_off() -> None:
    kind = PERFORMANCE
    opened = "BOS Velocity_63 NoteOn_60"
    at_once = after(opened, kind)
    assert not {"NoteOff_60", "NoteOn_60", "NoteOn_59", "EOS", "PedalOff_0"} & at_once
    assert {"NoteOn_61", "TimeShift_0.1.12"} <= at_once
    later = after(f"{opened} TimeShift_0.1.12", kind)
    assert {"NoteOff_60", "NoteOn_0", "NoteOn_61", "NoteOn_127", "Pedal_0"} <= later
    assert not {"NoteOn_60", "NoteOff_61", "EOS", "PedalOff_0"} & later
    closed = after(f"{opened} TimeShift_0.1.12 NoteOff_60", kind)
    assert {"EOS", "NoteOn_60"} <= closed
    assert "NoteOff_60" not in closed
    pedal = after("BOS Pedal_0 Velocity_63 NoteOn_60 TimeShift_0.1.12 NoteOff_60", kind)
    assert "PedalOff_0" in pedal
    assert not {"EOS", "Pedal_0"} & pedal


def test_rules_of_velocities_that_hold() -> None:
    start = after("BOS", PERFORMANCE)
    assert "Velocity_63" in start
    assert not [name for name in start if name.startswith("NoteOn")]
    assert all(name.startswith("NoteOn") for name in after("BOS Velocity_63", PERFORMANCE))
    played = after("BOS Velocity_63 NoteOn_60", PERFORMANCE)
    assert "Velocity_71" in played
    assert "Velocity_63" not in played
    # No note can follow the highest at its moment, so no velocity either.
    assert "Velocity_71" not in after("BOS Velocity_63 NoteOn_127", PERFORMANCE)


def test_rules_of_bars() -> None:
    clock, beat = ("remi", "clock", "auto", 16), ("remi", "beat", "auto", 16)
    assert after("BOS", clock) == {"Bar"}
    assert {f"Position_{n}" for n in range(96)} == after("BOS Bar", clock) - {"Bar"}
    assert all(name.startswith("TimeSig") for name in after("BOS Bar", beat))
    waltz = "BOS Bar TimeSig_3/4"
    assert {f"Position_{n}" for n in range(72)} == after(waltz, beat) - {"Bar"}
    placed = after(f"{waltz} Position_70", beat)
    assert {"Pitch_21", "Pitch_108"} <= placed
    assert not {"Pitch_109", "Position_71", "Bar", "EOS"} & placed
    note = after(f"{waltz} Position_70 Pitch_60 Velocity_63 Duration_0.3.24", beat)
    assert {"Pitch_61", "Position_71", "Bar", "EOS"} <= note
    assert not {"Pitch_60", "Position_70", "Position_72", "TimeSig_4/4"} & note


def test_rules_of_channels() -> None:
    kind = ("raw", "clock", "auto", 16)
    bass = "BOS Channel_3 Program_33 Velocity_63 NoteOn_40"
    played = after(bass, kind)
    assert {"Channel_4", "Channel_16", "Program_34", "NoteOn_41"} <= played
    assert not {"Channel_2", "Channel_3", "Program_33", "NoteOn_40"} & played
    drums = after(f"{bass} Channel_10", kind)
    assert {"NoteOn_40", "NoteOn_36", "Program_0", "Pedal_0"} <= drums
    assert not {"Channel_11", "TimeShift_0.1.12", "NoteOff_40", "EOS"} & drums
    later = f"{bass} Channel_10 NoteOn_36 TimeShift_0.1.12"
    assert {"NoteOff_36", "Channel_3", "Channel_11"} <= after(later, kind)
    assert not {"NoteOff_40", "Channel_10"} & after(later, kind)
    assert "NoteOff_40" in after(f"{later} Channel_3", kind)
    assert "EOS" not in after(f"{later} NoteOff_36", kind)
    assert "EOS" in after(f"{later} Channel_3 NoteOff_40 Channel_10 NoteOff_36", kind)


def test_rules_of_durations() -> None:
    kind = DURATION
    assert "EOS" not in after("BOS", kind)
    assert all(name.startswith("Velocity") for name in after("BOS Pitch_60", kind))
    note = after("BOS Pitch_60 Velocity_63 Duration_0.3.24", kind)
    assert {"EOS", "Pitch_61"} <= note
    assert not {"Pitch_60", "Pitch_59"} & note
    assert "Pitch_60" in after("BOS Pitch_60 Velocity_63 Duration_0.3.24 TimeShift_0.1.24", kind)


@pytest.mark.parametrize("preset", ["duration", "performance"])
def test_a_piece_may_end_with_a_change_of_tempo(preset: str) -> None:
    kind = (preset, "beat", "auto", 0)
    note = {
        "duration": "Pitch_60 Duration_0.3.24 TimeShift_0.3.24",
        "performance": "NoteOn_60 TimeShift_0.1.12 NoteOff_60",
    }[preset]
    tempo = next(name for name in REPRESENTATIONS[kind].names if name.startswith("Tempo"))
    assert "EOS" in after(f"BOS {note} {tempo}", kind)
    assert "EOS" not in after(f"BOS {tempo}", kind)


def test_drums_are_told_by_their_channel() -> None:
    kind = ("raw", "clock", "auto", 16)
    names, grammar = REPRESENTATIONS[kind].names, GRAMMARS[kind]
    for channel in (9, 10, 11):
        ids = torch.tensor([[names.index("BOS"), names.index(f"Channel_{channel}")]])
        assert grammar.drumming(grammar.read(ids)).item() == (channel == 10)
    assert not grammar.drumming(grammar.start(2)).any()
    assert not GRAMMARS[DURATION].drumming(GRAMMARS[DURATION].start(2)).any()


def test_what_stands_before_the_music() -> None:
    kind = ("duration", "beat", "auto", 16)
    assert after("label:jazz", kind) == {"BOS", *CONDITIONS}
    assert not {"BOS", "PAD", *CONDITIONS} & after("label:jazz BOS", kind)
    assert after("BOS EOS", kind) == after("EOS PAD", kind) == {"PAD"}
    start = GRAMMARS[kind].allowed(GRAMMARS[kind].start(1))[0]
    assert {REPRESENTATIONS[kind].names[i] for i in start.nonzero()[:, 0]} == {"BOS", *CONDITIONS}


def test_minimum_of_notes(durations: Representation) -> None:
    drawn = walk(durations, 32, 150, 2, True, min_notes=5)
    ended = [ids for ids in drawn.numpy() if durations.eos in ids]
    assert len(ended) > 5
    for ids in ended:
        assert (durations.token_types[ids] == TokenType.PITCH).sum() >= 5
    # A piece without a note is none, whatever else stands in it.
    representation = REPRESENTATIONS["duration", "beat", "auto", 16]
    tempo = int(representation.vocabulary.first(TokenType.TEMPO))
    grammar = Grammar(representation, min_notes=0)
    allowed = grammar.allowed(grammar.read(torch.tensor([[representation.bos, tempo]])))
    assert not allowed[0, representation.eos]


def encoded(representation: Representation, score: midi.ScoreTick) -> Tensor:
    conditions = [representation.condition_id("label:jazz")]
    music = representation.encode(score).astype(np.int64)
    ids = [*conditions, representation.bos, *music, representation.eos, representation.pad]
    return torch.tensor([ids])


def assert_not_blocked(representation: Representation, score: midi.ScoreTick, name: str) -> None:
    ids = encoded(representation, score)
    if representation.settings.preset == "raw":
        ids = ids[:, :400]  # sixteen channels' lanes at every position
    passed = Grammar(representation).replay(ids).gather(2, ids[..., None])[0, :, 0]
    blocked = (~passed).nonzero()[:, 0].tolist()
    assert not blocked, (name, representation.tokens(ids[0, blocked[0] - 6 : blocked[0] + 1]))


def test_real_pieces_pass(representation: Representation, mini: Path) -> None:
    paths = sorted(mini.rglob("*.mid"))[::12]
    assert len(paths) >= 10
    for path in paths:
        assert_not_blocked(representation, representation.prepare(path).score, path.name)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_made_up_pieces_pass(data: st.DataObject) -> None:
    """Crowded scores: struck again, overlapping, simultaneous, with pedal and tempo changes."""
    kind = data.draw(st.sampled_from(KINDS))
    score = midi.symusic.Score(480)
    places = st.tuples(st.integers(1, 16), st.sampled_from([0, 5, 33]))
    for place in data.draw(st.lists(places, min_size=1, max_size=4, unique=True)):
        track = parts.track_of(*place)
        note = st.tuples(
            st.integers(0, 2000), st.integers(1, 900), st.integers(58, 64), st.integers(1, 127)
        )
        for time, length, pitch, velocity in data.draw(st.lists(note, min_size=1, max_size=20)):
            track.notes.append(midi.symusic.Note(time, length, pitch, velocity))
        for time, held in data.draw(
            st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 700)), max_size=5)
        ):
            track.pedals.append(midi.symusic.Pedal(time, held))
        track.pedals.sort()
        score.tracks.append(track)
    for time, bpm in data.draw(
        st.lists(st.tuples(st.integers(0, 3500), st.integers(45, 240)), max_size=5)
    ):
        score.tempos.append(midi.symusic.Tempo(time, bpm))
    score.tempos.sort()
    for time, quarters in data.draw(
        st.lists(st.tuples(st.integers(0, 3500), st.integers(1, 13)), max_size=3)
    ):
        score.time_signatures.append(midi.symusic.TimeSignature(time, quarters, 4))
    if kind[0] != "raw":
        for track in score.tracks:
            track.program, track.is_drum = 0, False
    assert_not_blocked(REPRESENTATIONS[kind], REPRESENTATIONS[kind].prepare(score).score, str(kind))
