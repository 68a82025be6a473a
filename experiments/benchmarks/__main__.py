"""Benchmarks: `python -m experiments.benchmarks NAME`; `--help` lists them.

`make bench` runs `steps` and `peers`.
Each prints JSON, one line a result, so that runs can be kept and compared.
"""

import json
from pathlib import Path
from typing import Any

import click


@click.group()
def bench() -> None:
    """Measure this machine: training steps, corpora, scoring, rendering, hostile files."""


@bench.command()
@click.option("--batch", default=8, show_default=True, help="Windows, and rollouts, a step.")
@click.option("--length", default=512, show_default=True, help="Tokens a window.")
@click.option("--rollout", "rollouts", multiple=True, type=int, default=(128, 256),
              show_default=True, help="New tokens a rollout.")  # fmt: skip
@click.option(
    "--pairs", default=5, show_default=True, help="Pairs of steps timed; of --ahead steps each."
)
@click.option("--size", default="small", show_default=True, help="small, base or large.")
@click.option("--estimator", default="reinforce", show_default=True, help="Or replay, teacher.")
@click.option("--ahead", default=1, show_default=True,
              help="Steps whose rollouts are drawn at once.")  # fmt: skip
def steps(
    batch: int, length: int, rollouts: tuple[int, ...], pairs: int, size: str, estimator: str,
    ahead: int,
) -> None:  # fmt: skip
    """Time adversarial steps against plain ones; one line of JSON a setting."""
    from experiments.benchmarks.step_cost import compare

    for result in compare(batch, length, rollouts, pairs, size, estimator, ahead):
        print(json.dumps(result))


@bench.command()
@click.option("--batch", default=2, show_default=True, help="Rollouts.")
@click.option("--lengths", default="64,128,256", show_default=True, help="New tokens, by commas.")
@click.option("--repeats", default=3, show_default=True, help="Steps timed.")
@click.option("--longest-unroll", default=256, show_default=True, help="Not unrolled beyond.")
@click.option("--out", type=Path, help="Also write a .json with everything, and a .md table.")
def estimators(
    batch: int, lengths: str, repeats: int, longest_unroll: int, out: Path | None
) -> None:
    """Time the estimators of the adversarial gradient, and measure their memory."""
    from experiments.benchmarks.estimators import compare, markdown

    sizes = tuple(int(length) for length in lengths.split(","))
    rows = compare(batch, sizes, repeats, longest_unroll)
    _show({"rows": rows}, markdown(rows), out)


@bench.command()
@click.option("--layers", default=4, show_default=True)
@click.option("--width", default=256, show_default=True)
@click.option("--heads", default=4, show_default=True)
@click.option("--batch", default=8, show_default=True, help="Windows a training step.")
@click.option("--length", default=512, show_default=True, help="Tokens a window.")
@click.option("--steps", default=256, show_default=True, help="Tokens sampled.")
@click.option("--rounds", default=7, show_default=True, help="Times everything is run.")
@click.option("--device", default="auto", show_default=True)
@click.option("--compiled", is_flag=True, help="Train compiled models too (minutes more).")
@click.option("--out", type=Path, help="Also write a .json with everything, and a .md table.")
def peers(out: Path | None, **choices: Any) -> None:
    """Train and sample beside Hugging Face's GPT-2 and x-transformers of the same shape."""
    from experiments.benchmarks.peers import compare, markdown

    result = compare(**choices)
    _show(result, markdown(result), out)


@bench.command()
@click.option("--batch", default=8, show_default=True, help="Windows a step.")
@click.option("--length", default=512, show_default=True, help="Tokens a window.")
@click.option("--rounds", default=7, show_default=True, help="Times everything is run.")
@click.option("--device", default="auto", show_default=True)
@click.option("--variant", "names", multiple=True, help="Only these; the first one is the measure.")
@click.option("--out", type=Path, help="Also write a .json with everything, and a .md table.")
def variants(out: Path | None, **choices: Any) -> None:
    """Time a training step of each option beside the plain transformer's."""
    from experiments.benchmarks.variants import compare, markdown

    result = compare(**choices)
    _show(result, markdown(result), out)


@bench.command()
@click.option("--rounds", default=3, show_default=True, help="Times sampling is run; training 3×.")
@click.option("--out", type=Path, help="Also write a .json with everything, and a .md table.")
def gpu(out: Path | None, rounds: int) -> None:
    """On a GPU: utilisation and precision of training, sampling beside Hugging Face's."""
    from experiments.benchmarks.gpu import markdown, measure

    result = measure(rounds)
    _show(result, markdown(result), out)


@bench.command()
@click.option("--archive", required=True,
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A folder of MIDI files.")  # fmt: skip
@click.option("--counts", default="1000,7678", show_default=True, help="Files a build, by commas.")
@click.option("--sample", default=300, show_default=True,
              help="Files that the plain ways tokenise; their rate stands for all.")  # fmt: skip
@click.option("--repeats", default=3, show_default=True, help="Times everything is run.")
@click.option("--workers", default=0, show_default=True, help="Processes of every way; 0: all.")
@click.option("--out", type=Path, help="Also write a .json with everything, and a .md table.")
def corpus(
    archive: Path, counts: str, sample: int, repeats: int, workers: int, out: Path | None
) -> None:
    """Time `gan data build` against plain MidiTok: files a second, and memory."""
    from experiments.benchmarks.throughput import compare, markdown

    result = compare(archive, [int(c) for c in counts.split(",")], sample, repeats, workers)
    _show(result, markdown(result), out)


@bench.command()
@click.option("--archive", required=True,
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A folder of MIDI files.")  # fmt: skip
@click.option("--counts", default="500,2000", show_default=True, help="Files, by commas.")
@click.option("--workers", default="0,1,2", show_default=True, help="Reading processes.")
@click.option("--model", type=Path, help="A classifier's folder; the shipped one if not given.")
@click.option("--notes", default=(1000, 4000), show_default=True, type=(int, int),
              help="Least and most notes of the files taken.")  # fmt: skip
@click.option("--out", type=Path, help="Also write a .json with everything, and a .md table.")
def score(
    archive: Path, counts: str, workers: str, model: Path | None, notes: tuple[int, int],
    out: Path | None,
) -> None:  # fmt: skip
    """Time `gan score` from its start to its last row: files a second, and memory."""
    from experiments.benchmarks.scoring import markdown, measure

    numbers = [int(c) for c in counts.split(",")]
    result = measure(archive, numbers, [int(w) for w in workers.split(",")], model, notes)
    _show(result, markdown(result), out)


@bench.command()
@click.option("--archive", required=True,
              type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A folder of MIDI files.")  # fmt: skip
@click.option("--count", default=40, show_default=True, help="Files rendered.")
@click.option("--soundfont", "fonts", multiple=True, type=Path,
              help="An SF2 or SF3 file; several for a line each.  [the best on this machine]",
)  # fmt: skip
@click.option("--out", type=Path, help="Also write a .json with everything.")
def render(archive: Path, count: int, fonts: tuple[Path, ...], out: Path | None) -> None:
    """Time rendering MIDI as sound on one core, and measure how late its notes are."""
    from experiments.benchmarks.rendering import measure

    results = [measure(archive, count, font) for font in fonts or (None,)]
    for result in results:
        print(json.dumps(result))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + "\n")


@bench.command()
@click.option("--source", required=True, type=click.Path(exists=True, path_type=Path),
              help="A folder of MIDI files to mutate.")  # fmt: skip
@click.option("--count", default=2000, show_default=True, help="Mutated files.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other mutations.")
@click.option("--seconds", default=10.0, show_default=True, help="Time bound for a file.")
@click.option("--workers", default=0, show_default=True, help="Processes; 0: all.")
def fuzz(source: Path, count: int, seed: int, seconds: float, workers: int) -> None:
    """Feed mutated files to check, build and score; exits with 1 where one crashes or hangs."""
    from experiments.benchmarks.hostile import run

    result = run(source, count, seed, seconds, workers)
    print(json.dumps(result, indent=1))
    if any(part["crashed"] or part["late"] for part in result["parts"].values()):
        raise SystemExit(1)


def _show(result: dict[str, Any], table: str, out: Path | None) -> None:
    """Prints a result and its table, and writes both beside each other."""
    print(json.dumps(result))
    click.echo(table)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        out.with_suffix(".md").write_text(table)


if __name__ == "__main__":
    bench()
