"""Drawing tokens from a generator, in a way that can be replayed.

A token is drawn by the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014): the argmax of masked,
tempered logits plus noise. With the noise kept, one parallel pass over the finished tokens finds
the same argmax again, now with a gradient: that is how a fast rollout becomes a differentiable one.
Noise, temperature and truncation are float32 whatever the model runs in.

Shapes: B batch, P prefix tokens, S sampled tokens, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from symusic.core import ScoreTick
from torch import Tensor

from data_tools.midi import merged_notes, seconds_of
from data_tools.representation import EOS, PAD
from generator.grammar import Grammar
from generator.merged import MergedGrammar
from generator.model import Cache, GeneratorModel

NOISE_BLOCK = 32  # steps of noise drawn at once; part of what a seed means
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


def seeded(seeds: Iterable[int]) -> list[torch.Generator]:
    """One noise generator a sequence, on the CPU: the same music on every device."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def tempered(logits: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Logits (..., V) over the temperature, minus infinity where the mask forbids; float32."""
    return logits.float().masked_fill(~masks, -torch.inf) / temperature


def truncate(scores: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Rules out unlikely tokens: all but the `top_k` best, then the tail beyond `top_p`.

    A `top_k` of 0 is no limit. Nucleus sampling (Holtzman et al. 2020): the smallest set of best
    tokens whose probabilities reach `top_p` stays, at least one.

    Args:
        scores: (..., V) float32 logits after temperature.
    """
    if top_k and top_k < scores.shape[-1]:
        least = scores.topk(top_k, -1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p < 1:
        ordered, order = scores.softmax(-1).sort(-1, descending=True)
        tail = ordered.cumsum(-1) - ordered >= top_p
        scores = scores.masked_fill(tail.scatter(-1, order, tail), -torch.inf)
    return scores


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
    with _Evaluation(model):
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


@torch.no_grad()
def sample(
    model: GeneratorModel,
    grammar: Grammar | MergedGrammar,
    prefix: Tensor,
    steps: int,
    *,
    generators: Sequence[torch.Generator],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Samples:
    """Continues `prefix` (B, P) by up to `steps` tokens, past the model's context if need be.

    When the context is full, the conditions at the head of the prefix and the last half of the
    context are read anew. With one noise generator a sequence, a piece does not depend on the
    company it is sampled in.

    Args:
        model: the generator.
        grammar: on the model's device.
        prefix: (B, P >= 1) ids.
        steps: most tokens to add; sampling ends early once every sequence has ended.
        generators: one a sequence, B in all; see `seeded`.
        temperature: divides the logits.
        top_k: see `truncate`.
        top_p: see `truncate`.
    """
    batch, start = prefix.shape
    ids = torch.cat([prefix, prefix.new_full((batch, steps), PAD)], 1)
    stop = start + steps
    with _Evaluation(model):
        cache = model.new_cache(batch, min(model.context, stop))
        logits = _refill(model, grammar, prefix, cache)
        state = grammar.read(prefix)
        for step in range(steps):
            now = start + step
            if step:
                if cache.length < cache.max_len:
                    logits = model.step(ids[:, now - 1, None], cache)
                else:
                    logits = _refill(model, grammar, ids[:, :now], cache)
            if step % NOISE_BLOCK == 0:
                if step and bool((ids[:, now - 1] <= EOS).all()):
                    stop = now
                    break
                shape = (NOISE_BLOCK, model.vocab_size)
                noise = torch.stack([gumbel(shape, one, ids.device) for one in generators])
            scores = tempered(logits, grammar.allowed(state), temperature)
            scores = truncate(scores, top_k, top_p)
            ids[:, now] = (scores + noise[:, step % NOISE_BLOCK]).argmax(-1)
            state = grammar.advance(state, ids[:, now])
    ids = ids[:, :stop]
    lengths = start + (ids[:, start:] != PAD).sum(1)
    return Samples(ids, lengths, start)


def _refill(
    model: GeneratorModel, grammar: Grammar | MergedGrammar, ids: Tensor, cache: Cache
) -> Tensor:
    """Reads ids (B, T) into the emptied cache; if they do not fit, conditions and the latest."""
    cache.clear()
    if ids.shape[1] >= cache.max_len:
        first_condition = model.vocab_size - grammar.condition_size
        head = int((ids[0] >= first_condition).cumprod(0).sum())
        head = min(head, cache.max_len // 4)
        ids = torch.cat([ids[:, :head], ids[:, -(cache.max_len // 2) :]], 1)
    return model.step(ids, cache)


class _Evaluation:
    """Puts a model in eval mode and back, whatever happens in between."""

    def __init__(self, model: GeneratorModel) -> None:
        self.model, self.training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.training)


def describe(score: ScoreTick) -> dict[str, float]:
    """Signs of a degenerate piece.

    Returns:
        notes, seconds (to the last note's end), distinct_pitches, longest_run (notes in a row on
        one pitch), repeated_4grams (share of the four-pitch sequences seen before in the piece) and
        longest_silence (seconds in which nothing sounds, a silence before the first note included).
    """
    notes = merged_notes(score)
    if not len(notes):
        names = ("notes", "seconds", "distinct_pitches", "longest_run", "repeated_4grams")
        return dict.fromkeys((*names, "longest_silence"), 0.0)
    start, end = seconds_of(score, notes.start), seconds_of(score, notes.end)
    changes = np.flatnonzero(np.diff(notes.pitch, prepend=-1, append=-1))
    grams = [tuple(notes.pitch[i : i + 4]) for i in range(len(notes) - 3)]
    heard_until = np.concatenate([[0.0], np.maximum.accumulate(end)[:-1]])
    return {
        "notes": float(len(notes)),
        "seconds": float(end.max()),
        "distinct_pitches": float(len(np.unique(notes.pitch))),
        "longest_run": float(np.diff(changes).max()),
        "repeated_4grams": 1 - len(set(grams)) / len(grams) if grams else 0.0,
        "longest_silence": float((start - heard_until).max().clip(0)),
    }
