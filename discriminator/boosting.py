"""Boosted trees as plain arrays: what scikit-learn grew, kept and evaluated without it.

A pickled model runs whatever code its file holds and breaks with the next release. These arrays
hold numbers alone, and a piece goes down all trees at once.

Shapes: N rows, F features, T trees, M nodes of all trees together.
"""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Self
from zipfile import BadZipFile

import numpy as np

from data_tools.errors import UserError
from data_tools.files import write_bytes

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

_ROWS = 1024  # go down the trees together
# What damaged .npz files have been seen to raise.
_DAMAGE = (
    ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, zlib.error, TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves add up to a logit.

    Attributes:
        feature: int32 (M,) the column a node asks for; 0 at a leaf.
        threshold: float32 (M,) rows at most that high go left.
        left, right: int32 (M,) children, which stand behind their parent; a leaf is its own.
        value: float64 (M,) what a leaf adds.
        root: int32 (T,) each tree's first node.
        bias: float64 (1,) the logit of no tree at all.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    root: np.ndarray
    bias: np.ndarray

    def __len__(self) -> int:
        return len(self.root)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The logits (N,) float64 of rows of features (N, F) float32, none of them NaN."""
        features = np.asarray(features, dtype=np.float32)
        return np.concatenate(
            [
                self._logits(features[start : start + _ROWS])
                for start in range(0, max(len(features), 1), _ROWS)
            ]
        )

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        node = np.broadcast_to(self.root, (len(rows), len(self.root)))  # (N, T)
        each = np.arange(len(rows))[:, None]
        while True:
            goes_left = rows[each, self.feature[node]] <= self.threshold[node]
            below = np.where(goes_left, self.left[node], self.right[node])
            if (below == node).all():
                return self.bias[0] + self.value[node].sum(1)
            node = below

    def content(self) -> bytes:
        """All of its arrays."""
        return b"".join(getattr(self, one.name).tobytes() for one in fields(self))

    def save(self, path: Path) -> None:
        """Writes the arrays as an .npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{one.name: getattr(self, one.name) for one in fields(self)})
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, width: int) -> Self:
        """Reads what `save` wrote.

        Args:
            path: the .npz file.
            width: F, how many features there are.

        Raises:
            UserError: missing, damaged, or trees that ask for features there are none of.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                found = {one.name: stored[one.name] for one in fields(cls)}
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}; copy it again") from None
        except _DAMAGE as error:
            raise UserError(f"{path}: not a judge's trees ({error}); copy it again") from None
        forest = cls(**found)
        if trouble := forest._trouble(width):
            raise UserError(f"{path}: {trouble}; copy it again")
        return forest

    def _trouble(self, width: int) -> str:
        """What is wrong with arrays that came from a file; empty if nothing is."""
        kinds = {
            "feature": np.int32, "threshold": np.float32, "left": np.int32, "right": np.int32,
            "value": np.float64, "root": np.int32, "bias": np.float64,
        }  # fmt: skip
        for name, kind in kinds.items():
            array = getattr(self, name)
            if array.dtype != kind or array.ndim != 1:
                return f"{name} is {array.dtype} of {array.ndim} dimensions"
            if not np.isfinite(array).all():
                return f"{name} holds infinities or NaN"
        count = len(self.feature)
        if not count or not len(self.root) or len(self.bias) != 1:
            return "no trees"
        for name in ("threshold", "left", "right", "value"):
            if len(getattr(self, name)) != count:
                return f"{name} has {len(getattr(self, name))} nodes, feature {count}"
        here = np.arange(count)
        leaf = (self.left == here) & (self.right == here)
        behind = (self.left > here) & (self.right > here)  # so nothing goes round in circles
        if not (leaf | behind).all():
            return "nodes that are neither leaf nor before their children"
        if max(self.left.max(), self.right.max(), self.root.max()) >= count or self.root.min() < 0:
            return "nodes out of range"
        if self.feature.min() < 0 or self.feature.max() >= width:
            return f"trees for more than {width} features"
        return ""


def forest_of(models: Sequence["HistGradientBoostingClassifier"]) -> Forest:
    """The mean of fitted classifiers of two classes, trained on float32 without NaN."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("f", "t", "l", "r", "v")}
    roots, total = [], 0
    for model in models:
        for (tree,) in model._predictors:
            nodes = tree.nodes
            leaf = nodes["is_leaf"].astype(bool)
            here = np.arange(len(nodes))
            parts["f"].append(np.where(leaf, 0, nodes["feature_idx"]))
            parts["t"].append(np.where(leaf, 0.0, _not_above(nodes["num_threshold"])))
            parts["l"].append(total + np.where(leaf, here, nodes["left"]))
            parts["r"].append(total + np.where(leaf, here, nodes["right"]))
            parts["v"].append(np.where(leaf, nodes["value"], 0.0) / len(models))
            roots.append(total)
            total += len(nodes)
    return Forest(
        feature=np.concatenate(parts["f"]).astype(np.int32),
        threshold=np.concatenate(parts["t"]).astype(np.float32),
        left=np.concatenate(parts["l"]).astype(np.int32),
        right=np.concatenate(parts["r"]).astype(np.int32),
        value=np.concatenate(parts["v"]),
        root=np.array(roots, dtype=np.int32),
        bias=np.array([np.mean([float(model._baseline_prediction[0, 0]) for model in models])]),
    )


def _not_above(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 not above each threshold: float32 rows fall to the same side of it."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
