"""Rows as text that any file's name survives: CSV, a JSON a line, and cells that must be text.

A name is bytes to Linux. Those that are no UTF-8 are lone surrogates in a string (PEP 383): CSV
writes the bytes themselves, JSON has an escape for them, and elsewhere they are spelled out.
"""

import csv
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TextIO

_ODD = re.compile(r"[\ud800-\udfff]|\\(?=x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")
_SPELLED = re.compile(r"\\(?:x(5c|[89a-f][0-9a-f])|u(d[89a-f][0-9a-f]{2}))")
_BYTES = 0xDC00  # plus a byte over 127: the surrogate it becomes


def csv_writer(stream: TextIO) -> Callable[[Sequence[object]], None]:
    """A function that writes rows as CSV, any file's name among them.

    Args:
        stream: UTF-8 with the error handler surrogateescape, and no translation of line ends.
    """
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(row: Sequence[object]) -> None:
        # Left alone, Python leaves a lone carriage return bare and cannot read it back.
        bare = any("\r" in cell for cell in row if isinstance(cell, str))
        (quoted if bare else plain).writerow(row)

    return write


def json_line(row: dict[str, Any]) -> str:
    """A row as a line of JSON; where it holds what is no text, in ASCII."""
    text = json.dumps(row, ensure_ascii=False)
    return (text if _is_text(text) else json.dumps(row)) + "\n"


def spelled(name: str) -> str:
    r"""A name as text: bytes that are no UTF-8 become \xNN.

    A backslash that would look like one of these becomes \x5c, so `unspelled` takes it back.
    """

    def spell(match: re.Match[str]) -> str:
        code = ord(match[0])
        byte = code - _BYTES if _BYTES + 0x80 <= code <= _BYTES + 0xFF else code
        return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{code:04x}"

    return _ODD.sub(spell, name)


def unspelled(text: str) -> str:
    """The name that was `spelled` so."""

    def read(match: re.Match[str]) -> str:
        code = int(match[1] or match[2], 16)
        return chr(_BYTES + code if 0x80 <= code < 0x100 else code)

    return _SPELLED.sub(read, text)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
