"""One file from the net, whole or not at all.

`pooch` decides whether the file is there already, verifies its checksum and moves it into place;
the downloader handed to it adds what pooch lacks: going on where a cut download stopped, by HTTP
Range, with If-Range so that halves of two versions never meet; patience with a bad line; a look at
the free space. What has come so far lies in `NAME.part`, never under the file's own name.
"""

import errno
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from data_tools.errors import UserError
from data_tools.files import parse_json, write_json

CHUNK = 2**14  # what a cut connection may lose: the chunk that was not whole
SPARE = 16 * 2**20  # bytes of the disk that are left alone

Progress = Callable[[str, int, int | None], None]


class DownloadError(UserError):
    """An address that cannot be used; another may do."""


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for a connection and for the next bytes, tries in a row without progress,
    and seconds before the second try, doubled each time after."""

    connect: float = 15.0
    read: float = 60.0
    tries: int = 5
    pause: float = 1.0


def download(
    url: str,
    path: Path,
    known: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Path:
    """Downloads a file, or does nothing where it lies there and its checksum agrees.

    Args:
        url: http or https.
        path: where to put it.
        known: "algorithm:value" to verify; None takes what comes.
        patience: with a slow or broken line.
        progress: called with (what, bytes done, bytes in all or None).

    Returns:
        `path`.

    Raises:
        DownloadError: not there, not the right file, or the line stays broken.
        UserError: no space.
    """
    # Here and not above: `requests`, which pooch brings, takes a quarter of a second to load.
    import pooch

    pooch.get_logger().setLevel("ERROR")
    fetcher = _Resuming(path, patience or Patience(), progress, known is not None)
    try:
        pooch.retrieve(url, known, path.name, path.parent, downloader=fetcher)
    except ValueError as error:
        found = re.search(r"expected (?:\w+:)?(\w+) but got (\S+?)\.?(\s|$)", str(error))
        both = f"expected {found[1]}, got {found[2]}" if found else str(error)
        raise DownloadError(
            f"{url}: checksum mismatch ({both}); the file was deleted; try again, "
            "or another address"
        ) from None
    return path


class _Resuming:
    """A downloader for pooch that keeps what it has in `NAME.part` until it has all."""

    def __init__(
        self, path: Path, patience: Patience, progress: Progress | None, verified: bool
    ) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.json")
        self.patience, self.progress, self.verified = patience, progress, verified

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        import requests

        failures, furthest = 0, -1
        with requests.Session() as session:
            while True:
                try:
                    self._go_on(session, url)
                    break
                except (requests.RequestException, _Cut) as error:
                    have = self.part.stat().st_size if self.part.exists() else 0
                    # A server without Range starts over each time: that is no progress.
                    failures = 0 if have > furthest else failures
                    furthest = max(furthest, have)
                    failures += 1
                    if failures >= self.patience.tries:
                        raise DownloadError(
                            f"{url}: {_reason(error)}, {failures} times; "
                            "the same command goes on where it stopped"
                        ) from None
                    time.sleep(self.patience.pause * 2 ** (failures - 1))
        shutil.move(self.part, output_file)
        self.note.unlink(missing_ok=True)

    def _go_on(self, session: Any, url: str) -> None:
        """Asks for the rest and appends it; returns when the file is whole."""
        have, validator = self._so_far(url)
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        limits = (self.patience.connect, self.patience.read)
        with session.get(url, headers=headers, stream=True, timeout=limits) as answer:
            if answer.status_code == 416:
                # Nothing is left to send, or the file has changed: a clean start tells.
                self.part.unlink(missing_ok=True)
                raise _Cut("the server cannot go on; starting over")
            _refuse(url, answer)
            start, total = _extent(answer)
            if answer.status_code == 206 and start != have:
                self.part.unlink(missing_ok=True)
                raise _Cut("the server sent another part than was asked for")
            have = start
            self._check_space(url, total, have)
            tag = answer.headers.get("ETag", "")
            strong = tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
            write_json(self.note, {"url": url, "validator": strong, "total": total})
            with self.part.open("ab" if have else "wb") as file:
                have = self._copy(answer, file, have, total)
        if total is not None and have != total:
            raise _Cut(f"the connection broke after {have:,} of {total:,} bytes")

    def _copy(self, answer: Any, file: IO[bytes], have: int, total: int | None) -> int:
        for chunk in answer.iter_content(CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise UserError(f"{self.part}: no space left on the disk") from None
                raise
            have += len(chunk)
            if self.progress:
                self.progress("downloading", have, total)
        return have

    def _so_far(self, url: str) -> tuple[int, str]:
        """Bytes that can be built upon and what they belong to; (0, "") for a clean start."""
        if not self.part.exists():
            return 0, ""
        try:
            note = parse_json(self.note.read_text(encoding="utf-8"))
            same, validator = note["url"] == url, str(note["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        # Without the server's word for the version, only a checksum can vouch for the whole.
        if not same or not (validator or self.verified):
            return 0, ""
        return self.part.stat().st_size, validator

    def _check_space(self, url: str, total: int | None, have: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - have + SPARE > free:
            raise UserError(
                f"{self.part.parent}: {free / 2**20:,.0f} MiB free, {url} needs "
                f"{(total - have + SPARE) / 2**20:,.0f}; choose another --out"
            )


class _Cut(Exception):
    """The line broke, or the server has to be asked anew."""


def _refuse(url: str, answer: Any) -> None:
    """Raises for an answer that is no file: at once where another try would bring the same."""
    code = answer.status_code
    if code == 429 or code >= 500:
        raise _Cut(f"the server answers {code} {answer.reason}")
    if code not in (200, 206):
        raise DownloadError(f"{url}: the server answers {code} {answer.reason}")
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith("text/html"):
        raise DownloadError(
            f"{url}: the server sent a web page, not the file; download it by hand and give it "
            "with --archive"
        )


def _extent(answer: Any) -> tuple[int, int | None]:
    """Where the bytes of this answer begin, and the size of the whole file where it is told."""
    if answer.status_code == 206:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not told:
            raise _Cut("the server sent a part without saying which")
        return int(told[1]), None if told[2] == "*" else int(told[2])
    length = answer.headers.get("Content-Length", "")
    # With an encoding the length is that of something else.
    plain = not answer.headers.get("Content-Encoding")
    return 0, int(length) if plain and length.isdigit() else None


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, _Cut):
        return text
    if "timed out" in text.lower():
        return "the server is silent"
    if "Name or service" in text or "resolve" in text.lower():
        return "no such host, or no network"
    if "refused" in text.lower():
        return "connection refused"
    return f"the connection broke ({type(error).__name__})"
