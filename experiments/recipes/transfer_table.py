"""From the fits' logits to the transfer table: areas, intervals, calibration; JSON and markdown.

Every model is first put on one scale by Platt scaling on the left-out works and artists, so that an
ensemble is the mean of calibrated logits.
"""

from dataclasses import asdict
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.audit.ranking import auc
from data_tools.corpus import Corpus
from discriminator.calibration import calibrate, even_weights, left_out, thresholds
from discriminator.ensemble import MUSIC_ODDS
from discriminator.intervals import LeftOut, left_out_auc, left_out_differences
from discriminator.metrics import calibration_error
from experiments.recipes.transfer_models import (
    BASELINES,
    ENSEMBLES,
    MODELS,
    SHIPPED,
    SMALLEST,
    plan,
)


def result_file(work: Path, name: str, seed: int, left: tuple[str, ...]) -> Path:
    """Where a fit's logits are kept."""
    return work / f"{name} - {seed} - {'+'.join(left)}.npz"


def table(corpus: Corpus, work: Path, seeds: int, first: int = 0) -> list[dict[str, Any]]:
    """A row for every model and ensemble, over the seeds from `first` on whose fits are there."""
    rows = []
    alone = {name: (name,) for name, model in MODELS.items() if model.how != "gate"}
    for name, members in {**alone, **ENSEMBLES}.items():
        protocol = MODELS[members[0]].protocol
        lefts = plan(corpus, protocol)
        whole = 0
        while whole < seeds and all(
            result_file(work, one, first + whole, left).is_file()
            for one in members
            for left in lefts
        ):
            whole += 1
        if whole:
            found = range(first, first + whole)
            rows.append(_row(corpus, work, name, members, found, lefts, protocol))
    return rows


def joined(old: dict[str, Any], rows: list[dict[str, Any]], first: int) -> dict[str, Any]:
    """A row with the seeds that another of its name adds from `first` on; itself without any."""
    new = next((row for row in rows if row["model"] == old["model"]), None)
    if new is None or old["seeds"] != first:
        return old
    seeds = old["seeds"] + new["seeds"]

    def mean(key: str) -> float:
        return (old[key] * old["seeds"] + new[key] * new["seeds"]) / seeds

    intervals = [(old["further_interval"], old["seeds"]), (new["further_interval"], new["seeds"])]
    return old | {
        "seeds": seeds,
        "left_out_sources": mean("left_out_sources"),
        "interval": [
            min(old["interval"][0], new["interval"][0]),
            max(old["interval"][1], new["interval"][1]),
        ],
        "further_interval": [
            sum(bounds[end] * count for bounds, count in intervals) / seeds for end in (0, 1)
        ],
        "by_seed": old["by_seed"] + new["by_seed"],
        "by_source": {name: old["by_source"][name] + new["by_source"][name]
                      for name in old["by_source"]},
        "average_precision": mean("average_precision"),
        "calibration_error": mean("calibration_error"),
        "left_out_artists": old["left_out_artists"] + new["left_out_artists"],
    }  # fmt: skip


def _row(
    corpus: Corpus, work: Path, name: str, members: tuple[str, ...], seeds: range,
    lefts: list[tuple[str, ...]], protocol: str,
) -> dict[str, Any]:  # fmt: skip
    labels = np.array([row["label"] == "jazz" for row in corpus.rows], dtype=np.int64)
    source = np.array([row["source"] for row in corpus.rows])
    group = np.array([row["group"] for row in corpus.rows])
    sources, artists, precision, errors = [], [], [], []
    for seed in seeds:
        met: list[tuple[np.ndarray, np.ndarray]] = []
        for left in lefts:
            numbers, logits = _logits(work, members, seed, left, labels, source)
            inside = ~np.isin(source[numbers], left)
            known = numbers[inside]
            artists.append(
                LeftOut("/".join(left), seed, labels[known], logits[inside], group[known])
            )
            met.append((numbers[~inside], logits[~inside]))
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
        pieces, z = (np.concatenate(part) for part in zip(*met, strict=True))
        even = even_weights(labels[pieces], source[pieces])
        errors.append(calibration_error(labels[pieces], 1 / (1 + np.exp(-z)), weights=even))
    found = [left_out_auc([one for one in sources if one.seed == s]) for s in seeds]
    means = [one.mean.value for one in found]
    by_seed = [asdict(one.mean) for one in found]
    by_source = {
        name: [round(one.sources[name].value, 4) for one in found] for name in found[0].sources
    }
    return {
        "model": name,
        "protocol": protocol,
        "seeds": len(seeds),
        "left_out_sources": float(np.mean(means)),
        "interval": [min(one["low"] for one in by_seed), max(one["high"] for one in by_seed)],
        "further_interval": [float(np.mean([one.further.low for one in found])),
                             float(np.mean([one.further.high for one in found]))],
        "by_seed": by_seed,
        "by_source": by_source,
        "average_precision": float(np.mean(precision)),
        "calibration_error": float(np.mean(errors)),
        "left_out_artists": [
            float(np.mean([_auc(one) for one in artists if one.seed == s])) for s in seeds
        ],
    }  # fmt: skip


def _logits(
    work: Path, members: tuple[str, ...], seed: int, left: tuple[str, ...],
    labels: np.ndarray, source: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Numbers (N,) and mean calibrated logits (N,): calibrated on left-out works and artists.

    What a gate says of being music comes calibrated, and is joined to them as an ensemble's is.
    """
    total: np.ndarray | float = 0.0
    music: np.ndarray | None = None
    numbers = np.zeros(0, dtype=np.int64)
    for name in members:
        with np.load(result_file(work, name, seed, left)) as kept:
            numbers, logits = kept["numbers"], kept["logits"]
        if MODELS[name].how == "gate":
            music = logits + np.log(MUSIC_ODDS)
            continue
        whole = np.isfinite(logits)
        known = whole & ~np.isin(source[numbers], left)
        scale, bias = calibrate(logits[known], labels[numbers[known]], source[numbers[known]])
        total = total + scale * logits + bias
    mean = np.asarray(total) / (len(members) - (music is not None))
    if music is not None:
        mean = -np.logaddexp(np.logaddexp(-mean, -music), -mean - music)
    judged = np.isfinite(mean)  # too short for one member, too short for all
    return numbers[judged], mean[judged]


def against_baselines(
    corpus: Corpus, work: Path, members: tuple[str, ...], seeds: int
) -> list[dict[str, Any]]:
    """By how much an ensemble's areas exceed the baselines', on sources that hold both labels.

    Over the pieces that both judge, and the seeds whose fits are there.
    """
    labels = np.array([row["label"] == "jazz" for row in corpus.rows], dtype=np.int64)
    source = np.array([row["source"] for row in corpus.rows])
    group = np.array([row["group"] for row in corpus.rows])
    rows = []
    for name, left in product(BASELINES, plan(corpus, "one")):
        said = []  # (numbers, logits) of the ensemble and of the baseline, seed by seed
        for seed in range(seeds):
            if not all(result_file(work, one, seed, left).is_file() for one in (*members, name)):
                break
            said += [_logits(work, each, seed, left, labels, source) for each in (members, (name,))]
        if not said:
            continue
        common = reduce(np.intersect1d, (numbers for numbers, _ in said))
        common = common[source[common] == left[0]]
        ranked = [
            LeftOut(
                left[0], place // 2, labels[common],
                logits[np.intersect1d(common, numbers, return_indices=True)[2]], group[common],
            )
            for place, (numbers, logits) in enumerate(said)
        ]  # fmt: skip
        if len(set(labels[common])) < 2:
            continue
        (gap,) = left_out_differences(ranked[::2], ranked[1::2]).values()
        rows.append({
            "source": left[0], "baseline": name, "seeds": len(ranked) // 2,
            "pieces": len(common), "jazz": int(labels[common].sum()),
        } | asdict(gap))  # fmt: skip
    return rows


def calibration(
    corpus: Corpus, work: Path, members: tuple[str, ...], seeds: int, error: float
) -> dict[str, Any]:
    """What turns an ensemble's logits into p and verdicts, learnt from sources it never met.

    A piece counts once, by its mean logit over the seeds. The rates by source are those of a band
    that the source had no part in choosing; in scale and bias it had one.
    """
    labels = np.array([row["label"] == "jazz" for row in corpus.rows], dtype=np.int64)
    source = np.array([row["source"] for row in corpus.rows])
    total, seen = np.zeros(len(labels)), np.zeros(len(labels), dtype=bool)
    lefts = plan(corpus, MODELS[members[0]].protocol)
    for left in lefts:
        for seed in range(seeds):
            numbers, logits = _logits(work, members, seed, left, labels, source)
            here = np.isin(source[numbers], left)
            total[numbers[here]] += logits[here] / seeds
            seen[numbers[here]] = True
    # Not the test split's: its figures are to be those of pieces that had no part in anything.
    chosen = seen & np.array([row["split"] != "test" for row in corpus.rows])
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
    return float(auc(one.scores, one.labels.astype(bool)))


def _average_precision(labels: np.ndarray, logits: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    # Both labels weigh the same, or the figure would say how many there are of each.
    weight = even_weights(labels, np.zeros(len(labels), dtype=str))
    return float(average_precision_score(labels, logits, sample_weight=weight))


def markdown(rows: list[dict[str, Any]], against: list[dict[str, Any]] | None = None) -> str:
    """The table, below it each source, and by how much baselines are beaten, or not.

    Rows of fewer seeds than the others stand apart: seeds differ, so they only compare with
    each other.
    """
    most = max((row["seeds"] for row in rows), default=0)
    lines = _summary([row for row in rows if row["seeds"] == most])
    if fewer := [row for row in rows if row["seeds"] < most]:
        lines += ["", f"Steps on the way, fewer seeds than {most}:", "", *_summary(fewer)]
    if rows:
        names = list(rows[0]["by_source"])
        lines += ["", "| source | " + " | ".join(row["model"] for row in rows) + " |"]
        lines.append("|---|" + "---:|" * len(rows))
        for name in names:
            cells = (f"{np.mean(row['by_source'].get(name, [np.nan])):.3f}" for row in rows)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if against:
        lines += [
            "",
            "| source of both labels | pieces (jazz) | shipped ensemble above | seeds | by | 95% |",
            "|---|---:|---|---:|---:|---:|",
        ]  # fmt: skip
        lines += [
            f"| {row['source']} | {row['pieces']} ({row['jazz']}) | {row['baseline']} "
            f"| {row['seeds']} | {row['value']:+.4f} | {row['low']:+.3f} to {row['high']:+.3f} |"
            for row in against
        ]
    return "\n".join(lines) + "\n"


def _summary(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| model | left out | seeds | sources: AUC | 95% | average precision | calibration error "
        "| artists and works: AUC | of the seeds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        (low, high), artists = row["interval"], row["left_out_artists"]
        lines.append(
            f"| {row['model']} | {row['protocol']} | {row['seeds']} "
            f"| {row['left_out_sources']:.4f} | {low:.3f} to {high:.3f} "
            f"| {row['average_precision']:.3f} | {row['calibration_error']:.3f} "
            f"| {np.mean(artists):.4f} | {min(artists):.3f} to {max(artists):.3f} |"
        )
    return lines
