"""The LSTM gives one answer however it is asked, and is a generator like the transformer."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data_tools.representation import Representation
from generator import Composer
from generator.grammar import Grammar
from generator.lstm import LSTM
from generator.model import build
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
        lstm(tie_embeddings=True, dense=0)


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
