"""Boxes, lines and words that become an SVG or a PNG alike.

The SVG is written by hand: all boxes of one colour are one path, so that a piece of thousands of
notes stays small, and nothing is loaded from elsewhere. Pillow draws the PNG.
"""

import io
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import ImageFont

Colour = tuple[int, int, int]
Anchor = Literal["start", "middle", "end"]

_WIDE = 2 * "\N{NO-BREAK SPACE}"
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
        from PIL import Image, ImageDraw

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
                words, font = _lettered(shape.text, shape.size * scale)
                place = shape.x * scale, shape.y * scale
                draw.text(place, words, shape.colour, font, _PILLOW_ANCHORS[shape.anchor])
        stream = io.BytesIO()
        image.save(stream, "PNG", optimize=True)
        return stream.getvalue()


def _lettered(text: str, size: int) -> tuple[str, "ImageFont.FreeTypeFont | ImageFont.ImageFont"]:
    """A text, and a font that can write it: Pillow's own has no letter beyond ASCII."""
    from PIL import ImageFont

    text = _printable(text)
    if text.isascii():
        return text, ImageFont.load_default(size)
    if path := _wide_font():
        return text, ImageFont.truetype(path, size)
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return bare.encode("ascii", "replace").decode(), ImageFont.load_default(size)


@cache
def _wide_font() -> str | None:
    """DejaVu Sans, which comes with matplotlib, or the machine's own; None without either."""
    from PIL import ImageFont

    found = find_spec("matplotlib")
    if found and found.origin:
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return str(path)
    try:
        return str(ImageFont.truetype("DejaVuSans.ttf").path)
    except OSError:
        return None


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
        # Of several spaces an SVG shows one, unless they are no-break spaces.
        f'fill="{colour}" text-anchor="{shape.anchor}">{_text(shape.text).replace("  ", _WIDE)}'
        "</text>"
    )


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    """As XML has it, which knows no control characters and no lone surrogates."""
    return escape(_printable(text))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
