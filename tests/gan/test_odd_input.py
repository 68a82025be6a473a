"""Odd input, for the renderer and the report alike: an empty piece, three hours, 50,000 notes, no
samples, one system only. Each is a clear message or a page that does without.
"""

import json
import os
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data_tools import midi
from data_tools.corpus import Corpus
from data_tools.midi import Notes
from gan.cli import main
from gan.evaluation.report import Report, Sample, System, write_report
from gan.evaluation.report.music import played
from tests.data_tools.soundfonts import write_soundfont

HOURS, MANY = 3, 50_000


def gan(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def music(count: int, seconds: float) -> midi.ScoreTick:
    """So many notes over so long; a tick is a millisecond."""
    random = np.random.default_rng(0)
    start = np.sort(random.integers(0, round(1000 * seconds), count))
    pitch = 36 + np.arange(count) * 7 % 49  # neighbours differ: none ends another
    notes = Notes(start, start + 180, pitch, random.integers(40, 110, count))
    return midi.score_of(notes, 500, 120.0)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    midi.write(music(0, 1), folder / "empty.mid")
    midi.write(music(4000, HOURS * 3600), folder / "hours.mid")
    midi.write(music(MANY, 900), folder / "many.mid")
    return folder


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_soundfont(tmp_path_factory.mktemp("fonts") / "made.sf2")


def rendered(path: Path, out: Path, font: Path) -> Result:
    return gan("render", path, "--out", out, "--soundfont", font, "--rate", 8000, "--workers", 1,
               "--roll", "svg")  # fmt: skip


# The renderer


def test_an_empty_piece_is_a_message_and_no_file(pieces: Path, font: Path, tmp_path: Path) -> None:
    result = rendered(pieces / "empty.mid", tmp_path / "out", font)
    assert result.exit_code == 1
    assert "error: none of 1 files could be rendered; no notes" in result.stderr
    assert not list((tmp_path / "out").rglob("*.*"))


@pytest.mark.parametrize(("name", "seconds"), [("hours", HOURS * 3600), ("many", 900)])
def test_a_huge_piece_sounds_and_is_drawn(
    pieces: Path, font: Path, tmp_path: Path, name: str, seconds: int
) -> None:
    result = rendered(pieces / f"{name}.mid", tmp_path, font)
    assert result.exit_code == 0, result.output
    path = tmp_path / f"{name}.wav"
    with wave.open(str(path)) as file:
        frames = file.getnframes()
        assert seconds - 10 < frames / file.getframerate() < seconds + 2
        file.setpos(frames - 4 * 8000)  # the last notes are there
        assert np.abs(np.frombuffer(file.readframes(4 * 8000), "<i2")).max() > 300
    path.unlink()  # hundreds of megabytes
    drawing = tmp_path / f"{name}.svg"
    assert 10_000 < drawing.stat().st_size < 10_000_000
    assert "</svg>" in drawing.read_text()[-20:]


def test_a_folder_without_music_is_a_message(font: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    result = rendered(tmp_path / "nothing", tmp_path / "out", font)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 + result.stderr.startswith("soundfont: ")
    assert "nothing" in result.stderr
    assert "Traceback" not in result.output


def test_one_bad_piece_does_not_stop_the_others(pieces: Path, font: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    midi.write(music(20, 5), folder / "a.mid")
    (folder / "b.mid").write_bytes((pieces / "empty.mid").read_bytes())
    result = rendered(folder, tmp_path / "out", font)
    assert result.exit_code == 0
    assert re.search(r"b\.mid.*no notes", result.stdout)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.svg", "a.wav"]


# The page


def test_the_page_shows_what_it_can_of_each(pieces: Path, tmp_path: Path) -> None:
    samples = [Sample(name, pieces / f"{name}.mid") for name in ("empty", "hours", "many")]
    found = {sample.title: played(sample) for sample in samples}
    assert (found["empty"].notes, found["empty"].message) == (0, "no notes")
    assert found["hours"].message == found["many"].message == ""
    assert found["hours"].words.endswith(("2:59:59", "3:00:00"))
    assert found["many"].notes == MANY
    path = write_report(Report("odd", systems=[System("alone", samples=samples)]), tmp_path / "p")
    html = path.read_text("utf-8")
    assert html.count('class="stage"') == 2
    assert ">no notes<" in html
    assert f">{MANY:,} notes<" in html


def test_one_system_and_none_make_a_page(tmp_path: Path) -> None:
    one = [Sample("first", np.array([[0, 1, 60, 80.0]]))]
    for systems, says in (
        ([], "No system to show."),
        ([System("alone")], "no samples"),
        ([System("alone", samples=one)], "1 sample"),
    ):
        html = write_report(Report("few", systems=systems), tmp_path / "p").read_text("utf-8")
        assert says in html
        assert re.search(r'id="blind-toggle"[^>]* disabled', html), "there is nobody to compare"


# The evaluation


def evaluated(system: object, corpus: Corpus, out: Path, *flags: object) -> Result:
    return gan("evaluate", system, "--real", corpus.folder, "--split", "train", "--no-judges",
               "--count", 3, "--length", 64, "--device", "cpu", "--out", out, *flags)  # fmt: skip


def test_an_evaluation_of_odd_files(pieces: Path, practice_corpus: Corpus, tmp_path: Path) -> None:
    result = evaluated(f"odd={pieces}", practice_corpus, tmp_path)
    assert result.exit_code == 0, result.output
    assert re.search(r"left out .*empty\.mid: .*no notes", result.stderr)
    assert "odd: 2 pieces" in result.stdout
    assert len(list((tmp_path / "samples" / "odd").glob("*.mid"))) == 2
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count('class="stage"') == 2 + 8


def test_an_evaluation_of_nothing_is_a_message(
    pieces: Path, practice_corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.mid").write_bytes((pieces / "empty.mid").read_bytes())
    result = evaluated(tmp_path / "in", practice_corpus, tmp_path / "out")
    assert result.exit_code == 1
    assert "no MIDI file that could be used (1 refused)" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_evaluation_that_shows_no_samples(practice_corpus: Corpus, tmp_path: Path) -> None:
    result = evaluated("ce", practice_corpus, tmp_path, "--shown", 0)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text("utf-8")
    assert 'class="stage"' not in page
    assert 'id="listen"' not in page
    assert page.count("no samples") == 2


# A name that is no text


def test_a_name_that_is_no_text_is_said_in_every_command(
    practice_music: Path, tiny_discriminator: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "music" / "caf\udce9"
    path = folder / "caf\udce9.mid"
    try:
        folder.mkdir(parents=True)
        path.write_bytes(next(practice_music.rglob("*.mid")).read_bytes())
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system holds no such names")
    model = ("--model", tiny_discriminator, "--device", "cpu")
    explain = ("explain", path, *model, "--method", "gradient")
    result = gan(*explain, "--out", tmp_path / "x.svg")
    assert result.exit_code == 0, result.output
    assert f"{tmp_path}/music/caf\\udce9/caf\\udce9.mid: " in result.stdout
    told = json.loads(gan(*explain, "--format", "json").stdout_bytes)
    assert told["path"] == str(path)
    dry = gan("curate", tmp_path / "music", "--keep", "jazz", "--dry-run", "--workers", 0, *model)
    assert dry.exit_code == 0, dry.output
    assert "`caf\\udce9`" in dry.stdout
    (tmp_path / "music" / "a.mid").write_bytes(path.read_bytes())
    (tmp_path / "music" / "manifest.csv").write_text("path\na.mid\n")
    made = gan("data", "build", tmp_path / "music", "--out", tmp_path / "corpus", "--workers", 1)
    assert made.exit_code == 0, made.output
    assert f"not read: 1 (caf\\udce9{os.sep}caf\\udce9.mid ...)" in made.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("score", "--workers", "0", "--device", "cpu"),
        ("curate", "--workers", "0", "--device", "cpu", "--keep", "jazz", "--out", "curated"),
        ("data", "check", "--workers", "1"),
        ("data", "build", "--workers", "1", "--out", "corpus"),
        ("render", "--out", "sound"),
    ],
    ids=" ".join,
)
def test_a_closed_folder_by_name_is_no_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "closed").mkdir()
    access, scandir = os.access, os.scandir

    def refused(path: str | os.PathLike[str] = ".") -> object:
        if os.path.basename(os.fspath(path)) == "closed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(
        os, "access",
        lambda path, mode: os.path.basename(os.fspath(path)) != "closed" and access(path, mode),
    )  # fmt: skip
    told = CliRunner().invoke(main, [*command, "closed"])
    assert told.exit_code == 1, told.output
    where = tmp_path / "curated" / "curation.csv"
    assert "this folder cannot be listed (Permission denied)" in (
        where.read_text() if command[0] == "curate" else told.output
    )
