"""Weights that are float16's stay so in products, and nothing changes but the time."""

from typing import Any

import pytest
import torch
from torch import Tensor

from data_tools.representation import BOS, Representation
from generator.choice import Choice
from generator.grammar import Grammar
from generator.products import MOST, Products
from generator.sampling import sample, seeded
from generator.settings import TransformerSettings
from generator.transformer import Transformer

from .conftest import token_by_token

CHOICES: list[dict[str, Any]] = [
    {}, {"norm": "rms"}, {"norm": "scale"}, {"norm": "none"}, {"positions": "learned"},
    {"positions": "relative"}, {"positions": "none"}, {"qk_norm": True}, {"tie_embeddings": False},
]  # fmt: skip
WIDE = 400


def transformer(half: bool = True, vocabulary: int = 50, **changes: Any) -> Transformer:
    values = {"layers": 3, "width": 48, "heads": 3, "max_length": 64} | changes
    torch.manual_seed(0)
    model = Transformer(vocabulary, TransformerSettings(**values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4) if weight.dim() > 1 else weight.uniform_(0.5, 2)
            if half:
                weight.copy_(weight.half())
    return model


def packs() -> bool:
    """Whether this processor knows the way at all."""
    return bool(Products([torch.ones(16, 16)])._packed)


needed = pytest.mark.skipif(not packs(), reason="not an x86 processor with AVX2")


@needed
@pytest.mark.parametrize("batch", [2, 3, 16, MOST, MOST + 1])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
@torch.no_grad()
def test_steps_are_what_is_read_at_once(choice: dict[str, Any], batch: int) -> None:
    model = transformer(**choice)
    ids = torch.randint(50, (batch, 20), generator=torch.manual_seed(1))
    whole, cache = model(ids), model.new_cache(batch, 20)
    model.step(ids[:, :5], cache)
    for position in range(5, 20):
        logits = model.step(ids[:, position : position + 1], cache)
        torch.testing.assert_close(logits, whole[:, position], rtol=1e-4, atol=1e-4)
    assert cache.products is not None
    assert bool(cache.products._packed) == (batch <= MOST)


@needed
def test_products_are_exact() -> None:
    x, added = torch.randn(5, 48), torch.randn(5, WIDE)
    kept = added.clone()
    weight = torch.randn(WIDE, 48).half().float()
    times = Products([weight])
    exact = x.double() @ weight.double().t()
    for given in (None, added):
        found = times(x, weight, given)
        expected = exact if given is None else exact + added
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)
    assert torch.equal(added, kept), "what is added stays as it was"
    assert times._packed


def gated(times: Products, *parts: Tensor) -> Tensor:
    return times.gated(*parts)


@needed
def test_the_gate_is_the_same_both_ways() -> None:
    x, added = torch.randn(5, 48), torch.randn(5, 48)
    spread, out = (torch.randn(*shape).half().float() for shape in ((64, 48), (48, 32)))
    kept = added.clone()
    packed, plain = (gated(t, x, spread, out, added) for t in (Products([spread, out]), Products()))
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-4)
    assert torch.equal(added, kept)


def test_weights_that_would_change_are_left_alone() -> None:
    fine, finer = torch.ones(16, 16), torch.full((16, 16), 1 + 2.0**-20)
    assert not Products([fine, finer])._packed
    assert not Products([fine, torch.full((16, 16), 1e6)])._packed, "beyond float16"
    assert not Products([fine.double()])._packed
    assert not Products([torch.full((16, 16), torch.nan)])._packed


def test_other_processors_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weight: Tensor, bias: None) -> Tensor:
        raise RuntimeError("not supported on this machine")

    monkeypatch.setattr(torch.ops.quantized, "linear_prepack_fp16", refuse)
    x, weight = torch.randn(3, 16), torch.ones(16, 16)
    torch.testing.assert_close(Products([weight])(x, weight), x @ weight)


@needed
@torch.no_grad()
def test_new_weights_are_heard_after_clearing() -> None:
    model = transformer()
    ids = torch.randint(50, (4, 10), generator=torch.manual_seed(1))
    cache = model.new_cache(4, 10)
    token_by_token(model, ids, cache)
    cache.clear()
    for weight in model.parameters():
        weight.mul_(2)
    logits = token_by_token(model, ids, cache)
    torch.testing.assert_close(logits, model(ids)[:, -1], rtol=1e-4, atol=1e-4)


@needed
def test_the_music_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tokens packed and not, and of each piece in whatever company."""
    representation = Representation()
    model = transformer(vocabulary=representation.vocab_size)
    prefix, choice = torch.full((6, 1), BOS), Choice(temperature=0.9, top_p=0.98)

    def written(rows: slice) -> Tensor:
        return sample(
            model, Grammar(representation), prefix[rows], 50, choice=choice,
            generators=seeded(range(6)[rows]),
        ).ids  # fmt: skip

    packed, alone = written(slice(6)), [written(slice(row, row + 1)) for row in range(6)]
    for row in range(6):
        assert torch.equal(packed[row], alone[row][0])
    monkeypatch.setattr("generator.products._packed", lambda weights: {})
    assert torch.equal(packed, written(slice(6)))


@needed
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
@torch.no_grad()
def test_logits_are_float32_whatever_the_weights_and_the_autocast(kind: torch.dtype) -> None:
    for model in (transformer(), transformer(half=False), transformer().to(kind)):
        ids = torch.randint(50, (3, 6), generator=torch.manual_seed(1))
        cache = model.new_cache(3, 6)
        with torch.autocast("cpu", enabled=False):
            model.step(ids[:, :5], cache)
        with torch.autocast("cpu", torch.bfloat16):
            assert model.step(ids[:, 5:], cache).dtype == torch.float32


@needed
@torch.no_grad()
def test_embeddings_of_fixed_length_leave_the_rest_packed() -> None:
    model = transformer(fix_norm=True)
    cache = model.new_cache(2, 6)
    ids = torch.randint(50, (2, 6), generator=torch.manual_seed(1))
    logits = token_by_token(model, ids, cache)
    assert len(cache.products._packed) == 3 * 4, "all but what makes logits"
    torch.testing.assert_close(logits, model(ids)[:, -1], rtol=1e-4, atol=1e-4)
