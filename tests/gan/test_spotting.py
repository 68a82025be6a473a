"""Spotting replaced pitches: what is replaced, where it is asked, and that it is learnt."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import PAD, TokenType
from discriminator.body import SequenceDiscriminator
from gan.engine import engine
from gan.pretrain import Learner, fresh_model, windows_of
from gan.settings import PretrainSettings
from gan.spotting import FARTHEST, REPLACED, ReplacedPitches, spot_replaced, spotted


def settings(**changes: Any) -> PretrainSettings:
    tiny = {
        "model": {"kind": "cnn", "width": 32, "blocks": 2, "stride": 1, "dropout": 0.0},
        "device": "cpu", "precision": "fp32", "batch": 8, "window": 256, "shortest": 128,
        "learning_rate": 0.01, "warmup": 5, "spotting_steps": 30,
    }  # fmt: skip
    return PretrainSettings.model_validate(tiny | changes)


def learner_of(corpus: Corpus, chosen: PretrainSettings) -> tuple[Learner, Any]:
    draw = windows_of(corpus, corpus.select("train"), chosen)
    model = fresh_model(corpus, draw, chosen)
    return Learner(model, chosen, engine("cpu", "fp32")), draw


def test_only_pitches_are_replaced_and_the_flags_say_which(practice_corpus: Corpus) -> None:
    _, draw = learner_of(practice_corpus, settings())
    crops = ReplacedPitches(draw, practice_corpus.select("train"))
    ids = practice_corpus.piece(0)[:4000].astype(np.int64)
    other, replaced = crops.replace(ids, np.random.default_rng(0))
    kinds = practice_corpus.representation.token_types
    values = practice_corpus.representation.token_values
    np.testing.assert_array_equal(other != ids, replaced)
    assert (kinds[ids[replaced]] == TokenType.PITCH).all()
    moved = np.abs(values[other[replaced]] - values[ids[replaced]])
    assert moved.min() == 1
    assert moved.max() == FARTHEST
    share = replaced.sum() / (kinds[ids] == TokenType.PITCH).sum()
    assert share == pytest.approx(REPLACED, abs=0.04)


def test_crops_are_a_function_of_the_step(practice_corpus: Corpus) -> None:
    _, draw = learner_of(practice_corpus, settings())
    crops = ReplacedPitches(draw, practice_corpus.select("train"))
    for one, other in zip(crops(3), crops(3), strict=True):
        assert torch.equal(one, other)
    assert crops(3)[0].shape != crops(4)[0].shape or not torch.equal(crops(3)[0], crops(4)[0])


@pytest.mark.parametrize("view", ["tokens", "harmony"])
@pytest.mark.parametrize("stride", [1, 3])
def test_every_position_is_asked_of_its_own_tokens(
    practice_corpus: Corpus, view: str, stride: int
) -> None:
    chosen = settings(model={"kind": "cnn", "width": 8, "blocks": 1, "view": view,
                             "stride": stride})  # fmt: skip
    learner, draw = learner_of(practice_corpus, chosen)
    assert isinstance(learner.model, SequenceDiscriminator)
    ids, replaced = ReplacedPitches(draw, practice_corpus.select("train"))(0)
    _, wrong, real = spotted(learner.model, nn.Linear(8, 1), ids, replaced)
    kinds = torch.from_numpy(practice_corpus.representation.token_types)
    for row, flags, found, there in zip(ids, replaced, wrong, real, strict=True):
        kept = row != PAD
        if view == "harmony":
            kept &= kinds[row] == TokenType.PITCH
        mine = flags[kept]
        expected = [bool(part.any()) for part in mine.split(stride)]
        assert found[: len(expected)].tolist() == expected
        assert int(there.sum()) == len(expected)


@pytest.mark.parametrize("view", ["tokens", "harmony"])
def test_it_learns_to_spot_them_and_the_average_starts_there(
    practice_corpus: Corpus, view: str
) -> None:
    model = {"kind": "cnn", "width": 32, "blocks": 2, "stride": 1, "view": view, "dropout": 0.0}
    chosen = settings(model=model, spotting_steps=110)
    learner, draw = learner_of(practice_corpus, chosen)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    accuracy = spot_replaced(learner, draw, practice_corpus.select("train"))
    assert accuracy > 0.6
    after = learner.model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in after)
    for name, value in learner.averaged.state_dict().items():
        assert torch.equal(value, after[name])


def test_statistics_have_nothing_to_spot(practice_corpus: Corpus) -> None:
    with pytest.raises(ValidationError, match="statistics have no order"):
        settings(model={"kind": "statistics", "width": 8})
    learner, draw = learner_of(
        practice_corpus, settings(model={"kind": "statistics", "width": 8}, spotting_steps=0)
    )
    with pytest.raises(UserError, match="statistics have no order"):
        spot_replaced(learner, draw, practice_corpus.select("train"))
