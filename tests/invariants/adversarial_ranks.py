"""Run by every rank of `test_ranks.py`: what must hold of adversarial training with several ranks.

Ranks draw rollouts of their own and the realism critic remembers its own rank's, so two ranks are
not one rank with all rollouts; but all have one generator, one critic and one reference, a step of
the critic is a step on all pieces, and a run stopped and resumed is the run that went on.

    torchrun ... adversarial_ranks.py CORPUS DISCRIMINATOR OUT
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_tools.corpus import Corpus
from data_tools.representation import Representation, TokenType
from gan.adversarial.realism import RealismCritic
from gan.adversarial.trainer import Trainer
from gan.ranks import Ranks, joined
from gan.run import weights_digest
from gan.settings import TrainSettings


class Stop(Exception):
    """The run is over before its end."""


def trainer(corpus: Path, discriminator: str, out: Path, ranks: Ranks, resume: bool) -> Trainer:
    settings: dict[str, Any] = {
        "generator": {"layers": 1, "width": 32, "heads": 2, "max_length": 64, "dropout": 0.1},
        "device": "cpu", "precision": "fp32", "discriminator": discriminator, "steps": 6,
        "batch": 4, "length": 48, "warmup": 2, "evaluate_every": 3, "checkpoint_every": 3,
        "validation_windows": 4, "samples": 0, "adv_weight": 0.5, "adv_critics": "both",
        "adv_scale": "gradient", "realism_warmup": 0, "reward_weight": 0.2, "kl_weight": 0.1,
        "adv_batch": 5, "rollout": 16, "prompt": 8, "learning_rate": 0.01,
        "bos_share": 1.0,  # rollouts then differ by their noise alone
    }  # fmt: skip
    chosen = TrainSettings.model_validate(settings)
    return Trainer(Corpus(corpus), out, chosen, resume=resume, quiet=True, ranks=ranks)


def digests(run: Trainer) -> dict[str, Any]:
    """Of everything that ranks share; `recent` is their own."""
    term = run.term
    assert term is not None
    assert term.realism is not None
    assert term.reference is not None
    return {
        "generator": weights_digest(run.model),
        "critic": weights_digest(term.realism.model),
        "reference": weights_digest(term.reference),
        "accuracy": term.realism.accuracy,
        "first": term.watch.first,
        "recent": torch.cat(term.recent).tolist(),
        "old": torch.cat(term.realism.old).tolist(),
    }


def stopped(run: Trainer, at: int) -> None:
    """Trains up to a step, as if the machine had then gone."""
    step = run.train_step

    def short(number: int, *rest: Any) -> dict[str, float]:
        if number == at:
            raise Stop
        return step(number, *rest)

    run.train_step = short  # type: ignore[method-assign]
    try:
        run.train()
    except Stop:
        return
    raise AssertionError("it was to be stopped")


def critic_of(seed: int) -> RealismCritic:
    critic = RealismCritic(Representation(), seed=seed)
    for module in critic.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # ranks drop other units
    return critic


def flat(critic: RealismCritic) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in critic.model.parameters()])


def one_step(ranks: Ranks) -> float:
    """How far a critic's first step on shares is from its step on the whole, of the way it goes."""
    first = Representation().vocabulary.first(TokenType.PITCH)
    chance = torch.Generator().manual_seed(0)
    real, fake = (first + torch.randint(0, 80, (5, 24), generator=chance) for _ in range(2))
    mine, whole = list(ranks.share(5)), critic_of(3)
    began = flat(whole).clone()
    whole.learn(fake, real, 0)
    shared = critic_of(3)
    shared.learn(fake[mine], real[mine], 0, ranks)
    alone = critic_of(3)
    alone.learn(fake[mine], real[mine], 0)
    way = (flat(whole) - began).norm()
    assert (flat(alone) - flat(whole)).norm() > 0.1 * way, "a share alone goes another way"
    return float((flat(shared) - flat(whole)).norm() / way)


def main(corpus: Path, discriminator: str, out: Path) -> None:
    with joined(torch.device("cpu")) as ranks:
        off = one_step(ranks)
        straight = trainer(corpus, discriminator, out / "straight", ranks, False)
        straight.train()
        stopped(trainer(corpus, discriminator, out / "stopped", ranks, False), 4)
        resumed = trainer(corpus, discriminator, out / "stopped", ranks, True)
        assert resumed.step == 3
        resumed.train()
        found = ranks.gather([digests(straight), digests(resumed)])
        steps = ranks.gather(off)
        if ranks.main:
            report = {"straight": [a for a, _ in found], "resumed": [b for _, b in found],
                      "off": steps}  # fmt: skip
            (out / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
