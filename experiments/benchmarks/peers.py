"""This project's transformer beside Hugging Face's GPT-2 and x-transformers of the same shape.

All train by one loop: the same tokens, autocast, fused AdamW, no dropout. All sample with
temperature and top-p from their own best interface, with their caches; ours applies the grammar
besides. Rounds alternate between the systems within one process, so that whatever else the machine
does hits all; what is reported are ratios with their quartiles. Memory is a fresh process's.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.errors import UserError
from data_tools.representation import Representation, RepresentationSettings
from experiments.benchmarks.step_cost import quartiles
from gan.engine import adamw, engine, peak_memory
from generator.choice import Choice
from generator.grammar import Grammar
from generator.sampling import sample, seeded
from generator.settings import TransformerSettings
from generator.transformer import Transformer

SYSTEMS = ("ours", "gpt2", "x-transformers")
TEMPERATURE, TOP_P = 0.95, 0.98
CONTEXT = 1024


@dataclass
class System:
    """A model, its logits of ids (B, T), and its way to continue ids (B, P) by n tokens."""

    model: nn.Module
    logits: Callable[[Tensor], Tensor]
    continued: Callable[[Tensor, int], Any]


def system(name: str, layers: int, width: int, heads: int) -> System:
    """Builds a system.

    Raises:
        UserError: the package is not installed.
    """
    torch.manual_seed(0)
    vocabulary = Representation(RepresentationSettings(), ("label:jazz", "label:not_jazz"))
    size = vocabulary.vocab_size
    try:
        if name == "gpt2":
            return _gpt2(size, layers, width, heads)
        if name == "x-transformers":
            return _x_transformers(size, layers, width, heads)
    except ImportError:
        raise UserError(
            f"{name} is not installed: pip install -r experiments/benchmarks/requirements.txt"
        ) from None
    settings = TransformerSettings(
        layers=layers, width=width, heads=heads, dropout=0.0, max_length=CONTEXT
    )
    model = Transformer(size, settings)

    def continued(prefix: Tensor, steps: int) -> Tensor:
        # Never an early end: all write as many tokens.
        grammar = Grammar(vocabulary, prefix.device, min_notes=10**6)
        return sample(
            model, grammar, prefix, steps, generators=seeded(range(len(prefix))),
            choice=Choice(temperature=TEMPERATURE, top_p=TOP_P),
        ).ids  # fmt: skip

    return System(model, model, continued)


def _gpt2(size: int, layers: int, width: int, heads: int) -> System:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=size, n_positions=CONTEXT, n_embd=width, n_layer=layers, n_head=heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2,
            pad_token_id=0,
        )
    )  # fmt: skip

    def continued(prefix: Tensor, steps: int) -> Tensor:
        return model.generate(
            prefix, attention_mask=torch.ones_like(prefix), max_new_tokens=steps,
            min_new_tokens=steps, do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=0,
        )  # fmt: skip

    return System(model, lambda ids: model(ids, use_cache=False).logits, continued)


def _x_transformers(size: int, layers: int, width: int, heads: int) -> System:
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper
    from x_transformers.autoregressive_wrapper import top_p

    model = TransformerWrapper(
        num_tokens=size, max_seq_len=CONTEXT, use_abs_pos_emb=False, tie_embedding=True,
        attn_layers=Decoder(
            dim=width, depth=layers, heads=heads, attn_dim_head=width // heads,
            rotary_pos_emb=True, attn_flash=True,
        ),
    )  # fmt: skip
    writer = AutoregressiveWrapper(model)

    def continued(prefix: Tensor, steps: int) -> Tensor:
        return writer.generate(
            prefix, steps, temperature=TEMPERATURE, filter_logits_fn=top_p,
            filter_kwargs={"thres": TOP_P}, cache_kv=True,
        )  # fmt: skip

    return System(model, model, continued)


def compare(
    layers: int, width: int, heads: int, batch: int, length: int, steps: int, rounds: int,
    device: str, names: tuple[str, ...] = SYSTEMS,
) -> dict[str, Any]:  # fmt: skip
    """Training, sampling at batch 1 and 16 (64 too on a GPU), first token, memory, of each."""
    compute = engine(device, "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        systems = {name: system(name, layers, width, heads) for name in names}
        for each in systems.values():
            each.model.to(compute.device)
        batches = (1, 16, 64) if compute.device.type == "cuda" else (1, 16)
        ids = torch.randint(3, 200, (batch, length + 1), device=compute.device)
        jobs: dict[str, dict[str, Callable[[], Any]]] = {"training": {}}
        jobs |= {f"sampling, batch {count}": {} for count in batches}
        jobs["first token after 512"] = {}
        for name, each in systems.items():
            optimizer = adamw(each.model, 1e-4, 0.05)

            def train(each: System = each, optimizer: Any = optimizer) -> None:
                each.model.train()
                with compute.autocast():
                    logits = each.logits(ids[:, :-1])
                loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

            def write(count: int, prompt: int, new: int, each: System = each) -> Any:
                each.model.eval()
                prefix = torch.full((count, prompt), 50, device=compute.device)
                prefix[:, 0] = 1
                with torch.no_grad():
                    return each.continued(prefix, new)

            jobs["training"][name] = train
            for count in batches:
                jobs[f"sampling, batch {count}"][name] = partial(write, count, 2, steps)
            jobs["first token after 512"][name] = partial(write, 1, 512, 1)
        tokens = {"training": batch * length, "first token after 512": 1}
        tokens |= {f"sampling, batch {count}": count * steps for count in batches}
        results = {
            job: rates(alternate(each, rounds, compute.device), tokens[job])
            for job, each in jobs.items()
        }
    return {
        "device": compute.describe(),
        "threads": torch.get_num_threads(),
        "shape": {"layers": layers, "width": width, "heads": heads},
        "weights": {k: sum(p.numel() for p in s.model.parameters()) for k, s in systems.items()},
        "batch": batch,
        "length": length,
        "new_tokens": steps,
        "rounds": rounds,
        "jobs": results,
        "peak_mib": {name: _memory(name, layers, width, heads, batch, length) for name in names},
    }


def alternate(
    jobs: dict[str, Callable[[], Any]], rounds: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Seconds of every round of each job, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            _settle(device)
            began = time.perf_counter()
            job()
            _settle(device)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rates(seconds: dict[str, np.ndarray], tokens: int) -> dict[str, Any]:
    """Tokens a second of each, and by how much the first is faster, with quartiles."""
    first = next(iter(seconds))
    return {
        name: {
            "tokens_per_second": quartiles(tokens / values),
            "ms": quartiles(1000 * values),
            "ours_is_faster_by": quartiles(values / seconds[first]),
        }
        for name, values in seconds.items()
    }


def _memory(name: str, layers: int, width: int, heads: int, batch: int, length: int) -> float:
    """Peak MiB of a process that takes two training steps."""
    words = [str(word) for word in (name, layers, width, heads, batch, length)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "experiments.benchmarks.peers", *words],
        capture_output=True, text=True, check=True, env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    return float(json.loads(done.stdout.strip().splitlines()[-1]))


def _trained(name: str, *shape: int) -> float:
    layers, width, heads, batch, length = shape
    each = system(name, layers, width, heads)
    optimizer = adamw(each.model, 1e-4, 0.05)
    ids = torch.randint(3, 200, (batch, length + 1))
    compute = engine("cpu", "auto")
    for _ in range(2):
        with compute.autocast():
            logits = each.logits(ids[:, :-1])
        F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return peak_memory(compute.device)["system/peak_mib"]


def markdown(result: dict[str, Any]) -> str:
    """A row a job and system."""
    lines = [
        f"{result['device']}, {result['threads']} threads; {result['shape']}; training at "
        f"{result['batch']} × {result['length']} tokens, sampling {result['new_tokens']} tokens; "
        f"median (quartiles) of {result['rounds']} rounds",
        "",
        "| job | system | tokens/s | ours is faster by | M weights | peak MiB of training |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for job, systems in result["jobs"].items():
        for name, each in systems.items():
            low, middle, high = each["ours_is_faster_by"]
            ratio = "" if name == "ours" else f"{middle:.2f} ({low:.2f}–{high:.2f}) ×"
            rate = f"{each['tokens_per_second'][1]:,.0f}"
            if job.startswith("first"):
                rate = f"{each['ms'][1]:.1f} ms"
            lines.append(
                f"| {job} | {name} | {rate} | {ratio} | {result['weights'][name] / 1e6:.2f} | "
                f"{result['peak_mib'][name]:,.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(json.dumps(_trained(sys.argv[1], *map(int, sys.argv[2:]))))
