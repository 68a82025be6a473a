"""Drawing tokens from a generator, in a way that can be replayed.

A token is drawn by the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014): the argmax of masked,
tempered logits plus noise. With the noise kept, one parallel pass over the finished tokens finds
the same argmax again, now with a gradient: that is how a fast rollout becomes a differentiable one.
Noise, temperature and truncation are float32 whatever the model runs in.

Shapes: B batch, P prefix tokens, S sampled tokens, V vocabulary.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_tools.representation import EOS, PAD
from generator.choice import Choice, scored
from generator.grammar import Grammar
from generator.graphs import GraphedDraws, drawable, graphed, static
from generator.merged import MergedGrammar
from generator.model import GeneratorModel
from generator.transformer import KeyValueCache, Transformer

NOISE_BLOCK = 32  # steps of noise drawn at once; part of what a seed means
PLAIN = Choice()
_SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Samples:
    """Sampled sequences.

    Attributes:
        ids: (B, P + S) int64, PAD after EOS.
        lengths: (B,) tokens before the padding, prefix and EOS included.
        prefix: P.
    """

    ids: Tensor
    lengths: Tensor
    prefix: int

    def pieces(self) -> list[np.ndarray]:
        """Each sequence's ids without padding."""
        rows = zip(self.ids.cpu().numpy(), self.lengths.tolist(), strict=True)
        return [row[:length] for row, length in rows]


@dataclass(frozen=True)
class Rollout:
    """Sampled sequences with all that is needed to draw them again.

    Attributes:
        ids: (B, P + S) int64, PAD after EOS.
        noise: (B, S, V) float32 Gumbel noise; `ids[:, P + s]` is the argmax under `noise[:, s]`.
        masks: (B, S, V) bool, the tokens allowed at each draw.
        prefix: P.
    """

    ids: Tensor
    noise: Tensor
    masks: Tensor
    prefix: int


def gumbel(
    shape: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard Gumbel noise in float32, drawn where the generator lives and moved to `device`."""
    noise = torch.empty(tuple(shape), device=generator.device).exponential_(generator=generator)
    return noise.clamp_min_(_SMALLEST).log_().neg_().to(device)


def _noise_of(generators: Sequence[torch.Generator], size: int, device: torch.device) -> Tensor:
    """Gumbel noise (B, NOISE_BLOCK, V), each row from its own generator."""
    shape = (len(generators), NOISE_BLOCK, size)
    drawn = torch.empty(shape, pin_memory=device.type == "cuda")
    for row, one in zip(drawn, generators, strict=True):
        row.exponential_(generator=one)
    return drawn.to(device, non_blocking=True).clamp_min_(_SMALLEST).log_().neg_()


def seeded(seeds: Iterable[int]) -> list[torch.Generator]:
    """One noise generator a sequence, on the CPU: the same music on every device."""
    return [torch.Generator().manual_seed(operator.index(seed)) for seed in seeds]


def tempered(logits: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Logits (..., V) over the temperature, minus infinity where the mask forbids; float32."""
    return logits.float().masked_fill(~masks, -torch.inf) / temperature


@torch.no_grad()
def rollout(
    model: GeneratorModel,
    grammar: Grammar,
    prefix: Tensor,
    steps: int,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    noise: Tensor | None = None,
) -> Rollout:
    """Continues `prefix` (B, P) by `steps` tokens and keeps the noise and the masks.

    Runs without gradient, in eval mode, on the cache; the whole must fit the model's context, so
    that one parallel pass can replay it.

    Args:
        model: the generator.
        grammar: on the model's device.
        prefix: (B, P >= 1) ids.
        steps: S.
        generator: source of the noise.
        temperature: divides the logits.
        noise: (B, S, V), to use in place of fresh noise.

    Raises:
        ValueError: P + S exceeds the model's context.
    """
    batch, start = prefix.shape
    if start + steps > model.context:
        raise ValueError(f"prefix {start} and {steps} steps exceed the context of {model.context}")
    if noise is None:
        noise = gumbel((batch, steps, model.vocab_size), generator, prefix.device)
    ids = torch.cat([prefix, prefix.new_full((batch, steps), PAD)], 1)
    masks = torch.empty(noise.shape, dtype=torch.bool, device=prefix.device)
    with Evaluation(model):
        cache = model.new_cache(batch, start + steps)
        logits = model.step(prefix, cache)
        state = grammar.read(prefix)
        for step in range(steps):
            if step:
                logits = model.step(ids[:, start + step - 1, None], cache)
            masks[:, step] = grammar.allowed(state)
            scores = tempered(logits, masks[:, step], temperature)
            ids[:, start + step] = (scores + noise[:, step]).argmax(-1)
            state = grammar.advance(state, ids[:, start + step])
    return Rollout(ids, noise, masks, start)


Reselect = Callable[[Tensor, bool], Tensor | None]


def sample(
    model: GeneratorModel,
    grammar: Grammar | MergedGrammar,
    prefix: Tensor,
    steps: int,
    *,
    generators: Sequence[torch.Generator],
    choice: Choice = PLAIN,
    bias: Tensor | None = None,
    unconditioned: Tensor | None = None,
    reselect: Reselect | None = None,
) -> Samples:
    """Continues `prefix` (B, P) by up to `steps` tokens: `stream`, run to its end.

    What comes back are ordinary tensors, which a training loop can use.

    Raises:
        ValueError: other than B generators.
    """
    start = prefix.shape[1]
    ids = prefix
    for grown in stream(
        model, grammar, prefix, steps, generators=generators, choice=choice, bias=bias,
        unconditioned=unconditioned, reselect=reselect,
    ):  # fmt: skip
        ids = grown
    ids = ids.clone()  # out here: autograd refuses to save what inference mode made
    return Samples(ids, start + (ids[:, start:] != PAD).sum(1), start)


@torch.inference_mode()
def stream(
    model: GeneratorModel,
    grammar: Grammar | MergedGrammar,
    prefix: Tensor,
    steps: int,
    *,
    generators: Sequence[torch.Generator],
    choice: Choice = PLAIN,
    bias: Tensor | None = None,
    unconditioned: Tensor | None = None,
    reselect: Reselect | None = None,
) -> Iterator[Tensor]:
    """Continues `prefix` (B, P) token by token, past the model's context if need be.

    When the context is full, the conditions at the head of the prefix and the last half of the
    context are read anew. With one noise generator a sequence, a piece does not depend on the
    company it is sampled in.

    Args:
        model: the generator.
        grammar: on the model's device.
        prefix: (B, P >= 1) ids.
        steps: most tokens to add; sampling ends early once every sequence has ended.
        generators: one a sequence, B in all; see `seeded`.
        choice: how tokens are chosen.
        bias: (2, V) added to the logits of every step; the second row where drums are written.
        unconditioned: (B, P' >= 1) the prefix without what `choice.guidance` leads towards.
        reselect: called with the ids so far after every step, and once more, then with True, when
            there are no more; the rows (B,) to go on with, some perhaps more than once, or None to
            go on with all as they are.

    Yields:
        (B, P + s) ids after s = 1, 2, ... steps, PAD after EOS; the next step may change them, and
        they are inference tensors: clone what is kept or trained on.

    Raises:
        ValueError: other than B generators; with the first step.
    """
    batch, start = prefix.shape
    if len(generators) != batch:  # one alone would give its noise to all
        raise ValueError(f"{len(generators)} generators for {batch} sequences: each needs its own")
    ids = torch.cat([prefix, prefix.new_full((batch, steps), PAD)], 1)
    grown = prefix
    guided = choice.guidance != 1 and unconditioned is not None
    with Evaluation(model):
        readers = [_Reader(model, grammar.condition_size, prefix, steps)]
        if guided:
            assert unconditioned is not None
            readers.append(_Reader(model, grammar.condition_size, unconditioned, steps))
        state = grammar.read(prefix)
        draws = None
        if not guided and reselect is None and drawable(grammar, choice):
            draws = readers[0].draws(grammar, choice, None if bias is None else bias[0])
        captured = False  # whether the state is with the captured draws
        for step in range(steps):
            now = start + step
            if step % NOISE_BLOCK == 0:
                # Before the question whether all have ended, which waits for a GPU to draw the last
                # block: the noise of the next is then free.
                noise = _noise_of(generators, model.vocab_size, ids.device)
                if step and bool((ids[:, now - 1] <= EOS).all()):
                    break
            if draws is not None and step and readers[0].room:
                if not captured:
                    draws.begin(ids[:, now - 1], state)
                    captured = True
                ids[:, now] = draws.draw(noise[:, step % NOISE_BLOCK])
                yield ids[:, : now + 1]
                continue
            if captured and draws is not None:
                state, captured = draws.state.copy(), False
            logits = readers[0].next(ids[:, start:now])
            if guided:
                without = readers[1].next(ids[:, start:now])
                logits = without + choice.guidance * (logits - without)
            if bias is not None:
                logits = logits + torch.where(grammar.drumming(state)[:, None], bias[1], bias[0])
            here = choice.at(step)
            mask = grammar.allowed(state)
            scores = scored(logits, mask, ids[:, :now], here, grammar.strikes, grammar.shifts)
            if here.temperature:
                scores = scores + noise[:, step % NOISE_BLOCK]
            drawn = scores.argmax(-1)
            ids[:, now] = drawn
            state = grammar.advance(state, drawn)
            grown = ids[:, : now + 1]
            if reselect is not None and (rows := reselect(grown, False)) is not None:
                ids, state = ids[rows], state.take(rows)
                grown = ids[:, : now + 1]
                for reader in readers:
                    reader.cache.select(rows)
            yield grown
        if reselect is not None and (rows := reselect(grown, True)) is not None:
            yield grown[rows]


class _Reader:
    """A model reading along: its logits of the next token, whatever the context holds.

    Args:
        model: read with.
        condition_size: tokens at the end of the vocabulary that are conditions.
        prefix: (B, P).
        steps: tokens that may follow.
    """

    def __init__(
        self, model: GeneratorModel, condition_size: int, prefix: Tensor, steps: int
    ) -> None:
        batch, start = prefix.shape
        self.model, self.prefix = model, prefix
        self.first_condition = model.vocab_size - condition_size
        self.cache = model.new_cache(batch, min(model.context, start + steps))
        self.graph = graphed(model, self.cache)

    @property
    def room(self) -> bool:
        """Whether the cache can take one more token."""
        return self.cache.length < self.cache.max_len

    def draws(
        self, grammar: Grammar | MergedGrammar, choice: Choice, bias: Tensor | None
    ) -> GraphedDraws | None:
        """Captured draws on this reader's cache, where they can be had; with a bias (V,)."""
        if not static(self.model, self.cache):
            return None
        assert isinstance(self.model, Transformer)
        assert isinstance(self.cache, KeyValueCache)
        assert isinstance(grammar, Grammar)
        return GraphedDraws(self.model, grammar, self.cache, choice, bias)

    def next(self, added: Tensor) -> Tensor:
        """Logits (B, V) after the prefix and `added` (B, s), one longer at every call."""
        if added.shape[1] and self.room:
            if self.graph is not None:
                return self.graph.step(added[:, -1])
            return self.model.step(added[:, -1:], self.cache)
        ids = torch.cat([self.prefix, added], 1)
        self.cache.clear()
        if ids.shape[1] >= self.cache.max_len:
            head = int((ids[0] >= self.first_condition).cumprod(0).sum())
            head = min(head, self.cache.max_len // 4)
            ids = torch.cat([ids[:, :head], ids[:, -(self.cache.max_len // 2) :]], 1)
        return self.model.step(ids, self.cache)


class Evaluation:
    """Puts a model in eval mode and back, whatever happens in between."""

    def __init__(self, model: GeneratorModel) -> None:
        self.model, self.training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.training)
