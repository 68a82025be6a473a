"""Samples to be seen and heard in TensorBoard: a piano roll, and the first seconds as sound.

Sound needs a soundfont, which the audio extra brings; without one the rest goes on. TensorBoard
keeps every clip of a run uncompressed, so a clip is six seconds at a rate that holds a piano: two
of them are 0.29 MB, and less than 0.02% of a piano's energy lies above 6 kHz.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data_tools.errors import UserError
from data_tools.midi import Music
from data_tools.render import Renderer
from data_tools.roll import roll_of
from data_tools.roll_drawing import draw

RATE = 12_000  # samples a second
SECONDS, FADE = 6.0, 0.5


class Clips:
    """Renders short clips, all with one soundfont."""

    def __init__(self) -> None:
        self._renderer: Renderer | None = None
        self._mute = False

    def clip(self, music: Music, say: Callable[[str], None]) -> np.ndarray | None:
        """The first seconds, (n,) float32 within ±1, of one channel; None without a soundfont.

        Args:
            music: a piece.
            say: is told once why there is no sound.

        Raises:
            MidiError: without notes.
        """
        if self._mute:
            return None
        if self._renderer is None:
            try:
                self._renderer = Renderer(rate=RATE)
            except UserError as error:
                self._mute = True
                say(f"no sound in TensorBoard: {error}")
                return None
        sound = self._renderer.render(music).mean(1)
        if len(sound) > SECONDS * RATE:
            sound = sound[: round(SECONDS * RATE)]
            fade = round(FADE * RATE)
            sound[-fade:] *= np.linspace(1, 0, fade, dtype=sound.dtype)
        return sound


def picture(music: Music, title: str) -> tuple[bytes, tuple[int, int]]:
    """A piano roll as PNG, and its width and height.

    Raises:
        MidiError: no notes but drums.
    """
    canvas = draw(replace(roll_of(music), name=title))
    return canvas.png(scale=1), (canvas.width, canvas.height)
