"""Boxes, lines and words that become an SVG or a PNG alike.

The SVG is written by hand: all boxes of one colour are one path, so that a piece of thousands of
notes stays small, and nothing is loaded from elsewhere. Pillow draws the PNG.
"""

import io
from dataclasses import dataclass, field
from html import escape
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]
Anchor = Literal["start", "middle", "end"]

_FONT = "Helvetica, Arial, sans-serif"
_PILLOW_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
_MOST_PIXELS = 40_000_000  # beyond that a PNG is not drawn at twice the size


@dataclass(frozen=True)
class Boxes:
    """Rectangles of one colour: (N, 4) left, top, width, height."""

    colour: Colour
    places: np.ndarray


@dataclass(frozen=True)
class Line:
    """A line through points (N, 2)."""

    colour: Colour
    points: np.ndarray
    width: float


@dataclass(frozen=True)
class Words:
    """A text whose baseline begins, has its middle, or ends at a point."""

    colour: Colour
    x: float
    y: float
    text: str
    size: int
    anchor: Anchor


@dataclass
class Canvas:
    """Shapes in the order they are drawn, in pixels from the upper left."""

    width: int
    height: int
    shapes: list[Boxes | Line | Words] = field(default_factory=list)

    def boxes(self, colour: Colour, places: np.ndarray) -> None:
        """Adds rectangles: (N, 4) or (4,) left, top, width, height."""
        places = np.asarray(places, dtype=float).reshape(-1, 4)
        if len(places):
            self.shapes.append(Boxes(colour, places))

    def line(self, colour: Colour, points: np.ndarray, width: float = 1.0) -> None:
        """Adds a line through points (N, 2)."""
        self.shapes.append(Line(colour, np.asarray(points, dtype=float), width))

    def words(
        self, colour: Colour, x: float, y: float, text: str, size: int = 11,
        anchor: Anchor = "start",
    ) -> None:  # fmt: skip
        """Adds a text."""
        self.shapes.append(Words(colour, x, y, text, size, anchor))

    def svg(self, title: str) -> str:
        """The drawing as a self-contained SVG."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="{_FONT}">',
            f"<title>{_text(title)}</title>",
            f'<rect width="{self.width}" height="{self.height}" fill="#fff"/>',
            *(_svg(shape) for shape in self.shapes),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def png(self, scale: int = 2) -> bytes:
        """The drawing as a PNG of twice the size, for sharp screens, unless it is huge."""
        from PIL import Image, ImageDraw, ImageFont

        scale = scale if scale**2 * self.width * self.height <= _MOST_PIXELS else 1
        image = Image.new("RGB", (self.width * scale, self.height * scale), (255, 255, 255))
        draw = ImageDraw.Draw(image)
        for shape in self.shapes:
            if isinstance(shape, Boxes):
                for left, top, width, height in (shape.places * scale).tolist():
                    # Pillow's rectangles hold their last pixel.
                    right, bottom = round(left + width) - 1, round(top + height) - 1
                    left, top = round(left), round(top)
                    draw.rectangle((left, top, max(left, right), max(top, bottom)), shape.colour)
            elif isinstance(shape, Line):
                points = [(x, y) for x, y in (shape.points * scale).tolist()]
                draw.line(points, shape.colour, max(1, round(shape.width * scale)))
            else:
                font = ImageFont.load_default(shape.size * scale)
                place = shape.x * scale, shape.y * scale
                draw.text(place, shape.text, shape.colour, font, _PILLOW_ANCHORS[shape.anchor])
        stream = io.BytesIO()
        image.save(stream, "PNG", optimize=True)
        return stream.getvalue()


def _svg(shape: Boxes | Line | Words) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*shape.colour)
    if isinstance(shape, Boxes):
        path = "".join(
            f"M{_short(x)} {_short(y)}h{_short(w)}v{_short(h)}h{_short(-w)}z"
            for x, y, w, h in shape.places.tolist()
        )
        return f'<path fill="{colour}" d="{path}"/>'
    if isinstance(shape, Line):
        points = " ".join(f"{_short(x)},{_short(y)}" for x, y in shape.points.tolist())
        return (
            f'<polyline fill="none" stroke="{colour}" stroke-width="{_short(shape.width)}" '
            f'points="{points}"/>'
        )
    return (
        f'<text x="{_short(shape.x)}" y="{_short(shape.y)}" font-size="{shape.size}" '
        f'fill="{colour}" text-anchor="{shape.anchor}">{_text(shape.text)}</text>'
    )


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    """As XML has it, which knows no control characters and no lone surrogates."""
    seen = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return escape(seen)
