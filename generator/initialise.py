"""How the weights of a generator start.

Every matrix that writes into the residual stream is called `out`.
"""

import math

import torch
from torch import nn

from generator.settings import EmbeddingStart, TransformerSettings

SCALE = 0.02


@torch.no_grad()
def start_transformer(model: nn.Module, settings: TransformerSettings) -> None:
    """Initial weights of a transformer, by `settings.start`.

    gpt2: deviation 0.02, residual outputs scaled down by the square root of twice the layers, so
    that the stream does not grow with depth (Radford et al. 2019). plain: 0.02 everywhere. torch:
    what PyTorch's layers start with. tfixup: Xavier's, embeddings of deviation C ** -0.5, and
    embeddings, values, attention outputs and feed-forward matrices scaled by 0.67 N ** -0.25, with
    which N layers train with neither norm nor warm-up (Huang et al. 2020).
    """
    kind, layers = settings.start, settings.layers
    shrink = 0.67 * layers**-0.25
    for name, weight in model.named_parameters():
        if weight.dim() != 2:
            continue
        if name == "embedding.weight":
            if kind == "tfixup":
                nn.init.normal_(weight, std=shrink * settings.width**-0.5)
            else:
                start_embedding(weight, settings.embedding_start)
        elif kind in ("gpt2", "plain"):
            smaller = kind == "gpt2" and name.endswith("out.weight")
            nn.init.normal_(weight, std=SCALE / math.sqrt(2 * layers) if smaller else SCALE)
        elif kind == "tfixup" and name.endswith("mix.weight"):
            # Queries, keys and values, a third each.
            for part, scale in zip(weight.chunk(3), (1.0, 1.0, shrink), strict=True):
                nn.init.xavier_uniform_(part).mul_(scale)
        elif kind == "tfixup":
            inner = name.endswith(("out.weight", "spread.weight"))
            nn.init.xavier_uniform_(weight).mul_(shrink if inner else 1.0)


@torch.no_grad()
def start_embedding(weight: torch.Tensor, kind: EmbeddingStart) -> None:
    """scaled: deviation 0.02. torch: 1, PyTorch's default."""
    nn.init.normal_(weight, std=SCALE if kind == "scaled" else 1.0)
