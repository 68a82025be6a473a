"""The audit finds the one confound that was planted, and no other, and its splits never leak."""

import dataclasses
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from data_tools import fingerprint, midi
from data_tools.audit import audit, ranking, views
from data_tools.audit.marks import marks
from data_tools.audit.ranking import Pieces, Table
from data_tools.audit.report import FINGERPRINTS, MACHINE
from data_tools.errors import UserError
from data_tools.fingerprint import NAMES
from data_tools.midi import Notes
from data_tools.representation import Representation
from data_tools.settings import NEUTRAL

SOURCES = {"a": True, "b": True, "d": False, "e": False}  # jazz or not
EACH, NOTES = 16, 110


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer trees and halvings: planted music needs few."""
    monkeypatch.setattr(ranking, "TREES", 8)
    monkeypatch.setattr(ranking, "HALVINGS", 1)


@dataclass
class Planted:
    """What an audit reads of a corpus: random music, one confound planted in the jazz."""

    confound: str
    folder: Path = Path("planted")

    def __post_init__(self) -> None:
        self.representation = Representation()
        self.fingerprint_names = NAMES
        self.rows, self.ids, vectors = [], [], []
        for number, (source, _) in enumerate(itertools.product(SOURCES, range(EACH))):
            jazz = SOURCES[source]
            row = {"label": "jazz" if jazz else "not_jazz", "source": source}
            self.rows.append(row | {"group": str(number), "timing": "played"})
            score, notes = self._file(number, jazz)
            self.ids.append(self.representation.encode(score))
            vectors.append(fingerprint.measure(score, notes))
        self.fingerprints = np.stack(vectors)

    def _file(self, seed: int, jazz: bool) -> tuple[midi.ScoreTick, Notes]:
        plant = self.confound if jazz else ""
        generator = np.random.default_rng(seed)
        ticks = 220 if plant == "ticks" else int(generator.choice([384, 480, 960]))
        bpm = 120.0 if plant == "tempo" else float(generator.choice([90, 101, 117, 133]))
        seconds = np.cumsum(generator.gamma(2.0, 0.15, NOTES))
        if plant == "grid":
            seconds = np.rint(seconds / 0.032) * 0.032
        start = np.rint(seconds * ticks * bpm / 60).astype(np.int64)
        held = np.full(NOTES, ticks // 4)
        if plant == "length":
            held[-1] = 200 * ticks
        velocity = generator.integers(40, 100, NOTES)
        if plant == "velocity":
            velocity = velocity // 10 * 10
        pitch = generator.integers(36, 90, NOTES)
        notes = midi.clean(Notes(start, start + held, pitch, velocity))
        score = midi.score_of(notes, ticks, bpm)
        if plant == "pedal":
            place = (score.tracks[0].pedals, ticks)
            score.tracks[0].pedals = _pedals(*place)
        timed = (midi.seconds_of(score, times) for times in (notes.start, notes.end))
        return score, Notes(*timed, notes.pitch, notes.velocity)

    def piece(self, number: int) -> np.ndarray:
        return self.ids[number]

    def select(self, exclude_sources=()) -> list[int]:
        rows = enumerate(self.rows)
        return [number for number, row in rows if row["source"] not in exclude_sources]

    @cached_property
    def pieces(self) -> Pieces:
        return Pieces(
            np.array([row["label"] == "jazz" for row in self.rows]),
            np.array([row["source"] for row in self.rows]),
            np.arange(len(self.rows)),
        )


def _pedals(_: object, ticks: int):
    down = np.arange(0, 40, 2, dtype=np.int32) * ticks
    return midi.symusic.Pedal.from_numpy(down, np.full(len(down), ticks, dtype=np.int32))


@pytest.mark.parametrize("confound", [*MACHINE, ""])
def test_the_planted_confound_is_found_and_no_other(confound: str) -> None:
    report = audit(Planted(confound), wanted=("files",))  # type: ignore[arg-type]
    found = {one.group: one for one in report.findings}
    for group in MACHINE:
        if group not in found:  # every file has the same, which tells nothing
            assert group != confound
        elif group == confound:
            assert found[group].in_source.auc > 0.95
            assert found[group].left_out.auc > 0.95
            assert found[group].unseen.auc > 0.95
        else:
            assert 0.25 < found[group].in_source.auc < 0.75
            assert 0.25 < found[group].unseen.auc < 0.75
    assert (found[FINGERPRINTS].left_out.auc > 0.9) == bool(confound)
    assert report.harmless == (not confound)
    told = {mark.group for one in report.sources if one.label == "jazz" for mark in one.marks}
    assert told & set(MACHINE) == ({confound} - {""})
    if confound:
        assert confound in report.verdict


def test_a_grid_is_in_the_tokens_and_neutralising_removes_it() -> None:
    corpus = Planted("grid")
    report = audit(corpus, wanted=("tokens", "neutralised"))  # type: ignore[arg-type]
    assert report.find("files") is None
    assert report.find("tokens", "ticks") is None
    before, after = report.find("tokens", "grid"), report.find("neutralised", "grid")
    assert before is not None
    assert after is not None
    assert before.in_source.auc > 0.9
    assert after.in_source.auc < 0.7


def test_the_words_name_a_transcribers_grid() -> None:
    corpus = Planted("grid")
    inside = corpus.pieces.jazz
    words = [str(mark) for mark in marks(corpus.fingerprints, inside)]
    assert words == ["every onset on a 32 ms grid (100.0% of files; others 0.0%)"]


def test_the_same_seed_gives_the_same_report_and_another_seed_another() -> None:
    corpus = Planted("velocity")
    first, again, other = (
        audit(corpus, seed=seed, wanted=("files",)).facts()  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["findings"] != other["findings"]


def test_windows_do_not_depend_on_which_pieces_are_asked_for() -> None:
    corpus = Planted("")
    together = views.of_windows(corpus, [3, 8, 40], NEUTRAL, 5, 2)  # type: ignore[arg-type]
    alone = views.of_windows(corpus, [8], NEUTRAL, 5, 2)  # type: ignore[arg-type]
    assert together.piece.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(together.values[2:4], alone.values)


def _crowd(seed: int, count: int = 120) -> tuple[Table, Pieces]:
    generator = np.random.default_rng(seed)
    jazz = generator.random(count) < 0.5
    source = generator.choice(list("pqrs"), count)
    group = generator.integers(0, 30, count)
    values = generator.normal(size=(2 * count, 3)).astype(np.float32)
    return Table(values, np.repeat(np.arange(count), 2)), Pieces(jazz, source, group)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_no_group_is_on_both_sides_of_a_split(seed: int) -> None:
    table, pieces = _crowd(seed)
    folds = ranking.folds_of(pieces, seed)
    for group in np.unique(pieces.group):
        assert len(np.unique(folds[pieces.group == group])) == 1
    assert set(folds) == set(range(ranking.FOLDS))
    splits = []

    def record(table, pieces, train, test, seed):
        splits.append((train.copy(), test.copy()))
        return np.zeros(int(test.sum()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_scores", record)
        ranking.cross_validated(table, pieces, folds, seed)
        ranking.left_out(table, pieces, folds, 5, seed)
        ranking.unseen(table, pieces, 5, seed)
    assert len(splits) > ranking.FOLDS
    for train, test in splits:
        assert test.any()
        assert not set(pieces.group[train]) & set(pieces.group[test])
    for train, test in splits[-2 * ranking.HALVINGS :]:
        assert not set(pieces.source[train]) & set(pieces.source[test])


@pytest.mark.parametrize("kinds", ["one", "one a label"])
def test_where_no_source_can_be_left_out_nothing_is_said_of_new_ones(kinds: str) -> None:
    table, pieces = _crowd(1)
    source = np.full(len(pieces), "p") if kinds == "one" else np.where(pieces.jazz, "p", "q")
    pieces = Pieces(pieces.jazz, source, pieces.group)
    found = ranking.unseen(table, pieces, 5, 1)
    assert ranking.mean_over_sources(found, 1) is None


def test_a_corpus_of_one_source_is_audited() -> None:
    corpus = Planted("ticks")
    for row in corpus.rows:
        row["source"] = "mine"
    report = audit(corpus, wanted=("files",))  # type: ignore[arg-type]
    found = {one.group: one for one in report.findings}
    assert found["ticks"].in_source.auc > 0.9
    assert all(one.unseen is None and one.left_out is None for one in report.findings)


@given(st.integers(0, 10_000), st.booleans())
def test_the_area_is_scikit_learns(seed: int, tied: bool) -> None:
    generator = np.random.default_rng(seed)
    jazz = np.arange(40) % 3 == 0
    scores = generator.integers(0, 5, 40) * 1.0 if tied else generator.normal(size=40)
    weights = generator.integers(0, 3, (4, 40)) * 1.0
    weights[:, :2] += 1
    expected = [roc_auc_score(jazz, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(ranking.auc(scores, jazz, weights), expected)
    assert ranking.auc(scores, jazz) == pytest.approx(roc_auc_score(jazz, scores))
    assert np.isnan(ranking.auc(scores, np.ones(40, dtype=bool)))


@pytest.mark.parametrize("confound", ["ticks", "tempo", "pedal"])
def test_what_tokens_do_not_hold_needs_no_advice(confound: str) -> None:
    report = audit(Planted(confound), wanted=("files",))  # type: ignore[arg-type]
    advice = {one.advice for one in report.sources if one.label == "jazz"}
    assert advice == {f"{confound}: already not in the tokens"}
    assert f"{confound} tells most" in report.verdict
    assert "which the tokens do not hold" in report.verdict


def test_what_cannot_be_audited_is_said_in_a_line() -> None:
    corpus = Planted("")
    for row in corpus.rows:
        row["label"] = "jazz"
    with pytest.raises(UserError, match="labelled not_jazz"):
        audit(corpus)  # type: ignore[arg-type]
    old = Planted("")
    old.fingerprint_names = ()
    with pytest.raises(UserError, match="build it again"):
        audit(old, wanted=("files",))  # type: ignore[arg-type]


def test_a_report_is_plain_values() -> None:
    corpus = Planted("ticks")
    report = audit(corpus, exclude_sources=("b",), wanted=("files",))  # type: ignore[arg-type]
    facts = report.facts()
    assert {one["source"] for one in facts["sources"]} == {"a", "d", "e"}
    assert [field.name for field in dataclasses.fields(report)] == list(facts)
