"""Shared fixtures: real music where it lies beside the checkout, composed music everywhere."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def mini() -> Path:
    """A folder of 120 real labelled MIDI files; the test is skipped where it is not at hand."""
    folder = SHARED / "mini"
    if not folder.is_dir():
        pytest.skip("the folder of real MIDI files is not beside this checkout")
    return folder
