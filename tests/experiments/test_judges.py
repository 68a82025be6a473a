"""The judges' lessons, and a generator without its label."""

import numpy as np
import pytest
import torch

from data_tools.corpus import Corpus
from data_tools.representation import BOS, Representation
from experiments.recipes import judges
from experiments.recipes.unlabelled import without_conditions
from generator.model import build
from generator.settings import LSTMSettings, ModelSettings, TransformerSettings


def test_judges_are_taught_that_corrupted_music_is_no_jazz(
    practice_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = practice_corpus.select("train", "jazz")
    monkeypatch.setattr(judges, "left_out", lambda corpus: numbers)
    music, labels, sources = judges.taught(practice_corpus, judges.HEARD["harmony"], 0)
    assert len(music) == len(labels) == len(sources)
    spoilt = sources == "corrupted"
    assert spoilt.sum() == len(numbers), "one of every piece"
    assert not labels[spoilt].any()
    assert labels[~spoilt].all()
    again = judges.taught(practice_corpus, judges.HEARD["harmony"], 0)[0]
    assert all(np.array_equal(one, other) for one, other in zip(music, again, strict=True))


def test_a_judge_hears_what_it_is_taught() -> None:
    """To rhythm a piece with other pitches is the same piece, so that is no lesson."""
    assert not {"shuffled pitches", "random pitches", "moved pitches"} & set(judges.HEARD["rhythm"])
    assert not {"shuffled gaps", "random gaps"} & set(judges.HEARD["harmony"])


@pytest.mark.parametrize(
    "settings",
    [
        TransformerSettings(layers=2, width=32, heads=2, max_length=64),
        LSTMSettings(layers=1, width=16, hidden=24),
    ],
)
def test_a_generator_without_its_label_says_the_same_of_music(settings: ModelSettings) -> None:
    labelled = Representation(conditions=("label:jazz", "label:not_jazz"))
    torch.manual_seed(0)
    model = build(labelled.vocab_size, settings).eval()
    plain = without_conditions(model, labelled).eval()
    assert plain.vocab_size == labelled.music_size
    ids = torch.randint(3, labelled.music_size, (2, 20))
    ids[:, 0] = BOS
    with torch.inference_mode():
        expected = model(ids)[..., : labelled.music_size]
        torch.testing.assert_close(plain(ids), expected)
