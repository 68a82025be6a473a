"""The adversarial trainer: cross-entropy, and in the same step a jazz discriminator's opinion.

    data      windows of real music; prompts for rollouts
    forward   logits of the windows; a rollout sampled on the cache and replayed with gradient
    losses    ce + weight * adversarial(discriminator(straight-through rows of the rollout)) + ...
              (see `gan.adversarial.term` for what may join it)
    backward  from the logits, where both gradients are measured, weighed and logged
    step      the optimizer's, see `gan.update`

With a weight of zero the same loop is plain cross-entropy training. Every draw is a function of
(seed, step), so a killed run resumes bit for bit. A step's windows are shared by the ranks, and
each rank may read its share in parts: neither changes what the step is. After transformer-gan
(Muhamed et al. 2021), with the rollout's detached unroll replaced by one parallel replay.
"""

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import PAD
from gan.adversarial import guards
from gan.adversarial.balance import norm_at_logits
from gan.adversarial.critic import StyleCritic
from gan.adversarial.losses import cross_entropy
from gan.adversarial.setup import check_byte_pairs, check_context, check_precision, first_generator
from gan.adversarial.term import AdversarialTerm, judge_of
from gan.data import Batches, GeneratorWindows
from gan.engine import (
    check_finite,
    derived_seed,
    engine,
    peak_memory,
)
from gan.evaluation.progress import Progress
from gan.logbook import Logbook, Silence
from gan.ranks import ALONE, Ranks
from gan.run import Run, checkpoint_of, load_state, resuming, weights_digest
from gan.settings import TrainSettings
from gan.update import Updater
from generator.compose import Composer
from generator.model import GeneratorModel

Part = tuple[Tensor, Tensor]  # inputs and targets (B, T)
WORSE = 0.01  # by which share more bits than the best are worth a word
COMPARED = ("validation/bits_per_note", "validation/bits_per_note_jazz", "samples/p_jazz")
LOSSES = ("adversarial", "realism", "reward", "kl", "entropy")  # beside cross-entropy


class Trainer:
    """Trains a generator on a corpus.

    Args:
        corpus: what it learns from.
        out: the run's folder.
        settings: everything else.
        resume: go on from the latest checkpoint.
        quiet: nothing on the screen.
        ranks: the processes that train it together; see `gan.ranks.joined`.

    Raises:
        UserError: the folder is taken, the discriminator does not fit, or there is no jazz.
    """

    def __init__(
        self,
        corpus: Corpus,
        out: Path,
        settings: TrainSettings,
        resume: bool = False,
        quiet: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings, self.out, self.quiet, self.ranks = settings, out, quiet, ranks
        self.resume = resume
        self.compute = engine(settings.device, settings.precision)
        check_byte_pairs(settings)
        check_precision(settings, self.compute)
        self.critic = self._critic(corpus) if settings.style else None
        self.model, self.representation = first_generator(corpus, settings, self.compute.device)
        check_context(settings, self.model.context, self.representation)
        inputs = self._inputs(corpus)
        self.updater = Updater(self.model, settings, self.compute)
        kept = self.updater.kept
        assert isinstance(kept, GeneratorModel)
        label = "jazz" if "label:jazz" in self.representation.conditions else None
        self.composer = Composer(kept, self.representation, label, self.compute.device)
        numbers = corpus.select("train", exclude_sources=settings.exclude_sources)
        self.windows = GeneratorWindows(
            corpus, numbers, self.representation, settings.length, settings.batch,
            settings.augment if settings.augmentation else None, settings.condition_dropout,
            settings.seed, settings.packing,
        )  # fmt: skip
        self.batches = Batches(self.windows, ranks, settings.accumulate)
        self.term: AdversarialTerm | None = None
        if settings.adversarial:
            self.term = AdversarialTerm(
                corpus, self.representation, self.model, self.critic, settings, self.compute, ranks
            )
        self.judge = judge_of(Path(settings.judge)) if settings.judge else None
        self._good: dict[str, Any] = {}  # where the watch goes back to
        self.progress = Progress(
            corpus, self.composer, self.critic, self.compute, settings, out, ranks
        )
        # Last, so that a choice refused above leaves no folder that is taken.
        if not ranks.main:
            ranks.wait()  # for the first rank to make the folder
        self.run = Run(out, settings, resume or not ranks.main, inputs, ranks.main)
        if ranks.main:
            ranks.wait()
        self.step, self.best = 0, float("inf")
        self._bits = float("nan")  # of the last validation
        if checkpoint := self.run.latest():
            self._load(checkpoint)
        if ranks.main:
            self.run.cut_metrics(self.step if checkpoint else -1)
        self._parallel = self._parallelised()

    def train(self) -> Path:
        """Runs all steps that are left; returns the folder of the finished generator."""
        settings, main, began = self.settings, self.ranks.main, self.step
        book = (self.out, self.step, self.quiet, settings, settings.steps)
        with (
            self.run.stoppable(self.ranks.world == 1) as stop,
            Logbook(*book) if main else Silence() as log,
        ):
            weights = sum(p.numel() for p in self.model.parameters())
            ranks = f", {self.ranks.world} ranks" if self.ranks.world > 1 else ""
            log.say(
                f"{weights:,} weights, {self.compute.describe()}{ranks}, {len(self.windows):,} "
                f"windows of {settings.length} tokens an epoch"
            )
            if self.step == settings.steps:
                log.say(f"finished already: all {settings.steps:,} steps are done")
            elif self.step:
                log.say(f"goes on from step {self.step:,} of {settings.steps:,}")
            else:
                if self.resume:
                    log.say("nothing to go on from yet: begins at the first step")
                self._begin(self._validated(log))
            loader = self.batches.steps(
                self.step, settings.steps, settings.workers, self.compute.device
            )
            for parts in stop.steps(loader):
                if self.term is not None and self.term.watch.ended:
                    break
                metrics = self.train_step(self.step, parts)
                self.step += 1
                log.tick(self.step)
                last = self.step == settings.steps
                if self.step % 10 == 0 or self.step == 1 or last:
                    metrics |= peak_memory(self.compute.device)
                    soon = self.step - began <= 10  # whether it learns, and how fast
                    log.log(self.step, metrics, show=soon or last or self.step % 50 == 0)
                self._after_step(log, stop.now(self.ranks.any, last))
            log.conclude(self.step, COMPARED, self._of_good(log))
            out = self.out / "generator"
            # One that is there stays byte for byte: other runs may have begun from it.
            if main and not (self.step == began and (out / "generator.json").is_file()):
                # In half the size, and faster on a CPU (`generator.products`).
                self.composer.save(out, half=True)
            if main and self.term is None and self._bits > (1 + WORSE) * self.best:
                self._tell_best(log)
            if main and self.term is not None and self.term.asked and not self.term.pushed:
                log.say(
                    "note: the adversarial term had no weight in any step: to this discriminator "
                    "what is written is as near to real jazz as chance (adversarial/pull is 0); "
                    "see whether it tells jazz apart at all, in its run's report.md"
                )
            self.ranks.wait()
        return out

    def train_step(self, step: int, parts: list[Part] | None = None) -> dict[str, float]:
        """One optimizer step; what it measured, by name."""
        settings, ranks, device = self.settings, self.ranks, self.compute.device
        parts = self.batches[step] if parts is None else parts
        count = ranks.total(
            torch.stack([(targets != PAD).sum() for _, targets in parts]).sum().to(device)
        )
        torch.manual_seed(derived_seed(settings.seed, "dropout", step, *ranks.own()))
        share = self.term.weight_at(step) if self.term else 0.0
        metrics: dict[str, float] = {}
        losses, ce_gradients = [], []
        self.updater.optimizer.zero_grad()
        for number, (inputs, targets) in enumerate(parts):
            last = number == len(parts) - 1
            with self._alone(not last):
                self.model.train()
                with self.compute.autocast():
                    logits = self._parallel(inputs.to(device, non_blocking=True))  # (B, T, V)
                # Ranks are averaged, so each gives its part of the mean times their number.
                ce = ranks.world * cross_entropy(
                    logits, targets.to(device, non_blocking=True), count, settings.smoothing
                )
                (gradient,) = torch.autograd.grad(ce, logits)
                losses.append(ce.detach())
                ce_gradients.append(gradient)
                outputs, gradients = [logits], [gradient]
                if last:
                    loss = ranks.total(torch.stack(losses).sum()) / ranks.world
                    check_finite(loss, "cross-entropy loss", step)
                    norm = norm_at_logits(ce_gradients, ranks)
                    metrics = {"loss/ce": float(loss), "gradient/ce": norm}
                if last and share:
                    assert self.term is not None
                    push = self.term(step, share, norm)
                    if self.term.opened:  # the first rollouts show where the run began
                        self.term.watch.first |= self._rollouts_now()
                    outputs += push.outputs
                    gradients += push.gradients
                    metrics |= push.measured
                    metrics["loss/total"] = float(loss) + sum(
                        push.measured[f"{name}/weight"] * push.measured[f"loss/{name}"]
                        for name in LOSSES
                        if f"{name}/weight" in push.measured
                    )
                self.updater.backward(outputs, gradients)
        return metrics | self.updater.apply(step)

    def _after_step(self, log: Logbook, stopping: bool) -> None:
        """Validates and saves where it is time to."""
        settings, step = self.settings, self.step
        last = step == settings.steps
        handover = self.term is not None and step == settings.adv_start
        better, ended = False, False
        if step % settings.evaluate_every == 0 or last or handover:
            found = self._validated(log)
            bits = self._bits = found["bits_per_note"]
            self.updater.validated(bits)
            better, self.best = bits < self.best, min(self.best, bits)
            if handover:
                self._begin(found)
            elif self.term is not None and not self._sound(found, log):
                # Back at the last good weights, whose figures these are not.
                better, self.best = False, self._good["best"]
                ended = self.term.watch.ended
        saves = step % settings.checkpoint_every == 0 or last or better or ended or stopping
        moving = {"updater": self.updater.state_dict()} if saves else {}
        if saves and self.term is not None:  # of all ranks, so all come here
            moving |= {"term": self.term.state_dict(), "good": self._good}
        if handover and self.ranks.main:
            self.composer.save(self.out / "cross_entropy", half=True)
        if saves and self.ranks.main:
            state = {"optimizer": moving, "best": self.best}
            self.run.save(step, self.composer.save, state, settings.keep, better)
        if stopping:  # torchrun ends all of a run when the first one leaves
            self.ranks.wait()

    def _of_good(self, log: Logbook) -> dict[str, float]:
        """The figures of the finished weights, where a validation of others was the last."""
        found: dict[str, float] = self._good.get("found", {})
        if not found or self._good.get("left") != self.step:
            return {}
        bits = found["validation/bits_per_note"]
        log.say(
            f"note: the finished generator is that of step {self._good['step']:,}, with {bits:.2f} "
            "bits a note on validation"
        )
        return found

    def _tell_best(self, log: Logbook) -> None:
        """Says where the generator was better: what is finished is the last."""
        try:
            best = checkpoint_of(self.out, "best")
        except UserError:  # somebody took it away
            return
        assert best is not None
        log.say(
            f"note: bits a note on validation were {self.best:.2f} at step {int(best.name[5:]):,} "
            f"and are {self._bits:.2f} now; that better generator is {best}"
        )

    def _validated(self, log: Logbook) -> dict[str, float]:
        """Validation figures; all ranks read with the first one's statistics (of a batch norm).

        The first one's are what is saved. DistributedDataParallel hands them round too, but later,
        and not those of averaged weights.
        """
        log.pause(self.step, "validating")
        for model in (self.model, self.updater.kept):
            self.ranks.hand_round(list(model.buffers()))
        return self.progress.report(self.step, log)

    def _sound(self, found: dict[str, float], log: Logbook) -> bool:
        """Looks for damage and reward hacking; if there is any, takes the run back, or ends it."""
        assert self.term is not None
        term, settings = self.term, self.settings
        if self.step <= settings.adv_start:
            return True
        now = self._rollouts_now() | {"bits": _bits(found)}
        wrong = term.watch.look(now)
        measured = {f"guard/{name}": value for name, value in now.items()}
        measured["guard/hacking"] = float("hacking" in wrong)
        if "hacking" in wrong:
            liked, judged = now["p_jazz_discriminator"], now["p_jazz_judge"]
            log.say(
                f"step {self.step}: ALARM, reward hacking: the discriminator's p(jazz) rose to "
                f"{liked:.2f}, the judge's is {judged:.2f}; the generator is learning the "
                "discriminator, not jazz"
            )
        log.log(self.step, measured)
        if not wrong:
            self._good = self._snapshot()
            return True
        reason = {
            "bits": "bits a note rose",
            "variety": "the rollouts' variety fell",
            "hacking": "the discriminator's opinion left the judge's",
        }[wrong[0]]
        if settings.guard_returns < 0:
            log.say(f"step {self.step}: WARNING, {reason} too far; it goes on, as it was told to")
            return True
        term.watch.back(settings.guard_returns)
        self._restore(self._good)
        self._good["left"] = self.step
        rest = f"the adversarial weight goes on times {term.watch.backoff:g}"
        if term.watch.ended:
            rest = "that was the last time, and the run ends there"
        step = self._good.get("step")  # earlier checkpoints do not say
        of = "" if step is None else f", of step {step:,}"
        log.say(f"step {self.step}: {reason} too far; back to the last good weights{of}; {rest}")
        return False

    def _begin(self, found: dict[str, float]) -> None:
        """Where the term begins: the weights to go back to, and what is to be compared with."""
        if self.term is not None and self.step == self.settings.adv_start:
            self.term.watch.first["bits"] = _bits(found)
            self._good = self._snapshot()

    def _rollouts_now(self) -> dict[str, float]:
        """Variety of the last rollouts, and what the discriminator and the judge make of them."""
        assert self.term is not None
        pieces = self.term.recent_pieces()
        if not any(self.ranks.gather(bool(pieces))):
            return {}
        now = {"variety": guards.variety(pieces)}
        if self.critic:
            now["p_jazz_discriminator"] = self.term.liked()
        if self.judge and pieces:
            now["p_jazz_judge"] = float(np.mean(self.judge(pieces, self.term.representation)))
        seen = self.ranks.gather(now)
        return {name: float(np.mean([each[name] for each in seen])) for name in now}

    def _snapshot(self) -> dict[str, Any]:
        """The weights and their optimizer as they are, in memory of their own."""
        return deepcopy(
            {
                "kept": self.updater.kept.state_dict(),
                "updater": self.updater.state_dict(),
                "best": self.best,
                "step": self.step,
                "found": {n: v for n, v in self.progress.latest.items() if n in COMPARED},
            }
        )

    def _restore(self, good: dict[str, Any]) -> None:
        # As from a checkpoint: what is kept first, from which the updater then tells the weights.
        self.updater.kept.load_state_dict(good["kept"])
        self.model.load_state_dict(good["kept"])
        self.updater.load_state_dict(deepcopy(good["updater"]))
        if self.term is not None:
            self.term.recent = []  # other weights wrote them
            self.term.ahead.forget()

    def _alone(self, alone: bool) -> AbstractContextManager[None]:
        """Ranks add up their gradients in the last part of a step alone."""
        if alone and isinstance(self._parallel, DistributedDataParallel):
            return self._parallel.no_sync()
        return nullcontext()

    def _parallelised(self) -> nn.Module:
        """The model as the windows go through it: compiled, and with its ranks averaged."""
        model: nn.Module = self.model
        if self.settings.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        return DistributedDataParallel(model) if self.ranks.world > 1 else model

    def _critic(self, corpus: Corpus) -> StyleCritic:
        settings = self.settings
        folder = Path(settings.discriminator) if settings.discriminator else None
        return StyleCritic(
            folder, corpus, settings.exclude_sources, settings.rollout, settings.adv_loss,
            self.compute.device, settings.adv_caution, settings.guard_hollow,
        )  # fmt: skip

    def _inputs(self, corpus: Corpus) -> dict[str, str]:
        """Digests of all that fixes the outcome besides the settings."""
        inputs = corpus.inputs()
        if self.critic:
            inputs["discriminator"] = weights_digest(self.critic.model)
        if self.settings.init:
            inputs["init"] = weights_digest(self.model)
        return inputs

    def _load(self, checkpoint: Path) -> None:
        with resuming(checkpoint):
            saved = Composer.load(checkpoint, self.compute.device)
            try:
                self.model.load_state_dict(saved.model.state_dict())
            except RuntimeError:  # whose words fill a page
                raise UserError(f"{checkpoint}: its generator is of another size") from None
        state = load_state(checkpoint, self.compute.device)
        with resuming(checkpoint):
            moving = state["optimizer"]
            self.updater.load_state_dict(moving["updater"])
            self.step, self.best = state["step"], float(state["best"])
            if self.term is not None:
                self.term.load_state_dict(moving["term"])
                self._good = moving["good"]


def _bits(found: dict[str, float]) -> float:
    """Bits a note of jazz, where the corpus names it: what is not may well become less likely."""
    return found.get("bits_per_note_jazz", found["bits_per_note"])
