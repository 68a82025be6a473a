"""`gan render` from the command line: what is written where, rows, exit codes."""

import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data_tools import midi
from data_tools.midi import Notes
from data_tools.soundfont import places
from gan.cli import main
from tests.data_tools.soundfonts import write_soundfont


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["render", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_soundfont(tmp_path_factory.mktemp("fonts") / "made.sf2")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Three good files, two of one name, and a bad one."""
    start = 500 * np.arange(8)
    notes = Notes(start, start + 400, np.full(8, 60) + np.arange(8), np.full(8, 80))
    score = midi.score_of(notes, 500, 120.0)
    for name in ("a.mid", "a.midi", "inner/b.mid"):
        midi.write(score, tmp_path / "music" / name)
    (tmp_path / "music" / "bad.mid").write_text("no music in here")
    return tmp_path / "music"


def test_a_folder_is_rendered_and_the_bad_file_set_aside(
    music: Path, font: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run(music, "--out", out, "--soundfont", font, "--roll", "both", "--workers", 2)
    assert result.exit_code == 0, result.stderr
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    stems = ("a", "a-2", "inner/b")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("wav", "svg", "png")}
    row = next(line for line in result.stdout.splitlines() if "bad.mid" in line)
    assert "not readable as MIDI" in row
    with wave.open(str(out / "inner" / "b.wav")) as file:
        assert 3.9 < file.getnframes() / file.getframerate() < 4.5


def test_files_of_one_name_have_names_of_their_own(music: Path, tmp_path: Path) -> None:
    given = [music / "a.mid"]
    for folder, name in (("one", "a.mid"), ("two", "A.mid"), ("two", "a-2.mid")):
        given.append(music / folder / name)
        given[-1].parent.mkdir(exist_ok=True)
        given[-1].write_bytes(given[0].read_bytes())
    flags = (*given, "--out", tmp_path / "o", "--format", "none", "--roll", "svg")
    for _ in range(2):  # the second time over what is there
        assert run(*flags).exit_code == 0
        names = sorted(path.name for path in (tmp_path / "o").iterdir())
        assert names == ["A-3.svg", "a-2-2.svg", "a-2.svg", "a.svg"]
    assert "rerun replaces what lies in --out" in " ".join(run("--help").output.split())


def test_only_pictures_need_no_soundfont(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "find", lambda: pytest.fail("nobody asked for sound"))
    result = run(music / "a.mid", "--out", tmp_path / "o", "--format", "none", "--roll", "svg")
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a.svg"]


def test_quiet_prints_errors_alone(music: Path, font: Path, tmp_path: Path) -> None:
    result = run(music, "--out", tmp_path / "o", "--soundfont", font, "--quiet", "--workers", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.count("\n") == 1
    assert "bad.mid" in result.stderr


def test_a_row_says_which_notes_the_soundfont_lacks(music: Path, tmp_path: Path) -> None:
    narrow = write_soundfont(tmp_path / "narrow.sf2", g43=40 | 65 << 8)  # keys 40 to 65
    result = run(music / "a.mid", "--out", tmp_path / "o", "--soundfont", narrow)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "o" / "a.wav").exists()
    assert "2 of 8 notes have no sound in narrow.sf2" in result.stdout
    silent = write_soundfont(tmp_path / "silent.sf2", g43=20 | 30 << 8)
    result = run(music / "a.mid", "--out", tmp_path / "p", "--soundfont", silent)
    assert result.exit_code == 1
    assert "no sound for any of its notes" in result.stderr


def test_nothing_rendered_is_failed_work(music: Path, font: Path, tmp_path: Path) -> None:
    result = run(music / "bad.mid", "--out", tmp_path / "o", "--soundfont", font)
    assert result.exit_code == 1
    assert "none of 1 files" in result.stderr
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


def test_a_bad_soundfont_is_one_line(music: Path, tmp_path: Path) -> None:
    result = run(music, "--out", tmp_path / "o", "--soundfont", music / "bad.mid")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--explain"],
        ["--format", "none"],
        ["--model", "x"],
        ["--format", "flac"],
        ["--rate", "1"],
    ],
)
def test_wrong_usage_is_2(music: Path, tmp_path: Path, flags: list[str]) -> None:
    out = ["--out", tmp_path / "o"] if flags else []
    assert run(music, *out, *flags).exit_code == 2


def test_nothing_is_downloaded_unasked(
    music: Path, font: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(**_: object) -> Path:
        asked.append(True)
        return font

    monkeypatch.setattr(places, "fetch", fetch)
    rendered = run(music / "a.mid", "--out", tmp_path / "o", "--soundfont", font)
    assert (rendered.exit_code, asked) == (0, [])
    fetched = run("--fetch-soundfont")
    assert (fetched.exit_code, asked) == (0, [True])
    both = run(music / "a.mid", "--out", tmp_path / "p", "--fetch-soundfont")
    assert both.exit_code == 0, both.stderr
    assert f"soundfont: {font}" in both.stderr


def test_explain_draws_an_opinion(
    practice_music: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    path = sorted((practice_music / "jazz").glob("*.mid"))[0]
    result = run(
        path, "--out", tmp_path / "o", "--format", "none", "--roll", "svg", "--explain",
        "--model", tiny_discriminator, "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "o" / f"{path.stem}.svg").read_text()
    assert "p(jazz) = " in text
    assert "for jazz" in text


def test_rendering_loads_no_torch(music: Path, font: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from gan.cli import main\n"
        "main(sys.argv[1:])\n"
    )  # fmt: skip
    command = [sys.executable, "-c", code, "render", str(music / "a.mid"), "--roll", "svg"]
    command += ["--out", str(tmp_path / "o"), "--soundfont", str(font)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="it has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_work_that_is_stopped_leaves_no_part_of_a_file(
    number: int, font: Path, tmp_path: Path
) -> None:
    start = 100 * np.arange(36_000)  # an hour
    notes = Notes(start, start + 90, 40 + np.arange(36_000) % 40, np.full(36_000, 80))
    for name in ("a", "b"):
        midi.write(midi.score_of(notes, 500, 120.0), tmp_path / "music" / f"{name}.mid")
    out = tmp_path / "out"
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # nohup hands its own on
    code += "from gan.cli import main; main()"
    command = [sys.executable, "-c", code, "render", tmp_path / "music", "--out", out]
    command += ["--soundfont", font, "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        while not list(out.glob(".*.tmp")):
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, number)
    assert process.returncode
    for _ in range(200):  # the last process to end may be one that is orphaned
        if not (left := list(out.iterdir())):
            break
        time.sleep(0.05)
    assert not left
