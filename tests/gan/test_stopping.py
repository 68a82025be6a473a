"""Stopping between steps and within them."""

import signal

import pytest

from gan.stopping import Stop, heeding


def ask() -> None:
    signal.raise_signal(signal.SIGTERM)


def stopped(before: int = 0, after: int = 0) -> tuple[list[int], list[int]]:
    """Steps done and saved of a run that is signalled so often in step 3.

    Args:
        before, after: the step asks whether to stop.
    """
    done: list[int] = []
    saved: list[int] = []

    def run() -> None:
        with heeding() as stop:
            for step in stop.steps(range(9)):
                for _ in range(before if step == 3 else 0):
                    ask()
                done.append(step)
                if stop.now():
                    saved.append(step)
                for _ in range(after if step == 3 else 0):
                    ask()

    with pytest.raises(KeyboardInterrupt):
        run()
    return done, saved


def test_a_step_is_finished_first(capfd: pytest.CaptureFixture[str]) -> None:
    assert stopped(before=1) == ([0, 1, 2, 3], [3])
    assert "once more stops at once" in capfd.readouterr().err


def test_after_a_step_asked_the_next_one_is_finished() -> None:
    """Else a step would end the run that nobody saved."""
    assert stopped(after=1) == ([0, 1, 2, 3, 4], [4])


def test_the_second_time_nothing_is_waited_for() -> None:
    assert stopped(before=2) == ([0, 1, 2], [])


def test_outside_of_steps_it_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heeding() as stop:
        assert list(stop.steps(range(3))) == [0, 1, 2]
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_key_is_heeded_unless_it_is_ignored() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with heeding() as stop:
            assert signal.getsignal(signal.SIGINT) is stop
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # in a shell's background
        with heeding():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_waits_that_was_not_asked() -> None:
    stop = Stop()
    assert [stop.now() for _ in stop.steps(range(3))] == [False] * 3
