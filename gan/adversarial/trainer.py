"""The adversarial trainer: cross-entropy, and in the same step a jazz discriminator's opinion.

    data      windows of real music; prompts for rollouts
    forward   logits of the windows; a rollout sampled on the cache and replayed with gradient
    losses    ce + weight * adversarial(discriminator(straight-through rows of the rollout))
    backward  from the logits, where both gradients are measured, weighed and logged
    step      AdamW

With a weight of zero the same loop is plain cross-entropy training. Every draw is a function of
(seed, step), so a killed run resumes bit for bit. After transformer-gan (Muhamed et al. 2021), with
the rollout's detached unroll replaced by one parallel replay.
"""

from pathlib import Path

import torch
from torch import Tensor

from data_tools.bytepair import merged_from
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import Representation
from gan.adversarial.balance import balance
from gan.adversarial.critic import StyleCritic
from gan.adversarial.losses import cross_entropy
from gan.adversarial.relaxation import agreement, straight_through
from gan.adversarial.rollout import replay
from gan.data import GeneratorWindows, Prompts, conditions_of
from gan.engine import (
    adamw,
    check_finite,
    derived_seed,
    engine,
    learning_rate,
    numpy_generator,
    ramp,
    set_rate,
    torch_generator,
)
from gan.evaluation.progress import Progress
from gan.logbook import Logbook
from gan.run import Run, generator_folder, load_state, weights_digest
from gan.settings import TrainSettings
from generator.compose import Composer
from generator.grammar import Grammar
from generator.sampling import rollout
from generator.transformer import Transformer


class Trainer:
    """Trains a generator on a corpus.

    Args:
        corpus: what it learns from.
        out: the run's folder.
        settings: everything else.
        resume: go on from the latest checkpoint.
        quiet: nothing on the screen.

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
    ) -> None:
        self.settings, self.out, self.quiet = settings, out, quiet
        self.compute = engine(settings.device, settings.precision)
        self._check_byte_pairs()
        self.critic = self._critic(corpus) if settings.adv_weight else None
        self.model, self.representation = self._generator(corpus)
        self._check_context()
        label = "jazz" if "label:jazz" in self.representation.conditions else None
        self.composer = Composer(self.model, self.representation, label, self.compute.device)
        self.optimizer = adamw(self.model, settings.learning_rate, settings.weight_decay)
        numbers = corpus.select("train", exclude_sources=settings.exclude_sources)
        self.windows = GeneratorWindows(
            corpus, numbers, self.representation, settings.length, settings.batch,
            settings.augment, settings.condition_dropout, settings.seed,
        )  # fmt: skip
        plain = Representation(corpus.representation.settings, self.representation.conditions)
        self.grammar = Grammar(plain, self.compute.device)  # of rollouts, which know no merges
        if self.critic:
            jazz = corpus.select("train", "jazz", settings.exclude_sources)
            conditions = [self.representation.condition_id("label:jazz")] if label else []
            self.prompts = Prompts(
                corpus, jazz, conditions, settings.prompt, settings.adv_batch, settings.seed
            )
        self.progress = Progress(corpus, self.composer, self.critic, self.compute, settings, out)
        # Last, so that a choice refused above leaves no folder that is taken.
        self.run = Run(out, settings, resume, self._inputs(corpus))
        self.step, self.best = 0, float("inf")
        if checkpoint := self.run.latest():
            self._load(checkpoint)
        self.run.cut_metrics(self.step if checkpoint else -1)

    def train(self) -> Path:
        """Runs all steps that are left; returns the folder of the finished generator."""
        with Logbook(self.out, self.step, self.quiet) as log:
            weights = sum(p.numel() for p in self.model.parameters())
            log.say(
                f"{weights:,} weights, {self.compute.describe()}, {len(self.windows):,} windows "
                f"of {self.settings.length} tokens an epoch"
            )
            if self.step == 0:
                self.progress.report(0, log)
            while self.step < self.settings.steps:
                metrics = self.train_step(self.step)
                self.step += 1
                if self.step % 10 == 0 or self.step == 1:
                    log.log(self.step, metrics, show=self.step % 50 == 0)
                self._after_step(log)
            self.composer.save(self.out / "generator")
        return self.out / "generator"

    def train_step(self, step: int) -> dict[str, float]:
        """One optimizer step; what it measured, by name."""
        settings = self.settings
        inputs, targets = (tensor.to(self.compute.device) for tensor in self.windows(step))
        torch.manual_seed(derived_seed(settings.seed, "dropout", step))
        self.model.train()
        with self.compute.autocast():
            logits = self.model(inputs)  # (B, T, V)
        ce = cross_entropy(logits, targets)
        check_finite(ce, "cross-entropy loss", step)
        (ce_gradient,) = torch.autograd.grad(ce, logits)
        metrics = {"loss/ce": ce.item(), "gradient/ce": float(ce_gradient.norm())}

        outputs, gradients = [logits], [ce_gradient]
        weight = settings.adv_weight * ramp(step, settings.adv_start, settings.adv_ramp)
        if weight and (step + 1) % settings.adv_every == 0:
            adversarial, raw, measured = self._adversarial(step)
            check_finite(adversarial, "adversarial loss", step)
            (adversarial_gradient,) = torch.autograd.grad(adversarial, raw)
            balanced = balance(ce_gradient, adversarial_gradient, weight, settings.adv_scale)
            outputs.append(raw)
            gradients.append(balanced.adversarial)
            metrics |= measured | {
                "loss/adversarial": adversarial.item(),
                "loss/total": ce.item() + balanced.weight * adversarial.item(),
                "gradient/adversarial": float(balanced.adversarial.norm()),
                "adversarial/share": balanced.share,
                "adversarial/weight": balanced.weight,
            }

        self.optimizer.zero_grad()
        torch.autograd.backward(outputs, gradients)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        check_finite(norm, "gradient norm", step)
        rate = learning_rate(
            step, settings.learning_rate, settings.warmup, settings.steps, settings.final_rate
        )
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        return metrics | {"gradient/weights": float(norm), "schedule/learning_rate": rate}

    def _adversarial(self, step: int) -> tuple[Tensor, Tensor, dict[str, float]]:
        """The adversarial loss, the logits (B, S, V) it comes from, and what was measured."""
        assert self.critic is not None
        settings, device = self.settings, self.compute.device
        chance = numpy_generator(settings.seed, "opening", step).random()
        prefix = self.prompts(step, chance < settings.bos_share).to(device)
        noise = torch_generator(device, settings.seed, "rollout", step)
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
        if step % settings.evaluate_every == 0 or last or handover:
            bits = self.progress.report(step, log)
            better, self.best = bits < self.best, min(bits, self.best)
        else:
            better = False
        if handover:
            self.composer.save(self.out / "cross_entropy")
        if step % settings.checkpoint_every == 0 or last or better:
            state = {"optimizer": self.optimizer.state_dict(), "best": self.best}
            self.run.save(step, self.composer.save, state, settings.keep, better)

    def _critic(self, corpus: Corpus) -> StyleCritic:
        settings = self.settings
        folder = Path(settings.discriminator) if settings.discriminator else None
        return StyleCritic(
            folder, corpus, settings.exclude_sources, settings.rollout, settings.adv_loss,
            self.compute.device,
        )  # fmt: skip

    def _generator(self, corpus: Corpus) -> tuple[Transformer, Representation]:
        settings = self.settings
        if settings.init:
            composer = Composer.load(generator_folder(Path(settings.init)), self.compute.device)
            if composer.representation.music_digest != corpus.representation.music_digest:
                raise UserError(
                    f"{settings.init}: this generator writes other tokens than {corpus.folder}; "
                    "start without --init, or build the corpus in its representation"
                )
            return composer.model, composer.representation
        conditions = conditions_of(
            corpus, settings.condition, settings.artist_pieces, settings.exclude_sources
        )
        representation = Representation(corpus.representation.settings, conditions)
        if settings.byte_pairs:
            numbers = corpus.select("train", exclude_sources=settings.exclude_sources)
            pieces = (corpus.piece(number) for number in numbers)
            representation = merged_from(pieces, representation, settings.byte_pairs)
        torch.manual_seed(derived_seed(settings.seed, "weights"))
        model = Transformer(representation.vocab_size, settings.generator)
        return model.to(self.compute.device), representation

    def _inputs(self, corpus: Corpus) -> dict[str, str]:
        """Digests of all that fixes the outcome besides the settings."""
        inputs = corpus.inputs()
        if self.critic:
            inputs["discriminator"] = weights_digest(self.critic.model)
        if self.settings.init:
            inputs["init"] = weights_digest(self.model)
        return inputs

    def _check_byte_pairs(self) -> None:
        """Merged tokens mean nothing to a discriminator, and belong to one generator."""
        for flag in ("adv_weight", "init"):
            if self.settings.byte_pairs and getattr(self.settings, flag):
                raise UserError(
                    f"--byte-pairs with --{flag.replace('_', '-')}: merged tokens are for a "
                    "generator of its own, trained by cross-entropy alone; leave one of them out"
                )

    def _check_context(self) -> None:
        """Refuses at the start what would not fit the generator's context hours later."""
        settings, most = self.settings, self.model.settings.max_length
        wanted = {"--length": settings.length}
        if settings.adv_weight:
            known = "label:jazz" in self.representation.conditions
            wanted["--prompt and --rollout"] = known + settings.prompt + settings.rollout
        for flags, tokens in wanted.items():
            if tokens > most:
                raise UserError(
                    f"{flags}: {tokens} tokens do not fit the generator's context of {most}; use "
                    "less, or a larger --max-length"
                )

    def _load(self, checkpoint: Path) -> None:
        saved = Composer.load(checkpoint, self.compute.device)
        self.model.load_state_dict(saved.model.state_dict())
        state = load_state(checkpoint, self.compute.device)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
