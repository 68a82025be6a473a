"""The public datasets that can be fetched: what they are, where they lie, under which licence.

The entries are data (`catalog.yaml` beside this file), checked when they are read. A checksum or a
size is written there only where somebody published it; without one, the first download pins it.
"""

import difflib
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from data_tools.errors import UserError

CATALOG = Path(__file__).with_name("catalog.yaml")
OTHER = "other"  # the genre that stands for all that are not named

_LENGTHS = {"md5": 32, "sha1": 40, "sha256": 64}


def _compiles(pattern: str) -> str:
    re.compile(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
Label = Literal["jazz", "not_jazz", "unlabelled"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checksum(_Entry):
    """A published checksum of a whole file."""

    algorithm: Literal["md5", "sha1", "sha256"]
    value: str = Field(pattern="^[0-9a-f]+$")

    @model_validator(mode="after")
    def _whole(self) -> "Checksum":
        if len(self.value) != _LENGTHS[self.algorithm]:
            raise ValueError(f"{self.value} is no {self.algorithm}")
        return self

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


class Download(_Entry):
    """One file to download.

    Attributes:
        name: what it is called on disk, and under `--base-url`.
        urls: where it lies; the next is tried when one fails.
        bytes: its size, where published.
        checksum: where published; without one the first download is pinned.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    urls: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S+$")], ...] = Field(min_length=1)
    bytes: int | None = Field(default=None, gt=0)
    checksum: Checksum | None = None


class Licence(_Entry):
    """A licence: an SPDX identifier, or `LicenseRef-unstated`, and what it says in words."""

    id: str
    words: str
    commercial: Literal["yes", "no", "unclear"]


class Table(_Entry):
    """A CSV file in the archive that names composers and titles.

    Attributes:
        member: a regular expression for its name in the archive.
        paths: the columns that name MIDI files, relative to the table.
        artist, title: the columns that hold them.
    """

    member: Pattern
    paths: tuple[str, ...] = Field(min_length=1)
    artist: str
    title: str


class Dataset(_Entry):
    """A public dataset.

    Attributes:
        title, what, instrument, citation, home: in words.
        label: of every piece; `mixed` where `genres` decides.
        label_from: how the label is known.
        pieces: about how many there are.
        midi: regular expression for the archive's members that are music; its groups `artist`,
            `title` and `genre`, where it has them, fill the manifest.
        table: a CSV with the same, where the archive holds one.
        beats: for note tables (the members of `midi` are CSV then): regular expression for the
            tables of beats.
        genres: label by genre, `other` for the rest.
        work_group: a template over `artist` and `title`; empty for none.
        max_members, max_bytes: bounds on what the archives may unpack to.
        checked: what was confirmed, from where, and when.
        notes: what a user should know before training on it.
    """

    name: str = Field(pattern="^[a-z0-9-]+$")
    title: str
    what: str
    label: Label | Literal["mixed"]
    label_from: str
    instrument: str
    pieces: int = Field(gt=0)
    downloads: tuple[Download, ...] = Field(min_length=1)
    licence: Licence
    citation: str
    home: str
    midi: Pattern
    table: Table | None = None
    beats: Pattern | None = None
    genres: dict[str, Label] = {}
    work_group: str = ""
    max_members: int = 100_000
    max_bytes: int = 4 * 2**30
    checked: str
    notes: str = ""

    @model_validator(mode="after")
    def _labelled(self) -> "Dataset":
        by_genre = OTHER in self.genres and "(?P<genre>" in self.midi
        if (self.label == "mixed") != by_genre or bool(self.genres) != by_genre:
            raise ValueError("a mixed dataset, and no other, has genres, with 'other' among them")
        return self

    @property
    def bytes(self) -> int | None:
        """The size of all downloads, None where one of them is not known."""
        sizes = [download.bytes for download in self.downloads]
        return None if None in sizes else sum(size for size in sizes if size)


@cache
def datasets() -> dict[str, Dataset]:
    """Every dataset of the catalogue by name, in its order."""
    entries = yaml.safe_load(CATALOG.read_text(encoding="utf-8"))
    return {name: Dataset(name=name, **entry) for name, entry in entries.items()}


def find(name: str) -> Dataset:
    """A dataset by its name.

    Raises:
        UserError: there is none of that name.
    """
    known = datasets()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    raise UserError(f"{name}: no such dataset; {hint}")
