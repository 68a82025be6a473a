"""What a report is made from: plain dataclasses that whoever measured something fills in.

Nothing here computes. A report is a title, a verdict and any of the parts below; what is missing is
left out of the page or said to be missing, so that half an evaluation still makes a page. Systems
are told apart by their names, which every part that speaks of one repeats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from data_tools.midi import Music

REAL = "real jazz"  # what held-out music is called in charts


@dataclass(frozen=True)
class Figure:
    """One number with the interval it can be believed within.

    Attributes:
        value: the number; NaN where it could not be had.
        low, high: ends of its 95% interval, None where there is none.
        note: a few words beside it, as "64 pieces" or "one seed".
    """

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """How to read the figures of one name; a name without one is printed as it is.

    Attributes:
        better: which way is better; "match" where nearest to real jazz is; "" where nobody knows.
            Never is a winner marked whose interval overlaps with another's.
        meaning: one sentence for an audience that has not met the figure.
        digits: decimals printed; three significant digits by default.
        label: what the figure is called on the page; its name by default.
    """

    better: Literal["lower", "higher", "match", ""] = ""
    meaning: str = ""
    digits: int | None = None
    label: str = ""


@dataclass(frozen=True)
class Sample:
    """One piece of music to be seen and heard.

    Attributes:
        title: for people, as "8 bars of Autumn, continued".
        music: (N, 4) of onset and length in seconds, pitch, velocity; or MIDI as a path, bytes, a
            `miditoolkit.MidiFile` or a `symusic.Score`, whose drums are left out. None or no notes
            at all is an empty piece, MIDI that cannot be read a message in the piece's place.
        seconds: how long it is; to the end of its last note by default.
        pedal: (P, 2) seconds at which the sustain pedal goes down and comes up, ascending; only
            with an array, MIDI has its own.
        p_jazz: (second, p(jazz)) along the piece, by time.
        begins: the second where the generated part begins, None where all of it was generated.
    """

    title: str
    music: np.ndarray | Music | None
    seconds: float | None = None
    pedal: np.ndarray | None = None
    p_jazz: Sequence[tuple[float, float]] = ()
    begins: float | None = None


@dataclass(frozen=True)
class System:
    """Something that writes music, or music to hold it against.

    Attributes:
        name: short, and no other system's.
        description: a sentence or two.
        settings: any text, lines kept, as a YAML file or a command.
        figures: by name; systems are compared where names are the same.
        curves: by name, (step, value) ascending by step; as "cross-entropy, validation".
        samples: to be listened to.
        left_out: a line for each of its files that could not be used, with the reason.
    """

    name: str
    description: str = ""
    settings: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Point:
    """One setting of one system on the quality-diversity frontier.

    Attributes:
        system: whose; its points are joined in the order given. `REAL` for real jazz.
        setting: what was turned, as "temperature 0.9".
        line: only points of one system and one line are joined.
        quality, diversity: real jazz's own are to be matched.
    """

    system: str
    setting: str
    quality: Figure
    diversity: Figure
    line: str = ""


@dataclass(frozen=True)
class Frontier:
    """What quality costs in diversity.

    Attributes:
        points: of all systems.
        quality, diversity: what the axes measure.
    """

    points: Sequence[Point]
    quality: str = "quality"
    diversity: str = "diversity"


@dataclass(frozen=True)
class Histogram:
    """How often a property of the music takes which value.

    Attributes:
        name: what is counted, as "pitch class" or "notes a second".
        bins: B + 1 edges, or B words where the property has no order (counts then stand in place).
        counts: B each by the system's name; scaled to shares of 1 when drawn.
        real: the same of real jazz, None where there is none.
        unit: of the edges.
    """

    name: str
    bins: Sequence[float] | Sequence[str]
    counts: Mapping[str, Sequence[float]]
    real: Sequence[float] | None = None
    unit: str = ""


@dataclass(frozen=True)
class Confusion:
    """What a judge said of the pieces of one source.

    Attributes:
        source: a data set, or a system's name.
        truth: what the pieces are; "" where nobody knows, as of generated ones.
        jazz, not_jazz, unsure: how many pieces it called so.
    """

    source: str
    truth: Literal["jazz", "not_jazz", ""]
    jazz: int
    not_jazz: int
    unsure: int = 0


@dataclass(frozen=True)
class Table:
    """Any other table.

    Attributes:
        title: above it.
        columns: their names.
        rows: a cell for every column; numbers are aligned to the right.
        note: below it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """Everything on one page.

    Attributes:
        title: of the page.
        verdict: a few lines, shown first: what was found, for people who read no further.
        systems: in the order shown; each has its colour by its place.
        measures: how to read the figures, by their names; their order is the table's.
        frontier, histograms, confusion, tables: see there; empty where there is nothing.
        note: the last line: corpus, seeds, date, commit.
        intervals: what the figures' intervals are, for the caption of their table.
    """

    title: str
    verdict: str = ""
    systems: Sequence[System] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)
    frontier: Frontier | None = None
    histograms: Sequence[Histogram] = ()
    confusion: Sequence[Confusion] = ()
    tables: Sequence[Table] = ()
    note: str = ""
    intervals: str = ""
