"""Notes read from tokens are the notes of the piece; who sounds with whom, against plain Python."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.corpus import Corpus
from data_tools.representation import EOS, Representation, RepresentationSettings, TokenType
from discriminator.note_features import LATELY, _usual
from discriminator.notes import (
    AFTER,
    BEFORE,
    HELD,
    TOGETHER,
    UNKNOWN,
    NoteReader,
    Notes,
    TokenTable,
    neighbourhood,
)

REPRESENTATION = Representation()


@pytest.fixture(scope="module")
def reader() -> NoteReader:
    return NoteReader(TokenTable.of(REPRESENTATION))


def token(kind: TokenType, value: int) -> int:
    return int(REPRESENTATION.vocabulary.id_of(kind, np.array([value]))[0])


def read(reader: NoteReader, ids: np.ndarray) -> np.ndarray:
    """(N, 4) onset, pitch, end and velocity of the notes that `reader` sees in ids (T,)."""
    notes = reader(torch.from_numpy(ids.astype(np.int64))[None])
    fields = (notes.onset, notes.pitch + reader.lowest, notes.end, notes.velocity)
    return torch.stack([one.double() for one in fields], -1)[notes.real].numpy()


def expected(ids: np.ndarray) -> np.ndarray:
    """The same of `Representation.events`."""
    notes = REPRESENTATION.events(ids).notes
    return np.stack([notes.start, notes.pitch, notes.end, notes.velocity], -1).astype(float)


def ordered(rows: np.ndarray) -> np.ndarray:
    """By onset, then pitch; and a string struck again stops its earlier note."""
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))].copy()
    for pitch in np.unique(rows[:, 1]):
        mine = np.flatnonzero(rows[:, 1] == pitch)
        for one, following in pairwise(mine):
            rows[one, 2] = min(rows[one, 2], rows[following, 0])
    return rows


def check(reader: NoteReader, ids: np.ndarray) -> None:
    found, wanted = ordered(read(reader, ids)), expected(ids)
    assert len(found) == len(wanted) > 10
    np.testing.assert_array_equal(found, wanted)


def test_practice_pieces_are_read_as_events(reader: NoteReader, practice_corpus: Corpus) -> None:
    for number in range(0, len(practice_corpus), 5):
        check(reader, practice_corpus.piece(number))


def test_real_pieces_are_read_as_events(reader: NoteReader, mini: Path) -> None:
    paths = sorted(mini.rglob("*.mid"))[::17]
    assert len(paths) > 5
    for path in paths:
        check(reader, REPRESENTATION.encode(REPRESENTATION.prepare(path).score))


def test_a_batch_is_read_row_by_row(reader: NoteReader, practice_corpus: Corpus) -> None:
    pieces = [practice_corpus.piece(n)[:length].astype(np.int64) for n, length in
              ((0, 300), (1, 41), (2, 1))]  # fmt: skip
    x = np.zeros((4, 300), dtype=np.int64)
    for row, ids in zip(x, pieces, strict=False):
        row[: len(ids)] = ids
    notes = reader(torch.from_numpy(x))
    for row, ids in enumerate(pieces):
        alone = reader(torch.from_numpy(ids)[None])
        count = int(alone.real.sum())
        assert int(notes.real[row].sum()) == count
        for name in ("pitch", "onset", "end", "velocity"):
            together, single = getattr(notes, name)[row, :count], getattr(alone, name)[0, :count]
            assert torch.equal(together, single), name
    assert not notes.real[3].any()


def test_rows_are_read_as_their_largest_token(reader: NoteReader, practice_corpus: Corpus) -> None:
    ids = torch.from_numpy(practice_corpus.piece(3)[:120].astype(np.int64))[None]
    ids[0, 100:] = 0
    x = F.one_hot(ids, REPRESENTATION.music_size).float()
    x = 0.8 * x + 0.2 * x[:, torch.randperm(120, generator=torch.Generator().manual_seed(0))]
    x[0, 100:] = 0.0
    hard, soft = reader(ids), reader(x)
    for name in ("pitch", "onset", "end", "velocity", "real"):
        assert torch.equal(getattr(hard, name), getattr(soft, name)), name
    assert hard.rows is None
    assert soft.rows is not None
    places = ((ids >= reader.first) & (ids < reader.first + reader.pitches))[0].nonzero()[:, 0]
    columns = x[0, places, reader.first : reader.first + reader.pitches]
    assert torch.equal(soft.rows[0, : len(places)], columns)


def test_a_mask_ends_a_piece(reader: NoteReader, practice_corpus: Corpus) -> None:
    ids = torch.from_numpy(practice_corpus.piece(3)[:90].astype(np.int64))[None]
    short = reader(F.pad(ids[:, :50], (0, 40)))
    masked = reader(ids, torch.arange(90)[None] < 50)
    assert all(torch.equal(a, b) for a, b in zip(short[:5], masked[:5], strict=True))


def test_a_note_cut_off_is_held_for_a_while(reader: NoteReader) -> None:
    pitch, loud, long = (
        token(TokenType.PITCH, 60), token(TokenType.VELOCITY, 63), token(TokenType.DURATION, 24),
    )  # fmt: skip
    for ids, length, velocity in (
        ([pitch, loud, long], 24.0, 63.0),
        ([pitch, loud], UNKNOWN, 63.0),
        ([pitch], UNKNOWN, 0.0),
        ([long, pitch, long], 24.0, 0.0),
    ):
        found = read(reader, np.array(ids))
        np.testing.assert_array_equal(found, [[0.0, 60.0, length, velocity]])


def test_specials_are_no_music(reader: NoteReader, practice_corpus: Corpus) -> None:
    ids = practice_corpus.piece(1)[:80].astype(np.int64)
    np.testing.assert_array_equal(
        read(reader, np.concatenate([[1], ids, [EOS]])), read(reader, ids)
    )


def test_other_vocabularies_are_refused() -> None:
    for preset in ("performance", "raw"):
        other = Representation(RepresentationSettings(preset=preset))
        with pytest.raises(ValueError, match="take the view 'tokens'"):
            NoteReader(TokenTable.of(other))
    gaps = TokenTable.of(REPRESENTATION)
    holes = gaps.pitch.copy()
    holes[np.flatnonzero(holes >= 0)[5]] = -1
    with pytest.raises(ValueError, match="take the view 'tokens'"):
        NoteReader(TokenTable(holes, gaps.shift, gaps.duration, gaps.velocity))


def test_a_table_says_what_the_tokens_say() -> None:
    table = TokenTable.of(REPRESENTATION)
    assert len(table) == REPRESENTATION.music_size
    kinds = {"pitch": TokenType.PITCH, "shift": TokenType.TIME_SHIFT,
             "duration": TokenType.DURATION, "velocity": TokenType.VELOCITY}  # fmt: skip
    for id_ in range(len(table)):
        for name, kind in kinds.items():
            value = getattr(table, name)[id_]
            if REPRESENTATION.token_types[id_] == kind:
                assert value == REPRESENTATION.token_values[id_]
            else:
                assert value == (-1 if name == "pitch" else 0)


# ---- who sounds with whom

Plain = list[tuple[int, float, float]]  # pitch, onset and end of each note


def reference(notes: Plain) -> list[dict[str, Any]]:
    """What `Neighbourhood` says of each note, one note after the other."""
    result: list[dict[str, Any]] = []
    for i, (pitch, now, _) in enumerate(notes):
        places = [j for j in range(i - BEFORE, i + AFTER + 1) if 0 <= j < len(notes)]
        struck = [j for j in places if abs(notes[j][1] - now) <= TOGETHER]
        sounding = [
            j for j in places
            if j in struck
            or (notes[j][1] <= now and min(notes[j][2], notes[j][1] + HELD) > now + TOGETHER)
        ]  # fmt: skip
        bass = min(sounding, key=lambda j: (notes[j][0], j))
        result.append({
            "struck": {j - i for j in struck},
            "sounding": {j - i for j in sounding},
            "bass": bass,
            "top": pitch == max(notes[j][0] for j in struck),
            "lowest": pitch == notes[bass][0],
        })  # fmt: skip
    for i, one in enumerate(result):
        past = range(i + min(one["struck"]))
        one["previous"] = max(past, default=-1)
        one["previous_top"] = max((j for j in past if result[j]["top"]), default=-1)
        one["previous_bass"] = max((j for j in past if result[j]["lowest"]), default=-1)
    return result


def tensors(pieces: list[Plain], spare: int) -> Notes:
    most = max(map(len, pieces)) + spare
    values = torch.zeros(3, len(pieces), most)
    real = torch.zeros(len(pieces), most, dtype=torch.bool)
    for row, piece in enumerate(pieces):
        if piece:
            values[:, row, : len(piece)] = torch.tensor(piece).T
        real[row, : len(piece)] = True
    pitch, onset, end = values
    return Notes(pitch.long(), onset, end, torch.zeros_like(onset), real, None)


@st.composite
def played(draw: st.DrawFn) -> Plain:
    """Chords, runs and held notes, often within a hair of being struck together."""
    gaps = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 5, 25]), max_size=70))
    onsets = np.cumsum(gaps).tolist()
    size = len(onsets)
    pitches = draw(st.lists(st.integers(0, 30), min_size=size, max_size=size))
    lengths = draw(
        st.lists(st.sampled_from([1, 2, 3, 4, 8, 30, 300]), min_size=size, max_size=size)
    )
    return [(p, float(o), float(o + d)) for p, o, d in zip(pitches, onsets, lengths, strict=True)]


@settings(max_examples=60)
@given(pieces=st.lists(played(), min_size=1, max_size=3), spare=st.integers(0, 9))
def test_neighbourhoods_are_those_of_plain_python(pieces: list[Plain], spare: int) -> None:
    if not any(pieces):
        spare += 1
    near = neighbourhood(tensors(pieces, spare))
    for row, piece in enumerate(pieces):
        for i, wanted in enumerate(reference(piece)):
            for name in ("struck", "sounding"):
                found = getattr(near, name)[row, i].nonzero()[:, 0] - BEFORE
                assert set(found.tolist()) == wanted.pop(name), (name, i)
            for name, value in wanted.items():
                assert getattr(near, name)[row, i].item() == value, (name, i)
        assert not near.top[row, len(piece) :].any()
        assert not near.lowest[row, len(piece) :].any()
        # What is padding sounds with nobody.
        padded = near.sounding[row, : len(piece)]
        for i in range(len(piece)):
            assert not padded[i, BEFORE + len(piece) - i :].any()


def test_a_held_bass_and_a_melody() -> None:
    near = neighbourhood(tensors([[(3, 0, 90), (20, 0, 20), (22, 25, 40), (5, 50, 90),
                                   (21, 50, 60), (24, 95, 99), (2, 110, 115)]], 2))  # fmt: skip
    assert near.bass[0, :7].tolist() == [0, 0, 0, 0, 0, 5, 6]
    assert near.top[0, :7].tolist() == [False, True, True, False, True, True, True]
    assert near.lowest[0, :7].tolist() == [True, False, False, False, False, True, True]
    assert near.previous[0, :7].tolist() == [-1, -1, 1, 2, 2, 4, 5]
    assert near.previous_top[0, :7].tolist() == [-1, -1, 1, 2, 2, 4, 5]
    assert near.previous_bass[0, :7].tolist() == [-1, -1, 0, 0, 0, 0, 5]
    # However long a pedal holds it, it is heard for two seconds.
    near = neighbourhood(tensors([[(3, 0, 400), (20, 97, 99), (22, 98, 99)]], 1))
    assert near.bass[0, :3].tolist() == [0, 0, 1]


def test_what_is_usual_is_the_mean_of_lately() -> None:
    values = torch.arange(40.0).square()[None]
    real = torch.arange(40)[None] < 30
    found = _usual(values, real)[0, :30].tolist()
    expected = [np.mean([n * n for n in range(max(0, i + 1 - LATELY), i + 1)]) for i in range(30)]
    assert found == pytest.approx(expected, rel=1e-5)
