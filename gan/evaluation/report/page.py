"""The page as one file: it opens from a disk with no network, and holds its music as notes.

Styles and scripts lie in `assets/` and are written into the page. Its content security policy lets
no script run but those, and lets nothing be fetched, whatever a name or a title may hold.
"""

import base64
import hashlib
import json
import math
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from data_tools.errors import UserError
from data_tools.files import write_text
from gan.evaluation.report import sections, tables
from gan.evaluation.report.charts import thinned
from gan.evaluation.report.content import Report, Sample
from gan.evaluation.report.legend import chip, inks
from gan.evaluation.report.markup import Markup, join, tag
from gan.evaluation.report.music import Played, played

MOST_BYTES = 15_000_000  # of a page
_MUSIC_BYTES = MOST_BYTES - 1_500_000  # of them for notes
_SCRIPTS = ("notes.js", "piano.js", "roll.js", "player.js", "blind.js")


@dataclass(frozen=True)
class _Heard:
    """A sample and its notes."""

    sample: Sample
    played: Played


def write_report(report: Report, path: str | Path) -> Path:
    """Writes a report as one HTML file, whole or not at all, and returns its path.

    Raises:
        UserError: two systems of one name.
    """
    path = Path(path)
    write_text(path, page(report))
    return path


def page(report: Report) -> str:
    """The HTML of a report; see `write_report`."""
    names = [system.name for system in report.systems]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two systems are named {twice[0]!r}; names tell systems apart")
    colours = inks(report)
    heard = _within_budget([[_Heard(s, played(s)) for s in one.samples] for one in report.systems])
    parts = {
        "summary": ("In short", sections.summary(report, colours)),
        "listen": ("Listen", _listen(report, colours, heard)),
        "figures": ("Figures", _figures(report, colours)),
        "curves": ("Curves", sections.loss_curves(report, colours)),
        "frontier": ("Frontier", sections.frontier(report, colours)),
        "histograms": ("Histograms", sections.histograms(report, colours)),
        "confusion": ("By source", _confusion(report)),
        "tables": ("Tables", _tables(report)),
    }
    shown = {key: part for key, part in parts.items() if part[1] is not None}
    links = [tag("a", words, href=f"#{key}") for key, (words, _) in shown.items()]
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#main", class_="skip"),
        _header(report, links),
        tag("main", *(part for _, part in shown.values()), id="main"),
        tag("section", id="blind", hidden=True, aria_label="Blind listening"),
        tag("footer", tag("p", report.note) if report.note else None),
        _data(report, colours, heard),
        _script(_players_code()),
    )
    return "<!DOCTYPE html>\n" + tag("html", _head(report), body, lang="en") + "\n"


def _within_budget(heard: list[list[_Heard]]) -> list[list[_Heard]]:
    """The same, the largest samples emptied until what is left fits the page."""
    every = sorted((one for row in heard for one in row), key=lambda one: one.played.size)
    total, out = 0, set()
    for one in every:
        total += one.played.size
        if total > _MUSIC_BYTES:
            out.add(id(one))
    words = f"left out: the page would be larger than {MOST_BYTES // 10**6} MB"
    return [
        [
            replace(one, played=replace(one.played, notes=0, packed={}, size=0, message=words))
            if id(one) in out
            else one
            for one in row
        ]
        for row in heard
    ]


def _asset(name: str) -> str:
    return resources.files("gan.evaluation.report").joinpath("assets", name).read_text("utf-8")


def _players_code() -> str:
    return "(() => {\n'use strict';\n" + "\n".join(map(_asset, _SCRIPTS)) + "\n})();\n"


def _script(code: str) -> Markup:
    return tag("script", Markup(code))


def _head(report: Report) -> Markup:
    scripts = (_asset("theme.js"), _players_code())
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in scripts
    )
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {hashes}"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", report.title),
        tag("style", Markup(_asset("page.css"))),
        _script(_asset("theme.js")),
    )


def _header(report: Report, links: list[Markup]) -> Markup:
    playable = sum(any(s.music is not None for s in system.samples) for system in report.systems)
    buttons = [
        tag("button", "Blind listening", type="button", id="blind-toggle",
            disabled=playable < 2, title=None if playable > 1 else "needs samples of two systems"),
        tag("button", "Dark", type="button", id="theme-toggle"),
    ]  # fmt: skip
    return tag(
        "header",
        tag("h1", report.title),
        tag("div", tag("nav", *links, aria_label="Sections"), tag("div", *buttons, class_="tools"),
            class_="rail"),
    )  # fmt: skip


def _listen(report: Report, colours: dict[str, str], heard: list[list[_Heard]]) -> Markup | None:
    if not any(heard):
        return None
    rows = []
    for place, (system, row) in enumerate(zip(report.systems, heard, strict=True)):
        players = [
            _player(place, number, one, colours[system.name]) for number, one in enumerate(row)
        ]
        rows.append(
            tag(
                "div",
                tag("h3", chip(system.name, colours)),
                tag("div", *players, class_="players")
                if players
                else sections.missing("no samples"),
                class_="row",
            )
        )
    silent = tag("noscript", sections.missing("Piano rolls and sound need JavaScript."))
    lead = "Grey notes were given as a prompt; the coloured ones are the system's own."
    prompted = any(one.sample.begins is not None for row in heard for one in row)
    return sections.section("listen", "Listen", silent, *rows, lead=lead if prompted else "")


def _player(place: int, number: int, heard: _Heard, ink: str) -> Markup:
    found = heard.played
    facts = f"{found.notes:,} notes" if found.notes else ""
    curve = [p for _, p in thinned(heard.sample.p_jazz)]
    if curve and found.notes:
        facts += f", p(jazz) {sum(curve) / len(curve):.2f}"
    stage = tag("div", class_="stage", data_system=place, data_sample=number)
    return tag(
        "article",
        tag("h4", heard.sample.title),
        stage if found.notes else None,
        tag("p", facts, class_="facts") if facts else None,
        sections.missing(found.message) if found.message else None,
        class_=f"player {ink}",
    )


def _data(report: Report, colours: dict[str, str], heard: list[list[_Heard]]) -> Markup:
    """Everything the scripts need to know, as JSON that no title can break out of."""
    systems: list[dict[str, Any]] = [
        {"name": system.name, "ink": colours[system.name], "samples": [_sample(h) for h in row]}
        for system, row in zip(report.systems, heard, strict=True)
    ]
    content = {"title": report.title, "systems": systems}
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    code = json.dumps(content | {"key": key}, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        code = code.replace(character, f"\\u{ord(character):04x}")
    return tag("script", Markup(code), type="application/json", id="data")


def _sample(heard: _Heard) -> dict[str, Any]:
    found, sample = heard.played, heard.sample
    begins = sample.begins if sample.begins is not None and math.isfinite(sample.begins) else None
    return {
        "title": sample.title,
        "notes": found.notes,
        "seconds": round(found.seconds, 3),
        "begins": None if begins is None else float(begins),
        "pitches": found.pitches,
        "words": found.words,
        "curve": [(round(x, 2), round(y, 3)) for x, y in thinned(sample.p_jazz)],
        **found.packed,
    }


def _figures(report: Report, colours: dict[str, str]) -> Markup | None:
    table = tables.figures(report, colours)
    if table is None:
        return None
    lead = (
        "Below each figure its 95% interval. “Best” is said of a system only where that interval "
        "lies clear of all other systems'."
    )
    lead = f"{lead} {report.intervals}" if report.intervals else lead
    return sections.section("figures", "Figures", table, lead=lead)


def _confusion(report: Report) -> Markup | None:
    table = tables.confusion(report.confusion)
    lead = "What the judge called the pieces of each source."
    return sections.section("confusion", "Confusion by source", table, lead=lead) if table else None


def _tables(report: Report) -> Markup | None:
    if not report.tables:
        return None
    parts = [
        join(
            tag("h3", table.title),
            tag("div", tables.simple(table), class_="wide"),
            tag("p", table.note, class_="facts") if table.note else None,
        )
        for table in report.tables
    ]
    return sections.section("tables", "Tables", *parts)
