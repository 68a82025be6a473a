"""The losses and their balance at the logits, against formulas and hand-made cases."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_tools.representation import PAD
from gan.adversarial.balance import balance, norm_at_logits
from gan.adversarial.losses import cross_entropy, gaps, hinge, matching, non_saturating
from gan.adversarial.losses import worth as worth_of


def test_cross_entropy_is_the_mean_over_real_targets() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5)
    targets = torch.tensor([[4, 1, PAD], [2, PAD, PAD]])
    p = logits.softmax(-1)
    expected = -(p[0, 0, 4].log() + p[0, 1, 1].log() + p[1, 0, 2].log()) / 3
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    changed = logits.clone()
    changed[0, 2], changed[1, 1:] = 100.0, -100.0
    torch.testing.assert_close(cross_entropy(changed, targets), expected)


def test_cross_entropy_of_half_precision_logits_is_float32() -> None:
    logits = torch.zeros(1, 2, 7, dtype=torch.bfloat16)
    loss = cross_entropy(logits, torch.tensor([[3, 4]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(7))


def test_hinge_stops_at_the_target() -> None:
    logit = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    loss = hinge(logit, 1.0)
    assert loss.item() == pytest.approx((2 + 0.5 + 0) / 3)
    (gradient,) = torch.autograd.grad(loss, logit)
    torch.testing.assert_close(gradient, torch.tensor([-1 / 3, -1 / 3, 0]))


def test_matching_pairs_the_sorted_logits_with_real_quantiles() -> None:
    real = torch.linspace(-2, 6, 401)  # evenly spread: quantile q is -2 + 8 q
    logit = torch.tensor([9.0, -1.0, 2.0, -5.0], requires_grad=True)
    goal = torch.tensor([5.0, 1.0, 3.0, -1.0])  # quantiles 7/8, 3/8, 5/8, 1/8
    torch.testing.assert_close(gaps(logit.detach(), real), logit.detach() - goal)
    loss = matching(logit, real)
    gap, spread = logit.detach() - goal, real.std()
    torch.testing.assert_close(loss, (gap / spread).square().mean() / 2)
    (gradient,) = torch.autograd.grad(loss, logit)
    torch.testing.assert_close(gradient, gap / spread.square() / 4, rtol=1e-5, atol=1e-6)
    assert gradient[0] > 0 > gradient[3], "too jazzy is pushed down, too little up"


def test_equal_logits_are_drawn_to_the_mean_of_their_quantiles() -> None:
    """What is alike and lies at real jazz's median is neither too low nor too high."""
    real = torch.linspace(-2, 4, 401)
    alike = torch.full((24,), 1.0)
    torch.testing.assert_close(gaps(alike, real), torch.zeros(24), atol=1e-5, rtol=0)
    two = torch.tensor([0.0, 3.0, 3.0, -1.0])
    goal = torch.quantile(real, torch.tensor([0.375, 0.75, 0.75, 0.125]))
    torch.testing.assert_close(gaps(two, real), two - goal)
    torch.testing.assert_close(gaps(two[1:2], real, two), (two - goal)[1:2])


def test_matching_rests_where_hinge_pushes_on() -> None:
    """Half of real jazz lies below its own median, so a hinge there never leaves it alone."""
    real = torch.sort(torch.randn(1000, generator=torch.Generator().manual_seed(0))).values
    alike = torch.quantile(real, (torch.arange(50) + 0.5) / 50).requires_grad_()
    assert matching(alike, real).item() < 1e-6
    assert hinge(alike, float(real.median())).item() > 0.3


@given(st.floats(0.1, 50), st.floats(-20, 20))
def test_matching_does_not_depend_on_how_steep_a_discriminator_is(slope: float, by: float) -> None:
    generator = torch.Generator().manual_seed(0)
    real, logit = (
        torch.randn(300, generator=generator).sort().values,
        torch.randn(24, generator=generator),
    )
    plain = matching(logit, real)
    torch.testing.assert_close(
        matching(slope * logit + by, slope * real + by), plain, rtol=1e-3, atol=1e-4
    )


def test_non_saturating_is_minus_log_p() -> None:
    logit = torch.tensor([-30.0, -1.0, 0.0, 4.0, 80.0], requires_grad=True)
    loss = non_saturating(logit)
    torch.testing.assert_close(loss, -torch.sigmoid(logit).log().mean())
    (gradient,) = torch.autograd.grad(loss, logit)
    torch.testing.assert_close(gradient, (torch.sigmoid(logit) - 1) / 5)
    assert torch.isfinite(non_saturating(torch.tensor([-1e4])))


numbers = st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3)
tensors = st.lists(numbers, min_size=1, max_size=6).map(torch.tensor)


@given(tensors, tensors, st.floats(0.01, 10))
def test_a_weight_on_the_loss_is_a_plain_factor(
    ce: torch.Tensor, adversarial: torch.Tensor, weight: float
) -> None:
    result = balance(float(ce.norm()), adversarial, weight, "loss")
    torch.testing.assert_close(result.adversarial, weight * adversarial)
    assert result.weight == weight
    expected = float(result.adversarial.norm() / ce.norm())
    assert result.share == pytest.approx(expected, rel=1e-4)


@given(tensors, tensors, st.floats(0.01, 10), st.floats(1e-3, 1e3))
def test_a_share_of_the_gradient_is_kept_however_steep_the_discriminator(
    ce: torch.Tensor, adversarial: torch.Tensor, share: float, steepness: float
) -> None:
    result = balance(float(ce.norm()), steepness * adversarial, share, "gradient")
    assert float(result.adversarial.norm() / ce.norm()) == pytest.approx(share, rel=1e-4)
    assert result.share == pytest.approx(share, rel=1e-4)
    again = balance(float(ce.norm()), adversarial, share, "gradient")
    torch.testing.assert_close(result.adversarial, again.adversarial, rtol=1e-4, atol=1e-6)


def test_gradients_of_two_shapes_are_balanced() -> None:
    result = balance(norm_at_logits([torch.ones(2, 8)]), torch.ones(4), 0.5, "gradient")
    torch.testing.assert_close(result.adversarial, torch.ones(4))


@pytest.mark.parametrize("scale", ["loss", "gradient"])
def test_no_gradient_is_made_up_where_there_is_none(scale: str) -> None:
    silent = balance(3**0.5, torch.zeros(3), 0.5, scale)
    assert silent.share == 0
    assert not silent.adversarial.any()
    learnt = balance(0.0, torch.ones(3), 0.5, scale)
    assert learnt.share == 0
    assert torch.isfinite(learnt.adversarial).all()


def test_what_a_piece_is_worth_is_what_matching_loses_by_more_of_it() -> None:
    """Against the difference that one piece in place of another makes, in float64."""
    generator = torch.manual_seed(0)
    real = torch.randn(500, generator=generator, dtype=torch.float64).sort().values * 2 + 3
    many = torch.randn(4000, generator=generator, dtype=torch.float64) * 3 - 1
    worth = worth_of(many, real)
    before = matching(many, real)
    for one, other in ((0, 1), (17, 900), (250, 3999), (1234, 5)):
        changed = many.clone()
        changed[one] = many[other]
        gained = float(before - matching(changed, real)) * len(many)
        assert gained == pytest.approx(float(worth[other] - worth[one]), rel=0.05, abs=0.02)


def test_the_worst_are_worth_least() -> None:
    real = torch.linspace(-1, 5, 100)
    logits = torch.tensor([-9.0, -4.0, 0.0, 1.0, 4.0])  # all below, the first far below
    assert (worth_of(logits, real).diff() > 0).all()
    gone = worth_of(logits + 20, real)
    assert (gone.diff() < 0).all()
    shuffled = torch.tensor([3, 0, 4, 2, 1])
    mine = worth_of(logits[shuffled][:2], real, everyone=logits)
    torch.testing.assert_close(mine, worth_of(logits, real)[shuffled][:2])
