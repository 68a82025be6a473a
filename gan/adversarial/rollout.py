"""Where the adversarial term's tokens come from: four estimators of its gradient.

`replay` samples on the cache without gradient and then reads the finished tokens in one parallel
pass, in which each position's gradient is that of unrolling with every token detached. `unroll` is
full back-propagation through time, the reference: slow, and its memory grows with the rollout.
`teacher` draws the next tokens along real music, without a rollout. `reinforce` needs no
relaxation: a rollout's score is a reward (Williams 1992).

Shapes: B rollouts, P prefix tokens, S sampled tokens, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data_tools.representation import EOS, PAD
from gan.ranks import ALONE, Ranks
from generator import sampling
from generator.grammar import Grammar
from generator.model import GeneratorModel

Relax = Callable[[Tensor, Tensor, Tensor], Tensor]  # scores, noise, ids -> rows (B, S, V)


@dataclass(frozen=True)
class Replay:
    """Drawn tokens with a gradient.

    Attributes:
        ids: (B, S) the drawn tokens.
        raw: (B, S, V) the generator's logits, where gradients are measured and balanced.
        scores: (B, S, V) the same, masked and tempered.
        noise: (B, S, V).
    """

    ids: Tensor
    raw: Tensor
    scores: Tensor
    noise: Tensor

    @property
    def real(self) -> Tensor:
        """(B, S) bool: music, neither EOS nor padding; discriminators learn without either."""
        return self.ids > EOS

    def log_probabilities(self) -> Tensor:
        """(B, S) of the drawn tokens, zero where nothing was drawn."""
        chosen = self.scores.log_softmax(-1).gather(2, self.ids[..., None])[..., 0]
        return torch.where(self.ids != PAD, chosen, 0.0)


def replay(model: GeneratorModel, rollout: sampling.Rollout, temperature: float) -> Replay:
    """One parallel pass, with gradient, over the tokens of a rollout.

    The model must be in eval mode: with dropout the tokens would not be drawn again.
    """
    raw = model(rollout.ids[:, :-1])[:, rollout.prefix - 1 :]  # (B, S, V)
    scores = sampling.tempered(raw, rollout.masks, temperature)
    return Replay(rollout.ids[:, rollout.prefix :], raw, scores, rollout.noise)


def teacher(
    model: GeneratorModel,
    grammar: Grammar,
    music: Tensor,
    prefix: int,
    temperature: float,
    generator: torch.Generator,
) -> Replay:
    """The next tokens along real music (B, P + S), each drawn from what really came before it.

    What it shows a discriminator is no music the generator would write: no drawn token hears
    another. It is cheap, and the ablation that says what rollouts are worth.
    """
    raw = model(music[:, :-1])[:, prefix - 1 :]
    masks = grammar.replay(music)[:, prefix:]
    noise = sampling.gumbel(raw.shape, generator, raw.device)
    scores = sampling.tempered(raw, masks, temperature)
    return Replay((scores + noise).argmax(-1), raw, scores, noise)


def unroll(
    model: GeneratorModel, rollout: sampling.Rollout, temperature: float, relax: Relax
) -> tuple[Replay, Tensor]:
    """Draws a rollout's tokens again one by one, with the gradient through everything drawn.

    Every drawn row is read by all later steps as a row, so a loss reaches a token through what
    followed it. The whole is read anew at each step: there is no cache that keeps gradients.

    Returns:
        The tokens, whose `raw` are zeros added to every step's logits, so that the gradient there
        can be measured, and the rows (B, S, V).
    """
    prefix, size = rollout.prefix, rollout.noise.shape[-1]
    heard = F.one_hot(rollout.ids[:, :prefix], size).to(model.embedding.weight.dtype)
    # What is put together at the end leads to no loss: rows are made of each step's own logits.
    nothing = torch.zeros_like(rollout.noise).requires_grad_()
    scores, rows = [], []
    for step in range(rollout.noise.shape[1]):
        raw = model(heard)[:, -1:] + nothing[:, step, None]
        score = sampling.tempered(raw, rollout.masks[:, step, None], temperature)
        ids = rollout.ids[:, prefix + step, None]
        row = relax(score, rollout.noise[:, step, None], ids)
        heard = torch.cat([heard, row.to(heard.dtype)], 1)
        scores.append(score)
        rows.append(row)
    drawn = Replay(rollout.ids[:, prefix:], nothing, torch.cat(scores, 1), rollout.noise)
    return drawn, torch.cat(rows, 1)


def leave_one_out(rewards: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """Advantages of rewards (B, ...): each less the mean of the others (Kool et al. 2019).

    The others are those of all ranks.
    """
    count = float(ranks.total(rewards.new_tensor(len(rewards))))
    if count < 2:
        return torch.zeros_like(rewards)
    mean = ranks.total(rewards.sum(0, keepdim=True)) / count
    return (rewards - mean) * count / (count - 1)


def policy_gradient(drawn: Replay, advantages: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """The loss whose gradient is REINFORCE's: mean over tokens of -advantage * log p.

    Over all that may be drawn it has, but for a factor, the gradient of the expected reward where
    all rollouts are of one length. Where some end early, the number of tokens is drawn as well, and
    batches of few tokens count for more: a bias of the order of one over the number of rollouts,
    and no matter where gradients are brought to one norm.

    Args:
        drawn: see there.
        advantages: (B,) of whole rollouts, or (B, S) of tokens.
        ranks: the mean is over the tokens of all of them; each gives its part of it times their
            number, since ranks are averaged.
    """
    if advantages.dim() == 1:
        advantages = advantages[:, None]
    drawn_here = drawn.ids != PAD
    count = ranks.total(drawn_here.sum()) / ranks.world
    return -(advantages * drawn.log_probabilities()).sum() / count
