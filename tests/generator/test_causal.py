"""Attention in blocks is attention, and its gradients are its gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generator.causal import LONGEST, ROWS, causal_attention


def parts(length: int, dtype: torch.dtype, batch: int = 2, heads: int = 3) -> list[Tensor]:
    generator = torch.manual_seed(length)
    mixed = torch.randn(batch, length, 3 * heads, 16, generator=generator, dtype=torch.float64)
    # As a model has them: views of one tensor, their channels of one position apart.
    split = mixed.to(dtype).transpose(1, 2).chunk(3, 1)
    return [each.detach().requires_grad_() for each in split]


def reference(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Written out, in float64."""
    query, key, value = (each.double() for each in (query, key, value))
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ value


@pytest.mark.parametrize("length", [1, 63, 64, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5])
def test_blocks_are_the_formula_and_its_gradient(length: int) -> None:
    mine = parts(length, torch.float64)
    theirs = [each.detach().clone().requires_grad_() for each in mine]
    found, expected = causal_attention(*mine), reference(*theirs)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weight = torch.randn(expected.shape, generator=torch.manual_seed(0), dtype=torch.float64)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    for own, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-9, atol=1e-9)


def test_half_precision_is_as_near_as_the_fused_kernel() -> None:
    exact = reference(*parts(300, torch.float64))
    low = parts(300, torch.bfloat16)
    mine = (causal_attention(*low) - exact).abs().mean()
    with torch.no_grad():
        fused = (F.scaled_dot_product_attention(*low, is_causal=True) - exact).abs().mean()
    assert mine < 2 * fused


@pytest.mark.parametrize("sharp", [3, 10])
def test_sharp_attention_in_half_precision_is_off_by_its_scores_rounding(sharp: int) -> None:
    exact, low = parts(300, torch.float64), parts(300, torch.bfloat16)
    found = causal_attention(sharp * low[0], *low[1:])
    error = (found - reference(sharp * exact[0], *exact[1:])).abs().mean()
    assert error < 0.01  # of values of one


def test_gradients_are_summed_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def errors() -> list[float]:
        exact, low = parts(LONGEST, torch.float64), parts(LONGEST, torch.bfloat16)
        reference(*exact).sum().backward()
        causal_attention(*low).sum().backward()
        pairs = [(own.grad, other.grad) for own, other in zip(low, exact, strict=True)]
        assert all(own is not None and own.dtype == torch.bfloat16 for own, _ in pairs)
        return [float((own - other).abs().mean()) for own, other in pairs]  # type: ignore[operator]

    fine = errors()
    monkeypatch.setattr("generator.causal.torch.promote_types", lambda one, _: one)
    coarse = errors()
    assert fine[0] == coarse[0]
    assert fine[1] < 0.9 * coarse[1]
    assert fine[2] < 0.9 * coarse[2]


def test_autocast_is_heard_forward_and_backward() -> None:
    single = parts(200, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = causal_attention(*single)
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    low = parts(200, torch.bfloat16)
    causal_attention(*low).float().square().sum().backward()
    for own, other in zip(single, low, strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert own.grad.dtype == torch.float32
        assert torch.equal(own.grad.bfloat16(), other.grad)


def test_lengths_and_times_at_which_the_library_is_the_better_way() -> None:
    def kind(*tensors: Tensor) -> str:
        return type(causal_attention(*tensors).grad_fn).__name__

    assert kind(*parts(100, torch.float32)) == "_BlocksBackward"
    assert kind(*parts(10, torch.float32)) != "_BlocksBackward"
    assert kind(*parts(LONGEST + 1, torch.float32, 1, 1)) != "_BlocksBackward"
    with torch.no_grad():
        assert causal_attention(*parts(100, torch.float32)).grad_fn is None
