"""Copies of the training set are found, in any key, and real music's own likeness is allowed."""

import numpy as np
import pytest

from data_tools.corpus import Corpus
from gan.evaluation import novelty
from gan.evaluation.overlap import found_in


def tunes(count: int, seed: int) -> list[np.ndarray]:
    """Random lines that now and then quote one of five licks all know."""
    licks = [np.random.default_rng(lick).integers(-7, 8, 12) for lick in range(5)]
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        steps = rng.integers(-7, 8, 150)
        lick, at = licks[rng.integers(5)][: rng.integers(4, 13)], rng.integers(130)
        steps[at : at + len(lick)] = lick
        pieces.append(60 + np.concatenate([[0], np.cumsum(steps)]))
    return pieces


def test_music_of_the_same_kind_copies_no_more_than_held_out() -> None:
    found = novelty.novelty(tunes(200, 1), tunes(200, 2), tunes(400, 3))
    assert found.copied < 0.12
    assert found.overlapping < 0.12
    assert 6 <= found.bound <= 14
    alike = novelty.novelty(tunes(100, 2), tunes(100, 2), tunes(200, 3))
    assert max(alike.copied, alike.overlapping) <= 0.05, "as much as real music is no copy yet"


def test_a_transposed_copy_of_part_of_a_piece_is_found() -> None:
    train = tunes(400, 3)
    copies = tunes(40, 1)
    for number, piece in enumerate(copies[:30]):
        piece[50:90] = train[number][20:60] + 5
    found = novelty.novelty(copies, tunes(200, 2), train)
    assert found.copied == pytest.approx(30 / 40, abs=0.1)
    assert found.overlapping == pytest.approx(30 / 40, abs=0.1)
    assert (found.longest[:30] >= 39).all()
    assert found.shares[:30].mean() > 0.2 > found.shares_held_out.mean()
    whole = novelty.novelty(train[:20], tunes(200, 2), train)
    assert whole.copied == 1
    assert (whole.shares == 1).all()
    assert (whole.longest == 150).all()


def test_shares_are_counted_run_by_run() -> None:
    corpus = [np.array([1, 2, 3, 4]), np.array([9, 8])]
    pieces = [np.array([1, 2, 3, 9, 8]), np.array([4, 9]), np.array([7])]
    found = found_in(pieces, corpus, 2)
    assert found == pytest.approx([3 / 4, 0, np.nan], nan_ok=True)
    assert np.isnan(found_in([np.zeros(0, dtype=np.int64)], corpus, 2)).all()


def test_tokens_are_read_as_music(practice_corpus: Corpus) -> None:
    pieces = [practice_corpus.piece(number) for number in range(20)]
    found = novelty.of_tokens(pieces[:4], pieces[4:8], pieces[:4], practice_corpus.representation)
    assert (found.shares == 1).all()
    assert found.copied == 1
    with pytest.raises(ValueError, match="training music"):
        novelty.novelty([], [pieces[0]], [pieces[1]])
