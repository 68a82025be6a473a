"""The next token of one sequence, through NumPy, is the next token."""

from typing import Any

import pytest
import torch

from generator.settings import TransformerSettings
from generator.single import suits
from generator.transformer import Transformer

from .conftest import token_by_token

CHOICES: list[dict[str, Any]] = [
    {}, {"norm": "rms"}, {"positions": "learned"}, {"positions": "none"}, {"fix_norm": True},
    {"tie_embeddings": False}, {"fix_norm": True, "tie_embeddings": False},
]  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {"norm": "scale"}, {"norm": "none"}, {"positions": "relative"}, {"qk_norm": True},
]  # fmt: skip


def transformer(**changes: Any) -> Transformer:
    values = {"layers": 3, "width": 48, "heads": 3, "max_length": 64} | changes
    torch.manual_seed(0)
    model = Transformer(50, TransformerSettings(**values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            # Gains that matter, weights that make sharp attention.
            weight.mul_(4) if weight.dim() > 1 else weight.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize("choice", CHOICES + OTHERS, ids=str)
@torch.no_grad()
def test_single_steps_are_what_is_read_at_once(choice: dict[str, Any]) -> None:
    model = transformer(**choice)
    ids = torch.randint(50, (1, 40), generator=torch.manual_seed(1))
    whole, cache = model(ids), model.new_cache(1, 40)
    model.step(ids[:, :5], cache)
    assert cache.single is None, "a prompt needs no copies of the weights"
    for position in range(5, 40):
        logits = model.step(ids[:, position : position + 1], cache)
        torch.testing.assert_close(logits, whole[:, position], rtol=1e-4, atol=1e-4)
        assert logits.dtype == torch.float32
    assert (cache.single is not None) == (choice in CHOICES), "the way that was meant"


@torch.no_grad()
def test_only_where_it_is_meant_for() -> None:
    model = transformer()
    assert suits(model, model.new_cache(1))
    assert not suits(model, model.new_cache(2)), "a batch has matrix products"
    assert not suits(model, model.new_cache(1, dtype=torch.bfloat16))
    assert not suits(model.double(), model.new_cache(1))


@torch.no_grad()
def test_more_may_be_read_in_between_and_new_weights_are_heard() -> None:
    model = transformer()
    ids = torch.randint(50, (1, 30), generator=torch.manual_seed(1))
    cache = model.new_cache(1, 30)
    for part in ids.split([5, 1, 1, 8, 1, 14], 1):
        logits = model.step(part, cache)
    torch.testing.assert_close(logits, model(ids)[:, -1], rtol=1e-4, atol=1e-4)
    cache.clear()
    for weight in model.parameters():
        weight.mul_(1.1)
    logits = token_by_token(model, ids, cache)
    torch.testing.assert_close(logits, model(ids)[:, -1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_logits_are_the_callers_to_change() -> None:
    model, first = transformer(), torch.tensor([[7]])
    cache, other = model.new_cache(1), model.new_cache(1)
    model.step(first, cache).fill_(torch.nan)
    model.step(first, other)
    torch.testing.assert_close(model.step(first, cache), model.step(first, other))


@torch.no_grad()
@pytest.mark.filterwarnings("error")
def test_a_gate_may_be_shut_however_tight() -> None:
    model = transformer()
    for block in model.blocks:
        block.feed_forward.spread.weight.mul_(100)  # exponentials beyond single precision
    ids = torch.randint(50, (1, 6), generator=torch.manual_seed(1))
    cache = model.new_cache(1, 6)
    logits = token_by_token(model, ids, cache)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, model(ids)[:, -1], rtol=1e-3, atol=1e-3)
