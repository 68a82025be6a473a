"""What a worker process makes of one file: its tokens, and what is measured on it."""

from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from data_tools import fingerprint, midi
from data_tools.curate import facts_of, reason_of, too_few
from data_tools.duplicates import signature
from data_tools.errors import MidiError
from data_tools.inspect import timing_of_onsets
from data_tools.parallel import SECONDS
from data_tools.representation import Representation
from data_tools.settings import CorpusSettings

# A file's bytes, None where there are none, and why.
Offer = tuple[bytes | None, str]


@dataclass(frozen=True)
class Piece:
    """One file's outcome; `reason` is empty when it may be kept, and all else is then filled."""

    reason: str = ""
    sha256: str = ""
    ids: bytes = b""
    notes: int = 0
    seconds: float = 0.0
    timing: str = ""
    dropped: str = ""
    sketch: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    fingerprint: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


_worker: tuple[Representation, CorpusSettings] | None = None


def start(settings: CorpusSettings) -> None:
    """Makes this process ready to `tokenise`."""
    global _worker
    _worker = Representation(settings.representation), settings


def tokenise(offer: Offer) -> Piece:
    """Reads, cleans, measures and tokenises a file; never raises for bad music."""
    assert _worker is not None
    data, refused = offer
    if data is None:
        return Piece(refused)
    digest = sha256(data).hexdigest()
    try:
        return _tokenise(data, digest, *_worker)
    except MidiError as error:
        # Names of tracks are in it, and may hold anything: a reason is one line.
        return Piece(" ".join(error.reason.split()), digest)
    except Exception as error:  # a file nobody foresaw is set aside, and the rest goes on
        words = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        return Piece(words.removesuffix(": "), digest)


def _tokenise(
    data: bytes, digest: str, representation: Representation, settings: CorpusSettings
) -> Piece:
    prepared = representation.prepare(data)
    score = prepared.score
    if len(score.tracks) == 1:
        notes = midi.notes_of(score.tracks[0])
    else:  # several instruments are measured as one
        notes = midi.merged_notes(score)
        score = midi.score_of(notes, score.ticks_per_quarter)
        score.tempos = prepared.score.tempos.copy()
        score.tracks[0].pedals = prepared.score.tracks[0].pedals.copy()
    if len(notes) < settings.min_notes:  # before anything is measured that needs more of them
        return Piece(too_few(len(notes), settings.min_notes, prepared.dropped), digest)
    timed = midi.Notes(
        midi.seconds_of(score, notes.start),
        midi.seconds_of(score, notes.end),
        notes.pitch,
        notes.velocity,
    )
    reason = reason_of(facts_of(notes, timed, score.ticks_per_quarter), settings)
    if reason:
        return Piece(reason, digest)
    return Piece(
        "",
        digest,
        representation.encode(prepared.score).tobytes(),
        len(notes),
        float(timed.end.max()),
        timing_of_onsets(notes.start, score.ticks_per_quarter),
        "; ".join(prepared.dropped),
        signature(timed),
        fingerprint.measure(score, timed),
    )


def crashed(offer: Offer) -> Piece:
    """For a file whose worker died of it."""
    return Piece("crashed the reader", sha256(offer[0] or b"").hexdigest())


def late(offer: Offer) -> Piece:
    """For a file that kept a worker too long."""
    return Piece(f"took longer than {SECONDS:g} s", sha256(offer[0] or b"").hexdigest())
