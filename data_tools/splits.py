"""Train, validation and test, by work and artist.

Pieces that share a work group, a near-duplicate or an artist form one group, and a group lies in
one split whole: otherwise a classifier is asked about performances it has learnt by heart. Groups
are dealt out, the largest first, to the split whose share of their labels and sources lags most.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

SPLITS = ("train", "validation", "test")

# Entries in an artist column that name nobody; grouping by them would lump strangers together.
_NOBODY = re.compile(
    r"^(|unknown|anonymous|anon\.?|various( artists)?|n/?a|\W?traditional\W?|trad\.?"
    r"|professional arrangers.*)$"
)
_SUFFIXES = ("jr", "sr", "ii", "iii", "iv")
# Who leads these is the artist.
_COMPANY = re.compile(
    r"(\s+(trio|quartet|quintet|sextet|septet|octet|nonet|orchestra|(big )?band|ensemble|group))+$"
)
# Of several names the first counts.
_OTHERS = re.compile(r"\s*[/(;]|\s+:\s+|\s+(&|and|feat\.?|featuring|ft\.?|with|vs\.?)\s+")


def artist_key(artist: str) -> str:
    """A name reduced to what identifies a person: "Bach, JS", "J.S. Bach", "Bach" are one.

    The composer of "Composer / Performer : title" counts, the leader of a trio, and the first of
    "Bill Evans & Jim Hall"; with the family name alone two people may share a key, which only makes
    a group larger. Accents do not count; a name in two scripts is two names. Empty for nobody in
    particular.
    """
    parts = unicodedata.normalize("NFKD", artist)
    whole = "".join(one for one in parts if not unicodedata.combining(one)).strip().casefold()
    plain = _OTHERS.split(whole, maxsplit=1)[0].strip()
    if _NOBODY.match(whole) or _NOBODY.match(plain):
        return ""
    plain = _COMPANY.sub("", plain)
    family, comma, rest = plain.partition(",")
    if comma and rest.strip(" .") not in _SUFFIXES:
        return family.strip()
    names = [name for name in re.split(r"[\s.,]+", plain) if name and name not in _SUFFIXES]
    return names[-1] if names else plain


def groups_of(
    works: Sequence[str], artists: Sequence[str], duplicates: Iterable[tuple[int, int]]
) -> list[int]:
    """The group number of each piece: connected through work, artist or near-duplication."""
    parent = list(range(len(works)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(first: int, second: int) -> None:
        parent[root(second)] = root(first)

    for keys in (works, [artist_key(artist) for artist in artists]):
        seen: dict[str, int] = {}
        for index, key in enumerate(keys):
            if key:
                join(seen.setdefault(key, index), index)
    for first, second in duplicates:
        join(first, second)
    return [root(index) for index in range(len(works))]


def assign(
    groups: Sequence[int],
    strata: Sequence[tuple[str, str]],
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> list[str]:
    """Deals groups out to train, validation and test.

    Args:
        groups: the group of each piece.
        strata: label and source of each piece; every split gets its share of each where whole
            groups allow it.
        fractions: shares of train, validation and test.
        seed: decides among equals.

    Returns:
        The split of each piece.
    """
    members: dict[int, Counter[tuple[str, str]]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        members.setdefault(group, Counter())[stratum] += 1
    total = Counter(strata)
    shuffled = np.random.default_rng(seed).permutation(sorted(members)).tolist()
    order = sorted(shuffled, key=lambda group: -sum(members[group].values()))
    taken = {split: Counter[tuple[str, str]]() for split in SPLITS}
    chosen: dict[int, str] = {}
    share = dict(zip(SPLITS, fractions, strict=True))
    for group in order:
        counts = members[group]

        def excess(split: str, counts: Counter[tuple[str, str]] = counts) -> float:
            # How far the split would overshoot its share, averaged over the group's pieces.
            if share[split] == 0:
                return float("inf")
            over = sum(
                count * (taken[split][stratum] + count) / (share[split] * total[stratum])
                for stratum, count in counts.items()
            )
            return over / sum(counts.values())

        best = min(SPLITS, key=excess)
        # A group larger than a small split's whole share belongs in train.
        if best != "train" and excess(best) > 1.5 and sum(counts.values()) > 1:
            best = "train"
        chosen[group] = best
        taken[best].update(counts)
    _top_up(chosen, members, share)
    return [chosen[group] for group in groups]


def _top_up(
    chosen: dict[int, str], members: dict[int, Counter[tuple[str, str]]], share: dict[str, float]
) -> None:
    """Moves small groups out of train where a label got less than half its share of a split.

    Sources of a few pieces each are all rounded into train; together they would leave a label
    without validation and test.
    """
    labels = sorted({label for counts in members.values() for label, _ in counts})
    for label in labels:
        sizes = {
            group: sum(counts.values())
            for group, counts in members.items()
            if {other for other, _ in counts} == {label}
        }
        total = sum(sizes.values())
        # The smallest first; among equals the last dealt, which keeps the outcome a function of
        # the seed.
        movable = sorted(
            (group for group in reversed(chosen) if group in sizes and chosen[group] == "train"),
            key=sizes.__getitem__,
        )
        for split in ("validation", "test"):
            have = sum(size for group, size in sizes.items() if chosen[group] == split)
            wanted = share[split] * total
            if not share[split] or have >= wanted / 2:
                continue
            while have < max(1, round(wanted)) and len(movable) > 1:
                group = movable.pop(0)
                chosen[group] = split
                have += sizes[group]
