"""A run's folder under everything that can happen to it, and what TensorBoard shows of it."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_tools.corpus import Corpus, build
from data_tools.errors import UserError
from data_tools.settings import ThinningSettings
from gan.adversarial.trainer import Trainer
from gan.logbook import Logbook
from gan.run import FREE, Run, checkpoint_of, load_state
from gan.settings import PretrainSettings, TrainSettings
from generator.compose import Composer
from generator.model import build as build_generator

SETTINGS = TrainSettings(exclude_sources=("a", "b"), learning_rate=1e-5)
INPUTS = {"corpus": "abc"}


def write(folder: Path) -> None:
    (folder / "model").write_text("weights")


def save(run: Run, step: int, keep: int = 2, best: bool = False) -> Path:
    state = {"optimizer": {"rate": torch.tensor(float(step))}, "best": 3.5}
    return run.save(step, write, state, keep, best)


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def test_a_taken_folder_is_refused_and_resumed(tmp_path: Path) -> None:
    Run(tmp_path / "run", SETTINGS, inputs=INPUTS)
    with pytest.raises(UserError, match="--resume or another --out"):
        Run(tmp_path / "run", SETTINGS, inputs=INPUTS)
    Run(tmp_path / "run", SETTINGS, resume=True, inputs=INPUTS)


def test_resuming_with_other_settings_or_inputs_is_refused(tmp_path: Path) -> None:
    Run(tmp_path / "run", SETTINGS, inputs=INPUTS)
    other = SETTINGS.model_copy(update={"batch": 99, "seed": 4})
    with pytest.raises(
        UserError,
        match=r"differs in batch \(\d+ there, \d+ now\), seed \(0 there, \d+ now\);.*--init",
    ):
        Run(tmp_path / "run", other, resume=True, inputs=INPUTS)
    with pytest.raises(UserError, match=r"differs in inputs\.[a-z]+;"):
        Run(tmp_path / "run", SETTINGS, resume=True, inputs={"corpus": "xyz"})


def test_a_corpus_built_from_a_folder_of_another_name_is_told_how_to_come_by(
    practice_music: Path, tmp_path: Path
) -> None:
    inputs = []
    for name in ("old", "new"):
        music = next(iter(practice_music.glob("jazz/*.mid")))
        (tmp_path / name / "jazz").mkdir(parents=True)
        shutil.copy(music, tmp_path / name / "jazz")
        inputs.append(build([tmp_path / name], tmp_path / f"{name}-corpus", workers=1)[0].inputs())
    assert inputs[0]["corpus"] == inputs[1]["corpus"]
    Run(tmp_path / "run", SETTINGS, inputs=inputs[0])
    with pytest.raises(UserError, match=r"inputs\.manifest \(.*from a folder of the old name\)"):
        Run(tmp_path / "run", SETTINGS, resume=True, inputs=inputs[1])


def test_what_changes_no_outcome_may_change(tmp_path: Path) -> None:
    """So that fewer GPUs, or another machine, can take a run over."""
    Run(tmp_path / "run", SETTINGS, inputs=INPUTS)
    changes = {"accumulate": 4, "workers": 2, "keep": 5, "compile": True, "device": "cuda"}
    other = SETTINGS.model_copy(update=changes)
    assert set(changes) == FREE <= set(TrainSettings.model_fields)
    Run(tmp_path / "run", other, resume=True, inputs=INPUTS)
    with pytest.raises(UserError, match=r"differs in seed \("):
        Run(tmp_path / "run", other.model_copy(update={"seed": 4}), resume=True, inputs=INPUTS)


def unrecord(run: Path, *settings: str) -> None:
    """Makes a run's record that of a time when there were no such settings."""
    record = run / "settings.yaml"
    old = yaml.safe_load(record.read_text())
    record.write_text(yaml.safe_dump({k: v for k, v in old.items() if k not in settings}))
    assert set(settings) <= set(old)


def test_a_run_of_before_thinning_goes_on_without(tmp_path: Path) -> None:
    Run(tmp_path / "run", PretrainSettings())
    unrecord(tmp_path / "run", "thinning")
    Run(tmp_path / "run", PretrainSettings(), resume=True)
    thins = PretrainSettings(thinning=ThinningSettings(thin_share=0.5))
    with pytest.raises(
        UserError, match=r"differs in thinning\.thin_share \(0\.0 there, 0\.\d+ now\)"
    ):
        Run(tmp_path / "run", thins, resume=True)
    unrecord(tmp_path / "run", "corrupt_share")  # nobody knows what it was
    with pytest.raises(UserError, match=r"differs in corrupt_share \("):
        Run(tmp_path / "run", PretrainSettings(), resume=True)


def test_a_run_of_before_drawing_ahead_goes_on_with_each_steps_own(tmp_path: Path) -> None:
    Run(tmp_path / "run", TrainSettings())
    unrecord(tmp_path / "run", "adv_ahead")
    Run(tmp_path / "run", TrainSettings(), resume=True)
    with pytest.raises(UserError, match=r"differs in adv_ahead \(1 there, 4 now\)"):
        Run(tmp_path / "run", TrainSettings(adv_ahead=4), resume=True)


def test_resuming_what_was_never_begun_begins_it(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS, resume=True)
    assert run.latest() is None
    assert (tmp_path / "run" / "settings.yaml").is_file()


def by_key() -> None:
    raise KeyboardInterrupt  # the signal itself is ignored in a shell's background


def by_scheduler() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [by_key, by_scheduler])
def test_a_stop_says_where_the_run_goes_on(tmp_path: Path, stop: Callable[[], None]) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="before the first checkpoint"), run.stoppable():
        stop()
    save(run, 7)
    with pytest.raises(KeyboardInterrupt, match="goes on from step 7"), run.stoppable():
        stop()
    assert signal.getsignal(signal.SIGTERM) is before
    other = Run(tmp_path / "run", SETTINGS, resume=True, main=False)
    with pytest.raises(SystemExit), other.stoppable():  # one of several says it for all
        stop()


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    assert run.latest() is None
    folder = save(run, 7, best=True)
    assert run.latest() == folder == checkpoint_of(run.folder, "best")
    assert (folder / "model").read_text() == "weights"
    state = load_state(folder, torch.device("cpu"))
    assert (state["step"], state["best"]) == (7, 3.5)
    assert state["optimizer"]["rate"] == 7


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    for step in range(1, 6):
        save(run, step, keep=2, best=step == 2)
    assert names(run) == ["best", "latest", "step-000002", "step-000004", "step-000005"]
    save(run, 6, keep=1, best=True)
    assert names(run) == ["best", "latest", "step-000006"]


def test_a_step_may_be_saved_again(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    save(run, 3)
    (run.checkpoints / "step-000003" / "stray").touch()
    assert not (save(run, 3) / "stray").exists()


def test_a_failed_write_leaves_the_last_checkpoint_and_is_cleaned_up(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    whole = save(run, 3)

    def fail(folder: Path) -> None:
        (folder / "model").write_text("half of the wei")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run.save(6, fail, {"optimizer": {}}, 2, True)
    assert run.latest() == whole
    assert names(run) == ["latest", "step-000003"], "the half takes no room"
    (run.checkpoints / ".step-000006.1").mkdir()  # as a killed process leaves it, out of sight
    assert Run(tmp_path / "run", SETTINGS, resume=True).latest() == whole
    assert names(run) == ["latest", "step-000003"]


def test_killed_between_checkpoint_and_pointer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    first = save(run, 3, best=True)

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gan.run.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            save(run, 6, best=True)
    run = Run(tmp_path / "run", SETTINGS, resume=True)
    assert run.latest() == first
    # Stopped before that step comes again: what is pointed at is kept, not what is latest by name.
    stopped = run.save(5, lambda folder: None, {"optimizer": {}}, keep=1, best=False)
    assert Run(tmp_path / "run", SETTINGS, resume=True).latest() == stopped
    second = save(run, 6, best=True)
    assert run.latest() == second == checkpoint_of(run.folder, "best")


def test_the_best_is_named_before_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were it the other way round, a kill in between would lose the best for good.
    from gan import run as module

    written: list[str] = []
    original = module.write_text

    def spy(path: Path, text: str) -> None:
        written.append(path.name)
        original(path, text)

    monkeypatch.setattr(module, "write_text", spy)
    save(Run(tmp_path / "run", SETTINGS), 3, best=True)
    assert written[-2:] == ["best", "latest"]


def test_metrics_beyond_the_checkpoint_are_cut(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    run.cut_metrics(3)  # nothing there yet
    path = tmp_path / "run" / "metrics.jsonl"
    whole = '{"step": 1, "a": 1}\n{"step": 3, "a": 1}\n'
    path.write_text(whole + 'garbage\n{"a": 2}\n{"step": 4}\n{"step": 2, "a"')
    run.cut_metrics(3)
    assert path.read_text() == whole
    run.cut_metrics(-1)
    assert path.read_text() == ""


def test_damaged_lines_of_metrics_are_dropped_when_a_run_goes_on(tmp_path: Path) -> None:
    run, path = Run(tmp_path, SETTINGS), tmp_path / "metrics.jsonl"
    good = b'{"step": 1, "loss/ce": 2.5}\n'
    path.write_bytes(good + b'\xff\0\n[1]\nnull\n{"step": "x"}\n{"step": []}\n' + good)
    run.cut_metrics(1)
    assert path.read_bytes() == good + good


def test_damaged_settings_are_named(tmp_path: Path) -> None:
    Run(tmp_path, SETTINGS)
    record = tmp_path / "settings.yaml"
    for content in (b"", b"- 1\n", b"a: [1,\nb: }", b"\xff\xfe\x00a", b"a: 2001-99-99\n"):
        record.write_bytes(content)
        with pytest.raises(UserError, match=r"settings\.yaml: damaged.*start another run"):
            Run(tmp_path, SETTINGS, resume=True)
        assert record.read_bytes() == content


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = save(Run(tmp_path / "run", SETTINGS), 3)
    whole = (folder / "optimizer.pt").read_bytes()
    for content in (b"", b"no pickle", b"hello there", whole[:200]):
        (folder / "optimizer.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"step-000003: damaged checkpoint.*\)$"):
            load_state(folder, torch.device("cpu"))
    (folder / "optimizer.pt").write_bytes(whole)
    facts = (folder / "trainer.json").read_bytes()
    for content in (b"[]", b"{}", b'{"step": "x"}'):
        (folder / "trainer.json").write_bytes(content)
        with pytest.raises(UserError, match=r"damaged checkpoint.*of which step"):
            load_state(folder, torch.device("cpu"))
    (folder / "trainer.json").write_bytes(facts)
    (folder / "optimizer.pt").write_bytes(whole[:200])
    save(Run(tmp_path / "run", SETTINGS, resume=True), 2)
    with pytest.raises(UserError, match=r"damaged.*go on from step-000002, write that name into"):
        load_state(folder, torch.device("cpu"))
    (folder / "optimizer.pt").unlink()
    with pytest.raises(UserError, match="damaged"):
        load_state(folder, torch.device("cpu"))


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_comes_with_the_way_out(
    part: str, practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    settings = tiny_settings(samples=0)
    Trainer(practice_corpus, tmp_path, settings, quiet=True).train()
    file = tmp_path / "checkpoints" / "step-000004" / part
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"step-000004.*; to go on from step-000002, write that"):
        Trainer(practice_corpus, tmp_path, settings, resume=True, quiet=True)


def of_other_weights(saved: object) -> object:
    """An optimizer's state as one of other sizes has it."""
    if isinstance(saved, dict):
        return {key: of_other_weights(value) for key, value in saved.items()}
    return torch.zeros(3) if isinstance(saved, torch.Tensor) and saved.dim() else saved


def test_an_optimizer_of_another_model_is_told_before_the_first_step(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    settings = tiny_settings(samples=0)
    Trainer(practice_corpus, tmp_path, settings, quiet=True).train()
    file = tmp_path / "checkpoints" / "step-000004" / "optimizer.pt"
    saved = torch.load(file, weights_only=True)
    for content in (of_other_weights(saved), {}, [1]):
        torch.save(content, file)
        with pytest.raises(UserError, match=r"step-000004: damaged .*; to go on from step-000002,"):
            Trainer(practice_corpus, tmp_path, settings, resume=True, quiet=True)


def test_a_generator_of_another_size_is_told_before_the_first_step(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    settings = tiny_settings(samples=0)
    Trainer(practice_corpus, tmp_path, settings, quiet=True).train()
    folder = tmp_path / "checkpoints" / "step-000004"
    small = settings.generator.model_copy(update={"width": 16})
    representation = practice_corpus.representation
    Composer(build_generator(representation.vocab_size, small), representation).save(folder)
    with pytest.raises(UserError, match=r"step-000004: .*of another size; to go on from step-0+2,"):
        Trainer(practice_corpus, tmp_path, settings, resume=True, quiet=True)


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert checkpoint_of(tmp_path, missing_ok=True) is None
    with pytest.raises(UserError, match="no checkpoint here yet"):
        checkpoint_of(tmp_path)


def test_a_resumed_board_shows_every_step_once(tmp_path: Path) -> None:
    with Logbook(tmp_path, quiet=True) as log:
        for step in range(1, 7):
            log.log(step, {"loss/ce": float(step)})
    time.sleep(1.1)  # files of one second are read in an order that a counter decides
    with Logbook(tmp_path, step=4, quiet=True) as log:  # its checkpoint is of step 4
        for step in range(5, 8):
            log.log(step, {"loss/ce": 10.0 * step})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    seen = {event.step: event.value for event in board.Scalars("loss/ce")}
    assert seen == {1: 1, 2: 2, 3: 3, 4: 4, 5: 50, 6: 60, 7: 70}


def test_lines_are_json_with_step_and_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Logbook(tmp_path) as log:
        log.log(3, {"loss/ce": 1.23456789}, show=True)
        log.log(4, {"loss/ce": 1.0})
        first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first.pop("seconds") >= 0
    assert first == {"step": 3, "loss/ce": 1.234568}
    assert capsys.readouterr().out == "step      3  loss/ce 1.235\n"


def test_the_screen_has_the_headlines_and_how_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("gan.bars.time.monotonic", lambda: now)
    figures = {"validation_bits/Pitch": 3.0, "validation/bits_per_note": 9.5, "loss/ce": 1.0}
    with Logbook(tmp_path, steps=100) as log:
        now = 12.0
        log.tick(1)
        now = 60.0
        log.log(25, figures, show=True)
    assert capsys.readouterr().out == (
        "step     25  loss/ce 1  validation/bits_per_note 9.5  2:30 left\n"
    )
    assert figures.keys() < json.loads((tmp_path / "metrics.jsonl").read_text()).keys()


def test_the_newest_is_kept_past_a_million_steps(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", TrainSettings())
    for step in (999_500, 999_750, 1_000_000):
        save(run, step)
    assert checkpoint_of(run.folder) == run.checkpoints / "step-1000000"


def test_copies_that_a_person_made_beside_the_checkpoints_are_left_alone(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", SETTINGS)
    mine = [save(run, 1).with_name(name) for name in ("step-000001-good", "step-mine", ".mine")]
    for copy in mine:
        shutil.copytree(run.checkpoints / "step-000001", copy)
    mine.append(run.checkpoints / "step-000001.zip")
    mine[-1].write_bytes(b"packed")
    run = Run(tmp_path / "run", SETTINGS, resume=True)
    save(run, 2, keep=1)
    assert names(run) == sorted(["latest", "step-000002", *(copy.name for copy in mine)])
    (run.checkpoints / "latest").write_text("step-mine")
    with pytest.raises(UserError, match=r"'step-mine', and .*step-NUMBER; to go on from step-0+2,"):
        run.latest()


def test_a_pointer_to_nothing_does_not_start_the_run_anew(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", TrainSettings())
    shutil.rmtree(save(run, 3))
    with pytest.raises(UserError, match=r"names a checkpoint that is gone \(step-000003\)$"):
        run.latest()
    for step in (999_999, 1_000_000):
        save(run, step)
    pointer = run.checkpoints / "latest"
    for name, told in (("", "is empty"), ("step-000003\n", "is gone"), ("..", "is gone")):
        pointer.write_text(name)
        with pytest.raises(UserError, match=f"latest: .*{told}.*go on from step-1000000, write"):
            run.latest()
    pointer.write_text("step-999999\n")
    assert run.latest() == run.checkpoints / "step-999999"
