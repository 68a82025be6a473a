"""Learning music before learning labels: which pitches have been replaced?

A share of the pitches is replaced by others nearby, and the network says of every position whether
one of them is. It needs no labels, and every position teaches, where filling in masked tokens
teaches at the masked ones alone (ELECTRA, Clark et al. 2020). Works for any view, because a wrong
pitch makes wrong harmony. The body and what is before it are kept; the head that spots is not.

Letters: B pieces, T tokens, N notes, S positions after the stem, C channels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.errors import UserError
from data_tools.representation import PAD, TokenType
from discriminator.body import SequenceDiscriminator
from gan.data import DiscriminatorWindows
from gan.engine import (
    adamw,
    check_finite,
    derived_seed,
    learning_rate,
    numpy_generator,
    set_rate,
)

if TYPE_CHECKING:
    from gan.pretrain import Learner

REPLACED = 0.15  # share of the pitches
FARTHEST = 7  # semitones a replaced pitch moves, at most
LAST = 50  # steps whose accuracy is reported


def spot_replaced(learner: "Learner", draw: DiscriminatorWindows, numbers: Sequence[int]) -> float:
    """Trains `learner.model` for `settings.spotting_steps` steps.

    Args:
        learner: whose model learns; its average starts anew from what was learnt.
        draw: how crops are cut and changed.
        numbers: pieces to learn from, with a label or without.

    Returns:
        Accuracy over the last steps, replaced and untouched positions weighing the same.

    Raises:
        UserError: the model has no positions to ask, or a loss is not finite.
    """
    model, settings, compute = learner.model, learner.settings, learner.compute
    if not isinstance(model, SequenceDiscriminator):
        raise UserError("spotting_steps: statistics have no order to learn; take 0, or a network")
    crops = ReplacedPitches(draw, numbers)
    torch.manual_seed(derived_seed(settings.seed, "spotting"))
    head = nn.Linear(settings.model.width, 1).to(compute.device)
    both = nn.ModuleList([model, head])
    optimizer = adamw(both, settings.learning_rate, settings.weight_decay)
    accuracy: list[float] = []
    for step in range(settings.spotting_steps):
        ids, replaced = (tensor.to(compute.device) for tensor in crops(step))
        both.train()
        with compute.autocast():
            logits, wrong, real = spotted(model, head, ids, replaced)
        right = real & ~wrong
        if not wrong.any() or not right.any():
            continue
        loss = (F.softplus(-logits[wrong]).mean() + F.softplus(logits[right]).mean()) / 2
        check_finite(loss, "spotting loss", step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(both.parameters(), settings.clip)
        rate = learning_rate(step, settings.learning_rate, settings.warmup, settings.spotting_steps)
        set_rate(optimizer, rate)
        optimizer.step()
        if step >= settings.spotting_steps - LAST:
            found = (logits[wrong] > 0).float().mean() + (logits[right] < 0).float().mean()
            accuracy.append(found.item() / 2)
    learner.restart_average()
    return float(np.mean(accuracy)) if accuracy else 0.5


def spotted(
    model: SequenceDiscriminator, head: nn.Module, ids: Tensor, replaced: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, S), whether a position holds a replaced pitch (B, S), and whether it is real.

    Args:
        model: whose positions are asked.
        head: channels (B, S, C) to (B, S, 1).
        ids: (B, T).
        replaced: (B, T) bool.
    """
    h, real, _ = model.embedding(model.view(ids))
    if model.view_name != "tokens":  # positions are notes
        replaced = _of_notes(model, ids, replaced, h.shape[1])
    flags, real_flags = (replaced & real).float(), real
    h, real = model.stem(h, real_flags)
    room = F.pad(flags[:, None], (0, model.stem.stride - 1))
    wrong = F.max_pool1d(room, model.stem.stride)[:, 0] > 0.5
    logits = head(model.norm(model.body(h, real))).squeeze(-1).float()
    return logits, wrong & real, real


def _of_notes(model: SequenceDiscriminator, ids: Tensor, replaced: Tensor, count: int) -> Tensor:
    """Flags of tokens (B, T) as flags of the notes (B, N) in their order."""
    struck = model.view.reader.pitch[ids] >= 0  # type: ignore[union-attr, index]
    slot = torch.where(struck, struck.cumsum(1) - 1, count)
    flags = torch.zeros(len(ids), count + 1, device=ids.device)
    return flags.scatter_add(1, slot, (replaced & struck).float())[:, :count] > 0.5


class ReplacedPitches:
    """Crops with some of their pitches replaced, as a function of the step.

    Args:
        draw: how crops are cut and changed.
        numbers: the pieces; their sources are drawn by the root of their size.
    """

    def __init__(self, draw: DiscriminatorWindows, numbers: Sequence[int]) -> None:
        self.draw = draw
        self._numbers = np.asarray(numbers)
        sources = [draw.corpus.rows[number]["source"] for number in numbers]
        _, place, size = np.unique(sources, return_inverse=True, return_counts=True)
        share = 1 / np.sqrt(size)[place]
        self._share = np.cumsum(share / share.sum())
        representation = draw.corpus.representation
        kinds, values = representation.token_types, representation.token_values
        self._pitched = kinds == TokenType.PITCH
        self._values = values
        self._of_pitch = np.full(128, PAD)
        self._of_pitch[values[self._pitched]] = np.flatnonzero(self._pitched)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids (B, T), padded at the right, and which of them were replaced (B, T)."""
        draw = self.draw
        generator = numpy_generator(draw.seed, "replaced", step)
        length = draw.drawn_length(generator)
        rows = np.full((draw.batch, length), PAD, dtype=np.int64)
        replaced = np.zeros(rows.shape, dtype=bool)
        for row, flags in zip(rows, replaced, strict=True):
            place = int(np.searchsorted(self._share, generator.random()))
            number = int(self._numbers[min(place, len(self._numbers) - 1)])
            crop = draw.crop(number, length, generator)
            row[: len(crop)], flags[: len(crop)] = self.replace(crop, generator)
        return torch.from_numpy(rows), torch.from_numpy(replaced)

    def replace(
        self, ids: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) with some pitches moved within the vocabulary, and which (T,)."""
        by = generator.integers(1, FARTHEST + 1, len(ids)) * generator.choice((-1, 1), len(ids))
        chosen = self._pitched[ids] & (generator.random(len(ids)) < REPLACED)
        other = self._of_pitch[(self._values[ids] + by).clip(0, 127)]
        chosen &= other != PAD
        return np.where(chosen, other, ids), chosen
