"""A simple estimate of the chords of a piece, and how irregular their progression is.

Chords are templates of pitch classes, and the one whose direction is closest to what sounds in a
segment is taken (Fujishima 1999, "Realtime Chord Recognition of Musical Sound"). It mislabels many
a voicing without root, in real and in generated music alike: compare its figures with real music's
under the same estimate only, not with published ones from annotated chords.

Letters: N notes, S segments.
"""

import numpy as np

from data_tools.midi import Notes

# Pitch classes above the root.
QUALITIES = {
    "maj": (0, 4, 7), "min": (0, 3, 7), "aug": (0, 4, 8), "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10), "m7b5": (0, 3, 6, 10), "dim7": (0, 3, 6, 9),
}  # fmt: skip
ROOTS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
NAMES = tuple(f"{root}{quality}" for quality in QUALITIES for root in ROOTS)
# What the bass as root is worth in cosine: it decides between C6 and Am7, and not against a clearly
# better fit.
BASS = 0.1
_SILENT = 1e-6  # of a segment: sums of fractions of it are not exactly zero


def _templates() -> np.ndarray:
    """(96, 12) of unit length, in the order of `NAMES`."""
    rows = np.zeros((len(NAMES), 12))
    for number, classes in enumerate(QUALITIES.values()):
        for root in range(12):
            rows[12 * number + root, [(root + step) % 12 for step in classes]] = 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


_TEMPLATES = _templates()


def chroma(notes: Notes, segments: int) -> np.ndarray:
    """How long each pitch class sounds in each segment, (S, 12), in segments.

    Args:
        notes: onsets and ends counted in segments, from 0 on; two octaves of a class count twice.
        segments: S; what sounds later is left out.
    """
    change = np.zeros((segments + 2) * 12)
    for time, sign in ((notes.start, 1.0), (notes.end, -1.0)):
        # Sounding from `time` on fills the rest of its segment and all of those that follow.
        time = np.minimum(time, segments)
        whole = np.floor(time).astype(np.int64)
        part = time - whole
        for place, weights in ((whole, 1 - part), (whole + 1, part)):
            index = place * 12 + notes.pitch.astype(np.int64) % 12
            change += sign * np.bincount(index, weights, minlength=len(change))
    return np.cumsum(change.reshape(-1, 12), axis=0)[:segments].clip(0)


def estimate(notes: Notes, segments: int) -> np.ndarray:
    """The chord of every segment.

    Args:
        notes: as `chroma` takes them.
        segments: S.

    Returns:
        (S,) int64, places in `NAMES`; -1 where nothing sounds.
    """
    weights = chroma(notes, segments)
    length = np.linalg.norm(weights, axis=1)
    fit = weights @ _TEMPLATES.T / np.maximum(length, _SILENT)[:, None]
    lowest = np.full(segments, 128)
    place = np.floor(notes.start).astype(np.int64)
    inside = (place >= 0) & (place < segments)
    np.minimum.at(lowest, place[inside], notes.pitch[inside].astype(np.int64))
    struck = np.flatnonzero(lowest < 128)
    for quality in range(len(QUALITIES)):
        fit[struck, 12 * quality + lowest[struck] % 12] += BASS
    # Rounded, so that equal fits are decided by the order of the names and not by the last bit.
    return np.where(length > _SILENT, fit.round(9).argmax(1), -1)


def irregularity(chords: np.ndarray, length: int = 3) -> float:
    """Chord-progression irregularity: the share of different trigrams among all (Wu & Yang 2020).

    A chord that is held or struck again is one chord and silence is none, so that the figure does
    not depend on how finely the piece was cut.

    Args:
        chords: (S,) any labels, -1 for none.
        length: of the grams.

    Returns:
        0 to 1: 1 where no progression comes twice. NaN for fewer than `length` chords.
    """
    chords = chords[chords >= 0]
    chords = chords[np.diff(chords, prepend=-1) != 0]
    if len(chords) < length:
        return float("nan")
    grams = np.lib.stride_tricks.sliding_window_view(chords, length)
    return len(np.unique(grams, axis=0)) / len(grams)
