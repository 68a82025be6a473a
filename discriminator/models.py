"""From settings to a discriminator, and which tokens it is kept from telling apart."""

from collections.abc import Iterable, Sequence

import numpy as np

from discriminator.cnn import DilatedCNN
from discriminator.settings import CNNSettings, TransformerSettings
from discriminator.transformer import TransformerEncoder

Discriminator = DilatedCNN | TransformerEncoder


def build(
    settings: CNNSettings | TransformerSettings,
    vocab_size: int,
    groups: Sequence[int] | None = None,
) -> Discriminator:
    """A discriminator with fresh weights.

    Args:
        settings: which model, and its size.
        vocab_size: V, the representation's `music_size`: condition tokens are left out.
        groups: from `tied_tokens`; None lets the model tell all tokens apart.
    """
    if settings.kind == "cnn":
        return DilatedCNN(settings, vocab_size, groups)
    return TransformerEncoder(settings, vocab_size, groups)


def tied_tokens(token_types: np.ndarray, hidden: Iterable[int]) -> list[int]:
    """Groups that make all tokens of a hidden type look the same.

    A classifier that sees exact timing and velocity learns how a file was made, a transcriber's
    grid or a notation program, instead of jazz. With the types of velocity, duration and time
    shift hidden, a model still sees that time moves, but not how far.

    Args:
        token_types: the type of each token (V,).
        hidden: the types whose tokens are to look alike.

    Returns:
        For each token the token it is seen as, the first of its type where hidden (V,).
    """
    groups = np.arange(len(token_types))
    for kind in hidden:
        members = np.flatnonzero(np.asarray(token_types) == int(kind))
        groups[members] = members[:1]
    return groups.tolist()
