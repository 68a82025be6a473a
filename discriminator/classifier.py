"""The standalone classifier: music in, p(jazz) out, with none of the training code.

A piece is cut into windows of tokens; the mean of their logits, calibrated by
p = sigmoid(scale * logit + bias), is the piece's p(jazz). Boosted trees may have an opinion of the
whole piece, too; it counts as one more member of the ensemble in every window. The folder a
classifier lives in holds `model.safetensors`, `classifier.json` and `representation.json`, and the
trees' folder where it has them, which must belong together.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from data_tools.cards import read_card
from data_tools.errors import UserError
from data_tools.files import file_digest, whole, write_json
from data_tools.midi import Music
from data_tools.representation import EOS, Representation
from discriminator.ensemble import Ensemble
from discriminator.feature_judge import CARD as JUDGE_CARD
from discriminator.feature_judge import FeatureJudge, erase, is_named, load_named
from discriminator.models import Model, build
from discriminator.notes import TokenTable
from discriminator.reading import Opinion, Reading, read_many, read_piece, windows
from discriminator.settings import ClassifierSettings

if TYPE_CHECKING:
    from discriminator.attribution import Explanation

PRETRAINED = Path(__file__).parent / "pretrained"
TREES = "trees"  # their folder within the classifier's
FORMAT = 1
FEWEST_PITCHES = 3  # pitch classes; of fewer nobody can say what music they are
LABELS = ("not_jazz", "jazz")
MUSIC = ("noise", "music")  # what a gate tells apart


@dataclass(frozen=True)
class Verdict:
    """What a classifier says of one piece.

    Attributes:
        path: the piece's path, or what it is where it has none.
        p_jazz: calibrated probability, None where `error` says why there is none.
        verdict: "jazz" or "not_jazz" where p_jazz lies outside the classifier's unsure range;
            "unsure" within it and where there is no p_jazz.
        windows: how many windows the probability rests on.
        error: why there is no probability: unreadable, no piano, too short; else "".
    """

    path: str
    p_jazz: float | None
    verdict: Literal["jazz", "not_jazz", "unsure"]
    windows: int
    error: str = ""


class _Card(BaseModel):
    """What `classifier.json` holds."""

    model_config = ConfigDict(extra="forbid")

    format: int
    labels: tuple[str, str]
    vocabulary: int
    digest: str
    settings: ClassifierSettings
    trees: str = ""  # the digest of their card; empty without any


@dataclass
class _Piece:
    """A piece on its way through the model."""

    reading: Reading
    expected: int = 0
    logits: list[float] = field(default_factory=list)


class Classifier:
    """A discriminator, the representation it reads, and its calibration.

    Args:
        model: a discriminator over the representation's music tokens. It is not copied: it is
            moved to `device` and put in eval mode, and who trains it on calls its `train()`, and
            `eval()` before the next piece is scored.
        representation: how music becomes tokens.
        settings: `settings.model` must be what `model` was built with.
        device: where to run.
        half: a half precision for the matrix products, as torch.bfloat16; None computes in float32.
            Logits then move by a few thousandths, and not alike on every machine.
        trees: a judge whose opinion of whole pieces counts as one more member of an ensemble. It
            is asked of ids alone: `model` by itself, what a generator is trained against and what
            ONNX holds, does without it.
        labels: what a low and a high logit mean.

    Raises:
        ValueError: model, representation or trees do not belong together.
    """

    def __init__(
        self,
        model: Model,
        representation: Representation,
        settings: ClassifierSettings,
        device: str | torch.device = "cpu",
        half: torch.dtype | None = None,
        trees: FeatureJudge | None = None,
        labels: tuple[str, str] = LABELS,
    ) -> None:
        if model.vocab_size != representation.music_size:
            raise ValueError(
                f"the model knows {model.vocab_size} tokens, the representation "
                f"{representation.music_size}"
            )
        if trees is not None and not isinstance(model, Ensemble):
            raise ValueError("trees are one more voice of an ensemble, and this model is none")
        if trees is not None and not _alike(trees.representation, representation):
            raise ValueError("the trees measure music on another grid than the classifier reads")
        self.model = model.to(device).eval()
        self.trees, self.labels = trees, labels
        self.representation, self.settings = representation, settings
        self.device = torch.device(device)
        self.half = half

    @classmethod
    def load(
        cls,
        folder: str | Path | None = None,
        device: str | torch.device = "cpu",
        half: torch.dtype | None = None,
        labels: tuple[str, str] = LABELS,
    ) -> Self:
        """Loads a classifier from its folder, or the one this package ships.

        Args:
            folder: where; None for the shipped one.
            device, half: see the class.
            labels: what it must tell apart; `MUSIC` asks for a gate.

        Raises:
            UserError: no classifier there, one that tells something else apart, or parts that do
                not belong together.
        """
        if folder is None:
            folder = PRETRAINED
            if not (PRETRAINED / "classifier.json").is_file():
                raise UserError(
                    "no classifier came with this install; train one with `gan pretrain-disc` "
                    "and give its folder as the model"
                )
        folder = Path(folder)
        card = read_card(folder / "classifier.json", _Card, FORMAT, "classifier")
        if card.labels != labels:
            raise UserError(
                f"{folder}: tells {' from '.join(card.labels[::-1])}, and what tells "
                f"{' from '.join(labels[::-1])} is needed here; gates are made by `python -m "
                "experiments.recipes.gate` and given by `gan ensemble --gate`"
            )
        representation = Representation.load(folder / "representation.json")
        if representation.digest != card.digest:
            raise UserError(
                f"{folder}: classifier.json was saved with representation {card.digest}, "
                f"representation.json is {representation.digest}; copy the whole folder again"
            )
        if representation.music_size != card.vocabulary:
            raise UserError(
                f"{folder}: classifier.json says {card.vocabulary} tokens, representation.json "
                f"{representation.music_size}; copy the whole folder again"
            )
        table = TokenTable.of(representation)
        try:
            with torch.device("meta"):  # takes no memory, whatever sizes the card names
                sketch = build(card.settings.model, table)
            weights = _weights_of(sketch, folder / "model.safetensors")
            with torch.random.fork_rng(devices=[]):  # the fresh weights give way to those loaded
                model = build(card.settings.model, table)
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from None
        model.load_state_dict(weights)  # copies into float32, whatever was stored
        trees = load_named(folder / TREES, card.trees) if card.trees else None
        try:
            return cls(model, representation, card.settings, device, half, trees, labels)
        except ValueError as error:
            raise UserError(f"{folder}: {error}; copy the whole folder again") from None

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Writes the classifier's folder, over the one that is there; `classifier.json` last.

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
        with whole(folder / "model.safetensors") as temporary:
            save_file(weights, temporary)
        self.representation.save(folder / "representation.json")
        stale = self.trees is None and is_named(folder / TREES, folder / "classifier.json")
        if self.trees is not None:
            self.trees.save(folder / TREES)
        card = _Card(
            format=FORMAT,
            labels=self.labels,
            vocabulary=self.representation.music_size,
            digest=self.representation.digest,
            settings=self.settings,
            trees=file_digest(folder / TREES / JUDGE_CARD) if self.trees else "",
        )
        # Without trees the card is the one that was written before there were any.
        bare = set() if card.trees else {"trees"}
        write_json(folder / "classifier.json", card.model_dump(mode="json", exclude=bare))
        if stale:
            erase(folder / TREES)

    def score(self, music: Music) -> Verdict:
        """Scores one piece: a path, bytes, a `miditoolkit.MidiFile` or a `symusic.Score`.

        Bad music raises nothing: the verdict is "unsure" and its `error` says why.
        """
        reading = read_piece(music, self.representation, self.opinion)
        return next(self.verdicts([reading], 64))

    def score_many(
        self, music: Iterable[Music], batch_size: int = 64, workers: int = 0
    ) -> Iterator[Verdict]:
        """Scores any number of pieces, in their order, holding only a few at a time.

        Args:
            music: pieces as for `score`; taken as they are needed, so an endless iterator will do.
            batch_size: windows per forward pass.
            workers: extra processes that read files, see `discriminator.reading.read_many`.

        Raises:
            TypeError: one piece was given instead of several.
            ValueError: a batch of no windows, or a negative number of workers; with the first
                verdict.
        """
        if isinstance(music, str | bytes | Path):
            raise TypeError("score_many takes an iterable of pieces; score takes one")
        readings = read_many(music, self.representation, workers, self.opinion)
        return self.verdicts(readings, batch_size)

    def score_tokens(self, ids: np.ndarray, path: str = "<tokens>") -> Verdict:
        """Scores token ids (T,) of this representation; specials and conditions are skipped.

        Raises:
            ValueError: ids of another shape, as those of several pieces have.
        """
        return next(self.verdicts([_given(ids, path)], 64))

    def logits(self, pieces: Iterable[np.ndarray], batch_size: int = 64) -> np.ndarray:
        """The uncalibrated logit of each piece of token ids (T,), (N,); NaN where it is too short.

        Raises:
            ValueError: ids of another shape, as where one piece was given instead of several.
        """
        readings = map(_given, pieces)
        return np.array(
            [
                np.mean(piece.logits) if piece.logits else math.nan
                for piece in self._pieces(readings, batch_size)
            ]
        )

    @property
    def opinion(self) -> Opinion | None:
        """What reads whole pieces beside the model, if anything does; for `reading.read_many`."""
        return self.trees.opinion if self.trees else None

    def without_trees(self) -> "Classifier":
        """The networks alone, where a judge of another kind is to have the last word."""
        known = (self.settings, self.device, self.half, None, self.labels)
        return Classifier(self.model, self.representation, *known)

    def hear(self, x: torch.Tensor, opinions: Sequence[float | None]) -> torch.Tensor:
        """Uncalibrated logits (B,) of windows.

        Args:
            x: ids (B, T) or rows (B, T, V).
            opinions: (B,) the trees' calibrated logits of the pieces they are from; None or NaN
                where there is none.
        """
        if not isinstance(self.model, Ensemble) or all(one is None for one in opinions):
            return self.model(x)
        told = [math.nan if one is None else one for one in opinions]
        return self.model(x, opinion=torch.tensor(told, device=x.device))

    def probability(self, logit: float) -> float:
        """The calibrated p(jazz) of a piece's mean logit."""
        calibrated = self.settings.scale * logit + self.settings.bias
        return 0.5 * (1.0 + math.tanh(calibrated / 2))  # the sigmoid, without overflow

    def verdict(self, p: float) -> Literal["jazz", "not_jazz", "unsure"]:
        """What is said of a p(jazz): "unsure" within `settings.low` to `settings.high`.

        A bound of 1 means that none was found; a p(jazz) may round to it, and is unsure.
        """
        if p >= self.settings.high < 1:
            return "jazz"
        return "not_jazz" if p < self.settings.low else "unsure"

    def windows(self, ids: np.ndarray) -> list[np.ndarray]:
        """What is read of a piece's music ids (T,): windows, of long pieces an even choice."""
        return windows(ids, self.settings.window, self.settings.most)

    def explain(self, music: Music) -> "Explanation":
        """p(jazz) over time, and which notes carried it; see `discriminator.attribution`.

        Raises:
            MidiError: the music cannot be read, or is too short.
        """
        from discriminator.attribution import explain

        return explain(self, music)

    def export_onnx(self, path: str | Path) -> None:
        """Writes the model as ONNX; see `discriminator.onnx_export`."""
        from discriminator.onnx_export import export_onnx

        export_onnx(self, path)

    def verdicts(self, readings: Iterable[Reading], batch_size: int = 64) -> Iterator[Verdict]:
        """Verdicts on pieces that have been read already, in their order."""
        for piece in self._pieces(readings, batch_size):
            path, error = piece.reading.path, piece.reading.error
            if error:
                yield Verdict(path, None, "unsure", 0, error)
                continue
            p = self.probability(float(np.mean(piece.logits)))
            yield Verdict(path, p, self.verdict(p), len(piece.logits))

    def _pieces(self, readings: Iterable[Reading], batch_size: int) -> Iterator[_Piece]:
        """Fills batches across pieces, and lets pieces out in order once their windows are done."""
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}: must be at least one window")
        waiting: deque[_Piece] = deque()
        todo: deque[tuple[_Piece, np.ndarray]] = deque()
        for reading in readings:
            piece = _Piece(self._checked(reading))
            if not piece.reading.error:
                cut = self.windows(piece.reading.ids)
                piece.expected = len(cut)
                todo.extend((piece, window) for window in cut)
            waiting.append(piece)
            # The second condition keeps a long row of bad files from piling up behind a good one.
            while len(todo) >= batch_size or (todo and len(waiting) >= batch_size):
                self._forward(todo, batch_size)
            yield from _finished(waiting)
        while todo:
            self._forward(todo, batch_size)
            yield from _finished(waiting)
        yield from _finished(waiting)

    def _checked(self, reading: Reading) -> Reading:
        if reading.error:
            return reading
        ids = reading.ids
        ids = ids[(ids > EOS) & (ids < self.representation.music_size)]
        error = too_little(ids, self.representation, self.settings.minimum)
        if self.trees is None or error:
            return Reading(reading.path, ids, error)  # an opinion would be of another's trees
        opinion = self.trees.opinion(ids) if reading.opinion is None else reading.opinion
        return Reading(reading.path, ids, error, opinion)

    @torch.inference_mode()
    def _forward(self, todo: deque[tuple[_Piece, np.ndarray]], batch_size: int) -> None:
        """Runs the first windows of `todo` and hands each piece its logits."""
        batch = [todo.popleft() for _ in range(min(batch_size, len(todo)))]
        x = np.zeros((len(batch), max(len(ids) for _, ids in batch)), dtype=np.int64)
        for row, (_, ids) in zip(x, batch, strict=True):
            row[: len(ids)] = ids
        kind, on = self.device.type, self.half is not None
        with torch.autocast(kind, self.half or torch.bfloat16, enabled=on):
            opinions = [piece.reading.opinion for piece, _ in batch]
            logits = self.hear(torch.from_numpy(x).to(self.device), opinions).tolist()
        for (piece, _), logit in zip(batch, logits, strict=True):
            piece.logits.append(logit)


def _alike(one: Representation, other: Representation) -> bool:
    """Whether music becomes the same ids, and they mean the same; conditions are no music."""
    return one.settings == other.settings and one.music_digest == other.music_digest


def _given(ids: np.ndarray, path: str = "<tokens>") -> Reading:
    """Ids (T,) as if they had been read."""
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"{path}: the ids of a piece are (T,), not {ids.shape}")
    return Reading(path, ids)


def too_little(ids: np.ndarray, representation: Representation, least: int) -> str:
    """Why nothing can be said of a piece's ids (T,); empty where something can.

    Args:
        ids: what is read of it; specials and conditions do not count.
        representation: what the ids mean.
        least: tokens needed, see `ClassifierSettings.minimum`.
    """
    ids = ids[(ids > EOS) & (ids < representation.music_size)]
    if len(ids) < least:
        return f"too short: {len(ids)} tokens, at least {least} needed"
    struck = ids[representation.strikes[ids] > 0]
    classes = len(np.unique(representation.token_values[struck] % 12))
    if classes < FEWEST_PITCHES:
        return f"too little to judge: {classes} different pitches, octaves aside"
    return ""


def _finished(waiting: deque[_Piece]) -> Iterator[_Piece]:
    while waiting and len(waiting[0].logits) == waiting[0].expected:
        yield waiting.popleft()


def _weights_of(sketch: Model, path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file, which are those of a model like this one."""
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as weights ({error})") from None
    expected = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        name = min(k for k in expected | found if expected.get(k) != found.get(k))
        raise UserError(
            f"{path}: {name} is {found.get(name, 'missing')}, classifier.json calls for "
            f"{expected.get(name, 'none')}; copy the whole folder again"
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise UserError(f"{path}: the weights hold infinities or NaN; train the model again")
    return weights
