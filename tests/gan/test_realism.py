"""The critic that learns along: it learns what there is to learn, stops while it wins, and every
loss of it, on both sides, with its penalty, is the formula it is named after.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import EOS, PAD, Representation, TokenType
from gan.adversarial import losses
from gan.adversarial.realism import MEMORY, RealismCritic
from gan.adversarial.trainer import Trainer
from gan.ranks import Ranks
from gan.settings import TrainSettings

KINDS = ("relativistic", "non_saturating", "hinge", "wasserstein")
REPRESENTATION = Representation(conditions=("label:jazz",))
PITCHES = REPRESENTATION.vocabulary.first(TokenType.PITCH)


def music(low: int, high: int, seed: int, batch: int = 6, size: int = 16) -> Tensor:
    """Pitches (B, S) between two places of the vocabulary's."""
    chance = torch.Generator().manual_seed(seed)
    return PITCHES + torch.randint(low, high, (batch, size), generator=chance)


def still(critic: RealismCritic) -> RealismCritic:
    """Without dropout, so that what it does can be done again."""
    for module in critic.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return critic


def weights_of(critic: RealismCritic) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in critic.model.parameters()]).clone()


@pytest.mark.parametrize("loss", ["wassertein", "non-saturating", ""])
def test_an_unknown_loss_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match=f"loss '{loss}': use one of non_saturating, hinge, rel"):
        RealismCritic(REPRESENTATION, loss)


def test_it_learns_to_tell_two_kinds_of_music_apart_and_then_waits() -> None:
    critic = RealismCritic(REPRESENTATION, rate=1e-3, winning=0.75)
    learnt = []
    for step in range(60):
        real, generated = music(0, 40, step), music(44, 84, 1000 + step)
        learnt.append(critic.learn(generated, real, step)["realism/learns"])
        if not learnt[-1]:
            break
    assert 30 < len(learnt) < 60, "it wins, but not at once: one lucky batch is no victory"
    assert set(learnt[:-1]) == {1.0}
    before = weights_of(critic)
    seen = critic.learn(music(44, 84, 7), music(0, 40, 8), 99)
    assert seen["realism/right"] > 0.95
    assert seen["realism/real"] > seen["realism/generated"] + 1
    assert torch.equal(weights_of(critic), before)
    # Once the generator has caught up, it learns again.
    fooled, step = 0, 100
    while not (last := critic.learn(music(0, 40, step), music(0, 40, 2 * step), step))[
        "realism/learns"
    ]:
        fooled, step = fooled + 1, step + 1
        assert fooled < 60
    assert fooled
    assert last["realism/learns"]
    assert not torch.equal(weights_of(critic), before)


def test_its_accuracy_is_of_pairs_and_runs_along(monkeypatch: pytest.MonkeyPatch) -> None:
    critic = RealismCritic(REPRESENTATION, slope=0.0)
    answers = iter([torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])])  # real, generated
    weight = next(critic.model.parameters())
    monkeypatch.setattr(critic, "logits", lambda *_: next(answers) + 0 * weight.sum())
    measured = critic.learn(music(0, 9, 0, 2), music(0, 9, 1, 2), 0)
    assert measured["realism/right"] == 0.75
    assert critic.accuracy == pytest.approx(MEMORY * 0.5 + (1 - MEMORY) * 0.75)
    assert measured["realism/real"] == 2
    assert measured["realism/generated"] == 1


@pytest.mark.parametrize(
    ("accuracy", "skill"), [(0.3, 0), (0.5, 0), (0.6, 0.4), (0.75, 1), (0.9, 1)]
)
def test_its_skill_is_what_it_tells_beyond_chance(accuracy: float, skill: float) -> None:
    critic = RealismCritic(REPRESENTATION, winning=0.75)
    critic.accuracy = accuracy
    assert critic.skill == pytest.approx(skill)


@pytest.mark.parametrize("scale", ["gradient", "loss"])
def test_a_critic_that_knows_nothing_is_not_heard_where_gradients_are_weighed(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path,
    scale: Any,
) -> None:  # fmt: skip
    settings = tiny_settings(adv_weight=0.3, adv_critics="realism", adv_scale=scale, steps=3)
    settings = settings.model_copy(update={"realism_warmup": 0})
    trainer = Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    assert trainer.term is not None
    realism = trainer.term.realism
    assert realism is not None
    shares = []
    for step, accuracy in enumerate((0.4, 0.65)):  # winning is at 0.8
        realism.accuracy = accuracy
        shares.append(trainer.train_step(step)["realism/share"])
    if scale == "gradient":
        assert shares == pytest.approx([0, 0.3 * settings.realism_share / 2])
    else:
        assert min(shares) > 0, "a loss's own gradient is small as long as it knows little"


REAL, FAKE = torch.tensor([0.5, -2.0, 3.0]), torch.tensor([1.5, -0.5, 0.2])


def test_the_losses_are_their_formulas() -> None:
    log, p, q = torch.log, torch.sigmoid(REAL), torch.sigmoid(FAKE)
    both = -(log(1 - q).mean() + log(p).mean()) / 2
    torch.testing.assert_close(losses.tells_apart(FAKE, REAL), both)
    smooth = -(log(1 - q).mean() + (0.9 * log(p) + 0.1 * log(1 - p)).mean()) / 2
    torch.testing.assert_close(losses.tells_apart(FAKE, REAL, 0.1), smooth)
    hinge = ((2.5 + 0.5 + 1.2) / 3 + (0.5 + 3.0 + 0.0) / 3) / 2
    assert losses.tells_apart_hinge(FAKE, REAL).item() == pytest.approx(hinge)
    above = -log(torch.sigmoid(REAL - FAKE)).mean()
    torch.testing.assert_close(losses.tells_apart_relativistic(FAKE, REAL), above)
    below = -log(torch.sigmoid(FAKE - REAL)).mean()
    torch.testing.assert_close(losses.relativistic(FAKE, REAL), below)
    assert losses.distance(FAKE, REAL).item() == pytest.approx((1.2 - 1.5) / 3)
    assert losses.wasserstein(FAKE).item() == pytest.approx(-1.2 / 3)


def side(kind: str, fake: float, real: float, smoothing: float) -> tuple[float, float]:
    """The critic's and the generator's loss of one pair, written out."""

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    if kind == "relativistic":
        return softplus(fake - real), softplus(real - fake)
    if kind == "hinge":
        return (max(0.0, 1 + fake) + max(0.0, 1 - real)) / 2, -fake
    if kind == "wasserstein":
        return fake - real, -fake
    called = (1 - smoothing) * softplus(-real) + smoothing * softplus(real)
    return (softplus(fake) + called) / 2, softplus(-fake)


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_take_the_loss_that_is_asked_for(kind: Any) -> None:
    critic = still(RealismCritic(REPRESENTATION, kind, rate=1e-2, slope=0.0, smoothing=0.2))
    generated, real = music(20, 60, 1, 1), music(0, 40, 2, 1)
    for step in range(3):
        rows = F.one_hot(generated, REPRESENTATION.vocab_size).float()
        heard = critic.loss(rows, generated > EOS, real).item()
        seen = critic.learn(generated, real, step)
        fake, true = seen["realism/generated"], seen["realism/real"]
        assert abs(fake - true) > 1e-3
        expected = side(kind, fake, true, 0.2)
        assert (seen["realism/loss"], heard) == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is float32 by design is float64 here."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_the_slope_is_that_of_finite_differences(target: float) -> None:
    torch.manual_seed(0)
    rows = torch.randn(2, 3, 4).double()
    weight = torch.randn(12, dtype=torch.float64, requires_grad=True)

    def judge(x: Tensor, w: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (flat @ w).tanh() + 0.3 * (flat.square() @ w.square())

    def by_hand(w: Tensor) -> float:
        total, tiny = 0.0, 1e-5
        for piece in range(2):
            square = 0.0
            for place in range(12):
                step = torch.zeros(2, 12).double()
                step[piece, place] = tiny
                step = step.view(2, 3, 4)
                up, down = judge(rows + step, w)[piece], judge(rows - step, w)[piece]
                square += float((up - down) / (2 * tiny)) ** 2
            total += (math.sqrt(square) - target) ** 2 if target else square
        return total / 2

    leaf = rows.clone().requires_grad_()
    found = losses.slope(judge(leaf, weight), leaf, target)
    assert found.item() == pytest.approx(by_hand(weight.detach()), rel=1e-6)
    # And it has a gradient of its own, which is what the critic learns from.
    (gradient,) = torch.autograd.grad(found, weight)
    for place in (0, 5, 11):
        step = torch.zeros(12).double()
        step[place] = 1e-4
        slope = (by_hand(weight.detach() + step) - by_hand(weight.detach() - step)) / 2e-4
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("double")
def test_it_descends_its_loss_and_penalty(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    critic = still(RealismCritic(REPRESENTATION, kind, slope=0.7, smoothing=0.1))
    critic.model.double()
    generated, real = music(20, 60, 1, 2, 10), music(0, 40, 2, 2, 10)
    generated[1, 8], generated[1, 9] = EOS, PAD
    shown = real.clone()
    shown[1, 8:] = PAD  # no longer than what it is shown beside
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.3).double())
    monkeypatch.setattr(critic.optimizer, "step", lambda: None)
    critic.learn(generated, real, 0)
    found = [weight.grad for weight in critic.model.parameters()]

    music_alone = torch.where(generated > EOS, generated, PAD)
    one = F.one_hot(shown, critic.size).double().requires_grad_()
    two = F.one_hot(music_alone, critic.size).double()
    true, fake = critic.model(one, shown > EOS), critic.model(two, generated > EOS)
    if kind == "wasserstein":
        between = (0.3 * one.detach() + 0.7 * two).requires_grad_()
        whole = torch.ones(2, 10, dtype=torch.bool)
        (slope,) = torch.autograd.grad(
            critic.model(between, whole).sum(), between, create_graph=True
        )
        penalty = 7.0 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
    else:
        (slope,) = torch.autograd.grad(true.sum(), one, create_graph=True)
        penalty = 0.7 * slope.square().sum((1, 2)).mean()
    assert penalty > 1e-6
    loss = {
        "relativistic": lambda: F.softplus(fake - true).mean(),
        "hinge": lambda: (F.relu(1 + fake).mean() + F.relu(1 - true).mean()) / 2,
        "wasserstein": lambda: fake.mean() - true.mean(),
        "non_saturating": lambda: (
            F.softplus(fake) + 0.9 * F.softplus(-true) + 0.1 * F.softplus(true)
        ).mean() / 2,
    }[kind]()  # fmt: skip
    expected = torch.autograd.grad(loss + penalty, list(critic.model.parameters()),
                                   allow_unused=True)  # fmt: skip
    norm = torch.stack([each.norm() for each in expected if each is not None]).norm()
    for one_, two_ in zip(found, expected, strict=True):
        if two_ is not None:
            torch.testing.assert_close(one_, two_ * min(1.0, 1 / float(norm)), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_is_told_and_the_critic_is_not(kind: Any) -> None:
    critic = RealismCritic(REPRESENTATION, kind)
    generated, real = music(20, 60, 1), music(0, 40, 2)
    generated[0, 12], generated[0, 13:] = EOS, PAD
    rows = F.one_hot(generated, REPRESENTATION.vocab_size).float().requires_grad_()
    before = weights_of(critic)
    critic.loss(rows, generated > EOS, real).backward()
    assert all(weight.grad is None for weight in critic.model.parameters())
    assert rows.grad is not None
    assert rows.grad[1].abs().sum() > 0
    assert not rows.grad[0, 12:].any(), "what is after the end is not heard"
    assert not rows.grad[..., critic.size :].any()
    assert torch.equal(weights_of(critic), before)
    # And it can learn afterwards as before.
    critic.learn(generated, real, 0)
    assert not torch.equal(weights_of(critic), before)


def test_the_generator_hears_no_dropout() -> None:
    critic = RealismCritic(REPRESENTATION)
    generated, real = music(20, 60, 1), music(0, 40, 2)
    critic.learn(generated, real, 0)
    rows = F.one_hot(generated, REPRESENTATION.vocab_size).float()
    one, two = (critic.loss(rows, generated > EOS, real).item() for _ in range(2))
    assert one == two
    critic.learn(generated, real, 1)
    assert torch.equal(critic.score(generated, generated > EOS),
                       critic.score(generated, generated > EOS))  # fmt: skip


def test_real_music_is_heard_for_as_long_as_a_rollout() -> None:
    critic = RealismCritic(REPRESENTATION, "relativistic")
    generated, real = music(20, 60, 1), music(0, 40, 2)
    generated[0, 12], generated[0, 13:] = EOS, PAD
    rows = F.one_hot(generated, REPRESENTATION.vocab_size).float()
    found = []
    for changed in (12, 11):
        other = real.clone()
        other[0, changed:] = music(44, 84, 3)[0, changed:]
        found.append(critic.loss(rows, generated > EOS, other).item())
    assert found[0] == critic.loss(rows, generated > EOS, real).item()
    assert found[1] != found[0]


def test_the_generator_is_pushed_towards_what_is_real() -> None:
    critic = RealismCritic(REPRESENTATION, rate=1e-3, winning=1.0)
    for step in range(40):
        critic.learn(music(44, 84, step), music(0, 40, 500 + step), step)
    generated = music(44, 84, 3)
    rows = F.one_hot(generated, REPRESENTATION.vocab_size).float().requires_grad_()
    critic.loss(rows, generated > EOS, music(0, 40, 5)).backward()
    assert rows.grad is not None
    slope = rows.grad.sum((0, 1))
    assert slope[PITCHES : PITCHES + 40].mean() < slope[PITCHES + 44 : PITCHES + 84].mean()


def test_rows_and_ids_are_one_piece() -> None:
    critic = RealismCritic(REPRESENTATION)
    critic.model.eval()
    ids = music(0, 80, 4)
    ids[0, 10], ids[0, 11:], ids[1, 3] = EOS, PAD, EOS
    rows = F.one_hot(ids, REPRESENTATION.vocab_size).float()
    torch.testing.assert_close(
        critic.logits(rows, ids > EOS), critic.logits(ids * (ids > EOS), ids > EOS)
    )


def test_half_of_what_it_sees_is_what_the_generator_wrote_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    critic = RealismCritic(REPRESENTATION, store=2, slope=0.0)
    shown: list[Tensor] = []
    original = critic.logits

    def watched(x: Tensor, real: Tensor) -> Tensor:
        if x.dim() == 2:
            shown.append(x)
        return original(x, real)

    monkeypatch.setattr(critic, "logits", watched)
    wrote = [music(0, 80, seed) for seed in range(4)]
    for step, ids in enumerate(wrote):
        kept = ids.clone()
        critic.learn(ids, music(0, 80, 50 + step), step)
        assert torch.equal(ids, kept), "what was written stays as it was"
    assert torch.equal(shown[0], wrote[0]), "there was nothing to remember"
    for step in (1, 2, 3):
        assert torch.equal(shown[step][:3], wrote[step][:3])
        known = wrote[max(0, step - 2) : step]
        assert any(torch.equal(shown[step][3:], each[3:]) for each in known)
    assert len(critic.old) == 2
    assert torch.equal(critic.old[1], wrote[3]), "its own words, not those it was shown"
    # A rollout of another length is not mixed in.
    critic.learn(music(0, 80, 9, size=12), music(0, 80, 10, size=12), 4)
    assert torch.equal(shown[-1], music(0, 80, 9, size=12))


@pytest.mark.parametrize("every", [1, 2, 8])
def test_what_it_remembers_is_of_every_age(every: int) -> None:
    """Also where the term comes at every eighth step: a store met in turn has one age then."""
    critic = RealismCritic(REPRESENTATION, store=8)
    ages = set()
    for number in range(80):
        ids = torch.full((2, 4), number + 3)
        ages.add(number - int(critic._remembered(ids, number * every)[1, 0]) + 3)
    assert ages == set(range(9))  # 0: at first there is nothing to remember


def test_without_a_store_nothing_is_kept() -> None:
    critic = RealismCritic(REPRESENTATION, store=0)
    for step in range(2):
        critic.learn(music(0, 80, step), music(0, 80, 5), step)
    assert critic.old == []


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("kind", ["relativistic", "wasserstein"])
def test_a_state_goes_on_bit_for_bit(kind: Any, spectral: bool) -> None:
    def steps(critic: RealismCritic, first: int, last: int) -> Iterator[dict[str, float]]:
        for step in range(first, last):
            yield critic.learn(music(20, 60, step, 4), music(0, 40, 100 + step, 4), step)

    def fresh(seed: int) -> RealismCritic:
        return RealismCritic(REPRESENTATION, kind, spectral=spectral, seed=seed)

    straight, first, second = fresh(1), fresh(1), fresh(1)
    whole = list(steps(straight, 0, 4))
    part = list(steps(first, 0, 2))
    second.load_state_dict(first.state_dict())
    second.old = list(first.old)  # a rank's own, see AdversarialTerm
    torch.manual_seed(77)  # whatever else has drawn
    part += list(steps(second, 2, 4))
    assert whole == part
    assert straight.accuracy == second.accuracy
    states = straight.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_spectral_norm_bounds_every_layer() -> None:
    critic = RealismCritic(REPRESENTATION, rate=1e-2, spectral=True, winning=1.0)
    for step in range(10):
        critic.learn(music(44, 84, step), music(0, 40, 500 + step), step)
    critic.model.eval()
    layers = [m for m in critic.model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) >= 10
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) < 1.2
    assert not [m for m in critic.model.modules() if isinstance(m, nn.Conv1d)], "all are bounded"


def test_length_tells_nothing() -> None:
    """Rollouts that end early are no easier to tell than those that do not."""
    critic = RealismCritic(REPRESENTATION, "hinge", rate=1e-3, slope=0.0, winning=1.0)
    for step in range(60):
        generated = music(0, 80, step)
        ends = torch.randint(4, generated.shape[1], (len(generated), 1),
                             generator=torch.manual_seed(step))  # fmt: skip
        place = torch.arange(generated.shape[1])
        generated[place == ends], generated[place > ends] = EOS, PAD
        critic.learn(generated, music(0, 80, 500 + step), step)
    assert critic.accuracy < 0.65


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    critic = RealismCritic(REPRESENTATION)
    with torch.no_grad():
        next(critic.model.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="step 7: the realism critic's loss is nan"):
        critic.learn(music(20, 60, 1), music(0, 40, 2), 7)


class Twins(Ranks):
    """Two ranks that see the same."""

    def own(self) -> tuple[int, ...]:
        return ()

    def total(self, value: Tensor) -> Tensor:
        return 2 * value


def test_ranks_are_averaged() -> None:
    one, two = RealismCritic(REPRESENTATION), RealismCritic(REPRESENTATION)
    for step in range(2):
        batch = music(20, 60, step), music(0, 40, 9 + step)
        assert one.learn(*batch, step) == two.learn(*batch, step, Twins(0, 2))
    assert torch.equal(weights_of(one), weights_of(two))


@pytest.mark.parametrize(
    ("every", "learnt", "heard"), [(1, [1, 2, 3, 4, 5], [3, 4, 5]), (2, [1, 3, 5], [5])]
)
def test_the_generator_hears_of_it_after_the_warm_up(
    every: int, learnt: list[int], heard: list[int], tiny_trainer: Callable[..., Trainer]
) -> None:
    """Which is counted in steps that have the term."""
    trainer = tiny_trainer(
        adv_weight=0.3, adv_critics="realism", adv_start=1, realism_warmup=2, adv_every=every,
        steps=6,
    )  # fmt: skip
    assert trainer.critic is None
    assert trainer.term is not None
    assert trainer.term.realism is not None
    trainer.term.realism.accuracy = 0.7
    found = [trainer.train_step(step) for step in range(6)]
    assert [step for step in range(6) if "realism/loss" in found[step]] == learnt
    assert [step for step in range(6) if "loss/realism" in found[step]] == heard
    assert found[5]["realism/share"] > 0


def test_real_music_goes_on_from_the_very_prompt(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = tiny_settings(adv_weight=0.3, adv_critics="realism", bos_share=0.0, steps=1)
    trainer = Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    assert trainer.term is not None
    assert trainer.term.realism is not None
    shown: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(
        trainer.term.realism, "learn", lambda ids, real, *_: shown.append((ids, real)) or {}
    )
    trainer.train_step(0)
    ((generated, real),) = shown
    assert generated.shape == real.shape == (settings.adv_batch, settings.rollout)
    prompts = trainer.term.prompts(0, False)[:, 1:]
    jazz = practice_corpus.select("train", "jazz")
    whole = [practice_corpus.piece(number).astype("int64").tobytes() for number in jazz]
    for prompt, rest in zip(prompts, real, strict=True):
        passage = torch.cat([prompt, rest]).numpy().tobytes()
        assert any(passage in piece for piece in whole)
