"""Stopping between steps and within them."""

import signal
from collections.abc import Iterator

import pytest

from gan.stopping import Stop, heeding


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
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_step_is_finished_first(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert stopped(before=(number,)) == ([0, 1, 2, 3], [3])
    assert "stopping when this step is done" in capfd.readouterr().err


def test_after_a_step_asked_the_next_one_is_finished() -> None:
    """Else a step would end the run that nobody saved."""
    assert stopped(after=(signal.SIGTERM,)) == ([0, 1, 2, 3, 4], [4])


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


def test_nothing_waits_that_was_not_asked() -> None:
    stop = Stop()
    assert [stop.now() for _ in stop.steps(range(3))] == [False] * 3
