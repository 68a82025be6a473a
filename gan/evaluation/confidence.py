"""95% intervals where the bootstrap has none to give: shares of pieces, and figures of whole sets.

The bootstrap of a share that is 0 or 1 is a point, however few the pieces: a share has Wilson's
(1927) interval. A figure of how a set repeats itself cannot be drawn with replacement, which would
copy pieces: it has the jackknife's interval (Tukey 1958), leaving each piece out in turn, which
is on average too wide rather than too narrow (Efron & Stein 1981). So has a ratio of sums over
works of which few weigh most, where the percentiles of a bootstrap are too narrow. Differences of
shares and of figures recover their variance from both intervals (Newcombe 1998; Zou & Donner 2008).

None of them says anything of bias: a Fréchet distance of few pieces is too large, and its interval
lies around a value that is too large.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import stdtrit

from discriminator.intervals import Interval

Z = 1.959964  # two sides of 95%
GROUPS = 100  # that a large set is left out in


def wilson(rate: float, count: int) -> tuple[float, float]:
    """The 95% score interval of a share of `count` independent things."""
    if count < 1:
        return 0.0, 1.0
    square = Z * Z / count
    middle = (rate + square / 2) / (1 + square)
    half = Z * math.sqrt(rate * (1 - rate) / count + square / (4 * count)) / (1 + square)
    # At the ends rounding would leave the share itself outside.
    return min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))


def rated(rate: float, count: int) -> Interval:
    """A share of `count` independent things with Wilson's interval."""
    return Interval(rate, *wilson(rate, count))


def share(hits: np.ndarray) -> Interval:
    """The share of pieces (N,) of which something is so; there must be one."""
    return rated(float(np.mean(hits)), len(hits))


def difference(first: Interval, second: Interval) -> Interval:
    """The first less the second, of independent pieces; NaN ends where either has none."""
    gap = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Interval(gap, gap - down, gap + up)


def student(count: int) -> float:
    """How many standard errors, told by so many values, a 95% interval reaches to either side."""
    return float(stdtrit(count - 1, 0.975))


def jackknife(
    figures: Callable[[np.ndarray], Mapping[str, float]], count: int
) -> dict[str, Interval]:
    """Figures of a set and their intervals, from the same figures with some pieces left out.

    Each piece in turn, or each of `GROUPS` runs of neighbouring pieces where there are more.

    Args:
        figures: by name, of the pieces at some places (N,), ascending.
        count: pieces in the set, at least two.

    Returns:
        By name; NaN ends where a figure has no value without some pieces.
    """
    every = np.arange(count)
    whole = figures(every)
    groups = np.array_split(every, min(count, GROUPS))
    without = [figures(np.delete(every, group)) for group in groups]
    result = {}
    for name, value in whole.items():
        values = np.array([each[name] for each in without])
        variance = (len(groups) - 1) * float(((values - values.mean()) ** 2).mean())
        half = student(len(groups)) * math.sqrt(variance)
        result[name] = Interval(value, value - half, value + half)
    return result


def clipped(figure: Interval, low: float = -math.inf, high: float = math.inf) -> Interval:
    """A figure whose interval does not leave the range that the figure cannot leave."""
    ends = np.clip([figure.low, figure.high], low, high)  # NaN stays
    return Interval(figure.value, float(ends[0]), float(ends[1]))


def wider(one: Interval, other: Interval) -> Interval:
    """One figure with the union of two intervals around it."""
    return Interval(one.value, min(one.low, other.low), max(one.high, other.high))


def point(value: float) -> Interval:
    """A number without an interval."""
    return Interval(value, math.nan, math.nan)
