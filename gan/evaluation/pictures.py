"""A piano roll as pixels, for TensorBoard."""

import miditoolkit
import numpy as np

from data_tools.midi import HIGHEST_PITCH, LOWEST_PITCH

_PAPER, _STRIPE, _BAR = (250, 250, 247), (238, 238, 233), (205, 205, 200)
_SOFT, _LOUD = np.array([150, 180, 225]), np.array([20, 50, 120])
ROW = 3  # pixels a semitone


def piano_roll(music: miditoolkit.MidiFile, width: int = 900) -> np.ndarray:
    """Draws the whole piece: time to the right, pitch upwards, louder notes darker.

    Black keys are striped, every C has a line, and each four beats of the file's own grid a bar.

    Returns:
        uint8 (H, width, 3).
    """
    rows = HIGHEST_PITCH - LOWEST_PITCH + 1
    picture = np.empty((rows, width, 3), dtype=np.uint8)
    picture[:] = _PAPER
    pitches = np.arange(HIGHEST_PITCH, LOWEST_PITCH - 1, -1)
    picture[np.isin(pitches % 12, (1, 3, 6, 8, 10))] = _STRIPE
    notes = [note for instrument in music.instruments for note in instrument.notes]
    end = max((note.end for note in notes), default=1)
    bar = 4 * music.ticks_per_beat
    if end / bar < width / 8:
        picture[:, (np.arange(0, end, bar) * width // (end + 1)).astype(int)] = _BAR
    picture[pitches % 12 == 0] = _BAR
    for note in notes:
        left = int(note.start * width / (end + 1))
        right = max(left + 1, int(note.end * width / (end + 1)))
        ink = _SOFT + (_LOUD - _SOFT) * (note.velocity / 127)
        picture[HIGHEST_PITCH - note.pitch, left:right] = ink.astype(np.uint8)
    return picture.repeat(ROW, axis=0)
