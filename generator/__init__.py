"""Models that write tokens, sampling from them, and turning the result back into MIDI.

    from generator import Composer
    Composer.load().compose(count=4, seed=1)[0].save("piece.mid")

The names below are fetched on first use: the command line imports this package for its settings,
and must answer `--help` without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generator.compose import Composer, Piece
    from generator.grammar import Grammar
    from generator.sampling import rollout, sample
    from generator.transformer import Transformer

__all__ = ["Composer", "Grammar", "Piece", "Transformer", "rollout", "sample"]

_HOMES = {
    "Composer": "compose",
    "Grammar": "grammar",
    "Piece": "compose",
    "Transformer": "transformer",
    "rollout": "sampling",
    "sample": "sampling",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'generator' has no attribute {name!r}")
    return getattr(import_module(f"generator.{_HOMES[name]}"), name)
