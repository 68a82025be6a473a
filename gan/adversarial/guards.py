"""What keeps adversarial training from ruining the music while a score rises.

A small divergence from the cross-entropy model and an entropy bonus hold the generator back at
every adversarial step, after damage as before. A watch looks at validations: it takes the run back
when held-out bits per note rise or variety falls, and raises an alarm when the discriminator's
opinion rises and that of a judge, which never gave a gradient, does not (reward hacking; Gao et al.
2023 measure it for reward models).

Shapes: B rollouts, S tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_tools.representation import EOS

GRAM = 6  # tokens of the sequences whose variety is watched


def divergence(scores: Tensor, reference: Tensor, drawn: Tensor) -> Tensor:
    """Mean KL(generator || reference) in nats a token, over logits (B, S, V).

    Args:
        scores: the generator's logits, minus infinity where forbidden.
        reference: the reference's, under the same mask.
        drawn: (B, S) bool, the tokens that count.
    """
    ours, theirs = scores.log_softmax(-1), reference.log_softmax(-1)
    # What is forbidden for both is no difference.
    gap = torch.where(torch.isfinite(ours), ours - theirs, 0.0)
    return (ours.exp() * gap).sum(-1)[drawn].mean()


def entropy(scores: Tensor, drawn: Tensor) -> Tensor:
    """Mean entropy in nats a token of logits (B, S, V) over the tokens that count (B, S)."""
    log_p = scores.log_softmax(-1)
    safe = torch.where(torch.isfinite(log_p), log_p, 0.0)
    return -(log_p.exp() * safe).sum(-1)[drawn].mean()


def variety(pieces: Sequence[np.ndarray]) -> float:
    """Share of the `GRAM`-token sequences of some pieces that are the first of their kind."""
    grams: list[np.ndarray] = []
    for ids in pieces:
        music = np.asarray(ids)[np.asarray(ids) > EOS]
        if len(music) >= GRAM:
            grams.append(np.lib.stride_tricks.sliding_window_view(music, GRAM))
    if not grams:
        return 0.0
    every = np.concatenate(grams)
    return len(np.unique(every, axis=0)) / len(every)


@dataclass
class Watch:
    """Compares a run with where its adversarial part began.

    Attributes:
        most_bits: bits per note may rise by this share.
        least_variety: variety may fall to this share.
        rise: the discriminator's mean p(jazz) has risen when it is so much above its first.
        follow: the judge must have followed by at least this share of that rise.
        first: what was measured at the beginning.
        backoff: what the adversarial weight is multiplied by; halved at every way back.
        returns: how often the run was taken back.
        ended: whether that was once too often.
    """

    most_bits: float = 0.02
    least_variety: float = 0.8
    rise: float = 0.1
    follow: float = 0.25
    first: dict[str, float] = field(default_factory=dict)
    backoff: float = 1.0
    returns: int = 0
    ended: bool = False

    def look(self, now: dict[str, float]) -> list[str]:
        """Looks at a validation; the names of what is wrong.

        Args:
            now: bits (per note, validation), variety (of recent rollouts), and where there are
                such p_jazz_discriminator and p_jazz_judge, their means over recent rollouts. What
                `first` does not have is not compared.

        Returns:
            Some of "bits", "variety" and "hacking"; a run should go back for any.
        """
        gained = {name: now[name] - value for name, value in self.first.items() if name in now}
        wrong = []
        most = self.most_bits * self.first.get("bits", 0.0)
        # The other way round a figure that is not a number would pass.
        if most and not gained.get("bits", 0.0) <= most:
            wrong.append("bits")
        least = self.least_variety * self.first.get("variety", 0.0)
        if least and not now.get("variety", least) >= least:
            wrong.append("variety")
        rise = gained.get("p_jazz_discriminator", 0.0)
        followed = gained.get("p_jazz_judge", rise)
        if not rise < self.rise and not followed >= self.follow * rise:
            wrong.append("hacking")
        return wrong

    def back(self, most: int) -> None:
        """Notes that the run was taken back: the term goes on with half its weight.

        Args:
            most: so often it may; the next time is the run's end.
        """
        self.ended = self.returns >= most
        self.returns += 1
        self.backoff /= 2

    def state_dict(self) -> dict[str, Any]:
        """Everything that moves."""
        whole = asdict(self)
        return {name: whole[name] for name in ("first", "backoff", "returns", "ended")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.first, self.backoff = dict(state["first"]), state["backoff"]
        self.returns, self.ended = state["returns"], state["ended"]
