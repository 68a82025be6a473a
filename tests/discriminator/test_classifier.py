"""The classifier as a whole: folders that round-trip or are refused, pieces scored in order."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import symusic
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_tools.errors import UserError
from data_tools.midi import read, to_miditoolkit, write
from data_tools.representation import Representation, RepresentationSettings
from discriminator import Classifier, build
from discriminator import classifier as module
from discriminator.notes import TokenTable
from discriminator.reading import read_many, windows
from discriminator.settings import ClassifierSettings, CNNSettings, TransformerSettings

SETTINGS = ClassifierSettings(model=CNNSettings(width=16, blocks=2), window=64, minimum=24)


def make(
    settings: ClassifierSettings = SETTINGS, representation: Representation | None = None
) -> Classifier:
    representation = representation or Representation(conditions=["label:jazz"])
    torch.manual_seed(0)
    return Classifier(
        build(settings.model, TokenTable.of(representation)), representation, settings
    )


def melody(notes: int, seed: int = 0) -> symusic.Score:
    rng = np.random.default_rng(seed)
    score = symusic.Score(480)
    track = symusic.Track("Piano", 0, False)
    for index in range(notes):
        pitch = int(rng.integers(40, 80))
        track.notes.append(symusic.Note(240 * index, 200, pitch, int(rng.integers(30, 110))))
    score.tracks.append(track)
    return score


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make().save(tmp_path / "classifier")
    return tmp_path / "classifier"


@pytest.fixture
def music(tmp_path: Path) -> list[Path]:
    """Twelve pieces: the third is no MIDI, the sixth too short, the last missing."""
    paths = [tmp_path / f"{index:02}.mid" for index in range(12)]
    for index, path in enumerate(paths[:-1]):
        write(melody(10 + 17 * index, seed=index), path)
    paths[2].write_bytes(b"no music at all")
    write(melody(3), paths[5])
    return paths


# ---- folders


@pytest.mark.parametrize("model", [SETTINGS.model, TransformerSettings(width=16, layers=1)])
def test_a_folder_gives_the_same_classifier_back(tmp_path, model):
    settings = SETTINGS.model_copy(update={"model": model, "scale": 0.7, "bias": -0.2})
    before = make(settings)
    before.save(tmp_path)
    after = Classifier.load(tmp_path)
    assert after.settings == settings
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name]), name
    assert before.score(melody(60)) == after.score(melody(60))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classifier.json",
        "model.safetensors",
        "representation.json",
    ]


def test_loading_leaves_the_random_state_alone(folder):
    before = torch.random.get_rng_state()
    Classifier.load(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(os.name == "nt", reason="rights are of another kind there")
@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_who_may_read_a_folder_may_read_its_weights(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        make().save(tmp_path / "classifier")
    finally:
        os.umask(before)
    rights = {path.stat().st_mode & 0o777 for path in (tmp_path / "classifier").iterdir()}
    assert rights == {0o666 & ~mask}


def test_half_precision_halves_the_file_and_loads_as_single(tmp_path):
    before = make()
    before.save(tmp_path / "full")
    before.save(tmp_path / "half", half=True)
    after = Classifier.load(tmp_path / "half")
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("full", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    assert all(p.dtype == torch.float32 for p in after.model.parameters())
    assert after.score(melody(60)).p_jazz == pytest.approx(
        before.score(melody(60)).p_jazz, abs=2e-3
    )


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_representation_is_refused(folder):
    Representation(conditions=["label:jazz", "label:not_jazz"]).save(folder / "representation.json")
    with pytest.raises(
        UserError, match=r"saved with representation \w{16}, representation.json is"
    ):
        Classifier.load(folder)


def test_another_vocabulary_is_refused(folder):
    edit(folder / "classifier.json", vocabulary=99)
    with pytest.raises(UserError, match=r"says 99 tokens, representation.json \d+"):
        Classifier.load(folder)


def test_weights_of_another_size_are_refused(folder, tmp_path):
    wide = SETTINGS.model_copy(update={"model": CNNSettings(width=24, blocks=2)})
    make(wide).save(tmp_path / "wide")
    (tmp_path / "wide" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"blocks.0.dilated.bias is \(24,\), .* calls for \(16,\)"):
        Classifier.load(folder)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ({"width": 2**16, "head": 2**16}, r"calls for \(65536"),
        ({"width": 10**12}, r"settings\.model\.cnn\.width.* less than or equal to 65536"),
    ],
)
def test_a_card_that_names_huge_sizes_takes_no_memory(folder, size, says):
    settings = SETTINGS.model_dump()
    edit(folder / "classifier.json", settings=settings | {"model": settings["model"] | size})
    with pytest.raises(UserError, match=says):  # the first would need 50 GB
        Classifier.load(folder)


def test_broken_weights_are_refused(folder):
    broken = make()
    with torch.no_grad():
        broken.model.head[2].weight[0, 0] = float("nan")
    broken.save(folder)
    with pytest.raises(UserError, match="NaN"):
        Classifier.load(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match="cannot be read as weights"):
        Classifier.load(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "format 2, this version reads format 1"),
        ({"colour": "blue"}, "colour: Extra inputs"),
        ({"settings": {"window": 1}}, "settings.window"),
    ],
)
def test_other_settings_are_refused_with_the_field(folder, changes, says):
    edit(folder / "classifier.json", **changes)
    with pytest.raises(UserError, match=says):
        Classifier.load(folder)


def test_a_missing_or_mangled_folder_is_one_line(tmp_path, folder):
    with pytest.raises(UserError, match="no such folder; a classifier is needed here"):
        Classifier.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="a classifier is a folder with"):
        Classifier.load(tmp_path / "empty")
    for text in ("{", "[]", "{}", "7"):
        (folder / "classifier.json").write_text(text)
        with pytest.raises(UserError) as error:
            Classifier.load(folder)
        assert "\n" not in str(error.value)


def test_the_shipped_classifier_is_the_default(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PRETRAINED", folder)
    assert Classifier.load().settings == SETTINGS
    monkeypatch.setattr(module, "PRETRAINED", tmp_path / "nothing")
    with pytest.raises(UserError, match="pretrain-disc"):
        Classifier.load()


def test_a_model_of_another_vocabulary_is_a_bug():
    other = Representation(RepresentationSettings(velocities=3))
    with pytest.raises(ValueError, match=f"the model knows {other.music_size} tokens"):
        Classifier(build(SETTINGS.model, TokenTable.of(other)), Representation(), SETTINGS)


# ---- scoring


def test_every_kind_of_music_gets_the_same_score(music):
    classifier = make()
    verdicts = [
        classifier.score(kind)
        for kind in (
            music[7],
            str(music[7]),
            music[7].read_bytes(),
            read(music[7]),
            to_miditoolkit(read(music[7])),
        )
    ]
    assert len({verdict.p_jazz for verdict in verdicts}) == 1
    assert verdicts[0].path == verdicts[1].path == str(music[7])
    assert not verdicts[0].error
    assert verdicts[0].windows > 1


def test_a_piece_is_the_calibrated_mean_of_its_windows():
    settings = SETTINGS.model_copy(update={"scale": 2.0, "bias": 0.3})
    classifier = make(settings)
    ids = np.random.default_rng(0).integers(3, classifier.representation.music_size, 150)
    cut = [ids[0:64], ids[64:128], ids[86:150]]
    with torch.no_grad():
        logits = [classifier.model(torch.tensor(window[None])).item() for window in cut]
    verdict = classifier.score_tokens(ids)
    assert verdict.windows == 3
    assert verdict.p_jazz == pytest.approx(1 / (1 + np.exp(-2.0 * np.mean(logits) - 0.3)), abs=1e-5)
    assert classifier.logits([ids])[0] == pytest.approx(np.mean(logits), abs=1e-5)


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_the_verdict_follows_the_probability(bias):
    verdict = make(SETTINGS.model_copy(update={"bias": bias})).score(melody(60))
    assert (verdict.p_jazz, verdict.verdict) == ((1.0, "jazz") if bias > 0 else (0.0, "not_jazz"))


def test_bad_music_is_unsure_with_its_reason(music):
    classifier = make()
    short, broken, missing = (classifier.score(music[i]) for i in (5, 2, 11))
    assert short.error.startswith("too short: ")
    assert "at least 24" in short.error
    assert "No such file" in missing.error
    for verdict in (short, broken, missing):
        assert verdict.error
        assert (verdict.p_jazz, verdict.verdict, verdict.windows) == (None, "unsure", 0)


def test_what_is_no_music_is_not_called_too_short():
    assert Classifier.load().score(None).error.startswith("no music; give a path")


def test_a_reader_that_trips_sets_the_file_aside(music, monkeypatch):
    def trip(_: object, __: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("data_tools.representation.Representation.prepare", trip)
    assert make().score(music[0]).error == "ZeroDivisionError: of all things"


def test_specials_and_conditions_are_not_seen():
    classifier = make()
    representation = classifier.representation
    ids = representation.encode(melody(40))
    dressed = np.concatenate([[representation.condition_id("label:jazz"), 1], ids, [2, 0, 0]])
    assert classifier.score_tokens(dressed) == classifier.score_tokens(ids)
    assert np.isnan(classifier.logits([ids[:5], ids])).tolist() == [True, False]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_many_pieces_come_back_in_order_whatever_the_batch(music, batch_size):
    classifier = make()
    many = list(classifier.score_many(music, batch_size))
    for one, verdict in zip(map(classifier.score, music), many, strict=True):
        assert (verdict.path, verdict.verdict, verdict.windows, verdict.error) == (
            one.path,
            one.verdict,
            one.windows,
            one.error,
        )
        assert verdict.p_jazz == pytest.approx(one.p_jazz, abs=1e-5)


def test_workers_read_the_same(music):
    classifier = make()
    alone = list(classifier.score_many(music))
    assert list(classifier.score_many(iter(music), workers=1)) == alone


def test_no_more_pieces_are_held_than_a_batch_needs(music):
    """An endless stream, nearly all of it unreadable, must still let its verdicts out."""
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for index in count():
            taken += 1
            yield music[0] if index % 100 == 0 else music[2]

    verdicts = list(islice(make().score_many(endless(), batch_size=16), 500))
    assert sum(verdict.p_jazz is not None for verdict in verdicts) == 5
    assert taken <= 520


def test_no_music_no_verdicts():
    assert list(make().score_many([])) == []
    assert list(read_many([], Representation(), workers=1)) == []


@given(length=st.integers(1, 300), size=st.integers(2, 64))
def test_windows_cover_every_token_at_full_length(length, size):
    ids = np.arange(length)
    cut = windows(ids, size)
    assert all(len(window) == min(size, length) for window in cut)
    assert cut[0][0] == 0
    assert cut[-1][-1] == length - 1
    starts = np.array([window[0] for window in cut])
    assert (np.diff(starts) > 0).all()
    assert (np.diff(starts) <= size).all()


# ---- real music


@pytest.mark.parametrize("preset", ["duration", "performance"])
def test_real_files_are_scored(mini, preset):
    paths = sorted(mini.glob("*/*/*.mid"))[::12]
    assert len(paths) == 10
    representation = Representation(RepresentationSettings(preset=preset))
    settings = SETTINGS.model_copy(update={"window": 512})
    verdicts = list(make(settings, representation).score_many(paths))
    assert [verdict.path for verdict in verdicts] == [str(path) for path in paths]
    assert not [verdict.error for verdict in verdicts if verdict.error]
    assert all(0 < verdict.p_jazz < 1 for verdict in verdicts)


def test_real_broken_files_never_raise(mini):
    paths = sorted((mini.parent / "broken").glob("*.mid"))[:20]
    assert paths
    for verdict in make().score_many(paths):
        assert (verdict.p_jazz is None) == bool(verdict.error)
        assert "\n" not in verdict.error


# ---- imports


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in memory after a statement in a fresh process."""
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_package_and_its_settings_come_without_torch():
    light = loaded_by("import discriminator, discriminator.settings")
    assert not light & {"torch", "sklearn", "miditok", "gan", "generator", "tensorboard"}


def test_the_classifier_comes_without_training_code():
    loaded = loaded_by("from discriminator import Classifier, DilatedCNN, TransformerEncoder")
    assert "torch" in loaded
    assert not loaded & {"gan", "generator", "experiments", "tensorboard", "sklearn"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(ImportError, match="Nonsense"):
        exec("from discriminator import Nonsense")


def test_one_piece_is_not_many():
    with pytest.raises(TypeError, match="score takes one"):
        make().score_many("piece.mid")


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": -4}, {"workers": -1}])
def test_sizes_that_are_none_are_refused(wrong, music):
    (name,) = wrong
    with pytest.raises(ValueError, match=name.replace("_", ".")):
        next(make().score_many(music, **wrong))


def test_one_piece_and_several_are_not_taken_for_each_other():
    classifier = make()
    ids = classifier.representation.encode(melody(60))
    with pytest.raises(ValueError, match=r"\(T,\), not \(\)"):
        classifier.logits(ids)
    with pytest.raises(ValueError, match=r"\(T,\), not \(1, \d+\)"):
        classifier.score_tokens(ids[None])
    assert classifier.logits(ids[None]).shape == (1,)
    assert classifier.score_tokens(ids.tolist()) == classifier.score_tokens(ids)
