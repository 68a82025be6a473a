"""The adversarial trainer: cross-entropy, and in the same step a jazz discriminator's opinion.

    data      windows of real music; prompts for rollouts
    forward   logits of the windows; a rollout sampled on the cache and replayed with gradient
    losses    ce + weight * adversarial(discriminator(straight-through rows of the rollout))
    backward  from the logits, where both gradients are measured, weighed and logged
    step      the optimizer's, see `gan.update`

With a weight of zero the same loop is plain cross-entropy training. Every draw is a function of
(seed, step), so a killed run resumes bit for bit. A step's windows are shared by the ranks, and
each rank may read its share in parts: neither changes what the step is. After transformer-gan
(Muhamed et al. 2021), with the rollout's detached unroll replaced by one parallel replay.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import PAD, Representation
from gan.adversarial.balance import balance, norm_at_logits
from gan.adversarial.critic import StyleCritic
from gan.adversarial.losses import cross_entropy
from gan.adversarial.relaxation import agreement, straight_through
from gan.adversarial.rollout import replay
from gan.adversarial.setup import check_byte_pairs, check_context, first_generator
from gan.data import Batches, GeneratorWindows, Prompts
from gan.engine import (
    check_finite,
    derived_seed,
    engine,
    numpy_generator,
    peak_memory,
    ramp,
    torch_generator,
)
from gan.evaluation.progress import Progress
from gan.logbook import Logbook, Silence
from gan.ranks import ALONE, Ranks
from gan.run import Run, load_state, weights_digest
from gan.settings import TrainSettings
from gan.update import Updater
from generator.compose import Composer
from generator.grammar import Grammar
from generator.model import GeneratorModel
from generator.sampling import rollout

Part = tuple[Tensor, Tensor]  # inputs and targets (B, T)


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
        self.compute = engine(settings.device, settings.precision)
        check_byte_pairs(settings)
        self.critic = self._critic(corpus) if settings.adv_weight else None
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
        plain = Representation(corpus.representation.settings, self.representation.conditions)
        self.grammar = Grammar(plain, self.compute.device)  # of rollouts, which know no merges
        if self.critic:
            jazz = corpus.select("train", "jazz", settings.exclude_sources)
            conditions = [self.representation.condition_id("label:jazz")] if label else []
            self.prompts = Prompts(
                corpus, jazz, conditions, settings.prompt, settings.adv_batch, settings.seed
            )
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
        if checkpoint := self.run.latest():
            self._load(checkpoint)
        if ranks.main:
            self.run.cut_metrics(self.step if checkpoint else -1)
        self._parallel = self._parallelised()

    def train(self) -> Path:
        """Runs all steps that are left; returns the folder of the finished generator."""
        settings, main = self.settings, self.ranks.main
        with Logbook(self.out, self.step, self.quiet) if main else Silence() as log:
            weights = sum(p.numel() for p in self.model.parameters())
            ranks = f", {self.ranks.world} ranks" if self.ranks.world > 1 else ""
            log.say(
                f"{weights:,} weights, {self.compute.describe()}{ranks}, {len(self.windows):,} "
                f"windows of {settings.length} tokens an epoch"
            )
            if self.step == 0:
                self.progress.report(0, log)
            loader = self.batches.steps(
                self.step, settings.steps, settings.workers, self.compute.device
            )
            for parts in loader:
                metrics = self.train_step(self.step, parts)
                self.step += 1
                if self.step % 10 == 0 or self.step == 1:
                    metrics |= peak_memory(self.compute.device)
                    log.log(self.step, metrics, show=self.step % 50 == 0)
                self._after_step(log)
            if main:
                self.composer.save(self.out / "generator")
            self.ranks.wait()
        return self.out / "generator"

    def train_step(self, step: int, parts: list[Part] | None = None) -> dict[str, float]:
        """One optimizer step; what it measured, by name."""
        settings, ranks, device = self.settings, self.ranks, self.compute.device
        parts = self.batches[step] if parts is None else parts
        count = ranks.total(
            torch.stack([(targets != PAD).sum() for _, targets in parts]).sum().to(device)
        )
        torch.manual_seed(derived_seed(settings.seed, "dropout", step, *self._mine()))
        weight = settings.adv_weight * ramp(step, settings.adv_start, settings.adv_ramp)
        adversarial = bool(weight) and (step + 1) % settings.adv_every == 0
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
                if last and adversarial:
                    raw, gradient, measured = self._adversarial_term(step, weight, norm)
                    outputs.append(raw)
                    gradients.append(gradient)
                    total = (
                        float(loss) + measured["adversarial/weight"] * measured["loss/adversarial"]
                    )
                    metrics |= measured | {"loss/total": total}
                self.updater.backward(outputs, gradients)
        return metrics | self.updater.apply(step)

    def _adversarial_term(
        self, step: int, weight: float, ce_norm: float
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """The rollout's logits, the weighed gradient there, and what was measured."""
        settings, ranks = self.settings, self.ranks
        adversarial, raw, measured = self._adversarial(step)
        loss = ranks.total(adversarial.detach()) / ranks.world
        check_finite(loss, "adversarial loss", step)
        (gradient,) = torch.autograd.grad(adversarial, raw)
        balanced = balance(ce_norm, gradient, weight, settings.adv_scale, ranks)
        return (
            raw,
            balanced.adversarial,
            measured
            | {
                "loss/adversarial": float(loss),
                "gradient/adversarial": balanced.share * ce_norm,
                "adversarial/share": balanced.share,
                "adversarial/weight": balanced.weight,
            },
        )

    def _adversarial(self, step: int) -> tuple[Tensor, Tensor, dict[str, float]]:
        """The adversarial loss, the logits (B, S, V) it comes from, and what was measured."""
        assert self.critic is not None
        settings, device = self.settings, self.compute.device
        chance = numpy_generator(settings.seed, "opening", step).random()
        prefix = self.prompts(step, chance < settings.bos_share).to(device)
        prefix = prefix[list(self.ranks.share(len(prefix)))]
        noise = torch_generator(device, settings.seed, "rollout", step, *self._mine())
        with self.compute.autocast():
            sampled = rollout(
                self.model, self.grammar, prefix, settings.rollout,
                generator=noise, temperature=settings.temperature,
            )  # fmt: skip
            self.model.eval()  # dropout would draw other tokens than were sampled
            again = replay(self.model, sampled, settings.temperature)
        rows = straight_through(again.scores, again.noise, again.ids, settings.relaxation)
        with self.compute.autocast():
            logits = self.critic.logits(rows, again.real)
        measured = {
            "discriminator/generated": logits.mean().item(),
            "discriminator/real": self.critic.real_median,
            "discriminator/p_jazz_generated": self.critic.probability(logits).mean().item(),
            "discriminator/p_jazz_real": self.critic.real_p,
            "adversarial/replay_agreement": agreement(
                again.scores, again.noise, again.ids, again.real
            ),
            "adversarial/temperature": settings.relaxation,
        }
        return self.critic.loss(logits), again.raw, measured

    def _after_step(self, log: Logbook) -> None:
        settings, step = self.settings, self.step
        last = step == settings.steps
        handover = self.critic is not None and step == settings.adv_start
        better = False
        if step % settings.evaluate_every == 0 or last or handover:
            bits = self.progress.report(step, log)
            self.updater.validated(bits)
            better, self.best = bits < self.best, min(bits, self.best)
        if not self.ranks.main:
            return
        if handover:
            self.composer.save(self.out / "cross_entropy")
        if step % settings.checkpoint_every == 0 or last or better:
            state = {"optimizer": self.updater.state_dict(), "best": self.best}
            self.run.save(step, self.composer.save, state, settings.keep, better)

    def _mine(self) -> tuple[int, ...]:
        """What tells this rank's draws from the first one's."""
        return () if self.ranks.main else (self.ranks.rank,)

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
        if settings.adv_batch < self.ranks.world:
            raise UserError(
                f"--adv-batch {settings.adv_batch}: fewer rollouts than {self.ranks.world} ranks"
            )
        folder = Path(settings.discriminator) if settings.discriminator else None
        return StyleCritic(
            folder, corpus, settings.exclude_sources, settings.rollout, settings.adv_loss,
            self.compute.device,
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
        saved = Composer.load(checkpoint, self.compute.device)
        self.model.load_state_dict(saved.model.state_dict())
        state = load_state(checkpoint, self.compute.device)
        self.updater.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
