"""Is the generator better than counting? Held-out bits a note beside a 5-gram model's.

    python -m experiments.recipes.reference --corpus CORPUS --run runs/archive --out results.json

The n-gram (interpolated modified Kneser–Ney) is fitted to the whole training split, many times what
the generator has read, and sees its full history at every token; the generator sees its window.
Both spend bits on the very same tokens of the validation split.
"""

import json
import shlex
import sys
from pathlib import Path

import click
import numpy as np
import torch
import yaml

from data_tools.corpus import Corpus
from data_tools.files import write_json
from data_tools.representation import PAD
from gan.engine import engine, numpy_generator
from gan.evaluation.language import by_label, token_bits
from gan.evaluation.ngram import NGram, fit
from gan.run import generator_folder
from generator.compose import Composer


def held_out(
    corpus: Corpus,
    numbers: list[int],
    composer: Composer,
    length: int,
    count: int,
    reference: NGram,
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, list[str]]:
    """Random aligned windows: inputs and targets (N, T), the n-gram's bits (N, T), and labels."""
    representation = composer.representation
    generator = numpy_generator("reference")
    # Every token of the split is as likely to be read: pieces count by their length.
    sizes = np.array([len(corpus.piece(number)) + 1 for number in numbers])
    chosen = generator.choice(len(numbers), count, p=sizes / sizes.sum())
    inputs = np.zeros((count, length), dtype=np.int64)
    targets = np.full((count, length), PAD, dtype=np.int64)
    bits, labels = np.zeros((count, length)), []
    for row, place in enumerate(chosen):
        number = numbers[place]
        (sequence,) = corpus.sequences([number])
        label = corpus.rows[number]["label"]
        name = f"label:{label}"
        head = [representation.condition_id(name)] if name in representation.conditions else []
        room = length - len(head)
        start = int(generator.integers(max(1, sizes[place] - room + 1)))
        part = sequence[start : start + room + 1]
        stop = len(head) + len(part) - 1
        inputs[row, :stop] = [*head, *part[:-1]]
        targets[row, len(head) : stop] = part[1:]
        bits[row, len(head) : stop] = -reference.log2_probs(sequence)[start : start + len(part) - 1]
        labels.append(label)
    return torch.from_numpy(inputs), torch.from_numpy(targets), bits, labels


def curve(run: Path) -> list[tuple[int, float]]:
    """Validation bits a note over the steps of a run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    key = "validation/bits_per_note"
    return [(line["step"], round(line[key], 4)) for line in lines if key in line]


@click.command()
@click.option("--corpus", "folder", type=Path, required=True)
@click.option("--run", "runs", type=Path, multiple=True, required=True, help="One or more runs.")
@click.option("--windows", default=512, show_default=True)
@click.option("--order", default=5, show_default=True)
@click.option("--out", type=Path, required=True)
def compare(folder: Path, runs: tuple[Path, ...], windows: int, order: int, out: Path) -> None:
    """Compares generators with an n-gram on held-out music, and writes the figures as JSON."""
    corpus, compute = Corpus(folder), engine()
    settings = yaml.safe_load((runs[0] / "settings.yaml").read_text())
    exclude = settings["exclude_sources"]
    train = corpus.select("train", exclude_sources=exclude)
    numbers = corpus.select("validation", exclude_sources=exclude)
    reference = fit(corpus.sequences(train), corpus.representation.music_size, order)
    result: dict[str, object] = {
        "command": shlex.join(["python", "-m", "experiments.recipes.reference", *sys.argv[1:]]),
        "corpus": corpus.digest[:16],
        "train_tokens": int(sum(len(corpus.piece(number)) for number in train)),
        "validation_windows": windows,
    }
    for run in runs:
        composer = Composer.load(generator_folder(run), compute.device)
        length = settings["length"]
        inputs, targets, counted, labels = held_out(
            corpus, numbers, composer, length, windows, reference
        )
        bits, hits = token_bits(composer.model, inputs, targets, compute)
        spent = (composer.representation, targets.numpy())
        result[run.name] = by_label(bits, hits, spent[1], labels, spent[0]) | {
            "curve": curve(run),
            "settings": yaml.safe_load((run / "settings.yaml").read_text()),
        }
        none = np.zeros_like(hits)
        figures = by_label(counted, none, spent[1], labels, spent[0])
        figures.pop("token_accuracy")
        result[f"{order}-gram"] = figures
        click.echo(f"{run.name}: {result[run.name]}\n{order}-gram: {figures}")
    write_json(out, result)


if __name__ == "__main__":
    compare()
