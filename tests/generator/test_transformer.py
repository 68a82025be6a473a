"""The transformer gives one answer however it is asked, and looks only backwards."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from generator.positions import rotary_tables, rotate
from generator.settings import TransformerSettings
from generator.transformer import Transformer

VOCABULARY = 40


def transformer(seed: int = 0, **changes: object) -> Transformer:
    values = {"layers": 3, "width": 48, "heads": 3, "max_length": 64, "dropout": 0.2} | changes
    torch.manual_seed(seed)
    model = Transformer(VOCABULARY, TransformerSettings(**values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(4)
    return model


def tokens(batch: int = 3, length: int = 40, seed: int = 1) -> Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.manual_seed(seed))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prefill", [1, 7, 39])
@torch.no_grad()
def test_stepping_equals_reading_at_once(tied: bool, prefill: int) -> None:
    model, ids = transformer(tie_embeddings=tied), tokens()
    whole = model(ids)
    cache = model.new_cache(3, 40)
    torch.testing.assert_close(
        model.step(ids[:, :prefill], cache), whole[:, prefill - 1], rtol=0, atol=1e-5
    )
    for position in range(prefill, 40):
        logits = model.step(ids[:, position : position + 1], cache)
        torch.testing.assert_close(logits, whole[:, position], rtol=0, atol=1e-5)


@torch.no_grad()
def test_prefill_in_pieces_equals_prefill_at_once() -> None:
    model, ids = transformer(), tokens()
    once, pieces = model.new_cache(3), model.new_cache(3)
    expected = model.step(ids, once)
    for part in ids.split([5, 1, 20, 14], 1):
        logits = model.step(part, pieces)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert pieces.length == once.length == 40


@torch.no_grad()
def test_the_future_changes_nothing_and_the_past_does() -> None:
    model, ids = transformer(), tokens()
    other = ids.clone()
    other[:, 20] = (other[:, 20] + 1) % VOCABULARY
    before, after = model(ids), model(other)
    torch.testing.assert_close(before[:, :20], after[:, :20], rtol=0, atol=1e-5)
    assert ((before - after)[:, 20:].abs().amax(-1) > 1e-4).all()


def test_one_hot_rows_are_ids_and_carry_a_gradient() -> None:
    model, ids = transformer(), tokens()
    rows = F.one_hot(ids, VOCABULARY).float().requires_grad_()
    logits = model(rows)
    torch.testing.assert_close(logits, model(ids), rtol=0, atol=1e-5)
    logits[:, 25].sum().backward()
    assert (rows.grad[:, :26].abs().sum((0, 2)) > 0).all()
    assert not rows.grad[:, 26:].any()


@torch.no_grad()
def test_rows_of_music_tokens_alone_fit() -> None:
    model = transformer()
    ids = tokens() % (VOCABULARY - 3)
    rows = F.one_hot(ids, VOCABULARY - 3).float()
    torch.testing.assert_close(model(rows), model(ids), rtol=0, atol=1e-5)


def test_rotary_products_depend_on_distance_alone() -> None:
    generator = torch.manual_seed(0)
    query, key = torch.randn(2, 1, 16, generator=generator, dtype=torch.float64)
    cosine, sine = rotary_tables(50, 16)
    turned = [rotate(x.expand(50, 16), cosine, sine) for x in (query, key)]
    products = turned[0] @ turned[1].T  # (50, 50)
    for distance in (0, 1, 17):
        line = products.diagonal(distance)
        torch.testing.assert_close(line, line[:1].expand_as(line), rtol=0, atol=1e-5)
    assert products[0].std() > 0.1
    torch.testing.assert_close(turned[0].norm(dim=1), query.norm().expand(50), rtol=0, atol=1e-5)


def test_first_loss_is_that_of_an_even_guess() -> None:
    torch.manual_seed(0)
    model = Transformer(220, TransformerSettings(layers=2)).eval()
    ids = torch.randint(220, (4, 33))
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(220), abs=0.15)


def test_residual_projections_start_smaller() -> None:
    model = Transformer(220, TransformerSettings(layers=8, width=128))
    block = model.blocks[0]
    assert block.attention.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert block.attention.mix.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_dropout_acts_in_training_only() -> None:
    model, ids = transformer(), tokens()
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_default_size() -> None:
    weights = sum(weight.numel() for weight in Transformer(220).parameters())
    assert 2.8e6 < weights < 3.4e6


def test_logits_and_cache_under_autocast() -> None:
    model, ids = transformer(), tokens()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        whole, cache = model(ids), model.new_cache(3)
        last = model.step(ids, cache)
    assert whole.dtype == last.dtype == torch.float32
    assert cache.keys[0].dtype == torch.bfloat16
    torch.testing.assert_close(last, whole[:, -1], rtol=0.05, atol=0.1)


def test_too_long_is_refused() -> None:
    model = transformer()
    with pytest.raises(ValueError, match="max_length"):
        model(tokens(1, 65))
    cache = model.new_cache(1, 8)
    model.step(tokens(1, 8), cache)
    with pytest.raises(ValueError, match="full"):
        model.step(tokens(1, 1), cache)


@pytest.mark.parametrize("wrong", [{"width": 50}, {"layers": 0}, {"dropout": 1.0}, {"depth": 3}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TransformerSettings(**wrong)
