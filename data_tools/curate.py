"""Which pieces are worth learning from: filters on one piece, and choices among copies of one.

Every filter is a threshold of `CorpusSettings`, and every piece left out has its reason in words.
What is measured is vectorised over notes; a piece costs some tens of microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.duplicates import near_duplicates, similarity
from data_tools.midi import Notes
from data_tools.settings import CorpusSettings
from data_tools.sources import UNLABELLED
from data_tools.splits import groups_of

_BARS = (3, 4)  # quarters; a waltz's bars repeat in threes


@dataclass(frozen=True)
class Facts:
    """What the filters look at.

    Attributes:
        notes: how many.
        seconds: until the last note ends.
        repetition: share of the piece that is one bar, or one pitch, over and over.
        lead: seconds of silence before the first note.
        silence: the longest silence after it, in seconds; keys up, whatever the pedal does.
        silent_share: share of the time after it in which nothing is held down.
    """

    notes: int
    seconds: float
    repetition: float
    lead: float
    silence: float
    silent_share: float


def facts_of(notes: Notes, timed: Notes, ticks_per_quarter: int) -> Facts:
    """Measures a piece.

    Args:
        notes: at least one, in ticks, sorted by onset.
        timed: the same notes in seconds.
        ticks_per_quarter: the resolution of `notes`.
    """
    end = float(timed.end.max())
    gaps = timed.start[1:] - np.maximum.accumulate(timed.end)[:-1]
    length = end - float(timed.start[0])
    return Facts(
        len(notes),
        end,
        repetition(notes, ticks_per_quarter),
        float(timed.start[0]),
        float(gaps.max(initial=0.0)),
        float(gaps[gaps > 0].sum() / length) if length > 0 else 0.0,
    )


def repetition(notes: Notes, ticks_per_quarter: int) -> float:
    """Share of the piece that is its commonest bar (of 3 or 4 quarters) or its commonest pitch.

    Bars are the same when the same pitches begin at the same ticks of them, which a player never
    does twice: in played music only the pitch counts.
    """
    pitches = np.bincount(notes.pitch).max() / len(notes)
    start, pitch = notes.start.astype(np.int64), notes.pitch.astype(np.uint64)
    share = 0.0
    for quarters in _BARS:
        bar, place = np.divmod(start, quarters * ticks_per_quarter)
        # A bar is the sum of its notes' hashes, in whatever order they come.
        mixed = (place.astype(np.uint64) << np.uint64(8) | pitch) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ mixed >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        first = np.flatnonzero(np.concatenate([[True], bar[1:] != bar[:-1]]))
        bars = np.sort(np.add.reduceat(mixed, first))
        edges = np.flatnonzero(np.concatenate([[True], bars[1:] != bars[:-1], [True]]))
        most = int(np.diff(edges).max())
        share = max(share, most / len(bars) if most > 1 else 0.0)
    return float(max(pitches, share))


def too_few(notes: int, least: int, dropped: Sequence[str]) -> str:
    """Why so few notes are not kept; a file may have many more, on what was dropped."""
    return f"fewer than {least} notes{' in its piano part' if dropped else ''} ({notes})"


def reason_of(facts: Facts, settings: CorpusSettings) -> str:
    """Why a piece is left out, with the measured number; empty where it stays."""
    if settings.max_notes and facts.notes > settings.max_notes:
        return f"more than {settings.max_notes} notes ({facts.notes})"
    if facts.seconds < settings.min_seconds:
        return f"shorter than {settings.min_seconds:g} s ({facts.seconds:.1f})"
    if settings.max_seconds and facts.seconds > settings.max_seconds:
        return f"longer than {settings.max_seconds:g} s ({facts.seconds:.1f})"
    if facts.repetition > settings.max_repetition:
        return f"one bar or pitch again and again ({facts.repetition:.0%} of the piece)"
    if settings.max_lead and facts.lead > settings.max_lead:
        return f"begins after more than {settings.max_lead:g} s of silence ({facts.lead:.1f})"
    if settings.max_silence and facts.silence > settings.max_silence:
        return f"silent for more than {settings.max_silence:g} s ({facts.silence:.1f})"
    if facts.silent_share > settings.max_silent_share:
        return f"mostly silent ({facts.silent_share:.0%} of its time)"
    return ""


@dataclass(frozen=True)
class Conflict:
    """Two pieces, by number, that are one music under two labels."""

    first: int
    second: int
    similarity: float


def pairs_of(
    sketches: Sequence[np.ndarray], copies: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Pairs of one music: near-duplicates, and exact copies that were kept.

    Args:
        sketches: the signature of each piece.
        copies: pairs known to be the same, however short.
    """
    return sorted({*near_duplicates(sketches), *copies})


def conflicts_of(
    pairs: Sequence[tuple[int, int]], labels: Sequence[str], sketches: Sequence[np.ndarray]
) -> list[Conflict]:
    """The pairs whose labels contradict each other; no label contradicts nothing."""
    return [
        Conflict(first, second, similarity(sketches[first], sketches[second]))
        for first, second in pairs
        if labels[first] != labels[second] and UNLABELLED not in (labels[first], labels[second])
    ]


def copies_to_drop(
    pairs: Sequence[tuple[int, int]], notes: Sequence[int], known: Sequence[bool], gone: set[int]
) -> dict[int, int]:
    """Of every cluster of near-duplicates all but one: {piece: the one kept in its place}.

    Kept is one whose label is known; of these the one of most notes, among equals the first.

    Args:
        pairs: near-duplicates.
        notes: how many each piece has.
        known: whether it has a label.
        gone: pieces already left out, which stand for nobody.
    """
    here = [pair for pair in pairs if not gone & set(pair)]
    empty = [""] * len(notes)
    members: dict[int, list[int]] = {}
    for number, group in enumerate(groups_of(empty, empty, here)):
        members.setdefault(group, []).append(number)
    result = {}
    for cluster in members.values():
        kept = min(cluster, key=lambda number: (not known[number], -notes[number], number))
        result.update({number: kept for number in cluster if number != kept})
    return result
