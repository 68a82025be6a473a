"""Rollouts of one generator, again and again: on a GPU with draws captured once for every shape.

A training step's rollout is hundreds of small steps; captured, they cost a launch each. They run in
the weights' own precision then, whatever the autocast, and so should a replay that is to draw the
very same again; where none is, float32 products may be rounded to TensorFloat-32. On a CPU small
steps are faster in float32 than with the autocast and its conversions; a parallel pass is faster in
bfloat16, and draws as many of the tokens again (0.994).

Shapes: B batch, P prefix tokens, S sampled tokens, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from data_tools.representation import PAD
from generator.choice import Choice
from generator.grammar import Grammar
from generator.graphs import GraphedDraws, drawable, static
from generator.model import GeneratorModel
from generator.sampling import Evaluation, Rollout, gumbel, rollout
from generator.transformer import KeyValueCache, Transformer


class Rollouts:
    """Rolls a generator out; see `generator.sampling.rollout`.

    Args:
        model: its weights may change in place between rollouts.
        grammar: on the model's device.
        temperature: of all rollouts.
        exact: whether a replay is to draw exactly the same.
    """

    def __init__(
        self,
        model: GeneratorModel,
        grammar: Grammar,
        temperature: float = 1.0,
        exact: bool = True,
    ) -> None:
        self.model, self.grammar, self.temperature = model, grammar, temperature
        self.exact = exact
        self._draws: dict[tuple[int, int, int], GraphedDraws] = {}

    @property
    def captured(self) -> bool:
        """Whether rollouts run as captured draws, in the weights' own precision."""
        with torch.autocast(self.grammar.device.type, enabled=False):
            cache = self.model.new_cache(1, 1)
        return static(self.model, cache) and drawable(self.grammar, Choice(self.temperature))

    def __call__(self, prefix: Tensor, steps: int, generator: torch.Generator) -> Rollout:
        """Continues prefix (B, P) by `steps` tokens, with noise of `generator`."""
        if not self.captured:
            own = prefix.device.type == "cpu"
            with torch.autocast("cpu", enabled=False) if own else nullcontext():
                return rollout(
                    self.model, self.grammar, prefix, steps,
                    generator=generator, temperature=self.temperature,
                )  # fmt: skip
        return self.drawn(prefix, steps, generator)

    @torch.no_grad()
    def drawn(self, prefix: Tensor, steps: int, generator: torch.Generator) -> Rollout:
        """The same by whole draws, captured where there is a GPU."""
        batch, start = prefix.shape
        noise = gumbel((batch, steps, self.model.vocab_size), generator, prefix.device)
        draws = self._of(batch, start, steps)
        draws.cache.clear()
        rounded = tensor_float() if prefix.is_cuda and not self.exact else nullcontext()
        with Evaluation(self.model), torch.autocast(prefix.device.type, enabled=False), rounded:
            if start > 1:
                self.model.step(prefix[:, :-1], draws.cache)
            draws.begin(prefix[:, -1], self.grammar.read(prefix))
            ids = torch.cat([prefix, prefix.new_full((batch, steps), PAD)], 1)
            masks = torch.empty(noise.shape, dtype=torch.bool, device=prefix.device)
            for step in range(steps):
                ids[:, start + step] = draws.draw(noise[:, step])
                masks[:, step] = draws.mask
        return Rollout(ids, noise, masks, start)

    def _of(self, batch: int, start: int, steps: int) -> GraphedDraws:
        shape = (batch, start, steps)
        if shape not in self._draws:
            assert isinstance(self.model, Transformer)
            with torch.autocast(self.grammar.device.type, enabled=False):
                cache = self.model.new_cache(batch, start + steps)
            assert isinstance(cache, KeyValueCache)
            choice = Choice(temperature=self.temperature)
            self._draws[shape] = GraphedDraws(self.model, self.grammar, cache, choice)
        return self._draws[shape]


@contextmanager
def tensor_float() -> Iterator[None]:
    """Float32 matrix products may be rounded to TensorFloat-32, many times as fast on a GPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
