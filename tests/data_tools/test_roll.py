"""Piano rolls: what is drawn is what is in the file, and the file that comes out is whole."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import symusic
from PIL import Image, ImageFont
from symusic.core import ScoreTick

from data_tools import canvas as canvas_module
from data_tools import midi
from data_tools.canvas import Boxes, Canvas, Line, Words
from data_tools.errors import MidiError
from data_tools.midi import Notes
from data_tools.roll import Opinion, Roll, matched, roll_of
from data_tools.roll_drawing import MOST_LINES, WIDTH, draw


def piece(*rows: tuple[int, int, int, int]) -> ScoreTick:
    """A score of notes (start, length, pitch, velocity) in milliseconds."""
    table = np.array(rows).reshape(-1, 4)
    notes = Notes(table[:, 0], table[:, 0] + table[:, 1], table[:, 2], table[:, 3])
    return midi.score_of(notes, 500, 120.0)


def words(canvas: Canvas) -> list[str]:
    return [shape.text for shape in canvas.shapes if isinstance(shape, Words)]


def boxes(canvas: Canvas, colour: tuple[int, int, int]) -> np.ndarray:
    """(N, 4) all rectangles of a colour."""
    found = [s.places for s in canvas.shapes if isinstance(s, Boxes) and s.colour == colour]
    return np.concatenate(found) if found else np.zeros((0, 4))


def continuation() -> ScoreTick:
    """Two seconds of a prompt, a whistle, and what was generated."""
    score = piece((0, 900, 60, 20), (1000, 900, 62, 120), (3000, 900, 64, 20), (4000, 900, 65, 120))
    for time, text in ((0, "a story"), (0, "prompt"), (2000, "whistle"), (3000, "generated")):
        score.markers.append(symusic.TextMeta(time, text))
    signal = symusic.Track("Whistle", 78, False)
    signal.notes.append(symusic.Note(2200, 500, 84, 90))
    score.tracks.append(signal)
    score.tracks[0].pedals.append(symusic.Pedal(500, 1000))
    return score


def test_a_roll_holds_the_file_in_seconds() -> None:
    roll = roll_of(continuation())
    np.testing.assert_allclose(roll.notes.start, [0, 1, 3, 4])
    assert roll.notes.pitch.tolist() == [60, 62, 64, 65], "the whistle is no note of the piece"
    assert roll.generated.tolist() == [False, False, True, True]
    np.testing.assert_allclose(roll.pedals, [[0.5, 1.5]])
    np.testing.assert_allclose(roll.bars, [0, 2, 4])
    assert roll.parts == ((0.0, "prompt"), (2.0, "whistle"), (3.0, "generated"))
    assert roll.seconds == pytest.approx(4.9)


def test_markers_survive_the_file(tmp_path: Path) -> None:
    path = midi.write(continuation(), tmp_path / "a.mid")
    assert roll_of(path).generated.tolist() == [False, False, True, True]


def test_bars_follow_the_time_signatures() -> None:
    score = piece((0, 8000, 60, 80))
    score.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    score.time_signatures.append(symusic.TimeSignature(3000, 6, 8))
    np.testing.assert_allclose(roll_of(score).bars, [0, 1.5, 3, 4.5, 6, 7.5])


def test_prompt_and_generated_part_are_told_apart() -> None:
    canvas = draw(roll_of(continuation()))
    assert {"prompt", "whistle", "generated", "pedal", "C4", "0:00"} <= set(words(canvas))
    plain = draw(roll_of(piece((0, 900, 60, 20))))
    assert not {"prompt", "generated", "pedal"} & set(words(plain))
    given = {s.colour for s in canvas.shapes if isinstance(s, Boxes)}
    others = {s.colour for s in plain.shapes if isinstance(s, Boxes)}
    assert len(given - others) >= 4


@pytest.mark.parametrize("prompt", [500, 2000])
def test_names_of_parts_stand_beside_each_other(prompt: int) -> None:
    score = continuation()
    score.tracks[0].notes.append(symusic.Note(30_000, 9_000, 65, 80))  # so that a second is short
    times = {"whistle": prompt, "generated": prompt + 1000}
    for mark in score.markers:
        mark.time = times.get(mark.text, mark.time)
    shapes = draw(roll_of(score)).shapes
    names = [s for s in shapes if isinstance(s, Words) and s.text in ("prompt", *times)]
    names.pop()  # the legend's
    ends = [s.x + ImageFont.load_default(s.size).getlength(s.text) for s in names]
    assert [name.text for name in names] == ["prompt", *times]
    assert all(end + 4 < name.x for end, name in zip(ends, names[1:], strict=False))
    lines = np.concatenate([s.places for s in shapes if isinstance(s, Boxes)])
    for x, top, width, _ in lines[lines[:, 2] == 1.5]:
        for end, name in zip(ends, names, strict=True):
            assert top >= name.y or not name.x < x + width < end


def test_louder_is_darker_and_later_is_further_right() -> None:
    roll = roll_of(piece((0, 500, 60, 10), (1000, 500, 60, 70), (2000, 500, 72, 127)))
    canvas = draw(roll)
    placed = []
    for shape in canvas.shapes:
        # Notes are as high as nothing else is.
        if isinstance(shape, Boxes) and (shape.places[:, 3] == 3.5).all():
            placed += [(row[0], row[1], sum(shape.colour)) for row in shape.places.tolist()]
    placed.sort()
    assert len(placed) == 3
    assert placed[0][2] > placed[1][2] > placed[2][2]
    assert placed[0][1] == placed[1][1] > placed[2][1], "higher is further up"
    assert all(0 < x < WIDTH for x, _, _ in placed)


def test_an_opinion_finds_its_notes() -> None:
    notes = Notes(np.array([0.0, 1.0, 1.01, 5.0]), np.array([1.0, 2, 2, 6]),
                  np.array([60, 60, 62, 60]), np.array([80, 80, 80, 80]))  # fmt: skip
    opinion = Opinion("", np.array([[0.0, 0.9]]), np.array([0.02, 0.98, 1.0]),
                      np.array([60, 60, 62]), np.array([0.5, -0.5, np.nan]))  # fmt: skip
    np.testing.assert_allclose(matched(notes, opinion), [0.5, -0.5, np.nan, np.nan])


def test_an_opinion_is_drawn_as_a_curve_and_colours() -> None:
    roll = roll_of(piece((0, 900, 60, 80), (1000, 900, 62, 80)))
    opinion = Opinion("p(jazz) = 0.75, jazz", np.array([[0.0, 1.0], [1.9, 0.0]]),
                      np.array([0.0, 1.0]), np.array([60, 62]), np.array([0.2, -0.2]))  # fmt: skip
    canvas = draw(roll, opinion)
    assert any("p(jazz) = 0.75" in text for text in words(canvas))
    curve = next(shape.points for shape in canvas.shapes if isinstance(shape, Line))
    assert (np.diff(curve[:, 1]) >= 0).all(), "it falls, and y goes down"
    speak_for, against = (209, 96, 10), (31, 95, 168)
    assert boxes(canvas, speak_for)[0, 0] < boxes(canvas, against)[0, 0]


def test_the_svg_is_small_valid_and_loads_nothing(mini: Path) -> None:
    path = max(mini.rglob("*.mid"), key=lambda p: p.stat().st_size)
    roll = roll_of(path)
    text = draw(roll).svg("<a & b>\x00\ud800")
    root = ET.fromstring(text.encode())
    assert root[0].text == "<a & b>\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert "href" not in text
    assert "url(" not in text
    assert len(text) < 50_000 + 40 * len(roll.notes)


def test_the_png_shows_the_same() -> None:
    canvas = draw(roll_of(piece((0, 2000, 60, 127))))
    image = Image.open(io.BytesIO(canvas.png()))
    assert image.size == (2 * canvas.width, 2 * canvas.height)
    x, y, width, height = next(
        shape.places[0] for shape in canvas.shapes
        if isinstance(shape, Boxes) and (shape.places[:, 3] == 3.5).all()
    )  # fmt: skip
    pixel = image.getpixel((round(2 * (x + width / 2)), round(2 * y + height)))
    assert pixel == (14, 44, 108), "the loudest blue in the middle of the note"


@pytest.mark.parametrize("has_font", [True, False])
def test_letters_beyond_ascii_are_letters(has_font: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_font:
        monkeypatch.setattr(canvas_module, "_wide_font", lambda: None)

    def drawn(text: str) -> bytes:
        canvas = Canvas(60, 20)
        canvas.words((0, 0, 0), 2, 15, text)
        return canvas.png()

    # Of a font that lacks them all would be the same box.
    assert len({drawn(text) for text in ("Ü", "é", "ñ")}) == 3
    if not has_font:
        assert drawn("Überjazz") == drawn("Uberjazz")
        assert drawn("枯葉") == drawn("??")
    assert drawn("a\x00\ud800")


def test_several_spaces_stay_so_in_the_svg() -> None:
    text = draw(roll_of(piece((0, 2000, 60, 127)))).svg("a")
    assert f"{4 * chr(160)}1 notes</text>" in text


def test_long_and_full_pieces_stay_bounded() -> None:
    random = np.random.default_rng(0)
    start = np.sort(random.integers(0, 3 * 3_600_000, 50_000))
    pitch = random.integers(21, 109, 50_000)
    notes = Notes(start, start + 500, pitch, random.integers(1, 128, 50_000))
    canvas = draw(roll_of(midi.score_of(notes, 500, 120.0)))
    assert canvas.height < MOST_LINES * 500
    assert len(canvas.svg("a")) < 2_000_000


def test_drums_are_left_out_and_counted() -> None:
    score = piece((0, 500, 60, 80))
    drums = symusic.Track("Drums", 0, True)
    drums.notes.append(symusic.Note(0, 100, 38, 100))
    score.tracks.append(drums)
    roll: Roll = roll_of(score)
    assert (len(roll.notes), roll.drums) == (1, 1)
    score.tracks.pop(0)
    with pytest.raises(MidiError, match="only drums"):
        roll_of(score)
    with pytest.raises(MidiError, match="no notes"):
        roll_of(symusic.Score(480))
