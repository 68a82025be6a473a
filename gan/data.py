"""Batches as functions of (seed, step): a killed run draws on exactly as it would have.

Shapes: B batch, T tokens.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_tools.augment import Augmenter
from data_tools.bytepair import MergedRepresentation
from data_tools.corpus import Corpus
from data_tools.corrupt import Corruptor
from data_tools.errors import UserError
from data_tools.neutralise import Neutraliser, reach
from data_tools.representation import BOS, EOS, PAD, Representation
from data_tools.settings import AugmentSettings, NeutraliseSettings, ThinningSettings
from data_tools.thinning import Thinner
from gan.engine import numpy_generator
from gan.ranks import Ranks


def conditions_of(
    corpus: Corpus, kind: str, artist_pieces: int, exclude_sources: Sequence[str] = ()
) -> tuple[str, ...]:
    """Names of the condition tokens a generator of this corpus gets.

    Args:
        corpus: read for its labels and for artists with enough pieces in train.
        kind: "none", "label" or "artist".
        artist_pieces: pieces an artist needs.
        exclude_sources: sources that are not trained on.
    """
    if kind == "none":
        return ()
    train = [
        corpus.rows[number] for number in corpus.select("train", exclude_sources=exclude_sources)
    ]
    names = [f"label:{label}" for label in sorted({row["label"] for row in train})]
    if kind == "artist":
        pieces = Counter(row["artist"] for row in train if row["artist"])
        names += [f"artist:{name}" for name in sorted(pieces) if pieces[name] >= artist_pieces]
    return tuple(names)


class GeneratorWindows:
    """Training windows: every token of every piece once an epoch, cut at fresh places.

    A window is `[conditions] [BOS] music [EOS]`, the conditions always at its head, cut from one
    piece and padded at the right. A piece that does not fit one window is cut by a grid that is
    shifted anew every epoch, so its beginning, middle and end are all learnt from equally often.
    Not so with byte pairs: the grid counts plain tokens, of which a window of merged ones holds
    more, so that what follows a piece's first window is learnt about 1.4 times as often as that.

    Args:
        corpus: where the pieces are.
        numbers: the pieces.
        representation: the corpus's, with the generator's conditions.
        length: T, tokens a window feeds to the generator.
        batch: B.
        augment: how windows are changed; None leaves them as they are.
        dropout: share of windows without their condition tokens.
        seed: of order, offsets and augmentation.
        packing: fill up with the beginnings of other pieces, so that nothing is padding.
    """

    def __init__(
        self,
        corpus: Corpus,
        numbers: Sequence[int],
        representation: Representation,
        length: int,
        batch: int,
        augment: AugmentSettings | None = None,
        dropout: float = 0.0,
        seed: int = 0,
        packing: bool = False,
    ) -> None:
        if not numbers:
            raise UserError(f"{corpus.folder}: no pieces left to train on in this split")
        self._numbers, self.packing = np.asarray(numbers), packing
        self.corpus, self.representation = corpus, representation
        self.length, self.batch, self.dropout, self.seed = length, batch, dropout, seed
        merged = isinstance(representation, MergedRepresentation)
        plain = corpus.representation if merged else representation
        self._augment = Augmenter(plain, augment) if augment else None
        # What every window has room for: an artist's token beside the label's costs one of music.
        self._stride = length - any(
            name.startswith("artist:") for name in representation.conditions
        )
        lengths = corpus.index[np.asarray(numbers) + 1] - corpus.index[np.asarray(numbers)] + 2
        self._chunks = {
            number: chunks_of(int(total), self._stride)
            for number, total in zip(self._numbers.tolist(), lengths, strict=True)
        }
        chunks = np.array([self._chunks[number] for number in self._numbers.tolist()])
        self._piece = np.repeat(self._numbers, chunks)
        first = np.repeat(np.cumsum(chunks) - chunks, chunks)
        self._chunk = np.arange(len(self._piece)) - first

    def __len__(self) -> int:
        return len(self._piece)

    @lru_cache(maxsize=2)  # noqa: B019 -- one permutation an epoch, and the loader lives as long
    def _order(self, epoch: int) -> np.ndarray:
        return numpy_generator(self.seed, "order", epoch).permutation(len(self))

    def __call__(self, step: int, places: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, int64 (B, T); targets are PAD where nothing follows.

        Args:
            step: which.
            places: which of the step's B windows; None for all.
        """
        places = range(self.batch) if places is None else places
        rows = np.zeros((len(places), self.length + 1), dtype=np.int64)
        for row, place in zip(rows, places, strict=True):
            epoch, within = divmod(step * self.batch + place, len(self))
            chunk = int(self._order(epoch)[within])
            generator = numpy_generator(self.seed, "window", epoch, chunk)
            window = self.window(chunk, epoch, generator)
            while self.packing and len(window) <= self.length:
                window = np.concatenate([window, self._opening(generator)])[: self.length + 1]
            row[: len(window)] = window
        both = torch.from_numpy(rows)
        return both[:, :-1].contiguous(), self._targets(both[:, 1:])

    def pieces(self, count: int) -> list[int]:
        """The numbers of the pieces that the first windows of the first epoch are cut from."""
        return self._piece[self._order(0)[:count]].tolist()

    def window(self, chunk: int, epoch: int, generator: np.random.Generator) -> np.ndarray:
        """One window of at most T + 1 ids."""
        number, place = int(self._piece[chunk]), int(self._chunk[chunk])
        return self._cut(number, place, self._shift(number, epoch), generator)

    def _opening(self, generator: np.random.Generator) -> np.ndarray:
        """The beginning of some piece."""
        return self._cut(int(generator.choice(self._numbers)), 0, 0, generator)

    def _shift(self, number: int, epoch: int) -> int:
        """How far before a piece its grid begins in an epoch; its first window is so much less."""
        total = len(self.corpus.piece(number)) + 2
        low, high = shifts_of(total, self._chunks[number], self._stride)
        return int(numpy_generator(self.seed, "shift", epoch, number).integers(low, high + 1))

    def _cut(
        self, number: int, place: int, shift: int, generator: np.random.Generator
    ) -> np.ndarray:
        """The window at a place of a piece's grid."""
        conditions = self.conditions(number)
        dropped = self.dropout and generator.random() < self.dropout
        # The first of its tokens is learnt from the conditions, or from the window before.
        room = self._stride + (not conditions) - (0 if place else shift)
        start = place * self._stride - shift if place else 0
        if conditions and dropped:
            conditions = []
            if place:  # the same tokens are learnt all the same: the first from the one before
                start, room = start - 1, room + 1
        merged = isinstance(self.representation, MergedRepresentation)
        music = _slice(self.corpus.piece(number), start, (1 + merged) * room)
        if self._augment:
            music = self._augment(music, generator)
        if isinstance(self.representation, MergedRepresentation):
            # Merges shorten the music to half at most; what is beyond the window has another.
            music = self.representation.merge(music)[:room]
        return np.concatenate([conditions, music]).astype(np.int64)

    def conditions(self, number: int) -> list[int]:
        """Ids of the condition tokens of a piece, as far as the vocabulary has them."""
        row = self.corpus.rows[number]
        names = (f"label:{row['label']}", f"artist:{row['artist']}")
        known = self.representation.conditions
        return [self.representation.condition_id(name) for name in names if name in known]

    def _targets(self, ids: Tensor) -> Tensor:
        # Conditions and BOS are given, not predicted.
        given = (ids >= self.representation.music_size) | (ids == BOS)
        return ids.masked_fill(given, PAD).contiguous()


def chunks_of(total: int, stride: int) -> int:
    """Windows of `stride` tokens that a piece of `total` is cut into.

    A piece that fits is one. Elsewhere there is at least a quarter of a window to shift them by.
    """
    return 1 if total <= stride else -(-(total + stride // 4) // stride)


def shifts_of(total: int, chunks: int, stride: int) -> tuple[int, int]:
    """Least and largest shift of the grid: neither its first nor its last window is one token."""
    if chunks == 1:
        return 0, 0
    spare = chunks * stride - total
    return max(0, spare - stride + 2), min(spare, stride - 2)


def _slice(piece: np.ndarray, start: int, length: int) -> np.ndarray:
    """Part of [BOS] piece [EOS], without building the whole."""
    stop = min(start + length, len(piece) + 2)
    music = piece[max(start - 1, 0) : max(stop - 1, 0)].astype(np.int64)
    head = [BOS] if start == 0 else []
    tail = [EOS] if stop == len(piece) + 2 else []
    return np.concatenate([head, music, tail]).astype(np.int64)


class Batches(Dataset[list[tuple[Tensor, Tensor]]]):
    """A rank's windows by step, in the parts it reads them in.

    Args:
        windows: of the whole step.
        ranks: which rank this is.
        parts: how many.

    Raises:
        UserError: fewer windows than ranks and parts.
    """

    def __init__(self, windows: GeneratorWindows, ranks: Ranks, parts: int) -> None:
        if windows.batch < ranks.world * parts:
            raise UserError(
                f"--batch {windows.batch}: too few windows for {ranks.world} rank(s) with "
                f"--accumulate {parts}; use at least {ranks.world * parts}"
            )
        self.windows, self._places, self._parts = windows, ranks.share(windows.batch), parts

    def __getitem__(self, step: int) -> list[tuple[Tensor, Tensor]]:
        parts = np.array_split(np.array(self._places), self._parts)
        return [self.windows(step, part.tolist()) for part in parts]

    def steps(
        self, first: int, last: int, workers: int, device: torch.device
    ) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Steps `first` up to `last`, prepared ahead by processes where that pays.

        Args:
            first, last: steps.
            workers: how many processes; -1 chooses.
            device: pinned memory is for a GPU.
        """
        gpu = device.type == "cuda"
        if workers < 0:
            local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            workers = min(8, (os.cpu_count() or 1) // local) if gpu else 0
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=range(first, last),
                num_workers=workers,
                pin_memory=gpu,
                prefetch_factor=4 if workers else None,
                worker_init_fn=_heed_the_parent,
            )
        )


def _heed_the_parent(_: int) -> None:
    """Has a loader's process end with the training one, and not by a signal sent to both.

    A parent that stops may hang up in the middle of a batch, of which the thread that hands it over
    would print a traceback. Mistakes in loading come back with the batches, not this way.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = lambda *_: None


def validation_windows(
    corpus: Corpus, numbers: Sequence[int], representation: Representation, length: int, count: int
) -> tuple[Tensor, Tensor]:
    """A fixed set of windows, spread over pieces and over the places within them, unaugmented."""
    windows = GeneratorWindows(corpus, numbers, representation, length, count, seed=1)
    return windows(0)


def windows_once(
    corpus: Corpus, numbers: Sequence[int], representation: Representation, length: int, most: int
) -> tuple[Tensor, Tensor, list[int]]:
    """As `validation_windows`, but none twice: fewer where there are fewer; and whose they are."""
    windows = GeneratorWindows(corpus, numbers, representation, length, most, seed=1)
    count = min(most, len(windows))
    return *windows(0, range(count)), windows.pieces(count)


class Prompts:
    """Openings for rollouts: real music of one length, none of it padding.

    Args:
        corpus: where the pieces are.
        numbers: the pieces; those too short are passed over.
        conditions: ids put before every prompt.
        length: tokens of music a prompt has.
        batch: B.
        seed: of the choice.
        following: tokens that must follow a prompt, and be in a piece that opens a rollout.

    Raises:
        UserError: no piece is long enough.
    """

    def __init__(
        self,
        corpus: Corpus,
        numbers: Sequence[int],
        conditions: Sequence[int],
        length: int,
        batch: int,
        seed: int,
        following: int = 0,
    ) -> None:
        self.corpus, self.conditions, self.seed = corpus, list(conditions), seed
        self.length, self.batch, self.following = length, batch, following
        sizes, least = np.diff(corpus.index), length + following
        self._numbers = [number for number in numbers if sizes[number] >= least]
        if not self._numbers:
            raise UserError(f"{corpus.folder}: no jazz piece of {least} tokens to prompt with")

    def __call__(self, step: int, from_nothing: bool) -> Tensor:
        """(B, P) ids: conditions and BOS, or conditions and `length` tokens from within pieces."""
        return self.continued(step, from_nothing)[0]

    def continued(self, step: int, from_nothing: bool) -> tuple[Tensor, Tensor]:
        """The same, and the `following` real tokens (B, F) that come next in these pieces."""
        generator = numpy_generator(self.seed, "prompts", step)
        length = 0 if from_nothing else self.length
        prompts, rest = [], []
        for number in generator.choice(self._numbers, self.batch):
            piece = self.corpus.piece(int(number))
            start = 0
            if not from_nothing:
                start = int(generator.integers(len(piece) - length - self.following + 1))
            opening = [BOS] if from_nothing else piece[start : start + length].tolist()
            prompts.append([*self.conditions, *opening])
            rest.append(piece[start + length : start + length + self.following].tolist())
        return torch.tensor(prompts, dtype=torch.int64), torch.tensor(rest, dtype=torch.int64)


class DiscriminatorWindows:
    """Labelled crops: labels evenly, sources by the root of their size, pieces and places evenly.

    A source's played and quantized pieces count as two sources: each label is to be met in every
    kind of timing, however rare it is there.

    Args:
        corpus: where the pieces are.
        numbers: labelled pieces of the training split.
        batch: B.
        shortest, longest: crops of a batch share one length between these.
        augment: how crops are changed.
        seed: of everything drawn.
        neutralise: how crops lose the marks of their making, before they are augmented.
        corrupt_share: share of the not-jazz crops that are corrupted music of either label.
        corruptions: names of what may be done to them; see `data_tools.corrupt`.
        thinning: how often crops lose parts of their texture, before all else.

    Raises:
        UserError: one of the labels is missing, the time base cannot be neutralised, or the preset
            cannot be corrupted or thinned.
    """

    def __init__(
        self,
        corpus: Corpus,
        numbers: Sequence[int],
        batch: int,
        shortest: int,
        longest: int,
        augment: AugmentSettings,
        seed: int,
        neutralise: NeutraliseSettings | None = None,
        corrupt_share: float = 0.0,
        corruptions: Sequence[str] = (),
        thinning: ThinningSettings | None = None,
    ) -> None:
        self.corpus, self.batch, self.seed = corpus, batch, seed
        self.shortest, self.longest = shortest, longest
        self._augment = Augmenter(corpus.representation, augment)
        self._neutral = neutralise or NeutraliseSettings()
        self._neutralise = Neutraliser(corpus.representation, self._neutral)
        self._thin = Thinner(corpus.representation, thinning or ThinningSettings())
        self._corrupt_share = corrupt_share
        self._corrupt = Corruptor(corpus.representation, corruptions) if corrupt_share else None
        self._pieces: list[list[np.ndarray]] = []
        self._shares: list[np.ndarray] = []
        for label in ("not_jazz", "jazz"):
            sources: dict[tuple[str, str], list[int]] = {}
            for number in numbers:
                if corpus.rows[number]["label"] == label:
                    row = corpus.rows[number]
                    sources.setdefault((row["source"], row["timing"]), []).append(number)
            if not sources:
                raise UserError(f"{corpus.folder}: no '{label}' pieces to learn from in train")
            self._pieces.append([np.array(members) for members in sources.values()])
            share = np.sqrt([len(members) for members in sources.values()])
            self._shares.append(share / share.sum())

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids (B, T) int64, padded at the right, and labels (B,) float32, 1 for jazz."""
        generator = numpy_generator(self.seed, "crops", step)
        length = self.drawn_length(generator)
        rows = np.full((self.batch, length), PAD, dtype=np.int64)
        labels = np.arange(self.batch) % 2
        for row, label in zip(rows, labels, strict=True):
            corrupt = self._corrupt if label == 0 else None
            if corrupt and generator.random() < self._corrupt_share:
                music = self._drawn(int(generator.integers(2)), length, generator)
                spoilt = corrupt(music, generator)
                crop = self._drawn(0, length, generator) if spoilt is None else spoilt[:length]
            else:
                crop = self._drawn(int(label), length, generator)
            row[: len(crop)] = crop
        return torch.from_numpy(rows), torch.from_numpy(labels.astype(np.float32))

    def _drawn(self, label: int, length: int, generator: np.random.Generator) -> np.ndarray:
        source = generator.choice(len(self._shares[label]), p=self._shares[label])
        return self.crop(int(generator.choice(self._pieces[label][source])), length, generator)

    def drawn_length(self, generator: np.random.Generator) -> int:
        """Tokens in the crops of a batch, evenly on a logarithmic scale."""
        low, high = np.log(self.shortest), np.log(self.longest)
        return round(float(np.exp(generator.uniform(low, high))))

    def crop(self, number: int, length: int, generator: np.random.Generator) -> np.ndarray:
        """At most `length` ids from somewhere in a piece, thinned, neutralised and augmented."""
        piece = self.corpus.piece(number)
        start = int(generator.integers(max(1, len(piece) - length + 1)))
        crop = self._thin(piece[start:], reach(length, self._neutral), generator).astype(np.int64)
        if self._neutral.neutral_share:
            timing = self.corpus.rows[number]["timing"]
            crop = self._neutralise(crop, generator, timing)
        return self._augment(crop[:length], generator)
