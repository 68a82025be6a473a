"""`python -m gan` is `gan`; `torchrun -m gan train` trains on many GPUs."""

import sys


def main() -> None:
    """The command line; Ctrl-C ends it as quietly while it is imported as later."""
    try:
        from gan.cli import main as run
    except KeyboardInterrupt:
        sys.exit("stopped")
    run()


if __name__ == "__main__":
    main()
