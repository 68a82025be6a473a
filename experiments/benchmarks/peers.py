"""This project's transformer beside Hugging Face's GPT-2 and x-transformers of the same shape.

All train by one loop: same tokens, autocast, fused AdamW, no dropout. All sample in float32 with
temperature and top-p from their own best interface, with their caches; ours applies the grammar
besides. The weights of `ours` are float16 numbers there, as those of finished trainings and of the
shipped generators are; those of `ours, float32` are not. Every job has a process of its own, for
nobody trains and then samples in one; within it rounds alternate between the systems, so that
whatever else the machine does hits all. What is reported are ratios with their quartiles.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.errors import UserError
from data_tools.representation import Representation, RepresentationSettings
from experiments.benchmarks.step_cost import quartiles
from gan.engine import Engine, adamw, engine, peak_memory
from generator.choice import Choice
from generator.grammar import Grammar
from generator.sampling import sample, seeded
from generator.settings import TransformerSettings
from generator.transformer import Transformer

SYSTEMS = ("ours", "gpt2", "x-transformers")
FULL = "ours, float32"
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
    if name != FULL:
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(weight.half())

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


@dataclass(frozen=True)
class Job:
    """What is timed, in which shape; `name` is one of `jobs`."""

    name: str
    layers: int
    width: int
    heads: int
    batch: int
    length: int
    steps: int
    rounds: int
    device: str
    names: tuple[str, ...] = SYSTEMS


def jobs(cuda: bool, compiled: bool) -> list[str]:
    """What there is to time."""
    sizes = (1, 16, 64) if cuda else (1, 16)
    return [
        "training",
        *(["training, compiled"] if compiled else []),
        *(f"sampling, batch {size}" for size in sizes),
        "first token after 512",
    ]


def compare(compiled: bool = False, **shape: Any) -> dict[str, Any]:
    """Training, sampling at batch 1 and 16 (64 too on a GPU), first token, memory, of each.

    Args:
        compiled: train compiled models too, beside the others as they are.
        shape: of `Job`.
    """
    compute = engine(shape["device"], "auto")
    names = shape.get("names", SYSTEMS)
    for name in names:
        system(name, 1, 16, 1)  # what is not installed is said before anything is timed
    chosen = jobs(compute.device.type == "cuda", compiled)
    found = {name: _alone(Job(name, **shape)) for name in chosen}
    memory = {name: _alone(Job("memory", **shape | {"names": (name,)})) for name in names}
    return {
        "device": compute.describe(),
        "threads": torch.get_num_threads(),
        "shape": {key: shape[key] for key in ("layers", "width", "heads")},
        "weights": {name: each["weights"] for name, each in memory.items()},
        "batch": shape["batch"],
        "length": shape["length"],
        "new_tokens": shape["steps"],
        "rounds": shape["rounds"],
        "jobs": found,
        "peak_mib": {name: each["mib"] for name, each in memory.items()},
    }


def _alone(job: Job) -> Any:
    """What a process of its own says of a job."""
    words = [sys.executable, "-W", "ignore", "-m", "experiments.benchmarks.peers"]
    done = subprocess.run(
        [*words, json.dumps(asdict(job))],
        stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(job: Job) -> Any:
    """Does a job in this process."""
    warnings.simplefilter("ignore")
    compute = engine(job.device, "auto")
    sampled = job.name.startswith("sampling")
    names = (*job.names, FULL) if sampled else job.names
    systems = {name: system(name, job.layers, job.width, job.heads) for name in names}
    if job.name == "training, compiled":
        first = {f"{name}, compiled": _compiled(each) for name, each in systems.items()}
        others = {name: system(name, job.layers, job.width, job.heads) for name in job.names}
        systems = first | others
    for each in systems.values():
        each.model.to(compute.device)
    if job.name.startswith("training"):
        steps = {name: _training(each, job, compute) for name, each in systems.items()}
        return rates(alternate(steps, job.rounds, compute.device), job.batch * job.length)
    if job.name == "memory":
        (each,) = systems.values()
        step = _training(each, job, compute)
        step()
        step()
        return {
            "mib": peak_memory(compute.device)["system/peak_mib"],
            "weights": sum(weight.numel() for weight in each.model.parameters()),
        }
    count = int(job.name.split()[-1]) if sampled else 1
    prompt, new = (2, job.steps) if sampled else (512, 1)
    writers = {name: _writing(each, count, prompt, new, compute) for name, each in systems.items()}
    return rates(alternate(writers, job.rounds, compute.device), count * new)


def _compiled(each: System) -> System:
    """The same system, its logits by a compiled model."""
    return System(each.model, torch.compile(each.logits), each.continued)


def _training(each: System, job: Job, compute: Engine) -> Callable[[], None]:
    """A training step on the same tokens for everybody."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 200, (job.batch, job.length + 1), generator=generator)
    ids = ids.to(compute.device)
    optimizer = adamw(each.model, 1e-4, 0.05)

    def step() -> None:
        each.model.train()
        with compute.autocast():
            logits = each.logits(ids[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _writing(
    each: System, count: int, prompt: int, new: int, compute: Engine
) -> Callable[[], None]:
    """A continuation of `count` prompts by `new` tokens."""
    prefix = torch.full((count, prompt), 50, device=compute.device)
    prefix[:, 0] = 1

    def write() -> None:
        each.model.eval()
        with torch.no_grad():
            each.continued(prefix, new)

    return write


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


def markdown(result: dict[str, Any]) -> str:
    """A row a job and system."""
    lines = [
        f"{result['device']}, {result['threads']} threads; {result['shape']}; training at "
        f"{result['batch']} × {result['length']} tokens, sampling {result['new_tokens']} tokens in "
        f"float32; median (quartiles) of {result['rounds']} rounds",
        "",
        "| job | system | tokens/s | ours is faster by | M weights | peak MiB of training |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for job, systems in result["jobs"].items():
        for name, each in systems.items():
            low, middle, high = each["ours_is_faster_by"]
            ratio = "" if low == high == 1 else f"{middle:.2f} ({low:.2f}–{high:.2f}) ×"
            rate = f"{each['tokens_per_second'][1]:,.0f}"
            if job.startswith("first"):
                rate = f"{each['ms'][1]:.1f} ms"
            plain = name.split(",")[0]
            mib = f"{result['peak_mib'][name]:,.0f}" if job == "training" else ""
            weights = f"{result['weights'][plain] / 1e6:.2f}"
            lines.append(f"| {job} | {name} | {rate} | {ratio} | {weights} | {mib} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(run(Job(**given | {"names": tuple(given["names"])}))))
