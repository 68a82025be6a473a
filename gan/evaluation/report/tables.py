"""The tables of a report: figures with intervals, confusion by source, and any other.

On a narrow screen a table becomes a list, each cell under its column's name, so that nothing runs
off the page.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from gan.evaluation.report import charts
from gan.evaluation.report.axes import number
from gan.evaluation.report.content import REAL, Confusion, Figure, Measure, Report, Table
from gan.evaluation.report.legend import chip
from gan.evaluation.report.markup import Markup, join, tag

_ARROWS = {
    "lower": "↓ lower is better", "higher": "↑ higher is better",
    "match": "◇ nearest to real jazz is best", "": "",
}  # fmt: skip


def grid(columns: Iterable[object], rows: Iterable[Sequence[Markup]], label: str) -> Markup:
    """A table whose rows are cells made already; the first cell of each is its heading."""
    head = [tag("th", column, scope="col", role="columnheader") for column in columns]
    body = [tag("tr", *cells, role="row") for cells in rows]
    return tag(
        "table",
        tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
        role="table",
        aria_label=label,
    )


def cell(content: object, column: object, first: bool = False, class_: str | None = None) -> Markup:
    """A cell that knows its column, for narrow screens."""
    if first:
        return tag("th", content, scope="row", role="rowheader", class_=class_)
    return tag("td", tag("div", content), data_column=column, role="cell", class_=class_)


def simple(table: Table) -> Markup:
    """A table of plain cells."""
    rows = []
    for row in table.rows:
        cells = []
        for place, (value, column) in enumerate(zip(row, table.columns, strict=False)):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            shown = number(value) if isinstance(value, float) else "" if value is None else value
            cells.append(cell(shown, column, place == 0, "number" if is_number else None))
        rows.append(cells)
    return grid(table.columns, rows, table.title or "numbers")


def figures(report: Report, colours: Mapping[str, str]) -> Markup | None:
    """Every figure by system, with a line of whiskers."""
    systems = [system for system in report.systems if system.figures]
    present = dict.fromkeys(name for system in systems for name in system.figures)
    names = [name for name in report.measures if name in present]
    names += [name for name in present if name not in report.measures]
    if not names:
        return None
    columns = ["", *(chip(system.name, colours) for system in systems), "95% intervals"]
    rows = []
    for name in names:
        measure = report.measures.get(name, Measure())
        found = {s.name: s.figures[name] for s in systems if name in s.figures}
        first = leader({name: found[name] for name in found if name != REAL}, measure)
        row = [cell(_heading(name, measure), "", True)]
        for system in systems:
            shown = _figure(found.get(system.name), measure, system.name == first)
            row.append(cell(shown, system.name, class_=f"figure {colours[system.name]}"))
        every = {system.name: found.get(system.name, Figure(math.nan)) for system in systems}
        row.append(cell(charts.whiskers(name, every, colours), "", class_="strips"))
        rows.append(row)
    return tag("div", grid(columns, rows, "figures by system"), class_="figures wide")


def leader(found: Mapping[str, Figure], measure: Measure) -> str | None:
    """The system whose interval lies on the better side of all others', if there is one.

    None where real jazz is to be matched: which interval lies nearest to another one is not said.
    """
    if measure.better in ("match", ""):
        return None
    intervals = {}
    for name, figure in found.items():
        if figure.low is None or figure.high is None or not math.isfinite(figure.value):
            return None
        sign = -1 if measure.better == "lower" else 1
        intervals[name] = sorted((sign * figure.low, sign * figure.high))
    if len(intervals) < 2:
        return None
    best = max(intervals, key=lambda name: intervals[name][0])
    others = [high for name, (_, high) in intervals.items() if name != best]
    return best if intervals[best][0] > max(others) else None


def _heading(name: str, measure: Measure) -> Markup:
    arrow, meaning = _ARROWS[measure.better], measure.meaning
    return join(
        tag("span", measure.label or name, class_="name"),
        tag("span", arrow, class_="better") if arrow else None,
        tag("span", meaning, class_="meaning") if meaning else None,
    )


def _figure(figure: Figure | None, measure: Measure, first: bool) -> Markup:
    if figure is None:
        return tag("span", "–", class_="value none", role="img",
                   aria_label="not measured")  # fmt: skip
    value = number(figure.value, measure.digits)
    parts = [tag("span", value, class_="value")]
    if first:
        parts.append(tag("span", "best", class_="best"))
    if figure.low is not None and figure.high is not None:
        ends = f"{number(figure.low, measure.digits)} to {number(figure.high, measure.digits)}"
        parts.append(tag("span", ends, class_="interval"))
    if figure.note:
        parts.append(tag("span", figure.note, class_="interval"))
    return join(*parts)


def confusion(rows: Sequence[Confusion]) -> Markup | None:
    """What the judge said of each source, with a bar of shares."""
    if not rows:
        return None
    columns = ("source", "is", "pieces", "called jazz", "not jazz", "unsure", "right", "shares")
    known = {"jazz": "jazz", "not_jazz": "not jazz", "": "–"}
    drawn = []
    for row in rows:
        count = row.jazz + row.not_jazz + row.unsure
        right = {"jazz": row.jazz, "not_jazz": row.not_jazz, "": 0}[row.truth]
        share = f"{100 * right / count:.0f}%" if row.truth and count else "–"
        values = (known[row.truth], count, row.jazz, row.not_jazz, row.unsure, share)
        cells = [cell(row.source, columns[0], True)]
        for column, value in zip(columns[1:-1], values, strict=True):
            cells.append(cell(value, column, class_=None if column == "is" else "number"))
        cells.append(cell(_shares(row, count), "", class_="strips"))
        drawn.append(cells)
    legend = [
        tag("span", tag("i", class_=kind), words, class_="chip")
        for kind, words in (("jazz", "called jazz"), ("unsure", "unsure"), ("not", "not jazz"))
    ]
    table = tag("div", grid(columns, drawn, "confusion by source"), class_="wide confusion")
    return join(tag("div", *legend, class_="legend"), table)


def _shares(row: Confusion, count: int) -> Markup:
    wide, x, parts = 160.0, 0.0, []
    for kind, pieces in (("jazz", row.jazz), ("unsure", row.unsure), ("not", row.not_jazz)):
        width = wide * pieces / count if count else 0.0
        parts.append(tag("rect", class_=kind, x=round(x, 1), y=2, width=round(width, 1), height=12))
        x += width
    words = f"{row.jazz} called jazz, {row.unsure} unsure, {row.not_jazz} not jazz"
    return tag("svg", *parts, class_="strip shares", viewBox="0 0 160 16", role="img",
               aria_label=words)  # fmt: skip
