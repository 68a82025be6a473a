"""A public dataset on disk: downloaded, verified, unpacked, with a manifest and its licence.

    OUT/manifest.csv      one row a piece: path, label, source, artist, title, licence, work_group
    OUT/midi/             the music
    OUT/ABOUT.txt         licence, citation, what was checked
    OUT/fetch.lock.json   checksum, size and address of what was downloaded
    OUT/download/         the archives, while they are needed or with keep_archive

A dataset whose publisher gives no checksum is pinned by the first download: the next one, here or
with the same pins file elsewhere, must bring the same bytes.
"""

import csv
import io
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools.datasets.catalog import Dataset, Download
from data_tools.datasets.download import DownloadError, Patience, Progress, download
from data_tools.datasets.unpack import ArchiveError
from data_tools.errors import UserError
from data_tools.files import parse_json, sole_writer, write_json, write_text
from data_tools.sources import MANIFEST

ABOUT, LOCK, MUSIC, ARCHIVES = "ABOUT.txt", "fetch.lock.json", "midi", "download"
COLUMNS = ("path", "label", "source", "artist", "title", "licence", "work_group")


@dataclass(frozen=True)
class Fetched:
    """What lies in the folder now.

    Attributes:
        labels: pieces by label.
        unlisted: pieces that the archive's own table does not name.
        problems: files left out, and why.
        already: nothing had to be done.
    """

    labels: Counter[str]
    unlisted: int = 0
    problems: list[str] = field(default_factory=list)
    already: bool = False


def addresses(item: Download, base_url: str = "") -> list[str]:
    """Where a file is asked for, in order; a mirror's address is `base_url`/NAME.

    Raises:
        UserError: `base_url` is no http address.
    """
    if not base_url:
        return list(item.urls)
    if not re.match(r"^https?://[^\s/]+", base_url):
        raise UserError(f"{base_url}: --base-url takes an http or https address")
    return [f"{base_url.rstrip('/')}/{item.name}"]


def fetch(
    dataset: Dataset,
    out: Path,
    *,
    base_url: str = "",
    archive: Path | None = None,
    keep_archive: bool = False,
    pins: Path | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Brings a dataset into the folder `out`, or finds that it is there.

    Args:
        dataset: from the catalogue.
        out: a folder: new, empty, or of an earlier fetch of the same dataset.
        base_url: a mirror that holds the files under their names.
        archive: a file already at hand, in place of the download.
        keep_archive: leave the downloads in `out`/download.
        pins: a JSON file of checksums to hold to and to add to.
        patience: with the line.
        progress: called with (what, done, of how many or None).

    Raises:
        UserError: the download fails, is not what it should be, or is hostile; no space.
    """
    asked = [addresses(item, base_url) for item in dataset.downloads]
    if archive and len(dataset.downloads) > 1:
        raise UserError(f"{dataset.name} is several files; fetch it without --archive")
    # Absolute: "." has no name to put a lock's beside.
    with sole_writer(out.absolute()):
        lock = _read_lock(dataset, out)
        pinned = _read_pins(pins) if pins else {}
        if lock["done"] and (out / MANIFEST).is_file() and (out / MUSIC).is_dir():
            _hold_to_pins(lock["files"], pinned, out)
            fetched = Fetched(_labels(out / MANIFEST), already=True)
        else:
            archives = _obtain(dataset, out, lock, pinned, archive, asked, patience, progress)
            try:
                fetched = _install(dataset, out, archives, progress)
            except ArchiveError:
                _forget(dataset, out, lock, pinned)
                raise
            write_text(out / ABOUT, about(dataset, fetched))
            write_json(out / LOCK, lock | {"done": True})
            if not keep_archive:
                shutil.rmtree(out / ARCHIVES, ignore_errors=True)
        if pins:
            # Read again: another fetch may have pinned its files meanwhile.
            write_json(pins, lock["files"] | _read_pins(pins))
    return fetched


def _obtain(
    dataset: Dataset,
    out: Path,
    lock: dict[str, Any],
    pinned: dict[str, Any],
    archive: Path | None,
    asked: list[list[str]],
    patience: Patience | None,
    progress: Progress | None,
) -> list[Path]:
    """The dataset's files, downloaded and verified; each is written into the lock as it comes."""
    write_json(out / LOCK, lock | {"done": False})
    archives = []
    for item, urls in zip(dataset.downloads, asked, strict=True):
        held = pinned.get(item.name) or lock["files"].get(item.name)
        pin = f"sha256:{held['sha256']}" if held else None
        known = str(item.checksum) if item.checksum else pin
        if archive:
            path, url = archive, str(archive)
            _verify(path, known)
        else:
            path, url = _download(item, out, urls, known, patience, progress)
        # The publisher's checksum may be an MD5; what was pinned is held to as well.
        digest = _verify(path, pin, item.bytes)
        lock["files"][item.name] = {"sha256": digest, "bytes": path.stat().st_size, "url": url}
        write_json(out / LOCK, lock | {"done": False})
        archives.append(path)
    return archives


def _hold_to_pins(files: dict[str, Any], pinned: dict[str, Any], out: Path) -> None:
    """Raises for a dataset that was made of other bytes than the pins name."""
    for name, file in files.items():
        if name in pinned and pinned[name]["sha256"] != file["sha256"]:
            raise UserError(
                f"{out}: made of another {name} than is pinned (expected "
                f"{pinned[name]['sha256']}, got {file['sha256']}); choose another --out"
            )


def _forget(dataset: Dataset, out: Path, lock: dict[str, Any], pinned: dict[str, Any]) -> None:
    """Drops useless files that nobody vouched for, so that the next fetch gets them anew."""
    for item in dataset.downloads:
        if not item.checksum and item.name not in pinned:
            lock["files"].pop(item.name, None)
            (out / ARCHIVES / item.name).unlink(missing_ok=True)
    write_json(out / LOCK, lock | {"done": False})


def _download(
    item: Download,
    out: Path,
    urls: list[str],
    known: str | None,
    patience: Patience | None,
    progress: Progress | None,
) -> tuple[Path, str]:
    """The file and the address that gave it; the next address where one fails."""
    folder = out / ARCHIVES
    folder.mkdir(parents=True, exist_ok=True)
    for number, url in enumerate(urls, 1):
        try:
            return download(url, folder / item.name, known, patience, progress), url
        except DownloadError:
            if number == len(urls):
                raise
    raise AssertionError("a download has an address")


def _verify(path: Path, known: str | None, size: int | None = None) -> str:
    """The file's SHA-256, after holding it to what is known of it, a checksum and its bytes."""
    import pooch

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if size and path.stat().st_size != size:
        raise UserError(
            f"{path}: {path.stat().st_size:,} bytes, where {size:,} are published; damaged, or not "
            "the file that is meant"
        )
    digest = str(pooch.file_hash(str(path)))
    if known:
        algorithm, value = known.split(":")
        found = digest if algorithm == "sha256" else pooch.file_hash(str(path), alg=algorithm)
        if found != value:
            raise UserError(
                f"{path}: checksum mismatch (expected {value}, got {found}); damaged, or not the "
                "file that is meant"
            )
    return digest


def _read_lock(dataset: Dataset, out: Path) -> dict[str, Any]:
    """What an earlier fetch of this dataset wrote down, or a new lock.

    Raises:
        UserError: the folder holds something else.
    """
    if out.is_file():
        raise UserError(f"{out}: a file; give a folder as --out")
    lock = _read_json(out / LOCK)
    if lock and lock.get("dataset") != dataset.name:
        raise UserError(f"{out}: holds {lock.get('dataset')}; choose another --out")
    if not lock and out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: not empty and no earlier fetch; choose another --out")
    _check_pins(lock.get("files", {}), out / LOCK)
    return {"dataset": dataset.name, "done": False, "files": {}} | lock


def _read_pins(path: Path) -> dict[str, Any]:
    pins = _read_json(path)
    _check_pins(pins, path)
    return pins


def _check_pins(pins: Any, path: Path) -> None:
    if not isinstance(pins, dict) or any(
        not isinstance(pin, dict) or not isinstance(pin.get("sha256"), str) for pin in pins.values()
    ):
        raise UserError(f"{path}: its checksums are not of the form {{NAME: {{sha256: ...}}}}")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); delete it") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: no JSON object; delete it")
    return content


def _labels(manifest: Path) -> Counter[str]:
    with manifest.open(encoding="utf-8", newline="") as stream:
        return Counter(row["label"] for row in csv.DictReader(stream))


def _install(
    dataset: Dataset, out: Path, archives: list[Path], progress: Progress | None
) -> Fetched:
    """Puts the music in place once all of it is there, then the manifest."""
    from data_tools.datasets import release

    fresh = out / f".{MUSIC}.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        members = release.unpack_all(dataset, archives, fresh, progress)
        pieces, problems = release.pieces_of(dataset, fresh, members, progress)
        rows, unlisted = release.rows_of(dataset, fresh, pieces, members, MUSIC)
        shutil.rmtree(out / MUSIC, ignore_errors=True)
        fresh.replace(out / MUSIC)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / MANIFEST, text.getvalue())
    return Fetched(Counter(row["label"] for row in rows), unlisted, problems)


def about(dataset: Dataset, fetched: Fetched) -> str:
    """The note that lies beside the music: whose it is, and what may be done with it."""
    counts = ", ".join(f"{count:,} {label}" for label, count in sorted(fetched.labels.items()))
    use = {"yes": "allowed", "no": "NOT allowed", "unclear": "unclear; ask before you do"}
    return "\n".join([
        f"{dataset.title}",
        f"{dataset.what}",
        "",
        f"Pieces:          {counts}",
        f"Label:           {dataset.label}: {dataset.label_from}",
        f"Licence:         {dataset.licence.id} ({dataset.licence.words})",
        f"Commercial use:  {use[dataset.licence.commercial]}",
        f"Home:            {dataset.home}",
        f"Cite:            {dataset.citation}",
        "",
        *([f"Know before use: {dataset.notes}", ""] if dataset.notes else []),
        f"What the catalogue's entry rests on: {dataset.checked}",
        *(["", "Left out:", *fetched.problems] if fetched.problems else []),
        "",
    ])  # fmt: skip
