"""Pretraining the style discriminator: jazz or not, on pieces grouped by work and artist.

Crops of varying length, balanced over labels and sources and augmented; early stopping on the
validation split; calibration there too; the test split is for the report at the end alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from data_tools.corpus import Corpus
from data_tools.corrupt import heard_by
from data_tools.errors import UserError
from data_tools.files import write_json, write_text
from data_tools.representation import TokenType
from discriminator.body import Discriminator
from discriminator.calibration import calibrate
from discriminator.classifier import Classifier, too_little
from discriminator.metrics import HEAD, Report, report
from discriminator.models import build_one, tied_tokens
from discriminator.notes import TokenTable
from discriminator.settings import ClassifierSettings
from gan import tables
from gan.data import DiscriminatorWindows
from gan.engine import (
    Engine,
    adamw,
    check_finite,
    derived_seed,
    engine,
    learning_rate,
    load_optimizer,
    set_rate,
)
from gan.evaluation.embeddings import embeddings
from gan.logbook import Logbook
from gan.run import Run, checkpoint_of, load_state, resuming
from gan.settings import PretrainSettings
from gan.spotting import spot_replaced

COMPARED = ("validation/auc", "validation/loss", "validation/ece")
FEW = 50  # pieces of a label; see `calibrate`
SCALE_BATCHES = 32  # drawn before the first step, to learn the scale of what a view shows
VALIDATION_TOKENS = 2048  # of each piece while training; the last report reads everything
HIDEABLE = {
    "velocity": TokenType.VELOCITY,
    "duration": TokenType.DURATION,
    "time_shift": TokenType.TIME_SHIFT,
}


def pretrain(
    corpus: Corpus, out: Path, settings: PretrainSettings, resume: bool = False, quiet: bool = False
) -> Report:
    """Trains a discriminator and writes `out/classifier/` and `out/report.json`, `report.md`.

    Returns:
        The report on the test split.

    Raises:
        UserError: train or validation lacks a label, or the run's folder is taken.
    """
    compute = engine(settings.device, settings.precision)
    card = ClassifierSettings(model=settings.model, window=settings.window)
    splits = {name: _labelled(corpus, name, settings) for name in ("train", "validation", "test")}
    for name, most in (("validation", VALIDATION_TOKENS), ("test", 0)):
        splits[name] = [
            number
            for number in splits[name]
            if not too_little(
                _middle(corpus.piece(number), most), corpus.representation, card.minimum
            )
        ]
    for label in ("jazz", "not_jazz"):
        if not any(corpus.rows[number]["label"] == label for number in splits["validation"]):
            raise UserError(
                f"{corpus.folder}: no '{label}' pieces in validation to stop by; give 'gan data "
                "build' more pieces or a larger --validation, and see that they have labels (from "
                "folders named jazz and not_jazz, or a manifest.csv) and notes enough to be judged"
            )
    if not splits["test"]:
        raise UserError(
            f"{corpus.folder}: no labelled pieces in test with notes enough to report on; build "
            "with --test"
        )
    draw = windows_of(corpus, splits["train"], settings)
    model = fresh_model(corpus, draw, settings).to(compute.device)
    # After whatever may refuse the corpus, so that no folder is taken in vain.
    run = Run(out, settings, resume, corpus.inputs())
    learner = Learner(model, settings, compute)
    averaged = learner.averaged
    assert isinstance(averaged, Discriminator)
    classifier = Classifier(averaged, corpus.representation, card, compute.device)
    state: dict[str, Any] = {"step": 0, "best": float("inf"), "waited": 0}
    checkpoint = run.latest()
    if checkpoint:
        state = load_state(checkpoint, compute.device)
        with resuming(checkpoint):
            learner.load_state_dict(state["optimizer"])
            state |= {"best": float(state["best"]), "waited": int(state["waited"])}
    run.cut_metrics(state["step"] if checkpoint else -1)

    with (
        run.stoppable() as stop,
        Logbook(out, state["step"], quiet, settings, settings.steps) as log,
    ):
        log.say(f"{sum(p.numel() for p in model.parameters()):,} weights, {compute.describe()}")
        if state["step"] == settings.steps:
            log.say(f"finished already: all {settings.steps:,} steps are done")
        elif checkpoint:
            log.say(f"goes on from step {state['step']:,} of {settings.steps:,}")
        elif resume:
            log.say("nothing to go on from yet: begins at the first step")
        if settings.spotting_steps and not checkpoint:
            music = corpus.select("train", exclude_sources=settings.exclude_sources)
            found = spot_replaced(learner, draw, _of_folds(corpus, music, settings))
            log.say(f"replaced pitches told from real ones with accuracy {found:.3f}")
        began = state["step"]
        for step in stop.steps(range(began, settings.steps)):
            if state["waited"] >= settings.patience:
                break
            ids, labels = (tensor.to(compute.device) for tensor in draw(step))
            logits, loss, norm = learner.step(ids, labels, step)
            state["step"] = step + 1
            log.tick(step + 1)
            if state["step"] % 25 == 0:
                accuracy = ((logits > 0) == (labels > 0.5)).float().mean()
                log.log(
                    state["step"],
                    {
                        "discriminator/loss": loss.item(),
                        "discriminator/accuracy": accuracy.item(),
                        "discriminator/gradient_norm": norm.item(),
                    },
                    show=state["step"] - began <= 25,
                )
            due = state["step"] % settings.evaluate_every == 0 or state["step"] == settings.steps
            if due:
                _validate(classifier, corpus, splits["validation"], state, log)
            last = state["step"] == settings.steps or state["waited"] >= settings.patience
            if stop.now(last=last) or due:
                better = due and state["waited"] == 0
                run.save(
                    state["step"],
                    classifier.save,
                    state | {"optimizer": learner.state_dict()},
                    settings.keep,
                    better,
                )
        best = checkpoint_of(out, "best")
        assert best is not None
        return _finish(best, corpus, splits, compute.device, out, log, state["step"])


class Learner:
    """A model, the average of its weights, its optimizer, and one step of learning.

    The average is what is validated and kept: it jumps about less than the weights do (Polyak &
    Juditsky 1992; Izmailov et al. 2018).

    Args:
        model: to be trained; see `fresh_model`.
        settings: see there.
        compute: where.
    """

    def __init__(self, model: nn.Module, settings: PretrainSettings, compute: Engine) -> None:
        self.model, self.settings, self.compute = model, settings, compute
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
        self.optimizer = adamw(model, settings.learning_rate, settings.weight_decay)

    @property
    def averaged(self) -> nn.Module:
        """The model with averaged weights."""
        return self._average.module

    def step(self, ids: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Learns from ids (B, T) and labels (B,); returns logits (B,), loss and gradient norm."""
        settings = self.settings
        torch.manual_seed(derived_seed(settings.seed, "dropout", step))
        self.model.train()
        with self.compute.autocast():
            logits = self.model(ids).float()  # (B,)
        smooth = labels * (1 - 2 * settings.label_smoothing) + settings.label_smoothing
        loss = F.binary_cross_entropy_with_logits(logits, smooth)
        check_finite(loss, "discriminator loss", step)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        check_finite(norm, "gradient norm", step)
        rate = learning_rate(step, settings.learning_rate, settings.warmup, settings.steps)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        self._average.update_parameters(self.model)
        return logits, loss, norm

    def restart_average(self) -> None:
        """Takes the weights as they are for their average."""
        self._average.module.load_state_dict(self.model.state_dict())
        self._average.n_averaged.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Everything that moves."""
        return {
            "model": self.model.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.model.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        load_optimizer(self.optimizer, state["optimizer"])


def windows_of(
    corpus: Corpus, numbers: list[int], settings: PretrainSettings
) -> DiscriminatorWindows:
    """The batches that settings draw from some pieces."""
    several = corpus.representation.settings.preset == "raw"
    return DiscriminatorWindows(
        corpus, _of_folds(corpus, numbers, settings), settings.batch, settings.shortest,
        settings.window, settings.augment, settings.seed, settings.neutralise,
        0.0 if several else settings.corrupt_share,
        tuple(heard_by(settings.model.view, settings.hide)), settings.thinning,
    )  # fmt: skip


def _of_folds(corpus: Corpus, numbers: list[int], settings: PretrainSettings) -> list[int]:
    """The training pieces less those of the fold left out; works and artists stay together."""
    if not settings.folds:
        return numbers
    return [
        number
        for number in numbers
        if derived_seed(corpus.rows[number]["group"]) % settings.folds != settings.fold
    ]


def fresh_model(
    corpus: Corpus, draw: DiscriminatorWindows, settings: PretrainSettings
) -> Discriminator:
    """A model with fresh weights, and the scale of things learnt from a few batches.

    Raises:
        UserError: the corpus's tokens do not suit the model's view.
    """
    representation = corpus.representation
    groups = None
    if settings.hide:
        kinds = representation.token_types[: representation.music_size]
        groups = tied_tokens(kinds, [HIDEABLE[name] for name in settings.hide])
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    try:
        model = build_one(settings.model, TokenTable.of(representation), groups)
    except ValueError as error:
        raise UserError(f"{corpus.folder}: {error}") from None
    model.standardise([draw(-1 - number)[0] for number in range(SCALE_BATCHES)])
    return model


def _labelled(corpus: Corpus, split: str, settings: PretrainSettings) -> list[int]:
    numbers = corpus.select(split, exclude_sources=settings.exclude_sources)
    return [n for n in numbers if corpus.rows[n]["label"] in ("jazz", "not_jazz")]


def _logits(
    classifier: Classifier, corpus: Corpus, numbers: list[int], step: int, most: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Logits (N,), labels (N,) and sources of pieces with notes enough, see `too_little`.

    Args:
        step: for the message.
        most: tokens read of each piece, from its middle; 0 reads all.

    Raises:
        UserError: a logit is no number.
    """
    classifier.model.eval()
    logits = classifier.logits(_middle(corpus.piece(number), most) for number in numbers)
    check_finite(torch.from_numpy(logits).sum(), "sum of the held-out logits", step)
    rows = [corpus.rows[number] for number in numbers]
    labels = np.array([row["label"] == "jazz" for row in rows], dtype=np.int64)
    return logits, labels, [row["source"] for row in rows]


def _middle(ids: np.ndarray, most: int) -> np.ndarray:
    start = max(0, len(ids) - most) // 2 if most else 0
    return ids[start : start + most] if most else ids


def _calibration(logits: np.ndarray, labels: np.ndarray, sources: list[str]) -> tuple[float, float]:
    """Platt scaling, or none where validation cannot carry it."""
    try:
        return calibrate(logits, labels, sources, FEW)
    except ValueError:
        return 1.0, 0.0


def _validate(
    classifier: Classifier, corpus: Corpus, numbers: list[int], state: dict[str, Any], log: Logbook
) -> None:
    step = state["step"]
    logits, labels, sources = _logits(classifier, corpus, numbers, step, VALIDATION_TOKENS)
    p = 1 / (1 + np.exp(-logits))
    result = report(labels, p, sources)
    # Classes weigh the same, as in training.
    loss = float(np.mean([np.logaddexp(0, -logits[labels == 1]).mean(),
                          np.logaddexp(0, logits[labels == 0]).mean()]))  # fmt: skip
    check_finite(torch.tensor(loss), "validation loss", step)
    state["waited"] = 0 if loss < state["best"] else state["waited"] + 1
    state["best"] = min(loss, state["best"])
    metrics = {"validation/loss": loss, "validation/ece": result.overall.calibration_error}
    if result.overall.auc is not None:
        metrics["validation/auc"] = result.overall.auc
        metrics["validation/average_precision"] = result.overall.average_precision or 0.0
    log.log(step, metrics, show=True)
    log.precision_recall("validation/jazz", labels, p, step)
    log.precision_recall("validation/not_jazz", 1 - labels, 1 - p, step)


def _finish(
    best: Path,
    corpus: Corpus,
    splits: dict[str, list[int]],
    device: torch.device,
    out: Path,
    log: Logbook,
    step: int,
) -> Report:
    """Calibrates the best checkpoint on validation, and opens the test split.

    Args:
        step: the run's last.
    """
    classifier = Classifier.load(best, device)
    logits, labels, sources = _logits(classifier, corpus, splits["validation"], step)
    scale, bias = _calibration(logits, labels, sources)
    fewest = int(np.bincount(labels, minlength=2).min())
    card = classifier.settings.model_copy(update={"scale": scale, "bias": bias})
    classifier = Classifier(classifier.model, classifier.representation, card, device)
    classifier.save(out / "classifier")
    logits, labels, sources = _logits(classifier, corpus, splits["test"], step)
    p = 1 / (1 + np.exp(-(scale * logits + bias)))
    result = report(labels, p, sources)
    write_text(out / "report.md", f"# Jazz or not, on the test split\n\n{result.table()}\n")
    write_json(out / "report.json", result.as_dict() | {"checkpoint": best.name})
    log.say("\n".join(["", tables.plain(result.rows(), HEAD), *result.remarks()]))
    if fewest < FEW:
        log.say(
            f"note: p(jazz) is a rough probability: only {fewest} of the {len(labels)} validation "
            "pieces it is calibrated on have the rarer label"
        )
    log.text("test", result.table(), step + 1)  # see `gan.logbook` for why behind the last step
    vectors, rows = embeddings(classifier, corpus, splits["validation"])
    log.embedding("validation", vectors, rows, step + 1)
    overall = {"auc": result.overall.auc, "average_precision": result.overall.average_precision}
    found = {f"test/{name}": value for name, value in overall.items() if value is not None}
    log.conclude(step, COMPARED, found)
    return result
