"""What the style critic asks for: to match real jazz, and how hard it pulls."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.corpus import Corpus
from gan.adversarial import losses
from gan.adversarial.critic import SLACK, StyleCritic
from gan.adversarial.rollout import leave_one_out
from gan.adversarial.trainer import Trainer
from gan.settings import AdversarialLoss


def critic_of(loss: AdversarialLoss, folder: str | Path, corpus: Corpus) -> StyleCritic:
    return StyleCritic(folder, corpus, (), 48, loss, torch.device("cpu"))


@pytest.fixture(scope="module")
def matching(practice_corpus: Corpus, tiny_discriminator: Path) -> StyleCritic:
    return critic_of("matching", tiny_discriminator, practice_corpus)


def test_a_folder_may_be_text(
    practice_corpus: Corpus, tiny_discriminator: Path, matching: StyleCritic
) -> None:
    again = critic_of("matching", str(tiny_discriminator), practice_corpus)
    assert torch.equal(again.real_logits, matching.real_logits)


def test_real_jazz_is_what_may_be_learnt_from(
    practice_corpus: Corpus, tiny_discriminator: Path, matching: StyleCritic
) -> None:
    """What is left out, of another split or no jazz has no part in it, one as little as another."""
    left = practice_corpus.select("train", "jazz")[::2]
    found = []
    for change in ({"source": "other"}, {"split": "validation"}, {"label": "not_jazz"}):
        corpus = Corpus(practice_corpus.folder)
        for number in left:
            corpus.rows[number] = corpus.rows[number] | change
        exclude = list(change.values()) if "source" in change else []
        device = torch.device("cpu")
        critic = StyleCritic(tiny_discriminator, corpus, exclude, 48, "matching", device)
        found.append(critic.real_logits)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], matching.real_logits)


def test_what_it_makes_of_real_jazz(
    practice_corpus: Corpus, tiny_discriminator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, notes = np.array([3.0, -1.0, 0.5]), np.linspace(0.2, 0.4, 101)
    monkeypatch.setattr(StyleCritic, "_real", lambda *_: (real, notes))
    critic = critic_of("hinge", tiny_discriminator, practice_corpus)
    assert critic.real_logits.tolist() == [-1.0, 0.5, 3.0]
    assert critic.real_median == 0.5
    assert critic.fewest == pytest.approx(SLACK * 0.204), "of the notes that 98% have"
    assert critic.loss(torch.tensor([0.5, 2.0, -2.5])).item() == pytest.approx(1.0)
    critic.settings = critic.settings.model_copy(update={"scale": 2.0, "bias": -1.0})
    found = critic.probability(torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(found, torch.tensor([0.0, 2.0]).sigmoid())
    assert not critic.model.training
    assert not any(weight.requires_grad for weight in critic.model.parameters())


def test_another_loss_is_refused(practice_corpus: Corpus, tiny_discriminator: Path) -> None:
    with pytest.raises(ValueError, match="loss 'hing': use one of matching, hinge, non_saturating"):
        critic_of("hing", tiny_discriminator, practice_corpus)  # type: ignore[arg-type]


def test_matching_pulls_as_hard_as_there_is_far_to_go(matching: StyleCritic) -> None:
    real = matching.real_logits
    spread = real.std()
    alike = torch.quantile(real, (torch.arange(24) + 0.5) / 24)
    pulls = [
        matching.pull(float(matching.loss(alike - distance * spread)), 100_000)
        for distance in (0.0, 0.25, 0.5, 1.0, 5.0)
    ]
    assert pulls[0] < 0.02
    assert pulls[1] == pytest.approx(0.25, rel=0.05)
    assert pulls[2] == pytest.approx(0.5, rel=0.05)
    assert pulls[3] == pytest.approx(1.0, rel=0.05)
    assert pulls[4] == 1.0, "no more than the whole weight"


def test_the_share_is_weighed_by_the_pull(
    tiny_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for scale, share in (("gradient", 0.1), ("loss", None)):
        trainer = tiny_trainer(adv_loss="matching", adv_scale=scale, adv_weight=0.4)
        monkeypatch.setattr(trainer.critic, "pull", lambda *_: 0.25)
        metrics = trainer.train_step(0)
        if share:
            assert metrics["adversarial/share"] == pytest.approx(share, rel=1e-4)
            assert metrics["adversarial/pull"] == 0.25
        else:
            assert metrics["adversarial/weight"] == pytest.approx(0.4)


@pytest.mark.parametrize("count", [1, 4, 24])
def test_what_chance_sets_apart_pulls_little(matching: StyleCritic, count: int) -> None:
    """Few pieces never match quantiles; a batch of real jazz itself must not be pushed about."""
    generator = torch.Generator().manual_seed(3)
    real = matching.real_logits
    draws = [real[torch.randint(len(real), (count,), generator=generator)] for _ in range(100)]
    pulls = [matching.pull(float(matching.loss(draw)), count) for draw in draws]
    away = [matching.pull(float(matching.loss(draw - 2 * real.std())), count) for draw in draws]
    assert sum(pulls) / 100 < 0.4
    assert sum(pulls) < 0.5 * sum(away)


def test_a_rank_pairs_its_logits_within_the_whole_step(matching: StyleCritic) -> None:
    torch.manual_seed(0)
    everyone = torch.randn(8) + matching.real_median
    real = matching.real_logits
    whole = losses.gaps(everyone, real)
    for mine in (everyone[0::2], everyone[1::2], everyone[:1]):
        found = losses.gaps(mine, real, everyone)
        torch.testing.assert_close(found, whole[torch.isin(everyone, mine)])
    halves = [losses.matching(everyone[k::2], real, everyone) for k in (0, 1)]
    torch.testing.assert_close(sum(halves) / 2, losses.matching(everyone, real))


@pytest.mark.parametrize("loss", ["hinge", "non_saturating"])
def test_other_losses_pull_with_their_whole_weight(
    loss: AdversarialLoss, practice_corpus: Corpus, tiny_discriminator: Path
) -> None:
    critic = critic_of(loss, tiny_discriminator, practice_corpus)
    assert critic.pull(float(critic.loss(critic.real_logits)), 24) == 1.0


def test_rewards_stop_growing_where_the_losses_stop(
    practice_corpus: Corpus, tiny_discriminator: Path, matching: StyleCritic
) -> None:
    real = matching.real_logits
    alike = torch.quantile(real, (torch.arange(24) + 0.5) / 24)
    assert matching.score(alike).abs().max() < 1e-5, "nothing to gain where all is as real jazz is"
    below, above = (matching.score(alike + shift * real.std()) for shift in (-3, 3))
    assert (below.diff() > 0).all(), "of pieces below real jazz the highest is worth most"
    assert (above.diff() < 0).all(), "too jazzy is worth less"
    hinge = critic_of("hinge", tiny_discriminator, practice_corpus)
    high = hinge.real_median + torch.tensor([0.0, 1.0, 50.0])
    assert not hinge.score(high).any(), "exactly alike, or rounding would be the reward"
    assert not leave_one_out(hinge.score(high)).any()
    free = critic_of("non_saturating", tiny_discriminator, practice_corpus)
    assert torch.equal(free.score(high), high)
