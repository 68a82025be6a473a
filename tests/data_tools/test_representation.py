"""Tokens: ours are MidiTok's own, the way back is exact, and the grammar holds on real music."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools import midi
from data_tools.errors import MidiError, UserError
from data_tools.midi import Notes
from data_tools.representation import BOS, EOS, Representation, TokenType
from data_tools.representation.bars import quarters
from data_tools.representation.forms import collapse, expand
from data_tools.settings import RepresentationSettings

ALONE, WITH_OFFS = ("duration", "remi"), ("performance", "raw")
CHOICES = [
    (preset, base, pedal, velocities)
    for preset in (*ALONE, *WITH_OFFS)
    for base in ("clock", "beat")
    for pedal in (("fold", "tokens") if preset in WITH_OFFS else ("fold", "drop"))
    for velocities in ((16, 0) if pedal == "fold" else (16,))
]


@pytest.fixture(scope="session", params=CHOICES, ids=lambda choice: "-".join(map(str, choice)))
def representation(request: pytest.FixtureRequest) -> Representation:
    preset, base, pedal, velocities = request.param
    return Representation(
        RepresentationSettings(preset=preset, time_base=base, pedal=pedal, velocities=velocities)
    )


@pytest.fixture(scope="session")
def real(mini: Path) -> list[symusic.core.ScoreTick]:
    return [midi.prepare(path).score for path in sorted(mini.rglob("*.mid"))[::24]]


def score_from(
    rows: list[tuple[int, int, int, int]],
    pedals: list[tuple[int, int]] = [],  # noqa: B006
    tempos: list[tuple[int, int]] = [],  # noqa: B006
    meters: list[tuple[int, int, int]] = [],  # noqa: B006
    resolution: int = 480,
) -> symusic.core.ScoreTick:
    """A prepared score of (start, length, pitch, velocity), (down, length) and (time, bpm).

    Meters are (time, numerator, power of two below).
    """
    start, length, pitch, velocity = np.array(rows, dtype=np.int64).T
    notes = Notes(start, start + length, pitch.astype(np.int16), velocity.astype(np.int16))
    score = midi.score_of(midi.clean(notes, pitches=(0, 127)), resolution)
    for time, bpm in sorted(tempos):
        score.tempos.append(symusic.Tempo(time, bpm))
    for time, numerator, power in sorted(meters):
        score.time_signatures.append(symusic.TimeSignature(time, numerator, 2**power))
    end = -1
    for down, span in sorted(pedals):
        if down > end:
            score.tracks[0].pedals.append(symusic.Pedal(down, span))
            end = down + span
    return score


scores = st.builds(
    score_from,
    st.lists(
        st.tuples(
            st.integers(0, 20_000), st.integers(1, 6_000), st.integers(21, 108), st.integers(1, 127)
        ),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 4_000)), max_size=6),
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(30, 300)), max_size=6),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 13), st.integers(0, 4)), max_size=4),
    st.sampled_from([96, 220, 480]),
)


def one_part(rep: Representation, ids: np.ndarray) -> np.ndarray:
    """Ids without the tokens that MIDILike does not have."""
    own = (TokenType.CHANNEL, TokenType.PROGRAM)
    return ids[~np.isin(rep.token_types[ids], own)].astype(np.int64)


def check_midi_tok(rep: Representation, score: symusic.core.ScoreTick) -> None:
    """Our ids are MidiTok's own, and MidiTok reads them as the music that we read."""
    theirs = rep.tokenizer.encode(rep.quantize(score))
    theirs = theirs[0] if isinstance(theirs, list) else theirs
    ids = one_part(rep, rep.encode(score))
    if rep.settings.preset in WITH_OFFS:
        assert ids.tolist() == collapse(np.array(theirs.ids), rep.vocabulary).tolist()
        assert expand(ids, rep.vocabulary).tolist() == theirs.ids
    else:
        assert ids.tolist() == theirs.ids
    read = rep.tokenizer.decode([theirs.ids])
    track, notes = read.tracks[0], rep.events(ids, close=True).notes
    their_notes = midi.clean(midi.notes_of(track), pitches=(0, 127))
    for key in ("start", "end", "pitch", "velocity"):
        assert getattr(notes, key).tolist() == getattr(their_notes, key).tolist(), key
    decoded = rep.decode(rep.encode(score))
    ours = [(p.time, p.end) for p in decoded.tracks[0].pedals]
    assert ours == [(p.time, p.end) for p in track.pedals]
    if rep.settings.time_base == "beat":
        tempos = [[(t.time, round(t.tempo, 1)) for t in s.tempos] for s in (read, decoded)]
        assert tempos[0] == tempos[1]
        if rep.settings.preset == "remi":
            meters = [
                [(t.time, t.numerator, t.denominator) for t in s.time_signatures]
                for s in (read, decoded)
            ]
            assert meters[0] == meters[1]


def check_round_trip(rep: Representation, score: symusic.core.ScoreTick) -> None:
    gridded, ids = rep.grid(score), rep.encode(score)
    decoded = rep.events(ids)
    assert rep.encode_events(decoded).tolist() == ids.tolist()
    assert rep.decode(ids).ticks_per_quarter == rep.steps_per_beat
    expected, notes = gridded.notes, decoded.notes
    for key in ("start", "pitch", "velocity"):
        assert getattr(notes, key).tolist() == getattr(expected, key).tolist(), key
    if rep.settings.preset in WITH_OFFS:
        assert notes.end.tolist() == expected.end.tolist()
    else:
        lengths = rep.token_values[rep.token_types == TokenType.DURATION]
        wanted = expected.end - expected.start
        # Half the space between the grid's lengths on either side, and no longer than the longest.
        space = np.max(
            np.diff(lengths)[np.searchsorted(lengths, wanted).clip(1, len(lengths) - 1) - 1]
        )
        within = np.minimum(wanted, lengths[-1])
        assert np.all(np.abs(notes.end - notes.start - within) <= (space + 1) // 2)
    assert decoded.pedals.tolist() == gridded.pedals.tolist()
    assert decoded.tempos.tolist() == gridded.tempos.tolist()
    if rep.settings.preset == "remi" and rep.settings.time_base == "beat":
        assert decoded.meters.tolist() == gridded.meters.tolist()


def check_grammar(rep: Representation, score: symusic.core.ScoreTick) -> None:
    types = rep.token_types[np.concatenate([[BOS], rep.encode(score), [EOS]])]
    pairs = {(TokenType(a).name, TokenType(b).name) for a, b in itertools.pairwise(types)}
    assert {
        pair for pair in pairs if not rep.follows[TokenType[pair[0]], TokenType[pair[1]]]
    } == set()


@settings(max_examples=15, deadline=None)
@given(score=scores)
def test_composed_music(representation: Representation, score: symusic.core.ScoreTick) -> None:
    check_midi_tok(representation, score)
    check_round_trip(representation, score)
    check_grammar(representation, score)


def test_real_music(representation: Representation, real: list[symusic.core.ScoreTick]) -> None:
    kept = total = 0
    for score in real:
        check_midi_tok(representation, score)
        check_round_trip(representation, score)
        check_grammar(representation, score)
        kept += len(representation.quantize(score).tracks[0].notes)
        total += len(score.tracks[0].notes)
    assert total > 3000
    assert kept >= 0.995 * total


@pytest.mark.parametrize(
    ("preset", "base", "pedal", "size"),
    [
        ("duration", "clock", "auto", 236),
        ("duration", "beat", "auto", 268),
        ("performance", "clock", "auto", 325),
        ("performance", "beat", "auto", 357),
        ("performance", "clock", "fold", 323),
        ("remi", "clock", "auto", 268),
        ("remi", "beat", "auto", 404),
        ("raw", "clock", "auto", 469),
        ("raw", "beat", "auto", 501),
    ],
)
def test_vocabulary_sizes_are_fixed(preset: str, base: str, pedal: str, size: int) -> None:
    rep = Representation(RepresentationSettings(preset=preset, time_base=base, pedal=pedal))
    assert rep.music_size == rep.vocab_size == len(rep.names) == len(set(rep.names)) == size
    assert rep.names[:3] == ("PAD", "BOS", "EOS")


def test_the_default_vocabulary_is_the_one_models_were_trained_on() -> None:
    assert Representation().music_digest == "5eecfea1486ea7a5"
    assert Representation().digest == "475186a81aaf87fb"


def test_a_clock_step_is_20_ms() -> None:
    for preset in (*ALONE, *WITH_OFFS):
        rep = Representation(RepresentationSettings(preset=preset))
        assert rep.grid_seconds == pytest.approx(0.02)
        score = score_from([(0, 480, 60, 64), (960, 480, 62, 64)], tempos=[(0, 60)])
        for music in (rep.quantize(score), rep.decode(rep.encode(score))):
            notes = midi.notes_of(music.tracks[0])
            assert midi.seconds_of(music, notes.start).tolist() == pytest.approx([0, 2])
            assert midi.seconds_of(music, notes.end).tolist() == pytest.approx([1, 3], abs=0.05)


@pytest.mark.parametrize("preset", ["duration", "remi"])
def test_on_beat_notes_are_clocked_by_their_tempo(preset: str) -> None:
    """A beat after each other: two at 60 to the minute, then at 120."""
    rows = [(480 * beat, 240, 60 + beat, 80) for beat in range(5)]
    score = score_from(rows, tempos=[(0, 60), (960, 120)])
    beat = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    notes, unit = beat.clocked(beat.events(beat.encode(score)))
    seconds = midi.seconds_of(score, np.array([row[0] for row in rows]))
    np.testing.assert_allclose(seconds, [0, 1, 2, 2.5, 3])
    np.testing.assert_allclose(notes.start * unit, seconds, rtol=0.03)
    np.testing.assert_allclose((notes.end - notes.start) * unit, [0.5] * 2 + [0.25] * 3, atol=0.03)
    clock = Representation(RepresentationSettings(preset=preset))
    events = clock.events(clock.encode(score))
    assert clock.clocked(events) == (events.notes, clock.grid_seconds)


def test_the_example_in_words() -> None:
    rep = Representation()
    score = score_from([(480, 240, 64, 80), (480, 240, 60, 80), (744, 240, 67, 80)])
    names = [name.split("_")[0] for name in rep.tokens(rep.encode(score))]
    assert names == ["Pitch", "Velocity", "Duration"] * 2 + ["TimeShift"] + [
        "Pitch", "Velocity", "Duration",
    ]  # fmt: skip
    values = rep.token_values[rep.encode(score)]
    assert values[[0, 3, 7]].tolist() == [60, 64, 67]
    assert values[6] == round(0.275 / 0.02)


@pytest.mark.parametrize("preset", [*ALONE, *WITH_OFFS])
def test_tempo_changes_after_the_last_event_are_left_out(preset: str) -> None:
    rep = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    rows = [(0, 480, 60, 64), (480, 960, 64, 64)]
    inside, after = [(0, 100), (480, 140)], [(1440 + 480, 80), (9600, 60)]
    with_tail, without = (score_from(rows, tempos=t) for t in (inside + after, inside))
    ids = rep.encode(with_tail)
    assert ids.tolist() == rep.encode(without).tolist()
    assert TokenType.TEMPO in rep.token_types[ids]
    assert rep.token_types[ids[-1]] != TokenType.TEMPO
    # During the last note: kept where a release follows it, dropped where nothing does.
    held = rep.encode(score_from(rows, tempos=[*inside, (960, 200)]))
    assert (len(held) > len(ids)) == (preset in WITH_OFFS)


def test_no_notes_is_an_error_of_the_music() -> None:
    rep = Representation()
    for empty in (rep.decode([]), symusic.Score(480)):
        with pytest.raises(MidiError, match="no notes"):
            rep.encode(empty)


@pytest.mark.parametrize("preset", [*ALONE, *WITH_OFFS])
@pytest.mark.parametrize("velocities", [0, 1])
def test_one_velocity_level_or_none(preset: str, velocities: int) -> None:
    rep = Representation(RepresentationSettings(preset=preset, velocities=velocities))
    score = score_from([(0, 480, 60, 1), (0, 480, 64, 127)])
    check_midi_tok(rep, score)
    check_round_trip(rep, score)
    assert sum(rep.token_types == TokenType.VELOCITY) == velocities
    assert len(rep.decode(rep.encode(score)).tracks[0].notes) == 2


def test_a_velocity_stands_only_where_it_changes() -> None:
    rep = Representation(RepresentationSettings(preset="performance"))
    score = score_from([(0, 480, 0, 64), (0, 480, 64, 64), (480, 480, 127, 64), (960, 90, 60, 99)])
    names = [name for name in rep.tokens(rep.encode(score)) if name[0] in "VN"]
    assert names == [
        "Velocity_63", "NoteOn_0", "NoteOn_64", "NoteOff_0", "NoteOff_64", "NoteOn_127",
        "NoteOff_127", "Velocity_103", "NoteOn_60", "NoteOff_60",
    ]  # fmt: skip
    kinds = np.bincount(rep.token_types, minlength=len(TokenType))
    wanted = {"NOTE_ON": 128, "NOTE_OFF": 128, "TIME_SHIFT": 48, "PEDAL_ON": 1, "PEDAL_OFF": 1}
    assert {name: kinds[TokenType[name]] for name in wanted} == wanted


def test_durations_say_nothing_of_notes_cut_by_a_window() -> None:
    rep = Representation()
    ids = rep.encode(score_from([(0, 480, 60, 64), (480, 480, 64, 64), (960, 480, 67, 64)]))
    for start in range(len(ids)):
        window = ids[start : start + 5]
        events = rep.events(window)
        whole = list(zip(*(rep.token_types[window[i:]] for i in range(3)), strict=False))
        note = (TokenType.PITCH, TokenType.VELOCITY, TokenType.DURATION)
        assert len(events.notes) == whole.count(note)


@pytest.mark.parametrize(
    ("numerator", "denominator", "length"),
    [(4, 4, 4), (3, 4, 3), (6, 8, 3), (2, 2, 4), (7, 8, 7), (9, 8, 3), (12, 4, 6), (3, 8, 3),
     (11, 4, 1), (5, 16, 5), (0, 4, 4), (4, 0, 4), (1, 1, 4), (8, 4, 8), (9, 4, 3)],
)  # fmt: skip
def test_bars_are_whole_quarters(numerator: int, denominator: int, length: int) -> None:
    assert quarters(numerator, denominator) == length


@pytest.mark.slow
@pytest.mark.parametrize("preset", [*ALONE, *WITH_OFFS])
@pytest.mark.parametrize("base", ["clock", "beat"])
def test_every_real_file_at_hand(preset: str, base: str, mini: Path) -> None:
    rep = Representation(RepresentationSettings(preset=preset, time_base=base))
    for path in sorted(mini.rglob("*.mid")):
        score = midi.prepare(path, rep.vocabulary.pitches).score
        check_midi_tok(rep, score)
        check_round_trip(rep, score)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_ids_decode_to_something_playable(representation: Representation, seed: int) -> None:
    ids = np.random.default_rng(seed).integers(0, representation.music_size, 120)
    score = representation.decode(ids)
    for track in score.tracks:
        notes = midi.notes_of(track)
        assert np.all(notes.end > notes.start)
        again = midi.clean(notes, pitches=(0, 127))
        assert again.end.tolist() == notes.end.tolist()
        assert again.pitch.tolist() == notes.pitch.tolist()
    assert score.dumps_midi()


def test_pedal_tokens_need_note_offs() -> None:
    with pytest.raises(UserError, match="performance"):
        Representation(RepresentationSettings(preset="duration", pedal="tokens"))


# Conditions and files

NAMES = ("label:jazz", "label:not_jazz", "artist:Art Tatum")


def test_conditions_stand_at_the_end() -> None:
    plain, rep = Representation(), Representation(conditions=NAMES)
    assert rep.music_size == plain.vocab_size
    assert rep.vocab_size == plain.vocab_size + 3
    assert rep.names[: rep.music_size] == plain.names
    ids = [rep.condition_id(name) for name in NAMES]
    assert ids == [236, 237, 238]
    assert rep.tokens(ids) == list(NAMES)
    assert set(rep.token_types[ids]) == {TokenType.CONDITION}
    assert rep.music_digest == plain.music_digest
    assert rep.digest != plain.digest
    score = score_from([(0, 480, 60, 64)])
    assert rep.encode(score).tolist() == plain.encode(score).tolist()
    fed = [ids[0], BOS, *rep.encode(score).tolist(), EOS]
    assert len(rep.decode(fed).tracks[0].notes) == 1
    assert rep.follows[TokenType.CONDITION, TokenType.BOS]
    assert not rep.follows[TokenType.PITCH, TokenType.CONDITION]


def test_an_unknown_condition_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown label 'polka'; the model knows '.*jazz'"):
        Representation(conditions=NAMES).condition_id("label:polka")
    with pytest.raises(UserError, match="the model knows no label"):
        Representation().condition_id("label:jazz")


def test_save_and_load(representation: Representation, tmp_path: Path) -> None:
    made = Representation(representation.settings, NAMES)
    made.save(tmp_path / "representation.json")
    loaded = Representation.load(tmp_path / "representation.json")
    assert (loaded.digest, loaded.names, loaded.settings) == (
        made.digest,
        made.names,
        made.settings,
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["representation.json"]


@pytest.mark.parametrize(
    "changes",
    [{"digest": "0" * 16}, {"conditions": ["label:polka"]}, {"settings": {"preset": "x"}}],
)
def test_a_tampered_file_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "representation.json"
    Representation(conditions=NAMES).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=r"representation\.json"):
        Representation.load(path)


NO_DIGEST = '{"settings": {}, "conditions": []}'


@pytest.mark.parametrize("text", [None, "", "{", "{}", "[]", "[1]", NO_DIGEST])
def test_a_malformed_file_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "representation.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="cannot be used as a representation"):
        Representation.load(path)
