"""Splits: a group is never divided, shares are kept where whole groups allow it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.splits import SPLITS, artist_key, assign, groups_of

names = st.sampled_from(["", "a", "b", "c", "d", "e"])
pieces = st.lists(
    st.tuples(names, names, st.sampled_from([("jazz", "x"), ("jazz", "y"), ("not_jazz", "x")])),
    min_size=1,
    max_size=60,
)


@given(pieces, st.data())
def test_what_belongs_together_stays_together(
    rows: list[tuple[str, str, tuple[str, str]]], data: st.DataObject
) -> None:
    works, artists, strata = (list(column) for column in zip(*rows, strict=True))
    places = st.integers(0, len(rows) - 1)
    pairs = data.draw(st.lists(st.tuples(places, places), max_size=8))
    groups = groups_of(works, artists, pairs)
    splits = assign(groups, strata, seed=data.draw(st.integers(0, 99)))
    assert set(splits) <= set(SPLITS)
    for keys in (works, artists):
        for key in set(keys) - {""}:
            assert len({s for k, s in zip(keys, splits, strict=True) if k == key}) == 1
    for first, second in pairs:
        assert groups[first] == groups[second]
        assert splits[first] == splits[second]


def test_strangers_are_not_grouped() -> None:
    assert len(set(groups_of([""] * 5, ["", "Unknown", "Anon.", "Traditional", ""], []))) == 5


def test_groups_join_through_each_other() -> None:
    groups = groups_of(["w", "w", "", "", ""], ["", "Tatum", "Art Tatum", "", ""], [(2, 3)])
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (["Bach, JS", "J.S. Bach", "Bach", "BACH, J. S.", "Bach / Gould : Aria"], "bach"),
        (["Antonín Dvořák", "Dvorak, A."], "dvorak"),
        (["Art Tatum", "Tatum, Art", "Tatum (trio)", "Art Tatum Trio"], "tatum"),
        (["Duke Ellington", "Duke Ellington Orchestra", "The Ellington Big Band"], "ellington"),
        (
            [
                "Bill Evans",
                "Bill Evans & Jim Hall",
                "Bill Evans and Jim Hall",
                "Bill Evans Trio feat. Lee Konitz",
                "Bill Evans; Jim Hall",
                "Bill Evans with Strings",
            ],
            "evans",
        ),
        (["Count Basie", "Count Basie & His Orchestra", "Basie, Count"], "basie"),
        (["Trio"], "trio"),
        (["Дюк Эллингтон", "Эллингтон, Д."], "эллингтон"),
        (["Harry Connick Jr.", "Harry Connick, Jr.", "Connick, Harry"], "connick"),
        (["", "  ", "Unknown", "anon.", "Various Artists", "[Traditional]", "n/a", "(?)"], ""),
    ],
)
def test_artist_key(spellings: list[str], key: str) -> None:
    assert {spelling: artist_key(spelling) for spelling in spellings} == dict.fromkeys(
        spellings, key
    )


def test_other_scripts_are_names_too() -> None:
    names = ["坂本龍一", "久石譲", "上原 ひろみ", "Дюк Эллингтон", "Бах, И. С.", "김 광민", "راشد"]
    keys = [artist_key(name) for name in names]
    assert "" not in keys
    assert len(set(keys)) == len(names)
    pieces = [name for name in names for _ in range(3)]
    assert len(set(groups_of([""] * len(pieces), pieces, []))) == len(names)


@given(st.integers(0, 1000))
def test_shares_and_strata(seed: int) -> None:
    groups = [number // 2 for number in range(400)]
    strata = [("jazz" if g % 2 else "not_jazz", "x" if g % 3 else "y") for g in groups]
    fractions = (0.7, 0.2, 0.1)
    splits = assign(groups, strata, fractions, seed)
    for stratum, total in Counter(strata).items():
        counts = Counter(s for s, t in zip(splits, strata, strict=True) if t == stratum)
        assert set(counts) == set(SPLITS)
        for split, share in zip(SPLITS, fractions, strict=True):
            assert counts[split] / total == pytest.approx(share, abs=0.06)


def test_deterministic_and_seeded() -> None:
    groups, strata = list(range(60)), [("jazz", "x")] * 60
    assert assign(groups, strata, seed=1) == assign(groups, strata, seed=1)
    assert len({tuple(assign(groups, strata, seed=seed)) for seed in range(5)}) > 1


def test_a_share_of_nothing_gets_nothing() -> None:
    splits = assign(list(range(50)), [("jazz", "x")] * 50, (1, 0, 0))
    assert set(splits) == {"train"}


def test_a_group_too_large_for_a_small_split_goes_to_train() -> None:
    groups = [0] * 60 + list(range(1, 41))
    splits = assign(groups, [("jazz", "x")] * 100)
    assert splits[0] == "train"
    assert set(splits) == set(SPLITS)


def test_large_groups_are_dealt_first_and_small_ones_fill_up() -> None:
    groups = [0] * 50 + [1] * 25 + list(range(2, 27))
    for seed in range(5):
        splits = assign(groups, [("jazz", "x")] * 100, (0.5, 0.25, 0.25), seed)
        assert [splits.count(split) for split in SPLITS] == [50, 25, 25]


def test_many_small_sources_still_reach_every_split() -> None:
    """Each source alone rounds to nothing; the label as a whole must not."""
    strata = [("jazz", "one")] * 60 + [("not_jazz", f"s{n // 4}") for n in range(60)]
    dealt = assign(list(range(120)), strata)
    for label in ("jazz", "not_jazz"):
        mine = Counter(split for split, stratum in zip(dealt, strata, strict=True)
                       if stratum[0] == label)  # fmt: skip
        assert mine["validation"] >= 3
        assert mine["test"] >= 3
        assert mine["train"] >= 40
    # One is not enough where six are due, and three, half of them, would be.
    strata = [("not_jazz", "large")] * 10 + [("not_jazz", f"s{n // 4}") for n in range(50)]
    few = Counter(assign(list(range(60)), strata))
    assert few["validation"] >= 5
    assert few["test"] >= 5
    assert assign([0], [("jazz", "x")]) == ["train"], "the last is not moved"
    handful = assign(list(range(8)), [("jazz", "a"), ("not_jazz", "b")] * 4)
    for label in range(2):
        assert set(handful[label::2]) == {"train", "validation", "test"}
