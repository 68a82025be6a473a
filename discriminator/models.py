"""From settings to a discriminator, and which tokens it is kept from telling apart."""

from collections.abc import Iterable, Sequence

import numpy as np

from discriminator.body import Discriminator
from discriminator.cnn import DilatedCNN
from discriminator.ensemble import Ensemble
from discriminator.notes import TokenTable
from discriminator.perceptron import Perceptron
from discriminator.settings import EnsembleSettings, OneModel
from discriminator.transformer import TransformerEncoder

Model = Discriminator | Ensemble


def build_one(
    settings: OneModel,
    table: TokenTable,
    groups: Sequence[int] | None = None,
) -> Discriminator:
    """A single discriminator with fresh weights; see `build`."""
    if settings.kind == "statistics":
        if groups is not None:
            raise ValueError("tokens can only be hidden in the view 'tokens'")
        return Perceptron(settings, table)
    if settings.kind == "cnn":
        return DilatedCNN(settings, table, groups)
    return TransformerEncoder(settings, table, groups)


def build(
    settings: OneModel | EnsembleSettings,
    table: TokenTable,
    groups: Sequence[int] | None = None,
) -> Model:
    """A discriminator with fresh weights.

    Args:
        settings: which model, and its size.
        table: `TokenTable.of(representation)`; its length V leaves condition tokens out.
        groups: from `tied_tokens`; None lets the model tell all tokens apart. Of an ensemble, for
            members with the view "tokens".

    Raises:
        ValueError: the view needs other tokens.
    """
    if settings.kind == "ensemble":
        members = [
            build_one(member, table, groups if member.view == "tokens" else None)
            for member in settings.members
        ]
        return Ensemble(members, gate=build_one(settings.gate, table) if settings.gate else None)
    return build_one(settings, table, groups)


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
