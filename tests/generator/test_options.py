"""The mathematics of each option, against the papers' formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from generator.initialise import SCALE
from generator.norms import ScaleNorm, fixed_length, norm_of
from generator.positions import BUCKETS, FAR, bucket
from generator.settings import MODELS, SIZES, TransformerSettings, sized
from generator.transformer import Transformer

VOCABULARY = 50


def transformer(**changes: object) -> Transformer:
    values = {"layers": 3, "width": 48, "heads": 3, "max_length": 64, "dropout": 0.0} | changes
    torch.manual_seed(0)
    return Transformer(VOCABULARY, TransformerSettings(**values))


def tokens(batch: int = 3, length: int = 40) -> torch.Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.manual_seed(1))


CHOICES = [
    {"norm": "rms"}, {"norm": "scale"}, {"norm": "none"}, {"positions": "learned"},
    {"positions": "relative"}, {"positions": "none"}, {"qk_norm": True}, {"fix_norm": True},
    {"fix_norm": True, "norm": "scale", "tie_embeddings": False},
    {"start": "tfixup", "norm": "none"}, {"start": "torch", "embedding_start": "torch"},
]  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_option_steps_as_it_reads_and_learns(choice: dict[str, object]) -> None:
    model, ids = transformer(**choice).eval(), tokens()
    whole = model(ids)
    with torch.no_grad():
        cache = model.new_cache(3, 40)
        model.step(ids[:, :5], cache)
        for position in range(5, 40):
            logits = model.step(ids[:, position : position + 1], cache)
            torch.testing.assert_close(logits, whole[:, position], rtol=1e-4, atol=1e-4)
    F.cross_entropy(whole.flatten(0, 1), ids.flatten()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


@pytest.mark.parametrize("choice", [{}, *CHOICES[3:6], {"qk_norm": True}], ids=str)
@torch.no_grad()
def test_a_static_step_is_a_step(choice: dict[str, object]) -> None:
    """Whatever lies in the cache beyond what is filled."""
    model, ids = transformer(**choice).eval(), tokens()
    cache, other = model.new_cache(3, 37), model.new_cache(3, 37)
    assert cache.max_len == 37
    for both in cache.both:
        assert both.shape[3] == 40, "aligned"
        both.normal_()
    model.step(ids[:, :5], cache)
    model.step(ids[:, :5], other)
    for position in range(5, 37):
        found = model.static_step(ids[:, position], cache, torch.tensor([position]))
        cache.length += 1
        expected = model.step(ids[:, position : position + 1], other)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@torch.no_grad()
def test_a_captured_step_is_a_step() -> None:
    from generator.graphs import graphed

    model, ids = transformer().eval().cuda(), tokens().cuda()
    cache, other = model.new_cache(3, 40), model.new_cache(3, 40)
    graph = graphed(model, cache)
    assert graph is not None
    model.step(ids[:, :5], cache)
    model.step(ids[:, :5], other)
    for position in range(5, 40):
        found = graph.step(ids[:, position])
        expected = model.step(ids[:, position : position + 1], other)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_norms_are_the_papers() -> None:
    x = 3 * torch.randn(5, 16, generator=torch.manual_seed(0)) + 1
    layer, rms = norm_of("layer", 16), norm_of("rms", 16)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    scale = norm_of("scale", 16)
    assert isinstance(scale, ScaleNorm)
    assert scale.length.item() == 4.0, "the square root of the width"
    torch.testing.assert_close(scale(x).norm(dim=-1), torch.full((5,), 4.0))
    torch.testing.assert_close(scale(x), 4 * x / x.norm(dim=-1, keepdim=True))
    assert norm_of("none", 16)(x) is x


def test_fixed_embeddings_have_one_length() -> None:
    rows = fixed_length(torch.randn(9, 16) * torch.arange(1, 10)[:, None])
    torch.testing.assert_close(rows.norm(dim=-1), torch.full((9,), SCALE * 4))
    model = transformer(fix_norm=True)
    vectors = model.embed(tokens())
    torch.testing.assert_close(vectors.norm(dim=-1), torch.full((3, 40), SCALE * math.sqrt(48)))


def test_queries_and_keys_are_normalised_within_each_head() -> None:
    model = transformer(qk_norm=True, layers=1)
    attention = model.blocks[0].attention
    seen = []
    assert attention.qk_norm is not None
    attention.qk_norm.register_forward_hook(lambda _module, _in, out: seen.append(out))
    with torch.no_grad():
        attention.mix.weight.mul_(1000)
        model(tokens())
    assert seen[0].shape == (3, 6, 40, 16)  # queries and keys of three heads
    torch.testing.assert_close(
        seen[0].square().mean(-1), torch.ones(3, 6, 40), rtol=1e-3, atol=1e-3
    )


def test_relative_positions_see_distances_alone() -> None:
    model = transformer(positions="relative")
    early, late = model.positions(0, 10).bias, model.positions(10, 20).bias
    assert early is not None
    assert late is not None
    torch.testing.assert_close(early, late[:, :, 10:])
    assert torch.isinf(early[:, 3, 4:]).all()
    assert early[:, 3, :4].isfinite().all()


def test_buckets_of_distance() -> None:
    back = torch.arange(0, 2 * FAR)
    found = bucket(back)
    assert found[: BUCKETS // 2].tolist() == list(range(BUCKETS // 2)), "near ones exactly"
    assert (found.diff() >= 0).all()
    assert found[-1] == found[FAR] == BUCKETS - 1
    assert bucket(torch.tensor([-5])).tolist() == [0]


def test_learned_positions_are_added() -> None:
    model = transformer(positions="learned", layers=1)
    vectors = model.positions(3, 7).vectors
    assert vectors is not None
    assert torch.equal(vectors, model.positions.table.weight[3:7])


def deviation(weight: torch.Tensor) -> float:
    return float(weight.detach().std())


def test_initial_weights() -> None:
    """Deviations by the rules, on matrices large enough to tell."""
    size = {"layers": 4, "width": 256, "heads": 4}
    gpt2, plain = transformer(**size), transformer(**size, start="plain")
    for model, residual in ((gpt2, 0.02 / math.sqrt(8)), (plain, 0.02)):
        block = model.blocks[2]
        assert deviation(block.attention.mix.weight) == pytest.approx(0.02, rel=0.03)
        assert deviation(block.attention.out.weight) == pytest.approx(residual, rel=0.03)
        assert deviation(block.feed_forward.out.weight) == pytest.approx(residual, rel=0.03)
        assert deviation(model.embedding.weight) == pytest.approx(0.02, rel=0.03)
    torch_start = transformer(**size, start="torch", embedding_start="torch")
    uniform = 1 / math.sqrt(256) / math.sqrt(3)  # Kaiming's with a = sqrt(5)
    mixed = torch_start.blocks[0].attention.mix.weight
    assert deviation(mixed) == pytest.approx(uniform, rel=0.03)
    assert deviation(torch_start.embedding.weight) == pytest.approx(1.0, rel=0.03)


def test_tfixup_scales_as_the_paper_says() -> None:
    model = transformer(layers=4, width=256, heads=4, start="tfixup", norm="none")
    shrink = 0.67 * 4**-0.25
    query, key, value = model.blocks[1].attention.mix.weight.chunk(3)
    xavier = math.sqrt(2 / (256 + 256))
    assert deviation(query) == pytest.approx(xavier, rel=0.03)
    assert deviation(key) == pytest.approx(xavier, rel=0.03)
    assert deviation(value) == pytest.approx(xavier * shrink, rel=0.03)
    out = model.blocks[1].attention.out.weight
    assert deviation(out) == pytest.approx(xavier * shrink, rel=0.03)
    assert deviation(model.embedding.weight) == pytest.approx(shrink / 16, rel=0.03)
    with pytest.raises(ValidationError, match="norm none"):
        TransformerSettings(start="tfixup")


@pytest.mark.parametrize("kind", ["gpt2", "tfixup"])
def test_the_stream_does_not_grow_with_depth(kind: str) -> None:
    """What both starts are for: 24 layers change a token's vector no more than four do."""

    def growth(layers: int) -> float:
        norm = "none" if kind == "tfixup" else "layer"
        model = transformer(layers=layers, width=64, heads=4, start=kind, norm=norm).eval()
        states = []
        model.blocks[-1].register_forward_hook(lambda _module, _in, out: states.append(out))
        with torch.no_grad():
            model(tokens())
        return float(states[0].norm() / model.embed(tokens()).detach().norm())

    assert growth(24) < 1.5 * growth(4)


def test_sizes_of_both_families() -> None:
    from generator.model import build
    from generator.settings import LSTMSettings

    for family in MODELS:
        weights = []
        for size in SIZES[:2]:
            fields = sized(family, size)
            kind = LSTMSettings if family == "lstm" else TransformerSettings
            model = build(240, kind(**fields))
            weights.append(sum(p.numel() for p in model.parameters()) / 1e6)
        assert weights == pytest.approx([3.2, 10.4], rel=0.06)
