"""Which generator, and which of the options people have measured? One command, one table.

    python -m experiments.recipes.generators --corpus CORPUS --out experiments/results/generators

Two families in two sizes, and every option toggled alone from a common preset, each at the same
number of training tokens. Every row is a `gan train` in a process of its own; what is finished is
not done again, and with the time that is given seeds are added round by round. All are read on the
same held-out windows.
"""

import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json, write_text
from experiments.recipes.generators_rows import COMMON, ROWS, Row
from experiments.recipes.generators_table import markdown
from experiments.recipes.thin import thin_sources
from gan.plain import PlainCommand

WINDOWS, LENGTH = 128, 256  # of held-out music, and as many of the training split's


def flags(row: Row, seed: int, left_out: Sequence[str] = ()) -> list[str]:
    """The arguments of `gan train` for a row, but for where things lie.

    Args:
        row: of the table.
        seed: of the run.
        left_out: sources of the corpus.
    """
    choices: dict[str, Any] = {"exclude_sources": tuple(left_out)} | COMMON
    choices |= row.group.settings | row.changes | {"seed": seed}
    words = ["--quiet", "--resume"]
    for name, value in choices.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [f"--{flag}", str(one)]
    return words


def run(row: Row, seed: int, corpus: Path, folder: Path) -> dict[str, Any]:
    """Trains a row, and reads held-out and known music with what came of it.

    Raises:
        UserError: another training lies where this one belongs.
    """
    out = folder / f"{row.name}-{seed}"
    words = flags(row, seed, thin_sources(Corpus(corpus)))
    if (known := finished(out, words, corpus)) is not None:
        return known
    before, logged = resource.getrusage(resource.RUSAGE_CHILDREN), last_logged(out)
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "gan", "train", "--corpus", str(corpus), "--out", str(out), *words],
        capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result: dict[str, Any] = {"name": row.name, "group": row.group.name, "seed": seed}
    result["command"] = shlex.join(["gan", "train", *words])
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        told = bool(said) and said[-1].startswith("error: ") and last_logged(out) != logged
        result["failed"] = said[-1][:200] if said else f"exit code {ended.returncode}, no message"
        if not told:  # killed, or never begun: to be tried again
            return result
        # A run that blows up is a result: T-Fixup without its start, say.
    else:
        result |= read(out, corpus) | {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(after.ru_utime - before.ru_utime, 1),
            "peak_mib": peak(out),
            "tokens_per_second": rate(out, row),
        }
    write_json(out / "result.json", result)
    return result


def last_logged(out: Path) -> int:
    """When a run logged last, in ns; 0 for never."""
    path = out / "metrics.jsonl"
    return path.stat().st_mtime_ns if path.is_file() else 0


def finished(out: Path, words: list[str], corpus: Path) -> dict[str, Any] | None:
    """The result in a run's folder, None where there is none yet.

    Raises:
        UserError: it is of another command or another corpus.
    """
    if not (out / "result.json").is_file():
        return None
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    record = yaml.safe_load((out / "settings.yaml").read_text(encoding="utf-8"))
    same = asked(result["command"]) == ["gan", "train", *words]
    if not same or record["inputs"]["corpus"] != Corpus(corpus).digest:
        raise UserError(
            f"{out}: the result of {'another corpus' if same else 'other settings'}; move it away, "
            "or give another --runs"
        )
    return result


def asked(command: str) -> list[str]:
    """The words of a command without the places of its corpus and its run."""
    words = shlex.split(command)
    for flag in ("--corpus", "--out"):
        if flag in words:
            place = words.index(flag)
            del words[place : place + 2]
    return words


def rate(out: Path, row: Row) -> float:
    """Training tokens a second between the first logged step and the last, median of tens."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    logged = [(line["step"], line["seconds"]) for line in lines if "loss/ce" in line]
    steps, seconds = np.array(logged).T
    settings = COMMON | row.group.settings | row.changes
    tokens = settings["batch"] * settings["length"]
    return round(float(np.median(tokens * np.diff(steps) / np.diff(seconds))), 0)


def peak(out: Path) -> float:
    """Peak memory of the training process, MiB, as it logged it."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    return max(line.get("system/peak_mib", 0.0) for line in lines)


def read(out: Path, folder: Path) -> dict[str, Any]:
    """What the finished generator makes of held-out and of known music."""
    from gan.data import validation_windows
    from gan.engine import engine
    from gan.evaluation.language import summary, token_bits
    from generator.compose import Composer

    corpus, compute = Corpus(folder), engine("cpu", "fp32")
    composer = Composer.load(out / "generator")
    result: dict[str, Any] = {"weights": sum(p.numel() for p in composer.model.parameters())}
    for split, name in (("validation", "validation"), ("train", "train")):
        numbers = corpus.select(split, exclude_sources=thin_sources(corpus))
        pair = validation_windows(corpus, numbers, composer.representation, LENGTH, WINDOWS)
        bits, hits = token_bits(composer.model, *pair, compute)
        result[name] = summary(bits, hits, pair[1].numpy(), composer.representation)
    return result


@click.command(cls=PlainCommand)
@click.option("--corpus", type=Path, required=True, help="From 'gan data build'.")
@click.option("--runs", type=Path, default=Path("runs/generators"), show_default=True)
@click.option("--out", type=Path, required=True, help="The table: .json and .md are added.")
@click.option("--seeds", default=3, show_default=True, help="Seeds a row, at most.")
@click.option("--minutes", default=600.0, show_default=True, help="No row begins after these.")
@click.option(
    "--only",
    default="",
    help="Train only rows whose name contains this; the table has all there are.",
)
def compare(corpus: Path, runs: Path, out: Path, seeds: int, minutes: float, only: str) -> None:
    """Train every row that is missing, and write the table."""
    if not any(only in row.name for row in ROWS):
        raise UserError(f"--only {only}: no row's name contains that")
    began, results = time.monotonic(), []
    for seed in range(seeds):
        for row in ROWS:
            if row.seeds and seed >= row.seeds:
                continue
            known = (runs / f"{row.name}-{seed}" / "result.json").is_file()
            late = time.monotonic() - began > 60 * minutes
            if not known and (late or only not in row.name):
                continue
            result = run(row, seed, corpus, runs)
            results.append(result)
            if not known:
                told = f"failed: {result.get('failed')}"
                if "validation" in result:
                    told = f"{result['validation']['bits_per_note']:.3f} bits a note"
                click.echo(f"{row.name} seed {seed}: {told}")
    write_json(out.with_suffix(".json"), results)
    rows = [(row.group.name, row.name) for row in ROWS]
    write_text(out.with_suffix(".md"), markdown(results, rows))


if __name__ == "__main__":
    compare()
