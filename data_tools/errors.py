"""The errors a person can cause, apart from those only a bug can.

The command line prints a `UserError` as one line and exits with 1; anything else is a bug and keeps
its traceback.
"""

from pathlib import Path


class UserError(Exception):
    """A mistake in the input or the settings: names what, why, and the way out."""


class MidiError(UserError):
    """A piece of music that cannot be used.

    Attributes:
        source: the file's path, or a description of where the bytes came from.
        reason: why it cannot be used, in a few words.
    """

    def __init__(self, source: str | Path, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = str(source)
        self.reason = reason

    def __reduce__(self) -> tuple[type["MidiError"], tuple[str, str]]:
        return MidiError, (self.source, self.reason)
