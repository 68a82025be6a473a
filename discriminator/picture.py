"""An explanation as a picture: p(jazz) over time above a piano roll whose notes say jazz or not.

Orange speaks for jazz and blue against it, a pair that colour-blind readers tell apart; the middle
is grey and not white, so that notes without much to say are still seen. Long pieces run over
several lines, like a score. Drawn without pyplot: no window opens and no state is left behind.
"""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_tools.errors import UserError
from data_tools.files import whole
from data_tools.rows import spelled
from discriminator.attribution import Explanation, Heard

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
LINE_SECONDS = 75.0  # of one line: notes are still told apart on a screen
MOST_LINES = 12  # a quarter of an hour; beyond that the lines grow longer
_AGAINST, _NEITHER, _FOR = "#1f5fa8", "#c4c4c0", "#d1600a"
_UNREAD = "#ececea"
_INK = "#333333"


def picture(
    explanation: Explanation, path: str | Path, span: tuple[float, float] | None = None
) -> Path:
    """Draws an explanation.

    Args:
        explanation: what to draw.
        path: the file; its suffix says PNG, SVG or PDF.
        span: first and last second drawn, of the piece's own and no further than it goes; all of
            it by default.

    Returns:
        The path.

    Raises:
        UserError: another suffix, no note within the span, or matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: a picture ends in {', '.join(SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise UserError(f"{path}: drawing needs matplotlib; pip install 'jazz-gan[picture]'")
    shown = _within(explanation.notes, span)
    if not shown:
        raise UserError(f"{path}: no note between second {span[0]:g} and {span[1]:g}"
                        if span else f"{path}: no notes")  # fmt: skip
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    last = max(note.onset_s + note.duration_s for note in explanation.notes)
    begin, end = span or (min(note.onset_s for note in shown), last)
    end = min(end, last)
    lines = min(MOST_LINES, max(1, math.ceil((end - begin) / LINE_SECONDS)))
    length = (end - begin) / lines
    low = min(note.pitch for note in shown) - 2
    high = max(note.pitch for note in shown) + 2
    limit = _limit(shown)

    height = 1.5 + (3.6 if lines == 1 else 2.1) * lines
    layout = ConstrainedLayoutEngine(hspace=0.01, h_pad=0.03)
    figure = Figure(figsize=(13, height), layout=layout, facecolor="white")
    grid = figure.add_gridspec(2 * lines, 1, height_ratios=[0.32, 1.0] * lines)
    rolls = []
    for line in range(lines):
        left = begin + line * length
        roll = figure.add_subplot(grid[2 * line + 1])
        curve = figure.add_subplot(grid[2 * line], sharex=roll)
        _draw_curve(curve, explanation, line == 0)
        _draw_roll(roll, _within(shown, (left, left + length)), limit, (low, high))
        roll.set_xlim(left, left + length)
        rolls.append(roll)
    rolls[-1].set_xlabel("minutes : seconds", color=_INK, fontsize=9)
    figure.suptitle(_title(explanation), x=0.01, ha="left", fontsize=13, color=_INK)
    beyond = any(abs(note.contribution or 0) > limit for note in shown)
    _draw_key(figure, rolls, limit, beyond)
    return _saved(figure, path)


def _within(notes: tuple[Heard, ...], span: tuple[float, float] | None) -> tuple[Heard, ...]:
    if span is None:
        return notes
    return tuple(n for n in notes if n.onset_s < span[1] and n.onset_s + n.duration_s > span[0])


def _limit(notes: tuple[Heard, ...]) -> float:
    """The contribution drawn in full colour: nearly the largest, lest one note pale the others."""
    sizes = [abs(note.contribution) for note in notes if note.contribution is not None]
    return float(np.quantile(sizes, 0.98)) or 1.0 if sizes else 1.0


def _title(explanation: Explanation) -> str:
    name = explanation.path
    if not name.startswith("<"):
        name = Path(name).name
    # Bytes that are no text cannot be drawn; a dollar sign would be taken for mathematics.
    name = spelled(name)
    name = (name if len(name) <= 60 else name[:57] + "...").replace("$", r"\$")
    verdict = {"not_jazz": "not jazz"}.get(explanation.verdict, explanation.verdict)
    title = f"{name}    p(jazz) = {explanation.p_jazz:.2f}, {verdict}"
    pale = 1 - explanation.read
    # Of long pieces, some windows are explained.
    return title + (f"    (palest: not explained, {pale:.0%} of the notes)" if pale > 0.005 else "")


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("contribution", [_AGAINST, _NEITHER, _FOR])


def _draw_roll(
    axes: "Axes", notes: tuple[Heard, ...], limit: float, pitches: tuple[int, int]
) -> None:
    from matplotlib.collections import PolyCollection

    table = np.array(
        [
            (n.onset_s, n.onset_s + n.duration_s, n.pitch,
             np.nan if n.contribution is None else n.contribution)
            for n in notes
        ]
    ).reshape(-1, 4)  # fmt: skip
    # What matters most is drawn last, over its neighbours.
    table = table[np.argsort(np.nan_to_num(np.abs(table[:, 3]), nan=-1.0), kind="stable")]
    left, right, pitch, share = table.T
    boxes = np.stack(
        [
            np.stack([left, pitch - 0.45], -1), np.stack([left, pitch + 0.45], -1),
            np.stack([right, pitch + 0.45], -1), np.stack([right, pitch - 0.45], -1),
        ],
        1,
    )  # fmt: skip
    colours = _colours()((np.clip(share / limit, -1, 1) + 1) / 2)
    from matplotlib.colors import to_rgba

    colours[np.isnan(share)] = to_rgba(_UNREAD)
    # An edge of its own colour keeps the shortest notes from vanishing between two pixels.
    axes.add_collection(PolyCollection(list(boxes), facecolors=colours, edgecolors=colours, lw=0.5))
    axes.set_ylim(*pitches)
    octaves = [pitch for pitch in range(0, 128, 12) if pitches[0] <= pitch <= pitches[1]]
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    axes.grid(axis="y", color="#e4e4e0", lw=0.6)
    axes.grid(axis="x", color="#f0f0ee", lw=0.6)
    axes.xaxis.set_major_formatter(lambda second, _: _clock(second))
    _plain(axes)


def _draw_curve(axes: "Axes", explanation: Explanation, named: bool) -> None:
    time, p = _steps(explanation)
    axes.fill_between(time, 0.5, p, where=p >= 0.5, color=_FOR, alpha=0.25, lw=0, interpolate=True)
    axes.fill_between(
        time, 0.5, p, where=p <= 0.5, color=_AGAINST, alpha=0.25, lw=0, interpolate=True
    )
    axes.plot(time, p, color=_INK, lw=1.2)
    axes.axhline(0.5, color="#999999", lw=0.7)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    axes.tick_params(labelbottom=False)
    if named:
        axes.set_ylabel("p(jazz)", color=_INK, fontsize=9)
    _plain(axes)


def _steps(explanation: Explanation) -> tuple[np.ndarray, np.ndarray]:
    """The curve as points: each window's p at its middle, held to the ends of the piece."""
    curve = explanation.curve
    time = [(moment.start_s + moment.end_s) / 2 for moment in curve]
    p = [moment.p_jazz for moment in curve]
    last = max(note.onset_s + note.duration_s for note in explanation.notes)
    return (
        np.array([min(curve[0].start_s, time[0]), *time, max(last, time[-1])]),
        np.array([p[0], *p, p[-1]]),
    )


def _draw_key(figure: Any, rolls: list["Axes"], limit: float, beyond: bool) -> None:
    """The colours; arrow heads where some notes go beyond them."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    key = figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), _colours()),
        ax=rolls, pad=0.008, fraction=0.018, aspect=28, shrink=1.0 if len(rolls) == 1 else 0.5,
        extend="both" if beyond else "neither",
    )  # fmt: skip
    key.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"+{limit:.2g}"])
    key.set_label("against jazz      a note's share of the logit      for jazz", fontsize=8)
    key.outline.set_visible(False)
    key.ax.tick_params(labelsize=8, length=0)


def _clock(second: float) -> str:
    whole = round(second)
    return f"{'-' if whole < 0 else ''}{abs(whole) // 60}:{abs(whole) % 60:02d}"


def _plain(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#bbbbbb")
    axes.tick_params(colors=_INK, labelsize=8, length=2)
    axes.set_axisbelow(True)


def _saved(figure: Any, path: Path) -> Path:
    with whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=140)
    return path
