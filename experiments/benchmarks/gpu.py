"""What a GPU makes of the transformer: utilisation, precision, and sampling beside Hugging Face's.

Model-FLOPs utilisation counts the arithmetic a training step cannot do without (6 a weight and
token, and attention's products, of which a causal one needs half; PaLM, Chowdhery et al. 2022,
counts attention whole) against what a large matrix product reaches on the same card in the same
run. Nothing is timed against a data sheet.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from experiments.benchmarks.peers import alternate, rates, system
from experiments.benchmarks.step_cost import quartiles
from gan.engine import adamw, engine

SIDE = 8192  # of the matrices whose product is the ceiling


def ceiling(rounds: int = 10) -> list[float]:
    """TFLOP/s of a bf16 matrix product, quartiles."""
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = alternate({"product": lambda: left @ right}, rounds, torch.device("cuda"))["product"]
    return quartiles(2 * SIDE**3 / seconds / 1e12)


def step_flops(weights: int, layers: int, width: int, batch: int, length: int) -> dict[str, float]:
    """FLOP of a training step, with attention counted causally and, as PaLM does, whole."""
    tokens = batch * length
    attention = 12.0 * layers * width * length * tokens
    return {
        "causal": 6.0 * weights * tokens + attention / 2,
        "palm": 6.0 * weights * tokens + attention,
    }


def training(
    layers: int, width: int, heads: int, batch: int, length: int, rounds: int
) -> dict[str, Any]:
    """Steps of one shape in bf16, compiled and not, in fp32 without TF32, and GPT-2's in bf16."""
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda")
    ids = torch.randint(3, 200, (batch, length + 1), device=device)
    jobs: dict[str, Callable[[], None]] = {}
    weights = 0
    for name, peer, precision, compiled in (
        ("bf16, compiled", "ours", "bf16", True),
        ("bf16", "ours", "bf16", False),
        ("fp32 without TF32", "ours", "fp32", False),
        ("GPT-2, bf16", "gpt2", "bf16", False),
    ):
        each = system(peer, layers, width, heads)
        model = each.model.to(device).train()
        weights = weights or sum(p.numel() for p in model.parameters())
        logits = torch.compile(model) if compiled else each.logits
        optimizer = adamw(model, 1e-4, 0.05)
        compute = engine("cuda", precision)

        def step(logits: Any = logits, optimizer: Any = optimizer, compute: Any = compute) -> None:
            with compute.autocast():
                out = logits(ids[:, :-1])
            optimizer.zero_grad()
            F.cross_entropy(out.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()

        jobs[name] = step
    seconds = alternate(jobs, rounds, device)
    top = ceiling()
    flops = step_flops(weights, layers, width, batch, length)
    return {
        "weights": weights,
        "shape": {"layers": layers, "width": width, "heads": heads},
        "batch": batch,
        "length": length,
        "ceiling_tflops": top,
        "jobs": {
            name: rate
            | {
                f"utilisation_{kind}": quartiles(count / seconds[name] / 1e12 / top[1])
                for kind, count in flops.items()
            }
            for name, rate in rates(seconds, batch * length).items()
        },
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1),
    }


def sampling(
    layers: int, width: int, heads: int, batches: tuple[int, ...], steps: int, rounds: int
) -> dict[str, Any]:
    """Tokens a second beside Hugging Face's GPT-2, and the time of a first token."""
    device = torch.device("cuda")
    result: dict[str, Any] = {"shape": {"layers": layers, "width": width, "heads": heads}}
    systems = {name: system(name, layers, width, heads) for name in ("ours", "gpt2")}
    for each in systems.values():
        each.model.to(device).eval()

    def write(name: str, count: int) -> Any:
        prefix = torch.full((count, 2), 50, device=device)
        prefix[:, 0] = 1
        with torch.no_grad():
            return systems[name].continued(prefix, steps)

    for count in batches:
        jobs: dict[str, Callable[[], Any]] = {name: partial(write, name, count) for name in systems}
        result[f"batch {count}"] = rates(alternate(jobs, rounds, device), count * steps)
    return result


def measure(rounds: int) -> dict[str, Any]:
    """All of it, at about 100 M weights, and sampling at the shipped size too."""
    compute = engine("cuda", "auto")
    return {
        "device": compute.describe(),
        "training": training(14, 768, 12, 32, 1024, 3 * rounds),
        "sampling_small": sampling(4, 256, 4, (1, 64), 256, rounds),
        "sampling_large": sampling(14, 768, 12, (64,), 128, rounds),
    }


def markdown(result: dict[str, Any]) -> str:
    """A row a job."""
    train = result["training"]
    lines = [
        f"{result['device']}; {train['weights'] / 1e6:.0f} M weights, {train['batch']} × "
        f"{train['length']} tokens a step; a bf16 matrix product reaches "
        f"{train['ceiling_tflops'][1]:.0f} TFLOP/s; medians (quartiles)",
        "",
        "| training | tokens/s | the first is faster by | utilisation, causal | as PaLM counts |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, each in train["jobs"].items():
        low, middle, high = each["ours_is_faster_by"]
        rate = f"{each['tokens_per_second'][1]:,.0f}"
        lines.append(
            f"| {name} | {rate} | {middle:.2f} ({low:.2f}–{high:.2f}) × | "
            f"{each['utilisation_causal'][1]:.1%} | {each['utilisation_palm'][1]:.1%} |"
        )
    lines += [
        "",
        "| sampling | ours, tokens/s | GPT-2's generate | ours is faster by |",
        "|---|---:|---:|---:|",
    ]
    for part in ("sampling_small", "sampling_large"):
        shape = result[part]["shape"]
        for job, each in result[part].items():
            if job == "shape":
                continue
            low, middle, high = each["gpt2"]["ours_is_faster_by"]
            ratio = f"{middle:.1f} ({low:.1f}–{high:.1f}) ×"
            lines.append(
                f"| {shape['layers']} layers of {shape['width']}, {job} | "
                f"{each['ours']['tokens_per_second'][1]:,.0f} | "
                f"{each['gpt2']['tokens_per_second'][1]:,.0f} | {ratio} |"
            )
    return "\n".join(lines) + "\n"
