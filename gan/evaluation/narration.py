"""An evaluation put into words and tables."""

import math
from collections.abc import Sequence

from gan.evaluation.comparison import BITS, Measured
from gan.evaluation.confidence import difference
from gan.evaluation.distances import Interval
from gan.evaluation.report import Measure, Table

MEASURES = {
    "jazz rate, harmony": Measure("match", "Share of pieces the judge of harmony calls jazz.", 2),
    "jazz rate, rhythm": Measure("match", "Share of pieces the judge of rhythm calls jazz.", 2),
    "jazz rate, roll": Measure("match", "Share of pieces the piano-roll judge calls jazz.", 2),
    BITS: Measure("lower", "How surprised it is by held-out jazz.", 2),
    "runs and loops beyond real": Measure(
        "lower", "Share of pieces with runs or loops that only one in fifty real pieces has.", 2
    ),
    "variety": Measure(
        "match", "Share of six-token sequences that are the first of their kind.", 3
    ),
    "pitch_class_entropy_4": Measure(
        "match", "Bits of pitch classes in four bars: how far it moves.", 2
    ),
    "grooving": Measure("match", "Is one rhythm kept?", 3),
    "note_density": Measure("match", "Notes a second.", 1),
    "polyphony": Measure("match", "Notes sounding at once.", 1),
    "frechet": Measure("lower", "Distance of the whole set from real jazz.", 0),
    "coverage": Measure("higher", "Real pieces with a generated one near.", 2),
    "self_overlap_any_key": Measure("match", "How much material its pieces share.", 3),
    "degenerate": Measure("lower", "Share of pieces with a loop, a run, a silence.", 3),
    "copied": Measure("lower", "Share that copies more from training than 95% of real pieces.", 2),
}

INTERVALS = (
    "Intervals are 95%, over pieces: Wilson's for shares of pieces, the jackknife's for other "
    "figures, with the real pieces taken as given; of bits a note the bootstrap's, over windows of "
    "held-out jazz. Self-overlap and real jazz's own distances have none. One trained model a "
    "system: another seed may differ by more."
)


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
    sentences = [_nearest(systems, real)] if "frechet" in systems[0].figures else []
    if not systems[0].p_jazz:
        sentences.append(
            "No judges were asked; the figures below say how near each system comes to real jazz."
        )
        return " ".join(sentences)
    sentences.append(f"The judges call jazz, of real jazz: {_rates(real)}.")
    for system in systems:
        sentence = f"Of {system.name}: {_rates(system)}."
        if system is not systems[0]:
            sentence += _apart(system, systems[0])
        sentences.append(sentence)
    # The judges have never met noise, and take much of it for jazz.
    sentences.append("A rate above real jazz's is no gain: these judges take much noise for jazz.")
    return " ".join(sentences)


def _nearest(systems: Sequence[Measured], real: Measured) -> str:
    """Who lies nearest to real jazz, and whether these pieces can tell."""
    order = sorted(
        (each for each in systems if "frechet" in each.figures),
        key=lambda each: each.figures["frechet"].value,
    )
    listed = [f"{each.name} {told(each.figures['frechet'], 0)}" for each in order]
    if len(order) == 1:
        said = f"Fréchet distance from real jazz: {listed[0]}"
    else:
        gap = difference(order[1].figures["frechet"], order[0].figures["frechet"])
        sure = "" if gap.low > 0 else f", though not surely nearer than {order[1].name}"
        said = (
            f"Nearest to real jazz by Fréchet distance is {listed[0]}{sure}; "
            f"then {', '.join(listed[1:])}"
        )
    if "frechet" in real.figures:
        # Fewer pieces make any such distance larger.
        said += f"; real jazz's own halves lie {real.figures['frechet'].value:.0f} apart"
    return f"{said}."


def _rates(system: Measured) -> str:
    return ", ".join(
        f"{told(system.figures[f'jazz rate, {judge}'])} by {judge}" for judge in system.p_jazz
    )


def _apart(system: Measured, first: Measured) -> str:
    """How a system differs from the first one, as far as these pieces show it."""
    gaps = {judge: system.beside[judge] for judge in system.p_jazz}
    higher = [judge for judge, gap in gaps.items() if gap.low > 0]
    lower = [judge for judge, gap in gaps.items() if gap.high < 0]
    unsure = [judge for judge in gaps if judge not in higher + lower]
    said = ""
    if higher:
        said += f" Called jazz more often than {first.name} by {' and '.join(higher)}."
    if lower:
        less = "Less often" if higher else f"Called jazz less often than {first.name}"
        said += f" {less} by {' and '.join(lower)}."
    if not higher and not lower:
        said += f" No difference from {first.name} that these pieces could show."
    elif unsure:
        said += f" No difference that shows by {' and '.join(unsure)}."
    further = [
        f"{name} {told(system.figures[name], digits)} against {told(first.figures[name], digits)}"
        for name, digits in (("variety", 3), (BITS, 2))
        if is_apart(system.beside.get(name))
    ]
    return said + (f" Apart also in {' and '.join(further)}." if further else "")


def is_apart(gap: Interval | None) -> bool:
    """Whether a difference's interval has no zero in it."""
    return gap is not None and (gap.low > 0 or gap.high < 0)


def differences(systems: Sequence[Measured]) -> list[Table]:
    """Every system less the first: by each judge, and in the other figures that have intervals."""
    rates, others = [], []
    for system in systems[1:]:
        for judge in system.p_jazz:
            rate, mean = system.beside[judge], system.beside[f"p(jazz), {judge}"]
            rates.append((f"{system.name}, {judge}", told(rate), told(mean), _yes(rate)))
        for name, measure in MEASURES.items():
            gap = system.beside.get(name)
            if gap is not None and not math.isnan(gap.low):
                others.append((f"{system.name}, {name}", told(gap, measure.digits or 2), _yes(gap)))
    note = "95% intervals; apart where the difference's interval has no zero."
    first = systems[0].name
    columns = ("system, judge", "jazz rate", "mean p(jazz)", "rates apart")
    tables = [Table(f"Less {first}", columns, rates, note)] if rates else []
    if others:
        columns_of_others = ("system, figure", "difference", "apart")
        tables.append(Table(f"Less {first}, other figures", columns_of_others, others, note))
    return tables


def _yes(gap: Interval) -> str:
    return "yes" if is_apart(gap) else "no"


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
    return "\n".join(lines) + f"\n\n{INTERVALS}\n"
