"""The rows of `gan data check` against a table made by hand of 65 wild files (see truth.md)."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from data_tools import smf
from data_tools.inspect import inspect, programs_of_notes

TRUTH = Path(__file__).with_name("truth.csv")


def rows() -> list[dict[str, str]]:
    with TRUTH.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def words(values: tuple[object, ...]) -> str:
    return " ".join(map(str, values))


def yes(value: bool) -> str:
    return "yes" if value else "no"


def channels_of_several_programs(data: bytes) -> int:
    notes, program = programs_of_notes(smf.scan(data).events)
    sounding = defaultdict(set)
    for track, channel, number in zip(
        notes.track.tolist(), notes.channel.tolist(), program.tolist(), strict=True
    ):
        sounding[track, channel].add(number)
    return len({channel for (_, channel), programs in sounding.items() if len(programs) > 1})


@pytest.mark.parametrize("truth", rows(), ids=lambda row: row["file"])
def test_every_column(truth: dict[str, str], mini: Path) -> None:
    path = mini.parent / truth["file"]
    if not path.is_file():
        pytest.skip("the wild files are not beside this checkout")
    row = inspect(path)
    assert yes(row.readable) == truth["readable"]
    if not row.readable:
        assert row.reason
        return
    data = path.read_bytes()
    several = channels_of_several_programs(data)
    assert (row.program_changes > 0) == (several > 0)
    # There a first tempo other than 120 counts as a change.
    first = bool(truth["first_tempo"]) and truth["first_tempo"] != "120.00"
    found = {
        "format": str(row.format),
        "tracks": str(row.tracks),
        "ticks_per_beat": str(smf.scan(data).ticks_per_beat),
        "empty_tracks": str(row.empty_tracks),
        "notes": str(row.notes),
        "channels": words(row.channels),
        "programs": words(row.programs),
        "drums": yes(row.drums),
        "instruments": str(row.instruments),
        "single_instrument": yes(row.single_instrument),
        "piano": yes(row.piano),
        "program_changes_midway": str(several),
        "multichannel_tracks": str(row.mixed_tracks),
        "first_tempo": f"{row.tempo:.2f}",
        "tempo_changes": str(row.tempo_changes + first),
        "time_signatures": words(row.time_signatures),
        "key_signatures": words(row.key_signatures),
        "stuck_notes": str(row.stuck),
        "has_bad_bytes": yes(any("over 127" in damage for damage in row.damage)),
    }
    assert found == {name: truth[name] for name in found}
    assert {*found, "file", "readable", "remark"} == set(truth), "every column is compared"
