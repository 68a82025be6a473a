"""The n-gram reference against its definition in dictionaries, and against known entropies."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.evaluation.ngram import FALLBACK_DISCOUNTS, NGram, discounts, fit

VOCAB_SIZE = 5


class SlowKneserNey:
    """Interpolated modified Kneser-Ney straight from the definition, one n-gram at a time."""

    def __init__(self, sequences: list[list[int]], vocab_size: int, order: int) -> None:
        self.vocab_size, self.order = vocab_size, order
        self.counts: list[dict[tuple[int, ...], int]] = []
        for n in range(1, order + 1):
            raw, lefts, opening = Counter(), defaultdict(set), Counter()
            for sequence in sequences:
                for end in range(max(n, 2), len(sequence) + 1):
                    gram = tuple(sequence[end - n : end])
                    raw[gram] += 1
                    if end == n:
                        opening[gram] += 1
                    else:
                        lefts[gram].add(sequence[end - n - 1])
            if n < order:
                raw = {gram: len(lefts[gram]) + opening[gram] for gram in raw}
            self.counts.append(raw)

    def discount(self, n: int, count: int) -> float:
        of = Counter(self.counts[n - 1].values())
        fallback = FALLBACK_DISCOUNTS[min(count, 3) - 1]
        if not all(of[k] for k in (1, 2, 3, 4)):
            return fallback
        y = of[1] / (of[1] + 2 * of[2])
        estimates = [k - (k + 1) * y * of[k + 1] / of[k] for k in (1, 2, 3)]
        return estimates[min(count, 3) - 1] if min(estimates) > 0 else fallback

    def prob(self, history: list[int], token: int, n: int) -> float:
        if n == 0:
            return 1 / self.vocab_size
        lower = self.prob(history, token, n - 1)
        if len(history) < n - 1:
            return lower
        context = tuple(history[len(history) - n + 1 :])
        after = {g: c for g, c in self.counts[n - 1].items() if g[:-1] == context}
        if not after:
            return lower
        total = sum(after.values())
        removed = sum(self.discount(n, c) for c in after.values())
        count = after.get((*context, token), 0)
        kept = count - self.discount(n, count) if count else 0.0
        return (kept + removed * lower) / total


def markov_chain(
    transitions: np.ndarray, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A walk of a first-order chain, and its exact entropy rate in bits."""
    cumulative = transitions.cumsum(axis=1)
    walk = np.zeros(length, dtype=np.uint16)
    draws = rng.random(length)
    for t in range(1, length):
        walk[t] = np.searchsorted(cumulative[walk[t - 1]], draws[t])
    stationary = np.linalg.matrix_power(transitions, 1000)[0]
    return walk, float(-(stationary @ (transitions * np.log2(transitions)).sum(axis=1)))


def random_music(rng: np.random.Generator, vocab_size: int, pieces: int = 40) -> list[np.ndarray]:
    """Sequences with a few frequent tokens and many rare ones, the largest id never among them."""
    return [
        np.minimum(rng.geometric(0.2, size=rng.integers(2, 80)), vocab_size - 2).astype(np.uint16)
        for _ in range(pieces)
    ]


token = st.integers(0, VOCAB_SIZE - 1)
sequences_of_ids = st.lists(st.lists(token, max_size=25), max_size=12).filter(
    lambda sequences: any(len(s) > 1 for s in sequences)
)


@settings(max_examples=60, deadline=None)
@given(sequences_of_ids, st.lists(token, min_size=2, max_size=10), st.integers(1, 5))
def test_equals_the_definition(sequences, held_out, order):
    model = fit([np.array(s, dtype=np.uint16) for s in sequences], VOCAB_SIZE, order)
    slow = SlowKneserNey(sequences, VOCAB_SIZE, order)
    expected = [slow.prob(held_out[:t], held_out[t], order) for t in range(1, len(held_out))]
    np.testing.assert_allclose(2 ** model.log2_probs(np.array(held_out)), expected, rtol=1e-12)


def test_equals_the_definition_where_discounts_are_estimated():
    rng = np.random.default_rng(0)
    sequences = random_music(rng, 20)
    model = fit(sequences, 20, order=3)
    assert any(tuple(table.discounts[1:]) != FALLBACK_DISCOUNTS for table in model.tables)
    slow = SlowKneserNey([s.tolist() for s in sequences], 20, 3)
    history = sequences[0][:2].tolist()
    expected = [slow.prob(history, w, 3) for w in range(20)]
    np.testing.assert_allclose(model.distribution(np.array(history)), expected, rtol=1e-12)


def test_discounts_are_chen_and_goodmans():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 10, 6, 5]).astype(np.uint32)
    y = 40 / (40 + 2 * 20)
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10]
    np.testing.assert_allclose(discounts(counts), expected)


@pytest.mark.parametrize("counts", [[1, 1, 2, 3], [1] * 10 + [2, 3] + [4] * 100])
def test_discounts_that_cannot_be_estimated_fall_back(counts):
    np.testing.assert_array_equal(
        discounts(np.array(counts, dtype=np.uint32)), [0, *FALLBACK_DISCOUNTS]
    )


@pytest.mark.parametrize("vocab_size", [30, 1023, 1024])
def test_probabilities_sum_to_one(vocab_size):
    rng = np.random.default_rng(1)
    sequences = random_music(rng, vocab_size)
    model = fit(sequences, vocab_size)
    seen = [s[: rng.integers(1, len(s) + 1)] for s in sequences]
    unseen = [rng.integers(0, vocab_size, size=rng.integers(1, 9)) for _ in range(40)]
    for history in seen + unseen:
        probs = model.distribution(history)
        assert abs(probs.sum() - 1) < 1e-9
        assert probs.min() > 0


def test_sequence_and_distribution_agree():
    rng = np.random.default_rng(2)
    model = fit(random_music(rng, 300), 300)
    held_out = rng.integers(0, 300, size=12)
    expected = [model.distribution(held_out[:t])[held_out[t]] for t in range(1, 12)]
    np.testing.assert_allclose(2 ** model.log2_probs(held_out), expected, rtol=1e-12)


def test_unseen_tokens_are_finite():
    model = fit([np.array([1, 5, 6, 5, 6, 2])], vocab_size=100)
    log2_probs = model.log2_probs(np.array([1, 99, 98, 5, 97, 2]))
    assert log2_probs.shape == (5,)
    assert np.isfinite(log2_probs).all()
    assert log2_probs.dtype == np.float64


@pytest.mark.parametrize("order", [2, 5])
def test_held_out_bits_approach_the_entropy_of_a_markov_chain(order):
    rng = np.random.default_rng(3)
    transitions = rng.dirichlet(np.full(6, 0.5), size=6) * 0.99 + 0.01 / 6
    walk, entropy = markov_chain(transitions, 120_000, rng)
    model = fit(np.split(walk[:100_000], 50), vocab_size=6, order=order)
    bits = model.bits_per_token([walk[100_000:]])
    assert entropy - 0.02 < bits < entropy + 0.05
    unigrams = fit(np.split(walk[:100_000], 50), vocab_size=6, order=1)
    assert unigrams.bits_per_token([walk[100_000:]]) > bits + 0.2


def test_bits_per_token_weighs_tokens_not_sequences():
    rng = np.random.default_rng(4)
    sequences = random_music(rng, 30)
    model = fit(sequences, 30)
    parts = [model.log2_probs(s) for s in sequences]
    assert model.bits_per_token(iter(sequences)) == pytest.approx(-np.concatenate(parts).mean())


def test_order_beyond_the_longest_sequence_is_harmless():
    short = [np.array([1, 3, 2]), np.array([1, 4, 2])]
    deep, shallow = fit(short, 6, order=6), fit(short, 6, order=3)
    assert deep.order == shallow.order == 3
    np.testing.assert_array_equal(deep.log2_probs(short[0]), shallow.log2_probs(short[0]))


def test_sequences_are_read_once_and_left_alone():
    sequence = np.array([1, 4, 3, 4, 2], dtype=np.uint16)
    model = fit(iter([sequence]), 5)
    assert isinstance(model, NGram)
    np.testing.assert_array_equal(sequence, [1, 4, 3, 4, 2])


@pytest.mark.parametrize(
    ("sequences", "vocab_size", "order", "reason"),
    [
        ([[1, 7]], 7, 5, "not in 0..6"),
        ([[-1, 3]], 7, 5, "not in 0..6"),
        ([[1, 2]], 1025, 5, "vocab_size 1025"),
        ([[1, 2]], 7, 7, "order 7"),
        ([[1], []], 7, 5, "at least one sequence"),
    ],
)
def test_what_cannot_be_fitted_is_refused(sequences, vocab_size, order, reason):
    with pytest.raises(ValueError, match=reason):
        fit([np.array(s, dtype=np.int64) for s in sequences], vocab_size, order)


def test_ids_outside_the_vocabulary_are_refused_when_scored():
    model = fit([np.array([1, 3, 2])], 6)
    with pytest.raises(ValueError, match=r"not in 0\.\.5"):
        model.log2_probs(np.array([1, 6]))
    with pytest.raises(ValueError, match="at least one sequence"):
        model.bits_per_token([np.array([1])])
