"""The parts of the page that speak: verdict, systems, curves, frontier, histograms.

Every function takes a part of the report and gives markup, or None where there is nothing to show.
"""

from collections.abc import Mapping

from gan.evaluation.report import charts
from gan.evaluation.report.axes import decimals, number
from gan.evaluation.report.content import REAL, Figure, Histogram, Report, Table
from gan.evaluation.report.legend import chip
from gan.evaluation.report.markup import Markup, tag
from gan.evaluation.report.tables import simple


def section(key: str, title: str, *content: object, lead: str = "") -> Markup:
    """A section of the page with its heading."""
    head = [tag("h2", title, id=f"{key}-head"), tag("p", lead, class_="lead") if lead else None]
    return tag("section", *head, *content, id=key, aria_labelledby=f"{key}-head")


def figure(drawing: Markup, title: str, *legend: Markup, more: Markup | None = None) -> Markup:
    """A chart with its title and legend."""
    keys = tag("div", *legend, class_="legend") if legend else None
    return tag("figure", tag("figcaption", tag("h3", title), keys), drawing, more)


def summary(report: Report, colours: Mapping[str, str]) -> Markup:
    """The verdict, then who is compared."""
    words = report.verdict.strip() or "No verdict was given with these figures."
    cards = []
    for system in report.systems:
        count = len(system.samples)
        facts = f"{count} sample{'' if count == 1 else 's'}" if count else "no samples"
        few = len(system.left_out)
        left_out = f"{few} file{'' if few == 1 else 's'} left out"
        cards.append(
            tag(
                "article",
                tag("h3", chip(system.name, colours)),
                tag("p", system.description) if system.description else None,
                tag("p", facts, class_="facts"),
                _folded("Settings", system.settings.strip()),
                _folded(left_out, "\n".join(system.left_out)),
                class_=f"card {colours[system.name]}",
            )
        )
    content = [tag("p", words, class_="verdict")]
    content.append(tag("div", *cards, class_="cards") if cards else missing("No system to show."))
    return tag("section", tag("h2", "In short", id="summary-head", class_="quiet"), *content,
               id="summary", aria_labelledby="summary-head")  # fmt: skip


def _folded(head: str, lines: str) -> Markup | None:
    """Text to be unfolded, where there is some."""
    return tag("details", tag("summary", head), tag("pre", lines)) if lines else None


def missing(words: str) -> Markup:
    """A message in the place of what there is none of."""
    return tag("p", words, class_="missing")


def loss_curves(report: Report, colours: Mapping[str, str]) -> Markup | None:
    """A chart for every name of a curve."""
    names = list(dict.fromkeys(name for system in report.systems for name in system.curves))
    drawn = []
    for place, name in enumerate(names):
        lines = {s.name: s.curves[name] for s in report.systems if name in s.curves}
        ends = {system: charts.thinned(line)[-1:] for system, line in lines.items()}
        digits = decimals(y for end in ends.values() for _, y in end)
        legend = [
            chip(system, colours, number(end[0][1], digits) if end else "no points")
            for system, end in ends.items()
        ]
        drawing = charts.curves(f"curve-{place}", name, lines, colours)
        drawn.append(figure(drawing, name, *legend))
    if not drawn:
        return None
    lead = (
        "The number beside a name is where its curve ends. A run reads windows of its own --length "
        "here, and short ones tell a model less: between runs of different lengths only the "
        "figures' bits a note compare."
    )
    return section("curves", "Loss curves", tag("div", *drawn, class_="charts"), lead=lead)


def frontier(report: Report, colours: Mapping[str, str]) -> Markup | None:
    """Quality against diversity, and the numbers below."""
    found = report.frontier
    if not found or not found.points:
        return None
    names = list(dict.fromkeys(point.system for point in found.points))
    rows = [
        (p.system, p.setting, with_interval(p.quality), with_interval(p.diversity))
        for p in found.points
    ]
    columns = ("system", "setting", found.quality, found.diversity)
    numbers = tag("details", tag("summary", "The numbers"), simple(Table("", columns, rows)))
    drawing = charts.frontier("frontier-chart", found, colours)
    lead = "Whiskers are 95% intervals."
    if REAL in names:
        lead = (
            "Nearest to real jazz's mark, where the broken lines cross, is best: to go beyond it "
            f"is no gain, on either axis. {lead}"
        )
    return section(
        "frontier",
        "Quality and diversity",
        figure(drawing, f"{found.quality} against {found.diversity}",
               *(chip(name, colours) for name in names), more=numbers),
        lead=lead,
    )  # fmt: skip


def with_interval(figure: Figure, digits: int | None = None) -> str:
    """A figure and its interval in one line."""
    value = number(figure.value, digits)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({number(figure.low, digits)} to {number(figure.high, digits)})"


def histograms(report: Report, colours: Mapping[str, str]) -> Markup | None:
    """A chart for every property of the music."""
    if not report.histograms:
        return None
    drawn = [_histogram(n, found, colours) for n, found in enumerate(report.histograms)]
    lead = "The nearer a line keeps to the grey surface, the more the music is like real jazz."
    lead = lead if any(found.real is not None for found in report.histograms) else ""
    return section("histograms", "The music itself", tag("div", *drawn, class_="charts"), lead=lead)


def _histogram(place: int, found: Histogram, colours: Mapping[str, str]) -> Markup:
    names = ([REAL] if found.real is not None else []) + [n for n in found.counts if n != REAL]
    try:
        drawing = charts.histogram(f"histogram-{place}", found, colours)
    except ValueError as error:
        drawing = missing(str(error))
    return figure(drawing, found.name, *(chip(name, colours) for name in names))
