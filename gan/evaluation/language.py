"""How well a generator predicts real music: bits a note, an event, a token; perplexity; accuracy.

Bits a note and bits an event compare across representations: all the bits spent, over the notes
they describe, or over the MIDI messages (note-on, note-off, pedal, tempo, program and meter). Bits
and accuracy of each type of token say where a model is weak.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_tools.bytepair import MergedRepresentation
from data_tools.representation import PAD, Representation, TokenType
from gan.engine import Engine
from generator.model import GeneratorModel

# A token of a generator gone wild may cost more; there is no number for 2 to the power of that.
MOST_BITS = 1023.0


@torch.no_grad()
def token_bits(
    model: GeneratorModel, inputs: Tensor, targets: Tensor, compute: Engine, batch: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Bits of every target, 0 where there is none, and whether it was the likeliest.

    Args:
        model: put into eval mode for the duration.
        inputs, targets: (N, T) ids; targets are PAD where nothing is to be predicted.
        compute: device and precision.
        batch: windows a forward pass.

    Returns:
        float64 (N, T) and bool (N, T); N may be 0, as of a rank that has no share.
    """
    training = model.training
    model.eval()
    bits, hits = [np.zeros((0, inputs.shape[1]))], [np.zeros((0, inputs.shape[1]), dtype=bool)]
    for start in range(0, len(inputs), batch):
        wanted = targets[start : start + batch].to(compute.device)
        with compute.autocast():
            logits = model(inputs[start : start + batch].to(compute.device)).float()
        nats = F.cross_entropy(logits.mT, wanted, ignore_index=PAD, reduction="none")
        bits.append((nats / math.log(2)).double().cpu().numpy())
        hits.append(((logits.argmax(-1) == wanted) & (wanted != PAD)).cpu().numpy())
    model.train(training)
    return np.concatenate(bits), np.concatenate(hits)


_MESSAGES = {
    TokenType.PITCH: 2,  # a note-on, and the note-off its duration gives
    TokenType.NOTE_ON: 1,
    TokenType.NOTE_OFF: 1,
    TokenType.PEDAL_ON: 1,
    TokenType.PEDAL_OFF: 1,
    TokenType.TEMPO: 1,
    TokenType.PROGRAM: 1,
    TokenType.TIME_SIGNATURE: 1,
}


def messages(representation: Representation) -> np.ndarray:
    """(vocab_size,) how many MIDI messages each token stands for; time is no message."""
    if isinstance(representation, MergedRepresentation):
        plain = messages(representation.plain)
        return np.array([plain[list(parts)].sum() for parts in representation.parts])
    counts = np.zeros(len(TokenType), dtype=np.int64)
    counts[list(_MESSAGES)] = list(_MESSAGES.values())
    return counts[representation.token_types]


def summary(
    bits: np.ndarray, hits: np.ndarray, targets: np.ndarray, representation: Representation
) -> dict[str, float]:
    """Bits a note, an event, a token, perplexity and token accuracy over targets (N, T)."""
    real = targets != PAD
    notes = representation.strikes[targets] * real  # a merged token may begin several
    events = messages(representation)[targets] * real
    total = float(bits[real].sum())
    per_token = total / max(1, int(real.sum()))
    return {
        "bits_per_note": total / max(1, int(notes.sum())),
        "bits_per_event": total / max(1, int(events.sum())),
        "bits_per_token": per_token,
        "perplexity": 2 ** min(per_token, MOST_BITS),
        "token_accuracy": float(hits[real].mean()),
    }


def by_type(
    bits: np.ndarray, hits: np.ndarray, targets: np.ndarray, representation: Representation
) -> dict[str, float]:
    """Bits and accuracy of each type of token among targets (N, T), as `bits/Pitch` and so on."""
    kinds = representation.token_types[targets]
    result = {}
    for kind in sorted(set(kinds[targets != PAD].tolist())):
        mine = (kinds == kind) & (targets != PAD)
        name = TokenType(kind).name.title().replace("_", "")
        result[f"bits/{name}"] = float(bits[mine].mean())
        result[f"accuracy/{name}"] = float(hits[mine].mean())
    return result


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
