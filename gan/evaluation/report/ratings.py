"""What listeners chose in blind mode, read back from the page's exports: who wins how often.

A win rate counts a tie as half a win; its interval is Wilson's (1927), which stays sensible for few
choices and for rates near 0 and 1. It takes choices for independent, so of one listener it speaks
for that listener; with several, the interval is widened to what whole listeners drawn with
replacement give, where that is wider.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeGuard

import numpy as np

from data_tools.errors import UserError
from data_tools.files import parse_json
from gan.evaluation.confidence import wilson
from gan.evaluation.report.content import Table

Answer = Literal["left", "right", "tie"]
_FEWEST_LISTENERS = 5  # fewer cannot say how listeners differ
_DRAWS = 2000


@dataclass(frozen=True)
class Choice:
    """One pair heard and judged.

    Attributes:
        id: unlike any other choice's; the same choice exported twice counts once.
        listener: the name given, or the browser's session where none was.
        left, right: the systems, by their names.
        left_sample, right_sample: the samples' titles.
        answer: which was better.
        left_rating, right_rating: 1 to 5, None where not given.
    """

    id: str
    listener: str
    left: str
    right: str
    left_sample: str
    right_sample: str
    answer: Answer
    left_rating: int | None = None
    right_rating: int | None = None


@dataclass(frozen=True)
class WinRate:
    """How often one system was liked better than another.

    Attributes:
        first, second: their names.
        wins, ties, losses: of the first.
        rate: (wins + ties / 2) over all choices.
        low, high: its 95% interval.
        listeners: how many there were.
    """

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    rate: float
    low: float
    high: float
    listeners: int


def read_ratings(path: str | Path, *more: str | Path) -> list[WinRate]:
    """Win rates for each pair of systems in one or several exports, most often compared first.

    Args:
        path: a .csv or .json export of a report's blind mode.
        more: others, as of other listeners; a choice that stands in several counts once.

    Raises:
        UserError: a file that cannot be read, is no such export, or holds no choice.
    """
    paths = (path, *more)
    choices = read_choices(paths)
    if not choices:
        raise UserError(f"{paths[0]}: no choices in it; listen first, then export")
    return win_rates(choices)


def read_choices(paths: Iterable[str | Path]) -> list[Choice]:
    """All choices of some exports, each once, in the order they were made.

    Raises:
        UserError: a file that cannot be read or is no such export.
    """
    found: dict[str, Choice] = {}
    for path in map(Path, paths):
        for row in _rows(path):
            choice = _choice(path, row)
            found.setdefault(choice.id, choice)
    return list(found.values())


def _rows(path: Path) -> list[dict[str, object]]:
    """The rows of an export under the names of the CSV's columns."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{path}: {reason}") from None
    if path.suffix.lower() != ".json":
        try:
            return [dict(row) for row in csv.DictReader(text.splitlines(keepends=True))]
        except csv.Error as error:
            raise UserError(f"{path}: not a table of choices ({error})") from None
    try:
        content = parse_json(text)
        return [_flat(made) for made in content["choices"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UserError(f"{path}: not an export of a report's blind mode") from None


def _flat(made: dict) -> dict[str, object]:
    ratings = made.get("ratings") or (None, None)
    return {
        "id": made["id"], "listener": made.get("listener"), "choice": made["choice"],
        "left_system": made["left"]["system"], "left_sample": made["left"].get("sample"),
        "right_system": made["right"]["system"], "right_sample": made["right"].get("sample"),
        "left_rating": ratings[0], "right_rating": ratings[1],
    }  # fmt: skip


def _choice(path: Path, row: dict[str, object]) -> Choice:
    def words(key: str) -> str:
        return str(row.get(key) or "")

    answer, key = words("choice"), words("id")
    left, right = words("left_system"), words("right_system")
    if not (_is_answer(answer) and key and left and right):
        raise UserError(
            f"{path}: a row without id, left_system, right_system and a choice of left, right or "
            "tie; give the file that the report exported"
        )
    ratings = []
    for side in ("left_rating", "right_rating"):
        given = words(side)
        if given not in ("", "1", "2", "3", "4", "5"):
            raise UserError(f"{path}: {side} is {given!r}; ratings are 1 to 5 or empty")
        ratings.append(int(given) if given else None)
    samples = words("left_sample"), words("right_sample")
    # A session without a name is a listener of its own.
    listener = words("listener") or key.rpartition("-")[0] or key
    return Choice(key, listener, left, right, *samples, answer, *ratings)


def _is_answer(word: str) -> TypeGuard[Answer]:
    return word in ("left", "right", "tie")


def win_rates(choices: Sequence[Choice], seed: int = 0) -> list[WinRate]:
    """Win rates for each pair of systems, the names of a pair in alphabetical order.

    Args:
        choices: whose; those of a system with itself are left out.
        seed: of the draws of listeners.
    """
    pairs: dict[tuple[str, str], list[Choice]] = defaultdict(list)
    for choice in choices:
        if choice.left != choice.right:
            first, second = sorted((choice.left, choice.right))
            pairs[first, second].append(choice)
    ordered = sorted(pairs.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [_win_rate(names, made, seed) for names, made in ordered]


def _win_rate(names: tuple[str, str], made: Sequence[Choice], seed: int) -> WinRate:
    points: dict[str, list[float]] = defaultdict(list)
    for choice in made:
        side = {"left": choice.left, "right": choice.right, "tie": ""}[choice.answer]
        points[choice.listener].append({names[0]: 1.0, names[1]: 0.0}.get(side, 0.5))
    every = [point for each in points.values() for point in each]
    rate, count = sum(every) / len(every), len(every)
    low, high = wilson(rate, count)
    if len(points) >= _FEWEST_LISTENERS:
        sums = np.array([(sum(each), len(each)) for each in points.values()])  # (listeners, 2)
        rng = np.random.default_rng(seed)
        drawn = sums[rng.integers(len(sums), size=(_DRAWS, len(sums)))].sum(1)
        ends = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
        low, high = min(low, float(ends[0])), max(high, float(ends[1]))
    wins, ties = every.count(1.0), every.count(0.5)
    return WinRate(*names, wins, ties, count - wins - ties, rate, low, high, len(points))


def ratings_table(rates: Sequence[WinRate]) -> Table:
    """Win rates as a table for a report."""
    rows = [
        (
            f"{r.first} over {r.second}",
            f"{100 * r.rate:.0f}% ({100 * r.low:.0f} to {100 * r.high:.0f}%)",
            r.wins, r.ties, r.losses, r.listeners,
        )
        for r in rates
    ]  # fmt: skip
    columns = ("pair", "liked better", "wins", "ties", "losses", "listeners")
    return Table("Blind listening", columns, rows, "A tie is half a win; 95% intervals.")
