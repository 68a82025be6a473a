"""A look inside a generator while it trains: where gradients are large, what attention looks at.

On a few validation windows, apart from the training step, with nothing drawn at random and no
stored gradient touched: a run with it is the run without it, bit for bit.

Shapes: N windows, T positions, B batch, H heads, C width.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from data_tools.representation import PAD
from gan.adversarial.losses import cross_entropy
from gan.engine import Engine
from generator.model import GeneratorModel
from generator.positions import Places
from generator.transformer import Attention, Transformer

WINDOWS, POSITIONS = 4, 512  # looked at


def gradient_norms(
    model: GeneratorModel, inputs: Tensor, targets: Tensor, compute: Engine
) -> dict[str, np.ndarray]:
    """Norms (N,) of each window's cross-entropy gradient, by group of layers.

    Args:
        model: a generator; its stored gradients stay what they are.
        inputs, targets: (N, T) ids; a few windows' first positions are read.
        compute: device and precision.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    found: dict[str, list[float]] = defaultdict(list)
    with _at_rest(model):
        for x, y in _windows(inputs, targets, compute):
            with compute.autocast():
                logits = model(x)
            loss = cross_entropy(logits, y)
            gradients = torch.autograd.grad(loss, [weight for _, weight in named])
            squares: dict[str, float] = defaultdict(float)
            for (name, _), gradient in zip(named, gradients, strict=True):
                squares[group_of(name)] += float(gradient.float().square().sum())
            for group, square in squares.items():
                found[group].append(square**0.5)
    return {group: np.array(norms) for group, norms in found.items()}


def group_of(name: str) -> str:
    """The group of layers a weight belongs to: "embedding", "block_03", "lstm_0", "dense_1"."""
    if layer := re.match(r"blocks\.(\d+)\.", name):
        return f"block_{int(layer[1]):02d}"
    if layer := re.match(r"lstm\..*_l(\d+)", name):
        return f"lstm_{layer[1]}"
    if layer := re.match(r"(?:dense|norms)\.(\d+)\.", name):
        return f"dense_{layer[1]}"
    return name.split(".")[0]


@torch.no_grad()
def attention_entropy(
    model: GeneratorModel, inputs: Tensor, compute: Engine
) -> dict[str, np.ndarray]:
    """How widely each layer looks, over heads and positions; nothing for an LSTM.

    The entropy of the weights of attention over its largest value there, which is the logarithm of
    how many positions can be seen: 0 where all weight lies on one, 1 where it is spread evenly. The
    fused kernels keep no weights, so they are computed anew.

    Args:
        model: a generator.
        inputs: (N, T) ids; a few windows' first positions are read.
        compute: device and precision.
    """
    if not isinstance(model, Transformer):
        return {}
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    hooks = []
    for number, block in enumerate(model.blocks):
        attention = block.attention
        assert isinstance(attention, Attention)
        look = partial(_look, found[f"block_{number:02d}"])
        hooks.append(attention.register_forward_pre_hook(look))
    try:
        with _at_rest(model):
            for x, _ in _windows(inputs, inputs, compute):
                with compute.autocast():
                    model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: np.concatenate(parts) for layer, parts in found.items()}


def _look(into: list[np.ndarray], module: nn.Module, given: tuple[object, ...]) -> None:
    """Keeps the entropies (H * (T - 1),) of what attention is about to be given."""
    assert isinstance(module, Attention)
    x, places = given[:2]
    assert isinstance(x, Tensor)
    assert isinstance(places, Places)
    query, key, _ = module.parts(x, places)
    with torch.autocast(x.device.type, enabled=False):
        scores = query.float() @ key.float().mT / query.shape[-1] ** 0.5  # (1, H, T, T)
    if places.bias is not None:
        scores = scores + places.bias
    length = x.shape[1]
    future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    entropy = -torch.xlogy(weights, weights).sum(-1)  # (1, H, T)
    most = torch.arange(1, length + 1, device=x.device).log()
    # The first position sees itself alone, whatever the weights.
    into.append((entropy[..., 1:] / most[1:]).flatten().cpu().numpy())


def _windows(inputs: Tensor, targets: Tensor, compute: Engine) -> Iterator[tuple[Tensor, Tensor]]:
    """A few windows, evenly chosen, one by one (1, t) without the padding at their ends."""
    for number in np.linspace(0, len(inputs) - 1, min(WINDOWS, len(inputs))).astype(int):
        length = min(POSITIONS, int((inputs[number] != PAD).sum()))
        some = slice(number, number + 1), slice(0, length)
        yield inputs[some].to(compute.device), targets[some].to(compute.device)


@contextmanager
def _at_rest(model: nn.Module) -> Iterator[None]:
    """Without dropout; cuDNN's LSTM has no gradient then, and is done without."""
    training = model.training
    model.eval()
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        model.train(training)
