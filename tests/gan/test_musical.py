"""Measures of a piece: against muspy's values, the published formulas, and music that is known."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.midi import Notes
from data_tools.representation import Representation, RepresentationSettings
from data_tools.representation.events import Events
from gan.evaluation import chords, musical

REFERENCE = json.loads(
    (Path(__file__).parent / "muspy_reference.json").read_text(encoding="utf-8")
)["values"]


def notes(*rows: tuple[float, float, int], velocity: int = 64) -> Notes:
    start, end, pitch = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return Notes(start.astype(float), end.astype(float), pitch, np.full(len(pitch), velocity))


def bits(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


@st.composite
def music(draw: st.DrawFn) -> Notes:
    """Up to 40 notes on a grid of 1/16 second within 10 seconds, no pitch overlapping itself."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 159), st.integers(1, 40), st.integers(30, 90)),
            min_size=1, max_size=40,
        )
    )  # fmt: skip
    start, length, pitch = (np.array(column) for column in zip(*rows, strict=True))
    cleaned = midi.clean(Notes(start, start + length, pitch, np.full(len(pitch), 64)))
    return Notes(cleaned.start / 16, cleaned.end / 16, cleaned.pitch, cleaned.velocity)


@pytest.mark.parametrize("path", REFERENCE)
def test_it_gives_what_muspy_gives(mini: Path, path: str) -> None:
    score = midi.prepare(mini / path).score
    found, expected = musical.piano_notes(score), REFERENCE[path]
    assert len(found) == expected["notes"]
    bar = 4 * score.ticks_per_quarter
    everywhere = np.zeros(len(found), dtype=np.int64)
    entropy = musical.pitch_class_entropy(found.pitch, everywhere, 1)
    assert entropy == pytest.approx(expected["pitch_class_entropy"], abs=1e-9)
    assert musical.polyphony(found) == pytest.approx(expected["polyphony"], abs=1e-9)
    # muspy compares neighbours only, and counts bars to the last note's end.
    onsets = np.zeros((int(found.end.max()) // bar + 1, bar), dtype=bool)
    struck = musical.onset_grid(found.start / bar, bar)
    onsets[: len(struck)] = struck
    near = [musical.grooving(onsets[i : i + 2]) for i in range(len(onsets) - 1)]
    assert np.mean(near) == pytest.approx(expected["groove_consistency"], abs=1e-9)


@given(music(), st.sampled_from([1, 4]))
def test_entropy_is_the_published_formula(piece: Notes, width: int) -> None:
    bar = np.floor((piece.start - piece.start.min()) / 2).astype(int)
    last = max(bar.max() + 1 - width, 0)
    expected = []
    for first in range(last + 1):
        inside = piece.pitch[(bar >= first) & (bar < first + width)]
        if len(inside):
            expected.append(bits(np.bincount(inside % 12, minlength=12)))
    found = musical.pitch_class_entropy(piece.pitch, bar, width)
    assert found == pytest.approx(np.mean(expected), abs=1e-9)


@given(music())
def test_grooving_is_the_published_formula(piece: Notes) -> None:
    onsets = musical.onset_grid(piece.start / 2)
    pairs = [
        1 - np.logical_xor(one, other).sum() / musical.SLOTS
        for one, other in combinations(onsets, 2)
    ]
    expected = np.mean(pairs) if pairs else np.nan
    assert musical.grooving(onsets) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(music())
def test_polyphony_and_chroma_are_what_counting_gives(piece: Notes) -> None:
    cells = np.zeros((400, 128), dtype=int)
    for start, end, pitch in zip(piece.start, piece.end, piece.pitch, strict=True):
        cells[round(start * 16) : round(end * 16), pitch] += 1
    sounding = cells.sum(1)
    assert musical.polyphony(piece) == pytest.approx(sounding.sum() / np.count_nonzero(sounding))
    classes = np.stack([cells[:, pc::12].sum(1) for pc in range(12)], 1)
    expected = classes[:160].reshape(10, 16, 12).sum(1) / 16
    assert chords.chroma(piece, 10) == pytest.approx(expected, abs=1e-9)


@given(music(), st.integers(-12, 12), st.sampled_from([0.0, 7.0, 123.25]))
def test_key_and_place_in_time_do_not_matter(piece: Notes, by: int, later: float) -> None:
    moved = Notes(piece.start + later, piece.end + later, piece.pitch + by, piece.velocity)
    one, other = musical.measure(piece), musical.measure(moved)
    same = [name for name in musical.FIGURES if name != "chord_irregularity"]  # names break ties
    for name in same:
        assert one.figures[name] == pytest.approx(other.figures[name], nan_ok=True)
    for name, histogram in one.histograms.items():
        turned = np.roll(histogram, by) if name == "pitch_class" else histogram
        assert other.histograms[name] == pytest.approx(turned)
        assert histogram.sum() == pytest.approx(1) or not histogram.any()


def test_chords_are_recognised() -> None:
    played = {"Dmin7": (50, 60, 65, 69), "G7": (43, 59, 65, 62), "Cmaj7": (48, 64, 67, 71),
              "Amin7": (45, 60, 64, 67), "Bm7b5": (47, 62, 65, 69), "Ebdim7": (51, 54, 57, 60),
              "Fmin": (41, 56, 60), "Eaug": (40, 56, 60)}  # fmt: skip
    rows = [
        (float(at), at + 0.9, pitch)
        for at, chord in enumerate(played.values()) for pitch in chord
    ]  # fmt: skip
    found = chords.estimate(notes(*rows), len(played) + 1)
    assert [chords.NAMES[place] for place in found[:-1]] == list(played)
    assert found[-1] == -1


def test_a_vamp_is_regular_and_wandering_is_not() -> None:
    vamp, wander = np.tile([0, 5, 7], 20), np.random.default_rng(0).integers(0, 96, 60)
    assert chords.irregularity(vamp) == pytest.approx(3 / 58)
    assert chords.irregularity(np.repeat(vamp, 4)) == chords.irregularity(vamp)
    assert chords.irregularity(wander) > 0.95
    assert np.isnan(chords.irregularity(np.array([1, 1, -1, 2])))


def test_chords_are_looked_for_every_half_bar() -> None:
    # Three chords round and round, one a second.
    cycle = ((50, 60, 65, 69), (43, 59, 65, 74), (48, 64, 67, 71))
    rows = [
        (float(at), at + 0.95, pitch) for at in range(12) for pitch in cycle[at % 3]
    ]  # fmt: skip
    assert musical.measure(notes(*rows)).figures["chord_irregularity"] == pytest.approx(3 / 10)
    # The same progression twice as fast is not seen in bars of two seconds, but in those of one.
    fast = [(start / 2, end / 2, pitch) for start, end, pitch in rows]
    assert musical.measure(notes(*fast), 1.0).figures["chord_irregularity"] == pytest.approx(0.3)
    assert musical.measure(notes(*fast), 2.0).figures["chord_irregularity"] > 0.5


def test_a_steady_pulse_grooves_and_random_onsets_do_not() -> None:
    steady = notes(*((at / 4, at / 4 + 0.2, 60 + at % 3) for at in range(80)))
    times = np.sort(np.random.default_rng(0).uniform(0, 20, 80))
    loose = notes(*((at, at + 0.2, 60 + place % 3) for place, at in enumerate(times)))
    assert musical.measure(steady).figures["grooving"] == 1
    assert musical.measure(loose).figures["grooving"] < 0.7
    assert musical.measure(steady).figures["note_density"] == pytest.approx(4)
    assert musical.measure(steady).figures["pitch_class_entropy_1"] == pytest.approx(
        1.561, abs=0.01
    )


@pytest.mark.parametrize("tempo", [50, 97, 143, 210])
def test_a_pulse_is_heard_at_any_tempo_and_not_in_random_onsets(tempo: int) -> None:
    rng = np.random.default_rng(tempo)
    beat = 60 / tempo
    # A beat, some of its halves and thirds between, as a player places them: 10 ms about.
    parts = np.arange(90)[:, None] + np.array([0.0, 1 / 2, 2 / 3])
    played = (parts * beat)[(rng.random(parts.shape) < [0.9, 0.3, 0.3])]
    played = np.sort(played + rng.normal(0, 0.01, len(played)))
    loose = np.sort(rng.uniform(0, 90 * beat, len(played)))
    rigid = np.arange(90) * beat

    def clear(times: np.ndarray) -> float:
        rows = ((at, at + 0.1, 60 + place % 5) for place, at in enumerate(times - times[0]))
        return musical.measure(notes(*rows)).figures["pulse"]

    assert clear(rigid) > 0.9
    assert clear(played) > max(0.3, 1.5 * clear(loose)) > 0
    assert clear(played + 17.3) == pytest.approx(clear(played), abs=0.02)


def test_a_pulse_is_the_correlation_of_onsets_with_themselves() -> None:
    rng = np.random.default_rng(4)
    times = np.sort(rng.integers(0, 3000, 400)) / 50
    curve = np.zeros(int(times[-1] * 50) + 1 - int(times[0] * 50))
    for at in times:
        curve[round((at - times[0]) * 50)] += 1
    padded = np.pad(curve, 2)
    curve = sum(w * padded[k : k + len(curve)] for k, w in enumerate([0.25, 0.5, 1, 0.5, 0.25]))
    curve = curve - curve.mean()
    own = [curve[: len(curve) - lag] @ curve[lag:] / (curve @ curve) for lag in range(10, 81)]
    rows = ((at, at + 0.1, 60 + place % 7) for place, at in enumerate(times))
    assert musical.measure(notes(*rows)).figures["pulse"] == pytest.approx(max(own), abs=1e-9)


def test_histograms_hold_what_was_played() -> None:
    rows = [(at / 2, at / 2 + 0.4, 72 + at) for at in range(9)]
    rows += [(at / 2, at / 2 + 0.4, 48) for at in range(9)]
    found = musical.measure(notes(*rows)).histograms
    assert found["top_interval"][musical.LEAP + 1] == 1  # a semitone up each time
    assert found["bass_interval"][musical.LEAP] == 1
    assert found["outer_interval"][24:33] == pytest.approx(1 / 9)
    assert found["inter_onset"][np.searchsorted(musical.TIMES, 0.5, "right")] == 1
    assert found["velocity"][4] == 1


def test_a_voice_goes_on_where_the_other_is_held() -> None:
    """The bass moves alone under a melody note, and a single note has nothing to span."""
    rows = [(0.0, 1.9, 72), (0.0, 0.9, 48), (1.0, 1.9, 50), (2.0, 2.9, 74), (2.0, 2.9, 52)]
    found = musical.measure(notes(*rows)).histograms
    assert found["bass_interval"][musical.LEAP + 2] == 1
    assert found["top_interval"][musical.LEAP + 2] == 1
    alone = musical.measure(notes((0.0, 0.4, 60), (1.0, 1.4, 60), (1.0, 1.4, 64))).histograms
    assert alone["outer_interval"][4] == 1


def test_a_note_under_the_pedal_is_harmony_for_a_bar() -> None:
    cycle = ((50, 60, 65, 69), (43, 59, 65, 74), (48, 64, 67, 71), (45, 61, 64, 68))
    begins = [(2.0 * at, pitch) for at in range(12) for pitch in cycle[at % 4]]

    def irregular(held: float) -> float:
        rows = [(at, at + held, pitch) for at, pitch in begins]
        return musical.measure(notes(*rows)).figures["chord_irregularity"]

    assert irregular(9.0) == irregular(musical.BAR)


def test_drums_do_not_count() -> None:
    representation = Representation(RepresentationSettings(preset="raw"))
    start = np.arange(8) * 25
    parts = Notes(start, start + 20, np.array([60, 36, 64, 38] * 2), np.array([80, 120] * 4))
    channels, programs = np.array([1, 10] * 4), np.zeros(8, dtype=np.int64)
    events = Events(parts, channels=channels, programs=programs)
    whole = musical.of_tokens(representation.encode_events(events), representation)
    piano = Events(parts.take(channels == 1), channels=channels[::2], programs=programs[::2])
    alone = musical.of_tokens(representation.encode_events(piano), representation)
    assert whole.figures == pytest.approx(alone.figures, nan_ok=True)
    assert all(
        (whole.histograms[name] == alone.histograms[name]).all() for name in musical.HISTOGRAMS
    )


def test_tokens_and_the_file_they_stand_for_agree(mini: Path) -> None:
    representation = Representation()
    for path in list(REFERENCE)[:4]:
        ids = representation.encode(representation.prepare(mini / path).score)
        one = musical.of_tokens(ids, representation)
        other = musical.of_music(midi.to_miditoolkit(representation.decode(ids)))
        for name in musical.FIGURES:
            # miditoolkit's ticks are no whole number of grid steps in every tempo.
            assert one.figures[name] == pytest.approx(other.figures[name], rel=0.02), name
        whole = musical.of_music(mini / path)
        assert one.figures["polyphony"] == pytest.approx(whole.figures["polyphony"], rel=0.03)


def test_bars_are_the_files_own_where_asked() -> None:
    # 3/4 at 90 bpm: a bar is exactly 2 seconds; then half that fast.
    step = 480
    beats = Notes(*(np.arange(48) * step + shift for shift in (0, 400)),
                  np.tile([40, 64, 67], 16), np.full(48, 64))  # fmt: skip
    score = midi.score_of(beats, step, bpm=90)
    score.time_signatures.append(midi.symusic.TimeSignature(0, 3, 4))
    score.tempos.append(midi.symusic.Tempo(24 * step, 45))
    own = musical.of_music(score, None).figures
    assert own["grooving"] == 1
    assert musical.of_music(score, 2.0).figures["grooving"] < 0.95
    settings = RepresentationSettings(preset="remi", time_base="beat")
    representation = Representation(settings)
    ids = representation.encode(representation.prepare(score).score)
    assert musical.of_tokens(ids, representation, None).figures["grooving"] == 1


def test_bar_lines_may_stand_anywhere() -> None:
    piece = notes((1.0, 1.5, 60), (2.0, 2.5, 60), (4.0, 4.5, 60), (9.0, 12.0, 60))
    found = musical.in_bars(piece, np.array([1.0, 2.0, 4.0, 8.0]))
    assert found.start.tolist() == [0, 1, 2, 3.25]
    assert found.end[-1] == 4


def test_no_music_has_no_figures() -> None:
    found = musical.of_tokens(np.zeros(0, dtype=np.int64), Representation())
    assert all(np.isnan(value) for value in found.figures.values())
    assert not any(histogram.any() for histogram in found.histograms.values())
    one = musical.measure(notes((0.0, 1.0, 60)))
    assert one.figures["pitch_class_entropy_4"] == 0
    assert np.isnan(one.figures["grooving"])
    assert np.isnan(one.figures["pulse"])
    assert np.isnan(one.figures["note_density"])


def test_velocity_is_left_out_where_tokens_do_not_say_it() -> None:
    representation = Representation(RepresentationSettings(velocities=0))
    score = midi.score_of(Notes(*(np.arange(4) * 480 + more for more in (0, 480)),
                                np.arange(60, 64), np.full(4, 90)), 480)  # fmt: skip
    found = musical.of_tokens(representation.encode(score), representation)
    assert np.isnan(found.figures["velocity_mean"])
    assert not found.histograms["velocity"].any()
