"""Merged tokens: nothing is lost, and the merges are the ones that repeat."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.bytepair import LONGEST, MergedRepresentation, learn, merged_from
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import Representation


@pytest.fixture(scope="module")
def merged(practice_corpus: Corpus) -> MergedRepresentation:
    plain = Representation(practice_corpus.representation.settings, ("label:jazz",))
    pieces = (practice_corpus.piece(number) for number in practice_corpus.select("train"))
    return merged_from(pieces, plain, 60)


def test_the_commonest_pair_comes_first() -> None:
    piece = np.array([3, 4, 3, 4, 5, 3, 4, 6, 3, 4])
    assert learn([piece], 10, 1) == ((3, 4),)
    assert learn([piece, piece], 10, 2)[1] in {(10, 5), (5, 10), (10, 10), (10, 6), (6, 10)}


def test_too_few_pairs_is_said() -> None:
    with pytest.raises(UserError, match="fewer than the 50"):
        learn([np.array([3, 4, 5])], 10, 50)


def test_real_pieces_come_back(merged: MergedRepresentation, practice_corpus: Corpus) -> None:
    long = short = 0
    for number in range(len(practice_corpus)):
        piece = practice_corpus.piece(number).astype(np.int64)
        ids = merged.merge(piece)
        assert merged.expand(ids).tolist() == piece.tolist()
        assert merged.strikes[ids].sum() == merged.plain.strikes[piece].sum()
        assert merged.times(ids)[-1] == merged.plain.times(piece)[-1]
        events = merged.events(ids).notes
        assert (
            events.start.tolist()
            == practice_corpus.representation.events(piece).notes.start.tolist()
        )
        long, short = long + len(piece), short + len(ids)
    assert short < 0.9 * long


@given(st.lists(st.integers(0, 235), max_size=60))
def test_any_ids_come_back(merged: MergedRepresentation, ids: list[int]) -> None:
    assert merged.expand(merged.merge(np.array(ids, dtype=np.int64))).tolist() == ids


def test_the_vocabulary(merged: MergedRepresentation) -> None:
    assert merged.music_size == merged.plain.music_size + 60
    assert merged.vocab_size == merged.music_size + 1
    assert merged.condition_id("label:jazz") == merged.vocab_size - 1 == len(merged.names) - 1
    assert merged.expand([merged.vocab_size - 1]).tolist() == [merged.plain.vocab_size - 1]
    assert max(map(len, merged.parts)) <= LONGEST
    assert len(set(merged.names)) == len(merged.names)


def test_saved_and_loaded(merged: MergedRepresentation, tmp_path: Path) -> None:
    path = tmp_path / "representation.json"
    merged.save(path)
    loaded = Representation.load(path)
    assert isinstance(loaded, MergedRepresentation)
    assert (loaded.pairs, loaded.digest, loaded.names) == (
        merged.pairs,
        merged.digest,
        merged.names,
    )
    assert loaded.digest != merged.plain.digest
    path.write_text(path.read_text().replace(str(merged.pairs[0][0]), "7"))
    with pytest.raises(UserError, match=r"representation\.json"):
        Representation.load(path)
