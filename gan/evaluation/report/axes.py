"""The frame of a chart: scales, ticks and their text, in SVG that takes its colours from the page.

Every chart is drawn 480 wide and scaled by the page, so that its text stays legible on a phone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gan.evaluation.report.markup import Markup, join, tag

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 14, 48


def number(value: float, digits: int | None = None) -> str:
    """A number for people: so many decimals, or three significant digits; – where there is none."""
    if not math.isfinite(value):
        return "–"
    if digits is not None:
        shown = f"{value:,.{digits}f}"
    elif abs(value) >= 1000:
        shown = f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.3g}"
    else:
        shown = f"{value:.3g}"
    return shown.replace("-", "−")


def decimals(values: Iterable[float]) -> int:
    """The decimals that give the largest of some numbers three significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return max(0, 2 - math.floor(math.log10(largest))) if largest else 2


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, `most` at most."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(times for times in (1, 2, 2.5, 5, 10, 20) if (high - low) / (step * times) < most)
    first = math.ceil(low / step - 1e-9)
    return [
        round(n * step, 12) + 0.0
        for n in range(first, first + most)
        if n * step <= high + step / 1e6
    ]


def bounds(values: Iterable[float | None], margin: float = 0.06) -> tuple[float, float]:
    """The range of what is finite among values, with some air; 0 to 1 of nothing."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    air = (high - low) * margin
    if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):  # one value, but for rounding
        air = max(0.1 * abs(high), 1e-6) if high else 1.0
    return low - air, high + air


@dataclass(frozen=True)
class Frame:
    """Where a chart's values lie.

    Attributes:
        x, y: the ranges shown.
    """

    x: tuple[float, float]
    y: tuple[float, float]

    def left(self, value: float) -> float:
        """The place of an x value."""
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def top(self, value: float) -> float:
        """The place of a y value."""
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def drawn(
        self,
        x_label: str,
        y_label: str,
        x_words: Sequence[str] | None = None,
    ) -> Markup:
        """Grid, ticks and labels.

        Args:
            x_label, y_label: what the axes measure.
            x_words: words at 0.5, 1.5, ... instead of numbers.
        """
        parts: list[Markup] = []
        for value in ticks(*self.y):
            y = self.top(value)
            parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
            parts.append(
                tag("text", compact(value), class_="tick", x=LEFT - 6, y=y + 4, text_anchor="end")
            )
        base = HEIGHT - BOTTOM
        for place, words in self._x_ticks(x_words):
            parts.append(tag("line", class_="axis", x1=place, x2=place, y1=base, y2=base + 4))
            parts.append(
                tag("text", words, class_="tick", x=place, y=base + 17, text_anchor="middle")
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts += [
            tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base),
            tag("text", x_label, class_="label", x=middle, y=HEIGHT - 8, text_anchor="middle"),
            tag(
                "text", y_label, class_="label", text_anchor="middle",
                transform=f"translate(12 {(TOP + base) / 2}) rotate(-90)",
            ),
        ]  # fmt: skip
        return join(*parts)

    def _x_ticks(self, words: Sequence[str] | None) -> list[tuple[float, str]]:
        if words is None:
            return [(self.left(value), compact(value)) for value in ticks(*self.x)]
        room = (WIDTH - LEFT - RIGHT) / max(len(words), 1)
        longest = max((len(word) for word in words), default=1)
        # Wide enough for the larger words of a narrow screen, and some air between them.
        every = max(1, math.ceil((10 * min(longest, 12) + 8) / room))
        # Rather fewer words than none at the end, where "≥48" says what is counted there.
        last = len(words) - 1
        every = next((each for each in range(every, 2 * every) if last % each == 0), every)
        return [
            (self.left(n + 0.5), shortened(word, 12))
            for n, word in enumerate(words)
            if n % every == 0
        ]


def compact(value: float) -> str:
    """A tick's number in few characters: 20k, 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            size = 1e3 if unit == "k" else size
            return f"{value / size:.6g}{unit}".replace("-", "−")
    return f"{value:.6g}".replace("-", "−")


def shortened(words: str, most: int) -> str:
    """At most so many characters of some words."""
    return words if len(words) <= most else words[: most - 1] + "…"


def picture(key: str, title: str, story: str, *content: Markup, height: int = HEIGHT) -> Markup:
    """An SVG with a name and a story for those who do not see it.

    Args:
        key: unlike any other on the page.
        title: what it shows.
        story: what can be seen in it.
        content: what is drawn.
        height: of the drawing, which is 480 wide.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", story, id=f"{key}-story"),
        *content,
        class_="chart", role="img", viewBox=f"0 0 {WIDTH} {height}",
        aria_labelledby=f"{key}-title {key}-story",
    )  # fmt: skip
