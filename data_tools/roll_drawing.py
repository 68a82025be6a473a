"""A piece as a piano roll: what was struck how hard, under which pedal, by whom.

Blue notes are the piece's, or the generator's where a marker says so; grey ones are its prompt.
Darker is louder. With a classifier's opinion, orange notes speak for jazz and blue ones against,
below a curve of p(jazz) over time. Long pieces run over several lines, like a score.
"""

import math
from dataclasses import dataclass

import numpy as np

from data_tools.canvas import Canvas, Colour
from data_tools.midi import Notes
from data_tools.roll import Opinion, Roll, matched

WIDTH = 1240
LINE_SECONDS, MOST_LINES = 40.0, 24  # beyond a quarter of an hour the lines grow longer
SOUNDS = 0.6  # pixels of the shortest note
_LEFT, _RIGHT, _TOP = 46, 20, 44
_CURVE, _PEDAL, _CLOCK, _GAP = 44, 7, 18, 20  # heights
_KEY = 4  # pixels a semitone
_PAPER, _BLACK_KEYS, _FAINT, _BAR = (
    (252, 252, 250),
    (243, 243, 239),
    (226, 226, 221),
    (214, 214, 208),
)
_INK, _GREY, _GIVEN = (51, 51, 51), (119, 119, 119), (246, 240, 226)
_PEDALLED, _SIGNAL = (126, 166, 120), (233, 205, 120)
_SOFT, _LOUD = (176, 201, 236), (14, 44, 108)
_SOFT_PROMPT, _LOUD_PROMPT = (200, 196, 186), (52, 48, 40)
_AGAINST, _NEITHER, _FOR = (31, 95, 168), (196, 196, 192), (209, 96, 10)
_LETTER = 7.0  # pixels, of eleven high; none is wider by much
_SHADES = 8


def draw(roll: Roll, opinion: Opinion | None = None) -> Canvas:
    """Draws a piece, and what a classifier thinks of it."""
    lines = min(MOST_LINES, max(1, math.ceil(roll.seconds / LINE_SECONDS)))
    length = max(roll.seconds / lines, 1.0)
    low, high = int(roll.notes.pitch.min()) - 2, int(roll.notes.pitch.max()) + 2
    keys = (high - low + 1) * _KEY
    upper = _CURVE + 20 if opinion else 0
    pedal = _PEDAL + 2 if len(roll.pedals) else 0
    step = upper + keys + pedal + _CLOCK + _GAP
    canvas = Canvas(WIDTH, _TOP + lines * step)
    shades = _shares(roll.notes, opinion) if opinion else _velocities(roll)
    for line in range(lines):
        frame = _Frame(line * length, length, _TOP + line * step + upper, low, high)
        _draw_paper(canvas, frame, roll)
        _draw_notes(canvas, frame, roll.notes, shades)
        _draw_parts(canvas, frame, roll)
        _draw_pedal(canvas, frame, roll.pedals)
        _draw_clock(canvas, frame, frame.bottom + pedal)
        if opinion:
            _draw_curve(canvas, frame, opinion.curve)
    _draw_head(canvas, roll, opinion, unread=opinion is not None and bool(shades[0][1].any()))
    return canvas


@dataclass(frozen=True)
class _Frame:
    """One line of the drawing: which seconds and pitches lie where."""

    begin: float
    length: float
    top: float
    low: int
    high: int

    @property
    def bottom(self) -> float:
        return self.top + (self.high - self.low + 1) * _KEY

    @property
    def width(self) -> float:
        return WIDTH - _LEFT - _RIGHT

    def x(self, seconds: np.ndarray) -> np.ndarray:
        share = (np.asarray(seconds, dtype=float) - self.begin) / self.length
        return _LEFT + np.clip(share, 0, 1) * self.width

    def y(self, pitch: np.ndarray) -> np.ndarray:
        """The upper edge of a key."""
        return self.top + (self.high - np.asarray(pitch, dtype=float)) * _KEY

    def within(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Which of some spans are seen on this line, at least in part."""
        return (start < self.begin + self.length) & (end > self.begin)

    def spans(self, start: np.ndarray, end: np.ndarray, top: object, height: float) -> np.ndarray:
        """Boxes (N, 4) of spans."""
        left = self.x(start)
        width = np.maximum(self.x(end) - left, SOUNDS)
        height_of = np.full(len(left), height)
        return np.stack([left, np.broadcast_to(np.asarray(top), left.shape), width, height_of], 1)


def _draw_paper(canvas: Canvas, frame: _Frame, roll: Roll) -> None:
    """Keys, the prompt's ground, bars and octaves."""
    height = frame.bottom - frame.top
    canvas.boxes(_PAPER, np.array([_LEFT, frame.top, frame.width, height]))
    pitches = np.arange(frame.low, frame.high + 1)
    black = pitches[np.isin(pitches % 12, (1, 3, 6, 8, 10))]
    places = np.stack(
        [np.full(len(black), _LEFT), frame.y(black), np.full(len(black), frame.width),
         np.full(len(black), _KEY)], 1,
    )  # fmt: skip
    canvas.boxes(_BLACK_KEYS, places)
    named = {text: time for time, text in roll.parts}
    ends = [(named.get("prompt"), named.get("whistle", named.get("generated")), _GIVEN),
            (named.get("whistle"), named.get("generated"), _SIGNAL)]  # fmt: skip
    for start, end, colour in ends:
        if start is not None and end is not None and frame.within(np.array(start), np.array(end)):
            span = frame.spans(np.array([start]), np.array([end]), frame.top, height)
            canvas.boxes(colour, span)
    bars = roll.bars[(roll.bars >= frame.begin) & (roll.bars < frame.begin + frame.length)]
    if len(bars) < frame.width / 12:
        x = frame.x(bars)
        canvas.boxes(_BAR, np.stack([x, np.full(len(x), frame.top), np.full(len(x), 1.0),
                                     np.full(len(x), height)], 1))  # fmt: skip
    for pitch in range(0, 128, 12):
        if frame.low <= pitch <= frame.high:
            y = float(frame.y(np.array(pitch))) + _KEY
            canvas.boxes(_BAR, np.array([_LEFT, y, frame.width, 1]))
            canvas.words(_GREY, _LEFT - 6, y + 2, f"C{pitch // 12 - 1}", 10, "end")


def _draw_notes(
    canvas: Canvas, frame: _Frame, notes: Notes, shades: list[tuple[Colour, np.ndarray]]
) -> None:
    seen = frame.within(notes.start, notes.end)
    for colour, of in shades:
        some = notes.take(seen & of)
        places = frame.spans(some.start, some.end, frame.y(some.pitch), _KEY - 0.5)
        # A string struck again shows a gap before it.
        places[:, 2] -= np.where(places[:, 2] > 3, 0.8, 0)
        canvas.boxes(colour, places)


def _draw_parts(canvas: Canvas, frame: _Frame, roll: Roll) -> None:
    """A line where a part begins, with its name; names of short parts push the next one on."""
    free = 0.0
    for time, text in roll.parts:
        if frame.begin <= time < frame.begin + frame.length:
            x = float(frame.x(np.array(time)))
            colour = _LOUD if text == "generated" else _LOUD_PROMPT
            top = frame.top - (12 if x >= free else 0)  # beside the name before, or below it
            if text != "whistle":
                canvas.boxes(colour, np.array([x, top, 1.5, frame.bottom - top]))
            x = max(x + 5, free)
            canvas.words(colour, x, frame.top - 3, text, 11)
            free = x + _LETTER * len(text) + 4


def _draw_pedal(canvas: Canvas, frame: _Frame, pedals: np.ndarray) -> None:
    if not len(pedals):
        return
    seen = pedals[frame.within(pedals[:, 0], pedals[:, 1])]
    canvas.boxes(_BLACK_KEYS, np.array([_LEFT, frame.bottom + 2, frame.width, _PEDAL]))
    if len(seen):
        # A gap of a pixel shows that the pedal came up in between.
        places = frame.spans(seen[:, 0], seen[:, 1], frame.bottom + 2, _PEDAL)
        places[:, 2] = np.maximum(places[:, 2] - 1, SOUNDS)
        canvas.boxes(_PEDALLED, places)
    canvas.words(_GREY, _LEFT - 6, frame.bottom + 9, "pedal", 9, "end")


def _draw_clock(canvas: Canvas, frame: _Frame, top: float) -> None:
    """Seconds below the line, as many as have room."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
    step = next((s for s in steps if frame.length / s <= 14), 1800)
    for second in range(math.ceil(frame.begin / step) * step,
                        math.ceil(frame.begin + frame.length), step):  # fmt: skip
        x = float(frame.x(np.array(second)))
        canvas.boxes(_GREY, np.array([x, top + 1, 1, 4]))
        clock = f"{second // 60}:{second % 60:02d}"
        canvas.words(_GREY, x, top + 15, clock, 10, "middle")


def _draw_curve(canvas: Canvas, frame: _Frame, curve: np.ndarray) -> None:
    """p(jazz) over the line's seconds, filled from the middle."""
    bottom = frame.top - 20.0
    columns = np.linspace(frame.begin, frame.begin + frame.length, 300, endpoint=False)
    p = np.interp(columns, curve[:, 0], curve[:, 1])
    x, y = frame.x(columns), bottom - p * _CURVE
    middle = bottom - _CURVE / 2
    wide = np.full(len(x), frame.width / len(x) + 0.2)
    places = np.stack([x, np.minimum(y, middle), wide, np.abs(y - middle)], 1)
    for colour, of in ((_FOR, p >= 0.5), (_AGAINST, p < 0.5)):
        canvas.boxes(_mixed((255, 255, 255), colour, 0.3), places[of])
    canvas.boxes(_BAR, np.array([_LEFT, middle, frame.width, 1]))
    canvas.line(_INK, np.stack([x, y], 1), 1.2)
    for value, text in ((0.0, "0"), (0.5, "p(jazz)"), (1.0, "1")):
        canvas.words(_GREY, _LEFT - 6, bottom - value * _CURVE + 3, text, 9, "end")


def _draw_head(canvas: Canvas, roll: Roll, opinion: Opinion | None, unread: bool) -> None:
    name = roll.name if len(roll.name) <= 70 else roll.name[:67] + "..."
    about = f"{len(roll.notes):,} notes" + (
        f", {roll.drums:,} of drums left out" * bool(roll.drums)
    )
    canvas.words(_INK, _LEFT, 20, f"{name}    {opinion.title if opinion else about}", 14)
    if opinion:
        rows = [("against jazz", "for jazz", [_blend(t) for t in np.linspace(-1, 1, _SHADES)])]
        rows += [("not read", "", [_FAINT])] * unread
    else:
        rows = [("soft", "loud", _ramp(_SOFT, _LOUD))]
        if not roll.generated.all():
            rows.append(("prompt", "", _ramp(_SOFT_PROMPT, _LOUD_PROMPT)))
    right = float(WIDTH - _RIGHT)
    for before, after, colours in rows:
        canvas.words(_GREY, right, 20, after, 11, "end")
        right -= _LETTER * len(after) + 4
        for colour in reversed(colours):
            right -= 9
            canvas.boxes(colour, np.array([right, 11, 9, 10]))
        canvas.words(_GREY, right - 6, 20, before, 11, "end")
        right -= _LETTER * len(before) + 26


def _velocities(roll: Roll) -> list[tuple[Colour, np.ndarray]]:
    """Colours, each with the notes (N,) bool that have it; the louder are drawn last."""
    shade = np.minimum(roll.notes.velocity.astype(int) * _SHADES // 128, _SHADES - 1)
    result = []
    for number in range(_SHADES):
        for ramp, whose in ((_ramp(_SOFT_PROMPT, _LOUD_PROMPT), ~roll.generated),
                            (_ramp(_SOFT, _LOUD), roll.generated)):  # fmt: skip
            result.append((ramp[number], (shade == number) & whose))
    return result


def _shares(notes: Notes, opinion: Opinion) -> list[tuple[Colour, np.ndarray]]:
    """Colours by contribution, each with its notes; those that matter most are drawn last."""
    share = matched(notes, opinion)
    known = np.isfinite(share)
    # Nearly the largest, lest one note pale the others.
    limit = float(np.quantile(np.abs(share[known]), 0.98)) if known.any() else 0.0
    level = np.clip(np.nan_to_num(share) / (limit or 1.0), -1, 1)
    bins = np.round(level * _SHADES).astype(int)
    result = [(_FAINT, ~known)]
    for size in range(_SHADES + 1):
        result += [
            (_blend(sign * size / _SHADES), known & (bins == sign * size))
            for sign in ((-1, 1) if size else (1,))
        ]
    return result


def _ramp(soft: Colour, loud: Colour) -> list[Colour]:
    return [_mixed(soft, loud, number / (_SHADES - 1)) for number in range(_SHADES)]


def _blend(level: float) -> Colour:
    return _mixed(_NEITHER, _FOR if level > 0 else _AGAINST, abs(level))


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
