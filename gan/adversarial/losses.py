"""The losses, one named function each: of the generator, and of a discriminator trained along.

Shapes: B batch, T tokens, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from data_tools.representation import PAD


def cross_entropy(
    logits: Tensor, targets: Tensor, count: Tensor | float | None = None, smoothing: float = 0.0
) -> Tensor:
    """Mean nats a token over logits (B, T, V) and targets (B, T); PAD targets do not count.

    Args:
        logits, targets: of this part of a step.
        count: targets of the whole step, if this is a part of it: parts then add up to its mean.
        smoothing: probability that the target distribution spreads over all tokens (Szegedy et al.
            2016).
    """
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=PAD,
        reduction="sum",
        label_smoothing=smoothing,
    )
    return total / ((targets != PAD).sum() if count is None else count)


def hinge(logit: Tensor, target: float) -> Tensor:
    """Pushes logits (B,) up to `target` and no further: matching real jazz, not outdoing it."""
    return F.relu(target - logit).mean()


def matching(logit: Tensor, real: Tensor, everyone: Tensor | None = None) -> Tensor:
    """Half the squared distance of logits (B,) from those of real jazz, in its own deviations.

    The squared Wasserstein distance of order two: on a line the best transport pairs sorted values,
    so the lowest of the batch is drawn to the lowest of real jazz, and the highest, should it be
    higher than any real piece, back down. Where the two distributions agree what is left is chance;
    `hinge` pushes on there, because half of real jazz lies below its own median.

    Args:
        logit: (B,) of what is generated.
        real: (R,) of real jazz, ascending.
        everyone: (W,) of the whole step, of which these are a part; these alone if not given.
    """
    return (gaps(logit, real, everyone) / deviation(real)).square().mean() / 2


def gaps(logit: Tensor, real: Tensor, everyone: Tensor | None = None) -> Tensor:
    """How far logits (B,) lie above the quantiles of real ones (R,), ascending, at their ranks.

    Args:
        logit, real, everyone: see `matching`.
    """
    everyone = logit.detach() if everyone is None else everyone
    place = (torch.arange(len(everyone), device=real.device) + 0.5).to(real.dtype) / len(everyone)
    ordered, here = everyone.sort().values, logit.detach().contiguous()
    first = torch.searchsorted(ordered, here).clamp(max=len(everyone) - 1)
    last = torch.searchsorted(ordered, here, right=True).maximum(first + 1)
    # Equal logits share their ranks: each is drawn to the mean of these ranks' quantiles.
    total = F.pad(torch.quantile(real, place).double().cumsum(0), (1, 0))
    return logit - ((total[last] - total[first]) / (last - first)).to(real.dtype)


def worth(logit: Tensor, real: Tensor, everyone: Tensor | None = None) -> Tensor:
    """What more of pieces with logits (B,) would be worth to `matching`, as a reward (B,).

    The first variation of the squared distance, negated (Kantorovich's potential; Santambrogio
    2015, section 7.2): between neighbours in rank the reward rises by the way they have to go up,
    times what lies between them. It grows with the logit while all lie below real jazz, is flat
    where they lie as real jazz does, and falls where they lie above. (A piece's own squared way
    does not do: far below, the quantiles of real jazz are low as well, and the worst pieces would
    be preferred to the middling.) It is of all pieces, so one's reward is not free of the others,
    nor their mean of it: as a reward it gives the slope of the distance up to a share of the order
    of one over how many there are.

    Args:
        logit, real, everyone: see `matching`.
    """
    everyone = logit.detach() if everyone is None else everyone
    ordered = everyone.sort().values
    ways = -gaps(ordered, real, ordered)
    rises = (ways[1:] + ways[:-1]) / 2 * ordered.diff()
    levels = torch.cat([rises.new_zeros(1), rises.cumsum(0)]) / deviation(real).square()
    rank = torch.searchsorted(ordered, logit.detach().contiguous())
    return levels[rank.clamp(max=len(everyone) - 1)]


def deviation(real: Tensor) -> Tensor:
    """The standard deviation of real jazz's logits (R,), never zero."""
    return real.std() + 1e-6


def non_saturating(logit: Tensor) -> Tensor:
    """-log p(jazz) of logits (B,) (Goodfellow et al. 2014), which always pushes on."""
    return F.softplus(-logit).mean()


def relativistic(logit: Tensor, real: Tensor) -> Tensor:
    """-log p(generated is more real than real) of logits (B,) each (RSGAN, Jolicoeur-Martineau
    2019)."""
    return F.softplus(real - logit).mean()


def wasserstein(logit: Tensor) -> Tensor:
    """The generator's part of the Wasserstein distance, of logits (B,) (Arjovsky et al. 2017)."""
    return -logit.mean()


def tells_apart(generated: Tensor, real: Tensor, smoothing: float = 0.0) -> Tensor:
    """The discriminator's cross-entropy of logits (B,) each.

    Args:
        generated, real: logits.
        smoothing: how far from 1 the target of what is real lies (one-sided, Salimans et al. 2016).
    """
    targets = torch.full_like(real, 1 - smoothing)
    return (F.softplus(generated).mean() + F.binary_cross_entropy_with_logits(real, targets)) / 2


def tells_apart_hinge(generated: Tensor, real: Tensor) -> Tensor:
    """The discriminator's hinge loss of logits (B,) each (Lim & Ye 2017)."""
    return (F.relu(1 + generated).mean() + F.relu(1 - real).mean()) / 2


def tells_apart_relativistic(generated: Tensor, real: Tensor) -> Tensor:
    """-log p(real is more real than generated) of logits (B,) each."""
    return F.softplus(generated - real).mean()


def distance(generated: Tensor, real: Tensor) -> Tensor:
    """The discriminator's part of the Wasserstein distance, of logits (B,) each."""
    return generated.mean() - real.mean()


def slope(logits: Tensor, rows: Tensor, target: float = 0.0) -> Tensor:
    """Mean squared distance of the gradient's norm at rows (B, T, V) from `target`.

    At real rows, with 0: R1 (Mescheder et al. 2018). At rows between real and generated, with 1:
    the gradient penalty of WGAN-GP (Gulrajani et al. 2017); between one-hot rows lies nothing that
    is music, so it is there for comparison.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), rows, create_graph=True)
    square = gradient.flatten(1).square().sum(1)
    if not target:
        return square.mean()
    return ((square + 1e-12).sqrt() - target).square().mean()
