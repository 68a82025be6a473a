"""Neutralising: the music stays, the marks of the process that timed it go."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from data_tools import midi
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.neutralise import Neutraliser, reach, windows
from data_tools.representation import BOS, Events, Representation
from data_tools.settings import NEUTRAL, NeutraliseSettings, RepresentationSettings

STEP = 20.0  # milliseconds
STILL = NeutraliseSettings(
    neutral_share=1, neutral_stretch=0, neutral_jitter=0, neutral_velocity="keep",
    neutral_gain=0, neutral_length=0, neutral_quantize=0, neutral_humanise=0,
)  # fmt: skip
TIMINGS = ("played", "quantized", "mixed", "")

seeds = st.integers(0, 2**32 - 1)


def changed(**changes: Any) -> NeutraliseSettings:
    """Nothing but these."""
    return STILL.model_copy(update={f"neutral_{name}": value for name, value in changes.items()})


EVERYTHING = changed(
    stretch=0.2, jitter=30, merge=40, velocity="coarse", gain=20, length=0.5,
    quantize=0.7, humanise=0.7,
)  # fmt: skip


@st.composite
def music(draw: st.DrawFn) -> Events:
    """Notes in steps, with chords, repeated notes and pedals, as `clean` leaves them."""
    count = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(seeds))
    start = np.cumsum(rng.integers(0, draw(st.sampled_from([2, 5, 40])), count))
    start -= start[0]
    low, high = draw(st.sampled_from([(21, 108), (60, 64), (21, 21)]))
    notes = Notes(
        start,
        start + rng.integers(1, draw(st.sampled_from([3, 60, 300])), count),
        rng.integers(low, high + 1, count),
        rng.integers(1, 128, count),
    )
    bounds = np.unique(rng.integers(0, start[-1] + 20, 2 * draw(st.integers(0, 6))))
    pedals = bounds[: len(bounds) // 2 * 2].reshape(-1, 2)
    return Events(midi.clean(notes.take(np.lexsort((notes.pitch, start)))), pedals)


@pytest.fixture(scope="module", params=["duration", "performance"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return Representation(RepresentationSettings(preset=request.param), ("label:jazz",))


@pytest.fixture(scope="module")
def duration() -> Representation:
    return Representation()


def ids_of(representation: Representation, events: Events) -> np.ndarray:
    keep = events.pedals if representation.pedal == "tokens" else events.pedals[:0]
    return representation.encode_events(Events(events.notes, keep)).astype(np.int64)


def line(gaps: np.ndarray, length: float = 5, velocity: int = 64) -> Events:
    """A line of single notes with these gaps in milliseconds before them, put on the grid."""
    start = np.rint(np.cumsum(gaps) / STEP).astype(np.int64)
    start -= start[0]
    pitch = 40 + 7 * np.arange(len(start)) % 41
    loud = np.full(len(start), velocity)
    end = start + np.full(len(start), round(length))
    return Events(midi.clean(Notes(start, end, pitch, loud)))


@hypothesis_settings(max_examples=40)
@given(music(), seeds, st.sampled_from(TIMINGS))
def test_zeros_and_off_change_nothing(
    representation: Representation, events: Events, seed: int, timing: str
) -> None:
    ids = ids_of(representation, events)
    for settings in (STILL, NeutraliseSettings()):
        result = Neutraliser(representation, settings)(ids, np.random.default_rng(seed), timing)
        assert result.tolist() == ids.tolist()


@hypothesis_settings(max_examples=40)
@given(music(), seeds, st.sampled_from(TIMINGS))
def test_every_note_stays_and_the_result_is_canonical(
    representation: Representation, events: Events, seed: int, timing: str
) -> None:
    ids = ids_of(representation, events)
    before = ids.copy()
    neutralise = Neutraliser(representation, EVERYTHING)
    result = neutralise(ids, np.random.default_rng(seed), timing)
    assert ids.tolist() == before.tolist(), "the window itself is left alone"
    assert result.tolist() == neutralise(ids, np.random.default_rng(seed), timing).tolist()
    old, new = representation.events(ids), representation.events(result)
    assert sorted(new.notes.pitch.tolist()) == sorted(old.notes.pitch.tolist())
    assert (new.notes.end > new.notes.start).all()
    assert new.notes.start.min() == old.notes.start.min(), "the first onset keeps its step"
    assert representation.encode_events(new).tolist() == result.tolist()


@hypothesis_settings(max_examples=12)
@given(music(), seeds, st.sampled_from(TIMINGS), st.integers(0, 30))
def test_the_grammar_never_blocks_it(
    representation: Representation, events: Events, seed: int, timing: str, cut: int
) -> None:
    import torch

    from generator.grammar import Grammar

    ids = ids_of(representation, events)[cut:]
    if not len(representation.events(ids).notes):
        return
    result = Neutraliser(representation, EVERYTHING)(ids, np.random.default_rng(seed), timing)
    row = torch.from_numpy(np.concatenate([[BOS], result.astype(np.int64)]))
    allowed = Grammar(representation).replay(row[None])[0]
    blocked = ~allowed[torch.arange(len(row)), row]
    assert not blocked.any(), representation.tokens(row[: int(blocked.nonzero()[0]) + 1].numpy())


@hypothesis_settings(max_examples=40)
@given(music(), seeds, st.integers(0, 200), st.integers(0, 200), st.sampled_from(TIMINGS))
def test_any_piece_of_a_window_will_do(
    representation: Representation, events: Events, seed: int, start: int, size: int, timing: str
) -> None:
    ids = ids_of(representation, events)[start : start + size]
    result = Neutraliser(representation, EVERYTHING)(ids, np.random.default_rng(seed), timing)
    whole = representation.events(ids).notes
    if len(whole):
        assert len(representation.events(result).notes) == len(whole)
    else:
        assert result.tolist() == ids.tolist()


@given(music(), seeds, st.sampled_from([0.0, 5.0, 20.0, 60.0]))
def test_no_note_moves_farther_than_the_settings_say(
    duration: Representation, events: Events, seed: int, jitter: float
) -> None:
    old = events.notes
    if len(set(old.pitch.tolist())) < len(old):
        return  # strokes of one string may have to queue
    neutralise = Neutraliser(duration, changed(jitter=jitter))
    new = neutralise.changed(events, np.random.default_rng(seed), "").notes
    moved = new.start[np.argsort(new.pitch)] - old.start[np.argsort(old.pitch)]
    # Dither, jitter and rounding, of the note itself and of the first onset.
    assert np.ptp(moved) <= 2 * (jitter / STEP + 0.5) + 1


def test_what_is_struck_together_stays_so_without_jitter(duration: Representation) -> None:
    start = np.repeat(np.arange(0, 300, 12), 4)
    notes = Notes(start, start + 10, np.tile([40, 50, 60, 70], 25), np.full(100, 70))
    neutralise = Neutraliser(duration, changed(stretch=0.3))
    for seed in range(5):
        new = neutralise.changed(Events(notes), np.random.default_rng(seed), "").notes
        assert len(np.unique(new.start)) == 25
        assert new.pitch.tolist() == notes.pitch.tolist()


def test_chords_part_and_meet_within_the_jitter(duration: Representation) -> None:
    start = np.repeat(np.arange(0, 1000, 20), 3)
    notes = Notes(start, start + 10, np.tile([40, 50, 60], 50), np.full(150, 70))
    new = Neutraliser(duration, changed(jitter=16)).changed(
        Events(notes), np.random.default_rng(0), ""
    )
    spread = np.ptp(new.notes.start[np.lexsort((new.notes.pitch, start))].reshape(-1, 3), axis=1)
    assert spread.max() <= 2 * 16 / STEP + 1
    assert 0.3 < np.mean(spread > 0) < 1


def test_merging_makes_chords_and_leaves_runs(duration: Representation) -> None:
    rolled = np.tile([400.0, 20.0, 20.0], 40)  # ms: chords of three, broken
    run = np.full(60, 40.0)
    neutralise = Neutraliser(duration, changed(merge=60))
    for gaps, onsets in ((rolled, (40, 40)), (run, (50, 60))):
        new = neutralise.changed(line(gaps), np.random.default_rng(0), "").notes
        assert onsets[0] <= len(np.unique(new.start)) <= onsets[1]


def test_stretching_moves_the_tempo_and_the_lengths(duration: Representation) -> None:
    events = line(np.full(200, 237.0), length=10)
    neutralise = Neutraliser(duration, changed(stretch=0.25))
    factors = []
    for seed in range(40):
        new = neutralise.changed(events, np.random.default_rng(seed), "").notes
        factors.append(new.start[-1] / events.notes.start[-1])
        assert np.mean(new.end - new.start) / 10 == pytest.approx(factors[-1], rel=0.08)
    assert 0.79 < min(factors) < 0.87
    assert 1.15 < max(factors) < 1.26
    assert np.mean(np.log(factors)) == pytest.approx(0, abs=0.06)


def resultant(notes: Notes, period: float) -> float:
    """How sharply onsets lie on a grid of `period` ms: 1 on it, about 0.06 for 200 off it."""
    return float(np.abs(np.exp(2j * np.pi * notes.start * STEP / period).mean()))


def test_a_transcribers_grid_goes(duration: Representation) -> None:
    # Onsets at multiples of 32 ms, as one transcriber leaves them, then on the grid of 20 ms.
    rng = np.random.default_rng(0)
    neutralise = Neutraliser(duration, NEUTRAL)
    before, after = [], []
    for seed in range(20):
        events = line(32.0 * rng.integers(1, 12, 200))
        new = neutralise.changed(events, np.random.default_rng(seed), "played").notes
        # Stretched, the grid would have another period: none in reach may show it.
        before.append(max(resultant(events.notes, period) for period in np.arange(26, 39, 0.25)))
        after.append(max(resultant(new, period) for period in np.arange(26, 39, 0.25)))
    assert np.mean(before) > 0.4
    assert np.mean(after) < 0.18  # the largest of 53 periods, for onsets at random


def gridness(notes: Notes) -> float:
    """The sharpest grid between 40 and 260 ms, weighed against what chance gives."""
    periods = np.exp(np.arange(np.log(40), np.log(260), 0.002))
    return max(resultant(notes, period) for period in periods)


def test_quantizing_puts_played_music_on_a_beat(duration: Representation) -> None:
    rng = np.random.default_rng(1)
    neutralise = Neutraliser(duration, changed(quantize=1))
    for seed in range(6):
        events = line(rng.gamma(4, 60, 150))
        alone = neutralise.changed(events, np.random.default_rng(seed), "quantized").notes
        snapped = neutralise.changed(events, np.random.default_rng(seed), "played").notes
        assert gridness(snapped) > 0.5 > 0.4 > gridness(events.notes)
        assert alone.start.tolist() == events.notes.start.tolist(), "only played music is snapped"
        assert len(np.unique(snapped.start)) > 0.8 * 150, "no run is crushed"
        assert np.abs(snapped.start - events.notes.start).max() * STEP <= 260


def test_snapping_crushes_no_run(duration: Representation) -> None:
    rng = np.random.default_rng(3)
    neutralise = Neutraliser(duration, changed(quantize=1))
    for seed in range(12):
        events = line(rng.gamma(16, 6.5, 150))  # about 100 ms apart, whatever the beat drawn
        snapped = neutralise.changed(events, np.random.default_rng(seed), "mixed").notes
        assert len(np.unique(snapped.start)) > 0.85 * 150


def test_humanising_takes_quantized_music_off_the_beat(duration: Representation) -> None:
    events = line(np.random.default_rng(2).choice([125.0, 250.0, 500.0], 150), length=6)
    neutralise = Neutraliser(duration, changed(humanise=1))
    played = neutralise.changed(events, np.random.default_rng(0), "played")
    assert played.notes.start.tolist() == events.notes.start.tolist()
    lengths, loudness, sharpness = [], [], []
    for seed in range(8):
        new = neutralise.changed(events, np.random.default_rng(seed), "quantized").notes
        sharpness.append(resultant(new, 125.0))
        lengths.append(np.std(new.end - new.start))
        loudness.append(np.std(new.velocity))
        ratio = np.diff(new.start) / np.diff(events.notes.start)
        assert np.median(ratio) == pytest.approx(1, abs=0.1)
        assert new.start[-1] / events.notes.start[-1] == pytest.approx(1, abs=0.05)
    assert resultant(events.notes, 125.0) > 0.9
    assert np.median(sharpness) < 0.5
    assert min(lengths) > 0.2
    assert min(loudness) > 1


def test_the_notes_of_a_chord_part_when_humanised(duration: Representation) -> None:
    start = np.repeat(np.arange(0, 1000, 20), 3)
    notes = Notes(start, start + 10, np.tile([40, 50, 60], 50), np.full(150, 70))
    neutralise = Neutraliser(duration, changed(humanise=1))
    new = neutralise.changed(Events(notes), np.random.default_rng(0), "quantized").notes
    assert len(np.unique(new.start)) > 60


@pytest.mark.parametrize("kind", ["flat", "coarse", "keep"])
def test_loudness(duration: Representation, kind: str) -> None:
    rng = np.random.default_rng(0)
    events = line(np.full(200, 200.0))
    velocity = rng.integers(30, 110, 200)
    events = Events(Notes(events.notes.start, events.notes.end, events.notes.pitch, velocity))
    new = Neutraliser(duration, changed(velocity=kind)).changed(events, rng, "").notes
    levels = {"flat": 1, "coarse": 3, "keep": len(set(velocity.tolist()))}[kind]
    assert len(set(new.velocity.tolist())) == levels
    if kind == "coarse":
        assert (np.diff(new.velocity[np.argsort(velocity)]) >= 0).all(), "accents stay accents"
    gained = Neutraliser(duration, changed(velocity=kind, gain=25))
    means = [
        gained.changed(events, np.random.default_rng(seed), "").notes.velocity.mean()
        for seed in range(40)
    ]
    assert 15 < np.ptp(means) <= 51
    assert all(1 <= mean <= 127 for mean in means)


def test_loudness_of_one_level_stays_one(duration: Representation) -> None:
    new = Neutraliser(duration, changed(velocity="coarse")).changed(
        line(np.full(50, 200.0), velocity=97), np.random.default_rng(0), ""
    )
    assert len(set(new.notes.velocity.tolist())) == 1


@hypothesis_settings(max_examples=40)
@given(music(), seeds, st.sampled_from(TIMINGS))
def test_pedals_stay_apart_and_near_their_notes(events: Events, seed: int, timing: str) -> None:
    representation = Representation(RepresentationSettings(preset="performance"))
    neutralise = Neutraliser(representation, EVERYTHING)
    pedals = neutralise.changed(events, np.random.default_rng(seed), timing).pedals
    assert (pedals[:, 1] > pedals[:, 0]).all()
    assert (pedals[1:, 0] > pedals[:-1, 1]).all()
    assert (pedals >= 0).all()
    assert len(pedals) <= len(events.pedals)


def test_pedals_go_where_their_notes_go() -> None:
    representation = Representation(RepresentationSettings(preset="performance"))
    notes = line(np.full(80, 300.0)).notes
    events = Events(notes, np.stack([notes.start[1:], notes.start[1:] + 9], 1))
    for settings in (changed(stretch=0.3), changed(humanise=1), changed(jitter=10)):
        new = Neutraliser(representation, settings).changed(
            events, np.random.default_rng(0), "quantized"
        )
        assert len(new.pedals) == 79
        apart = new.pedals[:, 0] - new.notes.start[1:]
        assert 0 < np.abs(apart).max() <= 6  # steps: dither, jitter and a hand's own deviations
        assert np.abs(apart.mean()) < 0.5


@pytest.mark.parametrize("preset", ["duration", "performance"])
def test_beats_are_refused_with_the_way_out(preset: str) -> None:
    beat = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    with pytest.raises(UserError, match=r"time base 'clock'.*--time-base clock") as caught:
        Neutraliser(beat, NEUTRAL)
    assert "\n" not in str(caught.value)
    ids = np.arange(3, 20)
    off = Neutraliser(beat, NeutraliseSettings())
    assert off(ids, np.random.default_rng(0)).tolist() == ids.tolist()


def test_the_share_is_of_windows(duration: Representation) -> None:
    ids = ids_of(duration, line(np.full(60, 230.0)))
    neutralise = Neutraliser(duration, NEUTRAL.model_copy(update={"neutral_share": 0.3}))
    same = [
        neutralise(ids, np.random.default_rng(seed)).tolist() == ids.tolist() for seed in range(200)
    ]
    assert np.mean(same) == pytest.approx(0.7, abs=0.1)


def test_windows_are_functions_of_seed_epoch_and_piece(practice_corpus: Corpus) -> None:
    numbers = practice_corpus.select("train")[:6]

    def drawn(numbers: list[int], seed: int = 0, epoch: int = 0) -> list[tuple[int, bytes]]:
        found = windows(practice_corpus, numbers, 128, NEUTRAL, seed, epoch, count=2)
        return [(number, ids.tobytes()) for number, ids in found]

    plain = drawn(numbers)
    assert [number for number, _ in plain] == np.repeat(numbers, 2).tolist()
    assert drawn(numbers) == plain
    assert drawn(numbers[::-1])[-2:] == plain[:2], "whatever is drawn beside it"
    assert len({ids for _, ids in plain + drawn(numbers, 1) + drawn(numbers, 0, 1)}) == 36


def test_windows_off_are_plain_crops_of_the_same_places(practice_corpus: Corpus) -> None:
    numbers = practice_corpus.select("train")[:8]
    off = list(windows(practice_corpus, numbers, 100, NeutraliseSettings(), 3))
    still = list(windows(practice_corpus, numbers, 100, STILL, 3))
    representation = practice_corpus.representation
    for (number, crop), (same, ids) in zip(off, still, strict=True):
        assert number == same
        assert len(crop) == 100
        assert crop.astype(np.uint16).tobytes() in practice_corpus.piece(number).tobytes()
        notes, again = representation.events(crop).notes, representation.events(ids).notes
        assert again.pitch[: len(notes)].tolist()[:20] == notes.pitch.tolist()[:20]


def test_windows_are_full(practice_corpus: Corpus) -> None:
    numbers = [n for n in range(len(practice_corpus)) if len(practice_corpus.piece(n)) > 400]
    assert reach(200, NEUTRAL) > 200
    assert reach(200, NeutraliseSettings()) == 200
    sizes = [len(ids) for _, ids in windows(practice_corpus, numbers, 200, NEUTRAL, count=4)]
    assert max(sizes) == 200
    assert np.mean(np.array(sizes) == 200) > 0.8, "short only at the end of a piece"


def test_real_music_survives(mini: Path, representation: Representation) -> None:
    neutralise = Neutraliser(representation, NEUTRAL)
    for number, path in enumerate(sorted(mini.rglob("*.mid"))[::8]):
        ids = representation.encode(midi.prepare(path).score)[40:800].astype(np.int64)
        old = representation.events(ids).notes
        for timing in TIMINGS:
            rng = np.random.default_rng(number)
            new = representation.events(neutralise(ids, rng, timing)).notes
            assert sorted(new.pitch.tolist()) == sorted(old.pitch.tolist())
            span = [notes.start[-1] - notes.start[0] for notes in (old, new)]
            assert 0.82 < span[1] / span[0] < 1.22
            # Each note keeps its neighbours: ranks of onsets hardly move.
            by_string = [np.lexsort((notes.start, notes.pitch)) for notes in (old, new)]
            ranks = [np.argsort(np.argsort(n.start[o], kind="stable"), kind="stable")
                     for n, o in zip((old, new), by_string, strict=True)]  # fmt: skip
            assert np.corrcoef(ranks[0], ranks[1])[0, 1] > 0.999
