"""The exported classifier says what the classifier says, for any number of pieces and tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.errors import UserError
from data_tools.representation import Representation, RepresentationSettings
from discriminator import Classifier, build
from discriminator.classifier import MUSIC
from discriminator.notes import TokenTable
from discriminator.onnx_export import export_onnx
from discriminator.reading import windows
from discriminator.settings import (
    ClassifierSettings,
    CNNSettings,
    EnsembleSettings,
    TransformerSettings,
)

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def session(path: Path) -> "runtime.InferenceSession":
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batch(pieces: list[np.ndarray], extra: int = 0) -> np.ndarray:
    """Pieces as rows (B, T), padded at the right, by `extra` more than they need."""
    x = np.zeros((len(pieces), max(map(len, pieces)) + extra), dtype=np.int64)
    for row, ids in zip(x, pieces, strict=True):
        row[: len(ids)] = ids
    return x


def compare(classifier: Classifier, exported: "runtime.InferenceSession", x: np.ndarray) -> None:
    with torch.inference_mode():
        expected = classifier.model(torch.from_numpy(x)).numpy()
    logit, p = exported.run(["logit", "p_jazz"], {"ids": x})
    assert logit.shape == p.shape == (len(x),)
    np.testing.assert_allclose(logit, expected, atol=1e-4)
    calibrated = classifier.settings.scale * expected + classifier.settings.bias
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-calibrated)), atol=1e-4)


def real_windows(classifier: Classifier, music: Path) -> list[np.ndarray]:
    representation, found = classifier.representation, []
    for path in sorted(music.rglob("*.mid"))[::11]:
        ids = representation.encode(representation.prepare(path).score)
        found += windows(ids, classifier.settings.window)[:2]
    return found


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    classifier = Classifier.load()
    folder = tmp_path_factory.mktemp("onnx")
    return classifier, export_onnx(classifier, folder / "jazz.onnx")


def test_the_shipped_classifier_on_real_music(shipped, practice_music, request):
    classifier, path = shipped
    exported = session(path)
    try:
        music = request.getfixturevalue("mini")
    except pytest.skip.Exception:
        music = practice_music
    found = real_windows(classifier, music)
    assert len(found) > 5
    for size in (1, 3, 8):
        compare(classifier, exported, batch(found[:size]))
    for length in (2, 17, 48, 300):
        compare(classifier, exported, batch([ids[:length] for ids in found[:4]]))
    longest = np.concatenate(found[:3])
    compare(classifier, exported, batch([longest]))
    ragged = [ids[: 60 + 35 * index] for index, ids in enumerate(found[:6])]
    compare(classifier, exported, batch(ragged))


def test_padding_changes_nothing(shipped, practice_music):
    classifier, path = shipped
    exported = session(path)
    found = real_windows(classifier, practice_music)[:3]
    plain, _ = exported.run(None, {"ids": batch(found)})
    padded, _ = exported.run(None, {"ids": batch(found, extra=101)})
    np.testing.assert_allclose(padded, plain, atol=1e-4)


def test_the_file_says_how_to_use_it(shipped):
    classifier, path = shipped
    exported = session(path)
    (ids,) = exported.get_inputs()
    assert (ids.name, ids.type, ids.shape) == ("ids", "tensor(int64)", ["pieces", "tokens"])
    content = exported.get_modelmeta().custom_metadata_map
    settings = classifier.settings
    assert json.loads(content["labels"]) == ["not_jazz", "jazz"]
    assert float(content["scale"]) == settings.scale
    assert float(content["bias"]) == settings.bias
    assert int(content["window"]) == settings.window
    assert int(content["minimum"]) == settings.minimum
    assert ClassifierSettings.model_validate_json(content["settings"]) == settings
    beside = Representation.load(path.with_name("representation.json"))
    assert beside.digest == content["digest"] == classifier.representation.digest
    assert int(content["vocabulary"]) == beside.music_size


MODELS = {
    "cnn": CNNSettings(width=16, blocks=2, stride=3),
    "transformer": TransformerSettings(width=16, layers=2, heads=2),
    "harmony": TransformerSettings(view="harmony", width=16, layers=1, heads=2, stride=1),
    "touch": CNNSettings(view="touch", width=16, blocks=1),
}
MODELS["ensemble"] = EnsembleSettings(members=(MODELS["cnn"], MODELS["harmony"]))


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_kind_of_model(tmp_path, practice_music, model):
    torch.manual_seed(1)
    representation = Representation(RepresentationSettings())
    settings = ClassifierSettings(model=model, window=96, scale=0.7, bias=0.3)
    made = build(model, TokenTable.of(representation))
    classifier = Classifier(made, representation, settings)
    exported = session(export_onnx(classifier, tmp_path / "model.onnx"))
    found = real_windows(classifier, practice_music)
    for count, length in ((1, 5), (4, 33), (2, 96)):
        compare(classifier, exported, batch([ids[:length] for ids in found[:count]], extra=7))


def test_a_missing_extra_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "discriminator.onnx_export.find_spec", lambda name: None if name == "onnxscript" else True
    )
    with pytest.raises(UserError, match=r"needs onnxscript; pip install 'jazz-gan\[onnx\]'"):
        export_onnx(Classifier.load(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.pt: an ONNX file ends in \.onnx"):
        export_onnx(Classifier.load(), tmp_path / "model.pt")


def test_exporting_leaves_the_classifier_as_it_was(tiny_discriminator, tmp_path, capfd):
    classifier = Classifier.load(tiny_discriminator)
    ids = np.arange(3, 203)
    before = classifier.score_tokens(ids)
    export_onnx(classifier, tmp_path / "new" / "model.onnx")
    assert classifier.score_tokens(ids) == before
    assert capfd.readouterr().err == ""
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "model.onnx",
        "representation.json",
    ]


def test_a_gate_says_what_it_tells_apart(tmp_path):
    representation = Representation(RepresentationSettings())
    model = build(MODELS["cnn"], TokenTable.of(representation))
    settings = ClassifierSettings(model=MODELS["cnn"], window=96)
    gate = Classifier(model, representation, settings, labels=MUSIC)
    path = export_onnx(gate, tmp_path / "gate.onnx")
    content = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(content["labels"]) == ["noise", "music"]
