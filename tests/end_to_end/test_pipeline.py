"""From nothing to scored music, through the command line alone."""

import json
from itertools import pairwise
from pathlib import Path

import miditoolkit
import numpy as np
import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gan.cli import main

STEPS = 12


def gan(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of the pipeline has been run."""
    place = tmp_path_factory.mktemp("pipeline")
    gan("data", "practice", "--out", place / "music", "--count", 40)
    gan("data", "build", place / "music" / "manifest.csv", "--out", place / "corpus",
        "--validation", 0.2, "--test", 0.2, "--workers", 1)  # fmt: skip
    (place / "disc.yaml").write_text(
        "model: {kind: cnn, width: 16, blocks: 2}\nsteps: 99\nbatch: 4\nwindow: 128\n"
        "shortest: 64\nwarmup: 2\nevaluate_every: 5\n"
    )
    told = gan("pretrain-disc", "--corpus", place / "corpus", "--out", place / "disc",
               "--preset", place / "disc.yaml", "--steps", 10, "--device", "cpu")  # fmt: skip
    assert str(place / "disc" / "classifier") in told
    (place / "gen.yaml").write_text(
        "generator: {layers: 1, width: 32, heads: 2, max_length: 64}\nlength: 48\nbatch: 2\n"
        "evaluate_every: 6\ncheckpoint_every: 6\nvalidation_windows: 4\nsamples: 2\n"
        "sample_length: 64\nadv_batch: 2\nrollout: 24\nprompt: 16\nadv_ramp: 2\n"
    )
    told = gan("train", "--corpus", place / "corpus", "--out", place / "run",
               "--preset", place / "gen.yaml", "--adv-weight", 0.1, "--adv-loss", "non_saturating",
               "--discriminator", place / "disc", "--steps", STEPS, "--device", "cpu")  # fmt: skip
    assert str(place / "run" / "generator") in told
    gan("generate", "--run", place / "run", "--count", 4, "--length", 128,
        "--out", place / "pieces", "--device", "cpu")  # fmt: skip
    return place


def test_the_pieces_are_single_instrument_piano(place: Path) -> None:
    files = sorted((place / "pieces").glob("*.mid"))
    assert len(files) == 4
    assert len({path.read_bytes() for path in files}) == 4
    for path in files:
        music = miditoolkit.MidiFile(str(path))
        (piano,) = music.instruments
        assert not piano.is_drum
        assert piano.program == 0
        assert piano.notes
        for pitch in {note.pitch for note in piano.notes}:
            mine = sorted((n.start, n.end) for n in piano.notes if n.pitch == pitch)
            assert all(start < end for start, end in mine)
            assert all(one[1] <= two[0] for one, two in pairwise(mine))
    gan("data", "check", "--strict", place / "pieces", place / "run" / "samples")


def test_the_pieces_are_scored(place: Path) -> None:
    told = gan("score", place / "pieces", "--model", place / "disc", "--format", "json",
               "--device", "cpu")  # fmt: skip
    rows = [json.loads(line) for line in told.splitlines()]
    assert len(rows) == 4
    assert all(not row["error"] and 0 <= row["p_jazz"] <= 1 for row in rows)


def test_every_number_is_in_the_metrics(place: Path) -> None:
    lines = [
        json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [line for line in lines if "loss/ce" in line]
    assert [line["step"] for line in steps] == [1, 10, 12]
    for line in steps:
        assert {
            "loss/ce", "loss/adversarial", "loss/total", "gradient/ce", "gradient/adversarial",
            "adversarial/share", "adversarial/weight", "adversarial/temperature",
            "adversarial/replay_agreement", "discriminator/p_jazz_generated",
            "discriminator/p_jazz_real", "schedule/learning_rate",
        } <= set(line)  # fmt: skip
        assert all(np.isfinite(value) for value in line.values())
        total = line["loss/ce"] + line["adversarial/weight"] * line["loss/adversarial"]
        assert line["loss/total"] == pytest.approx(total, abs=1e-5)
        share = line["gradient/adversarial"] / line["gradient/ce"]
        assert line["adversarial/share"] == pytest.approx(share, rel=0.05)
        assert line["adversarial/share"] > 0
    reports = [line["step"] for line in lines if "validation/bits_per_note" in line]
    assert reports == [0, 6, STEPS]


def test_tensorboard_shows_the_same(place: Path) -> None:
    board = EventAccumulator(str(place / "run" / "tensorboard"), {"scalars": 0, "images": 0})
    board.Reload()
    tags = board.Tags()
    lines = [
        json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    logged = {name for line in lines for name in line} - {"step", "seconds"}
    assert logged == set(tags["scalars"])
    ce = {event.step: event.value for event in board.Scalars("loss/ce")}
    assert ce == pytest.approx({n["step"]: n["loss/ce"] for n in lines if "loss/ce" in n}, abs=1e-5)
    assert {"roll/0", "roll/1"} <= set(tags["images"])
    assert [event.step for event in board.Images("roll/0")] == [0, 6, STEPS]
    picture = board.Images("roll/0")[0]
    assert picture.width == 1240
    assert picture.height > 200
    discriminator = EventAccumulator(str(place / "disc" / "tensorboard"))
    discriminator.Reload()
    assert "validation/loss" in discriminator.Tags()["scalars"]


def test_the_run_can_start_another(place: Path) -> None:
    gan("train", "--corpus", place / "corpus", "--out", place / "next", "--init", place / "run",
        "--preset", place / "gen.yaml", "--steps", 1, "--device", "cpu", "--quiet")  # fmt: skip
    assert (place / "next" / "generator" / "model.safetensors").is_file()
