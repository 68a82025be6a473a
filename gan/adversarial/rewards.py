"""The self-referential reward: a piece is docked for what no real piece does to itself.

Nothing is compared with another piece. Runs on one pitch, phrases and bars that come again and
again, a stuck rhythm, silence, too few or too many pitch classes or rhythms are docked, each only
beyond what nearly all of the corpus stays within: vamps and ostinati are jazz. A token is docked
where the offence is, so that policy gradient knows what to blame.

Shapes: S tokens of a piece, N notes, M moments (onsets with at least one note).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_tools.representation import EOS, Representation, TokenType

PARTS = ("run", "phrases", "bars", "rhythm", "silence", "pitch_classes", "rhythms")
BAR = 2.0  # seconds, where there is no metre; a bar of four at 120 to the minute
GRAM = 4  # notes of a phrase
FAR = 98.0  # percentile of the corpus from which on a piece is docked
FADE = 0.97  # a token's offence is also, ever less, the fault of those before it


@dataclass(frozen=True)
class Heard:
    """What the parts need of a piece.

    Attributes:
        size: S.
        place: (N,) the note's token.
        pitch: (N,).
        onset: (N,) seconds, or beats half as long.
        times: (M,) the moments' onsets.
        first: (M,) token of each moment's first note.
        rest: seconds of silence at the end: after the last moment, or where tokens say when notes
            end, after the last of them.
        last: token of music that ends it, -1 if there is none.
    """

    size: int
    place: np.ndarray
    pitch: np.ndarray
    onset: np.ndarray
    times: np.ndarray
    first: np.ndarray
    rest: float
    last: int


def hear(ids: np.ndarray, representation: Representation) -> Heard:
    """Reads token ids (S,), anything but music passed over."""
    ids = np.asarray(ids, dtype=np.int64)
    music = np.flatnonzero((ids > EOS) & (ids < representation.music_size))
    kinds = representation.token_types[ids[music]]
    struck = np.isin(kinds, [TokenType.PITCH, TokenType.NOTE_ON])
    times = representation.times(ids[music]) if len(music) else np.zeros(0)
    if representation.settings.time_base == "clock":
        unit = representation.grid_seconds
    else:
        unit = 0.5 / representation.steps_per_beat  # as if at 120 to the minute
    onset = times[struck] * unit
    place = music[struck]
    new = np.diff(onset, prepend=-np.inf) > 1e-9
    released = kinds == TokenType.NOTE_OFF
    rest = float(times[-1] * unit - onset[-1]) if len(onset) else 0.0
    if released.any():  # what is not let go sounds on
        sounds = struck.sum() > released.sum()
        rest = 0.0 if sounds else min(rest, float((times[-1] - times[released][-1]) * unit))
    return Heard(
        len(ids), place, representation.token_values[ids[place]].astype(int), onset,
        onset[new], place[new],
        rest, int(music[-1]) if len(music) else -1,
    )  # fmt: skip


def runs(values: np.ndarray) -> np.ndarray:
    """(N,) how many equal values in a row end at each place."""
    if not len(values):
        return np.zeros(0, dtype=int)
    begins = np.flatnonzero(np.diff(values, prepend=values[0] - 1) != 0)
    return np.arange(len(values)) - np.repeat(begins, np.diff(begins, append=len(values))) + 1


def repeated(pitches: np.ndarray) -> np.ndarray:
    """(N,) bool: notes that end a phrase of `GRAM` pitches the piece has had before."""
    found = np.zeros(len(pitches), dtype=bool)
    if len(pitches) < GRAM:
        return found
    grams = np.lib.stride_tricks.sliding_window_view(pitches, GRAM)
    codes = grams @ (128 ** np.arange(GRAM))
    _, first = np.unique(codes, return_index=True)
    seen = np.ones(len(codes), dtype=bool)
    seen[first] = False
    found[GRAM - 1 :] = seen
    return found


def copied(heard: Heard) -> np.ndarray:
    """(N,) bool: notes of a bar whose pitches and places an earlier bar had."""
    bars = np.floor(heard.onset / BAR + 1e-9).astype(int)
    known: set[bytes] = set()
    found = np.zeros(len(bars), dtype=bool)
    for bar in np.unique(bars):
        mine = bars == bar
        places = np.round((heard.onset[mine] - bar * BAR) * 50).astype(int)
        content = np.stack([places, heard.pitch[mine]]).tobytes()
        found[mine] = content in known
        known.add(content)
    return found


def entropy(values: np.ndarray) -> float:
    """Bits of a sample's histogram."""
    if not len(values):
        return 0.0
    p = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(p * np.log2(p)).sum())


def steps_of(heard: Heard) -> np.ndarray:
    """(M,) time from the moment before in twenty-fifths of a second, -1 for the first."""
    return np.nan_to_num(np.round(np.diff(heard.times, prepend=np.nan) * 25), nan=-1.0)


def _waits(heard: Heard) -> np.ndarray:
    """(M + 1,) seconds before each moment, and after the last."""
    return np.append(np.diff(heard.times, prepend=0.0), heard.rest)


def measured(heard: Heard) -> dict[str, float]:
    """The statistic that each part looks at."""
    waits = _waits(heard)
    steps = steps_of(heard)
    return {
        "run": float(runs(heard.pitch).max(initial=0)),
        "phrases": float(repeated(heard.pitch).mean()) if len(heard.pitch) else 0.0,
        "bars": float(copied(heard).mean()) if len(heard.pitch) else 0.0,
        "rhythm": float(runs(steps).max(initial=0)),
        "silence": float(waits.max(initial=0.0)),
        "pitch_classes": entropy(heard.pitch % 12),
        "rhythms": entropy(np.minimum(steps, 50)[1:]),
    }


@dataclass(frozen=True)
class Bounds:
    """Between which values of each part nearly all of a corpus lies; `low` is for the entropies."""

    high: dict[str, float]
    low: dict[str, float]

    def beyond(self, ids: np.ndarray, representation: Representation) -> dict[str, bool]:
        """Which parts a piece (S,) goes beyond the bounds of."""
        found = measured(hear(ids, representation))
        return {
            name: value > self.high[name] + 1e-9 or value < self.low.get(name, -np.inf) - 1e-9
            for name, value in found.items()
        }


def bounds_of(pieces: Sequence[np.ndarray], representation: Representation) -> Bounds:
    """The bounds of some real pieces (S,) each, as long as what will be docked.

    Raises:
        ValueError: fewer than two pieces.
    """
    if len(pieces) < 2:
        raise ValueError("the bounds of a corpus need pieces")
    found = [measured(hear(ids, representation)) for ids in pieces]
    high = {name: float(np.percentile([each[name] for each in found], FAR)) for name in PARTS}
    low = {
        name: float(np.percentile([each[name] for each in found], 100 - FAR))
        for name in ("pitch_classes", "rhythms")
    }
    return Bounds(high, low)


def docks(ids: np.ndarray, representation: Representation, bounds: Bounds) -> dict[str, np.ndarray]:
    """What each part takes from each token of a piece: name -> (S,), zero or more."""
    heard = hear(ids, representation)
    result = {name: np.zeros(heard.size) for name in PARTS}
    if not len(heard.pitch):
        result["silence"][:] = 1 / max(1, heard.size)
        return result
    found = measured(heard)
    result["run"][heard.place] = runs(heard.pitch) > bounds.high["run"]
    for name, offends in (("phrases", repeated(heard.pitch)), ("bars", copied(heard))):
        if found[name] > bounds.high[name]:
            result[name][heard.place] = offends * (1 - bounds.high[name] / found[name])
    steps = steps_of(heard)
    result["rhythm"][heard.first] = runs(steps) > bounds.high["rhythm"]
    long = np.clip(_waits(heard) - bounds.high["silence"], 0, 1)
    np.add.at(result["silence"], np.append(heard.first, heard.last), long)  # one may be both
    for name in bounds.low:
        span = bounds.high[name] - bounds.low[name]
        off = max(found[name] - bounds.high[name], bounds.low[name] - found[name], 0.0)
        result[name][heard.place] = 0.2 * min(1.0, off / span) if span else 0.0
    return result


def returns(docked: np.ndarray) -> np.ndarray:
    """(..., S) what follows each token, itself included, fading: minus the docks yet to come."""
    result = np.zeros_like(docked, dtype=np.float64)
    after = np.zeros(docked.shape[:-1])
    for place in range(docked.shape[-1] - 1, -1, -1):
        after = FADE * after - docked[..., place]
        result[..., place] = after
    return result


Docks = Callable[[np.ndarray], dict[str, np.ndarray]]


def rewards(rows: np.ndarray, docked: Docks) -> tuple[np.ndarray, dict[str, float]]:
    """Returns (B, S) of ids (B, S), and the share of pieces that each part docks."""
    found = [docked(row) for row in rows]
    total = np.stack([sum(parts.values(), np.zeros(rows.shape[1])) for parts in found])
    shares = {
        f"reward/{name}": float(np.mean([parts[name].any() for parts in found])) for name in PARTS
    }
    return returns(total), shares | {"reward/docked": float(total.sum(1).mean())}
