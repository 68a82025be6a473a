"""Which of the next tokens may be drawn, and how boldly: the known ways, one function each.

Scores are logits after the grammar's mask. What is ruled out becomes minus infinity; the noise
then decides among the rest, so whatever is left is renormalised by itself.

Shapes: B batch, V vocabulary, N tokens so far.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from data_tools.errors import UserError
from generator.timing import Shifts

WINDOW = 64  # tokens a repetition penalty looks back over


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen.

    Attributes:
        temperature: under 1 safer, over 1 wilder; 0 takes the likeliest token (greedy), which is
            known for its loops.
        top_k: only so many of the likeliest tokens; 0 for all (Fan et al. 2018).
        top_p: only the likeliest tokens that together reach this probability (Holtzman et al.
            2020).
        min_p: only tokens at least this probable beside the likeliest (Nguyen et al. 2025).
        steady: over 1, of time shifts that lie close together the likelier; see `generator.timing`.
        repetition: over 1, pitches heard in the last 64 tokens are so much less likely (Keskar et
            al. 2019, there for words).
        no_repeat: no run of so many tokens twice in a piece; 0 for no such rule (Paulus et al.
            2018).
        guidance: over 1, further from what the model would write without its conditions
            (classifier-free guidance, Ho & Salimans 2022; Sanchez et al. 2024 for text).
        opening: so many first tokens are drawn at temperature 1 from all tokens, so that pieces
            begin differently however safe the rest is.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    steady: float = 1.0
    repetition: float = 1.0
    no_repeat: int = 0
    guidance: float = 1.0
    opening: int = 0

    def check(self) -> None:
        """Refuses values out of range.

        Raises:
            UserError: one line that names it.
        """
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise UserError(f"{name.replace('_', '-')} {value}: must be a finite number")
        rules = {
            f"temperature {self.temperature:g}: must be 0 (greedy) or more": self.temperature >= 0,
            f"top-k {self.top_k}: must be 0 (no limit) or more": self.top_k >= 0,
            f"top-p {self.top_p:g}: must be above 0 and at most 1": 0 < self.top_p <= 1,
            f"min-p {self.min_p:g}: must be 0 or more and below 1": 0 <= self.min_p < 1,
            f"steady {self.steady:g}: must be from 1 (as drawn) to 10": 1 <= self.steady <= 10,
            f"repetition {self.repetition:g}: must be 1 (none) or more": self.repetition >= 1,
            f"no-repeat {self.no_repeat}: must be 0 (no rule) or at least 2": self.no_repeat == 0
            or self.no_repeat >= 2,
            f"guidance {self.guidance:g}: must be 0 or more": self.guidance >= 0,
            f"opening {self.opening}: must be 0 or more": self.opening >= 0,
        }
        for message, holds in rules.items():
            if not holds:
                raise UserError(message)

    def at(self, step: int) -> "Choice":
        """The choice in force at a step: another one while the piece opens."""
        return Choice(guidance=self.guidance) if step < self.opening else self


def scored(
    logits: Tensor, mask: Tensor, ids: Tensor, choice: Choice, strikes: Tensor,
    shifts: Shifts | None = None,
) -> Tensor:  # fmt: skip
    """Scores (B, V) whose noisy maximum is the next token; float32.

    Args:
        logits: (B, V).
        mask: (B, V) bool, what the grammar allows; something in every row.
        ids: (B, N) the tokens so far.
        choice: see there.
        strikes: (V,) bool, tokens that begin a note.
        shifts: tokens that let time pass, without which `steady` does nothing.
    """
    logits = logits.float()
    if choice.repetition != 1:
        logits = penalise(logits, ids[:, -WINDOW:], choice.repetition, strikes)
    if choice.no_repeat:
        kept = mask & ~repeats(ids, choice.no_repeat, logits.shape[-1])
        mask = torch.where(kept.any(-1, keepdim=True), kept, mask)
    scores = logits.masked_fill(~mask, -torch.inf)
    if choice.temperature == 0:
        return scores
    if choice.temperature != 1:
        scores = scores / choice.temperature
    if choice.steady != 1 and shifts is not None:
        scores = shifts.steadied(scores, choice.steady)
    return truncate(scores, choice.top_k, choice.top_p, choice.min_p)


def truncate(scores: Tensor, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> Tensor:
    """Rules out unlikely tokens of scores (..., V), at least one of a row stays; see `Choice`."""
    if top_k and top_k < scores.shape[-1]:
        least = scores.topk(top_k, -1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p < 1:
        ordered, order = scores.softmax(-1).sort(-1, descending=True)
        tail = ordered.cumsum(-1) - ordered >= top_p
        scores = scores.masked_fill(tail.scatter(-1, order, tail), -torch.inf)
    if min_p:
        p = scores.softmax(-1)
        scores = scores.masked_fill(p < min_p * p.amax(-1, keepdim=True), -torch.inf)
    return scores


def penalise(logits: Tensor, recent: Tensor, factor: float, strikes: Tensor) -> Tensor:
    """Makes recent (B, N) tokens less likely: positive logits divided, negative multiplied."""
    heard = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, recent, True) & strikes
    return torch.where(heard, torch.where(logits > 0, logits / factor, logits * factor), logits)


def repeats(ids: Tensor, length: int, vocabulary: int) -> Tensor:
    """(B, V) tokens that would complete a run of `length` tokens that ids (B, N) hold already."""
    batch, known = ids.shape
    found = torch.zeros(batch, vocabulary, dtype=torch.bool, device=ids.device)
    if known < length:
        return found
    runs = ids.unfold(1, length, 1)  # (B, N - length + 1, length)
    last = ids[:, known - length + 1 :]
    same = (runs[..., :-1] == last[:, None]).all(-1)
    # A token of several runs is marked if any of them matches.
    return found.to(torch.uint8).scatter_reduce_(
        1, runs[..., -1], same.to(torch.uint8), "amax"
    ).bool()  # fmt: skip
