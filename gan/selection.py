"""The discriminator's taste at decoding: the best of several pieces, or steering while they grow.

Both need no training, and are what adversarial training has to beat.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_tools.errors import UserError
from data_tools.representation import EOS, PAD
from discriminator.classifier import Classifier
from gan.run import classifier_folder
from generator.compose import Composer, Piece
from generator.steering import Steering

READ = 512  # of a growing piece, its last tokens


def taste(folder: Path | None, composer: Composer) -> Classifier:
    """The classifier that chooses: of a folder or run, or the shipped one.

    Args:
        folder: where; None for the shipped one.
        composer: whose pieces it is to judge.

    Raises:
        UserError: it reads other tokens than the composer writes.
    """
    classifier = Classifier.load(classifier_folder(folder) if folder else None, composer.device)
    # Trees judge what is written in the end: whoever chooses by their taste cannot ask them then.
    classifier = classifier.without_trees()
    if classifier.representation.music_digest != composer.representation.plain.music_digest:
        raise UserError(
            f"{folder or 'the shipped classifier'}: reads other tokens than this generator writes; "
            "give --discriminator one pretrained on the generator's corpus"
        )
    return classifier


def best_of(
    composer: Composer, classifier: Classifier, tries: int, count: int, seed: int, **choices: Any
) -> Iterator[Piece | None]:
    """Of `tries` pieces each, the one with the highest p(jazz); None where all stay empty.

    Piece k is chosen from the seeds `seed + k * tries` and on.

    Raises:
        UserError: at once; see `Composer.each`.
    """
    return _best(composer.each(count * tries, seed, **choices), composer, classifier, tries, count)


def _best(
    pieces: Iterator[Piece | None],
    composer: Composer,
    classifier: Classifier,
    tries: int,
    count: int,
) -> Iterator[Piece | None]:
    for _ in range(count):
        group = [piece for piece in islice(pieces, tries) if piece is not None]
        if not group:
            yield None
            continue
        music = [composer.representation.expand(piece.ids) for piece in group]
        logits = torch.from_numpy(classifier.logits(music)).nan_to_num(-torch.inf)
        best = int(logits.argmax())
        # A piece too short for an opinion is chosen where all are.
        if logits[best].isfinite():
            group[best].statistics["p_jazz"] = round(classifier.probability(float(logits[best])), 3)
        yield group[best]


def steering(classifier: Classifier, weight: float, width: int = 4, block: int = 64) -> Steering:
    """Steering towards what the classifier calls jazz; see `generator.steering`."""
    size = classifier.representation.music_size

    @torch.inference_mode()
    def score(ids: Tensor) -> Tensor:
        # The last tokens of each row: a piece that has ended waits for the others under padding.
        lengths = (ids != PAD).sum(1, keepdim=True)
        places = (lengths - READ).clamp(min=0) + torch.arange(
            min(READ, ids.shape[1]), device=ids.device
        )
        music = ids.gather(1, places.clamp(max=ids.shape[1] - 1))
        real = (places < lengths) & (music > EOS) & (music < size)
        return classifier.model(music * real, real).float()

    return Steering(score, weight, width, block)
