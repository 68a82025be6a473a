"""What an adversarial step costs beside a plain one.

Both kinds alternate within one run on one model, so whatever else the machine does hits both; what
is reported is their ratio, with quartiles over the pairs. Where rollouts of several steps are drawn
at once, a pair is as many steps of either kind. Music is composed on the spot.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_tools.corpus import Corpus, build
from data_tools.practice import write_practice
from discriminator.classifier import Classifier
from discriminator.models import build as build_discriminator
from discriminator.notes import TokenTable
from discriminator.settings import ClassifierSettings, CNNSettings
from gan.adversarial.trainer import Trainer
from gan.settings import TrainSettings
from gan.settings import build as build_settings
from generator.settings import sized


def quartiles(values: np.ndarray) -> list[float]:
    """First quartile, median and third quartile."""
    return [round(float(v), 3) for v in np.percentile(values, [25, 50, 75])]


def measure(
    corpus: Corpus,
    folder: Path,
    batch: int,
    length: int,
    rollout: int,
    pairs: int,
    size: str,
    estimator: str,
    ahead: int = 1,
) -> dict:
    """Seconds of plain and adversarial steps, and their ratio, over `pairs` pairs."""
    model = build_discriminator(CNNSettings(), TokenTable.of(corpus.representation))
    settings = ClassifierSettings(model=CNNSettings())
    Classifier(model, corpus.representation, settings).save(folder / "classifier")
    chosen = build_settings(
        TrainSettings,
        {
            "batch": batch, "length": length, "rollout": rollout, "adv_batch": batch,
            "adv_weight": 0.1, "adv_estimator": estimator, "adv_ramp": 0, "adv_every": 2,
            "adv_ahead": ahead, "bos_share": 0.0, "samples": 0,
            "discriminator": str(folder / "classifier"),
            "generator": sized("transformer", size) | {"dropout": 0.0, "max_length": 1024},
            "validation_windows": 1,
        },
    )  # fmt: skip
    trainer = Trainer(corpus, folder / "run", chosen, quiet=True)
    seconds = []
    warm = 2 * ahead
    for step in range(warm * (pairs + 1)):
        began = time.perf_counter()
        trainer.train_step(step)
        if trainer.compute.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    plain, adversarial = np.array(seconds[warm:]).reshape(pairs, ahead, 2).mean(1).T
    return {
        "size": size,
        "estimator": estimator,
        "batch": batch,
        "length": length,
        "rollout": rollout,
        "ahead": ahead,
        "device": trainer.compute.describe(),
        "threads": torch.get_num_threads(),
        "plain_seconds": quartiles(plain),
        "adversarial_seconds": quartiles(adversarial),
        "ratio": quartiles(adversarial / plain),
    }


def compare(
    batch: int,
    length: int,
    rollouts: tuple[int, ...],
    pairs: int,
    size: str = "small",
    estimator: str = "reinforce",
    ahead: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yields `measure` for each rollout, on one small corpus composed for it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, _ = build([write_practice(folder / "midi", 60)], folder / "corpus", workers=1)
        for rollout in rollouts:
            yield measure(
                corpus, folder / str(rollout), batch, length, rollout, pairs, size, estimator,
                ahead,
            )  # fmt: skip
