"""The adversarial experiment: every arm in an order that works, from the base it names, on the
music it names, with the samples its table needs; and a failed arm costs its own row alone.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import EOS, PAD, Representation
from discriminator.classifier import Classifier
from experiments.recipes import adversarial as recipe
from experiments.recipes.adversarial_arms import ARMS, BY_NAME, COMMON, MORE_SEEDS, Arm
from experiments.recipes.adversarial_table import cool_markdown, markdown
from experiments.recipes.control import shuffled
from gan.data import conditions_of
from gan.evaluation.roll_judge import RollJudge, RollNetwork
from gan.settings import TrainSettings, build
from generator.compose import Composer
from generator.model import build as build_generator
from generator.settings import TransformerSettings

TINY = {"batch": 2, "length": 48, "adv_batch": 2, "rollout": 24, "prompt": 16, "adv_ramp": 1,
        "validation_windows": 4, "warmup": 1}  # fmt: skip


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_is_a_run_that_can_be(arm: Arm) -> None:
    assert build(TrainSettings, COMMON | arm.changes).steps > 0
    assert arm.base in {"none", "label", *BY_NAME}
    assert arm.base != arm.name
    assert arm.seeds <= BY_NAME[arm.base].seeds if arm.base in BY_NAME else arm.seeds <= MORE_SEEDS
    assert arm.trains or not arm.changes, "what trains nothing changes nothing"
    assert ("label" in arm.base) == (arm.changes.get("condition") == "label")


def test_arms_have_names_of_their_own() -> None:
    assert len(BY_NAME) == len(ARMS)


def test_what_others_go_on_from_comes_first() -> None:
    order = [(arm.name, seed) for arm, seed in recipe.jobs("", Path())]
    assert len(set(order)) == len(order) == sum(arm.seeds for arm in ARMS)
    for name, seed in order:
        base = BY_NAME[name].base
        if base in BY_NAME:
            assert order.index((base, seed)) < order.index((name, seed))


def test_the_first_arms_of_all_seeds_come_before_the_last_of_any() -> None:
    lasts = [(arm.last, seed) for arm, seed in recipe.jobs("", Path())]
    assert lasts == sorted(lasts)
    assert {last for last, _ in lasts} == {False, True}


def test_arms_can_be_named(tmp_path: Path) -> None:
    found = recipe.jobs("scored,ce", tmp_path)
    assert [(arm.name, seed) for arm, seed in found] == [
        (name, seed) for seed in range(3) for name in ("ce", "scored")
    ]
    with pytest.raises(UserError, match="no arm 'nothing'; there are: ce, scored"):
        recipe.jobs("ce,nothing", tmp_path)
    with pytest.raises(UserError, match="best-of-4 goes on from ce, which is not done"):
        recipe.jobs("best-of-4", tmp_path)
    for seed in range(3):
        (tmp_path / f"ce-{seed}").mkdir()
        (tmp_path / f"ce-{seed}" / "result.json").write_text("{}")
    assert len(recipe.jobs("best-of-4", tmp_path)) == 3


def test_bases_are_where_they_lie() -> None:
    bases, runs = Path("bases"), Path("runs")
    assert recipe.folder_of(BY_NAME["ce"], 2, bases, runs) == bases / "none-2"
    assert recipe.folder_of(BY_NAME["label-ce"], 2, bases, runs) == bases / "label-0"
    assert recipe.folder_of(BY_NAME["best-of-4"], 1, bases, runs) == runs / "ce-1" / "generator"


@pytest.mark.parametrize("pieces", ["all", "jazz", "curated"])
def test_what_an_arm_learns_from(practice_corpus: Corpus, pieces: str, tmp_path: Path) -> None:
    corpus = Corpus(practice_corpus.folder)
    train = corpus.select("train")
    kept = [corpus.rows[number]["path"] for number in train[::3]]
    # Of other splits none is taken, whatever the list says.
    other = corpus.rows[corpus.select("validation")[0]]["path"]
    (tmp_path / "curated.json").write_text(json.dumps([*kept, other]))
    held = {split: corpus.select(split) for split in ("validation", "test")}
    expected = {"all": train, "jazz": corpus.select("train", "jazz"), "curated": train[::3]}
    found = recipe.restricted(corpus, pieces, tmp_path)
    assert found.select("train") == expected[pieces]
    assert {split: found.select(split) for split in held} == held


def test_the_control_learns_as_much_of_each_label_in_another_order(practice_corpus: Corpus) -> None:
    corpus = Corpus(practice_corpus.folder)
    true = [row["label"] for row in corpus.rows]
    false = [row["label"] for row in shuffled(corpus, 1).rows]
    again = [row["label"] for row in shuffled(Corpus(practice_corpus.folder), 1).rows]
    assert false == again
    assert false != true
    for split in ("train", "validation", "test"):
        here = practice_corpus.select(split)
        assert sorted(true[number] for number in here) == sorted(false[number] for number in here)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Arms that are said to be done, in order; "relaxed" fails."""
    found: list[tuple[str, int]] = []

    def one(arm: Arm, seed: int, corpus: Path, bases: Path, runs: Path, *rest: Any) -> None:
        found.append((arm.name, seed))
        if arm.name in ("relaxed", "jazz-ce"):
            raise ValueError("this arm fails")
        (runs / f"{arm.name}-{seed}").mkdir()
        (runs / f"{arm.name}-{seed}" / "result.json").write_text("{}")

    monkeypatch.setattr(recipe, "one", one)
    return found


def test_each_arm_is_done_once_and_a_failure_costs_its_own(
    done: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def sleep(seconds: float) -> None:
        pytest.fail("there is nothing to wait for")

    monkeypatch.setattr(recipe.time, "sleep", sleep)
    assert not recipe.work(Path(), Path(), tmp_path, "cpu", "", 1.0)
    jobs = [(arm.name, seed) for arm, seed in recipe.jobs("", tmp_path)]
    given_up = {("jazz-scored", seed) for seed in range(3)}  # it goes on from one that failed
    assert set(done) == set(jobs) - given_up
    assert len(done) == len(set(done))
    assert "this arm fails" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("*.failed")} == {
        f"{name}-{seed}.failed" for name in ("relaxed", "jazz-ce") for seed in range(3)
    }
    done.clear()
    recipe.work(Path(), Path(), tmp_path, "cpu", "", 1.0)
    assert done == [], "what is done is not done again, nor what was tried"


def test_what_another_process_has_taken_is_left_to_it(
    done: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what goes on from it waits."""
    (tmp_path / "ce-0.taken").write_text(str(os.getppid()))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert ("best-of-4", 0) not in done
        if len(waits) == 2:
            (tmp_path / "ce-0").mkdir()
            (tmp_path / "ce-0" / "result.json").write_text("{}")

    monkeypatch.setattr(recipe.time, "sleep", sleep)
    recipe.work(Path(), Path(), tmp_path, "cpu", "ce,best-of-4", 1.0)
    assert len(waits) == 2
    assert ("ce", 0) not in done
    assert done[-1] == ("best-of-4", 0)
    assert len(done) == 5


def test_a_second_command_leaves_to_the_first_what_it_has_taken(
    done: list[tuple[str, int]], tmp_path: Path
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "ce-0.taken").write_text(str(os.getppid()))
    (tmp_path / "ce-1.taken").write_text(str(gone.pid))
    (tmp_path / "ce-0.failed").mkdir()  # it waits for nothing that goes on from this one
    (tmp_path / "ce-1.failed").mkdir()
    words = ["--corpus", tmp_path, "--bases", tmp_path, "--out", tmp_path, "--only", "ce"]
    ended = CliRunner().invoke(recipe.experiment, [*map(str, words), "--device", "cpu"])
    assert ended.exit_code == 0, ended.output
    assert done == [("ce", 1), ("ce", 2)]
    assert [mark.name for mark in tmp_path.glob("*.failed")] == ["ce-0.failed"]


def test_what_a_process_that_is_no_more_had_taken_is_not_waited_for(
    done: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "ce-0.taken").write_text(str(gone.pid))
    monkeypatch.setattr(recipe.time, "sleep", lambda seconds: pytest.fail("waits for the dead"))
    recipe.work(Path(), Path(), tmp_path, "cpu", "ce,best-of-4", 1.0)
    assert {seed for _, seed in done} == {1, 2}


@pytest.fixture(scope="module")
def bases(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Untrained generators `none-0` and `label-0`, a discriminator, a judge."""
    folder = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    for kind in ("none", "label"):
        conditions = conditions_of(practice_corpus, kind, 1)
        representation = Representation(practice_corpus.representation.settings, conditions)
        size = TransformerSettings(layers=1, width=32, heads=2, max_length=64)
        model = build_generator(representation.vocab_size, size)
        composer = Composer(model, representation, "jazz" if conditions else None, "cpu")
        composer.save(folder / f"{kind}-0")
    (folder / "style").symlink_to(tiny_discriminator)
    (folder / "judges").mkdir()
    RollJudge(RollNetwork(4)).save(folder / "judges" / "roll.safetensors")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TINY.items():
        monkeypatch.setitem(COMMON, name, value)
    monkeypatch.setattr(recipe, "WINDOW", 48)
    monkeypatch.setattr(recipe, "LONG_LENGTH", 80)  # beyond the context
    monkeypatch.setattr(recipe, "FRONTIER", ((0.7, 0.9),))
    monkeypatch.setattr(recipe, "FRONTIER_ARMS", ("relaxed-both",))
    monkeypatch.setattr(recipe, "LONG_ARMS", ("label-scored",))
    monkeypatch.setattr(recipe.draw, "__defaults__", (1.0, 4, 40))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["relaxed-both", "label-scored"])
def test_an_arm_is_trained_sampled_and_measured(
    practice_corpus: Corpus, bases: Path, tmp_path: Path, name: str
) -> None:
    arm = BY_NAME[name]
    recipe.one(arm, 0, practice_corpus.folder, bases, tmp_path, "cpu", 0.02)
    out = tmp_path / f"{name}-0"
    settings = yaml.safe_load((out / "settings.yaml").read_text())
    assert settings["steps"] == 2
    assert settings["seed"] == 0
    assert settings["init"] == str(bases / f"{arm.base}-0")
    assert settings["discriminator"] == str(bases / "style")
    assert settings["judge"] == str(bases / "judges" / "roll.safetensors")
    assert settings["adv_critics"] == {"relaxed-both": "both"}.get(name, "style")
    assert settings["adv_estimator"] == {"relaxed-both": "replay"}.get(name, "reinforce")
    result = json.loads((out / "result.json").read_text())
    assert (result["arm"], result["seed"]) == (name, 0)
    assert set(result["bits_per_note"]) == {"jazz", "not_jazz"}
    assert all(5 < bits < 60 for bits in result["bits_per_note"].values())
    samples = np.load(out / "samples.npz")
    more = {"relaxed-both": "t0.7-p0.9", "label-scored": "long"}[name]
    assert set(samples.files) == {"t1-p1", "t0.9-p1", more}
    for key in samples.files:
        assert samples[key].dtype == np.uint16
        ids = samples[key].astype(int)
        assert len(ids) == 4
        assert ids.max() < practice_corpus.representation.music_size, "no conditions"
        ended = np.cumsum(ids == EOS, axis=1) - (ids == EOS) > 0
        assert (ids[ended] == PAD).all()
        assert (ids[~ended] != PAD).all()
    if more == "long":
        assert samples["long"].shape[1] > samples["t1-p1"].shape[1]
    # Done is done: nothing is trained again.
    before = (out / "generator" / "model.safetensors").stat().st_mtime_ns
    recipe.one(arm, 0, practice_corpus.folder, bases, tmp_path, "cpu", 0.02)
    assert (out / "generator" / "model.safetensors").stat().st_mtime_ns == before


Sampler = Callable[[Arm, int], np.ndarray]


@pytest.fixture
def sampler(bases: Path) -> Sampler:
    def sample(arm: Arm, count: int) -> np.ndarray:
        return recipe.draw(bases / "none-0", arm, 0, bases, "cpu", 1.0, 1.0, count, 40).astype(int)

    return sample


def test_samples_are_a_function_of_the_seed_alone(sampler: Sampler, bases: Path) -> None:
    few, many = sampler(BY_NAME["ce"], 3), sampler(BY_NAME["ce"], 7)
    assert np.array_equal(few, many[:3])
    other = recipe.draw(bases / "none-0", BY_NAME["ce"], 1, bases, "cpu", 1.0, 1.0, 3, 40)
    assert not np.array_equal(few, other)


def test_the_best_of_four_is_the_best_of_four(sampler: Sampler, bases: Path) -> None:
    best, plain = sampler(BY_NAME["best-of-4"], 3), sampler(BY_NAME["ce"], 12)
    classifier = Classifier.load(bases / "style")
    music = torch.from_numpy(plain * (plain > EOS))
    with torch.no_grad():
        logits = classifier.model(music, music > 0).view(3, 4)
    for number, place in enumerate(logits.argmax(1).tolist()):
        assert np.array_equal(best[number], plain[4 * number + place])
    assert len(set(logits.argmax(1).tolist())) > 1, "it is not always the same one"


def test_guided_samples_are_one_of_each_company(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided = sampler(BY_NAME["guidance"], 3)
    assert guided.shape == (3, 40)
    assert len(np.unique(guided, axis=0)) == 3

    class Idle:
        """A guide that chooses nothing."""

        def over(self, seeds: list[int], start: int) -> Callable[[torch.Tensor], None]:
            assert len(seeds) == 3
            return lambda ids, last: None

    monkeypatch.setattr("gan.selection.steering", lambda *_: Idle())
    assert np.array_equal(sampler(BY_NAME["guidance"], 3), sampler(BY_NAME["ce"], 12)[::4])


def test_a_table_of_too_few_samples_is_a_table() -> None:
    """A quick look, or an experiment that has not begun, has no figures of the music."""
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    rates = {f"{name}/rate": figure for name in ("harmony", "rhythm", "both", "roll")}
    row = rates | {
        "arm": "ce", "says": "cross-entropy", "seeds": [0], "bits_per_note": [11.5],
        "variety": [0.9], "beyond": figure, "copied_run": {"most": 9}, "cool": dict.fromkeys(
            ("harmony", "rhythm", "both", "roll", "variety"), 0.5)}  # fmt: skip
    assert len(markdown({"real": {}, "rows": []}).splitlines()) == 2
    assert "| ce: cross-entropy | 1 |" in markdown({"real": {}, "rows": [row]})
    assert "| ce | 0.5 |" in cool_markdown({"rows": [row]})
