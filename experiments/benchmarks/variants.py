"""What each option costs a training step: variants alternate in one process, as ratios.

The table of options says what they do to the loss; its rows ran one after another, beside whatever
else the machine did. Here all meet the same machine.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from experiments.benchmarks.peers import alternate, rates
from gan.engine import adamw, engine
from generator.model import build
from generator.settings import ModelSettings

VOCABULARY = 238
BASE: dict[str, Any] = {
    "kind": "transformer",
    "layers": 4,
    "width": 256,
    "heads": 4,
    "dropout": 0.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "fp32": {"precision": "fp32"},
    "fp16": {"precision": "fp16"},
    "dropout": {"dropout": 0.1},
    "RMSNorm": {"norm": "rms"},
    "ScaleNorm": {"norm": "scale"},
    "QK-norm": {"qk_norm": True},
    "relative positions": {"positions": "relative"},
    "torch.compile": {"compile": True},
    "LSTM of the same weight": {"kind": "lstm", "layers": 2, "width": 256, "hidden": 448},
}


def compare(batch: int, length: int, rounds: int, device: str, names: tuple[str, ...]) -> dict:
    """Tokens a second of each variant, and by how much the plain transformer is faster."""
    jobs = {name: _job(VARIANTS[name], batch, length, device) for name in names or VARIANTS}
    compute = engine(device, "auto")
    return {
        "device": compute.describe(),
        "threads": torch.get_num_threads(),
        "batch": batch,
        "length": length,
        "rounds": rounds,
        "variants": rates(alternate(jobs, rounds, compute.device), batch * length),
    }


def _job(changes: dict[str, Any], batch: int, length: int, device: str) -> Callable[[], None]:
    fields = {} if changes.get("kind") == "lstm" else dict(BASE)
    fields |= {k: v for k, v in changes.items() if k not in ("precision", "compile")}
    compute = engine(device, changes.get("precision", "auto"))
    torch.manual_seed(0)
    settings = TypeAdapter(ModelSettings).validate_python({"dropout": 0.0} | fields)
    model = build(VOCABULARY, settings).to(compute.device)
    forward = torch.compile(model) if changes.get("compile") else model
    optimizer = adamw(model, 1e-4, 0.05)
    ids = torch.randint(3, VOCABULARY, (batch, length + 1), device=compute.device)

    def step() -> None:
        with compute.autocast():
            logits = forward(ids[:, :-1])
        optimizer.zero_grad()
        F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()

    return step


def markdown(result: dict[str, Any]) -> str:
    """A row a variant."""
    lines = [
        f"{result['device']}, {result['threads']} threads; {result['batch']} × {result['length']} "
        f"tokens a step; median (quartiles) of {result['rounds']} rounds",
        "",
        "| variant | tokens/s | a step takes, beside the first |",
        "|---|---:|---:|",
    ]
    for name, each in result["variants"].items():
        low, middle, high = each["ours_is_faster_by"]
        rate = f"{each['tokens_per_second'][1]:,.0f}"
        lines.append(f"| {name} | {rate} | {middle:.2f} ({low:.2f}–{high:.2f}) × |")
    return "\n".join(lines) + "\n"
