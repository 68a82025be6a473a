"""A GPU's way of drawing tokens: the whole draw as one CUDA graph, a launch a token.

At small models and batches a GPU waits for Python; a captured draw (the model's step on a static
cache, the grammar's mask, the choice, the noise's maximum) keeps it busy. What is not captured is
the same mathematics step by step, so a CPU can test it.

Shapes: B batch, V vocabulary.
"""

import torch
from torch import Tensor

from generator.choice import Choice, scored
from generator.grammar import FIELDS, Grammar, GrammarState
from generator.merged import MergedGrammar
from generator.model import Cache, GeneratorModel
from generator.transformer import KeyValueCache, Transformer

WARM_UP = 3  # runs before the capture, for what allocates and tunes itself at first


class Captured:
    """Work on static tensors, captured once and replayed; on a CPU, simply done.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._graph: torch.cuda.CUDAGraph | None = None

    def work(self) -> None:
        """What is captured: nothing in it may wait for the device or depend on a changing shape."""
        raise NotImplementedError

    def restore(self) -> None:
        """Puts back what the runs before a capture have moved on."""

    def run(self) -> None:
        """Does the work."""
        if self.device.type != "cuda":
            return self.work()
        if self._graph is None:
            self._capture()
        assert self._graph is not None
        return self._graph.replay()

    def _capture(self) -> None:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.work()
                self.restore()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Of this thread alone: another one may be pinning the next batch's memory meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self.work()


class GraphedSteps(Captured):
    """`Transformer.step` for single tokens.

    Args:
        model: in eval mode; its weights may change in place.
        cache: static; what is read into it otherwise (a prompt) is seen.
    """

    def __init__(self, model: Transformer, cache: KeyValueCache) -> None:
        first = cache.both[0]
        super().__init__(first.device)
        self.model, self.cache = model, cache
        self._ids = torch.zeros(len(first), dtype=torch.int64, device=first.device)
        self._at = torch.zeros(1, dtype=torch.int64, device=first.device)
        self._logits: Tensor | None = None

    def work(self) -> None:
        """See `Captured`."""
        self._logits = self.model.static_step(self._ids, self.cache, self._at)

    def step(self, ids: Tensor) -> Tensor:
        """Reads ids (B,); logits (B, V), overwritten by the next step."""
        self._ids.copy_(ids)
        self._at.fill_(self.cache.length)
        self.run()
        self.cache.length += 1
        assert self._logits is not None
        return self._logits


class GraphedDraws(Captured):
    """Whole draws: step, mask, choice and maximum, with the grammar's state kept on the device.

    Args:
        model: in eval mode; its weights may change in place.
        grammar: one that `drawable` allows.
        cache: static; prompts are read into it otherwise.
        choice: temperature, steadiness and truncation alone.
        bias: (V,) added to the logits of every step.
    """

    def __init__(
        self,
        model: Transformer,
        grammar: Grammar,
        cache: KeyValueCache,
        choice: Choice,
        bias: Tensor | None = None,
    ) -> None:
        first = cache.both[0]
        super().__init__(first.device)
        self.model, self.grammar, self.cache = model, grammar, cache
        self.choice, self.bias = choice, bias
        batch = len(first)
        self.state = grammar.start(batch).copy()
        self._at = torch.zeros(1, dtype=torch.int64, device=first.device)
        self._noise = torch.zeros(batch, model.vocab_size, device=first.device)
        self.ids = torch.zeros(batch, dtype=torch.int64, device=first.device)
        self.mask = torch.ones(batch, model.vocab_size, dtype=torch.bool, device=first.device)
        self._backup: list[Tensor] = []

    def begin(self, ids: Tensor, state: GrammarState) -> None:
        """Goes on after ids (B,), which the cache does not hold yet; `state` knows them."""
        self.ids.copy_(ids)
        self._set(state)

    @torch.no_grad()
    def draw(self, noise: Tensor) -> Tensor:
        """The next tokens (B,), overwritten by the next draw, as is `mask`.

        Args:
            noise: (B, V) Gumbel noise.
        """
        self._noise.copy_(noise)
        self._at.fill_(self.cache.length)
        if self._graph is None and self.device.type == "cuda":
            self._backup = [each.clone() for each in self._moving()]
        with torch.autocast(self.device.type, enabled=False):
            self.run()
        self.cache.length += 1
        return self.ids

    def work(self) -> None:
        """See `Captured`."""
        logits = self.model.static_step(self.ids, self.cache, self._at)
        if self.bias is not None:
            logits = logits + self.bias
        self.mask.copy_(self.grammar.allowed(self.state))
        strikes, shifts = self.grammar.strikes, self.grammar.shifts
        scores = scored(logits, self.mask, self.ids[:, None], self.choice, strikes, shifts)
        if self.choice.temperature:
            scores = scores + self._noise
        drawn = scores.argmax(-1)
        self._set(self.grammar.advance(self.state, drawn))
        self.ids.copy_(drawn)

    def restore(self) -> None:
        """See `Captured`."""
        for now, before in zip(self._moving(), self._backup, strict=True):
            now.copy_(before)

    def _moving(self) -> list[Tensor]:
        return [self.ids, *(getattr(self.state, name) for name in FIELDS)]

    def _set(self, state: GrammarState) -> None:
        for name in FIELDS:
            own, new = getattr(self.state, name), getattr(state, name)
            if own is not new:  # what has not changed is the very same
                own.copy_(new)


def static(model: GeneratorModel, cache: Cache) -> bool:
    """Whether single steps can be captured: a transformer on a GPU, in its own precision."""
    if not isinstance(model, Transformer) or not isinstance(cache, KeyValueCache):
        return False
    first = cache.both[0]
    return first.device.type == "cuda" and first.dtype == model.embedding.weight.dtype


def graphed(model: GeneratorModel, cache: Cache) -> GraphedSteps | None:
    """Graphed steps where they can be had."""
    if not static(model, cache):
        return None
    assert isinstance(model, Transformer)
    assert isinstance(cache, KeyValueCache)
    return GraphedSteps(model, cache)


def drawable(grammar: Grammar | MergedGrammar, choice: Choice) -> bool:
    """Whether whole draws can be captured: nothing looks back over the tokens so far."""
    looks_back = choice.repetition != 1 or choice.no_repeat or choice.opening
    return isinstance(grammar, Grammar) and grammar.forgetful and not looks_back
