"""`python -m gan` is `gan`; `torchrun -m gan train` trains on many GPUs."""

from gan.cli import main

if __name__ == "__main__":
    main()
