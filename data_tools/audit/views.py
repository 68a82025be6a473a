"""The three views an audit takes of a corpus: its files, its tokens, and its neutralised tokens.

`files` are the fingerprints taken when the corpus was built. `tokens` are taken from windows of the
corpus as a model reads them: what the representation hides is gone. `neutralised` are windows at
the same places after `data_tools.neutralise`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from data_tools import fingerprint
from data_tools.audit.ranking import Table
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.midi import Notes
from data_tools.neutralise import windows
from data_tools.representation import Representation
from data_tools.settings import NeutraliseSettings

VIEWS = ("files", "tokens", "neutralised")
WINDOW = 512  # tokens


def of_files(corpus: Corpus, numbers: Sequence[int]) -> Table:
    """The fingerprints of the files behind the pieces.

    Raises:
        UserError: the corpus was made without them, or with others.
    """
    if corpus.fingerprint_names != fingerprint.NAMES:
        raise UserError("the corpus holds other fingerprints, or none; build it again")
    return Table(np.asarray(corpus.fingerprints)[list(numbers)], np.arange(len(numbers)))


def of_windows(
    corpus: Corpus,
    numbers: Sequence[int],
    settings: NeutraliseSettings,
    seed: int,
    count: int,
    progress: Callable[[int], None] | None = None,
) -> Table:
    """Fingerprints of `count` windows a piece, decoded from tokens.

    Args:
        corpus: where the pieces are.
        numbers: the pieces.
        settings: how windows are neutralised; `neutral_share` 0 leaves them as they are.
        seed: with the number of a piece, decides its windows and their changes.
        count: windows a piece.
        progress: called with the number of windows done.

    Raises:
        UserError: neutralising is asked for on the time base beat.
    """
    values = np.zeros((len(numbers) * count, len(fingerprint.NAMES)), dtype=np.float32)
    drawn = windows(corpus, numbers, WINDOW, settings, seed=seed, count=count)
    for place, (_, ids) in enumerate(drawn):
        values[place] = measure(corpus.representation, ids)
        if progress:
            progress(place + 1)
    return Table(values, np.repeat(np.arange(len(numbers)), count))


def measure(representation: Representation, ids: np.ndarray) -> np.ndarray:
    """The fingerprint (F,) of ids (T,), as far as they hold one."""
    events, step = representation.events(ids), representation.grid_seconds
    notes = events.notes
    timed = Notes(notes.start * step, notes.end * step, notes.pitch, notes.velocity)
    return fingerprint.measure_window(timed, events.pedals * step, len(ids), step)
