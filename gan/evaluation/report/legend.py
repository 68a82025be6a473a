"""Who has which colour: names are the same colour and shape all over the page."""

from collections.abc import Mapping

from gan.evaluation.report.charts import dot
from gan.evaluation.report.content import REAL, Report
from gan.evaluation.report.markup import Markup, tag

COLOURS = 8


def inks(report: Report) -> dict[str, str]:
    """The class that colours each name: s0, s1, ... and one of its own for real jazz."""
    names = [system.name for system in report.systems]
    if report.frontier:
        names += [point.system for point in report.frontier.points]
    names += [name for found in report.histograms for name in found.counts]
    colours = {REAL: "real"}
    for name in names:
        if name not in colours:
            colours[name] = f"s{(len(colours) - 1) % COLOURS}"
    return colours


def chip(name: str, colours: Mapping[str, str], more: object = None) -> Markup:
    """A system's name beside its colour and shape."""
    mark = tag(
        "svg", dot(colours[name], 8, 8, size=5),
        class_="mark", viewBox="0 0 16 16", aria_hidden="true",
    )  # fmt: skip
    return tag("span", mark, tag("span", name), tag("b", more) if more else None, class_="chip")
