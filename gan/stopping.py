"""Stopping a run by a key or by a scheduler, so that no step is lost."""

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

Item = TypeVar("Item")
_WORDS = b"\nstopping when this step is done and saved; Ctrl-C once more stops at once\n"


class Stop:
    """What was asked for by Ctrl-C, SIGTERM or a terminal that was closed: among the steps when one
    is saved, elsewhere at once.

    Args:
        speaks: this process says that it heard.
        alone: no others must stop with it.
    """

    def __init__(self, speaks: bool = True, alone: bool = True) -> None:
        self._speaks, self._alone = speaks, alone
        self._asked = self._heeded = self._waits = self._ended = False
        self._terminals = [descriptor for descriptor in (1, 2) if _may_go(descriptor)]

    def steps(self, items: Iterable[Item]) -> Iterator[Item]:
        """Goes through the steps of a run.

        A signal that comes during a step waits for that step to ask for `now`, and to end; a second
        Ctrl-C does not wait.

        Raises:
            KeyboardInterrupt: after a step that asked, and had to stop.
        """
        self._waits = True
        try:
            for item in items:
                yield item
                if self._heeded:
                    self._end()
            if self._asked and self._alone:  # since the last step asked
                self._end()
        finally:
            self._waits = False

    def now(self, agreed: Callable[[bool], bool] = bool) -> bool:
        """Whether this step is the last and so must be saved; asked once a step, at its end.

        Args:
            agreed: what several processes make of their answers: all stop at one step, or none.
        """
        self._heeded = agreed(self._asked)
        return self._heeded

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        # A scheduler's signal comes twice, from it and from torchrun; it loses patience by itself.
        # A closed terminal's comes from the shell and from the system.
        patient = number in (signal.SIGTERM, signal.SIGHUP)
        if number == signal.SIGHUP:
            self._hush()
        if self._waits and (patient or not self._asked):
            if self._speaks and not self._asked:
                os.write(2, _WORDS)  # Python's own streams may be in the middle of a line
            self._asked = True
        elif not (patient and self._ended):
            self._end()

    def _hush(self) -> None:
        """Has what is still said go nowhere: writing to a terminal that is gone is an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in self._terminals:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def _end(self) -> NoReturn:
        self._ended = True
        raise KeyboardInterrupt


def _may_go(descriptor: int) -> bool:
    """Whether what is written there goes to a terminal, or through a pipe to one that ends too."""
    try:
        return os.isatty(descriptor) or stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:  # closed
        return False


@contextmanager
def heeding(speaks: bool = True, alone: bool = True) -> Iterator[Stop]:
    """Heeds Ctrl-C, SIGTERM, and SIGHUP where nothing has it ignored, as `nohup` does.

    Args:
        speaks, alone: see `Stop`.
    """
    stop = Stop(speaks, alone)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heeded = [signal.SIGTERM]
    # A shell's background jobs ignore Ctrl-C, and so should what they run.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        heeded.append(signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        heeded.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
