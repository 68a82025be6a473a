"""The numbers of an evaluation: every system against real jazz, and against the first system.

Judges' rates and means carry bootstrap intervals over pieces; with one trained model a system, they
say nothing of other seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data_tools.corpus import Corpus
from data_tools.representation import Representation
from gan.adversarial.guards import variety
from gan.adversarial.rewards import PARTS, Bounds, bounds_of
from gan.data import validation_windows
from gan.engine import Engine
from gan.evaluation.distances import Interval, interval
from gan.evaluation.judging import Judges
from gan.evaluation.language import summary, token_bits
from gan.evaluation.summary import NEIGHBOURS, describe
from gan.evaluation.systems import Written

LOOPS = ("run", "phrases", "bars", "rhythm")  # of the reward's parts, what is a run or a loop
FEWEST = 2 * (NEIGHBOURS + 1)  # pieces that `describe` can measure
WINDOWS, WINDOW = 128, 512  # of held-out jazz, for bits a note


@dataclass
class Measured:
    """What was measured of a system, or of the real music.

    Attributes:
        name: of the system.
        figures: by name, with intervals where they were drawn.
        p_jazz: of its pieces, by judge.
        beside: the judges' rates and mean p(jazz) less the first system's.
    """

    name: str
    figures: dict[str, Interval] = field(default_factory=dict)
    p_jazz: dict[str, np.ndarray] = field(default_factory=dict)
    beside: dict[str, Interval] = field(default_factory=dict)


def plain(value: float) -> Interval:
    """A number without an interval."""
    return Interval(value, float("nan"), float("nan"))


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

    def judged(self, name: str, pieces: Sequence[np.ndarray]) -> Measured:
        """Judges, variety, and what goes beyond the bounds of real music."""
        result = Measured(name)
        if self.judges is not None:
            result.p_jazz = self.judges.p_jazz(pieces, self.representation)
            for judge, p in result.p_jazz.items():
                result.figures[f"jazz rate, {judge}"] = interval([(p >= 0.5).astype(float)])
                result.figures[f"p(jazz), {judge}"] = interval([p])
        beyond = [self.bounds.beyond(ids, self.representation) for ids in pieces]
        loops = np.array([any(each[part] for part in LOOPS) for each in beyond], dtype=float)
        result.figures["runs and loops beyond real"] = interval([loops])
        for part in PARTS:
            over = np.array([each[part] for each in beyond], dtype=float)
            result.figures[f"beyond real, {part}"] = interval([over])
        result.figures["variety"] = plain(variety(pieces))
        return result

    def measured(self, system: Written) -> Measured:
        """All of a system's figures."""
        result = self.judged(system.name, system.pieces)
        if min(len(system.pieces), len(self.pieces)) >= FEWEST:
            figures = describe(system.pieces, self.pieces, self.representation, self.train)
            result.figures |= {name: plain(value) for name, value in figures.items()}
        return result


def bits_of(
    system: Written, corpus: Corpus, exclude: Sequence[str], compute: Engine
) -> float | None:
    """Bits a note on a corpus's held-out jazz; None for what is no generator of its tokens."""
    if system.composer is None:
        return None
    numbers = corpus.select("validation", "jazz", exclude)
    if not numbers:
        return None
    representation = system.composer.representation
    pair = validation_windows(corpus, numbers, representation, WINDOW, WINDOWS)
    bits, hits = token_bits(system.composer.model, *pair, compute)
    return summary(bits, hits, pair[1].numpy(), representation)["bits_per_note"]


def beside_first(systems: Sequence[Measured]) -> None:
    """Adds each system's difference from the first one, in jazz rate and mean p(jazz)."""
    for system in systems[1:]:
        for judge, p in system.p_jazz.items():
            first = systems[0].p_jazz[judge]
            system.beside[judge] = interval(
                [(p >= 0.5).astype(float)], against=[(first >= 0.5).astype(float)]
            )
            system.beside[f"p(jazz), {judge}"] = interval([p], against=[first])
