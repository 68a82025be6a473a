"""What a discriminator sees in each piece, as vectors for TensorBoard's projector.

Pieces that it takes for alike lie close together. Colour them by label to see whether the classes
part, and by source to see whether they part by music or by where the files came from.
"""

from collections.abc import Sequence

import numpy as np
import torch

from data_tools.corpus import Corpus
from data_tools.representation import EOS
from discriminator.body import Discriminator
from discriminator.classifier import Classifier

MOST = 500  # pieces: the projector runs in a browser
BATCH = 32


@torch.inference_mode()
def embeddings(
    classifier: Classifier, corpus: Corpus, numbers: Sequence[int]
) -> tuple[np.ndarray, list[dict[str, object]]]:
    """The features of the middle of some pieces (N, D), and a row about each.

    Args:
        classifier: of one model, not an ensemble.
        corpus: its own.
        numbers: pieces, of which `MOST` are taken evenly.
    """
    model = classifier.model.eval()
    assert isinstance(model, Discriminator)
    chosen = np.unique(np.linspace(0, len(numbers) - 1, min(MOST, len(numbers))).astype(int))
    vectors, rows = [], []
    for first in range(0, len(chosen), BATCH):
        some = [numbers[place] for place in chosen[first : first + BATCH]]
        parts = [_middle(corpus.piece(number), classifier) for number in some]
        ids = torch.zeros((len(parts), max(map(len, parts))), dtype=torch.int64)
        for row, part in zip(ids, parts, strict=True):
            row[: len(part)] = torch.from_numpy(part.astype(np.int64))
        ids = ids.to(classifier.device)
        vectors.append(model.features(ids).float().cpu().numpy())
        p = [classifier.probability(logit) for logit in model(ids).tolist()]
        for number, chance in zip(some, p, strict=True):
            about = corpus.rows[number]
            rows.append(
                {
                    "label": about["label"],
                    "source": about["source"] or "unknown",
                    "verdict": classifier.verdict(chance),
                    "p_jazz": f"{chance:.3f}",
                    "path": about["path"],
                }
            )
    return np.concatenate(vectors), rows


def _middle(ids: np.ndarray, classifier: Classifier) -> np.ndarray:
    music = ids[(ids > EOS) & (ids < classifier.representation.music_size)]
    length = classifier.settings.window
    start = max(0, len(music) - length) // 2
    return music[start : start + length]
