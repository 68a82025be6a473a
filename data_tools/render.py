"""Music as sound: every note is a soundfont's, scaled by its velocity and held by the pedal.

All instruments of a file sound, drums as well. A piece is rendered in blocks of minutes, so that
its length does not show in memory; a long one is rendered twice, first for its loudest moment.
"""

import errno
import os
import wave
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick, TrackTick

from data_tools import midi
from data_tools.errors import MidiError, UserError
from data_tools.files import whole
from data_tools.midi import Music, Notes
from data_tools.soundfont import places
from data_tools.soundfont.reader import DRUM_BANK, Soundfont
from data_tools.soundfont.voices import LONGEST, SILENCE, Voice, Voices

FORMATS = ("wav", "ogg", "mp3")
RATES = (8000, 96_000)
MP3_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
LONGEST_PIECE = 6 * 3600.0  # seconds: a .wav ends at 4 GiB
BLOCK = 300.0  # seconds rendered at once, about 120 MB; most pieces are shorter
PEAK = 0.89  # -1 dB: encoders overshoot a little
MOST_GAIN = 8.0  # a piece that is soft throughout stays soft
_INAUDIBLE = 1e-3  # of the peak; what is below it at the end is cut off
_AFTER = 0.05  # seconds left after that
_STRETCH = 2**20  # frames handed on at once
_PIECE = 2**14  # frames an encoder is given: libsndfile's Vorbis keeps more on its stack


@dataclass(frozen=True)
class _Strokes:
    """All notes of a piece by onset: seconds, and the instrument that plays each."""

    notes: Notes
    bank: np.ndarray
    program: np.ndarray


class Renderer:
    """Renders music with one soundfont; keeps the notes it made for the next piece.

    Args:
        soundfont: an SF2 or SF3 file; the best on this machine by default.
        rate: samples a second.

    Attributes:
        silent: how many notes of the last piece the soundfont has no sound for, and of how many.

    Raises:
        UserError: no soundfont, or a damaged one.
    """

    def __init__(self, soundfont: str | Path | None = None, rate: int = 44_100) -> None:
        if not RATES[0] <= rate <= RATES[1]:
            raise UserError(f"{rate} samples a second; give {RATES[0]} to {RATES[1]}")
        self.rate = rate
        self.soundfont = Path(soundfont) if soundfont else places.find()
        self._voices = Voices(Soundfont(self.soundfont), rate)
        self.silent = 0, 0

    def render(self, music: Music) -> np.ndarray:
        """The whole piece as (samples, 2) float32 within ±1, for pieces that fit into memory.

        Raises:
            MidiError: unreadable, without notes, or longer than `LONGEST_PIECE`.
            UserError: the soundfont has damaged samples.
        """
        return np.concatenate(list(self._levelled(music)))

    def write(self, music: Music, path: str | Path) -> float:
        """Writes a .wav (16 bits), .ogg or .mp3 whole or not at all, and returns its seconds.

        Raises:
            MidiError: as `render`.
            UserError: another suffix, a rate that is not MP3's, or no soundfile for .ogg and .mp3.
        """
        path = Path(path)
        form = path.suffix.lower().removeprefix(".")
        check_format(path, form, self.rate)
        frames = 0
        with whole(path) as temporary, _Encoder(temporary, form, self.rate) as encoder:
            for block in self._levelled(music):
                encoder.write(block)
                frames += len(block)
        return frames / self.rate

    def _levelled(self, music: Music) -> Iterator[np.ndarray]:
        """Stretches (n, 2) at their final level, without the silence at the end."""
        name = midi.name_of(music)
        strokes = strokes_of(midi.read(music), name)
        self.silent = self._silent(strokes), len(strokes.notes)
        kept = list(self._blocks(strokes)) if strokes.notes.start[-1] < BLOCK else None
        peak, last, place = 0.0, 0, 0
        for block in kept or self._blocks(strokes):
            for first in range(0, block.shape[1], _STRETCH):
                loudness = np.abs(block[:, first : first + _STRETCH]).max(axis=0)
                peak = max(peak, float(loudness.max()))
                heard = np.flatnonzero(loudness > _INAUDIBLE * peak)
                last = place + first + int(heard[-1]) + 1 if len(heard) else last
            place += block.shape[1]
        if not peak:
            raise MidiError(name, f"{self.soundfont.name} has no sound for any of its notes")
        gain = np.float32(min(PEAK / peak, MOST_GAIN))
        last += round(_AFTER * self.rate)
        for block in kept or self._blocks(strokes):
            for first in range(0, min(last, block.shape[1]), _STRETCH):
                part = block[:, first : min(last, first + _STRETCH)]
                yield np.ascontiguousarray((part * gain).T)
            last -= block.shape[1]

    def _silent(self, strokes: _Strokes) -> int:
        notes = strokes.notes
        columns = (strokes.bank, strokes.program, notes.pitch, notes.velocity)
        kinds, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
        silent = [self._voices.silent(*kind) for kind in kinds.tolist()]
        return int(counts[silent].sum())

    def _blocks(self, strokes: _Strokes) -> Iterator[np.ndarray]:
        """The piece as blocks (2, n) of `BLOCK` seconds, as loud as they come.

        A block is a window on memory that the next one uses again.
        """
        notes = strokes.notes
        onset = np.round(notes.start * self.rate).astype(np.int64)
        held = np.minimum(notes.end - notes.start, LONGEST)
        size = round(min(BLOCK, notes.start[-1] + 1.0) * self.rate)
        hold = np.round(held * self.rate).astype(np.int64)
        longest = np.zeros(128)
        np.maximum.at(longest, notes.pitch, held)
        # Notes of one key after each other: their voice is made once.
        order = np.lexsort(
            (notes.velocity, notes.pitch, strokes.program, strokes.bank, onset // size)
        )
        columns = (strokes.bank, strokes.program, notes.pitch, notes.velocity, onset, hold)
        table = np.stack([column[order] for column in columns], axis=1)
        ends = np.searchsorted(onset[order] // size, np.arange(int(onset[-1]) // size + 1), "right")
        tail = round((float(held.max()) + 1.0) * self.rate) + 1
        sound = np.zeros((2, size + tail), dtype=np.float32)
        first = 0
        for number, stop in enumerate(ends.tolist()):
            for bank, program, pitch, velocity, start, long in table[first:stop].tolist():
                voices = self._voices.of(bank, program, pitch, velocity, longest[pitch])
                for voice in voices:
                    _add(sound, start - number * size, long, voice)
            if len(ends) == 1:  # its one block stays as it is
                yield sound
                return
            yield sound[:, :size]
            # The tail may be longer than a block.
            sound[:, :tail] = sound[:, size:]
            sound[:, tail:] = 0
            first = stop
        yield sound[:, :tail]


def strokes_of(score: ScoreTick, name: str) -> _Strokes:
    """All notes of a score, in seconds, with the pedal worked in.

    Tracks of one program share a pedal: two hands in two tracks are one piano.

    Raises:
        MidiError: no notes, or a piece that is too long.
    """
    players: dict[tuple[int, int], list[TrackTick]] = {}
    for track in score.tracks:
        if track.notes:
            key = (DRUM_BANK if track.is_drum else 0, track.program)
            players.setdefault(key, []).append(track)
    parts: list[tuple[Notes, np.ndarray, np.ndarray]] = []
    for (bank, program), tracks in players.items():
        notes = _joined([midi.notes_of(track) for track in tracks])
        # Drums are written as short as may be.
        notes = replace(notes, end=np.maximum(notes.end, notes.start + 1))
        if bank != DRUM_BANK:
            down, length = midi.pedal_union([p for track in tracks for p in track.pedals])
            notes = midi.fold_pedal(notes, down, down + length)
        notes = midi.clean(notes, pitches=midi.ALL_PITCHES)
        size = len(notes)
        parts.append((notes, np.full(size, bank), np.full(size, program)))
    if not sum(len(part[0]) for part in parts):
        raise MidiError(name, "no notes")
    notes = _joined([part[0] for part in parts])
    start, end = (midi.seconds_of(score, ticks) for ticks in (notes.start, notes.end))
    if end.max() > LONGEST_PIECE:
        raise MidiError(name, f"longer than {LONGEST_PIECE / 3600:g} hours")
    order = np.argsort(start, kind="stable")
    return _Strokes(
        replace(notes, start=start, end=end).take(order),
        np.concatenate([part[1] for part in parts])[order],
        np.concatenate([part[2] for part in parts])[order],
    )


def check_format(path: Path, form: str, rate: int) -> None:
    """Says before the work what would fail after it.

    Raises:
        UserError: an unknown format, a rate that MP3 does not have, or soundfile is missing.
    """
    if form not in FORMATS:
        raise UserError(f"{path}: sound is written as {', '.join(FORMATS)}")
    if form == "mp3" and rate not in MP3_RATES:
        raise UserError(f"MP3 has no rate of {rate}; give one of {', '.join(map(str, MP3_RATES))}")
    if form != "wav":
        try:
            import soundfile  # noqa: F401
        except (ImportError, OSError):  # the latter where the package lacks its library
            raise UserError(
                f"{form} needs soundfile; pip install 'jazz-gan[audio]', or give --format wav"
            ) from None


def _joined(parts: list[Notes]) -> Notes:
    columns = zip(*((n.start, n.end, n.pitch, n.velocity) for n in parts), strict=True)
    return Notes(*(np.concatenate(column) for column in columns))


def _add(sound: np.ndarray, start: int, hold: int, voice: Voice) -> None:
    """Adds a note to (2, n): as long as its key is held, then fading."""
    wave = voice.wave[: hold + len(voice.fade)]
    faded = len(wave) - hold
    left, right = np.float32(voice.left), np.float32(voice.right)
    # Most samples stand in the middle and are scaled once.
    gains = [(slice(2), left)] if left == right else [(slice(1), left), (slice(1, 2), right)]
    for channels, gain in gains:
        if gain < SILENCE:
            continue
        part = wave * gain
        if faded > 0:
            part[hold:] *= voice.fade[:faded]
        sound[channels, start : start + len(part)] += part


class _Encoder:
    """A file of sound that blocks (n, 2) are appended to."""

    def __init__(self, path: Path, form: str, rate: int) -> None:
        self._open = ExitStack()
        self._wave: wave.Wave_write | None = None
        self._file: Any = None
        if form == "wav":
            self._wave = wave.open(str(path), "wb")  # noqa: SIM115 - closed with the encoder
            self._open.enter_context(self._wave)
            self._wave.setnchannels(2)
            self._wave.setsampwidth(2)
            self._wave.setframerate(rate)
            return
        import soundfile

        kind = {"ogg": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III")}[form]
        # As the bytes it is on the disk: soundfile refuses text that is no UTF-8, an old archive's.
        name = path if os.name == "nt" else os.fsencode(path)
        file = soundfile.SoundFile(name, "w", rate, 2, format=kind[0], subtype=kind[1])
        self._file = self._open.enter_context(file)

    def __enter__(self) -> "_Encoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def write(self, block: np.ndarray) -> None:
        """Appends float32 within ±1."""
        if self._wave:
            self._wave.writeframesraw(np.round(block * 32767).astype("<i2").tobytes())
            return
        import soundfile

        try:
            for first in range(0, len(block), _PIECE):
                self._file.write(block[first : first + _PIECE])
        except soundfile.LibsndfileError as error:  # which hides the system's reason
            raise OSError(errno.EIO, f"cannot be written ({error}); is the disk full?") from None
