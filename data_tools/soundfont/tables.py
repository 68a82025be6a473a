"""The tables of an SF2 or SF3 file, and the zones that they spell out.

A zone says what is so for some keys and velocities: generators are settings, modulators what
velocity and key do to them. The first zone of a preset or an instrument may speak for all of them.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Modulator = tuple[int, int, int]  # source, generator, and the source that scales the amount

_MODULATOR = [
    ("source", "<u2"), ("what", "<u2"), ("amount", "<i2"), ("scale", "<u2"), ("form", "<u2"),
]  # fmt: skip
_TABLES = {
    b"phdr": [("name", "S20"), ("preset", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("", "V12")],
    b"pbag": [("generator", "<u2"), ("modulator", "<u2")],
    b"pgen": [("what", "<u2"), ("amount", "<i2")],
    b"pmod": _MODULATOR,
    b"inst": [("name", "S20"), ("bag", "<u2")],
    b"ibag": [("generator", "<u2"), ("modulator", "<u2")],
    b"igen": [("what", "<u2"), ("amount", "<i2")],
    b"imod": _MODULATOR,
    b"shdr": [
        ("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop_start", "<u4"),
        ("loop_end", "<u4"), ("rate", "<u4"), ("root", "u1"), ("cents", "i1"), ("link", "<u2"),
        ("type", "<u2"),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Zone:
    """Amounts by generator, and by modulator."""

    say: dict[int, int]
    bend: dict[Modulator, int]


def chunks(data: mmap.mmap) -> tuple[memoryview, dict[bytes, np.ndarray]]:
    """The samples' bytes, and the tables by name."""
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise ValueError("it does not begin like one")
    view = memoryview(data)
    waves, tables = memoryview(b""), {}
    for kind, outer in _parts(view, 12, len(view)):
        if kind != b"LIST":
            continue
        for name, part in _parts(outer, 4, len(outer)):
            if name == b"smpl":
                waves = part
            elif name in _TABLES:
                row = np.dtype(_TABLES[name])
                tables[name] = np.frombuffer(part, row, len(part) // row.itemsize)
    missing = [name.decode() for name in _TABLES if name not in tables or not len(tables[name])]
    if missing or not len(waves):
        raise ValueError(f"no {' '.join(missing) or 'samples'}")
    return waves, tables


def _parts(view: memoryview, place: int, end: int) -> Iterator[tuple[bytes, memoryview]]:
    """The chunks of a stretch of the file: name and content."""
    while place + 8 <= end:
        name, size = bytes(view[place : place + 4]), struct.unpack_from("<I", view, place + 4)[0]
        if place + 8 + size > end:
            raise ValueError("it breaks off")
        yield name, view[place + 8 : place + 8 + size]
        place += 8 + size
        # An odd chunk is followed by a byte of nothing, which MuseScore's tools leave out.
        if size % 2 and bytes(view[place : place + 4]) not in (b"LIST", *_TABLES):
            place += 1


def zones(
    heads: np.ndarray, bags: np.ndarray, generators: np.ndarray, modulators: np.ndarray, last: int
) -> list[list[Zone]]:
    """For each head its zones, what the global one says merged in.

    Args:
        heads: presets or instruments, the closing one included.
        bags, generators, modulators: their tables.
        last: the generator that makes a zone, without which it is global.

    Raises:
        IndexError: a table points outside another.
    """
    ends = heads["bag"].tolist()
    says, bends = bags["generator"].tolist(), bags["modulator"].tolist()
    what, amount = generators["what"].tolist(), generators["amount"].tolist()
    result = []
    for first, stop in pairwise(ends):
        common = Zone({}, {})
        found = []
        for bag in range(first, stop):
            here = range(says[bag], says[bag + 1])
            zone = Zone(
                {what[place]: amount[place] for place in here},
                _bends(modulators[bends[bag] : bends[bag + 1]]),
            )
            if last in zone.say:
                number = {last: zone.say[last] & 0xFFFF}
                found.append(Zone(common.say | zone.say | number, common.bend | zone.bend))
            elif bag == first:
                common = zone
        result.append(found)
    return result


def _bends(rows: np.ndarray) -> dict[Modulator, int]:
    columns = (rows[name].tolist() for name in ("source", "what", "scale", "amount"))
    return {(a, b, c): amount for a, b, c, amount in zip(*columns, strict=True)}
