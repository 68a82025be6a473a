"""Is it jazz? Discriminators over tokens, and the standalone classifier built on them.

    from discriminator import Classifier
    Classifier.load().score("piece.mid")

The names below are fetched on first use: the command line imports this package for its settings,
and must answer `--help` without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from discriminator.classifier import Classifier, Verdict
    from discriminator.cnn import DilatedCNN
    from discriminator.models import build, tied_tokens
    from discriminator.transformer import TransformerEncoder

__all__ = [
    "Classifier",
    "DilatedCNN",
    "TransformerEncoder",
    "Verdict",
    "build",
    "tied_tokens",
]

_HOMES = {
    "Classifier": "classifier",
    "DilatedCNN": "cnn",
    "TransformerEncoder": "transformer",
    "Verdict": "classifier",
    "build": "models",
    "tied_tokens": "models",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'discriminator' has no attribute {name!r}")
    return getattr(import_module(f"discriminator.{_HOMES[name]}"), name)
