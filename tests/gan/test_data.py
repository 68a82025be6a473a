"""Batches: whole epochs, honest targets, even labels, and each a function of (seed, step)."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_tools.corpus import Corpus
from data_tools.corrupt import Corruptor
from data_tools.errors import UserError
from data_tools.representation import BOS, EOS, PAD, Representation, TokenType
from data_tools.settings import NEUTRAL, AugmentSettings, NeutraliseSettings, ThinningSettings
from data_tools.thinning import Thinner
from gan.adversarial.setup import first_generator
from gan.data import (
    DiscriminatorWindows,
    GeneratorWindows,
    Prompts,
    chunks_of,
    conditions_of,
    shifts_of,
    validation_windows,
)
from gan.pretrain import windows_of
from gan.settings import PretrainSettings, TrainSettings

LENGTH = 64
STILL = AugmentSettings(transpose=0, stretch=0, jitter=0, loudness=0)


@pytest.fixture(scope="module")
def train(practice_corpus: Corpus) -> list[int]:
    return practice_corpus.select("train")


@pytest.fixture(scope="module")
def labelled(practice_corpus: Corpus) -> Representation:
    conditions = conditions_of(practice_corpus, "label", 1)
    return Representation(practice_corpus.representation.settings, conditions)


def windows(
    corpus: Corpus, numbers: list[int], representation: Representation, **changes: Any
) -> GeneratorWindows:
    choices: dict[str, Any] = {"length": LENGTH, "batch": 8} | changes
    return GeneratorWindows(corpus, numbers, representation, **choices)


def every_window(loader: GeneratorWindows, epoch: int = 0) -> list[tuple[int, list[int]]]:
    """Piece number and ids of each window of an epoch."""
    generator = np.random.default_rng(5)
    return [
        (int(loader._piece[chunk]), loader.window(chunk, epoch, generator).tolist())
        for chunk in range(len(loader))
    ]


def test_conditions_are_the_labels_of_train(practice_corpus: Corpus) -> None:
    assert conditions_of(practice_corpus, "none", 1) == ()
    assert conditions_of(practice_corpus, "label", 1) == ("label:jazz", "label:not_jazz")
    # The practice corpus names no artists.
    assert conditions_of(practice_corpus, "artist", 1) == ("label:jazz", "label:not_jazz")
    corpus = Corpus(practice_corpus.folder)
    for number in corpus.select(label="not_jazz"):
        corpus.rows[number] = corpus.rows[number] | {"source": "left out"}
    assert conditions_of(corpus, "label", 1, ["left out"]) == ("label:jazz",)


def test_an_artist_needs_enough_pieces(
    practice_corpus: Corpus, train: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [dict(row) for row in practice_corpus.rows]
    for count, number in enumerate(train):
        rows[number]["artist"] = "Bill Evans" if count < 3 else "Red Garland" if count < 5 else ""
    monkeypatch.setattr(practice_corpus, "rows", rows)
    labels = ("label:jazz", "label:not_jazz")
    assert conditions_of(practice_corpus, "artist", 3) == (*labels, "artist:Bill Evans")
    assert conditions_of(practice_corpus, "artist", 4) == labels
    assert conditions_of(practice_corpus, "label", 1) == labels


def test_a_generator_of_artists_needs_one(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings]
) -> None:
    """Hours later `gan generate --artist` would be the first to say so."""
    with pytest.raises(UserError, match=r"no artist .* has 7 pieces .* --artist-pieces"):
        first_generator(
            practice_corpus, tiny_settings(condition="artist", artist_pieces=7), torch.device("cpu")
        )


def test_every_chunk_once_an_epoch(
    practice_corpus: Corpus,
    train: list[int],
    labelled: Representation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = windows(practice_corpus, train, labelled, batch=7)
    sizes = np.diff(practice_corpus.index)[train] + 2  # BOS and EOS
    spare = np.where(sizes > LENGTH, LENGTH // 4, 0)  # to shift the windows by
    assert len(loader) == int(np.ceil((sizes + spare) / LENGTH).sum())
    seen: list[int] = []
    original = GeneratorWindows.window

    def spy(
        self: GeneratorWindows, chunk: int, epoch: int, generator: np.random.Generator
    ) -> np.ndarray:
        seen.append(chunk)
        return original(self, chunk, epoch, generator)

    monkeypatch.setattr(GeneratorWindows, "window", spy)
    for step in range(-(-2 * len(loader) // 7)):
        loader(step)
    first, second = seen[: len(loader)], seen[len(loader) : 2 * len(loader)]
    assert sorted(first) == sorted(second) == list(range(len(loader)))
    assert first != second, "a fresh order every epoch"
    assert first != sorted(first)


def test_windows_are_the_music_with_its_condition_at_the_head(
    practice_corpus: Corpus, train: list[int], labelled: Representation
) -> None:
    starts, ends = Counter(), Counter()
    for number, ids in every_window(windows(practice_corpus, train, labelled)):
        assert len(ids) <= LENGTH + 1
        label = practice_corpus.rows[number]["label"]
        assert ids[0] == labelled.condition_id(f"label:{label}")
        assert max(ids[1:]) < labelled.music_size, "nor anywhere else"
        whole = [BOS, *practice_corpus.piece(number).tolist(), EOS]
        music = ids[1:]
        if BOS in music:
            assert whole[: len(music)] == music, "BOS, and the piece from its start"
            starts[number] += 1
        else:
            text, part = np.array(whole, np.uint16), np.array(music, np.uint16)
            assert part.tobytes() in text.tobytes()
        assert len(music) == LENGTH or BOS in music or music[-1] == EOS, "cut at its ends alone"
        ends[number] += music[-1] == EOS
    assert starts == ends == Counter(train), "each piece is begun and ended once an epoch"


def test_targets_are_the_inputs_one_later_but_never_given_tokens(
    practice_corpus: Corpus, train: list[int], labelled: Representation
) -> None:
    loader = windows(practice_corpus, train, labelled, batch=16, augment=AugmentSettings())
    for step in range(5):
        inputs, targets = loader(step)
        assert inputs.shape == targets.shape == (16, LENGTH)
        assert inputs.dtype == targets.dtype == torch.int64
        assert int(targets.max()) < labelled.music_size
        following = inputs[:, 1:]
        # BOS is always given, so nothing is spent on it.
        assert torch.equal(targets[:, :-1], following.masked_fill(following == BOS, PAD))
        assert (inputs[:, 0] >= labelled.music_size).all()
        # What follows the padding is padding.
        assert not ((inputs[:, :-1] == PAD) & (inputs[:, 1:] != PAD)).any()


def test_conditions_are_dropped_as_often_as_asked(
    practice_corpus: Corpus, train: list[int], labelled: Representation
) -> None:
    shares = {}
    for dropout in (0.0, 0.3, 1.0):
        loader = windows(practice_corpus, train, labelled, dropout=dropout)
        heads = [ids[0] >= labelled.music_size for _, ids in every_window(loader)]
        shares[dropout] = np.mean(heads)
    assert shares[0.0] == 1
    assert shares[1.0] == 0
    assert shares[0.3] == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("kind", ["none", "label", "artist"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_every_token_is_learnt_once_an_epoch(
    practice_corpus: Corpus, train: list[int], kind: str, dropout: float
) -> None:
    """Also where a window has lost its conditions, and its first token follows something else."""
    representation = Representation(
        practice_corpus.representation.settings, conditions_of(practice_corpus, kind, 1)
    )
    loader = windows(practice_corpus, train, representation, dropout=dropout, augment=None)
    learnt: Counter[int] = Counter()
    for number, ids in every_window(loader):
        targets = np.array(ids[1:])
        real = (targets < representation.music_size) & (targets != BOS)
        learnt[number] += int(real.sum())
    assert learnt == {number: len(practice_corpus.piece(number)) + 1 for number in train}  # EOS


def test_a_vocabulary_without_conditions_gets_none(
    practice_corpus: Corpus, train: list[int]
) -> None:
    loader = windows(practice_corpus, train, practice_corpus.representation)
    assert loader.conditions(train[0]) == []
    assert int(loader(0)[0].max()) < practice_corpus.representation.music_size


@given(total=st.integers(2, 5000), stride=st.integers(7, 400))
def test_a_grid_covers_its_piece_once(total: int, stride: int) -> None:
    """At any shift, by windows of two tokens at least, with a choice of shifts where it is cut."""
    chunks = chunks_of(total, stride)
    low, high = shifts_of(total, chunks, stride)
    assert 0 <= low <= high < stride
    assert chunks == 1 or high - low >= stride // 4 - 2
    assert chunks <= -(-total // stride) + 1
    for shift in (low, (low + high) // 2, high):
        edges = [0, *(place * stride - shift for place in range(1, chunks)), total]
        sizes = np.diff(edges)
        assert sizes.min() >= 2
        assert sizes.max() <= stride


@pytest.mark.parametrize("kind", ["none", "label", "artist"])
def test_every_token_is_learnt_equally_often(
    practice_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Beginnings, ends and EOS like the middle, whatever conditions are there or dropped."""
    sizes = [300, 129, 130, 64, 40, 1000]
    texts = [np.arange(3, size + 3).astype(np.uint16) for size in sizes]
    rows = [{"label": "jazz", "artist": "Bill Evans" if kind == "artist" else ""}] * len(sizes)
    monkeypatch.setattr(practice_corpus, "piece", lambda number: texts[number])
    monkeypatch.setattr(practice_corpus, "rows", rows)
    monkeypatch.setattr(practice_corpus, "index", np.concatenate([[0], np.cumsum(sizes)]))
    names = {"none": [], "label": ["label:jazz"], "artist": ["label:jazz", "artist:Bill Evans"]}
    representation = Representation(practice_corpus.representation.settings, names[kind])
    # Ids up to 1002 stand for places here, so the conditions come after them.
    monkeypatch.setattr(Representation, "music_size", 2000)
    monkeypatch.setattr(
        Representation, "condition_id", lambda self, name: 2000 + names[kind].index(name)
    )
    pieces = list(range(len(sizes)))
    epochs = 12
    loader = windows(practice_corpus, pieces, representation, batch=1, dropout=0.2)
    learnt = [Counter() for _ in pieces]
    starts = [set() for _ in pieces]
    for step in range(epochs * len(loader)):
        epoch, within = divmod(step, len(loader))
        number = int(loader._piece[loader._order(epoch)[within]])
        targets = loader(step)[1]
        wanted = targets[targets != PAD].tolist()
        assert wanted, "no window is without a target"
        learnt[number].update(wanted)
        starts[number].add(wanted[0])
    for number, size in enumerate(sizes):
        counts = [learnt[number][place] for place in (*range(3, size + 3), EOS)]
        assert np.mean(counts) == pytest.approx(epochs, rel=0.01)
        # A window whose conditions are dropped learns the next one's first token, not its own.
        slack = 0 if kind == "none" else 4
        assert epochs - slack <= min(counts)
        assert max(counts) <= epochs + slack
        assert learnt[number][EOS] == epochs
    assert len(starts[5]) > 5 * 1000 / LENGTH, "cut elsewhere in every epoch"


def test_no_pieces_to_train_on(practice_corpus: Corpus, labelled: Representation) -> None:
    with pytest.raises(UserError, match="no pieces left to train on"):
        windows(practice_corpus, [], labelled)


def test_the_stream_is_a_function_of_seed_and_step(
    practice_corpus: Corpus, train: list[int], labelled: Representation
) -> None:
    changes = {"augment": AugmentSettings(), "dropout": 0.2}
    one = windows(practice_corpus, train, labelled, **changes)
    two = windows(practice_corpus, train, labelled, **changes)
    other = windows(practice_corpus, train, labelled, seed=1, **changes)
    straight = [one(step) for step in range(4)]
    for step in (3, 0, 2):
        assert torch.equal(straight[step][0], two(step)[0])
        assert torch.equal(straight[step][1], two(step)[1])
        assert not torch.equal(straight[step][0], other(step)[0])


def test_validation_windows_are_fixed_and_unaugmented(
    practice_corpus: Corpus, labelled: Representation
) -> None:
    numbers = practice_corpus.select("validation")
    inputs, targets = validation_windows(practice_corpus, numbers, labelled, LENGTH, 24)
    again = validation_windows(practice_corpus, numbers, labelled, LENGTH, 24)
    assert torch.equal(inputs, again[0])
    assert torch.equal(targets, again[1])
    assert inputs.shape == (24, LENGTH)
    texts = [practice_corpus.piece(number).tobytes() for number in numbers]
    hits = set()
    for row in inputs.numpy():
        music = row[(row > EOS) & (row < labelled.music_size)].astype(np.uint16).tobytes()
        found = [place for place, text in enumerate(texts) if music in text]
        assert found, "real music of the validation split, as it stands"
        hits.update(found)
    assert len(hits) > len(numbers) / 2, "spread over the pieces"


def test_prompts_are_full_of_music(practice_corpus: Corpus, labelled: Representation) -> None:
    jazz = practice_corpus.select("train", "jazz")
    condition = labelled.condition_id("label:jazz")
    prompts = Prompts(practice_corpus, jazz, [condition], 16, 6, seed=0)
    texts = [practice_corpus.piece(number).tobytes() for number in jazz]
    for step in range(5):
        rows = prompts(step, from_nothing=False)
        assert rows.shape == (6, 17)
        assert rows.dtype == torch.int64
        assert (rows[:, 0] == condition).all()
        assert (rows[:, 1:] > EOS).all(), "neither padding nor BOS nor EOS"
        for row in rows[:, 1:].numpy().astype(np.uint16):
            assert any(row.tobytes() in text for text in texts)
        assert torch.equal(rows, prompts(step, from_nothing=False))
    assert not torch.equal(prompts(0, False), prompts(1, False))
    assert prompts(3, from_nothing=True).tolist() == [[condition, BOS]] * 6
    assert Prompts(practice_corpus, jazz, [], 16, 2, 0)(0, True).tolist() == [[BOS]] * 2


def test_prompts_pass_over_pieces_too_short(practice_corpus: Corpus) -> None:
    jazz = practice_corpus.select("train", "jazz")
    longest = int(np.diff(practice_corpus.index)[jazz].max())
    prompts = Prompts(practice_corpus, jazz, [], longest, 2, seed=0)
    assert prompts(0, False).shape == (2, longest)
    with pytest.raises(UserError, match=f"no jazz piece of {longest + 1} tokens"):
        Prompts(practice_corpus, jazz, [], longest + 1, 2, seed=0)


def test_there_is_room_for_what_follows_a_prompt(practice_corpus: Corpus) -> None:
    (number, *_) = practice_corpus.select("train", "jazz")
    piece = practice_corpus.piece(number).astype(int).tolist()
    prompts = Prompts(practice_corpus, [number], [], len(piece) - 20, 8, seed=0, following=18)
    ends = set()
    for step in range(4):
        for prompt, rest in zip(*prompts.continued(step, False), strict=True):
            whole = prompt.tolist() + rest.tolist()
            ends |= {at for at in range(3) if whole == piece[at : at + len(piece) - 2]}
            assert whole in [piece[at : at + len(piece) - 2] for at in range(3)]
    assert ends == {0, 1, 2}, "from the first place to the last"


def test_discriminator_crops_are_balanced_and_rightly_labelled(
    practice_corpus: Corpus, train: list[int]
) -> None:
    # Six jazz pieces to every other kind: the batch is even all the same.
    few = practice_corpus.select("train", "not_jazz")[:2]
    numbers = practice_corpus.select("train", "jazz") + few
    draw = DiscriminatorWindows(practice_corpus, numbers, 8, 32, LENGTH, STILL, seed=0)
    texts = {
        label: [practice_corpus.piece(n).tobytes() for n in practice_corpus.select("train", name)]
        for label, name in enumerate(("not_jazz", "jazz"))
    }
    lengths = set()
    for step in range(20):
        ids, labels = draw(step)
        assert ids.dtype == torch.int64
        assert labels.dtype == torch.float32
        assert labels.sum() == 4
        assert (ids > EOS).all(), "crops are shorter than the pieces, so nothing is padded"
        lengths.add(ids.shape[1])
        for row, label in zip(ids.numpy().astype(np.uint16), labels.tolist(), strict=True):
            assert any(row.tobytes() in text for text in texts[int(label)])
    assert min(lengths) >= 32
    assert max(lengths) <= LENGTH
    assert len(lengths) > 5


def test_neutralised_crops_are_full_and_a_function_of_seed_and_step(
    practice_corpus: Corpus, train: list[int]
) -> None:
    def draw(neutralise: NeutraliseSettings | None, step: int, seed: int = 0) -> torch.Tensor:
        args = (practice_corpus, train, 8, 32, LENGTH, STILL, seed)
        loader = DiscriminatorWindows(*args) if neutralise is None else None
        return (loader or DiscriminatorWindows(*args, neutralise))(step)[0]

    types = torch.from_numpy(practice_corpus.representation.token_types.astype(np.int64))
    full = 0
    for step in range(6):
        plain, ids = draw(None, step), draw(NEUTRAL, step)
        assert torch.equal(plain, draw(NeutraliseSettings(), step)), "off is off"
        assert ids.shape == plain.shape
        assert not torch.equal(ids, plain)
        assert torch.equal(ids, draw(NEUTRAL, step))
        assert not torch.equal(ids, draw(NEUTRAL, step, seed=1))
        # Whole notes from the first token on: what a crop cut in two is gone.
        assert set(types[ids[:, 0]].tolist()) <= {TokenType.PITCH, TokenType.TIME_SHIFT}
        full += int((ids[:, -1] != PAD).sum())
    assert full > 0.9 * 6 * 8, "short only where a piece ends"


def test_thinned_crops_are_a_function_of_seed_and_step(
    practice_corpus: Corpus, train: list[int]
) -> None:
    def draw(share: float | None, step: int) -> torch.Tensor:
        thinning = None if share is None else ThinningSettings(thin_share=share)
        loader = DiscriminatorWindows(
            practice_corpus, train, 8, 200, 400, STILL, 0, thinning=thinning
        )
        return loader(step)[0]

    strikes = torch.from_numpy(practice_corpus.representation.strikes > 0)
    for step in range(3):
        plain, thinned, half = draw(None, step), draw(1.0, step), draw(0.5, step)
        assert torch.equal(plain, draw(0.0, step)), "off is off"
        assert torch.equal(thinned, draw(1.0, step))
        assert strikes[thinned[:, :2]].any(1).all(), "no rest in front"
        several = [(crops != plain).any(1).sum() for crops in (thinned, half)]
        assert several[0] >= 6
        assert several[1] > 0


def test_the_settings_thin_the_batches_of_pretraining(
    practice_corpus: Corpus, train: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    def spy(self: object, representation: object, settings: ThinningSettings) -> None:
        shares.append(settings.thin_share)

    monkeypatch.setattr(Thinner, "__init__", spy)
    thinning = ThinningSettings(thin_share=0.3)
    windows_of(practice_corpus, train, PretrainSettings(thinning=thinning))
    assert shares == [0.3]


def test_the_loader_tells_how_a_piece_was_timed(
    practice_corpus: Corpus, train: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def spy(self: object, ids: np.ndarray, generator: object, timing: str) -> np.ndarray:
        seen.append(timing)
        return ids

    rows = [row | {"timing": row["label"]} for row in practice_corpus.rows]
    monkeypatch.setattr(practice_corpus, "rows", rows)
    monkeypatch.setattr("data_tools.neutralise.Neutraliser.__call__", spy)
    ids, labels = DiscriminatorWindows(
        practice_corpus, train, 8, 32, LENGTH, STILL, 0, NEUTRAL
    )(0)  # fmt: skip
    assert seen == ["jazz" if label else "not_jazz" for label in labels.tolist()]
    assert (ids != PAD).all(), "more is read than a crop needs, and cut to its length"


def test_corrupted_crops_take_their_share_of_not_jazz_and_nothing_of_jazz(
    practice_corpus: Corpus, train: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(share: float, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        args = (practice_corpus, train, 8, 32, LENGTH, STILL, 0, None)
        return DiscriminatorWindows(*args, share, ("shuffled pitches",))(step)

    plain = DiscriminatorWindows(practice_corpus, train, 8, 32, LENGTH, STILL, 0)
    assert torch.equal(draw(0.0, 3)[0], plain(3)[0])

    seen: list[int] = []

    def spy(self: object, ids: np.ndarray, generator: object) -> np.ndarray:
        seen.append(len(ids))
        return np.full(10 * len(ids), EOS + 1)

    monkeypatch.setattr(Corruptor, "__call__", spy)
    for share, least, most in ((1.0, 1.0, 1.0), (0.25, 0.1, 0.4)):
        marked = []
        for step in range(30):
            ids, labels = draw(share, step)
            spoilt = (ids == EOS + 1).all(1)
            assert not (spoilt & (labels == 1)).any()
            marked.append(spoilt[labels == 0].float().mean().item())
        assert least <= np.mean(marked) <= most
    assert seen, "and they are cut to the batch's length"


def test_short_pieces_are_padded_at_the_right(practice_corpus: Corpus, train: list[int]) -> None:
    long = int(np.diff(practice_corpus.index).max()) + 10
    ids, _ = DiscriminatorWindows(practice_corpus, train, 4, long, long, STILL, seed=0)(0)
    assert ids.shape == (4, long)
    for row in ids:
        music = int((row != PAD).sum())
        assert 0 < music < long
        assert (row[:music] != PAD).all()


def test_sources_weigh_by_the_root_of_their_size(
    practice_corpus: Corpus, train: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [dict(row) for row in practice_corpus.rows]
    jazz = [number for number in train if rows[number]["label"] == "jazz"]
    for place, number in enumerate(jazz):
        rows[number]["source"] = "small" if place == 0 else "large"
    monkeypatch.setattr(practice_corpus, "rows", rows)
    draw = DiscriminatorWindows(practice_corpus, train, 4, 32, 32, STILL, seed=0)
    small = practice_corpus.piece(jazz[0]).tobytes()
    crops = [row for step in range(150) for row in draw(step)[0][1::2].numpy().astype(np.uint16)]
    share = np.mean([crop.tobytes() in small for crop in crops])
    expected = 1 / (1 + np.sqrt(len(jazz) - 1))
    assert share == pytest.approx(expected, abs=0.07)
    assert expected > 2 / len(jazz), "well above its share of pieces"


def test_what_is_played_and_what_is_quantized_are_two_sources(
    practice_corpus: Corpus, train: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [dict(row) for row in practice_corpus.rows]
    jazz = [number for number in train if rows[number]["label"] == "jazz"]
    for place, number in enumerate(jazz):
        rows[number] |= {"source": "one", "timing": "quantized" if place == 0 else "played"}
    monkeypatch.setattr(practice_corpus, "rows", rows)
    draw = DiscriminatorWindows(practice_corpus, train, 4, 32, 32, STILL, seed=0)
    rare = practice_corpus.piece(jazz[0]).tobytes()
    crops = [row for step in range(150) for row in draw(step)[0][1::2].numpy().astype(np.uint16)]
    share = np.mean([crop.tobytes() in rare for crop in crops])
    assert share == pytest.approx(1 / (1 + np.sqrt(len(jazz) - 1)), abs=0.07)


@pytest.mark.parametrize("missing", ["jazz", "not_jazz"])
def test_a_missing_label_is_named(practice_corpus: Corpus, missing: str) -> None:
    other = {"jazz": "not_jazz", "not_jazz": "jazz"}[missing]
    numbers = practice_corpus.select("train", other)
    with pytest.raises(UserError, match=f"no '{missing}' pieces to learn from"):
        DiscriminatorWindows(practice_corpus, numbers, 8, 32, LENGTH, STILL, seed=0)
