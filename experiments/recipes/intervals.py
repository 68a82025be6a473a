"""Do the intervals of an evaluation hold what they say they hold?

    python -m experiments.recipes.intervals --corpus CORPUS --out intervals.json

Many sets of other real jazz are measured against one real set; within a round no piece is in two of
them. Of each figure: its mean over the sets, how far the sets lie apart (standard deviation), what
the jackknife says of that from one set alone, and in what share of sets its interval holds the
mean. And of bits a note, and of the two shipped generators' difference: in what share of sets of
works the interval holds what all works have.
"""

from pathlib import Path

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json
from gan.engine import engine
from gan.evaluation.comparison import Bits, cost, per_note
from gan.evaluation.confidence import GROUPS, student
from gan.evaluation.distances import Interval
from gan.evaluation.summary import jackknifed
from gan.plain import PlainCommand
from gan.run import generator_of
from generator.compose import Composer

BITS = ("bits a note", "bits a note, adv less ce")


def excerpts(corpus: Corpus, split: str, length: int) -> list[np.ndarray]:
    """The beginnings of a split's jazz pieces, as long as this, in a random order."""
    pieces = [corpus.piece(number)[:length].astype(int) for number in corpus.select(split, "jazz")]
    pieces = [piece for piece in pieces if len(piece) == length]
    return [pieces[place] for place in np.random.default_rng(0).permutation(len(pieces))]


def drawn(pieces: list[np.ndarray], sets: int, size: int, seed: int) -> list[list[np.ndarray]]:
    """So many sets, no piece in two of them."""
    order = np.random.default_rng(seed).permutation(len(pieces))[: sets * size]
    return [[pieces[place] for place in places] for places in order.reshape(sets, size)]


def held(sets: list[dict[str, Interval]], size: int) -> dict[str, dict[str, float]]:
    """By figure: mean, spread, the spread that one set tells on average, and the share held."""
    result = {}
    for name in sets[0]:
        rows = np.array([(one[name].value, one[name].low, one[name].high) for one in sets])
        if not np.isfinite(rows).all():
            continue
        value, low, high = rows.T
        mean = value.mean()
        result[name] = {
            "mean": round(float(mean), 4),
            "spread": round(float(value.std(ddof=1)), 4),
            "told": round(float((high - low).mean() / 2 / student(min(size, GROUPS))), 4),
            "held": round(float(((low <= mean) & (mean <= high)).mean()), 3),
        }
    return result


def of_works(first: Bits, second: Bits, size: int, sets: int) -> dict[str, dict[str, float]]:
    """The share of sets of `size` works whose intervals hold the bits a note of all works.

    Works are drawn with replacement, for all works stand for those there might be: drawn once each,
    sets of a third of them would lie nearer to all of them than an interval expects.
    """
    rng, found = np.random.default_rng(size), []
    for _ in range(sets):
        some = np.sort(rng.integers(len(first.works), size=size))
        one, two = (Bits(("",) * size, each.sums[some]) for each in (first, second))
        found.append((per_note(one), per_note(two, one)))
    result = {}
    truth = per_note(first).value, per_note(second, first).value
    for name, true, each in zip(BITS, truth, zip(*found, strict=True), strict=True):
        result[f"{name}, {size} works"] = {
            "mean": round(true, 4),
            "width": round(float(np.mean([one.high - one.low for one in each])), 4),
            "held": round(float(np.mean([one.low <= true <= one.high for one in each])), 3),
        }
    return result


@click.command(cls=PlainCommand)
@click.option("--corpus", "where", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--sets", default=50, show_default=True, help="A round.", type=click.IntRange(2))
@click.option("--size", default=48, show_default=True, help="Pieces a set.")
@click.option("--real", default=64, show_default=True, help="Pieces of the real set.")
@click.option("--length", default=512, show_default=True, help="Tokens a piece.")
@click.option("--out", required=True, type=Path, help="A JSON file.")
def main(where: Path, rounds: int, sets: int, size: int, real: int, length: int, out: Path) -> None:
    """Measure how often intervals over pieces hold the mean of many sets of real jazz."""
    corpus = Corpus(where)
    true, others = (excerpts(corpus, split, length) for split in ("test", "train"))
    if len(true) < real or len(others) < sets * size:
        raise UserError(f"{where}: {len(true)} and {len(others)} pieces; ask for fewer or smaller")
    found = [
        jackknifed(pieces, true[:real], corpus.representation)
        for seed in range(rounds)
        for pieces in drawn(others, sets, size, seed)
    ]
    result = held(found, size)
    numbers = [n for split in ("validation", "test") for n in corpus.select(split, "jazz")]
    compute = engine("cpu", "fp32")
    one, two = (
        cost(Composer.load(generator_of(name)), corpus, numbers, compute, 4 * len(numbers))
        for name in ("ce", "adv")
    )
    for works in (size for size in (12, 48) if 2 * size <= len(one.works)):
        result |= of_works(one, two, works, rounds * sets)
    for name, row in result.items():
        click.echo(f"{name:34} mean {row['mean']:10.4f}  held {row['held']:.3f}")
    write_json(
        out, {"rounds": rounds, "sets": sets, "size": size, "real": real, "length": length} | result
    )


if __name__ == "__main__":
    main()
