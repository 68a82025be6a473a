"""Several discriminators as one: the mean of their calibrated logits.

Members that differ in family, seed and in the pieces they learnt from err differently, so their
mean transfers better than any of them, and a generator finds it harder to please them all by a
trick. Each logit is first put on one scale by its member's own Platt scaling.

Members that learnt jazz from other music alone have an opinion of noise, too, and it may be jazz.
A gate that learnt music from noise, whatever the style, makes the answer p(jazz and music). What is
surely music it hardly touches.

A judge that is no network, as boosted trees over features of the whole piece, gives no gradient and
cannot be a member. Its opinion of a piece can be handed in and counts as one member's.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from data_tools.errors import UserError
from discriminator.body import Discriminator
from discriminator.settings import VIEWS, EnsembleSettings
from discriminator.view import NoteView, Seen, TokenView

MUSIC_ODDS = 50.0  # pieces of music to one of noise; on the validation split: see the results

if TYPE_CHECKING:
    from discriminator.classifier import Classifier


class Ensemble(nn.Module):
    """Members over one vocabulary, used as one model.

    Args:
        members: the models.
        scales, biases: of each member's calibration; 1 and 0 where left out.
        gate: a model whose logit says whether something is music.
        gate_scale, gate_bias: of its calibration.
    """

    scales: Tensor
    biases: Tensor
    gate_calibration: Tensor

    def __init__(
        self,
        members: Sequence[Discriminator],
        scales: Sequence[float] | None = None,
        biases: Sequence[float] | None = None,
        gate: Discriminator | None = None,
        gate_scale: float = 1.0,
        gate_bias: float = 0.0,
    ) -> None:
        super().__init__()
        everyone = [*members, *([gate] if gate else [])]
        sizes = {member.vocab_size for member in everyone}
        if len(sizes) != 1:
            raise ValueError(
                f"members over vocabularies of {sorted(sizes)} tokens make no ensemble"
            )
        (self.vocab_size,) = sizes
        self.members = nn.ModuleList(members)
        ones, noughts = [1.0] * len(members), [0.0] * len(members)
        self.register_buffer("scales", torch.tensor(scales or ones))
        self.register_buffer("biases", torch.tensor(biases or noughts))
        self.gate = gate
        if gate is not None:
            self.register_buffer("gate_calibration", torch.tensor([gate_scale, gate_bias]))

    def member_logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The calibrated logits of every member, (members, B) float32, the gate left aside."""
        return self._judged(self._seen(x, mask))

    def music_logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The calibrated logits (B,) float32 of being music; there must be a gate."""
        return self._music(self._seen(x, mask))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        caution: float = 0.0,
        opinion: Tensor | None = None,
    ) -> Tensor:
        """The logit of p(jazz), (B,) float32; see `Discriminator.forward`.

        Args:
            x, mask: ids or rows, and what is real of them.
            caution: standard deviations of the members' logits taken from their mean.
            opinion: calibrated logits (B,) of a judge that is no member and counts as one; NaN
                where it has none.
        """
        seen = self._seen(x, mask)
        each = self._judged(seen)
        logits = each.mean(0)
        if opinion is not None:
            opinion = opinion.to(logits)
            told = (each.sum(0) + opinion) / (len(each) + 1)
            logits = torch.where(opinion.isnan(), logits, told)
        if caution:
            # Where all agree the deviation has no slope; a trace keeps its root differentiable.
            logits = logits - caution * (each.var(0, correction=0) + 1e-6).sqrt()
        return logits if self.gate is None else both(logits, self._music(seen))

    def _seen(self, x: Tensor, mask: Tensor | None) -> dict[str, Seen]:
        """What each view sees; views have no weights, so one look serves all who share it.

        A view of notes begins with what the poorer ones show, so the richest look serves them, too.
        """
        views: dict[str, NoteView | TokenView] = {}
        for member in (*self.members, *([self.gate] if self.gate is not None else [])):
            assert isinstance(member, Discriminator)
            views.setdefault(member.view_name, member.view)
        seen: dict[str, Seen] = {}
        richest: Seen | None = None
        for name in sorted(views, key=VIEWS.index, reverse=True):
            view = views[name]
            if richest is not None and isinstance(view, NoteView):
                seen[name] = view.narrowed(richest)
                continue
            seen[name] = view(x, mask)
            if isinstance(view, NoteView):
                richest = seen[name]
        return seen

    def _judged(self, seen: dict[str, Seen]) -> Tensor:
        logits = []
        for member in self.members:
            assert isinstance(member, Discriminator)
            logits.append(member.judge(seen[member.view_name]))
        return torch.stack(logits) * self.scales[:, None] + self.biases[:, None]

    def _music(self, seen: dict[str, Seen]) -> Tensor:
        assert self.gate is not None
        scale, bias = self.gate_calibration
        return self.gate.judge(seen[self.gate.view_name]) * scale + bias


def both(one: Tensor, other: Tensor) -> Tensor:
    """The logit of the product of two probabilities, of their logits (B,) each.

    1 / (p q) = (1 + exp(-one)) (1 + exp(-other)), and the odds follow without a difference of
    numbers that are nearly equal.
    """
    return -torch.logsumexp(torch.stack([-one, -other, -one - other]), 0)


def joined(classifiers: Sequence["Classifier"]) -> "Classifier":
    """One classifier of several, each with its own calibration inside.

    Raises:
        UserError: they read different representations, or one is an ensemble already.
    """
    from discriminator.classifier import Classifier  # here: it builds on this module

    first = classifiers[0]
    members, settings = [], []
    for one in classifiers:
        _check_alike(one, first)
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


def gated(classifier: "Classifier", gate: "Classifier", music_odds: float) -> "Classifier":
    """An ensemble with a gate; its verdicts and its way of reading stay.

    A product of probabilities wants each calibrated, so what calibrated the ensemble as a whole
    goes into its members: the mean of maps is the map of the mean.

    Args:
        classifier: the ensemble; see `joined`.
        gate: one that learnt music (as jazz) from noise, from as much of either.
        music_odds: pieces of music to one of noise where the classifier will be used.

    Raises:
        UserError: they read different representations, or one of them is not what it should be.
    """
    from discriminator.classifier import Classifier

    _check_alike(gate, classifier)
    old, chosen = classifier.model, classifier.settings.model
    if not isinstance(old, Ensemble) or chosen.kind != "ensemble":
        raise UserError("a gate is for an ensemble; join the classifier first, be it alone")
    if not isinstance(gate.model, Discriminator) or gate.settings.model.kind == "ensemble":
        raise UserError("a gate is one model, not an ensemble")
    members = [member for member in old.members if isinstance(member, Discriminator)]
    scale, bias = classifier.settings.scale, classifier.settings.bias
    trees = classifier.trees.rescaled(scale, bias) if classifier.trees else None
    model = Ensemble(
        members, (old.scales * scale).tolist(), (old.biases * scale + bias).tolist(), gate.model,
        gate.settings.scale, gate.settings.bias + math.log(music_odds),
    )  # fmt: skip
    settings = chosen.model_copy(update={"gate": gate.settings.model})
    card = classifier.settings.model_copy(update={"model": settings, "scale": 1.0, "bias": 0.0})
    return Classifier(model, classifier.representation, card, classifier.device, trees=trees)


def _check_alike(one: "Classifier", first: "Classifier") -> None:
    if one.representation.digest != first.representation.digest:
        raise UserError("these classifiers read different representations; train them on one")
