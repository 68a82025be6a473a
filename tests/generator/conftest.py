"""Small untrained models and the representations they write in."""

import pytest
import torch
from torch import Tensor

from data_tools.representation import Representation, RepresentationSettings
from generator.grammar import Grammar
from generator.settings import TransformerSettings
from generator.transformer import KeyValueCache, Transformer

CONDITIONS = ("label:jazz", "label:not_jazz", "artist:Art Tatum")
SMALL = TransformerSettings(layers=2, width=32, heads=2, max_length=96, dropout=0.1)
PRESETS = ("duration", "performance", "remi", "raw")
KINDS = [(preset, base) for preset in PRESETS for base in ("clock", "beat")]


def token_by_token(model: Transformer, ids: Tensor, cache: KeyValueCache) -> Tensor:
    """The logits after ids (B, T), read one a step."""
    for token in ids.split(1, 1):
        logits = model.step(token, cache)
    return logits


def build(representation: Representation, seed: int = 0) -> Transformer:
    """A small model whose weights are large enough for its choices to be far from even."""
    torch.manual_seed(seed)
    model = Transformer(representation.vocab_size, SMALL).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5)
    return model


@pytest.fixture(scope="session", params=KINDS, ids="-".join)
def representation(request: pytest.FixtureRequest) -> Representation:
    preset, base = request.param
    return Representation(RepresentationSettings(preset=preset, time_base=base), CONDITIONS)


@pytest.fixture(scope="session")
def durations() -> Representation:
    return Representation(RepresentationSettings(), CONDITIONS)


@pytest.fixture
def model(durations: Representation) -> Transformer:
    return build(durations)


@pytest.fixture(scope="session")
def grammar(durations: Representation) -> Grammar:
    return Grammar(durations)
