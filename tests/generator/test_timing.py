"""A steadier beat: probability moves between moments that lie close together, and no further."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from data_tools.errors import UserError
from data_tools.representation import Representation, RepresentationSettings, TokenType
from generator.compose import Composer
from generator.grammar import Grammar
from generator.sampling import Choice, sample, seeded
from generator.timing import REACH, Shifts

from .conftest import build

DURATION = Representation()
SHIFTS = Shifts.of(DURATION)
assert SHIFTS is not None
IDS = SHIFTS.ids.numpy()
LENGTHS = DURATION.token_values[IDS]


def scores_of(seed: int, rows: int = 3, spread: float = 2.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(spread * rng.normal(size=(rows, DURATION.vocab_size)), dtype=torch.float32)


def steadied(p: np.ndarray, power: float) -> np.ndarray:
    """The same of probabilities (M,) of shifts, in float64 and one neighbourhood at a time."""
    near = np.array(
        [[np.exp(-((np.log(a / b) / REACH) ** 2) / 2) for b in LENGTHS] for a in LENGTHS]
    )
    near[near < 1e-6] = 0
    result = np.zeros(len(p))
    for middle in range(len(p)):
        weight = near[:, middle] / near.sum(1)
        inside, raised = weight * p, weight * p**power
        result += raised * inside.sum() / raised.sum()
    return result


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 4.0])
def test_it_is_temperature_within_neighbourhoods(power: float) -> None:
    scores = scores_of(1)
    p = scores.double().softmax(1).numpy()
    found = SHIFTS.steadied(scores, power).double().softmax(1).numpy()
    for before, after in zip(p, found, strict=True):
        assert after[IDS] == pytest.approx(steadied(before[IDS], power), rel=1e-4)


@given(seed=st.integers(0, 10**6), power=st.floats(1, 10), spread=st.floats(0.1, 12))
def test_all_shifts_together_and_every_other_token_stay_as_likely(
    seed: int, power: float, spread: float
) -> None:
    scores = scores_of(seed, spread=spread)
    found = SHIFTS.steadied(scores, power)
    others = np.setdiff1d(np.arange(DURATION.vocab_size), IDS)
    assert torch.equal(found[:, others], scores[:, others])
    before, after = (each[:, IDS].logsumexp(1) for each in (scores, found))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_power_one_changes_nothing() -> None:
    scores = scores_of(2)
    torch.testing.assert_close(SHIFTS.steadied(scores, 1.0), scores, rtol=0, atol=1e-4)


def test_probability_goes_to_the_likelier_neighbour_and_not_to_other_lengths() -> None:
    """Moments a fiftieth and two fifths of a second away keep their shares."""
    scores = torch.full((1, DURATION.vocab_size), -torch.inf)
    shares = {1: 0.3, 19: 0.1, 20: 0.5, 21: 0.1}  # in steps of 20 ms
    place = {length: int(IDS[list(LENGTHS).index(length)]) for length in shares}
    for length, share in shares.items():
        scores[0, place[length]] = np.log(share)
    found = SHIFTS.steadied(scores, 3.0).softmax(1)[0]
    assert float(found[place[1]]) == pytest.approx(0.3, abs=1e-4)
    assert float(found[place[20]]) > 0.65
    assert float(found[place[19]]) < 0.03
    assert int((found > 0).sum()) == 4  # what was ruled out stays so


def test_where_no_time_may_pass_nothing_changes() -> None:
    scores = scores_of(3)
    scores[1, IDS] = -torch.inf
    found = SHIFTS.steadied(scores, 2.0)
    assert torch.equal(found[1], scores[1])
    assert not torch.equal(found[0], scores[0])


@pytest.mark.parametrize("preset", ["duration", "performance"])
@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_tokens_are_drawn_as_steadily_as_asked(preset: str, temperature: float) -> None:
    representation = Representation(RepresentationSettings(preset=preset))
    model, grammar = build(representation), Grammar(representation)
    opening = sample(model, grammar, torch.full((1, 1), representation.bos), 90,
                     generators=seeded([1])).ids  # fmt: skip
    kinds = representation.token_types[opening[0].numpy()]
    (after,) = np.flatnonzero(kinds == TokenType.TIME_SHIFT)[:1] + 1  # where more may pass
    prefix, rows = opening[:, :after], 1500
    choice = Choice(temperature=temperature, steady=4.0)
    assert grammar.shifts is not None
    bias = torch.zeros(2, representation.vocab_size)
    bias[:, grammar.shifts.ids] = 3  # so that most draws are of time
    drawn = sample(model, grammar, prefix.expand(rows, -1), 1, generators=seeded(range(rows)),
                   choice=choice, bias=bias).ids[:, -1]  # fmt: skip
    with torch.no_grad():
        allowed = grammar.allowed(grammar.read(prefix))
        scores = (model(prefix)[:, -1] + bias[0]).masked_fill(~allowed, -torch.inf)
    expected = grammar.shifts.steadied(scores / temperature, 4.0)[0].double().softmax(0).numpy()
    plain = (scores / temperature)[0].double().softmax(0).numpy()
    counts = drawn.bincount(minlength=len(expected)).numpy()
    often = rows * np.minimum(expected, plain) >= 5

    def told(values: np.ndarray) -> np.ndarray:
        return np.append(values[often], values[~often].sum())

    likely = told(rows * expected)
    assert chisquare(told(counts), likely * rows / likely.sum()).pvalue > 0.001
    assert chisquare(told(counts), told(rows * plain / plain.sum())).pvalue < 1e-6


def test_bars_and_merged_tokens_have_no_such_shifts() -> None:
    representation = Representation(RepresentationSettings(preset="remi", time_base="beat"))
    assert not (representation.token_types == TokenType.TIME_SHIFT).any()
    assert Grammar(representation).shifts is None
    composer = Composer(build(representation), representation)
    with pytest.raises(UserError, match="steady: it is for tokens that say"):
        composer.compose(1, steady=2.0)


@pytest.mark.parametrize("steady", [0.5, 11.0, float("nan")])
def test_values_out_of_range_are_refused(steady: float) -> None:
    with pytest.raises(UserError, match="steady"):
        dataclasses.replace(Choice(), steady=steady).check()
