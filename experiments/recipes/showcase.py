"""A report to look at and listen to, made in a minute on one core from what the package ships.

    python -m experiments.recipes.showcase --out showcase.html

Two ways of sampling from the shipped generator stand in for two systems, beside the practice
corpus's composed jazz. It shows what the page can do; a handful of pieces finds nothing out.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import miditoolkit
import numpy as np

from data_tools.midi import merged_notes, prepare, seconds_of
from data_tools.practice import compose
from discriminator.attribution import explain
from discriminator.classifier import Classifier
from gan.evaluation.report import (
    REAL,
    Confusion,
    Figure,
    Frontier,
    Histogram,
    Measure,
    Point,
    Report,
    Sample,
    System,
    write_report,
)
from gan.plain import PlainCommand
from generator.compose import Composer

WAYS: dict[str, dict[str, Any]] = {"Careful": {"top_p": 0.9}, "Free": {}}
STORIES = {
    "Careful": "The shipped generator, drawing only from the likeliest nine tenths of its tokens.",
    "Free": "The same generator, drawing from all of its tokens.",
}
PRACTICE = "Practice jazz"
TEMPERATURES = (0.7, 0.85, 1.0)
SHOWN = 0.85  # whose pieces are heard
PROMPT_SECONDS = 8.0
LENGTH = 3000  # tokens: enough for the seconds asked for
CURVE = Path(__file__).parents[1] / "results" / "archive.json"
MEASURES = {
    "p(jazz)": Measure("higher", "What the shipped classifier makes of a piece, on average.", 2),
    "notes a second": Measure("", "How busy the music is.", 1),
    "new 4-grams": Measure(
        "higher", "The share of four-pitch sequences not heard before in the same piece.", 2
    ),
}


@dataclass(frozen=True)
class Heard:
    """A piece and what is measured of it."""

    title: str
    music: miditoolkit.MidiFile
    begins: float | None
    figures: dict[str, float]
    notes: np.ndarray  # (N, 4) onset, length in seconds, pitch, velocity
    p_jazz: tuple[tuple[float, float], ...]
    verdict: str


def heard(
    title: str, music: miditoolkit.MidiFile, classifier: Classifier, begins: float | None = None
) -> Heard:
    """Measures one piece."""
    score = prepare(music).score
    notes = merged_notes(score)
    start, end = seconds_of(score, notes.start), seconds_of(score, notes.end)
    table = np.stack([start, end - start, notes.pitch, notes.velocity], 1)
    found = explain(classifier, music, method="gradient")
    grams = [tuple(notes.pitch[n : n + 4]) for n in range(len(notes) - 3)]
    figures = {
        "p(jazz)": found.p_jazz,
        "notes a second": len(notes) / max(float(end.max()), 1e-3),
        "new 4-grams": len(set(grams)) / max(len(grams), 1),
    }
    curve = tuple(((m.start_s + m.end_s) / 2, m.p_jazz) for m in found.curve)
    return Heard(title, music, begins, figures, table, curve, found.verdict)


def written(
    composer: Composer, classifier: Classifier, count: int, seconds: float, choice: dict[str, Any]
) -> list[Heard]:
    """Pieces of the generator, every other one continuing a practice piece."""
    alone, grid = (count + 1) // 2, composer.representation.grid_seconds
    pieces = composer.compose(alone, seed=1, length=LENGTH, seconds=seconds, **choice)
    found = [heard(f"From nothing, no. {n + 1}", p.midi, classifier) for n, p in enumerate(pieces)]
    for number in range(count - alone):
        tune = compose(1, 2 * number, "jazz")
        (piece,) = composer.compose(
            1, seed=number, length=LENGTH, seconds=seconds,
            prompt=tune.score, prompt_seconds=PROMPT_SECONDS, **choice,
        )  # fmt: skip
        begins = float(composer.representation.times(piece.ids)[piece.prompt - 1]) * grid
        found.append(heard(f"On from “{tune.title}”", piece.midi, classifier, begins))
    return found


def figures(pieces: Sequence[Heard], seed: int = 0) -> dict[str, Figure]:
    """Means over pieces, the pieces drawn with replacement for the intervals."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(pieces), size=(1000, len(pieces)))
    found = {}
    for name in MEASURES:
        values = np.array([piece.figures[name] for piece in pieces])
        low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
        found[name] = Figure(float(values.mean()), float(low), float(high))
    return found


def histograms(pieces: dict[str, list[Heard]]) -> list[Histogram]:
    """Pitch classes, lengths and velocities of each system's pieces."""
    names = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"]
    tables = {name: np.concatenate([p.notes for p in group]) for name, group in pieces.items()}

    def of(
        name: str, bins: Any, edges: np.ndarray, column: np.ndarray, unit: str = ""
    ) -> Histogram:
        counts = {s: np.histogram(t @ column % 12 if unit == "%" else t @ column, edges)[0].tolist()
                  for s, t in tables.items()}  # fmt: skip
        real = counts.pop(PRACTICE)
        return Histogram(name, bins, counts, real, "" if unit == "%" else unit)

    lengths, velocities = np.linspace(0, 1.5, 16), np.linspace(0, 128, 17)
    pitch, length, velocity = np.eye(4)[[2, 1, 3]]
    return [
        of("pitch class", names, np.arange(13), pitch, "%"),
        of("length of notes", lengths.tolist(), lengths, length, "seconds"),
        of("velocity", velocities.tolist(), velocities, velocity),
    ]


def confusion(
    pieces: dict[str, list[Heard]], classifier: Classifier, count: int
) -> list[Confusion]:
    """What the classifier says of the systems and of practice music of both kinds."""
    other = [classifier.score(compose(2, n, "not_jazz").score).verdict for n in range(count)]
    said = {name: [piece.verdict for piece in group] for name, group in pieces.items()}
    rows = [
        Confusion(name, "jazz" if name == PRACTICE else "", words.count("jazz"),
                  words.count("not_jazz"), words.count("unsure"))
        for name, words in said.items()
    ]  # fmt: skip
    rows.append(
        Confusion("Practice songs", "not_jazz", other.count("jazz"), other.count("not_jazz"),
                  other.count("unsure"))
    )  # fmt: skip
    return rows


def system(name: str, story: str, settings: str, pieces: Sequence[Heard]) -> System:
    """A system of the page."""
    samples = [
        Sample(piece.title, piece.music, p_jazz=piece.p_jazz, begins=piece.begins)
        for piece in pieces
    ]
    curves = {}
    if name in WAYS and CURVE.is_file():
        content = json.loads(CURVE.read_text("utf-8"))
        curves = {"held-out bits per note": content["archive"]["curve"]}
    return System(name, story, settings, figures(pieces), curves, samples)


def verdict(systems: Sequence[System]) -> str:
    """What so few pieces can say."""
    told = []
    for one in systems[: len(WAYS)]:
        p = one.figures["p(jazz)"]
        told.append(f"{one.name.lower()} {p.value:.2f} ({p.low:.2f} to {p.high:.2f})")
    return (
        "One generator, asked to be careful and left free. The shipped classifier gives its pieces "
        f"a p(jazz) of, on average, {' and '.join(told)}. Which is the better to listen to, no "
        "classifier can say: switch to blind listening and choose."
    )


def showcase(count: int, seconds: float) -> Report:
    """Composes, measures and arranges everything."""
    composer, classifier = Composer.load(), Classifier.load()
    pieces: dict[str, list[Heard]] = {}
    points = []
    for name, choice in WAYS.items():
        for temperature in TEMPERATURES:
            settings = {**choice, "temperature": temperature}
            group = written(composer, classifier, count, seconds, settings)
            found = figures(group)
            setting = f"temperature {temperature:g}"
            points.append(Point(name, setting, found["p(jazz)"], found["new 4-grams"]))
            if temperature == SHOWN:
                pieces[name] = group
    tunes = [compose(1, 2 * number, "jazz") for number in range(count)]
    pieces[PRACTICE] = [heard(tune.title, tune.score, classifier) for tune in tunes]
    found = figures(pieces[PRACTICE])
    points.append(Point(REAL, "practice jazz", found["p(jazz)"], found["new 4-grams"]))
    systems = [
        system(name, STORIES[name], f"temperature: {SHOWN}\ntop_p: {choice.get('top_p', 1.0)}",
               pieces[name])
        for name, choice in WAYS.items()
    ]  # fmt: skip
    story = "Jazz composed by a program, the practice corpus: what to hold them against."
    systems.append(system(PRACTICE, story, "", pieces[PRACTICE]))
    return Report(
        title="One generator, sampled two ways",
        verdict=verdict(systems),
        systems=systems,
        measures=MEASURES,
        frontier=Frontier(points, "p(jazz)", "new 4-grams"),
        histograms=histograms(pieces),
        confusion=confusion(pieces, classifier, count),
        note=f"{count} pieces a system; made with: python -m experiments.recipes.showcase "
        f"{shlex.join(sys.argv[1:])}",
    )


@click.command(cls=PlainCommand)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The page, .html.")
@click.option("--samples", default=4, show_default=True, type=click.IntRange(1, 64),
              help="Pieces a system.")  # fmt: skip
@click.option("--seconds", default=30.0, show_default=True,
              type=click.FloatRange(2 * PROMPT_SECONDS, 600),
              help="Length of a piece.")  # fmt: skip
def main(out: Path, samples: int, seconds: float) -> None:
    """Make a page from the shipped generator and classifier, to look at and listen to."""
    write_report(showcase(samples, seconds), out)
    click.echo(f"{out}  {out.stat().st_size / 2**20:.1f} MB; open it in a browser")


if __name__ == "__main__":
    main()
