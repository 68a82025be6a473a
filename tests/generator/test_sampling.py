"""Samples can be replayed, repeated and trusted to follow the distribution they claim."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare, kstest

from data_tools.representation import Representation, TokenType
from generator.choice import WINDOW, Choice, penalise, repeats, scored, truncate
from generator.grammar import Grammar
from generator.sampling import NOISE_BLOCK, gumbel, rollout, sample, seeded, stream, tempered
from generator.transformer import Transformer

from .conftest import SMALL, build


def start(representation: Representation, batch: int) -> torch.Tensor:
    """A condition and BOS for every sequence."""
    prefix = [representation.condition_id("label:jazz"), representation.bos]
    return torch.tensor([prefix] * batch)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_replay_draws_the_same_tokens(
    representation: Representation, seed: int, temperature: float
) -> None:
    """One parallel pass with the stored noise finds every sampled token again, with a gradient."""
    model, grammar = build(representation, seed), Grammar(representation)
    drawn = rollout(
        model,
        grammar,
        start(representation, 6),
        90,
        generator=torch.Generator().manual_seed(seed),
        temperature=temperature,
    )
    masks = grammar.replay(drawn.ids)[:, drawn.prefix :]
    assert torch.equal(masks, drawn.masks)
    logits = model(drawn.ids)[:, drawn.prefix - 1 : -1]
    scores = tempered(logits, masks, temperature) + drawn.noise
    assert torch.equal(scores.argmax(-1), drawn.ids[:, drawn.prefix :])
    relaxed = scores.softmax(-1)
    relaxed.square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_rollout_pads_after_the_end(durations: Representation, grammar: Grammar) -> None:
    model = build(durations)
    with torch.no_grad():
        model.embedding.weight[durations.eos] *= 20  # an ending is likely, sooner or later
    drawn = rollout(
        model, grammar, start(durations, 24), 90, generator=torch.Generator().manual_seed(1)
    )
    ended = [row for row in drawn.ids.tolist() if durations.eos in row]
    assert len(ended) > 3
    for row in ended:
        assert set(row[row.index(durations.eos) + 1 :]) <= {durations.pad}
    assert all(durations.pad not in row for row in drawn.ids.tolist() if durations.eos not in row)


def test_rollout_leaves_the_model_as_it_was(
    durations: Representation, grammar: Grammar, model: Transformer
) -> None:
    model.train()
    generator = torch.Generator().manual_seed(0)
    first = rollout(model, grammar, start(durations, 2), 20, generator=generator)
    assert model.training
    second = rollout(
        model, grammar, start(durations, 2), 20, generator=generator, noise=first.noise
    )
    assert torch.equal(first.ids, second.ids)  # dropout was off both times
    with pytest.raises(ValueError, match="context"):
        rollout(model, grammar, start(durations, 2), SMALL.max_length - 1, generator=generator)


def test_a_seed_is_the_music_alone_or_in_company(
    durations: Representation, grammar: Grammar, model: Transformer
) -> None:
    four = sample(model, grammar, start(durations, 4), 80, generators=seeded(range(4)))
    again = sample(model, grammar, start(durations, 4), 80, generators=seeded(range(4)))
    assert torch.equal(four.ids, again.ids)
    assert len({tuple(row) for row in four.ids.tolist()}) == 4
    for seed, together in enumerate(four.pieces()):
        alone = sample(model, grammar, start(durations, 1), 80, generators=seeded([seed]))
        assert np.array_equal(alone.pieces()[0], together)


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_every_sequence_has_its_own_noise(
    count: int, durations: Representation, grammar: Grammar, model: Transformer
) -> None:
    with pytest.raises(ValueError, match=f"{count} generators for 4 sequences"):
        sample(model, grammar, start(durations, 4), 8, generators=seeded(range(count)))


def test_a_longer_request_goes_on_from_the_shorter(
    durations: Representation, grammar: Grammar, model: Transformer
) -> None:
    short = sample(model, grammar, start(durations, 3), 20, generators=seeded(range(3)))
    long = sample(model, grammar, start(durations, 3), 60, generators=seeded(range(3)))
    assert torch.equal(long.ids[:, :22], short.ids)


def test_sampling_goes_on_past_the_context(durations: Representation, model: Transformer) -> None:
    """A full cache is read anew from the conditions and the last half of the context."""
    grammar = Grammar(durations, min_notes=10_000)
    steps, limit = 300, SMALL.max_length
    drawn = sample(model, grammar, start(durations, 2), steps, generators=seeded([5, 6]))
    assert drawn.lengths.tolist() == [302, 302]
    masks = grammar.replay(drawn.ids)
    assert masks.gather(2, drawn.ids[..., None]).all()

    noise = []
    for generator in seeded([5, 6]):
        blocks = range(-(-steps // NOISE_BLOCK))
        shape = (NOISE_BLOCK, durations.vocab_size)
        noise.append(torch.cat([gumbel(shape, generator) for _ in blocks]))
    context = list(range(2))  # which positions the model sees
    for position in range(2, 302):
        if position > 2:
            context.append(position - 1)
        if len(context) > limit:
            context = [0, *range(position - limit // 2, position)]
        with torch.no_grad():
            logits = model(drawn.ids[:, context])[:, -1]
        scores = tempered(logits, masks[:, position], 1.0)
        scores += torch.stack([one[position - 2] for one in noise])
        assert torch.equal(scores.argmax(-1), drawn.ids[:, position])


def test_the_end_is_counted_and_the_padding_is_not(
    durations: Representation, model: Transformer
) -> None:
    with torch.no_grad():
        model.embedding.weight[durations.eos] *= 20  # an ending is likely, sooner or later
    drawn = sample(
        model, Grammar(durations), start(durations, 24), 60, generators=seeded(range(24))
    )
    ends = [row.index(durations.eos) + 1 for row in drawn.ids.tolist() if durations.eos in row]
    assert len(ends) > 3
    assert [size for size in drawn.lengths.tolist() if size < drawn.ids.shape[1]] == [
        size for size in ends if size < drawn.ids.shape[1]
    ]
    assert all(ids[-1] == durations.eos or len(ids) == 62 for ids in drawn.pieces())


def test_samples_can_be_trained_on(
    durations: Representation, grammar: Grammar, model: Transformer
) -> None:
    drawn = sample(model, grammar, start(durations, 2), 20, generators=seeded([5, 6]))
    loss = F.cross_entropy(model(drawn.ids[:, :-1]).flatten(0, 1), drawn.ids[:, 1:].flatten())
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
    assert not drawn.lengths.is_inference()


def test_sampling_stops_when_all_have_ended(durations: Representation, model: Transformer) -> None:
    prefix = torch.tensor([[durations.bos, durations.eos]] * 3)
    drawn = sample(model, Grammar(durations), prefix, 1000, generators=seeded(range(3)))
    assert drawn.ids.shape[1] <= 2 + NOISE_BLOCK
    assert drawn.lengths.tolist() == [2, 2, 2]


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel((400, 500), torch.Generator().manual_seed(0))
    assert noise.dtype == torch.float32
    assert noise.isfinite().all()
    assert kstest(noise.flatten().numpy(), "gumbel_r").pvalue > 0.01
    assert noise.mean().item() == pytest.approx(np.euler_gamma, abs=0.01)
    again = gumbel((400, 500), torch.Generator().manual_seed(0))
    assert torch.equal(noise, again)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_argmax_under_noise_follows_the_softmax(temperature: float) -> None:
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0, 5.0])
    mask = torch.tensor([True, True, True, True, False])
    scores = tempered(logits, mask, temperature)
    noise = gumbel((40_000, 5), torch.Generator().manual_seed(1))
    counts = torch.bincount((scores + noise).argmax(-1), minlength=5)
    assert counts[4] == 0
    expected = (logits[:4] / temperature).softmax(0).double().numpy()
    assert chisquare(counts[:4].numpy(), 40_000 * expected / expected.sum()).pvalue > 0.001


def test_truncation_keeps_the_best() -> None:
    scores = torch.tensor([[0.1, 0.5, 0.05, 0.3, 0.05], [0.96, 0.01, 0.01, 0.01, 0.01]]).log()

    def kept(**choice: float) -> list[list[int]]:
        return [row.isfinite().nonzero()[:, 0].tolist() for row in truncate(scores, **choice)]

    assert kept() == [[0, 1, 2, 3, 4]] * 2
    assert kept(top_k=2)[0] == [1, 3]
    assert kept(top_k=9) == [[0, 1, 2, 3, 4]] * 2
    assert truncate(torch.arange(3.0), top_k=2).tolist() == [-torch.inf, 1, 2]
    assert kept(top_p=0.75) == [[1, 3], [0]]
    assert kept(top_p=0.85) == [[0, 1, 3], [0]]
    assert kept(top_p=1e-6) == [[1], [0]]
    assert kept(top_k=1, top_p=0.9) == [[1], [0]]
    assert kept(min_p=0.55) == [[1, 3], [0]]
    assert kept(min_p=0.11) == [[0, 1, 3], [0]]
    assert truncate(torch.zeros(2), top_p=0.5).isfinite().sum() == 1  # one is enough
    left = truncate(scores, top_p=0.75)[0].softmax(-1)
    torch.testing.assert_close(left, torch.tensor([0, 0.625, 0, 0.375, 0]))


def test_truncation_is_of_the_tempered_distribution() -> None:
    """Of 6, 3 and 1 tenths a temperature under 1 makes the first likelier, one over 1 the last."""
    logits, mask = torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.ones(1, 3, dtype=torch.bool)

    def drawn_from(temperature: float, top_p: float = 1.0) -> torch.Tensor:
        choice = Choice(temperature=temperature, top_p=top_p)
        return scored(logits, mask, torch.zeros(1, 1).long(), choice, mask[0])

    torch.testing.assert_close(drawn_from(2.0), logits / 2)
    assert [drawn_from(each, 0.7).isfinite().sum() for each in (1.0, 0.5)] == [2, 1]
    assert [drawn_from(each, 0.85).isfinite().sum() for each in (1.0, 2.0)] == [2, 3]


def test_truncated_sampling_stays_inside(durations: Representation, model: Transformer) -> None:
    """With only the likeliest token left, noise changes nothing: every seed writes one piece."""
    prefix, grammar = start(durations, 3), Grammar(durations)
    for choice in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 0.999}, {"temperature": 0.0}):
        drawn = sample(
            model, grammar, prefix, 40, generators=seeded(range(3)), choice=Choice(**choice)
        )
        assert len({tuple(row) for row in drawn.ids.tolist()}) == 1


def test_conditions_never_come_out(durations: Representation, model: Transformer) -> None:
    drawn = sample(model, Grammar(durations), start(durations, 8), 90, generators=seeded(range(8)))
    kinds = durations.token_types[drawn.ids[:, 2:].numpy()]
    assert not np.isin(kinds, [TokenType.CONDITION, TokenType.BOS]).any()
    assert F.one_hot(drawn.ids[:, 2:]).shape[-1] <= durations.music_size


def test_a_penalty_makes_recent_pitches_rarer_and_nothing_else() -> None:
    logits = torch.tensor([[2.0, -1.0, 3.0, 0.5]])
    strikes = torch.tensor([True, True, False, True])
    found = penalise(logits, torch.tensor([[0, 1, 2]]), 2.0, strikes)
    assert found.tolist() == [[1.0, -2.0, 3.0, 0.5]]


def test_a_penalty_forgets_what_was_heard_long_ago() -> None:
    ids = torch.full((2, WINDOW + 1), 2)
    ids[0, 0] = ids[1, 1] = 1  # one place too far back, and the furthest that counts
    mask = torch.ones(2, 3, dtype=torch.bool)
    scores = scored(torch.ones(2, 3), mask, ids, Choice(repetition=2.0), mask[0])
    assert scores.tolist() == [[1, 1, 0.5], [1, 0.5, 0.5]]


def test_no_run_of_tokens_comes_twice() -> None:
    ids = torch.tensor([[5, 6, 7, 5, 6], [1, 2, 3, 4, 5], [6, 6, 6, 6, 6]])
    marked = [row.nonzero()[:, 0].tolist() for row in repeats(ids, 3, 9)]
    assert marked == [[7], [], [6]]
    assert not repeats(ids[:, :2], 3, 9).any()
    assert repeats(ids[2:, :3], 3, 9).nonzero().tolist() == [[0, 6]]  # a run may overlap itself
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[:, 6:8] = True
    scores = scored(torch.zeros(3, 9), mask, ids, Choice(no_repeat=3), mask[0])
    allowed = [row.isfinite().nonzero()[:, 0].tolist() for row in scores]
    assert allowed == [[6], [6, 7], [7]]
    mask[:, 6] = False  # what is left has been heard: better again than nothing
    scores = scored(torch.zeros(3, 9), mask, ids, Choice(no_repeat=3), mask[0])
    assert scores[0].isfinite().sum() == 1


def test_samples_under_the_rule_hold_no_run_twice(
    durations: Representation, model: Transformer
) -> None:
    drawn = sample(
        model, Grammar(durations, min_notes=99), start(durations, 4), 90,
        generators=seeded(range(4)), choice=Choice(temperature=0.3, no_repeat=5),
    )  # fmt: skip
    for ids in drawn.pieces():
        runs = [tuple(ids[i : i + 5]) for i in range(len(ids) - 4)]
        assert len(set(runs)) == len(runs)


def test_the_rule_counts_what_a_prompt_holds(durations: Representation, model: Transformer) -> None:
    grammar = Grammar(durations, min_notes=99)

    def told_again(rule: int) -> int:
        """Runs of five that end in what was added to a prompt, and stand in it."""
        choice = Choice(temperature=0.1, no_repeat=rule)
        drawn = sample(model, grammar, prompt, 40, generators=seeded([1]), choice=choice)
        runs = [tuple(run) for run in drawn.ids[0].unfold(0, 5, 1).tolist()]
        return len(set(runs[:-40]) & set(runs[-40:]))

    choice = Choice(temperature=0.1)
    prompt = sample(
        model, grammar, start(durations, 1), 50, generators=seeded([0]), choice=choice
    ).ids
    assert told_again(0) > 0
    assert told_again(5) == 0


def test_an_opening_varies_what_greed_would_not(
    durations: Representation, model: Transformer
) -> None:
    prefix, grammar = start(durations, 5), Grammar(durations, min_notes=99)

    def pieces(opening: int) -> set[tuple[int, ...]]:
        drawn = sample(
            model, grammar, prefix, 40, generators=seeded(range(5)),
            choice=Choice(temperature=0, opening=opening),
        )  # fmt: skip
        return {tuple(row) for row in drawn.ids.tolist()}

    assert len(pieces(0)) == 1
    assert len(pieces(4)) == 5


@pytest.mark.parametrize("strength", [3.0, 0.5])
def test_guidance_is_an_extrapolation_of_logits(
    strength: float, durations: Representation, model: Transformer
) -> None:
    """Greedily, so that each token shows which logits were used; past the context as well."""
    grammar = Grammar(durations, min_notes=999)
    prefix = start(durations, 1)
    steps = 60
    drawn = sample(
        model, grammar, prefix, steps, generators=seeded([0]),
        choice=Choice(temperature=0, guidance=strength), unconditioned=prefix[:, 1:],
    )  # fmt: skip
    masks = grammar.replay(drawn.ids)
    with torch.no_grad():
        given = model(drawn.ids)[0, 1:-1]
        without = model(drawn.ids[:, 1:])[0, :-1]
    logits = without + strength * (given - without)
    expected = logits.masked_fill(~masks[0, 2:], -torch.inf).argmax(-1)
    assert torch.equal(drawn.ids[0, 2:], expected)
    plain = sample(
        model, grammar, prefix, steps, generators=seeded([0]), choice=Choice(temperature=0)
    )
    assert not torch.equal(plain.ids, drawn.ids)


def test_a_stream_is_a_sample_that_grows(durations: Representation, model: Transformer) -> None:
    prefix, grammar = start(durations, 2), Grammar(durations)
    whole = sample(model, grammar, prefix, 50, generators=seeded(range(2)))
    parts = list(stream(model, grammar, prefix, 50, generators=seeded(range(2))))
    for number, part in enumerate(parts):
        assert torch.equal(part, whole.ids[:, : 3 + number])


def test_reselected_rows_go_on_as_if_they_had_been_alone(
    durations: Representation, model: Transformer
) -> None:
    """Cache, grammar and ids move together: greedily, copies of a row stay copies."""
    prefix, grammar = start(durations, 3), Grammar(durations, min_notes=99)

    def first(ids: torch.Tensor, last: bool) -> torch.Tensor | None:
        # One is amid a note there, and another has just moved on.
        return torch.tensor([1, 1, 1]) if ids.shape[1] == 9 and not last else None

    choice = Choice(temperature=0, opening=6)
    plain = sample(model, grammar, prefix, 60, generators=seeded(range(3)), choice=choice)
    drawn = sample(
        model, grammar, prefix, 60, generators=seeded(range(3)), choice=choice, reselect=first
    )
    assert len({tuple(row) for row in plain.ids.tolist()}) == 3
    assert torch.equal(drawn.ids, plain.ids[[1, 1, 1]])
    kinds = {int(durations.token_types[row[8]]) for row in plain.ids.tolist()}
    assert len(kinds) == 3
    none = sample(
        model, grammar, prefix, 0, generators=seeded(range(3)),
        reselect=lambda ids, last: torch.tensor([1, 1, 1]),
    )  # fmt: skip
    assert torch.equal(none.ids, prefix[[1, 1, 1]])
