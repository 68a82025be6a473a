"""Does a classifier answer to the music? Mean p(jazz) of real pieces before and after changes.

    python -m experiments.recipes.sanity --model FOLDER --archive DIR --out FILE.json

Jazz and not-jazz are drawn evenly from all sources of a label; the beginning of each piece is
scored as it is and after every edit of `experiments.recipes.edits`. What takes the harmony away
should take the certainty too; transposing, tempo, loudness and the grid of the timing should change
little. Works with any `discriminator.Classifier`, by its public methods alone.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from symusic.core import ScoreTick

from data_tools import midi
from data_tools.audit.ranking import auc
from data_tools.errors import MidiError, UserError
from data_tools.files import write_json, write_text
from data_tools.sources import Entry, Source
from experiments.recipes.edits import EDITS, TRANSPOSITIONS, excerpt
from gan.plain import PlainCommand

LABELS = ("jazz", "not_jazz")
BEGINNINGS = (64, 128, 256, 1024)  # tokens
RESAMPLES = 2000
MOST_MOVED = 0.05  # mean |Δp| that transposing may cause


class Piece(NamedTuple):
    """A prepared piece, its label and where it is from."""

    path: str
    source: str
    jazz: bool
    score: ScoreTick


def drawn(entries: list[Entry], count: int, seed: int) -> list[Entry]:
    """Entries of each label in the order to take them: every source in turn, shuffled within."""
    rng = np.random.default_rng(seed)
    order: list[Entry] = []
    for label in LABELS:
        piles: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.facts["label"] == label and not entry.refused:
                piles.setdefault(entry.facts["source"], []).append(entry)
        turns = []
        for source in sorted(piles):
            pile = [piles[source][place] for place in rng.permutation(len(piles[source]))]
            turns += [(turn, source, entry) for turn, entry in enumerate(pile)]
        turns.sort(key=lambda item: item[:2])
        order += [entry for _, _, entry in turns[:count]]
    return order


def read_pieces(source: Source, entries: list[Entry], notes: int) -> Iterator[Piece]:
    """The first `notes` notes of each piece that can be read."""
    for entry, data in source.contents(entries):
        if data is None:
            continue
        try:
            score = excerpt(midi.prepare(data).score, notes)
        except MidiError:
            continue
        jazz = entry.facts["label"] == "jazz"
        yield Piece(entry.path, entry.facts["source"], jazz, score)


def probabilities(classifier: Any, pieces: list[Piece], seed: int) -> dict[str, np.ndarray]:
    """p(jazz) (N,) of all pieces after each edit, NaN where there is none."""
    found: dict[str, np.ndarray] = {}
    for name, edit in EDITS.items():
        music = (
            edit(piece.score, np.random.default_rng([seed, number]))
            for number, piece in enumerate(pieces)
        )
        found[name] = _numbers(classifier.score_many(music))
    representation = classifier.representation
    ids = [representation.encode(representation.prepare(p.score).score) for p in pieces]
    for length in BEGINNINGS:
        # Shorter pieces would be the whole again.
        verdicts = (classifier.score_tokens(one[:length]) for one in ids)
        found[f"first {length} tokens"] = np.where(
            [len(one) >= length for one in ids], _numbers(verdicts), np.nan
        )
    return found


def _numbers(verdicts: Any) -> np.ndarray:
    return np.array([np.nan if v.p_jazz is None else v.p_jazz for v in verdicts])


def interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """95% bootstrap interval of the mean over pieces."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def rows_of(
    found: dict[str, np.ndarray], jazz: np.ndarray, low: float, high: float, seed: int
) -> list[dict[str, Any]]:
    """A row an edit: for each label pieces, mean p, its interval, mean |Δp| and share unsure; AUC.

    Args:
        found: p(jazz) (N,) by edit, NaN where there is none.
        jazz: bool (N,).
        low, high: the classifier's band of "unsure".
        seed: of the bootstrap.
    """
    original = found["original"]
    rows = []
    for name, p in found.items():
        row: dict[str, Any] = {"edit": name}
        for label, chosen in (("jazz", jazz), ("not_jazz", ~jazz)):
            kept = chosen & np.isfinite(p) & np.isfinite(original)
            values = p[kept]
            row[label] = {"pieces": len(values), "without": int(chosen.sum()) - len(values)}
            if len(values):
                row[label] |= {
                    "mean_p": float(values.mean()),
                    "interval": interval(values, seed),
                    "moved": float(np.abs(values - original[kept]).mean()),
                    "unsure": float(((values >= low) & (values < high)).mean()),
                }
        kept = np.isfinite(p)
        area = float(auc(p[kept], jazz[kept])) if kept.any() else float("nan")
        row["auc"] = area if np.isfinite(area) else None
        rows.append(row)
    return rows


def moved_by_transposing(rows: list[dict[str, Any]]) -> float:
    """Mean |Δp| over ±1 to ±6 semitones, both labels weighing the same."""
    each = [
        row[label]["moved"] for row in rows if row["edit"] in TRANSPOSITIONS for label in LABELS
        if "moved" in row[label]
    ]  # fmt: skip
    return float(np.mean(each))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; of the transpositions their mean."""
    lines = [
        "| edit | jazz: mean p(jazz) | mean abs. change | unsure "
        "| not jazz: mean p(jazz) | mean abs. change | unsure | AUC |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [row["edit"]]
        for label in LABELS:
            side = row[label]
            if "mean_p" not in side:
                cells += ["-", "-", "-"]
                continue
            low, high = side["interval"]
            cells += [
                f"{side['mean_p']:.3f} ({low:.3f} to {high:.3f})",
                f"{side['moved']:.3f}", f"{side['unsure']:.2f}",
            ]  # fmt: skip
        cells.append("-" if row["auc"] is None else f"{row['auc']:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    moved = moved_by_transposing(rows)
    word = "below" if moved < MOST_MOVED else "NOT below"
    lines += ["", f"Transposing by 1 to 6 semitones moves p(jazz) by {moved:.3f} on average, "
              f"{word} {MOST_MOVED}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def of_split(corpus: Path, split: str) -> set[str]:
    """The paths of a corpus's pieces in one split."""
    with (corpus / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return {row["path"] for row in csv.DictReader(stream) if row["split"] == split}


@click.command(cls=PlainCommand)
@click.option("--model", type=click.Path(exists=True, path_type=Path),
              help="A classifier's folder; the shipped one if not given.")  # fmt: skip
@click.option("--archive", type=click.Path(exists=True, path_type=Path), required=True,
              help="Labelled music: a folder, an archive or a manifest.csv.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .json file.")
@click.option("--count", default=100, show_default=True, help="Pieces of each label.")
@click.option("--notes", default=500, show_default=True, help="Notes of each piece.")
@click.option("--exclude-sources", multiple=True, help="Sources to leave aside.")
@click.option("--corpus", type=click.Path(exists=True, path_type=Path),
              help="Take only the test split of this corpus of the same music.")  # fmt: skip
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(
    model: Path | None, archive: Path, out: Path, count: int, notes: int,
    exclude_sources: tuple[str, ...], corpus: Path | None, seed: int, device: str,
) -> None:  # fmt: skip
    """Mean p(jazz) of real pieces before and after changes; FILE.json and FILE.md."""
    from discriminator.classifier import Classifier  # torch: --help stays quick

    classifier = Classifier.load(model, device)
    source = Source(archive)
    testing = of_split(corpus, "test") if corpus else None
    entries = [
        entry for entry in source.entries()
        if entry.facts["source"] not in exclude_sources
        and (testing is None or entry.path in testing)
    ]  # fmt: skip
    pieces = list(read_pieces(source, drawn(entries, count, seed), notes))
    jazz = np.array([piece.jazz for piece in pieces], dtype=bool)
    if not jazz.any() or jazz.all():
        raise UserError(f"{archive}: needs readable jazz and not-jazz; give a labelled manifest")
    settings = classifier.settings
    low, high = settings.low, settings.high
    rows = rows_of(probabilities(classifier, pieces, seed), jazz, low, high, seed)
    sources = {label: sorted({p.source for p in pieces if p.jazz == (label == "jazz")})
               for label in LABELS}  # fmt: skip
    write_json(out, {
        "seed": seed, "notes": notes, "sources": sources, "band": [low, high], "rows": rows,
        "moved_by_transposing": moved_by_transposing(rows),
        "pieces": [piece.path for piece in pieces],
    })  # fmt: skip
    write_text(out.with_suffix(".md"), table(rows))
    click.echo(table(rows))


if __name__ == "__main__":
    main()
