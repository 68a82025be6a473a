"""The corpus: a folder of tokens ready to train on, made once from any MIDI and only read after."""

from data_tools.corpus.build import COLUMNS, build
from data_tools.corpus.built import Corpus
from data_tools.corpus.enlarged import Enlarged

__all__ = ["COLUMNS", "Corpus", "Enlarged", "build"]
