"""The practice corpus: its theory is right, its forms are the forms, and only the music differs."""

import csv
import itertools
from collections import Counter
from pathlib import Path

import miditoolkit
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_tools.errors import UserError
from data_tools.practice import COLUMNS, Piece, compose, draft, write_practice
from data_tools.practice import chorale as chorales
from data_tools.practice.jazz_forms import BLUES, MINOR_BLUES, coloured, form
from data_tools.practice.jazz_hands import walking_bass
from data_tools.practice.performance import Brief, Note, Sketch
from data_tools.practice.theory import (
    NAMES,
    QUALITIES,
    Chord,
    bebop_scale,
    chart,
    chord_scale,
    nearest,
    numeral,
    parse_chord,
    rootless,
    shell,
    tritone_substitute,
)

SEVENTHS = [q for q, tones in QUALITIES.items() if len(tones) > 3 and "sus" not in q]
roots = st.integers(0, 11)
centres = st.integers(48, 66)
sevenths = st.builds(Chord, roots, st.sampled_from(SEVENTHS))


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [compose(0, index) for index in range(300)]


@pytest.fixture(scope="module")
def drafts() -> list[tuple[Brief, Sketch]]:
    return [draft(5, index, "jazz" if index % 2 else "not_jazz") for index in range(200)]


# Theory


@pytest.mark.parametrize(
    ("symbol", "tones"),
    [
        ("C", "C E G"), ("Am", "A C E"), ("Bdim", "B D F"), ("Cmaj7", "C E G B"),
        ("Dm7", "D F A C"), ("G7", "G B D F"), ("Bm7b5", "B D F A"), ("F#dim7", "Gb A C Eb"),
        ("Bb13", "Bb D F Ab C G"), ("E7b9", "E Ab B D F"), ("A7#9", "A Db E G C"),
        ("G7alt", "G B Eb F Ab Bb"), ("F7#11", "F A C Eb B"), ("Am6", "A C E Gb"),
        ("Eb69", "Eb G Bb C F"), ("CmM7", "C Eb G B"), ("G7sus4", "G C D F"),
    ],
)  # fmt: skip
def test_chord_symbols_have_their_tones(symbol: str, tones: str) -> None:
    assert [NAMES[tone] for tone in parse_chord(symbol).tones] == tones.split()


@pytest.mark.parametrize("symbol", ["H7", "C7b10", "", "c"])
def test_unknown_symbols_are_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="no such chord"):
        parse_chord(symbol)


def test_numerals_are_chords_of_the_key() -> None:
    names = [change.chord.name for change in chart("IIm7 V7|Imaj7|bVII7|#IVdim7", key=5)]
    assert names == ["Gm7", "C7", "Fmaj7", "Eb7", "Bdim7"]


@given(st.builds(Chord, roots, st.sampled_from(sorted(QUALITIES))))
def test_scales_hold_the_chord(chord: Chord) -> None:
    assert set(chord.tones) <= set(chord_scale(chord)) <= set(bebop_scale(chord))


@given(sevenths, st.sampled_from("AB"), centres)
def test_rootless_voicings_hold_the_guide_tones_and_not_the_root(
    chord: Chord, kind: str, centre: int
) -> None:
    voicing = rootless(chord, kind, centre)
    classes = {pitch % 12 for pitch in voicing}
    assert {chord.third, chord.seventh} <= classes
    assert chord.root not in classes
    assert list(voicing) == sorted(set(voicing))
    assert voicing[0] % 12 == (chord.third if kind == "A" else chord.seventh)
    assert abs(np.mean(voicing) - centre) <= 8


@given(sevenths, centres)
def test_shells_are_third_and_seventh(chord: Chord, centre: int) -> None:
    assert {pitch % 12 for pitch in shell(chord, centre)} == {chord.third, chord.seventh}


@given(roots)
def test_tritone_substitutes_exchange_the_guide_tones(root: int) -> None:
    chord = Chord(root, "7")
    other = tritone_substitute(chord)
    assert (other.third, other.seventh) == (chord.seventh, chord.third)
    assert tritone_substitute(other) == chord


@given(st.sets(roots, min_size=1), st.integers(24, 96))
def test_nearest_is_nearest(tones: set[int], pitch: int) -> None:
    found = nearest(tones, pitch)
    assert found % 12 in tones
    assert abs(found - pitch) == min(abs(p - pitch) for p in range(128) if p % 12 in tones)


# Jazz


def test_blues_have_twelve_bars_and_their_landmarks() -> None:
    for text in BLUES + MINOR_BLUES:
        for key in range(12):
            changes = coloured(np.random.default_rng(key), chart(text, key))
            first = {change.beat: change.chord for change in changes}
            assert changes[-1].beat + changes[-1].beats == 48
            assert first[0].root == key, text
            assert first[16].root == (key + 5) % 12, text
            assert first[16].minor == (text in MINOR_BLUES)


def test_every_form_fills_its_bars() -> None:
    seen = Counter()
    for seed, beats, minor in itertools.product(range(40), (48, 64, 96, 128), (False, True)):
        name, metre, changes = form(np.random.default_rng(seed), seed % 12, minor, beats)
        seen[name] += 1
        ends = [change.beat + change.beats for change in changes]
        assert [change.beat for change in changes] == [0, *ends[:-1]]
        assert ends[-1] == beats
        assert changes[-1].chord.root == seed % 12  # the last bar is home
        assert {change.beat % metre for change in changes} >= {0}
        if name == "rhythm-changes":
            assert beats == 128
            bridge = [change.chord for change in changes if 64 <= change.beat < 96]
            assert bridge[0].root == numeral("III7", seed % 12).root
    assert set(seen) == {
        "blues", "minor-blues", "rhythm-changes", "two-five-one", "minor-tune", "jazz-waltz"
    }  # fmt: skip


def test_aaba_tunes_repeat_their_a() -> None:
    for seed in range(30):
        name, _, changes = form(np.random.default_rng(seed), 0, bool(seed % 2), 128)
        # The second half of a section may differ in rhythm changes, the first never.
        bars = [
            next(c.chord.root for c in changes if c.beat <= beat < c.beat + c.beats)
            for beat in range(0, 128, 16)
        ]  # the first chord of each half of each section: never substituted
        assert bars[0] == bars[2] == bars[6]
        assert name == "rhythm-changes" or bars[1] == bars[3] == bars[7]


def test_walking_bass_finds_roots_and_approaches_them_closely() -> None:
    roots_hit, steps = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        _, _, changes = form(rng, seed % 12, bool(seed % 2), 96)
        line = {note.onset: note.pitch for note in walking_bass(rng, changes, 46)}
        assert sorted(line) == list(range(96))
        assert all(28 <= pitch <= 67 for pitch in line.values())
        for change in changes:
            roots_hit.append(line[change.beat] % 12 == change.chord.root)
            if change.beat:
                gap = abs(line[change.beat] - line[change.beat - 1])
                steps.append(gap in (1, 2, 5, 7))
    assert np.mean(roots_hit) > 0.8
    assert np.mean(steps) > 0.7


def test_jazz_lines_put_chord_tones_on_the_beat(drafts: list[tuple[Brief, Sketch]]) -> None:
    on, off = [], []
    for _, sketch in drafts:
        if sketch.form not in ("two-five-one", "rhythm-changes", "minor-tune"):
            continue
        for note in sketch.parts["melody"]:
            chord = next(c.chord for c in sketch.changes if c.beat <= note.onset < c.beat + c.beats)
            (on if note.onset % 1 == 0 else off).append(note.pitch % 12 in chord.tones)
    assert np.mean(on) > 0.9
    assert np.mean(off) < 0.75  # approach notes and passing tones


def test_played_swing_is_the_swing_drawn(pieces: list[Piece]) -> None:
    measured, drawn = [], []
    for piece in pieces:
        if piece.label != "jazz":
            continue
        onsets = np.array([note.start for note in piece.score.instruments[0].notes]) / 480
        offbeats = []
        for beat in range(int(onsets.max()) - 1):
            here, there = (onsets[np.abs(onsets - b) < 0.12] for b in (beat, beat + 1))
            between = onsets[(onsets > beat + 0.2) & (onsets < beat + 0.82)]
            triplet = (between < beat + 0.43).any()
            if len(here) and len(there) and len(between) and not triplet:
                start = here.mean()
                offbeats.append((between.mean() - start) / (there.mean() - start))
        offbeat = np.median(offbeats)
        measured.append(offbeat / (1 - offbeat))
        drawn.append(piece.swing)
    error = np.abs(np.array(measured) / drawn - 1)
    assert np.median(error) < 0.03
    assert error.max() < 0.2
    assert min(drawn) < 1.4
    assert max(drawn) > 2.1


# Not jazz


def at(notes: list[Note], onset: float) -> int:
    """The pitch a voice sings at `onset`."""
    return next(n.pitch for n in notes if n.onset <= onset + 1e-9 < n.onset + n.length)


def test_chorales_keep_ranges_order_and_have_no_parallels(
    drafts: list[tuple[Brief, Sketch]],
) -> None:
    found = [sketch for _, sketch in drafts if sketch.form == "chorale"]
    assert len(found) > 8
    for sketch in found:
        voices = [sketch.parts[name] for name in chorales.VOICES]
        moments = sorted({note.onset for voice in voices for note in voice})
        pitches = np.array([[at(voice, moment) for voice in voices] for moment in moments])
        for column, (low, high) in zip(pitches.T, chorales.RANGES, strict=True):
            assert low <= column.min() <= column.max() <= high
        assert (np.diff(pitches, axis=1) < 0).all()
        assert not chorales.parallels(pitches[:-1], pitches[1:], 0, 3).any()
        assert pitches[-1, 3] % 12 == sketch.changes[-1].chord.root
        assert np.mean(np.abs(np.diff(pitches[:, 0])) <= 4) > 0.85


def test_parallels_are_recognised() -> None:
    fifths = np.array([[67, 64, 60, 48], [69, 65, 60, 50]])
    assert chorales.parallels(fifths[0], fifths[1], 0, 3)
    assert not chorales.parallels(fifths[0], np.array([69, 64, 60, 53]), 0, 3)
    assert not chorales.parallels(fifths[0], fifths[0], 0, 3)


def test_every_chorale_chord_can_be_voiced_in_every_key() -> None:
    texts = {text for table in (chorales.MAJOR, chorales.MINOR) for text in table}
    texts |= {t for table in (chorales.MAJOR, chorales.MINOR) for n in table.values() for t in n}
    for text, key in itertools.product(sorted(texts), range(12)):
        chord = numeral(text.removesuffix("/3"), key)
        table = chorales.voicings(chord, chord.third if "/" in text else chord.root)
        assert len(table) > 3, (text, key)
        assert all({chord.root, chord.third} <= set(row % 12) for row in table)


def test_songs_end_at_home(drafts: list[tuple[Brief, Sketch]]) -> None:
    for brief, sketch in drafts:
        end = max(note.onset + note.length for note in sketch.notes)
        final = [n for n in sketch.notes if n.onset + n.length > end - 0.1]
        assert end == pytest.approx(brief.beats, abs=0.5)
        assert min(final, key=lambda note: note.pitch).pitch % 12 == brief.key
        if "melody" in sketch.parts and sketch.form in ("waltz", "march", "reel", "sonatina"):
            assert sketch.parts["melody"][-1].pitch % 12 == brief.key


def test_tunes_agree_with_their_chords_on_strong_beats(
    drafts: list[tuple[Brief, Sketch]],
) -> None:
    agree = []
    for _, sketch in drafts:
        if sketch.form not in ("waltz", "minuet", "march", "sonatina", "pop"):
            continue
        for note in sketch.parts["melody"]:
            if note.onset % sketch.metre == 0:
                chord = next(
                    c.chord for c in sketch.changes if c.beat <= note.onset < c.beat + c.beats
                )
                agree.append(note.pitch % 12 in chord.tones)
    assert np.mean(agree) > 0.95


# The corpus


def nuisances(piece: Piece) -> list[float]:
    """What a file says without its music."""
    notes = piece.score.instruments[0].notes
    start = np.array([note.start for note in notes]) / 480  # beats
    velocity = np.array([note.velocity for note in notes])
    seconds = max(note.end for note in notes) / 480 * 60 / piece.tempo
    late = start - start.round()
    return [
        piece.tempo, velocity.mean(), velocity.std(), len(notes), seconds,
        np.mean([note.pitch for note in notes]), len(notes) / seconds,
        np.std(late[np.abs(late) < 0.1]) * 60 / piece.tempo,
    ]  # fmt: skip


def test_nuisances_alone_do_not_tell_the_classes_apart(pieces: list[Piece]) -> None:
    features = np.array([nuisances(piece) for piece in pieces])
    labels = np.array([piece.label == "jazz" for piece in pieces])
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
    for model in (linear, forest):
        assert cross_val_score(model, features, labels, cv=5, scoring="roc_auc").mean() < 0.65


def test_the_music_does_tell_them_apart(pieces: list[Piece]) -> None:
    # Pitch classes relative to the key: sevenths and blue notes against plain scales.
    features = []
    for piece in pieces:
        key = NAMES.index(piece.key.split()[0])
        pitches = [(note.pitch - key) % 12 for note in piece.score.instruments[0].notes]
        features.append(np.bincount(pitches, minlength=12) / len(pitches))
    labels = [piece.label == "jazz" for piece in pieces]
    auc = cross_val_score(LogisticRegression(C=100), features, labels, cv=5, scoring="roc_auc")
    assert auc.mean() > 0.85


def test_both_labels_get_the_same_brief() -> None:
    for index in range(20):
        jazz, other = compose(3, index, "jazz"), compose(3, index, "not_jazz")
        assert (jazz.tempo, jazz.key, jazz.work) == (other.tempo, other.key, other.work)
        assert jazz.label != other.label


def test_files_are_alike_and_playable(pieces: list[Piece]) -> None:
    for piece in pieces:
        score = piece.score
        assert (score.ticks_per_beat, len(score.instruments)) == (480, 1)
        track = score.instruments[0]
        assert (track.program, track.is_drum, track.name) == (0, False, "Piano")
        assert not track.control_changes
        assert not track.pedals
        assert [change.tempo for change in score.tempo_changes] == [piece.tempo]
        assert not score.time_signature_changes
        assert not score.key_signature_changes
        assert 90 <= len(track.notes) <= 560
        assert 24 < track.notes[-1].end / 480 * 60 / piece.tempo < 62
        sounding: dict[int, int] = {}
        for note in track.notes:
            assert 1 <= note.velocity <= 127
            assert 21 <= note.pitch <= 108
            assert 0 <= note.start < note.end
            assert note.start >= sounding.get(note.pitch, 0)
            sounding[note.pitch] = note.end


def test_all_keys_forms_and_modes_are_reached(pieces: list[Piece]) -> None:
    for label in ("jazz", "not_jazz"):
        keys = {piece.key for piece in pieces if piece.label == label}
        assert {key.split()[0] for key in keys} == set(NAMES)
        assert {key.split()[1] for key in keys} == {"major", "minor"}
    assert Counter(piece.label for piece in pieces) == {"jazz": 150, "not_jazz": 150}
    assert len({piece.form for piece in pieces}) == 15


def content(piece: Piece) -> tuple[tuple[int, int, int, int], ...]:
    notes = piece.score.instruments[0].notes
    return tuple((note.start, note.end, note.pitch, note.velocity) for note in notes)


def test_a_piece_is_a_function_of_seed_and_index(pieces: list[Piece]) -> None:
    for index in (0, 1, 57):
        assert content(compose(0, index)) == content(pieces[index])
    assert content(compose(1, 0)) != content(pieces[0])
    melodies = {tuple(p for _, _, p, _ in content(piece)) for piece in pieces}
    assert len(melodies) == len(pieces)


@pytest.mark.parametrize(("seed", "index", "label"), [(-1, 0, None), (0, -1, None), (0, 0, "pop")])
def test_wrong_requests_are_refused(seed: int, index: int, label: str | None) -> None:
    with pytest.raises(UserError):
        compose(seed, index, label)  # type: ignore[arg-type]


def test_written_corpus(tmp_path: Path) -> None:
    told: list[int] = []
    out = tmp_path / "deep" / "practice"
    manifest = write_practice(out, 6, seed=2, progress=told.append)
    assert manifest == out / "manifest.csv"
    assert told == [1, 2, 3, 4, 5, 6]
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["label"] for row in rows] == ["jazz", "not_jazz"] * 3
    assert len({row["work_group"] for row in rows}) == 6
    for index, row in enumerate(rows):
        piece = compose(2, index)
        assert row["path"].startswith(f"{piece.label}/{index:05d}-{piece.form}-")
        assert row["source"] == f"practice-{piece.form}"
        assert (row["artist"], row["licence"]) == ("", "CC0")
        read = miditoolkit.MidiFile(out / row["path"])
        notes = {(n.start, n.end, n.pitch, n.velocity) for n in read.instruments[0].notes}
        assert notes == set(content(piece))
    assert sorted(path.name for path in out.parent.iterdir()) == ["practice"]  # nothing left over


def test_finished_corpus_is_left_alone_and_a_foreign_folder_refused(tmp_path: Path) -> None:
    out = tmp_path / "practice"
    manifest = write_practice(out, 2)
    before = manifest.stat().st_mtime_ns
    assert write_practice(out, 2) == manifest
    assert manifest.stat().st_mtime_ns == before
    for count, seed in ((3, 0), (2, 1)):
        with pytest.raises(UserError, match="already holds"):
            write_practice(out, count, seed)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="already holds"):
        write_practice(foreign, 2)
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match="ask for 1 or more"):
        write_practice(tmp_path / "none", 0)


def test_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_practice(tmp_path / "practice", 4, progress=stop)
    assert list(tmp_path.iterdir()) == []
