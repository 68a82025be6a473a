"""Rollouts of several adversarial steps, drawn at once.

A small generator's draw keeps a GPU waiting for launches, with thirty sequences or with a hundred:
the rollouts of K steps, drawn together, should cost it little more than those of one. Those of the
later steps are then by weights up to K - 1 adversarial steps old, as in reinforcement learning with
actors that lag behind the learner (Espeholt et al. 2018). Nothing corrects for that:
`adversarial/replay_agreement` says how many of the tokens the present weights would draw again.

Shapes: B rollouts a step, P prefix tokens, S sampled tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from generator.rollouts import Rollouts
from generator.sampling import Rollout, gumbel


class Ahead:
    """The rollouts of adversarial steps, drawn when the first of `count` steps asks for its own.

    Args:
        rollouts: draws.
        size: S.
        count: K, steps whose rollouts are drawn together; 1 draws each step's own.
        every: from one adversarial step to the next.
        prompts: of a step, whether rollouts start from nothing; (B, P) on the device.
        opens: whether the steps from a first one on start from nothing.
        noise: the generator of the noise from a first step on.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        size: int,
        count: int,
        every: int,
        prompts: Callable[[int, bool], Tensor],
        opens: Callable[[int], bool],
        noise: Callable[[int], torch.Generator],
    ) -> None:
        self.rollouts = rollouts
        self._size, self._count, self._every = size, count, every
        self._prompts, self._opens, self._noise = prompts, opens, noise
        self._first = 0
        self._drawn: Rollout | None = None

    def opens(self, step: int) -> bool:
        """Whether this step's rollouts start from nothing, as all that are drawn together do."""
        return self._opens(self._first if self._place(step) is not None else step)

    def __call__(self, step: int, prefix: Tensor) -> Rollout:
        """The rollouts of a step, (B, P + S), from its own prefix (B, P)."""
        if self._place(step) is None:
            from_nothing = self._opens(step)
            later = range(step + self._every, step + self._count * self._every, self._every)
            prefixes = [prefix, *(self._prompts(each, from_nothing) for each in later)]
            noise = self._noise(step)
            self._first = step
            self._drawn = self.rollouts(torch.cat(prefixes), self._size, noise)
        place, drawn = self._place(step), self._drawn
        assert place is not None
        assert drawn is not None
        batch = len(drawn.ids) // self._count
        rows = slice(place * batch, (place + 1) * batch)
        return Rollout(drawn.ids[rows], drawn.noise[rows], drawn.masks[rows], drawn.prefix)

    def forget(self) -> None:
        """Draws anew at the next step: the weights are others."""
        self._drawn = None

    def state_dict(self) -> dict[str, Any]:
        """What steps to come still need; empty where they draw their own."""
        if self._drawn is None or self._count == 1:
            return {}
        return {
            "first": self._first,
            "ids": self._drawn.ids.cpu(),
            "prefix": self._drawn.prefix,
            "noise": self._drawn.noise[-1, -1].cpu(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state; the noise is drawn again, and the masks are replayed.

        Other devices draw other noise, under which these would not be the tokens: they draw anew.
        """
        self.forget()
        if not state:
            return
        grammar = self.rollouts.grammar
        ids = state["ids"].to(grammar.device)
        shape = (len(ids), self._size, self.rollouts.model.vocab_size)
        noise = gumbel(shape, self._noise(state["first"]), grammar.device)
        if not torch.allclose(noise[-1, -1].cpu(), state["noise"].cpu()):
            return
        masks = grammar.replay(ids)[:, state["prefix"] :]
        self._first = state["first"]
        self._drawn = Rollout(ids, noise, masks, state["prefix"])

    def _place(self, step: int) -> int | None:
        """Which of the steps drawn together a step is, if it is one."""
        since = step - self._first
        if self._drawn is None or since < 0 or since % self._every:
            return None
        place = since // self._every
        return place if place < self._count else None
