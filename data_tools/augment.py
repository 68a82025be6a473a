"""Augmentation of token ids: transposition, tempo, timing and loudness, by table look-up.

Every change maps one token to one token, so it is a gather from a (V,) table: nothing is decoded,
windows keep their length, and the loader pays microseconds. All randomness comes from the caller's
generator, so an augmented window is a function of whatever seeded it. Drums are not transposed:
there a pitch is an instrument.
"""

import numpy as np

from data_tools.midi import HIGHEST_PITCH, LOWEST_PITCH
from data_tools.parts import DRUMS
from data_tools.representation import Representation, TokenType
from data_tools.settings import AugmentSettings

_PITCHED = (TokenType.PITCH, TokenType.NOTE_ON, TokenType.NOTE_OFF)
_TIMED = (TokenType.TIME_SHIFT, TokenType.DURATION)


class Augmenter:
    """Changes windows of ids of one representation.

    Args:
        representation: whose ids these are.
        settings: how far to go.
    """

    def __init__(self, representation: Representation, settings: AugmentSettings) -> None:
        self.settings = settings
        self._types = representation.token_types
        self._values = representation.token_values
        self._pitched = np.isin(self._types, _PITCHED)
        self._several = representation.settings.preset == "raw"
        self._beat = representation.settings.time_base == "beat"
        self._identity = np.arange(representation.vocab_size)
        steps = range(-settings.transpose, settings.transpose + 1)
        self._transposed = {step: self._shifted(_PITCHED, step) for step in steps}
        levels = range(-settings.loudness, settings.loudness + 1)
        self._louder = {level: self._shifted((TokenType.VELOCITY,), level) for level in levels}
        self._later = self._shifted((TokenType.TIME_SHIFT,), 1)
        self._sooner = self._shifted((TokenType.TIME_SHIFT,), -1)

    def __call__(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A changed copy of ids (T,), of the same length and kind."""
        settings = self.settings
        tuned = self._pitched[ids] & ~self._drums(ids)
        step = self._step(self._values[ids[tuned]], generator)
        ids = np.where(tuned, self._transposed[step][ids], ids)
        ids = self._louder[int(generator.integers(-settings.loudness, settings.loudness + 1))][ids]
        if settings.stretch:
            factor = np.exp(generator.uniform(-1, 1) * np.log1p(settings.stretch))
            ids = self.stretched(factor)[ids]
        if settings.jitter:
            draw = generator.random(len(ids))
            ids = np.where(draw < settings.jitter / 2, self._later[ids], ids)
            ids = np.where(draw > 1 - settings.jitter / 2, self._sooner[ids], ids)
        return ids

    def stretched(self, factor: float) -> np.ndarray:
        """The table (V,) that makes music `factor` times as long, to the nearest there is.

        On the clock it multiplies time shifts and durations; on the beat tempos change and the
        beats stay. `remi` on the clock has no such table: its places in a bar cannot be moved one
        by one, and longer notes at the same places would be other music.
        """
        table = self._identity.copy()
        for kind, by in self._paces(factor).items():
            members = np.flatnonzero(self._types == kind)
            if len(members):
                values = self._values[members]
                wanted = np.maximum(values * by, 1)
                table[members] = members[np.abs(values[None] - wanted[:, None]).argmin(1)]
        return table

    def _paces(self, factor: float) -> dict[TokenType, float]:
        """What the values of which tokens are multiplied by in music `factor` times as long."""
        if self._beat:
            return {TokenType.TEMPO: 1 / factor}
        if not (self._types == TokenType.TIME_SHIFT).any():
            return {}
        return dict.fromkeys(_TIMED, factor)

    def _drums(self, ids: np.ndarray) -> np.ndarray:
        """(T,) bool: on the drums' channel; until a window names one, nothing is."""
        if not self._several:
            return np.zeros(len(ids), dtype=bool)
        named = np.where(self._types[ids] == TokenType.CHANNEL, np.arange(len(ids)), -1)
        last = np.maximum.accumulate(named)
        return (last >= 0) & (self._values[ids[last]] == DRUMS)

    def _step(self, pitches: np.ndarray, generator: np.random.Generator) -> int:
        """A transposition that keeps every note on the keyboard."""
        most = self.settings.transpose
        step = int(generator.integers(-most, most + 1))
        if not len(pitches):
            return 0
        lowest, highest = LOWEST_PITCH - int(pitches.min()), HIGHEST_PITCH - int(pitches.max())
        # Generated music may lie beyond the keyboard, farther than `most` could bring it back.
        return max(min(max(step, lowest), highest, most), -most)

    def _shifted(self, kinds: tuple[TokenType, ...], by: int) -> np.ndarray:
        """The table that moves tokens of some types along their own scale, stopping at its ends."""
        table = self._identity.copy()
        for kind in kinds:
            members = np.flatnonzero(self._types == kind)
            if len(members):
                places = np.arange(len(members)) + by
                table[members] = members[places.clip(0, len(members) - 1)]
        return table
