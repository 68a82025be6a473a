"""Schedules, seeds, precision, and the stop before a broken update."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from gan.adversarial.trainer import Trainer
from gan.engine import (
    Engine,
    adamw,
    check_finite,
    derived_seed,
    engine,
    learning_rate,
    numpy_generator,
    ramp,
    set_rate,
    torch_generator,
)
from gan.settings import TrainSettings


def test_learning_rate_at_its_corners() -> None:
    assert learning_rate(0, 0.1, 10, 100) == pytest.approx(0.01)
    assert learning_rate(9, 0.1, 10, 100) == pytest.approx(0.1)
    assert learning_rate(10, 0.1, 10, 100) == pytest.approx(0.1)
    assert learning_rate(55, 0.1, 10, 100, 0.2) == pytest.approx(0.06), "half way down"
    assert learning_rate(100, 0.1, 10, 100, 0.2) == pytest.approx(0.02)
    assert learning_rate(500, 0.1, 10, 100, 0.2) == pytest.approx(0.02), "and stays there"
    assert learning_rate(0, 0.1, 0, 100) == pytest.approx(0.1), "no warm-up"
    assert learning_rate(5, 0.1, 5, 5) == pytest.approx(0.1), "nothing but warm-up"


@given(st.integers(0, 200), st.integers(0, 50), st.integers(1, 150), st.floats(0, 1))
def test_learning_rate_is_positive_and_below_its_peak(
    step: int, warmup: int, steps: int, final: float
) -> None:
    rate = learning_rate(step, 2.0, warmup, steps, final)
    assert 0 <= rate <= 2 * (1 + 1e-12)
    assert rate == learning_rate(step, 2.0, warmup, steps, final)
    if step >= warmup:
        later = learning_rate(step + 1, 2.0, warmup, steps, final)
        assert later <= rate + 1e-12
        assert rate >= 2 * final - 1e-9


def test_ramp_at_its_corners() -> None:
    assert [ramp(step, 3, 0) for step in (0, 2, 3, 9)] == [0, 0, 1, 1]
    assert [ramp(step, 2, 3) for step in range(7)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_derived_seeds_are_stable_and_differ() -> None:
    # A constant: were the derivation to change, resumed runs would change their noise.
    assert derived_seed(0, "dropout", 1) == 2181139124358017667
    parts = [(s, what, t) for s in range(5) for what in ("dropout", "rollout") for t in range(50)]
    assert len({derived_seed(*part) for part in parts}) == len(parts)
    assert all(0 <= derived_seed(*part) < 2**63 for part in parts)
    assert derived_seed(1, 11) != derived_seed(11, 1)


def test_generators_are_functions_of_their_parts() -> None:
    draw = torch.rand(4, generator=torch_generator("cpu", 3, "x"))
    assert torch.equal(draw, torch.rand(4, generator=torch_generator("cpu", 3, "x")))
    assert not torch.equal(draw, torch.rand(4, generator=torch_generator("cpu", 4, "x")))
    assert numpy_generator(3, "x").random() == numpy_generator(3, "x").random()
    assert numpy_generator(3, "x").random() != numpy_generator(3, "y").random()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_the_run(value: float) -> None:
    check_finite(torch.tensor(3.0), "adversarial loss", 7)
    with pytest.raises(UserError, match=r"step 7: the adversarial loss is .*--resume"):
        check_finite(torch.tensor(value), "adversarial loss", 7)


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    optimizer = adamw(model, 0.1, 0.5)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups
             for p in group["params"]}  # fmt: skip
    assert {p.dim(): decay[id(p)] for p in model.parameters()} == {2: 0.5, 1: 0.0}
    set_rate(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.3]


def test_precision() -> None:
    product = torch.ones(2, 2)
    with engine("cpu", "fp32").autocast():
        assert (product @ product).dtype == torch.float32
    with engine("cpu", "bf16").autocast():
        assert (product @ product).dtype == torch.bfloat16
    assert "bf16" in engine("cpu", "bf16").describe()
    assert "fp32" in engine("cpu", "fp32").describe()
    assert isinstance(engine("cpu"), Engine)


@pytest.mark.parametrize("device", ["meta", "xpu", "mps", "hpu", "vulkan"])
def test_a_device_that_torch_knows_by_name_alone_is_told_in_one_line(device: str) -> None:
    there = {"xpu": torch.xpu.is_available(), "mps": torch.backends.mps.is_available()}
    if there.get(device):
        pytest.skip("this machine has one")
    with pytest.raises(UserError, match=rf"^device '{device}': .+; use --device cpu$"):
        engine(device)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="device 'gpu'"):
        engine("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="use --device cpu"):
            engine("cuda")


def test_bf16_steps_are_finite_the_adversarial_one_too(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    # A hinge may have nothing to say to an untrained generator.
    settings = tiny_settings(precision="bf16", adv_weight=0.5, adv_loss="non_saturating")
    trainer = Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    before = [weight.clone() for weight in trainer.model.parameters()]
    for step in range(2):
        metrics = trainer.train_step(step)
        assert {"loss/ce", "loss/adversarial", "adversarial/share"} <= set(metrics)
        assert all(math.isfinite(value) for value in metrics.values())
        assert metrics["gradient/adversarial"] > 0
        assert metrics["adversarial/replay_agreement"] > 0.9, "equal but for rounding ties"
    for weight, old in zip(trainer.model.parameters(), before, strict=True):
        assert weight.dtype == torch.float32
        assert torch.isfinite(weight).all()
        assert not torch.equal(weight, old)
