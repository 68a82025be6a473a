"""Rollouts by whole draws are those step by step; on a GPU, captured, they still are."""

import pytest
import torch

from data_tools.representation import Representation
from generator.choice import Choice
from generator.grammar import Grammar
from generator.graphs import drawable
from generator.rollouts import Rollouts, tensor_float
from generator.sampling import rollout, sample, seeded
from generator.transformer import KeyValueCache, Transformer


def noise(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


@pytest.mark.parametrize("prompt", [1, 7])
@pytest.mark.parametrize("temperature", [0.8, 1.2])
def test_whole_draws_are_steps(
    model: Transformer, grammar: Grammar, prompt: int, temperature: float
) -> None:
    prefix = torch.ones(3, prompt, dtype=torch.int64)
    prefix[:, 1:] = torch.randint(3, 200, (3, prompt - 1), generator=noise(9))
    rollouts = Rollouts(model, grammar, temperature)
    for seed in range(2):  # a second time on the same cache
        drawn = rollouts.drawn(prefix, 40, noise(seed))
        stepped = rollout(
            model, grammar, prefix, 40, generator=noise(seed), temperature=temperature
        )
        assert torch.equal(drawn.ids, stepped.ids)
        assert torch.equal(drawn.masks, stepped.masks)
        assert torch.equal(drawn.noise, stepped.noise)


def test_new_weights_are_heard(model: Transformer, grammar: Grammar) -> None:
    prefix = torch.ones(2, 1, dtype=torch.int64)
    rollouts = Rollouts(model, grammar)
    before = rollouts.drawn(prefix, 40, noise(1)).ids
    with torch.no_grad():
        model.embedding.weight.add_(torch.randn(model.embedding.weight.shape, generator=noise(3)))
    after = rollouts.drawn(prefix, 40, noise(1)).ids
    assert not torch.equal(before, after)
    assert torch.equal(after, rollout(model, grammar, prefix, 40, generator=noise(1)).ids)


def test_on_a_cpu_they_are_drawn_in_single_precision(
    model: Transformer, grammar: Grammar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the autocast: small steps are slower with its conversions."""
    kinds = []
    make = model.new_cache

    def watched(*shape: int) -> KeyValueCache:
        cache = make(*shape)
        kinds.append((cache.both[0].dtype, torch.is_autocast_enabled("cpu")))
        return cache

    monkeypatch.setattr(model, "new_cache", watched)
    prefix = torch.ones(2, 1, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        Rollouts(model, grammar)(prefix, 8, noise(0))
    assert kinds[-1] == (torch.float32, False)


def test_products_are_rounded_within_and_not_after() -> None:
    before = torch.get_float32_matmul_precision()
    with tensor_float():
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(RuntimeError), tensor_float():
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("steps", [30, 150], ids=["within", "past the context"])
def test_a_stream_of_whole_draws_is_a_stream(
    model: Transformer, grammar: Grammar, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    prefix = torch.ones(3, 1, dtype=torch.int64)
    choice = Choice(temperature=0.95, top_p=0.9)

    def drawn() -> torch.Tensor:
        return sample(model, grammar, prefix, steps, generators=seeded(range(3)), choice=choice).ids

    expected = drawn()
    monkeypatch.setattr("generator.sampling.static", lambda model, cache: True)
    monkeypatch.setattr("generator.sampling.graphed", lambda model, cache: None)
    assert torch.equal(drawn(), expected)


def test_what_looks_back_is_not_drawn_whole(grammar: Grammar) -> None:
    assert drawable(grammar, Choice(temperature=0.9, top_k=5, min_p=0.1))
    for choice in (Choice(repetition=1.2), Choice(no_repeat=4), Choice(opening=8)):
        assert not drawable(grammar, choice)


@pytest.mark.gpu
def test_captured_rollouts_are_steps(model: Transformer, durations: Representation) -> None:
    model = model.cuda()
    grammar = Grammar(durations, "cuda")
    rollouts = Rollouts(model, grammar, 0.9)
    assert rollouts.captured
    for prompt in (1, 7):
        prefix = torch.ones(3, prompt, dtype=torch.int64, device="cuda")
        for seed in range(3):
            drawn = rollouts(prefix, 60, noise(seed, "cuda"))
            stepped = rollout(
                model, grammar, prefix, 60, generator=noise(seed, "cuda"), temperature=0.9
            )
            assert (drawn.ids == stepped.ids).float().mean() > 0.97  # but for rounding ties
            assert torch.equal(drawn.noise, stepped.noise)
