"""Do the intervals of an evaluation hold what they say they hold?

    python -m experiments.recipes.intervals --corpus CORPUS --out intervals.json

Many sets of other real jazz are measured against one real set; within a round no piece is in two of
them. Of each figure: its mean over the sets, how far the sets lie apart (standard deviation), what
the jackknife says of that from one set alone, and in what share of sets its interval holds the
mean.
"""

from pathlib import Path

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json
from gan.evaluation.confidence import Z
from gan.evaluation.distances import Interval
from gan.evaluation.summary import jackknifed
from gan.plain import PlainCommand


def excerpts(corpus: Corpus, split: str, length: int) -> list[np.ndarray]:
    """The beginnings of a split's jazz pieces, as long as this, in a random order."""
    pieces = [corpus.piece(number)[:length].astype(int) for number in corpus.select(split, "jazz")]
    pieces = [piece for piece in pieces if len(piece) == length]
    return [pieces[place] for place in np.random.default_rng(0).permutation(len(pieces))]


def drawn(pieces: list[np.ndarray], sets: int, size: int, seed: int) -> list[list[np.ndarray]]:
    """So many sets, no piece in two of them."""
    order = np.random.default_rng(seed).permutation(len(pieces))[: sets * size]
    return [[pieces[place] for place in places] for places in order.reshape(sets, size)]


def held(sets: list[dict[str, Interval]]) -> dict[str, dict[str, float]]:
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
            "told": round(float((high - low).mean() / 2 / Z), 4),
            "held": round(float(((low <= mean) & (mean <= high)).mean()), 3),
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
    result = held(found)
    for name, row in result.items():
        click.echo(f"{name:34} mean {row['mean']:10.4f}  held {row['held']:.3f}")
    write_json(
        out, {"rounds": rounds, "sets": sets, "size": size, "real": real, "length": length} | result
    )


if __name__ == "__main__":
    main()
