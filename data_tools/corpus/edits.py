"""A corpus's own manifest, edited by a person and given back: what it says overrides the sources.

Only what a person can know is taken from it; what the build measures is measured again. Files that
it does not name keep their own facts, so rejected files need no rows.
"""

import csv
import io
from collections.abc import Collection
from pathlib import Path

from data_tools.errors import UserError
from data_tools.files import file_digest
from data_tools.sources import LABELS, UNLABELLED, Entry
from data_tools.splits import SPLITS

EDITABLE = ("label", "source", "artist", "title", "licence", "work_group", "split")
_NEVER_EMPTY = ("label", "source", "title")  # an emptied cell leaves these as they were
_NO, _YES = ("no", "n", "0", "false"), ("", "yes", "y", "1", "true")


class Edits:
    """The rows of an edited manifest by path, and by location where that is one of the sources'.

    Args:
        path: the edited table; None edits nothing.
        locations: the names of the sources.

    Raises:
        UserError: unreadable, without the column `path`, or with a value that cannot be.
    """

    def __init__(self, path: Path | None, locations: Collection[str] = ()) -> None:
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, str]] = {}
        if path is None:
            return
        for row in _read(path):
            # A source that was renamed since is known by its paths alone.
            location = row.get("location") or ""
            key = location if location in locations else "", row["path"]
            if key in self.rows:
                raise UserError(f"{path}: names '{row['path']}' twice; leave one of the rows")
            _check(path, row)
            self.rows[key] = row
        self._unseen = set(self.rows)

    def digest(self) -> str:
        """SHA-256 of the table; empty without one."""
        return file_digest(self.path) if self.path else ""

    def apply(self, entry: Entry, location: str = "") -> Entry:
        """The entry of a source with what the table says of it."""
        # As tables spell names that are no text.
        path = entry.path.encode(errors="backslashreplace").decode()
        key = next((key for key in ((location, path), ("", path)) if key in self.rows), None)
        if key is None:
            return entry
        row = self.rows[key]
        self._unseen.discard(key)
        facts = dict(entry.facts)
        for column in EDITABLE:
            value = row.get(column)
            if value or (value is not None and column not in _NEVER_EMPTY):
                facts[column] = value
        refused = entry.refused
        if (row.get("keep") or "").strip().lower() in _NO:
            refused = refused or f"left out by {self.path.name if self.path else ''}"
        return Entry(entry.path, facts, refused)

    def check_all_used(self) -> None:
        """Call after every entry was seen.

        Raises:
            UserError: rows name files that no source has.
        """
        if self.rows and self._unseen:
            raise UserError(
                f"{self.path}: {len(self._unseen):,} of {len(self.rows):,} paths are in none of "
                f"the sources, '{min(self._unseen)[1]}' for one; give the sources it was built from"
            )


def _read(path: Path) -> list[dict[str, str]]:
    try:
        text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
        rows = list(csv.DictReader(text, restval=""))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: no UTF-8 table ({error}); save it as CSV, UTF-8") from None
    if not rows or "path" not in rows[0]:
        raise UserError(f"{path}: no rows with a column 'path'; edit a corpus's manifest.csv")
    return rows


def _check(path: Path, row: dict[str, str]) -> None:
    label, split = row.get("label", ""), row.get("split", "")
    keep = (row.get("keep") or "").strip().lower()
    if label not in ("", UNLABELLED, *LABELS):
        raise UserError(f"{path}: '{row['path']}' has the label '{label}'; use jazz or not_jazz")
    if split not in ("", *SPLITS):
        raise UserError(
            f"{path}: '{row['path']}' has the split '{split}'; use {', '.join(SPLITS)} or nothing"
        )
    if keep not in (*_NO, *_YES):
        raise UserError(f"{path}: '{row['path']}' has '{keep}' in column keep; use yes or no")
