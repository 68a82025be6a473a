"""A judge that hears what a network does not: boosted trees over named features of harmony.

The baseline every network must beat, and a second opinion on what a generator writes. It knows
pitches and no timing unless told to read more (see `discriminator.features`). A judge's folder
holds `judge.json` and `trees.npz`; scikit-learn is needed to fit one, not to use it.

Shapes: N pieces or passages, F features, T tokens.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data_tools.cards import read_card
from data_tools.errors import UserError
from data_tools.files import file_digest, parse_json, write_json
from data_tools.midi import Music
from data_tools.representation import Representation, RepresentationSettings
from discriminator import features
from discriminator.boosting import Forest, forest_of
from discriminator.reading import Reading, read_many, read_piece

if TYPE_CHECKING:
    from discriminator.classifier import Verdict

FORMAT = 1
CARD, TREES = "judge.json", "trees.npz"
MOST = 2**17  # tokens of a piece that are measured, an hour or more: what follows tells no more


class JudgeSettings(BaseModel):
    """How a judge is fitted and what it reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    groups: tuple[str, ...] = Field(features.PITCH, description="groups of features to read")
    trees: int = Field(200, ge=1, description="boosting rounds")
    learning_rate: float = Field(0.08, gt=0, description="what each round counts")
    leaves: int = Field(15, ge=2, description="leaves of a tree at most")
    shown: float = Field(
        0.3, gt=0, le=1, description="share of features each split may choose from"
    )
    decay: float = Field(0.0, ge=0, description="L2 penalty on what leaves add")
    bags: int = Field(1, ge=1, description="models of other seeds, of which the mean counts")
    minimum: int = Field(16, ge=1, description="notes; a file of fewer gets no probability")


class _Card(BaseModel):
    """What `judge.json` holds."""

    model_config = ConfigDict(extra="forbid")

    format: int
    settings: JudgeSettings
    representation: RepresentationSettings
    features: tuple[str, ...]
    trees_digest: str
    scale: float = Field(gt=0, allow_inf_nan=False)
    bias: float = Field(allow_inf_nan=False)


class FeatureJudge:
    """Trees, what they read, and a calibration: p(jazz) = sigmoid(scale * logit + bias).

    Args:
        forest: trees over the features of `settings.groups`.
        settings: see there.
        representation: the grid on which music from files is put before it is measured.
        scale, bias: the calibration, see `discriminator.calibration.calibrate`.
    """

    def __init__(
        self,
        forest: Forest,
        settings: JudgeSettings,
        representation: Representation | None = None,
        scale: float = 1.0,
        bias: float = 0.0,
    ) -> None:
        self.forest = forest
        self.settings = settings
        self.representation = representation or Representation()
        self.scale, self.bias = scale, bias

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features (F,)."""
        return features.names(self.settings.groups)

    @property
    def digest(self) -> str:
        """Hash of all that opinions depend on."""
        total = hashlib.sha256(self.settings.model_dump_json().encode())
        total.update(f"{self.representation.digest} {self.scale!r} {self.bias!r}".encode())
        total.update(self.forest.content())
        return total.hexdigest()

    @classmethod
    def fit(
        cls,
        rows: np.ndarray,
        labels: Sequence[bool] | np.ndarray,
        sources: Sequence[str] | np.ndarray,
        seed: int = 0,
        settings: JudgeSettings | None = None,
        representation: Representation | None = None,
    ) -> Self:
        """Grows a judge.

        Args:
            rows: float32 (N, F) features of pieces, of passages of them, or of both.
            labels: (N,) true for jazz.
            sources: (N,) where each is from; see `weights`.
            seed: the judge is a function of it.
            settings: how.
            representation: see the class.

        Raises:
            UserError: no pieces, one label alone, or rows of other features.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        settings = settings or JudgeSettings()
        rows, labels = np.asarray(rows, dtype=np.float32), np.asarray(labels, dtype=bool)
        width = len(features.names(settings.groups))
        if rows.ndim != 2 or rows.shape[1] != width or not np.isfinite(rows).all():
            raise UserError(
                f"features: {rows.shape} given, (pieces, {width}) finite ones needed; measure "
                f"them with the groups {', '.join(settings.groups)}"
            )
        if labels.all() or not labels.any():
            raise UserError("features: pieces of both labels are needed to fit a judge")
        weight = weights(labels, np.asarray(sources))
        models = []
        for bag in range(settings.bags):
            model = HistGradientBoostingClassifier(
                max_iter=settings.trees, learning_rate=settings.learning_rate,
                max_leaf_nodes=settings.leaves, max_features=settings.shown,
                l2_regularization=settings.decay, min_samples_leaf=min(20, 2 + len(rows) // 50),
                early_stopping=False, random_state=seed * settings.bags + bag,
            )  # fmt: skip
            models.append(model.fit(rows, labels, sample_weight=weight))
        return cls(forest_of(models), settings, representation)

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Uncalibrated logits (N,) of features (N, F)."""
        return self.forest.logits(rows)

    def opinion(self, ids: np.ndarray) -> float:
        """The calibrated logit of a piece of ids (T,) of the judge's own representation.

        NaN where there are fewer notes than `settings.minimum`, drums left aside.
        """
        events = self.representation.events(ids[:MOST], close=True)
        if features.notes_of(events) < self.settings.minimum:
            return math.nan
        row = features.of_events(events, self.representation, self.settings.groups)
        return self.scale * float(self.logits(row[None])[0]) + self.bias

    def rescaled(self, scale: float, bias: float) -> Self:
        """The same judge with opinions `scale * opinion + bias`."""
        return type(self)(
            self.forest, self.settings, self.representation,
            self.scale * scale, self.bias * scale + bias,
        )  # fmt: skip

    def probability(self, rows: np.ndarray) -> np.ndarray:
        """Calibrated p(jazz) (N,) of features (N, F)."""
        return 0.5 * (1 + np.tanh((self.scale * self.logits(rows) + self.bias) / 2))

    def measure(
        self, pieces: Iterable[np.ndarray], representation: Representation | None = None
    ) -> np.ndarray:
        """The features (N, F) of pieces or passages of token ids (T,), of any representation."""
        representation = representation or self.representation
        return features.of_pieces(pieces, representation, self.settings.groups)

    def score(self, music: Music) -> "Verdict":
        """Judges one piece; bad music raises nothing, and its verdict's `error` says why."""
        return self._verdict(read_piece(music, self.representation))

    def score_many(self, music: Iterable[Music], workers: int = 0) -> "Iterator[Verdict]":
        """Judges any number of pieces in their order; see `discriminator.reading.read_many`."""
        return map(self._verdict, read_many(music, self.representation, workers))

    def _verdict(self, reading: Reading) -> "Verdict":
        from discriminator.classifier import Verdict  # here: it loads torch

        if reading.error:
            return Verdict(reading.path, None, "unsure", 0, reading.error)
        events = self.representation.events(reading.ids)
        count, least = features.notes_of(events), self.settings.minimum
        if count < least:
            error = f"too short: {count} notes, at least {least} needed"
            return Verdict(reading.path, None, "unsure", 0, error)
        row = features.of_events(events, self.representation, self.settings.groups)
        p = float(self.probability(row[None])[0])
        return Verdict(reading.path, p, "jazz" if p >= 0.5 else "not_jazz", 1)

    def save(self, folder: str | Path) -> None:
        """Writes the judge's folder, the card last."""
        folder = Path(folder)
        self.forest.save(folder / TREES)
        card = _Card(
            format=FORMAT,
            settings=self.settings,
            representation=self.representation.settings,
            features=self.names,
            trees_digest=file_digest(folder / TREES),
            scale=self.scale,
            bias=self.bias,
        )
        write_json(folder / CARD, card.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads a judge's folder.

        Raises:
            UserError: no judge there, damaged, or of features this version does not measure so.
        """
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise UserError(f"{folder}: no judge; its folder holds {CARD} and {TREES}")
        card = read_card(folder / CARD, _Card, FORMAT, "judge")
        known = features.names(card.settings.groups)
        if card.features != known:
            other = [name for name in card.features if name not in known]
            raise UserError(
                f"{folder / CARD}: made for {len(card.features)} features, this version measures "
                f"{len(known)}{f' and no {other[0]}' if other else ''}; fit the judge again"
            )
        forest = Forest.load(folder / TREES, len(known))
        if file_digest(folder / TREES) != card.trees_digest:
            raise UserError(
                f"{folder / TREES}: not the trees {CARD} names; copy the whole folder again"
            )
        representation = Representation(card.representation)
        return cls(forest, card.settings, representation, card.scale, card.bias)


def load_named(folder: Path, digest: str) -> FeatureJudge:
    """The judge that a classifier's card names by its digest.

    Raises:
        UserError: there is another one, or see `FeatureJudge.load`.
    """
    judge = FeatureJudge.load(folder)
    if file_digest(folder / CARD) != digest:
        raise UserError(
            f"{folder / CARD}: not the trees that classifier.json names; copy the whole folder "
            "again"
        )
    return judge


def is_named(folder: Path, card: Path) -> bool:
    """Whether there is a judge in a folder, and a classifier's card names it."""
    try:
        told, found = parse_json(card.read_text(encoding="utf-8")), file_digest(folder / CARD)
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and told.get("trees") == found


def erase(folder: Path) -> None:
    """Takes a judge away, and its folder unless other things lie in it."""
    for name in (CARD, TREES):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty
        folder.rmdir()


def weights(labels: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Weights (N,) of mean 1: labels evenly, and a label's sources by the root of their size."""
    result = np.zeros(len(labels))
    for label in (False, True):
        chosen = labels == label
        _, place, size = np.unique(sources[chosen], return_inverse=True, return_counts=True)
        share = 1 / np.sqrt(size)[place]
        result[chosen] = share / share.sum() * len(labels) / 2
    return result


def passages(ids: np.ndarray, length: int, count: int, seed: Sequence[int]) -> list[np.ndarray]:
    """Passages of `length` tokens cut from ids (T,) at random places; the whole if it is shorter.

    A judge fitted on pieces alone knows no short music; fit it on pieces and passages of them.
    """
    last = len(ids) - length
    if last <= 0:
        return [ids]
    starts = np.random.default_rng(list(seed)).integers(0, last + 1, count)
    return [ids[start : start + length] for start in starts.tolist()]
