"""Samples of an evaluation: whole files, none left over, nothing of anybody else's taken away."""

import json
from pathlib import Path

import pytest

from gan.evaluation import samples
from gan.evaluation.samples import LIST, write_samples


def there(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())


def test_what_an_earlier_call_wrote_goes_and_what_others_wrote_stays(tmp_path: Path) -> None:
    write_samples(tmp_path, {"a": [b"1", b"2", b"3"], "b": [b"4"]})
    assert there(tmp_path) == [LIST, "a/000.mid", "a/001.mid", "a/002.mid", "b/000.mid"]
    (tmp_path / "a" / "002.mid").write_bytes(b"edited")
    (tmp_path / "mine.txt").write_text("notes")
    write_samples(tmp_path, {"a": [b"9"]})
    assert there(tmp_path) == [LIST, "a/000.mid", "a/002.mid", "mine.txt"]
    assert (tmp_path / "a" / "000.mid").read_bytes() == b"9"
    assert not (tmp_path / "b").exists(), "an empty folder goes with its last file"


def test_a_killed_call_leaves_nothing_that_the_next_one_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(tmp_path, {"a": [b"old"] * 4})
    write = samples.write_bytes

    def killed(path: Path, data: bytes) -> None:
        if path.name == "002.mid":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(samples, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path, {"b": [b"new"] * 4})
    monkeypatch.undo()
    assert len(there(tmp_path)) == 1 + 4 + 2
    write_samples(tmp_path, {"c": [b"last"]})
    assert there(tmp_path) == [LIST, "c/000.mid"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\\x00", '{"a/000.mid": "x"}'])
def test_a_damaged_list_takes_nothing_away(tmp_path: Path, content: str) -> None:
    write_samples(tmp_path, {"a": [b"1", b"2"]})
    (tmp_path / LIST).write_text(content)
    write_samples(tmp_path, {"a": [b"3"]})
    assert there(tmp_path) == [LIST, "a/000.mid", "a/001.mid"]


def test_a_list_from_elsewhere_reaches_no_other_folder(tmp_path: Path) -> None:
    inside = tmp_path / "samples"
    write_samples(inside, {"a": [b"1"]})
    outside = tmp_path / "000.mid"
    outside.write_bytes(b"1")
    listed = json.loads((inside / LIST).read_text())
    digests = listed["a/000.mid"]
    names = ("../000.mid", str(outside), "a/../../000.mid")
    (inside / LIST).write_text(json.dumps(dict.fromkeys(names, digests)))
    write_samples(inside, {"b": [b"2"]})
    assert outside.exists()
