"""A corpus with the pieces of another beside it, to be trained on and for nothing else."""

from pathlib import Path

import numpy as np

from data_tools.corpus.built import Corpus
from data_tools.errors import UserError


class Enlarged(Corpus):
    """A corpus whose training split has a second corpus's pieces as well, of whatever split.

    Its own pieces keep their numbers, so what was said of them by number still holds. Left out of
    the second are pieces that share a file, a work or an artist with the first one's validation or
    test split; near duplicates are not looked for.

    Args:
        folder: from `gan data build`.
        also: the second, likewise, of the same representation.

    Attributes:
        own: how many pieces are the first corpus's; theirs are the first numbers.
        also: the second corpus.
        added: of each number from `own` on, the piece's number in `also`.

    Raises:
        UserError: not corpora, or their tokens mean different things.
    """

    def __init__(self, folder: str | Path, also: str | Path) -> None:
        super().__init__(folder)
        self.own, self.also = len(self.rows), Corpus(also)
        if self.also.representation.settings != self.representation.settings:
            raise UserError(
                f"{also}: its tokens mean something else than those of {folder}; build both with "
                "the same --preset and --time-base"
            )
        kept_apart = {
            (column, row[column].casefold())
            for row in self.rows
            if row["split"] != "train"
            for column in ("sha256", "work_group", "artist")
            if row[column]
        }
        self.added = [
            number
            for number, row in enumerate(self.also.rows)
            if kept_apart.isdisjoint((column, text.casefold()) for column, text in row.items())
        ]
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
