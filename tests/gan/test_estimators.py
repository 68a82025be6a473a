"""The four estimators are what they are said to be: each gradient against one written by hand.

REINFORCE against its closed form, its baseline against every outcome there is; full
back-propagation through time against a loop of its own; the replay's one forward pass, whatever the
rollout's length; next tokens along music within the grammar; soft rows at their limits.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data_tools.corpus import Corpus
from data_tools.representation import BOS, EOS, PAD, Representation
from gan.adversarial.relaxation import soft, straight_through, temperature_at
from gan.adversarial.rollout import (
    Replay,
    leave_one_out,
    policy_gradient,
    replay,
    teacher,
    unroll,
)
from gan.adversarial.term import AdversarialTerm
from gan.adversarial.trainer import Trainer
from gan.engine import derived_seed, engine, numpy_generator, torch_generator
from gan.ranks import Ranks
from gan.settings import TrainSettings
from generator.grammar import Grammar
from generator.sampling import Rollout, gumbel, rollout, tempered
from generator.settings import TransformerSettings
from generator.transformer import Transformer

V = 4
REWARD = torch.tensor([3.0, 5.0, 4.0, 9.0], dtype=torch.float64)
SMALL = TransformerSettings(layers=2, width=16, heads=2, max_length=64, dropout=0.3)
Make = Callable[..., Trainer]


@pytest.fixture
def theta() -> Tensor:
    return torch.tensor([0.3, -1.0, 0.7, 0.1], dtype=torch.float64, requires_grad=True)


def drawn(theta: Tensor, ids: Tensor) -> Replay:
    """Ids (B, S) from 1 on, each drawn from the same V logits; PAD was not drawn."""
    none = theta.new_full((1,), -torch.inf)
    scores = torch.cat([none, theta]).expand(*ids.shape, -1)
    return Replay(ids, scores, scores, torch.zeros_like(scores))


def slope(theta: Tensor) -> Tensor:
    """The gradient of minus the expected reward."""
    (gradient,) = torch.autograd.grad(-(theta.softmax(-1) * REWARD).sum(), theta)
    return gradient


def test_the_policy_gradient_is_reinforce(theta: Tensor) -> None:
    ids = torch.tensor([[1, 4], [2, PAD], [3, 1]])
    advantages = torch.tensor([[0.5, -2.0], [1.5, 7.0], [0.0, 3.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(policy_gradient(drawn(theta, ids), advantages), theta)
    p = theta.detach().softmax(-1)
    log_p = drawn(theta, ids).log_probabilities()
    torch.testing.assert_close(log_p[:, 0], theta.log_softmax(-1)[ids[:, 0] - 1])
    assert log_p[1, 1] == 0, "where nothing was drawn"
    ends = drawn(theta, torch.tensor([[3, EOS, PAD], [BOS, 4, 3]]))
    assert ends.real.tolist() == [[True, False, False], [False, True, True]], "music alone"
    expected = torch.zeros(V, dtype=torch.float64)
    for row in range(3):
        for place in range(2):
            if ids[row, place] != PAD:
                chosen = F.one_hot(ids[row, place] - 1, V).double()
                expected -= advantages[row, place] * (chosen - p) / 5
    torch.testing.assert_close(gradient, expected)
    # A whole rollout's advantage is that of all its tokens.
    (whole,) = torch.autograd.grad(policy_gradient(drawn(theta, ids), advantages[:, 1]), theta)
    wide = advantages[:, 1:].expand(-1, 2)
    (each,) = torch.autograd.grad(policy_gradient(drawn(theta, ids), wide), theta)
    torch.testing.assert_close(whole, each)


def test_over_all_outcomes_it_is_the_gradient_of_the_expected_reward(theta: Tensor) -> None:
    p = theta.detach().softmax(-1)
    loss = policy_gradient(drawn(theta, torch.arange(1, V + 1)[:, None]), V * p * REWARD)
    torch.testing.assert_close(torch.autograd.grad(loss, theta)[0], slope(theta))


def outcomes(theta: Tensor, batch: int, baseline: bool) -> Iterator[tuple[float, Tensor]]:
    """The probability and the gradient of every batch that can be drawn."""
    p = theta.detach().softmax(-1)
    for chosen in product(range(V), repeat=batch):
        reward = REWARD[list(chosen)]
        advantages = leave_one_out(reward) if baseline else reward
        ids = torch.tensor(chosen)[:, None] + 1
        loss = policy_gradient(drawn(theta, ids), advantages)
        yield float(p[list(chosen)].prod()), torch.autograd.grad(loss, theta)[0]


@pytest.mark.parametrize("batch", [2, 3])
def test_leaving_one_out_has_no_bias_and_less_variance(theta: Tensor, batch: int) -> None:
    spread = {}
    for baseline in (False, True):
        found = list(outcomes(theta, batch, baseline))
        mean = sum(p * gradient for p, gradient in found)
        assert isinstance(mean, Tensor)
        torch.testing.assert_close(mean, slope(theta))
        spread[baseline] = sum(p * float((each - mean).square().sum()) for p, each in found)
    assert spread[True] < 0.5 * spread[False]


def test_each_is_compared_with_the_others() -> None:
    rewards = torch.tensor([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])
    expected = torch.tensor([[1 - 4, -1.5], [2 - 3.5, -1.5], [6 - 1.5, 3.0]])
    torch.testing.assert_close(leave_one_out(rewards), expected)
    assert not leave_one_out(torch.tensor([5.0])).any(), "alone, there is nothing to compare with"


def test_others_are_those_of_all_ranks() -> None:
    rewards = torch.tensor([1.0, 2.0, 6.0, 3.0, 0.5])
    mine, theirs = rewards[[0, 2, 4]], rewards[[1, 3]]

    class Two(Ranks):
        def total(self, value: Tensor) -> Tensor:
            """Sums are asked for in turn: of how many, and of how much."""
            return value + (len(theirs) if value.dim() == 0 else theirs.sum())

    torch.testing.assert_close(leave_one_out(mine, Two(0, 2)), leave_one_out(rewards)[[0, 2, 4]])


@pytest.fixture(scope="module")
def representation() -> Representation:
    return Representation()


@pytest.fixture
def model(representation: Representation, monkeypatch: pytest.MonkeyPatch) -> Transformer:
    """A small model with strong opinions, in float64 throughout."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.manual_seed(3)
    model = Transformer(representation.vocab_size, SMALL).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(4)
    return model


def rolled(model: Transformer, representation: Representation, steps: int = 6) -> Rollout:
    prefix = torch.tensor([[BOS], [BOS], [BOS]])
    noise = torch.Generator().manual_seed(5)
    found = rollout(model, Grammar(representation), prefix, steps, generator=noise, temperature=0.8)
    return Rollout(found.ids, found.noise.double(), found.masks, found.prefix)


def half(scores: Tensor, noise: Tensor, ids: Tensor) -> Tensor:
    return straight_through(scores, noise, ids, 0.5)


def taste(rows: Tensor) -> Tensor:
    """A loss that sees neighbours, so that one token's gradient depends on another."""
    weights = torch.randn(rows.shape[-1], 3, generator=torch.Generator().manual_seed(9)).double()
    seen = rows @ weights
    return (seen[:, 1:] * seen[:, :-1].tanh()).sum()


def test_unrolled_rows_are_the_replayed_rows_with_another_gradient(
    model: Transformer, representation: Representation
) -> None:
    sampled = rolled(model, representation)
    again = replay(model, sampled, 0.8)
    rows = half(again.scores, again.noise, again.ids)
    slow, unrolled = unroll(model, sampled, 0.8, half)
    torch.testing.assert_close(unrolled, rows, rtol=0, atol=1e-12)
    torch.testing.assert_close(slow.scores, again.scores)
    assert torch.equal(slow.ids, again.ids)
    one, two = (
        torch.autograd.grad(taste(each), model.embedding.weight)[0] for each in (rows, unrolled)
    )
    assert one.norm() > 1e-3
    assert (one - two).norm() > 0.01 * one.norm()


def test_unroll_is_back_propagation_through_time(
    model: Transformer, representation: Representation
) -> None:
    sampled = rolled(model, representation)
    slow, rows = unroll(model, sampled, 0.8, half)
    gradients = torch.autograd.grad(taste(rows), [slow.raw, *model.parameters()], retain_graph=True)

    heard = F.one_hot(sampled.ids[:, :1], representation.vocab_size).double()
    logits, expected = [], []
    for step in range(6):
        logits.append(model(heard)[:, -1])
        scores = logits[-1].masked_fill(~sampled.masks[:, step], -torch.inf) / 0.8
        relaxed = ((scores + sampled.noise[:, step]) / 0.5).softmax(-1)
        hard = F.one_hot((scores + sampled.noise[:, step]).argmax(-1), relaxed.shape[-1])
        expected.append(hard + relaxed - relaxed.detach())
        heard = torch.cat([heard, expected[-1][:, None]], 1)
    loss = taste(torch.stack(expected, 1))
    torch.testing.assert_close(loss, taste(rows))
    by_hand = torch.autograd.grad(loss, [*logits, *model.parameters()])
    assert max(float(each.abs().max()) for each in by_hand[6:]) > 1e-3
    torch.testing.assert_close(gradients[0], torch.stack(by_hand[:6], 1), rtol=1e-8, atol=1e-10)
    for one, two in zip(gradients[1:], by_hand[6:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


def test_replay_reads_once_and_unroll_once_a_token(
    model: Transformer, representation: Representation
) -> None:
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for steps in (4, 24):
        sampled = rolled(model, representation, steps)
        calls.clear()
        replay(model, sampled, 0.8)
        assert len(calls) == 1
    calls.clear()
    unroll(model, rolled(model, representation, 4), 0.8, half)
    assert len(calls) == 4


def test_teacher_draws_what_the_grammar_allows_after_real_music(
    model: Transformer, representation: Representation, practice_corpus: Corpus
) -> None:
    pieces = [practice_corpus.piece(number)[:40].astype(int).tolist() for number in range(4)]
    music, grammar = torch.tensor([[BOS, *piece] for piece in pieces]), Grammar(representation)
    found = teacher(model, grammar, music, 8, 0.7, torch.Generator().manual_seed(0))
    assert found.ids.shape == (4, 33)
    changed = 0
    for place in range(33):
        before = music[:, : 8 + place]
        allowed = grammar.allowed(grammar.read(before))
        assert allowed.gather(1, found.ids[:, place, None]).all()
        raw = model(before)[:, -1]
        torch.testing.assert_close(found.raw[:, place], raw)
        scores = tempered(raw, allowed, 0.7)
        torch.testing.assert_close(found.scores[:, place], scores)
        assert torch.equal((scores + found.noise[:, place]).argmax(-1), found.ids[:, place])
        changed += int((found.ids[:, place] != music[:, 8 + place]).sum())
    assert changed > 30, "it draws, and does not repeat what it reads"


@pytest.fixture
def make(tiny_trainer: Make) -> Make:
    return lambda **changes: tiny_trainer(
        **{"adv_loss": "non_saturating", "adv_estimator": "replay", "clip": 1e9} | changes
    )


def by_hand(trainer: Trainer, estimator: str) -> Tensor:
    """The adversarial loss of step 0 whose gradient the estimator's is said to be."""
    settings, term, critic, model = trainer.settings, trainer.term, trainer.critic, trainer.model
    assert term is not None
    assert critic is not None
    chance = numpy_generator(settings.seed, "opening", 0).random()
    prefix, music = term.prompts.continued(0, chance < settings.bos_share)
    noise = torch_generator("cpu", settings.seed, "rollout", 0)
    model.eval()
    if estimator == "teacher":
        whole = torch.cat([prefix, music], 1)
        raw = model(whole[:, :-1])[:, prefix.shape[1] - 1 :]
        scores = tempered(raw, term.grammar.replay(whole)[:, prefix.shape[1] :], 1.0)
        gumbels = gumbel(raw.shape, noise)
        ids = (scores + gumbels).argmax(-1)
        rows = straight_through(scores, gumbels, ids, settings.relaxation)
        return F.softplus(-critic.logits(rows, ids > EOS)).mean()
    sampled = rollout(model, term.grammar, prefix, settings.rollout, generator=noise)

    def relax(*parts: Tensor) -> Tensor:
        return straight_through(*parts, settings.relaxation)

    if estimator == "unroll":
        found, rows = unroll(model, sampled, 1.0, relax)
        return F.softplus(-critic.logits(rows, found.real)).mean()
    again = replay(model, sampled, 1.0)
    with torch.no_grad():
        score = critic.logits_of(again.ids)
    others = (score.sum() - score) / (len(score) - 1)
    counts = again.ids != PAD
    return -((score - others)[:, None] * again.log_probabilities())[counts].mean()


@pytest.mark.parametrize("estimator", ["teacher", "unroll", "reinforce"])
def test_the_update_of_every_estimator_is_that_of_its_loss(make: Make, estimator: str) -> None:
    changes = {"adv_weight": 0.6, "adv_estimator": estimator, "rollout": 12, "adv_batch": 3}
    trainer, hand = make(**changes), make(**changes)
    metrics = trainer.train_step(0)
    inputs, targets = hand.windows(0)
    torch.manual_seed(derived_seed(hand.settings.seed, "dropout", 0))
    ce = F.cross_entropy(
        hand.model.train()(inputs).flatten(0, 1), targets.flatten(), ignore_index=PAD
    )
    alone = torch.autograd.grad(ce, list(hand.model.parameters()), retain_graph=True)
    loss = by_hand(hand, estimator)
    (ce + 0.6 * loss).backward()
    assert metrics["loss/adversarial"] == pytest.approx(loss.item(), rel=1e-4, abs=1e-5)
    assert metrics["adversarial/replay_agreement"] == 1
    pairs = list(zip(trainer.model.parameters(), hand.model.parameters(), strict=True))
    for one, two in pairs:
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5)
    moved = max(
        float((one.grad - plain).abs().max())
        for (one, _), plain in zip(pairs, alone, strict=True)
        if one.grad is not None
    )
    assert moved > 1e-3, "the term is no passenger"


@pytest.mark.parametrize("estimator", ["replay", "teacher", "unroll", "reinforce"])
def test_every_estimator_takes_every_critic_and_its_share(make: Make, estimator: str) -> None:
    trainer = make(
        adv_weight=0.25, adv_scale="gradient", adv_estimator=estimator, adv_critics="both",
        realism_warmup=0, rollout=12, kl_weight=0.1, entropy_weight=0.1,
    )  # fmt: skip
    assert trainer.term is not None
    assert trainer.term.realism is not None
    for step in range(2):
        trainer.term.realism.accuracy = trainer.settings.realism_winning  # else it is not heard
        metrics = trainer.train_step(step)
        for name in ("adversarial", "realism"):
            assert metrics[f"{name}/share"] == pytest.approx(0.25, rel=1e-3)
        assert metrics["loss/kl"] >= -1e-6
        assert all(math.isfinite(value) for value in metrics.values())


def test_reinforce_takes_no_slope_from_a_critic(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both critics give a score alone: the rows they see lead back to nothing."""
    trainer = make(adv_weight=0.5, adv_estimator="reinforce", adv_critics="both", realism_warmup=0)
    term = trainer.term
    assert term is not None

    def cut(step: int) -> Callable[..., Tensor]:
        return lambda scores, noise, ids: F.one_hot(ids, scores.shape[-1]).float()

    monkeypatch.setattr(term, "_relax", cut)
    metrics = trainer.train_step(0)
    assert metrics["realism/share"] > 0
    assert metrics["adversarial/share"] > 0


def test_reinforce_asks_for_nothing_where_all_are_worth_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(adv_weight=0.5, adv_estimator="reinforce", adv_critics="both", realism_warmup=0)
    assert trainer.term is not None
    for critic in (trainer.critic, trainer.term.realism):
        monkeypatch.setattr(critic, "score", lambda given, *_: torch.full((len(given),), 7.0))
    metrics = trainer.train_step(0)
    for name in ("adversarial", "realism"):
        assert metrics[f"gradient/{name}"] == pytest.approx(0, abs=1e-9)


def test_prompts_and_bounds_are_of_jazz_to_learn_from(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings]
) -> None:
    """Of the training split, and of no source that is left out."""
    corpus = Corpus(practice_corpus.folder)
    mine = corpus.select("train", "jazz")
    for number in mine[::2]:
        corpus.rows[number] = corpus.rows[number] | {"source": "other"}
    settings = tiny_settings(
        adv_weight=0.0, reward_weight=0.5, exclude_sources=["other"], prompt=16, rollout=24
    )
    compute, representation = engine("cpu", "fp32"), corpus.representation
    model = Transformer(representation.vocab_size, SMALL)
    term = AdversarialTerm(corpus, representation, model, None, settings, compute)
    left = mine[1::2]
    music = [corpus.piece(number).astype(int).tolist() for number in left]
    for step in range(4):
        for prompt in term.prompts(step, False).tolist():
            places = (piece[at : at + 16] for piece in music for at in range(len(piece)))
            assert prompt in places
    pieces = [piece.astype(int).tolist() for piece in term._real_pieces(corpus, left)]
    assert [len(piece) for piece in pieces] == [24] * len(left), "as long as rollouts are"
    openings = [piece[:24] for piece in music]
    assert sum(piece in openings for piece in pieces) < len(pieces) / 2, "from anywhere in them"


def test_uneven_shares_make_up_the_whole_policy_gradient(theta: Tensor) -> None:
    ids = torch.tensor([[1, 2, 4], [3, 1, PAD], [4, PAD, PAD], [2, 2, 1], [1, PAD, PAD]])
    advantages = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0], dtype=torch.float64)
    (whole,) = torch.autograd.grad(policy_gradient(drawn(theta, ids), advantages), theta)

    class Two(Ranks):
        def total(self, value: Tensor) -> Tensor:
            return (ids != PAD).sum()

    parts = [
        torch.autograd.grad(
            policy_gradient(drawn(theta, ids[k::2]), advantages[k::2], Two(k, 2)), theta
        )[0]
        for k in (0, 1)
    ]
    torch.testing.assert_close(sum(parts) / 2, whole)
    assert [Ranks(k, 2).weight(count, 5) for k, count in enumerate((3, 2))] == [1.2, 0.8]


def test_a_step_reads_as_often_whatever_the_rollout(make: Make) -> None:
    counts = []
    for length in (8, 32):
        trainer = make(adv_weight=0.5, rollout=length)
        calls: list[int] = []
        trainer.model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        trainer.train_step(0)
        counts.append(len(calls))
    assert counts == [2, 2], "the windows, and the replay"


B, S = 2, 3


def gumbels(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(4)
    logits = torch.randn(B, S, 5, generator=chance, dtype=dtype)
    logits[..., 0] = -torch.inf  # no padding is drawn
    logits[..., 3] = -torch.inf
    noise = gumbel((B, S, 5), chance).to(dtype)
    return logits, noise, (logits + noise).argmax(-1)


def test_soft_rows_are_the_relaxed_draw() -> None:
    logits, noise, ids = gumbels()
    rows = soft(logits, noise, ids, 1.0, 0.7)
    torch.testing.assert_close(rows, ((logits + noise) / 0.7).softmax(-1))
    assert not rows[..., 3].any(), "what is forbidden is in no mixture"


def test_cold_soft_rows_are_one_hot_and_hot_ones_even() -> None:
    logits, noise, ids = gumbels()
    torch.testing.assert_close(
        soft(logits, noise, ids, 1.0, 1e-3), F.one_hot(ids, 5).double(), rtol=0, atol=1e-9
    )
    hot = soft(logits, noise, ids, 1.0, 1e6)
    torch.testing.assert_close(hot[..., [1, 2, 4]], torch.full((B, S, 3), 1 / 3).double(),
                               rtol=0, atol=1e-4)  # fmt: skip


def test_nothing_is_mixed_after_the_end() -> None:
    logits, noise, ids = gumbels()
    logits[0, 2] = torch.tensor([0.0, *[-torch.inf] * 4])
    ids[0, 2] = PAD
    logits.requires_grad_()
    for forward in (0.5, 1.0):
        rows = soft(logits, noise, ids, 1.0, forward)
        assert rows[0, 2].tolist() == [1, 0, 0, 0, 0]
        (gradient,) = torch.autograd.grad(rows.square().sum(), logits)
        assert torch.isfinite(gradient).all()
        assert not gradient[0, 2].any()


@pytest.mark.parametrize("forward", [0.2, 1.5])
def test_the_backward_temperature_is_its_own(forward: float) -> None:
    logits, noise, ids = gumbels()
    logits.requires_grad_()
    weights = torch.randn(5, generator=torch.Generator().manual_seed(1)).double()
    backward = (((logits + noise) / 1.5).softmax(-1) @ weights).sum()
    (expected,) = torch.autograd.grad(backward, logits)
    for rows in (soft(logits, noise, ids, 1.5, forward), straight_through(logits, noise, ids, 1.5)):
        (gradient,) = torch.autograd.grad((rows @ weights).sum(), logits)
        torch.testing.assert_close(gradient, expected)


def test_the_temperature_goes_by_equal_factors() -> None:
    found = [temperature_at(step, 2.0, 0.125, 8) for step in range(11)]
    assert found[0] == 2.0
    assert found[4] == pytest.approx(0.5)
    assert found[8:] == pytest.approx([0.125] * 3)
    factors = {round(b / a, 9) for a, b in pairwise(found[:9])}
    assert factors == {round(2**-0.5, 9)}


@pytest.mark.parametrize(("end", "expected"), [(0.0, [2.0, 2.0, 2.0]), (0.5, [2.0, 1.0, 0.5])])
def test_the_trainer_follows_the_schedule(
    make: Make, end: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(adv_weight=0.1, relaxation=2.0, relaxation_end=end, steps=2)
    seen: list[float] = []

    def watched(logits: Tensor, noise: Tensor, ids: Tensor, relaxation: float) -> Tensor:
        seen.append(relaxation)
        return straight_through(logits, noise, ids, relaxation)

    monkeypatch.setattr("gan.adversarial.term.straight_through", watched)
    told = [trainer.train_step(step)["adversarial/temperature"] for step in range(3)]
    assert seen == pytest.approx(expected)
    assert told == pytest.approx(expected)


def test_soft_rows_are_what_critics_see_when_asked(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(adv_weight=0.3, relax="soft", relaxation=2.0, relaxation_forward=0.5)
    assert trainer.critic is not None
    asked: list[tuple[float, float]] = []
    seen: list[Tensor] = []

    def watched(*parts: Tensor, relaxation: float, forward: float) -> Tensor:
        asked.append((relaxation, forward))
        return soft(*parts, relaxation, forward)

    monkeypatch.setattr("gan.adversarial.term.soft", watched)
    trainer.critic.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    assert trainer.train_step(0)["adversarial/share"] > 0
    assert asked == [(2.0, 0.5)]
    (rows,) = seen
    assert ((rows > 0.01) & (rows < 0.99)).any()
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:2]))


@pytest.mark.parametrize("estimator", ["replay", "unroll"])
def test_a_critic_that_learns_changes_nothing_of_the_step_it_learns_from(
    make: Make, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    """Its weights move between the term's losses and the backward pass."""
    found = []
    for learns in (True, False):
        trainer = make(
            adv_weight=0.5, adv_estimator=estimator, adv_critics="realism", realism_warmup=0,
            realism_rate=0.01, rollout=12,
        )  # fmt: skip
        assert trainer.term is not None
        assert trainer.term.realism is not None
        if not learns:
            monkeypatch.setattr(trainer.term.realism, "learn", lambda *_: {})
        metrics = trainer.train_step(0)
        assert metrics.get("realism/learns", 0.0) == float(learns)
        found.append([weight.grad for weight in trainer.model.parameters()])
    for one, two in zip(*found, strict=True):
        if one is not None:
            torch.testing.assert_close(one, two)
