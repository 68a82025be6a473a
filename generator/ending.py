"""Where a piece that breaks off may end: at a pause, as players breathe, and not amid a phrase."""

import numpy as np

from data_tools.representation import Representation
from generator.request import seconds_at

LATEST = 0.25  # the share of a piece's own notes among whose gaps the pause is looked for
PAUSE = 0.5  # seconds between two onsets that make one
_FEWEST = 16  # notes of its own, else it stays whole


def last_pause(representation: Representation, music: np.ndarray, given: int) -> int:
    """How many of some music ids (T,) go before the longest pause in their last quarter.

    Args:
        representation: whose ids these are.
        music: ids above EOS alone.
        given: how many of them, the first ones, are a prompt's: they stay.

    Returns:
        T where there is no pause of half a second, or there are too few notes.
    """
    struck = np.flatnonzero(representation.strikes[music])
    struck = struck[struck >= given]
    if len(struck) < _FEWEST:
        return len(music)
    gaps = np.diff(seconds_at(representation, music)[struck])
    first = int(len(gaps) * (1 - LATEST))
    longest = first + int(np.argmax(gaps[first:]))
    # What lets go of notes may stand in the pause, so all of it is kept.
    return int(struck[longest + 1]) if gaps[longest] >= PAUSE else len(music)
