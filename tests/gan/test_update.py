"""One update: optimizers, schedules, averages, accumulation, half precision, packing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import PAD
from gan.adversarial.losses import cross_entropy
from gan.adversarial.trainer import Trainer
from gan.data import Batches, GeneratorWindows
from gan.engine import engine
from gan.ranks import Ranks
from gan.settings import TrainSettings
from gan.update import Updater, optimizer_of, rate_at
from generator.settings import LSTMSettings

CPU = engine("cpu", "fp32")
Make = Callable[..., TrainSettings]


def test_rates_of_the_schedules() -> None:
    common = {"learning_rate": 1.0, "warmup": 10, "steps": 110, "final_rate": 0.1}
    cosine = TrainSettings(**common)
    assert rate_at(4, cosine) == pytest.approx(0.5)
    assert rate_at(10, cosine) == pytest.approx(1.0)
    assert rate_at(60, cosine) == pytest.approx(0.55)
    assert rate_at(110, cosine) == pytest.approx(0.1)
    constant = TrainSettings(**common, schedule="constant")
    assert [rate_at(step, constant) for step in (4, 9, 50, 109)] == pytest.approx([0.5, 1, 1, 1])
    plateau = TrainSettings(**common, schedule="plateau")
    assert rate_at(50, plateau, 2) == pytest.approx(0.25)
    assert rate_at(50, plateau, 9) == pytest.approx(0.1), "never under the last rate"
    none = TrainSettings(**common | {"warmup": 0})
    assert rate_at(0, none) == pytest.approx(1.0)


def test_a_plateau_halves_after_patience() -> None:
    settings = TrainSettings(schedule="plateau", plateau_patience=2)
    updater = Updater(nn.Linear(2, 2), settings, CPU)
    halvings = []
    for bits in (5.0, 4.0, 4.0, 4.5, 3.0, 3.1, 3.0, 3.2, 3.1):
        updater.validated(bits)
        halvings.append(updater.halvings)
    assert halvings == [0, 0, 0, 1, 1, 1, 2, 2, 3], "after a halving it is patient anew"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("rmsprop", torch.optim.RMSprop)],
)
def test_adamw_alone_decays_and_matrices_alone(name: str, kind: type) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimizer = optimizer_of(model, TrainSettings(optimizer=name, weight_decay=0.3))
    assert type(optimizer) is kind
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays[id(model[0].weight)] == (0.3 if name == "adamw" else 0.0)
    assert decays[id(model[0].bias)] == decays[id(model[1].weight)] == 0.0
    assert {group.get("betas", (0.9, 0.95)) for group in optimizer.param_groups} == {(0.9, 0.95)}


def drift(updater: Updater, model: nn.Linear, values: list[float]) -> list[float]:
    """Sets the weight to one value a step and tells the average after each."""
    kept = []
    for step, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
        model.weight.grad = torch.zeros_like(model.weight)
        updater.apply(step)
        assert isinstance(updater.kept, nn.Linear)
        kept.append(updater.kept.weight.item())
    return kept


def test_averages_are_the_papers() -> None:
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "steps": 8}
    model = nn.Linear(1, 1, bias=False)
    swa = Updater(model, TrainSettings(average="swa", average_from=0.5, **still), CPU)
    found = drift(swa, model, [1, 2, 3, 4, 5, 6, 7, 8])
    assert found == pytest.approx([1, 2, 3, 4, 5, 5.5, 6, 6.5])
    ema = Updater(model, TrainSettings(average="ema", average_decay=0.5, **still), CPU)
    assert drift(ema, model, [4, 8, 0]) == pytest.approx([4, 6, 3])
    plain = Updater(model, TrainSettings(**still), CPU)
    assert plain.kept is model


def test_batch_statistics_are_averaged_with_the_weights() -> None:
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "steps": 8}
    for choice, expected in (
        ({"average": "swa", "average_from": 0.5}, [1, 2, 3, 4, 5, 5.5, 6, 6.5]),
        ({"average": "ema", "average_decay": 0.5}, [1, 1.5, 2.25, 3.125]),
    ):
        norm = nn.BatchNorm1d(1)
        updater = Updater(norm, TrainSettings(**choice, **still), CPU)
        for step, value in enumerate(expected):
            norm.running_mean.fill_(step + 1)
            norm.num_batches_tracked.fill_(step + 1)
            norm.weight.grad, norm.bias.grad = torch.zeros(1), torch.zeros(1)
            updater.apply(step)
            assert updater.kept.running_mean.item() == pytest.approx(value)
            assert updater.kept.num_batches_tracked.item() == step + 1, "what counts is copied"
        assert norm.running_mean.item() == len(expected), "the model's own are left alone"


def test_label_smoothing_is_a_mixture_of_targets() -> None:
    logits = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.manual_seed(0))
    targets = torch.tensor([[1, 2, 3, PAD, PAD], [6, 5, 4, 3, 1]])
    p = logits.float().log_softmax(-1)
    real = targets != PAD
    hit = -p.gather(-1, targets[..., None])[..., 0][real]
    spread = -p.mean(-1)[real]
    expected = (0.9 * hit + 0.1 * spread).mean()
    torch.testing.assert_close(cross_entropy(logits, targets, smoothing=0.1), expected)
    parts = [cross_entropy(logits[i : i + 1], targets[i : i + 1], real.sum()) for i in (0, 1)]
    torch.testing.assert_close(sum(parts), cross_entropy(logits, targets))


def updates(corpus: Corpus, out: Path, settings: TrainSettings, steps: int = 3) -> Trainer:
    trainer = Trainer(corpus, out, settings, quiet=True)
    for step in range(steps):
        trainer.train_step(step)
    return trainer


@pytest.mark.parametrize("adversarial", [0.0, 0.5])
def test_a_step_in_parts_is_the_step(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path, adversarial: float
) -> None:
    """Windows of unequal length too: the mean is over the tokens of the whole step."""
    choices = {
        "batch": 6, "generator": {"dropout": 0.0}, "adv_weight": adversarial, "adv_loss": "hinge",
    }  # fmt: skip
    whole = updates(practice_corpus, tmp_path / "1", tiny_settings(**choices))
    parts = updates(practice_corpus, tmp_path / "2", tiny_settings(**choices, accumulate=4))
    for one, two in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    a, b = whole.train_step(3), parts.train_step(3)
    for name in ("loss/ce", "gradient/ce", "gradient/weights"):
        assert a[name] == pytest.approx(b[name], rel=1e-4)
    with pytest.raises(UserError, match="accumulate"):
        Trainer(practice_corpus, tmp_path / "3", tiny_settings(batch=2, accumulate=3))


def test_half_precision_agrees_with_single(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path
) -> None:
    """Within one per cent, step after step; fp16 with scaled gradients."""
    losses = {}
    for precision in ("fp32", "bf16", "fp16"):
        settings = tiny_settings(
            precision=precision, batch=8, generator={"dropout": 0.0}, learning_rate=3e-3
        )
        trainer = Trainer(practice_corpus, tmp_path / precision, settings, quiet=True)
        losses[precision] = [trainer.train_step(step)["loss/ce"] for step in range(12)]
        assert trainer.updater.scaler.is_enabled() == (precision == "fp16")
    assert losses["fp32"][-1] < losses["fp32"][0] - 0.2, "it learns"
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.01)
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=0.01)


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_a_resumed_average_is_the_same(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path, average: str
) -> None:
    settings = tiny_settings(average=average, average_decay=0.5, average_from=0.25)
    straight = Trainer(practice_corpus, tmp_path / "a", settings, quiet=True)
    straight.train()
    first = Trainer(practice_corpus, tmp_path / "b", settings, quiet=True)
    first.settings = settings.model_copy(update={"steps": 2})
    first.train()
    again = Trainer(practice_corpus, tmp_path / "b", settings, resume=True, quiet=True)
    assert again.step == 2
    again.train()
    last = f"checkpoints/step-{settings.steps:06d}/model.safetensors"
    weights = [(tmp_path / run / last).read_bytes() for run in "ab"]
    assert weights[0] == weights[1]
    raw = straight.model.state_dict()
    assert any(not torch.equal(raw[k], v) for k, v in straight.updater.kept.state_dict().items())


def test_packed_windows_hold_no_padding(practice_corpus: Corpus) -> None:
    representation = practice_corpus.representation
    numbers = practice_corpus.select("train")
    longest = int(np.diff(practice_corpus.index).max())
    make = {"length": longest + 40, "batch": 6, "seed": 3}
    padded = GeneratorWindows(practice_corpus, numbers, representation, **make)
    packed = GeneratorWindows(practice_corpus, numbers, representation, packing=True, **make)
    one, two = padded(0)[0], packed(0)[0]
    assert (one == PAD).any()
    assert not (two == PAD).any()
    assert torch.equal(torch.where(one != PAD, two, PAD), one), "what follows is added behind"
    assert (two == representation.bos).sum() > (one == representation.bos).sum()
    assert torch.equal(packed(0)[0], two)


def test_workers_prepare_the_same_windows(practice_corpus: Corpus) -> None:
    numbers = practice_corpus.select("train")
    windows = GeneratorWindows(practice_corpus, numbers, practice_corpus.representation, 32, 5)
    batches = Batches(windows, Ranks(1, 2), 2)
    alone = list(batches.steps(3, 6, 0, torch.device("cpu")))
    helped = list(batches.steps(3, 6, 2, torch.device("cpu")))
    assert len(alone) == len(helped) == 3
    for step, (one, two) in enumerate(zip(alone, helped, strict=True), 3):
        for (inputs, targets), (again, same) in zip(one, two, strict=True):
            assert torch.equal(inputs, again)
            assert torch.equal(targets, same)
        assert torch.equal(torch.cat([part[0] for part in one]), windows(step)[0][1::2])


def test_without_augmentation_windows_are_the_corpus(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path
) -> None:
    plain = Trainer(practice_corpus, tmp_path / "1", tiny_settings(augmentation=False), quiet=True)
    changed = Trainer(practice_corpus, tmp_path / "2", tiny_settings(), quiet=True)
    assert plain.windows._augment is None
    assert not torch.equal(plain.windows(0)[0], changed.windows(0)[0])


def test_an_lstm_is_trained_by_the_same_loop(
    practice_corpus: Corpus, tiny_settings: Make, tiny_discriminator: Path, tmp_path: Path
) -> None:
    settings = tiny_settings(adv_weight=0.3, steps=24, learning_rate=0.01).model_dump()
    settings["generator"] = {"kind": "lstm", "layers": 1, "width": 16, "hidden": 24}
    trainer = Trainer(
        practice_corpus, tmp_path / "run", TrainSettings.model_validate(settings), quiet=True
    )
    folder = trainer.train()
    assert json.loads((folder / "generator.json").read_text())["settings"]["kind"] == "lstm"
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if "validation/bits_per_note" in line]
    assert found[-1]["validation/bits_per_note"] < found[0]["validation/bits_per_note"]
    assert any(line.get("adversarial/replay_agreement") == 1.0 for line in lines)
    assert {"train/token_accuracy", "gap/token_accuracy", "validation_bits/Pitch"} <= set(found[-1])


def test_an_lstm_in_fp16_is_refused_on_a_cpu(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path
) -> None:
    lstm = LSTMSettings(layers=1, width=32)
    settings = tiny_settings(precision="fp16").model_copy(update={"generator": lstm})
    with pytest.raises(UserError, match=r"fp16.*LSTM; use bf16 or fp32"):
        Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    assert not (tmp_path / "run").exists()
