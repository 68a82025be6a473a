"""A full disk is one line with the way out, and leaves nothing behind that looks whole."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import SafetensorError
from tensorboard.summary.writer.record_writer import RecordWriter

import discriminator.classifier
import generator.folder
from data_tools.errors import UserError
from data_tools.files import naming
from data_tools.midi import Notes, score_of
from data_tools.render import Renderer
from discriminator.classifier import Classifier
from gan.cli import main
from gan.logbook import Logbook
from gan.run import Run
from gan.settings import TrainSettings
from generator.compose import Composer
from tests.data_tools.soundfonts import write_soundfont

WORDS = os.strerror(errno.ENOSPC)
SETTINGS = TrainSettings()
STATE = {"optimizer": {"rate": torch.tensor(1.0)}}


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, WORDS)


def full_in_rust(*_: object) -> None:
    raise SafetensorError(f"Error while serializing: I/O error: {WORDS} (os error {errno.ENOSPC})")


def full_in_torch(*_: object) -> None:
    try:
        full()
    finally:
        raise RuntimeError("unexpected pos 704 vs 598")


def mistaken() -> None:
    try:
        full()
    except OSError:
        raise UserError("a mistake") from None


def facts(folder: Path) -> None:
    (folder / "model").write_text("weights")


@pytest.mark.parametrize("fails", [full, full_in_rust, full_in_torch])
def test_an_error_of_the_disk_names_the_file(fails: Callable[[], None], tmp_path: Path) -> None:
    with pytest.raises(OSError, match=WORDS) as told, naming(tmp_path / "file"):
        fails()
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(tmp_path / "file"))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as told, naming(tmp_path / "file"):
        (tmp_path / "other").read_text()
    assert told.value.filename == str(tmp_path / "other")
    with pytest.raises(RuntimeError, match="a bug"), naming(tmp_path / "file"):
        raise RuntimeError("a bug")
    with pytest.raises(UserError, match="a mistake"), naming(tmp_path / "file"):
        mistaken()


@pytest.mark.parametrize("part", ["generator", "classifier", "optimizer", "facts"])
def test_no_part_of_a_checkpoint_is_left(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    run.save(10, facts, STATE, 2, False)
    write = facts
    if part == "generator":
        write = Composer.load().save
        monkeypatch.setattr(generator.folder, "save_file", full_in_rust)
    elif part == "classifier":
        write = Classifier.load().save
        monkeypatch.setattr(discriminator.classifier, "save_file", full_in_rust)
    elif part == "optimizer":
        monkeypatch.setattr(torch, "save", full_in_torch)
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
    line = rf"step-000020: {WORDS}; free some space, then --resume goes on from step 10"
    with pytest.raises(UserError, match=line), run.stoppable():
        run.save(20, write, STATE, 2, False)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["latest", "step-000010"]
    assert run.latest() == run.checkpoints / "step-000010"


def logged(run: Run, spoil: Callable[[Logbook], None]) -> None:
    """Logs until it fails, or far too long."""
    with run.stoppable(), Logbook(run.folder, 0, quiet=True) as log:
        spoil(log)
        for step in range(100):
            log.log(step, {"loss/ce": 1.0})
            time.sleep(0.02)


def test_the_file_that_met_it_first_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one of those that fail when everything is closed."""

    def spoil(log: Logbook) -> None:
        log._metrics.close()
        monkeypatch.setattr(log, "_metrics", _Full(log._metrics.name))
        monkeypatch.setattr(RecordWriter, "flush", full)

    line = rf"metrics\.jsonl: {WORDS}; free some space, then --resume begins anew"
    with pytest.raises(UserError, match=line):
        logged(Run(tmp_path / "run", SETTINGS), spoil)


class _Full:
    def __init__(self, name: str) -> None:
        self.name = name

    write = flush = close = full


def test_the_thread_that_writes_for_tensorboard_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it dies of is thrown again by the next write, and told there."""
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    with pytest.raises(UserError, match=f"{WORDS}; free some space"):
        logged(
            Run(tmp_path / "run", SETTINGS),
            lambda _: monkeypatch.setattr(RecordWriter, "write", full),
        )
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "spoilt", "way_out"),
    [
        (("data", "build"), "numpy.save", "then try again"),
        (("data", "practice"), "data_tools.practice._dump", "then try again"),
        (("score",), "os.fsync", "goes on from there with --resume"),
        (("curate", "--keep", "jazz"), "os.fsync", "goes on from there with --resume"),
    ],
)
def test_other_commands_name_what_they_write(
    command: tuple[str, ...], spoilt: str, way_out: str, practice_music: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    music = next(practice_music.rglob("*.mid"))
    sources = {"build": [practice_music], "practice": []}.get(command[-1], [music])
    monkeypatch.setattr(spoilt, full)
    arguments = [*command, *sources, "--out", tmp_path / "out.csv", "--quiet"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path}/out.csv")
    assert result.stderr.endswith(f"{way_out}\n")
    assert f": {WORDS}; free some space, " in result.stderr


def test_an_encoder_that_hides_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = pytest.importorskip("soundfile")

    def fails(*_: object) -> None:
        raise encoder.LibsndfileError(2)

    music = score_of(Notes(*(np.array([value]) for value in (0, 400, 60, 80))), 500, 120.0)
    renderer = Renderer(write_soundfont(tmp_path / "made.sf2"))
    monkeypatch.setattr(encoder.SoundFile, "write", fails)
    with pytest.raises(OSError, match="is the disk full") as told:
        renderer.write(music, tmp_path / "sound.mp3")
    assert told.value.filename == str(tmp_path / "sound.mp3")
    assert not (tmp_path / "sound.mp3").exists()
