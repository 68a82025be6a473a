"""Training on merged tokens: it runs, resumes, composes, and counts its bits by the same notes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.bytepair import MergedRepresentation
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import EOS, Representation, TokenType
from gan import selection
from gan.adversarial.trainer import Trainer
from gan.data import GeneratorWindows
from gan.evaluation import systems
from gan.evaluation.language import summary
from gan.settings import TrainSettings
from generator.compose import Composer

Make = Callable[..., TrainSettings]


def test_a_run_resumes_and_composes(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path
) -> None:
    settings = tiny_settings(byte_pairs=30)
    folder = Trainer(practice_corpus, tmp_path / "run", settings, quiet=True).train()
    composer = Composer.load(folder)
    assert isinstance(composer.representation, MergedRepresentation)
    assert len(composer.representation.pairs) == 30
    (piece,) = composer.compose(1, length=60)
    assert piece.midi.instruments[0].notes
    again = Trainer(practice_corpus, tmp_path / "run", settings, resume=True, quiet=True)
    assert again.step == settings.steps
    assert again.representation.digest == composer.representation.digest


def test_a_run_of_merged_tokens_is_continued_compared_and_chosen_from(
    practice_corpus: Corpus, tiny_settings: Make, tiny_discriminator: Path, tmp_path: Path
) -> None:
    first = Trainer(practice_corpus, tmp_path / "run", tiny_settings(byte_pairs=30), quiet=True)
    folder = first.train()
    more = tiny_settings(init=str(folder), adv_weight=0.0)
    longer = Trainer(practice_corpus, tmp_path / "longer", more, quiet=True)
    assert longer.representation.digest == first.representation.digest
    composer = Composer.load(longer.train())
    with pytest.raises(UserError, match="merged tokens"):
        Trainer(
            practice_corpus, tmp_path / "other", tiny_settings(init=str(folder), adv_weight=1.0)
        )
    plain = practice_corpus.representation
    source = systems.opened("bpe", str(tmp_path / "longer"), plain, "cpu")
    pieces = systems.written(source, plain, 2, 40, 0).pieces
    assert all(0 < len(ids) <= 40 and ids.max() < plain.music_size for ids in pieces)
    written = composer.compose(2, 0, length=40, batch=32)
    expanded = [composer.representation.expand(piece.ids) for piece in written]
    assert [ids.tolist() for ids in pieces] == [ids[ids > EOS][:40].tolist() for ids in expanded]
    classifier = selection.taste(tiny_discriminator, composer)
    (best,) = selection.best_of(composer, classifier, 3, 1, 0, length=60)
    assert best is not None


@pytest.mark.parametrize(
    ("change", "flag"), [({"adv_weight": 0.1}, "adv-weight"), ({"init": "somewhere"}, "init")]
)
def test_what_needs_plain_tokens_is_refused(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path,
    change: dict[str, object], flag: str,
) -> None:  # fmt: skip
    settings = tiny_settings(byte_pairs=30, **change)
    with pytest.raises(UserError, match=flag):
        Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    assert not (tmp_path / "run").exists()


def test_windows_hold_the_same_music(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path: Path
) -> None:
    settings = tiny_settings(byte_pairs=30)
    trainer = Trainer(practice_corpus, tmp_path / "run", settings, quiet=True)
    merged = trainer.representation
    assert isinstance(merged, MergedRepresentation)
    numbers = practice_corpus.select("train")
    windows = [
        GeneratorWindows(practice_corpus, numbers, rep, 48, 2, seed=3)
        for rep in (merged.plain, merged)
    ]
    longer = 0
    for chunk in range(0, len(windows[0]), 7):
        plain, short = (w.window(chunk, 0, np.random.default_rng(chunk)) for w in windows)
        expanded = merged.expand(short)
        assert len(short) <= 49
        assert expanded[: len(plain)].tolist() == plain[: len(expanded)].tolist()
        assert len(expanded) >= len(plain)
        longer += len(expanded) > len(plain)
    assert longer > 0, "what merges save is room for more music"
    # Bits a note count the notes within merged tokens.
    _, targets = windows[1](0)
    bits = np.ones(targets.shape)
    found = summary(bits, bits > 0, targets.numpy(), merged)["bits_per_note"]
    real = targets[targets != 0]
    notes = merged.plain.strikes[merged.expand(real.numpy())].sum()
    assert found == pytest.approx(len(real) / notes)
    assert torch.isfinite(torch.tensor(found))


def test_every_note_of_a_token_is_counted() -> None:
    plain = Representation()
    pitch, velocity, duration = (
        int(plain.vocabulary.first(kind))
        for kind in (TokenType.PITCH, TokenType.VELOCITY, TokenType.DURATION)
    )
    size = plain.music_size  # the next ids: half a note, a note, the same note twice
    pairs = [(pitch, velocity), (size, duration), (size + 1, size + 1)]
    merged = MergedRepresentation(plain.settings, (), pairs)
    targets = np.array([[size + 2, size + 1, velocity]])
    found = summary(np.full((1, 3), 2.0), targets > 0, targets, merged)
    assert found["bits_per_note"] == 6 / 3
    assert found["bits_per_event"] == 6 / 6
