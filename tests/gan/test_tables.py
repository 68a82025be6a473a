"""Rows on standard output: what a program reads there is what a file would hold."""

import csv
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click import unstyle

from gan import tables
from gan.tables import show

NAMES = ["plain.mid", "caf\udce9.mid", "a\rb.mid", 'a, "b"\nc.mid', "ü.mid"]
ROWS = [{"path": name, "p_jazz": number / 8} for number, name in enumerate(NAMES)]


@pytest.fixture(params=[("utf-8", "strict"), ("utf-8", "surrogateescape"), ("latin-1", "strict")])
def printed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., bytes]:
    """What `show` writes to standard output as different machines set it up."""

    def run(*arguments: Any) -> bytes:
        held = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(held, *request.param))
            show(*arguments)
            sys.stdout.flush()
            return held.getvalue()

    return run


def test_csv_comes_back(printed: Callable[..., bytes]) -> None:
    text = printed(ROWS, "csv").decode("utf-8", "surrogateescape")
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["path"], float(row["p_jazz"])) for row in read] == [
        (row["path"], row["p_jazz"]) for row in ROWS
    ]


def test_json_is_utf_8(printed: Callable[..., bytes]) -> None:
    text = printed(ROWS, "json").decode()
    assert [json.loads(line) for line in text.splitlines()] == ROWS
    assert "ü" in text


def test_a_table_shows_any_name(printed: Callable[..., bytes]) -> None:
    assert b"plain.mid" in printed(ROWS, "table")


def test_no_rows_are_a_header_where_it_is_known(printed: Callable[..., bytes]) -> None:
    assert printed([], "csv", ["path", "p_jazz"]) == b"path,p_jazz\n"
    assert printed([], "json", ["path"]) == b""


def test_a_name_cannot_move_the_cursor(printed: Callable[..., bytes]) -> None:
    rows = [{"path": "a\x1b[31m\nb\x9bc.mid", "notes": 3}]
    lines = printed(rows, "table").decode("latin-1").splitlines()
    assert [line.split() for line in lines] == [
        ["path", "notes"],
        [r"a\x1b[31m\x0ab\x9bc.mid", "3"],
    ]


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [200, 40])
def test_a_narrow_terminal_breaks_no_path(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    path = "music/" + "x" * 40 + ".mid"
    rows = [{"path": path, "notes": 12, "drums": False, "reason": ""},
            {"path": "b.mid", "notes": 1234, "drums": True, "reason": ""}]  # fmt: skip
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", Screen())
    show(rows, "table")
    lines = [unstyle(line) for line in sys.stdout.getvalue().splitlines()]  # type: ignore[attr-defined]
    if width == 200:
        assert lines[1].split() == [path, "12", "no"]
        assert len(lines) == 3
        return
    assert lines == ["path", "  notes  drums", path, "     12  no", "b.mid", "   1234  yes"]


def test_a_plain_table_sets_its_figures_to_the_right() -> None:
    found = tables.plain([["a source", "1.000*"], ["b", "0.5"]], ["source", "AUC"])
    assert found == "source       AUC\na source  1.000*\nb            0.5"


def test_the_fractions_of_a_column_have_as_many_decimals(printed: Callable[..., bytes]) -> None:
    rows = [
        {"path": "a", "p": 0.985, "notes": 7, "tiny": 1e-7},
        {"path": "b", "p": 0.99, "notes": 12, "tiny": 0.5},
        {"path": "c", "p": None, "notes": 3, "tiny": 0.25},
    ]
    assert printed(rows, "table").decode().splitlines() == [
        "path      p  notes   tiny",
        "a     0.985      7  1e-07",
        "b     0.990     12    0.5",
        "c                3   0.25",
    ]
    assert b"b,0.99,12,0.5" in printed(rows, "csv"), "programs get the numbers as they are"


def test_a_column_of_numbers_is_one_although_its_first_cell_is_empty(
    printed: Callable[..., bytes],
) -> None:
    rows: list[dict[str, object]] = [{"path": "a", "windows": None}, {"path": "b", "windows": 4}]
    assert printed(rows, "table").decode().splitlines() == ["path  windows", "a", "b           4"]
