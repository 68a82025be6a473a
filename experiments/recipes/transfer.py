"""What transfers to music from elsewhere: every model and view, with sources and artists left out.

    python -m experiments.recipes.transfer --corpus CORPUS --work runs/transfer \\
        --out experiments/results/transfer.json

Each model is trained without some sources (`one`: without a single source, for each in turn;
`folds`: six times without a few unlike sources, stricter and cheaper) and without a fifth of the
works and artists of the others. It then ranks the pieces of each source left out; a source of one
label is ranked against the left-out works of the other label. What is done is kept in --work, so a
run that was stopped goes on. Hours for everything on two cores; --models takes a part.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json
from data_tools.settings import NeutraliseSettings
from discriminator.calibration import calibrate, even_weights, left_out, thresholds
from discriminator.intervals import LeftOut, left_out_auc
from discriminator.metrics import calibration_error
from discriminator.settings import CNNSettings, StatisticsSettings, TransformerSettings
from experiments.recipes import transfer_fits as fits
from gan.engine import derived_seed
from gan.settings import PretrainSettings

SMALLEST = 30  # pieces of a source that is left out in turn
PARTS = 5  # of the works and artists, one left out
# Sources of one fold are unlike each other, so that leaving all out starves nobody of its kin.
FOLDS: tuple[tuple[str, ...], ...] = (
    ("stem-midkar", "stanford-rolls", "nottingham"),
    ("midkar-archive", "leadsheet-chordmelody", "fanhongtao-classical", "vgmidi"),
    ("joplin-kern", "leadsheet-openewld", "pop909", "stem-mckenzie"),
    ("mckenzie", "wildwest", "asap", "bimmuda"),
    ("wjazzd", "justpiano", "jsbach-net", "vgmidi-unlabelled", "stem-misc-jazz"),
    ("pijama", "pianocore-scores", "midkar-archive-hist"),
)  # fmt: skip

_HEARD = NeutraliseSettings(neutral_share=0.4)
_STATISTICS = PretrainSettings(
    model=StatisticsSettings(), steps=1500, batch=256, shortest=96, window=4096,
    learning_rate=2e-3, warmup=50, average=0.99, neutralise=_HEARD,
)  # fmt: skip
_NETWORK = PretrainSettings(
    model=CNNSettings(), steps=400, batch=32, shortest=128, window=1024,
    learning_rate=2e-3, warmup=40, average=0.98, neutralise=_HEARD,
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A line of the table.

    Attributes:
        how: boosted trees on features, a perceptron on kept statistics, or a network on crops.
        protocol: sources left out one at a time, or in folds.
        settings: of training, where it has any.
        least: tokens of the shortest crop a perceptron learns from.
    """

    how: Literal["features", "statistics", "network"]
    protocol: Literal["one", "folds"]
    settings: PretrainSettings = _STATISTICS
    least: int = 0


def _statistics(
    view: Any = "harmony", protocol: Literal["one", "folds"] = "folds", least: int = 384,
    **changes: Any,
) -> Model:  # fmt: skip
    model = StatisticsSettings(view=view, **changes)
    return Model("statistics", protocol, _STATISTICS.model_copy(update={"model": model}), least)


def _network(
    model: Any, protocol: Literal["one", "folds"] = "folds", hide: tuple[str, ...] = ()
) -> Model:
    return Model("network", protocol, _NETWORK.model_copy(update={"model": model, "hide": hide}))


_CNN = CNNSettings(view="harmony", blocks=4)
# One source at a time: the baseline and what is shipped. In folds: what is compared with it.
MODELS = {
    "features + boosted trees": Model("features", "one"),
    "statistics of harmony": _statistics(protocol="one"),
    "statistics of harmony, deep": _statistics(protocol="one", width=384, layers=2, dropout=0.4),
    "CNN on harmony": _network(_CNN, "one"),
    "statistics of harmony (folds)": _statistics(),
    "statistics of harmony and time": _statistics("rhythm"),
    "statistics of harmony, time, velocity": _statistics("touch"),
    "statistics of harmony, crops from 96 tokens": _statistics(least=0),
    "CNN on harmony (folds)": _network(_CNN),
    "CNN on harmony and time": _network(_CNN.model_copy(update={"view": "rhythm"})),
    "CNN on tokens": _network(CNNSettings()),
    "CNN on tokens but velocity, length": _network(CNNSettings(), hide=("velocity", "duration")),
    "CNN on pitches and new chords": _network(
        CNNSettings(), hide=("velocity", "duration", "time_shift")
    ),
    "conv-transformer on harmony": _network(TransformerSettings(view="harmony")),
    "transformer on harmony": _network(TransformerSettings(view="harmony", stride=1, layers=3)),
}
_MEMBERS = ("statistics of harmony", "statistics of harmony, deep", "CNN on harmony")
ENSEMBLES = {
    "ensemble of three": _MEMBERS,
    "ensemble of three and boosted trees": (*_MEMBERS, "features + boosted trees"),
}
SHIPPED = "ensemble of three"


@click.command()
@click.option("--corpus", "folder", required=True, type=Path, help="From 'gan data build'.")
@click.option("--work", required=True, type=Path, help="Where finished fits are kept.")
@click.option("--out", type=Path, help="The table as JSON, and beside it as markdown.")
@click.option("--models", multiple=True, help="Names of the table's lines; all where none given.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--error",
    type=float,
    default=0.1,
    show_default=True,
    help="Largest share of wrong ones among the ensemble's sure verdicts.",
)
def main(
    folder: Path, work: Path, out: Path | None, models: tuple[str, ...], seeds: int, error: float
) -> None:
    """Fits what is missing, then writes the table of all that is there."""
    corpus = Corpus(folder)
    work.mkdir(parents=True, exist_ok=True)
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise UserError(f"--models '{unknown[0]}': there are {', '.join(MODELS)}")
    for seed in range(seeds):
        for name in models or MODELS:
            for left in plan(corpus, MODELS[name].protocol):
                if not (file := _file(work, name, seed, left)).is_file():
                    _fit(corpus, work, name, seed, left, file)
                    click.echo(f"{name}, seed {seed}: without {', '.join(left)}")
    if out:
        rows = table(corpus, work, seeds)
        facts: dict[str, Any] = {"seeds": seeds, "rows": rows}
        if any(row["model"] == SHIPPED for row in rows):
            facts["calibration"] = calibration(corpus, work, ENSEMBLES[SHIPPED], seeds, error)
        write_json(out, facts)
        out.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
        click.echo(markdown(rows))


def plan(corpus: Corpus, protocol: str) -> list[tuple[str, ...]]:
    """The sources left out together, in turn."""
    counts: dict[str, int] = {}
    for row in corpus.rows:
        counts[row["source"]] = counts.get(row["source"], 0) + 1
    if protocol == "one":
        return [(source,) for source in sorted(counts) if counts[source] >= SMALLEST]
    named = [tuple(source for source in fold if source in counts) for fold in FOLDS]
    rest = tuple(sorted(set(counts) - {source for fold in FOLDS for source in fold}))
    return [fold for fold in (*named, rest) if fold]


def parts(
    corpus: Corpus, left: tuple[str, ...], seed: int
) -> tuple[list[int], list[int], list[int]]:
    """Numbers of the pieces to train on, of left-out works and artists, of left-out sources."""
    train, works, sources = [], [], []
    for number, row in enumerate(corpus.rows):
        if row["label"] not in ("jazz", "not_jazz"):
            continue
        if row["source"] in left:
            sources.append(number)
        elif derived_seed("part", row["group"]) % PARTS == seed % PARTS:
            works.append(number)
        else:
            train.append(number)
    return train, works, sources


def _fit(
    corpus: Corpus, work: Path, name: str, seed: int, left: tuple[str, ...], file: Path
) -> None:
    model = MODELS[name]
    train, works, sources = parts(corpus, left, seed)
    settings = model.settings.model_copy(update={"seed": seed})
    if model.how == "features":
        judge = fits.boosted(corpus, train, fits.kept_features(corpus, work / "features.npy"), seed)
    elif model.how == "statistics":
        assert isinstance(settings.model, StatisticsSettings)
        view = settings.model.view
        kept = _kept(corpus, view, work)
        judge = fits.perceptron(corpus, train, settings, kept, model.least)
    else:
        judge = fits.network(corpus, train, settings)
    numbers = np.array(works + sources)
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, numbers=numbers, logits=judge(numbers.tolist()))
    temporary.replace(file)


_open: dict[str, fits.Kept] = {}


def _kept(corpus: Corpus, view: str, work: Path) -> fits.Kept:
    if view not in _open:
        _open.clear()  # one at a time: each is a quarter of a gigabyte
        _open[view] = fits.kept_statistics(corpus, view, _STATISTICS, work / f"{view}.npz")
    return _open[view]


def _file(work: Path, name: str, seed: int, left: tuple[str, ...]) -> Path:
    return work / f"{name} - {seed} - {'+'.join(left)}.npz"


def table(corpus: Corpus, work: Path, seeds: int) -> list[dict[str, Any]]:
    """A row for every model and ensemble, over the first seeds whose fits are all there."""
    rows = []
    for name, members in {**{name: (name,) for name in MODELS}, **ENSEMBLES}.items():
        protocol = MODELS[members[0]].protocol
        lefts = plan(corpus, protocol)
        whole = 0
        while whole < seeds and all(
            _file(work, one, whole, left).is_file() for one in members for left in lefts
        ):
            whole += 1
        if whole:
            rows.append(_row(corpus, work, name, members, whole, lefts, protocol))
    return rows


def _row(
    corpus: Corpus, work: Path, name: str, members: tuple[str, ...], seeds: int,
    lefts: list[tuple[str, ...]], protocol: str,
) -> dict[str, Any]:  # fmt: skip
    labels = np.array([row["label"] == "jazz" for row in corpus.rows], dtype=np.int64)
    source = np.array([row["source"] for row in corpus.rows])
    group = np.array([row["group"] for row in corpus.rows])
    sources, artists, precision, errors = [], [], [], []
    for seed in range(seeds):
        for left in lefts:
            numbers, logits = _logits(work, members, seed, left, labels, source)
            inside = ~np.isin(source[numbers], left)
            known = numbers[inside]
            artists.append(
                LeftOut("/".join(left), seed, labels[known], logits[inside], group[known])
            )
            for one in left:
                here = source[numbers] == one
                if here.sum() < SMALLEST:
                    continue
                mine = labels[numbers[here]]
                if mine.min() == mine.max():
                    here |= inside & (labels[numbers] != mine[0])
                sources.append(
                    LeftOut(one, seed, labels[numbers[here]], logits[here], group[numbers[here]])
                )
                precision.append(_average_precision(labels[numbers[here]], logits[here]))
                p = 1 / (1 + np.exp(-logits[source[numbers] == one]))
                errors.append(calibration_error(mine, p))
    found = [left_out_auc([one for one in sources if one.seed == s]) for s in range(seeds)]
    means = [one.mean.value for one in found]
    by_seed = [asdict(one.mean) for one in found]
    by_source = {
        name: [round(one.sources[name].value, 4) for one in found] for name in found[0].sources
    }
    return {
        "model": name,
        "protocol": protocol,
        "seeds": seeds,
        "left_out_sources": float(np.mean(means)),
        "interval": [min(one["low"] for one in by_seed), max(one["high"] for one in by_seed)],
        "further_interval": [float(np.mean([one.further.low for one in found])),
                             float(np.mean([one.further.high for one in found]))],
        "by_seed": by_seed,
        "by_source": by_source,
        "average_precision": float(np.mean(precision)),
        "calibration_error": float(np.mean(errors)),
        "left_out_artists": [
            float(np.mean([_auc(one) for one in artists if one.seed == s])) for s in range(seeds)
        ],
    }  # fmt: skip


def _logits(
    work: Path, members: tuple[str, ...], seed: int, left: tuple[str, ...],
    labels: np.ndarray, source: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Numbers (N,) and mean calibrated logits (N,): calibrated on left-out works and artists."""
    total: np.ndarray | float = 0.0
    numbers = np.zeros(0, dtype=np.int64)
    for name in members:
        with np.load(_file(work, name, seed, left)) as kept:
            numbers, logits = kept["numbers"], np.nan_to_num(kept["logits"])
        known = ~np.isin(source[numbers], left)
        scale, bias = calibrate(logits[known], labels[numbers[known]], source[numbers[known]])
        total = total + scale * logits + bias
    return numbers, np.asarray(total) / len(members)


def calibration(
    corpus: Corpus, work: Path, members: tuple[str, ...], seeds: int, error: float
) -> dict[str, Any]:
    """What turns an ensemble's logits into p and verdicts, learnt from sources it never met.

    A piece counts once, by its mean logit over the seeds. The rates by source are those of a band
    that the source had no part in choosing.
    """
    labels = np.array([row["label"] == "jazz" for row in corpus.rows], dtype=np.int64)
    source = np.array([row["source"] for row in corpus.rows])
    total = np.zeros(len(labels))
    lefts = plan(corpus, MODELS[members[0]].protocol)
    for left in lefts:
        for seed in range(seeds):
            numbers, logits = _logits(work, members, seed, left, labels, source)
            here = np.isin(source[numbers], left)
            total[numbers[here]] += logits[here] / seeds
    chosen = np.isin(source, [one for left in lefts for one in left])
    z, y, names = total[chosen], labels[chosen], source[chosen].tolist()
    scale, bias = calibrate(z, y, names)
    p = 1 / (1 + np.exp(-(scale * z + bias)))
    band = thresholds(p, y, names, error)
    return {
        "model": SHIPPED,
        "scale": scale,
        "bias": bias,
        "low": band.low,
        "high": band.high,
        "thresholds": band.as_dict(),
        "by_source": [asdict(row) for row in left_out(p, y, names, error)],
    }


def _auc(one: LeftOut) -> float:
    from data_tools.audit.ranking import auc

    return float(auc(one.scores, one.labels.astype(bool)))


def _average_precision(labels: np.ndarray, logits: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    # Both labels weigh the same, or the figure would say how many there are of each.
    weight = even_weights(labels, np.zeros(len(labels), dtype=str))
    return float(average_precision_score(labels, logits, sample_weight=weight))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, and below it each source."""
    lines = [
        "| model | left out | seeds | sources: AUC | 95% | average precision | calibration error "
        "| artists and works: AUC |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        low, high = row["interval"]
        lines.append(
            f"| {row['model']} | {row['protocol']} | {row['seeds']} "
            f"| {row['left_out_sources']:.4f} | {low:.3f} to {high:.3f} "
            f"| {row['average_precision']:.3f} | {row['calibration_error']:.3f} "
            f"| {np.mean(row['left_out_artists']):.4f} |"
        )
    if rows:
        names = list(rows[0]["by_source"])
        lines += ["", "| source | " + " | ".join(row["model"] for row in rows) + " |"]
        lines.append("|---|" + "---:|" * len(rows))
        for name in names:
            cells = (f"{np.mean(row['by_source'].get(name, [np.nan])):.3f}" for row in rows)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
