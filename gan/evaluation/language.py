"""How well a generator predicts real music: bits a note, bits a token, accuracy.

Bits a note compares across representations: all the bits spent, over the notes they describe.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_tools.representation import PAD, Representation
from gan.engine import Engine
from generator.transformer import Transformer


@torch.no_grad()
def token_bits(
    model: Transformer, inputs: Tensor, targets: Tensor, compute: Engine, batch: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Bits of every target, 0 where there is none, and whether it was the likeliest.

    Args:
        model: put into eval mode for the duration.
        inputs, targets: (N, T) ids; targets are PAD where nothing is to be predicted.
        compute: device and precision.
        batch: windows a forward pass.

    Returns:
        float64 (N, T) and bool (N, T).
    """
    training = model.training
    model.eval()
    bits, hits = [], []
    for start in range(0, len(inputs), batch):
        wanted = targets[start : start + batch].to(compute.device)
        with compute.autocast():
            logits = model(inputs[start : start + batch].to(compute.device)).float()
        nats = F.cross_entropy(logits.mT, wanted, ignore_index=PAD, reduction="none")
        bits.append((nats / math.log(2)).double().cpu().numpy())
        hits.append(((logits.argmax(-1) == wanted) & (wanted != PAD)).cpu().numpy())
    model.train(training)
    return np.concatenate(bits), np.concatenate(hits)


def summary(
    bits: np.ndarray, hits: np.ndarray, targets: np.ndarray, representation: Representation
) -> dict[str, float]:
    """Bits a note, bits a token and token accuracy over targets (N, T)."""
    real = targets != PAD
    notes = representation.strikes[targets] * real  # a merged token may begin several
    total = float(bits[real].sum())
    return {
        "bits_per_note": total / max(1, int(notes.sum())),
        "bits_per_token": total / max(1, int(real.sum())),
        "token_accuracy": float(hits[real].mean()),
    }


def by_label(
    bits: np.ndarray,
    hits: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    representation: Representation,
) -> dict[str, float]:
    """`summary` of all windows, and bits a note of each label's own."""
    result = summary(bits, hits, targets, representation)
    names = np.asarray(labels)
    for label in sorted(set(labels)):
        mine = names == label
        part = summary(bits[mine], hits[mine], targets[mine], representation)
        result[f"bits_per_note_{label}"] = part["bits_per_note"]
    return result
