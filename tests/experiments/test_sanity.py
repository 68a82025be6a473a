"""Each edit does what it says to notes and nothing else; the recipe runs end to end."""

import json
from itertools import pairwise

import numpy as np
import pytest
import symusic
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.sources import Entry
from discriminator.classifier import Classifier
from experiments.recipes import edits
from experiments.recipes.sanity import drawn, interval, main, moved_by_transposing, rows_of, table


def comping(seed: int = 0, chords: int = 60) -> midi.ScoreTick:
    """A bass note, then a chord spread over 20 ms, at a changing tempo, with a pedal."""
    rng = np.random.default_rng(seed)
    score = symusic.Score(480)
    track = symusic.Track("Piano", 0, False)
    for index in range(chords):
        time = 480 * index + 37 + int(rng.integers(0, 30))
        keys = rng.choice(np.arange(55, 85), 3 + index % 2, replace=False)
        track.notes.append(symusic.Note(time, 200, int(rng.integers(30, 50)), 50))
        for place, key in enumerate(sorted(keys)):
            loud = int(rng.integers(30, 110))
            track.notes.append(symusic.Note(time + 240 + 6 * place, 180, int(key), loud))
    track.pedals.append(symusic.Pedal(300, 900))
    score.tracks.append(track)
    score.tempos.append(symusic.Tempo(0, 100.0))
    score.tempos.append(symusic.Tempo(9600, 150.0))
    return midi.prepare(score).score


def notes(score: midi.ScoreTick) -> midi.Notes:
    return midi.notes_of(score.tracks[0])


def random() -> np.random.Generator:
    return np.random.default_rng(1)


def columns(score: midi.ScoreTick) -> list[list[int]]:
    found = notes(score)
    return [getattr(found, name).tolist() for name in ("start", "end", "pitch", "velocity")]


@pytest.mark.parametrize("name", edits.EDITS)
def test_an_edit_leaves_its_input_alone_and_gives_playable_music(name):
    score, before = comping(), columns(comping())
    once, again = (edits.EDITS[name](score, random()) for _ in range(2))
    assert columns(score) == before
    assert columns(once) == columns(again)
    assert len(notes(midi.prepare(once).score)) > 0.4 * len(notes(score))
    if name != "original":
        same = columns(once) == before and once.tempos == score.tempos
        assert not same


def test_an_excerpt_is_the_beginning():
    score = comping()
    short = edits.excerpt(score, 10)
    assert columns(short) == [column[:10] for column in columns(score)]
    assert columns(edits.excerpt(score, 10_000)) == columns(score)


def test_shuffling_keeps_rhythm_and_pitches():
    score = comping()
    found = edits.shuffled(score, random())
    start, _, pitch, _ = columns(found)
    assert start == columns(score)[0]
    assert sorted(pitch) == sorted(columns(score)[2])


def test_chords_are_what_begins_together():
    score = comping()
    number = edits.chords_of(score, notes(score))
    assert np.bincount(number).tolist() == [1, 3, 1, 4] * 30


def test_shuffling_by_chord_size_keeps_the_bass_in_the_bass():
    score = comping()
    size = np.bincount(edits.chords_of(score, notes(score)))[edits.chords_of(score, notes(score))]
    before, found = notes(score), notes(edits.shuffled_by_size(score, random()))
    for length in (1, 3, 4):
        pitch = before.pitch[size == length], found.pitch[size == length]
        assert sorted(pitch[0]) == sorted(pitch[1])
        assert (pitch[0] != pitch[1]).any()


def test_backwards_twice_is_the_piece_from_its_first_note():
    score = comping()
    score.tracks[0].pedals = symusic.Pedal.from_numpy(*np.zeros((2, 0), np.int32))
    found = edits.backwards(edits.backwards(score, random()), random())
    start, end, pitch, velocity = columns(score)
    first = min(start)
    assert columns(found) == [[t - first for t in start], [t - first for t in end], pitch, velocity]


def test_shuffled_times_keep_what_is_struck_and_the_times_between():
    score = comping()
    score.tracks[0].pedals = symusic.Pedal.from_numpy(*np.zeros((2, 0), np.int32))
    found = edits.shuffled_time(score, random())

    def chords(one: midi.ScoreTick) -> tuple[list[list[int]], list[int]]:
        """The pitches of each chord, and the times between them."""
        number = edits.chords_of(one, notes(one))
        first = np.flatnonzero(np.diff(number, prepend=-1))
        struck = np.split(notes(one).pitch, first[1:])
        return [sorted(each.tolist()) for each in struck], np.diff(notes(one).start[first]).tolist()

    (before, gaps), (after, others) = chords(score), chords(found)
    assert after == before
    assert sorted(others) == sorted(gaps)
    assert others != gaps


def test_one_chord_has_the_onsets_of_all():
    score = comping()
    found = notes(edits.one_chord(score, random()))
    chord = edits.chords_of(score, notes(score))
    first = notes(score).start[np.flatnonzero(np.diff(chord, prepend=-1))]
    assert np.unique(found.start).tolist() == first.tolist()
    assert len(found) == len(first) * len(np.unique(found.pitch))
    assert len(np.unique(found.pitch)) >= 3


def test_noise_stays_in_the_register():
    score = comping()
    found, low, high = (
        notes(edits.noise(score, random())),
        *np.percentile(notes(score).pitch, [5, 95]),
    )
    assert len(found) == len(notes(score))
    assert found.pitch.min() >= round(low)
    assert found.pitch.max() <= round(high)
    assert found.start.max() <= notes(score).start.max()


@given(st.integers(-12, 12))
def test_transposing_moves_every_pitch_and_stays_on_the_keys(steps):
    score = comping()
    moved = notes(edits.transposed(score, random(), steps)).pitch
    assert sorted(moved % 12) == sorted((notes(score).pitch + steps) % 12)
    assert moved.min() >= midi.LOWEST_PITCH
    assert moved.max() <= midi.HIGHEST_PITCH


def test_sixteenths_are_the_files_own():
    score = comping()
    found = notes(edits.on_sixteenths(score, random()))
    assert (found.start % 120 == 0).all()
    assert (found.end % 120 == 0).all()
    assert (np.abs(np.sort(found.start) - np.sort(notes(score).start)) <= 60).all()
    assert (found.end > found.start).all()


def test_a_transcribers_marks():
    score = comping()
    found = edits.on_transcriber_grid(score, random())
    assert found.ticks_per_quarter == 220
    assert [tempo.qpm for tempo in found.tempos] == pytest.approx([120.0])
    assert not found.tracks[0].pedals
    seconds = midi.seconds_of(found, notes(found).start)
    off_grid = np.abs(seconds / 0.032 - np.rint(seconds / 0.032))
    assert off_grid.max() < 0.05  # ticks are 2.3 ms
    true = midi.seconds_of(score, notes(score).start)
    assert np.abs(np.sort(seconds) - np.sort(true)).max() < 0.0175
    # The first chord is let go at tick 500 or so, under a pedal that comes up at 1200.
    assert max(columns(score)[1][:4]) < 520
    last = max(columns(found)[1][:4]) * 60 / 120 / 220
    assert last == pytest.approx(1200 / 480 * 0.6, abs=0.02)


def test_tempo_changes_seconds_alone():
    score = comping()
    fast = edits.at_tempo(score, random(), 1.25)
    assert columns(fast) == columns(score)
    start = notes(score).start
    assert midi.seconds_of(fast, start) == pytest.approx(midi.seconds_of(score, start) / 1.25)


def test_the_top_line_is_one_voice():
    score = comping()
    line, chord = notes(edits.top_line(score, random())), edits.chords_of(score, notes(score))
    top = [max(notes(score).pitch[chord == number]) for number in np.unique(chord)]
    np.testing.assert_array_equal(line.pitch, top)
    assert (line.end[:-1] <= line.start[1:]).all()
    again = edits.top_line(edits.top_line(score, random()), random())
    assert columns(again)[2] == line.pitch.tolist()


def test_short_and_missing_notes():
    score = comping()
    short, thin = edits.short(score, random()), edits.left_out(score, random(), 0.5)
    start, end = (midi.seconds_of(short, ticks) for ticks in (notes(short).start, notes(short).end))
    assert (end - start).max() <= edits.SHORT + 0.002
    assert (end - start).min() > edits.SHORT - 0.002
    np.testing.assert_array_equal(notes(short).start, notes(score).start)
    assert 0.3 < len(notes(thin)) / len(notes(score)) < 0.7
    assert set(zip(*columns(thin), strict=True)) < set(zip(*columns(score), strict=True))


def test_loudness_and_right_hand():
    score = comping()
    assert set(columns(edits.level(score, random()))[3]) == {64}
    above = notes(edits.right_hand(score, random())).pitch
    assert above.tolist() == [p for p in columns(score)[2] if p >= 60]
    low = edits.transposed(edits.right_hand(score, random()), random(), -12)
    low = edits.transposed(edits.transposed(low, random(), -12), random(), -12)
    assert columns(edits.right_hand(low, random())) == columns(low)


# ---- the recipe


def test_sources_take_turns():
    facts = [("jazz", "a")] * 50 + [("jazz", "b")] * 3 + [("not_jazz", "c")] * 9
    entries = [
        Entry(f"{n}.mid", {"label": label, "source": source})
        for n, (label, source) in enumerate(facts)
    ]
    found = drawn(entries, 10, seed=0)
    assert [e.facts["source"] for e in found] == list("abababaaaa") + ["c"] * 9
    assert found == drawn(entries, 10, seed=0)
    assert found != drawn(entries, 10, seed=1)


def test_figures_by_hand():
    jazz = np.array([True, True, False, False])
    found = {
        "original": np.array([0.9, 0.7, 0.2, 0.4]),
        "transposed +1": np.array([0.8, 0.9, 0.2, np.nan]),
    }
    first, second = rows_of(found, jazz, 0.3, 0.8, seed=0)
    assert first["jazz"]["mean_p"] == pytest.approx(0.8)
    assert first["jazz"]["unsure"] == first["not_jazz"]["unsure"] == 0.5
    assert (first["auc"], first["jazz"]["moved"]) == (1.0, 0.0)
    assert second["jazz"]["moved"] == pytest.approx(0.15)
    assert (second["not_jazz"]["pieces"], second["not_jazz"]["without"]) == (1, 1)
    assert moved_by_transposing([first, second]) == pytest.approx(0.075)
    assert "NOT below 0.05" in table([first, second])
    assert "0.075" in table([first, second])


def test_an_interval_narrows_with_the_pieces():
    values = np.random.default_rng(0).random(1000)
    few, many = interval(values[:20], 0), interval(values, 0)
    assert many[1] - many[0] < few[1] - few[0]
    assert many[0] < values.mean() < many[1]


def test_the_recipe_from_files_to_a_table(practice_music, tiny_discriminator, tmp_path):
    out = tmp_path / "sanity.json"
    arguments = ["--model", str(tiny_discriminator), "--archive", str(practice_music)]
    done = CliRunner().invoke(main, [*arguments, "--out", str(out), "--count", "3"])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    assert len(written["pieces"]) == 6
    rows = {row["edit"]: row for row in written["rows"]}
    assert list(rows)[: len(edits.EDITS)] == list(edits.EDITS)
    assert rows["original"]["jazz"]["moved"] == 0
    assert 0 < rows["pitches shuffled over all notes"]["jazz"]["moved"] < 1
    lines = out.with_suffix(".md").read_text().splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {9}
    # The original is the piece as the classifier hears it anyway.
    classifier = Classifier.load(tiny_discriminator)
    p = [classifier.score(practice_music / path).p_jazz for path in written["pieces"][:3]]
    assert rows["original"]["jazz"]["mean_p"] == pytest.approx(np.mean(p), abs=1e-4)


def test_transpositions_are_of_one_to_six_semitones():
    steps = sorted(edit.keywords["steps"] for edit in edits.TRANSPOSITIONS.values())
    assert steps == [-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6]
    assert all(b > a for a, b in pairwise(steps))


def test_real_music_survives_every_edit(mini):
    for path in sorted(mini.rglob("*.mid"))[::30]:
        score = edits.excerpt(midi.prepare(path).score, 300)
        for name, edit in edits.EDITS.items():
            assert midi.prepare(edit(score, random())).score.tracks[0].notes, (path, name)
