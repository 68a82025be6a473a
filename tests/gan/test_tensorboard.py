"""Every kind of chart is in TensorBoard, with content, once however often a run is resumed."""

import io
import re
import time
import wave
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.soundfont import places
from gan.adversarial.trainer import Trainer
from gan.engine import engine
from gan.evaluation import clips, progress
from gan.evaluation.inside import attention_entropy, gradient_norms, group_of
from gan.logbook import flat
from gan.pretrain import pretrain
from gan.settings import PretrainSettings, TrainSettings
from generator.lstm import LSTM
from generator.settings import LSTMSettings, TransformerSettings
from generator.transformer import Transformer

CPU = engine("cpu", "fp32")
PLUGINS = ("scalars", "images", "audio", "histograms", "distributions", "text", "pr_curves")
Make = Callable[..., TrainSettings]


def board(run: Path) -> EventAccumulator:
    kinds = ("scalars", "images", "audio", "histograms", "tensors")
    found = EventAccumulator(str(run / "tensorboard"), size_guidance=dict.fromkeys(kinds, 0))
    return found.Reload()


def pretraining() -> PretrainSettings:
    return PretrainSettings.model_validate(
        {
            "model": {"kind": "cnn", "width": 16, "blocks": 2}, "device": "cpu",
            "precision": "fp32", "steps": 30, "batch": 4, "window": 64, "shortest": 32,
            "warmup": 3, "evaluate_every": 10, "patience": 9,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(practice_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was then resumed, with nothing left to do."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    pretrain(practice_corpus, out, pretraining(), quiet=True)
    time.sleep(1.1)  # files of one second are read in an order that a counter decides
    pretrain(practice_corpus, out, pretraining(), resume=True, quiet=True)
    return out


@pytest.fixture(scope="module")
def trained(
    practice_corpus: Corpus, tiny_settings: Make, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run stopped between two checkpoints, resumed to its end, and resumed once more."""
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = tiny_settings(adv_weight=0.1, steps=6, evaluate_every=2, samples=3)
    trainer = Trainer(practice_corpus, out, settings, quiet=True)
    save = trainer.run.save

    def killed(step: int, *rest: Any) -> Path:
        if step == 6:  # validated, but not saved: it will be validated again
            raise KeyboardInterrupt
        return save(step, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.run, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    for _ in range(2):
        time.sleep(1.1)
        Trainer(practice_corpus, out, settings, resume=True, quiet=True).train()
    return out


def once(run: Path) -> dict[str, list[int]]:
    """Steps of every tag as TensorBoard's own server reads them; none comes twice."""
    # The other accumulator never hides texts and curves of steps that were taken again.
    found = plugin_event_accumulator.EventAccumulator(
        str(run / "tensorboard"), tensor_size_guidance=dict.fromkeys(PLUGINS, 0)
    ).Reload()
    tags = [tag for tag in found.Tags()["tensors"] if not tag.startswith("_hparams_/")]
    steps = {tag: [event.step for event in found.Tensors(tag)] for tag in tags}
    for tag, seen in steps.items():
        assert seen == sorted(set(seen)), tag
    return steps


def test_a_resumed_run_shows_every_point_once(trained: Path, pretrained: Path) -> None:
    steps = once(trained)
    assert steps["validation/bits_per_note"] == [0, 2, 4, 6]
    assert steps["attention_entropy/block_00"] == steps["roll/0"] == [0, 2, 4, 6]
    assert steps["settings/text_summary"] == [0]
    steps = once(pretrained)
    assert steps["validation/auc"] == [10, 20, 30]
    assert steps["test/auc"] == [31]
    assert steps["test/text_summary"] == [31]


def test_scalars_come_in_groups(trained: Path, pretrained: Path) -> None:
    groups = {tag.split("/")[0] for tag in board(trained).Tags()["scalars"]}
    assert groups >= {
        "loss", "gradient", "schedule", "adversarial", "discriminator", "validation", "train",
        "gap", "samples", "tokens", "bars", "system",
    }  # fmt: skip
    assert {tag.split("/")[0] for tag in board(pretrained).Tags()["scalars"]} == {
        "discriminator", "validation", "test"
    }  # fmt: skip


def test_every_chart_is_explained(trained: Path, pretrained: Path) -> None:
    """By its whole name or `group/*`, or its last part where a row names one of its group."""
    guide = files("gan.evaluation").joinpath("TENSORBOARD.md").read_text("utf-8")
    _, training, pretraining = guide.split("\n## ")
    for run, part in ((trained, training), (pretrained, pretraining)):
        rows = [set(re.findall(r"`([^`]+)`", row)) for row in part.splitlines() if row[:1] == "|"]
        found = board(run).Tags()
        for tag in [*found["scalars"], *found["images"], *found["audio"], *found["histograms"]]:
            group, _, name = tag.partition("/")
            assert any(
                row & {tag, f"{group}/*", f"*/{name}"}
                or (name in row and any(one.startswith(f"{group}/") for one in row))
                or (tag.startswith("validation/bits_per_note_") and tag[24:] in row)
                for row in rows
            ), f"{tag} is not in TENSORBOARD.md"


def test_samples_are_drawn(trained: Path) -> None:
    found = board(trained)
    assert found.Tags()["images"] == ["roll/0", "roll/1", "roll/2"]
    event = found.Images("roll/0")[-1]
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        assert image.size == (event.width, event.height)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 5


def test_the_same_seeds_are_heard_at_every_evaluation(trained: Path) -> None:
    try:
        places.find()
    except UserError:
        pytest.skip("no soundfont on this machine")
    found = board(trained)
    assert found.Tags()["audio"] == ["sound/0", "sound/1"]
    for tag in found.Tags()["audio"]:
        assert [event.step for event in found.Audio(tag)] == [0, 2, 4, 6]
        with wave.open(io.BytesIO(found.Audio(tag)[-1].encoded_audio_string)) as sound:
            assert (sound.getnchannels(), sound.getframerate()) == (1, clips.RATE)
            assert 0 < sound.getnframes() <= clips.SECONDS * clips.RATE
            data = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
        assert np.abs(data.astype(int)).max() > 1000


def test_a_long_sample_is_heard_at_little_cost(practice_music: Path) -> None:
    try:
        places.find()
    except UserError:
        pytest.skip("no soundfont on this machine")
    path = sorted(practice_music.rglob("*.mid"))[0]
    sound = clips.Clips().clip(path, pytest.fail)
    assert sound is not None
    assert len(sound) == 6 * clips.RATE
    assert progress.HEARD * 2 * len(sound) < 300_000  # bytes an evaluation, at 16 bits
    assert abs(float(sound[-1])) < 1e-6, "it fades"


def test_without_a_soundfont_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(rate: int) -> None:
        raise UserError("no soundfont on this machine")

    monkeypatch.setattr(clips, "Renderer", none)
    said: list[str] = []
    silent = clips.Clips()
    for _ in range(3):
        assert silent.clip(b"", said.append) is None
    assert said == ["no sound in TensorBoard: no soundfont on this machine"]


def text(found: EventAccumulator, tag: str) -> str:
    return make_ndarray(found.Tensors(f"{tag}/text_summary")[-1].tensor_proto)[0].decode()


def test_settings_and_statistics_are_text(trained: Path, pretrained: Path) -> None:
    assert "    adv_weight: 0.1\n" in text(board(trained), "settings")
    assert "| samples/notes |" in text(board(trained), "samples")
    assert "      kind: cnn\n" in text(board(pretrained), "settings")
    report = (pretrained / "report.md").read_text().partition("\n\n")[2]
    assert text(board(pretrained), "test") == report[:-1]


def test_histograms_of_gradients_and_of_attention(trained: Path) -> None:
    found = board(trained)
    assert set(found.Tags()["histograms"]) == {
        *(f"gradient_norms/{group}" for group in ("embedding", "block_00", "block_01", "norm")),
        "attention_entropy/block_00", "attention_entropy/block_01",
    }  # fmt: skip
    for tag in found.Tags()["histograms"]:
        values = found.Histograms(tag)[-1].histogram_value
        assert values.num >= 4
        assert 0 < values.min <= values.max, tag
        assert tag.startswith("gradient") or values.max <= 1 + 1e-5


def test_both_precision_recall_curves(pretrained: Path) -> None:
    found = board(pretrained)
    assert set(found.PluginTagToContent("pr_curves")) == {"validation/jazz", "validation/not_jazz"}
    for tag in found.PluginTagToContent("pr_curves"):
        curve = make_ndarray(found.Tensors(tag)[-1].tensor_proto)  # (6, thresholds)
        assert curve.shape[0] == 6
        assert curve[5].max() == 1, "everything is recalled at some threshold"


@pytest.mark.parametrize(
    ("which", "setting", "metric"),
    [("trained", "generator.layers", "validation/bits_per_note"),
     ("pretrained", "model.width", "test/auc")],
)  # fmt: skip
def test_settings_and_results_are_compared_within_the_run(
    which: str, setting: str, metric: str, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(which)
    found = board(run)
    content = found.PluginTagToContent("hparams")
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    assert setting in start.session_start_info.hparams
    named = {info.name.tag for info in experiment.metric_infos}
    assert metric in named
    assert named <= set(found.Tags()["scalars"]), "each is a chart of this run"
    assert not list((run / "tensorboard").glob("*/events*")), "no run of its own"


def test_the_projector_has_the_validation_pieces(pretrained: Path, practice_corpus: Corpus) -> None:
    folder = pretrained / "tensorboard"
    config = (folder / "projector_config.pbtxt").read_text()
    assert 'tensor_path: "00031/validation/tensors.tsv"' in config
    assert config.count("embeddings {") == 1
    vectors = np.loadtxt(folder / "00031" / "validation" / "tensors.tsv", delimiter="\t")
    lines = (folder / "00031" / "validation" / "metadata.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    assert rows[0] == ["label", "source", "verdict", "p_jazz", "path"]
    assert len(vectors) == len(rows) - 1 == len(practice_corpus.select("validation"))
    assert {row[0] for row in rows[1:]} == {"jazz", "not_jazz"}
    assert np.isfinite(vectors).all()
    assert vectors.std(0).max() > 0


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_looking_inside_changes_nothing(positions: str) -> None:
    torch.manual_seed(0)
    settings = TransformerSettings.model_validate(
        {"layers": 2, "width": 32, "heads": 2, "max_length": 24, "dropout": 0.5,
         "positions": positions}
    )  # fmt: skip
    model = Transformer(50, settings).train()
    model.embedding.weight.grad = torch.ones_like(model.embedding.weight)
    ids = torch.randint(3, 50, (5, 21))
    ids[4, 12:] = 0
    random = torch.get_rng_state()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    norms = gradient_norms(model, ids[:, :-1], ids[:, 1:], CPU)
    entropy = attention_entropy(model, ids[:, :-1], CPU)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert bool((model.embedding.weight.grad == 1).all())
    assert {len(values) for values in norms.values()} == {4}
    assert len(entropy["block_01"]) == 2 * (3 * 19 + 11), "heads, and all positions but the first"
    assert ((entropy["block_00"] >= 0) & (entropy["block_00"] <= 1 + 1e-5)).all()
    # Attention that asks nothing looks everywhere alike.
    with torch.no_grad():
        for block in model.blocks:
            block.attention.mix.weight.zero_()  # type: ignore[union-attr]
        for name, weight in model.positions.named_parameters():
            assert name == "table.weight"
            weight.zero_()
    np.testing.assert_allclose(attention_entropy(model, ids, CPU)["block_00"], 1, rtol=1e-4)


def test_the_norms_are_those_of_the_gradient() -> None:
    torch.manual_seed(0)
    settings = LSTMSettings(layers=2, width=16, hidden=24)
    model = LSTM(50, settings).eval()
    ids = torch.randint(3, 50, (1, 21))
    norms = gradient_norms(model, ids[:, :-1], ids[:, 1:], CPU)
    torch.nn.functional.cross_entropy(model(ids[:, :-1]).mT, ids[:, 1:]).backward()
    squares = [float(w.grad.square().sum()) for w in model.parameters() if w.grad is not None]
    assert sum(v[0] ** 2 for v in norms.values()) == pytest.approx(sum(squares), rel=1e-4)
    assert {"embedding", "lstm_0", "lstm_1", "dense_0"} <= set(norms)
    assert attention_entropy(model, ids, CPU) == {}


def test_names_of_groups_and_of_settings() -> None:
    names = ["blocks.3.attention.mix.weight", "lstm.bias_hh_l1", "norms.0.weight", "head.weight"]
    assert [group_of(name) for name in names] == ["block_03", "lstm_1", "dense_0", "head"]
    nested = {"a": {"b": 1, "c": None}, "on": True, "many": ("x", "y")}
    assert flat(nested) == {"a.b": 1, "on": "true", "many": "x, y"}
