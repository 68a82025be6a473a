"""Files written whole or not at all: to a temporary name, then renamed."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

MIDI_SUFFIXES = (".mid", ".midi", ".kar")


def write_text(path: Path, text: str) -> None:
    """Writes text atomically, making the folder where it is missing."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes atomically, making the folder where it is missing; leaves no temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, indented for people."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
