"""One training process a run's folder, whatever became of the one before it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from gan import lock
from gan.cli import main
from gan.lock import training
from gan.rehearsal import rehearse
from gan.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]
HOLDS = """
import os, sys, time
from pathlib import Path
from gan.lock import training
with training(Path(sys.argv[1])):
    if os.fork() == 0:  # as a loader's process, which outlives a killed parent for a while
        sys.stdin.read()
        os._exit(0)
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that trains in `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "run")], cwd=ROOT, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == f"{process.pid}\n"
    yield process
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.parametrize("command", ["train", "pretrain-disc"])
def test_a_second_run_is_refused_before_anything_is_touched(
    command: str, other: subprocess.Popen[str], practice_corpus: Corpus, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    (out / "checkpoints" / ".step-000004.7").mkdir(parents=True)
    (out / "checkpoints" / ".step-000004.7" / "weights").write_text("half of them")
    (out / "metrics.jsonl").write_text('{"step": 3}\n')
    before = files(out)
    words = [command, "--corpus", str(practice_corpus.folder), "--out", str(out), "--device", "cpu"]
    for more in [], ["--resume"]:
        result = CliRunner().invoke(main, [*words, *more, "--steps", "3"])
        assert result.exit_code == 1
        assert f"error: {out}: a run is going on here (host " in result.stderr
        assert f", process {other.pid}); wait until it ends" in result.stderr
        assert result.stderr.count("\n") == 1
    assert files(out) == before


def test_a_rehearsal_tells_it_too(
    other: subprocess.Popen[str], practice_corpus: Corpus, tmp_path: Path,
    tiny_settings: Callable[..., TrainSettings],
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=f"going on here .*process {other.pid}"):
        rehearse(practice_corpus, tmp_path / "run", tiny_settings(), True, ranks=1)


def test_a_killed_process_holds_nothing(other: subprocess.Popen[str], tmp_path: Path) -> None:
    """Nor do those that it had started."""
    other.send_signal(signal.SIGKILL)
    other.wait(timeout=60)
    assert (tmp_path / "run" / ".lock").is_file()
    with training(tmp_path / "run"):
        assert f"process {os.getpid()}" in (tmp_path / "run" / ".lock").read_text()
    assert not (tmp_path / "run" / ".lock").exists()


def test_a_file_that_was_copied_along_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").write_text("host far-away, process 1")
    with training(tmp_path / "run"):
        pass
    assert not any((tmp_path / "run").iterdir())


def test_a_place_that_can_never_be_made_is_told() -> None:
    with (
        pytest.raises(UserError, match=r"/proc/none/run: cannot be written \(No such file"),
        training(Path("/proc/none/run")),
    ):
        pass


def test_who_looks_deletes_nothing_that_others_look_at(tmp_path: Path) -> None:
    """Else a run that begins meanwhile would lose its lock's name, and another begin as well."""
    program = (
        "import sys; from pathlib import Path; from gan.lock import training\n"
        "with training(Path(sys.argv[1]), looks=True): print(flush=True); input()"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        with training(tmp_path / "run", looks=True):
            pass
        assert (tmp_path / "run" / ".lock").is_file()
        looker.communicate("\n", timeout=60)
    assert not (tmp_path / "run" / ".lock").exists()


def test_what_was_made_for_nothing_goes(tmp_path: Path) -> None:
    with training(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a").is_dir()
    assert not any(tmp_path.iterdir())
    with training(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "settings.yaml").touch()
    assert [each.name for each in (tmp_path / "runs" / "a").iterdir()] == ["settings.yaml"]


@pytest.mark.parametrize("error", [OSError(38, "no such call"), OSError(37, "no locks"), None])
def test_where_there_are_no_locks_it_goes_on(
    error: OSError | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        assert error
        raise error

    if error:
        monkeypatch.setattr(lock.fcntl, "lockf", refuses)
    else:
        monkeypatch.setattr(lock, "fcntl", None)
    with training(tmp_path / "run"):
        pass


def test_a_lock_that_its_holder_deleted_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, path = lock.fcntl.lockf, tmp_path / "run" / ".lock"

    def late(*words: int) -> None:
        monkeypatch.setattr(lock.fcntl, "lockf", taken)
        path.unlink()
        taken(*words)

    monkeypatch.setattr(lock.fcntl, "lockf", late)
    with training(tmp_path / "run"):
        assert path.is_file()
