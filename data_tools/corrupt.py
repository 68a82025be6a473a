"""Corrupted music: windows that look like a piece's and are none.

A classifier that met nothing but music answers "jazz or other music", and calls noise either; a
generator trained against it finds that out. So it is shown some of what generators do wrong: notes
at random, harmony without order, one figure for ever, next to silence. Each corruption keeps what
it can of a real window, so that what it destroys is what gives it away (contrastive estimation,
Smith & Eisner 2005, learns what sentences are from such neighbours).

Letters: T tokens, N notes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from data_tools.errors import UserError
from data_tools.midi import Notes, clean
from data_tools.representation import Representation

Corruption = Callable[[Notes, np.random.Generator], Notes]

_LARGEST_STEP = 7  # semitones a moved pitch goes at most
_LONGEST_FIGURE = 12  # notes of a figure that is repeated
_PAUSE = (8, 50)  # grid steps between a figure's last onset and its first one's return
_LEAST = 8  # notes a window needs to be worth corrupting


def shuffled_pitches(notes: Notes, generator: np.random.Generator) -> Notes:
    """Pitches permuted over the window: its keys and its rhythm stay, its harmony goes."""
    return replace(notes, pitch=generator.permutation(notes.pitch))


def random_pitches(notes: Notes, generator: np.random.Generator) -> Notes:
    """Every pitch anywhere in the window's register."""
    low, high = np.percentile(notes.pitch, [5, 95]).astype(int)
    return replace(notes, pitch=generator.integers(low, high + 1, len(notes)))


def moved_pitches(notes: Notes, generator: np.random.Generator) -> Notes:
    """A third of the pitches or more moved by some semitones each: contour and texture stay."""
    by = generator.integers(1, _LARGEST_STEP + 1, len(notes))
    by *= generator.choice((-1, 1), len(notes))
    moved = generator.random(len(notes)) < generator.uniform(1 / 3, 1)
    return replace(notes, pitch=notes.pitch + moved * by)


def wandering_pitches(notes: Notes, generator: np.random.Generator) -> Notes:
    """Small random steps up and down from the first note on, as a model writes that knows no more.

    The steps are the window's own ones, in any order and direction.
    """
    steps = np.diff(notes.pitch.astype(np.int64))
    steps = generator.permutation(steps) * generator.choice((-1, 1), len(steps))
    low, high = int(notes.pitch.min()), int(notes.pitch.max())
    width = max(1, high - low)
    walk = (int(notes.pitch[0]) - low + np.concatenate([[0], steps.cumsum()])) % (2 * width)
    return replace(notes, pitch=low + np.where(walk > width, 2 * width - walk, walk))


def shuffled_notes(notes: Notes, generator: np.random.Generator) -> Notes:
    """Every onset anywhere in the window: chords and lines come apart."""
    start = np.sort(generator.integers(notes.start[0], notes.start[-1] + 1, len(notes)))
    order = generator.permutation(len(notes))
    length = (notes.end - notes.start)[order]
    return Notes(start, start + length, notes.pitch[order], notes.velocity[order])


def repeated_figure(notes: Notes, generator: np.random.Generator) -> Notes:
    """A few notes of the window, over and over until it is full."""
    count = int(generator.integers(1, _LONGEST_FIGURE + 1))
    first = int(generator.integers(max(1, len(notes) - count)))
    figure = notes.take(np.arange(first, min(first + count, len(notes))))
    period = int(figure.start[-1] - figure.start[0]) + int(generator.integers(*_PAUSE))
    times = max(2, len(notes) // len(figure.start))
    shift = np.repeat(np.arange(times) * period, len(figure.start)) - figure.start[0]
    start, end = np.tile(figure.start, times) + shift, np.tile(figure.end, times) + shift
    return Notes(start, end, np.tile(figure.pitch, times), np.tile(figure.velocity, times))


def sparse(notes: Notes, generator: np.random.Generator) -> Notes:
    """One to eight of the window's notes with up to a hundred times the time between: silence."""
    count = int(generator.integers(1, _LEAST + 1))
    few = notes.take(np.sort(generator.choice(len(notes), min(count, len(notes)), replace=False)))
    slower = 100 ** generator.random()
    start = few.start[0] + np.rint((few.start - few.start[0]) * slower).astype(np.int64)
    return replace(few, start=start, end=start + few.end - few.start)


def shuffled_gaps(notes: Notes, generator: np.random.Generator) -> Notes:
    """The gaps between onsets in another order: harmony stays, rhythm goes."""
    moments, place = np.unique(notes.start, return_inverse=True)
    gaps = generator.permutation(np.diff(moments))
    start = (moments[0] + np.concatenate([[0], gaps.cumsum()]))[place]
    return replace(notes, start=start, end=start + notes.end - notes.start)


def random_gaps(notes: Notes, generator: np.random.Generator) -> Notes:
    """Onsets at random (a Poisson process of the window's own density), lengths shuffled."""
    moments, place = np.unique(notes.start, return_inverse=True)
    mean = np.diff(moments).mean() if len(moments) > 1 else 1.0
    gaps = np.maximum(1, np.rint(generator.exponential(mean, max(0, len(moments) - 1))))
    start = (moments[0] + np.concatenate([[0], gaps.cumsum()]).astype(np.int64))[place]
    return replace(notes, start=start, end=start + generator.permutation(notes.end - notes.start))


# What is heard in the pitches alone, and what takes a sense of time.
OF_PITCH: dict[str, Corruption] = {
    "shuffled pitches": shuffled_pitches,
    "random pitches": random_pitches,
    "moved pitches": moved_pitches,
    "wandering pitches": wandering_pitches,
    "shuffled notes": shuffled_notes,
    "repeated figure": repeated_figure,
    "sparse": sparse,
}
OF_TIME: dict[str, Corruption] = {"shuffled gaps": shuffled_gaps, "random gaps": random_gaps}
CORRUPTIONS = OF_PITCH | OF_TIME


def heard_by(view: str, hidden: Sequence[str] = ()) -> dict[str, Corruption]:
    """The corruptions that a discriminator can hear: without time, those of pitch.

    Args:
        view: what it looks at; see `discriminator.view`.
        hidden: kinds of tokens whose values it does not see.
    """
    return OF_PITCH if view == "harmony" or "time_shift" in hidden else CORRUPTIONS


class Corruptor:
    """Corrupts windows of music ids; a function of the generator it is called with.

    Args:
        representation: whose ids these are: one piano.
        names: some of `CORRUPTIONS`; one of them is drawn for every window.

    Raises:
        UserError: the preset holds several instruments.
    """

    def __init__(
        self, representation: Representation, names: Sequence[str] = tuple(CORRUPTIONS)
    ) -> None:
        if representation.settings.preset == "raw":
            raise UserError(
                "corrupting is for one piano, not for 'raw'; build the corpus with --preset "
                "duration"
            )
        self.representation, self.names = representation, tuple(names)

    def __call__(
        self, ids: np.ndarray, generator: np.random.Generator, name: str = ""
    ) -> np.ndarray | None:
        """What is left of music ids (T,), as ids of another length; None of too few notes.

        Args:
            ids: (T,) from anywhere in a piece.
            generator: all that is drawn.
            name: of the corruption; drawn if not given.
        """
        drawn = self.names[int(generator.integers(len(self.names)))]
        events = self.representation.events(ids)
        if len(events.notes) < _LEAST:
            return None
        notes = CORRUPTIONS[name or drawn](events.notes, generator)
        low, high = self.representation.vocabulary.pitches
        pitch = np.clip(notes.pitch, low, high)
        notes = clean(replace(notes, pitch=pitch), pitches=(low, high))
        return self.representation.encode_events(replace(events, notes=notes)).astype(np.int64)
