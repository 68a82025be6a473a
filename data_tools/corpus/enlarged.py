"""A corpus with the pieces of another beside it, to be trained on and for nothing else."""

from pathlib import Path

import numpy as np

from data_tools.corpus.built import Corpus
from data_tools.errors import UserError
from data_tools.splits import artist_key


class Enlarged(Corpus):
    """A corpus whose training split has a second corpus's pieces as well, of whatever split.

    Its own pieces keep their numbers, so what was said of them by number still holds. Left out of
    the second are pieces that share a file, a work or an artist with the first one's validation or
    test split, and all that the second's own build grouped with them; near duplicates across the
    two are not looked for. `digest`, `facts`, `tokens` and `fingerprints` are the first one's.

    Args:
        folder: from `gan data build`.
        also: the second, likewise, of the same representation.

    Attributes:
        own: how many pieces are the first corpus's; theirs are the first numbers.
        also: the second corpus.
        added: of each number from `own` on, the piece's number in `also`.

    Raises:
        UserError: not corpora, one and the same, their tokens mean different things, or all of the
            second is left out.
    """

    def __init__(self, folder: str | Path, also: str | Path) -> None:
        super().__init__(folder)
        self.own, self.also = len(self.rows), Corpus(also)
        if self.also.digest == self.digest:
            raise UserError(f"{also}: holds the same music as {folder}; give another as the second")
        if self.also.representation.settings != self.representation.settings:
            raise UserError(
                f"{also}: its tokens mean something else than those of {folder}; build both with "
                "the same --preset and --time-base"
            )
        kept = (row for row in self.rows if row["split"] != "train")
        kept_apart = {mark for row in kept for mark in _marks(row)}
        met = {row["group"] for row in self.also.rows if not kept_apart.isdisjoint(_marks(row))}
        self.added = [n for n, row in enumerate(self.also.rows) if row["group"] not in met]
        if not self.added:
            raise UserError(
                f"{also}: every piece shares a file, work or artist with the validation or test "
                f"split of {folder}; nothing is left to train on"
            )
        rows = (self.also.rows[number] for number in self.added)
        # Groups are numbers of their own corpus.
        self.rows += [row | {"split": "train", "group": f"also {row['group']}"} for row in rows]
        lengths = np.diff(self.also.index)[self.added]
        self.index = np.concatenate([self.index, self.index[-1] + np.cumsum(lengths)])

    def piece(self, number: int) -> np.ndarray:
        """uint16 (T,) ids of one piece, without BOS and EOS."""
        if number < self.own:
            return super().piece(number)
        return self.also.piece(self.added[number - self.own])

    def inputs(self) -> dict[str, str]:
        """Digests of what a run reads: of both corpora."""
        second = {f"also {name}": digest for name, digest in self.also.inputs().items()}
        return super().inputs() | second

    def told(self) -> str:
        """How much of the second corpus is learnt from, for people."""
        return f"{len(self.added):,} of the {len(self.also):,} pieces of {self.also.folder} too"


def _marks(row: dict[str, str]) -> set[tuple[str, str]]:
    """What pieces may share that must not lie on both sides of a split."""
    marks = {
        ("file", row.get("sha256") or ""),
        ("work", row.get("work_group") or ""),
        ("artist", artist_key(row.get("artist") or "")),
    }
    return {mark for mark in marks if mark[1]}
