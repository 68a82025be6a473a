"""A prompt that was cut lasts up to the cut, in silence too; what the model adds comes after it."""

import miditoolkit
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_tools import midi
from data_tools.bytepair import merged_from
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.representation import Representation, RepresentationSettings
from generator import Composer
from generator.grammar import Grammar
from generator.prompt import read_prompt

from .conftest import KINDS, build

CHORD = (48, 60, 64, 67)


def chords(bars: int = 4, offset: int = 0) -> midi.ScoreTick:
    """A short chord on the first beat of every bar of two seconds."""
    start = np.repeat(np.arange(bars) * 1920, len(CHORD)) + offset
    pitch = np.tile(CHORD, bars)
    return midi.score_of(Notes(start, start + 400, pitch, start * 0 + 80), 480, 120.0)


def seconds_in(representation: Representation, ids: list[int]) -> float:
    """Where the last of a prompt's ids stands, at 120 quarters a minute."""
    last = representation.times(np.array(ids[1:]))[-1]
    if representation.settings.time_base == "clock":
        return float(last * representation.grid_seconds)
    return float(last / representation.steps_per_beat / 2)


def onsets(piece: miditoolkit.MidiFile) -> np.ndarray:
    read = midi.read(piece)
    starts = np.concatenate([midi.notes_of(track).start for track in read.tracks])
    return np.sort(midi.seconds_of(read, starts))


def accepts(representation: Representation, ids: list[int]) -> bool:
    whole = torch.tensor([ids])
    masks = Grammar(representation).replay(whole)
    return bool(masks.gather(2, whole[..., None]).all())


@pytest.mark.parametrize(
    ("cut", "line"),
    [({"bars": 3}, 6.0), ({"bars": 4}, 8.0), ({"bars": 9}, 8.0), ({"bars": 2.75}, 5.5),
     ({"seconds": 5.0}, 5.0), ({"seconds": 60.0}, 8.0), ({"bars": 3, "seconds": 7.0}, 6.0)],
)  # fmt: skip
def test_the_time_up_to_the_cut_is_the_prompts(
    representation: Representation, cut: dict[str, float], line: float
) -> None:
    prompt = read_prompt(representation, chords(), **cut)
    reached = seconds_in(representation, prompt.ids)
    if representation.settings.preset == "remi":  # to its next bar, of four beats or 1.92 seconds
        bar = 2.0 if representation.settings.time_base == "beat" else 1.92
        assert reached == pytest.approx(np.ceil(line / bar - 1e-9) * bar)
    else:
        assert reached == pytest.approx(line)
        # As music is written that has a note there.
        longer = chords()
        longer.tracks[0].notes = midi.note_list(
            (notes := midi.notes_of(longer.tracks[0])).take(notes.start < line * 960)
        )
        longer.tracks[0].notes.append(midi.symusic.Note(round(line * 960), 400, 70, 80))
        assert representation.encode(longer).tolist()[: len(prompt.ids) - 1] == prompt.ids[1:]
    assert accepts(representation, prompt.ids)
    struck = int(representation.strikes[prompt.ids].sum())
    assert struck == len(CHORD) * min(4, np.ceil(line / 2))


def test_nothing_is_written_before_the_cut(representation: Representation) -> None:
    composer = Composer(build(representation), representation)
    clock = representation.settings.time_base == "clock"
    # On the clock off its grid, so that the line is too.
    music = chords(offset=3 * 1920 + 7 * clock)
    line = 8.0 - 7 / 960 * (clock and representation.settings.preset == "raw")
    pieces = composer.compose(6, length=60, prompt=music, prompt_bars=4)
    for piece in pieces:
        found = onsets(piece.midi)
        given = len(CHORD) * 4
        mark = next(mark.time for mark in piece.midi.markers if mark.text == "generated")
        at = midi.seconds_of(midi.read(piece.midi), np.array([mark]))[0]
        if not clock:  # in quarters: a model's tempos are not the file's
            ticks = [note.start for part in piece.midi.instruments for note in part.notes]
            found = np.sort(ticks) / piece.midi.ticks_per_beat / 2
            at = mark / piece.midi.ticks_per_beat / 2
        assert found[given - 1] < 6.1
        assert line - 1e-3 <= at <= found[given] + 1e-3
    assert any(piece.prompt < len(piece.ids) for piece in pieces)
    with pytest.raises(UserError, match="the prompt alone has"):
        composer.compose(1, length=60, prompt=music, prompt_bars=4, seconds=7.5)


def test_a_whole_file_is_its_notes_alone(representation: Representation) -> None:
    prompt = read_prompt(representation, chords())
    assert prompt.ids[1:] == representation.encode(chords()).tolist()


@given(st.integers(1, 1919), st.integers(0, 400))
def test_a_line_off_the_grid_is_passed_by_less_than_a_step(ticks: int, offset: int) -> None:
    for preset, base in KINDS[:4]:
        representation = Representation(RepresentationSettings(preset=preset, time_base=base))
        prompt = read_prompt(representation, chords(1, offset), seconds=(ticks - 0.5) / 960)
        if preset == "performance" and ticks <= 440:
            continue  # its last token is the chord's end
        step = 0.02 if base == "clock" else 0.5 / representation.steps_per_beat
        ids = np.array(prompt.ids[1:])
        first = representation.times(ids)[np.argmax(representation.strikes[ids])] * step
        late = seconds_in(representation, prompt.ids) - first - min(ticks, 1920 - offset) / 960
        # On the beat the first note itself is put on the grid.
        assert -1e-9 - step / 2 * (base == "beat") <= late < 1.5 * step


def test_what_is_not_used_is_said(representation: Representation) -> None:
    music = chords()
    assert read_prompt(representation, music).left_out == ()
    music.tracks[0].notes.extend(
        [midi.symusic.Note(0, 100, 20, 80), midi.symusic.Note(4000, 100, 109, 80)]
    )
    for name, program, drums in (("Bass", 33, False), ("Kit", 0, True), ("Mute", 40, False)):
        music.tracks.append(midi.symusic.Track(name, program, drums))
        if name != "Mute":
            music.tracks[-1].notes.append(midi.symusic.Note(0, 100, 40, 80))
    preset = representation.settings.preset
    tracks = ["left out: Bass (program 33), drums"] * (preset != "raw")
    folds = preset in ("duration", "remi")
    keys = ["left out: 2 notes outside a piano's 88 keys"] * folds
    assert list(read_prompt(representation, music).left_out) == tracks + keys
    keys = ["left out: 1 note outside a piano's 88 keys"] * folds
    assert list(read_prompt(representation, music, bars=2).left_out) == tracks + keys
    (said,) = read_prompt(representation, chords(), most=30).left_out
    notes = int(representation.strikes[read_prompt(representation, chords(), most=30).ids].sum())
    assert said.startswith(f"gone on from its last {notes} of 16 notes, 30 tokens")


def test_merged_tokens_wait_too() -> None:
    plain = Representation(RepresentationSettings())
    pieces = [plain.encode(chords(8)).astype(np.int64)]
    merged = merged_from(pieces, plain, 9)
    ours, usual = (read_prompt(one, chords(), bars=4) for one in (merged, plain))
    assert merged.expand(np.array(ours.ids)).tolist() == usual.ids
    assert len(ours.ids) < len(usual.ids)
    assert ours.ids[1:] == merged.merge(np.array(usual.ids[1:])).tolist()


def test_bars_of_remi_keep_their_meter() -> None:
    representation = Representation(RepresentationSettings(preset="remi", time_base="beat"))
    music = chords()
    music.time_signatures.append(midi.symusic.TimeSignature(0, 2, 4))
    prompt = read_prompt(representation, music, bars=7)
    names = representation.tokens(prompt.ids)
    assert names[-2:] == ["Bar", "TimeSig_2/4"]
    assert (
        representation.times(np.array(prompt.ids[1:]))[-1] == 7 * 2 * representation.steps_per_beat
    )
