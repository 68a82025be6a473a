"""Lead sheets and single lines, which recipes leave out as the shipped generator did."""

from data_tools.corpus import Corpus

THIN = ("wjazzd", "leadsheet-chordmelody", "leadsheet-openewld", "nottingham", "bimmuda")


def thin_sources(corpus: Corpus) -> tuple[str, ...]:
    """Those that a corpus has: naming one that it lacks is an error everywhere else."""
    there = {row["source"] for row in corpus.rows}
    return tuple(name for name in THIN if name in there)
