"""Rollouts drawn ahead: several steps' at once, each step its own, and as old as they are said."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from gan.adversarial.ahead import Ahead
from gan.adversarial.term import AdversarialTerm
from gan.adversarial.trainer import Trainer
from gan.settings import TrainSettings
from generator.rollouts import Rollouts
from generator.sampling import Rollout

Make = Callable[..., Trainer]
AGREEMENT = "adversarial/replay_agreement"


@pytest.fixture
def make(tiny_trainer: Make) -> Make:
    return lambda **changes: tiny_trainer(**{"adv_weight": 0.3, "adv_batch": 3} | changes)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rollouts each draw had."""
    counts: list[int] = []
    draw = Rollouts.__call__

    def counted(self: Rollouts, prefix: torch.Tensor, *rest: Any) -> Rollout:
        counts.append(len(prefix))
        return draw(self, prefix, *rest)

    monkeypatch.setattr(Rollouts, "__call__", counted)
    return counts


def term_of(trainer: Trainer) -> AdversarialTerm:
    assert trainer.term is not None
    return trainer.term


def rollouts(term: AdversarialTerm, step: int) -> Rollout:
    """Those of a step."""
    return term.ahead(step, term._prompted(step, term.ahead.opens(step))[0])


def same(one: Rollout, two: Rollout) -> bool:
    pairs = [(one.ids, two.ids), (one.noise, two.noise), (one.masks, two.masks)]
    return one.prefix == two.prefix and all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("every", [1, 3])
def test_every_step_has_its_own_rollouts_and_four_are_drawn_together(
    make: Make, drawn: list[int], every: int
) -> None:
    term = term_of(make(adv_ahead=4, adv_every=every, bos_share=0.5, steps=99))
    steps = range(every - 1, 99, every)[:24]
    seen, opened = set(), set()
    for place, step in enumerate(steps):
        first = steps[place // 4 * 4]
        assert term.ahead.opens(step) == term._opens(first)
        one = rollouts(term, step)
        prompt = term.prompts(step, term._opens(first))
        assert torch.equal(one.ids[:, : one.prefix], prompt)
        assert len(one.ids) == len(one.noise) == len(one.masks) == 3
        seen.add(one.ids.numpy().tobytes())
        opened.add(one.prefix)
    assert drawn == [12] * 6
    assert len(seen) == 24
    assert len(opened) == 2, "both openings"


def test_what_is_drawn_alone_is_drawn_as_ever(make: Make, drawn: list[int]) -> None:
    term = term_of(make(adv_ahead=1))
    for step in (0, 1, 7):
        prefix, _ = term._prompted(step, term._opens(step))
        expected = term.rollouts(prefix, term.settings.rollout, term._noise(step))
        assert same(rollouts(term, step), expected)
        assert not term.ahead.state_dict()
    assert drawn == [3] * 6


@pytest.mark.parametrize("estimator", ["replay", "reinforce"])
def test_a_step_learns_from_weights_as_old_as_its_place(make: Make, estimator: str) -> None:
    trainer = make(adv_ahead=3, adv_estimator=estimator, learning_rate=0.05, warmup=0, steps=9)
    found = [trainer.train_step(step)[AGREEMENT] for step in range(6)]
    assert found[0] == found[3] == 1, "by the present weights"
    assert max(found[1:3]) < 1, "weights have moved"
    still = make(adv_ahead=3, adv_estimator=estimator)
    assert [term_of(still)(step, 1.0, 1.0).measured[AGREEMENT] for step in range(3)] == [1, 1, 1]


def test_a_skipped_or_earlier_step_is_no_other_steps(make: Make, drawn: list[int]) -> None:
    term = term_of(make(adv_ahead=2, adv_every=2))
    second = rollouts(term, 3)
    assert same(rollouts(term, 3), second)
    for step in (1, 8, 7, 9):  # before it; not one of the two that follow; and so on
        rollouts(term, step)
    assert len(drawn) == 4, "9 was drawn with 7"


@pytest.mark.parametrize("bos_share", [0.0, 1.0])
def test_what_was_saved_goes_on_as_it_would_have(make: Make, bos_share: float) -> None:
    one, two = (term_of(make(adv_ahead=3, bos_share=bos_share)) for _ in range(2))
    rollouts(one, 4)
    two.ahead.load_state_dict(one.ahead.state_dict())
    with torch.no_grad():
        for weight in two.model.parameters():
            weight.zero_()  # drawn with other weights than these
    assert same(rollouts(one, 6), rollouts(two, 6))
    two.ahead.load_state_dict({})
    assert not same(rollouts(one, 5), rollouts(two, 5))


def test_where_the_noise_would_be_another_it_is_drawn_anew(make: Make, drawn: list[int]) -> None:
    """On another kind of device."""
    one, two = (term_of(make(adv_ahead=3)) for _ in range(2))
    rollouts(one, 4)
    two.ahead._noise = lambda step: torch.Generator().manual_seed(step)
    two.ahead.load_state_dict(one.ahead.state_dict())
    assert not two.ahead.state_dict()
    rollouts(two, 5)
    assert drawn == [9, 9]


def test_no_rollout_of_weights_that_were_taken_back(make: Make, drawn: list[int]) -> None:
    trainer = make(adv_ahead=5)
    rollouts(term_of(trainer), 0)
    trainer._restore(trainer._snapshot())
    rollouts(term_of(trainer), 1)
    assert len(drawn) == 2


@pytest.mark.parametrize("estimator", ["teacher", "unroll"])
def test_where_nothing_can_be_drawn_ahead_it_is_refused(
    tiny_settings: Callable[..., TrainSettings], estimator: str
) -> None:
    with pytest.raises(ValidationError, match="choose --adv-estimator replay or reinforce"):
        tiny_settings(adv_weight=0.1, adv_ahead=2, adv_estimator=estimator)


def test_the_shape_of_an_ahead_is_kept_to_the_end(make: Make, drawn: list[int]) -> None:
    """A shorter last draw would be captured anew."""
    trainer = make(adv_ahead=4, steps=6)
    trainer.train()
    assert drawn == [12, 12]
    assert isinstance(term_of(trainer).ahead, Ahead)


@pytest.mark.parametrize(
    ("estimator", "mixed"), [("replay", False), ("unroll", False), ("reinforce", True)]
)
def test_captured_draws_are_replayed_as_exactly_as_the_estimator_asks(
    make: Make, monkeypatch: pytest.MonkeyPatch, estimator: str, mixed: bool
) -> None:
    term = term_of(make(adv_estimator=estimator, precision="bf16"))
    assert term.rollouts.exact != mixed
    monkeypatch.setattr(Rollouts, "captured", property(lambda _: True))
    with term._rollout_precision():
        assert torch.is_autocast_enabled("cpu") == mixed
    monkeypatch.setattr(Rollouts, "captured", property(lambda _: False))
    with term._rollout_precision():
        assert torch.is_autocast_enabled("cpu")
    assert term_of(make(adv_estimator=estimator, precision="fp32")).rollouts.exact
