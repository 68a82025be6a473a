"""An evaluation put into words, tables and the report's content."""

import math
from collections.abc import Sequence

import numpy as np

from data_tools.representation import Representation
from gan.evaluation import musical
from gan.evaluation.comparison import Measured
from gan.evaluation.distances import Interval
from gan.evaluation.report import (
    REAL,
    Confusion,
    Figure,
    Frontier,
    Histogram,
    Measure,
    Point,
    Report,
    Sample,
    System,
    Table,
)
from gan.evaluation.systems import Written

MEASURES = {
    "jazz rate, harmony": Measure("higher", "Share of pieces the judge of harmony calls jazz.", 2),
    "jazz rate, rhythm": Measure("higher", "Share of pieces the judge of rhythm calls jazz.", 2),
    "jazz rate, roll": Measure("higher", "Share of pieces the piano-roll judge calls jazz.", 2),
    "bits a note": Measure("lower", "How surprised it is by held-out jazz.", 2),
    "runs and loops beyond real": Measure(
        "lower", "Share of pieces with runs or loops that only one in fifty real pieces has.", 2
    ),
    "variety": Measure("", "Share of six-token sequences that are the first of their kind.", 3),
    "pitch_class_entropy_4": Measure(
        "", "Bits of pitch classes in four bars: how far it moves.", 2
    ),
    "grooving": Measure("", "Is one rhythm kept? To match, not to maximise.", 3),
    "note_density": Measure("", "Notes a second.", 1),
    "polyphony": Measure("", "Notes sounding at once.", 1),
    "frechet": Measure("lower", "Distance of the whole set from real jazz.", 0),
    "coverage": Measure("higher", "Real pieces with a generated one near.", 2),
    "self_overlap_any_key": Measure("", "How much material its pieces share.", 3),
    "degenerate": Measure("lower", "Share of pieces with a loop, a run, a silence.", 3),
    "copied": Measure("lower", "Share that copies more from training than 95% of real pieces.", 2),
}


def told(figure: Interval, digits: int = 2) -> str:
    """A figure with its interval, where it has one."""
    if math.isnan(figure.value):
        return "–"
    text = f"{figure.value:.{digits}f}"
    if math.isnan(figure.low):
        return text
    return f"{text} ({figure.low:.{digits}f}–{figure.high:.{digits}f})"


def verdict(systems: Sequence[Measured], real: Measured) -> str:
    """What was found, in a paragraph; differences within their intervals are said to be none."""
    if not systems[0].p_jazz:
        return (
            "No judges were asked; the figures below say how near each system comes to real jazz."
        )
    first, sentences = systems[0], []
    rates = ", ".join(
        f"{told(real.figures[f'jazz rate, {judge}'])} by {judge}" for judge in real.p_jazz
    )
    sentences.append(f"Of real jazz the judges call this share jazz: {rates}.")
    for system in systems:
        rates = ", ".join(
            f"{told(system.figures[f'jazz rate, {judge}'])} by {judge}" for judge in system.p_jazz
        )
        sentence = f"{system.name}: {rates}."
        if system is not first:
            gaps = {judge: system.beside[judge] for judge in system.p_jazz}
            higher = [judge for judge, gap in gaps.items() if gap.low > 0]
            lower = [judge for judge, gap in gaps.items() if gap.high < 0]
            unsure = [judge for judge in gaps if judge not in higher + lower]
            if higher:
                sentence += f" Called jazz more often than {first.name} by {' and '.join(higher)}."
            if lower:
                sentence += f" Less often by {' and '.join(lower)}."
            if not higher and not lower:
                sentence += f" No difference from {first.name} that these pieces could show."
            elif unsure:
                sentence += f" No difference that shows by {' and '.join(unsure)}."
            sentence += _cost(system, first)
        if "frechet" in system.figures:
            sentence += f" Fréchet distance {system.figures['frechet'].value:.0f}."
        sentences.append(sentence)
    if "frechet" in real.figures:
        # The judges have never met noise, and take much of it for jazz.
        sentences.append(
            f"Real jazz lies {real.figures['frechet'].value:.0f} from itself: a rate above real "
            "jazz's, at a greater distance, is no gain."
        )
    return " ".join(sentences)


def _cost(system: Measured, first: Measured) -> str:
    """What a system pays in variety and bits beside the first; these have no intervals."""
    told_costs = [
        f"{name} {told(system.figures[name], digits)} against {told(first.figures[name], digits)}"
        for name, digits in (("variety", 3), ("bits a note", 2))
        if name in system.figures and name in first.figures
    ]
    return f" Without intervals: {', '.join(told_costs)}." if told_costs else ""


def differences(systems: Sequence[Measured]) -> Table | None:
    """Every system less the first by each judge, None where there is nothing to tell."""
    rows = []
    for system in systems[1:]:
        for judge in system.p_jazz:
            rate, mean = system.beside[judge], system.beside[f"p(jazz), {judge}"]
            apart = "yes" if rate.low > 0 or rate.high < 0 else "no"
            rows.append((f"{system.name}, {judge}", told(rate), told(mean), apart))
    if not rows:
        return None
    columns = ("system, judge", "jazz rate", "mean p(jazz)", "rates apart")
    return Table(
        f"Less {systems[0].name}", columns, rows,
        "95% intervals over pieces; rates are apart where their difference's interval has no zero.",
    )  # fmt: skip


def markdown(tables: Sequence[Table]) -> str:
    """The same tables for table.md."""
    parts = []
    for each in tables:
        lines = [
            f"\n**{each.title}**\n",
            "| " + " | ".join(each.columns) + " |",
            "|---" * len(each.columns) + "|",
            *("| " + " | ".join(str(value) for value in row) + " |" for row in each.rows),
        ]
        parts.append("\n".join(lines) + "\n" + (f"\n{each.note}\n" if each.note else ""))
    return "".join(parts)


def table(systems: Sequence[Measured], real: Measured) -> str:
    """Markdown: a row a figure, a column a system, real jazz last."""
    columns = [*systems, real]
    lines = [
        "| figure | " + " | ".join(each.name for each in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name, measure in MEASURES.items():
        if any(name in each.figures for each in systems):
            cells = [
                told(each.figures[name], measure.digits or 2) if name in each.figures else ""
                for each in columns
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def report(
    title: str,
    written: Sequence[Written],
    systems: Sequence[Measured],
    real: Measured,
    real_pieces: Sequence[np.ndarray],
    representation: Representation,
    sweeps: dict[str, dict[str, Measured]],
    shown: int,
    extra: Sequence[Table] = (),
    note: str = "",
) -> Report:
    """The page's content.

    Args:
        title: of the page.
        written, systems: their music and their figures, in one order.
        real, real_pieces: the same of real jazz.
        representation: what the pieces mean.
        sweeps: figures at other settings, by system and setting.
        shown: samples a system.
        extra: more tables.
        note: the last line.
    """
    wanted = [*written, Written(REAL, "", list(real_pieces))]
    return Report(
        title,
        verdict(systems, real),
        [
            _system(music, figures, representation, shown)
            for music, figures in zip(wanted, [*systems, real], strict=True)
        ],
        MEASURES,
        _frontier(systems, real, sweeps),
        _histograms(written, real_pieces, representation),
        [row for each in (*systems, real) for row in _confusion(each, each is real)],
        list(extra),
        note,
    )


def _system(
    music: Written, measured: Measured, representation: Representation, shown: int
) -> System:
    figures = {
        name: _figure(measured.figures[name]) for name in MEASURES if name in measured.figures
    }
    unit = representation.grid_seconds or 0.02
    samples = []
    for number, ids in enumerate(music.pieces[:shown], start=1):
        notes = representation.events(ids, close=True).notes
        start, end = notes.start * unit, notes.end * unit
        rows = np.stack([start, end - start, notes.pitch, notes.velocity], 1)
        # No judge's opinion in the title: it is read before the piece is heard.
        samples.append(Sample(f"No. {number}", rows))
    return System(
        music.name,
        f"{len(music.pieces)} pieces" + (f" of {music.where}" if music.where else ""),
        "\n".join(f"{path}: {reason}" for path, reason in music.refused),
        figures,
        music.curves,
        samples,
    )


def _figure(value: Interval) -> Figure:
    if math.isnan(value.low):
        return Figure(value.value)
    return Figure(value.value, value.low, value.high)


def _frontier(
    systems: Sequence[Measured], real: Measured, sweeps: dict[str, dict[str, Measured]]
) -> Frontier | None:
    judge = "jazz rate, harmony"
    if not any(sweeps.values()) or judge not in real.figures:
        return None
    points = [
        Point(name, setting, _figure(each.figures[judge]), _figure(each.figures["variety"]))
        for name, sweep in sweeps.items()
        for setting, each in sweep.items()
    ]
    points.append(Point(REAL, "", _figure(real.figures[judge]), _figure(real.figures["variety"])))
    return Frontier(points, judge, "variety")


def _histograms(
    written: Sequence[Written], real: Sequence[np.ndarray], representation: Representation
) -> list[Histogram]:
    bar = None if representation.settings.time_base == "beat" else musical.BAR

    def counts(pieces: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        found = [musical.of_tokens(ids, representation, bar).histograms for ids in pieces]
        return {name: np.sum([each[name] for each in found], 0) for name in found[0]}

    of_real, of_systems = counts(real), {each.name: counts(each.pieces) for each in written}
    return [
        Histogram(
            name.replace("_", " "),
            [str(number) for number in range(len(values))],
            {system: found[name].tolist() for system, found in of_systems.items()},
            values.tolist(),
        )
        for name, values in of_real.items()
    ]


def _confusion(system: Measured, jazz: bool) -> list[Confusion]:
    rows = []
    for judge, p in system.p_jazz.items():
        called = int((p >= 0.5).sum())
        rows.append(
            Confusion(f"{system.name}, {judge}", "jazz" if jazz else "", called, len(p) - called)
        )
    return rows
