"""The gate's lessons: every piece as it is, and corrupted beside itself, in one split."""

import numpy as np

from data_tools.corpus import Corpus
from experiments.recipes.gate import MusicAndNoise


def _at_once(corpus: Corpus, ids: np.ndarray) -> int:
    """How many notes begin together at most."""
    start = corpus.representation.events(ids.astype(np.int64)).notes.start
    return int(np.unique(start, return_counts=True)[1].max())


def test_every_piece_is_there_as_it_is_and_corrupted(practice_corpus: Corpus) -> None:
    both = MusicAndNoise(practice_corpus.folder)
    count, lines = len(practice_corpus), 0
    assert len(both) == 2 * count
    for number in range(count):
        music, noise = both.rows[number], both.rows[number + count]
        assert (music["label"], noise["label"]) == ("jazz", "not_jazz")
        assert (music["split"], music["group"]) == (noise["split"], noise["group"])
        piece, spoilt = both.piece(number), both.piece(number + count)
        whole = practice_corpus.piece(number)
        alone = _at_once(both, piece) == 1 < _at_once(both, whole)
        lines += alone
        assert alone or np.array_equal(piece, whole)
        assert spoilt.dtype == piece.dtype
        assert not np.array_equal(piece, spoilt)
        assert np.array_equal(spoilt, both.piece(number + count)), "the same at every look"
    assert 0 < lines < count / 2, "some are their top line alone"
    train = both.select("train")
    assert len(both.select("train", "jazz")) == len(both.select("train", "not_jazz"))
    assert len(train) == 2 * len(practice_corpus.select("train"))
