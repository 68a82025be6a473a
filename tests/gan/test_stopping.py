"""Stopping between steps and within them."""

import errno
import fcntl
import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gan.cli_score import resumable
from gan.stopping import Stop, heeding, terminable


def ask(number: int = signal.SIGTERM) -> None:
    signal.raise_signal(number)


def stopped(
    before: tuple[int, ...] = (), after: tuple[int, ...] = ()
) -> tuple[list[int], list[int]]:
    """Steps done and saved of a run that gets signals in step 3.

    Args:
        before, after: the step asks whether to stop.
    """
    done: list[int] = []
    saved: list[int] = []

    def run() -> None:
        with heeding() as stop:
            for step in stop.steps(range(9)):
                for number in before if step == 3 else ():
                    ask(number)
                done.append(step)
                if stop.now():
                    saved.append(step)
                for number in after if step == 3 else ():
                    ask(number)

    with pytest.raises(KeyboardInterrupt):
        run()
    return done, saved


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """A shell's background jobs ignore Ctrl-C, and these tests may run in one."""
    key = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, key)
    signal.signal(signal.SIGHUP, terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_scoring_says_how_it_goes_on(number: int) -> None:
    with pytest.raises(KeyboardInterrupt, match="goes on from there with --resume"), resumable():
        ask(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_step_is_finished_first(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert stopped(before=(number,)) == ([0, 1, 2, 3], [3])
    assert "stopping when this step is done" in capfd.readouterr().err


def test_after_a_step_asked_the_next_one_is_finished() -> None:
    """Else a step would end the run that nobody saved."""
    assert stopped(after=(signal.SIGTERM,)) == ([0, 1, 2, 3, 4], [4])


def test_asked_in_its_last_step_a_run_finishes(capfd: pytest.CaptureFixture[str]) -> None:
    done = []
    with heeding() as stop:
        for step in stop.steps(range(3)):
            if step == 2:
                ask(signal.SIGTERM)
            done.append((step, stop.now(last=step == 2)))
        ask(signal.SIGTERM)  # the scheduler's second one
        done.append((3, False))
        with pytest.raises(KeyboardInterrupt):
            ask(signal.SIGINT)
    assert done == [(0, False), (1, False), (2, False), (3, False)]
    assert "stopping when this step is done" in capfd.readouterr().err


def test_asked_after_its_last_step_asked_a_run_finishes() -> None:
    stop = Stop(speaks=False)
    for _ in stop.steps([7]):
        assert not stop.now(last=True)
        stop(signal.SIGTERM, None)


def test_a_second_key_waits_for_nothing_and_a_scheduler_says_it_twice() -> None:
    term, key = signal.SIGTERM, signal.SIGINT
    assert stopped(before=(key, key)) == ([0, 1, 2], [])
    assert stopped(before=(term, key)) == ([0, 1, 2], [])
    assert stopped(before=(term, term)) == ([0, 1, 2, 3], [3])


def test_a_signal_after_the_last_step_is_not_forgotten() -> None:
    stop = Stop(speaks=False)
    steps = stop.steps([7])
    assert [next(steps), stop.now()] == [7, False]
    stop(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    stop(signal.SIGTERM, None)  # while the run says where it goes on
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)


def test_after_steps_that_were_broken_off_it_stops_at_once() -> None:
    stop = Stop(speaks=False)
    steps = stop.steps(range(9))
    next(steps)
    stop(signal.SIGTERM, None)
    steps.close()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM, None)


def test_all_of_several_stop_at_one_step() -> None:
    """One process that was not asked stops where another one was."""
    stop = Stop(speaks=False)
    steps = stop.steps(range(9))
    assert [next(steps), stop.now(bool), next(steps), stop.now(lambda mine: True)] \
        == [0, False, 1, True]  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        next(steps)


def test_outside_of_steps_it_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heeding() as stop:
        assert list(stop.steps(range(3))) == [0, 1, 2]
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_key_is_heeded_unless_it_is_ignored() -> None:
    with heeding() as stop:
        assert signal.getsignal(signal.SIGINT) is stop
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in a shell's background
    with heeding():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_nohup_is_heeded() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with heeding():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


RUN = """
import sys, time
from pathlib import Path
from gan.stopping import heeding
with heeding() as stop:
    for step in stop.steps(range(10_000)):
        print(step, flush=True)
        time.sleep(0.01)
        print(step, flush=True)
        print(step, file=sys.stderr, flush=True)
        if stop.now():
            Path(sys.argv[1]).write_text(f"{step} saved")
"""


@pytest.mark.parametrize("through", ["", " | cat", " 2>&1 | cat"])
def test_a_closed_terminal_ends_a_run_that_is_saved(through: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    saved = tmp_path / "saved"
    shell = f'"$0" -c "$1" "$2"{through}; true'
    run = subprocess.Popen(
        ["bash", "-c", shell, sys.executable, RUN, str(saved)],
        stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(theirs)
    assert os.read(ours, 1) == b"0"
    os.close(ours)  # and the terminal is gone
    run.wait(60)
    for _ in range(600):  # the shell may be gone first
        if saved.is_file() and saved.read_text().endswith(" saved"):
            return
        time.sleep(0.1)
    pytest.fail("nothing was saved")


def test_nothing_waits_that_was_not_asked() -> None:
    stop = Stop()
    assert [stop.now() for _ in stop.steps(range(3))] == [False] * 3


def test_a_scheduler_ends_any_command_with_a_word() -> None:
    with pytest.raises(KeyboardInterrupt), terminable():
        ask(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with terminable():
        outer = signal.getsignal(signal.SIGTERM)
        with heeding() as stop:
            assert signal.getsignal(signal.SIGTERM) is stop
        assert signal.getsignal(signal.SIGTERM) is outer


class Gone(io.StringIO):
    """A stream whose reader went away; a few letters go through before that."""

    def __init__(self, number: int, descriptor: int) -> None:
        super().__init__()
        self.number, self.descriptor, self.left = number, descriptor, 3

    def fileno(self) -> int:
        return self.descriptor

    def write(self, text: str) -> int:
        if self.left == 0:
            raise OSError(self.number, "gone")
        self.left -= 1
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("number", [errno.EIO, errno.EPIPE, errno.ENOSPC])
def test_a_stream_that_nobody_reads_breaks_no_step(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.pipe()
    stream, done = Gone(number, theirs), []

    def run() -> None:
        with heeding(speaks=False) as stop:
            for step in stop.steps(range(9)):
                print("a")
                done.append(step)
                stop.now()

    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr(Stop, "__init__", with_terminals([theirs]))
    expected = OSError if number == errno.ENOSPC else KeyboardInterrupt
    with pytest.raises(expected):
        run()
    assert done == ([0] if number == errno.ENOSPC else [0, 1])
    assert sys.stdout is stream
    os.close(ours)
    os.close(theirs)


def with_terminals(descriptors: list[int]) -> Callable[..., None]:
    """A `Stop.__init__` after which these are what may go."""
    before = Stop.__init__

    def init(self: Stop, speaks: bool = True, alone: bool = True) -> None:
        before(self, speaks, alone)
        self.terminals = descriptors

    return init
