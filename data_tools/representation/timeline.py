"""What the writers and readers of several presets share: time shifts, and values that hold."""

from collections.abc import Sequence

import numpy as np

from data_tools.representation.events import Events
from data_tools.representation.vocabulary import TokenType, Vocabulary


def written(
    vocabulary: Vocabulary,
    time: np.ndarray,
    token: np.ndarray,
    before: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> np.ndarray:
    """Token ids (T,) uint16 of timed tokens: the largest-first time shifts that lead to each.

    Args:
        vocabulary: whose ids.
        time: (N,) ascending grid steps from 0.
        token: (N,) ids.
        before: pairs (places in `token`, ids) to be put before tokens, after the time shifts, in
            the order of the pairs.
    """
    shifts, first = vocabulary.of_type(TokenType.TIME_SHIFT), vocabulary.first(TokenType.TIME_SHIFT)
    remaining = np.diff(time, prepend=0)
    parts, owners = [token], [np.arange(len(token))]
    ranks = [np.full(len(token), 1 << 30)]
    rank = 0
    moving = np.flatnonzero(remaining)
    while len(moving):
        index = np.searchsorted(shifts, remaining[moving], side="right") - 1
        parts.append(first + index)
        owners.append(moving)
        ranks.append(np.full(len(moving), rank))
        remaining[moving] -= shifts[index]
        moving, rank = moving[remaining[moving] > 0], rank + 1
    for place, (owner, ids) in enumerate(before):
        parts.append(ids)
        owners.append(owner)
        ranks.append(np.full(len(owner), (1 << 29) + place))
    order = np.lexsort((np.concatenate(ranks), np.concatenate(owners)))
    return np.concatenate(parts)[order].astype(np.uint16)


def times(vocabulary: Vocabulary, ids: np.ndarray) -> np.ndarray:
    """(T,) the grid step each token stands at, where time shifts are what moves time."""
    shifts = vocabulary.types[ids] == TokenType.TIME_SHIFT
    return np.cumsum(np.where(shifts, vocabulary.values[ids], 0))


def tempo_tokens(vocabulary: Vocabulary, events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Steps and ids of the tempo changes."""
    first = vocabulary.first(TokenType.TEMPO) if vocabulary.beat else 0
    return events.tempos[:, 0], first + events.tempos[:, 1]


def read_tempos(
    vocabulary: Vocabulary, ids: np.ndarray, kinds: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """(M, 2): the step and the number of every tempo token."""
    at = np.flatnonzero(kinds == TokenType.TEMPO)
    return np.stack([time[at], ids[at] - vocabulary.first(TokenType.TEMPO)], 1)


def velocity_ids(vocabulary: Vocabulary, velocity: np.ndarray) -> np.ndarray:
    """(N, 1) ids of velocity tokens, (N, 0) where the vocabulary has none."""
    if not len(vocabulary.of_type(TokenType.VELOCITY)):
        return np.zeros((len(velocity), 0), dtype=np.int64)
    return vocabulary.nearest_id(TokenType.VELOCITY, velocity)[:, None]


def changes(values: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before; the first always does."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])


def last_place(here: np.ndarray) -> np.ndarray:
    """(T,) for every place, the last one up to it where `here` (T,) holds; -1 for none."""
    return np.maximum.accumulate(np.where(here, np.arange(len(here)), -1))
