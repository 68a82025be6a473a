"""What transfers to music from elsewhere: every model and view, with sources and artists left out.

    gan data practice --ragtime --count 256 --out rags
    gan data build rags --out RAGS
    python -m experiments.recipes.transfer --corpus CORPUS --also RAGS --work runs/transfer \\
        --out experiments/results/transfer.json

Each model of `transfer_models` is trained without some sources and without a fifth of the works and
artists of the others. It then ranks the pieces of each source left out; a source of one label is
ranked against the left-out works of the other label. What is done is kept in --work, so a run that
was stopped goes on, and several machines can share the work by --models. Hours for everything on
two cores; a GPU does the networks in minutes with --jobs 12.
"""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools.corpus import Corpus, Enlarged
from data_tools.errors import UserError
from data_tools.files import write_json, write_text
from discriminator.features import PITCH
from discriminator.settings import StatisticsSettings
from experiments.recipes import transfer_fits as fits
from experiments.recipes.transfer_models import ENSEMBLES, MODELS, SHIPPED, STATISTICS, parts, plan
from experiments.recipes.transfer_table import (
    against_baselines,
    calibration,
    joined,
    markdown,
    result_file,
    table,
)
from gan.plain import PlainCommand


@dataclass(frozen=True)
class Task:
    """One fit: a model of the table, a seed, and the sources left out."""

    name: str
    seed: int
    left: tuple[str, ...]


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", required=True, type=Path, help="From 'gan data build'.")
@click.option("--also", type=click.Path(exists=True, path_type=Path),
              help="A second corpus, of what 'gan data practice --ragtime' wrote; the shipped "
              "ensemble's line and the calibration need it.")  # fmt: skip
@click.option("--work", required=True, type=Path, help="Where finished fits are kept.")
@click.option("--out", type=Path, help="The table as JSON, and beside it as markdown.")
@click.option("--keep", type=click.Path(exists=True, path_type=Path),
              help="An earlier table: its rows stay where it has more seeds.")  # fmt: skip
@click.option(
    "--first",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed to begin with; with --keep, rows of as many seeds gain those from it on.",
)
@click.option("--models", multiple=True, help="Names of the table's lines; all where none given.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--error",
    type=float,
    default=0.2,
    show_default=True,
    help="Largest share of wrong ones among the ensemble's sure verdicts, with 95% confidence.",
)
def main(
    folder: Path, also: Path | None, work: Path, out: Path | None, keep: Path | None,
    first: int, models: tuple[str, ...], seeds: int, jobs: int, error: float,
) -> None:  # fmt: skip
    """Fits what is missing, then writes the table of all that is there."""
    corpus = Corpus(folder)
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise UserError(f"--models '{unknown[0]}': there are {', '.join(MODELS)}")
    names = models or tuple(name for name, model in MODELS.items() if also or not model.also)
    wanting = [name for name in names if MODELS[name].also and not also]
    if wanting:
        raise UserError(f"--models '{wanting[0]}': needs a second corpus as --also")
    _claim(work, corpus, Corpus(also) if also else None, names)
    tasks = [
        Task(name, seed, left)
        for seed in range(first, first + seeds)
        for name in names
        for left in plan(corpus, MODELS[name].protocol)
    ]
    run([t for t in tasks if not result_file(work, t.name, t.seed, t.left).is_file()],
        folder, also, work, jobs)  # fmt: skip
    if out:
        rows = table(corpus, work, seeds, first)
        facts: dict[str, Any] = {"seeds": seeds}
        older: set[str] = set()
        if keep:
            earlier = json.loads(keep.read_text(encoding="utf-8"))
            if first:
                rows = [joined(old, rows, first) for old in earlier["rows"]]
            better = {row["model"]: row["seeds"] for row in rows}
            old = [row for row in earlier["rows"] if row["seeds"] > better.get(row["model"], 0)]
            older = {row["model"] for row in old}
            rows = old + [row for row in rows if row["model"] not in older]
            facts = earlier | {"seeds": max([earlier["seeds"], *(row["seeds"] for row in rows)])}
        whole = max((row["seeds"] for row in rows if row["model"] == SHIPPED), default=0)
        if whole and not first and SHIPPED not in older:
            facts["calibration"] = calibration(corpus, work, ENSEMBLES[SHIPPED], whole, error)
            # An earlier table's stay where the baselines' fits are not there.
            against = against_baselines(corpus, work, ENSEMBLES[SHIPPED], whole)
            met = {(one["source"], one["baseline"]) for one in against}
            same = facts.get("against_of", SHIPPED) == SHIPPED
            before = facts.get("against", []) if same else []
            against += [one for one in before if (one["source"], one["baseline"]) not in met]
            if against:
                facts |= {"against": against, "against_of": SHIPPED}
        facts["rows"] = rows
        write_json(out, facts)
        shown = markdown(rows, facts.get("against"))
        write_text(out.with_suffix(".md"), shown)
        click.echo(shown)


def _claim(work: Path, corpus: Corpus, also: Corpus | None, names: tuple[str, ...]) -> None:
    """Notes beside the fits what they are of.

    Raises:
        UserError: those that are there are of another corpus, or of other settings.
    """
    card = work / "of.json"
    known = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    mine = {"corpus": corpus.digest} | {name: MODELS[name].told() for name in names}
    if also:
        mine["second corpus"] = also.digest
    for key, value in mine.items():
        if known.get(key, value) != value:
            raise UserError(f"{work}: holds fits of another {key}; take a new folder as --work")
    work.mkdir(parents=True, exist_ok=True)
    write_json(card, known | mine)


def run(tasks: list[Task], folder: Path, also: Path | None, work: Path, jobs: int) -> None:
    """Does the tasks, in this process or in several."""
    if jobs == 1:
        for task in tasks:
            fit(task, _learnt(task, folder, also), work)
            click.echo(_line(task))
        return
    # The first of several would all compute what the first keeps for the others.
    counted = [task for task in tasks if MODELS[task.name].how in ("statistics", "gate")]
    for task in {(_crops(task), MODELS[task.name].also): task for task in counted}.values():
        _read(task, _learnt(task, folder, also), work)
    judges = [task for task in tasks if MODELS[task.name].how == "features"]
    for task in {(_table(task), MODELS[task.name].also): task for task in judges}.values():
        _features(task, _learnt(task, folder, also), work)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start, (jobs,)) as pool:
        running = {pool.submit(_fit_in_process, task, folder, also, work): task for task in tasks}
        for done in _as_they_end(running):
            click.echo(_line(done))


def fit(task: Task, corpus: Corpus, work: Path) -> None:
    """Trains one model and keeps what it says of the pieces it has not met."""
    model, file = MODELS[task.name], result_file(work, task.name, task.seed, task.left)
    train, works, sources = parts(corpus, task.left, task.seed)
    settings = model.settings.model_copy(update={"seed": task.seed})
    if model.how == "features":
        rows = _features(task, corpus, work)
        judge = fits.boosted(corpus, train, rows, task.seed, model.groups)
    elif model.how == "statistics":
        assert isinstance(settings.model, StatisticsSettings)
        judge = fits.perceptron(corpus, train, settings, _kept(task, corpus, work), model.least)
    elif model.how == "gate":
        judge = fits.gate(corpus, train, works, settings, _kept(task, corpus, work))
    else:
        judge = fits.network(corpus, train, settings)
    numbers = np.array(works + sources)
    temporary = file.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, numbers=numbers, logits=judge(numbers.tolist()))
    temporary.replace(file)


_open: dict[tuple[str, int], fits.Kept] = {}  # by their name and the corpus's size


def _kept(task: Task, corpus: Corpus, work: Path) -> fits.Kept:
    key = _crops(task), len(corpus)
    if key not in _open:
        _open.clear()  # one at a time: each is a quarter of a gigabyte
        _open[key] = _read(task, corpus, work)
    return _open[key]


def _read(task: Task, corpus: Corpus, work: Path) -> fits.Kept:
    settings = MODELS[task.name].settings
    crops = STATISTICS.model_copy(update={"thinning": settings.thinning})
    return fits.kept_statistics(corpus, settings.model.view, crops, work / f"{_crops(task)}.npz")


def _crops(task: Task) -> str:
    """What names the crops that a perceptron learns from."""
    settings = MODELS[task.name].settings
    share = settings.thinning.thin_share
    return settings.model.view + (f"-thinned-{share:g}" if share else "")


def _features(task: Task, corpus: Corpus, work: Path) -> np.ndarray:
    model = MODELS[task.name]
    return fits.kept_features(corpus, work / f"{_table(task)}.npy", model.groups, model.thinned)


def _table(task: Task) -> str:
    """What names the features that trees learn from."""
    model = MODELS[task.name]
    name = "-".join(["features", *(group for group in model.groups if group not in PITCH)])
    return name + (f"-thinned-{model.thinned}" if model.thinned else "")


def _learnt(task: Task, folder: Path, also: Path | None) -> Corpus:
    """The corpus a task is about, with the second one's pieces where its model learns from them."""
    if not MODELS[task.name].also:
        return Corpus(folder)
    assert also
    return Enlarged(folder, also)


def _start(jobs: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _fit_in_process(task: Task, folder: Path, also: Path | None, work: Path) -> None:
    fit(task, _learnt(task, folder, also), work)


def _as_they_end(running: dict[Any, Task]) -> Iterable[Task]:
    for future in as_completed(running):
        future.result()
        yield running[future]


def _line(task: Task) -> str:
    return f"{task.name}, seed {task.seed}: without {', '.join(task.left)}"


if __name__ == "__main__":
    main()
