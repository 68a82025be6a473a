"""How far a long command is: a bar with rate and time left, for every command the same.

On a terminal the bar is drawn in place and gone when the work is done. In a log file a bar would be
nothing but empty lines, so a plain line comes now and then instead.
"""

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_SECONDS = 30.0  # between two lines where there is no terminal


class RateColumn(ProgressColumn):
    """Things a second, or seconds a thing where they are slow."""

    def render(self, task: Task) -> Text:
        """See `rate`."""
        return Text(rate(task.finished_speed or task.speed), style="progress.data.speed")


class ProgressBar:
    """Shows how much is done; a context manager.

    Args:
        what: a word or two before the bar.
        total: how many there are; None where nobody knows yet.
        done: how many were done before.
        quiet: show nothing.
        console: whose lines the bar stays below; standard error's own where None.
        plain: print lines where there is no terminal.
        slow: so many first ones are slower than the rest, and no measure of it: processes start,
            models are loaded.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        done: int = 0,
        quiet: bool = False,
        console: Console | None = None,
        plain: bool = True,
        slow: int = 0,
    ) -> None:
        self._console = console or Console(stderr=True, quiet=quiet, highlight=False)
        drawn = self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = plain and not drawn and not quiet
        self._what, self._total, self._first, self._slow = what, total, done, slow
        self._began = self._told = time.monotonic()
        self._bar = Progress(
            "{task.description}",
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            transient=True,
            # Else what is printed goes where the bar is, also when it was meant for a file.
            redirect_stdout=sys.stdout.isatty(),
            disable=quiet or not drawn,
        )
        self._task = self._bar.add_task(what, total=total, completed=done)

    def update(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """Moves on to so many done; `total` and `what` as far as they have changed."""
        self._total = self._total if total is None else total
        self._what = self._what if what is None else what
        self._bar.update(
            self._task, completed=done, total=self._total, description=self._what
        )  # fmt: skip
        now = time.monotonic()
        if self._slow and done >= self._first + self._slow:
            self._first, self._began, self._slow = done, now, 0
        if self._plain and now - self._told >= PLAIN_SECONDS:
            self._told = now
            self._console.print(self._line(done, now), soft_wrap=True)

    def _line(self, done: int, now: float) -> str:
        speed = self._speed(done, now)
        whole = f" of {self._total:,}" if self._total else ""
        parts = [f"{self._what}: {done:,}{whole}", rate(speed), self.left(done, now)]
        return ", ".join(part for part in parts if part)

    def left(self, done: int, now: float | None = None) -> str:
        """How long the rest will take, in minutes and seconds; empty where nobody knows."""
        speed = self._speed(done, time.monotonic() if now is None else now)
        if not self._total or not speed or done >= self._total:
            return ""
        minutes, seconds = divmod(round((self._total - done) / speed), 60)
        return f"{minutes}:{seconds:02d} left"

    def _speed(self, done: int, now: float) -> float:
        if self._slow:
            return 0.0
        return (done - self._first) / max(now - self._began, 1e-9)

    def __enter__(self) -> "ProgressBar":
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._bar.disable:  # up to rich 14 one that was never drawn leaves an empty line
            self._bar.stop()


def rate(speed: float | None) -> str:
    """A speed in words."""
    if not speed:
        return ""
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s" if speed >= 1 \
        else f"{1 / speed:.1f} s each"  # fmt: skip
