"""The realism critic: real jazz or this generator's own, learnt along.

It owns its model, its optimizer and a store of what the generator wrote before (Shrivastava et al.
2017), and learns only while it is not already winning: a critic that is sure teaches nothing. Real
music goes on from the very prompts the rollouts went on from and is heard for as long as what it is
shown beside, so place, length and opening tell nothing. Elsewhere a critic learning along kept a
generator's diversity (GAPT, ICLR 2026); in this project's results it and the frozen one are level.

Shapes: B pieces, S tokens, V the discriminator's vocabulary.
"""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from data_tools.representation import EOS, Representation
from discriminator.models import build_one
from discriminator.notes import TokenTable
from discriminator.settings import CNNSettings
from gan.adversarial import losses
from gan.engine import adamw, check_finite, derived_seed, load_optimizer, numpy_generator
from gan.ranks import ALONE, Ranks

RealismLoss = Literal["non_saturating", "hinge", "relativistic", "wasserstein"]
MODEL = CNNSettings(view="tokens", width=96, blocks=5, stride=2, head=96, dropout=0.1)
MEMORY = 0.98  # of the running accuracy


class RealismCritic:
    """A discriminator of real against generated, and how it learns.

    Args:
        representation: of the generator's music tokens.
        loss: of both sides.
        rate: learning rate.
        winning: it does not learn while it tells apart more than this share.
        slope: weight of R1, or of the gradient penalty where the loss is Wasserstein's.
        smoothing: of the real label.
        spectral: bound each layer's slope by spectral norm (Miyato et al. 2018).
        store: batches of old samples it is reminded of.
        seed: of its first weights and its dropout.
        device: where.

    Raises:
        ValueError: an unknown loss.
    """

    def __init__(
        self,
        representation: Representation,
        loss: RealismLoss = "relativistic",
        rate: float = 3e-4,
        winning: float = 0.8,
        slope: float = 1.0,
        smoothing: float = 0.1,
        spectral: bool = False,
        store: int = 8,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if loss not in get_args(RealismLoss):
            raise ValueError(f"loss '{loss}': use one of {', '.join(get_args(RealismLoss))}")
        torch.manual_seed(derived_seed(seed, "realism critic"))
        model = build_one(MODEL, TokenTable.of(representation))
        if spectral:
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    spectral_norm(module)
        self.model = model.to(device)
        self.size = representation.music_size
        self.seed = seed
        self.kind, self.winning, self.slope = loss, winning, slope
        self.smoothing, self.store = smoothing, store
        self.optimizer = adamw(self.model, rate, 0.01)
        self.accuracy = 0.5
        self.old: list[Tensor] = []

    def logits(self, rows: Tensor, real: Tensor) -> Tensor:
        """Logits (B,) of rows (B, S, >= V) or ids (B, S); `real` is False on padding."""
        if rows.dim() == 3:
            rows = rows[..., : self.size]
        return self.model(rows, real).float()

    def loss(self, rows: Tensor, real: Tensor, music: Tensor) -> Tensor:
        """The generator's loss of its rows (B, S, >= V), beside real ids (B, S)."""
        self.model.eval().requires_grad_(False)
        logits = self.logits(rows, real)
        if self.kind == "relativistic":
            with torch.no_grad():
                music = music * real  # for as long as the rows are music
                known = self.logits(music, music > EOS)
            result = losses.relativistic(logits, known)
        elif self.kind == "wasserstein" or self.kind == "hinge":
            result = losses.wasserstein(logits)  # which is the generator's side of both
        else:
            result = losses.non_saturating(logits)
        self.model.requires_grad_(True)
        return result

    @property
    def skill(self) -> float:
        """What it has learnt to tell: 0 at chance, 1 where it is winning.

        Weighed beside cross-entropy, the gradient of a critic that knows nothing is as long as that
        of one that knows all; for such noise a generator pays and gets nothing.
        """
        return min(1.0, max(0.0, (self.accuracy - 0.5) / (self.winning - 0.5)))

    @torch.no_grad()
    def score(self, rows: Tensor, real: Tensor) -> Tensor:
        """Logits (B,) as a reward, without gradient; see `logits`."""
        self.model.eval()
        return self.logits(rows, real)

    def learn(
        self, generated: Tensor, music: Tensor, step: int, ranks: Ranks = ALONE
    ) -> dict[str, float]:
        """One step on generated ids (B, S) and real ids (B, S), unless it is winning.

        Half of what it is shown as generated is remembered, once there is something to remember.
        """
        torch.manual_seed(derived_seed(self.seed, "realism dropout", step, *ranks.own()))
        fakes = self._remembered(generated.clone(), step)
        music = music * (fakes > EOS)  # a rollout may end early, a real passage goes on
        self.model.train().requires_grad_(True)
        learns = self.accuracy < self.winning
        rows = F.one_hot(music * (music > EOS), self.size).float()
        rows.requires_grad_(learns and self.slope > 0 and self.kind != "wasserstein")
        real = self.logits(rows, music > EOS)
        fake = self.logits(fakes * (fakes > EOS), fakes > EOS)
        if self.kind == "relativistic":
            loss = losses.tells_apart_relativistic(fake, real)
        elif self.kind == "hinge":
            loss = losses.tells_apart_hinge(fake, real)
        elif self.kind == "wasserstein":
            loss = losses.distance(fake, real)
        else:
            loss = losses.tells_apart(fake, real, self.smoothing)
        # Of pairs: where there is no zero to be above, one can still be above the other.
        share = (real.detach()[:, None] > fake.detach()[None]).float().mean()
        whole = float(ranks.total(share.new_tensor(float(len(generated)))))
        mine = ranks.weight(len(generated), whole)
        right = float(ranks.total(mine * share)) / ranks.world
        self.accuracy = MEMORY * self.accuracy + (1 - MEMORY) * right
        if learns:
            total = mine * (loss + self._penalty(rows, real, fakes))
            mean = ranks.total(total.detach()) / ranks.world
            check_finite(mean, "realism critic's loss", step)
            self.optimizer.zero_grad()
            total.backward()
            for weight in self.model.parameters():
                if weight.grad is not None:
                    weight.grad = ranks.total(weight.grad) / ranks.world
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return {
            "realism/loss": loss.item(),
            "realism/right": right,
            "realism/learns": float(learns),
            "realism/generated": fake.mean().item(),
            "realism/real": real.mean().item(),
        }

    def _penalty(self, rows: Tensor, real: Tensor, fakes: Tensor) -> Tensor | float:
        if not self.slope:
            return 0.0
        if self.kind != "wasserstein":
            return self.slope * losses.slope(real, rows)
        other = F.one_hot(fakes * (fakes > EOS), self.size).float()
        where = torch.rand(len(rows), 1, 1, device=rows.device)
        between = (where * rows.detach() + (1 - where) * other).requires_grad_()
        mask = torch.ones(between.shape[:2], dtype=torch.bool, device=rows.device)
        return 10 * self.slope * losses.slope(self.logits(between, mask), between, 1.0)

    def _remembered(self, generated: Tensor, step: int) -> Tensor:
        """Generated ids, the second half given way to older ones; remembers them itself."""
        half = len(generated) // 2
        known = [old for old in self.old if old.shape == generated.shape]
        fresh = generated.clone()
        if known and half:
            # Not the steps in turn: a term of every eighth would always meet the same age.
            chosen = int(numpy_generator("remembered", step).integers(len(known)))
            generated[half:] = known[chosen][half:].to(generated.device)
        if self.store:
            self.old = [*self.old, fresh.cpu()][-self.store :]
        return generated

    def state_dict(self) -> dict[str, Any]:
        """Everything that moves but `old`, which is a rank's own."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "accuracy": self.accuracy,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.accuracy = state["accuracy"]
