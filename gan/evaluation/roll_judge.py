"""A judge that looks at the piano roll: a small convolutional network over pitch and time.

It shares nothing with the discriminators a generator is trained against but the music: another
representation (a picture in tenths of a second, not tokens), another family, other pieces. So it
can choose checkpoints, and tell when a rising discriminator's score is the discriminator's alone.

Shapes: B passages, P = 88 pitches, S = 400 steps of a tenth of a second.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from data_tools.errors import UserError
from data_tools.files import write_bytes
from data_tools.parts import DRUMS
from data_tools.representation import Representation

STEP, STEPS = 0.1, 400  # seconds, and how many: forty seconds are looked at
LOWEST, PITCHES = 21, 88


def roll(ids: np.ndarray, representation: Representation) -> np.ndarray:
    """Token ids (T,) as bool (2, P, S): what begins, and what sounds, in each step; no drums."""
    events = representation.events(ids, close=True)
    notes, seconds = representation.clocked(events)
    if len(events.channels):
        notes = notes.take(events.channels != DRUMS)
    picture = np.zeros((2, PITCHES, STEPS), dtype=bool)
    start = np.round(notes.start * seconds / STEP).astype(int)
    end = np.maximum(np.round(notes.end * seconds / STEP).astype(int), start + 1)
    if len(start):
        start, end = start - start.min(), end - start.min()
    pitch = notes.pitch.astype(int) - LOWEST
    for row, first, last in zip(pitch, start, end, strict=True):
        if 0 <= row < PITCHES and first < STEPS:
            picture[0, row, first] = True
            picture[1, row, first : min(last, STEPS)] = True
    return picture


class RollNetwork(nn.Module):
    """Convolutions that halve pitch and time, then their mean and maximum."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        sizes = (width, 2 * width, 3 * width, 4 * width)
        self.layers = nn.ModuleList(
            [
                # An octave is seen at once: harmony is intervals.
                nn.Conv2d(2, sizes[0], (13, 3), (1, 2), (6, 1)),
                nn.Conv2d(sizes[0], sizes[1], (5, 5), 2, 2),
                nn.Conv2d(sizes[1], sizes[2], 3, 2, 1),
                nn.Conv2d(sizes[2], sizes[3], 3, 2, 1),
            ]
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, size) for size in sizes)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(2 * sizes[3], 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Logits (B,) of pictures (B, 2, P, S)."""
        x = picture.float()
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)))
        x = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return self.head(self.dropout(x))[:, 0]


class RollJudge:
    """A fitted network and its calibration: p(jazz) = sigmoid(scale * logit + bias)."""

    def __init__(self, network: RollNetwork, scale: float = 1.0, bias: float = 0.0) -> None:
        self.network, self.scale, self.bias = network.eval(), scale, bias

    @torch.inference_mode()
    def logits(
        self, pieces: Sequence[np.ndarray], representation: Representation, batch: int = 64
    ) -> np.ndarray:
        """Calibrated logits (N,) of passages of token ids."""
        found = []
        for first in range(0, len(pieces), batch):
            rolls = np.stack([roll(ids, representation) for ids in pieces[first : first + batch]])
            found.append(self.network(torch.from_numpy(rolls)).numpy())
        raw = np.concatenate(found) if found else np.zeros(0)
        return self.scale * raw + self.bias

    def save(self, path: Path) -> None:
        """Writes one safetensors file, whole or not at all."""
        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        tensors["calibration"] = torch.tensor([self.scale, self.bias])
        write_bytes(path, save(tensors))

    @classmethod
    def load(cls, path: Path) -> "RollJudge":
        """Reads one.

        Raises:
            UserError: it is no such file.
        """
        try:
            tensors = load_file(path)
            scale, bias = tensors.pop("calibration").tolist()
            with torch.random.fork_rng(devices=[]):  # the fresh weights give way to those loaded
                network = RollNetwork(len(tensors["layers.0.bias"]))
            network.load_state_dict(tensors)
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{path}: no piano-roll judge ({error})".replace("\n", " ")) from None
        return cls(network, scale, bias)


def fit(
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]],
    steps: int,
    seed: int = 0,
    rate: float = 2e-3,
) -> RollJudge:
    """Trains a network on what `draw(step)` gives: pictures (B, 2, P, S) and labels (B,).

    Pictures are moved up or down by up to six semitones; the average of the last half's weights is
    kept.

    Raises:
        ValueError: no steps.
    """
    if steps < 1:
        raise ValueError("a judge needs at least one step")
    torch.manual_seed(seed)
    network = RollNetwork()
    averaged = torch.optim.swa_utils.AveragedModel(network)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    chance = np.random.default_rng(seed)
    for step in range(steps):
        pictures, labels = draw(step)
        shift = int(chance.integers(-6, 7))
        moved = torch.from_numpy(np.roll(pictures, shift, axis=2))
        if shift:  # what left at one end has come back at the other
            moved[:, :, :shift] = False if shift > 0 else moved[:, :, :shift]
            moved[:, :, shift:] = False if shift < 0 else moved[:, :, shift:]
        network.train()
        loss = F.binary_cross_entropy_with_logits(
            network(moved), 0.05 + 0.9 * torch.from_numpy(labels).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step >= steps // 2:
            averaged.update_parameters(network)
    network.load_state_dict(averaged.module.state_dict())
    return RollJudge(network)
