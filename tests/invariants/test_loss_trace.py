"""A refactor that moves no mathematics moves no loss.

After a change that is meant to: RENEW_LOSS_TRACE=1 pytest tests/invariants/test_loss_trace.py
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_tools.corpus import Corpus
from data_tools.settings import AugmentSettings
from gan.adversarial.trainer import Trainer
from gan.data import GeneratorWindows
from gan.settings import TrainSettings

TRACE = Path(__file__).with_name("loss_trace.json")
NAMES = ("loss/ce", "gradient/ce", "loss/adversarial", "adversarial/share", "gradient/weights")


def test_the_first_five_steps(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    settings = tiny_settings(
        adv_weight=0.5,
        adv_estimator="replay",
        batch=4,
        adv_batch=4,
        learning_rate=0.01,
        generator={"dropout": 0.0},
    )
    trainer = Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    steps = [trainer.train_step(step) for step in range(5)]
    found = {
        "corpus": practice_corpus.digest,
        "steps": [{name: round(metrics[name], 7) for name in NAMES} for metrics in steps],
    }
    if "RENEW_LOSS_TRACE" in os.environ:
        TRACE.write_text(json.dumps(found, indent=1) + "\n")
    expected = json.loads(TRACE.read_text())
    assert found["corpus"] == expected["corpus"], "the practice corpus itself has changed"
    # Another processor rounds otherwise.
    for step, (now, then) in enumerate(zip(found["steps"], expected["steps"], strict=True)):
        assert now == pytest.approx(then, rel=1e-4), f"step {step}"


@pytest.mark.parametrize("augment", [None, AugmentSettings()], ids=["plain", "augmented"])
def test_two_ranks_read_what_one_reads_with_twice_the_batch(
    practice_corpus: Corpus, augment: AugmentSettings | None
) -> None:
    numbers = practice_corpus.select("train")

    def windows(batch: int) -> GeneratorWindows:
        return GeneratorWindows(
            practice_corpus, numbers, practice_corpus.representation, 64, batch, augment, 0.3, 5
        )

    small, large = windows(3), windows(6)
    epoch = len(large) // 6
    for step in (0, 1, epoch - 1, epoch, epoch + 1):  # the last ones lie over an epoch's end
        halves = [small(2 * step), small(2 * step + 1)]
        for whole, parts in zip(large(step), zip(*halves, strict=True), strict=True):
            assert torch.equal(whole, torch.cat(parts))
