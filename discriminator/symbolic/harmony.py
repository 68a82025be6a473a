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


def harmony(piece: Piece, table: Table) -> None:
    """Adds the features of pitch classes and chords."""
    # Counted from the lowest note's class: whatever is decided by order among equals is then
    # decided alike in every key.
    classes = (piece.notes.pitch - piece.notes.pitch.min()) % 12
    total = np.bincount(classes, minlength=12)
    table.add("class_sorted", np.sort(count.shares(total))[::-1])
    in_key, fit, major = _in_key(total)
    table.add("class_in_key", in_key)
    table.add("key_fit", fit)
    table.add("key_major", major)
    table.add("class_fourier", count.fourier(total), range(1, 7))
    table.add("class_entropy", count.entropy(total))
    for width in WIDTHS:
        _windows(classes, width, table)
    for width in WIDTHS[:2]:
        _chords(piece, width, table)
    _sets(piece, table)


def voicing(piece: Piece, table: Table) -> None:
    """Adds the features of how chords are laid out over the keyboard."""
    sounding, struck = piece.sounding, piece.struck
    low, high = count.bounds(sounding)
    held, hit = sounding.sum(1), struck.sum(1)
    table.add("sounding_notes", count.histogram(held, 1, 10), range(1, 11))
    table.add("struck_notes", count.histogram(hit, 1, 8), range(1, 9))
    span = high - low
    wide = held > 1
    table.add("span", [span[wide].mean(), span[wide].std()] if wide.any() else np.zeros(2))
    table.add("span_octaves", count.histogram(span[wide] // 6, 0, 10))
    table.add("doubled", (held - count.pitch_classes(sounding).sum(1)).mean())
    top = span[wide]
    table.add("top_over_bass", count.histogram(top % 12, 0, 11))
    table.add(
        "over_bass", count.shares(count.above(sounding, low, 37)[wide, 1:].sum(0)), range(1, 37)
    )
    _shapes(piece, hit, table)
    pitch = piece.notes.pitch
    table.add("pitch_spread", pitch.std())
    table.add("pitch_quantiles", np.diff(np.quantile(pitch, [0.02, 0.25, 0.5, 0.75, 0.98])))


def _in_key(total: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Shares (12,) from the tonic of the key that fits best, how well, and how major it is."""
    turns = np.stack([np.roll(total, -by) for by in range(12)])  # (12, 12)
    profiles = np.array([_MAJOR, _MINOR])
    profiles = profiles - profiles.mean(1, keepdims=True)
    centred = turns - turns.mean(1, keepdims=True)
    norm = np.sqrt((centred[0] ** 2).sum() * (profiles**2).sum(1))
    fit = (centred @ profiles.T / np.maximum(norm, 1e-12)).round(9)  # (12, 2)
    by, mode = np.unravel_index(fit.argmax(), fit.shape)
    return count.shares(turns[by]), float(fit[by, mode]), float(fit[:, 0].max() - fit[:, 1].max())


def _windows(classes: np.ndarray, width: int, table: Table) -> None:
    counts = count.windows(classes, width)  # (W, 12)
    lines = count.fourier(counts)
    entropy = count.entropy(counts)
    table.add(f"fourier{width}_mean", lines.mean(0), range(1, 7))
    table.add(f"fourier{width}_spread", lines.std(0), range(1, 7))
    table.add(f"entropy{width}_mean", entropy.mean())
    table.add(f"entropy{width}_spread", entropy.std())
    table.add(f"different{width}", (counts > 0).sum(1).mean())
    change = (
        np.abs(counts[2:] - counts[:-2]).sum(1) / (2 * width) if len(counts) > 2 else np.zeros(1)
    )
    table.add(f"change{width}", [change.mean(), change.std()])


def _chords(piece: Piece, width: int, table: Table) -> None:
    """Adds which chord each window holds and how its root moves to the next window's."""
    pitch = piece.notes.pitch
    if len(pitch) > width:
        view = np.lib.stride_tricks.sliding_window_view(pitch, width)[:: width // 2]
    else:
        view = pitch[None]
    low = view.min(1)
    counts = count.turned(count.windows(pitch % 12, width), low)  # (W, 12) from the window's bass
    score = counts @ _templates()  # (W, 12 * chords)
    best = score.argmax(1)
    root, kind = best // len(CHORDS), best % len(CHORDS)
    table.add(f"chord{width}", count.histogram(kind, 0, len(CHORDS) - 1), list(CHORDS))
    table.add(f"chord{width}_root", count.histogram(root, 0, 11))
    table.add(f"chord{width}_fit", (score.max(1) / view.shape[1]).mean())
    absolute = (root + low) % 12
    motion = np.diff(absolute) % 12
    table.add(f"chord{width}_motion", count.histogram(motion, 0, 11))
    moved = motion > 0
    pairs = kind[:-1][moved] * len(CHORDS) + kind[1:][moved]
    table.add(f"chord{width}_pairs", count.histogram(pairs, 0, len(CHORDS) ** 2 - 1))
    fourth = (motion == 5) * 1 + (motion == 11) * 2
    joint = fourth[fourth > 0] - 1
    table.add(
        f"chord{width}_falls",
        count.histogram(joint * len(CHORDS) + kind[:-1][fourth > 0], 0, 2 * len(CHORDS) - 1),
    )


@lru_cache(maxsize=1)
def _templates() -> np.ndarray:
    """(12, 12 * chords): what each class of a window adds to each root and chord.

    Ascending by root. Members count for, others against, and large chords need more evidence.
    """
    columns = []
    for root in range(12):
        for members in CHORDS.values():
            column = np.full(12, -1.0)
            column[[(root + member) % 12 for member in members]] = 3 / len(members) + 0.25
            columns.append(column)
    return np.stack(columns, 1)


@lru_cache(maxsize=1)
def small_sets() -> tuple[dict[str, int], np.ndarray]:
    """Sets of two to four classes above the bass: their names, and (4096,) each mask's place.

    The place of the bass alone is 0, that of sets of five and more the last.
    """
    found = {"bass": 1}
    for size in (1, 2, 3):
        for members in combinations(range(1, 12), size):
            found["_".join(map(str, members))] = 1 + sum(1 << member for member in members)
    place = np.full(4096, len(found))
    place[list(found.values())] = np.arange(len(found))
    return found | {"large": 0}, place


def _sets(piece: Piece, table: Table) -> None:
    """Adds what sounds together, by pitch class above the bass."""
    sounding = piece.sounding
    low, _ = count.bounds(sounding)
    classes = count.pitch_classes(sounding)
    size = classes.sum(1)
    table.add("set_size", count.histogram(size, 1, 8), range(1, 9))
    turned = count.turned(classes, low)
    chord, large = size > 1, size > 4
    table.add("set", count.shares(turned[chord, 1:].sum(0)), range(1, 12))
    table.add("set_large", turned[large, 1:].sum(0) / max(large.sum(), 1), range(1, 12))
    table.add(
        "interval_class", count.shares(count.interval_classes(classes[chord]).sum(0)), range(1, 7)
    )
    masks = count.masks(turned)
    labels, place = small_sets()
    table.add("mask", count.histogram(place[masks], 0, len(labels) - 1), list(labels))
    kinds = count.set_classes()[masks[chord]]
    table.add("set_variety", count.variety(kinds, 32))
    table.add("mask_variety", count.variety(masks[chord], 32))
    common = (classes[1:] & classes[:-1]).sum(1) / np.maximum(size[1:], size[:-1])
    table.add("set_common", [common.mean(), common.std()] if len(common) else np.zeros(2))
    struck = count.pitch_classes(piece.struck)
    thick = struck.sum(1) > 2
    lowest = piece.struck[thick].argmax(1)
    above = count.turned(struck[thick], lowest)
    table.add("struck_set", above[:, 1:].sum(0) / max(len(above), 1), range(1, 12))
    table.add(
        "struck_mask", count.histogram(place[count.masks(above)], 0, len(labels) - 1), list(labels)
    )


def _shapes(piece: Piece, hit: np.ndarray, table: Table) -> None:
    """Adds the steps from note to note within struck chords, and how often a shape comes again."""
    first, pitch = piece.moments.first, piece.notes.pitch
    order = np.lexsort((pitch, first))
    step = np.diff(pitch[order])[np.diff(first[order]) == 0]
    table.add("struck_step", count.histogram(step, 0, 13))
    rows = piece.struck[hit > 2]
    low = rows.argmax(1)
    shape = count.above(rows, low, 40)
    table.add("struck_over", shape[:, 1:].sum(0) / max(len(shape), 1), range(1, 40))
    close = shape[:, 1:] & shape[:, :-1]
    whole = shape[:, 2:] & shape[:, :-2] & ~shape[:, 1:-1]
    table.add("cluster", [close.sum(1).mean(), whole.sum(1).mean()] if len(rows) else np.zeros(2))
    codes = shape @ (1 << np.arange(40))
    same = codes[1:] == codes[:-1]
    still = low[1:] == low[:-1]
    table.add(
        "planing", [(same & ~still).mean(), (same & still).mean()] if len(same) else np.zeros(2)
    )
    table.add("shape_variety", count.variety(codes, 32))
