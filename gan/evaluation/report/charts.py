"""Charts of a report: curves, the quality-diversity frontier, histograms and whiskers.

Each function gives one SVG. A system's colour is the class its place gives it; systems are told
apart by dashes and by the shape of their points, too, for prints and for colour-blind readers.
"""

import math
from collections.abc import Mapping, Sequence

from gan.evaluation.report import axes
from gan.evaluation.report.axes import Frame, bounds, number, picture
from gan.evaluation.report.content import REAL, Figure, Frontier, Histogram, Point
from gan.evaluation.report.markup import Markup, join, tag

Curve = Sequence[tuple[float, float]]
MOST_POINTS = 400  # of a curve: more than its pixels
_MOST_NAMED = 14  # points whose settings are written beside them


def thinned(curve: Curve, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """The finite points of a curve; of a long one the means of runs of equally many."""
    points = [(float(x), float(y)) for x, y in curve if math.isfinite(x) and math.isfinite(y)]
    run = math.ceil(len(points) / most)
    if run <= 1:
        return points
    runs = [points[first : first + run] for first in range(0, len(points), run)]
    return [(sum(x for x, _ in r) / len(r), sum(y for _, y in r) / len(r)) for r in runs]


def curves(key: str, name: str, lines: Mapping[str, Curve], inks: Mapping[str, str]) -> Markup:
    """Curves of one name, of all systems that have it.

    Args:
        key: of the picture.
        name: of the curves.
        lines: by system.
        inks: each system's class.
    """
    shown = {system: thinned(line) for system, line in lines.items()}
    every = [point for line in shown.values() for point in line]
    steps = [x for x, _ in every]
    left, right = min(steps, default=0.0), max(steps, default=1.0)
    frame = Frame((left, right if right > left else left + 1), bounds(y for _, y in every))
    drawn, story = [], []
    for system, line in shown.items():
        if not line:
            continue
        path = "M" + "L".join(f"{frame.left(x)} {frame.top(y)}" for x, y in line)
        drawn.append(tag("path", class_=f"line {inks[system]}", d=path))
        x, y = line[-1]
        drawn.append(dot(inks[system], frame.left(x), frame.top(y)))
        story.append(f"{system} goes from {number(line[0][1])} to {number(y)}")
    return picture(
        key, f"{name} over steps", "; ".join(story), frame.drawn("step", name), *drawn
    )  # fmt: skip


def dot(ink: str, x: float, y: float, title: str | None = None, size: float = 4.5) -> Markup:
    """A point in the shape of its system."""
    s = size
    shapes = {
        "s0": f"M{x - s} {y}a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0z",
        "s1": f"M{x - s} {y - s}h{2 * s}v{2 * s}h{-2 * s}z",
        "s2": f"M{x} {y - 1.3 * s}l{1.25 * s} {2.2 * s}h{-2.5 * s}z",
        "s3": f"M{x} {y - 1.4 * s}l{1.4 * s} {1.4 * s}l{-1.4 * s} {1.4 * s}l{-1.4 * s} {-1.4 * s}z",
    }
    path = shapes.get(ink) or shapes["s3" if ink == "real" else f"s{int(ink[1:]) % 4}"]
    return tag("path", None if title is None else tag("title", title), class_=f"dot {ink}", d=path)


def frontier(key: str, found: Frontier, inks: Mapping[str, str]) -> Markup:
    """Quality upwards, diversity to the right, with intervals; lines cross at real jazz's own."""
    points = [p for p in found.points if _finite(p.quality) and _finite(p.diversity)]
    across = bounds(v for p in points for v in _ends(p.diversity))
    upwards = bounds(v for p in points for v in _ends(p.quality))
    frame = Frame(across, upwards)
    lines, whiskers, dots = [], [], []
    joined: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for point in points:
        x, y = frame.left(point.diversity.value), frame.top(point.quality.value)
        joined.setdefault((point.system, point.line), []).append((x, y))
        ink = inks[point.system]
        whiskers.append(_whisker(ink, frame, point))
        dots.append(dot(ink, x, y, _told(point, found), 6.5 if ink == "real" else 5.5))
        if point.system == REAL:
            across_all = f"M{axes.LEFT} {y}H{axes.WIDTH - axes.RIGHT}"
            upright = f"M{x} {axes.TOP}V{axes.HEIGHT - axes.BOTTOM}"
            lines.append(tag("path", class_="target", d=across_all + upright))
    for (system, _), places in joined.items():
        path = "M" + "L".join(f"{x} {y}" for x, y in places)
        lines.append(tag("path", class_=f"line thin {inks[system]}", d=path))
    named = _settings(points, frame) if len(points) <= _MOST_NAMED else []
    labels = frame.drawn(found.diversity, found.quality)
    story = "; ".join(_told(point, found) for point in points) or "no points"
    title = f"{found.quality} against {found.diversity}"
    return picture(key, title, story, labels, *lines, *whiskers, *dots, *named)


def _finite(figure: Figure) -> bool:
    return math.isfinite(figure.value)


def _ends(figure: Figure) -> tuple[float | None, ...]:
    return figure.value, figure.low, figure.high


def _told(point: Point, found: Frontier) -> str:
    what = f"{point.system}, {point.setting}" if point.setting else point.system
    return (
        f"{what}: {found.quality} {number(point.quality.value)}, "
        f"{found.diversity} {number(point.diversity.value)}"
    )


def _whisker(ink: str, frame: Frame, point: Point) -> Markup:
    x, y = frame.left(point.diversity.value), frame.top(point.quality.value)
    path = ""
    if interval := _interval(point.diversity):
        path += f"M{frame.left(interval[0])} {y}H{frame.left(interval[1])}"
    if interval := _interval(point.quality):
        path += f"M{x} {frame.top(interval[0])}V{frame.top(interval[1])}"
    return tag("path", class_=f"whisker {ink}", d=path or f"M{x} {y}")


def _interval(figure: Figure) -> tuple[float, float] | None:
    if figure.low is None or figure.high is None:
        return None
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return None
    return figure.low, figure.high


def _settings(points: Sequence[Point], frame: Frame) -> list[Markup]:
    """Settings beside their points, where one finds room; the others are in the table below."""
    places = [(frame.left(p.diversity.value), frame.top(p.quality.value)) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    written = []
    for point, (x, y) in zip(points, places, strict=True):
        words = axes.shortened(point.setting, 22)
        wide = 6.1 * len(words)
        for left, base in (
            (x + 9, y - 7),
            (x + 9, y + 15),
            (x - 9 - wide, y - 7),
            (x - 9 - wide, y + 15),
        ):
            box = (left, base - 10, left + wide, base + 2)
            inside = box[0] > axes.LEFT and box[2] < axes.WIDTH and 2 < box[1] < axes.HEIGHT - 60
            if words and inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                written.append(tag("text", words, class_="setting", x=round(left, 1), y=base))
                break
    return written


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def histogram(key: str, found: Histogram, inks: Mapping[str, str]) -> Markup:
    """Shares of each bin: real jazz as a surface, the systems as lines over it.

    Raises:
        ValueError: counts that do not fit the bins.
    """
    words = [str(b) for b in found.bins] if any(isinstance(b, str) for b in found.bins) else None
    edges = [float(n) for n in range(len(words) + 1)] if words else [float(b) for b in found.bins]
    rows = dict(found.counts)
    if found.real is not None:
        rows = {REAL: found.real} | rows
    if len(edges) < 2 or any(len(row) != len(edges) - 1 for row in rows.values()):
        raise ValueError(f"{found.name}: counts must be one fewer than edges, or as many as words")
    shares = {system: _shares(row) for system, row in rows.items()}
    highest = max((max(row) for row in shares.values()), default=1.0) or 1.0
    frame = Frame((edges[0], edges[-1]), (0.0, 1.06 * highest))
    drawn = []
    for system, row in shares.items():
        ink = inks[system]
        path = f"M{frame.left(edges[0])} {frame.top(0)}"
        for place, share in enumerate(row):
            path += f"V{frame.top(share)}H{frame.left(edges[place + 1])}"
        surface = system == REAL and found.real is not None
        path += f"V{frame.top(0)}" + ("Z" if surface else "")
        drawn.append(tag("path", class_=f"{'area' if surface else 'line'} {ink}", d=path))
    apart = [
        f"{system} differs from {REAL} in {50 * sum(abs(a - b) for a, b in pair):.0f}% of its share"
        for system, row in shares.items()
        if REAL in shares and system != REAL
        for pair in [list(zip(row, shares[REAL], strict=True))]
    ]
    label = f"{found.name} ({found.unit})" if found.unit else found.name
    story = "; ".join(apart) or f"shares of {len(edges) - 1} bins"
    return picture(
        key, f"Histogram of {found.name}", story, frame.drawn(label, "share", words), *drawn
    )


def _shares(row: Sequence[float]) -> list[float]:
    clean = [float(n) if math.isfinite(n) and n > 0 else 0.0 for n in row]
    total = sum(clean)
    return [n / total if total else 0.0 for n in clean]


def whiskers(name: str, figures: Mapping[str, Figure], inks: Mapping[str, str]) -> Markup:
    """Figures of one name side by side on one line of numbers: a row each."""
    found = {system: f for system, f in figures.items() if _finite(f)}
    low, high = bounds((v for f in found.values() for v in _ends(f)), 0.04)
    wide, row = 200, 13
    height = row * max(len(figures), 1) + 2
    parts = []

    def place(value: float) -> float:
        return round(8 + (value - low) / (high - low) * (wide - 16), 1)

    for line, (system, figure) in enumerate(figures.items()):
        y = line * row + 7.5
        parts.append(tag("line", class_="grid", x1=0, x2=wide, y1=y, y2=y))
        if system not in found:
            continue
        if interval := _interval(figure):
            path = f"M{place(interval[0])} {y}H{place(interval[1])}"
            parts.append(tag("path", class_=f"whisker {inks[system]}", d=path))
        parts.append(
            dot(inks[system], place(figure.value), y, f"{system} {number(figure.value)}", 4)
        )
    return tag(
        "svg", join(*parts), class_="strip", viewBox=f"0 0 {wide} {height}", role="img",
        aria_label=f"{name}: " + ", ".join(f"{s} {number(f.value)}" for s, f in found.items()),
    )  # fmt: skip
