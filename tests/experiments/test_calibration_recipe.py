"""The comparison of calibrations: pools as said, never fits on the source it judges."""

import shutil

import numpy as np
import pytest
import yaml

from data_tools.errors import UserError
from discriminator.classifier import Classifier
from experiments.recipes.calibration import (
    POOLING,
    Held,
    compared,
    features,
    gather,
    load_held,
    log_losses,
    platt,
    save_held,
    ways_table,
)


def held(seed: int = 0, sources: int = 8, pieces: int = 30) -> Held:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(sources) % 2, pieces)
    logits = [rng.normal(2 * label - 1, 1, rng.integers(1, 9)) for label in labels]
    names = np.repeat([f"s{n}" for n in range(sources)], pieces)
    return Held(logits, labels, names, np.array([512 * len(z) for z in logits]))


def test_pooling_by_hand():
    z = np.array([-10.0, 0.0, 0.0, 1.0, 4.0])
    assert POOLING["mean"](z) == -1.0
    assert POOLING["trimmed mean"](z) == pytest.approx(1 / 3)
    assert POOLING["median"](z) == 0.0
    assert POOLING["mean of tanh"](z) == pytest.approx(np.tanh(z).mean())
    assert POOLING["trimmed mean"](z[:1]) == -10.0
    pieces = Held([z], np.array([1]), np.array(["a"]), np.array([9]))
    assert features(pieces, "mean", True)[0] == pytest.approx([-1.0, -np.log(5)])


def test_a_source_is_judged_by_the_others():
    """Its own labels turned around change nothing about its probabilities, only its loss."""
    music = held()
    mine = music.sources == "s3"
    turned = music._replace(labels=np.where(mine, 1 - music.labels, music.labels))
    (p, loss), (q, worse) = (
        log_losses(features(m, "mean", False), m, platt) for m in (music, turned)
    )
    assert p[mine] == pytest.approx(q[mine])
    assert worse[mine].mean() > loss[mine].mean() + 1
    assert p[~mine] != pytest.approx(q[~mine])


def test_every_way_is_compared_with_the_first():
    rows = compared(held())
    assert rows[0]["more"] == 0
    assert all(0 < row["log_loss"] < np.log(2) for row in rows)
    assert all(row["interval"][0] <= row["more"] <= row["interval"][1] for row in rows)
    assert ways_table(rows).count("\n") == len(rows) + 2


def test_a_run_judges_what_it_left_out(practice_corpus, tiny_discriminator, tmp_path):
    shutil.copytree(tiny_discriminator, tmp_path / "run" / "classifier")
    sources = sorted({row["source"] for row in practice_corpus.rows})
    record = tmp_path / "run" / "settings.yaml"
    record.write_text(yaml.safe_dump({"exclude_sources": sources[:1]}))
    found = gather(practice_corpus, [tmp_path / "run"], 5, 0)
    assert set(found.sources) == set(sources[:1])
    assert len(found.labels) == 5
    save_held(tmp_path / "held.npz", found)
    again = load_held(tmp_path / "held.npz")
    for one, other in zip(found.logits, again.logits, strict=True):
        assert np.array_equal(one, other)
    classifier = Classifier.load(tiny_discriminator)
    whole = [practice_corpus.piece(n) for n, r in enumerate(practice_corpus.rows)
             if r["source"] == sources[0]]  # fmt: skip
    means = classifier.logits(np.asarray(ids) for ids in whole)
    assert all(np.abs(means - z.mean()).min() < 1e-4 for z in found.logits)
    record.write_text(yaml.safe_dump({"exclude_sources": []}))
    with pytest.raises(UserError, match="left no further source"):
        gather(practice_corpus, [tmp_path / "run"], 5, 0)
    with pytest.raises(UserError, match=r"no settings\.yaml"):
        gather(practice_corpus, [tmp_path], 5, 0)
