"""`python -m gan` is `gan`; `torchrun -m gan train` trains on many GPUs."""

import os
import sys


def main() -> None:
    """The command line; Ctrl-C ends it as quietly while it is imported as later."""
    _open_streams()
    try:
        from gan.cli import main as run
    except KeyboardInterrupt:
        sys.exit("stopped")
    run()


def _open_streams() -> None:
    """What is said where a daemon, or `>&-`, has closed the output goes nowhere.

    Left closed, the next file that is opened takes its place, and gets what is said.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


if __name__ == "__main__":
    main()
