"""Rows as text: any file's name comes back as it was."""

import csv
import io
import json

from hypothesis import example, given
from hypothesis import strategies as st

from data_tools.rows import csv_writer, json_line, spelled, unspelled

# What names may hold, what looks like a spelling, and what no encoding has.
names = st.text(
    st.sampled_from(["\\", *"xud58cef09", "\udce9", "\udcff", "\ud800", "\n", "\r", "é"])
)


@given(names | st.text())
@example("C:\\x64\\caf\udce9.mid")
@example("\\xe9\\x5c\\ud800")
def test_a_spelling_is_text_and_can_be_taken_back(name: str) -> None:
    assert unspelled(spelled(name).encode().decode()) == name


def test_how_names_are_spelled() -> None:
    assert spelled("caf\udce9.mid") == r"caf\xe9.mid"
    assert spelled(r"caf\xe9.mid") == r"caf\x5cxe9.mid"
    for name in ("C:\\x64\\Café.mid", r"a\b", ""):
        assert spelled(name) == name, "as it is where nothing stands against it"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.just("\udce9")), min_size=2))
@example(["a\rb", "caf\udce9"])
def test_rows_come_back(cells: list[str]) -> None:
    stream = io.BytesIO()
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    csv_writer(text)(cells)
    text.flush()
    read = stream.getvalue().decode(errors="surrogateescape")
    assert next(csv.reader(io.StringIO(read, newline=""))) == cells
    row = {str(number): cell for number, cell in enumerate(cells)}
    assert json.loads(json_line(row).encode()) == row
