"""What a run tells: a line of JSON a logged step, the same in TensorBoard, a line on the screen."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch.utils.tensorboard import SummaryWriter


class Logbook:
    """Writes metrics where people look for them.

    Args:
        folder: the run's folder.
        step: steps done; what TensorBoard holds beyond them is hidden.
        quiet: nothing on the screen.
    """

    def __init__(self, folder: Path, step: int = 0, quiet: bool = False) -> None:
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + bool(step))
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._began = time.monotonic()

    def log(self, step: int, metrics: dict[str, float], show: bool = False) -> None:
        """Records numbers under names such as "loss/ce"; `show` prints them as well."""
        line = {"step": step, "seconds": round(time.monotonic() - self._began, 2)}
        self._metrics.write(json.dumps(line | {k: round(v, 6) for k, v in metrics.items()}) + "\n")
        self._metrics.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        if show:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self._console.print(f"step {step:>6}  {shown}")

    def say(self, text: str) -> None:
        """A line on the screen."""
        self._console.print(text)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """A picture (H, W, 3) uint8."""
        self._board.add_image(name, picture, step, dataformats="HWC")

    def text(self, name: str, content: str, step: int) -> None:
        """Markdown, under TensorBoard's text tab."""
        self._board.add_text(name, content, step)

    def precision_recall(
        self, name: str, labels: np.ndarray, probabilities: np.ndarray, step: int
    ) -> None:
        """A precision–recall curve."""
        self._board.add_pr_curve(name, labels, probabilities, step)

    def close(self) -> None:
        """Flushes everything to disk."""
        self._metrics.close()
        self._board.close()

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Silence(Logbook):
    """What the other ranks of a run say: nothing."""

    def __init__(self) -> None:
        pass

    def log(self, step: int, metrics: dict[str, float], show: bool = False) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Nothing."""

    def text(self, name: str, content: str, step: int) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
