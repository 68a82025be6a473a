"""The gate of an ensemble: p(jazz and music), by the formula, saved, and with a gradient."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from data_tools.errors import UserError
from data_tools.representation import Representation
from discriminator.classifier import Classifier
from discriminator.ensemble import Ensemble, both, gated, joined
from discriminator.models import build
from discriminator.notes import TokenTable
from discriminator.settings import ClassifierSettings, EnsembleSettings, StatisticsSettings

REPRESENTATION = Representation()
STATISTICS = StatisticsSettings(width=8)
logits = st.floats(-30, 30)


def classifier(seed: int, scale: float = 1.0, bias: float = 0.0) -> Classifier:
    torch.manual_seed(seed)
    settings = ClassifierSettings(model=STATISTICS, scale=scale, bias=bias)
    return Classifier(build(STATISTICS, TokenTable.of(REPRESENTATION)), REPRESENTATION, settings)


def pieces(count: int = 4, length: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, REPRESENTATION.music_size, (count, length), generator=generator)


@given(logits, logits)
def test_both_is_the_logit_of_the_product(one: float, other: float) -> None:
    found = both(*torch.tensor([[one], [other]], dtype=torch.float64)).item()
    log_p = -np.logaddexp(0, -one) - np.logaddexp(0, -other)
    expected = log_p - math.log(-math.expm1(log_p))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found <= min(one, other) + 1e-9


def test_members_are_shown_as_much_as_any_of_them_wants() -> None:
    members = [classifier(0), classifier(1)]
    members[1].settings = members[1].settings.model_copy(update={"window": 700})
    whole = joined(members).settings
    assert whole.window == 700 > members[0].settings.window
    assert (whole.scale, whole.bias) == (1.0, 0.0), "each member brings its own"


def test_music_passes_and_noise_does_not() -> None:
    jazz = torch.tensor([-4.0, 0.0, 4.0])
    torch.testing.assert_close(both(jazz, torch.full((3,), 20.0)), jazz, rtol=1e-4, atol=1e-4)
    assert (both(jazz, torch.full((3,), -6.0)) < -5.9).all()


def test_a_gate_is_weighed_by_its_calibration_and_the_odds() -> None:
    members, gate = [classifier(0), classifier(1)], classifier(2, scale=1.5, bias=-0.25)
    whole, plain = gated(joined(members), gate, 7.0).model, joined(members).model
    assert isinstance(whole, Ensemble)
    assert isinstance(plain, Ensemble)
    x = pieces()
    with torch.inference_mode():
        music = 1.5 * gate.model(x) - 0.25 + math.log(7)
        torch.testing.assert_close(whole.music_logits(x), music)
        torch.testing.assert_close(whole(x), both(plain(x), music))
        each = plain.member_logits(x)
        torch.testing.assert_close(whole.member_logits(x), each)
        careful = each.mean(0) - 0.5 * (each.var(0, correction=0) + 1e-6).sqrt()
        torch.testing.assert_close(whole(x, caution=0.5), both(careful, music))


@pytest.mark.parametrize("half", [False, True])
def test_it_is_saved_and_loaded(tmp_path: Path, half: bool) -> None:
    whole = gated(joined([classifier(0), classifier(1)]), classifier(2, bias=0.5), 7.0)
    whole.save(tmp_path, half)
    again = Classifier.load(tmp_path)
    assert again.settings == whole.settings
    assert isinstance(again.settings.model, EnsembleSettings)
    assert again.settings.model.gate == STATISTICS
    with torch.inference_mode():
        near = {"rtol": 0.02, "atol": 0.02} if half else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(again.model(pieces()), whole.model(pieces()), **near)


def test_only_an_ensemble_gets_a_gate_and_only_one_model_is_one() -> None:
    whole = joined([classifier(0)])
    with pytest.raises(UserError, match="for an ensemble"):
        gated(classifier(0), classifier(1), 1.0)
    with pytest.raises(UserError, match="one model"):
        gated(whole, whole, 1.0)


def test_the_ensembles_calibration_goes_into_its_members() -> None:
    """Nothing is jazz with more certainty than it is music, whatever calibrated the ensemble."""
    whole = joined([classifier(0, 2.0, 1.0), classifier(1)])
    chosen = {"low": 0.2, "high": 0.6, "most": 4, "window": 700}
    calibrated = {"scale": 0.6, "bias": 0.8}
    whole.settings = whole.settings.model_copy(update=chosen | calibrated)
    x = pieces(8)
    with torch.inference_mode():
        middle = float(classifier(2).model(x).median())
    result = gated(whole, classifier(2, 30.0, -30 * middle), 1.0)
    assert {name: getattr(result.settings, name) for name in chosen} == chosen
    assert isinstance(result.model, Ensemble)
    with torch.inference_mode():
        p_music = torch.sigmoid(result.model.music_logits(x))
        p_plain = torch.sigmoid(0.6 * whole.model(x) + 0.8)
        p = torch.sigmoid(result.settings.scale * result.model(x) + result.settings.bias)
    torch.testing.assert_close(p, p_music * p_plain)
    assert p_music.min() < 0.5 < p_music.max(), "some of these are taken for noise"


def test_an_ensemble_without_a_gate_is_saved_as_before(tmp_path: Path) -> None:
    joined([classifier(0)]).save(tmp_path)
    assert not any("gate" in name for name in Classifier.load(tmp_path).model.state_dict())


def test_rows_have_a_gradient_through_members_and_gate() -> None:
    whole = gated(joined([classifier(0)]), classifier(2), 1.0).model
    rows = F.one_hot(pieces(2), REPRESENTATION.music_size).float().requires_grad_()
    (slope,) = torch.autograd.grad(whole(rows).sum(), rows)
    assert torch.isfinite(slope).all()
    assert slope.abs().sum() > 0
    torch.testing.assert_close(whole(rows), whole(pieces(2)), rtol=1e-4, atol=1e-5)
