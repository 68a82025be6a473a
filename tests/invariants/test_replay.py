"""The adversarial gradient is what the design says it is, to the last digits.

The replayed rollout draws its own tokens again; its gradient is that of unrolling step by step with
every token detached; and the update is that of ce + weight * adversarial, plain cross-entropy where
the weight is zero.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.representation import BOS, PAD
from gan.adversarial.relaxation import straight_through
from gan.adversarial.rollout import replay
from gan.adversarial.trainer import Trainer
from gan.engine import derived_seed, learning_rate, numpy_generator, torch_generator
from generator.sampling import rollout, tempered

Make = Callable[..., Trainer]


@pytest.fixture
def make(tiny_trainer: Make) -> Make:
    return lambda **changes: tiny_trainer(**{"adv_estimator": "replay"} | changes)


def sharpen(model: nn.Module) -> None:
    """Makes an untrained model's choices far from even."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5)


def prefix_of(trainer: Trainer, step: int) -> Tensor:
    """The prefix the trainer takes at this step."""
    chance = numpy_generator(trainer.settings.seed, "opening", step).random()
    return trainer.term.prompts(step, chance < trainer.settings.bos_share)


@pytest.mark.parametrize("bos_share", [0.0, 1.0], ids=["prompts", "BOS"])
@pytest.mark.parametrize("condition", ["none", "label"])
@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_the_trainer_draws_its_own_tokens_again(
    make: Make, bos_share: float, condition: str, temperature: float
) -> None:
    trainer = make(
        adv_weight=0.3, bos_share=bos_share, condition=condition, temperature=temperature,
        adv_batch=4, generator={"dropout": 0.5},
    )  # fmt: skip
    sharpen(trainer.model)
    for step in range(3):
        assert BOS in prefix_of(trainer, step) or not bos_share
        assert trainer.train_step(step)["adversarial/replay_agreement"] == 1


def test_both_openings_are_taken(make: Make) -> None:
    trainer = make(adv_weight=0.3, bos_share=0.5)
    sizes = {prefix_of(trainer, step).shape[1] for step in range(20)}
    assert sizes == {2, 1 + trainer.settings.prompt}


@pytest.mark.parametrize("from_nothing", [False, True], ids=["prompts", "BOS"])
@pytest.mark.parametrize("relaxation", [0.5, 2.0])
def test_the_gradient_is_that_of_the_detached_unroll(
    make: Make, monkeypatch: pytest.MonkeyPatch, from_nothing: bool, relaxation: float
) -> None:
    trainer = make(adv_weight=1.0, adv_loss="non_saturating")
    assert trainer.critic is not None
    model, critic = trainer.model.double().eval(), trainer.critic
    critic.model.double()
    sharpen(model)
    # What is float32 by design is float64 here: the two ways then differ by rounding alone.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    prefix = trainer.term.prompts(0, from_nothing)
    noise = torch_generator("cpu", 0)
    sampled = rollout(model, trainer.term.grammar, prefix, 20, generator=noise, temperature=0.9)

    again = replay(model, sampled, 0.9)
    assert again.scores.dtype == torch.float64
    rows = straight_through(again.scores, again.noise.double(), again.ids, relaxation)
    loss = critic.loss(critic.logits(rows, again.real))
    gradients = torch.autograd.grad(loss, list(model.parameters()))

    ids, unrolled = prefix, []
    for step in range(20):
        logits = model(ids)[:, -1]
        scores = tempered(logits, sampled.masks[:, step], 0.9)
        drawn = (scores + sampled.noise[:, step]).argmax(-1)
        part = scores, sampled.noise[:, step].double(), drawn
        unrolled.append(straight_through(*(each[:, None] for each in part), relaxation))
        ids = torch.cat([ids, drawn[:, None]], 1)
    assert torch.equal(ids, sampled.ids)
    rows = torch.cat(unrolled, 1)
    reference = critic.loss(critic.logits(rows, ids[:, prefix.shape[1] :] != PAD))
    expected = torch.autograd.grad(reference, list(model.parameters()))

    torch.testing.assert_close(loss, reference, rtol=0, atol=1e-8)
    largest = max(float(gradient.abs().max()) for gradient in expected)
    assert largest > 1e-3, "a gradient there is"
    for one, two in zip(gradients, expected, strict=True):
        assert one.dtype == torch.float64
        torch.testing.assert_close(one, two, rtol=0, atol=1e-8)


def plain_step(trainer: Trainer, step: int) -> Tensor:
    """Cross-entropy of a step, drawn with the trainer's seeds and written out by hand."""
    inputs, targets = trainer.windows(step)
    torch.manual_seed(derived_seed(trainer.settings.seed, "dropout", step))
    trainer.model.train()
    logits = trainer.model(inputs)
    nats = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum"
    )
    return nats / (targets != PAD).sum()


def test_weight_zero_is_plain_cross_entropy_bit_for_bit(make: Make) -> None:
    trainer, plain = make(), make()
    settings = trainer.settings
    assert trainer.critic is None
    assert settings.generator.dropout > 0
    for step in range(3):
        metrics = trainer.train_step(step)
        loss = plain_step(plain, step)
        plain.updater.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.model.parameters(), settings.clip)
        for group in plain.updater.optimizer.param_groups:
            group["lr"] = learning_rate(
                step, settings.learning_rate, settings.warmup, settings.steps, settings.final_rate
            )
        plain.updater.optimizer.step()
        assert metrics["loss/ce"] == loss.item()
        assert not any("adversarial" in name for name in metrics)
    pairs = zip(trainer.model.parameters(), plain.model.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_the_term_before_its_start_changes_nothing(make: Make) -> None:
    later, plain = make(adv_weight=0.5, adv_start=2, adv_loss="non_saturating"), make()
    for step in range(2):
        later.train_step(step)
        plain.train_step(step)
    pairs = list(zip(later.model.parameters(), plain.model.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in pairs)
    assert "loss/adversarial" in later.train_step(2)
    plain.train_step(2)
    assert not all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_update_is_that_of_the_weighted_sum(make: Make, step: int) -> None:
    changes = {"adv_weight": 0.7, "adv_loss": "non_saturating", "clip": 1e9}
    trainer, by_hand = make(**changes), make(**changes)
    for one in (trainer, by_hand):
        sharpen(one.model)
    metrics = trainer.train_step(step)

    settings, critic = by_hand.settings, by_hand.critic
    assert critic is not None
    ce = plain_step(by_hand, step)
    sampled = rollout(
        by_hand.model, by_hand.term.grammar, prefix_of(by_hand, step), settings.rollout,
        generator=torch_generator("cpu", settings.seed, "rollout", step),
    )  # fmt: skip
    by_hand.model.eval()
    again = replay(by_hand.model, sampled, settings.temperature)
    rows = straight_through(again.scores, again.noise, again.ids, settings.relaxation)
    adversarial = F.softplus(-critic.logits(rows, again.real)).mean()
    (ce + 0.7 * adversarial).backward()

    assert metrics["loss/total"] == pytest.approx((ce + 0.7 * adversarial).item(), rel=1e-6)
    named = dict(by_hand.model.named_parameters())
    for name, weight in trainer.model.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, named[name].grad, rtol=1e-5, atol=1e-6)
    # The term is no passenger: without it the gradient is another.
    alone = torch.autograd.grad(plain_step(by_hand, step), named["embedding.weight"])[0]
    assert not torch.allclose(alone, named["embedding.weight"].grad, rtol=1e-3, atol=1e-6)


def test_a_share_of_the_gradient_is_what_is_logged(make: Make) -> None:
    trainer = make(adv_weight=0.25, adv_scale="gradient", adv_loss="non_saturating", adv_ramp=1)
    first, second = trainer.train_step(0), trainer.train_step(1)
    assert first["adversarial/share"] == pytest.approx(0.125, rel=1e-4)
    assert second["adversarial/share"] == pytest.approx(0.25, rel=1e-4)
    assert second["gradient/adversarial"] == pytest.approx(0.25 * second["gradient/ce"], rel=1e-4)


def test_the_discriminator_stays_frozen(make: Make) -> None:
    trainer = make(adv_weight=1.0)
    assert trainer.critic is not None
    before = {name: value.clone() for name, value in trainer.critic.model.state_dict().items()}
    trainer.train_step(0)
    assert not trainer.critic.model.training
    for name, value in trainer.critic.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(weight.grad is None for weight in trainer.critic.model.parameters())
