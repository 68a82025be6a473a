"""Several discriminators as one: the mean of their calibrated logits.

Members that differ in family, seed and in the pieces they learnt from err differently, so their
mean transfers better than any of them, and a generator finds it harder to please them all by a
trick. Each logit is first put on one scale by its member's own Platt scaling.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from data_tools.errors import UserError
from discriminator.body import Discriminator
from discriminator.settings import EnsembleSettings
from discriminator.view import Seen

if TYPE_CHECKING:
    from discriminator.classifier import Classifier


class Ensemble(nn.Module):
    """Members over one vocabulary, used as one model.

    Args:
        members: the models.
        scales, biases: of each member's calibration; 1 and 0 where left out.
    """

    scales: Tensor
    biases: Tensor

    def __init__(
        self,
        members: Sequence[Discriminator],
        scales: Sequence[float] | None = None,
        biases: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        sizes = {member.vocab_size for member in members}
        if len(sizes) != 1:
            raise ValueError(
                f"members over vocabularies of {sorted(sizes)} tokens make no ensemble"
            )
        (self.vocab_size,) = sizes
        self.members = nn.ModuleList(members)
        ones, noughts = [1.0] * len(members), [0.0] * len(members)
        self.register_buffer("scales", torch.tensor(scales or ones))
        self.register_buffer("biases", torch.tensor(biases or noughts))

    def member_logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The calibrated logits of every member, (members, B) float32."""
        seen: dict[str, Seen] = {}
        logits = []
        for member in self.members:
            assert isinstance(member, Discriminator)
            if member.view_name not in seen:  # views have no weights: one look serves all
                seen[member.view_name] = member.view(x, mask)
            logits.append(member.judge(seen[member.view_name]))
        return torch.stack(logits) * self.scales[:, None] + self.biases[:, None]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The logit of p(jazz), (B,) float32; see `Discriminator.forward`."""
        return self.member_logits(x, mask).mean(0)


def joined(classifiers: Sequence["Classifier"]) -> "Classifier":
    """One classifier of several, each with its own calibration inside.

    Raises:
        UserError: they read different representations, or one is an ensemble already.
    """
    from discriminator.classifier import Classifier  # here: it builds on this module

    first = classifiers[0]
    members, settings = [], []
    for one in classifiers:
        if one.representation.digest != first.representation.digest:
            raise UserError("these classifiers read different representations; train them on one")
        if not isinstance(one.model, Discriminator) or one.settings.model.kind == "ensemble":
            raise UserError("an ensemble cannot be a member; give its members instead")
        members.append(one.model)
        settings.append(one.settings.model)
    model = Ensemble(
        members, [c.settings.scale for c in classifiers], [c.settings.bias for c in classifiers]
    )
    card = first.settings.model_copy(
        update={
            "model": EnsembleSettings(members=tuple(settings)),
            "window": max(c.settings.window for c in classifiers),
            "scale": 1.0,
            "bias": 0.0,
        }
    )
    return Classifier(model, first.representation, card, first.device)
