"""Device, precision, seeds and schedules: what every training loop stands on."""

import hashlib
import math
import os
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_tools.errors import UserError


@dataclass(frozen=True)
class Engine:
    """Where a run computes, and in what precision.

    Attributes:
        device: the one device of this process.
        autocast_type: the half precision of matrix products, None for plain float32.
    """

    device: torch.device
    autocast_type: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision for a forward pass; losses, noise and softmax stay float32 by design."""
        if self.autocast_type is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_type)

    def describe(self) -> str:
        """For a log line: device and precision."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        short = {torch.bfloat16: "bf16 autocast", torch.float16: "fp16 autocast", None: "fp32"}
        kind = short[self.autocast_type]
        return f"{name}, {kind}, torch {torch.__version__}"


def engine(device: str = "auto", precision: str = "auto") -> Engine:
    """Chooses device and precision.

    Raises:
        UserError: the device is not there, or cannot compute in bf16.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # torchrun: every rank its own
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(f"device '{device}': use auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': this torch sees no GPU; use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{device}': there are {torch.cuda.device_count()} GPUs")
    _try(chosen)
    capable = _has_bf16(chosen)
    if precision == "bf16" and chosen.type == "cuda" and not capable:
        raise UserError("precision 'bf16': this GPU has none; use --precision fp32")
    if precision == "fp16":
        return Engine(chosen, torch.float16)
    half = precision == "bf16" or (precision == "auto" and capable)
    return Engine(chosen, torch.bfloat16 if half else None)


def _try(device: torch.device) -> None:
    """Computes a little on a device.

    Raises:
        UserError: this torch knows the device's name and nothing more.
    """
    try:
        float(torch.ones(1, device=device) + 1)
    except (RuntimeError, AssertionError, ImportError) as error:
        words = str(error).strip() or type(error).__name__
        reason = words.splitlines()[0].partition(". ")[0].rstrip(".")
        raise UserError(f"device '{device}': {reason}; use --device cpu") from None


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Without the instructions, a CPU computes bf16 many times slower than fp32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from anything: (seed, step, "rollout") and the like."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator that is a function of `parts`."""
    return np.random.default_rng(derived_seed(*parts))


def torch_generator(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """A torch generator that is a function of `parts`."""
    return torch.Generator(device).manual_seed(derived_seed(*parts))


def learning_rate(step: int, peak: float, warmup: int, steps: int, final: float = 0.0) -> float:
    """Linear warm-up to `peak`, then a cosine to `final * peak` at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)))


def ramp(step: int, start: int, length: int) -> float:
    """0 before `start`, then linearly to 1 over `length` steps."""
    if step < start:
        return 0.0
    return min(1.0, (step - start + 1) / (length + 1))


def adamw(model: nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves gains and biases alone."""
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in weights if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Undoes `state_dict`.

    Raises:
        ValueError: it is of other weights; torch takes it, and may then write beyond them.
    """
    optimizer.load_state_dict(state)
    for weight, moments in optimizer.state.items():
        for moment in moments.values():
            if isinstance(moment, Tensor) and moment.dim() and moment.shape != weight.shape:
                raise ValueError("an optimizer of other weights")


def check_finite(value: Tensor, name: str, step: int) -> None:
    """Stops a run before a broken update.

    Args:
        value: a loss or a gradient norm.
        name: what to call it.
        step: for the message.

    Raises:
        UserError: it is infinite or not a number.
    """
    if not bool(torch.isfinite(value)):
        raise UserError(
            f"step {step}: the {name} is {value.item()}; start again with a lower learning rate "
            "(or adversarial weight), or --resume from the last checkpoint"
        )


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most memory this process has held, MiB: of the machine, and of its GPU."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the parent held before the exec
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        peak = int(line.split()[1]) / 1024
    else:
        scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20
    found = {"system/peak_mib": round(peak, 1)}
    if device.type == "cuda":
        found["system/peak_gpu_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return found
