"""What a file carries beside its music: its ticks, tempo, velocities, onset grid, pedal, length.

None of it may decide whether music is jazz, and all of it may: a transcriber, a sequencer and a
notation program each leave marks of their own, and a label whose music came through one machine is
told by the machine. `data_tools.audit` measures by how much. A grid of onsets is found as a line in
the spectrum of the onset times (Rayleigh's test of periodicity, at every period at once by FFT).
"""

import numpy as np
from symusic.core import ScoreTick

from data_tools.midi import Notes

# What transcribers and capture devices step in, milliseconds: plain numbers, and hops of 256 to
# 2,048 samples at 44.1 kHz (5.8, 11.6, 23.2, 46.4) and of 256 and 512 at 16 kHz (16, 32).
MACHINE_PERIODS = (5.0, 5.8, 8.0, 10.0, 11.6, 12.0, 16.0, 20.0, 23.2, 24.0, 25.0, 32.0, 40.0,
                   46.4, 48.0, 50.0)  # fmt: skip
_EXACT = {5.8: 256 / 44.1, 11.6: 512 / 44.1, 23.2: 1024 / 44.1, 46.4: 2048 / 44.1}

GROUPS: dict[str, tuple[str, ...]] = {
    "ticks": ("ticks_per_beat", "tick_step"),
    "tempo": ("tempo_first", "tempo_changes_a_minute", "tempo_only_120"),
    "velocity": (
        *(f"velocity_{low}_to_{low + 15}" for low in range(0, 128, 16)),
        "velocity_levels", "velocity_mean", "velocity_spread", "velocity_commonest",
    ),
    "grid": (
        "grid_period", "grid_strength", "grid_off_zero", "grid_off_first",
        *(f"grid_{period:g}_ms" for period in MACHINE_PERIODS),
    ),
    "timing": (
        "on_beats", "onset_step", "onset_step_spread", "step_variety", "rolled_share",
        "chord_share",
    ),
    "length": ("notes", "seconds"),
    "pedal": ("pedals_a_minute", "pedal_share"),
    "register": ("pitch_mean", "pitch_lowest", "pitch_highest", "pitch_spread"),
}  # fmt: skip
NAMES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)

_PROFILE = len(GROUPS["grid"]) - len(MACHINE_PERIODS)
HOLDS = 0.8  # strength from which a grid counts: onsets stray by a tenth of its period
_NOTES = 320  # of a file's beginning, for what depends on time
_ONSETS = 64  # for strengths: the chance in them shows how many there were, which is density
_FEWEST = 16  # onsets; with fewer some period fits by chance
_BIN_SECONDS, _BINS, _SPECTRUM = 0.002, 8_192, 16_384
_LONGEST_PERIOD, _SHORTEST_PERIOD = 0.0641, 0.0078
_ROLL_SECONDS = 0.05  # onsets nearer than that are one chord to the ear


def columns(group: str) -> list[int]:
    """Where a group's features stand in a vector."""
    return [NAMES.index(name) for name in GROUPS[group]]


def measure(score: ScoreTick, notes: Notes) -> np.ndarray:
    """The fingerprint of a file.

    Args:
        score: its one-track score in the file's own ticks, as `midi.prepare` gives it.
        notes: the same notes in seconds, in the same order.

    Returns:
        float32 (F,), in the order of `NAMES`.
    """
    table = score.tracks[0].notes.numpy()
    start = table["time"][:_NOTES]
    seconds = float(notes.end.max())
    minutes = max(seconds, 1.0) / 60
    tempos = score.tempos.numpy()["mspq"]
    first = 60e6 / tempos[0] if len(tempos) else 120.0
    changes = int(np.count_nonzero(np.diff(tempos)))
    pedals = score.tracks[0].pedals.numpy()
    length = table["time"][-1] + table["duration"][-1]
    beats = start / score.ticks_per_quarter
    away = np.min([np.abs(beats * n - np.rint(beats * n)) / n for n in (4, 3)], axis=0)
    facts = {
        "ticks_per_beat": score.ticks_per_quarter,
        "tick_step": np.gcd.reduce(start),
        "tempo_first": first,
        "tempo_changes_a_minute": changes / minutes,
        "tempo_only_120": changes == 0 and abs(first - 120) < 1e-3,
        "on_beats": np.mean(away <= 1 / 96),  # as `data_tools.inspect.timing_of`
        "notes": len(notes),
        "seconds": seconds,
        "pedals_a_minute": len(pedals["time"]) / minutes,
        "pedal_share": min(pedals["duration"].sum() / max(length, 1), 1.0),
    }
    return _vector(facts | of_notes(notes))


def measure_window(notes: Notes, pedals: np.ndarray, tokens: int, step: float) -> np.ndarray:
    """The fingerprint of a decoded window of tokens: what a model that reads it could still use.

    Args:
        notes: its notes in seconds.
        pedals: (P, 2) when the sustain pedal goes down and up, in seconds.
        tokens: its length; short pieces do not fill a window.
        step: the grid of the tokens, in seconds. Sampled so, a fast rhythm looks like some short
            period (aliasing): periods that cannot be told from one above 64 ms are 0.

    Returns:
        float32 (F,). Ticks, tempo and the file's beat are 0: tokens on a clock hold none. So is the
        time a window takes, which is the density of its music.
    """
    facts: dict[str, float] = {"notes": tokens}
    if len(notes):
        seconds = max(float(notes.end.max() - notes.start[0]), 1.0)
        facts["pedals_a_minute"] = 60 * len(pedals) / seconds
        facts["pedal_share"] = min(float(np.diff(pedals, axis=1).sum()) / seconds, 1.0)
        facts |= of_notes(notes)
        cycles = step / _machine_seconds()
        alias = np.abs(cycles - np.rint(cycles)) / step
        facts |= {
            name: 0.0
            for name, frequency in zip(GROUPS["grid"][_PROFILE:], alias, strict=True)
            if frequency < 1 / _LONGEST_PERIOD
        }
    return _vector(facts)


def of_notes(notes: Notes) -> dict[str, float]:
    """The features that notes in seconds have without their file: velocity, grid, register."""
    start, pitch = notes.start[:_NOTES].astype(np.float64), notes.pitch.astype(np.int64)
    # Chords in a file share a tick; a millionth of a second is far below one.
    fresh = np.diff(start, prepend=-1.0) > 1e-6
    onsets = start[fresh]
    steps = np.diff(onsets)
    counts = np.bincount(notes.velocity, minlength=128)[:128]
    share = counts / len(notes)
    mean = float(share @ np.arange(128))
    values = {
        "velocity_levels": np.count_nonzero(counts),
        "velocity_mean": mean,
        "velocity_spread": np.sqrt(share @ (np.arange(128) - mean) ** 2),
        "velocity_commonest": share.max(),
        "chord_share": 1 - len(onsets) / len(start),
        "pitch_mean": pitch.mean(),
        "pitch_lowest": pitch.min(),
        "pitch_highest": pitch.max(),
        "pitch_spread": pitch.std(),
    }
    values |= zip(GROUPS["velocity"][:8], share.reshape(8, 16).sum(1), strict=True)
    if len(steps):
        values |= {
            "step_variety": len(np.unique(np.rint(steps * 1000))) / len(steps),
            "onset_step": np.median(steps),
            "onset_step_spread": np.log(steps).std(),
            "rolled_share": np.mean(steps < _ROLL_SECONDS),
        }
    return values | _grid(onsets)


def _grid(onsets: np.ndarray) -> dict[str, float]:
    """Onset grid: the longest period that holds, and the strength of those that machines use.

    The strength of a period p is |mean exp(2 pi i t / p)| over the onsets t, corrected for what few
    onsets reach by chance. A grid of 32 ms is one of 16 and 8 ms too: the longest is reported.
    """
    count = len(onsets)
    if count < _FEWEST:
        return {}
    strengths = _strength(onsets[:_ONSETS], 1 / _machine_seconds())
    values = dict(zip(GROUPS["grid"][_PROFILE:], strengths, strict=True))
    place = ((onsets - onsets[0]) / _BIN_SECONDS).astype(np.int64)
    near = place[place < _BINS]
    if len(near) < _FEWEST:
        return values
    comb = np.bincount(near, minlength=_SPECTRUM).astype(np.float32)
    unit = 1 / (_SPECTRUM * _BIN_SECONDS)
    low, high = int(1 / _LONGEST_PERIOD / unit), int(1 / _SHORTEST_PERIOD / unit)
    line = np.abs(np.fft.rfft(comb)[low:high]) / len(near)
    # Lines fall between bins and stray from whole milliseconds: look closer at what comes near.
    for peak in np.flatnonzero(line > 0.85 * HOLDS)[:3]:
        top = peak + int(line[peak : peak + 4].argmax())
        frequency = (low + top + np.linspace(-1, 1, 9)) * unit
        strength = _strength(onsets[: len(near)], frequency)
        best = int(strength.argmax())
        if strength[best] >= HOLDS:
            return values | _phase(onsets[: len(near)], 1 / frequency[best], strength[best])
    return values


def _machine_seconds() -> np.ndarray:
    return np.array([_EXACT.get(period, period) for period in MACHINE_PERIODS]) / 1000


def _strength(onsets: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Strength of some frequencies (K,) in 1/s, corrected for chance: 0..1."""
    count = len(onsets)
    power = np.abs(np.exp(2j * np.pi * np.outer(frequency, onsets)).mean(1)) ** 2
    return np.sqrt(np.maximum(count * power - 1, 0) / (count - 1))


def _phase(onsets: np.ndarray, period: float, strength: float) -> dict[str, float]:
    """A grid found: how far, in periods (0..0.5), it passes from second 0 and the first onset."""
    mean = np.exp(2j * np.pi * onsets / period).mean()
    first = mean * np.exp(-2j * np.pi * onsets[0] / period)
    return {
        "grid_period": 1000 * period,
        "grid_strength": strength,
        "grid_off_zero": abs(float(np.angle(mean))) / (2 * np.pi),
        "grid_off_first": abs(float(np.angle(first))) / (2 * np.pi),
    }


def _vector(values: dict[str, float]) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in NAMES], dtype=np.float32)
