"""Why a classifier says what it says: p(jazz) over time, and what each note adds to the logit.

Notes are taken out of a window at random, what is left is written down again as any music is, and a
linear function of who is there is fitted to the logits. Its slopes are the weighted Banzhaf values
of the notes (Marichal & Mathonet 2011): by how much a note raises the logit on average, while each
other note stays with probability `STAY`; the idea of LIME (Ribeiro et al. 2016) and RISE (Petsiuk
et al. 2018), with notes for pixels. Every variant is real music, so a model with hard decisions
inside (which note is the bass?) is asked nothing it could not meet, which gradients along a path
between tokens would do (Sundararajan et al. 2017). Taking one note at a time is exact and blind: a
chord that is heard twice loses nothing with either.

Where boosted trees have a say, their opinion of the whole piece is the same in every window and
every variant: the curve contains it, and what notes contribute is their share in the networks'.
"""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import torch

from data_tools import midi
from data_tools.errors import MidiError
from data_tools.midi import Music
from data_tools.representation import EOS, Events, Representation, TokenType
from discriminator.reading import read_piece
from discriminator.reading import starts as window_starts

if TYPE_CHECKING:
    from discriminator.classifier import Classifier

Method = Literal["subsets", "gradient"]

STAY = 0.75  # probability with which a note stays in a variant
VARIANTS = 2000  # variants of windows a piece is worth: some 10 s of one CPU core
FEWEST = 32  # variants a window is worth; a piece of too many windows is read in part
MOMENTS = 256  # windows the curve over time is drawn from, at most
_BATCH = 64


class Moment(NamedTuple):
    """One window of the curve over time: seconds of its first and last note, calibrated p(jazz)."""

    start_s: float
    end_s: float
    p_jazz: float


class Heard(NamedTuple):
    """A note and what it adds to the piece's calibrated logit; None where that was not read."""

    onset_s: float
    duration_s: float
    pitch: int
    contribution: float | None


@dataclass(frozen=True)
class Explanation:
    """Why a piece got its p(jazz).

    Attributes:
        path: the piece's path, or what it is where it has none.
        p_jazz: calibrated probability, as `Classifier.score` gives it.
        verdict: "jazz", "not_jazz" or "unsure".
        logit: of p_jazz; what the contributions add to and take from.
        method: "subsets" or "gradient".
        fit: share of the variance of the variants' logits that the contributions foretell for a
            variant left out, 0..1; None for "gradient". The rest is noise, and what notes do
            together.
        curve: p(jazz) of overlapping windows, by time.
        notes: by onset, then pitch; seconds are the file's own.
    """

    path: str
    p_jazz: float
    verdict: str
    logit: float
    method: Method
    fit: float | None
    curve: tuple[Moment, ...]
    notes: tuple[Heard, ...]

    @property
    def read(self) -> float:
        """The share of notes whose contribution is known."""
        return sum(note.contribution is not None for note in self.notes) / len(self.notes)

    def strongest(self, seconds: float = 8.0, sign: int = 1) -> tuple[float, float, float]:
        """The passage that speaks most for jazz, or with `sign` -1 most against it.

        Args:
            seconds: how long it may be.
            sign: 1 or -1.

        Returns:
            Onset of its first and of its last note in seconds, and the sum of its contributions.
        """
        onset = np.array([note.onset_s for note in self.notes])
        total = np.cumsum([0.0, *(sign * (note.contribution or 0.0) for note in self.notes)])
        after = np.searchsorted(onset, onset + seconds)  # the first note beyond each passage
        sums = total[after] - total[:-1]
        first = int(sums.argmax())
        return float(onset[first]), float(onset[after[first] - 1]), float(sign * sums[first])

    def as_dict(self) -> dict[str, object]:
        """All of it as plain values for JSON."""
        return asdict(self) | {
            "read": self.read,
            "curve": [moment._asdict() for moment in self.curve],
            "notes": [note._asdict() for note in self.notes],
        }


def explain(
    classifier: "Classifier", music: Music, method: Method = "subsets", variants: int = VARIANTS
) -> Explanation:
    """Explains what a classifier says of one piece.

    Args:
        classifier: whose opinion.
        music: a path, bytes, a `miditoolkit.MidiFile` or a `symusic.Score`.
        method: "subsets" as above; "gradient" is the slope of the logit at a note's tokens times
            their difference from the piece's average token of that kind (gradient times input,
            Shrikumar et al. 2016): two passes a window, but what a model decides hard (which note
            is the bass) has no slope and goes unseen.
        variants: forward passes spent on a piece by "subsets". Up to `variants` / `FEWEST` windows
            of it, spread evenly, are read, and the notes of the others have no contribution.

    Raises:
        MidiError: bad music, or too short a piece.
        ValueError: another method, or no variants.
    """
    reading = read_piece(music, classifier.representation)
    if reading.error:
        raise MidiError(reading.path, reading.error)
    explanation = explain_tokens(classifier, reading.ids, reading.path, method, variants)
    score = classifier.representation.prepare(music).score
    first = midi.merged_notes(score).start[:1]
    late = float(midi.seconds_of(score, first)[0]) - explanation.notes[0].onset_s
    return replace(
        explanation,
        curve=tuple(Moment(a + late, b + late, p) for a, b, p in explanation.curve),
        notes=tuple(note._replace(onset_s=note.onset_s + late) for note in explanation.notes),
    )


def explain_tokens(
    classifier: "Classifier",
    ids: np.ndarray,
    path: str = "<tokens>",
    method: Method = "subsets",
    variants: int = VARIANTS,
) -> Explanation:
    """Explains token ids (T,) of the classifier's representation; see `explain`.

    Specials and conditions are skipped; seconds count from the first token.

    Raises:
        MidiError: too few tokens, or not a note in them.
        ValueError: another method, or no variants.
    """
    if method not in get_args(Method):
        raise ValueError(f"method '{method}': use {' or '.join(get_args(Method))}")
    if method == "subsets" and variants < 1:
        raise ValueError(f"variants {variants}: spend at least one")
    representation, settings = classifier.representation, classifier.settings
    verdict = classifier.score_tokens(ids, path)
    if verdict.p_jazz is None:
        raise MidiError(path, verdict.error)
    mean = float(classifier.logits([ids])[0])
    ids = np.asarray(ids, dtype=np.int64)
    ids = ids[(ids > EOS) & (ids < representation.music_size)]
    events = representation.events(ids, close=True)
    if not len(events.notes):
        raise MidiError(path, "no note in these tokens")
    seconds = _Clock(representation, ids)
    # Of the whole piece: in every window the same, whichever notes it is heard without.
    opinion = classifier.opinion(ids) if classifier.opinion else None
    curve = _curve(classifier, ids, opinion, seconds)
    # The same notes in canonical order: what a file gives already.
    ids = representation.encode_events(events).astype(np.int64)
    starts = window_starts(len(ids), settings.window, settings.most)
    if method == "gradient":
        slope, fit = _gradients(classifier, ids, opinion, starts, events), None
    else:
        slope, fit = _subsets(classifier, ids, opinion, starts, events, variants)
    share = settings.scale * slope / len(starts)
    onset, end = seconds(events.notes.start), seconds(events.notes.end)
    notes = (
        Heard(float(a), float(b - a), int(pitch), None if np.isnan(c) else float(c))
        for a, b, pitch, c in zip(onset, end, events.notes.pitch, share, strict=True)
    )
    return Explanation(
        path=path,
        p_jazz=verdict.p_jazz,
        verdict=verdict.verdict,
        logit=settings.scale * mean + settings.bias,
        method=method,
        fit=fit,
        curve=curve,
        notes=tuple(sorted(notes, key=lambda note: (note.onset_s, note.pitch))),
    )


class _Clock:
    """From grid steps to seconds, along the tempos that the tokens of a piece name."""

    def __init__(self, representation: Representation, ids: np.ndarray) -> None:
        self._score = representation.decode(ids)

    def __call__(self, steps: np.ndarray) -> np.ndarray:
        return midi.seconds_of(self._score, np.asarray(steps))


def _starts(length: int, window: int, hop: int, most: int) -> list[int]:
    """Where overlapping windows begin, the last one flush with the end; at most `most`, evenly."""
    last = max(0, length - window)
    starts = [*range(0, last, hop), last]
    if most and len(starts) > most:
        spread = np.linspace(0, last, most) if most > 1 else np.array([last // 2])
        starts = spread.round().astype(int).tolist()
    return starts


def _logits(
    classifier: "Classifier", windows: list[np.ndarray], opinion: float | None
) -> np.ndarray:
    """(N,) uncalibrated logits of token windows of any lengths, of one piece."""
    result = []
    for first in range(0, len(windows), _BATCH):
        batch = windows[first : first + _BATCH]
        x = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
        for row, ids in zip(x, batch, strict=True):
            row[: len(ids)] = ids
        with torch.inference_mode():
            there = torch.from_numpy(x).to(classifier.device)
            result.append(classifier.hear(there, [opinion] * len(batch)).cpu().numpy())
    return np.concatenate(result)


def _curve(
    classifier: "Classifier", ids: np.ndarray, opinion: float | None, seconds: _Clock
) -> tuple[Moment, ...]:
    """p(jazz) of windows of the usual length, four of which cover each moment."""
    settings = classifier.settings
    size = settings.window
    starts = _starts(len(ids), size, max(1, size // 4), MOMENTS)
    logits = _logits(classifier, [ids[start : start + size] for start in starts], opinion)
    p = 0.5 * (1 + np.tanh((settings.scale * logits.astype(float) + settings.bias) / 2))
    times = seconds(classifier.representation.times(ids))
    ends = [min(start + size, len(ids)) - 1 for start in starts]
    return tuple(
        Moment(float(times[start]), float(times[end]), float(one))
        for start, end, one in zip(starts, ends, p, strict=True)
    )


def _window_notes(
    representation: Representation, ids: np.ndarray, start: int, stop: int, events: Events
) -> tuple[Events, np.ndarray]:
    """The events of a window, and (M,) the place of each of its notes among the piece's.

    A note whose length or loudness the window cuts off keeps them; -1 where it is not the piece's.
    """
    kinds = representation.token_types
    while stop < len(ids) and kinds[ids[stop]] in (TokenType.VELOCITY, TokenType.DURATION):
        stop += 1
    window = ids[start:stop]
    inner = representation.events(window, close=True)
    struck = np.flatnonzero(representation.strikes[window])
    if not len(struck):
        return inner, np.zeros(0, dtype=np.int64)
    # Both time lines know the first stroke; a window of `remi` may begin within a bar.
    whole = representation.times(ids[: start + struck[0] + 1])[-1]
    offset = whole - representation.times(window[: struck[0] + 1])[-1]
    known = {key: place for place, key in enumerate(_keys(events, 0))}
    return inner, np.array([known.get(key, -1) for key in _keys(inner, int(offset))], dtype=int)


def _keys(events: Events, offset: int) -> list[tuple[int, int, int]]:
    channels = events.channels if len(events.channels) else np.ones(len(events.notes), dtype=int)
    onset = (events.notes.start + offset).tolist()
    return list(zip(onset, channels.tolist(), events.notes.pitch.tolist(), strict=True))


def _without(events: Events, stays: np.ndarray) -> Events:
    """The events with only those notes (N,) bool that stay."""
    several = len(events.channels) > 0
    return replace(
        events,
        notes=events.notes.take(stays),
        channels=events.channels[stays] if several else events.channels,
        programs=events.programs[stays] if several else events.programs,
    )


def _subsets(
    classifier: "Classifier", ids: np.ndarray, opinion: float | None, starts: list[int],
    events: Events, variants: int,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """(N,) what each note adds to the logits of its windows, NaN where unread; and the fit."""
    representation, size = classifier.representation, classifier.settings.window
    most = max(1, variants // FEWEST)
    if len(starts) > most:
        spread = np.linspace(0, len(starts) - 1, most).round().astype(int)
        starts = [starts[place] for place in spread]
    slope = np.full(len(events.notes), np.nan)
    missed, spread_of_all = 0.0, 0.0
    for start in starts:
        inner, places = _window_notes(representation, ids, start, start + size, events)
        count = len(places)
        if count < 2:
            continue
        # Seeded by the place: the same piece gets the same explanation, whatever was read before.
        generator = np.random.default_rng(start)
        stays = generator.random((min(2 * count, variants // len(starts)), count)) < STAY
        stays[~stays.any(1), 0] = True
        logits = _logits(
            classifier,
            [representation.encode_events(_without(inner, row)) for row in stays],
            opinion,
        )
        found, error, total = ridge(stays.astype(float), logits.astype(float))
        missed, spread_of_all = missed + error, spread_of_all + total
        here = places >= 0
        slope[places[here]] = np.nan_to_num(slope[places[here]]) + found[here]
    return slope, max(0.0, 1.0 - missed / spread_of_all) if spread_of_all else 0.0


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Ridge regression whose strength generalised cross-validation picks (Golub et al. 1979).

    Args:
        x: (M, N) features.
        y: (M,) targets.

    Returns:
        The slopes (N,); the sum of squares of what is foretold wrongly of each target when it is
        left out; and that of the targets' distances from their mean, each left out as well.
    """
    count = len(y)
    u, s, v = np.linalg.svd(x - x.mean(0), full_matrices=False)
    centred = y - y.mean()
    along = u.T @ centred
    strengths = np.logspace(-4, 3, 29)[:, None]  # (L, 1)
    kept = s**2 / (s**2 + strengths)  # (L, K)
    residual = centred - (kept * along) @ u.T  # (L, M)
    freedom = count - 1 - kept.sum(1)
    scores = (residual**2).sum(1) / np.maximum(freedom, 1e-9) ** 2
    best = int(scores.argmin())
    slopes = v.T @ (s / (s**2 + strengths[best]) * along)
    leverage = (u**2) @ kept[best] + 1 / count
    left_out = residual[best] / np.maximum(1 - leverage, 1e-9)
    alone = centred / (1 - 1 / count) if count > 1 else centred
    return slopes, float((left_out**2).sum()), float((alone**2).sum())


def _gradients(
    classifier: "Classifier", ids: np.ndarray, opinion: float | None, starts: list[int],
    events: Events,
) -> np.ndarray:  # fmt: skip
    """(N,) slope times difference from the average token of a kind, summed over a note's tokens;
    NaN where it begins in no window that was read.

    A note's tokens are its own and those up to the next note: when it comes is part of what it is.
    """
    representation, size = classifier.representation, classifier.settings.window
    vocabulary = representation.music_size
    kinds = representation.token_types
    owner = np.cumsum(representation.strikes[ids]) - 1  # (T,), notes in their order; -1 before any
    average = np.zeros((int(kinds.max()) + 1, vocabulary), dtype=np.float32)
    np.add.at(average, (kinds[ids], ids), 1.0)
    average /= np.maximum(average.sum(1, keepdims=True), 1.0)
    slope, read = np.zeros(len(events.notes)), np.zeros(len(events.notes), dtype=bool)
    for start in starts:
        window = ids[start : start + size]
        base = torch.from_numpy(average[kinds[window]]).to(classifier.device)  # (T, V)
        places = torch.from_numpy(window).to(classifier.device)
        rows = torch.nn.functional.one_hot(places, vocabulary).float()[None].requires_grad_()
        (gradient,) = torch.autograd.grad(classifier.hear(rows, [opinion]).sum(), rows)
        change = (gradient[0] * (rows.detach()[0] - base)).sum(-1).cpu().numpy()
        owned = owner[start : start + size]
        np.add.at(slope, owned[owned >= 0], change[owned >= 0])
        read[owned[representation.strikes[window] > 0]] = True
    return np.where(read, slope, np.nan)
