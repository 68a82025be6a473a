"""Two corpora as one to train on: the first's numbers hold, and nothing kept apart is met."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miditoolkit
import numpy as np
import pytest

from data_tools import midi
from data_tools.corpus import Corpus, Enlarged, build
from data_tools.errors import UserError
from data_tools.settings import CorpusSettings, RepresentationSettings

Make = Callable[..., Corpus]


def song(seed: int) -> miditoolkit.MidiFile:
    rng = np.random.default_rng(seed)
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    track = miditoolkit.Instrument(0)
    for i in range(40):
        pitch = int(rng.integers(40, 80))
        track.notes.append(miditoolkit.Note(64, pitch, i * 240, i * 240 + 200))
    music.instruments.append(track)
    return music


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(name: str, seeds: range, artist: str = "", work: str = "", **changes: Any) -> Corpus:
        folder = tmp_path / name
        rows = ["path,label,source,artist,work_group"]
        for seed in seeds:
            label = "jazz" if seed % 2 else "not_jazz"
            midi.write(song(seed), folder / label / f"{seed}.mid")
            mine = (artist, work) if seed == seeds[0] else ("", "")
            rows.append(f"{label}/{seed}.mid,{label},{name},{mine[0]},{mine[1]}")
        (folder / "manifest.csv").write_text("\n".join(rows))
        settings = CorpusSettings(**changes)
        out = tmp_path / f"{name}-corpus"
        return build([folder / "manifest.csv"], out, settings, workers=1)[0]

    return make


def test_its_own_pieces_keep_their_numbers_and_splits(make: Make) -> None:
    first, second = make("first", range(30)), make("second", range(100, 112))
    both = Enlarged(first.folder, second.folder)
    assert (both.own, len(both)) == (30, 42)
    assert both.rows[:30] == first.rows
    assert {row["split"] for row in both.rows[30:]} == {"train"}
    assert {row["split"] for row in second.rows} > {"train"}, "the test could not fail"
    for number in range(30):
        assert np.array_equal(both.piece(number), first.piece(number))
    for number in range(12):
        assert np.array_equal(both.piece(30 + number), second.piece(number))
    assert np.diff(both.index).tolist() == [len(both.piece(n)) for n in range(42)]
    for split in ("validation", "test"):
        assert both.select(split) == first.select(split)
    assert both.select("train") == first.select("train") + list(range(30, 42))
    groups = [row["group"] for row in both.rows]
    assert not set(groups[:30]) & set(groups[30:])


def written(corpus: Corpus, path: str, column: str, text: str) -> None:
    """Edits a cell of a corpus's table, as a person may."""
    manifest = corpus.folder / "manifest.csv"
    rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    next(row for row in rows if row["path"] == path)[column] = text
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)


@pytest.mark.parametrize(
    ("kind", "mine", "theirs"),
    [("file", "", ""), ("work_group", "Opus 1", "Opus 1"), ("artist", "Scott Joplin", "Joplin, S."),
     ("artist", "Unknown", "Unknown"), ("work_group", "Opus 1", "Opus 2")],
)  # fmt: skip
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_what_shares_with_the_kept_apart_is_left_out(
    make: Make, split: str, kind: str, mine: str, theirs: str
) -> None:
    first = make("first", range(30))
    path = next(row["path"] for row in first.rows if row["split"] == split)
    same = int(Path(path).stem) if kind == "file" else 200
    second = make("second", [same, 100, 101, 102])
    if kind != "file":
        written(first, path, kind, mine)
        written(second, second.rows[0]["path"], kind, theirs)
    shares = kind == "file" or (mine != "Unknown" and theirs != "Opus 2")
    left_out = split != "train" and shares
    both = Enlarged(first.folder, second.folder)
    assert len(both) == 34 - left_out
    assert both.told().startswith(f"{4 - left_out} of the 4 pieces of ")
    added = [both.also.rows[number]["path"] for number in both.added]
    assert [row["path"] for row in both.rows[30:]] == added
    for place, number in enumerate(both.added):
        assert np.array_equal(both.piece(30 + place), second.piece(number))


def test_what_belongs_together_is_left_out_together(make: Make) -> None:
    first = make("first", range(30))
    path = next(row["path"] for row in first.rows if row["split"] == "test")
    second = make("second", [int(Path(path).stem), 100, 101])
    for number in (int(Path(path).stem), 100):  # a copy that only the second's build could find
        row = next(row for row in second.rows if Path(row["path"]).stem == str(number))
        written(second, row["path"], "group", "77")
    both = Enlarged(first.folder, second.folder)
    assert [Path(row["path"]).stem for row in both.rows[30:]] == ["101"]


def test_nothing_left_or_nothing_new_is_said(make: Make) -> None:
    first = make("first", range(30))
    path = next(row["path"] for row in first.rows if row["split"] == "test")
    with pytest.raises(UserError, match="nothing is left to train on"):
        Enlarged(first.folder, make("second", [int(Path(path).stem)]).folder)
    with pytest.raises(UserError, match="holds the same music"):
        Enlarged(first.folder, first.folder)


def test_other_tokens_are_refused(make: Make) -> None:
    first = make("first", range(10))
    second = make(
        "second", range(20, 24), representation=RepresentationSettings(preset="performance")
    )
    with pytest.raises(UserError, match="tokens mean something else"):
        Enlarged(first.folder, second.folder)


def test_a_run_notices_that_the_second_changed(make: Make) -> None:
    first, second = make("first", range(10)), make("second", range(20, 24))
    other = make("third", range(30, 34))
    inputs = Enlarged(first.folder, second.folder).inputs()
    assert inputs.items() > first.inputs().items()
    assert inputs != Enlarged(first.folder, other.folder).inputs()
