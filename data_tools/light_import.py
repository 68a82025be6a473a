"""MidiTok without PyTorch.

MidiTok imports PyTorch where it is installed, for collators that nothing here uses: seconds and
some hundred megabytes for every process that tokenises. That part is hidden while MidiTok is being
imported, and only then; whoever wants `miditok.pytorch_data` can import it afterwards.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

_COLLATORS = "miditok.pytorch_data"


@contextmanager
def no_collators() -> Iterator[None]:
    """Within it, `import miditok` leaves PyTorch alone."""
    if "miditok" in sys.modules or "torch" in sys.modules:
        yield
        return
    # None is what Python takes for "there is no such module", and MidiTok goes on without.
    modules = cast(dict[str, ModuleType | None], sys.modules)
    modules[_COLLATORS] = None
    try:
        yield
    finally:
        modules.pop(_COLLATORS, None)
