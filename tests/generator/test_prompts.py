"""A prompt stands in the piece as it was given; a whistle, then the continuation, follow it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miditoolkit
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import (
    EOS,
    PAD,
    Representation,
    RepresentationSettings,
    TokenType,
)
from generator import Composer, hints
from generator.arrange import WHISTLE, WHISTLE_PITCH, Arrangement, arrange
from generator.compose import Piece
from generator.grammar import Grammar
from generator.hints import KEY_STRENGTH, key_bias, scale
from generator.prompt import read_prompt
from generator.steering import Steering

from .conftest import CONDITIONS, build


@pytest.fixture
def composer(durations: Representation) -> Composer:
    return Composer(build(durations), durations, default_label="jazz")


@pytest.fixture(scope="module")
def played() -> midi.ScoreTick:
    """40 notes off every grid, at 97 beats a minute, velocities of their own; 3/4, pedal."""
    rng = np.random.default_rng(0)
    start = 300 + np.cumsum(rng.integers(90, 400, 40))
    notes = Notes(start, start + rng.integers(60, 300, 40), rng.permutation(np.arange(40, 80)),
                  rng.integers(20, 120, 40))  # fmt: skip
    score = midi.score_of(notes, 480, 97.0)
    score.time_signatures.append(midi.symusic.TimeSignature(0, 3, 4))
    return score


def seconds(piece: miditoolkit.MidiFile) -> list[tuple[int, int, float, float]]:
    """Every piano note as pitch, velocity, onset and end in seconds."""
    rate = piece.tempo_changes[0].tempo / 60 * piece.ticks_per_beat
    notes = piece.instruments[0].notes
    found = [(n.pitch, n.velocity, n.start / rate, n.end / rate) for n in notes]
    return sorted(found, key=lambda note: note[2])


@pytest.mark.parametrize("preset", ["duration", "performance", "remi"])
@pytest.mark.parametrize("base", ["clock", "beat"])
@pytest.mark.parametrize("whistle", [True, False])
def test_the_prompt_is_intact_and_the_continuation_after_it(
    preset: str, base: str, whistle: bool, played: midi.ScoreTick, tmp_path: Path
) -> None:
    representation = Representation(
        RepresentationSettings(preset=preset, time_base=base), CONDITIONS
    )
    composer = Composer(build(representation), representation)
    path = midi.write(played, tmp_path / "prompt.mid")
    (piece,) = composer.compose(
        1, length=80, prompt=path, prompt_seconds=4.0, whistle=whistle, min_notes=12
    )
    read = miditoolkit.MidiFile(str(piece.save(tmp_path / "out.mid")))
    notes = midi.notes_of(played.tracks[0])
    onset = midi.seconds_of(played, notes.start)
    end = midi.seconds_of(played, notes.end)
    inside = onset - onset[0] < 4.0
    assert 5 < inside.sum() < 35
    expected = list(zip(notes.pitch, notes.velocity, onset - onset[0], end - onset[0],
                        strict=True))[: inside.sum()]  # fmt: skip
    found = seconds(read)
    times = {marker.text: marker.time for marker in read.markers}
    rate = read.tempo_changes[0].tempo / 60 * read.ticks_per_beat
    offset = found[0][2]
    if base == "clock":
        line = notes.start[0] // 1440 * 1440  # the piece begins with the bar of its first note
        assert offset == pytest.approx(onset[0] - midi.seconds_of(played, line), abs=0.001)
        assert read.tempo_changes[0].tempo == pytest.approx(97, abs=0.001)
        (meter,) = read.time_signature_changes
        assert (meter.numerator, meter.denominator, meter.time) == (3, 4, 0)
    generated = times["generated"] / rate
    given = []
    for p, v, s, e in expected:
        (note,) = (n for n in found if n[0] == p and abs(n[2] - offset - s) < 0.002)
        given.append(note)
        pitch, velocity, _, stop = note
        assert velocity == v
        # Rung on, but for a string that the continuation strikes again.
        assert stop - offset <= e + 0.002
        if stop - offset < e - 0.002:
            assert any(n[0] == pitch and abs(n[2] - stop) < 1e-6 for n in found)
    rest = [note for note in found if note not in given]
    assert len(rest) >= 1
    assert min(note[2] for note in rest) >= generated - 1e-6
    if not whistle:
        assert len(read.instruments) == 1
        return
    (signal,) = (track for track in read.instruments if track.program == WHISTLE)
    (note,) = signal.notes
    assert (signal.name, note.pitch) == ("Whistle", WHISTLE_PITCH)
    assert times["whistle"] < note.start < note.end < times["generated"]
    assert max(note[2] for note in given) <= times["whistle"] / rate
    now = [event.tempo for event in read.tempo_changes if event.time <= note.start][-1]
    assert (note.end - note.start) / (now / 60 * read.ticks_per_beat) == pytest.approx(
        0.5, abs=0.01
    )


@pytest.mark.parametrize(("length", "later"), [(240, 240), (480, 480), (9600, 960)])
def test_a_whistle_lets_the_last_note_sound(composer: Composer, length: int, later: int) -> None:
    """At 120 quarters a minute, 480 ticks each: for a second and no longer."""
    notes = Notes(*(np.array([value], dtype=np.int32) for value in (0, length, 60, 64)))
    (piece,) = composer.compose(1, length=60, prompt=midi.score_of(notes, 480, 120.0), whistle=True)
    rate = piece.midi.tempo_changes[0].tempo / 120
    times = {marker.text: marker.time / rate for marker in piece.midi.markers}
    assert times["whistle"] == pytest.approx(later, abs=2)
    assert times["generated"] - times["whistle"] == pytest.approx(960, abs=3)


def test_seconds_that_the_prompt_alone_fills_are_refused(
    composer: Composer, played: midi.ScoreTick
) -> None:
    with pytest.raises(UserError, match="the prompt alone has"):
        composer.compose(1, prompt=played, prompt_seconds=4.0, seconds=2.0)
    with pytest.raises(UserError, match="the prompt alone has"):
        list(composer.stream(0, prompt=played, prompt_seconds=4.0, seconds=2.0))
    (piece,) = composer.compose(1, length=200, prompt=played, prompt_seconds=2.0, seconds=9.0)
    assert piece.statistics["seconds"] > 2


def test_a_whistle_has_a_channel_of_its_own(
    composer: Composer, played: midi.ScoreTick, tmp_path: Path
) -> None:
    import mido

    (piece,) = composer.compose(1, length=60, prompt=played, prompt_bars=2, whistle=True)
    file = mido.MidiFile(str(piece.save(tmp_path / "out.mid")))
    assert file.type == 1
    programs = {m.channel: m.program for t in file.tracks for m in t if m.type == "program_change"}
    assert sorted(programs.values()) == [0, WHISTLE]
    names = [m.name for t in file.tracks for m in t if m.type == "track_name"]
    assert {"Piano", "Whistle"} <= set(names)
    texts = [m.text for t in file.tracks for m in t if m.type == "marker"]
    assert [text for text in texts if "composed by a transformer" in text]


def test_bars_count_from_the_first_note_by_the_files_own_meter(
    durations: Representation, played: midi.ScoreTick
) -> None:
    first = int(midi.notes_of(played.tracks[0]).start[0])
    line = first // 1440 * 1440  # three quarters of 480
    for bars in (1, 2, 3.5):
        prompt = read_prompt(durations, played, bars=bars)
        start = midi.notes_of(played.tracks[0]).start
        assert prompt.notes is not None
        assert len(prompt.notes) == (start < line + bars * 1440).sum()
    changed = played.copy()
    changed.time_signatures.append(midi.symusic.TimeSignature(line + 1440, 2, 4))
    prompt = read_prompt(durations, changed, bars=3)
    assert prompt.notes is not None
    assert len(prompt.notes) == (start < line + 1440 + 2 * 960).sum()


@pytest.mark.parametrize("choice", [{"bars": 0}, {"seconds": -1.0}, {"bars": 1e-9}])
def test_a_prompt_of_nothing_is_refused(
    durations: Representation, played: midi.ScoreTick, choice: dict[str, float]
) -> None:
    with pytest.raises(UserError, match="prompt"):
        read_prompt(durations, played, **choice)


def test_a_prompts_pedal_is_kept(durations: Representation, played: midi.ScoreTick) -> None:
    pedalled = played.copy()
    pedalled.tracks[0].pedals = midi.symusic.Pedal.from_numpy(np.array([400]), np.array([500]))
    composer = Composer(build(durations), durations)
    (piece,) = composer.compose(1, length=60, prompt=pedalled, prompt_seconds=5)
    events = [(e.number, e.value) for e in piece.midi.instruments[0].control_changes]
    assert events == [(64, 127), (64, 0)]


def test_keys() -> None:
    assert scale("C") == {0, 2, 4, 5, 7, 9, 11}
    assert scale("Bb") == {10, 0, 2, 3, 5, 7, 9}
    assert scale("Am") == {9, 11, 0, 2, 4, 5, 7, 8}
    assert scale("f# minor") == scale("F#m")
    for wrong in ("H", "C##", "", "Cmaj7"):
        with pytest.raises(UserError, match="key"):
            scale(wrong)


def test_a_key_is_a_bias_on_pitches_alone(durations: Representation, composer: Composer) -> None:
    bias, again = key_bias(durations, "C")
    assert torch.equal(bias, again), "a piano has no drums"
    begins = torch.from_numpy(durations.strikes > 0)
    assert not bias[~begins].any()
    assert bias[begins].unique().tolist() == [-KEY_STRENGTH, 0.0]

    def outside(key: str | None) -> float:
        pieces = composer.compose(12, length=120, key=key)
        pitches = [n.pitch for p in pieces for n in p.midi.instruments[0].notes]
        return float(np.mean([pitch % 12 not in scale("C") for pitch in pitches]))

    assert outside("C") < outside(None) - 0.05


def test_drums_have_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "KEY_STRENGTH", 9.0)
    representation = Representation(RepresentationSettings(preset="raw"), CONDITIONS)
    composer = Composer(build(representation), representation)
    outside: dict[bool, list[bool]] = {True: [], False: []}
    for piece in composer.compose(16, length=300, key="C"):
        for part in piece.midi.instruments:
            outside[part.is_drum] += [note.pitch % 12 not in scale("C") for note in part.notes]
    assert np.mean(outside[False]) < 0.15  # what the highest notes leave free may all be outside
    assert np.mean(outside[True]) > 0.3


def test_a_tempo_moves_the_bars_and_not_the_music(composer: Composer) -> None:
    plain, fast = (composer.compose(1, length=80, tempo=tempo)[0] for tempo in (None, 200.0))
    assert fast.midi.tempo_changes[0].tempo == 200
    for one, two in zip(seconds(plain.midi), seconds(fast.midi), strict=True):
        assert one[:2] == two[:2]
        assert one[2:] == pytest.approx(two[2:], abs=0.001)


@pytest.mark.parametrize("preset", ["duration", "performance", "remi", "raw"])
def test_a_tempo_opens_a_piece_on_the_beat(preset: str) -> None:
    representation = Representation(
        RepresentationSettings(preset=preset, time_base="beat"), CONDITIONS
    )
    composer = Composer(build(representation), representation)
    (piece,) = composer.compose(1, length=60, tempo=140)
    assert piece.midi.tempo_changes[0].tempo == pytest.approx(140, rel=0.05)
    # It opens as music does: what it was asked for could have been sampled.
    whole = torch.tensor([[representation.bos, *piece.ids.tolist()]])
    masks = Grammar(representation).replay(whole)
    assert bool(masks.gather(2, whole[..., None]).all())


def test_a_tempo_and_a_prompt_on_the_beat_contradict_each_other(mini: Path) -> None:
    representation = Representation(RepresentationSettings(time_base="beat"), CONDITIONS)
    composer = Composer(build(representation), representation)
    with pytest.raises(UserError, match="its own"):
        composer.compose(1, length=60, tempo=140, prompt=next(mini.rglob("*.mid")))


def test_pieces_end_after_the_seconds_asked_for(composer: Composer) -> None:
    for piece in composer.compose(4, length=400, seconds=3.0):
        onsets = [note[2] for note in seconds(piece.midi)]
        assert max(onsets) < 3.0
    (whole,) = composer.compose(1, length=400)
    (part,) = composer.compose(1, length=400, seconds=3.0)
    assert np.array_equal(part.ids, whole.ids[: len(part.ids)])


def test_no_piece_waits_for_the_seconds_of_one_that_has_ended(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = composer._tokens
    steps: list[int] = []

    def first_ends(*asked: Any) -> Iterator[torch.Tensor]:
        for ids in tokens(*asked):
            steps.append(ids.shape[1])
            ended = ids.clone()
            ended[0, 8:9], ended[0, 9:] = EOS, PAD
            yield ended

    (alone,) = composer.compose(1, seed=1, length=400, seconds=3.0, min_notes=400)
    monkeypatch.setattr(composer, "_tokens", first_ends)
    short, long = composer.compose(2, length=400, seconds=3.0, min_notes=400)
    assert len(short.ids) < 8
    assert np.array_equal(long.ids, alone.ids)
    assert len(steps) < 400


@pytest.mark.parametrize("preset", ["duration", "performance", "remi", "raw"])
@pytest.mark.parametrize("tempo", [45.0, 230.0])
def test_seconds_on_the_beat_are_those_of_the_tempo(preset: str, tempo: float) -> None:
    representation = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    composer = Composer(build(representation), representation)
    (whole,) = composer.compose(1, length=400, tempo=tempo)

    def onsets(piece: Piece) -> np.ndarray:
        read = midi.read(piece.midi)
        return np.sort(midi.seconds_of(read, midi.merged_notes(read).start))

    most = onsets(whole)[len(onsets(whole)) // 2] + 0.01
    (part,) = composer.compose(1, length=400, tempo=tempo, seconds=most)
    assert np.array_equal(part.ids, whole.ids[: len(part.ids)])
    within = onsets(whole)[onsets(whole) < most]
    assert onsets(part) == pytest.approx(within, abs=0.002)
    streamed = composer.stream(0, length=400, tempo=tempo, seconds=most)
    assert len(list(streamed)) == len(within)


def test_the_length_is_what_the_seconds_may_take(composer: Composer) -> None:
    lengths = [
        composer._request(length=length, seconds=seconds).length
        for length, seconds in ((None, None), (None, 5.0), (None, 120.0), (80, 120.0), (None, 1e9))
    ]
    assert lengths == [1024, 1024, 7680, 80, 2**18]
    (piece,) = composer.compose(1, seconds=2.0)
    (same,) = composer.compose(1, length=1024, seconds=2.0)
    assert piece.ids.tolist() == same.ids.tolist()
    with pytest.raises(UserError, match="length 0"):
        composer.compose(1, length=0, seconds=120.0)


def test_no_label_is_a_choice(composer: Composer) -> None:
    (none,) = composer.compose(1, length=60, label="none")
    assert "label" not in none.midi.markers[0].text
    bare = Composer(composer.model, composer.representation)
    assert np.array_equal(bare.compose(1, length=60)[0].ids, none.ids)


@pytest.mark.parametrize("ask", [{"length": 150}, {"length": 400, "seconds": 12.0}])
@pytest.mark.parametrize("preset", ["duration", "performance", "remi"])
def test_streamed_notes_are_the_pieces_own(preset: str, ask: dict[str, float]) -> None:
    """All of them, the last ones too, and none after the seconds asked for."""
    representation = Representation(RepresentationSettings(preset=preset), CONDITIONS)
    composer = Composer(build(representation), representation)
    (piece,) = composer.compose(1, seed=3, **ask)
    streamed = list(composer.stream(3, **ask))
    written = sorted(
        (round(on, 3), pitch, loud, round(long, 3)) for on, long, pitch, loud in streamed
    )
    rate = piece.midi.tempo_changes[0].tempo / 60 * piece.midi.ticks_per_beat
    notes = piece.midi.instruments[0].notes
    whole = sorted(
        (round(n.start / rate, 3), n.pitch, n.velocity, round((n.end - n.start) / rate, 3))
        for n in notes
    )
    assert len(written) >= 5
    assert written == whole
    if "seconds" in ask and preset != "remi":  # whose piece is over before
        longer = list(composer.stream(3, length=400))
        assert written[-1][0] < ask["seconds"] < max(note[0] for note in longer)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7), st.integers(0, 3)), max_size=30))
def test_what_a_stream_has_told_stays_told(notes: list[tuple[int, int, int]]) -> None:
    """Strings are struck again while they sound: what has ended by then is told, nothing else."""
    representation = Representation(RepresentationSettings(preset="duration"), CONDITIONS)
    composer = Composer(build(representation), representation)
    kinds = representation.token_types
    pitches, lengths, shifts, loud = (
        np.flatnonzero(kinds == kind)
        for kind in (TokenType.PITCH, TokenType.DURATION, TokenType.TIME_SHIFT, TokenType.VELOCITY)
    )
    music: list[int] = []
    told: list[tuple[float, float, int, int]] = []
    for pitch, length, shift in notes:
        music += [pitches[40 + pitch], loud[3], lengths[length], shifts[shift]]
        now = int(representation.times(music)[-1])
        more = composer._notes(np.array(music), now)
        assert more[: len(told)] == told
        told = more
    if music:
        whole = composer._notes(np.array(music))
        assert whole[: len(told)] == told


def test_a_stream_ends_when_its_time_is_over(composer: Composer) -> None:
    drawn = 0
    whole = composer._tokens

    def counted(*given: object) -> Iterator[torch.Tensor]:
        nonlocal drawn
        for ids in whole(*given):
            drawn += 1
            yield ids

    composer._tokens = counted
    list(composer.stream(3, length=400, seconds=1.0))
    assert 0 < drawn < 200


def test_a_steered_piece_of_some_seconds_is_the_chosen_one(composer: Composer) -> None:
    """Sampling ends where companions have been chosen among: more tokens would change nothing."""
    steered = Steering(lambda ids: ids.float().mean(1), weight=5.0, width=4, block=48)
    choices: dict[str, Any] = {"length": 240, "steering": steered, "min_notes": 400}
    for piece in composer.compose(4, 3, **choices):
        late = composer.representation.times(piece.ids) * composer.representation.grid_seconds
        seconds = float(late[56])
        (cut,) = composer.compose(1, piece.seed, seconds=seconds, **choices)
        assert cut.ids.tolist() == piece.ids[: np.searchsorted(late, seconds)].tolist()


def test_steering_takes_what_scores_best(composer: Composer) -> None:
    """Towards high pitches: any score will do."""
    values = torch.from_numpy(composer.representation.token_values.astype(np.float32))
    begins = torch.from_numpy(composer.representation.strikes > 0)

    def high(ids: torch.Tensor) -> torch.Tensor:
        here = begins[ids]
        return (values[ids] * here).sum(1) / here.sum(1).clamp(min=1)

    def mean(steering: Steering | None) -> float:
        pieces = composer.compose(6, length=128, steering=steering, min_notes=30)
        return float(np.mean([n.pitch for p in pieces for n in p.midi.instruments[0].notes]))

    steered = Steering(high, weight=5.0, width=4, block=16)
    assert mean(steered) > mean(None) + 4
    first, second = (composer.compose(2, 5, length=64, steering=steered) for _ in range(2))
    assert [p.ids.tolist() for p in first] == [p.ids.tolist() for p in second]
    (alone,) = composer.compose(1, 6, length=64, steering=steered)
    assert np.array_equal(alone.ids, first[1].ids), "a piece does not depend on its company"
    with pytest.raises(UserError, match="guidance"):
        Steering(high, width=1)


def test_companions_that_end_early_are_chosen_among_all_the_same(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, sampling is over before the block is; in company the block comes to its end."""
    step = type(composer.model).step

    def hasty(self: Any, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        logits = step(self, ids, cache).clone()
        logits[:, EOS] += 3.0
        return logits

    monkeypatch.setattr(type(composer.model), "step", hasty)
    steered = Steering(lambda ids: ids.float().mean(1) * 0.1, weight=1.0, width=4, block=64)
    choices: dict[str, Any] = {"length": 160, "steering": steered, "min_notes": 1}
    together = composer.compose(12, 5, batch=12, **choices)
    for number, piece in enumerate(together):
        (alone,) = composer.compose(1, 5 + number, **choices)
        assert np.array_equal(alone.ids, piece.ids), number


@pytest.mark.parametrize("base", ["clock", "beat"])
@pytest.mark.parametrize("cut", [{"seconds": 5.0}, {"bars": 2.0}])
def test_what_follows_a_cut_is_no_part_of_the_prompt(base: str, cut: dict[str, float]) -> None:
    """Pedals and tempos of the whole piece would have the model sit through it in silence."""
    representation = Representation(RepresentationSettings(preset="performance", time_base=base))
    start = np.arange(200) * 240
    score = midi.score_of(Notes(start, start + 200, 60 + start // 240 % 12, start * 0 + 80), 480)
    down = np.arange(50) * 960
    score.tracks[0].pedals = midi.symusic.Pedal.from_numpy(down, down * 0 + 900)
    for time in range(480, 48_000, 4_800):
        score.tempos.append(midi.symusic.Tempo(time, 120.0))
    prompt = read_prompt(representation, score, **cut)
    end = representation.times(np.array(prompt.ids[1:]))[-1]
    unit = representation.grid_seconds if base == "clock" else 0.5 / representation.steps_per_beat
    assert end * unit <= 5.2
    assert prompt.notes is not None
    assert prompt.pedals.max() <= max(prompt.notes.end.max(), 10.0 if base == "beat" else 5.0)
    assert len(prompt.pedals) > 2


@pytest.mark.parametrize("whistle", [False, True])
@pytest.mark.parametrize(
    ("preset", "early"), [("performance", "Pedal_0"), ("duration", "Tempo_40.0")]
)
def test_what_a_model_does_before_its_first_note_is_kept(
    preset: str, early: str, whistle: bool
) -> None:
    """A rest of two quarters, and in the midst of it the pedal, or another tempo."""
    representation = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    start = np.array([0, 480, 960])
    score = midi.score_of(Notes(start, start + 400, start // 480 + 60, start * 0 + 80), 480, 120.0)
    prompt = read_prompt(representation, score)
    given = prompt.ids[1:]
    note = {
        "performance": ["NoteOn_70", "TimeShift_1.0.12", "NoteOff_70", "PedalOff_0"],
        "duration": ["Pitch_70", "Velocity_79", "Duration_1.0.12"],
    }[preset]
    wait = ["TimeShift_1.0.12"]
    more = [representation.names.index(name) for name in [*wait, early, *wait, *note]]
    how, ids = Arrangement("", None, whistle), np.array([*given, *more])
    piece = arrange(representation, ids, len(given), prompt, how)
    (struck,) = (each.start for each in piece.instruments[0].notes if each.pitch == 70)
    # A whistle stands before the whole of the rest.
    ends = representation.times(np.array(given))[-1] * 480 // representation.steps_per_beat
    sounds = 400 if preset == "duration" else 0  # where notes have ends, the last has had its own
    assert struck == ends + 960 + whistle * (960 + sounds)
    if whistle:
        (signal,) = piece.instruments[1].notes
        assert ends + sounds < signal.start < signal.end < struck - 960
        assert piece.markers[-1].time == struck - 960
    if preset == "performance":
        events = [(each.value, each.time) for each in piece.instruments[0].control_changes]
        assert events == [(127, struck - 480), (0, struck + 480)]
    else:
        events = [(round(each.tempo), each.time) for each in piece.tempo_changes]
        assert events == [(120, 0), (40, struck - 480)]


@pytest.mark.parametrize("preset", ["duration", "performance", "remi"])
def test_a_prompt_is_at_120_until_it_says_otherwise(preset: str) -> None:
    """In the middle: what comes before its first tempo keeps its seconds too."""
    representation = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    start = np.arange(12) * 480
    score = midi.score_of(Notes(start, start + 400, start // 480 + 60, start * 0 + 80), 480)
    score.tempos.append(midi.symusic.Tempo(4 * 480, 60.0))
    composer = Composer(build(representation), representation)
    (piece,) = composer.compose(1, length=60, prompt=score)
    read = midi.read(piece.midi)
    found = midi.seconds_of(read, midi.notes_of(read.tracks[0]).start)[: len(start)]
    assert found == pytest.approx(midi.seconds_of(score, start), abs=0.001)
