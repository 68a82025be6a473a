"""The reference language model: interpolated modified Kneser-Ney n-grams over token ids.

A neural model's bits per token mean little alone; this is the best that counting can do on the same
tokens. The smoothing follows Chen & Goodman, "An Empirical Study of Smoothing Techniques for
Language Modeling", Computer Speech and Language 13 (1999), section 4 and appendix A. An n-gram is
one 64-bit integer, ten bits a token, so every order is a sorted array searched by bisection.

Letters: T tokens in a sequence, V vocabulary size, Q queries, G distinct n-grams, C contexts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS = np.uint64(10)
MAX_VOCAB_SIZE = 2 ** int(BITS)
MAX_ORDER = 64 // int(BITS)

# What KenLM falls back to (Heafield et al. 2013): too little data to estimate D1, D2, D3+.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)

Keys = NDArray[np.uint64]
Counts = NDArray[np.uint32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The n-grams of one order.

    Attributes:
        grams: (G,) packed n-grams in ascending order, oldest token in the highest bits.
        counts: (G,) occurrences at the highest order; below it, distinct tokens to the left.
        discounts: (4,) what is taken off a count of 0, 1, 2, and 3 or more.
        contexts: (C,) packed histories of n - 1 tokens, ascending.
        totals: (C,) the sum of the counts that follow each history.
        weights: (C,) the share of probability each history leaves to the order below.
    """

    grams: Keys
    counts: Counts
    discounts: Floats
    contexts: Keys
    totals: Counts
    weights: Floats

    def interpolate(self, grams: Keys, lower: Floats) -> Floats:
        """Probabilities of this order, given those of the order below.

        Args:
            grams: (Q,) packed n-grams, the token to be predicted last.
            lower: (Q,) probability of the same tokens one order down.

        Returns:
            (Q,) probabilities; a history never seen passes `lower` on.
        """
        place, known = _find(self.contexts, grams >> BITS)
        index, counted = _find(self.grams, grams)
        count = np.where(counted, self.counts[index], 0)
        kept = count - self.discounts[np.minimum(count, 3)]
        return np.where(known, kept / self.totals[place] + self.weights[place] * lower, lower)


@dataclass(frozen=True)
class NGram:
    """A fitted model: one table an order, unigrams first, over `vocab_size` tokens."""

    vocab_size: int
    tables: tuple[Table, ...]

    @property
    def order(self) -> int:
        """The longest n-gram, in tokens."""
        return len(self.tables)

    def log2_probs(self, sequence: NDArray[np.integer]) -> Floats:
        """Log-probabilities of each token after the first, given all before it.

        Args:
            sequence: (T,) token ids, as those fitted: [BOS] music [EOS].

        Returns:
            (T - 1,) log2 probabilities, all finite; minus their sum is the sequence in bits.

        Raises:
            ValueError: a token id lies outside the vocabulary.
        """
        ids = _checked(sequence, self.vocab_size)
        probs = np.full(max(len(ids) - 1, 0), 1 / self.vocab_size)
        for n, table in enumerate(self.tables, start=1):
            # Tokens near the start have fewer than n - 1 before them and stay at a lower order.
            reached = probs[max(n - 2, 0) :]
            reached[:] = table.interpolate(_grams(ids, n), reached)
        return np.log2(probs)

    def distribution(self, history: NDArray[np.integer]) -> Floats:
        """The next token's (V,) probabilities after `history`, (T,) ids with T at least 1."""
        ids = _checked(history, self.vocab_size)
        probs = np.full(self.vocab_size, 1 / self.vocab_size)  # (V,)
        tokens = np.arange(self.vocab_size, dtype=np.uint64)
        for n, table in enumerate(self.tables[: len(ids) + 1], start=1):
            context = _pack([ids[len(ids) - n + 1 + i] for i in range(n - 1)])
            probs = table.interpolate((context << BITS) | tokens, probs)
        return probs

    def bits_per_token(self, sequences: Iterable[NDArray[np.integer]]) -> float:
        """The cross-entropy in bits per predicted token, over all sequences together.

        Raises:
            ValueError: no sequence has a token to predict, or an id lies outside the vocabulary.
        """
        bits, tokens = 0.0, 0
        for sequence in sequences:
            log2_probs = self.log2_probs(sequence)
            bits -= float(log2_probs.sum())
            tokens += len(log2_probs)
        if not tokens:
            raise ValueError("bits per token need at least one sequence of two tokens")
        return bits / tokens


def fit(sequences: Iterable[NDArray[np.integer]], vocab_size: int, order: int = 5) -> NGram:
    """Count n-grams and estimate the discounts of every order.

    A sequence's first token is given, never predicted. Tokens near the start have a shorter
    history; as in KenLM, an n-gram that opens a sequence has no token to its left and counts every
    time it occurs, where others count once for each distinct token to their left.

    Args:
        sequences: each (T,) token ids, [BOS] music [EOS]; read once.
        vocab_size: V, at most 1024.
        order: the longest n-gram, 1 to 6 tokens.

    Returns:
        The fitted model, about 20 bytes for each distinct n-gram of each order.

    Raises:
        ValueError: the vocabulary or the order does not fit 64 bits, a token id lies outside the
            vocabulary, or no sequence has two tokens.
    """
    if not 1 <= vocab_size <= MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size {vocab_size} is not in 1..{MAX_VOCAB_SIZE}")
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is not in 1..{MAX_ORDER}")
    occurrences: list[Keys] = []
    openings: list[list[np.uint64]] = [[] for _ in range(order)]  # [n]: grams of n tokens
    for sequence in sequences:
        ids = _checked(sequence, vocab_size)
        occurrences.append(_grams(ids, order))
        for n in range(2, min(order, len(ids) + 1)):
            openings[n].append(_pack(list(ids[:n])))

    grams, counts = _tally(_joined(occurrences))
    tables = [_table(grams, counts)] if len(grams) else []
    for n in range(order - 1, 0, -1):
        # Every n-gram is the tail of a distinct longer one or opens a sequence, so the adjusted
        # counts of Chen & Goodman need no second look at the music.
        opening = np.array(openings[n], dtype=np.uint64)
        tails = np.empty(len(grams) + len(opening), dtype=np.uint64)
        np.bitwise_and(
            grams, (np.uint64(1) << (BITS * np.uint64(n))) - np.uint64(1), out=tails[: len(grams)]
        )
        tails[len(grams) :] = opening
        grams, counts = _tally(tails)
        if len(grams):
            tables.append(_table(grams, counts))
    if not tables:
        raise ValueError("an n-gram model needs at least one sequence of two tokens")
    return NGram(vocab_size, tuple(reversed(tables)))


def discounts(counts: Counts) -> Floats:
    """Discounts D1, D2 and D3+ from counts-of-counts (Chen & Goodman 1999, equation 26).

    Args:
        counts: (G,) the counts of one order's n-grams.

    Returns:
        (4,) what to take off a count of 0, 1, 2, and 3 or more. `FALLBACK_DISCOUNTS` where a
        count-of-counts is zero, or where the estimate is not positive and would leave nothing for
        the order below.
    """
    once, twice, thrice, four = (int(np.count_nonzero(counts == k)) for k in (1, 2, 3, 4))
    if not (once and twice and thrice and four):
        return np.array([0.0, *FALLBACK_DISCOUNTS])
    share = once / (once + 2 * twice)
    estimates = (
        1 - 2 * share * twice / once,
        2 - 3 * share * thrice / twice,
        3 - 4 * share * four / thrice,
    )
    return np.array([0.0, *(estimates if min(estimates) > 0 else FALLBACK_DISCOUNTS)])


def _checked(sequence: NDArray[np.integer], vocab_size: int) -> Keys:
    """The ids as unsigned 64-bit integers; raises ValueError outside 0..V-1."""
    ids = np.asarray(sequence)
    if len(ids) and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise ValueError(f"token ids {ids.min()}..{ids.max()} are not in 0..{vocab_size - 1}")
    return ids.astype(np.uint64)


def _grams(ids: Keys, n: int) -> Keys:
    """The packed n-grams of a sequence, each ending on a predicted token (never the first)."""
    size = len(ids) - max(n, 2) + 1
    if size <= 0:
        return np.empty(0, dtype=np.uint64)
    first = len(ids) - size - n + 1  # 1 for unigrams, else 0
    packed = ids[first : first + size].copy()
    for i in range(first + 1, first + n):
        packed <<= BITS
        packed |= ids[i : i + size]
    return packed


def _pack(tokens: list[np.uint64]) -> np.uint64:
    packed = np.uint64(0)
    for token in tokens:
        packed = (packed << BITS) | token
    return packed


def _joined(parts: list[Keys]) -> Keys:
    """One array of all parts; the list is emptied on the way, to hold the keys only once."""
    joined = np.empty(sum(map(len, parts)), dtype=np.uint64)
    end = len(joined)
    while parts:
        part = parts.pop()
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


def _tally(keys: Keys) -> tuple[Keys, Counts]:
    """The distinct keys, ascending, and how often each occurs; sorts `keys` in place.

    np.unique would hold several copies of the largest array the fit has.
    """
    keys.sort()
    starts = _run_starts(keys)
    counts = np.empty(len(starts), dtype=np.uint32)
    np.subtract(starts[1:], starts[:-1], out=counts[:-1], casting="unsafe")
    if len(starts):
        counts[-1] = len(keys) - starts[-1]
    return keys[starts], counts


def _run_starts(keys: Keys) -> NDArray[np.intp]:
    """Where each run of equal keys starts."""
    fresh = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=fresh[1:])
    return np.flatnonzero(fresh)


def _table(grams: Keys, counts: Counts) -> Table:
    off = discounts(counts)
    histories = grams >> BITS
    starts = _run_starts(histories)
    contexts = histories[starts]
    del histories
    totals = np.add.reduceat(counts, starts, dtype=np.uint32)
    weights = np.add.reduceat(off[np.minimum(counts, 3).astype(np.uint8)], starts)
    weights /= totals
    return Table(grams, counts, off, contexts, totals, weights)


def _find(keys: Keys, queries: Keys) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """For each query, an index into `keys` (valid even when absent) and whether it is there."""
    # Ascending queries walk a table of gigabytes in order, which halves the time or better.
    ascending = np.argsort(queries)
    index = np.empty(len(queries), dtype=np.intp)
    index[ascending] = np.searchsorted(keys, queries[ascending])
    np.minimum(index, len(keys) - 1, out=index)
    return index, keys[index] == queries
