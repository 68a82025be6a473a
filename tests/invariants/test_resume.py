"""Killed and resumed equals never killed, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from data_tools.corpus import Corpus
from gan import pretrain as module
from gan.adversarial.trainer import Trainer
from gan.cli import main
from gan.pretrain import pretrain
from gan.run import checkpoint_of
from gan.settings import PretrainSettings, TrainSettings

ROOT = Path(__file__).resolve().parents[2]
STEPS = 40


def flags(corpus: Corpus, discriminator: Path, out: Path) -> list[str]:
    choices = {
        "corpus": corpus.folder, "out": out, "device": "cpu", "precision": "fp32",
        "layers": 1, "width": 32, "heads": 2, "max-length": 64, "dropout": 0.2,
        "steps": STEPS, "batch": 2, "length": 48, "warmup": 3, "evaluate-every": 20,
        "checkpoint-every": 5, "validation-windows": 4, "samples": 1, "sample-length": 64,
        "adv-weight": 0.5, "adv-start": 2, "adv-ramp": 3, "adv-batch": 2, "rollout": 16,
        "prompt": 8, "discriminator": discriminator,
    }  # fmt: skip
    return ["train", *(part for k, v in choices.items() for part in (f"--{k}", str(v))), "--quiet"]


def start(arguments: list[str], start_new_session: bool = False) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "gan.cli", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=start_new_session,
    )  # fmt: skip


def interrupt(kindly: bool) -> None:
    """As a scheduler that waits does, or at once."""
    if not kindly:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGTERM)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # The clock and the memory are the machine's.
    return [
        {k: v for k, v in line.items() if k != "seconds" and not k.startswith("system/")}
        for line in lines
    ]


def equal(one: object, two: object) -> bool:
    """Equality of nested states, tensors bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


def same_checkpoint(one: Path, two: Path) -> None:
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    assert (one / "trainer.json").read_text() == (two / "trainer.json").read_text()
    states = [torch.load(folder / "optimizer.pt", weights_only=True) for folder in (one, two)]
    # A generator's lies with what else moves, a discriminator's beside its averaged weights.
    moving = states[0].get("updater", states[0])
    moments = moving["optimizer"]["state"]
    assert moments, "there is a state to compare"
    assert equal(*states)


@pytest.fixture(scope="module")
def runs(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run in one go, and one killed after its first checkpoint and then resumed."""
    folder = tmp_path_factory.mktemp("runs")
    straight, killed = folder / "straight", folder / "killed"
    whole = start(flags(practice_corpus, tiny_discriminator, straight))
    part = start(flags(practice_corpus, tiny_discriminator, killed))
    pointer = killed / "checkpoints" / "latest"
    try:
        while not pointer.is_file() and part.poll() is None:
            time.sleep(0.002)
        part.send_signal(signal.SIGKILL)
        assert part.wait() == -signal.SIGKILL, "it ended before it could be killed"
        # And what a kill in the middle of writing leaves behind: half a checkpoint, half a line.
        half = killed / "checkpoints" / ".step-000035.999"
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half of the wei")
        with (killed / "metrics.jsonl").open("a") as stream:
            stream.write('{"step": 39, "seconds": 1.0, "loss/ce": 1.0}\n{"step": 3')
        resumed = [*flags(practice_corpus, tiny_discriminator, killed), "--resume"]
        finish(start(resumed))
        finish(whole)
    finally:
        for process in (whole, part):
            if process.poll() is None:
                process.kill()
            process.communicate()
    return straight, killed


def test_the_final_generator_is_the_same_bytes(runs: tuple[Path, Path]) -> None:
    one, two = (run / "generator" / "model.safetensors" for run in runs)
    assert one.read_bytes() == two.read_bytes()


def test_the_final_state_is_the_same(runs: tuple[Path, Path]) -> None:
    same_checkpoint(*(run / "checkpoints" / f"step-{STEPS:06d}" for run in runs))


def test_the_metrics_are_the_same(runs: tuple[Path, Path]) -> None:
    one, two = map(metrics, runs)
    assert one == two
    steps = [line["step"] for line in one if "loss/ce" in line]
    assert steps == [1, 10, 20, 30, 40]
    assert "loss/adversarial" in [line for line in one if "loss/ce" in line][-1]
    assert [line["step"] for line in one if "validation/bits_per_note" in line] == [0, 2, 20, 40]


def test_the_samples_are_the_same(runs: tuple[Path, Path]) -> None:
    one, two = ({p.relative_to(run): p.read_bytes() for p in run.rglob("*.mid")} for run in runs)
    assert one == two
    assert len(one) == 4


def test_the_half_checkpoint_is_gone(runs: tuple[Path, Path]) -> None:
    one, two = (sorted(p.name for p in (run / "checkpoints").iterdir()) for run in runs)
    assert one == two
    assert not any(name.startswith(".") for name in two)


def test_another_setting_is_refused_on_resume(
    runs: tuple[Path, Path], practice_corpus: Corpus, tiny_discriminator: Path
) -> None:
    arguments = [*flags(practice_corpus, tiny_discriminator, runs[1]), "--resume"]
    for changed in (["--batch", "3"], ["--adv-weight", "0.4"], ["--width", "64"]):
        result = CliRunner().invoke(main, [*arguments, *changed])
        assert result.exit_code == 1
        name = {"--width": "generator.width"}.get(changed[0], changed[0][2:].replace("-", "_"))
        assert f"differs in {name} (" in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path: Path
) -> None:
    settings = [*flags(practice_corpus, tiny_discriminator, tmp_path / "run"), "--adv-weight", "0"]
    settings += ["--steps", "3", "--evaluate-every", "3"]
    assert CliRunner().invoke(main, settings).exit_code == 0
    lines = metrics(tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    assert CliRunner().invoke(main, [*settings, "--resume"]).exit_code == 0
    assert metrics(tmp_path / "run") == lines, "no line twice"


@pytest.mark.parametrize("kindly", [False, True])
def test_pretraining_stopped_and_resumed_is_the_same(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kindly: bool
) -> None:
    model = {"kind": "cnn", "width": 16, "blocks": 2, "dropout": 0.2}
    settings = PretrainSettings.model_validate(
        {
            "model": model, "device": "cpu", "precision": "fp32", "steps": 30, "batch": 4,
            "window": 64, "shortest": 32, "warmup": 3, "evaluate_every": 10, "patience": 9,
        }
    )  # fmt: skip
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    pretrain(practice_corpus, straight, settings, quiet=True)
    check = module.check_finite

    def stop(loss: torch.Tensor, name: str, step: int) -> None:
        check(loss, name, step)
        if step == 27 and name == "discriminator loss":
            interrupt(kindly)

    with monkeypatch.context() as patch:
        patch.setattr(module, "check_finite", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(practice_corpus, stopped, settings, quiet=True)
    assert [line["step"] for line in metrics(stopped)] == [10, 20, 25]
    latest = checkpoint_of(stopped)
    assert latest is not None
    assert latest.name == ("step-000028" if kindly else "step-000020")
    pretrain(practice_corpus, stopped, settings, resume=True, quiet=True)
    same_checkpoint(*(run / "checkpoints" / "step-000030" for run in (straight, stopped)))
    assert metrics(straight) == metrics(stopped)
    for name in ("report.json", "report.md", "classifier/model.safetensors",
                 "classifier/classifier.json"):  # fmt: skip
        assert (straight / name).read_bytes() == (stopped / name).read_bytes()


EVERYTHING = {
    "adv_weight": 0.5, "adv_critics": "both", "realism_warmup": 1, "reward_weight": 0.3,
    "kl_weight": 0.1, "entropy_weight": 0.01, "adv_scale": "gradient", "adv_start": 1,
}  # fmt: skip
DAMAGED = {"learning_rate": 0.3, "guard_bits": 1e-6, "guard_returns": 9, "average": "ema",
           "average_decay": 0.5, "adv_estimator": "reinforce"}  # fmt: skip
AHEAD = {"adv_ahead": 3}


@pytest.mark.parametrize("kindly", [False, True])
@pytest.mark.parametrize(
    "changes",
    [{}, DAMAGED, AHEAD, DAMAGED | AHEAD],
    ids=["sound", "taken back", "ahead", "ahead, taken back"],
)
def test_everything_adversarial_stopped_and_resumed_is_the_same(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path,
    changes: dict[str, Any], kindly: bool,
) -> None:  # fmt: skip
    """Both critics, reward, divergence and entropy; the critic's moments and memory, the watch."""
    settings = tiny_settings(
        **EVERYTHING | changes, steps=7, evaluate_every=2,
        checkpoint_every=3, rollout=12, validation_windows=4, samples=0, keep=9,
    )  # fmt: skip

    def trainer(name: str, resume: bool = False) -> Trainer:
        return Trainer(practice_corpus, tmp_path / name, settings, resume=resume, quiet=True)

    straight = trainer("straight")
    straight.train()
    stopped = trainer("stopped")
    step = stopped.train_step

    def short(number: int, *rest: Any) -> dict[str, float]:
        if number == 4:
            interrupt(kindly)
        return step(number, *rest)

    stopped.train_step = short  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = trainer("stopped", resume=True)
    assert resumed.step == 5 if kindly else 3 <= resumed.step <= 4
    torch.manual_seed(123)  # whatever else has drawn
    resumed.train()
    assert metrics(straight.out) == metrics(resumed.out)
    one, two = (run.out / "checkpoints" / "step-000007" for run in (straight, resumed))
    assert (one / "trainer.json").read_text() == (two / "trainer.json").read_text()
    states = [torch.load(folder / "optimizer.pt", weights_only=True) for folder in (one, two)]
    assert states[0]["term"]["realism"]["optimizer"]["state"]
    assert states[0]["term"]["ranks"][0]["old"]
    assert bool(states[0]["term"]["watch"]["returns"]) == ("guard_bits" in changes)
    assert states[0]["good"]["kept"]
    assert equal(*states)
    for name in ("checkpoints/step-000007", "generator"):
        files = (run.out / name / "model.safetensors" for run in (straight, resumed))
        assert len({file.read_bytes() for file in files}) == 1


def test_stopped_in_its_last_step_a_run_is_finished(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    trainer = Trainer(practice_corpus, tmp_path / "gan", tiny_settings(adv_weight=0.0), quiet=True)
    step = trainer.train_step

    def asked(at: int, *rest: Any) -> dict[str, float]:
        if at == 3:
            interrupt(kindly=True)
        return step(at, *rest)

    trainer.train_step = asked  # type: ignore[method-assign]
    trainer.train()
    assert (tmp_path / "gan" / "generator" / "generator.json").is_file()


@pytest.mark.parametrize("steps", [2, 90])
def test_pretraining_stopped_in_its_last_step_is_finished(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Its last is also the one after which it has waited enough."""
    settings = PretrainSettings.model_validate(
        {
            "model": {"kind": "statistics"}, "device": "cpu", "precision": "fp32",
            "steps": steps, "batch": 4, "window": 64, "shortest": 32, "warmup": 1,
            "evaluate_every": 1, "patience": 1,
        }
    )  # fmt: skip

    def validate(_: Any, corpus: Any, numbers: Any, state: dict[str, Any], log: Any) -> None:
        state["waited"] = state["step"] - 1
        if state["step"] == 2:
            interrupt(kindly=True)

    monkeypatch.setattr(module, "_validate", validate)
    pretrain(practice_corpus, tmp_path, settings, quiet=True)
    assert (tmp_path / "report.json").is_file()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_scheduler_stops_it_and_a_person_is_told(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path: Path, workers: int
) -> None:
    out = tmp_path / "run"
    train = flags(practice_corpus, tiny_discriminator, out)[:-1]  # not --quiet
    train.append("--resume")
    process = start([*train, "--workers", str(workers)], start_new_session=True)
    while not (out / "checkpoints" / "latest").is_file() and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGTERM)  # the processes that load as well
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors.decode()
    assert b"nothing to go on from yet" in said
    assert b"stopping when this step is done" in errors
    last = errors.decode().splitlines()[-1]
    assert last.startswith("stopped: --resume goes on from step "), last
    on = CliRunner().invoke(main, train)
    assert f"goes on from step {last.split()[-1]} of {STEPS}" in on.stdout
    finished = out / "generator" / "model.safetensors"
    finished.write_bytes(b"others began from it")
    assert f"finished already: all {STEPS} steps" in CliRunner().invoke(main, train).stdout
    assert finished.read_bytes() == b"others began from it"
