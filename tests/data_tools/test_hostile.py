"""Mutated files: check and build give each an outcome, and none an unforeseen one."""

import pytest

from data_tools import inspect, midi
from data_tools.corpus import build, worker
from data_tools.practice import compose
from data_tools.settings import CorpusSettings
from experiments.benchmarks.mutations import MUTATIONS, chunks_of, joined, mutants

COUNT = 154


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [midi.to_bytes(compose(0, number).score) for number in range(4)]


def test_chunks_round_trip(files):
    assert all(joined(chunks_of(data)) == data for data in files)


def test_mutants_are_a_function_of_the_seed(files):
    first, again = (list(mutants(files, 28, seed=3)) for _ in range(2))
    assert first == again
    assert first != list(mutants(files, 28, seed=4))
    assert {name.split("-")[1] for name, _ in first} == {one.__name__ for one in MUTATIONS}
    assert sum(data in files for _, data in first) < 6


def test_every_mutant_has_its_outcome(files):
    worker.start(CorpusSettings())
    for name, data in mutants(files, COUNT):
        piece = worker.tokenise((data, ""))
        assert bool(piece.reason) != bool(piece.ids), name
        assert "Error: " not in piece.reason, (name, piece.reason)
        assert len(piece.sha256) == 64
        row = inspect.inspect(data, name)
        assert "Error: " not in row.reason, (name, row.reason)
        assert row.readable or row.reason, name


def test_a_corpus_of_mutants(files, tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for name, data in mutants(files, COUNT, seed=1):
        (folder / f"{name}.mid").write_bytes(data)
    counts = build([folder], tmp_path / "out", workers=2)[0].facts["counts"]
    assert counts["files"] == COUNT == counts["kept"] + counts["rejected"]
    assert counts["kept"]
