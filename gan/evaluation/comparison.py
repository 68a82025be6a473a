"""The numbers of an evaluation: every system against real jazz, and against the first system.

Intervals are over pieces (of bits a note, over works of held-out jazz): Wilson's for shares of
pieces, the jackknife's for all else. With one trained model a system, they say nothing of other
seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data_tools.corpus import Corpus
from data_tools.representation import EOS, PAD, Representation
from gan.adversarial.guards import GRAM, variety
from gan.adversarial.rewards import PARTS, Bounds, bounds_of
from gan.data import windows_once
from gan.engine import Engine
from gan.evaluation import diversity
from gan.evaluation.confidence import clipped, difference, jackknife, point, share
from gan.evaluation.distances import Interval, interval
from gan.evaluation.judging import Judges
from gan.evaluation.language import token_bits
from gan.evaluation.summary import NEIGHBOURS, Axes, axes_of, described
from gan.evaluation.systems import Written
from generator.compose import Composer

LOOPS = ("run", "phrases", "bars", "rhythm")  # of the reward's parts, what is a run or a loop
FEWEST = 2 * (NEIGHBOURS + 1)  # pieces that `describe` can measure
WINDOWS, WINDOW = 128, 512  # of held-out jazz, for bits a note


BITS = "bits a note"
RATE = "jazz rate, "  # before a judge's name
BOTH = "both"  # called jazz by two judges of which neither hears what the other does
TOGETHER = ("harmony", "rhythm")
_DIFFERENCES = ("runs and loops beyond real", "variety", "frechet", "coverage")


@dataclass(frozen=True)
class Bits:
    """What held-out jazz costs a generator.

    Attributes:
        works: (G,) names. Windows of one work are alike, so works are what an interval draws.
        sums: (G, 2) bits and notes of the windows of each.
    """

    works: tuple[str, ...]
    sums: np.ndarray


@dataclass
class Measured:
    """What was measured of a system, or of the real music.

    Attributes:
        name: of the system.
        figures: by name, with intervals where they can be had.
        p_jazz: of its pieces, by judge.
        bits: what held-out jazz costs it; None for what has no likelihood.
        beside: less the first system's: the judges' rates and mean p(jazz), and other figures.
    """

    name: str
    figures: dict[str, Interval] = field(default_factory=dict)
    p_jazz: dict[str, np.ndarray] = field(default_factory=dict)
    bits: Bits | None = None
    beside: dict[str, Interval] = field(default_factory=dict)


class Reference:
    """Real jazz, and all that systems are held against.

    Args:
        pieces: token ids each.
        representation: what they mean.
        judges: None to go without.
        train: the training set's pieces, for what is copied.
    """

    def __init__(
        self,
        pieces: Sequence[np.ndarray],
        representation: Representation,
        judges: Judges | None,
        train: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.pieces, self.representation = list(pieces), representation
        self.judges, self.train = judges, train
        self.bounds: Bounds = bounds_of(self.pieces, representation)
        self._axes: Axes | None = None

    def prepare(self, systems: Sequence[Written]) -> None:
        """Has the distances of these systems from real jazz measured along common axes."""
        sets = [each.pieces for each in systems if self._enough(each)]
        self._axes = axes_of(self.pieces, sets, self.representation) if sets else None

    def _enough(self, system: Written) -> bool:
        return min(len(system.pieces), len(self.pieces)) >= FEWEST

    def judged(self, name: str, pieces: Sequence[np.ndarray]) -> Measured:
        """Judges, variety, and what goes beyond the bounds of real music."""
        result = Measured(name)
        if self.judges is not None:
            result.p_jazz = self.judges.p_jazz(pieces, self.representation)
            for judge, p in result.p_jazz.items():
                result.figures[RATE + judge] = share(p >= 0.5)
                result.figures[f"p(jazz), {judge}"] = interval([p])
            if all(judge in result.p_jazz for judge in TOGETHER):
                called = [result.p_jazz[judge] >= 0.5 for judge in TOGETHER]
                result.figures[RATE + BOTH] = share(np.all(called, axis=0))
        beyond = [self.bounds.beyond(ids, self.representation) for ids in pieces]
        loops = np.array([any(each[part] for part in LOOPS) for each in beyond])
        result.figures["runs and loops beyond real"] = share(loops)
        for part in PARTS:
            over = np.array([each[part] for each in beyond])
            result.figures[f"beyond real, {part}"] = share(over)
        result.figures["variety"] = _variety(pieces)
        return result

    def measured(self, system: Written) -> Measured:
        """All of a system's figures."""
        result = self.judged(system.name, system.pieces)
        if self._enough(system):
            result.figures |= described(
                system.pieces, self.pieces, self.representation, self.train, self._axes
            )
        return result


def _variety(pieces: Sequence[np.ndarray]) -> Interval:
    """`variety`, its interval from leaving pieces out: drawn twice, a piece would repeat itself."""
    value = variety(pieces)
    music = [ids[ids > EOS] for ids in map(np.asarray, pieces)]
    if len(music) < 2 or max(map(len, music)) < GRAM:
        return point(value)
    found = jackknife(
        lambda places: {"": diversity.distinct([music[place] for place in places], GRAM)[1]},
        len(music),
    )[""]
    return clipped(Interval(value, found.low, found.high), 0.0, 1.0)


def bits_of(
    system: Written, corpus: Corpus, exclude: Sequence[str], compute: Engine
) -> Bits | None:
    """Bits and notes of held-out jazz, window by window; None for no generator of its tokens.

    A model of a short context reads shorter windows, and pays for knowing less of what came before.
    """
    numbers = corpus.select("validation", "jazz", exclude)
    if system.composer is None or not numbers:
        return None
    return cost(system.composer, corpus, numbers, compute)


def cost(
    composer: Composer, corpus: Corpus, numbers: Sequence[int], compute: Engine, most: int = WINDOWS
) -> Bits:
    """Bits and notes of at most so many windows of pieces of a corpus."""
    representation, length = composer.representation, min(WINDOW, composer.model.context)
    inputs, targets, pieces = windows_once(corpus, numbers, representation, length, most)
    bits, _ = token_bits(composer.model, inputs, targets, compute)
    wanted = targets.numpy()
    notes = (representation.strikes[wanted] * (wanted != PAD)).sum(1)
    groups = [corpus.rows[number]["group"] for number in pieces]
    works, place = np.unique(groups, return_inverse=True)
    sums = [np.bincount(place, each, len(works)) for each in (bits.sum(1), notes)]
    return Bits(tuple(works.tolist()), np.stack(sums, axis=1))


def per_note(bits: Bits, against: Bits | None = None) -> Interval:
    """Bits a note, less another model's of the same works; works are left out, if there are two."""
    rows = bits.sums if against is None else np.concatenate([bits.sums, against.sums], axis=1)

    def figure(places: np.ndarray) -> dict[str, float]:
        total = rows[places].sum(0)
        each = total[::2] / np.maximum(1.0, total[1::2])
        return {BITS: float(each[0] - each[1:].sum())}

    if len(rows) < 2:
        return point(figure(np.arange(len(rows)))[BITS])
    found = jackknife(figure, len(rows))[BITS]
    return clipped(found, low=0.0) if against is None else found


def judges_of(system: Measured) -> list[str]:
    """Who has a rate: the judges, and `BOTH`."""
    return [name.removeprefix(RATE) for name in system.figures if name.startswith(RATE)]


def beside_first(systems: Sequence[Measured]) -> None:
    """Adds each system's difference from the first one, in all that has an interval and a way."""
    first = systems[0]
    for system in systems[1:]:
        for judge in judges_of(system):
            name = RATE + judge
            system.beside[judge] = difference(system.figures[name], first.figures[name])
        for judge, p in system.p_jazz.items():
            system.beside[f"p(jazz), {judge}"] = interval([p], against=[first.p_jazz[judge]])
        if system.bits is not None and first.bits is not None:
            # Windows of other lengths, as merged tokens have them, may be of other works.
            if system.bits.works == first.bits.works:
                system.beside[BITS] = per_note(system.bits, first.bits)
            else:
                system.beside[BITS] = difference(system.figures[BITS], first.figures[BITS])
        for name in _DIFFERENCES:
            if name in system.figures and name in first.figures:
                system.beside[name] = difference(system.figures[name], first.figures[name])
