"""A classifier as one ONNX file, for programs without PyTorch.

The graph reads token ids (pieces, tokens) int64, 0 = padding, any number of either, and gives the
logit and the calibrated p(jazz) of every row. Cutting a piece into windows and averaging their
logits is left to the caller; all that it needs is in the file's metadata and in the
`representation.json` beside it.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from data_tools.errors import UserError
from data_tools.files import write_bytes

if TYPE_CHECKING:
    from discriminator.classifier import Classifier

FORMAT = "1"
_EXAMPLE = (3, 141)  # any size above the widest look-back (48 notes of two tokens)


class Calibrated(nn.Module):
    """ids (B, T) to the model's logit (B,) and its calibrated probability (B,)."""

    def __init__(self, model: nn.Module, scale: float, bias: float) -> None:
        super().__init__()
        self.model, self.scale, self.bias = model, scale, bias

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        logit = self.model(ids)
        return logit, torch.sigmoid(self.scale * logit + self.bias)


def export_onnx(classifier: "Classifier", path: str | Path) -> Path:
    """Writes a classifier as ONNX, and `representation.json` beside it.

    Input `ids` int64 (pieces, tokens), outputs `logit` and `p_jazz` float32 (pieces,). Metadata:
    `format`, `labels`, `window`, `minimum`, `most`, `scale`, `bias`, `low`, `high` (see
    `ClassifierSettings`), `vocabulary`, `digest` and `music_digest` of the representation, and
    `settings`, all of them as JSON. It holds the networks: trees over features of the whole piece
    are no part of it, and `p_jazz` is that of `without_trees()`.

    Args:
        classifier: what to export; it is not changed.
        path: the file, `.onnx`.

    Returns:
        The path.

    Raises:
        UserError: another suffix, or the extra `onnx` is not installed.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise UserError(f"{path}: an ONNX file ends in .onnx")
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{path}: writing ONNX needs {' and '.join(missing)}; pip install 'jazz-gan[onnx]'"
        )
    settings, representation = classifier.settings, classifier.representation
    model = Calibrated(classifier.model, settings.scale, settings.bias).eval()
    ids = torch.full(_EXAMPLE, 3, device=classifier.device)
    sizes = {
        0: torch.export.Dim("pieces", min=1),
        # What is proven while exporting; the graph takes shorter pieces as well, tests hold that.
        1: torch.export.Dim("tokens", min=128),
    }
    with _quietly():
        # First by itself: torch.onnx.export would fix a size that cannot vary and say nothing.
        # Deferred, because what holds for every length is not always proven, and such checks would
        # fix the length; the graph is right without them.
        graph = torch.export.export(
            model,
            (ids,),
            dynamic_shapes=(sizes,),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        program = torch.onnx.export(
            graph,
            dynamic_shapes=(sizes,),
            dynamo=True,
            input_names=["ids"],
            output_names=["logit", "p_jazz"],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    values = settings.model_dump(mode="json")
    content = {
        "format": FORMAT,
        "labels": json.dumps(classifier.labels),
        "vocabulary": str(representation.music_size),
        "digest": representation.digest,
        "music_digest": representation.music_digest,
        "settings": json.dumps(values),
    } | {name: str(values[name]) for name in values if name != "model"}
    for key, value in content.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    write_bytes(path, proto.SerializeToString())
    representation.save(path.with_name("representation.json"))
    return path


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on packages that nothing here uses, and on its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
