"""Features of what sounds together: pitch classes, chords as sets above their bass, voicings.

A chord is known by its pitch classes above the bass, whatever its key and spacing: `mask_4_7` is a
major triad in root position. Chords of five notes and more are counted by what they hold above the
bass. Windows of notes catch harmonies that are broken up in time.
"""

from functools import lru_cache
from itertools import combinations

import numpy as np

from discriminator.features import Piece, Table
from discriminator.symbolic import counting as count
from discriminator.symbolic import sets

WIDTHS = (8, 16, 48)  # notes in a window: a chord, a bar or two, a phrase
# How well each class fits a major and a minor key (Krumhansl and Kessler 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
# Chords to recognise in a window, by their classes above the root; after Pardo and Birmingham 2002.
CHORDS = {
    "major": (0, 4, 7), "minor": (0, 3, 7), "dominant": (0, 4, 7, 10), "major7": (0, 4, 7, 11),
    "minor7": (0, 3, 7, 10), "half": (0, 3, 6, 10), "diminished": (0, 3, 6, 9),
    "augmented": (0, 4, 8), "sixth": (0, 4, 7, 9),
}  # fmt: skip

_TURNED = (np.arange(12)[:, None] + np.arange(12)) % 12  # row n: the classes from the nth on
_QUANTILES = np.array([0.02, 0.25, 0.5, 0.75, 0.98])


def harmony(piece: Piece, table: Table) -> None:
    """Adds the features of pitch classes and chords."""
    # Counted from the lowest note's class: whatever is decided by order among equals is then
    # decided alike in every key.
    height = piece.notes.pitch - piece.notes.pitch.min()
    classes = height % 12
    total = np.bincount(classes, minlength=12)
    table.add("class_sorted", np.sort(count.shares(total))[::-1])
    in_key, fit, major = _in_key(total)
    table.add("class_in_key", in_key)
    table.add("key_fit", fit)
    table.add("key_major", major)
    table.add("class_fourier", count.fourier(total), range(1, 7))
    table.add("class_entropy", count.entropy(total))
    counts = [count.windows(classes, width) for width in WIDTHS]
    for width, rows in zip(WIDTHS, counts, strict=True):
        _windows(rows, width, table)
    for width, rows in zip(WIDTHS[:2], counts, strict=False):
        _chords(height, rows, width, table)
    _sets(piece, table)


def voicing(piece: Piece, table: Table) -> None:
    """Adds the features of how chords are laid out over the keyboard."""
    heard, hit = piece.heard, piece.hit
    table.add("sounding_notes", count.histogram(heard.size, 1, 10), range(1, 11))
    table.add("struck_notes", count.histogram(hit.size, 1, 8), range(1, 9))
    span = heard.span[heard.size > 1]
    table.add("span", count.mean_spread(span) if len(span) else np.zeros(2))
    table.add("span_octaves", count.histogram(span // 6, 0, 10))
    table.add("doubled", (heard.size - sets.sizes()[heard.masks]).mean())
    table.add("top_over_bass", count.tally(span % 12, 12))
    over = np.bincount(heard.over, minlength=37)[1:37]
    table.add("over_bass", count.shares(over), range(1, 37))
    _shapes(piece, table)
    pitch = piece.notes.pitch
    table.add("pitch_spread", count.mean_spread(pitch)[1])
    table.add("pitch_quantiles", np.diff(count.quantiles(pitch, _QUANTILES)))


def _in_key(total: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Shares (12,) from the tonic of the key that fits best, how well, and how major it is."""
    turns = total[_TURNED]  # (12, 12)
    profiles, weight = _profiles()
    centred = turns - turns.mean(1, keepdims=True)
    norm = np.sqrt((centred[0] ** 2).sum() * weight)
    fit = (centred @ profiles.T / np.maximum(norm, 1e-12)).round(9)  # (12, 2)
    by, mode = divmod(int(fit.argmax()), 2)
    return count.shares(turns[by]), float(fit[by, mode]), float(fit[:, 0].max() - fit[:, 1].max())


@lru_cache(maxsize=1)
def _profiles() -> tuple[np.ndarray, np.ndarray]:
    """Both profiles (2, 12) about their means, and the sums (2,) of their squares."""
    profiles = np.array([_MAJOR, _MINOR])
    profiles = profiles - profiles.mean(1, keepdims=True)
    return profiles, (profiles**2).sum(1)


def _windows(counts: np.ndarray, width: int, table: Table) -> None:
    """Adds what the pitch classes (W, 12) of windows are like and how they change."""
    mean, spread = count.mean_spread(count.fourier(counts))
    table.add(f"fourier{width}_mean", mean, range(1, 7))
    table.add(f"fourier{width}_spread", spread, range(1, 7))
    mean, spread = count.mean_spread(count.entropy(counts))
    table.add(f"entropy{width}_mean", mean)
    table.add(f"entropy{width}_spread", spread)
    table.add(f"different{width}", np.count_nonzero(counts) / len(counts))
    change = (
        np.abs(counts[2:] - counts[:-2]).sum(1) / (2 * width) if len(counts) > 2 else np.zeros(1)
    )
    table.add(f"change{width}", count.mean_spread(change))


def _chords(height: np.ndarray, counts: np.ndarray, width: int, table: Table) -> None:
    """Adds which chord each window holds and how its root moves to the next window's.

    Args:
        height: (N,) semitones above the lowest note of the piece.
        counts: (W, 12) the pitch classes of windows of them.
        width: notes in a window.
    """
    if len(height) > width:
        low = count.halves(height, width).min(1)
        low = np.minimum(low[1:], low[:-1])  # (W,)
    else:
        low = height.min(keepdims=True)
    # From the window's bass: (W, 12), (W, 12 * chords)
    score = (
        counts[np.arange(len(low))[:, None], _TURNED[low % 12]].astype(np.float32) @ _templates()
    )
    best = score.argmax(1)
    fit = score[np.arange(len(low)), best].astype(np.float64) / min(width, len(height))
    kinds = len(CHORDS)
    root, kind = np.divmod(best, kinds)
    table.add(f"chord{width}", count.tally(kind, kinds), list(CHORDS))
    table.add(f"chord{width}_root", count.tally(root, 12))
    table.add(f"chord{width}_fit", fit.mean())
    root = root + low
    motion = (root[1:] - root[:-1]) % 12
    table.add(f"chord{width}_motion", count.tally(motion, 12))
    before = kind[:-1]
    moves = (before * kinds + kind[1:])[motion > 0]
    table.add(f"chord{width}_pairs", count.tally(moves, kinds**2))
    falls = np.concatenate([before[motion == 5], before[motion == 11] + kinds])
    table.add(f"chord{width}_falls", count.tally(falls, 2 * kinds))


@lru_cache(maxsize=1)
def _templates() -> np.ndarray:
    """(12, 12 * chords): what each class of a window adds to each root and chord.

    Ascending by root. Members count for, others against, and large chords need more evidence.
    All are quarters, so that float32 is exact and no order of summation decides between equals.
    """
    columns = []
    for root in range(12):
        for members in CHORDS.values():
            column = np.full(12, -1.0)
            column[[(root + member) % 12 for member in members]] = 3 / len(members) + 0.25
            columns.append(column)
    return np.stack(columns, 1).astype(np.float32)


@lru_cache(maxsize=1)
def small_sets() -> tuple[tuple[str, ...], np.ndarray]:
    """Sets of two to four classes above the bass: their names, and (4096,) each mask's place.

    The place of the bass alone is 0, that of sets of five and more the last.
    """
    found = {"bass": 1}
    for size in (1, 2, 3):
        for members in combinations(range(1, 12), size):
            found["_".join(map(str, members))] = 1 + sum(1 << member for member in members)
    place = np.full(4096, len(found))
    place[list(found.values())] = np.arange(len(found))
    return (*found, "large"), place


def _sets(piece: Piece, table: Table) -> None:
    """Adds what sounds together, by pitch class above the bass."""
    masks, sizes, members = piece.heard.masks, sets.sizes(), sets.members()
    labels, place = small_sets()
    # Most of this depends on the mask alone, and a piece has fewer masks than moments.
    every = np.bincount(masks, minlength=sets.MASKS)
    kinds = every.nonzero()[0]
    times = every[kinds].astype(np.float64)
    size = sizes[masks]
    table.add("set_size", count.histogram(size, 1, 8), range(1, 9))
    table.add("set", count.shares(times @ members[kinds, 1:]), range(1, 12))
    large = times * (sizes[kinds] > 4)
    table.add("set_large", large @ members[kinds, 1:] / max(large.sum(), 1), range(1, 12))
    table.add("interval_class", count.shares(times @ sets.interval_classes()[kinds]), range(1, 7))
    table.add("mask", count.tally(place[masks], len(labels)), labels)
    chords = masks[size > 1]
    table.add("set_variety", count.variety(sets.set_classes()[chords], 32))
    table.add("mask_variety", count.variety(chords, 32))
    classes = piece.heard.classes()
    common = sizes[classes[1:] & classes[:-1]] / np.maximum(size[1:], size[:-1])
    table.add("set_common", count.mean_spread(common) if len(common) else np.zeros(2))
    struck = piece.hit.masks
    struck = struck[sizes[struck] > 2]
    above = members[struck, 1:].sum(0) / max(len(struck), 1)
    table.add("struck_set", above, range(1, 12))
    table.add("struck_mask", count.tally(place[struck], len(labels)), labels)


def _shapes(piece: Piece, table: Table) -> None:
    """Adds the steps from note to note within struck chords, and how often a shape comes again."""
    hit = piece.hit
    step = (hit.over[1:] - hit.over[:-1])[hit.over[1:] > 0]
    twice = np.zeros(len(piece.notes) - len(hit.over), dtype=step.dtype)  # one pitch struck again
    table.add("struck_step", count.histogram(np.concatenate([step, twice]), 0, 13))
    chords = hit.larger(2)
    over = np.bincount(chords.over, minlength=40)[1:40]
    table.add("struck_over", over / max(len(chords), 1), range(1, 40))
    codes = chords.codes(40)
    up = codes >> 1
    close, whole = np.bitwise_count(codes & up), np.bitwise_count(codes & codes >> 2 & ~up)
    table.add("cluster", [close.mean(), whole.mean()] if len(codes) else np.zeros(2))
    same = codes[1:] == codes[:-1]
    still = chords.low[1:] == chords.low[:-1]
    table.add(
        "planing", [(same & ~still).mean(), (same & still).mean()] if len(same) else np.zeros(2)
    )
    table.add("shape_variety", count.variety(codes, 32))
