"""What the style critic asks for: to match real jazz, and how hard it pulls."""

from pathlib import Path

import pytest
import torch

from data_tools.corpus import Corpus
from gan.adversarial import losses
from gan.adversarial.critic import StyleCritic
from gan.adversarial.rollout import leave_one_out
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
