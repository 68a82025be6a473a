"""Music on the grid as arrays: what tokens are written from and read back into."""

from dataclasses import dataclass, field

import numpy as np

from data_tools.midi import Notes


def _pairs() -> np.ndarray:
    return np.zeros((0, 2), dtype=np.int64)


def _numbers() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Events:
    """What a token sequence says, in grid steps from its beginning.

    Attributes:
        notes: sorted by onset, then channel, then pitch; no pitch of a channel overlaps itself.
        pedals: (P, 2) int64, steps at which the sustain pedal goes down and comes up.
        tempos: (M, 2) int64, the step of every tempo change and the number of the tempo token
            among its kind; none on the time base clock.
        meters: (K, 2) int64, the step from which bars have a length, and that length in steps;
            only `remi` on beat has any.
        channels: (N,) the MIDI channel of every note, 1..16; empty stands for 1 throughout.
        programs: (N,) the instrument of every note, 0..127; empty stands for 0, the piano.
        pedal_channels: (P,) the channel of every pedal; empty stands for 1.
    """

    notes: Notes
    pedals: np.ndarray = field(default_factory=_pairs)
    tempos: np.ndarray = field(default_factory=_pairs)
    meters: np.ndarray = field(default_factory=_pairs)
    channels: np.ndarray = field(default_factory=_numbers)
    programs: np.ndarray = field(default_factory=_numbers)
    pedal_channels: np.ndarray = field(default_factory=_numbers)
