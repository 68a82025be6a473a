"""Rags: what makes ragtime is there, and what makes a march of it is not."""

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from data_tools.errors import UserError
from data_tools.practice import Piece, draft, rag, ragtime, write_practice
from data_tools.practice.performance import Brief, Note, Sketch, draw_brief

STRAIN = ragtime.STRAIN * ragtime.BAR


def rag_sketch(seed: int) -> tuple[Brief, Sketch]:
    rng = np.random.default_rng(seed)
    brief = draw_brief(rng)
    return brief, ragtime.compose(rng, brief)


@pytest.fixture(scope="module")
def sketches() -> list[tuple[Brief, Sketch]]:
    return [rag_sketch(seed) for seed in range(60)]


@pytest.fixture(scope="module")
def rags() -> list[Piece]:
    return [rag(0, index) for index in range(12)]


def held_over(notes: list[Note]) -> float:
    """Share of a tune's notes that begin between two beats and sound on into the next."""
    return float(np.mean([n.onset % 1 == 0.5 and n.length > 0.6 for n in notes]))


def test_the_tune_is_syncopated_and_a_march_is_not(sketches: list[tuple[Brief, Sketch]]) -> None:
    marches = [s for _, s in (draft(1, n, "not_jazz") for n in range(200)) if s.form == "march"]
    assert len(marches) > 10
    ours = [held_over(sketch.parts["melody"]) for _, sketch in sketches]
    theirs = [held_over(sketch.parts["melody"]) for sketch in marches]
    assert min(ours) > max(theirs)
    assert np.mean(ours) > 0.2


def test_the_left_hand_strides(sketches: list[tuple[Brief, Sketch]]) -> None:
    for _, sketch in sketches:
        bass, chords = sketch.parts["bass"], sketch.parts["chords"]
        assert {note.onset % 2 for note in chords} == {1.0}
        low = {n.onset: n.pitch for n in sorted(bass, key=lambda n: -n.pitch)}  # the lowest
        above = [n.pitch > low[n.onset - 1] for n in chords if n.onset - 1 in low]
        assert np.mean(above) > 0.97
        assert len(above) > 0.7 * len(chords)
        struck = [n for n in bass if n.onset % 2 == 0]
        right = []
        for note in struck:
            chord = next(c for c in sketch.changes if c.beat <= note.onset < c.beat + c.beats)
            right.append(note.pitch % 12 in chord.chord.tones)
        assert np.mean(right) > 0.85, "runs pass through other tones"


def test_every_strain_comes_home_and_the_trio_lies_a_fourth_higher(
    sketches: list[tuple[Brief, Sketch]],
) -> None:
    for brief, sketch in sketches:
        end = max(change.beat + change.beats for change in sketch.changes)
        begin = end % STRAIN
        homes = [
            next(c.chord.root for c in sketch.changes if c.beat <= at - 1 < c.beat + c.beats)
            for at in np.arange(begin + STRAIN, end + 1, STRAIN)
        ]
        assert set(homes) == {brief.key, (brief.key + 5) % 12}
        assert homes[0] == brief.key
        assert homes[-1] == (brief.key + 5) % 12


def test_a_strain_comes_again_as_it_was(sketches: list[tuple[Brief, Sketch]]) -> None:
    again = 0
    for _, sketch in sketches:
        end = max(change.beat + change.beats for change in sketch.changes)
        begin = end % STRAIN
        melody = sketch.parts["melody"]
        first, second = (
            [(n.onset - at, n.pitch) for n in melody if at <= n.onset < at + STRAIN]
            for at in (begin, begin + STRAIN)
        )
        again += first == second
    assert again > len(sketches) / 2


def test_a_rag_is_a_function_of_its_numbers(rags: list[Piece]) -> None:
    def notes(piece: Piece) -> list[tuple[int, int, int, int]]:
        (track,) = piece.score.instruments
        return [(n.start, n.end, n.pitch, n.velocity) for n in track.notes]

    assert notes(rag(0, 3)) == notes(rags[3])
    assert notes(rag(1, 3)) != notes(rags[3])
    assert len({piece.work for piece in rags}) == len(rags)
    for piece in rags:
        assert (piece.label, piece.form) == ("jazz", "ragtime")
        assert all(21 <= pitch <= 108 for _, _, pitch, _ in notes(piece))
        assert 75 < piece.score.max_tick / 480 * 60 / piece.tempo < 300


def test_every_other_one_strikes_its_chords_as_one(rags: list[Piece]) -> None:
    def together(piece: Piece) -> float:
        """Share of the notes that begin at the very tick of another."""
        start = [note.start for note in piece.score.instruments[0].notes]
        _, count = np.unique(start, return_counts=True)
        return float(count[count > 1].sum() / len(start))

    assert min(together(piece) for piece in rags[1::2]) > 0.6
    assert max(together(piece) for piece in rags[::2]) < 0.5


def test_a_folder_of_rags(tmp_path: Path) -> None:
    manifest = write_practice(tmp_path / "rags", 3, 5, rags=True)
    rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    assert [row["label"] for row in rows] == ["jazz"] * 3
    assert {row["source"] for row in rows} == {"practice-ragtime"}
    assert [row["work_group"] for row in rows] == [f"rag-5-0000{n}" for n in range(3)]
    assert all((tmp_path / "rags" / row["path"]).is_file() for row in rows)
    assert {path.name for path in manifest.parent.iterdir()} == {"jazz", "manifest.csv"}
    before = manifest.stat().st_mtime_ns
    assert write_practice(tmp_path / "rags", 3, 5, rags=True).stat().st_mtime_ns == before
    with pytest.raises(UserError, match="something other than 3 practice pieces of seed 5"):
        write_practice(tmp_path / "rags", 3, 5)
    with pytest.raises(UserError, match="something other than 2 rags of seed 5"):
        write_practice(tmp_path / "rags", 2, 5, rags=True)


def strains(sketch: Sketch) -> list[float]:
    """Where each strain begins, in beats."""
    end = max(change.beat + change.beats for change in sketch.changes)
    return np.arange(end % STRAIN, end, STRAIN).tolist()


def test_a_strain_ends_on_its_tonic_in_both_hands(sketches: list[tuple[Brief, Sketch]]) -> None:
    for _, sketch in sketches:
        for begin in strains(sketch):
            at = begin + STRAIN - 2  # the last stroke; after it there is nothing
            tonic = next(c.chord.root for c in sketch.changes if c.beat <= at < c.beat + c.beats)
            melody = [n for n in sketch.parts["melody"] if at <= n.onset < at + 2]
            bass = [n for n in sketch.parts["bass"] if at <= n.onset < at + 2]
            assert {n.onset for n in melody + bass} == {at}
            assert max(melody, key=lambda n: n.pitch).pitch % 12 == tonic
            assert {n.pitch % 12 for n in bass} == {tonic}
            assert not [n for n in sketch.parts["chords"] if at <= n.onset < at + 2]


def test_a_minor_rag_begins_in_minor_and_has_its_trio_in_major(
    sketches: list[tuple[Brief, Sketch]],
) -> None:
    modes = set()
    for brief, sketch in sketches:
        starts = strains(sketch)
        homes = [
            next(c.chord for c in sketch.changes if c.beat <= at < c.beat + c.beats)
            for at in (starts[0] + STRAIN - 1, starts[-1] + STRAIN - 1)
        ]
        assert [home.minor for home in homes] == [brief.minor, False]
        modes.add(brief.minor)
        if not brief.minor:
            continue
        third = (brief.key + 4) % 12  # the other mode's
        first = [n for n in sketch.parts["melody"] if n.onset < starts[0] + STRAIN]
        tonic = [
            n for n in first
            if any(
                c.chord.root == brief.key and c.chord.quality in ("", "m")
                for c in sketch.changes if c.beat <= n.onset < c.beat + c.beats
            )
        ]  # fmt: skip
        strange = np.mean([n.pitch % 12 == third for n in tonic])
        assert strange < 0.02
    assert modes == {True, False}


def test_neighbours_come_home(sketches: list[tuple[Brief, Sketch]]) -> None:
    """After a short note that is foreign to the chord the tune goes a step, most of the time."""
    steps, leaps = 0, 0
    for _, sketch in sketches:
        tune: dict[float, int] = {}
        for note in sketch.parts["melody"]:
            tune[note.onset] = max(note.pitch, tune.get(note.onset, 0))
        at = sorted(tune)
        for one, following in pairwise(at):
            chord = next(c.chord for c in sketch.changes if c.beat <= one < c.beat + c.beats)
            if following - one < 1 and tune[one] % 12 not in chord.tones:
                close = abs(tune[following] - tune[one]) <= 2
                steps, leaps = steps + close, leaps + (not close)
    assert steps > 7 * leaps


def test_who_strikes_as_one_keeps_the_beat(rags: list[Piece]) -> None:
    def off(piece: Piece) -> np.ndarray:
        """How far each onset lies from a half beat, in beats."""
        start = np.array([note.start for note in piece.score.instruments[0].notes]) / 480
        return np.abs(start - (start * 2).round() / 2)

    assert max(off(piece).max() for piece in rags[1::2]) < 0.003
    assert min(off(piece).mean() for piece in rags[::2]) > 0.003
