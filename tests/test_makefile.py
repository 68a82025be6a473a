"""What `make install` says of an interpreter that will not do."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("shim", "words"),
    [
        (
            "echo 'pyenv: no such version' >&2; exit 127",
            ("pyenv: no such version", "cannot be run"),
        ),
        ('[ -z "$2" ]', ("is older than 3.11",)),
    ],
)
def test_an_interpreter_that_will_not_do(shim: str, words: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python3.12"
    python.write_text(f"#!/bin/sh\n{shim}\n")
    python.chmod(0o755)
    command = ["make", "install", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert all(one in done.stderr for one in words)
    assert "make PYTHON=python3.12" not in done.stderr, "the very command that was given"
