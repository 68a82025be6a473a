"""The grammar lets every real piece pass, and nothing that is no music."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_tools import midi
from data_tools.midi import Notes
from data_tools.representation import Representation, RepresentationSettings, TokenType
from generator.grammar import Grammar

from .conftest import CONDITIONS, KINDS

REPRESENTATIONS = {
    kind: Representation(RepresentationSettings(preset=kind[0], time_base=kind[1]), CONDITIONS)
    for kind in KINDS
}
GRAMMARS = {kind: Grammar(representation) for kind, representation in REPRESENTATIONS.items()}


def walk(
    representation: Representation,
    batch: int,
    steps: int,
    seed: int,
    even_types: bool,
    min_notes: int = 1,
) -> Tensor:
    """(B, steps) ids drawn evenly over the allowed tokens, or over their types."""
    generator = torch.Generator().manual_seed(seed)
    grammar = Grammar(representation, min_notes=min_notes)
    state, drawn = grammar.start(batch), []
    types = torch.from_numpy(representation.token_types.astype(np.int64))
    kinds = torch.nn.functional.one_hot(types, len(TokenType)).double()  # (V, types)
    for _ in range(steps):
        allowed = grammar.allowed(state)
        assert allowed.any(1).all()
        weight = allowed.double()
        if even_types:
            per_type = weight @ kinds
            weight = weight / (per_type @ kinds.T).clamp(min=1)
        ids = weight.multinomial(1, generator=generator)[:, 0]
        drawn.append(ids)
        state = grammar.advance(state, ids)
    return torch.stack(drawn, 1)


def assert_clean(representation: Representation, ids: np.ndarray) -> None:
    score = representation.decode(ids)
    notes = midi.notes_of(score.tracks[0])
    kinds = representation.token_types[ids]
    last_of_note = {"duration": TokenType.DURATION, "performance": TokenType.VELOCITY}
    assert len(notes) or last_of_note[representation.settings.preset] not in kinds
    assert (notes.end > notes.start).all()
    for pitch in np.unique(notes.pitch):
        of_pitch = notes.take(notes.pitch == pitch)
        assert (of_pitch.end[:-1] <= of_pitch.start[1:]).all()
    midi.to_miditoolkit(score)


@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(5, 150), st.booleans())
@settings(max_examples=30, deadline=None)
def test_any_walk_is_music(kind: tuple[str, str], seed: int, steps: int, even_types: bool) -> None:
    representation = REPRESENTATIONS[kind]
    drawn = walk(representation, 4, steps, seed, even_types)
    for ids in drawn.numpy():
        assert_clean(representation, ids)
    assert GRAMMARS[kind].replay(drawn).gather(2, drawn[..., None]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("even_types", [True, False])
def test_replay_equals_stepping(kind: tuple[str, str], even_types: bool) -> None:
    grammar = GRAMMARS[kind]
    ids = walk(REPRESENTATIONS[kind], 5, 120, 3, even_types)
    # Tokens out of place too: a prompt may start in mid-piece.
    noise = torch.randint(
        REPRESENTATIONS[kind].vocab_size, (5, 120), generator=torch.manual_seed(0)
    )
    ids = torch.cat([ids, noise, ids])
    masks, state = grammar.replay(ids), grammar.start(len(ids))
    for position in range(ids.shape[1]):
        assert torch.equal(grammar.allowed(state), masks[:, position])
        assert torch.equal(
            grammar.allowed(grammar.read(ids[:, : position + 1])),
            grammar.allowed(grammar.advance(state, ids[:, position])),
        )
        state = grammar.advance(state, ids[:, position])


def test_ended_pieces_have_notes_and_nothing_held(representation: Representation) -> None:
    drawn = walk(representation, 48, 200, 0, True).numpy()
    ended = [ids for ids in drawn if representation.eos in ids]
    assert len(ended) > 10
    for ids in ended:
        end = ids.tolist().index(representation.eos)
        assert (ids[end + 1 :] == representation.pad).all()
        assert len(representation.decode(ids).tracks[0].notes)
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


def after(names: str, kind: tuple[str, str]) -> set[str]:
    """Names of the tokens allowed after some tokens."""
    representation = REPRESENTATIONS[kind]
    ids = [representation.names.index(name) for name in names.split()]
    allowed = GRAMMARS[kind].allowed(GRAMMARS[kind].read(torch.tensor([ids])))[0]
    return {representation.names[i] for i in allowed.nonzero()[:, 0].tolist()}


def test_rules_of_note_on_and_note_off() -> None:
    kind = ("performance", "clock")
    opened = "BOS NoteOn_60 Velocity_63"
    at_once = after(opened, kind)
    assert not {"NoteOff_60", "NoteOn_60", "NoteOn_59", "EOS", "PedalOff_0"} & at_once
    assert {"NoteOn_61", "TimeShift_0.1.12"} <= at_once
    later = after(f"{opened} TimeShift_0.1.12", kind)
    assert {"NoteOff_60", "NoteOn_59", "NoteOn_61", "Pedal_0"} <= later
    assert not {"NoteOn_60", "NoteOff_61", "EOS", "PedalOff_0"} & later
    closed = after(f"{opened} TimeShift_0.1.12 NoteOff_60", kind)
    assert {"EOS", "NoteOn_60"} <= closed
    assert "NoteOff_60" not in closed
    pedal = after("BOS Pedal_0 NoteOn_60 Velocity_63 TimeShift_0.1.12 NoteOff_60", kind)
    assert "PedalOff_0" in pedal
    assert not {"EOS", "Pedal_0"} & pedal
    assert not {name for name in at_once if name in ("NoteOn_20", "NoteOn_109", "NoteOff_127")}


def test_rules_of_durations() -> None:
    kind = ("duration", "clock")
    assert "EOS" not in after("BOS", kind)
    assert all(name.startswith("Velocity") for name in after("BOS Pitch_60", kind))
    note = after("BOS Pitch_60 Velocity_63 Duration_0.3.24", kind)
    assert {"EOS", "Pitch_61"} <= note
    assert not {"Pitch_60", "Pitch_59"} & note
    assert "Pitch_60" in after("BOS Pitch_60 Velocity_63 Duration_0.3.24 TimeShift_0.1.24", kind)


def test_what_stands_before_the_music() -> None:
    kind = ("duration", "beat")
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


def encoded(representation: Representation, score: midi.ScoreTick) -> Tensor:
    conditions = [representation.condition_id("label:jazz")]
    music = representation.encode(score).astype(np.int64)
    ids = [*conditions, representation.bos, *music, representation.eos, representation.pad]
    return torch.tensor([ids])


def assert_not_blocked(representation: Representation, score: midi.ScoreTick, name: str) -> None:
    ids = encoded(representation, score)
    passed = Grammar(representation).replay(ids).gather(2, ids[..., None])[0, :, 0]
    blocked = (~passed).nonzero()[:, 0].tolist()
    assert not blocked, (name, representation.tokens(ids[0, blocked[0] - 6 : blocked[0] + 1]))


def test_real_pieces_pass(representation: Representation, mini: Path) -> None:
    paths = sorted(mini.rglob("*.mid"))[::5]
    assert len(paths) > 20
    for path in paths:
        assert_not_blocked(representation, midi.prepare(path).score, path.name)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_made_up_pieces_pass(data: st.DataObject) -> None:
    """Crowded scores: struck again, overlapping, simultaneous, with pedal and tempo changes."""
    kind = data.draw(st.sampled_from(KINDS))
    note = st.tuples(
        st.integers(0, 2000), st.integers(1, 900), st.integers(58, 64), st.integers(1, 127)
    )
    table = np.array(data.draw(st.lists(note, min_size=1, max_size=40)))
    start, length, pitch, velocity = table[np.lexsort((table[:, 2], table[:, 0]))].T
    notes = midi.clean(Notes(start, start + length, pitch, velocity))
    score = midi.score_of(notes, 480)
    for time, bpm in data.draw(
        st.lists(st.tuples(st.integers(0, 3500), st.integers(45, 240)), max_size=5)
    ):
        score.tempos.append(midi.symusic.Tempo(time, bpm))
    score.tempos.sort()
    for time, held in data.draw(
        st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 700)), max_size=5)
    ):
        score.tracks[0].pedals.append(midi.symusic.Pedal(time, held))
    score.tracks[0].pedals.sort()
    assert_not_blocked(REPRESENTATIONS[kind], midi.prepare(score).score, str(kind))
