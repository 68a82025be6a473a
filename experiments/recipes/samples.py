"""What a generator writes: is any of it empty, undecodable, degenerate, or copied?

    python -m experiments.recipes.samples --corpus CORPUS --out experiments/results/samples

Pieces at the default settings, at others and by greed, beside as much held-out jazz of the same
length, and beside what the other shipped generator writes. The longest run of tokens found in the
training split is told for all of them: real music repeats what others have played, and a generator
should not do so more.
"""

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools import midi
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import write_json, write_text
from gan.engine import numpy_generator
from gan.evaluation.overlap import longest_overlaps
from gan.plain import PlainCommand
from gan.run import generator_folder
from generator.compose import Composer
from generator.degenerate import describe_ids, signs
from generator.folder import DEFAULT, SHIPPED

DEFAULTS = {"temperature": 1.0, "opening": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": DEFAULTS,
    "top-p 0.98": DEFAULTS | {"top_p": 0.98},
    "temperature 0.95": DEFAULTS | {"temperature": 0.95},
    "temperature 0.7": DEFAULTS | {"temperature": 0.7},
    "top-k 10": {"temperature": 0.95, "top_k": 10, "opening": 8},
    "greedy": {"temperature": 0.0, "opening": 8},
    "greedy, no 12 tokens twice": {"temperature": 0.0, "opening": 8, "no_repeat": 12},
}


def judged(name: str, statistics: list[dict[str, float]], broken: int) -> dict[str, Any]:
    """Shares of degenerate pieces, by sign, and means of what they were judged by."""
    found = [signs(each) for each in statistics]
    kinds = ("empty", "run", "loop", "silence", "monotone")
    names = ("notes", "seconds", "distinct_pitches", "longest_run", "repeated_4grams")
    return {
        "system": name,
        "pieces": len(statistics),
        "undecodable": broken,
        "degenerate": float(np.mean([bool(each) for each in found])),
        "signs": {kind: sum(kind in each for each in found) for kind in kinds},
        "means": {key: round(float(np.mean([s[key] for s in statistics])), 3) for key in names},
    }


def written(composer: Composer, count: int, length: int, choice: dict[str, Any]) -> Any:
    """Pieces, and how many of their files do not read back as they are."""
    pieces = composer.compose(count, seed=0, length=length, **choice)
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        for number, piece in enumerate(pieces):
            path = piece.save(Path(name) / f"{number}.mid")
            notes = sum(len(track.notes) for track in piece.midi.instruments)
            try:
                broken += len(midi.merged_notes(midi.read(path))) != notes
            except UserError:
                broken += 1
    return pieces, broken


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", type=Path, required=True)
@click.option("--checkpoint", type=Path, help="A run or generator; the shipped one if not given.")
@click.option("--count", default=64, show_default=True)
@click.option("--length", default=1024, show_default=True)
@click.option("--out", type=Path, required=True, help="The table: .json and .md are added.")
def samples(folder: Path, checkpoint: Path | None, count: int, length: int, out: Path) -> None:
    """Write pieces and say what is wrong with them."""
    corpus = Corpus(folder)
    composer = Composer.load(generator_folder(checkpoint) if checkpoint else None)
    plans = [(name, composer, choice) for name, choice in SETTINGS.items()]
    if checkpoint is None:
        plans += [
            (f"{name}, defaults", Composer.load(name), DEFAULTS)
            for name in SHIPPED
            if name != DEFAULT
        ]
    if composer.representation.music_digest != corpus.representation.music_digest:
        raise UserError(f"{folder}: its tokens are not those this generator writes")
    rows, groups = [], []
    for name, writer, choice in plans:
        pieces, broken = written(writer, count, length, choice)
        rows.append(judged(name, [piece.statistics for piece in pieces], broken))
        groups.append([piece.ids for piece in pieces])
        click.echo(f"{name}: {rows[-1]['degenerate']:.3f} degenerate")
    real = [
        corpus.piece(number)
        for split in ("validation", "test")
        for number in corpus.select(split, "jazz", ("wjazzd", "leadsheet-chordmelody"))
    ]
    long = [piece[:length] for piece in real if len(piece) >= length]
    chosen = numpy_generator("held-out jazz").permutation(len(long))[:count]
    groups.append([long[number].astype(np.int64) for number in chosen])
    described = [describe_ids(piece, corpus.representation) for piece in long]
    rows.append(judged("held-out jazz", described, 0))
    known = [corpus.piece(number) for number in corpus.select("train")]
    overlaps = longest_overlaps([ids for group in groups for ids in group], known, length)
    for row, group in zip(rows, groups, strict=True):
        own, overlaps = overlaps[: len(group)], overlaps[len(group) :]
        row["overlap"] = {"median": float(np.median(own)), "longest": int(max(own))}
    result = {
        "command": shlex.join(["python", "-m", "experiments.recipes.samples", *sys.argv[1:]]),
        "length": length,
        "rows": rows,
    }
    write_json(out.with_suffix(".json"), result)
    write_text(out.with_suffix(".md"), table(result))
    click.echo(table(result))


def table(result: dict[str, Any]) -> str:
    """A row a system."""
    lines = [
        f"Pieces of {result['length']} tokens",
        "",
        "| system | pieces | empty | undecodable | degenerate | runs | loops | few pitches "
        "| silences | notes | longest run found in training, median | longest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        found = row["signs"]
        lines.append(
            f"| {row['system']} | {row['pieces']} | {found['empty']} | {row['undecodable']} | "
            f"{row['degenerate']:.1%} | {found['run']} | {found['loop']} | "
            f"{found['monotone']} | {found['silence']} | {row['means']['notes']:.0f} | "
            f"{row['overlap']['median']:.0f} | {row['overlap']['longest']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    samples()
