"""What a run shows of itself: bits a note, pictures, samples."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import BOS, PAD, Representation, TokenType
from gan.adversarial.trainer import Trainer
from gan.engine import engine
from gan.evaluation.language import by_label, summary, token_bits
from gan.logbook import Logbook
from gan.settings import TrainSettings
from generator.compose import Composer
from generator.settings import TransformerSettings
from generator.transformer import Transformer

CPU = engine("cpu", "fp32")


@pytest.fixture(scope="module")
def representation() -> Representation:
    return Representation()


@pytest.fixture(scope="module")
def model(representation: Representation) -> Transformer:
    torch.manual_seed(0)
    settings = TransformerSettings(layers=1, width=32, heads=2, max_length=32, dropout=0.5)
    return Transformer(representation.vocab_size, settings)


def first(representation: Representation, kind: TokenType) -> int:
    return int(np.flatnonzero(representation.token_types == kind)[0])


def test_token_bits_are_the_models_own(model: Transformer) -> None:
    torch.manual_seed(1)
    ids = torch.randint(3, 100, (5, 21))
    ids[1, 10:] = PAD
    inputs, targets = ids[:, :-1], ids[:, 1:]
    model.train()
    bits, hits = token_bits(model, inputs, targets, CPU, batch=2)
    assert model.training, "handed back as it was"
    assert bits.dtype == np.float64
    model.eval()
    with torch.no_grad():
        p = model(inputs).softmax(-1)
    expected = -p.gather(-1, targets[..., None])[..., 0].log2().numpy()
    real = (targets != PAD).numpy()
    np.testing.assert_allclose(bits[real], expected[real], rtol=1e-5)
    assert not bits[~real].any()
    assert not hits[~real].any()
    np.testing.assert_array_equal(hits[real], (p.argmax(-1) == targets).numpy()[real])
    np.testing.assert_allclose(token_bits(model, inputs, targets, CPU, batch=5)[0], bits, 1e-5)
    assert not model.training, "this time, too"


def test_a_model_that_knows_nothing_spends_log2_v_a_token(
    representation: Representation, model: Transformer
) -> None:
    blank = Transformer(representation.vocab_size, model.settings)
    with torch.no_grad():
        for weight in blank.parameters():
            weight.zero_()
    pitch, shift = (
        first(representation, TokenType.PITCH),
        first(representation, TokenType.TIME_SHIFT),
    )
    ids = torch.tensor([[BOS, pitch, shift, pitch, shift, shift]])
    bits, hits = token_bits(blank, ids[:, :-1], ids[:, 1:], CPU)
    result = summary(bits, hits, ids[:, 1:].numpy(), representation)
    assert result["bits_per_token"] == pytest.approx(math.log2(representation.vocab_size))
    assert result["bits_per_note"] == pytest.approx(5 / 2 * math.log2(representation.vocab_size))


def test_summary_counts_notes_tokens_and_hits(representation: Representation) -> None:
    pitch, shift = (
        first(representation, TokenType.PITCH),
        first(representation, TokenType.TIME_SHIFT),
    )
    targets = np.array([[pitch, shift, PAD], [pitch, pitch, shift]])
    bits = np.array([[1.0, 2.0, 0.0], [3.0, 4.0, 5.0]])
    hits = np.array([[True, False, False], [True, False, True]])
    whole = summary(bits, hits, targets, representation)
    assert whole == {
        "bits_per_note": 5.0,
        "bits_per_event": 2.5,  # a note is switched on, and off
        "bits_per_token": 3.0,
        "perplexity": 8.0,
        "token_accuracy": 0.6,
    }
    parts = by_label(bits, hits, targets, ["jazz", "not_jazz"], representation)
    assert parts == whole | {"bits_per_note_jazz": 3.0, "bits_per_note_not_jazz": 6.0}


def test_a_generator_gone_wild_has_figures_too(representation: Representation) -> None:
    """A guard takes such a run back; it has to come to that."""
    targets = np.full((1, 4), first(representation, TokenType.PITCH))
    whole = summary(np.full((1, 4), 3000.0), targets == PAD, targets, representation)
    assert whole["bits_per_note"] == 3000
    assert math.isfinite(whole["perplexity"])


def test_a_report_is_the_same_whenever_it_is_asked_for(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    settings = tiny_settings(adv_weight=0.1, samples=2)
    trainer = Trainer(practice_corpus, tmp_path, settings, quiet=True)
    with Logbook(tmp_path, quiet=True) as log:
        torch.manual_seed(3)
        bits = trainer.progress.report(0, log)["bits_per_note"]
        torch.manual_seed(4)
        assert trainer.progress.report(1, log)["bits_per_note"] == bits
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["step"], line["seconds"]
    assert lines[0] == lines[1]
    assert lines[0]["validation/bits_per_note"] == pytest.approx(bits, abs=1e-5)
    names = {"bits_per_note_jazz", "bits_per_note_not_jazz", "token_accuracy"}
    assert {f"validation/{name}" for name in names} <= set(lines[0])
    assert 0 < lines[0]["samples/p_jazz"] < 1
    assert lines[0]["samples/notes"] >= 8
    shares = [value for name, value in lines[0].items() if name.startswith("tokens/share_")]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    for step in (0, 1):
        assert len(list((tmp_path / "samples" / f"step-{step:06d}").glob("*.mid"))) == 2


@pytest.mark.parametrize("weight", [0.0, 0.1])
@pytest.mark.parametrize("bits", [(9.0, 7.0, 8.0), (9.0, 8.0, 7.0), (9.0, 7.0, 7.05)])
def test_a_run_that_got_worse_says_where_it_was_better(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    weight: float, bits: tuple[float, ...],
) -> None:  # fmt: skip
    """What is finished is the last; with a term beside it, bits are not what it is after."""
    settings = tiny_settings(
        adv_weight=weight, steps=3, evaluate_every=1, checkpoint_every=9, keep=1, adv_start=0
    )
    trainer = Trainer(practice_corpus, tmp_path / "run", settings, quiet=False)

    def report(step: int, log: Logbook) -> dict[str, float]:
        return {"bits_per_note": bits[max(step, 1) - 1]}

    monkeypatch.setattr(trainer.progress, "report", report)
    trainer.train()
    notes = [line for line in capsys.readouterr().out.splitlines() if "better generator" in line]
    best = tmp_path / "run" / "checkpoints" / "step-000002"
    if weight or bits[2] < 7.06:
        assert not notes
    else:
        (note,) = notes
        assert "were 7.00 at step 2 and are 8.00 now" in note
        assert note.endswith(str(best))
        assert Composer.load(best)


def test_a_generator_gone_silent_does_not_end_the_run(
    practice_corpus: Corpus,
    tiny_settings: Callable[..., TrainSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = Trainer(practice_corpus, tmp_path, tiny_settings(), quiet=True)

    def silent(*_: object, **__: object) -> list[object]:
        raise UserError("seed 1000: no notes in 64 tokens")

    monkeypatch.setattr(trainer.composer, "compose", silent)
    with Logbook(tmp_path, quiet=True) as log:
        assert trainer.progress.report(0, log)["bits_per_note"] > 0
    (line,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line["samples/notes"] == 0


def test_a_corpus_without_validation_is_refused(
    practice_corpus: Corpus,
    tiny_settings: Callable[..., TrainSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row | {"split": "train"} for row in practice_corpus.rows]
    monkeypatch.setattr(practice_corpus, "rows", rows)
    with pytest.raises(UserError, match="no pieces in validation"):
        Trainer(practice_corpus, tmp_path / "run", tiny_settings(), quiet=True)
    assert not (tmp_path / "run").exists()


def test_an_empty_share_is_read_as_nothing() -> None:
    nothing = torch.zeros(0, 12, dtype=torch.int64)
    bits, hits = token_bits(nn.Identity(), nothing, nothing, CPU)
    assert (bits.shape, bits.dtype) == ((0, 12), np.float64)
    assert (hits.shape, hits.dtype) == ((0, 12), np.bool_)


def test_a_resumed_run_counts_its_seconds_on(tmp_path: Path) -> None:
    for step in (0, 5):
        with Logbook(tmp_path, step, quiet=True) as log:
            log.log(step + 1, {"loss/ce": 1.0})
        if not step:
            said = json.dumps({"step": 5, "seconds": 700.0, "loss/ce": 1.0}) + "\n"
            with (tmp_path / "metrics.jsonl").open("a") as stream:
                stream.write(said)
    seconds = [
        json.loads(line)["seconds"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert seconds == sorted(seconds)
    assert seconds[-1] >= 700


@pytest.mark.parametrize("pull", [0.0, 0.5])
def test_a_term_without_any_weight_is_told(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pull: float,
) -> None:  # fmt: skip
    """A discriminator to which all music is alike pulls nowhere, and nothing else says so."""
    monkeypatch.setattr("gan.adversarial.critic.StyleCritic.pull", lambda *arguments: pull)
    settings = tiny_settings(adv_weight=0.1, adv_scale="gradient", steps=2, samples=0)
    Trainer(practice_corpus, tmp_path, settings).train()
    said = " ".join(capsys.readouterr().out.split())
    assert ("had no weight in any step" in said) == (pull == 0.0)
