"""The grammar of merged tokens: one may come where its parts may come one after another.

Tokens that begin alike are walked through the plain grammar together, part by part, so whatever is
sampled decodes to music just as without merges.

Shapes: B batch, V plain vocabulary, M merged vocabulary, L parts of the longest token.
"""

import numpy as np
import torch
from torch import Tensor

from data_tools.bytepair import LONGEST, MergedRepresentation
from data_tools.representation import Representation
from generator.grammar import FIELDS, Grammar, GrammarState


def grammar_of(
    representation: Representation, device: torch.device | str = "cpu", min_notes: int = 1
) -> "Grammar | MergedGrammar":
    """The grammar that fits a representation."""
    kind = MergedGrammar if isinstance(representation, MergedRepresentation) else Grammar
    return kind(representation, device, min_notes)  # type: ignore[arg-type]


class _Level:
    """Beginnings of one length: of each the one it prolongs and by what; tokens one part longer."""

    def __init__(
        self,
        nodes: list[tuple[int, int]],
        tokens: list[tuple[int, int, int]],
        device: torch.device | str,
    ) -> None:
        self.parents, self.parts = torch.tensor(nodes, device=device).T
        table = torch.tensor(tokens, dtype=torch.int64, device=device).reshape(-1, 3)
        self.tokens, self.nodes, self.lasts = table.T


def _levels(
    parts: tuple[tuple[int, ...], ...],
) -> list[tuple[list[tuple[int, int]], list[tuple[int, int, int]]]]:
    """The tree of all proper beginnings of tokens, level by level: tokens share their walks."""
    result = []
    before: dict[tuple[int, ...], int] = {(): 0}
    for length in range(1, LONGEST):
        longer = [each for each in parts if len(each) > length]
        here = {each[:length]: None for each in longer}
        numbers = {beginning: number for number, beginning in enumerate(here)}
        nodes = [(before[beginning[:-1]], beginning[-1]) for beginning in numbers]
        tokens = [
            (token, numbers[each[:-1]], each[-1])
            for token, each in enumerate(parts)
            if len(each) == length + 1
        ]
        if nodes:
            result.append((nodes, tokens))
        before = numbers
    return result


class MergedGrammar:
    """`Grammar` over merged ids; see there. It steps and does not replay."""

    def __init__(
        self,
        representation: MergedRepresentation,
        device: torch.device | str = "cpu",
        min_notes: int = 1,
    ) -> None:
        self.plain = Grammar(representation.plain, device, min_notes)
        self.eos, self.condition_size = representation.eos, len(representation.conditions)
        table = np.full((representation.vocab_size, LONGEST), -1, dtype=np.int64)
        for index, parts in enumerate(representation.parts):
            table[index, : len(parts)] = parts
        self._parts = torch.as_tensor(table, device=device)  # (M, L), -1 where there is none
        self.strikes = torch.as_tensor(representation.strikes > 0, device=device)
        self.shifts = None  # merged tokens let time pass, too
        self._single = self._parts[:, 1] < 0
        self._levels = [_Level(*level, device) for level in _levels(representation.parts)]

    def start(self, batch: int) -> GrammarState:
        """The state before any token."""
        return self.plain.start(batch)

    def allowed(self, state: GrammarState) -> Tensor:
        """Tokens that may come next, (B, M) bool; never none."""
        plain = self.plain.allowed(state)
        allowed = plain[:, self._parts[:, 0]] & self._single
        batch = len(plain)
        # Where each beginning's mask lies among the rows walked so far; -1 where it is forbidden.
        place = torch.arange(batch, device=plain.device)[:, None]
        for level in self._levels:
            parents = place[:, level.parents]  # (B, nodes)
            possible = (parents >= 0) & plain[parents.clamp(min=0), level.parts]
            if not possible.any():
                break
            _, nodes = possible.nonzero(as_tuple=True)
            state = self.plain.advance(state.take(parents[possible]), level.parts[nodes])
            plain = self.plain.allowed(state)
            place = torch.full_like(parents, -1)
            place[possible] = torch.arange(len(nodes), device=plain.device)
            own = place[:, level.nodes]  # (B, tokens)
            allowed[:, level.tokens] = (own >= 0) & plain[own.clamp(min=0), level.lasts]
        return allowed

    def drumming(self, state: GrammarState) -> Tensor:
        """See `Grammar`."""
        return self.plain.drumming(state)

    def advance(self, state: GrammarState, ids: Tensor) -> GrammarState:
        """The state after one more token (B,) a sequence."""
        parts = self._parts[ids]
        for place in range(LONGEST):
            part = parts[:, place]
            here = part >= 0
            if not here.any():
                break
            after = self.plain.advance(state, part.clamp(min=0))
            state = GrammarState(
                *(
                    torch.where(
                        here if getattr(after, name).dim() == 1 else here[:, None],
                        getattr(after, name),
                        getattr(state, name),
                    )
                    for name in FIELDS
                )
            )
        return state

    def read(self, ids: Tensor) -> GrammarState:
        """The state after whole sequences (B, T)."""
        state = self.start(len(ids))
        for token in ids.unbind(1):
            state = self.advance(state, token)
        return state
