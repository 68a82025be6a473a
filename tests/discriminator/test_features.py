"""Features worked by hand, invariants on real and made-up notes, and a judge that stands alone."""

import csv
import json
import re
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier

from data_tools import midi
from data_tools.audit.ranking import auc
from data_tools.errors import UserError
from data_tools.files import file_digest
from data_tools.midi import Notes
from data_tools.representation import Events, Representation, RepresentationSettings
from discriminator import features
from discriminator.boosting import Forest, forest_of
from discriminator.feature_judge import FeatureJudge, JudgeSettings, passages, weights
from discriminator.symbolic import counting as statistics
from discriminator.symbolic import sets

STEP = 0.02  # seconds
TWO_FIVE_ONE = [(50, 60, 65, 69, 72), (43, 59, 65, 69, 76), (48, 59, 64, 67, 74)]


def notes_of(chords, length=50, spread=0) -> Notes:
    """Chords of `length` steps one after another, each note `spread` steps after the last."""
    rows = [
        (length * at + spread * order, length * (at + 1), pitch, 64)
        for at, chord in enumerate(chords)
        for order, pitch in enumerate(chord)
    ]
    return Notes(*np.array(rows, dtype=np.int64).T)


def named(notes: Notes, groups=features.PITCH) -> dict[str, float]:
    values = features.measure(notes, STEP, groups)
    return dict(zip(features.names(groups), values.tolist(), strict=True))


@st.composite
def music(draw, least=1, most=60):
    """Any notes, in no order, one string struck over itself included."""
    note = st.tuples(
        st.integers(0, 400), st.integers(1, 120), st.integers(30, 90), st.integers(1, 127)
    )
    rows = np.array(draw(st.lists(note, min_size=least, max_size=most)), dtype=np.int64).reshape(
        -1, 4
    )
    return Notes(rows[:, 0], rows[:, 0] + rows[:, 1], rows[:, 2], rows[:, 3])


# --- what is counted -----------------------------------------------------------------------------


def test_chords_by_hand():
    found = named(notes_of(TWO_FIVE_ONE))
    # D minor 7, G dominant 9 and C major 9, each above its bass.
    assert found["mask_3_7_10"] == pytest.approx(1 / 3)
    assert found["mask_large"] == pytest.approx(2 / 3)
    assert found["set_size_5"] == pytest.approx(2 / 3)
    assert found["struck_notes_5"] == 1
    assert found["set_large_10"] == 0.5  # the seventh of G, the major one of C
    assert found["set_large_11"] == 0.5
    assert found["doubled"] == pytest.approx(1 / 3)  # C twice in the first
    assert found["top_over_bass_10"] == pytest.approx(1 / 3)  # C over D
    assert found["top_over_bass_9"] == pytest.approx(1 / 3)  # E over G
    assert found["top_over_bass_2"] == pytest.approx(1 / 3)  # D over C
    assert found["bass_interval_-7"] == found["bass_interval_5"] == 0.5
    assert found["bass_class_5"] == 1  # both fall by a fifth, or rise by a fourth
    assert found["top_interval_4"] == found["top_interval_-2"] == 0.5
    assert found["key_fit"] > 0.6
    assert found["class_in_key_0"] == pytest.approx(3 / 15)  # C is the tonic
    assert found["class_in_key_7"] == pytest.approx(2 / 15)


@pytest.mark.parametrize(
    ("chord", "kind"),
    [((48, 52, 55), "major"), ((48, 51, 55), "minor"), ((48, 52, 55, 58), "dominant")],
)
def test_broken_chords_are_recognised(chord, kind):
    line = [(note,) for note in (chord * 8)[:24]]
    found = named(notes_of(line, length=10))
    assert found[f"chord8_{kind}"] == 1
    assert found["chord8_root_0"] == 1
    assert found["chord8_motion_0"] == 1


def test_interval_classes_by_hand():
    found = named(
        notes_of([(48, 52, 55)] * 4)
    )  # a major triad: a minor and a major third, a fourth
    assert [found[f"interval_class_{n}"] for n in range(1, 7)] == pytest.approx(
        [0, 0, 1 / 3, 1 / 3, 1 / 3, 0]
    )
    tritone = named(notes_of([(48, 54)] * 4))
    assert tritone["interval_class_6"] == 1
    assert tritone["mask_6"] == 1


def test_fourier_magnitudes_by_hand():
    whole_tone = named(notes_of([(48 + 2 * n,) for n in range(6)] * 3))
    assert whole_tone["class_fourier_6"] == pytest.approx(1, abs=1e-6)
    diminished = named(notes_of([(48 + 3 * n,) for n in range(4)] * 4))
    assert diminished["class_fourier_4"] == pytest.approx(1, abs=1e-6)
    assert diminished["class_fourier_5"] == pytest.approx(0, abs=1e-6)
    chromatic = named(notes_of([(48 + n,) for n in range(12)] * 4))
    assert chromatic["class_entropy"] == pytest.approx(np.log2(12), abs=1e-5)
    assert chromatic["top_chromatic_4"] > 0.7
    assert chromatic["top_turns"] < 0.2


def test_a_chord_that_is_rolled_a_little_is_one_chord():
    struck, rolled = (named(notes_of(TWO_FIVE_ONE * 4, spread=spread)) for spread in (0, 0.5))
    pitch_only = [name for name in struck if not name.startswith("pitch_")]
    assert [struck[name] for name in pitch_only] == pytest.approx(
        [rolled[name] for name in pitch_only], abs=1e-6
    )
    slow = named(notes_of(TWO_FIVE_ONE * 4, spread=5))
    assert slow["struck_notes_1"] == 1
    assert slow["sounding_notes_5"] == pytest.approx(1 / 5)


def test_legato_notes_do_not_sound_together():
    scale = [(60 + n,) for n in (0, 2, 4, 5, 7, 9, 11, 12)]
    notes = notes_of(scale, length=20)
    overlapping = Notes(notes.start, notes.end + 2, notes.pitch, notes.velocity)  # by 40 ms
    assert named(overlapping)["set_size_1"] == 1
    held = Notes(notes.start, notes.end + 10, notes.pitch, notes.velocity)
    assert named(held)["set_size_2"] == pytest.approx(7 / 8)


def test_swing_and_loudness_are_seen_only_when_asked_for():
    beats = np.arange(64) * 30
    straight = np.sort(np.concatenate([beats, beats + 15]))
    swung = np.sort(np.concatenate([beats, beats + 20]))
    pitch = np.tile([60, 64, 67, 71], 32)
    plain = Notes(straight, straight + 8, pitch, np.full(128, 64))
    jazzy = Notes(swung, swung + 8, pitch, np.tile([50, 90], 64))
    assert named(plain) == named(jazzy)
    first, second = (named(notes, ("rhythm",)) for notes in (plain, jazzy))
    assert first["gap_ratio_6"] == 1  # even
    assert second["gap_ratio_3"] == pytest.approx(0.5, abs=0.01)  # long, then half as long
    assert second["gap_zigzag"] == pytest.approx(0.5, abs=0.01)
    assert named(plain, ("touch",))["velocity_spread"] == 0
    assert named(jazzy, ("touch",))["velocity_spread"] == 20


# --- what must hold of any notes -----------------------------------------------------------------


@given(music(), st.integers(-20, 20))
def test_pitch_features_do_not_change_with_the_key(notes, by):
    moved = Notes(notes.start, notes.end, notes.pitch + by, notes.velocity)
    before, after = (features.measure(one, STEP) for one in (notes, moved))
    np.testing.assert_allclose(before, after, atol=1e-5)


@given(music(), st.randoms(use_true_random=False))
def test_order_and_place_in_time_do_not_matter(notes, random):
    # Notes alike in onset and pitch would be told apart by their order alone.
    keys = {(s, p): n for n, (s, p) in enumerate(zip(notes.start, notes.pitch, strict=True))}
    order = list(keys.values())
    kept = notes.take(np.array(order))
    random.shuffle(order)
    other = notes.take(np.array(order))
    later = Notes(other.start + 1000, other.end + 1000, other.pitch, other.velocity)
    before, after = (features.measure(one, STEP, features.GROUPS) for one in (kept, later))
    np.testing.assert_allclose(before, after, atol=1e-4)


@given(music(least=0))
def test_features_are_finite_and_shares_are_shares(notes):
    found = named(notes, features.GROUPS)
    assert np.isfinite(list(found.values())).all()
    for block in ("class_sorted", "set_size", "top_pairs", "bass_interval", "gap", "velocity"):
        values = [value for name, value in found.items() if re.fullmatch(rf"{block}_-?\d+", name)]
        assert min(values) >= 0
        assert sum(values) in (0, pytest.approx(1, abs=1e-5))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_notes(count):
    values = features.measure(notes_of([(60,)] * count) if count else _nothing(), STEP)
    assert values.shape == (len(features.names()),)
    assert np.isfinite(values).all()
    assert values.any() == bool(count)


def _nothing() -> Notes:
    empty = np.zeros(0, dtype=np.int64)
    return Notes(empty, empty, empty, empty)


def test_a_great_many_notes():
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, 2_000_000, 100_000))
    notes = Notes(
        start, start + rng.integers(1, 200, 100_000), rng.integers(21, 109, 100_000), start * 0 + 64
    )
    assert np.isfinite(features.measure(notes, STEP, features.GROUPS)).all()


@pytest.mark.parametrize("step", [STEP, 0.01])
def test_moments_against_a_plain_loop(step):
    """Also in hundredths of a second, of which five are just within one moment."""
    rng = np.random.default_rng(1)
    start = np.sort(rng.integers(0, 300, 200))
    end = start + rng.integers(1, 60, 200)
    pitch = rng.integers(40, 60, 200)
    found = statistics.moments(Notes(start, end, pitch, pitch), step)
    times, member = [start[0]], []
    for onset in start:
        if (onset - times[-1]) * step > 0.05 + 1e-9:
            times.append(onset)
        member.append(len(times) - 1)
    assert found.time.tolist() == times
    assert found.first.tolist() == member
    last = [max(start[np.array(member) == k]) for k in range(len(times))]
    heard = sets.sounding(pitch, found.first, found.until(end, step), len(found))
    expected = []
    for k in range(len(times)):
        held = (np.array(member) < k) & ((end - last[k]) * step > 0.05 + 1e-9)
        expected.append(np.unique(pitch[(np.array(member) == k) | held]).tolist())
    members = np.split(heard.over + heard.low.repeat(heard.size), heard.begin[1:])
    assert [one.tolist() for one in members] == expected


@given(music())
def test_sets_against_a_plain_loop(notes):
    piece = features.Piece(notes.take(np.lexsort((notes.pitch, notes.start))), STEP)
    pitch, first = piece.notes.pitch, piece.moments.first
    end = np.minimum(piece.notes.end, piece.notes.start + features.HELD / STEP)
    until = piece.moments.until(end, STEP)
    every = range(len(piece.moments))
    sounding = [np.unique(pitch[(first <= k) & (k < until)]) for k in every]
    struck = [np.unique(pitch[first == k]) for k in every]
    for found, chords in ((piece.heard, sounding), (piece.hit, struck)):
        assert found.low.tolist() == [one[0] for one in chords]
        assert found.high.tolist() == [one[-1] for one in chords]
        assert found.span.tolist() == [one[-1] - one[0] for one in chords]
        assert found.over.tolist() == np.concatenate([one - one[0] for one in chords]).tolist()
        assert found.size.tolist() == [len(one) for one in chords]
        for of, mask in ((chords, found.classes()), ([c - c[0] for c in chords], found.masks)):
            assert mask.tolist() == [sum(1 << n for n in set((one % 12).tolist())) for one in of]
        assert found.codes(40).tolist() == [
            sum(1 << n for n in (one - one[0]).tolist() if n < 40) for one in chords
        ]
        large = [one for one in chords if len(one) > 2]
        assert found.larger(2).low.tolist() == [one[0] for one in large]
        assert found.larger(2).over.tolist() == [n - one[0] for one in large for n in one]


def test_tables_of_masks_against_their_definitions():
    for mask in range(4096):
        members = [n for n in range(12) if mask >> n & 1]
        assert np.flatnonzero(sets.members()[mask]).tolist() == members
        assert sets.sizes()[mask] == len(members)
        apart = [min((a - b) % 12, (b - a) % 12) for a in members for b in members if a < b]
        assert sets.interval_classes()[mask].tolist() == [apart.count(n) for n in range(1, 7)]
        turns = [sum(1 << (n + by) % 12 for n in members) for by in range(12)]
        assert sets.set_classes()[mask] == min(turns)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 12, 15, 16, 17, 500])
def test_windows_against_a_plain_loop(count):
    values = np.random.default_rng(count).integers(0, 12, count)
    begins = range(0, count - 7, 4) if count > 8 else [0]
    cut = [values[begin : begin + 8] for begin in begins]
    counts = [np.bincount(one, minlength=12).tolist() for one in cut]
    assert statistics.windows(values, 8).tolist() == counts
    different = np.mean([len(set(one.tolist())) / len(one) for one in cut])
    assert statistics.variety(values, 8) == pytest.approx(different)


@given(st.lists(st.integers(0, 127), min_size=1, max_size=300), st.sampled_from([np.int32, float]))
def test_summaries_are_numpy_s_own_to_the_bit(numbers, kind):
    values, at = np.array(numbers, dtype=kind) / 7, np.array([0, 0.02, 0.25, 0.5, 0.75, 0.98, 1])
    for some in (values, np.array(numbers, dtype=kind)):
        mean, spread = statistics.mean_spread(some)
        assert (mean, spread) == (some.mean(), some.std())
        assert statistics.quantiles(some, at).tolist() == np.quantile(some, at).tolist()
    table = np.stack([values, values[::-1]], 1)
    mean, spread = statistics.mean_spread(table)
    assert mean.tolist() == table.mean(0).tolist()
    assert spread.tolist() == table.std(0).tolist()


def test_names_are_unique_and_groups_add_up():
    every = features.names(features.GROUPS)
    assert len(set(every)) == len(every)
    assert every == sum((features.names((group,)) for group in features.GROUPS), ())
    with pytest.raises(UserError, match="no group 'tempo'; choose from harmony"):
        features.names(("harmony", "tempo"))


@pytest.mark.parametrize("preset", ["duration", "performance"])
def test_tokens_and_scores_give_the_same(practice_music, preset):
    representation = Representation(RepresentationSettings(preset=preset))
    score = representation.prepare(next(practice_music.rglob("*.mid"))).score
    from_score = features.of_score(score, representation)
    from_tokens = features.of_tokens(representation.encode(score), representation)
    np.testing.assert_allclose(from_score, from_tokens, atol=1e-6)


def test_rhythm_on_beat_is_heard_in_its_own_tempo():
    """The same beats at half the speed are other rhythm; at 60 the beat is the clock's second."""
    values = {}
    for bpm in (60, 120):
        notes = Notes(480 * np.arange(16), 480 * np.arange(16) + 330, 60 + np.arange(16) % 5,
                      np.full(16, 80))  # fmt: skip
        score = midi.score_of(notes, 480, bpm)
        for base in ("clock", "beat"):
            written = Representation(RepresentationSettings(time_base=base))
            values[bpm, base] = features.of_tokens(written.encode(score), written, ("rhythm",))
    density = features.names(("rhythm",)).index("density")
    for bpm, other in ((60, 120), (120, 60)):
        beat, clock, wrong = values[bpm, "beat"], values[bpm, "clock"], values[other, "beat"]
        assert beat[density] == pytest.approx(clock[density], rel=0.04)  # tempos are rounded
        assert np.abs(beat - clock).sum() < np.abs(wrong - clock).sum() / 2


def test_drums_do_not_count():
    notes = notes_of(TWO_FIVE_ONE)
    drums = notes.pitch == 69
    channels = np.where(drums, 10, 1)
    with_drums = features.of_events(Events(notes, channels=channels), Representation())
    without = features.of_events(Events(notes.take(~drums)), Representation())
    np.testing.assert_array_equal(with_drums, without)


# --- trees ---------------------------------------------------------------------------------------


def sample(count=400, seed=0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 6)).astype(np.float32)
    rows[:, 3] = rows[:, 3].round(1)  # ties with thresholds
    return rows, rows[:, 0] * rows[:, 1] + rows[:, 3] > 0


@pytest.fixture(scope="module")
def grown():
    rows, labels = sample()
    models = [
        HistGradientBoostingClassifier(
            max_iter=30, max_leaf_nodes=15, max_features=0.5, random_state=seed
        ).fit(rows, labels)
        for seed in range(2)
    ]
    return models, forest_of(models)


def test_trees_agree_with_scikit_learn(grown):
    models, forest = grown
    rows = np.concatenate([sample(3000, seed=1)[0], sample()[0]])
    expected = np.mean([model.decision_function(rows) for model in models], axis=0)
    np.testing.assert_allclose(forest.logits(rows), expected, atol=1e-9)
    single = forest_of(models[:1])
    # A value that lies on a threshold must go left, as it does there.
    on = np.repeat(rows[:1], len(single.threshold), axis=0)
    on[np.arange(len(on)), single.feature] = single.threshold
    np.testing.assert_allclose(single.logits(on), models[0].decision_function(on), atol=1e-9)
    assert forest.logits(rows[:0]).shape == (0,)


def test_trees_come_back_as_they_were(grown, tmp_path):
    forest = grown[1]
    forest.save(tmp_path / "trees.npz")
    again = Forest.load(tmp_path / "trees.npz", 6)
    rows = sample(50, seed=2)[0]
    np.testing.assert_array_equal(again.logits(rows), forest.logits(rows))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"left": lambda a: a * 0}, "neither leaf"),  # would go round in circles
        (
            {"right": lambda a: np.where(a > np.arange(len(a)), 9_999, a).astype(np.int32)},
            "out of range",
        ),
        ({"root": lambda a: a - 10}, "out of range"),
        ({"feature": lambda a: a + 6}, "more than 6 features"),
        ({"value": lambda a: a * np.nan}, "infinities or NaN"),
        ({"threshold": lambda a: a[:-1]}, "nodes, feature"),
        ({"value": lambda a: a.astype(np.float32)}, "value is float32"),
        ({"root": lambda a: a[:0]}, "no trees"),
    ],
)
def test_damaged_trees_are_refused(grown, tmp_path, change, says):
    arrays = {name: getattr(grown[1], name) for name in Forest.__dataclass_fields__}
    for name, edit in change.items():
        arrays[name] = edit(arrays[name])
    np.savez(tmp_path / "trees.npz", **arrays)
    with pytest.raises(UserError, match=says):
        Forest.load(tmp_path / "trees.npz", 6)


def test_trees_with_a_damaged_byte_are_refused(grown, tmp_path):
    path = tmp_path / "trees.npz"
    grown[1].save(path)
    whole = path.read_bytes()
    for place in range(30, len(whole), len(whole) // 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(UserError):  # the byte may be one that nothing is read from
            Forest.load(path, 6)


def test_a_pickle_is_not_opened(tmp_path):
    np.savez(tmp_path / "trees.npz", feature=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="not a judge's trees"):
        Forest.load(tmp_path / "trees.npz", 6)


# --- the judge -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(practice_corpus):
    """Features of the practice corpus, its labels and sources."""
    rows = features.of_pieces(
        [practice_corpus.piece(n) for n in range(len(practice_corpus.rows))],
        practice_corpus.representation,
    )
    labels = np.array([row["label"] == "jazz" for row in practice_corpus.rows])
    return rows, labels, np.array([row["source"] for row in practice_corpus.rows])


@pytest.fixture(scope="module")
def judge(table):
    return FeatureJudge.fit(*table, settings=JudgeSettings(trees=10, bags=2))


def test_a_judge_comes_back_as_it_was(judge, table, tmp_path, practice_music):
    judge.scale, judge.bias = 0.7, -0.2
    judge.save(tmp_path)
    again = FeatureJudge.load(tmp_path)
    np.testing.assert_array_equal(again.probability(table[0]), judge.probability(table[0]))
    path = next(practice_music.rglob("*.mid"))
    verdict = again.score(path)
    assert verdict == judge.score(path)
    assert verdict.verdict == ("jazz" if verdict.p_jazz >= 0.5 else "not_jazz")
    row = judge.measure([judge.representation.encode(judge.representation.prepare(path).score)])
    assert verdict.p_jazz == pytest.approx(judge.probability(row)[0])


def test_a_judge_is_a_function_of_its_seed(table):
    settings = JudgeSettings(trees=5)
    first, again, other = (
        FeatureJudge.fit(*table, seed=seed, settings=settings).logits(table[0])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_bad_music_gets_its_reason(judge, tmp_path):
    (tmp_path / "bad.mid").write_bytes(b"MThd no")
    bad, short = judge.score_many([tmp_path / "bad.mid", _scale(4)])
    assert (bad.p_jazz, bad.verdict) == (None, "unsure")
    assert "not readable" in bad.error
    assert short.error == "too short: 4 notes, at least 16 needed"


def _scale(count: int):
    representation = Representation()
    notes = notes_of([(60 + n,) for n in range(count)])
    return representation.decode(representation.encode_events(Events(notes)))


def test_cards_that_do_not_fit_are_refused(judge, tmp_path):
    judge.save(tmp_path)
    card = tmp_path / "judge.json"
    good = json.loads(card.read_text())

    def refused(says, **changes):
        card.write_text(json.dumps(good | changes))
        with pytest.raises(UserError, match=says):
            FeatureJudge.load(tmp_path)

    refused("format 99", format=99)
    refused("no tempo; fit the judge again", features=[*good["features"][1:], "tempo"])
    refused("scale", scale=-1.0)
    refused("not the trees", trees_digest="0" * 64)
    refused("no group 'x'", settings=good["settings"] | {"groups": ["x"]})
    card.write_text("{")
    with pytest.raises(UserError, match="not a judge's settings"):
        FeatureJudge.load(tmp_path)
    with pytest.raises(UserError, match="no judge; its folder holds"):
        FeatureJudge.load(tmp_path / "elsewhere")


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_trees_cut_short_are_refused(judge, tmp_path, keep):
    judge.save(tmp_path)
    path = tmp_path / "trees.npz"
    path.write_bytes(path.read_bytes()[:keep])
    card = json.loads((tmp_path / "judge.json").read_text())
    (tmp_path / "judge.json").write_text(json.dumps(card | {"trees_digest": file_digest(path)}))
    with pytest.raises(UserError, match=r"trees\.npz"):
        FeatureJudge.load(tmp_path)


def test_what_a_judge_cannot_be_fitted_on_is_refused(table):
    rows, labels, sources = table
    with pytest.raises(UserError, match="both labels"):
        FeatureJudge.fit(rows, labels | True, sources)
    with pytest.raises(UserError, match="finite ones needed"):
        FeatureJudge.fit(rows[:, :-1], labels, sources)


def test_judging_needs_no_scikit_learn(judge, tmp_path, practice_music):
    judge.save(tmp_path)
    code = f"""
import sys
from contextlib import suppress
sys.modules["sklearn"] = None
from discriminator.feature_judge import FeatureJudge
judge = FeatureJudge.load({str(tmp_path)!r})
print(judge.score({str(next(practice_music.rglob("*.mid")))!r}).p_jazz)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 1


def test_weights_are_even_between_labels_and_lean_to_small_sources():
    labels = np.array([True] * 5 + [False] * 16)
    sources = np.array(["a"] * 4 + ["b"] + ["c"] * 16)
    found = weights(labels, sources)
    assert found[labels].sum() == pytest.approx(found[~labels].sum())
    assert found.mean() == pytest.approx(1)
    assert found[4] == pytest.approx(2 * found[0])


def test_passages_are_cut_from_the_piece():
    ids = np.arange(3, 503)
    cut = passages(ids, 128, 5, [0, 7])
    assert [len(one) for one in cut] == [128] * 5
    assert all((np.diff(one) == 1).all() for one in cut)
    np.testing.assert_array_equal(cut, passages(ids, 128, 5, [0, 7]))
    assert [len(one) for one in passages(ids[:50], 128, 5, [0])] == [50]


def test_real_jazz_is_told_from_the_rest_by_harmony_alone(mini):
    with (mini / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    representation = Representation()
    rows = np.stack(
        [
            features.of_score(representation.prepare(mini / one["path"]).score, representation)
            for one in found
        ]
    )
    labels = np.array([one["label"] == "jazz" for one in found])
    sources = np.array([one["source"] for one in found])
    fold = np.arange(len(found)) % 4
    scores = np.zeros(len(found))
    for part in range(4):
        train = fold != part
        judge = FeatureJudge.fit(
            rows[train], labels[train], sources[train], settings=JudgeSettings(trees=40)
        )
        scores[~train] = judge.logits(rows[~train])
    assert auc(scores, labels) > 0.9
