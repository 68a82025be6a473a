"""What a run tells: a line of JSON a logged step, the same in TensorBoard, a line on the screen.

Charts are explained in `gan/evaluation/TENSORBOARD.md`. What concludes a run stands in TensorBoard
one step behind its last: a resumed run hides all that lies beyond its checkpoint, so that there is
one conclusion however often it is drawn.
"""

import json
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel
from rich.console import Console
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from data_tools.files import naming, parse_json
from gan.bars import ProgressBar

BOARD = event_file_writer.__name__  # the module of the thread that writes TensorBoard's files
SHORTEST_BAR = 2  # steps; below, a bar is nothing to look at
_LONGEST_LINE = 1 << 16  # bytes of metrics.jsonl
# What a line on the screen holds, of dozens of figures; all are in metrics.jsonl and TensorBoard.
HEADLINES = (
    "loss/ce", "loss/adversarial", "loss/reward", "adversarial/share",
    "discriminator/p_jazz_generated", "discriminator/p_jazz_real",
    "discriminator/loss", "discriminator/accuracy",
    "validation/loss", "validation/auc",
    "validation/bits_per_note", "validation/token_accuracy",
    "train/bits_per_note", "train/token_accuracy",
)  # fmt: skip


class Logbook:
    """Writes metrics where people look for them.

    Args:
        folder: the run's folder.
        step: steps done; what TensorBoard holds beyond them is hidden.
        quiet: nothing on the screen.
        settings: of the run, written as text where it begins.
        steps: there are in all, for a bar on the screen; 0 shows none.
    """

    def __init__(
        self,
        folder: Path,
        step: int = 0,
        quiet: bool = False,
        settings: BaseModel | None = None,
        steps: int = 0,
    ) -> None:
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._before = _seconds(folder / "metrics.jsonl") if step else 0.0
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = _but_for_the_board
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + bool(step))
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._settings = settings
        if settings is not None and not step:
            listed = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
            self.text("settings", "\n".join(f"    {line}" for line in listed.splitlines()), 0)
        hidden = quiet or steps < SHORTEST_BAR
        # A log file gets the lines of metrics; others in between would tell nothing more.
        # The first step warms up, and waits for data and the validation before it.
        self._bar = ProgressBar(
            "steps", steps or None, step, hidden, self._console, plain=False, slow=1
        )
        self._bar.__enter__()

    def tick(self, step: int) -> None:
        """So many steps are done."""
        self._bar.update(step, what="steps")

    def pause(self, step: int, what: str) -> None:
        """What keeps the bar from going on after a step; before the first in a line of its own."""
        self._bar.update(step, what=what)
        if not step:
            self._console.print(f"{what}, before the first step")

    def log(self, step: int, metrics: dict[str, float], show: bool = False) -> None:
        """Records numbers under names such as "loss/ce"; `show` prints the `HEADLINES` of them."""
        seconds = self._before + time.monotonic() - self._began
        line = {"step": step, "seconds": round(seconds, 2)}
        text = json.dumps(line | {k: round(v, 6) for k, v in metrics.items()}) + "\n"
        with naming(Path(self._metrics.name)):
            self._metrics.write(text)
            self._metrics.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        if show:
            shown = [f"{name} {metrics[name]:.4g}" for name in HEADLINES if name in metrics]
            left = [left] if (left := self._bar.left(step)) else []
            self._console.print("  ".join([f"step {step:>6}", *shown, *left]))

    def say(self, text: str) -> None:
        """A line on the screen."""
        self._console.print(text)

    def image(self, name: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """A picture, encoded already, of (width, height) pixels."""
        width, height = size
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._board._get_file_writer().add_summary(summary, step)

    def audio(self, name: str, sound: np.ndarray, rate: int, step: int) -> None:
        """Sound (n,) float within ±1, of so many samples a second."""
        self._board.add_audio(name, sound, step, rate)

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """How values (n,) are distributed."""
        self._board.add_histogram(name, values, step)

    def text(self, name: str, content: str, step: int) -> None:
        """Markdown, under TensorBoard's text tab."""
        self._board.add_text(name, content, step)

    def precision_recall(
        self, name: str, labels: np.ndarray, probabilities: np.ndarray, step: int
    ) -> None:
        """A precision–recall curve."""
        self._board.add_pr_curve(name, labels, probabilities, step)

    def embedding(
        self, name: str, vectors: np.ndarray, rows: Sequence[Mapping[str, object]], step: int
    ) -> None:
        """Vectors (N, D) for the projector, with what is known of each."""
        # By where the writer puts it; what an earlier end of the same run left gives way.
        shutil.rmtree(Path(self._board.log_dir) / f"{step:05d}" / name, ignore_errors=True)
        header = list(rows[0])
        # Tabs and line ends would shift the table.
        metadata = [[" ".join(str(row[key]).split()) for key in header] for row in rows]
        self._board.add_embedding(
            vectors, metadata, global_step=step, tag=name, metadata_header=header
        )

    def conclude(
        self, step: int, metrics: Sequence[str], found: Mapping[str, float] | None = None
    ) -> None:
        """The settings and the final values of some metrics, for comparison over runs.

        Args:
            step: the run's last.
            metrics: names logged as scalars; the tab shows the last value of each.
            found: more of them, which are known at the end alone.
        """
        assert self._settings is not None
        found = found or {}
        table = flat(self._settings.model_dump(mode="json"))
        # Not `add_hparams`: it opens a run of its own, apart from the charts it belongs to.
        for summary in hparams(table, dict.fromkeys([*metrics, *found], 0)):
            self._board._get_file_writer().add_summary(summary, step + 1)
        for name, value in found.items():
            self._board.add_scalar(name, value, step + 1)

    def close(self) -> None:
        """Flushes everything to disk."""
        self._bar.__exit__()
        try:
            with naming(Path(self._metrics.name)):
                self._metrics.close()
        finally:
            with naming(Path(self._board.log_dir)):
                self._board.close()

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        # On a full disk closing fails like all else: what failed first is what is told.
        with suppress(OSError) if kind else nullcontext():
            self.close()


class Silence(Logbook):
    """What the other ranks of a run say: nothing."""

    def __init__(self) -> None:
        pass

    def tick(self, step: int) -> None:
        """Nothing."""

    def pause(self, step: int, what: str) -> None:
        """Nothing."""

    def log(self, step: int, metrics: dict[str, float], show: bool = False) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def conclude(
        self, step: int, metrics: Sequence[str], found: Mapping[str, float] | None = None
    ) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _seconds(metrics: Path) -> float:
    """What a resumed run's last line says it had taken; what it lost since counts as nothing."""
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - _LONGEST_LINE))
        lines = file.read().splitlines()
    try:
        return float(parse_json(lines[-1])["seconds"]) if lines else 0.0
    except (ValueError, KeyError, TypeError):  # only edited by hand is it otherwise
        return 0.0


def _but_for_the_board(thrown: threading.ExceptHookArgs) -> None:
    """Prints what a thread died of; TensorBoard's throws it again at the next write."""
    if not (isinstance(thrown.exc_value, OSError) and type(thrown.thread).__module__ == BOARD):
        threading.__excepthook__(thrown)


def flat(settings: Mapping[str, Any], within: str = "") -> dict[str, str | float]:
    """Nested settings as one table, `generator.layers` and so on; what is unset is left out."""
    table: dict[str, str | float] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            table |= flat(value, f"{within}{name}.")
        elif isinstance(value, bool | list | tuple):
            table[within + name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) \
                else str(value).lower()  # fmt: skip
        elif value is not None:
            table[within + name] = value
    return table
