"""From window logits to a piece's p(jazz): which way is best on sources no model ever met?

    python -m experiments.recipes.calibration --corpus CORPUS --run RUN --run RUN --out FILE.json

Each run is a `gan pretrain-disc` that left sources out (`--exclude-sources`), and judges those
alone. A way of pooling and a calibration is fitted on all such sources but one and measured by
log-loss on that one, each in turn; classes and sources weigh evenly. Out comes a table, the
simplest way's scale and bias, and the band of "unsure" with its error rate, by source as well.

Letters: N pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import yaml
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json
from discriminator.calibration import (
    by_source,
    calibrate,
    even_weights,
    left_out,
    table,
    thresholds,
)
from discriminator.reading import windows
from gan.plain import PlainCommand

POOLING: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda z: float(z.mean()),
    "trimmed mean": lambda z: float(np.sort(z)[len(z) // 5 : len(z) - len(z) // 5].mean()),
    "median": lambda z: float(np.median(z)),
    "mean of tanh": lambda z: float(np.tanh(z).mean()),
    "mean of p": lambda z: float((1 / (1 + np.exp(-z))).mean()),
}
RESAMPLES = 2000


class Held(NamedTuple):
    """Pieces of sources held out: their windows' logits, labels (N,), sources (N,), tokens (N,)."""

    logits: list[np.ndarray]
    labels: np.ndarray
    sources: np.ndarray
    tokens: np.ndarray


# Fitted on features (N, F) with labels and weights, gives p(jazz) of other features.
Fitted = Callable[[np.ndarray], np.ndarray]


def platt(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Fitted:
    """Logistic regression on all features; on the pooled logit alone it is Platt scaling."""
    model = LogisticRegression(C=1e3, max_iter=1000).fit(x, y, weights)
    return lambda other: model.predict_proba(other)[:, 1]


def isotonic(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Fitted:
    """A rising step function of the pooled logit, kept off 0 and 1."""
    model = IsotonicRegression(y_min=0.01, y_max=0.99, out_of_bounds="clip")
    model.fit(x[:, 0], y, sample_weight=weights)
    return lambda other: model.predict(other[:, 0])


def features(held: Held, pooling: str, long: bool) -> np.ndarray:
    """(N, 1) pooled logits; with `long` (N, 2), the second grows with the count of windows.

    sigmoid(a z + b z log n + c) is a temperature that falls as a piece's windows n become many.
    """
    pooled = np.array([POOLING[pooling](z) for z in held.logits])
    if not long:
        return pooled[:, None]
    count = np.log([len(z) for z in held.logits])
    return np.stack([pooled, pooled * count], 1)


def log_losses(
    x: np.ndarray, held: Held, fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Fitted]
) -> tuple[np.ndarray, np.ndarray]:
    """p (N,) of each piece by a calibration that met none of its source, and log-losses (N,)."""
    p = np.zeros(len(x))
    for source in np.unique(held.sources):
        here = held.sources == source
        weights = even_weights(held.labels[~here], held.sources[~here])
        p[here] = fit(x[~here], held.labels[~here], weights)(x[here])
    p = p.clip(1e-6, 1 - 1e-6)
    return p, -np.log(np.where(held.labels == 1, p, 1 - p))


def interval(values: np.ndarray, held: Held, seed: int) -> tuple[float, float]:
    """95% of the even mean of values (N,), from drawing sources of each class with replacement."""
    rng = np.random.default_rng(seed)
    means = np.zeros(RESAMPLES)
    for label in (0, 1):
        chosen = held.labels == label
        names = np.unique(held.sources[chosen])
        each = np.array([values[chosen & (held.sources == name)].mean() for name in names])
        means += each[rng.integers(len(names), size=(RESAMPLES, len(names)))].mean(1) / 2
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def compared(held: Held, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each way: log-loss on left-out sources, and how much worse than the first."""
    weights = even_weights(held.labels, held.sources)
    rows: list[dict[str, Any]] = []
    base: np.ndarray | None = None
    ways = [(name, pooling, False, platt) for pooling in POOLING for name in [f"Platt, {pooling}"]]
    ways += [
        ("Platt, mean, by count", "mean", True, platt),
        ("isotonic, mean", "mean", False, isotonic),
    ]
    for name, pooling, long, fit in ways:
        p, losses = log_losses(features(held, pooling, long), held, fit)
        base = losses if base is None else base
        right = (p >= 0.5) == held.labels
        rows.append({
            "way": name,
            "log_loss": float(np.average(losses, weights=weights)),
            "more": float(np.average(losses - base, weights=weights)),
            "interval": interval(losses - base, held, seed),
            "brier": float(np.average((p - held.labels) ** 2, weights=weights)),
            "accuracy": float(np.average(right, weights=weights)),
        })  # fmt: skip
    return rows


def gather(corpus: Corpus, runs: Sequence[Path], most: int, seed: int) -> Held:
    """Window logits of at most `most` pieces of each source that a run left out.

    Raises:
        UserError: a run left no source of this corpus out.
    """
    from discriminator.classifier import Classifier  # torch: --help stays quick

    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[np.ndarray, int, int]]] = {}
    for run in runs:
        left = set(_excluded(run)) - set(found)
        left &= {row["source"] for row in corpus.rows}
        if not left:
            raise UserError(f"{run}: left no further source of this corpus out; nothing to judge")
        classifier = Classifier.load(run / "classifier")
        for source in sorted(left):
            numbers = [n for n, row in enumerate(corpus.rows) if row["source"] == source]
            drawn = np.sort(rng.permutation(numbers)[:most])
            for number in drawn.tolist():
                ids, label = corpus.piece(number), corpus.rows[number]["label"]
                cut = windows(np.asarray(ids), classifier.settings.window)
                logits = classifier.logits(cut)
                if label in ("jazz", "not_jazz") and np.isfinite(logits).all():
                    found.setdefault(source, []).append((logits, label == "jazz", len(ids)))
    flat = [(source, *piece) for source, pieces in found.items() for piece in pieces]
    return Held(
        [piece[1] for piece in flat],
        np.array([piece[2] for piece in flat], dtype=np.int64),
        np.array([piece[0] for piece in flat]),
        np.array([piece[3] for piece in flat]),
    )


def _excluded(run: Path) -> list[str]:
    record = run / "settings.yaml"
    if not record.is_file():
        raise UserError(f"{run}: no settings.yaml; give a run of 'gan pretrain-disc'")
    return list(yaml.safe_load(record.read_text(encoding="utf-8")).get("exclude_sources", ()))


def ways_table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| way | log-loss | more than the first | 95% | Brier | accuracy |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["interval"]
        lines.append(
            f"| {row['way']} | {row['log_loss']:.4f} | {row['more']:+.4f} "
            f"| {low:+.4f} to {high:+.4f} | {row['brier']:.4f} | {row['accuracy']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def save_held(path: Path, held: Held) -> None:
    """Window logits as a .npz, so that a second look needs no model."""
    np.savez_compressed(
        path, logits=np.concatenate(held.logits), count=[len(z) for z in held.logits],
        labels=held.labels, sources=held.sources, tokens=held.tokens,
    )  # fmt: skip


def load_held(path: Path) -> Held:
    """What `save_held` wrote."""
    with np.load(path) as found:
        logits = np.split(found["logits"], np.cumsum(found["count"])[:-1])
        return Held(logits, found["labels"], found["sources"], found["tokens"])


@click.command(cls=PlainCommand)
@click.option("--corpus", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--run", "runs", type=click.Path(exists=True, path_type=Path), multiple=True,
              required=True, help="A pretrain-disc run that left sources out.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .json file.")
@click.option("--most", default=150, show_default=True, help="Pieces of a source at most.")
@click.option("--skip", multiple=True, help="Sources not judged though left out.")
@click.option("--error", default=0.05, show_default=True, help="Of each sure verdict.")
@click.option("--seed", default=0, show_default=True)
def main(
    corpus: Path, runs: tuple[Path, ...], out: Path, most: int, skip: tuple[str, ...],
    error: float, seed: int,
) -> None:  # fmt: skip
    """Ways to a piece's p(jazz), compared on held-out sources; scale, bias and thresholds."""
    logits = out.with_suffix(".npz")
    if not logits.is_file():
        save_held(logits, gather(Corpus(corpus), runs, most, seed))
    held = load_held(logits)
    kept = ~np.isin(held.sources, skip)
    held = Held([z for z, keep in zip(held.logits, kept, strict=True) if keep],
                held.labels[kept], held.sources[kept], held.tokens[kept])  # fmt: skip
    ways = compared(held, seed)
    pooled = features(held, "mean", False)
    scale, bias = calibrate(pooled[:, 0], held.labels, held.sources)
    p, _ = log_losses(pooled, held, platt)
    band = thresholds(p, held.labels, held.sources, error, seed=seed)
    rows = by_source(p, held.labels, held.sources, band.low, band.high)
    outside = left_out(p, held.labels, held.sources, error, seed=seed)
    write_json(out, {
        "pieces": len(p), "ways": ways, "scale": scale, "bias": bias, "thresholds": band.as_dict(),
        "by_source": [asdict(row) for row in rows], "left_out": [asdict(row) for row in outside],
    })  # fmt: skip
    click.echo(ways_table(ways))
    click.echo(f"scale {scale:.4f}, bias {bias:.4f}; {band}\n")
    click.echo("Band chosen on all sources:\n\n" + table(rows))
    click.echo("Band chosen on the other sources:\n\n" + table(outside))


if __name__ == "__main__":
    main()
