"""An evaluation as its page's content: samples, figures, the frontier, histograms, confusion."""

import math
from collections.abc import Sequence

import numpy as np

from data_tools.representation import Representation
from gan.evaluation import musical
from gan.evaluation.comparison import BOTH, RATE, Measured
from gan.evaluation.distances import Interval
from gan.evaluation.narration import INTERVALS, MEASURES, verdict
from gan.evaluation.report import (
    REAL,
    Confusion,
    Figure,
    Frontier,
    Histogram,
    Point,
    Report,
    Sample,
    System,
    Table,
)
from gan.evaluation.systems import Written


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
        INTERVALS,
    )


def _system(
    music: Written, measured: Measured, representation: Representation, shown: int
) -> System:
    figures = {
        name: _figure(measured.figures[name]) for name in MEASURES if name in measured.figures
    }
    # No judge's opinion in the title: it is read before the piece is heard.
    samples = [
        Sample(f"No. {number}", representation.decode(ids))
        for number, ids in enumerate(music.pieces[:shown], start=1)
    ]
    told = f"{len(music.pieces)} pieces" + (f" of {music.where}" if music.where else "")
    if music.unfinished:
        told += f", an unfinished run: {music.unfinished}"
    return System(
        music.name,
        told,
        music.settings,
        figures,
        music.curves,
        samples,
        [f"{path}: {reason}" for path, reason in music.refused],
    )


def _figure(value: Interval) -> Figure:
    if math.isnan(value.low):
        return Figure(value.value)
    return Figure(value.value, value.low, value.high)


def _frontier(
    systems: Sequence[Measured], real: Measured, sweeps: dict[str, dict[str, Measured]]
) -> Frontier | None:
    judge = RATE + BOTH
    if not any(sweeps.values()) or judge not in real.figures:
        return None
    points = [
        Point(
            name,
            setting,
            _figure(each.figures[judge]),
            _figure(each.figures["variety"]),
            "top-p" if "top-p" in setting else "",
        )
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
            title,
            bins,
            {system: found[name].tolist() for system, found in of_systems.items()},
            of_real[name].tolist(),
            unit,
        )
        for name, (title, bins, unit) in _bins().items()
    ]


def _bins() -> dict[str, tuple[str, list[str], str]]:
    """Title, bins and unit of each of `musical.HISTOGRAMS`; what is beyond counts as the ends."""
    leaps = [f"{step:+d}".replace("-", "−") for step in range(-musical.LEAP, musical.LEAP + 1)]
    leaps[musical.LEAP], leaps[0], leaps[-1] = "0", f"≤{leaps[0]}", f"≥{leaps[-1]}"
    spans = [*map(str, range(musical.SPAN)), f"≥{musical.SPAN}"]
    times = ["0", *(f"{time:.2g}" for time in musical.TIMES)]
    classes = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"]
    return {
        "pitch_class": ("pitch classes", classes, ""),
        "top_interval": ("steps of the top line", leaps, "semitones"),
        "bass_interval": ("steps of the lowest line", leaps, "semitones"),
        "outer_interval": ("from the lowest to the highest note", spans, "semitones"),
        "inter_onset": ("from onset to onset", times, "seconds, from"),
        "duration": ("how long notes sound", times, "seconds, from"),
        "velocity": ("velocity", [str(16 * place) for place in range(8)], "from"),
    }


def _confusion(system: Measured, jazz: bool) -> list[Confusion]:
    rows = []
    for judge, p in system.p_jazz.items():
        called = int((p >= 0.5).sum())
        rows.append(
            Confusion(f"{system.name}, {judge}", "jazz" if jazz else "", called, len(p) - called)
        )
    return rows
