"""Four-part chorales after the textbook's rules (Aldwell & Schachter, "Harmony and Voice Leading").

All voicings of a chord within the singers' ranges are listed once; a beam search strings them
together, forbidding parallel fifths and octaves between any two voices and preferring steps.
"""

from functools import lru_cache

import numpy as np

from data_tools.practice.draws import chance, pick, weighted
from data_tools.practice.performance import Brief, Knobs, Note, Sketch
from data_tools.practice.theory import Change, Chord, numeral

# Letters in shape comments: W voicings kept in the beam, N voicings of the next chord, S steps.
VOICES = ("soprano", "alto", "tenor", "bass")
RANGES = ((60, 81), (53, 74), (47, 69), (36, 62))
_PAIRS = tuple((a, b) for a in range(4) for b in range(a + 1, 4))
BEAM = 6

# What may follow what; "/3" puts the third in the bass.
MAJOR = {
    "I": ("IV", "V", "VIm", "IIm/3", "V/3", "I/3", "IV", "II7"), "I/3": ("IV", "IIm/3", "V", "IIm"),
    "IIm": ("V", "V7", "V/3", "V7"), "IIm/3": ("V", "V7", "I/3"), "II7": ("V", "V7"),
    "IIIm": ("VIm", "IV"), "IV": ("V", "I", "IIm", "V7", "I/3"), "V": ("I", "VIm", "I/3", "I"),
    "V/3": ("I",), "V7": ("I", "VIm", "I"), "VIm": ("IIm", "IV", "IIm/3", "IIIm", "II7"),
}  # fmt: skip
MINOR = {
    "Im": ("IVm", "V", "bVI", "Im/3", "V/3", "bVII", "IIdim/3"), "Im/3": ("IVm", "IIdim/3", "V"),
    "IIdim/3": ("V", "V7"), "bIII": ("bVI", "IVm", "bVII"), "IVm": ("V", "Im", "V7", "bVII"),
    "V": ("Im", "bVI", "Im/3"), "V/3": ("Im",), "V7": ("Im", "bVI"),
    "bVI": ("IVm", "bIII", "IIdim/3"), "bVII": ("bIII", "Im"),
}  # fmt: skip


@lru_cache(maxsize=2048)
def voicings(chord: Chord, bass: int) -> np.ndarray:
    """Every complete voicing of `chord` with pitch class `bass` lowest, as (N, 4) pitches."""
    leading = chord.third if chord.dominant or chord.quality == "" else -1
    need = set(chord.tones) if len(chord.tones) == 3 else set(chord.tones) - {chord.tones[2]}
    pools = [[p for p in range(low, high + 1) if p % 12 in chord.tones] for low, high in RANGES[:3]]
    found = []
    for b in (p for p in range(RANGES[3][0], RANGES[3][1] + 1) if p % 12 == bass):
        for t in (p for p in pools[2] if b < p <= b + 19):
            for a in (p for p in pools[1] if t < p <= t + 12):
                for s in (p for p in pools[0] if a < p <= a + 12):
                    classes = [s % 12, a % 12, t % 12, b % 12]
                    doubled_seventh = len(chord.tones) > 3 and classes.count(chord.seventh) > 1
                    if not need <= set(classes) or doubled_seventh:
                        continue
                    if classes.count(leading) > 1 or classes.count(chord.third) > 2:
                        continue
                    found.append((s, a, t, b))
    return np.array(found)


def parallels(before: np.ndarray, after: np.ndarray, first: int, second: int) -> np.ndarray:
    """Whether two voices move in parallel unisons, fifths or octaves; broadcasts over (..., 4)."""
    old = np.abs(before[..., first] - before[..., second]) % 12
    new = np.abs(after[..., first] - after[..., second]) % 12
    moved = before[..., first] != after[..., first]
    return moved & (old == new) & ((old == 0) | (old == 7))


def _costs(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What it costs to go from each voicing of (W, 4) to each of (N, 4), as (W, N)."""
    old, new = before[:, None], after[None]
    moves = np.abs(new - old)  # (W, N, 4)
    cost = moves[..., 1] + moves[..., 2] + 0.35 * moves[..., 3] + 0.8 * moves[..., 0]
    cost = cost + 2.0 * (moves[..., 0] == 0) + 3.0 * (moves[..., 0] > 5) + 2 * (moves[..., 3] > 7)
    up, down = new[..., :3] < old[..., 1:], new[..., 1:] > old[..., :3]
    cost = cost + 4.0 * (up | down).any(-1)  # a voice crosses where its neighbour was
    for first, second in _PAIRS:
        cost = cost + 200.0 * parallels(old, new, first, second)
    outer = (new[..., 0] - new[..., 3]) % 12
    same_way = (new[..., 0] - old[..., 0]) * (new[..., 3] - old[..., 3]) > 0
    return cost + 4.0 * (same_way & (moves[..., 0] > 2) & ((outer == 0) | (outer == 7)))


def lead(
    rng: np.random.Generator, chords: list[tuple[Chord, int]], arch: np.ndarray, centre: float
) -> np.ndarray:
    """Voices for chords given with their bass, as (S, 4) pitches, soprano first.

    Args:
        rng: breaks ties, so that a progression is not always led alike.
        chords: chord and bass pitch class of each step.
        arch: (S,) where the soprano would like to be.
        centre: where the bass would like to be.
    """
    table = voicings(*chords[0])
    total = np.abs(table[:, 0] - arch[0]) + 0.7 * np.abs(table[:, 3] - centre)
    kept = np.argsort(total)[:BEAM]
    beam, total, paths = table[kept], total[kept], [[row] for row in table[kept]]
    for (chord, bass), wish in zip(chords[1:], arch[1:], strict=True):
        table = voicings(chord, bass)
        own = 0.45 * np.abs(table[:, 0] - wish) + 0.35 * np.abs(table[:, 3] - centre)
        costs = total[:, None] + _costs(beam, table) + own + rng.random(len(table)) * 1.5  # (W, N)
        cheapest = costs.argmin(0)  # (N,)
        reached = costs[cheapest, np.arange(len(table))]
        kept = np.argsort(reached)[:BEAM]
        paths = [[*paths[cheapest[i]], table[i]] for i in kept]
        beam, total = table[kept], reached[kept]
    return np.array(paths[0])


def progression(
    rng: np.random.Generator, minor: bool, phrases: int, quick: float
) -> list[tuple[str, int]]:
    """Numerals and their beats; every phrase of sixteen beats ends in a cadence.

    Args:
        quick: chance that two beats carry two chords.
    """
    table = MINOR if minor else MAJOR
    home = "Im" if minor else "I"
    steps: list[tuple[str, int]] = []
    for phrase in range(phrases):
        at = home if phrase % 2 == 0 or chance(rng, 0.5) else ("bIII" if minor else "VIm")
        closed = phrase % 2 == 1 or phrase == phrases - 1
        lengths: list[int] = []
        while sum(lengths) < 10:
            lengths += [1, 1] if chance(rng, quick) else [2]
        for length in lengths:
            steps.append((at, length))
            at = pick(rng, table[at])
        if steps[-1][0] in ("V", "V7", "V/3", "II7"):  # a dominant would not go on to the cadence
            steps[-1] = (home, steps[-1][1])
        if closed:
            ready = pick(rng, ("IVm", "IIdim/3")) if minor else pick(rng, ("IV", "IIm/3", "IIm"))
            last = home if not minor or chance(rng, 0.8) or phrase < phrases - 1 else "I"
            steps += [(ready, 1), (weighted(rng, ("V7", "V"), (2, 1)), 1), (last, 4)]
        else:
            steps += [(home, 1), ("IVm" if minor else "IIm/3", 1), ("V", 4)]
    return steps


def passing(
    rng: np.random.Generator, voices: np.ndarray, lengths: list[int], scale: tuple[int, ...],
    share: float,
) -> list[tuple[int, int, int]]:  # fmt: skip
    """Passing notes as (step, voice, pitch), half way through steps that leap a third."""
    added = []
    for step in range(len(voices) - 1):
        before, after = voices[step], voices[step + 1]
        if lengths[step] > 2:
            continue
        for voice in (0, 3, 1, 2):
            gap = int(after[voice] - before[voice])
            if abs(gap) not in (3, 4) or not chance(rng, share):
                continue
            inner = range(min(before[voice], after[voice]) + 1, max(before[voice], after[voice]))
            tones = [p for p in inner if p % 12 in scale]
            passed = before.copy()
            passed[voice] = tones[0] if tones else int(before[voice]) + gap // 2
            crossed = (np.diff(passed) >= 0).any()
            if crossed or any(parallels(passed, after, a, b) for a, b in _PAIRS):
                continue
            added.append((step, voice, int(passed[voice])))
            break  # one voice at a time
    return added


def compose(rng: np.random.Generator, brief: Brief, knobs: Knobs) -> Sketch:
    """A chorale of sixteen-beat phrases that fills the brief."""
    phrases = brief.beats // 16
    steps = progression(rng, brief.minor, phrases, float(np.clip(1.5 * knobs.density - 0.2, 0, 1)))
    chords, changes, beat = [], [], 0
    for text, length in steps:
        chord = numeral(text.removesuffix("/3"), brief.key)
        chords.append((chord, chord.third if text.endswith("/3") else chord.root))
        changes.append(Change(beat, length, chord))
        beat += length
    onsets = np.array([change.beat for change in changes])
    peak = rng.uniform(3, 6)
    arch = np.clip(knobs.melody, 65, 74) - 2 + peak * np.sin(np.pi * (onsets % 16) / 16)
    voices = lead(rng, chords, arch, float(np.clip(knobs.bass, 42, 54)))  # (S, 4)
    scale = tuple((brief.key + s) % 12 for s in ((0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11))[
        not brief.minor])  # fmt: skip
    lengths = [length for _, length in steps]
    moving = {
        (step, voice): pitch
        for step, voice, pitch in passing(rng, voices, lengths, scale, 0.2 + 0.7 * knobs.density)
    }
    parts: dict[str, list[Note]] = {voice: [] for voice in VOICES}
    for step, change in enumerate(changes):
        for voice, name in enumerate(VOICES):
            accent = (0.5, -0.4, -0.4, 0.1)[voice] + 0.2 * (change.beat % 2 == 0)
            pitch = int(voices[step, voice])
            half = change.beats / 2 if (step, voice) in moving else change.beats
            parts[name].append(Note(change.beat, half, pitch, accent))
            if (step, voice) in moving:
                middle = change.beat + half
                parts[name].append(Note(middle, half, moving[step, voice], accent - 0.3))
    return Sketch("chorale", parts, changes, 4)
