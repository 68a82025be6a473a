"""A style learnt from a discriminator by the adversarial term alone: only black keys.

Two in five pieces of the corpus keep to the black keys, the others to the white ones. A generator
that models the corpus well writes both; nothing but the term tells it which are wanted, and since
each piece stays with its keys, that need cost next to nothing in cross-entropy.
"""

import csv
import json
from pathlib import Path

import miditoolkit
import numpy as np
import pytest

from data_tools.corpus import Corpus, build
from data_tools.representation import TokenType
from gan.adversarial.trainer import Trainer
from gan.pretrain import pretrain
from gan.settings import PretrainSettings, TrainSettings
from gan.settings import build as build_settings
from generator.compose import Composer

BLACK, WHITE = (1, 3, 6, 8, 10), (0, 2, 4, 5, 7, 9, 11)
PIECES, NOTES = 120, 96
GENERATOR = {
    "generator": {"layers": 2, "width": 64, "heads": 2, "max_length": 160, "dropout": 0.0},
    "condition": "none", "device": "cpu", "precision": "fp32", "batch": 16, "length": 96,
    "augmentation": False, "samples": 0, "validation_windows": 64, "checkpoint_every": 1000,
    "evaluate_every": 1000,
}  # fmt: skip


def write(path: Path, black: bool, seed: int) -> None:
    """A random walk over keys of one colour."""
    chance = np.random.default_rng(seed)
    keys = [pitch for pitch in range(48, 84) if (pitch % 12 in BLACK) == black]
    place, music = len(keys) // 2, miditoolkit.MidiFile(ticks_per_beat=480)
    piano = miditoolkit.Instrument(program=0)
    for number in range(NOTES):
        place = int(np.clip(place + chance.integers(-3, 4), 0, len(keys) - 1))
        start = 240 * number
        piano.notes.append(miditoolkit.Note(80, keys[place], start, start + 240))
    music.instruments.append(piano)
    music.dump(str(path))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("keys")
    rows = []
    for number in range(PIECES):
        black = number % 5 < 2
        write(folder / f"{number}.mid", black, number)
        split = "validation" if number % 10 in (0, 9) else "test" if number % 10 in (1, 8) else ""
        rows.append([f"{number}.mid", "jazz" if black else "not_jazz", split or "train"])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "split"], *rows])
    return build([folder / "manifest.csv"], folder / "corpus", workers=1)[0]


def black_share(folder: Path, corpus: Corpus) -> float:
    """The share of notes on black keys in what a generator writes."""
    pieces = Composer.load(folder).compose(48, 0, length=96, batch=48)
    ids = np.concatenate([piece.ids for piece in pieces])
    table = corpus.representation
    pitches = table.token_values[ids[table.token_types[ids] == TokenType.PITCH]]
    return float(np.isin(pitches % 12, BLACK).mean())


def validation_bits(run: Path) -> float:
    """The last validation's bits a note, on both colours."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "validation/bits_per_note" in line][-1][
        "validation/bits_per_note"
    ]


def test_black_keys_are_learnt_from_the_discriminator_alone(corpus: Corpus, tmp_path: Path) -> None:
    discriminator = {
        "model": {"kind": "cnn", "width": 32, "blocks": 3, "head": 32}, "device": "cpu",
        "steps": 60, "batch": 16, "window": 96, "shortest": 48, "warmup": 5, "evaluate_every": 60,
        "augment": {"transpose": 0}, "neutralise": {"neutral_share": 0.0}, "corrupt_share": 0.0,
    }  # fmt: skip
    report = pretrain(
        corpus, tmp_path / "d", build_settings(PretrainSettings, discriminator), quiet=True
    )
    assert report.overall.auc == 1.0

    plain = GENERATOR | {"steps": 300, "learning_rate": 3e-3, "warmup": 20}
    Trainer(corpus, tmp_path / "ce", build_settings(TrainSettings, plain), quiet=True).train()
    before = black_share(tmp_path / "ce" / "generator", corpus)
    assert 0.2 < before < 0.6, "it writes both, as the corpus has them"

    taught = GENERATOR | {
        "init": str(tmp_path / "ce"), "steps": 120, "learning_rate": 5e-4, "warmup": 5,
        "discriminator": str(tmp_path / "d"), "adv_weight": 1.0, "adv_scale": "gradient",
        "adv_batch": 16, "rollout": 64, "bos_share": 1.0, "adv_ramp": 5,
        "adv_loss": "non_saturating", "adv_estimator": "replay",
        "guard_bits": 0.0, "guard_variety": 0.0,
    }  # fmt: skip
    Trainer(corpus, tmp_path / "gan", build_settings(TrainSettings, taught), quiet=True).train()
    after = black_share(tmp_path / "gan" / "generator", corpus)
    cost = validation_bits(tmp_path / "gan") / validation_bits(tmp_path / "ce")
    assert after > 0.9, f"black keys {before:.2f} before, {after:.2f} after"
    assert cost < 1.05, f"bits a note times {cost:.3f}"
