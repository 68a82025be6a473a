"""Features of time and loudness: what tells swing from straight, and one machine from another.

No part of what a judge reads unless it is asked to. The pulse is the period at which onsets gather
most (Rayleigh's test), window by window, since players do not keep to one.
"""

import numpy as np

from discriminator.features import Piece, Table
from discriminator.symbolic import counting as count

BEATS = np.geomspace(0.3, 1.0, 49)  # seconds: 200 to 60 beats a minute
PHASES = 12
_WINDOW, _MOST = 32, 64  # moments in a window, and windows looked at
_INTERVALS = np.array([0.06, 0.09, 0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0])  # seconds
_RATIOS = np.log2([1 / 4, 1 / 3, 0.45, 0.56, 0.71, 0.89, 1.12, 1.4, 1.8, 2.2, 3, 4])


def rhythm(piece: Piece, table: Table) -> None:
    """Adds the features of onsets and lengths."""
    # Differences of whole steps first: where a piece stands in time must not decide a rounding.
    gaps = np.diff(piece.moments.time) * piece.step
    time = (piece.moments.time - piece.moments.time[0]) * piece.step
    table.add("gap", count.histogram(np.searchsorted(_INTERVALS, gaps), 0, len(_INTERVALS)))
    ratios = np.searchsorted(_RATIOS, np.log2(gaps[1:] / gaps[:-1]))
    table.add("gap_ratio", count.histogram(ratios, 0, len(_RATIOS)))
    kinds = len(_RATIOS) + 1
    swing = ratios[:-1] * kinds + ratios[1:]
    long_short = (gaps[:-2] > gaps[1:-1]) & (gaps[2:] > gaps[1:-1])
    table.add("gap_zigzag", long_short.mean() if len(long_short) else 0.0)
    table.add("gap_variety", count.variety(swing, 32))
    held = (piece.notes.end - piece.notes.start) * piece.step
    table.add("length", count.histogram(np.searchsorted(_INTERVALS, held), 0, len(_INTERVALS)))
    spread = (piece.notes.start - piece.moments.time[piece.moments.first]) * piece.step
    table.add("rolled", [spread.mean(), np.mean(spread > 0)])
    table.add("density", len(time) / max(time[-1] - time[0], 1.0))
    _pulse(time, table)


def _pulse(time: np.ndarray, table: Table) -> None:
    if len(time) > _WINDOW:
        begin = np.linspace(0, len(time) - _WINDOW, min(_MOST, len(time) // 8)).astype(np.int64)
        rows = time[begin[:, None] + np.arange(_WINDOW)]  # (W, 32)
    else:
        rows = time[None]
    turns = (rows - rows[:, :1])[:, :, None] / BEATS  # (W, 32, periods)
    around = 2j * np.pi * turns  # megabytes, so in place
    np.exp(around, out=around)
    line = around.mean(1)  # (W, periods)
    best = np.abs(line).round(9).argmax(1)
    table.add("pulse_strength", np.abs(line).max(1).mean())
    table.add("pulse_seconds", BEATS[best].mean())
    each = np.arange(len(rows))
    phase = np.angle(around[each, :, best] * np.conj(line[each, best])[:, None]) / (2 * np.pi)
    place = np.rint(phase * PHASES).astype(np.int64) % PHASES
    table.add("pulse_phase", count.histogram(place.ravel(), 0, PHASES - 1))
    # A note off the beat with nothing on the next: the usual meaning of syncopation.
    beat = np.floor(
        turns[each, :, best] - np.angle(line[each, best])[:, None] / (2 * np.pi) + 0.5 / PHASES
    )
    off = place != 0
    alone = off[:, :-1] & off[:, 1:] & (beat[:, 1:] > beat[:, :-1])
    table.add("syncopation", alone.mean() if alone.size else 0.0)


def touch(piece: Piece, table: Table) -> None:
    """Adds the features of velocity."""
    velocity = piece.notes.velocity
    table.add("velocity", count.histogram(velocity // 16, 0, 7))
    table.add("velocity_mean", velocity.mean())
    table.add("velocity_spread", velocity.std())
    steps = np.abs(np.diff(velocity))
    table.add("velocity_step", steps.mean() if len(steps) else 0.0)
    table.add("velocity_levels", len(np.unique(velocity)) / min(len(velocity), 128))
    first = piece.moments.first
    loud = np.bincount(first, velocity) / np.bincount(first)
    table.add("velocity_accent", np.abs(np.diff(loud)).mean() if len(loud) > 1 else 0.0)
    deviation = piece.notes.pitch - piece.notes.pitch.mean()
    scale = max(float(deviation.std() * velocity.std()), 1e-6)
    table.add(
        "velocity_with_pitch", float((deviation * (velocity - velocity.mean())).mean()) / scale
    )
