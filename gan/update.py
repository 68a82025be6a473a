"""One update of the weights: scaling, clipping, learning rate, optimizer, averaging.

Averaged weights are what is validated, sampled from and kept, where they are asked for: an
exponential average (Polyak & Juditsky 1992), or an even one over the last part of the run, SWA
(Izmailov et al. 2018).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from gan.engine import Engine, adamw, check_finite, learning_rate, load_optimizer, set_rate
from gan.settings import TrainSettings


def optimizer_of(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or RMSprop (Hinton 2012).

    Only the first decays weights: in the others decay would go through the running averages, and
    at the strength that suits AdamW nothing is learnt.
    """
    rate = settings.learning_rate
    if settings.optimizer == "adamw":
        return adamw(model, rate, settings.weight_decay)
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.95), fused=True)
    return torch.optim.RMSprop(model.parameters(), lr=rate, alpha=0.99)


def rate_at(step: int, settings: TrainSettings, halvings: int = 0) -> float:
    """The learning rate of a step: linear warm-up, then cosine, constant, or halved so often."""
    peak, warmup, steps = settings.learning_rate, settings.warmup, settings.steps
    if settings.schedule == "cosine":
        return learning_rate(step, peak, warmup, steps, settings.final_rate)
    flat = learning_rate(min(step, warmup), peak, warmup, steps, 1.0)
    return max(flat * 0.5**halvings, peak * settings.final_rate * (flat / peak))


class Updater:
    """Applies gradients to a model.

    Args:
        model: to be trained, on its device.
        settings: optimizer, schedule, clipping, averaging.
        compute: in fp16, gradients are scaled so that they do not vanish (Micikevicius 2018).
    """

    def __init__(self, model: nn.Module, settings: TrainSettings, compute: Engine) -> None:
        self.model, self.settings = model, settings
        self.optimizer = optimizer_of(model, settings)
        half = compute.autocast_type == torch.float16
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=half)
        self.halvings, self._best, self._waited = 0, float("inf"), 0
        self._average: AveragedModel | None = None
        if settings.average != "none":
            function = (
                get_ema_multi_avg_fn(settings.average_decay)
                if settings.average == "ema"
                else get_swa_multi_avg_fn()
            )
            self._average = AveragedModel(model, multi_avg_fn=function)

    @property
    def kept(self) -> nn.Module:
        """The model worth keeping: the averaged one, where there is one."""
        return self._average.module if self._average is not None else self.model

    def backward(self, outputs: list[Tensor], gradients: list[Tensor]) -> None:
        """Sends gradients at the outputs back to the weights, adding to what is there."""
        scale = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        torch.autograd.backward(outputs, [gradient * scale for gradient in gradients])

    def apply(self, step: int) -> dict[str, float]:
        """Updates the weights; returns the gradient's norm and the rate.

        Raises:
            UserError: the gradient's norm is not finite (in fp16 such a step is passed over).
        """
        settings = self.settings
        if self.scaler.is_enabled():
            self.scaler.scale(torch.zeros((), device=next(self.model.parameters()).device))
            self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        if not self.scaler.is_enabled():
            check_finite(norm, "gradient norm", step)
        rate = rate_at(step, settings, self.halvings)
        set_rate(self.optimizer, rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self._average is not None:
            if settings.average == "swa" and step <= settings.average_from * settings.steps:
                self._average.n_averaged.zero_()  # the next update is then a copy
            self._update_average(self._average)
        measured = {"schedule/learning_rate": rate}
        if bool(torch.isfinite(norm)):
            return measured | {"gradient/weights": float(norm)}
        return measured | {"gradient/passed_over": 1.0}

    def _update_average(self, average: AveragedModel) -> None:
        """Averages what is counted along as well: a batch norm's statistics fit these weights."""
        known = int(average.n_averaged)
        share = (
            1 - self.settings.average_decay if self.settings.average == "ema" else 1 / (known + 1)
        )
        before = [buffer.clone() for buffer in average.module.buffers()]
        average.update_parameters(self.model)  # copies the buffers
        for old, now in zip(before, average.module.buffers(), strict=True):
            if known and now.is_floating_point():
                now.copy_(old.lerp(now, share))

    def validated(self, bits: float) -> None:
        """Hears of a validation: a plateau halves the rate."""
        if self.settings.schedule != "plateau":
            return
        self._waited = 0 if bits < self._best else self._waited + 1
        self._best = min(self._best, bits)  # a NaN is no best
        if self._waited >= self.settings.plateau_patience:
            self.halvings, self._waited = self.halvings + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on; the weights too, where the kept ones are averages."""
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "plateau": [self.halvings, self._best, self._waited],
        }
        if self._average is not None:
            state |= {
                "weights": self.model.state_dict(),
                "averaged": int(self._average.n_averaged),
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undoes `state_dict`; the kept weights have been loaded into the model already."""
        load_optimizer(self.optimizer, state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.halvings, self._best, self._waited = state["plateau"]
        if self._average is not None:
            self._average.module.load_state_dict(self.model.state_dict())
            self._average.n_averaged.fill_(state["averaged"])
            self.model.load_state_dict(state["weights"])
