"""The longest run found in the corpus, against a search by hand."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gan.evaluation.overlap import found_in, longest_overlaps

piece = st.lists(st.integers(0, 3), min_size=1, max_size=30)


def by_hand(one: list[int], corpus: list[list[int]]) -> int:
    def within(part: list[int]) -> bool:
        return any(
            part == other[i : i + len(part)]
            for other in corpus
            for i in range(len(other) - len(part) + 1)
        )

    runs = [one[i:j] for i in range(len(one)) for j in range(i + 1, len(one) + 1)]
    return max((len(run) for run in runs if within(run)), default=0)


@given(st.lists(piece, min_size=1, max_size=4), st.lists(piece, min_size=1, max_size=4))
def test_it_is_what_a_search_finds(pieces: list[list[int]], corpus: list[list[int]]) -> None:
    arrays = [[np.array(ids) for ids in group] for group in (pieces, corpus)]
    assert longest_overlaps(*arrays) == [by_hand(one, corpus) for one in pieces]


def test_a_copied_run_is_found_wherever_it_lies() -> None:
    rng = np.random.default_rng(0)
    corpus = [rng.integers(0, 200, 5000) for _ in range(20)]
    mine = rng.integers(0, 200, 1000)
    mine[300:377] = corpus[13][4000:4077]
    (found,) = longest_overlaps([mine], corpus)
    assert 77 <= found <= 80
    assert longest_overlaps([mine], corpus, most=50) == [50]


def test_nothing_stands_in_an_empty_corpus() -> None:
    pieces = [np.arange(9), np.arange(2)]
    assert longest_overlaps(pieces, []) == [0, 0]
    assert longest_overlaps([], []) == []
    np.testing.assert_array_equal(found_in(pieces, [], 4), [0.0, np.nan])


def test_pieces_may_be_lists() -> None:
    pieces, corpus = [[1, 2, 3, 9], [-1, 2]], [[0, 1, 2, 3], [-1, 2, 0]]
    assert longest_overlaps(pieces, corpus) == [3, 2]
    np.testing.assert_array_equal(found_in(pieces, corpus, 3), [0.5, np.nan])
