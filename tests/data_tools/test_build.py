"""Curated building: every file is traced, and a corpus's own table can be edited and given back."""

import csv
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import miditoolkit
import numpy as np
import pytest
from click.testing import CliRunner, Result

from data_tools import fingerprint, midi
from data_tools.corpus import Corpus, build
from data_tools.errors import UserError
from data_tools.files import sole_writer
from data_tools.representation import Representation
from data_tools.settings import CorpusSettings, RepresentationSettings
from gan.cli_data import build as build_command


def song(seed: int, count: int = 80, shift: int = 0) -> miditoolkit.MidiFile:
    rng = np.random.default_rng(seed)
    music = miditoolkit.MidiFile(ticks_per_beat=480)
    track = miditoolkit.Instrument(0)
    for i in range(count):
        pitch, velocity = int(rng.integers(40, 80)) + shift, int(rng.integers(30, 100))
        track.notes.append(miditoolkit.Note(velocity, pitch, i * 240, i * 240 + 200))
    music.instruments.append(track)
    return music


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pieces, and a shorter transposed copy, an exact copy and a re-encoding of three."""
    folder = tmp_path_factory.mktemp("made") / "music"
    for number in range(8):
        label = "jazz" if number % 2 else "not_jazz"
        midi.write(song(number), folder / label / f"{number}.mid")
    midi.write(song(1, count=70, shift=3), folder / "not_jazz" / "moved.mid")
    shutil.copy(folder / "jazz" / "3.mid", folder / "not_jazz" / "same.mid")
    again = midi.read(folder / "jazz" / "5.mid")
    again.tracks[0].name = "another name, the same notes"
    midi.write(again, folder / "jazz" / "5b.mid")
    midi.write(song(50, count=3), folder / "short.mid")
    (folder / "garbage.mid").write_bytes(b"dear diary" * 20)
    return folder


def check_adds_up(out: Path) -> dict[str, dict[str, str]]:
    """Holds of every corpus: files.csv has every file once, and all counts fit it."""
    corpus, files = Corpus(out), table(out / "files.csv")
    counts = corpus.facts["counts"]
    kept = [row for row in files if row["outcome"] == "kept"]
    dropped = [row for row in files if row["outcome"] == "dropped"]
    assert len(files) == counts["files"] == len(kept) + len(dropped)
    assert len(kept) == counts["kept"] == len(corpus)
    assert len(dropped) == counts["rejected"] == sum(counts["rejected_by_reason"].values())
    rejects = table(out / "rejects.csv")
    assert [(r["path"], r["reason"]) for r in dropped] == [
        (r["path"], r["reason"]) for r in rejects
    ]
    assert all(row["reason"] and not row["piece"] for row in dropped)
    assert not any(row["reason"] or row["duplicate_of"] for row in kept)
    assert [int(row["piece"]) for row in kept] == list(range(len(corpus)))
    for row in kept:
        assert corpus.rows[int(row["piece"])]["path"] == row["path"]
        assert corpus.rows[int(row["piece"])]["sha256"] == row["sha256"]
    paths = {row["path"] for row in files}
    assert all(row["duplicate_of"] in paths for row in dropped if row["duplicate_of"])
    assert len(table(out / "conflicts.csv")) == counts["label_conflicts"]
    assert int(corpus.index[-1]) == counts["tokens"] == len(corpus.tokens)
    assert corpus.fingerprints.shape == (len(corpus), len(fingerprint.NAMES))
    assert np.isfinite(corpus.fingerprints).all()
    corpus.verify()
    return {row["path"]: row for row in files}


def test_every_file_is_traced(music: Path, tmp_path: Path) -> None:
    build([music], tmp_path / "out", workers=1)
    files = check_adds_up(tmp_path / "out")
    assert len(files) == len(list(music.rglob("*.mid")))
    for path, row in files.items():
        assert row["sha256"] == sha256((music / path).read_bytes()).hexdigest()
        assert row["location"] == "music"
    assert files["not_jazz/same.mid"]["reason"] == "same file as jazz/3.mid"
    assert files["jazz/5b.mid"]["reason"] == "same music as jazz/5.mid"
    assert files["jazz/5b.mid"]["duplicate_of"] == "jazz/5.mid"
    assert files["short.mid"]["reason"] == "fewer than 16 notes (3)"
    assert files["not_jazz/moved.mid"]["outcome"] == "kept"


def test_conflicts_are_reported_and_can_be_dropped(music: Path, tmp_path: Path) -> None:
    build([music], tmp_path / "kept", workers=1)
    found = {(r["first"], r["second"]): r for r in table(tmp_path / "kept" / "conflicts.csv")}
    assert set(found) == {
        ("jazz/3.mid", "not_jazz/same.mid"), ("jazz/1.mid", "not_jazz/moved.mid"),
    }  # fmt: skip
    exact = found["jazz/3.mid", "not_jazz/same.mid"]
    assert (exact["first_label"], exact["second_label"]) == ("jazz", "not_jazz")
    assert float(exact["similarity"]) == 1.0
    assert 0.4 <= float(found["jazz/1.mid", "not_jazz/moved.mid"]["similarity"]) < 1.0
    build([music], tmp_path / "dropped", CorpusSettings(conflicts="drop"), workers=1)
    files = check_adds_up(tmp_path / "dropped")
    for pair in found:
        assert {files[path]["outcome"] for path in pair} == {"dropped"}
    assert files["jazz/1.mid"]["reason"].endswith("not_jazz/moved.mid, which has another label")
    assert len(table(tmp_path / "dropped" / "conflicts.csv")) == 2


def test_near_duplicates_can_be_dropped(music: Path, tmp_path: Path) -> None:
    made = build([music], tmp_path / "out", CorpusSettings(near_duplicates="drop"), workers=1)[0]
    files = check_adds_up(tmp_path / "out")
    assert files["not_jazz/moved.mid"]["reason"] == "near-duplicate of jazz/1.mid"
    assert files["not_jazz/moved.mid"]["duplicate_of"] == "jazz/1.mid"
    assert not any(row["near_duplicates"] for row in made.rows)
    # What is taken out of the middle of the tokens leaves the rest as it was.
    for number, row in enumerate(made.rows):
        ids = Representation().encode(midi.prepare(music / row["path"]).score)
        assert made.piece(number).tolist() == ids.tolist()


def test_exact_copies_can_be_kept_and_share_a_group(music: Path, tmp_path: Path) -> None:
    made = build([music], tmp_path / "out", CorpusSettings(duplicates="keep"), workers=1)[0]
    check_adds_up(tmp_path / "out")
    by_path = {row["path"]: row for row in made.rows}
    for pair in (("jazz/3.mid", "not_jazz/same.mid"), ("jazz/5.mid", "jazz/5b.mid")):
        assert len({(by_path[p]["group"], by_path[p]["split"]) for p in pair}) == 1


def test_two_workers_make_the_same_bytes(music: Path, tmp_path: Path) -> None:
    settings = CorpusSettings(near_duplicates="drop", conflicts="drop")
    for workers in (1, 2):
        build([music], tmp_path / str(workers), settings, workers=workers)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_the_order_of_sources_changes_only_the_order(music: Path, tmp_path: Path) -> None:
    parts = [music / "jazz", music / "not_jazz"]
    made = [
        build(order, tmp_path / str(number), workers=1)[0]
        for number, order in enumerate((parts, parts[::-1]))
    ]
    for number in range(2):
        check_adds_up(tmp_path / str(number))
    assert made[0].digest != made[1].digest
    ids = [{made[i].piece(n).tobytes() for n in range(len(made[i]))} for i in range(2)]
    assert ids[0] == ids[1]


def test_an_edited_manifest_comes_back(music: Path, tmp_path: Path) -> None:
    first = build([music], tmp_path / "first", workers=1)[0]
    rows = table(tmp_path / "first" / "manifest.csv")
    # Unchanged it changes nothing.
    edited = write_table(tmp_path / "edited.csv", rows)
    same = build([music], tmp_path / "same", workers=1, manifest=edited)[0]
    assert same.rows == first.rows
    assert same.digest == first.digest
    assert not build([music], tmp_path / "same", workers=1, manifest=edited)[1]

    by_path = {row["path"]: row for row in rows}
    by_path["jazz/3.mid"] |= {"label": "not_jazz", "artist": "Art Tatum", "split": "test"}
    by_path["jazz/7.mid"] |= {"keep": "no"}
    gone = rows.pop(next(n for n, row in enumerate(rows) if row["path"] == "not_jazz/0.mid"))
    edited = write_table(tmp_path / "edited.csv", rows)
    second = build([music], tmp_path / "second", workers=1, manifest=edited)[0]
    files = check_adds_up(tmp_path / "second")
    now = {row["path"]: row for row in second.rows}
    assert {key: now["jazz/3.mid"][key] for key in ("label", "artist", "split")} == {
        "label": "not_jazz", "artist": "Art Tatum", "split": "test",
    }  # fmt: skip
    assert files["jazz/7.mid"]["reason"] == "left out by edited.csv"
    assert now["not_jazz/0.mid"]["label"] == gone["label"]  # absent rows keep their own facts
    # And its own table comes back once more.
    third = build([music], tmp_path / "third", workers=1,
                  manifest=tmp_path / "second" / "manifest.csv")[0]  # fmt: skip
    assert {row["path"]: row["label"] for row in third.rows} | {"jazz/7.mid": "jazz"} == {
        row["path"]: row["label"] for row in second.rows
    } | {"jazz/7.mid": "jazz"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "nowhere.mid"}, r"1 of \d+ paths are in none of the sources, 'nowhere.mid'"),
        ({"label": "bebop"}, "has the label 'bebop'"),
        ({"split": "holdout"}, "has the split 'holdout'"),
        ({"keep": "perhaps"}, "'perhaps' in column keep"),
        ({"path": "jazz/3.mid"}, "names 'jazz/3.mid' twice"),
    ],
)
def test_mistakes_in_a_manifest(change, message, music: Path, tmp_path: Path) -> None:
    build([music], tmp_path / "first", workers=1)
    rows = table(tmp_path / "first" / "manifest.csv")
    rows[0] |= change
    edited = write_table(tmp_path / "edited.csv", rows)
    with pytest.raises(UserError, match=message):
        build([music], tmp_path / "out", workers=1, manifest=edited)
    assert not (tmp_path / "out").exists()


def test_a_corpus_given_as_its_own_source(music: Path, tmp_path: Path) -> None:
    build([music], tmp_path / "first", workers=1)
    for location in (tmp_path / "first" / "manifest.csv", tmp_path / "first"):
        with pytest.raises(UserError, match=r"lies beside it; .* add --manifest"):
            build([location], tmp_path / "out", workers=1)


def test_paths_may_not_leave_their_folder(music: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(music, tmp_path / "inside"))
    secret = tmp_path / "secret.mid"
    shutil.copy(music / "jazz" / "1.mid", secret)
    paths = ["../secret.mid", str(secret), "jazz/../../secret.mid", "..\\secret.mid", "jazz/3.mid"]
    write_table(folder / "manifest.csv", [{"path": path} for path in paths])
    build([folder], tmp_path / "out", workers=1)
    files = check_adds_up(tmp_path / "out")
    assert [row["path"] for row in files.values() if row["outcome"] == "kept"] == ["jazz/3.mid"]
    for path in paths[:-1]:
        assert files[path]["reason"] == "its path leaves the folder of its manifest"
        assert files[path]["sha256"] == ""


def test_another_corpus_is_not_replaced(music: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    digest = build([music], out, workers=1)[0].digest
    with pytest.raises(UserError, match=r"other sources \(.*music\); .*--force"):
        build([music / "jazz"], out, workers=1)
    with pytest.raises(UserError, match=r"other min_notes \(16, now 20\); "):
        build([music], out, CorpusSettings(min_notes=20), workers=1)
    edited = write_table(tmp_path / "edited.csv", table(out / "manifest.csv"))
    with pytest.raises(UserError, match="other edits by --manifest"):
        build([music], out, workers=1, manifest=edited)
    assert Corpus(out).digest == digest
    assert build([music / "jazz"], out, workers=1, force=True)[1]
    # A corpus of an older version, of the same sources and settings, is made anew without asking.
    content = json.loads((out / "corpus.json").read_text())
    content["request"]["format"] = 1
    (out / "corpus.json").write_text(json.dumps(content))
    assert build([music / "jazz"], out, workers=1)[1]


def test_the_command(music: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> Result:
        given = [str(one) for one in (music, "--workers", 1, *arguments)]
        return CliRunner().invoke(build_command, given)

    first = run("--out", tmp_path / "first")
    assert first.exit_code == 0
    assert "label conflicts: 2" in first.output
    rows = table(tmp_path / "first" / "manifest.csv")
    edited = write_table(tmp_path / "edited.csv", [row | {"keep": "no"} for row in rows[:1]])
    again = ("--out", tmp_path / "first", "--manifest", edited)
    assert isinstance(run(*again).exception, UserError)
    assert "1 x left out by edited.csv" in run(*again, "--force").output


def test_a_name_that_is_no_text_is_built_and_edited(music: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    try:
        os.link(music / "jazz" / "1.mid", os.fsencode(folder) + b"/caf\xe9.mid")
    except OSError:
        pytest.skip("this file system holds no such names")
    made = build([folder], tmp_path / "out", workers=1)[0]
    assert list(check_adds_up(tmp_path / "out")) == ["caf\\udce9.mid"]
    assert not build([folder], tmp_path / "out", workers=1)[1]
    edited = write_table(tmp_path / "edited.csv", [dict(made.rows[0]) | {"label": "jazz"}])
    assert (
        build([folder], tmp_path / "two", workers=1, manifest=edited)[0].rows[0]["label"] == "jazz"
    )


def test_a_carriage_return_in_a_name_does_not_break_the_tables(tmp_path: Path) -> None:
    made = song(1)
    made.instruments.append(miditoolkit.Instrument(33, name="Bass\rFender"))
    made.instruments[1].notes.append(miditoolkit.Note(80, 40, 0, 480))
    midi.write(made, tmp_path / "music" / "a.mid")
    if os.name != "nt":
        midi.write(song(2), tmp_path / "music" / "b\rc.mid")
    corpus = build([tmp_path / "music"], tmp_path / "out", workers=1)[0]
    assert corpus.rows[0]["dropped"] == "Bass\rFender (program 33)"
    rows = [dict(row) | {"label": "jazz"} for row in corpus.rows]
    edited = write_table(tmp_path / "edited.csv", rows)
    again = build([tmp_path / "music"], tmp_path / "again", workers=1, manifest=edited)[0]
    assert {row["label"] for row in again.rows} == {"jazz"}


def test_a_folder_renamed_to_another_label_is_another_source(tmp_path: Path) -> None:
    midi.write(song(1), tmp_path / "jazz" / "a.mid")
    midi.write(song(2), tmp_path / "jazz" / "bach" / "b.mid")
    out = tmp_path / "out"
    build([tmp_path / "jazz"], out, workers=1)
    (tmp_path / "jazz").rename(tmp_path / "not_jazz")
    with pytest.raises(UserError, match="made with other sources"):
        build([tmp_path / "not_jazz"], out, workers=1)
    corpus, built = build([tmp_path / "not_jazz"], out, workers=1, force=True)
    assert built
    assert {row["label"] for row in corpus.rows} == {"not_jazz"}
    # Where it lies matters only as far as it says something of the music.
    shutil.copytree(tmp_path / "not_jazz", tmp_path / "elsewhere" / "not_jazz")
    assert not build([tmp_path / "elsewhere" / "not_jazz"], out, workers=1)[1]
    card = json.loads((out / "corpus.json").read_text())
    del card["request"]["called"]  # as corpora from before have none
    (out / "corpus.json").write_text(json.dumps(card))
    assert not build([tmp_path / "not_jazz"], out, workers=1)[1]


def test_a_link_as_out_is_followed(music: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for settings in (CorpusSettings(), CorpusSettings(min_notes=20)):
        assert build([music], tmp_path / "out", settings, workers=1, force=True)[1]
        assert (tmp_path / "out").is_symlink()
        check_adds_up(tmp_path / "disk")


def test_a_place_that_cannot_be_written_is_told_from_one_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"), sole_writer(tmp_path / "file" / "a"):
        pytest.fail("it was to be refused")


def test_one_build_at_a_time(music: Path, tmp_path: Path) -> None:
    with sole_writer(tmp_path / "out"), pytest.raises(UserError, match="another process"):
        build([music], tmp_path / "out", workers=1)
    build([music], tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_folder_one_is_in_is_locked_like_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in (".", "../here", ""):
        with sole_writer(Path(name)), pytest.raises(UserError, match="another process"):
            sole_writer(here).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_files_of_one_name_in_two_sources_are_edited_apart(music: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        shutil.copy(music / "jazz" / f"{number * 2 - 1}.mid", tmp_path / str(number) / "a.mid")
    sources = [tmp_path / "1", tmp_path / "2"]
    rows = build(sources, tmp_path / "first", workers=1)[0].rows
    assert [(row["location"], row["path"]) for row in rows] == [("1", "a.mid"), ("2", "a.mid")]
    rows[1] |= {"label": "jazz"}
    edited = write_table(tmp_path / "edited.csv", [dict(row) for row in rows])
    made = build(sources, tmp_path / "second", workers=1, manifest=edited)[0]
    assert [row["label"] for row in made.rows] == ["unlabelled", "jazz"]
    # Of a source that was renamed since, the path is enough.
    (tmp_path / "2").rename(tmp_path / "3")
    made = build([tmp_path / "3"], tmp_path / "third", workers=1,
                 manifest=write_table(tmp_path / "one.csv", [dict(rows[1])]))[0]  # fmt: skip
    assert made.rows[0]["label"] == "jazz"


def test_labels_of_copies_contradict_whatever_comes_first(music: Path, tmp_path: Path) -> None:
    for path in ("a/x.mid", "b/jazz/x.mid", "c/not_jazz/x.mid", "d/jazz/x.mid"):
        (tmp_path / "music" / path).parent.mkdir(parents=True)
        shutil.copy(music / "jazz" / "1.mid", tmp_path / "music" / path)
    build([tmp_path / "music"], tmp_path / "out", workers=1)
    check_adds_up(tmp_path / "out")
    (found,) = table(tmp_path / "out" / "conflicts.csv")
    assert (found["first"], found["second"]) == ("b/jazz/x.mid", "c/not_jazz/x.mid")


@pytest.mark.parametrize("near", ["keep", "drop"])
def test_a_label_is_not_lost_to_a_copy_that_comes_first(
    music: Path, tmp_path: Path, near: str
) -> None:
    folder = tmp_path / "music"
    for path in ("a/x.mid", "a/y.mid", "b/jazz/x.mid", "c/x.mid", "d/not_jazz/x.mid"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(music / "jazz" / "1.mid", folder / path)
    midi.write(song(5), folder / "a" / "longer.mid")
    midi.write(song(5, count=100, shift=2), folder / "b" / "jazz" / "shorter.mid")
    settings = CorpusSettings(near_duplicates=near)
    build([folder], tmp_path / "out", settings, workers=1)
    files = check_adds_up(tmp_path / "out")
    reasons = {path: row["reason"] for path, row in files.items() if "x" in path or "y" in path}
    assert reasons == {
        "a/x.mid": "same file as b/jazz/x.mid", "a/y.mid": "same file as a/x.mid",
        "b/jazz/x.mid": "", "c/x.mid": "same file as b/jazz/x.mid",
        "d/not_jazz/x.mid": "same file as b/jazz/x.mid",
    }  # fmt: skip
    labels = {row["path"]: row["label"] for row in Corpus(tmp_path / "out").rows}
    expected = {"b/jazz/x.mid": "jazz", "b/jazz/shorter.mid": "jazz"}
    assert labels == expected | ({"a/longer.mid": "unlabelled"} if near == "keep" else {})
    (found,) = table(tmp_path / "out" / "conflicts.csv")
    assert (found["first"], found["second"]) == ("b/jazz/x.mid", "d/not_jazz/x.mid")


def test_what_else_lies_in_a_corpus_survives_a_new_build(music: Path, tmp_path: Path) -> None:
    folder, out = Path(shutil.copytree(music, tmp_path / "music")), tmp_path / "out"
    build([folder], out, workers=1)
    (out / "edited.csv").write_text("mine")
    (out / "run" / "checkpoints").mkdir(parents=True)
    (out / "run" / "checkpoints" / "latest").write_text("mine too")
    midi.write(song(77), folder / "jazz" / "new.mid")
    assert build([folder], out, workers=1)[1]
    assert "jazz/new.mid" in check_adds_up(out)
    assert (out / "edited.csv").read_text() == "mine"
    assert (out / "run" / "checkpoints" / "latest").read_text() == "mine too"
    # Killed between the two corpora, or before what is not theirs had been moved.
    out.replace(tmp_path / ".out.old")
    midi.write(song(78), folder / "jazz" / "newer.mid")
    build([folder], out, workers=1)
    assert "jazz/newer.mid" in check_adds_up(out)
    assert (out / "edited.csv").read_text() == "mine"
    (tmp_path / ".out.old").mkdir()
    (out / "edited.csv").replace(tmp_path / ".out.old" / "edited.csv")
    midi.write(song(79), folder / "jazz" / "newest.mid")
    build([folder], out, workers=1)
    assert (out / "edited.csv").read_text() == "mine"
    assert not (tmp_path / ".out.old").exists()


def test_reasons_are_one_line_and_counted_by_kind(music: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(music / "jazz", tmp_path / "music"))
    for number in range(3):
        band = song(number)
        band.instruments[0].program, band.instruments[0].name = 40, f"Violin\n{number}"
        midi.write(band, folder / f"band{number}.mid")
    build([folder], tmp_path / "out", workers=1)
    files = check_adds_up(tmp_path / "out")
    assert files["band1.mid"]["reason"] == "no piano track, only Violin 1 (program 40)"
    assert Corpus(tmp_path / "out").facts["counts"]["rejected_by_reason"]["no piano track"] == 3
    run = CliRunner().invoke(build_command, [str(folder), "--out", str(tmp_path / "out")])
    lines = run.output.splitlines()
    assert lines[lines.index("  rejected: 4") + 1] == "    3 x no piano track"


def test_a_damaged_member_of_an_archive_is_one_reject(music: Path, tmp_path: Path) -> None:
    archive = tmp_path / "music.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted((music / "jazz").iterdir()):
            opened.write(path, path.name)
        place = opened.getinfo("3.mid").header_offset
    data = bytearray(archive.read_bytes())
    data[place + 200] ^= 1
    archive.write_bytes(data)
    build([archive], tmp_path / "out", workers=1)
    files = check_adds_up(tmp_path / "out")
    assert files.pop("3.mid")["reason"].startswith("damaged in its archive")
    assert {row["outcome"] for path, row in files.items() if path != "5b.mid"} == {"kept"}


def test_the_command_bounds_a_single_worker_too(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def bounds(*given: object, bounded: bool, **_: object) -> Iterator[object]:
        started.append((given[3], bounded))
        return iter(())

    # The package's own `build` hides the module of that name.
    monkeypatch.setattr(sys.modules["data_tools.corpus.build"], "ordered_map", bounds)
    CliRunner().invoke(
        build_command, [str(music), "--out", str(tmp_path / "out"), "--workers", "1"]
    )
    assert started == [(1, True)]


@pytest.mark.parametrize("time_base", ["clock", "beat"])
@pytest.mark.parametrize("preset", ["duration", "performance", "remi", "raw"])
def test_every_preset(preset, time_base, mini: Path, tmp_path: Path) -> None:
    chosen = sorted(mini.rglob("*.mid"))[::20]
    for path in [*chosen, *sorted((mini.parent / "ensemble").glob("*.mid"))[:3]]:
        target = tmp_path / "music" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    settings = CorpusSettings(
        representation=RepresentationSettings(preset=preset, time_base=time_base)
    )
    made = build([tmp_path / "music"], tmp_path / "out", settings, workers=1)[0]
    files = check_adds_up(tmp_path / "out")
    assert {row["path"] for row in made.rows} >= {f"{p.parent.name}/{p.name}" for p in chosen}
    if preset == "raw":
        assert {row["outcome"] for row in files.values()} == {"kept"}
        assert not any(row["dropped"] for row in made.rows)
