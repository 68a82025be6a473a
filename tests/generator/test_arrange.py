"""A whistle is heard, and stands between what was given and what was written."""

import numpy as np
import pytest

from data_tools import midi
from data_tools.midi import Notes
from data_tools.render import Renderer
from data_tools.soundfont import places
from generator.arrange import WHISTLE, WHISTLE_PITCH, WHISTLE_VELOCITY


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
