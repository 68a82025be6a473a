"""A whistle is heard, and stands between what was given and what was written."""

from typing import Any

import miditoolkit
import numpy as np
import pytest

from data_tools import midi
from data_tools.midi import Notes
from data_tools.render import Renderer
from data_tools.representation import Representation, RepresentationSettings
from data_tools.soundfont import places
from generator import Composer
from generator.arrange import LINGER, WHISTLE, WHISTLE_PITCH, WHISTLE_VELOCITY

from .conftest import build


def test_the_whistle_sounds() -> None:
    """In the soundfont of a plain installation, whose whistle has not all keys."""
    font = places.packaged()
    if font is None:
        pytest.skip("pretty_midi, which brings a soundfont, is not installed: extra 'audio'")
    renderer = Renderer(font)
    columns = ([0], [500], [WHISTLE_PITCH], [WHISTLE_VELOCITY])
    score = midi.score_of(Notes(*map(np.array, columns)), 500, 120.0)
    score.tracks[0].program = WHISTLE
    sound = renderer.render(score)[: renderer.rate // 2]
    assert renderer.silent == (0, 1)
    # Not at 659 Hz: that soundfont's whistle is nine semitones flat.
    assert np.sqrt((sound**2).mean()) > 0.2


def off_the_grid() -> midi.ScoreTick:
    """24 notes at 97 quarters a minute, the last of them long; pedal."""
    rng = np.random.default_rng(3)
    start = 300 + np.cumsum(rng.integers(90, 400, 24))
    long = rng.integers(60, 300, 24)
    long[-1] = 700
    columns = start, start + long, rng.permutation(np.arange(40, 64)), rng.integers(20, 120, 24)
    score = midi.score_of(Notes(*columns), 480, 97.0)
    down = start[::6]
    score.tracks[0].pedals = midi.symusic.Pedal.from_numpy(down, down * 0 + 300)
    return score


def rows(piece: miditoolkit.MidiFile) -> tuple[list[Any], list[Any], dict[str, float]]:
    """Notes of the piano and of the whistle, and markers, with times in quarters."""
    unit = piece.ticks_per_beat
    piano, whistle = (
        sorted(
            (note.start / unit, note.pitch, number, note.velocity, note.end / unit)
            for number, part in enumerate(piece.instruments)
            for note in part.notes
            if (part.name == "Whistle") is wanted
        )
        for wanted in (False, True)
    )
    return piano, whistle, {mark.text: mark.time / unit for mark in piece.markers}


@pytest.mark.parametrize("choice", [{}, {"prompt_bars": 3}, {"prompt_length": 30}], ids=str)
def test_a_whistle_changes_nothing_but_when_the_rest_begins(
    representation: Representation, choice: dict[str, float]
) -> None:
    composer = Composer(build(representation), representation)
    music = off_the_grid()
    more: dict[str, Any] = choice | {"length": 90, "prompt": music, "min_notes": 9}
    rested = 0
    for plain, whistled in zip(
        composer.compose(6, **more), composer.compose(6, whistle=True, **more), strict=True
    ):
        assert plain.ids.tolist() == whistled.ids.tolist()
        given = int(representation.strikes[plain.ids[: plain.prompt]].sum())
        without, nothing, marks = rows(plain.midi)
        notes, signals, places = rows(whistled.midi)
        assert not nothing
        ((begins, pitch, _, velocity, ends),) = signals
        assert (pitch, velocity) == (WHISTLE_PITCH, WHISTLE_VELOCITY)
        assert places["whistle"] < begins < ends < places["generated"]
        # What was given stands where it stood, and is over when it sounds.
        for now, before in zip(notes[:given], without[:given], strict=True):
            assert now[:4] == pytest.approx(before[:4], abs=1e-3)
        end = notes[given - 1][0]
        assert end <= places["whistle"] + 1e-3
        # What the model wrote is the same, note by note, as much later.
        assert len(notes) == len(without) > given
        later = notes[given][0] - without[given][0]
        for now, before in zip(notes[given:], without[given:], strict=True):
            assert now[1:4] == before[1:4]
            assert now[0] - before[0] == pytest.approx(later, abs=0.005)
            assert now[4] - now[0] == pytest.approx(before[4] - before[0], abs=0.005)
        assert notes[given][0] >= places["generated"] - 1e-3
        assert marks["generated"] == pytest.approx(without[given][0], abs=1e-3)
        # Its rest before its first note is the same as well, and what sounds does so a while.
        rest = notes[given][0] - places["generated"]
        lasted = places["generated"] - places["whistle"]
        lingered = later - lasted
        assert lingered >= -1e-3
        ticks = representation.times(plain.ids)
        first = np.flatnonzero(representation.strikes[plain.ids])[given]
        moved = ticks[first] - ticks[plain.prompt - 1]
        quarters = moved / representation.steps_per_beat
        if representation.settings.time_base == "clock":
            tempo = whistled.midi.tempo_changes[-1].tempo
            quarters = moved * representation.grid_seconds * tempo / 60
            assert lasted * 60 / tempo == pytest.approx(1.0, abs=0.01)
            assert lingered * 60 / tempo <= LINGER + 0.01
        grid = 2.0 / representation.steps_per_beat
        assert rest == pytest.approx(quarters, abs=grid)
        rested += rest > grid
    assert rested or representation.settings.time_base == "beat"


@pytest.mark.parametrize(("whistle", "tempo"), [(False, 0), (True, 0), (False, 390)])
@pytest.mark.parametrize("choice", [{}, {"prompt_bars": 3}, {"prompt_length": 30}], ids=str)
def test_seconds_are_those_of_the_file(
    representation: Representation, choice: dict[str, float], whistle: bool, tempo: float
) -> None:
    composer = Composer(build(representation), representation)
    music = off_the_grid()
    if tempo:  # faster than any token says
        music.tempos = midi.symusic.core.TempoTickList([midi.symusic.Tempo(0, tempo)])
    # The file begins with the bar in which that note lies.
    music.time_signatures.append(midi.symusic.TimeSignature(0, 4, 4))
    more: dict[str, Any] = choice | {"length": 200, "prompt": music, "min_notes": 40}
    more["whistle"] = whistle
    (whole,) = composer.compose(1, **more)

    def onsets(piece: miditoolkit.MidiFile) -> np.ndarray:
        read = midi.read(piece)
        tracks = [track for track in read.tracks if track.name != "Whistle"]
        starts = np.concatenate([midi.notes_of(track).start for track in tracks])
        return np.sort(midi.seconds_of(read, starts))

    given = int(representation.strikes[whole.ids[: whole.prompt]].sum())
    before = onsets(whole.midi)
    for place in (given + 1, given + 12):
        seconds = float(before[place]) + 1e-3
        (piece,) = composer.compose(1, seconds=seconds, **more)
        assert piece.ids.tolist() == whole.ids[: len(piece.ids)].tolist()
        within = before[before < seconds]
        assert onsets(piece.midi).max() < seconds
        if representation.settings.time_base == "clock" or tempo:
            assert onsets(piece.midi) == pytest.approx(within, abs=2e-3)


@pytest.mark.parametrize("preset", ["duration", "performance", "remi", "raw"])
@pytest.mark.parametrize("base", ["clock", "beat"])
def test_a_piece_is_described_as_its_file_is(preset: str, base: str) -> None:
    """Notes a tick apart have one grid step; a bar's rest, a whistle and a fast tempo take time."""
    settings = RepresentationSettings(preset=preset, time_base=base)
    representation = Representation(settings)
    composer = Composer(build(representation), representation)
    start = 480 + np.repeat(np.arange(12) * 240, 2)
    start[1::2] += 1
    end = start + np.tile([1, 200], 12)
    given = midi.score_of(Notes(start, end, start * 0 + 60, start * 0 + 64), 480, 173.0)
    (piece,) = composer.compose(1, length=80, prompt=given, prompt_bars=3, whistle=True)
    parts = [part.notes for part in piece.midi.instruments if part.name != "Whistle"]
    notes = [note for part in parts for note in part]
    begins = piece.midi.markers[-1].time
    found = piece.statistics
    assert (found["notes"], found["generated"], found["of_prompt"]) == (
        len(notes),
        sum(note.start >= begins for note in notes),
        sum(note.start < begins for note in notes),
    )
    ends = midi.seconds_of(midi.read(piece.midi), np.array([note.end for note in notes]))
    assert found["seconds"] == pytest.approx(ends.max(), abs=1e-6)
