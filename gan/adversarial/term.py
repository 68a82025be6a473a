"""The adversarial term of a step: what is drawn, who scores it, and the weighed gradients.

    drawn     a rollout replayed with gradient (or another estimator's tokens)
    scored    by the frozen style critic, by a realism critic learning along, by the piece itself
    weighed   at the generator's logits, each beside cross-entropy's own gradient there
    held      by a divergence from where it began, and an entropy bonus

Every draw is a function of (seed, step, rank).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import EOS, PAD, Representation
from gan.adversarial import guards, rewards
from gan.adversarial.ahead import Ahead
from gan.adversarial.balance import balance
from gan.adversarial.critic import StyleCritic
from gan.adversarial.realism import RealismCritic
from gan.adversarial.relaxation import agreement, soft, straight_through, temperature_at
from gan.adversarial.rollout import (
    Replay,
    leave_one_out,
    policy_gradient,
    replay,
    teacher,
    unroll,
)
from gan.data import Prompts
from gan.engine import Engine, check_finite, numpy_generator, ramp, torch_generator
from gan.ranks import ALONE, Ranks
from gan.settings import TrainSettings
from generator.grammar import Grammar
from generator.model import GeneratorModel
from generator.rollouts import Rollouts
from generator.sampling import tempered

RECENT = 4  # adversarial steps whose rollouts are kept to be watched
BOUND_PIECES = 400  # of real jazz, for the reward's bounds


@dataclass(frozen=True)
class Push:
    """What a step's backward pass starts from beside cross-entropy, and what was measured."""

    outputs: list[Tensor]
    gradients: list[Tensor]
    measured: dict[str, float]


class AdversarialTerm:
    """See the module.

    Args:
        corpus: prompts and real jazz are drawn from its training split.
        representation: the generator's.
        model: the generator, in training.
        critic: the style critic, where it takes part.
        settings: everything else.
        compute: device and precision.
        ranks: which share of the rollouts is this process's.

    Raises:
        UserError: too few rollouts for the ranks, or for rewards to be compared with one another.
    """

    def __init__(
        self,
        corpus: Corpus,
        representation: Representation,
        model: GeneratorModel,
        critic: StyleCritic | None,
        settings: TrainSettings,
        compute: Engine,
        ranks: Ranks = ALONE,
    ) -> None:
        self.settings, self.compute, self.ranks = settings, compute, ranks
        rewarded = bool(settings.reward_weight) or settings.adv_estimator == "reinforce"
        if settings.adv_batch < (least := max(1 + rewarded, ranks.world)):
            raise UserError(
                f"--adv-batch {settings.adv_batch}: too few rollouts for {ranks.world} rank(s); "
                f"use at least {least}"
            )
        self.model, self.critic = model, critic
        self.representation = corpus.representation
        plain = Representation(corpus.representation.settings, representation.conditions)
        self.grammar = Grammar(plain, compute.device)  # rollouts know no merges
        # A score as a reward asks for no replay of the very same tokens, a relaxation does; and
        # whoever asked for float32 gets it.
        exact = settings.adv_estimator != "reinforce" or compute.autocast_type is None
        self.rollouts = Rollouts(model, self.grammar, settings.temperature, exact)
        jazz = corpus.select("train", "jazz", settings.exclude_sources)
        known = "label:jazz" in representation.conditions
        conditions = [representation.condition_id("label:jazz")] if known else []
        following = settings.rollout if settings.realism or self._along_music else 0
        self.prompts = Prompts(
            corpus, jazz, conditions, settings.prompt, settings.adv_batch, settings.seed, following
        )
        self.ahead = Ahead(
            self.rollouts, settings.rollout, settings.adv_ahead, settings.adv_every,
            lambda step, from_nothing: self._prompted(step, from_nothing)[0],
            self._opens, self._noise,
        )  # fmt: skip
        self.realism: RealismCritic | None = None
        if settings.realism:
            self.realism = RealismCritic(
                corpus.representation, settings.realism_loss, settings.realism_rate,
                settings.realism_winning, settings.realism_slope, settings.realism_smoothing,
                settings.realism_spectral, seed=settings.seed, device=compute.device,
            )  # fmt: skip
        self._docks: rewards.Docks | None = None
        if settings.reward_weight:
            bounds = rewards.bounds_of(self._real_pieces(corpus, jazz), self.representation)
            self._docks = partial(rewards.docks, representation=self.representation, bounds=bounds)
        self.reference: GeneratorModel | None = None
        self.recent: list[Tensor] = []
        self.watch = guards.Watch(settings.guard_bits, settings.guard_variety)
        self.asked = self.pushed = False  # whether a step had a term, and any of them a weight

    @property
    def _along_music(self) -> bool:
        return self.settings.adv_estimator == "teacher"

    def weight_at(self, step: int) -> float:
        """The share of the full weight that is in force at a step: delay, ramp, decay, backoff."""
        settings = self.settings
        rise = ramp(step, settings.adv_start, settings.adv_ramp)
        fall = 1.0
        if settings.adv_decay:
            fall = min(1.0, (settings.steps - step) / (settings.adv_decay + 1))
        due = (step + 1) % settings.adv_every == 0
        return rise * fall * self.watch.backoff if due else 0.0

    def __call__(self, step: int, share: float, ce_norm: float) -> Push:
        """The term of a step.

        Args:
            step: which.
            share: of the full weights, see `weight_at`.
            ce_norm: norm of the cross-entropy gradient at its logits.
        """
        settings = self.settings
        if settings.kl_weight and self.reference is None:
            self.reference = deepcopy(self.model).eval().requires_grad_(False)
        prefix, music = self._prompted(step, self.ahead.opens(step))
        drawn, rows = self._drawn(step, prefix, music)
        measured = {
            "adversarial/replay_agreement": agreement(
                drawn.scores, drawn.noise, drawn.ids, drawn.real
            ),
            "adversarial/temperature": self._relaxation(step),
        }
        self.asked = True
        outputs, gradients = [], []
        pushes = self._losses(step, drawn, rows, music, measured)
        for name, (loss, weight) in pushes.items():
            mean = self.ranks.total(loss.detach()) / self.ranks.world
            check_finite(mean, f"{name} loss", step)
            (gradient,) = torch.autograd.grad(loss, drawn.raw, retain_graph=True)
            # What holds the generator back has a weight of the loss by nature, and keeps it when
            # damage has cost the term half of its own.
            holds = name in ("kl", "entropy")
            scale = "loss" if holds else settings.adv_scale
            force = share / self.watch.backoff if holds else share
            weighed = balance(ce_norm, gradient, force * weight, scale, self.ranks)
            self.pushed |= weighed.weight > 0 and not holds
            measured |= {
                f"loss/{name}": float(mean),
                f"gradient/{name}": weighed.share * ce_norm,
                f"{name}/share": weighed.share,
                f"{name}/weight": weighed.weight,
            }
            if settings.adv_estimator == "unroll":
                # Later logits depend on earlier ones: what `gradient` holds may not go back twice.
                outputs.append(loss)
                gradients.append(loss.new_tensor(weighed.weight))
            else:
                gradients.append(weighed.adversarial)
        if gradients and settings.adv_estimator == "unroll":
            # To the weights at once: the graph goes through a critic that is about to learn.
            outputs, gradients = self._at_weights(outputs, gradients)
        elif gradients:
            outputs, gradients = [drawn.raw], [torch.stack(gradients).sum(0)]
        if self.realism is not None:
            measured |= self.realism.learn(drawn.ids, music, step, self.ranks)
        self.recent = [*self.recent, drawn.ids.cpu()][-RECENT:]
        return Push(outputs, gradients, measured)

    def _opens(self, step: int) -> bool:
        """Whether rollouts drawn at a step start from nothing."""
        chance = numpy_generator(self.settings.seed, "opening", step).random()
        return chance < self.settings.bos_share

    def _prompted(self, step: int, from_nothing: bool) -> tuple[Tensor, Tensor]:
        """This rank's prefixes (B, P) of a step, and what comes next in the music (B, F)."""
        mine = list(self.ranks.share(self.settings.adv_batch))
        prefix, music = self.prompts.continued(step, from_nothing)
        return prefix[mine].to(self.compute.device), music[mine].to(self.compute.device)

    def _noise(self, step: int) -> torch.Generator:
        """The noise drawn at a step."""
        return torch_generator(
            self.compute.device, self.settings.seed, "rollout", step, *self.ranks.own()
        )

    def _at_weights(
        self, losses: list[Tensor], factors: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The generator's weights, and the gradients at them of losses times factors."""
        total = torch.stack([loss * by for loss, by in zip(losses, factors, strict=True)]).sum()
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        found = torch.autograd.grad(total, weights, allow_unused=True)
        pairs = [(w, g) for w, g in zip(weights, found, strict=True) if g is not None]
        return [w for w, _ in pairs], [g for _, g in pairs]

    def _losses(
        self, step: int, drawn: Replay, rows: Tensor, music: Tensor, measured: dict[str, float]
    ) -> dict[str, tuple[Tensor, float]]:
        """Every loss by name, with its full weight; adds to what was measured.

        A loss that is a mean over rollouts, or over tokens, is weighed by how many of them are this
        rank's.
        """
        settings = self.settings
        mine = self.ranks.weight(len(rows), settings.adv_batch)
        found: dict[str, tuple[Tensor, float]] = {}
        if settings.adv_estimator == "reinforce":
            rows = rows.detach()
        if self.critic is not None:
            with self.compute.autocast():
                logits = self.critic.logits(rows, drawn.real)
            measured |= {
                "discriminator/generated": logits.mean().item(),
                "discriminator/real": self.critic.real_median,
                "discriminator/p_jazz_generated": self.critic.probability(logits).mean().item(),
                "discriminator/p_jazz_real": self.critic.real_p,
            }
            if settings.adv_estimator == "reinforce":
                score = self.critic.score(logits.detach(), self.ranks)
                loss = policy_gradient(drawn, leave_one_out(score, self.ranks), self.ranks)
            else:
                loss = mine * self.critic.loss(logits, self.ranks)
            pull = 1.0
            if settings.adv_scale == "gradient":
                far = self.ranks.total(mine * self.critic.loss(logits.detach(), self.ranks))
                pull = self.critic.pull(float(far) / self.ranks.world, settings.adv_batch)
                measured["adversarial/pull"] = pull
            found["adversarial"] = loss, settings.adv_weight * pull
        heard = step >= settings.adv_start + settings.realism_warmup * settings.adv_every
        if self.realism is not None and heard:
            if settings.adv_estimator == "reinforce":
                score = self.realism.score(rows, drawn.real)
                loss = policy_gradient(drawn, leave_one_out(score, self.ranks), self.ranks)
            else:
                loss = mine * self.realism.loss(rows, drawn.real, music)
            skill = self.realism.skill if settings.adv_scale == "gradient" else 1.0
            measured["realism/skill"] = skill
            found["realism"] = loss, settings.adv_weight * settings.realism_share * skill
        if self._docks is not None:
            after, docked = rewards.rewards(drawn.ids.cpu().numpy(), self._docks)
            earned = torch.from_numpy(after).float().to(drawn.raw.device)
            advantages = leave_one_out(earned, self.ranks)
            found["reward"] = policy_gradient(drawn, advantages, self.ranks), settings.reward_weight
            measured |= docked
        happened = drawn.ids != PAD
        if self.reference is None and not settings.entropy_weight:
            return found
        # These are means over tokens, of which rollouts that end early have fewer.
        count = int(happened.sum())
        part = self.ranks.weight(count, float(self.ranks.total(happened.sum())))
        if self.reference is not None:
            found["kl"] = part * self._divergence(drawn, happened), settings.kl_weight
        if settings.entropy_weight:
            spread = guards.entropy(drawn.scores, happened)
            found["entropy"] = -part * spread, settings.entropy_weight
        return found

    def _drawn(self, step: int, prefix: Tensor, music: Tensor) -> tuple[Replay, Tensor]:
        """Tokens with a gradient, and the rows (B, S, V) that critics see."""
        settings = self.settings
        relax = self._relax(step)
        self._context = torch.cat([prefix, music], 1) if self._along_music else None
        if self._context is not None:
            self.model.eval()
            with self.compute.autocast():
                drawn = teacher(
                    self.model, self.grammar, self._context, prefix.shape[1],
                    settings.temperature, self._noise(step),
                )  # fmt: skip
            return drawn, relax(drawn.scores, drawn.noise, drawn.ids)
        with self._rollout_precision():
            sampled = self.ahead(step, prefix)
            self.model.eval()  # dropout would draw other tokens than were sampled
            if settings.adv_estimator == "unroll":
                drawn, rows = unroll(self.model, sampled, settings.temperature, relax)
            else:
                drawn = replay(self.model, sampled, settings.temperature)
                rows = relax(drawn.scores, drawn.noise, drawn.ids)
        self._context = sampled.ids
        return drawn, rows

    def _rollout_precision(self) -> AbstractContextManager[object]:
        """Where a replay must draw again what was drawn, it computes as captured draws did.

        On a CPU it may compute in bfloat16 what was drawn in float32: see `generator.rollouts`.
        """
        as_drawn = self.rollouts.exact and self.rollouts.captured
        return nullcontext() if as_drawn else self.compute.autocast()

    def _divergence(self, drawn: Replay, happened: Tensor) -> Tensor:
        assert self.reference is not None
        assert self._context is not None
        size = drawn.ids.shape[1]
        with torch.no_grad(), self._rollout_precision():
            raw = self.reference(self._context[:, :-1])[:, -size:]
        masks = torch.isfinite(drawn.scores)
        return guards.divergence(
            drawn.scores, tempered(raw, masks, self.settings.temperature), happened
        )

    def _relaxation(self, step: int) -> float:
        settings = self.settings
        if not settings.relaxation_end:
            return settings.relaxation
        return temperature_at(step, settings.relaxation, settings.relaxation_end, settings.steps)

    def _relax(self, step: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        temperature = self._relaxation(step)
        if self.settings.relax == "soft":
            return partial(soft, relaxation=temperature, forward=self.settings.relaxation_forward)
        return partial(straight_through, relaxation=temperature)

    def _real_pieces(self, corpus: Corpus, jazz: list[int]) -> list[np.ndarray]:
        """Real jazz, as long as rollouts are."""
        chance, length = numpy_generator("reward bounds"), self.settings.rollout
        pieces = []
        for number in chance.choice(jazz, min(BOUND_PIECES, len(jazz)), replace=False):
            piece = np.asarray(corpus.piece(int(number)))
            start = int(chance.integers(max(1, len(piece) - length + 1)))
            pieces.append(piece[start : start + length])
        if len(pieces) < 2:
            raise UserError(f"{corpus.folder}: too little jazz in train for the reward's bounds")
        return pieces

    @property
    def opened(self) -> bool:
        """Whether the rollouts kept are, for the first time, as many as are ever kept."""
        return len(self.recent) == RECENT and "variety" not in self.watch.first

    def recent_pieces(self) -> list[np.ndarray]:
        """The music of the last rollouts."""
        return [row[row > EOS] for ids in self.recent for row in ids.numpy()]

    @torch.no_grad()
    def liked(self) -> float:
        """The style critic's mean p(jazz) of the last rollouts."""
        if self.critic is None or not self.recent:
            return 0.0
        found = []
        for ids in self.recent:
            logits = self.critic.logits_of(ids.to(self.compute.device))
            found.append(self.critic.probability(logits))
        return float(torch.cat(found).mean())

    def state_dict(self) -> dict[str, Any]:
        """Everything that moves, on all ranks: all of them must ask for it."""
        old = self.realism.old if self.realism is not None else []
        state: dict[str, Any] = {
            "watch": self.watch.state_dict(),
            "ranks": self.ranks.gather(
                {"recent": self.recent, "old": old, "ahead": self.ahead.state_dict()}
            ),
        }
        if self.realism is not None:
            state["realism"] = self.realism.state_dict()
        if self.reference is not None:
            state["reference"] = self.reference.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        # With another number of ranks nobody's past is anybody's: it is written anew.
        ranks = state["ranks"]
        mine = ranks[self.ranks.rank] if len(ranks) == self.ranks.world else {}
        self.recent = [ids.cpu() for ids in mine.get("recent", [])]
        self.ahead.load_state_dict(mine.get("ahead", {}))
        self.watch.load_state_dict(state["watch"])
        if self.realism is not None:
            self.realism.load_state_dict(state["realism"])
            self.realism.old = list(mine.get("old", []))
        if "reference" in state:
            self.reference = deepcopy(self.model).eval().requires_grad_(False)
            self.reference.load_state_dict(state["reference"])


def judge_of(folder: Path) -> Callable[[list[np.ndarray], Representation], np.ndarray]:
    """A judge's p(jazz) of pieces: a piano-roll network (.safetensors) or trees (a folder).

    Of a folder of judges the piano-roll one is asked: the others are for the end.

    Raises:
        UserError: none of these.
    """
    if (folder / "roll.safetensors").is_file():
        folder = folder / "roll.safetensors"
    if folder.suffix == ".safetensors":
        from gan.evaluation.roll_judge import RollJudge

        network = RollJudge.load(folder)

        def looks(pieces: list[np.ndarray], representation: Representation) -> np.ndarray:
            return 1 / (1 + np.exp(-network.logits(pieces, representation)))

        return looks
    from discriminator.feature_judge import FeatureJudge

    trees = FeatureJudge.load(folder)

    def reads(pieces: list[np.ndarray], representation: Representation) -> np.ndarray:
        return trees.probability(trees.measure(pieces, representation))

    return reads
