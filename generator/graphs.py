"""Steps of a transformer as one CUDA graph: a launch a token instead of a hundred.

At small batches a GPU waits for Python; a captured step with a static cache keeps it busy. On other
devices, and for other models, there is no graph.
"""

import torch
from torch import Tensor

from generator.model import Cache, GeneratorModel
from generator.transformer import KeyValueCache, Transformer

WARM_UP = 3  # runs before the capture, for what allocates and tunes itself at first


class GraphedSteps:
    """`Transformer.step` for single tokens, captured once and replayed.

    Args:
        model: in eval mode, on a GPU; its weights may change in place.
        cache: static; what is read into it otherwise (a prompt) is seen.
    """

    def __init__(self, model: Transformer, cache: KeyValueCache) -> None:
        self.model, self.cache = model, cache
        first = cache.both[0]
        self._ids = torch.zeros(len(first), dtype=torch.int64, device=first.device)
        self._at = torch.zeros(1, dtype=torch.int64, device=first.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: Tensor | None = None

    def step(self, ids: Tensor) -> Tensor:
        """Reads ids (B,); logits (B, V), overwritten by the next step."""
        self._ids.copy_(ids)
        self._at.fill_(self.cache.length)
        if self._graph is None:
            self._capture()
        assert self._graph is not None
        assert self._logits is not None
        self._graph.replay()
        self.cache.length += 1
        return self._logits

    def _capture(self) -> None:
        stream = torch.cuda.Stream(self._ids.device)
        stream.wait_stream(torch.cuda.current_stream(self._ids.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):  # writes at one place only, which the replay writes again
                self.model.static_step(self._ids, self.cache, self._at)
        torch.cuda.current_stream(self._ids.device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = self.model.static_step(self._ids, self.cache, self._at)


def graphed(model: GeneratorModel, cache: Cache) -> GraphedSteps | None:
    """Graphed steps where they can be had: a transformer on a GPU, in its own precision."""
    if not isinstance(model, Transformer) or not isinstance(cache, KeyValueCache):
        return None
    first = cache.both[0]
    if first.device.type != "cuda" or first.dtype != model.embedding.weight.dtype:
        return None
    return GraphedSteps(model, cache)
