"""`gan data list` and `gan data fetch` as a person meets them; nothing here asks the net."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data_tools.datasets.catalog import datasets
from gan.cli import main


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, words)])


@pytest.fixture
def archive(tmp_path: Path, practice_music: Path) -> Path:
    """Two tunes in the layout of the Nottingham archive."""
    path = tmp_path / "tunes.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for number, music in enumerate(sorted(practice_music.rglob("*.mid"))[:2]):
            opened.write(music, f"nottingham-dataset-master/MIDI/tune{number}.mid")
    return path


def test_the_list_is_one_row_a_dataset_in_every_format() -> None:
    table = run("list")
    assert table.exit_code == 0
    assert all(name in table.output for name in datasets())
    rows = list(csv.DictReader(io.StringIO(run("list", "--format", "csv").output)))
    assert [row["name"] for row in rows] == list(datasets())
    assert {"label", "pieces", "size", "licence", "checksum"} <= set(rows[0])
    lines = [json.loads(line) for line in run("list", "--format", "json").output.splitlines()]
    sizes = {line["name"]: line["size"] for line in lines}
    assert sizes["maestro"] == 58_416_533
    assert sizes["pop909"] is None
    assert {line["name"]: line["commercial"] for line in lines}["maestro"] == "no"


@pytest.mark.parametrize("name", list(datasets()))
def test_all_that_is_known_of_one(name: str) -> None:
    words = " ".join(run("list", name).output.split())
    assert "checked" in words
    (facts,) = [json.loads(run("list", name, "--format", "json").output)]
    assert facts["checked"] == datasets()[name].checked
    plan = run("fetch", name, "--dry-run")
    assert plan.exit_code == 0
    assert datasets()[name].downloads[0].urls[0] in plan.output
    assert datasets()[name].licence.id in plan.output


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    result = run("fetch", "adl", "--out", tmp_path / "adl", "--list-only",
                 "--base-url", "http://127.0.0.1:9/mirror")  # fmt: skip
    assert result.exit_code == 0
    assert "http://127.0.0.1:9/mirror/adl-piano-midi.zip" in result.output
    assert not list(tmp_path.iterdir())


def test_the_last_line_is_the_next_command(tmp_path: Path, archive: Path) -> None:
    out = tmp_path / "with space"
    result = run("fetch", "nottingham", "--archive", archive, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"{out}: 2 not_jazz" in result.output
    assert "pinned in" in result.output
    last = result.output.splitlines()[-1]
    assert last == f"next: gan data build '{out}' --out corpora/nottingham"
    built = run("build", out, "--out", tmp_path / "corpus", "--workers", 1)
    assert built.exit_code == 0, built.output
    assert "kept: 2" in built.output
    again = run("fetch", "nottingham", "--out", out)
    assert again.exit_code == 0
    assert "there already" in again.output


def test_mistakes_are_one_line(tmp_path: Path, archive: Path) -> None:
    for words, code, message in [
        (("fetch", "notingham"), 1, "did you mean 'nottingham'?"),
        (("list", "nothing like it"), 1, "known: pop909"),
        (
            ("fetch", "maestro", "--archive", archive, "--out", tmp_path / "m"),
            1,
            "expected 70470ee",
        ),
        (("fetch", "asap", "--archive", archive, "--out", tmp_path / "a"), 1, "nothing in it"),
        (("fetch", "asap", "--base-url", "mirror", "--out", tmp_path / "b"), 1, "http"),
        (("fetch",), 2, "Missing argument"),
        (("fetch", "asap", "--archive", tmp_path / "none"), 2, "does not exist"),
        (("fetch", "asap", "--tries", "0"), 2, "--tries"),
    ]:
        result = run(*words)
        assert result.exit_code == code, result.output
        assert message in result.output
        assert "Traceback" not in result.output
        if code == 1:
            lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
            assert len(lines) == 1


def test_a_licence_without_commerce_is_told_first(tmp_path: Path, archive: Path) -> None:
    result = run("fetch", "asap", "--archive", archive, "--out", tmp_path / "a")
    assert result.stderr.startswith("CC-BY-NC-SA-4.0: no commercial use")


@pytest.fixture
def slow_site() -> Iterator[tuple[str, threading.Event]]:
    """A server that sends half a megabyte and then nothing; the event tells that it has."""
    sent, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.send_header("ETag", '"one"')
            self.end_headers()
            self.wfile.write(bytes(2**19))
            self.wfile.flush()
            sent.set()
            over.wait(30)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        over.set()
        server.shutdown()
        thread.join()


def test_an_interrupted_download_says_how_to_go_on(
    tmp_path: Path, slow_site: tuple[str, threading.Event]
) -> None:
    address, sent = slow_site
    out = tmp_path / "tunes"
    # A shell's background jobs ignore SIGINT, and so would what they start.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; from gan.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "data", "fetch", "nottingham"]
    with subprocess.Popen(
        [*command, "--out", str(out), "--base-url", address, "--keep-archive", "--tries", "9"],
        stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=dict(os.environ),
    ) as process:  # fmt: skip
        assert sent.wait(30)
        part = out / "download" / "nottingham-dataset-master.zip.part"
        while not (part.is_file() and part.stat().st_size >= 2**18):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1] == (
        f"error: interrupted; go on with: gan data fetch nottingham --out {out} "
        f"--base-url {address} --keep-archive --tries 9"
    )
    assert part.stat().st_size >= 2**18
    assert not (out / "manifest.csv").exists()
