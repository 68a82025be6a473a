"""The table of the adversarial experiment: every arm before the judges.

    python -m experiments.recipes.adversarial_table --corpus CORPUS --runs runs/adversarial \\
        --bases RUNS --out experiments/results/adversarial

Judges of harmony, of rhythm and of the piano roll apart; bits a note, variety, distances from real
jazz, what is copied, what is degenerate. Intervals are bootstrapped over seeds and pieces. The gap
is that between cross-entropy's and real held-out jazz's share of pieces called jazz.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.files import write_json, write_text
from data_tools.representation import EOS
from experiments.recipes.adversarial_arms import ARMS, LENGTH, Arm
from experiments.recipes.thin import thin_sources
from gan.adversarial import guards, rewards
from gan.evaluation.comparison import LOOPS
from gan.evaluation.distances import Interval, interval
from gan.evaluation.judging import JUDGES, Judges
from gan.evaluation.overlap import longest_overlaps
from gan.evaluation.summary import Axes, axes_of, describe
from gan.plain import PlainCommand

FINAL = ("harmony", "rhythm")
COPIES = 40  # pieces a seed whose longest run in the training set is looked for
SHORTEST, FEW = 32, 40  # tokens of a piece that is measured; more pieces than these are measured
PLAIN, COOL = "t1-p1", "t0.9-p1"
MUSICAL = (
    "pitch_class_entropy_1", "pitch_class_entropy_4", "grooving", "chord_irregularity",
    "note_density", "polyphony", "frechet", "precision", "recall", "density", "coverage", "vendi",
    "self_overlap_any_key", "distinct_intervals_set", "degenerate",
)  # fmt: skip


class Bench:
    """The judges, and real jazz to hold everything against.

    Args:
        corpus: its test split is the reference.
        judges: as `experiments.recipes.judges` writes them.
    """

    def __init__(self, corpus: Corpus, judges: Path) -> None:
        self.corpus, self.representation = corpus, corpus.representation
        self.judges = Judges.load(judges)
        self.real = self._openings("test", "jazz")
        self.bounds = rewards.bounds_of(self._openings("train", "jazz"), self.representation)

    def _openings(self, split: str, label: str) -> list[np.ndarray]:
        numbers = self.corpus.select(split, label, thin_sources(self.corpus))
        return [np.asarray(self.corpus.piece(number)[:LENGTH]).astype(int) for number in numbers]

    def called(self, pieces: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """p(jazz) (N,) of pieces by each judge."""
        return self.judges.p_jazz(pieces, self.representation)

    def beyond(self, pieces: Sequence[np.ndarray]) -> np.ndarray:
        """(N,) whether a piece has runs or loops beyond the corpus's 98th percentile."""
        found = [self.bounds.beyond(ids, self.representation) for ids in pieces]
        return np.array([any(each[name] for name in LOOPS) for each in found])


def music(ids: np.ndarray) -> list[np.ndarray]:
    """Pieces of padded ids (N, S), without what is no music."""
    return [row[row > EOS].astype(int) for row in ids]


def found_of(arm: Arm, runs: Path) -> list[dict[str, Any]]:
    """Results and samples of the seeds of an arm that are done."""
    found = []
    for seed in range(arm.seeds):
        folder = runs / f"{arm.name}-{seed}"
        if (folder / "result.json").is_file() and (folder / "samples.npz").is_file():
            with np.load(folder / "samples.npz") as stored:
                samples = {name: stored[name] for name in stored.files}
            found.append(json.loads((folder / "result.json").read_text()) | {"samples": samples})
    return found


def told(figure: Interval) -> dict[str, float]:
    """An interval for JSON."""
    return {
        "value": round(figure.value, 4), "low": round(figure.low, 4), "high": round(figure.high, 4)
    }  # fmt: skip


def row_of(
    arm: Arm, seeds: list[dict[str, Any]], bench: Bench, known: list[np.ndarray]
) -> dict[str, Any]:
    """What the table says of an arm."""
    pieces = [music(each["samples"][PLAIN]) for each in seeds]
    called = [bench.called(each) for each in pieces]
    row: dict[str, Any] = {
        "arm": arm.name,
        "says": arm.says,
        "seeds": [each["seed"] for each in seeds],
    }
    for judge in JUDGES:
        p = [each[judge] for each in called]
        row[f"{judge}/rate"] = told(interval([(each >= 0.5).astype(float) for each in p]))
        row[f"{judge}/p"] = told(interval(p))
        row[f"{judge}/rates"] = [round(float((each >= 0.5).mean()), 3) for each in p]
    both = [
        np.logical_and(*(each[judge] >= 0.5 for judge in FINAL)).astype(float) for each in called
    ]
    row["both/rate"] = told(interval(both))
    row["both/rates"] = [round(float(each.mean()), 3) for each in both]
    row["bits_per_note"] = [each["bits_per_note"]["jazz"] for each in seeds]
    row["bits_per_note_not_jazz"] = [each["bits_per_note"]["not_jazz"] for each in seeds]
    row["training_seconds"] = [each["training_seconds"] for each in seeds]
    row["variety"] = [round(guards.variety(each), 4) for each in pieces]
    cool = [bench.beyond(music(each["samples"][COOL])).astype(float) for each in seeds]
    row["beyond"] = told(interval(cool))
    longest = [
        length
        for each in pieces
        for length in longest_overlaps([ids for ids in each[:COPIES] if len(ids)], known)
    ]
    row["copied_run"] = {"median": float(np.median(longest)), "most": int(max(longest))}
    if "long" in seeds[0]["samples"]:
        ends = [[ids[-LENGTH:] for ids in music(each["samples"]["long"])] for each in seeds]
        after = [bench.called([ids for ids in each if len(ids)]) for each in ends]
        for judge in JUDGES:
            row[f"long/{judge}/rate"] = told(
                interval([(each[judge] >= 0.5).astype(float) for each in after])
            )
        row["long/beyond"] = told(interval([bench.beyond(each).astype(float) for each in ends]))
    return row


def long_enough(seeds: list[dict[str, Any]], name: str = PLAIN) -> list[np.ndarray]:
    """The samples of all seeds that can be measured; none if they are too few."""
    pieces = [ids for each in seeds for ids in music(each["samples"][name])]
    found = [ids for ids in pieces if len(ids) >= SHORTEST]
    return found if len(found) > FEW else []


def musical(seeds: list[dict[str, Any]], bench: Bench, axes: Axes | None) -> dict[str, Any]:
    """What the music is like, and how far from real jazz, along the axes of all arms."""
    pieces = long_enough(seeds)
    if not pieces:
        return {}
    figures = describe(pieces, bench.real, bench.representation, axes=axes)
    return {
        "musical": {name: round(figures[name], 4) for name in MUSICAL},
        "musical_real": {
            name: round(figures[f"{name}_real"], 4) for name in MUSICAL if f"{name}_real" in figures
        },
    }


def cooled(seeds: list[dict[str, Any]], bench: Bench, axes: Axes | None) -> dict[str, float]:
    """The main figures again, of samples at the lower temperature."""
    called = bench.called([ids for each in seeds for ids in music(each["samples"][COOL])])
    found = {judge: round(float((called[judge] >= 0.5).mean()), 4) for judge in JUDGES}
    found["both"] = round(
        float(np.logical_and(*(called[judge] >= 0.5 for judge in FINAL)).mean()), 4
    )
    found["variety"] = round(
        float(np.mean([guards.variety(music(each["samples"][COOL])) for each in seeds])), 4
    )
    long = long_enough(seeds, COOL)
    if not long:
        return found
    figures = describe(long, bench.real, bench.representation, axes=axes)
    return found | {name: round(figures[name], 4) for name in MUSICAL}


def frontier_of(seeds: list[dict[str, Any]], bench: Bench) -> dict[str, dict[str, float]]:
    """Jazz rates and variety at every temperature and top-p sampled, of the first seed."""
    points = {}
    for name, ids in seeds[0]["samples"].items():
        if name == "long":
            continue
        pieces = music(ids)
        called = bench.called(pieces)
        points[name] = {judge: round(float((called[judge] >= 0.5).mean()), 4) for judge in JUDGES}
        points[name]["both"] = round(
            float(np.logical_and(*(called[judge] >= 0.5 for judge in FINAL)).mean()), 4
        )
        points[name]["variety"] = round(guards.variety(pieces), 4)
    return points


def compared(rows: list[dict[str, Any]], real: dict[str, Any]) -> None:
    """Adds what each arm makes of the gap, and its bits beside cross-entropy's, seed by seed."""
    named = {row["arm"]: row for row in rows}
    for row in rows:
        base = named.get("label-ce" if row["arm"].startswith("label") else "ce")
        if row["arm"] == "jazz-scored":
            base = named.get("jazz-ce")
        if base is None:
            continue
        for judge in (*JUDGES, "both"):
            gap = real[f"{judge}/rate"] - base[f"{judge}/rate"]["value"]
            gained = row[f"{judge}/rate"]["value"] - base[f"{judge}/rate"]["value"]
            row[f"{judge}/gap_closed"] = round(gained / gap, 3) if abs(gap) > 0.01 else None
        pairs = [
            (mine, base["bits_per_note"][base["seeds"].index(seed)])
            for seed, mine in zip(row["seeds"], row["bits_per_note"], strict=True)
            if seed in base["seeds"]
        ]
        if pairs:
            row["bits_cost"] = [round(mine / theirs - 1, 5) for mine, theirs in pairs]


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    real = result["real"]

    def share(figure: dict[str, float]) -> str:
        return f"{figure['value']:.2f} ({figure['low']:.2f}–{figure['high']:.2f})"

    lines = [
        "| arm | seeds | harmony | rhythm | both | gap closed | piano roll | bits a note, jazz | "
        "beside cross-entropy | variety | H4 | groove | density | Fréchet | coverage | "
        "degenerate | beyond 98th | longest copy |",
        "|---|---:|---|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        figures = row.get("musical", {})
        cost = row.get("bits_cost")
        closed = row.get("both/gap_closed")
        lines.append(
            f"| {row['arm']}: {row['says']} | {len(row['seeds'])} | {share(row['harmony/rate'])} | "
            f"{share(row['rhythm/rate'])} | {share(row['both/rate'])} | "
            f"{'' if closed is None else f'{closed:.0%}'} | {share(row['roll/rate'])} | "
            f"{np.mean(row['bits_per_note']):.3f} | "
            f"{'' if cost is None else f'{np.mean(cost):+.2%}'} | {np.mean(row['variety']):.3f} | "
            f"{figures.get('pitch_class_entropy_4', np.nan):.2f} | "
            f"{figures.get('grooving', np.nan):.3f} | {figures.get('note_density', np.nan):.1f} | "
            f"{figures.get('frechet', np.nan):.0f} | {figures.get('coverage', np.nan):.2f} | "
            f"{figures.get('degenerate', np.nan):.1%} | {row['beyond']['value']:.1%} | "
            f"{row['copied_run']['most']} |"
        )
    figures = next((row["musical_real"] for row in result["rows"] if "musical_real" in row), None)
    if figures is None:  # samples too few to be measured
        return "\n".join(lines) + "\n"
    lines.append(
        f"| real held-out jazz, {real['pieces']} openings | | {real['harmony/rate']:.2f} | "
        f"{real['rhythm/rate']:.2f} | {real['both/rate']:.2f} | | {real['roll/rate']:.2f} | | | "
        f"{real['variety']:.3f} | {figures['pitch_class_entropy_4']:.2f} | "
        f"{figures['grooving']:.3f} | {figures['note_density']:.1f} | {figures['frechet']:.0f} | | "
        f"{figures['degenerate']:.1%} | {real['beyond']:.1%} | {real['copied_run']} |"
    )
    return "\n".join(lines) + "\n"


def cool_markdown(result: dict[str, Any]) -> str:
    """The table at the lower temperature."""
    names = (*JUDGES[:2], "both", "roll", "variety", "pitch_class_entropy_4", "grooving",
             "note_density", "frechet", "coverage", "degenerate")  # fmt: skip
    lines = ["| arm, temperature 0.9 | " + " | ".join(names) + " | beyond 98th |"]
    lines.append("|---|" + "---:|" * (len(names) + 1))
    for row in result["rows"]:
        cells = " | ".join(f"{row['cool'].get(name, np.nan):.3g}" for name in names)
        lines.append(f"| {row['arm']} | {cells} | {row['beyond']['value']:.1%} |")
    return "\n".join(lines) + "\n"


def draw_frontier(
    points: dict[str, dict[str, dict[str, float]]], real: dict[str, Any], out: Path
) -> None:
    """Quality against variety, one line an arm, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 5))
    for name, each in points.items():
        # A sweep of temperatures is a line; truncation makes points of its own.
        sweep = sorted(
            (key for key in each if key.endswith("-p1")), key=lambda key: float(key[1:-3])
        )
        (line,) = axes.plot(
            [each[key]["variety"] for key in sweep],
            [each[key]["both"] for key in sweep],
            "o-",
            label=name,
        )
        for key in set(each) - set(sweep):
            axes.plot(each[key]["variety"], each[key]["both"], "x", color=line.get_color())
        for key in sweep:
            axes.annotate(
                key[1:-3], (each[key]["variety"], each[key]["both"]), fontsize=7,
                xytext=(3, 3), textcoords="offset points",
            )  # fmt: skip
    axes.plot(real["variety"], real["both/rate"], "*k", markersize=14, label="real jazz")
    axes.set_xlabel(
        "variety: share of 6-token sequences that are new (temperatures at the points, × top-p)"
    )
    axes.set_ylabel("share called jazz by harmony and rhythm both")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", type=Path, required=True, help="From 'gan data build'.")
@click.option("--runs", type=Path, required=True, help="The arms' runs.")
@click.option("--bases", type=Path, required=True, help="Where `judges/` is.")
@click.option("--out", type=Path, required=True, help="The table: .json, .md, -frontier.png.")
@click.option("--anew", is_flag=True, help="Judge what was judged before again.")
def table(folder: Path, runs: Path, bases: Path, out: Path, anew: bool) -> None:
    """Judge every arm that is done, and write the table and the frontier."""
    corpus = Corpus(folder)
    bench = Bench(corpus, bases / "judges")
    known = [
        np.asarray(corpus.piece(number))
        for number in corpus.select("train", exclude_sources=thin_sources(corpus))
    ]
    called = bench.called(bench.real)
    real: dict[str, Any] = {
        f"{judge}/rate": round(float((called[judge] >= 0.5).mean()), 4) for judge in JUDGES
    }
    real |= {f"{judge}/p": round(float(called[judge].mean()), 4) for judge in JUDGES}
    real["both/rate"] = round(
        float(np.logical_and(*(called[judge] >= 0.5 for judge in FINAL)).mean()), 4
    )
    real["pieces"], real["variety"] = len(bench.real), round(guards.variety(bench.real), 4)
    real["beyond"] = round(float(bench.beyond(bench.real).mean()), 4)
    real["copied_run"] = int(max(longest_overlaps(bench.real[:COPIES], known)))
    # What was judged before with the same seeds is not judged again; --anew forgets all. Distances
    # are along the axes of all arms and so, with all of temperature 0.9, measured every time.
    before = out.with_suffix(".json")
    old = json.loads(before.read_text()) if before.is_file() and not anew else {}
    judged = {(row["arm"], *row["seeds"]): row for row in old.get("rows", [])}
    rows, points = [], dict(old.get("frontier", {}))
    done = [(arm, seeds) for arm in ARMS if (seeds := found_of(arm, runs))]
    sets = [pieces for _, seeds in done if (pieces := long_enough(seeds))]
    axes = axes_of(bench.real, sets, bench.representation) if sets else None
    for arm, seeds in done:
        found = judged.get((arm.name, *(each["seed"] for each in seeds)))
        rows.append(found or row_of(arm, seeds, bench, known))
        rows[-1] |= musical(seeds, bench, axes) | {"cool": cooled(seeds, bench, axes)}
        click.echo(f"{arm.name}: {rows[-1]['both/rates']}")
        if len(seeds[0]["samples"]) > 4 and arm.name not in points:
            points[arm.name] = frontier_of(seeds, bench)
    compared(rows, real)
    result = {"real": real, "rows": rows, "frontier": points}
    write_json(out.with_suffix(".json"), result)
    write_text(out.with_suffix(".md"), markdown(result) + "\n" + cool_markdown(result))
    draw_frontier(points, real, out.with_name(f"{out.name}-frontier.png"))


if __name__ == "__main__":
    table()
