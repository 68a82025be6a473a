"""Stopping a run by a key or by a scheduler, so that no step is lost."""

import errno
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO, TypeVar

Item = TypeVar("Item")
_UNHEARD = {errno.EIO, errno.EPIPE}  # of a terminal that is gone, and of a pipe
_WORDS = b"\nstopping when this step is done and saved; Ctrl-C once more stops at once\n"


class Stop:
    """What was asked for by Ctrl-C, SIGTERM or a terminal that was closed: among the steps when one
    is saved, after the last when the run has finished, elsewhere at once.

    Args:
        speaks: this process says that it heard.
        alone: no others must stop with it.

    Attributes:
        terminals: descriptors of what this process says that nobody may hear any more one day.
    """

    def __init__(self, speaks: bool = True, alone: bool = True) -> None:
        self._speaks, self._alone = speaks, alone
        self._asked = self._heeded = self._waits = self._last = self._ended = False
        self.terminals = [descriptor for descriptor in (1, 2) if _may_go(descriptor)]

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
            if self._asked and self._alone and not self._last:  # since the last step asked
                self._end()
        finally:
            self._waits = False

    def now(self, agreed: Callable[[bool], bool] = bool, last: bool = False) -> bool:
        """Whether the run stops after this step and so must save it; asked once a step, at its end.

        Args:
            agreed: what several processes make of their answers: all stop at one step, or none.
            last: no step follows. The run finishes then, whatever was asked: little is left to do.
        """
        self._last = last
        self._heeded = agreed(self._asked) and not last
        return self._heeded

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        # A scheduler's signal comes twice, from it and from torchrun; it loses patience by itself.
        # A closed terminal's comes from the shell and from the system.
        if number == signal.SIGHUP:
            self._hush(self.terminals)
        self._heed(patient=number in (signal.SIGTERM, signal.SIGHUP))

    def _heed(self, patient: bool) -> None:
        if self._waits and (patient or not self._asked):
            if self._speaks and not self._asked:
                with suppress(OSError):  # gone, too
                    os.write(2, _WORDS)  # Python's own streams may be in the middle of a line
            self._asked = True
        elif not (patient and (self._ended or (self._last and self._asked))):
            self._end()

    def unheard(self, descriptor: int) -> None:
        """What is written there is read by nobody any more, which a signal may not have told yet.

        The run stops as when a terminal is closed; what is still said there goes nowhere.
        """
        self._hush([descriptor])
        self._heed(patient=True)

    def _hush(self, descriptors: Iterable[int]) -> None:
        """Has what is still said go nowhere: writing to a terminal that is gone is an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in descriptors:
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


class _Heard:
    """A stream that asks for a stop when nobody reads it any more, instead of breaking the step.

    A closed terminal makes writing an error at once, and its signal may come a moment later.
    """

    def __init__(self, stream: TextIO, stop: Stop) -> None:
        self._stream, self._stop = stream, stop

    def write(self, text: str) -> int:
        """As the stream does."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._unheard(error)
            return len(text)

    def flush(self) -> None:
        """As the stream does."""
        try:
            self._stream.flush()
        except OSError as error:
            self._unheard(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _unheard(self, error: OSError) -> None:
        if error.errno not in _UNHEARD:
            raise error
        self._stop.unheard(self._stream.fileno())
        self._stream.flush()


@contextmanager
def _heard(stop: Stop) -> Iterator[None]:
    """Standard output and error ask for a stop when nobody reads them any more."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for name, stream in before.items():
        with suppress(OSError, AttributeError):  # no file, or none at all
            if stream.fileno() in stop.terminals:
                setattr(sys, name, _Heard(stream, stop))
    try:
        yield
    finally:
        for name, stream in before.items():
            setattr(sys, name, stream)


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
        with _heard(stop):
            yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, with a word, where nothing else heeds it."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
