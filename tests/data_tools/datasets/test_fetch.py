"""Public datasets, from a server on this machine: every entry's whole way, and every bad line."""

import csv
import errno
import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from data_tools.corpus import build
from data_tools.datasets import download as download_module
from data_tools.datasets.catalog import Checksum, Dataset, datasets, find
from data_tools.datasets.download import DownloadError, Patience, download
from data_tools.datasets.fetch import addresses, fetch
from data_tools.errors import UserError
from data_tools.files import sole_writer

HASTY = Patience(connect=5, read=0.3, tries=3, pause=0)
DATA = np.random.default_rng(0).bytes(600_000)
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@dataclass
class Site:
    """A web site of files, and how it misbehaves.

    Attributes:
        files: what it serves, by path.
        ranges: whether it can go on in the middle.
        cuts: after how many bytes the next answers break off, one an answer; None: whole.
        stalls: seconds of silence in the middle of the next answers.
        late: seconds before the next answers begin.
        codes: status of the next answers, in place of the file.
        shift: by how much it misses the place it was asked for.
        etag: the version it tells.
        asked: (path, Range) of every request.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int | None] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    shift: int = 0
    etag: str = '"one"'
    kind: str = "application/zip"
    tells_size: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, path = self.site, self.path.split("?")[0]
        asked = self.headers.get("Range", "")
        site.asked.append((path, asked))
        time.sleep(site.late.pop(0) if site.late else 0)
        if site.codes and (code := site.codes.pop(0)):
            self.send_error(code)
            return
        if path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/moved"))
            self.end_headers()
            return
        data = site.files.get(path.rsplit("/", 1)[1])
        if data is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
        if start and self.headers.get("If-Range", site.etag) != site.etag:
            start = 0
        start += site.shift if start else 0
        if start > len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if site.tells_size:
            self.send_header("Content-Length", str(len(data) - start))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.send_header("Content-Type", site.kind)
        self.end_headers()
        rest, cut = data[start:], site.cuts.pop(0) if site.cuts else None
        stall = site.stalls.pop(0) if site.stalls else 0
        half = len(rest[:cut]) // 2
        try:
            self.wfile.write(rest[:half])
            time.sleep(stall)
            self.wfile.write(rest[half:cut])
        except OSError:
            pass  # the client has hung up


@pytest.fixture
def site() -> Iterator[Site]:
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.site = Site(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield handler.site  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("known", [SHA256, None])
@pytest.mark.parametrize("path", ["a.zip", "moved/a.zip", "deep/er/a.zip?download=1"])
def test_a_file_arrives_whole_and_is_not_asked_for_twice(
    site: Site, tmp_path: Path, path: str, known: str | None
) -> None:
    site.files["a.zip"] = DATA
    steps: list[tuple[int, int | None]] = []
    for _ in range(2):
        download(f"{site.address}/{path}", tmp_path / "a.zip", known, HASTY,
                 lambda what, done, total: steps.append((done, total)))  # fmt: skip
        assert (tmp_path / "a.zip").read_bytes() == DATA
    assert left(tmp_path) == ["a.zip"]
    assert steps[-1] == (len(DATA), len(DATA))
    assert len(site.asked) == (2 if "moved" in path else 1)


def test_a_cut_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.cuts = DATA, [98_304, 196_608, None]
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [asked for _, asked in site.asked] == ["", "bytes=98304-", "bytes=294912-"]


def test_a_part_from_another_place_is_not_appended(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.cuts, site.shift = DATA, [98_304, None], 7
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [asked for _, asked in site.asked] == ["", "bytes=98304-", ""]


def test_progress_makes_up_for_failures(site: Site, tmp_path: Path) -> None:
    """More cuts than tries, each a little further: the line is bad, but it works."""
    site.files["a.zip"], site.cuts = DATA, [81_920] * 7
    download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_another_run_goes_on(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.cuts = DATA, [98_304, 0, 0, 0]
    with pytest.raises(DownloadError, match="goes on where it stopped"):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert left(tmp_path) == ["a.zip.part", "a.zip.part.json"]
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert site.asked[-1][1] == "bytes=98304-"


@pytest.mark.parametrize("ranges", [True, False])
def test_halves_of_two_versions_never_meet(site: Site, tmp_path: Path, ranges: bool) -> None:
    site.files["a.zip"], site.cuts, site.ranges = DATA, [98_304, 0, 0, 0], ranges
    with pytest.raises(DownloadError):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    site.files["a.zip"], site.etag, site.cuts = DATA[::-1], '"two"', []
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA[::-1]


def test_without_a_version_or_a_checksum_it_starts_clean(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.etag, site.cuts = DATA, "", [98_304, None, 98_304, None]
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert [asked for _, asked in site.asked] == ["", ""]
    download(f"{site.address}/a.zip", tmp_path / "b.zip", SHA256, HASTY)
    assert site.asked[-1][1] == "bytes=98304-"


def test_a_server_without_range_is_given_up_in_the_end(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.ranges, site.cuts = DATA, False, [98_304] * 100
    with pytest.raises(DownloadError, match="3 times"):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert len(site.asked) <= 4


def test_silence_ends(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.late, site.stalls = DATA, [0.1], [0.6, 0]
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert len(site.asked) == 2
    site.late = [0.5] * 3
    with pytest.raises(DownloadError, match="silent, 3 times"):
        download(f"{site.address}/a.zip", tmp_path / "b.zip", None, HASTY)


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.codes = DATA, [503, 429]
    download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert len(site.asked) == 3
    with pytest.raises(DownloadError, match="404 Not Found"):
        download(f"{site.address}/b.zip", tmp_path / "b.zip", None, HASTY)
    assert len(site.asked) == 4
    site.codes = [500] * 9
    with pytest.raises(DownloadError, match="500 Internal Server Error, 3 times"):
        download(f"{site.address}/c.zip", tmp_path / "c.zip", None, HASTY)
    assert left(tmp_path) == ["a.zip"]


def test_a_wrong_file_is_deleted_and_both_checksums_are_told(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"] = DATA[1:]
    got = hashlib.sha256(DATA[1:]).hexdigest()
    with pytest.raises(DownloadError, match=f"expected {SHA256[7:]}, got {got}"):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    assert left(tmp_path) == []


def test_a_damaged_half_does_not_poison_the_rest(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.cuts = DATA, [98_304, 0, 0, 0]
    with pytest.raises(DownloadError):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    part = tmp_path / "a.zip.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(DownloadError, match="checksum"):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    part.write_bytes(DATA + b"too long")
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.zip.part.json").write_text(
        json.dumps({"url": f"{site.address}/a.zip", "validator": site.etag})
    )
    download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    (tmp_path / "a.zip").unlink()
    part.write_bytes(DATA[:9])
    (tmp_path / "a.zip.part.json").write_text("{half")
    download(f"{site.address}/a.zip", tmp_path / "a.zip", SHA256, HASTY)
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_web_page_is_no_dataset(site: Site, tmp_path: Path) -> None:
    site.files["a.zip"], site.kind = b"<html>confirm", "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="--archive"):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)


def test_a_disk_too_small_is_told_before_the_download(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["a.zip"] = DATA
    monkeypatch.setattr(download_module, "SPARE", 2**60)
    with pytest.raises(UserError, match="MiB free"):
        download(f"{site.address}/a.zip", tmp_path / "a.zip", None, HASTY)
    assert left(tmp_path) == []


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"refused, 3 times.*goes on") as caught:
        download("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", None, HASTY)
    assert "\n" not in str(caught.value)


# --- the catalogue ---


def zip_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tar_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def solo_tables(seed: int) -> tuple[bytes, bytes]:
    """A note table and its table of beats, with the columns and quoting of the published ones."""
    generator = np.random.default_rng(seed)
    beats = 9.2 + 0.29 * np.arange(60)
    notes = "onset,duration,period,signature,pitch,loud_max,loud_median,phrase_id,chord,idea\n"
    for onset in beats[4:56]:
        pitch, loud = generator.integers(50, 80), generator.normal(68, 3)
        notes += f'{onset + 0.01},0.138775510204,4,"""4/4""",{pitch},0.1,{loud},1,Bb6,quote:?\n'
    grid = "onset,duration,period,division,bar,beat,signature,chord,form,chorus_id,bass\n"
    for onset in beats:
        grid += f"{onset},0.29,4,1,-1,1,'4/4',NC,I1,0,42\n"
    return notes.encode(), grid.encode()


def archives(music: Iterator[bytes]) -> dict[str, dict[str, bytes]]:
    """For each dataset a small archive in the layout of the real one; things to ignore included."""

    def m() -> bytes:
        return next(music)

    solos = {}
    for seed, name in enumerate(["ArtPepper_Anthropology", "J.J.Johnson_Blues_AlternateTake2"]):
        notes, beats = solo_tables(seed)
        solos[f"jt-7056/mcsv_melody/{name}_FINAL.csv"] = notes
        solos[f"jt-7056/mcsv_beat/{name}_FINAL_beattrack.csv"] = beats
    maestro = (
        "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"
        '"Alban Berg","Sonata, Op. 1",train,2018,2018/one.midi,2018/one.wav,698.6\n'
    )
    asap = (
        "composer,title,folder,xml_score,midi_score,midi_performance,performance_annotations\n"
        "Bach,Fugue_bwv_846,Bach/Fugue/bwv_846,x,Bach/Fugue/bwv_846/midi_score.mid,"
        "Bach/Fugue/bwv_846/Shi05M.mid,x\n"
    )
    adl = "adl-piano-midi"
    return {
        "pop909": {
            "POP909-Dataset-master/POP909/001/001.mid": m(),
            "POP909-Dataset-master/POP909/001/versions/001-v1.mid": b"ignored",
            "POP909-Dataset-master/POP909/index.xlsx": b"ignored",
            "POP909-Dataset-master/POP909/002/002.mid": m(),
        },
        "asap": {
            "asap-dataset-1.1/metadata.csv": asap.encode(),
            "asap-dataset-1.1/Bach/Fugue/bwv_846/midi_score.mid": m(),
            "asap-dataset-1.1/Bach/Fugue/bwv_846/Shi05M.mid": m(),
            "asap-dataset-1.1/Bach/Fugue/bwv_846/xml_score.musicxml": b"ignored",
        },
        "maestro": {
            "maestro-v3.0.0/maestro-v3.0.0.csv": maestro.encode(),
            "maestro-v3.0.0/LICENSE": b"ignored",
            "maestro-v3.0.0/2018/one.midi": m(),
            "maestro-v3.0.0/2018/unlisted.midi": m(),
        },
        "pijama": {
            "midi_kong/studio/Art Tatum/Solo, Vol. 4/I'll See You Again.mid": m(),
            "midi_kong/live/Tete Montoliu/Solo Piano/Canço De Matinada.midi": m(),
            "__MACOSX/midi_kong/live/Tete Montoliu/Solo Piano/._Canço.midi": b"ignored",
        },
        "pijama-hawthorne": {"midi/studio/Kirk Lightsey/Lightsey 1/Moon Ra.midi": m()},
        "wjazzd": solos | {"jt-7056/README.md": b"ignored"},
        "nottingham": {
            "nottingham-dataset-master/MIDI/ashover1.mid": m(),
            "nottingham-dataset-master/MIDI/melody/ashover1.mid": b"ignored",
            "nottingham-dataset-master/MIDI/chords/ashover1.mid": b"ignored",
        },
        "giantmidi": {
            "midis/Aaron, Michael, Piano Course, V8WvKK-1b2c.mid": m(),
            "midis/Bach, Johann Sebastian, Suite, BWV 997, abcdefgh_-1.mid": m(),
            "midis/of no known form.mid": m(),
        },
        "adl": {
            f"{adl}/Jazz/Bebop/Bill Evans/Waltz for Debby.mid": m(),
            f"{adl}/Blues/Ragtime/Scott Joplin/Entertainer.mid": m(),
            f"{adl}/Jazz/Duke Ellington/Caravan.mid": m(),
            f"{adl}/Rock/Album Rock/Toto/Africa.mid": m(),
        },
        "lakh-clean": {"clean_midi/Toto/Africa.1.mid": m()},
        "lakh": {f"lmd_full/a/a{'0' * 31}.mid": m()},
    }  # fmt: skip


EXPECTED = {
    "pop909": {("not_jazz", "", "001", "pop909 001"), ("not_jazz", "", "002", "pop909 002")},
    "asap": {("not_jazz", "Bach", "Fugue bwv 846", "Bach: Fugue bwv 846")},
    "maestro": {
        ("not_jazz", "Alban Berg", "Sonata, Op. 1", "Alban Berg: Sonata, Op. 1"),
        ("not_jazz", "", "unlisted", ""),
    },
    "pijama": {
        ("jazz", "Art Tatum", "I'll See You Again", ""),
        ("jazz", "Tete Montoliu", "Canço De Matinada", ""),
    },
    "pijama-hawthorne": {("jazz", "Kirk Lightsey", "Moon Ra", "")},
    "wjazzd": {
        ("jazz", "Art Pepper", "Anthropology", ""),
        ("jazz", "J.J. Johnson", "Blues Alternate Take2", ""),
    },
    "nottingham": {("not_jazz", "", "ashover1", "")},
    "giantmidi": {
        ("not_jazz", "", "of no known form", ""),
        ("not_jazz", "Aaron, Michael", "Piano Course", "Aaron, Michael: Piano Course"),
        ("not_jazz", "Bach, Johann Sebastian", "Suite, BWV 997",
         "Bach, Johann Sebastian: Suite, BWV 997"),
    },
    "adl": {
        ("jazz", "Bill Evans", "Waltz for Debby", ""),
        ("jazz", "Duke Ellington", "Caravan", ""),
        ("unlabelled", "Scott Joplin", "Entertainer", ""),
        ("not_jazz", "Toto", "Africa", ""),
    },
    "lakh-clean": {("unlabelled", "Toto", "Africa.1", "")},
    "lakh": {("unlabelled", "", f"a{'0' * 31}", "")},
}  # fmt: skip


def unsealed(name: str) -> Dataset:
    """The entry without its published checksum, which no small archive has."""
    dataset = find(name)
    items = [
        item.model_copy(update={"checksum": None, "bytes": None}) for item in dataset.downloads
    ]
    return dataset.model_copy(update={"downloads": tuple(items)})


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_entry_goes_the_whole_way_into_a_corpus(
    site: Site, tmp_path: Path, practice_music: Path
) -> None:
    pieces = sorted(practice_music.rglob("*.mid"))
    small = archives(path.read_bytes() for path in pieces)
    assert set(small) == set(EXPECTED) == set(datasets())
    for name, members in small.items():
        dataset = unsealed(name)
        (item,) = dataset.downloads
        site.files[item.name] = (tar_of if ".tar" in item.name else zip_of)(members)
        out = tmp_path / name
        fetched = fetch(dataset, out, base_url=f"{site.address}/mirror/", patience=HASTY)
        rows = rows_in(out)
        assert {
            (row["label"], row["artist"], row["title"], row["work_group"]) for row in rows
        } == EXPECTED[name], name
        assert {row["source"] for row in rows} == {name}
        assert {row["licence"] for row in rows} == {dataset.licence.id}
        assert all((out / row["path"]).is_file() for row in rows)
        assert sum(fetched.labels.values()) == len(rows)
        assert fetched.unlisted == (name == "maestro")
        assert not fetched.problems
        note = (out / "ABOUT.txt").read_text()
        assert dataset.licence.words in note
        assert ("NOT allowed" in note) == ("NC" in dataset.licence.id)
        assert left(out) == ["ABOUT.txt", "fetch.lock.json", "manifest.csv", "midi"]
        lock = json.loads((out / "fetch.lock.json").read_text())
        assert lock["done"]
        digest = hashlib.sha256(site.files[item.name]).hexdigest()
        assert lock["files"][item.name]["sha256"] == digest
        assert lock["files"][item.name]["url"] == f"{site.address}/mirror/{item.name}"
    corpus, _ = build([tmp_path / name for name in small], tmp_path / "corpus", workers=1)
    assert corpus.facts["counts"]["rejected"] == 0, corpus.facts["counts"]
    assert {row["source"] for row in corpus.rows} == set(small)
    asked = len(site.asked)
    again = fetch(unsealed("adl"), tmp_path / "adl", base_url=site.address)
    assert again.already
    assert again.labels == {"jazz": 2, "not_jazz": 1, "unlabelled": 1}
    assert len(site.asked) == asked


@pytest.fixture
def nottingham(site: Site) -> Dataset:
    """A small dataset, served."""
    dataset = find("nottingham")
    site.files[dataset.downloads[0].name] = zip_of({"n-master/MIDI/a1.mid": b"MThd"})
    return dataset


def test_a_changed_file_is_noticed_with_the_same_pins(
    site: Site, tmp_path: Path, nottingham: Dataset
) -> None:
    pins = tmp_path / "pins.json"
    fetch(nottingham, tmp_path / "one", base_url=site.address, pins=pins, patience=HASTY)
    fetch(nottingham, tmp_path / "two", base_url=site.address, pins=pins, patience=HASTY)
    site.files[nottingham.downloads[0].name] = zip_of({"n-master/MIDI/a2.mid": b"MThd"})
    with pytest.raises(UserError, match="checksum mismatch"):
        fetch(nottingham, tmp_path / "three", base_url=site.address, pins=pins, patience=HASTY)
    assert not (tmp_path / "three" / "manifest.csv").exists()
    # A publisher's checksum does not outweigh the pin.
    (item,) = nottingham.downloads
    value = hashlib.md5(site.files[item.name]).hexdigest()
    sealed = item.model_copy(update={"checksum": Checksum(algorithm="md5", value=value)})
    changed = nottingham.model_copy(update={"downloads": (sealed,)})
    with pytest.raises(UserError, match="checksum mismatch"):
        fetch(changed, tmp_path / "changed", base_url=site.address, pins=pins, patience=HASTY)
    weighed = item.model_copy(update={"bytes": len(site.files[item.name]) + 1})
    changed = nottingham.model_copy(update={"downloads": (weighed,)})
    with pytest.raises(UserError, match=r"bytes, where \d+ are published"):
        fetch(changed, tmp_path / "weighed", base_url=site.address, patience=HASTY)
    pins.write_text('{"a": 1}')
    with pytest.raises(UserError, match="not of the form"):
        fetch(nottingham, tmp_path / "four", base_url=site.address, pins=pins, patience=HASTY)


def test_what_is_there_is_held_to_the_pins_and_added_to_them(
    site: Site, tmp_path: Path, nottingham: Dataset
) -> None:
    out, pins = tmp_path / "one", tmp_path / "pins.json"
    fetch(nottingham, out, base_url=site.address, patience=HASTY)
    assert fetch(nottingham, out, pins=pins).already
    held = json.loads(pins.read_text())
    assert held == json.loads((out / "fetch.lock.json").read_text())["files"]
    (name,) = held
    pins.write_text(json.dumps({name: {"sha256": "0" * 64}, "other": {"sha256": "1" * 64}}))
    with pytest.raises(UserError, match=f"another {name} than is pinned"):
        fetch(nottingham, out, pins=pins)
    pins.write_text(json.dumps({"other": {"sha256": "1" * 64}}))
    fetch(nottingham, out, pins=pins)
    assert json.loads(pins.read_text()) == held | {"other": {"sha256": "1" * 64}}


def test_one_fetch_at_a_time(site: Site, tmp_path: Path, nottingham: Dataset) -> None:
    with sole_writer(tmp_path / "one"), pytest.raises(UserError, match="another process"):
        fetch(nottingham, tmp_path / "one", base_url=site.address, patience=HASTY)
    fetch(nottingham, tmp_path / "one", base_url=site.address, patience=HASTY)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_wrong_mirror_leaves_nothing_behind(tmp_path: Path, nottingham: Dataset) -> None:
    with pytest.raises(UserError, match="http"):
        fetch(nottingham, tmp_path / "one", base_url="ftp://mirror")
    assert not list(tmp_path.iterdir())


def test_a_published_checksum_is_held_to(site: Site, tmp_path: Path, nottingham: Dataset) -> None:
    (item,) = nottingham.downloads
    data = site.files[item.name]
    for algorithm in ("md5", "sha1", "sha256"):
        value = hashlib.new(algorithm, data).hexdigest()
        good = item.model_copy(update={"checksum": Checksum(algorithm=algorithm, value=value)})
        sealed = nottingham.model_copy(update={"downloads": (good,)})
        fetch(sealed, tmp_path / algorithm, base_url=site.address, patience=HASTY)
        wrong = Checksum(algorithm=algorithm, value=value[::-1])
        bad = item.model_copy(update={"checksum": wrong})
        sealed = nottingham.model_copy(update={"downloads": (bad,)})
        for archive in (None, tmp_path / "at-hand.zip"):
            (tmp_path / "at-hand.zip").write_bytes(data)
            with pytest.raises(UserError, match=f"expected {value[::-1]}, got {value}"):
                fetch(sealed, tmp_path / "bad", base_url=site.address, archive=archive,
                      patience=HASTY)  # fmt: skip


def test_the_next_address_is_tried(site: Site, tmp_path: Path, nottingham: Dataset) -> None:
    (item,) = nottingham.downloads
    urls = (f"{site.address}/gone/nothing.zip", f"{site.address}/here/{item.name}")
    dataset = nottingham.model_copy(update={"downloads": (item.model_copy(update={"urls": urls}),)})
    fetch(dataset, tmp_path / "out", patience=HASTY, keep_archive=True)
    lock = json.loads((tmp_path / "out/fetch.lock.json").read_text())
    assert lock["files"][item.name]["url"] == urls[1]
    assert left(tmp_path / "out/download") == [item.name]


def test_an_interrupted_fetch_is_taken_up(site: Site, tmp_path: Path, nottingham: Dataset) -> None:
    """Ctrl-C while it downloads; then a half unpacked folder: the same call finishes both."""
    (item,) = nottingham.downloads
    site.files[item.name] = zip_of({"n-master/MIDI/a1.mid": DATA})

    def ctrl_c(what: str, done: int, total: int | None) -> None:
        if what == stage and done >= 1:
            raise KeyboardInterrupt

    for stage in ("downloading", "unpacking"):  # noqa: B007
        with pytest.raises(KeyboardInterrupt):
            fetch(nottingham, tmp_path / "out", base_url=site.address, progress=ctrl_c,
                  patience=HASTY)  # fmt: skip
        assert not (tmp_path / "out/manifest.csv").exists()
        assert not (tmp_path / "out/midi").exists()
    asked = len(site.asked)
    assert site.asked[-1][1].startswith("bytes=")
    fetch(nottingham, tmp_path / "out", base_url=site.address, patience=HASTY)
    assert len(site.asked) == asked  # the archive was whole already
    assert left(tmp_path / "out") == ["ABOUT.txt", "fetch.lock.json", "manifest.csv", "midi"]


def test_a_full_disk_costs_no_download(
    site: Site, tmp_path: Path, nottingham: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("data_tools.datasets.unpack.shutil.copyfileobj", full)
        with pytest.raises(UserError, match="no space left"):
            fetch(nottingham, tmp_path / "out", base_url=site.address, patience=HASTY)
    assert left(tmp_path / "out") == ["download", "fetch.lock.json"]
    fetch(nottingham, tmp_path / "out", base_url=site.address, patience=HASTY)
    assert len(site.asked) == 1


def test_a_folder_that_holds_something_else_is_left_alone(
    site: Site, tmp_path: Path, nottingham: Dataset
) -> None:
    fetch(nottingham, tmp_path / "a", base_url=site.address, patience=HASTY)
    with pytest.raises(UserError, match="holds nottingham"):
        fetch(find("adl"), tmp_path / "a", base_url=site.address, patience=HASTY)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="not empty"):
        fetch(nottingham, tmp_path / "b", base_url=site.address, patience=HASTY)
    with pytest.raises(UserError, match="a file"):
        fetch(nottingham, tmp_path / "b/thesis.tex", base_url=site.address, patience=HASTY)
    assert left(tmp_path / "b") == ["thesis.tex"]


def test_an_archive_of_something_else_is_told(tmp_path: Path, nottingham: Dataset) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of({"else/a.mid": b"MThd"}))
    with pytest.raises(UserError, match="nothing in it where"):
        fetch(nottingham, tmp_path / "out", archive=tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(zip_of({"../../n/MIDI/a.mid": b"MThd"}))
    with pytest.raises(UserError, match="hostile"):
        fetch(nottingham, tmp_path / "out", archive=tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(zip_of({"n/MIDI/a.mid": b"MThd"}))
    fetch(nottingham, tmp_path / "out", archive=tmp_path / "a.zip")
    assert (tmp_path / "a.zip").is_file()


def test_a_damaged_archive_that_nobody_vouches_for_is_fetched_anew(
    site: Site, tmp_path: Path, nottingham: Dataset
) -> None:
    (item,) = nottingham.downloads
    whole = site.files[item.name]
    site.files[item.name] = whole[:-30]
    with pytest.raises(UserError, match="damaged archive"):
        fetch(nottingham, tmp_path / "out", base_url=site.address, patience=HASTY)
    site.files[item.name] = whole
    fetched = fetch(nottingham, tmp_path / "out", base_url=site.address, patience=HASTY)
    assert fetched.labels == {"not_jazz": 1}


def test_a_table_without_its_columns_is_told(tmp_path: Path) -> None:
    members = {"m/maestro-v3.0.0.csv": b"composer\nBach\n", "m/2018/a.midi": b"MThd"}
    (tmp_path / "a.zip").write_bytes(zip_of(members))
    with pytest.raises(UserError, match="no column canonical_composer, canonical_title"):
        fetch(unsealed("maestro"), tmp_path / "out", archive=tmp_path / "a.zip")


def test_a_broken_solo_is_left_out_and_named(tmp_path: Path) -> None:
    notes, beats = solo_tables(0)
    members = {
        "j/mcsv_melody/A_Good_FINAL.csv": notes, "j/mcsv_beat/A_Good_FINAL_beattrack.csv": beats,
        "j/mcsv_melody/A_Bad_FINAL.csv": b"pitch\n60\n",
    }  # fmt: skip
    (tmp_path / "a.zip").write_bytes(zip_of(members))
    fetched = fetch(find("wjazzd"), tmp_path / "out", archive=tmp_path / "a.zip")
    assert fetched.labels == {"jazz": 1}
    assert len(fetched.problems) == 1
    assert "A_Bad" in fetched.problems[0]
    assert fetched.problems[0] in (tmp_path / "out/ABOUT.txt").read_text()
    assert [path.name for path in (tmp_path / "out/midi").rglob("*.*")] == ["A_Good_FINAL.mid"]


def test_mirrors_hold_files_under_their_names() -> None:
    (item,) = find("maestro").downloads
    assert addresses(item) == list(item.urls)
    assert addresses(item, "http://mirror/x/") == ["http://mirror/x/maestro-v3.0.0-midi.zip"]
    with pytest.raises(UserError, match="http"):
        addresses(item, "ftp://mirror")


def test_the_catalogue_says_what_it_rests_on() -> None:
    for dataset in datasets().values():
        assert "2026" in dataset.checked, dataset.name
        for item in dataset.downloads:
            assert item.checksum or "hecksum" in dataset.checked, dataset.name
        assert ("NC" in dataset.licence.id) == (dataset.licence.commercial == "no"), dataset.name
    with pytest.raises(UserError, match="did you mean 'maestro'"):
        find("meastro")
    with pytest.raises(ValueError, match="mixed"):
        Dataset.model_validate(find("adl").model_dump() | {"genres": {}})
    with pytest.raises(ValueError, match="no md5"):
        Checksum(algorithm="md5", value="abc")
