"""Boosted trees as one more voice of an ensemble: by the formula, saved, asked by readers."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import symusic
import torch

from data_tools.errors import UserError
from data_tools.midi import write
from data_tools.representation import Representation, RepresentationSettings
from discriminator.classifier import MUSIC, TREES, Classifier, Verdict
from discriminator.ensemble import Ensemble, both, gated, joined
from discriminator.feature_judge import FeatureJudge, JudgeSettings
from discriminator.models import build
from discriminator.notes import TokenTable
from discriminator.onnx_export import Calibrated
from discriminator.reading import read_many
from discriminator.scores import classifier_digest
from discriminator.settings import ClassifierSettings, StatisticsSettings

REPRESENTATION = Representation()
STATISTICS = StatisticsSettings(width=8)
FEWEST = 20  # notes of which the trees have an opinion


def chords(notes: int, seed: int, thirds: bool) -> symusic.Score:
    """Pairs of notes a third apart, or a second."""
    rng = np.random.default_rng(seed)
    score, track = symusic.Score(480), symusic.Track("Piano", 0, False)
    for place in range(notes // 2):
        low = int(rng.integers(40, 70))
        for pitch in (low, low + (4 if thirds else 2)):
            track.notes.append(symusic.Note(240 * place, 200, pitch, 80))
    score.tracks.append(track)
    return score


def tokens(notes: int, seed: int, thirds: bool) -> np.ndarray:
    return REPRESENTATION.encode(REPRESENTATION.prepare(chords(notes, seed, thirds)).score)


@pytest.fixture(scope="module")
def trees() -> FeatureJudge:
    labels = np.arange(40) % 2 == 0
    pieces = [tokens(60, seed, bool(label)) for seed, label in enumerate(labels)]
    settings = JudgeSettings(trees=5, minimum=FEWEST)
    empty = FeatureJudge.fit(
        np.stack([features_of(piece) for piece in pieces]), labels, ["here"] * 40, 0, settings
    )
    return empty.rescaled(1.5, 0.25)


def told(verdicts: Iterable[Verdict]) -> list[tuple[str, float | None, str]]:
    """Without the last digits, in which batches of other sizes differ."""
    return [(v.path, v.p_jazz and round(v.p_jazz, 5), v.error) for v in verdicts]


def features_of(ids: np.ndarray) -> np.ndarray:
    from discriminator import features

    return features.of_tokens(ids, REPRESENTATION)


def member(seed: int, **calibration: float) -> Classifier:
    torch.manual_seed(seed)
    settings = ClassifierSettings(model=STATISTICS, window=64, minimum=24, **calibration)
    return Classifier(build(STATISTICS, TokenTable.of(REPRESENTATION)), REPRESENTATION, settings)


def whole(trees: FeatureJudge | None, gate: bool = True) -> Classifier:
    plain = joined([member(0), member(1, scale=0.5, bias=0.1)])
    settings = plain.settings.model_copy(update={"scale": 0.7, "bias": -0.3})
    result = Classifier(plain.model, REPRESENTATION, settings, trees=trees)
    return gated(result, member(2, bias=0.5), 7.0) if gate else result


def ensemble(classifier: Classifier) -> Ensemble:
    assert isinstance(classifier.model, Ensemble)
    return classifier.model


def test_an_opinion_is_the_calibrated_logit_of_whole_pieces(trees: FeatureJudge) -> None:
    for thirds in (True, False):
        ids = tokens(60, 99, thirds)
        expected = 1.5 * trees.logits(features_of(ids)[None])[0] + 0.25
        assert trees.opinion(ids) == pytest.approx(expected)
        assert (trees.opinion(ids) > 0.25) == thirds
    assert math.isnan(trees.opinion(tokens(FEWEST - 2, 0, True)))
    assert not math.isnan(trees.opinion(tokens(FEWEST, 0, True)))


def test_drums_are_no_notes_to_have_an_opinion_of(trees: FeatureJudge) -> None:
    whole_band = Representation(RepresentationSettings(preset="raw"))
    judge = FeatureJudge(trees.forest, trees.settings, whole_band)
    for piano, told in ((FEWEST - 2, False), (FEWEST, True)):
        score, drums = chords(piano, 0, True), symusic.Track("Drums", 0, True)
        for place in range(2 * FEWEST):
            drums.notes.append(symusic.Note(240 * place, 200, 36, 80))
        score.tracks.append(drums)
        ids = whole_band.encode(whole_band.prepare(score.dumps_midi()).score)
        assert math.isnan(judge.opinion(ids)) == (not told)
        assert (judge.score(score.dumps_midi()).p_jazz is None) == (not told)


def test_it_counts_as_one_members_and_the_gate_comes_after() -> None:
    model = ensemble(whole(None))
    x = torch.randint(3, REPRESENTATION.music_size, (3, 64))
    with torch.inference_mode():
        each, music = model.member_logits(x), model.music_logits(x)
        said = torch.tensor([2.0, -1.0, math.nan])
        mean = (each.sum(0) + said) / 3
        mean[2] = each[:, 2].mean()
        torch.testing.assert_close(model(x, opinion=said), both(mean, music))
        silent = torch.full((3,), math.nan)
        torch.testing.assert_close(model(x, opinion=silent), model(x))


@pytest.mark.parametrize("gate", [True, False])
def test_a_piece_is_scored_by_networks_and_trees(trees: FeatureJudge, gate: bool) -> None:
    classifier, ids = whole(trees, gate), tokens(200, 5, True)
    model, voice = ensemble(classifier), classifier.trees
    assert voice is not None
    windows = torch.from_numpy(np.stack(classifier.windows(ids)).astype(np.int64))
    assert len(windows) > 2
    with torch.inference_mode():
        mean = (model.member_logits(windows).sum(0) + voice.opinion(ids)) / 3
        logit = (both(mean, model.music_logits(windows)) if gate else mean).mean().item()
    assert classifier.logits([ids])[0] == pytest.approx(logit, abs=1e-5)
    verdict = classifier.score_tokens(ids)
    assert verdict.p_jazz == pytest.approx(classifier.probability(logit), abs=1e-5)
    assert verdict.p_jazz != whole(None, gate).score_tokens(ids).p_jazz


def test_a_calibration_moves_the_trees_with_the_members(trees: FeatureJudge) -> None:
    """The map of the mean is the mean of the maps: with a gate that lets all pass, they agree."""
    before, after = whole(trees, gate=False), whole(trees)
    ensemble(after).gate_calibration.copy_(torch.tensor([0.0, 50.0]))
    ids = tokens(200, 5, False)
    one, other = before.score_tokens(ids).p_jazz, after.score_tokens(ids).p_jazz
    assert one is not None
    assert one == pytest.approx(other, abs=1e-5)


def test_of_few_notes_the_networks_alone_decide(trees: FeatureJudge) -> None:
    ids = tokens(FEWEST - 2, 3, True)
    assert whole(trees).score_tokens(ids) == whole(None).score_tokens(ids)
    assert whole(trees).score_tokens(ids).p_jazz is not None


def test_it_is_saved_and_loaded(trees: FeatureJudge, tmp_path: Path) -> None:
    before = whole(trees)
    before.save(tmp_path)
    after = Classifier.load(tmp_path)
    ids = tokens(200, 5, True)
    assert after.score_tokens(ids) == before.score_tokens(ids)
    assert classifier_digest(after) == classifier_digest(before)
    alone = after.without_trees()
    assert alone.trees is None
    assert alone.score_tokens(ids) == whole(None).score_tokens(ids)
    assert classifier_digest(alone) != classifier_digest(after)
    alone.save(tmp_path / "alone")
    assert "trees" not in json.loads((tmp_path / "alone" / "classifier.json").read_text())


def test_what_is_saved_over_trees_leaves_none(trees: FeatureJudge, tmp_path: Path) -> None:
    for own in ("", "letter.txt"):
        whole(trees).save(tmp_path)
        if own:
            (tmp_path / "trees" / own).write_text("dear all")
        whole(None).save(tmp_path)
        assert [path.name for path in tmp_path.glob("trees/*")] == ([own] if own else [])
        assert (tmp_path / "trees").exists() == bool(own)
        assert Classifier.load(tmp_path).trees is None
    trees.save(tmp_path / "trees")  # which no classifier has named: somebody's own
    whole(None).save(tmp_path)
    assert FeatureJudge.load(tmp_path / "trees").digest == trees.digest


def test_without_trees_it_tells_the_same_apart(tmp_path: Path) -> None:
    one = member(0)
    gate = Classifier(one.model, REPRESENTATION, one.settings, labels=MUSIC)
    gate.without_trees().save(tmp_path)
    assert Classifier.load(tmp_path, labels=MUSIC).labels == MUSIC


def test_conditions_that_trees_know_nothing_of_are_no_other_grid(
    trees: FeatureJudge, tmp_path: Path
) -> None:
    told, plain = Representation(conditions=("label:jazz",)), whole(None)
    before = Classifier(plain.model, told, plain.settings, trees=trees)
    before.save(tmp_path)
    ids = tokens(200, 5, True)
    assert Classifier.load(tmp_path).score_tokens(ids) == before.score_tokens(ids)


def test_damage_is_refused_in_one_line(trees: FeatureJudge, tmp_path: Path) -> None:
    whole(trees).save(tmp_path)
    card = tmp_path / TREES / "judge.json"
    content = card.read_text()
    card.write_text(content.replace('"bias"', '"bias" '))
    with pytest.raises(UserError, match="not the trees that classifier"):
        Classifier.load(tmp_path)
    card.unlink()
    with pytest.raises(UserError, match="no judge"):
        Classifier.load(tmp_path)


def test_only_an_ensemble_of_the_same_grid_has_trees(trees: FeatureJudge) -> None:
    one = member(0)
    with pytest.raises(ValueError, match="this model is none"):
        Classifier(one.model, REPRESENTATION, one.settings, trees=trees)
    other = Representation(RepresentationSettings(time_base="beat"))
    strange = FeatureJudge(trees.forest, trees.settings, other)
    with pytest.raises(ValueError, match="another grid"):
        Classifier(whole(None).model, REPRESENTATION, whole(None).settings, trees=strange)


def test_readers_ask_the_trees_and_nothing_changes(trees: FeatureJudge, tmp_path: Path) -> None:
    classifier = whole(trees)
    paths = [tmp_path / f"{place}.mid" for place in range(5)]
    for place, path in enumerate(paths):
        write(chords(40 * place + 10, place, place % 2 == 0), path)
    paths[3].write_bytes(b"no music")
    here = [classifier.score(path) for path in paths]
    assert told(classifier.score_many(paths, workers=1)) == told(here)
    readings = list(read_many(paths, REPRESENTATION, 1, classifier.opinion))
    assert [reading.opinion is None for reading in readings] == [False, False, False, True, False]
    # Nothing reads a piece twice: what a reader found is taken as it is.
    other = [type(one)(one.path, one.ids, one.error, 9.0) for one in readings]
    assert told(classifier.verdicts(other))[4] != told(here)[4]
    plain = read_many(paths, REPRESENTATION, 0)
    assert told(classifier.verdicts(plain)) == told(here)
    # Pieces may be read once for several classifiers, and the networks stay alone.
    alone = classifier.without_trees()
    assert told(alone.verdicts(readings)) == told(alone.score_many(paths))


def test_the_curve_and_the_notes_are_of_the_same_verdict(trees: FeatureJudge) -> None:
    classifier = whole(trees)
    ids = tokens(16 + FEWEST, 4, True)[:64]
    told = classifier.score_tokens(ids)
    from discriminator.attribution import explain_tokens

    found = explain_tokens(classifier, ids, variants=80)
    assert found.p_jazz == told.p_jazz
    (moment,) = found.curve
    assert moment.p_jazz == pytest.approx(told.p_jazz, abs=1e-5)
    sloped = explain_tokens(classifier, ids, method="gradient")
    assert all(note.contribution is not None for note in sloped.notes)


def test_the_model_alone_does_without(trees: FeatureJudge) -> None:
    """What a generator is trained against, and what ONNX holds."""
    x = torch.randint(3, REPRESENTATION.music_size, (2, 64))
    with torch.inference_mode():
        logit, _ = Calibrated(whole(trees).model, 1.0, 0.0)(x)
        assert not torch.equal(logit, whole(trees, gate=False).model(x))
        rescaled = ensemble(whole(trees)).member_logits(x)
        torch.testing.assert_close(rescaled, ensemble(whole(None)).member_logits(x))
