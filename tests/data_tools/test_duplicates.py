"""Near-duplicates: one piece in other clothes is found, other pieces are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools import midi
from data_tools.duplicates import PERMUTATIONS, near_duplicates, signature
from data_tools.midi import Notes
from data_tools.practice import compose


def timed(music: midi.Music) -> Notes:
    """A piece's notes with times in seconds."""
    score = midi.prepare(music).score
    notes = midi.notes_of(score.tracks[0])
    start, end = midi.seconds_of(score, notes.start), midi.seconds_of(score, notes.end)
    return replace(notes, start=start, end=end)


def random_piece(seed: int, count: int = 200) -> Notes:
    rng = np.random.default_rng(seed)
    start = np.repeat(np.cumsum(rng.choice([0.25, 0.5], count)), 2)
    top = 72 + np.cumsum(rng.integers(-4, 5, count)) % 20
    bass = 40 + np.cumsum(rng.integers(-5, 6, count)) % 15
    pitch = np.stack([bass, top], 1).ravel().astype(np.int16)
    return Notes(start, start + 0.2, pitch, np.full(len(pitch), 64, np.int16))


def copies(notes: Notes) -> dict[str, Notes]:
    rng = np.random.default_rng(1)
    # One player's unevenness: chords spread by less than the clusters' 50 ms.
    uneven = notes.start + rng.uniform(0, 0.015, len(notes))
    humanised = replace(
        notes, start=uneven, velocity=rng.integers(30, 100, len(notes)).astype(np.int16)
    ).take(np.lexsort((notes.pitch, uneven)))
    return {
        "transposed": replace(notes, pitch=notes.pitch + 3),
        "slower": replace(notes, start=notes.start * 1.2, end=notes.end * 1.2),
        "humanised": humanised,
        "cut": notes.take(np.arange(len(notes)) < 0.8 * len(notes)),
    }


def test_copies_are_found_and_others_are_not() -> None:
    pieces = [random_piece(seed) for seed in range(12)]
    changed = [copy for piece in pieces[:4] for copy in copies(piece).values()]
    sketches = [signature(piece) for piece in pieces + changed]
    pairs = list(near_duplicates(sketches))
    origin = [*range(12), *(number for number in range(4) for _ in range(4))]
    assert all(origin[first] == origin[second] for first, second in pairs)
    for number in range(4):
        for copy in range(4):
            assert (number, 12 + 4 * number + copy) in pairs


def test_composed_pieces_are_told_apart() -> None:
    notes = [timed(compose(0, index).score) for index in range(16)]
    assert list(near_duplicates([signature(piece) for piece in notes])) == []


def test_real_pieces(mini: Path) -> None:
    notes = [timed(path) for path in sorted((mini / "not_jazz").rglob("*.mid"))[::8]]
    for piece in notes:
        for name in ("transposed", "slower"):
            sketches = [signature(piece), signature(copies(piece)[name])]
            assert list(near_duplicates(sketches)) == [(0, 1)], name
    assert len(list(near_duplicates([signature(piece) for piece in notes]))) <= 1


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_short_to_tell(count: int) -> None:
    short = random_piece(0, count)
    sketch = signature(short)
    assert sketch.shape == (PERMUTATIONS,)
    assert list(near_duplicates([sketch, sketch])) == []


def test_a_repeated_note_says_nothing() -> None:
    start = np.arange(100) * 0.25
    drone = Notes(start, start + 0.2, np.full(100, 60, np.int16), np.full(100, 64, np.int16))
    assert list(near_duplicates([signature(drone), signature(drone)])) == []
    slow = replace(drone, pitch=(60 + np.arange(100) // 4 * 5 % 24).astype(np.int16))
    assert list(near_duplicates([signature(slow), signature(slow)])) == []


def test_a_pair_is_as_alike_as_was_asked_for() -> None:
    """The index offers more than that; what it offers is looked at."""
    rng = np.random.default_rng(0)
    first, second, third = rng.integers(0, 2**31, (3, PERMUTATIONS), dtype=np.uint64)
    second[:25], third[:26] = first[:25], first[:26]  # of 64: 0.39 and 0.41
    assert list(near_duplicates([first, second, third], 0.4)) == [(0, 2)]
