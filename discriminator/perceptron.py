"""A perceptron over the statistics of a piece's harmony: no order, no positions, and very quick.

The neural twin of boosted trees over hand-made features, with two things those lack: it is
differentiable down to the token rows, and a batch of pieces costs a few matrix products.

Letters: B pieces, N notes, F features.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from discriminator.body import Discriminator
from discriminator.layers import widened
from discriminator.notes import TokenTable
from discriminator.settings import StatisticsSettings
from discriminator.view import NoteView, Seen, Statistics


class Perceptron(Discriminator):
    """Statistics to a logit, through hidden layers; see `StatisticsSettings`.

    Args:
        settings: view and size.
        table: what the tokens say.
    """

    def __init__(self, settings: StatisticsSettings, table: TokenTable) -> None:
        super().__init__()
        self.vocab_size, self.view_name = len(table), settings.view
        self.view = NoteView(table, settings.view)
        self.statistics = Statistics(self.view.size, self.view.patterns, settings.bound)
        layers: list[nn.Module] = []
        width = self.statistics.size
        for _ in range(settings.layers):
            layers += [nn.Dropout(settings.dropout), nn.Linear(width, settings.width), nn.GELU()]
            layers += [nn.LayerNorm(settings.width)]
            width = settings.width
        self.head = nn.Sequential(*layers, nn.Dropout(settings.dropout), nn.Linear(width, 1))

    def gist(self, seen: Seen) -> Tensor:
        """What the head reads (B, D) float32, of what the view has seen."""
        return self.statistics(seen)

    def judge(self, seen: Seen) -> Tensor:
        """The logit (B,) float32 of what the view has seen."""
        assert seen.statistics is not None
        return self.judge_statistics(seen.statistics)

    def judge_statistics(self, raw: Tensor) -> Tensor:
        """The logit (B,) float32 of a view's statistics (B, D), which an epoch may keep."""
        return widened(self.head(self.statistics.scaled(raw)).squeeze(-1))

    def standardise(self, batches: Sequence[Tensor]) -> None:
        """Sets the scale of the statistics from batches of ids (B, T), before training."""
        self.statistics.standardise([self.view(ids) for ids in batches])
