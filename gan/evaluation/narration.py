"""An evaluation put into words and tables."""

import math
from collections.abc import Iterable, Sequence

from gan.evaluation.comparison import BITS, BOTH, RATE, TOGETHER, Measured, judges_of
from gan.evaluation.confidence import difference, point
from gan.evaluation.distances import Interval
from gan.evaluation.report import Measure, Table

MEASURES = {
    "jazz rate, both": Measure("match", "Share of pieces harmony and rhythm both call jazz.", 2),
    "jazz rate, harmony": Measure("match", "Share of pieces the judge of harmony calls jazz.", 2),
    "jazz rate, rhythm": Measure("match", "Share of pieces the judge of rhythm calls jazz.", 2),
    "jazz rate, roll": Measure("match", "Share of pieces the piano-roll judge calls jazz.", 2),
    BITS: Measure("lower", "How surprised it is by held-out jazz.", 2),
    "runs and loops beyond real": Measure(
        "lower",
        "Share of pieces beyond 98% of real ones in any of four counts of runs and loops.",
        2,
    ),
    "variety": Measure(
        "match", "Share of six-token sequences that are the first of their kind.", 3
    ),
    "pitch_class_entropy_4": Measure(
        "match", "Bits of pitch classes in four bars: how far it moves.", 2, "pitch-class entropy"
    ),
    "grooving": Measure("match", "Is one rhythm kept?", 3, "grooving similarity"),
    "pulse": Measure("match", "Is one beat kept, at any tempo?", 3),
    "note_density": Measure("match", "How busy the music is.", 1, "notes a second"),
    "polyphony": Measure("match", "Notes sounding at once.", 1),
    "frechet": Measure("lower", "Of the whole set from real jazz.", 0, "Fréchet distance"),
    "coverage": Measure("higher", "Real pieces with a generated one near.", 2),
    "self_overlap_any_key": Measure(
        "match", "How much material its pieces share, transposed or not.", 3, "self-overlap"
    ),
    "degenerate": Measure("lower", "Share of pieces with a loop, a run, a silence.", 3),
    "copied": Measure("lower", "Share that copies more from training than 95% of real pieces.", 2),
}

HALF = 0.5  # of real jazz: a judge that calls less of it jazz has nothing to say
ENOUGH = 25  # pieces of each side, under which a rate is only known to within 0.2 and more
WIDE = 0.25  # rates that may differ by this much are not called alike

INTERVALS = (
    "Intervals are 95%, over pieces: Wilson's for shares of pieces, the jackknife's for other "
    "figures, with the real pieces taken as given; of bits a note the jackknife's, over works of "
    "held-out jazz. Self-overlap and real jazz's own distances have none. One trained model a "
    "system: another seed may differ by more."
)


def told(figure: Interval, digits: int = 2) -> str:
    """A figure with its interval, where it has one."""
    if math.isnan(figure.value):
        return "–"
    value, low, high = (
        f"{each:.{digits}f}".replace("-", "−") for each in (figure.value, figure.low, figure.high)
    )
    if math.isnan(figure.low):
        return value
    return f"{value} ({low} to {high})" if "−" in low else f"{value} ({low}–{high})"


def verdict(systems: Sequence[Measured], real: Measured) -> str:
    """What was found, a line a system; differences within their intervals are said to be none."""
    sentences = [_nearest(systems, real)] if any(map(_measured, systems)) else []
    if not systems[0].p_jazz:
        sentences.append(
            "No judges were asked; the figures below say how near each system comes to real jazz."
        )
        return "\n".join(sentences)
    sentences += [_beside_real(system, real) for system in systems]
    if deaf := [
        f"{real.figures[RATE + judge].value:.0%} by {words}"
        for judge, words in _asked(real).items()
        if real.figures[RATE + judge].value < HALF
    ]:
        onward = "Go by the distances, or give" if any(map(_measured, systems)) else "Give"
        sentences.append(
            f"But of real jazz itself only {' and '.join(deaf)}: pieces like these tell the judges "
            f"too little. {onward} a larger --length."
        )
    fewest, known = (
        min(len(p) for each in some for p in each.p_jazz.values()) for some in (systems, [real])
    )
    if (least := min(fewest, known)) < ENOUGH:
        whose, more = "", "more pieces"
        if known < fewest:
            whose, more = " of real jazz", "more of it as --real, or another --split"
        sentences.append(
            f"Of only {least} pieces{whose} a rate is known to within about {1 / least**0.5:.1f}: "
            f"take that it differs or not as a hint, and give {more}."
        )
    if any(_sides(system, real)["more"] for system in systems):
        # Judges can be pleased by what is not music: chromaticism, noise.
        sentences.append("More often is no gain: real jazz's own rate is what to match.")
    return "\n".join(sentences + [_beside(system, systems[0]) for system in systems[1:]])


def _measured(system: Measured) -> bool:
    """Whether there were pieces enough for distances."""
    return "frechet" in system.figures


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
        said += f"; real jazz's own halves lie {real.figures['frechet'].value:.0f} apart"
    if len({len(p) for each in order for p in each.p_jazz.values()}) > 1:
        said += "; fewer pieces make the distance larger, and these systems have not as many each"
    return f"{said}."


def _asked(system: Measured) -> dict[str, str]:
    """The judges a verdict tells of, in words; two that are believed together count as one."""
    judges = judges_of(system)
    if BOTH not in judges:
        return {judge: judge for judge in judges}
    others = {judge: judge for judge in judges if judge not in (BOTH, *TOGETHER)}
    return {BOTH: f"{' with '.join(TOGETHER)}"} | others


def _sides(system: Measured, real: Measured) -> dict[str, list[str]]:
    """Judges by whether they call the system's pieces jazz more or less often than real jazz."""
    sides: dict[str, list[str]] = {"as": [], "more": [], "less": [], "open": []}
    for judge, words in _asked(system).items():
        gap = difference(system.figures[RATE + judge], real.figures[RATE + judge])
        same = "as" if _alike(gap) else "open"
        sides["more" if gap.low > 0 else "less" if gap.high < 0 else same].append(words)
    return sides


def _alike(gap: Interval) -> bool:
    """Whether all that a difference of rates may be is small, and not its middle alone."""
    return gap.low > -WIDE and gap.high < WIDE


def _beside_real(system: Measured, real: Measured) -> str:
    """How often a system is called jazz beside real jazz, as far as these pieces show it."""
    sides = _sides(system, real)
    words = {"as": "about as often as real jazz", "more": "more often", "less": "less often"}
    said = [
        f"{words[side]} by {_listed(judges)}"
        for side, judges in sides.items()
        if judges and side in words
    ]
    few = f"too few pieces to tell by {_listed(sides['open'])}" if sides["open"] else ""
    if not said:
        return f"Whether {system.name} is called jazz as often as real jazz: {few}."
    if "real jazz" not in said[0]:
        said[0] = said[0].replace("often", "often than real jazz", 1)
    return f"{system.name} is called jazz {', '.join(said)}{f'; {few}' if few else ''}."


def _beside(system: Measured, first: Measured) -> str:
    """How a system differs from the first one, as far as these pieces show it."""
    gaps = {words: system.beside[judge] for judge, words in _asked(system).items()}
    higher = [judge for judge, gap in gaps.items() if gap.low > 0]
    lower = [judge for judge, gap in gaps.items() if gap.high < 0]
    alike = [judge for judge in gaps if judge not in higher + lower]
    unknown = [judge for judge in alike if not _alike(gaps[judge])]
    said = [
        f"is called jazz {side} often by {_listed(judges)}"
        for side, judges in (("more", higher), ("less", lower))
        if judges
    ]
    if not said and len(unknown) < len(alike):
        known = [judge for judge in alike if judge not in unknown]
        said = [f"shows no difference {f'by {_listed(known)}' if unknown else 'to these judges'}"]
    if unknown:
        said.append(f"has too few pieces to tell by {_listed(unknown)}")
    further = [
        f"{MEASURES[name].label or name} {told(point(system.figures[name].value), digits)} against "
        f"{told(point(first.figures[name].value), digits)}"
        for name, digits in (("frechet", 0), ("variety", 3), (BITS, 2))
        if is_apart(system.beside.get(name))
    ]
    return f"Beside {first.name}, {system.name} {', '.join(said + further)}."


def _listed(words: Sequence[str]) -> str:
    """Who says so: "A", "A and by B", "A, by B and by C"."""
    return " and by ".join([", by ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def is_apart(gap: Interval | None) -> bool:
    """Whether a difference's interval has no zero in it."""
    return gap is not None and (gap.low > 0 or gap.high < 0)


def differences(systems: Sequence[Measured]) -> list[Table]:
    """Every system less the first: by each judge, and in the other figures that have intervals."""
    rates, others = [], []
    for system in systems[1:]:
        for judge in judges_of(system):
            rate, mean = system.beside[judge], system.beside.get(f"p(jazz), {judge}")
            shown = told(mean) if mean else ""
            rates.append((f"{system.name}, {judge}", told(rate), shown, _yes(rate)))
        for name, measure in MEASURES.items():
            gap = system.beside.get(name)
            if gap is not None and not math.isnan(gap.low):
                label = measure.label or name
                others.append((f"{system.name}, {label}", told(gap, _digits(measure)), _yes(gap)))
    note = "95% intervals; apart where the difference's interval has no zero."
    first = systems[0].name
    columns = ("system, judge", "jazz rate", "mean p(jazz)", "rates apart")
    tables = [Table(f"Difference from {first}", columns, rates, note)] if rates else []
    if others:
        columns_of_others = ("system, figure", "difference", "apart")
        tables.append(
            Table(f"Difference from {first}, other figures", columns_of_others, others, note)
        )
    return tables


def _digits(measure: Measure) -> int:
    return 2 if measure.digits is None else measure.digits


def _yes(gap: Interval) -> str:
    return "yes" if is_apart(gap) else "no"


def markdown(tables: Sequence[Table]) -> str:
    """The same tables for table.md."""
    parts = []
    for each in tables:
        lines = [
            f"\n**{each.title}**\n",
            _line(each.columns),
            "|---" * len(each.columns) + "|",
            *(_line(row) for row in each.rows),
        ]
        parts.append("\n".join(lines) + "\n" + (f"\n{each.note}\n" if each.note else ""))
    return "".join(parts)


def _line(cells: Iterable[object]) -> str:
    """A row of Markdown; a system may have any name."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def table(systems: Sequence[Measured], real: Measured) -> str:
    """Markdown: a row a figure, a column a system, real jazz last."""
    columns = [*systems, real]
    lines = [
        _line(["figure", *(each.name for each in columns)]),
        "|---|" + "---:|" * len(columns),
    ]
    for name, measure in MEASURES.items():
        if any(name in each.figures for each in systems):
            cells = [
                told(each.figures[name], _digits(measure)) if name in each.figures else ""
                for each in columns
            ]
            lines.append(_line([name, *cells]))
    return "\n".join(lines) + f"\n\n{INTERVALS}\n"
