"""Two ranks are one rank with the whole batch; ranks may change, and one may die.

Real processes under torchrun, with gloo.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch.distributed as dist
import yaml
from safetensors.torch import load_file

from data_tools.corpus import Corpus
from gan.engine import engine
from gan.evaluation.progress import Progress
from gan.logbook import Logbook
from gan.ranks import round_of
from gan.settings import TrainSettings, build
from generator.compose import Composer

ROOT = Path(__file__).resolve().parents[2]


def flags(corpus: Corpus, out: Path, **changes: object) -> list[str]:
    choices = {
        "corpus": corpus.folder, "out": out, "device": "cpu", "precision": "fp32", "layers": 1,
        "width": 32, "heads": 2, "max-length": 64, "dropout": 0.0, "steps": 6, "batch": 4,
        "length": 48, "warmup": 2, "evaluate-every": 3, "checkpoint-every": 3,
        "validation-windows": 5, "samples": 0, "learning-rate": 0.01,
    } | changes  # fmt: skip
    return ["train", *(part for k, v in choices.items() for part in (f"--{k}", str(v))), "--quiet"]


def launch(
    ranks: int, arguments: list[str], restarts: int = 0,
    program: tuple[str, ...] = ("-m", "gan"), meet: str = "",
) -> subprocess.Popen[str]:  # fmt: skip
    """`gan train` (or another program) alone, or under torchrun.

    Args:
        meet: where two nodes find each other, each of which has one of the ranks.
    """
    nodes = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-id", "1", "--rdzv-endpoint", meet]
    torchrun = [
        "-m", "torch.distributed.run", *(nodes if meet else ["--standalone"]),
        "--nproc-per-node", "1" if meet else str(ranks), "--max-restarts", str(restarts), *program,
    ]  # fmt: skip
    words = torchrun if ranks > 1 else program
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PYTHONWARNINGS"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, *words, *arguments], cwd=ROOT, env=environment, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    errors = ended(process)
    assert process.returncode == 0, errors


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started."""
    listed = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    )
    return [int(number) for number in listed.stdout.split()]


def ended(process: subprocess.Popen[str]) -> str:
    """What it wrote to standard error; nothing of it is left behind, whatever happens."""
    try:
        return process.communicate(timeout=120)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def metrics(run: Path) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        found.setdefault(values["step"], {}).update(values)
    return found


def assert_same(one: Path, two: Path, steps: tuple[int, ...]) -> None:
    """The same weights and figures, but for the order in which sums are taken."""
    # Not of the finished generators, whose weights are rounded.
    last = f"checkpoints/step-{steps[-1]:06d}/model.safetensors"
    weights = [load_file(run / last) for run in (one, two)]
    largest = max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0])
    assert largest < 2e-4
    a, b = metrics(one), metrics(two)
    assert list(a) == list(b)
    for step in steps:
        for name in a[step]:
            if name.startswith(("loss", "gradient", "validation", "train", "adversarial/share")):
                assert a[step][name] == pytest.approx(b[step][name], rel=2e-3, abs=1e-3), name


def test_two_ranks_are_one_with_the_whole_batch(practice_corpus: Corpus, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    processes = [
        launch(1, flags(practice_corpus, one)),
        launch(2, flags(practice_corpus, two, accumulate=2)),
    ]
    for process in processes:
        finish(process)
    assert_same(one, two, (1, 3, 6))


def test_ranks_validate_the_model_that_is_saved(practice_corpus: Corpus, tmp_path: Path) -> None:
    """Each rank counts a batch norm's statistics of its own windows along."""
    changes: dict[str, object] = {"model": "lstm", "hidden": 32, "average": "ema",
                                  "average-decay": 0.5, "validation-windows": 16}  # fmt: skip
    words = flags(practice_corpus, tmp_path / "run", **changes)
    for name in ("--heads", "--max-length"):
        place = words.index(name)
        del words[place : place + 2]
    finish(launch(2, words))
    logged = metrics(tmp_path / "run")[6]
    recorded = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    del recorded["inputs"]
    settings = build(TrainSettings, recorded)
    composer = Composer.load(tmp_path / "run/checkpoints/step-000006")
    progress = Progress(practice_corpus, composer, None, engine("cpu", "fp32"), settings, tmp_path)
    with Logbook(tmp_path, quiet=True) as log:
        found = progress.report(6, log)
    for name in ("bits_per_note", "bits_per_note_jazz", "perplexity"):
        assert found[name] == pytest.approx(logged[f"validation/{name}"], rel=1e-5)


def test_other_ranks_draw_other_rollouts(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path: Path
) -> None:
    """The adversarial term under two ranks: it runs, is shared, and replays exactly."""
    changes = {
        "adv-weight": 0.5, "adv-batch": 3, "rollout": 16, "prompt": 8, "steps": 2,
        "discriminator": tiny_discriminator, "adv-ramp": 0,
    }  # fmt: skip
    finish(launch(2, flags(practice_corpus, tmp_path / "run", **changes)))
    first = metrics(tmp_path / "run")[1]
    assert first["adversarial/replay_agreement"] == 1.0
    assert first["gradient/adversarial"] > 0


def test_ranks_share_one_generator_one_critic_and_no_past(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path: Path
) -> None:
    """See `adversarial_ranks.py`: with rollouts of their own, this is what holds of two ranks."""
    worker = str(Path(__file__).with_name("adversarial_ranks.py"))
    words = [str(practice_corpus.folder), str(tiny_discriminator), str(tmp_path)]
    finish(launch(2, words, program=(worker,)))
    report = json.loads((tmp_path / "report.json").read_text())
    one, two = report["straight"]
    for name in ("generator", "critic", "reference", "accuracy", "first"):
        assert one[name] == two[name], name
    for name in ("recent", "old"):
        mine, others = ({tuple(row) for row in rank[name]} for rank in (one, two))
        assert len(mine) > 2 < len(others)
        assert not mine & others, "each rank draws what no other draws"
    assert report["resumed"] == report["straight"], "bit for bit, each rank's own past too"
    assert max(report["off"]) < 1e-3, "a critic's step is on the pieces of all ranks"


def test_a_run_goes_on_with_another_number_of_ranks(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    straight, changed = tmp_path / "straight", tmp_path / "changed"
    whole = launch(1, flags(practice_corpus, straight))
    part = launch(2, flags(practice_corpus, changed))
    pointer = changed / "checkpoints" / "latest"
    while not pointer.is_file() and part.poll() is None:
        time.sleep(0.005)
    part.send_signal(signal.SIGTERM)  # torchrun ends its ranks
    ended(part)
    finish(whole)
    finish(launch(1, [*flags(practice_corpus, changed), "--resume"]))
    assert_same(straight, changed, (1, 3, 6))


def test_ranks_that_are_stopped_lose_no_step(practice_corpus: Corpus, tmp_path: Path) -> None:
    """A scheduler tells all processes of a job, and torchrun tells its own once more."""
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    steps = {"steps": 400, "checkpoint-every": 1000, "evaluate-every": 1000}
    process = launch(2, flags(practice_corpus, stopped, **steps))
    log = stopped / "metrics.jsonl"
    end = time.monotonic() + 120
    while not log.is_file() or len(log.read_text().splitlines()) < 4:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    # torchrun's own, which it gives sessions of their own; then itself, which tells them again.
    for number in (*ranks_of(process), process.pid):
        os.kill(number, signal.SIGTERM)
    assert process.communicate(timeout=120)[1].count("stopped: --resume goes on from step") == 1
    saved = int((stopped / "checkpoints" / "latest").read_text().removeprefix("step-"))
    logged = max(metrics(stopped))
    assert 20 <= logged <= saved < 400
    finish(launch(2, [*flags(practice_corpus, stopped, **steps), "--resume"]))
    finish(launch(2, flags(practice_corpus, straight, **steps)))
    assert_same(straight, stopped, (10, 400))


def test_a_killed_rank_costs_no_more_than_a_checkpoint(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    """torchrun starts all ranks again, and they go on from the latest checkpoint."""
    out = tmp_path / "run"
    steps = {"steps": 60, "checkpoint-every": 5, "evaluate-every": 60}
    arguments = [*flags(practice_corpus, out, **steps), "--resume"]
    process = launch(2, arguments, restarts=1)
    pointer = out / "checkpoints" / "latest"
    while not pointer.is_file() and process.poll() is None:
        time.sleep(0.005)
    saved = int(pointer.read_text().removeprefix("step-"))
    os.kill(ranks_of(process)[-1], signal.SIGKILL)
    finish(process)
    logged = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1] == 60
    assert logged == sorted(logged)  # what was logged beyond the checkpoint is gone
    assert saved >= 5
    straight = tmp_path / "straight"
    finish(launch(1, flags(practice_corpus, straight, **steps)))
    # Over so many steps roundings grow: the curve is the same, the last digits are not.
    curves = [metrics(run) for run in (straight, out)]
    for step in (10, 30, 60):
        assert curves[0][step]["loss/ce"] == pytest.approx(curves[1][step]["loss/ce"], rel=0.03)


def test_what_ends_the_first_rank_is_all_that_is_said(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "settings.yaml").write_text("{}")
    process = launch(2, flags(practice_corpus, tmp_path / "run"))
    errors = ended(process)
    assert process.returncode != 0
    assert "error: " in errors
    assert "a run lies here already" in errors
    assert "RuntimeError" not in errors


def test_a_killed_rank_is_started_again_on_several_nodes(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    """Two nodes on one machine: each counts the restarts it knows of, and keeps the store."""
    out = tmp_path / "run"
    steps = {"steps": 40, "checkpoint-every": 5, "evaluate-every": 40}
    with socket.create_server(("localhost", 0)) as free:
        meet = f"localhost:{free.getsockname()[1]}"
    nodes = [
        launch(2, [*flags(practice_corpus, out, **steps), "--resume"], restarts=2, meet=meet)
        for _ in range(2)
    ]
    pointer = out / "checkpoints" / "latest"
    while not pointer.is_file() and all(node.poll() is None for node in nodes):
        time.sleep(0.005)
    os.kill(ranks_of(nodes[1])[0], signal.SIGKILL)
    errors = [ended(node) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    assert "exitcode: -9" in errors[1]
    assert list(metrics(out)) == [0, 1, 10, 20, 30, 40]


def test_ranks_started_again_agree_on_a_name_of_their_own() -> None:
    store = dist.HashStore()
    store.set("asks/1", "of a dead rank")
    store.set("asks/2", "of another")
    rounds = []
    with ThreadPoolExecutor(3) as pool:
        for order in ((0, 1, 2), (2, 1, 0)):  # whoever comes first
            found = [pool.submit(round_of, store, rank, 3) for rank in order]
            names = {each.result(timeout=60) for each in found}
            assert len(names) == 1
            rounds += names
    assert rounds[0] != rounds[1]


def test_too_few_windows_for_the_ranks_are_named(practice_corpus: Corpus, tmp_path: Path) -> None:
    process = launch(2, flags(practice_corpus, tmp_path / "run", batch=1))
    errors = ended(process)
    assert process.returncode != 0
    assert "--batch 1: too few windows for 2 rank(s)" in errors
