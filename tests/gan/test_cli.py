"""The command line as people meet it: help, exit codes, one-line errors, formats."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from miditoolkit import MidiFile

from data_tools.corpus import Corpus, build
from data_tools.errors import UserError
from data_tools.midi import Prepared
from data_tools.practice import write_practice
from data_tools.representation import Representation, RepresentationSettings
from discriminator.classifier import PRETRAINED as CLASSIFIER
from discriminator.classifier import Classifier
from gan.cli import _preset_for, main
from gan.settings import TrainSettings
from generator.compose import STRIDE, Composer, Piece
from generator.folder import PRETRAINED
from generator.settings import TransformerSettings
from generator.transformer import Transformer

COMMANDS = [
    (), ("data",), ("data", "check"), ("data", "build"), ("data", "practice"),
    ("data", "audit"), ("data", "list"), ("data", "fetch"),
    ("pretrain-disc",), ("train",), ("generate",), ("score",), ("curate",),
    ("explain",), ("ensemble",), ("evaluate",), ("compare",), ("ray-score",), ("render",),
]  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("command", "given", "expected"),
    [
        ("generate", None, (None, "10000")),
        ("generate", "passive", ("passive", None)),
        ("train", None, (None, "1000")),
        ("train", "passive", ("passive", None)),
        ("compare", None, (None, "1000")),
        ("score", None, ("passive", None)),
        ("score", "active", ("active", None)),
    ],
)
def test_idle_threads_do_not_spin_for_ever(
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    given: str | None,
    expected: tuple[str | None, str | None],
) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.setenv(name, "")  # so that what the command sets is undone
        monkeypatch.delenv(name)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
    assert tuple(map(os.environ.get, names)) == expected


def refused(result: Result, code: int = 1) -> str:
    """The one line a refused command says."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    if code == 1:
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
    return lines[-1]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained generator's folder."""
    torch.manual_seed(0)
    representation = Representation(RepresentationSettings(), ("label:jazz",))
    settings = TransformerSettings(layers=1, width=32, heads=2, max_length=64)
    folder = tmp_path_factory.mktemp("generator")
    model = Transformer(representation.vocab_size, settings)
    Composer(model, representation, "jazz").save(folder)
    return folder


@pytest.fixture
def files(practice_music: Path, tmp_path: Path) -> Path:
    """A folder with two good files and one that is no MIDI."""
    for path in sorted((practice_music / "jazz").glob("*.mid"))[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.mid").write_bytes(b"no music in here")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert result.stderr == ""


def test_every_command_has_its_help_tested() -> None:
    names = {(name,) for name in main.commands}
    names |= {("data", name) for name in main.commands["data"].commands}
    assert names == set(COMMANDS) - {()}


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--span", "0:05-0:10"), "--span is the part to draw"),
        (("--method", "gradient", "--variants", 100), "--variants are of --method subsets"),
    ],
)
def test_what_explains_nothing_is_refused(flags: tuple[object, ...], why: str, files: Path) -> None:
    assert why in refused(run("explain", next(files.glob("*.mid")), *flags), code=2)


@pytest.mark.parametrize("group", [(), ("data",)])
def test_the_list_of_commands_breaks_nothing_off(group: tuple[str, ...]) -> None:
    listed = run(*group, "--help").stdout.split("Commands:")[1]
    assert "..." not in listed, listed


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; from gan.cli import main\n"
        "for command in ('train', 'score', 'generate', 'pretrain-disc'):\n"
        "    main([command, '--help'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules or 'miditok' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--adv-weight" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("swing",),
        ("train",),
        ("train", "--corpus", "x", "--out", "y", "--steps", "many"),
        ("train", "--corpus", "x", "--out", "y", "--bach", "1"),
        ("generate", "--out", "x", "--count", "0"),
        ("generate", "--out", "x", "--run", "a", "--checkpoint", "b"),
        ("generate", "--out", "x", "--prompt-bars", "4"),
        ("generate", "--out", "x", "--prompt-seconds", "0"),
        ("generate", "--out", "x", "--whistle"),
        ("generate", "--out", "x", "--greedy", "--temperature", "0.9"),
        ("generate", "--out", "x", "--greedy", "--top-k", "5"),
        ("generate", "--out", "x", "--greedy", "--top-p", "0.9", "--opening", "4"),
        ("generate", "--out", "x", "--greedy", "--min-p", "0.1"),
        ("generate", "--out", "x", "--greedy", "--opening", "0", "--count", "2"),
        ("generate", "--out", "x", "--greedy", "--opening", "0", "--count", "1", "--best-of", "3"),
        ("score",),
        ("score", "there-is-no-such-file.mid"),
        ("score", __file__, "--format", "xml"),
        ("data", "check", "there-is-no-such-folder"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert refused(run(*arguments), 2).startswith("Error: ")


def test_mistakes_are_one_line_and_exit_with_1(tmp_path: Path, practice_corpus: Corpus) -> None:
    out, corpus = tmp_path / "out", practice_corpus.folder
    assert "not a corpus" in refused(run("train", "--corpus", tmp_path, "--out", out))
    train = ("train", "--corpus", corpus, "--out", out, "--device", "cpu")
    assert "no preset 'nothing'" in refused(run(*train, "--preset", "nothing"))
    assert "'learning_rate'" in refused(run(*train, "--learning-rate", "nan"))
    assert "no source called cage" in refused(run(*train, "--exclude-sources", "cage"))
    assert "nowhere" in refused(run(*train, "--init", "nowhere"))
    critic = ("--adv-weight", "1", "--discriminator", tmp_path / "none")
    assert "none: no such folder; a classifier" in refused(run(*train, *critic))
    wrong = ("--adv-weight", "1", "--discriminator", PRETRAINED)
    assert "a generator; a classifier is needed here" in refused(run(*train, *wrong))
    judged = run("generate", "--run", CLASSIFIER, "--out", out)
    assert "a classifier; a generator is needed here" in refused(judged)
    assert "no checkpoint here" in refused(run("generate", "--out", out, "--run", tmp_path))
    assert "no checkpoint here" in refused(run("generate", "--out", out, "--checkpoint", tmp_path))
    assert not out.exists(), "a refused choice leaves nothing behind"


def test_a_choice_that_does_not_fit_the_context_is_refused_at_once(
    tmp_path: Path, practice_corpus: Corpus
) -> None:
    train = ("train", "--corpus", practice_corpus.folder, "--out", tmp_path / "out")
    tiny = ("--width", "32", "--heads", "2", "--layers", "1", "--max-length", "64")
    line = refused(run(*train, *tiny, "--length", "65", "--device", "cpu"))
    assert "windows (--length) of 65 tokens" in line
    assert "--max-length" in line
    assert not (tmp_path / "out").exists()


def test_rollouts_must_fit_the_context(
    tmp_path: Path, practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings]
) -> None:
    from gan.adversarial.trainer import Trainer

    settings = tiny_settings(adv_weight=0.1, prompt=16, rollout=48)
    with pytest.raises(UserError, match=r"\(--prompt and --rollout\) of 65 tokens"):
        Trainer(practice_corpus, tmp_path / "out", settings)
    settings = tiny_settings(adv_weight=0.1, prompt=16, rollout=47, samples=0)
    Trainer(practice_corpus, tmp_path / "out", settings).train_step(0)


@pytest.mark.parametrize("command", ["train", "pretrain-disc"])
def test_a_rate_that_never_comes_to_its_peak_is_remarked(
    command: str, tmp_path: Path, practice_corpus: Corpus
) -> None:
    words = [command, "--corpus", practice_corpus.folder, "--device", "cpu", "--steps", 2]
    if command == "train":
        words += ["--layers", 1, "--width", 32, "--heads", 2, "--samples", 0]
    for warmup in (3, 2):
        result = run(*words, "--batch", 2, "--out", tmp_path / str(warmup), "--warmup", warmup)
        assert result.exit_code == 0, result.stderr
        told = "note: the learning rate never comes to its peak: --warmup 3 goes on beyond the last"
        assert (told in result.stdout) == (warmup == 3)


def test_a_term_on_what_has_learnt_nothing_is_remarked(
    tmp_path: Path, practice_corpus: Corpus, tiny_discriminator: Path
) -> None:
    train = ("train", "--corpus", practice_corpus.folder, "--device", "cpu", "--steps", 1,
             "--batch", 1, "--length", 48, "--adv-weight", 1, "--adv-batch", 2, "--rollout", 16,
             "--prompt", 8, "--discriminator", tiny_discriminator, "--samples", 0,
             "--validation-windows", 2)  # fmt: skip
    result = run(*train, "--out", tmp_path / "new", "--layers", 1, "--width", 32, "--heads", 2)
    assert result.exit_code == 0, result.stderr
    assert "has learnt nothing" in result.stdout
    result = run(*train, "--out", tmp_path / "on", "--init", tmp_path / "new")
    assert result.exit_code == 0, result.stderr
    assert "has learnt nothing" not in result.stdout
    assert "nothing comes of" not in result.stdout
    result = run(*train, "--out", tmp_path / "late", "--adv-start", 1, "--init", tmp_path / "new")
    assert "no adversarial term: --adv-start 1 comes after the last of 1 steps" in result.stdout
    for ramp, told in ((50, True), (1, False)):
        result = run(*train, "--out", tmp_path / f"ramp-{ramp}", "--adv-ramp", ramp,
                     "--init", tmp_path / "new")  # fmt: skip
        assert ("never has its whole weight: --adv-ramp 50" in result.stdout) == told
    idle = (*train[:9], "--samples", 0, "--validation-windows", 2, "--kl-weight", 0.1,
            "--no-guard-hollow", "--init", tmp_path / "new")  # fmt: skip
    result = run(*idle, "--out", tmp_path / "idle")
    assert result.exit_code == 0, result.stderr
    assert "nothing comes of --kl-weight without --adv-weight or --reward-weight" in result.stdout
    # The run says what it is made of, and not what it is not.
    settings = yaml.safe_load((tmp_path / "on" / "settings.yaml").read_text())["generator"]
    assert (settings["kind"], settings["layers"], settings["width"]) == ("transformer", 1, 32)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--width", 64), "--width 64: .* a transformer of width 32,"),
        (("--qk-norm",), "--qk-norm: .* of qk norm False,"),
        (("--no-tie-embeddings",), "--no-tie-embeddings: .* of tie embeddings True,"),
        (("--model", "lstm"), "--model lstm: .* is a transformer, and stays one"),
        (("--model", "lstm", "--hidden", 64), "--model lstm: .* is a transformer, and stays one"),
        (("--size", "small"), "--size small: "),
        (("--condition", "artist"), "--condition artist: .* with --condition label,"),
        (("--condition", "none"), "--condition none: .* with --condition label,"),
    ],
)
def test_what_goes_on_stays_what_it_is(
    tmp_path: Path, practice_corpus: Corpus, generator: Path, flags: tuple[object, ...], word: str
) -> None:
    train = ("train", "--corpus", practice_corpus.folder, "--out", tmp_path / "run", "--init",
             generator, "--width", 32, "--layers", 1, "--length", 32)  # fmt: skip
    assert re.search(word, refused(run(*train, *flags)))
    assert not (tmp_path / "run").exists()


def test_a_flag_of_the_other_family_is_told_so(tmp_path: Path, practice_corpus: Corpus) -> None:
    train = ("train", "--corpus", practice_corpus.folder, "--device", "cpu", "--samples", 0)
    small = ("--model", "lstm", "--layers", 1, "--width", 16, "--hidden", 16, "--steps", 1,
             "--batch", 1, "--length", 32, "--validation-windows", 2)  # fmt: skip
    result = run(*train, *small, "--out", tmp_path / "lstm")
    assert result.exit_code == 0, result.stderr
    line = refused(run(*train, "--out", tmp_path / "on", "--init", tmp_path / "lstm",
                       "--heads", 4))  # fmt: skip
    assert "--heads 4: --init " in line
    assert " is an LSTM (which has no such setting), and stays one" in line
    # Its own family's flags are not taken for a transformer's, which runs are by default.
    again = (*train, "--out", tmp_path / "on", "--init", tmp_path / "lstm")
    assert " is an LSTM of hidden 16, and stays one" in refused(run(*again, "--hidden", 32))
    assert run(*again, "--hidden", 16, "--batch-norm", "--check", 1).exit_code == 0


def test_the_shipped_generators_can_be_gone_on_from_by_name(
    tmp_path: Path, practice_corpus: Corpus
) -> None:
    result = run("train", "--corpus", practice_corpus.folder, "--out", tmp_path / "run", "--init",
                 "adv", "--steps", 1, "--batch", 1, "--length", 32, "--samples", 0,
                 "--validation-windows", 2, "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    settings = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert settings["generator"]["width"] == 256


def test_each_folder_is_one_thing(
    tmp_path: Path, practice_corpus: Corpus, practice_music: Path, generator: Path
) -> None:
    corpus, music = practice_corpus.folder, tmp_path / "music"
    music.mkdir()
    for path in sorted(practice_music.rglob("*.mid"))[:3]:
        shutil.copy(path, music)
    before = {path: path.read_bytes() for path in [*music.iterdir(), corpus / "corpus.json"]}
    train = ("train", "--corpus", corpus, "--steps", 1, "--layers", 1, "--width", 32, "--heads", 2)
    assert "a corpus; give the run a folder" in refused(run(*train, "--out", corpus))
    assert "a folder of music; give the run" in refused(run(*train, "--out", music))
    assert "a generator; give the run" in refused(run(*train, "--out", generator))
    evaluate = ("evaluate", generator, "--count", 2, "--no-judges")
    said = refused(run(*evaluate, "--real", corpus, "--out", music))
    assert "not empty and no evaluation" in said
    said = refused(run(*evaluate, "--real", generator, "--out", tmp_path / "new"))
    assert "a generator, or a run; give real music" in said
    assert "a corpus; a generator is needed" in refused(
        run("generate", "--run", corpus, "--out", tmp_path / "new")
    )
    assert "nowhere: no such folder" in refused(
        run("generate", "--checkpoint", "nowhere", "--out", tmp_path / "new")
    )
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_is_a_checkpoint_too(tmp_path: Path, generator: Path) -> None:
    place = tmp_path / "run"
    shutil.copytree(generator, place / "generator")
    result = run("generate", "--checkpoint", place, "--count", 1, "--length", 40, "--out",
                 tmp_path / "music", "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.stderr


def test_init_must_write_the_tokens_of_the_corpus(
    tmp_path: Path, practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings]
) -> None:
    from gan.adversarial.trainer import Trainer

    representation = Representation(RepresentationSettings(preset="performance"))
    model = Transformer(representation.vocab_size, tiny_settings().generator)
    Composer(model, representation).save(tmp_path / "other")
    with pytest.raises(UserError, match="writes other tokens than"):
        Trainer(practice_corpus, tmp_path / "out", tiny_settings(init=str(tmp_path / "other")))


def test_a_preset_leaves_out_the_sources_that_are_there(
    tmp_path: Path, practice_corpus: Corpus
) -> None:
    """The shipped presets name sources of another corpus; a flag that does so is a mistake."""
    known = practice_corpus.rows[0]["source"]
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"exclude_sources: [nowhere, mine, {known or 'elsewhere'}]\nsteps: 7\n")
    layer = _preset_for(TrainSettings, [practice_corpus.folder], str(preset))
    assert layer["steps"] == 7
    assert layer["exclude_sources"] == ([known] if known else [])
    write_practice(tmp_path / "rags", 2, rags=True)
    second = build([tmp_path / "rags"], tmp_path / "second", workers=1)[0]
    preset.write_text("exclude_sources: [nowhere, practice-ragtime]\n")
    layer = _preset_for(TrainSettings, [practice_corpus.folder, second.folder], str(preset))
    assert layer["exclude_sources"] == ["practice-ragtime"]
    plain = tmp_path / "plain.yaml"
    plain.write_text("steps: 3\n")
    assert _preset_for(TrainSettings, [tmp_path / "no corpus"], str(plain)) == {"steps": 3}


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = run("--debug", "train", "--corpus", tmp_path, "--out", tmp_path / "out")
    assert isinstance(result.exception, UserError)


def test_check_gives_a_row_a_file(files: Path) -> None:
    result = run("data", "check", files, "--format", "csv")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [Path(row["path"]).name for row in rows] == sorted(p.name for p in files.iterdir())
    assert [row["readable"] for row in rows] == ["yes", "yes", "no"]
    assert [bool(row["reason"]) for row in rows] == [False, False, True]
    assert [row["instruments"] for row in rows] == ["1", "1", "0"]
    result = run("data", "check", files, "--format", "json")
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["readable"] for one in objects] == [True, True, False]
    assert int(rows[0]["notes"]) == objects[0]["notes"] > 0
    table = run("data", "check", files).stdout
    assert all(str(path) in table for path in files.iterdir()), "paths are whole, for copying"


def test_strict_check_fails_on_a_bad_file_only(files: Path) -> None:
    result = run("data", "check", "--strict", files)
    assert result.exit_code == 1
    assert result.stderr == "error: 1 of 3 files are not single-instrument piano\n"
    assert "broken.mid" in result.stdout, "the rows come all the same"
    (files / "broken.mid").unlink()
    result = run("data", "check", "--strict", files)
    assert (result.exit_code, result.stderr) == (0, "")


def test_an_empty_folder_is_a_mistake(tmp_path: Path) -> None:
    assert "no .mid file" in refused(run("data", "check", tmp_path))


def test_score_formats(files: Path, tiny_discriminator: Path) -> None:
    result = run("score", files, "--model", tiny_discriminator, "--format", "json")
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    columns = ["path", "p_jazz", "verdict", "windows", "error"]
    assert all(list(row) == columns for row in rows)
    assert [Path(row["path"]).name for row in rows] == sorted(p.name for p in files.iterdir())
    assert all(0 <= row["p_jazz"] <= 1 and row["windows"] > 0 for row in rows[:2])
    assert rows[2]["p_jazz"] is None
    assert rows[2]["verdict"] == "unsure"
    assert rows[2]["error"]
    result = run("score", files, "--model", tiny_discriminator, "--format", "csv")
    text = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["p_jazz"] for row in text] == [str(row["p_jazz"]) for row in rows[:2]] + [""]
    assert "unsure" in run("score", files, "--model", tiny_discriminator).stdout


def test_score_without_a_model_there(files: Path, tmp_path: Path) -> None:
    said = refused(run("score", files, "--model", tmp_path / "none"))
    assert "none: no such folder; a classifier is needed here" in said


def test_generate_writes_readable_files_of_its_seeds(tmp_path: Path, generator: Path) -> None:
    write = ("generate", "--checkpoint", generator, "--length", 64, "--device", "cpu", "--out")
    result = run(*write, tmp_path / "a", "--count", 2, "--seed", 5)
    assert result.exit_code == 0, result.stderr
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 2
    assert names[0].startswith("000-seed")
    assert all(name in result.stdout for name in names)
    run(*write, tmp_path / "b", "--count", 2, "--seed", 5)
    run(*write, tmp_path / "c", "--count", 2, "--seed", 50)
    first = (tmp_path / "a" / names[0]).read_bytes()
    assert first == (tmp_path / "b" / names[0]).read_bytes()
    assert first not in [path.read_bytes() for path in (tmp_path / "c").iterdir()]
    assert "artist 'Sun Ra'" in refused(run(*write, tmp_path / "d", "--artist", "Sun Ra"))


def test_generate_stopped_says_how_to_write_the_rest(
    tmp_path: Path, generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ("generate", "--checkpoint", generator, "--length", 48, "--device", "cpu", "--batch",
             1, "--out")  # fmt: skip
    save, saved = Piece.save, []

    def save_two(self: Piece, path: Path) -> Path:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        return save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Piece, "save", save_two)
        result = run(*write, tmp_path / "a", "--count", 3, "--seed", 5)
    assert result.exit_code == 1
    assert "stopped: 2 of 3 are done; --seed 7 --count 1 writes the others" in result.stderr
    assert all(str(path) in result.stdout for path in saved)
    assert len(result.stdout.splitlines()) == 3, "a head, and a row for each that is there"
    assert run(*write, tmp_path / "a", "--count", 1, "--seed", 7).exit_code == 0
    run(*write, tmp_path / "b", "--count", 3, "--seed", 5)
    both = ([path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in "ab")
    assert sorted(next(both)) == sorted(next(both))


def test_generate_writes_over_nothing(tmp_path: Path, generator: Path) -> None:
    write = ("generate", "--checkpoint", generator, "--length", 64, "--device", "cpu", "--count", 1,
             "--out", tmp_path)  # fmt: skip
    assert run(*write).exit_code == 0
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    line = refused(run(*write, "--temperature", 0.5))
    assert str(path) in line
    assert "--force" in line
    assert path.read_bytes() == before
    assert run(*write, "--seed", 5).exit_code == 0, "of another seed, under another name"
    assert run(*write, "--temperature", 0.5, "--force").exit_code == 0
    assert path.read_bytes() != before


def test_the_first_marker_says_how_a_piece_was_made(
    tmp_path: Path, generator: Path, files: Path, tiny_discriminator: Path
) -> None:
    prompt = tmp_path / "a – \n tune.mid"
    shutil.copy(min(files.glob("0*.mid")), prompt)
    folder = tmp_path / "mine"
    shutil.copytree(generator, folder / "generator")
    write = ("generate", "--device", "cpu", "--quiet", "--discriminator", tiny_discriminator,
             "--checkpoint", folder / "generator", "--length", 48, "--seconds", 30, "--tempo", 140,
             "--jazz-guidance", 0.5, "--prompt", prompt, "--prompt-bars", 2, "--prompt-seconds", 3,
             "--temperature", 0.9)  # fmt: skip
    assert run(*write, "--count", 3, "--seed", 4, "--out", tmp_path / "a").exit_code == 0
    written = sorted((tmp_path / "a").iterdir())
    whole = MidiFile(str(written[1])).markers[0].text
    story = whole.replace(str(prompt.parent), "")
    assert story == (
        "composed by a transformer, generator mine, jazz-guidance 0.5, discriminator "
        f"{tiny_discriminator.name}, label jazz, temperature 0.9, opening 8, "
        "prompt /a ? ? tune.mid, tempo 140, length 48, seconds 30, prompt bars 2, "
        "prompt seconds 3, seed 5"
    )
    assert run(*write, "--count", 1, "--seed", 5, "--out", tmp_path / "b").exit_code == 0
    (alone,) = (tmp_path / "b").iterdir()
    assert alone.read_bytes() == written[1].read_bytes()
    best = (*write[:6], "--checkpoint", generator, "--length", 48, "--best-of", 2, "--count", 1)
    assert run(*best, "--out", tmp_path / "c").exit_code == 0
    (piece,) = (tmp_path / "c").iterdir()
    assert f"generator {generator.name}, best of 2, " in MidiFile(str(piece)).markers[0].text


def test_generate_says_what_ends_before_its_seconds(tmp_path: Path, generator: Path) -> None:
    write = ("generate", "--checkpoint", generator, "--device", "cpu", "--count", 2, "--out")
    short = ("--seconds", 60, "--length", 48)
    result = run(*write, tmp_path / "a", *short)
    assert result.exit_code == 0, result.stderr
    line = "note: 2 of 2 end before 60 seconds, with their 48 tokens; give a larger --length"
    assert result.stderr.splitlines()[-1] == line
    assert "note:" not in run(*write, tmp_path / "b", "--seconds", 1).stderr
    assert "note:" not in run(*write, tmp_path / "c", "--length", 48).stderr
    assert run(*write, tmp_path / "d", *short, "--quiet").stderr == ""
    stream = ("generate", "--checkpoint", generator, "--device", "cpu", "--stream")
    assert run(*stream, *short).stderr == line.replace("2 of 2", "1 of 1") + "\n"
    assert run(*stream, "--seconds", 1).stderr == run(*stream, "--length", 48).stderr == ""
    assert run(*stream, *short, "--quiet").stderr == ""


def test_a_piece_has_the_notes_it_must_and_says_when_it_breaks_off(
    tmp_path: Path, generator: Path
) -> None:
    write = ("generate", "--checkpoint", generator, "--device", "cpu", "--count", 3, "--out")
    result = run(*write, tmp_path / "a", "--min-notes", 2000)
    assert (
        "note: 3 of 3 break off before an end of their own, with their 1,024 tokens; give a larger "
        "--length, or --end-at-pause\n" in result.stderr
    )
    result = run(*write, tmp_path / "b", "--min-notes", 150, "--length", 900)
    assert result.exit_code == 0
    assert "end before" not in result.stderr
    for path in (tmp_path / "b").iterdir():
        piece = MidiFile(str(path))
        assert sum(len(track.notes) for track in piece.instruments) >= 150
        assert "min notes 150" in piece.markers[0].text
    result = run(*write, tmp_path / "d", "--min-notes", 150, "--length", 90)
    assert "note: 3 of 3 end before 150 notes, with their tokens or seconds\n" in result.stderr
    assert run(*write, tmp_path / "c", "--min-notes", 0).exit_code == 2


def test_an_empty_piece_costs_no_other(
    tmp_path: Path, generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Composer._draw

    def silenced(self: Composer, request: object, seeds: list[int], steering: object) -> list:
        found = draw(self, request, seeds, steering)
        return [None if seed % STRIDE == 1 else one for seed, one in zip(seeds, found, strict=True)]

    monkeypatch.setattr(Composer, "_draw", silenced)
    write = ("generate", "--checkpoint", generator, "--length", 64, "--device", "cpu", "--out",
             tmp_path, "--count", 3)  # fmt: skip
    result = run(*write)
    assert result.exit_code == 1
    assert "seed 1: no notes in 64 tokens" in result.stderr.splitlines()[-1]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:3] for name in names] == ["000", "002"]
    assert all(name in result.stdout for name in names)
    assert "of 2 degenerate" in result.stderr


def test_a_stream_is_one_piece(generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ("generate", "--checkpoint", generator, "--length", 64, "--device", "cpu", "--stream")
    assert "--count" in refused(run(*stream, "--count", 2), code=2)
    assert "--force" in refused(run(*stream, "--force"), code=2)
    assert "--batch" in refused(run(*stream, "--batch", 2), code=2)
    assert run(*stream, "--count", 1).stdout == run(*stream).stdout != ""
    assert "seed 18446744073709551616" in refused(run(*stream, "--seed", 2**64))
    monkeypatch.setattr(Composer, "stream", lambda *_, **__: iter(()))
    silent = run(*stream)
    assert (silent.stdout, silent.stderr) == ("", "note: the piece of seed 0 has no note\n")
    assert run(*stream, "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("temperature", -1), ("top-k", -1), ("top-p", 0), ("top-p", 1.5), ("min-p", 1),
        ("repetition", 0.5), ("no-repeat", 1), ("no-repeat", -2), ("opening", -1), ("seed", -1),
        ("label-guidance", -1), ("tempo", 5), ("seconds", 0), ("key", "H"), ("prompt-bars", 0),
        ("prompt-seconds", -1),
    ],
)  # fmt: skip
def test_what_is_out_of_a_flags_range_is_wrong_usage(
    tmp_path: Path, flag: str, value: object
) -> None:
    line = refused(run("generate", "--out", tmp_path / "new", f"--{flag}", value), code=2)
    assert f"--{flag}" in line
    assert str(value) in line


def test_generate_names_the_tempo_of_every_preset() -> None:
    told = " ".join(run("generate", "--help").stdout.split())
    for preset in ("duration", "performance", "remi", "raw"):
        usual = Representation(RepresentationSettings(preset=preset)).bpm
        assert f"{usual:g}" in told[told.index("--tempo") : told.index("--length")]


def test_generate_goes_on_from_a_prompt(tmp_path: Path, generator: Path, files: Path) -> None:
    prompt = min(files.glob("0*.mid"))
    write = ("generate", "--checkpoint", generator, "--length", 64, "--device", "cpu")
    result = run(*write, "--out", tmp_path / "a", "--count", 1, "--prompt", prompt,
                 "--prompt-bars", 2)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    heads, row = result.stdout.splitlines()[:2]
    told = dict(zip(heads.split(), row.split(), strict=False))
    (piece,) = (tmp_path / "a").glob("*.mid")
    read = MidiFile(str(piece))
    begins = next(marker.time for marker in read.markers if marker.text == "generated")
    notes = [note for track in read.instruments for note in track.notes]
    assert int(told["notes"]) == len(notes)
    assert int(told["of_prompt"]) == sum(note.start < begins for note in notes) > 0
    assert int(told["generated"]) == sum(note.start >= begins for note in notes) > 0
    assert "note:" not in result.stderr
    said = run(*write, "--out", tmp_path / "c", "--count", 1, "--prompt", prompt)
    line = f"note: {prompt}: gone on from its last "
    assert [one.startswith(line) for one in said.stderr.splitlines()].count(True) == 1
    quiet = run(*write, "--out", tmp_path / "d", "--count", 1, "--prompt", prompt, "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    for wrong in (("--artist", "Sun Ra"), ("--seconds", 1), ("--best-of", 2, "--label", "x")):
        refused(run(*write, "--out", tmp_path / "e", "--prompt", prompt, *wrong))
        if "--best-of" not in wrong:
            refused(run(*write, "--stream", "--prompt", prompt, *wrong))
    broken = files / "broken.mid"
    line = refused(run(*write, "--out", tmp_path / "b", "--count", 1, "--prompt", broken))
    assert str(broken) in line


@pytest.mark.parametrize("how", [("--out", "music", "--count", 1), ("--stream",)])
def test_generate_makes_tokens_of_its_prompt_once(
    generator: Path, files: Path, how: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, read = Representation.prepare, []

    def prepared(self: Representation, music: Path) -> Prepared:
        read.append(music)
        return prepare(self, music)

    monkeypatch.setattr(Representation, "prepare", prepared)
    monkeypatch.chdir(files)
    prompt = min(files.glob("0*.mid"))
    write = ("generate", "--checkpoint", generator, "--length", 48, "--device", "cpu")
    result = run(*write, *how, "--prompt", prompt)
    assert result.stderr.count("gone on from its last ") == 1
    assert read == [prompt]


def test_build_counts_and_verifies(practice_music: Path, tmp_path: Path) -> None:
    build = ("data", "build", practice_music / "manifest.csv", "--out", tmp_path / "corpus",
             "--workers", 1)  # fmt: skip
    result = run(*build)
    assert result.exit_code == 0, result.stderr
    assert "kept: 40" in result.stdout
    assert "train: 12 jazz, 12 not_jazz" in result.stdout
    assert "nothing has changed; verified" in run(*build).stdout
    assert run(*build, "--quiet").stdout == ""
    small = r"^note: validation has \d jazz and \d not_jazz, test has \d jazz and \d not_jazz: "
    assert re.search(small, result.stdout, re.MULTILINE)
    assert result.stdout.count("note:") == 1


def test_build_says_nothing_of_a_split_that_nobody_wanted(
    practice_music: Path, tmp_path: Path
) -> None:
    music = tmp_path / "music"
    shutil.copytree(practice_music, music, ignore=shutil.ignore_patterns("*.csv"))
    build = ("data", "build", music, "--workers", 1, "--test", 0, "--out")
    result = run(*build, tmp_path / "a")
    assert "note: validation has" in result.stdout
    assert "test has" not in result.stdout
    assert "note:" not in run(*build, tmp_path / "b", "--validation", 0).stdout


def test_build_says_what_a_manifest_leaves_out(practice_music: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    shutil.copytree(practice_music, music)
    build = ("data", "build", music, "--out", tmp_path / "corpus", "--workers", 1)
    assert "does not name" not in run(*build).stdout
    file = next((music / "jazz").glob("**/*.mid"))
    shutil.copy(file, music / "another.mid")
    shutil.copy(file, music / "jazz" / "third.MID")
    told = run(*build).stdout
    assert "does not name, and that were not read: 2 (another.mid ...)" in told
    table = (*build[:2], music / "manifest.csv", *build[3:-3], tmp_path / "other", *build[-2:])
    assert "does not name" not in run(*table).stdout, "who gives a table means that table"
    assert "kept: 40" in told


def test_build_says_what_is_music_by_another_name(practice_music: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    shutil.copytree(practice_music, music)
    (music / "manifest.csv").unlink()
    build = ("data", "build", music, "--out", tmp_path / "corpus", "--workers", 1)
    (music / "notes.txt").write_text("dear diary")
    told = run(*build).stdout
    assert "not by name" not in told
    assert "label conflicts: 0\n" in told
    file = next((music / "jazz").glob("**/*.mid"))
    shutil.copy(file, music / "jazz" / "tune.mid)")
    (music / "not_jazz").mkdir(exist_ok=True)
    shutil.copy(file, music / "not_jazz" / "again.mid")
    told = run(*build).stdout
    assert "not read: 1 (jazz/tune.mid) ...)" in told
    checked = run("data", "check", music, "--format", "csv")
    assert "not read: 1 (jazz/tune.mid) ...)" in checked.stderr
    assert "not by name" not in checked.stdout
    assert "label conflicts: 1 (see conflicts.csv)" in told


def test_build_says_which_label_no_piece_has(practice_music: Path, tmp_path: Path) -> None:
    files = sorted((practice_music / "jazz").glob("**/*.mid"))[:4]
    assert files
    for folder, missing in (("Jazz", "labelled not_jazz"), ("songs", "labelled jazz or not_jazz")):
        (tmp_path / folder).mkdir()
        for file in files:
            shutil.copy(file, tmp_path / folder)
        result = run("data", "build", tmp_path / folder, "--out", tmp_path / f"{folder}-corpus",
                     "--workers", 1)  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert f"note: no piece is {missing}" in result.stdout
        assert "--manifest" in result.stdout


def test_a_key_during_the_imports_is_answered_quietly() -> None:
    code = """
import sys
class Pressed:
    def find_spec(name, *_):
        if name == "gan.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Pressed)
from gan.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "stopped\n")


@pytest.mark.skipif(os.name == "nt", reason="its shell closes no output")
def test_where_the_output_is_closed_work_is_done_and_files_hold_nothing_else(
    files: Path, tmp_path: Path
) -> None:
    command = f"'{sys.executable}' -m gan score '{next(files.glob('0*.mid'))}' "
    table = tmp_path / "scores.csv"
    for flags in ("--format csv >&-", f"--out '{table}' >&- 2>&- <&-"):
        done = subprocess.run(["sh", "-c", command + flags], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    with table.open(encoding="utf-8", newline="") as stream:
        assert [row["error"] for row in csv.DictReader(stream)] == [""]


def test_a_piece_written_meanwhile_is_written_over_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "000-seed0.mid"
    whole = Composer.each

    def each(*given: object, **choices: object) -> object:
        theirs.write_text("another process's")
        return whole(*given, **choices)  # type: ignore[arg-type]

    monkeypatch.setattr(Composer, "each", each)
    words = ("generate", "--out", tmp_path, "--count", 1, "--length", 24, "--device", "cpu")
    assert f"{theirs}: another process has written it" in refused(run(*words))
    assert theirs.read_text() == "another process's"
    assert run(*words, "--force").exit_code == 0
    assert theirs.read_bytes().startswith(b"MThd")


def test_what_a_glance_refuses_waits_for_no_model(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Composer, "load", load)
    monkeypatch.setattr(Classifier, "load", load)
    taken = tmp_path / "taken"
    taken.write_text("a file")
    assert "give a folder" in refused(run("generate", "--out", taken))
    there = tmp_path / "000-seed0.mid"
    there.write_text("a piece")
    assert "there already" in refused(run("generate", "--out", tmp_path))
    write = ("generate", "--out", tmp_path / "new")
    assert "broken.mid" in refused(run(*write, "--prompt", files / "broken.mid"))
    assert "key 'H'" in refused(run(*write, "--key", "H"), code=2)
    assert "leave out --out" in refused(run(*write, "--stream"), code=2)
    music = next(files.glob("0*.mid"))
    assert "a table ends in" in refused(run("score", music, "--out", tmp_path / "x.txt"))
    assert "a picture ends in" in refused(run("explain", music, "--out", tmp_path / "x.jpg"))
