"""Scoring on Ray: two nodes say what one process says, whatever dies on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_tools.errors import UserError
from discriminator import cluster as cluster_module
from discriminator.classifier import Classifier
from discriminator.cluster import Summary, score_cluster
from discriminator.parts import pieces_of, read_listing, read_parts
from discriminator.scores import DIGITS
from gan.cli import main
from gan.cli_score import BEYOND

ray_only = [
    pytest.mark.slow,
    # Ray's own modules warn of each other, and leave sockets to be closed by the collector.
    pytest.mark.filterwarnings("ignore"),
]

# A reader that dies, as one does in compiled code: in every process that starts with this on its
# path, reading a file of that name ends it.
FATAL = """
import os, pathlib
_read = pathlib.Path.read_bytes
def read_bytes(self):
    if self.name == "fatal.mid":
        os._exit(11)
    return _read(self)
pathlib.Path.read_bytes = read_bytes
"""

# What a second process runs, to be killed when two parts are finished.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from discriminator.cluster import score_cluster
paths, out, model, address = json.loads(sys.argv[1])
def progress(done, total):
    if done >= 2:
        os.kill(os.getpid(), signal.SIGKILL)
score_cluster([Path(path) for path in paths], Path(out), Path(model), address,
              part_size=5, form="jsonl", progress=progress)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes of a core each, on this machine."""
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(FATAL, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(folder), *([before] if before else [])])
    size = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Cluster(initialize_head=True, head_node_args=size)
        nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        yield nodes
        nodes.shutdown()


def expected(model: Path, paths: list[Path]) -> dict[str, Any]:
    return {verdict.path: verdict for verdict in Classifier.load(model).score_many(paths)}


def check(out: Path, model: Path, paths: list[Path]) -> None:
    """The tables of a run are what one process says, in the listing's order."""
    wanted = expected(model, paths)
    scored = list(read_parts(out / "scores"))
    failed = list(read_parts(out / "errors"))
    assert [row.path for row in scored] == [str(p) for p in paths if not wanted[str(p)].error]
    for row in scored:
        verdict = wanted[row.path]
        assert row.p_jazz == pytest.approx(verdict.p_jazz, abs=6e-5)
        assert row.p_jazz == round(row.p_jazz, DIGITS)
        assert (row.verdict, row.windows, row.error) == (verdict.verdict, verdict.windows, "")
    assert {row.path: row.error for row in failed} == {
        path: verdict.error for path, verdict in wanted.items() if verdict.error
    }


def midi(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.mid"))


@pytest.mark.parametrize("name", ["ray", "ray.data"])
def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"jazz-gan\[ray\]"):
        score_cluster([tmp_path], tmp_path / "out")


class Table(list[dict[str, Any]]):
    """Rows, as pyarrow gives them."""

    to_pylist = list.copy


def test_a_damaged_archive_is_told_also_of_parts_that_were_there(
    practice_music, tiny_discriminator, tmp_path, monkeypatch
):
    """Exit code 1, as `gan score` has it; one process stands in for the cluster."""

    def stream(ray, compute, listing, missing, representation, scorer):
        model = Classifier.load(scorer[0])
        for part in missing:
            found = pieces_of(read_listing(listing.path, *listing.span(part)), Path.cwd())
            rows, pieces = zip(*found, strict=True)
            verdicts = map(asdict, model.score_many(list(pieces), workers=0))
            yield Table(
                {"part": part, "row": row} | one for row, one in zip(rows, verdicts, strict=True)
            )

    monkeypatch.setattr(cluster_module, "_ray", lambda: None)
    monkeypatch.setattr(cluster_module, "_cluster", lambda *_: nullcontext())
    one = cluster_module._Compute(1, (1, 1), 0.0)
    monkeypatch.setattr(cluster_module._Compute, "of", lambda *_: one)
    monkeypatch.setattr(cluster_module, "_stream", stream)
    whole, broken = tmp_path / "whole.tar", tmp_path / "broken.tar"
    with tarfile.open(whole, "w") as archive:
        for path in midi(practice_music)[:3]:
            archive.add(path, path.name)
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    command = ["ray-score", "--model", str(tiny_discriminator), "--format", "csv", "--quiet"]
    fine = CliRunner().invoke(main, [*command, str(whole), "--out", str(tmp_path / "a")])
    assert (fine.exit_code, fine.output) == (0, "")
    for _ in range(2):
        told = CliRunner().invoke(main, [*command, str(broken), "--out", str(tmp_path / "b")])
        assert (told.exit_code, told.stderr) == (1, f"error: {BEYOND}\n")
    assert len(list(read_parts(tmp_path / "b" / "scores"))) >= 1


class TestOnTwoNodes:
    pytestmark = ray_only

    def test_real_music_gets_the_scores_of_one_process(self, cluster, mini, tmp_path):
        out = tmp_path / "out"
        summary = score_cluster([mini], out, None, cluster.address, part_size=25)
        paths = midi(mini)
        assert summary == Summary(len(paths), 0, -(-len(paths) // 25), 0)
        found = {row.path: row for row in read_parts(out / "scores")}
        for verdict in Classifier.load().score_many(paths):
            assert found[verdict.path].p_jazz == pytest.approx(verdict.p_jazz, abs=6e-5)
            assert found[verdict.path].windows == verdict.windows
            assert found[verdict.path].verdict == verdict.verdict

    def test_what_is_bad_or_kills_its_reader_costs_itself_alone(
        self, cluster, practice_music, tiny_discriminator, tmp_path
    ):
        folder = tmp_path / "music"
        folder.mkdir()
        for path in midi(practice_music)[:9]:
            shutil.copy(path, folder / path.name)
        (folder / "0 empty.mid").touch()
        (folder / "1 words.mid").write_bytes(b"no music at all")
        shutil.copy(midi(practice_music)[0], folder / "fatal.mid")
        with zipfile.ZipFile(tmp_path / "shard.zip", "w") as archive:
            for path in midi(practice_music)[9:12]:
                archive.write(path, path.name)
            archive.writestr("words.mid", b"no music at all")
        out = tmp_path / "out"
        summary = score_cluster(
            [folder, tmp_path / "shard.zip"], out, tiny_discriminator, cluster.address,
            part_size=6, form="csv",
        )  # fmt: skip
        assert (summary.scored, summary.failed) == (12, 4)
        errors = {row.path: row.error for row in read_parts(out / "errors")}
        assert errors.pop(str(folder / "fatal.mid")) == "crashed the reader"
        assert set(errors) == {
            str(folder / "0 empty.mid"), str(folder / "1 words.mid"),
            f"{tmp_path / 'shard.zip'}:words.mid",
        }  # fmt: skip
        wanted = expected(tiny_discriminator, midi(practice_music)[:12])
        named = {Path(path).name: verdict for path, verdict in wanted.items()}
        for row in read_parts(out / "scores"):
            verdict = named[Path(row.path.split(":")[-1]).name]
            assert row.p_jazz == pytest.approx(verdict.p_jazz, abs=6e-5)

    def test_a_killed_run_goes_on_and_leaves_finished_parts_alone(
        self, cluster, practice_music, tiny_discriminator, tmp_path
    ):
        paths, out = midi(practice_music), tmp_path / "out"
        arguments = [[str(p) for p in paths], str(out), str(tiny_discriminator), cluster.address]
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, json.dumps(arguments)], capture_output=True
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        before = {path: path.stat().st_mtime_ns for path in (out / "scores").glob("part-*")}
        assert 2 <= len(before) < len(paths) // 5
        summary = score_cluster(
            paths, out, tiny_discriminator, cluster.address, part_size=5, form="jsonl"
        )
        assert (summary.kept, summary.parts) == (len(before), len(paths) // 5 - len(before))
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        check(out, tiny_discriminator, paths)
        # Everything is there: no cluster is needed to see that, nor reached for.
        again = score_cluster(paths, out, tiny_discriminator, "nowhere:1", part_size=5,
                              form="jsonl")  # fmt: skip
        assert again == Summary(0, 0, 0, len(paths) // 5)

    def test_a_node_that_is_lost_costs_nothing(
        self, cluster, practice_music, tiny_discriminator, tmp_path
    ):
        paths, out = midi(practice_music), tmp_path / "out"
        node = cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
        lost: list[int] = []

        def progress(done: int, total: int) -> None:
            if done and not lost:
                lost.append(done)
                cluster.remove_node(node, allow_graceful=False)

        score_cluster(paths, out, tiny_discriminator, cluster.address, part_size=2,
                      form="jsonl", progress=progress)  # fmt: skip
        assert lost
        check(out, tiny_discriminator, paths)

    def test_another_model_does_not_go_on_with_a_run(
        self, cluster, practice_music, tiny_discriminator, tmp_path
    ):
        path, out = midi(practice_music)[0], tmp_path / "out"
        score_cluster([path], out, tiny_discriminator, cluster.address, form="csv")
        with pytest.raises(UserError, match="another classifier"):
            score_cluster([path], out, None, cluster.address, form="csv")
        with pytest.raises(UserError, match="another files, listing"):
            score_cluster([path, path], out, tiny_discriminator, cluster.address, form="csv")

    def test_a_gpu_that_is_not_there(self, cluster, practice_music, tiny_discriminator, tmp_path):
        with pytest.raises(UserError, match="has no GPU"):
            score_cluster([practice_music], tmp_path / "out", tiny_discriminator,
                          cluster.address, gpu_share=0.5)  # fmt: skip

    def test_no_cluster_there(self, practice_music, tiny_discriminator, tmp_path):
        pytest.importorskip("ray.data")
        with pytest.raises(UserError, match="no Ray cluster at 'localhost:1'"):
            score_cluster([practice_music], tmp_path / "out", tiny_discriminator, "localhost:1")
