"""A composer writes clean piano MIDI, comes back from its folder, and says what is wrong."""

import io
import json
import math
from pathlib import Path

import miditoolkit
import numpy as np
import pytest
import torch

from data_tools import midi
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import Representation
from generator import Composer, Piece, Transformer
from generator.compose import STRIDE
from generator.settings import TransformerSettings

from .conftest import build


@pytest.fixture
def composer(durations: Representation) -> Composer:
    return Composer(build(durations), durations, default_label="jazz")


@pytest.fixture(scope="module")
def scale() -> midi.ScoreTick:
    """Four octaves up, a note every half second, at 90 beats a minute."""
    start = np.arange(48) * 480
    notes = Notes(start, start + 400, np.arange(36, 84), np.full(48, 80))
    return midi.score_of(notes, 480, 90.0)


def assert_clean(piece: Piece, path: Path) -> None:
    """Read back from disk: whole notes, none struck while it sounds; one piano, or parts."""
    read = miditoolkit.MidiFile(str(piece.save(path)))
    for track in read.instruments:
        if not track.name.startswith("Channel"):
            assert len(read.instruments) == 1
            assert (track.name, track.program, track.is_drum) == ("Piano", 0, False)
        last = {}
        for note in sorted(track.notes, key=lambda note: note.start):
            assert note.end > note.start >= last.get(note.pitch, 0)
            assert 0 <= note.pitch <= 127
            assert 1 <= note.velocity <= 127
            last[note.pitch] = note.end
    assert read.instruments
    assert read.tempo_changes
    assert "seed" in read.markers[0].text


def test_untrained_models_write_valid_midi(representation: Representation, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = TransformerSettings(layers=1, width=16, heads=1, max_length=64)
    composer = Composer(Transformer(representation.vocab_size, settings), representation)
    pieces = composer.compose(16, length=100)
    assert len(pieces) == 16
    assert [piece.seed for piece in pieces] == list(range(16))
    for number, piece in enumerate(pieces):
        assert_clean(piece, tmp_path / f"{number}.mid")
        assert piece.statistics["notes"] == sum(len(i.notes) for i in piece.midi.instruments)


def test_a_piece_can_be_written_again_alone(composer: Composer) -> None:
    pieces = composer.compose(5, seed=10, length=60, batch=2)
    (third,) = composer.compose(1, seed=12, length=60)
    assert np.array_equal(third.ids, pieces[2].ids)
    assert len({tuple(piece.ids) for piece in pieces}) == 5


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_seeds_may_be_numpys(composer: Composer, kind: type[np.integer]) -> None:
    pieces = composer.compose(kind(2), seed=kind(255), length=60)
    plain = composer.compose(2, seed=255, length=60)
    assert [piece.seed for piece in pieces] == [255, 256]
    assert all(
        np.array_equal(*(one.ids for one in pair)) for pair in zip(pieces, plain, strict=True)
    )
    assert list(composer.stream(kind(3), length=60)) == list(composer.stream(3, length=60))
    with pytest.raises(UserError, match="seeds 255, 256: no notes in 2 tokens"):
        composer.compose(2, seed=kind(255), length=2)


def test_label_and_artist_steer(composer: Composer) -> None:
    plain, *others = (
        composer.compose(1, length=60, **choice)[0]
        for choice in ({}, {"label": "not_jazz"}, {"artist": "Art Tatum"})
    )
    (same,) = composer.compose(1, length=60, label="jazz")
    assert np.array_equal(same.ids, plain.ids)
    for other in others:
        assert not np.array_equal(other.ids, plain.ids)
    assert "label jazz, artist Art Tatum" in others[1].midi.markers[0].text


def test_a_prompt_opens_every_piece(
    representation: Representation, scale: midi.ScoreTick, tmp_path: Path
) -> None:
    composer = Composer(build(representation), representation)
    path = midi.write(scale, tmp_path / "scale – Ω.mid")
    whole = representation.encode(scale)
    for piece in composer.compose(3, length=60, prompt=path):
        assert piece.prompt == len(whole)
        assert np.array_equal(piece.ids[: piece.prompt], whole)
        assert_clean(piece, tmp_path / "out.mid")
        story, prompt, generated = piece.midi.markers
        assert "scale" in story.text
        assert (prompt.text, prompt.time, generated.text) == ("prompt", 0, "generated")
        onsets = sorted(note.start for part in piece.midi.instruments for note in part.notes)
        assert onsets[47] <= generated.time <= onsets[48]
        ticks = piece.midi.ticks_per_beat
        if representation.settings.time_base == "clock" and representation.settings.preset != "raw":
            assert onsets[:48] == [note.time * ticks // 480 for note in scale.tracks[0].notes]
            continue
        assert ticks == 480
        grid = [note.time for note in representation.decode(whole).tracks[0].notes]
        coarse = ticks / representation.steps_per_beat
        assert onsets[:48] == pytest.approx([time * coarse for time in grid], abs=coarse)


def test_the_end_of_a_long_prompt_is_used(
    representation: Representation, scale: midi.ScoreTick
) -> None:
    composer = Composer(build(representation), representation)
    buffer = io.BytesIO(scale.dumps_midi())
    prompt = miditoolkit.MidiFile(file=buffer)
    (piece,) = composer.compose(1, length=40, prompt=prompt, prompt_length=50)
    assert piece.prompt <= 50 + 5  # the last tokens, after what is in force
    notes = piece.midi.instruments[0].notes
    assert 83 in {note.pitch for note in notes}
    assert 36 not in {note.pitch for note in notes[:5]}
    if representation.settings.time_base == "beat":
        assert piece.midi.tempo_changes[0].tempo == pytest.approx(90, rel=0.05)


def test_halved_is_what_float16_holds(composer: Composer, tmp_path: Path) -> None:
    weights = composer.model.state_dict()
    weights["norm.weight"][0] = 7e4  # beyond float16
    composer.model.load_state_dict(weights)
    composer.save(tmp_path, half=True)
    loaded = Composer.load(tmp_path).model.state_dict()
    for name, weight in weights.items():
        expected = weight if name == "norm.weight" else weight.half().float()
        assert torch.equal(loaded[name], expected), name


def test_loading_leaves_the_random_state_alone(composer: Composer, tmp_path: Path) -> None:
    composer.save(tmp_path)
    before = torch.random.get_rng_state()
    Composer.load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("half", [False, True])
def test_folder_and_back(composer: Composer, tmp_path: Path, half: bool) -> None:
    composer.save(tmp_path, half=half)
    loaded = Composer.load(tmp_path)
    assert loaded.default_label == "jazz"
    assert loaded.model.settings == composer.model.settings
    assert loaded.model.embedding.weight.dtype == torch.float32
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before, after = composer.model(ids), loaded.model(ids)
    torch.testing.assert_close(after, before, rtol=0, atol=0.2 if half else 0)
    if not half:
        first, second = (one.compose(2, length=50) for one in (composer, loaded))
        assert [p.ids.tolist() for p in first] == [p.ids.tolist() for p in second]
    assert {path.name for path in tmp_path.iterdir()} == {
        "generator.json",
        "model.safetensors",
        "representation.json",
    }


def test_parts_that_do_not_belong_together(
    composer: Composer, durations: Representation, tmp_path: Path
) -> None:
    composer.save(tmp_path)
    card = json.loads((tmp_path / "generator.json").read_text())

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            Composer.load(tmp_path)
        assert "\n" not in str(caught.value)

    def change(**changes: object) -> None:
        (tmp_path / "generator.json").write_text(json.dumps(card | changes))

    change(settings=card["settings"] | {"layers": 3})
    refused("does not fit")
    change(settings=card["settings"] | {"width": 2**16})  # 100 GB, if it were made
    refused("does not fit")
    for size in ("layers", "width", "max_length"):
        change(settings=card["settings"] | {size: 10**12})
        refused(f"{size}: .*less than or equal")
    change(settings=card["settings"] | {"depth": 3})
    refused("depth")
    change(format=99)
    refused("format 99")
    change(digest="0" * 16)
    refused("copy the whole folder")
    (tmp_path / "generator.json").write_text("{")
    refused("not a generator's settings")
    change()
    Representation(durations.settings, ["label:jazz"]).save(tmp_path / "representation.json")
    refused("copy the whole folder")
    durations.save(tmp_path / "representation.json")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    refused("cannot be read as weights")
    (tmp_path / "generator.json").unlink()
    refused("a generator is a folder")


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"count": 0}, "count"),
        ({"length": 0}, "length"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.inf}, "temperature inf"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"repetition": math.inf}, "repetition inf"),
        ({"guidance": math.nan}, "guidance nan"),
        ({"seed": 2**64}, "seed 18446744073709551616"),
        ({"seed": -1}, "seed -1"),
        ({"min_p": 1.0}, "min-p"),
        ({"no_repeat": 1}, "no-repeat"),
        ({"repetition": 0.5}, "repetition"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"tempo": 5.0}, "tempo"),
        ({"key": "H"}, "key 'H'"),
        ({"whistle": True}, "prompt"),
        ({"guidance": 2.0, "label": "none"}, "no label"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_k": -1}, "top-k"),
        ({"label": "polka"}, "label 'polka'"),
        ({"artist": "Nobody"}, "artist 'Nobody'"),
        ({"prompt": "missing.mid"}, "missing.mid"),
        ({"length": 2}, "no notes in 2 tokens"),
    ],
)
def test_mistakes_are_named(composer: Composer, choice: dict[str, object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        composer.compose(**choice)


def test_empty_pieces_give_way_to_other_seeds(composer: Composer) -> None:
    """With few tokens some seeds write time shifts alone; every piece has notes all the same."""
    pieces = composer.compose(12, length=4)
    assert all(piece.statistics["notes"] >= 1 for piece in pieces)
    assert any(piece.seed >= 12 for piece in pieces)
    rest = composer.compose(9, seed=3, length=4)  # as after three of them it was stopped
    assert [piece.seed for piece in rest] == [piece.seed for piece in pieces[3:]]


def test_pieces_come_batch_by_batch_and_an_empty_one_costs_no_other(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = composer.compose(6, length=60, batch=2)
    drawn: list[int] = []
    draw = Composer._draw

    def silenced(self: Composer, request: object, seeds: list[int], steering: object) -> list:
        drawn.extend(seeds)
        found = draw(self, request, seeds, steering)
        return [None if seed % STRIDE == 3 else one for seed, one in zip(seeds, found, strict=True)]

    monkeypatch.setattr(Composer, "_draw", silenced)
    pieces = composer.each(6, length=60, batch=2)
    assert np.array_equal(next(pieces).ids, whole[0].ids)
    assert drawn == [0, 1], "nothing is drawn before it is asked for"
    rest = list(pieces)
    assert [piece is None for piece in rest] == [False, False, True, False, False]
    assert drawn == [0, 1, 2, 3, *(3 + STRIDE * k for k in (1, 2, 3)), 4, 5]
    assert np.array_equal(rest[3].ids, whole[4].ids)
    with pytest.raises(UserError, match=r"seed 3: no notes in 60 tokens after 4 tries"):
        composer.compose(6, length=60, batch=2)
