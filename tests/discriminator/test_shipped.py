"""The classifier that ships: what it must still do after any change to it or to what it reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_tools.audit.ranking import auc
from data_tools.augment import Augmenter
from data_tools.corpus import Corpus
from data_tools.settings import AugmentSettings
from discriminator.classifier import PRETRAINED, Classifier

MOST_BYTES = 8 * 10**6


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier.load()


@pytest.fixture(scope="module")
def passages(practice_corpus: Corpus) -> list[np.ndarray]:
    return [practice_corpus.piece(n)[:1200].astype(np.int64) for n in range(len(practice_corpus))]


def p_of(classifier: Classifier, pieces: list[np.ndarray]) -> np.ndarray:
    return np.array([classifier.probability(float(z)) for z in classifier.logits(pieces)])


def test_it_fits_its_place() -> None:
    assert sum(path.stat().st_size for path in PRETRAINED.rglob("*")) <= MOST_BYTES


def test_composed_jazz_is_told_from_the_rest(
    shipped: Classifier, passages: list[np.ndarray], practice_corpus: Corpus
) -> None:
    """Music of a kind it never met: composed by rules, not a note of it by a person."""
    labels = np.array([row["label"] == "jazz" for row in practice_corpus.rows])
    assert float(auc(shipped.logits(passages), labels)) > 0.9


def test_real_music(shipped: Classifier, mini: Path) -> None:
    paths = sorted(mini.rglob("*.mid"))
    verdicts = list(shipped.score_many(paths))
    assert len(verdicts) == len(paths) == 120
    assert all(verdict.p_jazz is not None for verdict in verdicts)
    labels = np.array(["not_jazz" not in path.parts for path in paths])
    assert float(auc(np.array([verdict.p_jazz for verdict in verdicts]), labels)) > 0.97


def test_half_precision_moves_little(shipped: Classifier, passages: list[np.ndarray]) -> None:
    half = Classifier.load(half=torch.bfloat16)
    moved = np.abs(p_of(half, passages) - p_of(shipped, passages))
    assert 0 < moved.max() < 0.005


def test_transposing_moves_little(
    shipped: Classifier, passages: list[np.ndarray], practice_corpus: Corpus
) -> None:
    still = AugmentSettings(transpose=6, stretch=0.0, jitter=0.0, loudness=0)
    augment, before = Augmenter(practice_corpus.representation, still), p_of(shipped, passages)
    moved = [
        np.abs(p_of(shipped, [augment(ids, np.random.default_rng(seed)) for ids in passages])
               - before).mean()
        for seed in range(3)
    ]  # fmt: skip
    assert np.mean(moved) < 0.05


def test_ids_rows_and_padding_agree(shipped: Classifier, passages: list[np.ndarray]) -> None:
    ids = torch.from_numpy(np.stack([piece[:300] for piece in passages[:8]]))
    rows = F.one_hot(ids, shipped.representation.music_size).float().requires_grad_()
    logits = shipped.model(ids)
    assert torch.allclose(shipped.model(rows), logits, atol=1e-5)
    assert torch.allclose(shipped.model(F.pad(ids, (0, 50))), logits, atol=1e-5)
    shipped.model(rows).sum().backward()
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert (rows.grad.norm(dim=-1) > 0).any(1).all()
