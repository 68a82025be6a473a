"""Files written whole or not at all: to a temporary name, then renamed; folders by one alone."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data_tools.errors import UserError

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
ARCHIVES = (".zip", *TARS)
DAMAGED = "damaged archive"  # so begins the reason of one in which more may lie
IRREGULAR = "not a regular file (a pipe or a device); save what it holds to one"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # a disk, or one's share of it


def is_irregular(path: Path) -> bool:
    """Whether there is neither a file nor a folder: a pipe, which may have no end, or a device."""
    return not path.is_file() and not path.is_dir() and path.exists()


def closed(folder: Path) -> str:
    """Why a folder cannot be listed; nothing where it can."""
    try:
        with os.scandir(folder):
            return ""
    except OSError as error:
        return f"this folder cannot be listed ({error.strerror})"


_UTF_8 = 0x800  # the flag of a .zip member whose name is UTF-8


def name_in_zip(name: str, flags: int) -> str:
    """A .zip member's name: UTF-8 wherever its bytes are, though many packers set no flag for it.

    Args:
        name: as `zipfile` reads it: without the flag it takes every name for code page 437.
        flags: of the member.
    """
    if flags & _UTF_8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the disk within it names a file: `path`, where it names none of its own.

    What a write met, a full disk say, comes without a name; of libraries in other languages (the
    weights' and torch's) it is no `OSError` at all, but lies beneath another, or in its words.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = _of_disk(error)
        if found is None or found.filename is not None:
            raise
        raise OSError(found.errno, found.strerror, str(path)) from None


def _of_disk(error: Exception) -> OSError | None:
    if told := re.search(r"\(os error (\d+)\)", str(error)):  # as Rust puts it
        return OSError(int(told[1]), os.strerror(int(told[1])))
    beneath: BaseException | None = error
    while isinstance(beneath, RuntimeError):  # torch's own complaint that its file has a gap
        beneath = beneath.__context__
    # A reader of the screen that hangs up is no matter of files.
    if isinstance(beneath, OSError) and beneath.errno not in (None, errno.EPIPE):
        return beneath
    return None


def write_text(path: Path, text: str) -> None:
    """Writes text atomically, making the folder where it is missing; lone surrogates, as names of
    no encoding have them, are spelled out (`\\udce9`)."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes atomically, making the folder where it is missing; leaves no temporary file."""
    with whole(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its name if all goes well, and goes if not.

    It ends with the rights that a new file has: some libraries make theirs for the owner alone,
    and a group that shares a folder could not read the weights in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            temporary.touch()
            rights = temporary.stat().st_mode
            yield temporary
        if temporary.stat().st_mode != rights:
            with suppress(OSError):  # a file system without rights
                temporary.chmod(rights)
        temporary.replace(path)
    except OSError as error:
        if str(error.filename) == str(temporary):  # a name that nobody gave
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, indented for people."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """What JSON says that may have been damaged.

    Raises:
        ValueError: it is none, or nested deeper than anything is here.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Within it no other process may write this folder; the lock goes with its process.

    Raises:
        UserError: another one is at it, or nothing can be written there.
    """
    # Here and not above: every process that reads music imports this module, and few write.
    from filelock import FileLock, Timeout

    absolute = Path(os.path.abspath(folder))  # the folder one is in has no name of its own
    lock = absolute.parent / f".{absolute.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()  # the library takes a refusal for another process
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None
    try:
        with FileLock(lock, timeout=0):
            try:
                with naming(folder):
                    yield
            finally:
                with suppress(OSError):  # Windows keeps what is open
                    lock.unlink()
    except Timeout:
        raise UserError(
            f"{folder}: another process is writing it; wait for that one, or choose another --out"
        ) from None
