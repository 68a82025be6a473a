"""What a classifier says of music at the edge: a reason and "unsure" where there is too little."""

import miditoolkit
import numpy as np
import pytest
import symusic
import torch

from data_tools.representation import Representation
from discriminator import Classifier, build
from discriminator.notes import TokenTable
from discriminator.settings import ClassifierSettings, CNNSettings

SETTINGS = ClassifierSettings(
    model=CNNSettings(width=16, blocks=2), window=256, minimum=48, low=0.3, high=0.7
)
SCALE = [60, 62, 64, 65, 67, 69, 71, 72]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return classifier_of(SETTINGS)


def classifier_of(settings: ClassifierSettings) -> Classifier:
    """Untrained, and sure of whatever it is asked: only a rule can make it unsure."""
    representation = Representation()
    torch.manual_seed(0)
    model = build(settings.model, TokenTable.of(representation))
    bold = settings.model_copy(update={"bias": 50.0})
    return Classifier(model, representation, bold)


def piece(pitches: list[int], seconds: float = 0.25, drums: bool = False) -> symusic.Score:
    """One note after the other, at 120 bpm."""
    score = symusic.Score(480)
    track = symusic.Track("", 0, drums)
    step = round(960 * seconds)
    for index, pitch in enumerate(pitches):
        track.notes.append(symusic.Note(step * index, step - 20, pitch, 70))
    score.tracks.append(track)
    return score


def refused(verdict, says: str) -> None:
    assert (verdict.p_jazz, verdict.verdict, verdict.windows) == (None, "unsure", 0)
    assert says in verdict.error


def sure(verdict) -> None:
    assert not verdict.error
    assert verdict.verdict == "jazz"
    assert verdict.p_jazz > 0.99


def test_ten_notes_are_too_few(classifier):
    refused(classifier.score(piece([*SCALE, 64, 60])), "too short: ")
    sure(classifier.score(piece(SCALE * 3)))


@pytest.mark.parametrize(
    "music",
    [symusic.Score(480), piece([]), miditoolkit.MidiFile(), piece([10, 12, 110] * 30)],
    ids=["no track", "an empty track", "an empty miditoolkit file", "off the keys"],
)
def test_silence_has_no_verdict(classifier, music):
    refused(classifier.score(music), "no notes")


def test_drums_alone_are_no_piano(classifier):
    refused(classifier.score(piece([36, 38, 42, 38] * 50, drums=True)), "only drums")


def test_drums_beside_a_piano_change_nothing(classifier):
    both = piece(SCALE * 20)
    both.tracks.append(piece([36, 38] * 80, drums=True).tracks[0])
    assert classifier.score(both).p_jazz == classifier.score(piece(SCALE * 20)).p_jazz


def test_other_instruments_alone_are_no_piano(classifier):
    music = piece(SCALE * 20)
    music.tracks[0].program = 56
    refused(classifier.score(music), "no piano track, only track (program 56)")


def test_three_hours_are_read_from_end_to_end():
    """Every window without a bound, `most` with one; the last one reaches the end."""
    pitches = np.random.default_rng(0).integers(40, 80, 3 * 3600).tolist()
    music = piece(pitches, seconds=1.0)
    whole = classifier_of(SETTINGS).score(music)
    sure(whole)
    assert whole.windows > 100
    some = classifier_of(SETTINGS.model_copy(update={"most": 16}))
    assert some.score(music).windows == 16
    ids = some.representation.encode(some.representation.prepare(music).score)
    assert np.array_equal(some.windows(ids)[0], ids[:256])
    assert np.array_equal(some.windows(ids)[-1], ids[-256:])


def test_a_pause_of_hours_is_damage(classifier):
    music = piece(SCALE * 10)
    music.tracks[0].notes.append(symusic.Note(3 * 3600 * 960, 480, 60, 70))
    refused(classifier.score(music), "a gap of over 5 minutes")


def test_a_single_line_is_judged(classifier):
    """Solos and folk tunes are music; how sure to be of them is for the calibration to say."""
    sure(classifier.score(piece(SCALE * 10)))


@pytest.mark.parametrize("pitches", [[60], [60, 67], [60, 72, 60, 48]])
def test_one_note_repeated_is_no_music(classifier, pitches):
    """Metronomes, test tones and drum tracks on a piano's channel: nothing there to judge."""
    refused(classifier.score(piece(pitches * 100)), "different pitches")


def test_one_chord_repeated_is_judged_like_any_music(classifier):
    music = piece([60] * 100)
    for pitch in (64, 67, 70):
        for note in piece([pitch] * 100).tracks[0].notes:
            music.tracks[0].notes.append(note)
    sure(classifier.score(music))


@pytest.mark.parametrize(("odds", "verdict"), [(-3.0, "not_jazz"), (0.0, "unsure"), (3.0, "jazz")])
def test_the_band_decides_the_verdict(odds, verdict):
    """Logits of an untrained model are scaled away, so that the bias alone speaks."""
    made = classifier_of(SETTINGS)
    made.settings = SETTINGS.model_copy(update={"scale": 1e-9, "bias": odds})
    found = made.score(piece(SCALE * 10))
    assert (found.verdict, found.error) == (verdict, "")
    assert found.p_jazz == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-4)
