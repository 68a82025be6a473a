"""A rehearsal finds what would keep a run from beginning, and leaves nothing behind."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from gan.cli import main
from gan.rehearsal import rehearse
from gan.run import Run
from gan.settings import TrainSettings


def test_what_could_begin_is_left_alone(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = tiny_settings(adv_weight=0.5, batch=8, adv_batch=3)
    rehearse(practice_corpus, out, settings, True, ranks=3)
    assert not out.exists()
    with pytest.raises(UserError, match="--adv-batch 3: fewer rollouts than 4 ranks"):
        rehearse(practice_corpus, out, settings, True, ranks=4)
    with pytest.raises(UserError, match="use at least 9"):
        rehearse(practice_corpus, out, settings, True, ranks=9)


def test_that_a_run_would_start_is_said(practice_corpus: Corpus, tmp_path: Path) -> None:
    out, small = tmp_path / "run", ["--layers", "1", "--width", "16", "--heads", "2"]
    ask = ["train", "--corpus", str(practice_corpus.folder), "--out", str(out), *small]
    for ranks, words in (("1", "1 process"), ("2", "2 processes")):
        result = CliRunner().invoke(main, [*ask, "--check", ranks])
        assert result.stdout == f"{out}: a run on {words} would start\n"
    assert CliRunner().invoke(main, [*ask, "--check", "2", "--quiet"]).output == ""
    assert not out.exists()


@pytest.mark.parametrize(
    "changes", [{"reward_weight": 0.1}, {"adv_weight": 0.5, "adv_critics": "realism"}]
)
def test_rollouts_are_counted_whoever_scores_them(
    practice_corpus: Corpus,
    tiny_settings: Callable[..., TrainSettings],
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    settings = tiny_settings(batch=8, adv_batch=3, **changes)
    with pytest.raises(UserError, match="--adv-batch 3: fewer rollouts than 4 ranks"):
        rehearse(practice_corpus, tmp_path / "run", settings, True, ranks=4)


def test_a_run_that_is_there_is_compared(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    Run(tmp_path, tiny_settings(), inputs=practice_corpus.inputs())
    rehearse(practice_corpus, tmp_path, tiny_settings(accumulate=2), True, ranks=1)
    with pytest.raises(UserError, match="differs in seed"):
        rehearse(practice_corpus, tmp_path, tiny_settings(seed=3), True, ranks=1)
    with pytest.raises(UserError, match="--resume or another --out"):
        rehearse(practice_corpus, tmp_path, tiny_settings(), False, ranks=1)


def test_a_place_where_no_run_can_be_written_is_told(
    practice_corpus: Corpus, tiny_settings: Callable[..., TrainSettings], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=rf"{out}: cannot be written \(.*--out"):
            rehearse(practice_corpus, out, tiny_settings(), True, ranks=1)
    out = tmp_path / "runs" / "run"

    def refuses(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuses)  # the superuser may write everywhere
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        rehearse(practice_corpus, out, tiny_settings(), True, ranks=1)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
