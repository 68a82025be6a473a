"""A built corpus: a folder of tokens ready to train on, memory-mapped and only read.

corpus.json          settings, digests, counts
representation.json  what the tokens mean
manifest.csv         one row a piece, in the order of the tokens; a person may read and edit it
tokens.bin           uint16 ids of all pieces, one after another, memory-mapped
index.npy            int64 (pieces + 1,) where each piece begins
fingerprints.npy     float32 (pieces, features): what a file carries beside its music
files.csv            every file offered, and what became of it
rejects.csv          every file left out, and why
conflicts.csv        pairs of one music under two labels
"""

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from data_tools.errors import UserError
from data_tools.files import file_digest, parse_json
from data_tools.representation import Representation
from data_tools.sources import LABELS, UNLABELLED
from data_tools.splits import SPLITS

# BadZipFile, MemoryError and TokenError: a table whose first bytes are others tells of an archive,
# of a size that nothing has, or of nothing that can be parsed.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, EOFError, csv.Error, BadZipFile, MemoryError,
    TokenError,
)  # fmt: skip


class Corpus:
    """A built corpus, memory-mapped.

    Attributes:
        folder: where it lies.
        rows: the manifest's rows, in the order of the pieces.
        representation: what its tokens mean.
        index: int64 (pieces + 1,) bounds of the pieces in `tokens`.

    Raises:
        UserError: not a corpus, or its files do not fit together.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "corpus.json").is_file():
            raise UserError(f"{folder}: not a corpus; make one with 'gan data build'")
        try:
            self.facts = parse_json((self.folder / "corpus.json").read_text(encoding="utf-8"))
            with (self.folder / "manifest.csv").open(encoding="utf-8-sig", newline="") as stream:
                self.rows = list(csv.DictReader(stream))
            with (self.folder / "index.npy").open("rb") as places:
                self.index = np.load(places)
            self.digest: str = self.facts["digest"]
            if self.index.ndim != 1 or self.index.dtype.kind != "i":
                raise ValueError("index.npy holds no places")
            lengths = [int(row["tokens"]) for row in self.rows]
            size = (self.folder / "tokens.bin").stat().st_size
        except _DAMAGE as error:
            raise UserError(f"{folder}: damaged corpus ({error}); build it again") from None
        self.representation = Representation.load(self.folder / "representation.json")
        asked = self.facts.get("request")
        made_as = asked.get("representation") if isinstance(asked, dict) else None
        # Other tokens' meaning would make music of these, too, and none would notice.
        if made_as not in (None, self.representation.digest):
            raise UserError(
                f"{folder}: representation.json ({self.representation.digest}) is not that of its "
                f"tokens ({made_as}); copy the whole folder again, or build it again"
            )
        for row in self.rows:
            if row.get("split") not in SPLITS or row.get("label") not in (*LABELS, UNLABELLED):
                raise UserError(
                    f"{folder}: manifest.csv gives '{row.get('path')}' the label "
                    f"'{row.get('label')}' and the split '{row.get('split')}'; one is unknown"
                )
        if len(self.rows) + 1 != len(self.index):
            raise UserError(
                f"{folder}: manifest.csv has {len(self.rows)} rows for {len(self.index) - 1} "
                "pieces; edit a copy and give it to 'gan data build'"
            )
        if lengths != np.diff(self.index).tolist():
            raise UserError(f"{folder}: manifest.csv has its rows in another order than the tokens")
        if size != 2 * self.index[-1]:
            raise UserError(f"{folder}: tokens.bin is cut short or too long; build it again")

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def tokens(self) -> np.ndarray:
        """uint16 ids of all pieces, one after another, memory-mapped."""
        return np.memmap(self.folder / "tokens.bin", dtype=np.uint16, mode="r")

    @property
    def fingerprint_names(self) -> tuple[str, ...]:
        """What the columns of `fingerprints` measure; none where the corpus does not say."""
        names = self.facts.get("fingerprints")
        return tuple(names) if isinstance(names, list) else ()

    @cached_property
    def fingerprints(self) -> np.ndarray:
        """float32 (pieces, features), memory-mapped; see `data_tools.fingerprint`.

        Raises:
            UserError: made before fingerprints were, or damaged.
        """
        path = self.folder / "fingerprints.npy"
        try:
            table = np.load(path, mmap_mode="r")
        except _DAMAGE as error:
            raise UserError(f"{path}: cannot be read ({error}); build the corpus again") from None
        if table.shape != (len(self), len(self.fingerprint_names)):
            raise UserError(f"{path}: does not fit the corpus; build it again")
        return table

    def piece(self, number: int) -> np.ndarray:
        """uint16 (T,) ids of one piece, without BOS and EOS."""
        return self.tokens[self.index[number] : self.index[number + 1]]

    def select(
        self,
        split: str | None = None,
        label: str | None = None,
        exclude_sources: Sequence[str] = (),
    ) -> list[int]:
        """Numbers of the pieces of a split and label, without some sources.

        Raises:
            UserError: an excluded source is not in the corpus.
        """
        unknown = set(exclude_sources) - {row["source"] for row in self.rows}
        if unknown:
            raise UserError(f"{self.folder}: no source called {', '.join(sorted(unknown))}")
        return [
            number
            for number, row in enumerate(self.rows)
            if (split is None or row["split"] == split)
            and (label is None or row["label"] == label)
            and row["source"] not in exclude_sources
        ]

    def sequences(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields [BOS] music [EOS] of each piece, int64."""
        for number in numbers:
            music = self.piece(number).astype(np.int64)
            yield np.concatenate([[Representation.bos], music, [Representation.eos]])

    def inputs(self) -> dict[str, str]:
        """Digests of what a training run reads: tokens, and the manifest a person may edit.

        Raises:
            UserError: the tokens are not those that were built.
        """
        self.verify()  # or a run would learn, or go on, from others than it records
        return {"corpus": self.digest, "manifest": file_digest(self.folder / "manifest.csv")}

    def verify(self) -> None:
        """Checks the tokens against their recorded digest.

        Raises:
            UserError: they differ.
        """
        if file_digest(self.folder / "tokens.bin") != self.digest:
            raise UserError(f"{self.folder}: tokens.bin was changed; delete the folder and rebuild")
