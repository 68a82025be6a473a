"""The practice corpus: jazz and other music composed by a program from a seed and an index.

It lets a person with no data train the whole system. A brief (tempo, key, length, density,
register, loudness, timing noise) is drawn first and is blind to the label; the composer then writes
drafts until one meets it, so that a classifier finds the classes in the music and nowhere else.
"""

import csv
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import miditoolkit
import numpy as np
import symusic

from data_tools.errors import UserError
from data_tools.files import naming
from data_tools.practice import jazz, ragtime, songs
from data_tools.practice.performance import (
    Brief,
    Knobs,
    Sketch,
    draw_brief,
    play,
    revise,
)

__all__ = ["COLUMNS", "Label", "Piece", "compose", "draft", "rag", "write_practice"]

Label = Literal["jazz", "not_jazz"]
COLUMNS = ("path", "label", "source", "artist", "title", "licence", "work_group")
DRAFTS = 5


@dataclass(frozen=True)
class Piece:
    """A composed piece.

    Attributes:
        score: one piano track, 480 ticks to the beat, one tempo, no pedal.
        label: "jazz" or "not_jazz".
        form: "blues", "waltz", "chorale", ...
        key: "Eb minor".
        tempo: beats per minute.
        title: for people.
        work: name of its work group; no two pieces of a seed share one.
        swing: long over short offbeat eighth as written, 1.0 where they are even.
    """

    score: miditoolkit.MidiFile
    label: Label
    form: str
    key: str
    tempo: float
    title: str
    work: str
    swing: float


def draft(seed: int, index: int, label: Label) -> tuple[Brief, Sketch]:
    """The brief of (seed, index) and the draft that meets it best, before it is played."""
    brief = draw_brief(np.random.default_rng(np.random.SeedSequence([seed, index])))
    composer = jazz.compose if label == "jazz" else songs.compose
    music = np.random.SeedSequence([seed, index, 1 if label == "jazz" else 2])
    knobs, best, least = Knobs(), None, np.inf
    for _ in range(DRAFTS):
        # Every draft starts from the same random state: the same idea, written more or less full.
        sketch = composer(np.random.default_rng(music), brief, knobs)
        knobs, miss = revise(knobs, brief, sketch)
        if miss < least:
            best, least = sketch, miss
        if miss < 1:
            break
    assert best is not None
    return brief, best


def compose(seed: int, index: int, label: Label | None = None) -> Piece:
    """Compose one piece, a function of its arguments alone.

    Args:
        seed: names a corpus, 0 or more.
        index: the piece's number in it, 0 or more.
        label: "jazz" or "not_jazz"; by default even numbers are jazz.

    Raises:
        UserError: a negative seed or index, or an unknown label.
    """
    if seed < 0 or index < 0:
        raise UserError(f"seed {seed}, index {index}: both must be 0 or more")
    label = label or ("not_jazz" if index % 2 else "jazz")
    if label not in ("jazz", "not_jazz"):
        raise UserError(f"label {label!r}: use 'jazz' or 'not_jazz'")
    brief, sketch = draft(seed, index, label)
    # The playing takes its noise from the index and not from the label.
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, 0]))
    return _piece(sketch, brief, label, f"practice-{seed}-{index:05d}", rng)


def rag(seed: int, index: int) -> Piece:
    """Compose one rag; in every other one what is written together is struck together.

    Args:
        seed, index: 0 or more, as for `compose`; there is no piece beside it with the same brief.
    """
    brief = draw_brief(np.random.default_rng(np.random.SeedSequence([seed, index])))
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, 3]))
    # Two of these make a march's beat, of which there are 75 to 110 a minute.
    brief = replace(
        brief, tempo=round(float(rng.uniform(150, 220)), 1), jitter=brief.jitter * (index % 2 == 0)
    )
    return _piece(ragtime.compose(rng, brief), brief, "jazz", f"rag-{seed}-{index:05d}", rng)


def _piece(
    sketch: Sketch, brief: Brief, label: Label, work: str, rng: np.random.Generator
) -> Piece:
    name = sketch.form.replace("-", " ").capitalize()
    return Piece(
        score=play(sketch, brief, rng),
        label=label,
        form=sketch.form,
        key=brief.key_name,
        tempo=brief.tempo,
        title=f"{name} in {brief.key_name}, no. {int(work.rsplit('-', 1)[1])}",
        work=work,
        swing=sketch.swing,
    )


def write_practice(
    out: Path, count: int, seed: int = 0, progress: Callable[[int], None] | None = None,
    rags: bool = False,
) -> Path:  # fmt: skip
    """Compose pieces 0..count-1 of `seed` into a folder, half of them jazz, or all of them rags.

    The folder appears under its name only when it is complete.

    Args:
        out: folder to make, for `jazz/`, `manifest.csv` and, but of rags, `not_jazz/`.
        count: number of pieces.
        seed: names the corpus.
        progress: called with the number of pieces written so far.
        rags: ragtime alone, all of it jazz.

    Returns:
        The manifest's path.

    Raises:
        UserError: `out` holds something else already, or `count` is below 1.
    """
    out = Path(out)
    manifest = out / "manifest.csv"
    if count < 1:
        raise UserError(f"{out}: cannot compose {count} pieces; ask for 1 or more")
    kind = "rags" if rags else "practice pieces"
    works = [f"{'rag' if rags else 'practice'}-{seed}-{index:05d}" for index in range(count)]
    if _finished(out, works):
        return manifest
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{out}: already holds something other than {count} {kind} of seed {seed}; "
            "choose another folder or empty this one"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with naming(out):
            one = rag if rags else compose
            _write(partial, (one(seed, index) for index in range(count)), progress)
        partial.chmod(0o755)  # a temporary folder is its owner's alone
        os.replace(partial, out)
    except OSError:
        # Another process may have finished the same corpus first.
        if not _finished(out, works):
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(folder: Path, pieces: Iterable[Piece], progress: Callable[[int], None] | None) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        rows.writeheader()
        for index, piece in enumerate(pieces):
            key = piece.key.replace(" ", "-")
            path = f"{piece.label}/{index:05d}-{piece.form}-{key}.mid"
            (folder / piece.label).mkdir(exist_ok=True)
            _dump(piece.score, folder / path)
            rows.writerow({
                "path": path, "label": piece.label, "source": f"practice-{piece.form}",
                "artist": "", "title": piece.title, "licence": "CC0", "work_group": piece.work,
            })  # fmt: skip
            if progress is not None:
                progress(index + 1)


def _dump(score: miditoolkit.MidiFile, path: Path) -> None:
    """Write through symusic, several times faster than `score.dump`."""
    copy = symusic.Score(score.ticks_per_beat)
    copy.tempos.append(symusic.Tempo(0, score.tempo_changes[0].tempo))
    (track,) = score.instruments
    played = symusic.Track(track.name, track.program, track.is_drum)
    for note in track.notes:
        played.notes.append(
            symusic.Note(note.start, note.end - note.start, note.pitch, note.velocity)
        )
    copy.tracks.append(played)
    copy.dump_midi(path)


def _finished(out: Path, works: list[str]) -> bool:
    """Whether `out` is a complete corpus of just these pieces."""
    manifest = out / "manifest.csv"
    if not manifest.is_file():
        return False
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = sorted(row.get("work_group") or "" for row in rows)
    return found == works and all((out / (row["path"] or "")).is_file() for row in rows)
