"""The discriminator's taste at decoding: the best of several, and steering."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import PAD, Representation, RepresentationSettings
from discriminator.classifier import Classifier
from gan.selection import READ, best_of, steering, taste
from generator.compose import Composer
from generator.settings import TransformerSettings
from generator.transformer import Transformer


def composer_of(representation: Representation) -> Composer:
    torch.manual_seed(0)
    settings = TransformerSettings(layers=1, width=32, heads=2, max_length=64)
    model = Transformer(representation.vocab_size, settings)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return Composer(model, representation)


@pytest.fixture
def composer(practice_corpus: Corpus) -> Composer:
    return composer_of(Representation(practice_corpus.representation.settings, ["label:jazz"]))


def logit(classifier: Classifier, ids: np.ndarray) -> float:
    return float(classifier.logits([ids])[0])


def test_the_best_of_four_is_the_best(composer: Composer, tiny_discriminator: Path) -> None:
    classifier = taste(tiny_discriminator, composer)
    chosen = best_of(composer, classifier, 4, 3, 20, length=120)
    every = composer.compose(12, 20, length=120)
    for number, piece in enumerate(chosen):
        four = every[4 * number : 4 * number + 4]
        scores = [logit(classifier, one.ids) for one in four]
        assert np.array_equal(piece.ids, four[int(np.nanargmax(scores))].ids)
        p = classifier.probability(max(scores))
        assert piece.statistics["p_jazz"] == pytest.approx(p, abs=1e-3), "what it was chosen by"


def test_the_shipped_trees_have_no_say(composer: Composer) -> None:
    """Evaluation's judges are trees: pieces chosen by their taste would flatter it."""
    assert taste(None, composer).trees is None


def test_steering_raises_the_score(composer: Composer, tiny_discriminator: Path) -> None:
    classifier = taste(tiny_discriminator, composer)

    def mean(choices: dict[str, object]) -> float:
        pieces = composer.compose(8, 3, length=192, min_notes=40, **choices)
        return float(np.mean([logit(classifier, piece.ids) for piece in pieces]))

    steered = steering(classifier, weight=20.0, width=6, block=24)
    assert mean({"steering": steered}) > mean({}) + 0.05


def test_a_piece_that_waits_for_others_is_judged_by_its_notes(
    composer: Composer, tiny_discriminator: Path
) -> None:
    score = steering(taste(tiny_discriminator, composer), weight=1.0).score
    (piece,) = composer.compose(1, 3, length=200, min_notes=40)
    ids = torch.from_numpy(piece.ids)[None]
    alone = score(ids)
    for waiting in (1, 300, 600):
        assert torch.allclose(score(F.pad(ids, (0, waiting), value=PAD)), alone, atol=1e-4)
    long = ids.repeat(1, 4)
    assert torch.allclose(score(F.pad(long, (0, 99), value=PAD)), score(long), atol=1e-4)
    assert long.shape[1] > READ + 99
    assert torch.allclose(score(long), score(long[:, -READ:]), atol=1e-4), "by its last notes"
    assert not torch.allclose(score(long), score(long[:, :READ]), atol=1e-4)


def test_a_classifier_of_other_tokens_is_refused(tiny_discriminator: Path) -> None:
    other = composer_of(Representation(RepresentationSettings(preset="performance")))
    with pytest.raises(UserError, match="reads other tokens"):
        taste(tiny_discriminator, other)


def test_the_command_line_has_taste(
    composer: Composer, tiny_discriminator: Path, tmp_path: Path,
) -> None:  # fmt: skip
    from click.testing import CliRunner

    from gan.cli import main

    composer.save(tmp_path / "generator")
    common = ["generate", "--checkpoint", str(tmp_path / "generator"), "--length", "80", "--device",
              "cpu", "--discriminator", str(tiny_discriminator), "--count", "2"]  # fmt: skip
    for number, more in enumerate((["--best-of", "2"], ["--jazz-guidance", "1"])):
        out = tmp_path / str(number)
        result = CliRunner().invoke(main, [*common, *more, "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert len(list(out.glob("*.mid"))) == 2
        assert "of 2 degenerate" in result.stderr
    result = CliRunner().invoke(main, [*common, "--out", str(tmp_path / "x")])
    assert result.exit_code == 2, "a discriminator without a use"
    stream = ["generate", "--checkpoint", str(tmp_path / "generator"), "--stream", "--length", "80"]
    result = CliRunner().invoke(main, stream)
    assert result.exit_code == 0, result.output
    assert result.output.startswith('{"time": ')
    result = CliRunner().invoke(main, [*stream, "--out", str(tmp_path / "y")])
    assert "leave out --out" in result.stderr


@pytest.mark.parametrize(("more", "count"), [([], 4), (["--greedy", "--opening", "0"], 1)])
def test_one_piece_is_written_where_all_would_be_alike(
    composer: Composer, tmp_path: Path, more: list[str], count: int
) -> None:
    from click.testing import CliRunner

    from gan.cli import main

    composer.save(tmp_path / "generator")
    choices = ["--checkpoint", str(tmp_path / "generator"), "--length", "80", "--device", "cpu"]
    result = CliRunner().invoke(main, ["generate", *choices, *more, "--out", str(tmp_path / "x")])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "x").glob("*.mid"))) == count
