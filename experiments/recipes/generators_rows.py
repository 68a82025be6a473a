"""The rows of the table of generators: what is common, and what each changes."""

from dataclasses import dataclass, field
from typing import Any

COMMON: dict[str, Any] = {
    "warmup": 25, "dropout": 0.0, "samples": 0, "validation_windows": 16,
    "stretch": 0.1, "jitter": 0.0, "loudness": 1, "learning_rate": 2e-3,
    "evaluate_every": 1000, "checkpoint_every": 1000, "device": "cpu",
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Rows with one preset and one budget."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One thing changed."""

    name: str
    group: Group
    changes: dict[str, Any] = field(default_factory=dict)
    seeds: int = 0  # fewer than are asked for, where a run takes long


FAMILIES = Group("families", {"batch": 16, "length": 256, "steps": 250, "learning_rate": 1.5e-3})
_SMALL = {"batch": 8, "length": 256, "steps": 250}
TRANSFORMER = Group(
    "transformer", _SMALL | {"model": "transformer", "layers": 4, "width": 128, "heads": 4}
)
LSTM = Group(
    "lstm",
    _SMALL | {"model": "lstm", "layers": 2, "width": 128, "hidden": 224, "batch_norm": False},
)


def _families() -> list[Row]:
    rows = []
    for size in ("small", "base"):
        transformer, lstm = ({"model": model, "size": size} for model in ("transformer", "lstm"))
        seeds = 2 * (size == "base")
        rows += [
            Row(f"transformer-{size}", FAMILIES, transformer, seeds),
            Row(f"lstm-{size}", FAMILIES, lstm | {"batch_norm": False}, seeds),
            Row(f"lstm-{size}-batch-norm", FAMILIES, lstm, seeds),
        ]
    return rows


def _toggles(group: Group, **changes: dict[str, Any]) -> list[Row]:
    rows = [Row(group.name, group)]
    return rows + [Row(f"{group.name}_{name}", group, change) for name, change in changes.items()]


ROWS = [
    *_toggles(
        TRANSFORMER,
        rmsnorm={"norm": "rms"},
        scalenorm={"norm": "scale"},
        fixnorm={"fix_norm": True},
        scalenorm_fixnorm={"norm": "scale", "fix_norm": True},
        tfixup={"norm": "none", "start": "tfixup", "warmup": 0},
        no_norm={"norm": "none"},
        no_residual_scaling={"start": "plain"},
        torch_start={"start": "torch"},
        torch_embedding={"embedding_start": "torch"},
        torch_embedding_untied={"embedding_start": "torch", "tie_embeddings": False},
        untied={"tie_embeddings": False},
        learned_positions={"positions": "learned"},
        relative_positions={"positions": "relative"},
        no_positions={"positions": "none"},
        qk_norm={"qk_norm": True},
        dropout_02={"dropout": 0.2},
        dropout_05={"dropout": 0.5},
        smoothing={"smoothing": 0.1},
        ema={"average": "ema", "average_decay": 0.98},
        swa={"average": "swa"},
        adam={"optimizer": "adam"},
        rmsprop={"optimizer": "rmsprop", "learning_rate": 1e-3},
        constant_rate={"schedule": "constant"},
        plateau={"schedule": "plateau", "evaluate_every": 25, "plateau_patience": 1},
        no_warmup={"warmup": 0},
        no_clipping={"clip": 1e9},
        accumulate_4={"accumulate": 4},
        no_augmentation={"augmentation": False},
        fp32={"precision": "fp32"},
        length_64={"length": 64, "batch": 32},
        length_1024={"length": 1024, "batch": 2},
        packing={"packing": True},
        no_condition={"condition": "none"},
    ),
    *_toggles(
        LSTM,
        scaled_embedding={"embedding_start": "scaled"},
        batch_norm={"batch_norm": True},
        two_relus={"dense": 2},
        no_relu={"dense": 0},
        dropout_02={"dropout": 0.2},
        dropout_05={"dropout": 0.5},
        rmsprop={"optimizer": "rmsprop", "learning_rate": 1e-3},
        adam={"optimizer": "adam"},
        length_20={"length": 20, "batch": 102},
        length_100={"length": 100, "batch": 20},
        fp32={"precision": "fp32"},
    ),
    *_families(),
]
