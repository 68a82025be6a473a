"""What the style critic asks for: to match real jazz, and how hard it pulls."""

from pathlib import Path

import pytest
import torch

from data_tools.corpus import Corpus
from gan.adversarial.critic import AdversarialLoss, StyleCritic


def critic_of(loss: AdversarialLoss, folder: Path, corpus: Corpus) -> StyleCritic:
    return StyleCritic(folder, corpus, (), 48, loss, torch.device("cpu"))


@pytest.fixture(scope="module")
def matching(practice_corpus: Corpus, tiny_discriminator: Path) -> StyleCritic:
    return critic_of("matching", tiny_discriminator, practice_corpus)


def test_matching_pulls_as_hard_as_there_is_far_to_go(matching: StyleCritic) -> None:
    real = matching.real_logits
    spread = real.std()
    alike = torch.quantile(real, (torch.arange(24) + 0.5) / 24)
    pulls = [
        matching.pull(float(matching.loss(alike - distance * spread)))
        for distance in (0.0, 0.25, 0.5, 1.0, 5.0)
    ]
    assert pulls[0] < 0.02
    assert pulls[1] == pytest.approx(0.25, rel=0.02)
    assert pulls[2] == pytest.approx(0.5, rel=0.02)
    assert pulls[3] == pytest.approx(1.0, rel=0.02)
    assert pulls[4] == 1.0, "no more than the whole weight"


@pytest.mark.parametrize("loss", ["hinge", "non_saturating"])
def test_other_losses_pull_with_their_whole_weight(
    loss: AdversarialLoss, practice_corpus: Corpus, tiny_discriminator: Path
) -> None:
    critic = critic_of(loss, tiny_discriminator, practice_corpus)
    assert critic.pull(float(critic.loss(critic.real_logits))) == 1.0


def test_rewards_stop_growing_where_the_losses_stop(
    practice_corpus: Corpus, tiny_discriminator: Path, matching: StyleCritic
) -> None:
    real = matching.real_logits
    alike = torch.quantile(real, (torch.arange(24) + 0.5) / 24)
    assert matching.score(alike).max() <= 0
    better, worse = matching.score(alike), matching.score(alike + 3 * real.std())
    assert (better > worse).all(), "too jazzy is no better than real"
    hinge = critic_of("hinge", tiny_discriminator, practice_corpus)
    high = hinge.real_median + torch.tensor([0.0, 1.0, 50.0])
    torch.testing.assert_close(hinge.score(high), torch.full((3,), hinge.real_median))
    free = critic_of("non_saturating", tiny_discriminator, practice_corpus)
    assert torch.equal(free.score(high), high)
