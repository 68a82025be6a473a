"""The piano-roll judge: the picture is the music, whatever its place in time; it learns from
composed music, says the same after it is saved, and refuses what is no judge.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data_tools import midi
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import Representation
from data_tools.representation.events import Events
from data_tools.settings import RepresentationSettings
from gan.adversarial.term import judge_of
from gan.evaluation.roll_judge import LOWEST, PITCHES, STEPS, RollJudge, RollNetwork, fit, roll

CLOCK = Representation(RepresentationSettings())


def write(
    notes: list[tuple[float, float, int]], representation: Representation = CLOCK
) -> np.ndarray:
    """Ids of notes (start, end in seconds, pitch)."""
    unit = representation.grid_seconds
    start, end, pitch = (np.array(column) for column in zip(*sorted(notes), strict=True))
    steps = (np.round(times / unit).astype(int) for times in (start, end))
    return representation.encode_events(Events(Notes(*steps, pitch, np.full(len(pitch), 80))))


def test_the_picture_shows_what_begins_and_what_sounds() -> None:
    picture = roll(write([(0.0, 0.5, 60), (0.3, 0.4, 64), (1.0, 1.02, 60)]), CLOCK)
    assert picture.shape == (2, PITCHES, STEPS)
    assert picture.dtype == bool
    begins, sounds = (np.argwhere(each).tolist() for each in picture)
    assert begins == [[60 - LOWEST, 0], [60 - LOWEST, 10], [64 - LOWEST, 3]]
    assert sounds == [
        *([60 - LOWEST, step] for step in range(5)), [60 - LOWEST, 10], [64 - LOWEST, 3]
    ]  # fmt: skip


def test_music_on_beat_is_seen_in_its_own_tempo() -> None:
    """As on the clock, whatever the tempo, but for tempos' rounding to tokens."""
    for bpm in (60, 90, 240):
        quarter = midi.score_of(
            Notes(480 * np.arange(8), 480 * np.arange(8) + 240, 60 + np.arange(8), np.full(8, 80)),
            480, bpm,
        )  # fmt: skip
        pictures = []
        for base in ("clock", "beat"):
            written = Representation(RepresentationSettings(time_base=base))
            pictures.append(roll(written.encode(quarter), written)[0])
        there, here = (np.argwhere(each) for each in pictures)
        assert here[:, 0].tolist() == there[:, 0].tolist()
        assert np.abs(here[:, 1] - there[:, 1]).max() <= 2, bpm


def test_drums_are_no_keys() -> None:
    raw = Representation(RepresentationSettings(preset="raw"))
    start, channels = np.array([0, 12, 24, 24]), np.array([1, 10, 1, 10])
    notes = Notes(start, start + 6, np.array([60, 36, 64, 42]), np.full(4, 80))
    events = Events(notes, channels=channels, programs=np.zeros(4, dtype=np.int64))
    piano = Events(notes.take(channels == 1))
    assert np.array_equal(roll(raw.encode_events(events), raw), roll(raw.encode_events(piano), raw))


def test_a_passage_begins_with_its_first_note() -> None:
    early, late = write([(0.0, 0.3, 60), (0.5, 1, 67)]), write([(7.0, 7.3, 60), (7.5, 8, 67)])
    assert np.array_equal(roll(early, CLOCK), roll(late, CLOCK))


def test_what_is_too_late_is_left_out_and_what_lasts_is_cut() -> None:
    picture = roll(write([(0.0, 0.1, 60), (38.0, 43.0, 62), (41.0, 42.0, 64)]), CLOCK)
    assert picture[0].sum() == 2
    assert picture[1, 62 - LOWEST].sum() == 20
    assert not picture[:, 64 - LOWEST].any()


def test_both_ends_of_the_keyboard_are_in_the_picture() -> None:
    picture = roll(write([(0.0, 0.1, 21), (0.0, 0.1, 108)]), CLOCK)
    assert np.argwhere(picture[0]).tolist() == [[0, 0], [87, 0]]


@pytest.mark.parametrize("ids", [[], [1, 2], [0, 0, 0]])
def test_nothing_is_an_empty_picture(ids: list[int]) -> None:
    assert not roll(np.array(ids, dtype=np.int64), CLOCK).any()
    answers = RollJudge(RollNetwork()).logits([np.array(ids, dtype=np.int64)], CLOCK)
    assert np.isfinite(answers).all()


def test_no_passage_has_no_logit() -> None:
    assert RollJudge(RollNetwork()).logits([], CLOCK).shape == (0,)


def test_batches_do_not_matter(practice_corpus: Corpus) -> None:
    torch.manual_seed(0)
    judge = RollJudge(RollNetwork(), 2.0, -0.5)
    pieces = [practice_corpus.piece(number)[:200] for number in range(5)]
    together = judge.logits(pieces, practice_corpus.representation)
    apart = judge.logits(pieces, practice_corpus.representation, batch=2)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
    plain = RollJudge(judge.network).logits(pieces, practice_corpus.representation)
    np.testing.assert_allclose(together, 2 * plain - 0.5, rtol=1e-5)


def test_transposed_pictures_have_no_notes_from_the_other_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = np.random.default_rng(0).random((2, 2, PITCHES, 16)) < 0.5
    shown: list[np.ndarray] = []
    original = RollNetwork.forward

    def watched(self: RollNetwork, picture: torch.Tensor) -> torch.Tensor:
        shown.append(picture.numpy().copy())
        return original(self, picture)

    monkeypatch.setattr(RollNetwork, "forward", watched)
    kept = pictures.copy()
    fit(lambda step: (pictures, np.array([True, False])), 16, seed=3)
    assert np.array_equal(pictures, kept)
    shifts = set()
    for picture in shown:
        for shift in range(-6, 7):
            expected = np.zeros_like(pictures)
            for row in range(PITCHES):
                if 0 <= row + shift < PITCHES:
                    expected[:, :, row + shift] = pictures[:, :, row]
            if np.array_equal(picture, expected):
                shifts.add(shift)
                break
        else:
            pytest.fail("this is no transposition of the music")
    assert min(shifts) < -2 < 2 < max(shifts)
    assert len(shifts) > 6


Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


def thin(ids: np.ndarray, representation: Representation) -> np.ndarray:
    """The lowest note of every moment alone."""
    notes = representation.events(ids, close=True).notes
    first = np.flatnonzero(np.diff(notes.start, prepend=-1))
    parts = (notes.start, notes.end, notes.pitch, notes.velocity)
    return representation.encode_events(Events(Notes(*(part[first] for part in parts))))


@pytest.fixture(scope="module")
def composed(practice_corpus: Corpus) -> tuple[Draw, list[np.ndarray], np.ndarray]:
    """Draws of the first 12 seconds of whole and of thinned pieces; others, with their labels."""
    representation = practice_corpus.representation

    def both(split: str) -> tuple[list[np.ndarray], np.ndarray]:
        whole = [np.asarray(practice_corpus.piece(n))[:300] for n in practice_corpus.select(split)]
        poor = [thin(ids, representation) for ids in whole]
        return whole + poor, np.arange(2 * len(whole)) < len(whole)

    music, labels = both("train")
    rolls = np.stack([roll(ids, representation) for ids in music])[..., :120]

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.random.default_rng(step).permutation(len(rolls))[:8]
        return rolls[chosen], labels[chosen]

    return draw, *both("test")


@pytest.fixture(scope="module")
def judge(composed: tuple[Draw, list[np.ndarray], np.ndarray]) -> RollJudge:
    return fit(composed[0], 60, seed=1)


def test_it_learns_to_tell_music_apart_that_it_never_met(
    judge: RollJudge, composed: tuple[Draw, list[np.ndarray], np.ndarray], practice_corpus: Corpus
) -> None:
    _, pieces, labels = composed
    logits = judge.logits(pieces, practice_corpus.representation)
    pairs = logits[labels][:, None] > logits[~labels][None]
    assert pairs.mean() > 0.9


def test_the_shortest_fit_keeps_what_it_learnt() -> None:
    """The average begins with the last half, which of one step is that step."""
    pictures = np.zeros((4, 2, PITCHES, STEPS), dtype=bool)
    pictures[:2, :, 30, ::4] = True
    labels = np.array([1, 1, 0, 0])
    torch.manual_seed(0)
    begun = RollNetwork().head.weight
    judge = fit(lambda step: (pictures, labels), 1)
    assert not torch.equal(judge.network.head.weight, begun)
    with pytest.raises(ValueError, match="at least one step"):
        fit(lambda step: (pictures, labels), 0)


def test_a_fit_is_a_function_of_its_seed(
    composed: tuple[Draw, list[np.ndarray], np.ndarray], practice_corpus: Corpus
) -> None:
    pieces = composed[1][:2]
    answers = [
        fit(composed[0], 3, seed=seed).logits(pieces, practice_corpus.representation)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_it_says_the_same_after_it_is_saved(
    judge: RollJudge, composed: tuple[Draw, list[np.ndarray], np.ndarray],
    practice_corpus: Corpus, tmp_path: Path,
) -> None:  # fmt: skip
    calibrated = RollJudge(judge.network, 1.7, -0.3)
    calibrated.save(tmp_path / "roll.safetensors")
    again = RollJudge.load(tmp_path / "roll.safetensors")
    pieces = composed[1]
    expected = calibrated.logits(pieces, practice_corpus.representation)
    found = again.logits(pieces, practice_corpus.representation)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    asked = judge_of(tmp_path / "roll.safetensors")
    p = asked(pieces, practice_corpus.representation)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-expected)), rtol=1e-5)
    # Of a folder of judges, the one that may look on while a generator trains.
    np.testing.assert_array_equal(judge_of(tmp_path)(pieces, practice_corpus.representation), p)
    RollJudge(RollNetwork(8)).save(tmp_path / "narrow.safetensors")
    assert RollJudge.load(tmp_path / "narrow.safetensors").network.head.in_features == 64


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    RollJudge(RollNetwork()).save(tmp_path / "roll.safetensors")
    before = torch.random.get_rng_state()
    RollJudge.load(tmp_path / "roll.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("damage", ["missing", "folder", "cut", "text", "other", "shape", "empty"])
def test_what_is_no_judge_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "roll.safetensors"
    RollJudge(RollNetwork()).save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "text":
        path.write_text("a judge\nof music\n")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        network = RollNetwork().state_dict()
        network["head.weight"] = torch.zeros(1, 5)
        save_file(network | {"calibration": torch.tensor([1.0, 0.0])}, path)
    with pytest.raises(UserError, match=r"no piano-roll judge") as caught:
        RollJudge.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_calibration_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roll.safetensors"
    save_file(RollNetwork().state_dict() | {"calibration": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="no piano-roll judge"):
        RollJudge.load(path)
