"""Scores on disk and curation: decisions, resumption, and files that nothing may overwrite."""

import csv
import json
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_tools.errors import MidiError, UserError
from data_tools.sources import LINKED, REPEATED, SYMBOLIC, Source
from discriminator import curate as module
from discriminator.collection import Place, places
from discriminator.curate import Choice, curate, decide, deliver, preview
from discriminator.reading import Piece
from discriminator.scores import COLUMNS, Score, ScoreFile, Scores, read_rows, row_writer

NAMES = ("jazz/a.mid", "jazz/b.mid", "other/c.mid", "d.mid", "bad.mid")
P_JAZZ = {"a.mid": 0.95, "b.mid": 0.6, "c.mid": 0.1, "d.mid": 0.8, "bad.mid": None}
FACTS = {"model": "of-a-test"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"the music of {name}".encode())
        os.utime(folder / name, (1_000_000_000, 1_000_000_000))
    return folder


def row(path: str) -> Score:
    p = P_JAZZ[path.split("/")[-1].split(":")[-1]]
    verdict = "unsure" if p is None or 0.4 < p < 0.7 else "jazz" if p > 0.5 else "not_jazz"
    return Score(path, p, verdict, int(p is not None), "not readable (x)" if p is None else "")


def score(pieces: Iterable[Piece], before: Mapping[str, int]) -> Iterator[Score]:
    return (
        Score(piece.path, None, "unsure", 0, piece.error) if piece.error else row(piece.path)
        for piece in pieces
    )


def run(source: Path, out: Path, resume: bool = False, **choices: object) -> module.Summary:
    return curate(source, out, Choice.model_validate(choices), FACTS, score, resume=resume)


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "curation.csv").open(encoding="utf-8", newline="") as stream:
        return {Path(row["path"]).name: row for row in csv.DictReader(stream)}


def files(out: Path) -> dict[str, bytes]:
    found = (path for path in (out / "music").rglob("*") if path.is_file())
    return {path.relative_to(out / "music").as_posix(): path.read_bytes() for path in found}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---- rows on disk

paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
rows = st.lists(
    st.builds(
        lambda path, p, windows, error: Score(
            path, None if error else p, "unsure" if error else "jazz", windows, error
        ),
        paths | st.just("caf\udce9.mid"),
        st.integers(0, 10_000).map(lambda n: n / 10_000),
        st.integers(0, 10**6),
        st.sampled_from(["", "too short", 'a "quoted", reason']),
    ),
    unique_by=lambda one: os.path.abspath(one.path),
    max_size=6,
)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@settings(max_examples=25)
@given(rows=rows, cut=st.floats(0, 1))
def test_a_file_cut_anywhere_goes_on_to_the_same_end(
    form: str, rows: list[Score], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = tmp_path_factory.mktemp("scores") / f"scores.{form}"
    with ScoreFile(whole, form, FACTS, resume=False) as file:
        for one in rows:
            file.write(one)
    data = whole.read_bytes()
    assert list(read_rows(whole)) == rows
    whole.write_bytes(data[: int(cut * len(data))])
    with ScoreFile(whole, form, FACTS, resume=True) as file:
        before = len(file.before)
        assert before == sum(one.path in file.before for one in rows)
        for one in rows:
            if one.path not in file.before:
                file.write(one)
    assert whole.read_bytes() == data


@given(rows=rows)
def test_rows_held_without_their_paths_are_the_rows(rows: list[Score]) -> None:
    held = Scores(rows)
    assert [held.get(one.path) for one in rows] == rows
    assert held.get("of/no/row.mid") is None
    assert sum(held.counts().values()) == len(rows)
    assert held.counts()["error"] == sum(one.p_jazz is None for one in rows)


def test_scores_of_another_model_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    ScoreFile(path, "csv", FACTS, resume=False).close()
    with pytest.raises(UserError, match="there already"):
        ScoreFile(path, "csv", FACTS, resume=False)
    with pytest.raises(UserError, match="begun with different model"):
        ScoreFile(path, "csv", {"model": "other"}, resume=True)
    card = tmp_path / "scores.csv.run.json"
    for content in ("", "null", "[]"):
        card.write_text(content)
        with pytest.raises(UserError, match="missing or damaged"):
            ScoreFile(path, "csv", FACTS, resume=True)
    card.unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        ScoreFile(path, "csv", FACTS, resume=True)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "path,p\nx,1\n", "no column 'p_jazz'"),
        ("a.csv", "path,p_jazz\nx,7\n", "the row of 'x' is no score"),
        ("a.csv", "path,p_jazz\nx,high\n", "the row of 'x' is no score"),
        ("a.jsonl", "[1]\n", "no column"),
        ("a.jsonl", "{\n", "line 1 is no JSON"),
        ("a.csv", "", "no column"),
        ("a.csv", "path,p_jazz\na\rb,1\n", "no table of scores"),
        ("a.jsonl", '{"path": "x", "p_jazz": [1]}\n', "the row of 'x' is no score"),
        ("a.jsonl", '{"path": "x", "p_jazz": 1, "windows": 1e999}\n', "the row of 'x' is no score"),
        ("a.csv", f"path,p_jazz,windows\nx,1,{10**20}\n", "the row of 'x' is no score"),
        ("a.csv", f"path,p_jazz,{'x' * 200_000}\n", "no table of scores"),
    ],
)
def test_what_is_no_table_of_scores_is_one_line(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=says):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("form", "damage"),
    [
        ("csv", {3: b"c.mid,0.5"}),  # columns are missing
        ("csv", {3: b"c.mid,high,jazz,1,"}),
        ("csv", {3: b"c.mid,0.5,Jazz,1,", 5: b"e.mid"}),
        ("csv", {3: b'"c.mid,0.5,jazz,1,', 4: b'd.mid,0.5,jazz,1,"', 5: b"'"}),
        ("csv", {2: b'"b.mid,0.5,jazz,1,', 3: b'"c.mid",0.5,jazz,1,'}),
        ("csv", {7: b"g.mid,0.5"}),
        ("csv", {3: b"x" * 200_000}),
        ("jsonl", {2: b"{", 5: b"[1]"}),
        ("jsonl", {6: b'{"path": "g.mid", "p_jazz": 7}'}),
    ],
)
@pytest.mark.parametrize("cut", [0, 4])
def test_rows_that_an_edit_broke_are_told_and_scored_again(
    tmp_path: Path, form: str, damage: dict[int, bytes], cut: int
) -> None:
    told = [Score(f"{letter}.mid", 0.5, "jazz", 1, "") for letter in "abcdefg"]
    path = tmp_path / f"scores.{form}"
    with ScoreFile(path, form, FACTS, resume=False) as file:
        for one in told:
            file.write(one)
    lines = path.read_bytes().splitlines(keepends=True)
    good = [line for number, line in enumerate(lines) if number not in damage]
    for number, text in damage.items():
        lines[number] = text + b"\n"
    whole = b"".join(lines) + lines[1][:cut]
    path.write_bytes(whole)
    with ScoreFile(path, form, FACTS, resume=True) as file:
        again = [one for one in told if file.lacks(one.path)]
        for one in again:
            file.write(one)
    assert f"line {min(damage) + 1:,} of" in file.lost() or f"from line {min(damage) + 1}" in (
        file.lost()
    )
    assert len(again) == len(damage) or b'"' in whole
    assert sorted(read_rows(path)) == told
    assert path.read_bytes().startswith(b"".join(good[:2]))
    with ScoreFile(path, form, FACTS, resume=True) as file:
        assert not any(file.lacks(one.path) for one in told)
        assert not file.lost()


def test_two_columns_will_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("p_jazz,path\n0.9,x\n0.1,y\n,z\n")
    assert [(one.path, one.verdict) for one in read_rows(tmp_path / "a.csv")] == [
        ("x", "jazz"), ("y", "not_jazz"), ("z", "unsure"),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_table_that_excel_has_saved_is_read_and_gone_on_with(tmp_path: Path, form: str) -> None:
    told = [row(name) for name in NAMES]
    path = tmp_path / f"scores.{form}"
    with ScoreFile(path, form, FACTS, resume=False) as file:
        file.write(told[0])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert list(read_rows(path)) == told[:1]
    with ScoreFile(path, form, FACTS, resume=True) as file:
        for one in told:
            if one.path not in file.before:
                file.write(one)
    assert list(read_rows(path)) == told


def go_on(path: Path, rows: Iterable[Score]) -> None:
    """Writes the rows that a file of scores does not have yet."""
    with ScoreFile(path, "parquet", FACTS, resume=True) as file:
        for one in rows:
            if one.path not in file.before:
                file.write(one)
        file.finish()


def test_parquet_comes_back_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "scores.parquet"
    told = [row(name) for name in NAMES]
    for known in (told[:2], told):
        go_on(path, known)
        assert list(read_rows(path)) == known
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, f"{path.name}.run.json"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("first", ["whole", "broken"])
def test_a_relative_path_counts_from_its_folder_wherever_its_row_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, first: str
) -> None:
    path, begun = tmp_path / "scores", tmp_path / "begun"
    begun.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(begun)
        with ScoreFile(path, form, FACTS, resume=False) as file:
            for name in (str(tmp_path / "a.mid"), "b.mid"):
                file.write(row(name))
    if first == "broken":
        lines = path.read_bytes().splitlines(keepends=True)
        lines[form == "csv"] = b"a.mid,half,jazz,1,\n" if form == "csv" else b'{"path": \n'
        path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    with pytest.raises(UserError, match="its paths count from"):
        ScoreFile(path, form, FACTS, resume=True)
    assert path.read_bytes() == before
    monkeypatch.chdir(begun)
    with ScoreFile(path, form, FACTS, resume=True) as file:
        assert not file.lacks("b.mid")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_name_that_says_no_format_is_read_back(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    path, told = tmp_path / "scores", [row(name) for name in NAMES]
    for known in (told[:2], told):
        with ScoreFile(path, form, FACTS, resume=True) as file:
            for one in known[len(file.before) :]:
                file.write(one)
            file.finish()
        assert list(read_rows(path)) == known


def test_parquet_holds_any_name_and_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("discriminator.parquet._ROW_GROUP", 2)
    path = tmp_path / "scores.parquet"
    names = ["caf\udce9.mid", r"caf\xe9.mid", "caf\udce9/bad.mid", "a\rb", "ü.mid", "x", "y"]
    told = [Score(name, None, "unsure", 0, f"not readable ({name})") for name in names]
    for _ in range(2):
        go_on(path, told)
        assert list(read_rows(path)) == told


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'jazz-gan\[parquet\]'"):
        ScoreFile(tmp_path / "scores.parquet", "parquet", FACTS, resume=False)
    assert not list(tmp_path.iterdir())


# ---- decisions


def never() -> int:
    raise AssertionError("no notes are to be counted")


@given(
    p=st.integers(0, 10_000).map(lambda n: n / 10_000),
    least=st.integers(0, 100).map(lambda n: n / 100),
)
@example(p=0.1, least=0.1)  # 1 - 0.9 is a hair less
def test_the_two_classes_mirror_each_other(p: float, least: float) -> None:
    jazz = decide(Score("x", p, "jazz", 1, ""), Choice(keep="jazz", min_prob=least), never)
    mirrored = Score("x", round(1 - p, 4), "jazz", 1, "")
    other = decide(mirrored, Choice(keep="not_jazz", min_prob=least), never)
    assert jazz.kept == other.kept == (p >= least)


def test_every_reason_to_drop() -> None:
    unsure = Score("x", 0.9, "unsure", 1, "")
    assert decide(unsure, Choice(), never).kept
    assert decide(unsure, Choice(drop_unsure=True), never).kind == "unsure"
    fate = decide(unsure, Choice(min_notes=100), lambda: 99)
    assert (fate.kept, fate.reason) == (False, "99 notes, under 100")
    assert decide(unsure, Choice(min_notes=100), lambda: 100).kept
    fate = decide(row("bad.mid"), Choice(), never)
    assert (fate.kind, fate.reason) == ("not scored: not readable", "not scored: not readable (x)")
    assert decide(None, Choice(), never).kind == "no score"


# ---- whole curations


def test_the_kept_are_copied_in_their_folders(source: Path, tmp_path: Path) -> None:
    before = snapshot(source)
    summary = run(source, tmp_path / "out", min_prob=0.8)
    assert (summary.kept, summary.files) == (2, 5)
    assert files(tmp_path / "out") == {
        "jazz/a.mid": b"the music of jazz/a.mid", "d.mid": b"the music of d.mid",
    }  # fmt: skip
    assert snapshot(source) == before
    told = table(tmp_path / "out")
    assert {name for name, one in told.items() if one["kept"] == "yes"} == {"a.mid", "d.mid"}
    assert told["d.mid"]["reason"] == "p(jazz) 0.8000 is at least 0.8"
    assert told["b.mid"]["reason"] == "p(jazz) 0.6000 is under 0.8"
    assert told["a.mid"]["output"] == "music/jazz/a.mid"
    assert (tmp_path / "out" / "music" / "d.mid").stat().st_mtime == 1_000_000_000
    assert summary.histogram.sum(axis=1).tolist() == [0, 1, 0, 0, 0, 0, 1, 0, 1, 1]


def test_links_are_the_files_themselves(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out", mode="link")
    assert (tmp_path / "out" / "music" / "d.mid").samefile(source / "d.mid")


def test_where_no_hard_link_can_be_a_symbolic_one_is(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    for resume in (False, True):
        run(source, tmp_path / "out", resume, mode="link")
        assert (tmp_path / "out" / "music" / "d.mid").is_symlink()
        assert (tmp_path / "out" / "music" / "d.mid").samefile(source / "d.mid")


def test_a_list_writes_no_music(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out", mode="list", keep="not_jazz")
    assert (tmp_path / "out" / "kept.txt").read_text() == f"{source / 'other' / 'c.mid'}\n"
    assert not (tmp_path / "out" / "music").exists()


def test_a_preview_writes_nothing_and_tells_the_same(source: Path, tmp_path: Path) -> None:
    seen = preview(source, Choice(), map(row, (str(place.path) for place in places(source))))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    done = run(source, tmp_path / "out")
    assert (seen.kinds, seen.folders) == (done.kinds, done.folders)


def test_earlier_scores_need_no_scoring(source: Path, tmp_path: Path) -> None:
    with (tmp_path / "scores.jsonl").open("w") as stream:
        write = row_writer(stream, "jsonl")
        for name in NAMES[:-1]:
            write(row(str(source / name)))
    out = tmp_path / "out"
    summary = curate(source, out, Choice(), {}, scores=tmp_path / "scores.jsonl")
    assert summary.kept == 2
    assert table(out)["bad.mid"]["reason"] == "no row in the scores"
    (tmp_path / "scores.jsonl").write_text("")
    with pytest.raises(UserError, match="begun with different scores"):
        curate(source, out, Choice(), {}, scores=tmp_path / "scores.jsonl", resume=True)


def test_scores_of_other_paths_are_told_before_anything_is_written(
    source: Path, tmp_path: Path
) -> None:
    with (tmp_path / "scores.csv").open("w", newline="") as stream:
        row_writer(stream, "csv")(row("elsewhere/a.mid"))
    with pytest.raises(UserError, match=r"like 'elsewhere/a.mid', theirs like '.*bad\.mid'"):
        curate(source, tmp_path / "out", Choice(), {}, scores=tmp_path / "scores.csv")
    assert not (tmp_path / "out").exists(), "so that the next try need not go on with it"


def test_whatever_is_kept_is_in_the_manifest(source: Path, tmp_path: Path) -> None:
    """A corpus built of the results reads what their manifest names, and nothing else."""
    (source / "manifest.csv").write_text("path,artist\n./jazz//a.mid,Monk\nother/c.mid,Bach\n")
    run(source, tmp_path / "folder")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as opened:
        for name in ("manifest.csv", *NAMES):
            opened.write(source / name, name)
    run(tmp_path / "packed.zip", tmp_path / "zip")
    for out in (tmp_path / "folder", tmp_path / "zip"):
        music = out / "music"
        with (music / "manifest.csv").open() as stream:
            rows = {row["path"]: row["artist"] for row in csv.DictReader(stream)}
        assert rows == {"jazz/a.mid": "Monk", "d.mid": ""}
        assert rows.keys() == {p.relative_to(music).as_posix() for p in music.rglob("*.mid")}


def test_a_packed_symbolic_link_has_its_row(source: Path, tmp_path: Path) -> None:
    (source / "e.mid").symlink_to("d.mid")
    with tarfile.open(tmp_path / "music.tar", "w") as archive:
        archive.add(source, "music")
    found = {place.inner: place.error for place in places(tmp_path / "music.tar")}
    assert found["music/e.mid"] == SYMBOLIC
    assert sum(map(bool, found.values())) == 1
    packed = Source(tmp_path / "music.tar")
    told = {entry.path: entry.refused for entry, _ in packed.contents(packed.entries())}
    assert told["music/e.mid"] == SYMBOLIC


def test_the_second_name_of_a_packed_file_has_its_row(source: Path, tmp_path: Path) -> None:
    os.link(source / "d.mid", source / "e.mid")
    with tarfile.open(tmp_path / "music.tar", "w") as archive:
        archive.add(source, "music")
    found = {place.inner: place.error for place in places(tmp_path / "music.tar")}
    assert len(found) == len(NAMES) + 1
    assert [why for why in found.values() if why] == [LINKED]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_the_second_file_of_a_name_is_not_judged_by_the_first(
    kind: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / f"music.{kind}"
    names = (("a.mid", "a.mid"), ("d.mid", "d.mid"), ("bad.mid", "a.mid"), ("bad.mid", "./d.mid"))
    paths = [(next(source.rglob(name)), inner) for name, inner in names]
    if kind == "tar":
        with tarfile.open(archive, "w") as opened:
            for path, inner in paths:
                opened.add(path, inner)
    else:
        with zipfile.ZipFile(archive, "w") as packed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the repetition
            for path, inner in paths:
                packed.writestr(inner, path.read_bytes())
    assert [place.error for place in places(archive)] == ["", "", REPEATED, REPEATED]
    # A run that is stopped and goes on asks by paths which rows are there.
    assert len({place.path for place in places(archive)}) == 4
    for mode in ("copy", "list"):
        summary = run(archive, tmp_path / mode, mode=mode)
        assert (summary.files, summary.kept) == (4, 2)
        assert summary.kinds[False, f"not scored: {REPEATED}"] == 2
        with (tmp_path / mode / "scores.csv").open(newline="") as stream:
            assert len(list(csv.DictReader(stream))) == 4
    assert files(tmp_path / "copy")["a.mid"] == b"the music of jazz/a.mid"


def test_a_manifest_goes_along(source: Path, tmp_path: Path) -> None:
    lines = ["path,artist", 'd.mid,"Tatum, Art"', "other/c.mid,Bach"]
    (source / "manifest.csv").write_text("\n".join(lines) + "\n")
    run(source, tmp_path / "out")
    rest = "jazz/a.mid,\n"  # kept, and not named before
    assert (tmp_path / "out/music/manifest.csv").read_text() == "\n".join(lines[:2]) + f"\n{rest}"


def test_a_manifest_that_cannot_go_along_is_told(source: Path, tmp_path: Path) -> None:
    assert run(source, tmp_path / "none").note == ""
    archive = tmp_path / "music.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(source / "d.mid", "d.mid")
        opened.writestr("manifest.csv", b"path,artist\nd.mid,\xff\n")
    summary = run(archive, tmp_path / "out")
    assert "no manifest.csv was taken along" in summary.note
    assert "no UTF-8 table" in summary.note
    assert list(files(tmp_path / "out")) == ["d.mid"]
    (source / "manifest.csv").write_text(f"path,artist\nd.mid,{'a' * 140_000}\n")
    summary = run(source, tmp_path / "folder")
    assert "manifest.csv: no table (field larger than" in summary.note
    assert set(files(tmp_path / "folder")) == {"d.mid", "jazz/a.mid"}
    assert (tmp_path / "folder" / "curation.csv").is_file()


def test_an_archive_is_unpacked_within_the_results(source: Path, tmp_path: Path) -> None:
    archive = tmp_path / "music.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for number, name in enumerate(("x/d.mid", "../d.mid", "/d.mid", "x/../../../d.mid",
                                       "x/d.mid/a.mid", "n" * 300 + "/d.mid")):  # fmt: skip
            opened.writestr(name, f"music {number}")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("x/d.mid", "another")
    before = {path.name for path in tmp_path.rglob("*")} - {"out"}
    summary = run(archive, tmp_path / "out")
    assert files(tmp_path / "out") == {"x/d.mid": b"music 0"}
    assert summary.kept == 1
    assert summary.kinds[False, "not written: its name leads out of the archive"] == 3
    assert summary.kinds[False, f"not scored: {REPEATED}"] == 1
    assert summary.kinds[False, "not written: its name is none here"] == 2
    outside = {path.name for path in tmp_path.rglob("*") if "out" not in path.parts[-5:]}
    assert outside <= before


class Killed(BaseException):
    """In place of a kill: nothing may catch it."""


def dying(step: int, function: Callable[..., object]) -> Callable[..., object]:
    calls = 0

    def call(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == step:
            raise Killed
        return function(*arguments)

    return call


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_killed_run_goes_on_to_the_same_results(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    run(source, tmp_path / "straight", min_prob=0.1)
    for name, owner in (("write", ScoreFile), ("deliver", module)):
        out = tmp_path / f"killed-{name}"
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dying(step, getattr(owner, name)))
            with pytest.raises(Killed):
                run(source, out, min_prob=0.1)
        scored = (out / "scores.csv").read_text().count("\n") - 1
        again: list[str] = []

        def counted(
            pieces: Iterable[Piece], before: Mapping[str, int], again: list[str] = again
        ) -> Iterator[Score]:
            for piece in pieces:
                again.append(piece.path)
                yield row(piece.path)

        curate(source, out, Choice(min_prob=0.1), FACTS, counted, resume=True)
        assert len(again) == len(NAMES) - scored
        assert files(out) == files(tmp_path / "straight")
        for result in ("curation.csv", "scores.csv"):
            straight = (tmp_path / "straight" / result).read_bytes()
            assert (out / result).read_bytes() == straight
        assert not list(out.rglob(".*"))


def test_a_foreign_file_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, out)
    (out / "music" / "d.mid").write_bytes(b"somebody's own")
    summary = run(source, out, resume=True)
    assert (out / "music" / "d.mid").read_bytes() == b"somebody's own"
    assert summary.kept == 1
    assert "another file of that name" in table(out)["d.mid"]["reason"]


@pytest.mark.parametrize("link", [True, False])
def test_a_planted_link_leads_nowhere(source: Path, tmp_path: Path, link: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "out"
    root.mkdir()
    (root / "jazz").symlink_to(tmp_path / "elsewhere")
    (root / "d.mid").symlink_to(tmp_path / "elsewhere" / "d.mid")
    for name in ("jazz/a.mid", "d.mid"):
        place = Place(name, name, source / name)
        with pytest.raises(MidiError, match=r"leads out|another file"):
            deliver(place, root, tmp_path / ".copying", link)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_stops_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            deliver(Place("d", "d.mid", source / "d.mid"), tmp_path, tmp_path / ".copying", False)
    assert not (tmp_path / "d.mid").exists()


def test_results_stand_alone(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lies within"):
        run(source, source / "out")
    with pytest.raises(UserError, match="holds"):
        run(source, tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear all")
    with pytest.raises(UserError, match="not empty and no curation"):
        run(source, tmp_path / "taken", resume=True)
    run(source, tmp_path / "out")
    with pytest.raises(UserError, match="--resume"):
        run(source, tmp_path / "out")
    with pytest.raises(UserError, match=r"min_prob \(0.8, now 0.9\).*--from-scores .*scores.csv"):
        run(source, tmp_path / "out", resume=True, min_prob=0.9)
    with pytest.raises(UserError, match="begun with different model"):
        curate(source, tmp_path / "out", Choice(), {"model": "new"}, score, resume=True)
    assert json.loads((tmp_path / "out" / "curation.json").read_text())["min_prob"] == 0.8
    assert set(COLUMNS) <= set(module.COLUMNS) | {"error"}
