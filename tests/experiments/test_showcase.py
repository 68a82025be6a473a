"""The showcase makes a page from what the package ships."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from experiments.recipes.showcase import main


@pytest.mark.slow
def test_it_makes_a_page(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["--out", str(out), "--samples", "2", "--seconds", "16"])
    assert done.exit_code == 0, done.output
    html = out.read_text("utf-8")
    assert html.count('class="stage"') == 6
    assert "Quality and diversity" in html
