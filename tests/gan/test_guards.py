"""What keeps training from ruining the music: divergence, entropy, variety, the watch and the way
back. A run that is taken back has exactly the weights it had; silence pleases no critic.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import BOS, EOS, PAD, TokenType
from discriminator.classifier import Classifier
from discriminator.ensemble import Ensemble, joined
from gan.adversarial import guards
from gan.adversarial.critic import HOLLOW, StyleCritic
from gan.adversarial.guards import Watch
from gan.adversarial.rollout import Replay
from gan.adversarial.term import RECENT, AdversarialTerm
from gan.adversarial.trainer import Trainer
from gan.engine import engine
from gan.ranks import ALONE, Ranks
from gan.run import checkpoint_of
from gan.settings import TrainSettings

Make = Callable[..., Trainer]


def logits(seed: int) -> Tensor:
    """(2, 3, 5), one token of each position forbidden."""
    found = 2 * torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(seed)).double()
    return found.masked_fill(torch.arange(5) == torch.tensor([[[1], [3], [0]]]), -torch.inf)


DRAWN = torch.tensor([[True, True, True], [True, False, False]])


def test_the_divergence_is_kullback_and_leiblers() -> None:
    ours, theirs = logits(0), logits(1)
    p, q = (each.softmax(-1)[DRAWN].numpy() for each in (ours, theirs))
    expected = np.mean([stats.entropy(a, b) for a, b in zip(p, q, strict=True)])
    assert guards.divergence(ours, theirs, DRAWN).item() == pytest.approx(expected)
    assert guards.divergence(ours, ours, DRAWN).item() == 0
    assert guards.divergence(theirs, ours, DRAWN).item() != pytest.approx(expected)


def test_the_entropy_is_shannons() -> None:
    scores = logits(2)
    expected = np.mean([stats.entropy(p) for p in scores.softmax(-1)[DRAWN].numpy()])
    assert guards.entropy(scores, DRAWN).item() == pytest.approx(expected)
    even = torch.where(torch.isfinite(scores), 0.0, scores)
    assert guards.entropy(even, DRAWN).item() == pytest.approx(np.log(4))


@pytest.mark.parametrize("what", ["divergence", "entropy"])
def test_what_is_forbidden_breaks_no_gradient(what: str) -> None:
    """The same gradient as among the allowed tokens alone, and none anywhere else."""
    ours, theirs = logits(3).requires_grad_(), logits(4)

    def value(one: Tensor, two: Tensor, counts: Tensor) -> Tensor:
        if what == "divergence":
            return guards.divergence(one, two, counts)
        return guards.entropy(one, counts)

    (gradient,) = torch.autograd.grad(value(ours, theirs, DRAWN), ours)
    assert not gradient[~torch.isfinite(ours)].any()
    assert not gradient[~DRAWN].any()
    allowed = torch.isfinite(ours)
    small = ours.detach()[allowed].view(2, 3, 4).requires_grad_()
    other = theirs[allowed].view(2, 3, 4)
    (expected,) = torch.autograd.grad(value(small, other, DRAWN), small)
    torch.testing.assert_close(gradient[allowed].view(2, 3, 4), expected)
    assert expected.abs().max() > 1e-3


def test_variety_is_the_share_of_first_times() -> None:
    loop, line = np.arange(3, 9).tolist() * 3, np.arange(3, 21).tolist()
    assert guards.variety([np.array(line)]) == 1
    assert guards.variety([np.array(loop)]) == pytest.approx(6 / 13)
    assert guards.variety([np.array(line), np.array(line)]) == 0.5
    assert guards.variety([np.array([BOS, *line, EOS, *[PAD] * 9])]) == 1
    assert guards.variety([np.array([3, 4, 5])]) == guards.variety([]) == 0


@given(st.lists(st.lists(st.integers(3, 5), max_size=20), max_size=4))
@examples(max_examples=40)
def test_variety_counts_within_pieces(pieces: list[list[int]]) -> None:
    grams = [tuple(p[n : n + 6]) for p in pieces for n in range(len(p) - 5)]
    expected = len(set(grams)) / len(grams) if grams else 0.0
    assert guards.variety([np.array(p, dtype=int) for p in pieces]) == pytest.approx(expected)


FIRST = {"bits": 4.0, "variety": 0.9, "p_jazz_discriminator": 0.3, "p_jazz_judge": 0.4}
NAN = float("nan")


@pytest.mark.parametrize(
    ("now", "wrong"),
    [
        ({}, []),
        ({"bits": 4.079}, []),
        ({"bits": 4.081}, ["bits"]),
        ({"bits": 1.0}, []),
        ({"variety": 0.7201}, []),
        ({"variety": 0.7199}, ["variety"]),
        ({"p_jazz_discriminator": 0.39}, []),
        ({"p_jazz_discriminator": 0.41}, ["hacking"]),
        ({"p_jazz_discriminator": 0.7, "p_jazz_judge": 0.51}, []),
        ({"p_jazz_discriminator": 0.7, "p_jazz_judge": 0.49}, ["hacking"]),
        ({"p_jazz_discriminator": 0.1, "p_jazz_judge": 0.0}, []),
        ({"bits": 9.0, "variety": 0.1, "p_jazz_discriminator": 1.0},
         ["bits", "variety", "hacking"]),
        ({"bits": NAN, "variety": NAN, "p_jazz_discriminator": NAN},
         ["bits", "variety", "hacking"]),
        ({"p_jazz_discriminator": 0.9, "p_jazz_judge": NAN}, ["hacking"]),
    ],
)  # fmt: skip
def test_the_watch_sees_each_wrong_thing(now: dict[str, float], wrong: list[str]) -> None:
    assert Watch(first=FIRST).look(FIRST | now) == wrong


def test_the_watch_compares_what_it_has() -> None:
    assert Watch().look(FIRST) == []
    assert Watch(first=FIRST).look({}) == []
    lone = {"p_jazz_discriminator": 0.1}
    assert Watch(first=lone).look({"p_jazz_discriminator": 0.9}) == [], "no judge, no alarm"
    off = Watch(most_bits=0.0, least_variety=0.0, first=FIRST)
    for value in (99.0, NAN):
        assert off.look(FIRST | {"bits": value, "variety": 0.0}) == []
    assert off.look(FIRST | {"variety": NAN}) == []


def test_going_back_halves_and_ends() -> None:
    watch = Watch(first=dict(FIRST))
    told = []
    for _ in range(3):
        watch.back(2)
        told.append((watch.returns, watch.backoff, watch.ended))
    assert told == [(1, 0.5, False), (2, 0.25, False), (3, 0.125, True)]
    again = Watch()
    again.load_state_dict(json.loads(json.dumps(watch.state_dict())))
    assert again == watch
    state = watch.state_dict()
    again.load_state_dict(state)
    again.first["variety"] = watch.first["variety"] + 1
    assert state["first"] == watch.first == FIRST, "a state saved stays as it was"


@pytest.fixture
def make(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> Make:
    def trainer(**changes: Any) -> Trainer:
        choices = {"samples": 0, "validation_windows": 4, "adv_weight": 0.3,
                   "adv_estimator": "replay"} | changes  # fmt: skip
        quiet, resume = choices.pop("quiet", True), choices.pop("resume", False)
        folder = tmp_path / str(choices.pop("folder", "run"))
        settings = tiny_settings(**choices)
        return Trainer(practice_corpus, folder, settings, resume=resume, quiet=quiet)

    return trainer


def flat(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in module.state_dict().values()]).clone()


def lines(trainer: Trainer, name: str) -> dict[int, float]:
    text = (trainer.out / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in text]
    return {line["step"]: line[name] for line in found if name in line}


def test_the_weight_waits_rises_falls_and_yields(make: Make) -> None:
    trainer = make(adv_start=2, adv_ramp=3, adv_decay=3, steps=12, folder="a", adv_every=1)
    term = trainer.term
    assert term is not None
    found = [term.weight_at(step) for step in range(12)]
    assert found == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    term.watch.back(9)
    assert [term.weight_at(step) for step in range(12)] == [each / 2 for each in found]
    third = make(adv_every=3, steps=6, folder="b").term
    assert third is not None
    assert [third.weight_at(step) for step in range(6)] == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("average", ["none", "ema"])
def test_damage_takes_the_run_back_and_at_last_ends_it(
    make: Make, average: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = {
        "learning_rate": 0.5, "warmup": 0, "schedule": "constant", "steps": 30, "average": average,
        "evaluate_every": 2, "checkpoint_every": 100, "guard_returns": 2, "guard_variety": 0.0,
        "average_decay": 0.3, "quiet": False,
    }  # fmt: skip
    trainer = make(**choices)
    term = trainer.term
    assert term is not None
    began, kept = flat(trainer.model), flat(trainer.updater.kept)
    seen: list[tuple[Tensor, Tensor, float, int]] = []
    sound = trainer._sound

    def watched(*arguments: Any) -> bool:
        assert not torch.equal(flat(trainer.model), began), "there is damage to undo"
        answer = sound(*arguments)
        assert not answer
        moments = trainer.updater.optimizer.state_dict()["state"]
        seen.append(
            (flat(trainer.model), flat(trainer.updater.kept), term.watch.backoff, len(moments))
        )
        assert term.recent == []
        return answer

    monkeypatch.setattr(trainer, "_sound", watched)
    trainer.train()
    assert trainer.step == 6, "back at 2 and 4, ended at 6"
    assert [backoff for _, _, backoff, _ in seen] == [0.5, 0.25, 0.125]
    for model, other, _, moments in seen:
        assert torch.equal(model, began)
        assert torch.equal(other, kept)
        assert moments == 0, "the optimizer had taken no step"
    bits = lines(trainer, "guard/bits")
    first = lines(trainer, "validation/bits_per_note_jazz")[0]
    assert list(bits) == [2, 4, 6]
    assert all(value > 1.02 * first for value in bits.values())
    said = capsys.readouterr().out
    assert said.count("bits a note rose too far; back to the last good weights") == 3
    assert "step 6: " in said
    assert "the run ends there" in said
    # What is finished is none of what was validated last, and nobody may take it for that.
    all_bits = lines(trainer, "validation/bits_per_note")
    assert f"note: the finished generator is that of step 0, with {all_bits[0]:.2f} bits" in said
    board = EventAccumulator(str(trainer.out / "tensorboard")).Reload()
    for name in ("validation/bits_per_note", "validation/bits_per_note_jazz"):
        ended = [(point.step, point.value) for point in board.Scalars(name)][-2:]
        assert [step for step, _ in ended] == [6, 7]
        assert ended[1][1] == pytest.approx(lines(trainer, name)[0], rel=1e-5)
        assert ended[0][1] > 1.02 * ended[1][1]
    saved = load_file(trainer.out / "generator" / "model.safetensors")
    for name, value in trainer.updater.kept.state_dict().items():
        if name in saved:
            assert torch.equal(saved[name], value.half())
    # It is over: started again it takes no further step, and still has the good weights.
    again = make(**choices | {"resume": True})
    again.train()
    assert again.step == 6
    assert torch.equal(flat(again.updater.kept), kept)


def test_a_run_goes_on_from_its_last_good_validation(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from its beginning, and with the moments the optimizer had, however often."""
    trainer = make(steps=8, evaluate_every=2, checkpoint_every=100, guard_returns=2)
    term = trainer.term
    assert term is not None
    after: dict[int, Tensor] = {}
    before: dict[int, Tensor] = {}
    moments: dict[int, Tensor] = {}
    sound = trainer._sound
    bits = {0: 4.0, 2: 3.0, 4: 2.0, 6: 1.0, 8: 2.5}
    monkeypatch.setattr(trainer, "_validated", lambda log: {"bits_per_note": bits[trainer.step]})

    def watched(found: dict[str, float], log: Any) -> bool:
        before[trainer.step] = flat(trainer.model)
        if trainer.step in (4, 6):
            found = found | {"bits_per_note_jazz": 1e3}
        answer = sound(found, log)
        after[trainer.step] = flat(trainer.model)
        state = trainer.updater.optimizer.state_dict()["state"]
        moments[trainer.step] = torch.cat([each["exp_avg"].flatten() for each in state.values()])
        return answer

    monkeypatch.setattr(trainer, "_sound", watched)
    trainer.train()
    assert torch.equal(after[2], before[2])
    assert not torch.equal(before[4], before[2])
    assert not torch.equal(before[8], after[6])
    for step in (4, 6):
        assert torch.equal(after[step], after[2])
        assert torch.equal(moments[step], moments[2])
    assert term.watch.returns == 2
    assert trainer.step == 8
    # What was taken back has been no best, however good it looked.
    assert trainer.best == 2.5
    best = checkpoint_of(trainer.out, "best")
    assert best is not None
    assert int(best.name[5:]) == 8


class Opinion:
    """A mean p(jazz) that rises from call to call."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def __call__(self, *_: Any) -> Any:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


@pytest.mark.parametrize(("judged", "alarm"), [((0.5, 0.5), True), ((0.3, 0.5), False)])
def test_hacking_raises_an_alarm(
    make: Make, judged: tuple[float, float], alarm: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    trainer = make(
        steps=RECENT + 2, evaluate_every=RECENT + 2, guard_returns=-1, guard_bits=0.0,
        guard_variety=0.0, learning_rate=1e-6, quiet=False,
    )  # fmt: skip
    assert trainer.term is not None
    opinion = Opinion(*judged)
    monkeypatch.setattr(trainer, "judge", lambda pieces, _: np.full(len(pieces), opinion()))
    monkeypatch.setattr(trainer.term, "liked", Opinion(0.2, 0.7))
    trainer.train()
    assert trainer.term.watch.first["p_jazz_discriminator"] == 0.2
    assert trainer.term.watch.first["p_jazz_judge"] == pytest.approx(judged[0])
    last = RECENT + 2
    assert lines(trainer, "guard/hacking") == {last: float(alarm)}
    assert lines(trainer, "guard/p_jazz_discriminator") == {last: 0.7}
    assert lines(trainer, "guard/p_jazz_judge") == {last: pytest.approx(judged[1])}
    said = capsys.readouterr().out
    assert ("ALARM, reward hacking" in said) == alarm
    if alarm:
        assert "rose to 0.70, the judge's is 0.50" in said.replace("\n", " ")
    assert trainer.term.watch.returns == 0, "-1 warns alone"


def test_damage_is_told_where_nothing_is_to_be_done_about_it(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make(
        steps=4, evaluate_every=2, guard_returns=-1, guard_bits=1e-6, learning_rate=3.0,
        quiet=False,
    )  # fmt: skip
    trainer.train()
    said = capsys.readouterr().out.replace("\n", " ")
    assert "WARNING, bits a note rose too far; it goes on" in said
    assert trainer.step == 4
    assert trainer.term is not None
    assert trainer.term.watch.returns == 0


def test_hacking_takes_the_run_back_where_that_is_allowed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(
        steps=RECENT + 2, evaluate_every=RECENT + 2, guard_returns=3, guard_bits=0.0,
        guard_variety=0.0,
    )  # fmt: skip
    assert trainer.term is not None
    began = flat(trainer.model)
    monkeypatch.setattr(trainer, "judge", lambda pieces, _: np.full(len(pieces), 0.5))
    monkeypatch.setattr(trainer.term, "liked", Opinion(0.2, 0.7))
    trainer.train()
    assert trainer.term.watch.returns == 1
    assert torch.equal(flat(trainer.model), began)


def test_a_judge_reads_rollouts_and_no_prompts(make: Make) -> None:
    trainer = make(bos_share=0.0, steps=RECENT, evaluate_every=100)
    term = trainer.term
    assert term is not None
    for step in range(RECENT + 1):
        assert term.opened == (step == RECENT) or "variety" in term.watch.first
        if step < RECENT:
            trainer.train_step(step)
    assert set(term.watch.first) == {"variety", "p_jazz_discriminator"}
    pieces = term.recent_pieces()
    assert len(pieces) == RECENT * trainer.settings.adv_batch
    assert all(len(piece) <= trainer.settings.rollout and (piece > EOS).all() for piece in pieces)
    assert trainer.critic is not None
    each = []
    for piece in pieces:
        ids = torch.tensor(np.pad(piece, (0, trainer.settings.rollout - len(piece))))[None]
        each.append(trainer.critic.probability(trainer.critic.logits_of(ids)))
    assert term.liked() == pytest.approx(float(torch.cat(each).mean()), abs=1e-5)
    second = term.recent[1]
    trainer.train_step(RECENT)
    assert len(term.recent) == RECENT
    assert torch.equal(term.recent[0], second), "the oldest has gone"
    term.recent = [torch.tensor([[5, 6, EOS, PAD], [7, 8, 9, 5]])]
    assert [piece.tolist() for piece in term.recent_pieces()] == [[5, 6], [7, 8, 9, 5]]


def test_the_reference_stays_and_the_divergence_holds(make: Make) -> None:
    free = make(learning_rate=0.02, warmup=0, steps=8, adv_scale="gradient", folder="free",
                kl_weight=1e-9, temperature=0.8)  # fmt: skip
    held = make(learning_rate=0.02, warmup=0, steps=8, adv_scale="gradient", folder="held",
                kl_weight=20.0, temperature=0.8)  # fmt: skip
    found = []
    for trainer in (free, held):
        began = flat(trainer.model)
        first = trainer.train_step(0)
        assert first["loss/kl"] == pytest.approx(0, abs=1e-6)
        assert first["kl/weight"] == trainer.settings.kl_weight, "of the loss, whatever the scale"
        for step in range(1, 7):
            last = trainer.train_step(step)
        assert trainer.term is not None
        assert trainer.term.reference is not None
        assert torch.equal(flat(trainer.term.reference), began)
        assert not trainer.term.reference.training
        found.append(last["loss/kl"])
    assert 0 < found[1] < 0.7 * found[0]


def test_what_holds_does_not_let_go_after_damage(make: Make) -> None:
    trainer = make(adv_ramp=0, kl_weight=0.4, entropy_weight=0.2, reward_weight=0.3)
    assert trainer.term is not None
    before = trainer.train_step(0)
    trainer.term.watch.back(3)
    after = trainer.train_step(1)
    for name in ("adversarial", "reward"):
        assert before[f"{name}/weight"] == 2 * after[f"{name}/weight"] > 0
    for name, weight in (("kl", 0.4), ("entropy", 0.2)):
        assert before[f"{name}/weight"] == after[f"{name}/weight"] == weight


def test_ranks_hold_back_by_tokens_and_not_by_rollouts(make: Make) -> None:
    """Of two ranks' shares the mean is that of the whole, though some rollouts end early."""
    trainer = make(adv_loss="hinge", kl_weight=0.4, entropy_weight=0.2, adv_batch=4, rollout=12)
    term = trainer.term
    assert term is not None
    prefix, music = term.prompts.continued(0, False)
    term.reference = deepcopy(trainer.model).eval().requires_grad_(False)
    with torch.no_grad():
        for weight in term.reference.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    drawn, rows = term._drawn(0, prefix, music)
    context = term._context
    assert context is not None
    ended = torch.arange(drawn.ids.shape[1]) >= torch.tensor([12, 3, 12, 2])[:, None]
    ids = drawn.ids.masked_fill(ended, PAD)

    class Two(Ranks):
        def total(self, value: Tensor) -> Tensor:
            """Only how many tokens there are is asked for."""
            return value.new_tensor(int((ids != PAD).sum()))

    def held(ranks: Ranks, mine: slice) -> dict[str, float]:
        term.ranks, term._context = ranks, context[mine]
        part = Replay(ids[mine], drawn.raw[mine], drawn.scores[mine], drawn.noise[mine])
        found = term._losses(0, part, rows[mine], music[mine], {})
        return {name: float(found[name][0].detach()) for name in ("kl", "entropy")}

    whole = held(ALONE, slice(None))
    shares = [held(Two(rank, 2), slice(rank, None, 2)) for rank in range(2)]
    for name, value in whole.items():
        assert value != 0
        assert np.mean([each[name] for each in shares]) == pytest.approx(value, rel=1e-5)


def test_the_entropy_bonus_asks_for_entropy(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(entropy_weight=0.7, rollout=40, adv_batch=8)
    with torch.no_grad():  # an ending, which is drawn as well, is likely
        trainer.model.embedding.weight[EOS] *= 30
    term, critic = trainer.term, trainer.critic
    assert term is not None
    assert critic is not None
    monkeypatch.setattr(critic, "loss", lambda logits, ranks: 0 * logits.sum())
    seen: list[tuple[Tensor, Tensor]] = []
    original = guards.entropy

    def watched(scores: Tensor, drawn: Tensor) -> Tensor:
        seen.append((scores, drawn))
        return original(scores, drawn)

    monkeypatch.setattr(guards, "entropy", watched)
    push = term(0, 0.5, 1.0)
    assert any(EOS in row for row in term.recent[-1].tolist())
    assert torch.equal(seen[0][1], term.recent[-1] != PAD)
    (bonus,) = torch.autograd.grad(original(*seen[0]), push.outputs[0])
    assert bonus.norm() > 1e-6
    torch.testing.assert_close(push.gradients[0], -0.35 * bonus)
    assert push.measured["loss/entropy"] == pytest.approx(-original(*seen[0]).item())


@pytest.mark.parametrize(
    ("changes", "ranks", "least"),
    [
        ({"adv_weight": 0.1, "adv_critics": "realism", "adv_estimator": "replay"}, 3, 3),
        ({"adv_weight": 0.0, "reward_weight": 0.1}, 1, 2),
        ({"adv_weight": 0.1, "adv_critics": "realism", "adv_estimator": "reinforce"}, 1, 2),
        ({"adv_weight": 0.1, "adv_critics": "realism", "adv_estimator": "reinforce"}, 3, 3),
    ],
)
def test_too_few_rollouts_are_refused(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings],
    changes: dict[str, Any], ranks: int, least: int,
) -> None:  # fmt: skip
    """Of none there is no mean, and one alone is compared with nothing and teaches nothing."""

    def build(batch: int) -> AdversarialTerm:
        return AdversarialTerm(
            practice_corpus, practice_corpus.representation, nn.Module(), None,  # type: ignore[arg-type]
            tiny_settings(adv_batch=batch, **changes), engine("cpu", "fp32"), Ranks(0, ranks),
        )  # fmt: skip

    with pytest.raises(UserError, match=rf"--adv-batch {least - 1}: .* use at least {least}"):
        build(least - 1)
    assert build(least).watch.ended is False


@pytest.fixture(scope="module")
def critic(practice_corpus: Corpus, tiny_discriminator: Path) -> StyleCritic:
    return StyleCritic(tiny_discriminator, practice_corpus, (), 48, "hinge", torch.device("cpu"))


def passages(corpus: Corpus, size: int = 48) -> Tensor:
    jazz = corpus.select("train", "jazz")
    return torch.tensor(np.stack([corpus.piece(n)[100 : 100 + size].astype(int) for n in jazz]))


def rests(corpus: Corpus, size: int = 48) -> Tensor:
    shift = int(corpus.representation.vocabulary.first(TokenType.TIME_SHIFT))
    return torch.full((1, size), shift)


def test_silence_loses_logits_and_real_music_none(
    critic: StyleCritic, practice_corpus: Corpus
) -> None:
    music, silent = passages(practice_corpus), rests(practice_corpus)
    assert 0.05 < critic.fewest < 0.3
    torch.testing.assert_close(critic.logits_of(music), critic.model(music, music > EOS))
    lost = critic.model(silent, silent > EOS) - critic.logits_of(silent)
    assert lost.item() == pytest.approx(HOLLOW)
    # In between, as far as notes lack: with half the notes half is lost.
    least = critic.fewest * 48
    half = silent.clone()
    pitch = practice_corpus.representation.vocabulary.first(TokenType.PITCH)
    half[0, : int(least / 2)] = pitch
    lost = critic.model(half, half > EOS) - critic.logits_of(half)
    assert lost.item() == pytest.approx(HOLLOW * (1 - int(least / 2) / least), rel=1e-4)


def test_a_short_piece_needs_notes_for_its_length_alone(
    critic: StyleCritic, practice_corpus: Corpus
) -> None:
    music = passages(practice_corpus)
    music[:, 20], music[:, 21:] = EOS, PAD
    real = music > EOS
    torch.testing.assert_close(critic.logits_of(music), critic.model(music * real, real))


def test_what_ends_at_once_loses_as_much_as_silence(
    critic: StyleCritic, practice_corpus: Corpus
) -> None:
    """However short, a piece without a note is hollow; with one, a few tokens are none."""
    silent = rests(practice_corpus)
    for length in (0, 1, 4):
        ids = silent.clone()
        ids[0, length], ids[0, length + 1 :] = EOS, PAD
        bare = critic.model(ids * (ids > EOS), ids > EOS)
        assert (bare - critic.logits_of(ids)).item() == pytest.approx(HOLLOW, rel=1e-4)
        if length:
            ids[0, 0] = practice_corpus.representation.vocabulary.first(TokenType.PITCH)
            bare = critic.model(ids * (ids > EOS), ids > EOS)
            assert (bare - critic.logits_of(ids)).item() == pytest.approx(0, abs=1e-4)


def test_ids_and_rows_lose_alike(critic: StyleCritic, practice_corpus: Corpus) -> None:
    ids = torch.cat([passages(practice_corpus), rests(practice_corpus)])
    ids[0, 30], ids[0, 31:], ids[-1, 5], ids[-1, 6:] = EOS, PAD, EOS, PAD
    ids[1, 7] = critic.size + 1  # of two conditions at the end of the vocabulary
    rows = F.one_hot(ids, critic.size + 2).float()
    real = (ids > EOS) & (ids < critic.size)
    torch.testing.assert_close(critic.logits(rows, real), critic.logits_of(ids))


def test_the_gradient_asks_for_notes(critic: StyleCritic, practice_corpus: Corpus) -> None:
    """A whole one-hot step towards a note gains what the note is worth, and nothing else does."""
    silent = rests(practice_corpus)
    rows = F.one_hot(silent, critic.size).float().requires_grad_()
    slope = torch.autograd.grad(critic.logits(rows, silent > EOS).sum(), rows)[0]
    bare = torch.autograd.grad(critic.model(rows, silent > EOS).sum(), rows)[0]
    gain = slope - bare
    expected = torch.where(critic.strikes, HOLLOW / (critic.fewest * 48), 0.0)
    torch.testing.assert_close(gain, expected.expand_as(gain), rtol=1e-3, atol=1e-4)
    music = passages(practice_corpus)
    dense = F.one_hot(music, critic.size).float().requires_grad_()
    one = torch.autograd.grad(critic.logits(dense, music > EOS).sum(), dense)[0]
    two = torch.autograd.grad(critic.model(dense, music > EOS).sum(), dense)[0]
    torch.testing.assert_close(one, two)


@pytest.fixture(scope="module")
def together(tiny_discriminator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of three members that do not agree."""
    members = [Classifier.load(tiny_discriminator) for _ in range(3)]
    torch.manual_seed(5)
    for member in members[1:]:
        with torch.no_grad():
            for weight in member.model.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    folder = tmp_path_factory.mktemp("ensemble")
    joined(members).save(folder)
    return folder


def test_caution_takes_off_what_members_disagree_about(
    together: Path, practice_corpus: Corpus, tiny_discriminator: Path
) -> None:
    def critic(folder: Path, caution: float) -> StyleCritic:
        device = torch.device("cpu")
        return StyleCritic(folder, practice_corpus, (), 48, "hinge", device, caution)

    careful, plain = critic(together, 0.7), critic(together, 0.0)
    music = passages(practice_corpus)
    assert isinstance(careful.model, Ensemble)
    with torch.no_grad():
        each = careful.model.member_logits(music, music > EOS).numpy()
    assert each.std(0).min() > 0.01
    expected = each.mean(0) - 0.7 * each.std(0)
    np.testing.assert_allclose(careful.logits_of(music), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(plain.logits_of(music), each.mean(0), rtol=1e-4, atol=1e-5)
    assert careful.real_median < plain.real_median, "real music is measured with the same caution"
    alone = critic(tiny_discriminator, 0.7)
    torch.testing.assert_close(alone.logits_of(music), alone.model(music, music > EOS))


def test_caution_has_a_gradient_where_all_agree(
    practice_corpus: Corpus, tiny_discriminator: Path, tmp_path: Path
) -> None:
    joined([Classifier.load(tiny_discriminator) for _ in range(2)]).save(tmp_path)
    critic = StyleCritic(tmp_path, practice_corpus, (), 48, "hinge", torch.device("cpu"), 1.0)
    music = passages(practice_corpus)
    rows = F.one_hot(music, critic.size).float().requires_grad_()
    (slope,) = torch.autograd.grad(critic.logits(rows, music > EOS).sum(), rows)
    assert torch.isfinite(slope).all()
    assert slope.abs().sum() > 0


def test_the_trainer_is_as_cautious_as_asked(make: Make, together: Path) -> None:
    trainer = make(discriminator=str(together), adv_caution=0.4)
    assert trainer.critic is not None
    assert trainer.critic.caution == 0.4
