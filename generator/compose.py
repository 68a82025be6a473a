"""From a trained generator to piano MIDI.

A composer is a folder of three files that belong together: `model.safetensors`, `generator.json`
and `representation.json`. Every piece has its own seed, so piece number three of a batch can be
written again alone; a piece that comes out empty gives way to another seed.
"""

import math
import operator
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import miditoolkit
import numpy as np
import torch
from torch import Tensor

from data_tools import midi
from data_tools.errors import UserError
from data_tools.representation import EOS, PAD, Representation, TokenType
from generator.arrange import WHISTLE_NAME, arrange
from generator.degenerate import describe
from generator.ending import last_pause
from generator.folder import load_folder, save_folder
from generator.model import GeneratorModel
from generator.prompt import Prompt
from generator.request import ATTEMPTS, FEWEST_NOTES, Request, length_of, request_of, seconds_at
from generator.sampling import seeded, stream
from generator.steering import Steering

Streamed = tuple[float, float, int, int]  # a note; see `Composer.stream`
STRIDE = 1_000_000_007  # between the seeds of a piece's tries: beyond all counts


@dataclass(frozen=True)
class Piece:
    """One composed piece.

    Attributes:
        midi: one piano track (of `raw`, one a part), with markers that say how it was made.
        ids: (T,) its music tokens, the prompt's first.
        prompt: how many of them are the prompt's.
        seed: composing one piece with this seed and the same choices gives it again.
        statistics: see `generator.degenerate.describe`.
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
        model: its vocabulary is the representation's, conditions included. It is not copied: it is
            moved to `device` and put in eval mode, and who trains it on calls its `train()`.
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
        model, representation, default_label = load_folder(folder)
        return cls(model, representation, default_label, device)

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Writes the composer's folder, `generator.json` last.

        Args:
            folder: where; made if missing.
            half: store weights as float16, half the size; they load as float32 all the same.
        """
        save_folder(folder, self.model, self.representation, self.default_label, half)

    def compose(
        self,
        count: int = 1,
        seed: int = 0,
        *,
        length: int | None = None,
        seconds: float | None = None,
        label: str | None = None,
        artist: str | None = None,
        key: str | None = None,
        tempo: float | None = None,
        prompt: midi.Music | Prompt | None = None,
        prompt_length: int = 512,
        prompt_bars: float | None = None,
        prompt_seconds: float | None = None,
        whistle: bool = False,
        min_notes: int = FEWEST_NOTES,
        end_at_pause: bool = False,
        batch: int = 16,
        steering: Steering | None = None,
        told: str = "",
        **choice: Any,
    ) -> list[Piece]:
        """Writes pieces, from nothing or on from a prompt.

        Args:
            count: how many pieces.
            seed: of the first; the others count up.
            length: most tokens a piece adds (three or four make a note); 1024, or as many as the
                seconds may take.
            seconds: no note of a piece begins after so many of its file's, prompt and whistle
                included; it has so many if its length reaches so far.
            label: a label the model was trained with, or "none"; the composer's own default where
                None.
            artist: an artist the model was trained with.
            key: such as "Bb" or "F#m": notes outside it become less likely; drums have none.
            tempo: quarters a minute; on the clock the file's bars, on the beat how it opens.
            prompt: music to go on from, opening every piece; or what was read of it already, by
                `read_prompt` and for these choices.
            prompt_length: how many of a long prompt's last tokens are used.
            prompt_bars: only the first bars of the prompt, from that of its first note on, with a
                rest at their end.
            prompt_seconds: only the first seconds of the prompt, from its first note on, with a
                rest at their end as far as the bar of the last note goes.
            whistle: a short signal on a channel of its own between prompt and continuation.
            min_notes: the model may not end a piece before it has added this many.
            end_at_pause: what would break off, for want of tokens or seconds, ends at a pause; see
                `generator.ending`.
            batch: pieces sampled side by side.
            steering: chooses among several continuations of each piece while it is written.
            told: what the first marker is to say besides, such as who the model is.
            choice: how tokens are chosen; the fields of `Choice`.

        Raises:
            UserError: a choice out of range, an unknown label or artist, a prompt that cannot be
                read, or a piece that stays empty. To keep the others then, see `each`.
        """
        pieces = list(
            self.each(
                count, seed, length=length, seconds=seconds, label=label, artist=artist, key=key,
                tempo=tempo, prompt=prompt, prompt_length=prompt_length, prompt_bars=prompt_bars,
                prompt_seconds=prompt_seconds, whistle=whistle, min_notes=min_notes,
                end_at_pause=end_at_pause, batch=batch, steering=steering, told=told, **choice,
            )
        )  # fmt: skip
        first = operator.index(seed)
        missing = [first + number for number, piece in enumerate(pieces) if piece is None]
        if missing:
            raise empty(missing, length_of(length, seconds))
        return [piece for piece in pieces if piece is not None]

    def each(
        self,
        count: int = 1,
        seed: int = 0,
        *,
        length: int | None = None,
        batch: int = 16,
        steering: Steering | None = None,
        **choices: Any,
    ) -> Iterator[Piece | None]:
        """Writes pieces as `compose` does, and gives them batch by batch.

        Args:
            count, seed, length, batch, steering: see there.
            choices: its other choices.

        Returns:
            Piece after piece in order; None for one that stays empty after all its tries.

        Raises:
            UserError: as `compose`, but for empty pieces; at once, before the first is written.
        """
        # Not NumPy's: torch refuses them as seeds, and they overflow.
        count, seed = operator.index(count), operator.index(seed)
        request = self._request(count=count, seed=seed, length=length, batch=batch, **choices)
        return self._each(request, count, seed, batch, steering)

    def _each(
        self, request: Request, count: int, seed: int, batch: int, steering: Steering | None
    ) -> Iterator[Piece | None]:
        for first in range(0, count, batch):
            part = range(first, min(first + batch, count))
            pieces: dict[int, Piece] = {}
            for attempt in range(ATTEMPTS):
                missing = [number for number in part if number not in pieces]
                if not missing:
                    break
                seeds = [seed_of(seed + number, attempt) for number in missing]
                found = zip(missing, self._draw(request, seeds, steering), strict=True)
                pieces |= {number: piece for number, piece in found if piece is not None}
            yield from (pieces.get(number) for number in part)

    def stream(self, seed: int = 0, **choices: Any) -> Generator[Streamed, None, bool]:
        """Writes one piece and gives its notes as soon as they are certain.

        That is when they have ended: a pitch struck again cuts what is left of its last note.

        Args:
            seed: of the piece.
            choices: as for `compose`, but for count, batch, whistle, end_at_pause and steering.

        Returns:
            Onset and length in seconds (on the beat: in quarters), pitch, velocity of each; at the
            end whether the length ended it.

        Raises:
            UserError: as `compose`; at once.
        """
        seed = operator.index(seed)
        return self._stream(self._request(count=1, seed=seed, batch=1, **choices), seed)

    def _stream(self, request: Request, seed: int) -> Generator[Streamed, None, bool]:
        told, cut = 0, False
        for ids in self._tokens(request, [seed], None):
            # Nothing but a moment's passing can end a note.
            music = ids[0, request.music_start :].numpy(force=True)
            if music[-1] <= EOS:
                break
            if not self._moves[music[-1]]:
                continue
            if request.seconds and self._seconds(music) >= request.seconds:
                break
            now = int(self.representation.times(music)[-1])
            notes = self._notes(music, now)
            yield from notes[told:]
            told = max(told, len(notes))
        else:
            cut = True
        yield from self._notes(self._kept(music, request))[told:]
        return cut

    def _notes(self, music: np.ndarray, until: int | None = None) -> list[Streamed]:
        """The notes of some music ids in the order of their ends; see `stream`.

        Args:
            music: (T,).
            until: only those that have ended before this step, at which a pitch may yet be struck
                again; all of them, if not given.
        """
        unit = self.representation.grid_seconds
        if self.representation.settings.time_base == "beat":
            unit = 1 / self.representation.steps_per_beat
        notes = self.representation.events(music, close=until is None).notes
        order = np.lexsort((notes.pitch, notes.start, notes.end))
        return [
            (
                float(notes.start[index]) * unit,
                float(notes.end[index] - notes.start[index]) * unit,
                int(notes.pitch[index]),
                int(notes.velocity[index]),
            )
            for index in order
            if until is None or notes.end[index] < until
        ]

    def _request(self, **choices: Any) -> Request:
        device, family = self.device, self.model.settings.kind
        return request_of(self.representation, family, device, self.default_label, **choices)

    def _tokens(
        self, request: Request, seeds: Sequence[int], steering: Steering | None
    ) -> Iterator[Tensor]:
        """Ids (B, P + s) of the pieces as they grow; with steering, B companions of each seed."""
        width = steering.width if steering else 1
        rows = [seed if not k else derived(seed, k) for seed in seeds for k in range(width)]
        without = request.without
        yield from stream(
            self.model,
            request.grammar,
            torch.tensor([request.prefix] * len(rows), device=self.device),
            request.length,
            generators=seeded(rows),
            choice=request.choice,
            bias=request.bias,
            unconditioned=torch.tensor([without] * len(rows), device=self.device)
            if without
            else None,
            reselect=steering.over(seeds, request.music_start) if steering else None,
        )

    def _draw(
        self, request: Request, seeds: Sequence[int], steering: Steering | None
    ) -> list["Piece | None"]:
        """One piece a seed, None where the model added no note."""
        start = len(request.prefix)
        # Where companions have just been chosen among: in the middle of a block none is better.
        every = steering.block if steering else 64
        enough = (request.seconds or 0.0) * _slower(request.prompt, self.representation)
        for number, grown in enumerate(self._tokens(request, seeds, steering), start=1):
            ids = grown
            if request.seconds and number % every == 0:
                # What has ended gets no later, however long it is waited for.
                going = [row for row in ids.numpy(force=True) if row[-1] > EOS]
                ends = [self._seconds(row[request.music_start :]) for row in going]
                if min(ends, default=math.inf) > enough:
                    break
        width = steering.width if steering else 1
        pieces: list[Piece | None] = []
        for row, seed in zip(ids[::width].numpy(force=True), seeds, strict=True):
            length = start + int((row[start:] != PAD).sum())
            pieces.append(self._piece(row[request.music_start : length], seed, request))
        return pieces

    def _seconds(self, music: np.ndarray) -> float:
        """When the last of some music ids stands."""
        music = music[music > EOS]
        return float(seconds_at(self.representation, music)[-1]) if len(music) else 0.0

    def _kept(self, ids: np.ndarray, request: Request) -> np.ndarray:
        """The music ids of a piece, up to the seconds asked for."""
        if not request.seconds:
            return ids
        music = ids[ids > EOS]
        late = seconds_at(self.representation, music)
        return music[: max(_given(request), int(np.searchsorted(late, request.seconds)))]

    def _piece(
        self, ids: np.ndarray, seed: int, request: Request, until: float | None = None
    ) -> Piece | None:
        """The piece these tokens stand for, or None where the model added no note.

        Args:
            ids: (T,) its music tokens, the prompt's first.
            seed: of the piece.
            request: what was asked for.
            until: when it ends, in seconds; with its tokens, if not given.
        """
        prompt, written = _given(request), ids
        if not prompt:  # after one the file's own seconds count, see below
            ids = self._kept(ids, request)
        score = self.representation.decode(ids)
        given = self.representation.decode(ids[:prompt]).note_num()
        if score.note_num() <= given:
            return None
        story = replace(request.arrangement, story=f"{request.arrangement.story}, seed {seed}")
        result = arrange(self.representation, ids, prompt, request.prompt, story)
        if prompt and (late := _late(result, request.seconds)):
            # In the file they come at other times than their tokens say: it begins with a whole
            # bar, a whistle takes its time, and the prompt has its own tempos.
            begun = self.representation.strikes[ids].cumsum()
            stop = int(np.searchsorted(begun, score.note_num() - late, side="right"))
            return self._piece(ids[: max(prompt, stop)], seed, request)
        if request.end_at_pause and (written[-1] != EOS or len(ids) < (written > EOS).sum()):
            music = ids[ids > EOS]
            stop = last_pause(self.representation, music, prompt)
            until = None if stop == len(music) else 0.0  # that pause is an end, and no silence
            plain = replace(request, end_at_pause=False)
            return self._piece(music[:stop], seed, plain, until)
        statistics = describe(score, given, self._seconds(ids) if until is None else until)
        if prompt:
            statistics |= _in_file(result, statistics["generated"])
        return Piece(result, ids, prompt, seed, statistics)

    @cached_property
    def _moves(self) -> np.ndarray:
        """(V,) bool: tokens after which earlier notes are certain."""
        kinds = [TokenType.TIME_SHIFT, TokenType.BAR, TokenType.POSITION]
        return np.isin(self.representation.token_types, kinds)


def _slower(prompt: Prompt | None, representation: Representation) -> float:
    """How many seconds of tokens a second of the file may hold: none says a tempo so fast."""
    if prompt is None or not len(prompt.tempos):
        return 1.0
    known = representation.token_values[representation.token_types == TokenType.TEMPO]
    fastest = float(known.max()) if len(known) else 120.0
    return max(1.0, float(prompt.tempos[:, 1].max()) / fastest)


def _late(piece: miditoolkit.MidiFile, seconds: float | None) -> int:
    """How many notes begin so many seconds into a file, or later."""
    if not seconds:
        return 0
    starts = np.array([note.start for note in _music(piece)])
    return int((midi.seconds_of(midi.read(piece), starts) >= seconds).sum())


def _in_file(piece: miditoolkit.MidiFile, generated: float) -> dict[str, float]:
    """What a file with a prompt has of notes and seconds: tokens do not tell.

    On their grid a prompt's grace note may fall into the next one; for seconds see `_piece`.
    """
    ends = np.array([note.end for note in _music(piece)])
    seconds = float(midi.seconds_of(midi.read(piece), ends).max())
    notes = float(len(ends))
    return {"notes": notes, "seconds": seconds, "of_prompt": notes - generated}


def _music(piece: miditoolkit.MidiFile) -> list[miditoolkit.Note]:
    """All notes but the whistle."""
    parts = [part for part in piece.instruments if part.name != WHISTLE_NAME]
    return [note for part in parts for note in part.notes]


def _given(request: Request) -> int:
    """How many of a piece's music tokens are the prompt's."""
    return len(request.prefix) - request.music_start if request.prompt else 0


def seed_of(seed: int, attempt: int) -> int:
    """The seed of a try at the piece of a seed; the first try has the piece's own.

    However many are asked for with it: some of them, written alone, are the same pieces.
    """
    return (seed + attempt * STRIDE) % 2**63


def empty(seeds: Sequence[int], length: int) -> UserError:
    """The complaint that pieces of these seeds have no notes."""
    which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return UserError(
        f"{which}: no notes in {length} tokens after {ATTEMPTS} tries; ask for more tokens or "
        "seconds, a temperature nearer 1 or another seed"
    )


def derived(seed: int, companion: int) -> int:
    """The seed of a companion of a piece."""
    return ((seed + 1) * 1_000_003 + companion) % 2**63
