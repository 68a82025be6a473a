"""What the estimators of the adversarial gradient cost: seconds and memory at several lengths.

Every pair of estimator and length runs in a process of its own, so that its peak memory is its own;
lengths alternate with estimators, and what counts are ratios within one table. Music is composed on
the spot, the generator is the small transformer without training.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.step_cost import quartiles
from gan.engine import peak_memory

ESTIMATORS = ("replay", "teacher", "reinforce", "unroll")


def compare(batch: int, lengths: tuple[int, ...], repeats: int, longest_unroll: int) -> list[dict]:
    """A row for each estimator and length.

    Args:
        batch: rollouts.
        lengths: new tokens.
        repeats: steps timed, after one that does not count.
        longest_unroll: unrolling is not tried beyond: its memory grows with the square.
    """
    rows = []
    for length in lengths:
        for name in ESTIMATORS:
            if name == "unroll" and length > longest_unroll:
                continue
            words = [name, str(length), str(batch), str(repeats)]
            command = [sys.executable, "-W", "ignore", "-m", "experiments.benchmarks.estimators"]
            done = subprocess.run(command + words, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return rows


def measure(name: str, length: int, batch: int, repeats: int) -> dict[str, Any]:
    """Seconds of the term of a step, and the peak memory of a process that takes some."""
    from data_tools.corpus import build
    from data_tools.practice import write_practice
    from discriminator.classifier import Classifier
    from discriminator.models import build as build_discriminator
    from discriminator.notes import TokenTable
    from discriminator.settings import ClassifierSettings, CNNSettings
    from gan.adversarial.trainer import Trainer
    from gan.settings import TrainSettings
    from gan.settings import build as build_settings

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus, _ = build([write_practice(folder / "midi", 40)], folder / "corpus", workers=1)
        model = build_discriminator(CNNSettings(), TokenTable.of(corpus.representation))
        card = ClassifierSettings(model=CNNSettings())
        Classifier(model, corpus.representation, card).save(folder / "classifier")
        choices = {
            "batch": 1, "length": 16, "rollout": length, "adv_batch": batch, "adv_weight": 0.1,
            "adv_estimator": name, "prompt": 16, "bos_share": 0.0, "samples": 0,
            "discriminator": str(folder / "classifier"), "generator": {"dropout": 0.0},
            "validation_windows": 1, "adv_loss": "non_saturating", "precision": "fp32",
        }  # fmt: skip
        chosen = build_settings(TrainSettings, choices)
        trainer = Trainer(corpus, folder / "run", chosen, quiet=True)
        assert trainer.term is not None
        before = peak_memory(torch.device("cpu"))["system/peak_mib"]
        seconds = []
        for step in range(repeats + 1):
            began = time.perf_counter()
            push = trainer.term(step, 1.0, 1.0)
            torch.autograd.backward(push.outputs, push.gradients)
            seconds.append(time.perf_counter() - began)
        after = peak_memory(torch.device("cpu"))["system/peak_mib"]
    return {
        "estimator": name, "new_tokens": length, "rollouts": batch,
        "seconds": quartiles(np.array(seconds[1:])), "grown_mib": round(after - before, 1),
    }  # fmt: skip


def markdown(rows: list[dict[str, Any]]) -> str:
    """A row each, beside replay at the same length."""
    replays = {row["new_tokens"]: row for row in rows if row["estimator"] == "replay"}
    lines = [
        f"{rows[0]['rollouts']} rollouts; the term alone, forward and backward; medians, in fp32 "
        "on a CPU",
        "",
        "| estimator | new tokens | seconds | beside replay | memory it takes, MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio = row["seconds"][1] / replays[row["new_tokens"]]["seconds"][1]
        lines.append(
            f"| {row['estimator']} | {row['new_tokens']} | {row['seconds'][1]:.2f} | "
            f"{ratio:.2f} × | {row['grown_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
