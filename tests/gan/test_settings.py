"""Presets, layers of settings, and the flags made from them."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from data_tools.errors import UserError
from data_tools.settings import NEUTRAL, AugmentSettings, CorpusSettings
from gan import options
from gan.cli import PRETRAIN_SECTIONS, TRAIN_SECTIONS, main
from gan.settings import (
    PretrainSettings,
    TrainSettings,
    build,
    preset_for,
    preset_names,
    read_preset,
)

COMMANDS = {
    ("train",): TrainSettings,
    ("pretrain-disc",): PretrainSettings,
    ("data", "build"): CorpusSettings,
}


def preset_text(name: str) -> str:
    return (resources.files("experiments") / "presets" / f"{name}.yaml").read_text("utf-8")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_says_how_to_run_it(name: str) -> None:
    comment = "".join(line for line in preset_text(name).splitlines() if line.startswith("#"))
    command = preset_text(name).splitlines()[0]
    assert command.startswith("# gan ")
    assert f"--preset {name}" in command
    assert "Hardware and time:" in comment
    assert "Expect" in comment
    kind = {"pretrain-disc": PretrainSettings, "train": TrainSettings}[command.split()[2]]
    settings = build(kind, read_preset(name))
    assert settings != kind(), "a preset that changes nothing"
    # What the command line makes of it is what a run records.
    assert kind.model_validate(yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json"))))


def test_there_are_presets_for_both_trainings() -> None:
    commands = {preset_text(name).split()[2] for name in preset_names()}
    assert commands == {"train", "pretrain-disc"}


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ({"bach": 3}, "bach"),
        ({"generator": {"depth": 3}}, "generator.depth"),
        ({"steps": 0}, "steps"),
        ({"batch": "many"}, "batch"),
        ({"condition_dropout": 1.5}, "condition_dropout"),
        ({"adv_weight": -0.1}, "adv_weight"),
        ({"temperature": 0}, "temperature"),
        ({"adv_loss": "wasserstein"}, "adv_loss"),
        ({"generator": {"width": 30, "heads": 4}}, "generator"),
        ({"generator": 5}, "generator"),
        ({1: 2}, "1"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(layer: dict[Any, Any], place: str) -> None:
    with pytest.raises(UserError) as caught:
        build(TrainSettings, layer)
    assert f"'{place}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("estimator", ["teacher", "unroll"])
def test_a_reward_needs_an_estimator_it_can_go_with(estimator: str) -> None:
    with pytest.raises(UserError, match=f"^--reward-weight .*--adv-estimator {estimator}"):
        build(TrainSettings, {"reward_weight": 0.1, "adv_estimator": estimator})


def test_the_shortest_window_must_not_exceed_the_longest() -> None:
    with pytest.raises(UserError, match=r"^--shortest 128 is longer than --window 64$"):
        build(PretrainSettings, {"window": 64})


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UserError, match=preset_names()[0]):
        read_preset("grand-piano")


def test_a_preset_of_the_other_training_is_told_from_a_slip(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"demo-disc: .*another command.*'model'.* gen-archive"):
        preset_for(TrainSettings, "demo-disc")
    with pytest.raises(UserError, match=r"another command.*disc-cnn"):
        preset_for(PretrainSettings, "adv-archive")
    (tmp_path / "mine.yaml").write_text("steps: 3\nstepz: 4\n")
    with pytest.raises(UserError, match="setting 'stepz': no such setting"):
        build(TrainSettings, preset_for(TrainSettings, str(tmp_path / "mine.yaml")))


def test_a_value_out_of_range_names_its_flag() -> None:
    flags = options.names(TrainSettings, choices=True)
    with pytest.raises(UserError, match=r"^setting 'generator.max_length' \(--max-length\): "):
        build(TrainSettings, {"generator": {"max_length": 2}}, flags=flags)
    # What only a preset can choose has none.
    with pytest.raises(UserError, match=r"^setting 'model.statistics.width': "):
        build(PretrainSettings, {"model": {"kind": "statistics", "width": 1}},
              flags=options.names(PretrainSettings))  # fmt: skip
    with pytest.raises(UserError, match=r"^setting 'generator': --width 256 .* --heads 7:"):
        build(TrainSettings, {"generator": {"heads": 7}})
    # A flag of the other family of generators is one all the same.
    with pytest.raises(UserError, match=r"\(--heads\): no such setting of the lstm; .* --model"):
        build(TrainSettings, {"generator": {"kind": "lstm", "heads": 4}}, flags=flags)


def test_what_a_preset_says_is_not_blamed_on_flags() -> None:
    flags = options.names(PretrainSettings)
    with pytest.raises(UserError, match=r"^the preset's setting 'steps': "):
        build(PretrainSettings, {"steps": 0}, {"batch": 8}, flags=flags, preset=True)
    with pytest.raises(UserError, match=r"^setting 'steps' \(--steps\): "):
        build(PretrainSettings, {"steps": 9}, {"steps": 0}, flags=flags, preset=True)
    preset = {"shortest": 64, "folds": 8}
    with pytest.raises(UserError, match=r"than --window 32 \(--shortest from the preset\)$"):
        build(PretrainSettings, preset, {"window": 32}, flags=flags, preset=True)
    with pytest.raises(UserError, match=r"--fold 9 of --folds 8: .* \(--folds from the preset\)$"):
        build(PretrainSettings, preset, {"fold": 9}, flags=flags, preset=True)


def test_the_help_of_the_reward_says_what_it_needs() -> None:
    text = CliRunner().invoke(main, ["train", "--help"], terminal_width=400).output
    assert "Needs --adv-estimator reinforce or replay." in text


@pytest.mark.parametrize("content", ["steps: [", "- steps\n- batch\n", "steps"])
def test_a_preset_must_be_a_mapping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_preset(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_preset_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such preset file"):
        read_preset(str(tmp_path / "none.yaml"))


def test_an_empty_preset_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert build(TrainSettings, read_preset(str(tmp_path / "empty.yaml"))) == TrainSettings()


def test_later_layers_win_field_by_field() -> None:
    preset = {"steps": 7, "generator": {"layers": 2, "width": 64}, "augment": {"transpose": 0}}
    flags = {"batch": 3, "generator": {"width": 32}}
    settings = build(TrainSettings, preset, flags)
    assert (settings.steps, settings.batch) == (7, 3)
    assert (settings.generator.layers, settings.generator.width) == (2, 32)
    assert settings.augment == AugmentSettings(transpose=0)
    assert preset["generator"] == {"layers": 2, "width": 64}, "layers are read, not written"


def parsed(kind: type[BaseModel], *flags: str) -> dict[str, Any]:
    """What `options` makes of flags."""
    found: dict[str, Any] = {}

    @click.command()
    @options.options(kind, choices=kind is TrainSettings)
    def command(**values: Any) -> None:
        found.update(options.given(kind, values, choices=kind is TrainSettings))

    result = CliRunner().invoke(command, flags)
    assert result.exit_code == 0, result.output
    return found


def test_flags_nest_like_the_settings() -> None:
    assert parsed(TrainSettings) == {}
    flags = ("--width", "64", "--no-tie-embeddings", "--transpose", "0", "--steps", "5")
    found = parsed(TrainSettings, *flags)
    assert found == {
        "steps": 5,
        "generator": {"width": 64, "tie_embeddings": False},
        "augment": {"transpose": 0},
    }


def test_a_choice_among_numbers_is_a_number() -> None:
    assert parsed(TrainSettings, "--dense", "2") == {"generator": {"dense": 2}}


def test_a_flag_may_be_given_several_times() -> None:
    flags = ("--hide", "velocity", "--hide", "duration", "--exclude-sources", "a")
    found = parsed(PretrainSettings, *flags)
    assert found == {"hide": ("velocity", "duration"), "exclude_sources": ("a",)}


def test_flags_override_a_preset_nested_fields_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 7\nbatch: 3\ngenerator: {layers: 2, width: 64}\n")
    flags = parsed(TrainSettings, "--batch", "5", "--layers", "1")
    settings = build(TrainSettings, read_preset(str(path)), flags)
    assert (settings.steps, settings.batch) == (7, 5)
    assert (settings.generator.layers, settings.generator.width) == (1, 64)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_field_is_a_described_flag(command: tuple[str, ...]) -> None:
    text = CliRunner().invoke(main, [*command, "--help"], terminal_width=400).output
    words = " ".join(text.split())
    fields = list(options._fields(COMMANDS[command]))
    assert len(fields) > 5
    for _, name, field in fields:
        assert field.description, f"{name} has no description"
        assert f" --{name.replace('_', '-')} " in words
        assert " ".join(field.description.split()) in words, f"{name} is not described in --help"


@pytest.mark.parametrize("kind", COMMANDS.values())
def test_no_two_fields_share_a_flag(kind: type[BaseModel]) -> None:
    names = [name for _, name, _ in options._fields(kind)]
    assert len(set(names)) == len(names)


def test_neutralising_is_off_until_one_flag_turns_it_on() -> None:
    assert PretrainSettings().neutralise.neutral_share == 0
    flags = parsed(PretrainSettings, "--neutral-share", "1", "--neutral-velocity", "flat")
    assert flags == {"neutralise": {"neutral_share": 1, "neutral_velocity": "flat"}}
    wanted = NEUTRAL.model_copy(update={"neutral_velocity": "flat"})
    assert build(PretrainSettings, flags).neutralise == wanted


def test_thinning_is_off_until_one_flag_turns_it_on() -> None:
    assert PretrainSettings().thinning.thin_share == 0
    flags = parsed(PretrainSettings, "--thin-share", "0.5")
    assert build(PretrainSettings, flags).thinning.thin_share == 0.5


@pytest.mark.parametrize("kind", [TrainSettings, PretrainSettings])
def test_settings_cannot_change_under_a_run(kind: type[BaseModel]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        kind().steps = 3


@pytest.mark.parametrize("kind", [TrainSettings, PretrainSettings])
def test_the_help_names_the_defaults_that_hold(kind: type[BaseModel]) -> None:
    """A nested setting may have another default here than where it is at home."""

    @click.command()
    @options.options(kind)
    def command(**values: Any) -> None:
        pass

    told = {option.name: option.help for option in command.params}
    transpose = kind().augment.transpose
    assert told["transpose"] == f"Semitones up or down, at most.  [{transpose}]"
    assert PretrainSettings().augment.transpose != TrainSettings().augment.transpose


@pytest.mark.parametrize(
    ("name", "sections"), [("train", TRAIN_SECTIONS), ("pretrain-disc", PRETRAIN_SECTIONS)]
)
def test_flags_stand_under_headings(name: str, sections: dict[str, str]) -> None:
    """Every flag once, every heading once, in order."""
    command = main.commands[name]
    text = CliRunner().invoke(command, ["--help"]).output
    places = [text.index(f"\n{heading}:\n") for heading in sections.values()]
    assert places == sorted(places)
    lines = [line for line in text[places[0] :].splitlines() if line.startswith("  -")]
    for parameter in command.params:
        flag = max(parameter.opts, key=len)
        assert sum(flag in re.split(r"[ ,/]+", line) for line in lines) == 1, flag
    assert sum("--help" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("flag", "value"), [("--steps", "0"), ("--dropout", "1"), ("--adv-start", "-1")]
)
def test_a_number_out_of_a_flags_range_is_wrong_usage(flag: str, value: str) -> None:
    told = CliRunner().invoke(main, ["train", "--corpus", "x", "--out", "y", flag, value])
    assert told.exit_code == 2
    assert f"{value}" in told.output
    assert "is not in the range" in told.output


@pytest.mark.parametrize("content", [b"a: \xff\n", b"a: [1,\nb: }", b"a: 2001-99-99\n"])
def test_a_preset_that_is_no_yaml_is_told(content: bytes, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.yaml: not YAML"):
        preset_for(TrainSettings, str(preset))
