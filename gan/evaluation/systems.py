"""What is compared: generators, by run or folder or name, and folders of MIDI from anywhere.

Everything becomes token ids of one representation and one length, so that all figures are of the
same kind of excerpt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.files import MIDI_SUFFIXES, parse_json
from data_tools.representation import EOS, Representation
from data_tools.sources import Source as MusicSource
from discriminator.reading import read_piece
from gan.evaluation.report.content import REAL
from gan.run import generator_folder
from generator.compose import Composer
from generator.folder import SHIPPED

FEWEST = 32  # tokens of a file that is used


@dataclass
class Written:
    """A system's music.

    Attributes:
        name: of the system.
        where: as given.
        pieces: token ids, at most `length` each.
        composer: what wrote them, None for files.
        settings: of a run, as it recorded them.
        unfinished: the checkpoint that wrote them, where its run has not come to its end.
        curves: losses by step, of a run.
        refused: files that could not be used, with the reason.
        other: files left out because their folder or manifest calls them other than jazz.
        sweep: pieces at other settings, by "temperature 0.9" and the like.
    """

    name: str
    where: str
    pieces: list[np.ndarray]
    composer: Composer | None = None
    settings: str = ""
    unfinished: str = ""
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    other: int = 0
    sweep: dict[str, list[np.ndarray]] = field(default_factory=dict)


def named(words: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=WHERE or WHERE, as (name, where).

    Raises:
        UserError: a name is given twice, is taken, or is no name for a folder; nothing is named.
    """
    found = []
    for word in words:
        name, where = _parted(word)
        if not where:
            raise UserError(f"'{word}': nothing after the name; give NAME=WHERE")
        found.append((name or Path(where).absolute().name, where))
    names = [name for name, _ in found]
    for name in names:
        # Samples are written to a folder of the name.
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise UserError(f"'{name}' cannot name a folder of samples; give another NAME=WHERE")
        if name == REAL:
            raise UserError(f"'{name}' is what the music of --real is called; give another name")
        if names.count(name) > 1:
            same = [where for each, where in found if each == name]
            raise UserError(
                f"two systems are called '{name}'; give each its own name: A={same[0]} B={same[1]}"
            )
    return found


def _parted(word: str) -> tuple[str, str]:
    """Name and place; a sign in the place's own name, as in runs/lr=0.1, parts nothing."""
    if Path(word).exists():
        return "", word
    cuts = [place for place, character in enumerate(word) if character == "="]
    there = (cut for cut in cuts if word[cut + 1 :] and Path(word[cut + 1 :]).exists())
    cut = next(there, cuts[-1] if cuts else -1)
    return word[: max(cut, 0)], word[cut + 1 :]


@dataclass(frozen=True)
class Source:
    """Where a system's music comes from.

    Attributes:
        name: of the system.
        where: as given.
        composer: what is to write it; None for a folder of MIDI.
        unfinished: the checkpoint it is from, where its run has not come to its end.
    """

    name: str
    where: str
    composer: Composer | None
    unfinished: str = ""


def opened(name: str, where: str, representation: Representation, device: str) -> Source:
    """Finds a system and loads what writes, so that a wrong one is known before any is measured.

    Args:
        name, where: of the system.
        representation: what its pieces will be wanted in.
        device: where to sample.

    Raises:
        UserError: nothing there, or a generator of another representation.
    """
    place, unfinished = Path(where), ""
    if where not in (*SHIPPED, "shipped") and _files(place) and not _is_generator(place):
        return Source(name, where, None)
    if where == "shipped":
        composer = Composer.load(None, device)
    elif where in SHIPPED and not place.exists():
        composer = Composer.load(where, device)
    elif place.is_dir() and _is_generator(place):
        folder = generator_folder(place)
        composer = Composer.load(folder, device)
        unfinished = folder.name if folder.parent == place / "checkpoints" else ""
    else:
        what = "there is nothing here"
        if place.exists():
            what = "no MIDI file and no generator in it" if place.is_dir() else "no folder"
        raise UserError(
            f"{where}: {what}; give a run, a generator's folder or a folder of MIDI, or say "
            "'shipped'"
        )
    if composer.representation.plain.music_digest != representation.music_digest:
        raise UserError(f"{where}: writes other tokens than the real music is read in")
    return Source(name, where, composer, unfinished)


def written(
    source: Source,
    representation: Representation,
    count: int,
    length: int,
    seed: int,
    sweep: Sequence[dict[str, float]] = (),
    **choice: Any,
) -> Written:
    """The music of a system: composed now, or read from its files.

    Args:
        source: the system.
        representation: what the pieces are wanted in.
        count: pieces.
        length: tokens of each at most.
        seed: of the first piece.
        sweep: other choices to sample as many pieces with.
        choice: see `generator.choice.Choice`.

    Raises:
        UserError: no file of a folder can be used.
    """
    composer, place = source.composer, Path(source.where)
    if composer is None:
        return _read(source.name, place, representation, count, length)

    def compose(**choices: Any) -> list[np.ndarray]:
        pieces = composer.compose(count, seed, length=length, batch=32, **choices)
        music = [composer.representation.expand(piece.ids[piece.ids > EOS]) for piece in pieces]
        return [ids[:length] for ids in music]  # merged tokens stand for more than one

    result = Written(source.name, source.where, compose(**choice), composer)
    result.unfinished, result.curves = source.unfinished, _curves(place)
    if (record := place / "settings.yaml").is_file():
        result.settings = record.read_text(encoding="utf-8", errors="replace")
    for other in sweep:
        label = ", ".join(f"{key.replace('_', '-')} {value:g}" for key, value in other.items())
        result.sweep[label] = compose(**(choice | {"top_p": 1.0, "opening": 0} | other))
    return result


def real_music(
    where: Path, split: str, exclude: Sequence[str], length: int, most: int
) -> tuple[Written, Representation, Corpus | None]:
    """Real jazz to hold everything against: a corpus's split, or the files of a folder.

    Raises:
        UserError: fewer than two pieces, of which no bounds can be drawn, or changed tokens.
    """
    corpus = None
    if (where / "corpus.json").is_file():
        corpus = Corpus(where)
        corpus.verify()  # or all would be held against what nobody played
        numbers = np.random.default_rng(0).permutation(corpus.select(split, "jazz", exclude))
        pieces = [np.asarray(corpus.piece(int(n))[:length]).astype(int) for n in numbers]
        pieces = [piece for piece in pieces if len(piece) >= FEWEST][:most]
        if not pieces:
            raise UserError(f"{where}: no jazz in its split '{split}'")
        representation, found = corpus.representation, Written(REAL, "", pieces)
    elif _is_generator(where):
        raise UserError(f"{where}: a generator, or a run; give real music: a corpus or a folder")
    else:
        representation = Representation()
        found = _read(REAL, where, representation, most, length, jazz_alone=True)
    if len(found.pieces) < 2:
        of = f" (in its split '{split}')" if corpus else ""
        way = "choose another --split, or give a folder of MIDI" if corpus else "give more"
        raise UserError(f"{where}: one piece of real jazz{of} is too few to compare with; {way}")
    return found, representation, corpus


def _is_generator(place: Path) -> bool:
    return any((place / name).exists() for name in ("generator.json", "generator", "checkpoints"))


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(path for path in place.rglob("*") if path.name.lower().endswith(MIDI_SUFFIXES))


def _labelled_other(place: Path) -> set[Path]:
    """Files of a folder that their folders or its manifest call other than jazz."""
    source = MusicSource(place)
    labels = {entry.path: entry.facts["label"] for entry in source.entries()}
    labels |= {name: source.label_above(name) for name in source.unlisted()}
    return {place / name for name, label in labels.items() if label == "not_jazz"}


def _read(
    name: str,
    place: Path,
    representation: Representation,
    count: int,
    length: int,
    jazz_alone: bool = False,
) -> Written:
    """Pieces of a folder; with `jazz_alone`, without what its folders or manifest call other."""
    result = Written(name, str(place), [])
    other = _labelled_other(place) if jazz_alone else set()
    result.other = len(other)
    # Not the first by name, which may all be of one artist or source.
    files = _files(place)
    for number in np.random.default_rng(0).permutation(len(files)):
        path = files[number]
        if len(result.pieces) == count:
            break
        if path in other:
            continue
        reading = read_piece(path, representation)
        ids = reading.ids[:length].astype(int)
        if reading.error:
            result.refused.append((str(path), reading.error))
        elif len(ids) < FEWEST:
            result.refused.append((str(path), f"only {len(ids)} tokens"))
        else:
            result.pieces.append(ids)
    if not result.pieces:
        aside = f", {result.other} labelled not_jazz" if result.other else ""
        raise UserError(
            f"{place}: no MIDI file that could be used ({len(result.refused)} refused{aside})"
        )
    return result


def _curves(place: Path) -> dict[str, list[tuple[float, float]]]:
    """Losses of a run, training and validation."""
    names = {
        "validation/bits_per_note": "bits a note, validation",
        "train/bits_per_note": "bits a note, training music",
        "loss/ce": "cross-entropy, nats a token",
        "discriminator/p_jazz_generated": "p(jazz) of rollouts, discriminator",
        "guard/p_jazz_judge": "p(jazz) of rollouts, judge",
    }
    found: dict[str, list[tuple[float, float]]] = {}
    metrics = place / "metrics.jsonl"
    if metrics.is_file():
        for line in metrics.read_bytes().splitlines():
            try:
                point = parse_json(line)
                seen = {says: float(point[key]) for key, says in names.items() if key in point}
                step = float(point["step"])
            except (ValueError, KeyError, TypeError, OverflowError):
                continue  # a run that is writing, or was killed: half a line; or a damaged one
            for says, value in seen.items():
                found.setdefault(says, []).append((step, value))
    return found
