"""The forms jazz is played on: blues, rhythm changes and ii-V-I tunes, as charts in any key.

Each form is assembled from the stock phrases of the common repertoire (the plain, the quick-change
and the bird blues; the bridges of standards), then coloured: dominants get altered tensions or give
way to their tritone substitute.
"""

from dataclasses import replace

import numpy as np

from data_tools.practice.draws import chance, pick
from data_tools.practice.theory import Change, Chord, chart, tritone_substitute

BLUES = (
    "I7|I7|I7|I7|IV7|IV7|I7|I7|V7|IV7|I7|V7",
    "I7|IV7|I7|I7|IV7|IV7|I7|VI7b9|IIm7|V7|I7 VI7|IIm7 V7",
    "I7|IV7|I7|Vm7 I7|IV7|#IVdim7|I7|IIIm7b5 VI7b9|IIm7|V7|I7 VI7b9|IIm7 V7",
    "I7|IV7|I7|I7|IV7|IVm7 bVII7|I7|IIIm7 VI7|IIm7|V7|IIIm7 VI7|IIm7 V7",
    "I6|VIIm7b5 III7b9|VIm7 II7|Vm7 I7|IV7|IVm7 bVII7|I6|bIIIm7 bVI7|IIm7|V7|I6 VI7|IIm7 V7",
)
MINOR_BLUES = (
    "Im7|Im7|Im7|Im7|IVm7|IVm7|Im7|Im7|bVI7|V7alt|Im7|IIm7b5 V7b9",
    "Im6|IVm7|Im6|I7b9|IVm7|IVm7|Im6|Im6|IIm7b5|V7b9|Im6|V7#9",
    "Im7|IIm7b5 V7b9|Im7|Vm7 I7b9|IVm7|IVm7|Im7|VIm7b5|bVI7|V7#9|Im7 bVI7|IIm7b5 V7b9",
)
RHYTHM_OPENINGS = (
    "I6 VI7b9|IIm7 V7|IIIm7 VI7b9|IIm7 V7",
    "I6 #Idim7|IIm7 #IIdim7|IIIm7 VI7|IIm7 V7",
    "Imaj7 VIm7|IIm7 V7|Imaj7 VI7b9|IIm7 V7",
)
RHYTHM_SECONDS = ("I7|IV7 #IVdim7|I6 VI7|IIm7 V7", "Vm7 I7|IVmaj7 bVII7|IIIm7 VI7b9|IIm7 V7")
RHYTHM_CLOSINGS = ("I7|IV7 #IVdim7|I6 V7|I6", "Vm7 I7|IVmaj7 bVII7|IIm7 V7|I6")
RHYTHM_BRIDGE = "III7|III7|VI7|VI7|II7|II7|V7|V7"

OPENINGS = (
    "IIm7|V7|Imaj7|VI7b9", "Imaj7|VI7b9|IIm7|V7", "Imaj7 VI7b9|IIm7 V7|IIIm7 VI7b9|IIm7 V7",
    "Imaj9|IVm7 bVII7|IIIm7|VI7b9", "Imaj7|#Idim7|IIm7|V7", "VIm7|IIm7|V7|Imaj7",
    "Imaj7|VIIm7b5 III7b9|VIm7|Vm7 I7", "Imaj7|II7#11|IIm7|V7",
)  # fmt: skip
CLOSINGS = (
    "IIm7|V7|Imaj7|I6", "IVmaj7 bVII7|IIIm7 VI7b9|IIm7 V7|I6", "II7|IIm7 V7|Imaj7|I6",
    "IVmaj7|IVm7 bVII7|IIm7 V7|I69", "IIIm7 VI7|IIm7 V7|Imaj7|I6",
)  # fmt: skip
BRIDGES = (
    "Vm7|I7|IVmaj7|IVmaj7|VIm7|II7|IIm7|V7", "IVm7|bVII7|bIIImaj7|bIIImaj7|IIIm7|VI7|IIm7|V7",
    RHYTHM_BRIDGE, "IVmaj7|#IVdim7|IIIm7|VI7b9|IIm7|V7|IIIm7 VI7b9|IIm7 V7",
    "VIIm7b5|III7b9|VIm7|VIm7|VIm7|II7|IIm7|V7",
)  # fmt: skip
MINOR_OPENINGS = (
    "Im7|VIm7b5|IIm7b5|V7b9", "IIm7b5|V7b9|Im7|Im7", "Im6|IIm7b5 V7b9|Im6|Vm7b5 I7b9",
    "IVm7|bVII7|bIIImaj7|bVImaj7", "Im6|bVI7|IIm7b5|V7alt",
)  # fmt: skip
MINOR_CLOSINGS = (
    "IIm7b5|V7alt|Im6|Im6", "bVI7|V7b9|Im6|Im69", "IVm7|IIm7b5 V7b9|Im7|Im6",
)  # fmt: skip
MINOR_BRIDGES = (
    "Vm7b5|I7b9|IVm7|IVm7|IVm7|bVII7|bIIImaj7|IIm7b5 V7b9",
    "IVm7|bVII7|bIIImaj7|bIIImaj7|IIm7b5|V7b9|Im7|V7alt",
    "bIIImaj7|Im7|IVm7|bVII7|bIIImaj7|bVImaj7|IIm7b5|V7b9",
)


def turned(section: str, minor: bool) -> str:
    """A section whose last bar of tonic leads back to its beginning."""
    return section.rsplit("|", 1)[0] + ("|IIm7b5 V7b9" if minor else "|IIm7 V7")


def blues(rng: np.random.Generator, minor: bool, choruses: int) -> str:
    """Twelve-bar choruses, the last of which ends on the tonic."""
    chorus = pick(rng, MINOR_BLUES if minor else BLUES)
    bars = "|".join([chorus] * choruses).split("|")
    return "|".join([*bars[:-2], *(("Im6", "Im69") if minor else ("I7", "I69"))])


def rhythm_changes(rng: np.random.Generator) -> str:
    """Thirty-two bars, AABA."""
    opening = pick(rng, RHYTHM_OPENINGS)
    first = f"{opening}|{pick(rng, RHYTHM_SECONDS)}"
    last = f"{opening}|{pick(rng, RHYTHM_CLOSINGS)}"
    return "|".join([first, last, RHYTHM_BRIDGE, last])


def tune(rng: np.random.Generator, minor: bool, bars: int) -> str:
    """AABA of 32 bars, or of 16 with sections half as long."""
    opening = pick(rng, MINOR_OPENINGS if minor else OPENINGS)
    closing = pick(rng, MINOR_CLOSINGS if minor else CLOSINGS)
    bridge = pick(rng, MINOR_BRIDGES if minor else BRIDGES)
    if bars == 16:
        half = "|".join(bridge.split("|")[4:])
        return "|".join([opening, turned(closing, minor), half, closing])
    section = f"{opening}|{closing}"
    return "|".join([turned(section, minor), section, bridge, section])


def coloured(rng: np.random.Generator, changes: list[Change]) -> list[Change]:
    """The same changes with tensions added and some dominants exchanged for their substitute.

    Only a dominant that falls a fifth is substituted, and never the first chord of a four-bar
    phrase, so that the form stays audible.
    """
    result = []
    phrase = 4 * max(change.beats for change in changes)
    substitutes, tensions = rng.uniform(0, 0.4), rng.uniform(0, 0.6)
    for change, following in zip(changes, [*changes[1:], None], strict=True):
        chord = change.chord
        goal = following.chord if following is not None else chord
        falls = (goal.root - chord.root) % 12 == 5
        if chord.dominant and falls and change.beat % phrase and chance(rng, substitutes):
            chord = tritone_substitute(chord)
        elif chance(rng, tensions):
            chord = Chord(chord.root, _tension(rng, chord, goal.minor and falls))
        result.append(replace(change, chord=chord))
    return result


def _tension(rng: np.random.Generator, chord: Chord, to_minor: bool) -> str:
    if chord.quality == "7" and to_minor:
        return pick(rng, ("7b9", "7#9", "7alt", "7b13"))
    richer = {
        "7": ("9", "13", "13"), "m7": ("m9", "m11"), "maj7": ("maj9",), "6": ("69",), "m6": ("m69",)
    }  # fmt: skip
    return pick(rng, richer.get(chord.quality, (chord.quality,)))


def form(
    rng: np.random.Generator, key: int, minor: bool, beats: int
) -> tuple[str, int, list[Change]]:
    """A form that fills `beats`: its name, its beats to a bar, its changes."""
    if beats in (48, 96):
        if chance(rng, 0.22):
            text, metre = tune(rng, minor, beats // 3), 3
            name = "jazz-waltz"
        else:
            text, metre = blues(rng, minor, beats // 48), 4
            name = "minor-blues" if minor else "blues"
    elif beats == 128 and not minor and chance(rng, 0.5):
        text, metre, name = rhythm_changes(rng), 4, "rhythm-changes"
    else:
        text, metre = tune(rng, minor, beats // 4), 4
        name = "minor-tune" if minor else "two-five-one"
    return name, metre, coloured(rng, chart(text, key, metre))
