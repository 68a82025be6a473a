"""The judges of generated music, fitted where no discriminator in the loop ever learnt.

    python -m experiments.recipes.judges --corpus CORPUS --out runs/judges

Three of them, each of passages of 512 tokens: a piano-roll network, which may choose checkpoints
and settings (the validation judge), and two final judges that nobody looks at before the end,
boosted trees over features of harmony and, apart, of rhythm. All learn from the training groups
that discriminators pretrained with `--folds 2 --fold 0` leave out, and that corrupted music is
no jazz. `--strange` adds samples of half-trained generators to what they are tried on.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools.corpus import Corpus
from data_tools.corrupt import CORRUPTIONS, OF_PITCH, OF_TIME, Corruptor
from data_tools.errors import UserError
from data_tools.files import write_json
from data_tools.representation import EOS
from discriminator.calibration import calibrate
from discriminator.feature_judge import FeatureJudge, JudgeSettings, passages, weights
from discriminator.features import PITCH
from experiments.recipes.thin import thin_sources
from gan.engine import derived_seed, numpy_generator
from gan.plain import PlainCommand

LENGTH = 512  # tokens of a passage
PER_PIECE = 4
GROUPS = {"harmony": PITCH, "rhythm": ("rhythm",)}
# What each can hear: to a judge of rhythm a piece with other pitches is the piece.
HEARD = {
    "harmony": tuple(OF_PITCH),
    "rhythm": (*OF_TIME, "shuffled notes", "repeated figure", "sparse"),
    "roll": tuple(CORRUPTIONS),
}
STEPS, BATCH = 1500, 48  # of the piano-roll network


def left_out(corpus: Corpus, folds: int = 2, fold: int = 0) -> list[int]:
    """Labelled training pieces whose group discriminators of this fold do not learn from."""
    return [
        number
        for number in corpus.select("train", exclude_sources=thin_sources(corpus))
        if corpus.rows[number]["label"] in ("jazz", "not_jazz")
        and derived_seed(corpus.rows[number]["group"]) % folds == fold
    ]


def excerpts(
    corpus: Corpus, numbers: Sequence[int], each: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Passages, their labels (N,) and their sources (N,); a piece's opening is the first."""
    found, owners = [], []
    for number in numbers:
        piece = np.asarray(corpus.piece(number))
        parts = [piece[:LENGTH]]
        if len(piece) > LENGTH and each > 1:
            parts += passages(piece, LENGTH, each - 1, (seed, number))
        found += parts
        owners += [number] * len(parts)
    labels = np.array([corpus.rows[number]["label"] == "jazz" for number in owners])
    return found, labels, np.array([corpus.rows[number]["source"] for number in owners])


def taught(
    corpus: Corpus, names: Sequence[str], seed: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Passages to learn from: real ones, and of every piece a corrupted one that is no jazz."""
    numbers = left_out(corpus)
    music, labels, sources = excerpts(corpus, numbers, PER_PIECE, seed)
    one, _, _ = excerpts(corpus, numbers, 1, seed)
    spoilt = corrupted(corpus, one, names, seed)
    return (
        music + spoilt,
        np.concatenate([labels, np.zeros(len(spoilt), dtype=bool)]),
        np.concatenate([sources, np.full(len(spoilt), "corrupted")]),
    )


def corrupted(
    corpus: Corpus, music: Sequence[np.ndarray], names: Sequence[str], seed: int
) -> list[np.ndarray]:
    """Passages (T,), each corrupted in one of some ways."""
    corrupt = Corruptor(corpus.representation, names)
    spoilt = [
        corrupt(ids.astype(np.int64), numpy_generator(seed, "corrupted", place))
        for place, ids in enumerate(music)
    ]
    return [ids[:LENGTH] for ids in spoilt if ids is not None]


def fit_trees(corpus: Corpus, name: str, seed: int) -> FeatureJudge:
    """A judge of named features of passages, calibrated on the validation split."""
    groups = GROUPS[name]
    settings = JudgeSettings(groups=tuple(groups), bags=2)
    judge = FeatureJudge.fit(
        *_measured(corpus, taught(corpus, HEARD[name], seed), groups),
        seed=seed,
        settings=settings,
        representation=corpus.representation,
    )
    rows, labels, sources = _measured(corpus, _held_out(corpus, "validation"), groups)
    judge.scale, judge.bias = calibrate(judge.logits(rows), labels.astype(int), sources)
    return judge


def _measured(
    corpus: Corpus, found: tuple[list[np.ndarray], np.ndarray, np.ndarray], groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from discriminator import features

    return features.of_pieces(found[0], corpus.representation, groups), found[1], found[2]


def _held_out(corpus: Corpus, split: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    numbers = [
        number
        for number in corpus.select(split, exclude_sources=thin_sources(corpus))
        if corpus.rows[number]["label"] in ("jazz", "not_jazz")
    ]
    return excerpts(corpus, numbers, 1, 0)


def fit_roll(corpus: Corpus, seed: int) -> Any:
    """The piano-roll network, calibrated on the validation split."""
    from gan.evaluation.roll_judge import RollJudge, fit, roll

    music, labels, sources = taught(corpus, HEARD["roll"], seed)
    pictures = np.packbits(np.stack([roll(ids, corpus.representation) for ids in music]), axis=-1)
    share = weights(labels, sources)
    share /= share.sum()

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = numpy_generator(seed, "rolls", step).choice(len(labels), BATCH, p=share)
        return np.unpackbits(pictures[chosen], axis=-1).astype(bool), labels[chosen]

    judge = fit(draw, STEPS, seed)
    held, truth, where = _held_out(corpus, "validation")
    raw = judge.logits(held, corpus.representation)
    scale, bias = calibrate(raw, truth.astype(int), where)
    return RollJudge(judge.network, scale, bias)


def quality(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How a judge does on passages it never met: AUC, and the share of each label called jazz."""
    from sklearn.metrics import roc_auc_score

    return {
        "auc": round(float(roc_auc_score(labels, logits)), 4),
        "jazz_called_jazz": round(float((logits[labels] > 0).mean()), 4),
        "not_jazz_called_jazz": round(float((logits[~labels] > 0).mean()), 4),
        "passages": len(labels),
    }


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", type=Path, required=True, help="From 'gan data build'.")
@click.option("--out", type=Path, required=True, help="The judges' folder.")
@click.option(
    "--strange",
    "strangers",
    type=Path,
    multiple=True,
    help="Samples of half-trained generators to be tried on: ids (N, T) in .npz.",
)
@click.option("--seed", default=11, show_default=True)
def judges(folder: Path, out: Path, strangers: tuple[Path, ...], seed: int) -> None:
    """Fit the three judges, and say how they do on the test split, and on what is no music."""
    corpus, result = Corpus(folder), {}
    held, labels, _ = _held_out(corpus, "test")
    for name in HEARD:
        judge: Any
        if name == "roll":
            judge = fit_roll(corpus, seed)
            judge.save(out / "roll.safetensors")
        else:
            judge = fit_trees(corpus, name, seed)
            judge.save(out / name)
        logits = _logits_of(judge, corpus)
        strange = {kind: corrupted(corpus, held, (kind,), seed + 1) for kind in CORRUPTIONS} | {
            path.stem: _samples(path) for path in strangers
        }
        result[name] = quality(logits(held), labels) | {
            "no_music_called_jazz": {
                kind: round(float((logits(music) > 0).mean()), 3) for kind, music in strange.items()
            }
        }
        click.echo(f"{name}: {json.dumps(result[name])}")
    write_json(out / "judges.json", result)


def _logits_of(judge: Any, corpus: Corpus) -> Callable[[list[np.ndarray]], np.ndarray]:
    """Calibrated logits (N,) of passages, over 0 for jazz."""
    if isinstance(judge, FeatureJudge):
        return lambda music: (
            judge.scale * judge.logits(judge.measure(music, corpus.representation)) + judge.bias
        )
    return lambda music: judge.logits(music, corpus.representation)


def _samples(path: Path) -> list[np.ndarray]:
    try:
        with np.load(path) as arrays:
            rows = arrays["ids"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no samples, ids (N, T) in .npz ({error})") from None
    return [ids[ids > EOS] for ids in rows]


if __name__ == "__main__":
    judges()
