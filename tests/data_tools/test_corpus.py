"""The corpus: built once from anything, whole or not at all, and only verified after."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import miditoolkit
import numpy as np
import pytest

from data_tools import midi
from data_tools.corpus import COLUMNS, Corpus, build
from data_tools.errors import UserError
from data_tools.representation import BOS, EOS, Representation
from data_tools.settings import CorpusSettings, RepresentationSettings

FILES = {
    "corpus.json", "representation.json", "manifest.csv", "tokens.bin", "index.npy", "rejects.csv",
    "files.csv", "conflicts.csv", "fingerprints.npy",
}  # fmt: skip
KEPT = 10


def song(seed: int, count: int = 40) -> miditoolkit.MidiFile:
    rng = np.random.default_rng(seed)
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    track = miditoolkit.Instrument(0)
    for i in range(count):
        pitch, velocity = int(rng.integers(40, 80)), int(rng.integers(30, 100))
        track.notes.append(miditoolkit.Note(velocity, pitch, i * 240, i * 240 + 200))
    music.instruments.append(track)
    return music


def fill(folder: Path) -> Path:
    """Ten good pieces, five jazz, and one of each thing that can be wrong."""
    for number in range(KEPT):
        label = "jazz" if number % 2 else "not_jazz"
        midi.write(song(number), folder / label / "made" / f"{number}.mid")
    midi.write(song(99, count=5), folder / "short.mid")
    shutil.copy(folder / "jazz" / "made" / "1.mid", folder / "zz-copy.mid")
    (folder / "garbage.mid").write_bytes(b"dear diary" * 20)
    bass = song(98)
    bass.instruments[0].program = 33
    midi.write(bass, folder / "bass.mid")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("music") / "music")


@pytest.fixture(scope="module")
def built(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "corpus"
    assert build([music], out, workers=1)[1]
    return out


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_files_and_columns(built: Path) -> None:
    assert {path.name for path in built.iterdir()} == FILES
    assert [path.name for path in built.parent.iterdir()] == ["corpus"]
    rows = table(built / "manifest.csv")
    assert len(rows) == KEPT
    assert tuple(rows[0]) == COLUMNS
    first = rows[0]
    assert (first["path"], first["label"], first["source"]) == ("jazz/made/1.mid", "jazz", "made")
    assert (first["notes"], first["timing"], first["dropped"]) == ("40", "quantized", "")
    assert float(first["seconds"]) == pytest.approx(39 * 0.25 + 200 / 960, abs=0.01)


def test_rejects_say_why(built: Path) -> None:
    rejects = {row["path"]: row["reason"] for row in table(built / "rejects.csv")}
    assert set(rejects) == {"bass.mid", "garbage.mid", "short.mid", "zz-copy.mid"}
    assert rejects["bass.mid"].startswith("no piano track, only")
    assert rejects["garbage.mid"].startswith("not readable as MIDI")
    assert rejects["short.mid"] == "fewer than 16 notes (5)"
    assert rejects["zz-copy.mid"] == "same file as jazz/made/1.mid"
    counts = Corpus(built).facts["counts"]
    assert (counts["files"], counts["kept"], counts["rejected"]) == (KEPT + 4, KEPT, 4)
    assert sum(counts["rejected_by_reason"].values()) == 4


def test_pieces_are_what_encode_gives(built: Path, music: Path) -> None:
    corpus = Corpus(built)
    assert isinstance(corpus.tokens, np.memmap)
    assert len(corpus) == KEPT
    for number, row in enumerate(corpus.rows):
        ids = Representation().encode(midi.prepare(music / row["path"]).score)
        assert corpus.piece(number).tolist() == ids.tolist()
        assert int(row["tokens"]) == len(ids)
    assert corpus.index[-1] == len(corpus.tokens)
    sequence = next(corpus.sequences([3]))
    assert sequence.tolist() == [BOS, *corpus.piece(3).tolist(), EOS]


def test_select(built: Path) -> None:
    corpus = Corpus(built)
    assert len(corpus.select(label="jazz")) == 5
    assert sorted(n for s in ("train", "validation", "test") for n in corpus.select(s)) == list(
        range(KEPT)
    )
    assert corpus.select(exclude_sources=["made"]) == []
    with pytest.raises(UserError, match="no source called elsewhere"):
        corpus.select(exclude_sources=["elsewhere"])


def test_building_again_only_verifies(music: Path, copy: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    corpus, now = build([music], copy, workers=1)
    assert not now
    assert len(corpus) == KEPT
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_a_changed_file_builds_anew_and_another_setting_if_forced(tmp_path: Path) -> None:
    music = fill(tmp_path / "music")
    copy = tmp_path / "corpus"
    assert build([music], copy, workers=1)[1]
    assert not build([music], copy, workers=1)[1]
    midi.write(song(1000), music / "jazz" / "made" / "1.mid")
    changed, now = build([music], copy, workers=1)
    assert now
    assert len(changed) == KEPT + 1  # its copy is no copy any more
    settings = CorpusSettings(representation=RepresentationSettings(preset="performance"))
    with pytest.raises(UserError, match=r"other preset \(duration, now performance\); .*--force"):
        build([music], copy, settings, workers=1)
    assert Corpus(copy).digest == changed.digest
    performed, now = build([music], copy, settings, workers=1, force=True)
    assert now
    assert performed.representation.settings.preset == "performance"
    assert {path.name for path in copy.iterdir()} == FILES


def test_tampered_tokens(music: Path, copy: Path) -> None:
    data = bytearray((copy / "tokens.bin").read_bytes())
    data[10] ^= 1
    (copy / "tokens.bin").write_bytes(data)
    for check in (Corpus(copy).verify, lambda: build([music], copy, workers=1)):
        with pytest.raises(UserError, match=r"tokens\.bin was changed"):
            check()


def test_a_foreign_folder_is_refused(music: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and not a corpus"):
        build([music], foreign, workers=1)
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="a file"):
        build([music], foreign / "thesis.tex", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


def test_nothing_usable_leaves_no_folder(tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    with pytest.raises(UserError, match="no usable MIDI in 0 files"):
        build([music], tmp_path / "out", workers=1)
    (music / "garbage.mid").write_bytes(b"dear diary" * 20)
    with pytest.raises(UserError, match="in 1 files: not readable as MIDI"):
        build([music], tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["music"]


def test_a_failure_midway_keeps_the_old_corpus(
    music: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    monkeypatch.setattr("data_tools.corpus.tables.write_fates", fail)
    with pytest.raises(OSError, match="disk full"):
        build([music], copy, CorpusSettings(min_notes=20), workers=1, force=True)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_two_workers_build_the_same_bytes(music: Path, built: Path, tmp_path: Path) -> None:
    build([music], tmp_path / "two", workers=2)
    for name in FILES:
        assert (tmp_path / "two" / name).read_bytes() == (built / name).read_bytes(), name


def test_a_persons_split_stands(built: Path, copy: Path, tmp_path: Path) -> None:
    rows = table(copy / "manifest.csv")
    for number, row in enumerate(rows):
        row["split"] = ("test", "train")[number % 2]
    write_table(copy / "manifest.csv", rows)
    assert Corpus(copy).select("test") == list(range(0, KEPT, 2))
    Corpus(copy).verify()
    # The edited table given back as a manifest beside the music.
    music = fill(tmp_path / "music")
    write_table(music / "manifest.csv", rows)
    again = build([music], tmp_path / "again", workers=1)[0]
    assert [row["split"] for row in again.rows] == [row["split"] for row in rows]
    assert again.digest == Corpus(built).digest
    rows[0]["split"] = "holdout"
    write_table(music / "manifest.csv", rows)
    with pytest.raises(UserError, match="split 'holdout'"):
        build([music], tmp_path / "again", workers=1)


def test_groups_lie_in_one_split(tmp_path: Path) -> None:
    music = fill(tmp_path / "music")
    rows = [
        {"path": f"{label}/made/{number}.mid", "label": label, "artist": artist}
        for number in range(KEPT)
        for label in [("not_jazz", "jazz")[number % 2]]
        for artist in ["Art Tatum" if number in (1, 4, 7) else ""]
    ]
    write_table(music / "manifest.csv", rows)
    moved = midi.prepare(music / "jazz" / "made" / "3.mid").score.shift_pitch(2)
    midi.write(moved, music / "moved.mid")
    write_table(
        music / "manifest.csv", [*rows, {"path": "moved.mid", "label": "jazz", "artist": ""}]
    )
    made = build([music], tmp_path / "out", CorpusSettings(test=0.3, validation=0.3), workers=1)[0]
    by_path = {row["path"]: row for row in made.rows}
    tatum = [row for row in made.rows if row["artist"]]
    assert len(tatum) == 3
    assert len({(row["group"], row["split"]) for row in tatum}) == 1
    pair = [by_path["moved.mid"], by_path["jazz/made/3.mid"]]
    assert len({(row["group"], row["split"], row["near_duplicates"]) for row in pair}) == 1
    assert pair[0]["near_duplicates"] != ""
    assert made.facts["counts"]["near_duplicate_groups"] == 1


def test_shares_that_leave_nothing_for_training(music: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave some for train"):
        build([music], tmp_path / "out", CorpusSettings(validation=0.5, test=0.5), workers=1)


def cut(folder: Path) -> None:
    data = (folder / "tokens.bin").read_bytes()
    (folder / "tokens.bin").write_bytes(data[:-2])


def huge(folder: Path) -> None:
    """An index whose first bytes tell of 72 TiB."""
    shape = b"{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }"
    head = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    (folder / "index.npy").write_bytes(head + shape.ljust(117) + b"\n")


def unparsed(folder: Path) -> None:
    """An index whose first bytes open a bracket that is never closed."""
    data = (folder / "index.npy").read_bytes()
    (folder / "index.npy").write_bytes(data.replace(b"'shape': (", b"'shape':(("))


def wide(folder: Path) -> None:
    with (folder / "manifest.csv").open("a") as stream:
        stream.write('"' + "x" * 200_000)


def others(folder: Path) -> None:
    Representation(RepresentationSettings(preset="remi")).save(folder / "representation.json")


def drop_a_row(folder: Path) -> None:
    write_table(folder / "manifest.csv", table(folder / "manifest.csv")[1:])


def swap_rows(folder: Path) -> None:
    rows = table(folder / "manifest.csv")
    rows[0]["tokens"] = str(int(rows[0]["tokens"]) + 1)
    write_table(folder / "manifest.csv", rows)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "corpus.json").unlink(), "not a corpus"),
        (lambda folder: (folder / "corpus.json").write_text("{"), "damaged corpus"),
        (lambda folder: (folder / "corpus.json").write_text("{}"), "damaged corpus"),
        (lambda folder: (folder / "corpus.json").write_text("[]"), "damaged corpus"),
        (lambda folder: (folder / "index.npy").write_bytes(b""), "damaged corpus"),
        (lambda folder: (folder / "index.npy").write_bytes(b"x" * 99), "damaged corpus"),
        (lambda folder: (folder / "index.npy").write_bytes(b"PK\x03\x04"), "damaged corpus"),
        (lambda folder: np.save(folder / "index.npy", np.array(3)), "holds no places"),
        (lambda folder: np.save(folder / "index.npy", np.zeros(KEPT + 1)), "holds no places"),
        (huge, "damaged corpus"),
        (unparsed, "damaged corpus"),
        (wide, "damaged corpus .*field larger"),
        (lambda folder: (folder / "tokens.bin").unlink(), "damaged corpus"),
        (lambda folder: (folder / "manifest.csv").unlink(), "damaged corpus"),
        (lambda folder: (folder / "representation.json").unlink(), "representation"),
        (others, r"representation\.json \(\w{16}\) is not that of its tokens"),
        (drop_a_row, "9 rows for 10 pieces"),
        (swap_rows, "another order"),
        (cut, "cut short"),
    ],
)
def test_what_cannot_be_loaded(damage: Callable[[Path], object], message: str, copy: Path) -> None:
    damage(copy)
    with pytest.raises(UserError, match=message):
        Corpus(copy)


def test_no_run_learns_from_tokens_that_were_changed(copy: Path) -> None:
    assert Corpus(copy).inputs()["corpus"] == Corpus(copy).digest
    data = (copy / "tokens.bin").read_bytes()
    (copy / "tokens.bin").write_bytes(b"\xff\xff" + data[2:])
    with pytest.raises(UserError, match=r"tokens\.bin was changed; delete the folder and rebuild"):
        Corpus(copy).inputs()


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a corpus; make one with"):
        Corpus(tmp_path / "absent")


def test_progress_counts_every_file(music: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build([music], tmp_path / "out", workers=1, progress=lambda *at: seen.append(at))
    assert seen == [(number, KEPT + 4) for number in range(1, KEPT + 5)]
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["counts"]["files"] == KEPT + 4


def test_real_files(mini: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    for path in sorted(mini.rglob("*.mid"))[::15]:
        target = music / path.relative_to(mini)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    made = build([music], tmp_path / "out", workers=1)[0]
    assert len(made) == 8
    assert {row["label"] for row in made.rows} == {"jazz", "not_jazz"}
    assert made.tokens.max() < made.representation.music_size
    assert made.tokens.min() > EOS


def test_a_chosen_split_holds_for_the_whole_group(tmp_path: Path) -> None:
    music = fill(tmp_path / "music")
    rows = [
        {"path": f"{('not_jazz', 'jazz')[n % 2]}/made/{n}.mid", "label": "jazz", "split": ""}
        | {"artist": "Art Tatum" if n in (1, 4, 7) else ""}
        for n in range(KEPT)
    ]
    rows[4]["split"] = "test"
    write_table(music / "manifest.csv", rows)
    made = build([music], tmp_path / "out", workers=1)[0]
    assert {row["split"] for row in made.rows if row["artist"]} == {"test"}
    rows[7]["split"] = "train"
    write_table(music / "manifest.csv", rows)
    with pytest.raises(UserError, match="give them one split"):
        build([music], tmp_path / "out", workers=1)
