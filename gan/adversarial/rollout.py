"""Rollouts for the adversarial term: sampled on the cache, then replayed with a gradient.

The rollout costs S cheap steps without gradient; the replay is one parallel pass over the finished
tokens, in which each position's gradient is that of unrolling with every token detached.

Shapes: B rollouts, P prefix tokens, S sampled tokens, V vocabulary.
"""

from dataclasses import dataclass

from torch import Tensor

from data_tools.representation import EOS
from generator import sampling
from generator.model import GeneratorModel


@dataclass(frozen=True)
class Replay:
    """A rollout with a gradient.

    Attributes:
        ids: (B, S) the sampled tokens.
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


def replay(model: GeneratorModel, rollout: sampling.Rollout, temperature: float) -> Replay:
    """One parallel pass, with gradient, over the tokens of a rollout.

    The model must be in eval mode: with dropout the tokens would not be drawn again.
    """
    raw = model(rollout.ids[:, :-1])[:, rollout.prefix - 1 :]  # (B, S, V)
    scores = sampling.tempered(raw, rollout.masks, temperature)
    return Replay(rollout.ids[:, rollout.prefix :], raw, scores, rollout.noise)
