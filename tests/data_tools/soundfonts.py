"""A soundfont made on the spot: a sine and a noise, small enough to know what must come out."""

import struct
from pathlib import Path

import numpy as np

RATE = 22_050
_PIANO, _DRUM = b"Sine", b"Noise"


def write_soundfont(path: Path, **changes: int) -> Path:
    """Writes an SF2 of two instruments: program 0, a looped sine at middle C; a drum without loop.

    Args:
        path: where.
        changes: generators of program 0 by their number, as `g48=200`.
    """
    period = 84  # samples; so near to middle C that the correction below does the rest
    sine = np.sin(2 * np.pi * np.arange(period * 40) / period)
    noise = np.random.default_rng(0).uniform(-1, 1, 4000) * np.linspace(1, 0, 4000)
    waves = np.concatenate([sine, np.zeros(46), noise, np.zeros(46)])
    cents = round(1200 * np.log2(261.6256 / (RATE / period)))
    begin = len(sine) + 46
    samples = _sample(_PIANO, 0, len(sine), period * 10, period * 30, cents) + _sample(
        _DRUM, begin, begin + 4000, begin, begin, 0
    )
    piano = {34: -12000, 38: -2400, 54: 1} | {int(k[1:]): v for k, v in changes.items()}
    instruments = [{**piano, 53: 0}, {54: 0, 53: 1}]
    presets = [{41: 0}, {41: 1}]
    pdta = b"".join(
        [
            _chunk(b"phdr", _preset(b"Piano", 0, 0, 0) + _preset(b"Drums", 0, 128, 1)
                   + _preset(b"EOP", 0, 0, 2)),
            _chunk(b"pbag", _bags(presets)),
            _chunk(b"pmod", bytes(10)),
            _chunk(b"pgen", _generators(presets)),
            _chunk(b"inst", b"".join(struct.pack("<20sH", name, place) for place, name in
                                     enumerate((_PIANO, _DRUM, b"EOI")))),
            _chunk(b"ibag", _bags(instruments)),
            _chunk(b"imod", bytes(10)),
            _chunk(b"igen", _generators(instruments)),
            _chunk(b"shdr", samples + _sample(b"EOS", 0, 0, 0, 0, 0)),
        ]
    )  # fmt: skip
    sdta = _chunk(b"smpl", np.round(waves * 32000).astype("<i2").tobytes())
    lists = [b"INFO" + _chunk(b"ifil", struct.pack("<HH", 2, 4)), b"sdta" + sdta, b"pdta" + pdta]
    path.write_bytes(_chunk(b"RIFF", b"sfbk" + b"".join(_chunk(b"LIST", one) for one in lists)))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _preset(name: bytes, number: int, bank: int, bag: int) -> bytes:
    return struct.pack("<20sHHHIII", name, number, bank, bag, 0, 0, 0)


def _sample(name: bytes, start: int, end: int, loop: int, loop_end: int, cents: int) -> bytes:
    return struct.pack("<20sIIIIIBbHH", name, start, end, loop, loop_end, RATE, 60, cents, 0, 1)


def _bags(zones: list[dict[int, int]]) -> bytes:
    places = np.cumsum([0, *map(len, zones)]).tolist()
    return b"".join(struct.pack("<HH", place, 0) for place in places)


def _generators(zones: list[dict[int, int]]) -> bytes:
    rows = [struct.pack("<Hh", what, amount) for zone in zones for what, amount in zone.items()]
    return b"".join(rows) + bytes(4)
