"""The style critic: a frozen jazz discriminator and what it thinks of real jazz.

It owns the discriminator, the logits of real jazz (which generated music is to match, not to
outdo), and the adversarial loss.

Shapes: B rollouts, S tokens, V the discriminator's vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import EOS, TokenType
from discriminator.classifier import Classifier
from discriminator.ensemble import Ensemble
from gan.adversarial import losses
from gan.engine import numpy_generator
from gan.ranks import ALONE, Ranks
from gan.run import classifier_folder
from gan.settings import AdversarialLoss

FEW = 2.0  # percentile of real jazz's notes; with far fewer, a piece loses logits
SLACK = 0.7  # how far: at the percentile itself a corpus of one density would forbid every other
CHANCES = 200  # draws of real jazz that say how far apart chance sets it
HOLLOW = 10.0  # logits that a piece without a note loses


class StyleCritic:
    """A frozen discriminator as a source of gradient.

    A discriminator may never have met silence, and like it: a generator left to please such a one
    learnt to write rests alone. So a piece loses logits for notes it lacks to what nearly all real
    jazz has in as many tokens, and the gradient asks for notes.

    Args:
        folder: a classifier's folder, or a `pretrain-disc` run; None takes the shipped one.
        corpus: the generator's corpus; real jazz is drawn from its training split.
        exclude_sources: sources the real jazz is not drawn from.
        length: tokens of a generated piece, so that real pieces are judged at the same length.
        loss: "matching" draws the logits to the distribution of real jazz's, "hinge" stops at
            its median, "non_saturating" does not stop.
        device: where to run.
        caution: of an ensemble, standard deviations of its members' logits taken from their mean:
            what only some of them like is no gain (Coste et al. 2024).
        hollow: take logits from pieces that lack notes.

    Raises:
        UserError: the discriminator reads another representation than the corpus.
        ValueError: another loss.
    """

    def __init__(
        self,
        folder: str | Path | None,
        corpus: Corpus,
        exclude_sources: Sequence[str],
        length: int,
        loss: AdversarialLoss,
        device: torch.device,
        caution: float = 0.0,
        hollow: bool = True,
    ) -> None:
        if loss not in get_args(AdversarialLoss):
            raise ValueError(f"loss '{loss}': use one of {', '.join(get_args(AdversarialLoss))}")
        classifier = Classifier.load(classifier_folder(Path(folder)) if folder else None, device)
        if classifier.representation.music_digest != corpus.representation.music_digest:
            raise UserError(
                f"{folder or 'the shipped classifier'}: reads other tokens than {corpus.folder}; "
                "pretrain one on this corpus with 'gan pretrain-disc'"
            )
        self.model = classifier.model.eval().requires_grad_(False)
        self.size = classifier.representation.music_size
        self.settings = classifier.settings
        self._loss = loss
        types = classifier.representation.token_types[: self.size]
        strikes = np.isin(types, [TokenType.PITCH, TokenType.NOTE_ON])
        self.strikes = torch.from_numpy(strikes).to(device)
        self.fewest = 0.0
        self._chance: dict[int, float] = {}
        self.caution = caution if isinstance(self.model, Ensemble) else 0.0
        real, counts = self._real(corpus, exclude_sources, length, device)
        self.fewest = hollow * SLACK * float(np.percentile(counts, FEW))
        self.real_logits = torch.from_numpy(np.sort(real)).to(device)
        self.real_median = float(np.median(real))
        self.real_p = float(self.probability(torch.from_numpy(real)).mean())

    @torch.no_grad()
    def _real(
        self, corpus: Corpus, exclude_sources: Sequence[str], length: int, device: torch.device
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits of real jazz, and how many notes a token it has."""
        numbers = corpus.select("train", "jazz", exclude_sources)
        if not numbers:
            raise UserError(f"{corpus.folder}: no jazz in train to match the generator to")
        generator = numpy_generator("real jazz")
        logits, counts = [], []
        for _ in range(8):
            rows = np.zeros((32, length), dtype=np.int64)
            for row in rows:
                piece = corpus.piece(int(generator.choice(numbers)))
                start = int(generator.integers(max(1, len(piece) - length + 1)))
                music = piece[start : start + length]
                row[: len(music)] = music
            ids = torch.from_numpy(rows).to(device)
            logits.append(self._judged(ids, None).cpu().numpy())
            counts.append((self.strikes[ids].sum(1) / (ids > EOS).sum(1)).cpu().numpy())
        return np.concatenate(logits), np.concatenate(counts)

    def logits(self, rows: Tensor, real: Tensor) -> Tensor:
        """Logits (B,) of rows (B, S, >= V); conditions, which are never sampled, are cut off.

        Args:
            rows: one-hot or relaxed.
            real: (B, S) bool, False on padding.
        """
        music = rows[..., : self.size]
        notes = (music * self.strikes).sum((1, 2))
        return self._judged(music, real) - self._hollow(notes, real)

    def logits_of(self, ids: Tensor) -> Tensor:
        """The same of ids (B, S); what is no music counts as padding."""
        real = (ids > EOS) & (ids < self.size)
        music = ids * real
        return self._judged(music, real) - self._hollow(self.strikes[music].sum(1), real)

    def _hollow(self, notes: Tensor, real: Tensor) -> Tensor:
        """What pieces (B,) lose for notes they lack, of as many tokens as they have."""
        if not self.fewest:
            return torch.zeros_like(notes, dtype=torch.float32)
        # One at least: what ends at once has as few notes as what goes on in silence.
        least = (self.fewest * real.sum(1)).clamp(min=1.0)
        return HOLLOW * torch.relu(least - notes) / least

    def _judged(self, x: Tensor, real: Tensor | None) -> Tensor:
        if not self.caution:
            return self.model(x, real).float()
        return self.model(x, real, self.caution).float()

    def loss(self, logits: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """The adversarial loss of the logits (B,) of generated music, this rank's of a step."""
        if self._loss == "matching":
            return losses.matching(logits, self.real_logits, self._everyone(logits, ranks))
        if self._loss == "hinge":
            return losses.hinge(logits, self.real_median)
        return losses.non_saturating(logits)

    def pull(self, loss: float, count: int) -> float:
        """The share of its full weight that a loss is worth, 0 to 1, where gradients are scaled.

        A gradient brought to a fixed norm pulls as hard where hardly anything is wrong. Matching
        says how far there is to go: a distance of one deviation of real jazz, or more, is worth
        all of it, and what as many pieces of real jazz are apart by chance is worth nothing.

        Args:
            loss: of the whole step.
            count: its rollouts.
        """
        if self._loss != "matching":
            return 1.0
        return min(1.0, max(0.0, 2 * (loss - self._by_chance(count))) ** 0.5)

    def score(self, logits: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Logits (B,) as a reward (B,), which stops growing where the loss stops."""
        if self._loss == "matching":
            return losses.worth(logits, self.real_logits, self._everyone(logits, ranks))
        # From zero downwards: rounding would tell clamped scores of any other height apart.
        return (logits - self.real_median).clamp(max=0) if self._loss == "hinge" else logits

    def _everyone(self, logits: Tensor, ranks: Ranks) -> Tensor:
        if ranks.world == 1:
            return logits.detach()
        return torch.cat(ranks.gather(logits.detach().cpu())).to(logits.device)

    def _by_chance(self, count: int) -> float:
        """The mean loss of `count` pieces of real jazz."""
        if count not in self._chance:
            chance = numpy_generator("pieces of real jazz", count)
            real = self.real_logits.cpu()
            draws = torch.from_numpy(chance.integers(len(real), size=(CHANCES, count)))
            found = [float(losses.matching(real[places], real)) for places in draws]
            self._chance[count] = float(np.mean(found))
        return self._chance[count]

    def probability(self, logits: Tensor) -> Tensor:
        """Calibrated p(jazz)."""
        return torch.sigmoid(self.settings.scale * logits + self.settings.bias)
