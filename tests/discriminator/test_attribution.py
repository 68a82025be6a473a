"""Explanations: right where the truth is known, faithful on real music, and drawn as told."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import symusic
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from data_tools.errors import MidiError, UserError
from data_tools.midi import Notes
from data_tools.representation import (
    Events,
    Representation,
    RepresentationSettings,
    TokenType,
)
from discriminator import Classifier
from discriminator.attribution import explain, explain_tokens, ridge
from discriminator.picture import picture
from discriminator.reading import read_piece
from discriminator.settings import ClassifierSettings

ROOT = Path(__file__).resolve().parents[2]


class Counting(nn.Module):
    """Its logit is the sum of known weights of the tokens: what each note adds is no mystery."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.vocab_size = len(weights)
        self.register_buffer("weights", torch.tensor(weights).float())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if x.is_floating_point():
            return (x @ self.weights).sum(1)
        return self.weights[x].sum(1)


def counting(preset: str = "duration", window: int = 96, **changes: object) -> Classifier:
    """Every C speaks for jazz with 0.5, every F sharp against it with 0.25, nothing else counts."""
    representation = Representation(RepresentationSettings(preset=preset))
    size = representation.music_size
    kinds, values = representation.token_types[:size], representation.token_values[:size]
    pitch = (kinds == TokenType.PITCH) | (kinds == TokenType.NOTE_ON)
    weights = np.where(pitch & (values % 12 == 0), 0.5, 0.0)
    weights -= np.where(pitch & (values % 12 == 6), 0.25, 0.0)
    settings = ClassifierSettings(window=window, minimum=24, scale=2.0, bias=-0.5)
    settings = settings.model_copy(update=changes)
    return Classifier(Counting(weights), representation, settings)


def melody(notes: int, late: float = 0.0) -> symusic.Score:
    """Eighth notes at 120 bpm over all pitch classes, beginning `late` seconds into the file."""
    score = symusic.Score(480)
    track = symusic.Track("Piano", 0, False)
    for index in range(notes):
        track.notes.append(
            symusic.Note(240 * index + round(960 * late), 200, 40 + 5 * index % 37, 80)
        )
    score.tracks.append(track)
    return score


def of(pitch: int) -> float:
    return {0: 0.5, 6: -0.25}.get(pitch % 12, 0.0)


@pytest.mark.parametrize("preset", ["duration", "performance", "remi", "raw"])
def test_known_contributions_are_found(preset):
    classifier = counting(preset)
    explanation = explain(classifier, melody(60))
    starts = len(explanation.notes)
    assert starts == 60
    assert explanation.fit == pytest.approx(1, abs=1e-3)
    assert explanation.read == 1
    windows = classifier.score(melody(60)).windows
    assert windows > 2
    # The last window lies flush with the end and reads some notes a second time.
    twice = []
    for note in explanation.notes:
        share = 2.0 * of(note.pitch) / windows
        if note.contribution == pytest.approx(2 * share, abs=2e-3) and share:
            twice.append(note)
        else:
            assert note.contribution == pytest.approx(share, abs=2e-3)
    assert len(twice) < 30
    total = sum(note.contribution for note in explanation.notes)
    if preset in ("duration", "performance"):  # windows of `remi` may part a bar from its notes
        assert total - 0.5 == pytest.approx(explanation.logit, abs=0.02)


def test_slopes_of_a_linear_model_are_differences_from_the_average():
    explanation = explain(counting(window=512), melody(60), "gradient")
    mean = np.mean([of(note.pitch) for note in explanation.notes])
    for note in explanation.notes:
        assert note.contribution == pytest.approx(2.0 * (of(note.pitch) - mean), abs=1e-5)
    assert explanation.fit is None


def test_both_methods_read_the_same_notes_of_a_piece_read_in_part():
    classifier = counting(window=64, most=2)
    found = [explain(classifier, melody(150), method) for method in ("subsets", "gradient")]
    known = [[note.contribution is not None for note in one.notes] for one in found]
    assert known[0] == known[1]
    assert 0.1 < found[0].read == found[1].read < 0.5


def test_probability_and_verdict_are_the_classifiers():
    classifier = counting()
    explanation, verdict = explain(classifier, melody(50)), classifier.score(melody(50))
    assert (explanation.p_jazz, explanation.verdict) == (verdict.p_jazz, verdict.verdict)
    assert 1 / (1 + np.exp(-explanation.logit)) == pytest.approx(verdict.p_jazz, abs=1e-5)


@pytest.mark.parametrize("late", [0.0, 3.0])
def test_seconds_are_the_files_own(late):
    explanation = explain(counting(), melody(50, late))
    onsets = [note.onset_s for note in explanation.notes]
    np.testing.assert_allclose(onsets, late + 0.25 * np.arange(50), atol=0.011)
    assert onsets == sorted(onsets)
    assert explanation.notes[0].duration_s == pytest.approx(200 / 960, abs=0.02)
    assert explanation.curve[0].start_s == pytest.approx(late, abs=0.02)
    assert explanation.curve[-1].end_s == pytest.approx(onsets[-1], abs=0.02)
    middles = [moment.start_s for moment in explanation.curve]
    assert middles == sorted(middles)
    # Windows overlap: each begins before the last one has ended.
    for first, second in zip(explanation.curve, explanation.curve[1:], strict=False):
        assert second.start_s < first.end_s


def test_the_same_piece_gets_the_same_explanation():
    ids = counting().representation.encode(melody(50))
    assert explain_tokens(counting(), ids) == explain_tokens(counting(), ids)
    dressed = np.concatenate([[1], ids, [2, 0, 0]])
    assert explain_tokens(counting(), dressed) == explain_tokens(counting(), ids)


def test_work_is_bounded_and_what_was_not_read_says_so():
    classifier = counting(window=32)
    passes = 0
    forward = classifier.model.forward

    def counted(x: Tensor, mask: Tensor | None = None) -> Tensor:
        nonlocal passes
        passes += len(x)
        return forward(x, mask)

    classifier.model.forward = counted  # type: ignore[method-assign]
    explanation = explain(classifier, melody(2000), variants=320)
    assert passes < 320 + 256 + 2 * 2000 * 4 / 32 + 10
    unread = [note for note in explanation.notes if note.contribution is None]
    assert explanation.read == pytest.approx(1 - len(unread) / 2000)
    assert 0 < explanation.read < 0.1
    assert explanation.curve[-1].end_s == pytest.approx(explanation.notes[-1].onset_s, abs=0.1)
    assert len(explanation.curve) == 256


def test_json_holds_everything_in_order_of_time():
    explanation = explain(counting(), melody(50))
    content = json.loads(json.dumps(explanation.as_dict()))
    assert {"path", "p_jazz", "verdict", "logit", "method", "fit", "read", "curve"} < set(content)
    assert set(content["notes"][0]) == {"onset_s", "duration_s", "pitch", "contribution"}
    assert set(content["curve"][0]) == {"start_s", "end_s", "p_jazz"}
    onsets = [note["onset_s"] for note in content["notes"]]
    assert onsets == sorted(onsets)


def test_bad_music_and_short_pieces_are_one_line(tmp_path):
    broken = tmp_path / "broken.mid"
    broken.write_bytes(b"no music at all")
    with pytest.raises(MidiError, match=r"broken\.mid: not readable as MIDI"):
        explain(counting(), broken)
    with pytest.raises(MidiError, match=r"too short: .* tokens, at least 24"):
        explain(counting(), melody(3))
    with pytest.raises(MidiError, match="tune: too short"):
        explain_tokens(counting(), np.arange(5), "tune")
    silence = np.full(40, counting().representation.vocabulary.first(TokenType.TIME_SHIFT))
    with pytest.raises(MidiError, match="too little to judge: 0 different pitches"):
        explain_tokens(counting(), silence)


@given(st.integers(0, 10_000), st.integers(4, 20))
def test_ridge_finds_a_plane_and_distrusts_noise(seed, features):
    rng = np.random.default_rng(seed)
    x = (rng.random((16 * features, features)) < 0.75).astype(float)
    truth = rng.normal(size=features)
    found, missed, total = ridge(x, x @ truth + 3.0)
    varied = x.std(0) > 0
    np.testing.assert_allclose(found[varied], truth[varied], atol=0.02)
    assert missed < 0.02 * total
    noise = rng.normal(size=len(x))
    found, missed, total = ridge(x, noise)
    assert missed > 0.5 * total


def test_the_fit_is_that_of_variants_never_seen():
    claimed, true = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = (rng.random((1060, 40)) < 0.75).astype(float)
        y = x @ rng.normal(size=40) + 2 * rng.normal(size=len(x))
        found, missed, total = ridge(x[:60], y[:60])
        foretold = (x[60:] - x[:60].mean(0)) @ found + y[:60].mean()
        claimed.append(1 - missed / total)
        true.append(1 - np.mean((y[60:] - foretold) ** 2) / y[60:].var())
    assert np.mean(claimed) == pytest.approx(np.mean(true), abs=0.06)
    assert 0.1 < np.mean(true) < 0.6


# ---- real music


def real(mini: Path, label: str) -> list[Path]:
    with (mini / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return [mini / row["path"] for row in csv.DictReader(stream) if row["label"] == label]


def notes_of(representation: Representation, path: Path, seconds: float) -> Notes:
    """The notes of the first so many seconds, in grid steps."""
    ids = representation.encode(representation.prepare(path).score)
    notes = representation.events(ids).notes
    return notes.take(notes.start * representation.grid_seconds < seconds)


def test_without_the_notes_that_count_less_is_jazz(mini):
    classifier = Classifier.load()
    representation = classifier.representation
    rng = np.random.default_rng(0)
    changes = []
    for path in real(mini, "jazz")[::8]:
        notes = notes_of(representation, path, 45)
        explanation = explain_tokens(
            classifier, representation.encode_events(Events(notes)), variants=400
        )
        share = np.array([note.contribution or 0.0 for note in explanation.notes])
        fifth = len(notes) // 5
        orders = [np.argsort(-share), *(rng.permutation(len(notes)) for _ in range(3))]
        kept = [
            representation.encode_events(Events(notes.take(np.sort(order[fifth:]))))
            for order in orders
        ]
        p = [classifier.score_tokens(ids).p_jazz for ids in kept]
        changes.append([p[0] - explanation.p_jazz, np.mean(p[1:]) - explanation.p_jazz])
    told, chance = np.mean(changes, 0)
    assert told < chance - 0.05


def joined(parts: list[Notes]) -> Notes:
    columns = zip(*((n.start, n.end, n.pitch, n.velocity) for n in parts), strict=True)
    return Notes(*(np.concatenate(column) for column in columns))


def moved(notes: Notes, first: int, last: int, to: int) -> Notes:
    """The notes that begin from step `first` to `last`, put to step `to`."""
    notes = notes.take((notes.start >= first) & (notes.start < last))
    end = np.minimum(notes.end, last)
    return Notes(notes.start - first + to, end - first + to, notes.pitch, notes.velocity)


def test_jazz_planted_in_a_classical_piece_is_found(mini):
    classifier = Classifier.load()
    representation = classifier.representation
    of_label = {}
    for label, sign in (("jazz", -1), ("not_jazz", 1)):
        scored = [
            (sign * (classifier.score(path).p_jazz or 0.5), path) for path in real(mini, label)[::4]
        ]
        of_label[label] = [path for _, path in sorted(scored)[:3]]
    second = round(1 / representation.grid_seconds)
    first, last = 40 * second, 60 * second
    found = 0
    for jazz, other in zip(of_label["jazz"], of_label["not_jazz"], strict=True):
        piece, guest = (notes_of(representation, path, 120) for path in (other, jazz))
        notes = joined(
            [
                moved(piece, 0, first, 0),
                moved(guest, first, last, first),
                moved(piece, first, 80 * second, last),
            ]
        )
        explanation = explain_tokens(classifier, representation.encode_events(Events(notes)))
        inside = [n.contribution or 0.0 for n in explanation.notes if 40 <= n.onset_s < 60]
        outside = [n.contribution or 0.0 for n in explanation.notes if not 40 <= n.onset_s < 60]
        start, end, _ = explanation.strongest(8.0)
        best = max(explanation.curve, key=lambda moment: moment.p_jazz)
        found += (
            np.mean(inside) > max(0.0, np.mean(outside))
            and start >= 36
            and end <= 64
            and best.start_s < 60
            and best.end_s > 40
        )
    assert found >= 2


# ---- pictures and the command


@pytest.fixture
def explanation():
    return explain(counting(window=32), melody(400), variants=320)


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_the_picture_is_what_its_suffix_says(tmp_path, explanation, suffix, begins):
    pytest.importorskip("matplotlib", reason="the extra picture is not installed")
    path = picture(explanation, tmp_path / "deep" / f"roll{suffix}")
    assert path.read_bytes().startswith(begins)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_picture_of_a_part_is_lower_and_of_nothing_refused(tmp_path, explanation):
    pytest.importorskip("matplotlib", reason="the extra picture is not installed")

    def height(path: Path) -> int:
        return int.from_bytes(path.read_bytes()[20:24], "big")

    whole = picture(explanation, tmp_path / "whole.png")
    part = picture(explanation, tmp_path / "part.png", (10.0, 20.0))
    assert height(part) < height(whole)
    to_the_end = picture(explanation, tmp_path / "end.png", (10.0, float("inf")))
    assert height(part) < height(to_the_end) == height(whole)
    assert to_the_end.read_bytes() == picture(
        explanation, tmp_path / "far.png", (10.0, 1e300)).read_bytes()  # fmt: skip
    with pytest.raises(UserError, match="no note between second 500 and 600"):
        picture(explanation, tmp_path / "none.png", (500.0, 600.0))
    with pytest.raises(UserError, match=r"ends in \.png, \.svg, \.pdf"):
        picture(explanation, tmp_path / "roll.bmp")


def test_a_picture_that_cannot_be_written_is_called_by_its_own_name(tmp_path, explanation):
    (tmp_path / "roll.png").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        picture(explanation, tmp_path / "roll.png")
    assert caught.value.filename == str(tmp_path / "roll.png")
    assert [path.name for path in tmp_path.iterdir()] == ["roll.png"]


def test_drawing_without_matplotlib_is_one_line(tmp_path, explanation, monkeypatch):
    monkeypatch.setattr("discriminator.picture.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"needs matplotlib; pip install 'jazz-gan\[picture\]'"):
        picture(explanation, tmp_path / "roll.png")


def test_the_command(tmp_path, practice_music, tiny_discriminator):
    from click.testing import CliRunner

    from gan.cli_explain import explain as command

    piece = str(next(practice_music.rglob("*.mid")))
    common = [piece, "--model", str(tiny_discriminator), "--variants", "64", "--device", "cpu"]
    table = CliRunner().invoke(command, common, catch_exceptions=False)
    assert table.exit_code == 0
    assert piece in table.output
    assert "p_jazz" in table.output
    assert "most for jazz:" in table.output
    done = CliRunner().invoke(command, [*common, "--format", "json"], catch_exceptions=False)
    content = json.loads(done.output)
    assert content["path"] == piece
    assert content["notes"]
    for wrong in ("soon", "20-10", "nan-10", "0-nan", "inf-inf", f"0-{'9' * 400}:00"):
        assert CliRunner().invoke(command, [*common, "--span", wrong]).exit_code == 2
    refused = CliRunner().invoke(command, [*common, "--out", str(tmp_path / "roll.gif")])
    assert isinstance(refused.exception, UserError)


@pytest.mark.parametrize("module", ["discriminator", "gan.cli"])
def test_nothing_heavy_is_imported_before_it_is_needed(module):
    code = f"import {module}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "matplotlib", "onnx"} | (
        {"gan", "generator"} if module != "gan.cli" else set()
    )
    assert not set(done.stdout.split()) & heavy


def test_what_is_explained_is_what_is_read():
    """Of a long piece the verdict rests on some windows; notes of the others have no share."""
    classifier = counting(window=96, most=3)
    found = explain(classifier, melody(400), variants=4000)
    ids = read_piece(melody(400), classifier.representation).ids
    reached = sum(len(window) for window in classifier.windows(ids))
    known = [note.contribution is not None for note in found.notes]
    assert 0 < sum(known) < len(known)
    assert found.read == pytest.approx(reached / len(ids), abs=0.05)
    assert known[0]
    assert known[-1]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"method": "foo"}, "method 'foo': use subsets or gradient"),
        ({"variants": 0}, "variants 0"),
        ({"variants": -3}, "variants -3"),
    ],
)
def test_what_cannot_be_chosen_is_refused(wrong: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        explain(counting(), melody(40), **wrong)
