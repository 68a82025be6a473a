"""Progress: a bar on a terminal, lines in a log file, and nothing of either where asked for."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from data_tools.corpus import Corpus
from gan import bars
from gan.bars import ProgressBar, rate
from gan.cli import main
from gan.logbook import Logbook
from tests.data_tools.soundfonts import write_soundfont


def shown(terminal: bool, total: int | None = 10, **more: bool) -> str:
    """What three steps write."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, highlight=False)
    with ProgressBar("counting", total, console=console, **more) as bar:
        for done in (1, 5, 10):
            bar.update(done)
            bar._bar.refresh()
    return file.getvalue()


def test_on_a_terminal_a_bar_is_drawn_and_gone_at_the_end() -> None:
    text = shown(terminal=True)
    assert "counting" in text
    assert "5/10" in text
    assert text.endswith("\x1b[2K"), "the line is wiped"
    assert "?" in shown(terminal=True, total=None)


def test_a_log_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(terminal=False) == "", "not within the first seconds"
    monkeypatch.setattr(bars, "PLAIN_SECONDS", 0.0)
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("counting: 5 of 10, ")
    assert lines[1].endswith(", 0:00 left")
    assert lines[2].startswith("counting: 10 of 10, ")
    assert "left" not in lines[2]
    assert shown(terminal=False, total=None).splitlines()[0].startswith("counting: 1, ")
    assert shown(terminal=False, plain=False) == ""


def test_the_bar_takes_nothing_from_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in `gan score --format csv > scores.csv`: the bar on a terminal, the rows in a file."""
    errors = io.StringIO()
    console = Console(file=errors, force_terminal=True, width=100)
    with ProgressBar("counting", 10, console=console):
        print("a row")
    assert capsys.readouterr().out == "a row\n"
    assert "a row" not in errors.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_nothing_at_all(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "PLAIN_SECONDS", 0.0)
    assert shown(terminal, quiet=True) == ""


def test_a_line_knows_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    file = io.StringIO()
    bar = ProgressBar("counting", 100, done=40, console=Console(file=file, width=80))
    now = 130.0
    bar.update(55, what="counting still")
    now = 160.0
    bar.update(40, total=30)
    assert file.getvalue().splitlines() == [
        "counting still: 55 of 100, 2.0 s each, 1:30 left",
        "counting still: 40 of 30",
    ]


def test_the_first_step_of_a_run_is_no_measure_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(bars.time, "monotonic", lambda: now)
    with Logbook(tmp_path, step=40, steps=140) as log:
        for step, later in ((41, 160.0), (50, 169.0)):
            now = later
            log.tick(step)
            log.log(step, {}, show=True)
    assert capsys.readouterr().out.splitlines() == ["step     41", "step     50  1:30 left"]


@pytest.mark.parametrize(("tries", "expected"), [(1, [2, 2, 3]), (2, [1, 2, 3])])
def test_pieces_written_side_by_side_are_done_together(
    tries: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "PLAIN_SECONDS", 0.0)
    words = ["generate", "--count", 3, "--batch", 2, "--best-of", tries, "--length", 48]
    words += ["--out", tmp_path, "--device", "cpu"]
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    lines = [line for line in result.stderr.splitlines() if line.startswith("writing: ")]
    assert [line.split(",")[0] for line in lines] == [f"writing: {n} of 3" for n in expected]


def test_a_speed_is_told_the_way_it_is_read() -> None:
    assert [rate(speed) for speed in (None, 0, 1234.5, 12, 2.5, 0.25)] == [
        "", "", "1,234/s", "12/s", "2.5/s", "4.0 s each"]  # fmt: skip


# Every long command; `gan evaluate` has its own test, in test_evaluate.py


def _commands(
    music: Path, corpus: Path, discriminator: Path, out: Path
) -> dict[str, tuple[list[object], str]]:
    """Words of each, and what of its progress is seen without --quiet."""
    font = write_soundfont(out / "made.sf2")
    short = ("--steps", 2, "--batch", 2, "--device", "cpu", "--warmup", 1)
    return {
        "build": (["data", "build", music, "--out", out / "c", "--workers", 1], "reading: "),
        "practice": (["data", "practice", "--out", out / "p", "--count", 4], "composing: "),
        "audit": (["data", "audit", corpus, "--view", "files"], "audit: "),
        "pretrain-disc": (
            ["pretrain-disc", "--corpus", corpus, "--out", out / "d", "--model", "statistics",
             "--window", 64, "--shortest", 64, *short],
            "step ",
        ),
        "train": (
            ["train", "--corpus", corpus, "--out", out / "g", *short, "--adv-weight", 0,
             "--layers", 1, "--width", 16, "--heads", 2, "--length", 32, "--samples", 1,
             "--sample-length", 48, "--validation-windows", 4],
            "step ",
        ),
        "generate": (
            ["generate", "--count", 2, "--length", 48, "--out", out / "m", "--device", "cpu"],
            "writing: ",
        ),
        "score": (
            ["score", music / "jazz", "--model", discriminator, "--device", "cpu", "--workers", 1],
            " files/s",
        ),
        "curate": (
            ["curate", music / "jazz", "--keep", "jazz", "--out", out / "k", "--model",
             discriminator, "--device", "cpu", "--workers", 1],
            " files/s",
        ),
        "render": (
            ["render", music / "jazz", "--out", out / "s", "--soundfont", font, "--workers", 1,
             "--rate", 8000],
            "rendering: ",
        ),
    }  # fmt: skip


@pytest.fixture
def command(
    practice_music: Path, practice_corpus: Corpus, tiny_discriminator: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[str, str, str]]:  # fmt: skip
    """Runs one, told to show everything at once: its output, its errors, what is looked for."""
    monkeypatch.setattr(bars, "PLAIN_SECONDS", 0.0)

    def run(name: str, *flags: str) -> tuple[str, str, str]:
        out = tmp_path / ("quiet" if flags else "loud")
        out.mkdir()
        commands = _commands(practice_music, practice_corpus.folder, tiny_discriminator, out)
        words, sign = commands[name]
        result = CliRunner().invoke(main, [*map(str, words), *flags])
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr, sign

    return run


# What is a result stays on standard output: rows of scores, the report of an audit.
RESULTS = {"score", "audit"}
NAMES = ("build", "practice", "audit", "pretrain-disc", "train", "generate", "score", "curate",
         "render")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_quiet_silences_every_long_command(
    name: str, command: Callable[..., tuple[str, str, str]]
) -> None:
    output, errors, sign = command(name)
    assert sign in output + errors, "or this test looks for the wrong words"
    output, errors, sign = command(name, "--quiet")
    assert errors == ""
    assert sign not in output
    assert bool(output) == (name in RESULTS)
