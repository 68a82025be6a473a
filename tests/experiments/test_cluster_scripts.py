"""The job scripts' command part, run here: the schedulers are stand-ins, the training is real."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_tools.corpus import Corpus

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "experiments" / "cluster"
TINY = [
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--layers",
    "1",
    "--width",
    "32",
    "--heads",
    "2",
    "--max-length",
    "64",
    "--steps",
    "4",
    "--batch",
    "4",
    "--length",
    "48",
    "--evaluate-every",
    "4",
    "--checkpoint-every",
    "2",
    "--validation-windows",
    "4",
    "--samples",
    "0",
]


def below(process: int) -> list[int]:
    """A process and all that it, or one of them, started."""
    listed = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True)
    return [process, *(each for child in listed.stdout.split() for each in below(int(child)))]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where `module`, `srun` and `scontrol` do what a cluster's would."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (
        ("module", 'echo "module $*" >> "$STAND_IN_LOG"'),
        ("srun", 'echo "srun $*" >> "$STAND_IN_LOG"; shift 2; exec "$@"'),
        ("scontrol", "echo localhost"),
    ):
        script = tools / name
        script.write_text(f"#!/bin/bash\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return kept | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "STAND_IN_LOG": str(tmp_path / "log"),
    }


def run(script: str, environment: dict[str, str], *words: object) -> None:
    done = subprocess.run(
        ["bash", str(CLUSTER / script), *map(str, words), *TINY],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_sge_job_trains_and_goes_on(
    practice_corpus: Corpus, environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("--corpus", practice_corpus.folder, "--out", out)
    run("scc.qsub", environment | {"NSLOTS": "1"}, *words)
    assert "module load python3" in (tmp_path / "log").read_text()
    assert (out / "generator" / "model.safetensors").is_file()
    before = (out / "metrics.jsonl").read_text()
    run("scc.qsub", environment | {"NSLOTS": "1"}, *words)  # queued again: nothing is left to do
    assert (out / "metrics.jsonl").read_text() == before


def test_an_sge_job_that_is_told_loses_no_step(
    practice_corpus: Corpus, environment: dict[str, str], tmp_path: Path
) -> None:
    """All its processes are told, before all are killed."""
    out = tmp_path / "run"
    long = ["--steps", "5000", "--checkpoint-every", "9999", "--evaluate-every", "9999"]
    job = subprocess.Popen(
        ["bash", CLUSTER / "scc.qsub", "--corpus", practice_corpus.folder, "--out", out, *TINY,
         *long],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        log = out / "metrics.jsonl"
        end = time.monotonic() + 300
        while not log.is_file() or log.read_text().count("\n") < 4:
            assert job.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            for process in below(job.pid):
                os.kill(process, number)
        said = job.communicate(timeout=120)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    saved = (out / "checkpoints" / "latest").read_text()
    assert f"--resume goes on from step {int(saved.removeprefix('step-')):,}" in said
    assert job.returncode != 0


def test_a_slurm_job_trains_on_two_ranks(
    practice_corpus: Corpus, environment: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    job = {"SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "2",
           "SLURM_CPUS_PER_TASK": "2"}  # fmt: skip
    run("slurm.sbatch", environment | job, "--corpus", practice_corpus.folder, "--out", out)
    assert (out / "generator" / "model.safetensors").is_file()
    assert "srun --cpus-per-task 2 bash" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("script", ["slurm.sbatch", "scc.qsub"])
@pytest.mark.parametrize(("cpus", "threads"), [("1", "1"), ("8", "2")])
def test_every_rank_has_a_thread(
    environment: dict[str, str], tmp_path: Path, script: str, cpus: str, threads: str
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\necho "threads $OMP_NUM_THREADS" >> "$STAND_IN_LOG"\n')
    python.chmod(python.stat().st_mode | stat.S_IEXEC)
    job = {"PYTHON": str(python), "GPUS": "4", "SLURM_GPUS_ON_NODE": "4", "NSLOTS": cpus,
           "SLURM_CPUS_PER_TASK": cpus}  # fmt: skip
    run(script, environment | job, "--corpus", "corpus")
    assert f"threads {threads}\n" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--batch", "1"), "too few windows for 2 rank(s)"),
        (("--condition", "none", "--width", "33"), "width 33 must be a multiple"),
        (("--corpus", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_told_once(
    practice_corpus: Corpus, environment: dict[str, str], tmp_path: Path, wrong: tuple[str, ...],
    told: str,
) -> None:  # fmt: skip
    words = ["--corpus", str(practice_corpus.folder), "--out", str(tmp_path / "run"), *TINY, *wrong]
    done = subprocess.run(
        ["bash", str(CLUSTER / "train.sh"), *words], cwd=ROOT, env=environment | {"GPUS": "2"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1, done.stderr
    assert told in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("script", sorted(p.name for p in CLUSTER.iterdir() if p.suffix != ".md"))
def test_scripts_are_sound_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n", str(CLUSTER / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
