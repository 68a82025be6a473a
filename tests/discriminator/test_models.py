"""What a discriminator must hold: ids equal one-hot rows, padding is nothing, gradients flow."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel

from discriminator.models import Discriminator, build, tied_tokens
from discriminator.settings import ClassifierSettings, CNNSettings, TransformerSettings

V = 23
SIZES = {
    "cnn": CNNSettings(width=16, blocks=3),
    "cnn, stride 1": CNNSettings(width=16, blocks=2, kernel=5, stride=1),
    "cnn, stride 3": CNNSettings(width=16, blocks=2, stride=3),
    "transformer": TransformerSettings(width=16, layers=2, heads=2),
    "transformer, stride 1": TransformerSettings(width=16, layers=2, heads=2, stride=1),
}


def fresh(name: str) -> Discriminator:
    torch.manual_seed(0)
    return build(SIZES[name], V).eval()


def some_ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, V, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=SIZES)
def model(request: pytest.FixtureRequest) -> Discriminator:
    return fresh(request.param)


def test_ids_and_one_hot_rows_score_the_same(model):
    ids = some_ids(4, 37)
    ids[1, 20:] = 0
    rows = F.one_hot(ids, V).float()
    assert torch.allclose(model(ids), model(rows), atol=1e-5)
    assert torch.allclose(model.features(ids), model.features(rows), atol=1e-5)
    assert model(ids).shape == (4,)
    assert model(ids).std() > 1e-4, "the score does not depend on the tokens"


def test_a_relaxed_row_lies_between_its_tokens(model):
    """Half of one token and half of another must not be read as either."""
    ids = some_ids(1, 24)
    other = ids.clone()
    other[0, 10] = ids[0, 10] % (V - 1) + 1
    a, b = F.one_hot(ids, V).float(), F.one_hot(other, V).float()
    scores = torch.stack([model(a), model((a + b) / 2), model(b)])
    assert (scores.diff(dim=0).abs() > 1e-7).all()


def test_gradients_reach_every_real_row_and_no_padded_one(model):
    ids = some_ids(3, 41)
    ids[0, 30:] = 0
    rows = F.one_hot(ids, V).float().requires_grad_()
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 25:] = False
    model(rows, mask).sum().backward()
    norms = rows.grad.norm(dim=-1)  # (B, T)
    real = (ids != 0) & mask
    assert torch.isfinite(rows.grad).all()
    assert (norms[real] > 0).all()
    assert (norms[~real] == 0).all()


def test_a_straight_through_relaxation_carries_a_gradient_to_logits(model):
    logits = torch.randn(2, 30, V, requires_grad=True)
    masked = logits.index_fill(-1, torch.tensor([0]), float("-inf"))  # nobody samples padding
    model(F.gumbel_softmax(masked, tau=1.0, hard=True)).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad.norm(dim=-1) > 0).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(list(SIZES)),
    length=st.integers(1, 60),
    padding=st.integers(1, 40),
    seed=st.integers(0, 1000),
    soft=st.booleans(),
)
def test_padding_at_the_right_changes_nothing(name, length, padding, seed, soft):
    model = fresh(name)
    ids = some_ids(2, length, seed)
    padded = F.pad(ids, (0, padding))
    if soft:
        padded = F.one_hot(padded, V).float()
        padded[1, length:] = 0.0  # zero rows are padding as well
    with torch.no_grad():
        assert torch.allclose(model(ids), model(padded), atol=1e-5)


def test_masked_tokens_are_as_good_as_padding(model):
    ids = some_ids(2, 50)
    mask = torch.arange(50)[None] < torch.tensor([[33], [50]])
    changed = torch.where(mask, ids, ids % (V - 1) + 1)
    assert torch.allclose(model(ids, mask), model(changed, mask), atol=1e-6)
    assert torch.allclose(model(ids, mask)[:1], model(ids[:1, :33]), atol=1e-5)


def test_pieces_of_a_batch_do_not_touch(model):
    ids = some_ids(5, 32)
    order = torch.tensor([3, 0, 4, 2, 1])
    together = model(ids)
    assert torch.allclose(together[order], model(ids[order]), atol=1e-6)
    assert torch.allclose(together, torch.cat([model(row[None]) for row in ids]), atol=1e-5)


def test_token_order_matters(model):
    ids = some_ids(1, 32)
    assert (model(ids) - model(ids.flip(1))).abs() > 1e-6


def test_an_empty_piece_gets_a_finite_score_and_finite_gradients(model):
    ids = some_ids(2, 16)
    ids[1] = 0
    rows = F.one_hot(ids, V).float().requires_grad_()
    logits = model(rows)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(rows.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_bfloat16_autocast(model):
    ids = some_ids(3, 32)
    exact = model(ids)
    rows = F.one_hot(ids, V).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hard, soft = model(ids), model(rows)
    soft.sum().backward()
    assert hard.dtype == soft.dtype == torch.float32
    assert torch.allclose(hard, exact, atol=0.05)
    assert torch.allclose(soft, exact, atol=0.05)
    assert torch.isfinite(rows.grad).all()
    assert (rows.grad.norm(dim=-1) > 0).all()


@pytest.mark.parametrize("soft", [False, True])
def test_one_graph_without_breaks(model, soft):
    ids = some_ids(2, 24)
    ids[0, 20:] = 0
    x = F.one_hot(ids, V).float() if soft else ids
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), model(x), atol=1e-5)


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_a_gradient_penalty_can_be_differentiated(name):
    model = fresh(name)
    rows = F.one_hot(some_ids(2, 24), V).float().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        (gradient,) = torch.autograd.grad(model(rows).sum(), rows, create_graph=True)
    gradient.square().sum().backward()
    assert model.stem.conv.weight.grad.norm() > 0


def test_tied_tokens_look_the_same_and_others_do_not():
    types = np.array([0, 1, 2] + [3] * 10 + [6] * 10)
    groups = tied_tokens(types, hidden=[6])
    assert groups == [*range(13), *[13] * 10]
    torch.manual_seed(0)
    model = build(SIZES["cnn"], V, groups).eval()
    ids = torch.tensor([[3, 13, 5, 14, 6, 15]])
    velocities = torch.tensor([[3, 20, 5, 22, 6, 19]])
    pitches = torch.tensor([[4, 13, 5, 14, 6, 15]])
    for change in (lambda x: x, lambda x: F.one_hot(x, V).float()):
        assert torch.equal(model(change(ids)), model(change(velocities)))
        assert not torch.allclose(model(change(ids)), model(change(pitches)))


def test_what_a_model_sees_travels_with_its_weights():
    groups = tied_tokens(np.array([0, 1, 2] + [3] * 20), hidden=[3])
    tied, plain = build(SIZES["cnn"], V, groups).eval(), build(SIZES["cnn"], V).eval()
    plain.load_state_dict(tied.state_dict())
    ids = some_ids(2, 20)
    assert torch.equal(tied(ids), plain(ids))


def test_groups_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="5 tokens"):
        build(SIZES["cnn"], V, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("size", [CNNSettings(), TransformerSettings()])
def test_the_default_size_suits_a_laptop(size):
    parameters = sum(p.numel() for p in build(size, 236).parameters())
    assert 500_000 < parameters < 1_100_000


@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_one_telling_pair_of_tokens_is_learnt(name):
    """Jazz holds 7 8 somewhere, not-jazz the same tokens the other way round."""
    generator = torch.Generator().manual_seed(0)

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.randint(9, V, (size, 32), generator=generator)
        labels = torch.randint(2, (size,), generator=generator)
        for row, label in zip(ids, labels, strict=True):
            for at in torch.randperm(15, generator=generator)[:3] * 2:
                row[at : at + 2] = torch.tensor([7, 8] if label else [8, 7])
        return ids, labels.float()

    torch.manual_seed(0)
    model = build(SIZES[name].model_copy(update={"stride": 2, "width": 32}), V)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        ids, labels = batch(32)
        loss = F.binary_cross_entropy_with_logits(model(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ids, labels = batch(256)
    with torch.no_grad():
        accuracy = ((model.eval()(ids) > 0) == labels.bool()).float().mean()
    assert accuracy > 0.9


def test_settings_refuse_what_makes_no_model():
    with pytest.raises(ValidationError, match="multiple of twice the heads"):
        TransformerSettings(width=20, heads=4)
    with pytest.raises(ValidationError, match="Extra inputs"):
        CNNSettings(depth=3)
    settings = ClassifierSettings.model_validate({"model": {"kind": "transformer", "layers": 2}})
    assert settings.model == TransformerSettings(layers=2)


def test_every_field_is_described():
    for group in (CNNSettings, TransformerSettings, ClassifierSettings):
        assert all(field.description for field in group.model_fields.values())
