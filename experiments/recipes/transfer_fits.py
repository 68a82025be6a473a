"""Fits for the transfer table: models trained without some sources, and what they say of pieces.

Three ways to the same result, logits of pieces: networks trained on crops as `gan pretrain-disc`
does; perceptrons over statistics, whose crops are turned into statistics once and kept, because a
view has no weights; and boosted trees over features.

Shapes: N pieces of the corpus, C crops, D statistics, F features.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data_tools.augment import Augmenter
from data_tools.corpus import Corpus, Enlarged
from data_tools.corrupt import Corruptor, heard_by
from data_tools.neutralise import Neutraliser, reach
from data_tools.settings import NeutraliseSettings, ThinningSettings
from data_tools.thinning import Thinner
from discriminator import features
from discriminator.body import Discriminator
from discriminator.calibration import calibrate
from discriminator.classifier import Classifier
from discriminator.feature_judge import FeatureJudge, JudgeSettings
from discriminator.models import build_one
from discriminator.notes import TokenTable
from discriminator.perceptron import Perceptron
from discriminator.settings import ClassifierSettings, StatisticsSettings
from gan.engine import derived_seed, engine, numpy_generator
from gan.pretrain import Learner, fresh_model, windows_of
from gan.settings import PretrainSettings
from gan.spotting import spot_replaced

CROPS = 10  # of a piece, their lengths drawn evenly on a logarithmic scale
CORRUPTED = 2  # of a piece
READ, MOST = 2048, 4  # tokens of a window and windows of a piece, when judged
BATCH = 32

Judge = Callable[[Sequence[int]], np.ndarray]  # numbers of pieces to logits


@dataclass(frozen=True)
class Kept:
    """Statistics of every piece's crops and windows, computed once.

    Attributes:
        crops: (C, D) float16, CROPS of each piece in order, changed as training changes them.
        lengths: (C,) tokens of each, before it was changed.
        corrupted: (N * CORRUPTED, D) float16, crops of each piece in order, corrupted.
        windows: (W, D) float16, of the windows in which pieces are judged.
        owner: (W,) the piece of each.
    """

    crops: np.ndarray
    lengths: np.ndarray
    corrupted: np.ndarray
    windows: np.ndarray
    owner: np.ndarray


def network(corpus: Corpus, numbers: list[int], settings: PretrainSettings) -> Judge:
    """Trains on crops, as `gan pretrain-disc` does but for a fixed number of steps."""
    compute = engine(settings.device, settings.precision)
    draw = windows_of(corpus, numbers, settings)
    model = fresh_model(corpus, draw, settings).to(compute.device)
    learner = Learner(model, settings, compute)
    if settings.spotting_steps:
        spot_replaced(learner, draw, numbers)
    for step in range(settings.steps):
        ids, labels = draw(step)
        learner.step(ids.to(compute.device), labels.to(compute.device), step)
    card = ClassifierSettings(model=settings.model, window=min(READ, settings.window), most=8)
    averaged = learner.averaged
    assert isinstance(averaged, Discriminator)
    classifier = Classifier(averaged, corpus.representation, card, compute.device)

    def judge(chosen: Sequence[int]) -> np.ndarray:
        with compute.autocast():
            return classifier.logits(corpus.piece(int(number)) for number in chosen)

    return judge


def kept_statistics(corpus: Corpus, view: str, settings: PretrainSettings, file: Path) -> Kept:
    """Reads the statistics from `file`, or computes and writes them; a few minutes.

    Those of a second corpus lie beside them.
    """
    if isinstance(corpus, Enlarged):
        first = kept_statistics(Corpus(corpus.folder), view, settings, file)
        second = kept_statistics(corpus.also, view, settings, _second(file))
        return _joined(first, second, corpus)
    names = {part.name for part in fields(Kept)}
    whole = False
    if file.is_file():
        with np.load(file) as arrays:
            whole = names <= set(arrays.files)
    if not whole:
        found = _statistics(corpus, view, settings)
        temporary = file.with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez(temporary, **vars(found))
        temporary.replace(file)
    with np.load(file) as arrays:
        return Kept(**{name: arrays[name] for name in names})


def _second(file: Path) -> Path:
    return file.with_name(f"also-{file.name}")


def _joined(first: Kept, second: Kept, corpus: Enlarged) -> Kept:
    """Statistics of the pieces of both corpora, by their numbers in the enlarged one."""
    added = np.array(corpus.added, dtype=np.int64)
    crops, corrupted = (
        (added[:, None] * each + np.arange(each)).ravel() for each in (CROPS, CORRUPTED)
    )
    here = np.isin(second.owner, added)
    owner = corpus.own + np.searchsorted(added, second.owner[here])
    return Kept(
        np.concatenate([first.crops, second.crops[crops]]),
        np.concatenate([first.lengths, second.lengths[crops]]),
        np.concatenate([first.corrupted, second.corrupted[corrupted]]),
        np.concatenate([first.windows, second.windows[here]]),
        np.concatenate([first.owner, owner]),
    )


@torch.inference_mode()
def _statistics(corpus: Corpus, view: str, settings: PretrainSettings) -> Kept:
    model = _perceptron(corpus, StatisticsSettings.model_validate({"view": view}))
    augment = Augmenter(corpus.representation, settings.augment)
    neutral: NeutraliseSettings = settings.neutralise
    neutralise = Neutraliser(corpus.representation, neutral)
    thin = Thinner(corpus.representation, settings.thinning)
    corrupt = Corruptor(corpus.representation, tuple(heard_by(view)))
    crops, lengths, corrupted, windows, owner = [], [], [], [], []
    for number in range(len(corpus)):
        piece = corpus.piece(number).astype(np.int64)
        generator = numpy_generator(settings.seed, "kept crops", number)
        mine = []
        ends = np.linspace(np.log(settings.shortest), np.log(settings.window), CROPS + 1)
        for low, high in pairwise(ends):
            length = round(float(np.exp(generator.uniform(low, high))))
            start = int(generator.integers(max(1, len(piece) - length + 1)))
            crop = thin(piece[start:], reach(length, neutral), generator)
            if neutral.neutral_share:
                crop = neutralise(crop, generator, corpus.rows[number]["timing"])
            crop = crop[:length]
            mine.append(augment(crop, generator))
            lengths.append(min(length, len(piece) - start))  # before it was thinned
        for place in generator.choice(CROPS, CORRUPTED, replace=False):
            spoilt = corrupt(mine[place], generator)
            mine.append(np.zeros(0, np.int64) if spoilt is None else spoilt[: settings.window])
        starts = [0]
        if len(piece) > READ:
            count = min(MOST, -(-len(piece) // READ))
            starts = np.linspace(0, len(piece) - READ, count).astype(int).tolist()
        mine += [piece[start : start + READ] for start in starts]
        owner += [number] * len(starts)
        raw = model.view(_padded(mine)).statistics.half().numpy()
        crops.append(raw[:CROPS])
        corrupted.append(raw[CROPS : CROPS + CORRUPTED])
        windows.append(raw[CROPS + CORRUPTED :])
    return Kept(
        np.concatenate(crops), np.array(lengths), np.concatenate(corrupted),
        np.concatenate(windows), np.array(owner),
    )  # fmt: skip


def perceptron(
    corpus: Corpus, numbers: list[int], settings: PretrainSettings, kept: Kept, least: int = 0
) -> Judge:
    """Trains on kept statistics of crops of `least` tokens and more."""
    assert isinstance(settings.model, StatisticsSettings)
    compute = engine("cpu", settings.precision)  # quick there, and a GPU is for the networks
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    model = _perceptron(corpus, settings.model)
    inside = np.zeros(len(corpus), dtype=bool)
    inside[numbers] = True
    rows = np.flatnonzero(np.repeat(inside, CROPS) & (kept.lengths >= least))
    piece = rows // CROPS
    noise = np.flatnonzero(np.repeat(inside, CORRUPTED))
    labels = np.array([row["label"] == "jazz" for row in corpus.rows], dtype=np.float32)
    cumulative = np.cumsum(_shares(corpus, piece, labels[piece]))
    sample = numpy_generator(settings.seed, "scale").permutation(rows)[:4096]
    model.statistics.set_scale(torch.from_numpy(kept.crops[sample].astype(np.float32)))
    learner = Learner(_OnStatistics(model), settings, compute)
    for step in range(settings.steps):
        generator = numpy_generator(settings.seed, "rows", step)
        drawn = np.searchsorted(cumulative, generator.random(settings.batch) * cumulative[-1])
        drawn = drawn.clip(max=len(rows) - 1)
        raw, truth = kept.crops[rows[drawn]].astype(np.float32), labels[piece[drawn]]
        spoilt = (truth == 0) & (generator.random(len(truth)) < settings.corrupt_share)
        raw[spoilt] = kept.corrupted[generator.choice(noise, spoilt.sum())]
        learner.step(torch.from_numpy(raw), torch.from_numpy(truth), step)
    averaged = learner.averaged.eval()

    @torch.inference_mode()
    def judge(chosen: Sequence[int]) -> np.ndarray:
        here = np.flatnonzero(np.isin(kept.owner, chosen))
        logits = averaged(torch.from_numpy(kept.windows[here].astype(np.float32))).numpy()
        total = np.bincount(kept.owner[here], logits, len(corpus))
        count = np.bincount(kept.owner[here], minlength=len(corpus))
        return (total / np.maximum(count, 1))[np.asarray(chosen)]

    return judge


def gate(
    corpus: Corpus, numbers: list[int], works: list[int], settings: PretrainSettings, kept: Kept
) -> Judge:
    """Trains music from noise on kept statistics; calibrated on works that were left out."""
    assert isinstance(settings.model, StatisticsSettings)
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    model = _perceptron(corpus, settings.model)
    source = np.array([row["source"] for row in corpus.rows])
    tables, rows, cumulative = (kept.crops, kept.corrupted), [], []
    for each in (CROPS, CORRUPTED):
        inside = np.zeros(len(corpus), dtype=bool)
        inside[numbers] = True
        rows.append(np.flatnonzero(np.repeat(inside, each)))
        _, place, size = np.unique(
            source[rows[-1] // each], return_inverse=True, return_counts=True
        )
        cumulative.append(np.cumsum(1 / np.sqrt(size)[place]))

    def drawn(chance: np.random.Generator, count: int) -> Tensor:
        """As many rows (2 * count, D) of music as of noise."""
        found = []
        for table, here, shares in zip(tables, rows, cumulative, strict=True):
            places = np.searchsorted(shares, chance.random(count) * shares[-1])
            found.append(table[here[places.clip(max=len(here) - 1)]])
        return torch.from_numpy(np.concatenate(found).astype(np.float32))

    half = settings.batch // 2
    model.statistics.set_scale(drawn(numpy_generator(settings.seed, "scale"), 2048))
    learner = Learner(_OnStatistics(model), settings, engine("cpu", settings.precision))
    truth = torch.cat([torch.ones(half), torch.zeros(half)])
    for step in range(settings.steps):
        learner.step(drawn(numpy_generator(settings.seed, "rows", step), half), truth, step)
    averaged = learner.averaged.eval()

    @torch.inference_mode()
    def said(table: np.ndarray) -> np.ndarray:
        return averaged(torch.from_numpy(table.astype(np.float32))).numpy()

    known = np.isin(np.arange(len(corpus)), works)
    music, noise = (
        said(table[np.repeat(known, each)])
        for table, each in zip(tables, (CROPS, CORRUPTED), strict=True)
    )
    labels = np.concatenate([np.ones(len(music)), np.zeros(len(noise))]).astype(np.int64)
    scale, bias = calibrate(np.concatenate([music, noise]), labels, ["all"] * len(labels))

    def judge(chosen: Sequence[int]) -> np.ndarray:
        here = np.flatnonzero(np.isin(kept.owner, chosen))
        total = np.bincount(kept.owner[here], scale * said(kept.windows[here]) + bias, len(corpus))
        count = np.bincount(kept.owner[here], minlength=len(corpus))
        return (total / np.maximum(count, 1))[np.asarray(chosen)]

    return judge


def kept_features(
    corpus: Corpus, file: Path, groups: tuple[str, ...], thinned: int = 0
) -> np.ndarray:
    """The symbolic features (1 + thinned, N, F) of every whole piece, and of it thinned so often.

    From `file`, or computed and written.
    """
    if isinstance(corpus, Enlarged):
        second = kept_features(corpus.also, _second(file), groups, thinned)[:, corpus.added]
        first = kept_features(Corpus(corpus.folder), file, groups, thinned)
        return np.concatenate([first, second], axis=1)
    if not file.is_file():
        thin = Thinner(corpus.representation, ThinningSettings(thin_share=1.0))

        def piece(number: int, copy: int) -> np.ndarray:
            whole = corpus.piece(number)
            chance = numpy_generator(0, "thinned piece", copy, number)
            return thin(whole, len(whole), chance) if copy else whole

        rows = np.stack([
            features.of_pieces(
                (piece(number, copy) for number in range(len(corpus))),
                corpus.representation, groups,
            )
            for copy in range(1 + thinned)
        ])  # fmt: skip
        temporary = file.with_suffix(f".{os.getpid()}.tmp.npy")
        np.save(temporary, rows)
        temporary.replace(file)
    kept: np.ndarray = np.load(file)
    return kept if kept.ndim == 3 else kept[None]  # as earlier ones are


def boosted(
    corpus: Corpus, numbers: list[int], rows: np.ndarray, seed: int, groups: tuple[str, ...]
) -> Judge:
    """Boosted trees over symbolic features of pieces, and of the pieces thinned (copies, N, F)."""
    labels = [corpus.rows[number]["label"] == "jazz" for number in numbers] * len(rows)
    sources = [corpus.rows[number]["source"] for number in numbers] * len(rows)
    settings = JudgeSettings(groups=groups)
    shown = rows[:, numbers].reshape(len(labels), -1)
    forest = FeatureJudge.fit(shown, np.array(labels), sources, seed, settings)
    return lambda chosen: forest.logits(rows[0, np.asarray(chosen)])


class _OnStatistics(nn.Module):
    """A perceptron that is given statistics instead of tokens."""

    def __init__(self, model: Perceptron) -> None:
        super().__init__()
        self.model = model

    def forward(self, raw: Tensor) -> Tensor:
        return self.model.judge_statistics(raw)


def _perceptron(corpus: Corpus, settings: StatisticsSettings) -> Perceptron:
    model = build_one(settings, TokenTable.of(corpus.representation))
    assert isinstance(model, Perceptron)
    return model


def _padded(pieces: Sequence[np.ndarray]) -> Tensor:
    rows = np.zeros((len(pieces), max(len(piece) for piece in pieces)), dtype=np.int64)
    for row, piece in zip(rows, pieces, strict=True):
        row[: len(piece)] = piece
    return torch.from_numpy(rows)


def _shares(corpus: Corpus, piece: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C,) how often each crop is drawn: labels evenly, source and timing by the root of size."""
    kind = np.array([
        f"{corpus.rows[number]['source']}/{corpus.rows[number]['timing']}" for number in piece
    ])  # fmt: skip
    share = np.zeros(len(piece))
    for label in (0.0, 1.0):
        here = labels == label
        _, place, size = np.unique(kind[here], return_inverse=True, return_counts=True)
        root = 1 / np.sqrt(size)[place]
        share[here] = root / root.sum() / 2
    return share
