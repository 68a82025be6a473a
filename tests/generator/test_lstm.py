"""The LSTM gives one answer however it is asked, and is a generator like the transformer."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_tools.representation import PAD, Representation
from generator import Composer
from generator.grammar import Grammar
from generator.lstm import LSTM
from generator.model import build
from generator.norms import TokenBatchNorm
from generator.sampling import rollout, sample, seeded, tempered
from generator.settings import LSTMSettings

VOCABULARY = 40


def lstm(vocabulary: int = VOCABULARY, **changes: object) -> LSTM:
    values = {"layers": 2, "width": 24, "hidden": 32, "dropout": 0.2} | changes
    torch.manual_seed(0)
    model = LSTM(vocabulary, LSTMSettings(**values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(2)
    return model


def tokens(batch: int = 3, length: int = 40) -> Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.manual_seed(1))


@pytest.mark.parametrize("dense", [0, 1, 2])
@pytest.mark.parametrize("batch_norm", [False, True])
@torch.no_grad()
def test_stepping_equals_reading_at_once(dense: int, batch_norm: bool) -> None:
    model, ids = lstm(dense=dense, batch_norm=batch_norm), tokens()
    model.train()
    model(ids)  # batch normalisation has seen something
    model.eval()
    whole = model(ids)
    cache = model.new_cache(3)
    torch.testing.assert_close(model.step(ids[:, :7], cache), whole[:, 6], rtol=0, atol=1e-5)
    for position in range(7, 40):
        logits = model.step(ids[:, position : position + 1], cache)
        torch.testing.assert_close(logits, whole[:, position], rtol=0, atol=1e-5)
    assert cache.length == 40


@torch.no_grad()
def test_rows_are_chosen_and_all_is_forgotten() -> None:
    model, ids = lstm(), tokens()
    whole, rows = model(ids), torch.tensor([2, 0, 0])
    cache = model.new_cache(3)
    model.step(ids[:, :9], cache)
    cache.select(rows)
    torch.testing.assert_close(model.step(ids[rows, 9:20], cache), whole[rows, 19])
    cache.clear()
    assert cache.length == 0
    torch.testing.assert_close(model.step(ids[:, :9], cache), whole[:, 8])


def test_dropout_is_between_layers() -> None:
    assert [lstm(layers=count).lstm.dropout for count in (1, 2)] == [0.0, 0.2]


@torch.no_grad()
def test_the_equations_are_the_lstms() -> None:
    """Against the gates written out, one layer, in float64."""
    model = lstm(layers=1, dense=1, batch_norm=False).double()
    ids = tokens(2, 12)
    w = dict(model.lstm.named_parameters())
    hidden = cell = torch.zeros(2, 32, dtype=torch.float64)
    for position in range(12):
        x = model.embedding.weight[ids[:, position]]
        gates = x @ w["weight_ih_l0"].T + hidden @ w["weight_hh_l0"].T
        gates = gates + w["bias_ih_l0"] + w["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        dense = F.relu(hidden @ model.dense[0].weight.T + model.dense[0].bias)
        logits = dense @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(ids)[:, position].double(), logits, rtol=0, atol=1e-5)


def test_it_remembers_at_first() -> None:
    model = LSTM(VOCABULARY, LSTMSettings(layers=1, width=8, hidden=8))
    bias = model.lstm.bias_ih_l0 + model.lstm.bias_hh_l0
    assert bias[8:16].tolist() == [1.0] * 8


def test_one_hot_rows_are_ids_and_carry_gradients() -> None:
    model, ids = lstm(), tokens()
    rows = F.one_hot(ids, VOCABULARY).float().requires_grad_()
    logits = model(rows)
    torch.testing.assert_close(logits, model(ids), rtol=0, atol=1e-5)
    logits[:, 20].sum().backward()
    assert rows.grad is not None
    assert rows.grad[:, :21].abs().sum() > 0
    assert not rows.grad[:, 21:].any(), "the future changes nothing"


def test_tied_embeddings_need_a_dense_layer() -> None:
    assert lstm(tie_embeddings=True, dense=1).head is None
    with pytest.raises(ValueError, match="dense"):
        LSTMSettings(tie_embeddings=True, dense=0)
    model = lstm(tie_embeddings=True, dense=0, width=32)
    assert model.head is None
    assert model(tokens()).shape == (3, 40, VOCABULARY)


def test_rollouts_replay_and_samples_repeat(durations: Representation) -> None:
    model, grammar = lstm(durations.vocab_size), Grammar(durations)
    prefix = torch.tensor([[durations.condition_id("label:jazz"), durations.bos]] * 4)
    drawn = rollout(model, grammar, prefix, 60, generator=torch.Generator().manual_seed(0))
    logits = model(drawn.ids)[:, 1:-1]
    scores = tempered(logits, drawn.masks, 1.0) + drawn.noise
    assert torch.equal(scores.argmax(-1), drawn.ids[:, 2:])
    four = sample(model, grammar, prefix, 60, generators=seeded(range(4)))
    for seed, together in enumerate(four.pieces()):
        alone = sample(model, grammar, prefix[:1], 60, generators=seeded([seed]))
        assert alone.pieces()[0].tolist() == together.tolist()


def replayed_gradient(durations: Representation, device: str) -> Tensor:
    """The gradient that a rollout's replay, in eval mode, sends to the embedding."""
    model, grammar = lstm(durations.vocab_size).to(device), Grammar(durations, device)
    prefix = torch.tensor([[durations.condition_id("label:jazz"), durations.bos]] * 3)
    noise = torch.Generator(device).manual_seed(0)
    drawn = rollout(model, grammar, prefix.to(device), 20, generator=noise)
    logits = model(drawn.ids)[:, 1:-1]
    torch.testing.assert_close(logits, model(drawn.ids)[:, 1:-1], msg="dropout is off")
    logits.log_softmax(-1)[..., 0].sum().backward()
    assert model.embedding.weight.grad is not None
    return model.embedding.weight.grad


def test_a_replay_has_a_gradient(durations: Representation) -> None:
    gradient = replayed_gradient(durations, "cpu")
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@pytest.mark.gpu
def test_a_replay_has_the_same_gradient_on_a_gpu(durations: Representation) -> None:
    """cuDNN differentiates recurrent layers in training mode alone."""
    gradient = replayed_gradient(durations, "cuda")
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_cudnn_is_left_out_where_it_has_no_backward() -> None:
    model, gpu = lstm(), torch.device("cuda")
    with model._differentiable(gpu):
        assert not torch.backends.cudnn.enabled
    assert torch.backends.cudnn.enabled
    with model.train()._differentiable(gpu):
        assert torch.backends.cudnn.enabled
    with torch.no_grad(), model.eval()._differentiable(gpu):
        assert torch.backends.cudnn.enabled


def padded(ids: Tensor, columns: int) -> Tensor:
    return F.pad(ids, (0, columns), value=PAD)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("dense", [1, 2])
def test_padding_changes_nothing_in_training(rows: bool, dense: int) -> None:
    model = lstm(dropout=0.0, dense=dense, batch_norm=True).train()
    whole, found = deepcopy(model), deepcopy(model)
    ids = tokens().clamp(min=PAD + 1)
    more = padded(ids, 25)
    given = F.one_hot(more, VOCABULARY).float() if rows else more
    torch.testing.assert_close(found(given)[:, :40], whole(ids), rtol=0, atol=1e-5)
    for one, two in zip(found.norms, whole.norms, strict=True):
        torch.testing.assert_close(one.state_dict(), two.state_dict())
    ids[1, 30:] = PAD  # ragged
    for model in (found, whole):
        model.zero_grad()
    found(padded(ids, 3))[:, :30].square().mean().backward()
    whole(ids)[:, :30].square().mean().backward()
    for one, two in zip(found.parameters(), whole.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)


def test_without_padding_it_is_batch_normalisation() -> None:
    own, known = TokenBatchNorm(6), nn.BatchNorm1d(6)
    for step in range(3):
        x = torch.randn(50, 6, generator=torch.manual_seed(step)) * 3 + 1
        torch.testing.assert_close(own(x, torch.ones(50, dtype=torch.bool)), known(x))
    torch.testing.assert_close(own.state_dict(), known.state_dict())
    x = torch.randn(5, 6)
    torch.testing.assert_close(own.eval()(x, torch.zeros(5, dtype=torch.bool)), known.eval()(x))


def test_a_composer_of_an_lstm_comes_back_from_its_folder(
    durations: Representation, tmp_path: Path
) -> None:
    composer = Composer(lstm(durations.vocab_size, batch_norm=True), durations, "jazz")
    composer.save(tmp_path)
    loaded = Composer.load(tmp_path)
    assert isinstance(loaded.model, LSTM)
    pieces = composer.compose(2, length=80), loaded.compose(2, length=80)
    assert [p.ids.tolist() for p in pieces[0]] == [p.ids.tolist() for p in pieces[1]]
    assert "an LSTM" in pieces[0][0].midi.markers[0].text


def test_build_chooses_the_family() -> None:
    assert isinstance(build(VOCABULARY, LSTMSettings(hidden=8, width=8)), LSTM)
