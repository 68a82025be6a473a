"""Two corpora as one to train on: the first's numbers hold, and nothing kept apart is met."""

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


@pytest.mark.parametrize("kind", ["artist", "work", "file"])
@pytest.mark.parametrize("kept", [True, False])
def test_what_shares_with_the_kept_apart_is_left_out(make: Make, kept: bool, kind: str) -> None:
    first = make("first", range(30))
    row = next(row for row in first.rows if (row["split"] == "test") == kept)
    same = int(Path(row["path"]).stem)
    if kind == "file":
        second = make("second", range(same, same + 1))
    else:
        column = "work_group" if kind == "work" else "artist"
        manifest = first.folder / "manifest.csv"
        lines = manifest.read_text().splitlines()
        head = lines[0].split(",")
        for place, line in enumerate(lines[1:], 1):
            if line.startswith(row["path"]):
                cells = line.split(",")
                cells[head.index(column)] = "Hers"
                lines[place] = ",".join(cells)
        manifest.write_text("\n".join(lines) + "\n")
        second = make("second", range(100, 101), **{kind: "hers"})
    both = Enlarged(first.folder, second.folder)
    assert len(both) == 30 + (not kept)


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
