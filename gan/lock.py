"""One training process a run's folder: a job submitted twice, or requeued while its old node still
lives, would take the same steps twice and delete what the other is writing.

The lock is the system's (`lockf`) and goes with its process however that ends, so a requeued job
and ranks started again have it at once; a file that was left, or copied along, locks nothing. A
`flock` would live on in the loader's processes for a while. A file system that knows no locks, as
Lustre mounted without `flock`, gives none, and training goes on without.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from data_tools.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRIES = 100


@contextmanager
def training(folder: Path, looks: bool = False) -> Iterator[None]:
    """Within it no other process trains here.

    What it made of the folder, and of those above it, goes at the end if nothing was put there.
    `data_tools.files.sole_writer` locks with `flock`, beside the folder: for work without loaders.

    Args:
        folder: a run's; made where it is missing.
        looks: only to see whether it could be held; several may look at once.

    Raises:
        UserError: another process is at it, or nothing can be written there.
    """
    lock = folder / ".lock"
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        stream = _taken(lock, looks)
        if stream is None:
            raise UserError(
                f"{folder}: a run is going on here{_holder(lock)}; wait until it ends or choose "
                f"another --out (if that process is gone for certain, delete {lock})"
            )
        with stream:
            try:
                if not looks:
                    with suppress(OSError):  # a full disk is for the run to tell
                        stream.truncate(0)
                        stream.write(f"host {socket.gethostname()}, process {os.getpid()}".encode())
                yield
            finally:
                with suppress(OSError):
                    if looks and fcntl:  # others may look as well: then it is theirs to delete
                        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    lock.unlink()
    finally:
        for each in missing:
            with suppress(OSError):  # not empty
                each.rmdir()


def _taken(lock: Path, shared: bool) -> IO[bytes] | None:
    """The open and locked file, None where another process holds it."""
    tries = 0
    while True:
        tries += 1
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = lock.open("a+b", buffering=0)
        except OSError as error:
            # Who held it may have taken its empty folder away just now, but not time after time.
            if isinstance(error, FileNotFoundError) and tries < TRIES:
                continue
            raise UserError(
                f"{lock.parent}: cannot be written ({error.strerror}); choose another --out"
            ) from None
        try:
            if fcntl:
                fcntl.lockf(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            stream.close()
            return None
        except OSError:  # no locks here
            return stream
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # who held it deleted it just now


def _holder(lock: Path) -> str:
    with suppress(OSError):
        if told := lock.read_text(errors="replace"):
            return f" ({told})"
    return ""
