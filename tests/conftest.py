"""Shared fixtures: real music where it lies beside the checkout, composed music everywhere."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from data_tools.corpus import Corpus, build
from data_tools.practice import write_practice
from gan.adversarial.trainer import Trainer
from gan.settings import TrainSettings

# No test is timed: a busy machine is no failure. Where others wait for the outcome, the examples
# are the same every time; at home they are new ones.
hypothesis.settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("house")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def mini() -> Path:
    """A folder of 120 real labelled MIDI files; the test is skipped where it is not at hand."""
    folder = SHARED / "mini"
    if not folder.is_dir():
        pytest.skip("the folder of real MIDI files is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def practice_music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 composed pieces, half jazz, whose manifest splits them 24, 8 and 8."""
    folder = tmp_path_factory.mktemp("practice") / "music"
    manifest = write_practice(folder, 40)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    splits = ("train", "train", "train", "validation", "test")
    for number, row in enumerate(rows):
        row["split"] = splits[number // 2 % 5]
    with manifest.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def practice_corpus(practice_music: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus of `practice_music`: preset duration, time base clock."""
    out = tmp_path_factory.mktemp("corpus") / "practice"
    return build([practice_music / "manifest.csv"], out, workers=1)[0]


@pytest.fixture(scope="session")
def tiny_discriminator(practice_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier's folder: untrained, but with weights large enough to have opinions."""
    # Here and not above: most tests need no torch, and some measure that none is loaded.
    import torch

    from discriminator.classifier import Classifier
    from discriminator.models import build as build_discriminator
    from discriminator.notes import TokenTable
    from discriminator.settings import ClassifierSettings, CNNSettings

    torch.manual_seed(0)
    settings = CNNSettings(width=16, blocks=2, dropout=0.1)
    model = build_discriminator(settings, TokenTable.of(practice_corpus.representation))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
            weight.add_(0.1 * torch.randn_like(weight))
    folder = tmp_path_factory.mktemp("discriminator")
    card = ClassifierSettings(model=settings, window=64)
    Classifier(model, practice_corpus.representation, card).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_settings(tiny_discriminator: Path) -> Callable[..., TrainSettings]:
    """Makes settings of a training run that takes a second; the arguments override."""

    def make(**changes: Any) -> TrainSettings:
        generator = {"layers": 2, "width": 32, "heads": 2, "max_length": 64, "dropout": 0.1}
        tiny = {
            "generator": generator | changes.pop("generator", {}),
            "device": "cpu", "precision": "fp32", "discriminator": str(tiny_discriminator),
            "steps": 4, "batch": 2, "length": 48, "warmup": 2, "evaluate_every": 4,
            "checkpoint_every": 2, "validation_windows": 8, "samples": 1, "sample_length": 64,
            "adv_batch": 2, "rollout": 24, "prompt": 16, "adv_ramp": 0,
        }  # fmt: skip
        return TrainSettings.model_validate(tiny | changes)

    return make


@pytest.fixture
def tiny_trainer(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> Callable[..., Trainer]:
    """Makes trainers of such settings, each in a folder of its own."""

    def make(**changes: Any) -> Trainer:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return Trainer(practice_corpus, folder, tiny_settings(**changes), quiet=True)

    return make
