"""Straight-through Gumbel-softmax against its closed form."""

import pytest
import torch
from torch import Tensor

from gan.adversarial.relaxation import agreement, straight_through
from generator.sampling import gumbel

B, S, V = 3, 5, 7


def drawn(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with a tenth of the tokens forbidden, noise, and the tokens they draw."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(B, S, V, generator=generator, dtype=dtype)
    logits[:, :, 2] = -torch.inf
    noise = gumbel((B, S, V), generator).to(dtype)
    return logits, noise, (logits + noise).argmax(-1)


@pytest.mark.parametrize("relaxation", [0.1, 1.0, 5.0])
def test_forward_is_exactly_one_hot(relaxation: float) -> None:
    logits, noise, ids = drawn(torch.float32)
    rows = straight_through(logits.requires_grad_(), noise, ids, relaxation)
    assert rows.dtype == torch.float32
    assert torch.equal(rows, torch.nn.functional.one_hot(ids, V).float())


def test_tokens_do_not_depend_on_the_relaxation() -> None:
    logits, noise, ids = drawn()
    rows = [straight_through(logits, noise, ids, tau) for tau in (0.2, 3.0)]
    assert torch.equal(*rows)


@pytest.mark.parametrize("relaxation", [0.3, 1.0, 2.5])
def test_backward_is_the_jacobian_of_the_relaxed_draw(relaxation: float) -> None:
    logits, noise, ids = drawn()
    logits.requires_grad_()
    upstream = torch.randn(B, S, V, generator=torch.Generator().manual_seed(2)).double()
    rows = straight_through(logits, noise, ids, relaxation)
    (gradient,) = torch.autograd.grad((rows * upstream).sum(), logits)
    p = ((logits + noise) / relaxation).softmax(-1).detach()
    jacobian = (torch.diag_embed(p) - p[..., :, None] * p[..., None, :]) / relaxation
    expected = (jacobian @ upstream[..., None]).squeeze(-1)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    assert not gradient[..., 2].any(), "what the grammar forbids gets no gradient"


def test_backward_agrees_with_finite_differences() -> None:
    logits, noise, ids = drawn()
    allowed = logits[..., torch.arange(V) != 2]
    noise = noise[..., torch.arange(V) != 2]
    ids = (allowed + noise).argmax(-1)
    weights = torch.linspace(-1, 1, V - 1, dtype=torch.float64)

    def relaxed(x: Tensor) -> Tensor:
        return (((x + noise) / 0.7).softmax(-1) * weights).sum()

    x = allowed.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((straight_through(x, noise, ids, 0.7) * weights).sum(), x)
    for place in [(0, 0, 0), (1, 3, 4), (2, 4, 5)]:
        step = torch.zeros_like(allowed)
        step[place] = 1e-6
        slope = (relaxed(allowed + step) - relaxed(allowed - step)) / 2e-6
        assert gradient[place] == pytest.approx(float(slope), abs=1e-8)


def test_one_allowed_token_has_no_gradient() -> None:
    logits = torch.full((1, 1, V), -torch.inf)
    logits[..., 0] = 1.5
    logits.requires_grad_()
    rows = straight_through(logits, torch.zeros(1, 1, V), torch.zeros(1, 1, dtype=torch.long), 1.0)
    (gradient,) = torch.autograd.grad(rows[..., 0].sum(), logits)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_agreement_counts_real_positions_alone() -> None:
    logits, noise, ids = drawn()
    real = torch.ones(B, S, dtype=torch.bool)
    assert agreement(logits, noise, ids, real) == 1
    wrong = ids.clone()
    wrong[0, 0] = (wrong[0, 0] + 1) % V
    assert agreement(logits, noise, wrong, real) == pytest.approx(1 - 1 / (B * S))
    real[0, 0] = False
    assert agreement(logits, noise, wrong, real) == 1
