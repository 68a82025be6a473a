"""How fast `gan render` is, and how late its notes are, on one core.

Each file is rendered by a renderer that knows no note yet, then all by one that keeps them, as a
folder is; then written in each format. Onsets are looked for in the sound of single notes over the
whole keyboard, soft and loud: the first moment at a twentieth of its loudest.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from data_tools import midi
from data_tools.midi import Notes
from data_tools.render import FORMATS, Renderer
from data_tools.roll import roll_of
from data_tools.roll_drawing import draw

_RATE = 44_100


def measure(archive: Path, count: int, soundfont: Path | None) -> dict[str, Any]:
    """Seconds of music a second of one core, by file and by format, and errors of onsets in ms."""
    paths = sorted(archive.resolve().rglob("*.mid"))
    random.Random(0).shuffle(paths)
    paths = paths[:count]
    cold, seconds, spent = [], 0.0, 0.0
    for path in paths:
        rate, _, _ = _timed(Renderer(soundfont, _RATE), path)
        cold.append(rate)
    kept = Renderer(soundfont, _RATE)
    for path in paths:
        _, length, took = _timed(kept, path)
        seconds, spent = seconds + length, spent + took
    with tempfile.TemporaryDirectory() as folder:
        written = {form: _written(kept, paths[:8], Path(folder) / f"a.{form}") for form in FORMATS}
    began = time.process_time()
    for path in paths:
        draw(roll_of(path)).svg(path.name)
    drawn = (time.process_time() - began) / len(paths)
    return {
        "soundfont": kept.soundfont.name,
        "rate": _RATE,
        "files": len(paths),
        "minutes_of_music": round(seconds / 60, 1),
        "times_real_time": {
            "a_file_alone_median": round(statistics.median(cold)),
            "a_file_alone_least": round(min(cold)),
            "a_folder": round(seconds / spent),
            "written": {form: round(rate) for form, rate in written.items()},
        },
        "roll_svg_ms": round(1000 * drawn, 1),
        "onset_error_ms": onsets(kept),
    }


def _timed(renderer: Renderer, path: Path) -> tuple[float, float, float]:
    """How often real time, seconds of sound, and seconds of processor time."""
    began = time.process_time()
    length = len(renderer.render(path)) / renderer.rate
    took = time.process_time() - began
    return length / took, length, took


def _written(renderer: Renderer, paths: list[Path], target: Path) -> float:
    began = time.process_time()
    seconds = sum(renderer.write(path, target) for path in paths)
    return seconds / (time.process_time() - began)


def onsets(renderer: Renderer) -> dict[str, float]:
    """The errors of the onsets of 88 single notes, each at two velocities: median and largest."""
    pitch = np.repeat(np.arange(21, 109), 2)
    start = 1500 * np.arange(len(pitch)) + 137  # milliseconds; 500 ticks a quarter at 120 a minute
    velocity = np.tile([40, 110], len(pitch) // 2)
    score = midi.score_of(Notes(start, start + 400, pitch, velocity), 500, 120.0)
    sound = np.abs(renderer.render(score)).max(axis=1)
    errors = []
    for onset in start / 1000:
        first = round((onset - 0.1) * renderer.rate)
        note = sound[first : first + round(0.4 * renderer.rate)]
        found = np.flatnonzero(note > 0.05 * note.max())[0]
        errors.append(1000 * ((first + found) / renderer.rate - onset))
    sizes = np.abs(errors)
    return {"median": round(float(np.median(sizes)), 2), "largest": round(float(sizes.max()), 2)}
