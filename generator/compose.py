"""From a trained generator to piano MIDI.

A composer is a folder of three files that belong together: `model.safetensors`, `generator.json`
and `representation.json`. Every piece has its own seed, so piece number three of a batch can be
written again alone; a piece that comes out empty gives way to another seed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import miditoolkit
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from data_tools import midi
from data_tools.cards import read_card
from data_tools.errors import UserError
from data_tools.files import write_json
from data_tools.representation import Representation
from generator.merged import grammar_of
from generator.model import GeneratorModel, build
from generator.sampling import describe, sample, seeded
from generator.settings import ModelSettings

FORMAT = 1
PRETRAINED = Path(__file__).parent / "pretrained"
ATTEMPTS = 4  # seeds tried for a piece before giving up


class _Card(BaseModel):
    """What `generator.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    settings: ModelSettings
    vocabulary: int
    music_vocabulary: int
    digest: str
    default_label: str | None


@dataclass(frozen=True)
class Piece:
    """One composed piece.

    Attributes:
        midi: one piano track (of `raw`, one a part), with markers that say how it was made.
        ids: (T,) its music tokens, the prompt's first.
        prompt: how many of them are the prompt's.
        seed: composing one piece with this seed and the same choices gives it again.
        statistics: see `generator.sampling.describe`.
    """

    midi: miditoolkit.MidiFile
    ids: np.ndarray
    prompt: int
    seed: int
    statistics: dict[str, float]

    def save(self, path: str | Path) -> Path:
        """Writes the .mid file whole or not at all."""
        return midi.write(self.midi, path)


class Composer:
    """A generator with its representation, ready to write music.

    Args:
        model: its vocabulary is the representation's, conditions included.
        representation: what its tokens mean.
        default_label: the label composed for when none is asked for; None for no label token.
        device: where to sample.
    """

    def __init__(
        self,
        model: GeneratorModel,
        representation: Representation,
        default_label: str | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if model.vocab_size != representation.vocab_size:
            raise ValueError(
                f"the model knows {model.vocab_size} tokens, the representation "
                f"{representation.vocab_size}"
            )
        self.model = model.to(device).eval()
        self.representation = representation
        self.default_label = default_label
        self.device = torch.device(device)

    @classmethod
    def load(cls, folder: str | Path | None = None, device: str | torch.device = "cpu") -> Self:
        """Loads a composer from its folder, or the one this package ships.

        Raises:
            UserError: no generator there, or parts that do not belong together.
        """
        if folder is None:
            folder = PRETRAINED
            if not (PRETRAINED / "generator.json").is_file():
                raise UserError(
                    "no generator came with this install; train one with `gan train` and give "
                    "its run or checkpoint"
                )
        folder = Path(folder)
        card = read_card(folder / "generator.json", _Card, FORMAT, "generator")
        representation = Representation.load(folder / "representation.json")
        sizes = representation.vocab_size, representation.music_size
        saved = card.vocabulary, card.music_vocabulary
        if (representation.digest, *sizes) != (card.digest, *saved):
            raise UserError(
                f"{folder}: generator.json was saved with representation {card.digest} of "
                f"{saved[0]} tokens, representation.json is {representation.digest} of {sizes[0]}; "
                "copy the whole folder again"
            )
        model = build(card.vocabulary, card.settings)
        _load_weights(model, folder / "model.safetensors")
        return cls(model, representation, card.default_label, device)

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Writes the composer's folder, `generator.json` last.

        Args:
            folder: where; made if missing.
            half: store weights as float16, half the size; they load as float32 all the same.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            name: tensor.half() if half and tensor.is_floating_point() else tensor
            for name, tensor in self.model.state_dict().items()
        }
        temporary = folder / f".model.{os.getpid()}.tmp"
        save_file(weights, temporary)
        temporary.replace(folder / "model.safetensors")
        self.representation.save(folder / "representation.json")
        card = _Card(
            format=FORMAT,
            settings=self.model.settings,
            vocabulary=self.representation.vocab_size,
            music_vocabulary=self.representation.music_size,
            digest=self.representation.digest,
            default_label=self.default_label,
        )
        write_json(folder / "generator.json", card.model_dump(mode="json"))

    def compose(
        self,
        count: int = 1,
        seed: int = 0,
        *,
        length: int = 1024,
        label: str | None = None,
        artist: str | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        prompt: midi.Music | None = None,
        prompt_length: int = 512,
        min_notes: int = 8,
        batch: int = 16,
    ) -> list[Piece]:
        """Writes pieces, from nothing or on from a prompt.

        Args:
            count: how many pieces.
            seed: of the first; the others count up.
            length: most tokens a piece adds (three or four make a note).
            label: a label the model was trained with; the composer's own default where None.
            artist: an artist the model was trained with.
            temperature: under 1 safer, over 1 wilder.
            top_k: only so many of the likeliest tokens; 0 for all.
            top_p: only the likeliest tokens that together reach this probability.
            prompt: music to go on from, opening every piece.
            prompt_length: how many of the prompt's last tokens are used.
            min_notes: the model may not end a piece before it has added this many.
            batch: pieces sampled side by side.

        Raises:
            UserError: a choice out of range, an unknown label or artist, a prompt that cannot be
                read, or nothing but empty pieces.
        """
        _check(count, length, temperature, top_k, top_p, prompt_length, batch)
        label = label or self.default_label
        conditions = self._conditions(label, artist)
        opening = [self.representation.bos]
        if prompt is not None:
            opening = self._prompt(prompt, prompt_length)
        prefix = conditions + opening
        music_start = len(conditions) + (opening[0] == self.representation.bos)
        grammar = grammar_of(self.representation, self.device, self._strikes(prefix) + min_notes)
        story = _story(label, artist, temperature, top_k, top_p, prompt)

        def draw(seeds: Sequence[int]) -> list[Piece | None]:
            samples = sample(
                self.model,
                grammar,
                torch.tensor([prefix] * len(seeds), device=self.device),
                length,
                generators=seeded(seeds),
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
            )
            return [
                self._piece(ids[music_start:], len(prefix) - music_start, one, story)
                for ids, one in zip(samples.pieces(), seeds, strict=True)
            ]

        pieces: dict[int, Piece] = {}
        for attempt in range(ATTEMPTS):
            missing = [number for number in range(count) if number not in pieces]
            for first in range(0, len(missing), batch):
                part = missing[first : first + batch]
                drawn = draw([seed + attempt * count + number for number in part])
                found = zip(part, drawn, strict=True)
                pieces |= {number: piece for number, piece in found if piece is not None}
        if len(pieces) < count:
            raise UserError(
                f"seed {seed}: no notes in {length} tokens after {ATTEMPTS} tries; ask for more "
                "tokens, a temperature nearer 1 or another seed"
            )
        return [pieces[number] for number in range(count)]

    def _conditions(self, label: str | None, artist: str | None) -> list[int]:
        names = [f"label:{label}"] if label else []
        names += [f"artist:{artist}"] if artist else []
        return [self.representation.condition_id(name) for name in names]

    def _prompt(self, prompt: midi.Music, length: int) -> list[int]:
        """BOS and the whole prompt, or its last tokens if it is longer than `length`.

        The latter start with a note, after what is then in force (such as the tempo), and without
        BOS: they are the middle of a piece.
        """
        ids = self.representation.encode(self.representation.prepare(prompt).score)
        if len(ids) <= length:
            return [self.representation.bos, *ids.tolist()]
        starts = np.flatnonzero(self.representation.strikes[ids])
        starts = starts[starts >= len(ids) - length]
        if not len(starts):
            raise UserError(
                f"{midi.name_of(prompt)}: no note starts in its last {length} tokens; use more"
            )
        return [*self.representation.in_force(ids, starts[0]), *ids[starts[0] :].tolist()]

    def _strikes(self, ids: Sequence[int] | np.ndarray) -> int:
        return int(self.representation.strikes[np.asarray(ids, dtype=np.int64)].sum())

    def _piece(self, ids: np.ndarray, prompt: int, seed: int, story: str) -> Piece | None:
        """The piece these tokens stand for, or None where the model added no note."""
        score = self.representation.decode(ids)
        opening = self.representation.decode(ids[:prompt])
        if score.note_num() <= opening.note_num():
            return None
        result = midi.to_miditoolkit(score)
        result.markers = [_marker(f"{story}, seed {seed}", 0)]
        if prompt:
            # A grid step is a tick of the decoded score.
            end = int(self.representation.times(ids[:prompt])[-1])
            result.markers += [_marker("prompt", 0), _marker("generated", end)]
        return Piece(result, ids, prompt, seed, describe(score))


def _marker(text: str, tick: int) -> miditoolkit.Marker:
    # MIDI's text events are Latin-1.
    return miditoolkit.Marker(text.encode("latin-1", "replace").decode("latin-1"), tick)


def _story(
    label: str | None,
    artist: str | None,
    temperature: float,
    top_k: int,
    top_p: float,
    prompt: midi.Music | None,
) -> str:
    parts = [f"composed by a transformer, temperature {temperature:g}"]
    parts += [f"label {label}"] if label else []
    parts += [f"artist {artist}"] if artist else []
    parts += [f"top-k {top_k}"] if top_k else []
    parts += [f"top-p {top_p:g}"] if top_p < 1 else []
    if prompt is not None:
        name = Path(prompt).name if isinstance(prompt, str | Path) else midi.name_of(prompt)
        parts.append(f"prompt {name}")
    return ", ".join(parts)


def _check(
    count: int,
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    prompt_length: int,
    batch: int,
) -> None:
    rules = {
        f"count {count}: ask for at least one piece": count >= 1,
        f"length {length}: ask for at least one token": length >= 1,
        f"temperature {temperature:g}: must be above 0": temperature > 0,
        f"top-k {top_k}: must be 0 (no limit) or more": top_k >= 0,
        f"top-p {top_p:g}: must be above 0 and at most 1": 0 < top_p <= 1,
        f"prompt length {prompt_length}: use at least one token": prompt_length >= 1,
        f"batch {batch}: must be at least 1": batch >= 1,
    }
    for message, holds in rules.items():
        if not holds:
            raise UserError(message)


def _load_weights(model: GeneratorModel, path: Path) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as weights ({error})") from None
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        wrong = sorted(set(found.items()) ^ set(expected.items()))[0][0]
        raise UserError(f"{path}: does not fit generator.json (weight '{wrong}')")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise UserError(f"{path}: the weights hold infinities or NaN; train the model again")
    model.load_state_dict(weights)
