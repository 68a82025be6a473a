"""The marks of a source in words: what most of its files have and most others have not.

Each feature offers statements that a person can check ("220 ticks a beat", "every onset on a 32 ms
grid"); those kept are true of the source's files far more often than of all others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_tools.fingerprint import GROUPS, HOLDS, MACHINE_PERIODS, NAMES

# Least gap between a source's share of files and others' for a mark to be worth a word; a range is
# fitted to the source, so it must say more.
GAP, RANGE_GAP = 0.4, 0.6
_NOTICEABLE = 0.02

ADVICE = {
    "ticks": "build on the clock base, whose tokens hold neither ticks nor tempo",
    "tempo": "build on the clock base, whose tokens hold neither ticks nor tempo",
    "grid": "neutralise the timing (--neutral-share 1)",
    "velocity": "neutralise or hide velocity (--neutral-velocity coarse or flat, --velocities 0)",
    "pedal": "fold the pedal into note lengths or drop it (--pedal fold or drop)",
    "length": "train on windows, never on whole pieces",
}  # timing and register are the music's own: named, but nothing is to be done
MORE = {
    "grid": "neutralise more (--neutral-jitter, --neutral-humanise)",
    "velocity": "flatten the velocity (--neutral-velocity flat --neutral-gain 0)",
}


@dataclass(frozen=True)
class Mark:
    """A statement about a source's files.

    Attributes:
        group: of the fingerprint.
        words: what the files have.
        share: of the source's files that have it.
        others: of all other files that have it.
    """

    group: str
    words: str
    share: float
    others: float

    def __str__(self) -> str:
        return f"{self.words} ({self.share:.1%} of files; others {self.others:.1%})"


def marks(values: np.ndarray, inside: np.ndarray) -> list[Mark]:
    """The telling marks of a source, the plainest first, at most one a group.

    Args:
        values: (P, F) fingerprints of files or windows.
        inside: bool (P,), the source's.
    """
    best: dict[str, Mark] = {}
    for group, words, holds in _statements(values, inside):
        mark = Mark(group, words, float(holds[inside].mean()), float(holds[~inside].mean()))
        known = best.get(group)
        gap = mark.share - mark.others
        least = RANGE_GAP if " to " in words else GAP
        # Among near equals the first stands: statements come the most telling first.
        if gap >= least and (known is None or gap > known.share - known.others + _NOTICEABLE):
            best[group] = mark
    return sorted(best.values(), key=lambda mark: mark.others - mark.share)


def _statements(values: np.ndarray, inside: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields (group, words, bool (P,)) of everything that might be said."""

    def column(name: str) -> np.ndarray:
        return values[:, NAMES.index(name)]

    def usual(name: str, decimals: int = 0) -> tuple[float, np.ndarray]:
        rounded = np.round(column(name), decimals)
        found, counts = np.unique(rounded[inside], return_counts=True)
        value = float(found[counts.argmax()])
        return value, rounded == np.float32(value)

    ticks, same = usual("ticks_per_beat")
    if ticks:
        yield "ticks", f"{ticks:g} ticks a beat", same
        step, same = usual("tick_step")
        if step > 1:
            yield "ticks", f"every onset on a multiple of {step:g} ticks", same
        yield "tempo", "tempo exactly 120 throughout", column("tempo_only_120") > 0
        tempo, same = usual("tempo_first", 1)
        yield "tempo", f"a first tempo of {tempo:g}", same
        yield "tempo", "tempo changes", column("tempo_changes_a_minute") > 0
        yield "tempo", "a single tempo", column("tempo_changes_a_minute") == 0
    for period in sorted(MACHINE_PERIODS, reverse=True):
        yield "grid", f"every onset on a {period:g} ms grid", column(f"grid_{period:g}_ms") >= HOLDS
    yield "grid", "no onset grid above 8 ms", column("grid_period") == 0
    period, same = usual("grid_period", 1)
    if period:
        yield "grid", f"every onset on a {period:g} ms grid", same
    levels, same = usual("velocity_levels")
    plural = "one velocity" if levels == 1 else f"exactly {levels:g} velocities"
    yield "velocity", plural, same
    yield "velocity", "nearly one velocity", column("velocity_commonest") >= 0.9
    yield "pedal", "no pedal", column("pedals_a_minute") == 0
    yield "pedal", "pedal", column("pedals_a_minute") > 0
    yield "timing", "never two notes at once", column("chord_share") < 0.005
    if column("on_beats").any():
        yield "timing", "onsets on the file's beat", column("on_beats") > 0.85
        yield "timing", "onsets off the file's beat", column("on_beats") < 0.55
    # What has no usual value has a usual range.
    units = {
        "grid_strength": "grid strength", "chord_share": "share of notes in exact chords",
        "velocity_levels": "number of velocities", "velocity_mean": "mean velocity",
        "velocity_spread": "spread of velocities", "tick_step": "common step in ticks",
        "seconds": "length in seconds", "notes": "number of notes",
        "onset_step": "median step between onsets in seconds", "pedal_share": "time under pedal",
        "pitch_mean": "mean pitch", "pitch_lowest": "lowest pitch",
        "pitch_highest": "highest pitch",
        **{f"grid_{period:g}_ms": f"strength of a {period:g} ms grid"
           for period in sorted(MACHINE_PERIODS, reverse=True)},
    }  # fmt: skip
    for group, names in GROUPS.items():
        for name in (name for name in names if name in units):
            low, high = np.quantile(column(name)[inside], [0.05, 0.95])
            if low < high:
                within = (column(name) >= low) & (column(name) <= high)
                yield group, f"{units[name]} {low:.3g} to {high:.3g}", within
