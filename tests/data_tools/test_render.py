"""Sound: pitch, loudness, onsets, pedal and level, on a made soundfont and on a real one."""

import sys
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
import symusic
from symusic.core import ScoreTick

from data_tools import midi, render
from data_tools.errors import MidiError, UserError
from data_tools.files import file_digest
from data_tools.midi import Notes
from data_tools.render import Renderer
from data_tools.soundfont import places
from data_tools.soundfont.reader import Soundfont
from tests.data_tools.soundfonts import write_soundfont

RATE = 44_100
Row = tuple[int, int, int, int]  # milliseconds, milliseconds, pitch, velocity


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_soundfont(tmp_path_factory.mktemp("fonts") / "made.sf2")


@pytest.fixture(scope="module")
def renderer(font: Path) -> Renderer:
    return Renderer(font, RATE)


@pytest.fixture(scope="module")
def piano() -> Renderer:
    """A real soundfont's."""
    path = places.packaged()
    if path is None:
        pytest.skip("pretty_midi, which brings a soundfont, is not installed: extra 'audio'")
    return Renderer(path, RATE)


def piece(*rows: Row, drums: bool = False, program: int = 0) -> ScoreTick:
    """A score of notes (start, length, pitch, velocity); a tick is a millisecond."""
    table = np.array(sorted(rows)).reshape(-1, 4)
    notes = Notes(table[:, 0], table[:, 0] + table[:, 1], table[:, 2], table[:, 3])
    score = midi.score_of(notes, 500, 120.0)
    score.tracks[0].is_drum = drums
    score.tracks[0].program = program
    return score


def loudness(sound: np.ndarray, start: float, end: float) -> float:
    """Root mean square between two seconds; 0 beyond the end."""
    part = sound[round(start * RATE) : round(end * RATE)]
    return float(np.sqrt((part**2).mean())) if len(part) else 0.0


def frequency(sound: np.ndarray, start: float, end: float) -> float:
    part = sound[round(start * RATE) : round(end * RATE)].mean(axis=1)
    size = 2**20
    return float(np.abs(np.fft.rfft(part * np.hanning(len(part)), size)).argmax() * RATE / size)


@pytest.mark.parametrize("pitch", [36, 60, 69, 96])
def test_notes_are_in_tune(renderer: Renderer, pitch: int) -> None:
    sound = renderer.render(piece((0, 1000, pitch, 100)))
    expected = 440 * 2 ** ((pitch - 69) / 12)
    assert abs(1200 * np.log2(frequency(sound, 0.1, 0.9) / expected)) < 3  # cents


def test_a_real_piano_is_in_tune(piano: Renderer) -> None:
    sound = piano.render(piece((0, 2000, 69, 100)))
    assert abs(1200 * np.log2(frequency(sound, 0.1, 1.9) / 440)) < 10


def test_velocity_is_heard_as_the_standard_has_it(renderer: Renderer) -> None:
    sound = renderer.render(piece((0, 500, 60, 127), (2000, 500, 60, 64)))
    ratio = loudness(sound, 2.1, 2.4) / loudness(sound, 0.1, 0.4)
    assert ratio == pytest.approx((64 / 127) ** 2, rel=0.02)


def test_the_pedal_holds_what_the_key_lets_go(renderer: Renderer) -> None:
    without = piece((0, 500, 60, 100), (4000, 500, 60, 100))
    pedalled = without.copy()
    pedalled.tracks[0].pedals.append(symusic.Pedal(200, 2800))
    for score, sounds in ((without, False), (pedalled, True)):
        sound = renderer.render(score)
        assert (loudness(sound, 2.0, 2.5) > 0.01) == sounds
        assert loudness(sound, 3.5, 3.9) < 1e-3, "the pedal is up again"


def test_two_hands_share_a_pedal(renderer: Renderer) -> None:
    score = piece((0, 300, 60, 100))
    other = piece((0, 300, 40, 100)).tracks[0]
    other.pedals.append(symusic.Pedal(0, 3000))
    score.tracks.append(other)
    assert loudness(renderer.render(score), 2.0, 2.5) > 0.05


@pytest.mark.parametrize("pitch", [37, 60, 61, 98])
def test_a_long_loop_has_no_seam_and_stays_in_tune(renderer: Renderer, pitch: int) -> None:
    sound = renderer.render(piece((0, 20_000, pitch, 100)))
    # A sine's second difference is small everywhere; a seam would stand out.
    steps = np.abs(np.diff(sound[2000 : round(19.9 * RATE), 0], 2))
    assert steps.max() < 3 * np.median(steps)
    early, late = frequency(sound, 0.05, 0.5), frequency(sound, 15, 19.9)
    assert abs(1200 * np.log2(late / early)) < 1  # cents; the early stretch tells them to half


def test_a_long_loop_ends_with_its_note(renderer: Renderer) -> None:
    sound = renderer.render(piece((0, 20_000, 60, 100), (22_000, 200, 60, 100)))
    assert loudness(sound, 19.5, 19.9) == pytest.approx(loudness(sound, 0.5, 0.9), rel=0.01)
    assert loudness(sound, 21.5, 21.9) < 1e-4


@pytest.mark.parametrize("kind", ["made", "real"])
def test_onsets_agree_with_the_notes_within_10_ms(
    kind: str, renderer: Renderer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "real":
        renderer = request.getfixturevalue("piano")
    random = np.random.default_rng(0)
    start = 237 + 1500 * np.arange(24) + random.integers(0, 400, 24)
    pitch, velocity = random.integers(21, 109, 24), random.integers(20, 127, 24)
    rows = [(int(t), 300, int(p), int(v)) for t, p, v in zip(start, pitch, velocity, strict=True)]
    path = midi.write(piece(*rows), tmp_path / "isolated.mid")
    sound = renderer.render(path)
    # Energy in windows of a millisecond; a note begins where it is 26 dB below its loudest.
    size = RATE // 1000
    count = len(sound) // size
    energy = (sound[: count * size].reshape(count, -1) ** 2).sum(axis=1)
    for onset in start / 1000:
        first = round((onset - 0.1) * RATE / size)
        note = energy[first : first + 400]
        found = (first + np.flatnonzero(note > note.max() / 400)[0]) * size / RATE
        assert abs(found - onset) < 0.010


def test_level_is_high_and_never_clips(renderer: Renderer) -> None:
    loud = renderer.render(piece(*((0, 2000, pitch, 127) for pitch in range(30, 100, 2))))
    assert np.abs(loud).max() == pytest.approx(render.PEAK, abs=1e-3)
    soft = renderer.render(piece((0, 1000, 60, 4)))
    assert 0 < np.abs(soft).max() < 0.05, "soft stays soft"


def test_the_end_is_the_notes_and_their_release(renderer: Renderer) -> None:
    sound = renderer.render(piece((0, 1000, 60, 100)))
    assert sound.dtype == np.float32
    assert sound.shape[1] == 2
    assert 1.0 < len(sound) / RATE < 1.4
    assert np.abs(sound[-200:]).max() < 2e-3, "it does not break off"


def test_a_struck_key_ends_its_earlier_note(renderer: Renderer) -> None:
    once = renderer.render(piece((0, 2000, 60, 100)))
    twice = renderer.render(piece((0, 2000, 60, 100), (1000, 1000, 60, 100)))
    assert loudness(twice, 1.6, 1.9) == pytest.approx(loudness(once, 1.6, 1.9), rel=0.05)


def test_drums_sound_with_their_own_instrument(renderer: Renderer) -> None:
    sound = renderer.render(piece((0, 500, 60, 100), drums=True))
    spectrum = np.abs(np.fft.rfft(sound[:4096, 0]))
    assert spectrum.max() < 0.02 * spectrum.sum(), "noise, and no sine"


def test_a_missing_instrument_gives_way_to_the_piano(renderer: Renderer) -> None:
    sound = renderer.render(piece((0, 1000, 69, 100), program=40))
    assert frequency(sound, 0.1, 0.9) == pytest.approx(440, rel=0.003)


def test_blocks_make_no_difference(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    rows = [(int(t), int(n), int(p), 90) for t, n, p in
            zip(random.integers(0, 20_000, 60), random.integers(50, 9000, 60),
                random.integers(40, 90, 60), strict=True)]  # fmt: skip
    whole = renderer.render(piece(*rows))
    monkeypatch.setattr(render, "BLOCK", 1.7)  # shorter than its tails
    np.testing.assert_allclose(renderer.render(piece(*rows)), whole, atol=1e-5)


def test_files_hold_what_was_rendered(renderer: Renderer, tmp_path: Path) -> None:
    score = piece((0, 500, 60, 100), (700, 500, 64, 60))
    sound = renderer.render(score)
    seconds = renderer.write(score, tmp_path / "new" / "a.wav")
    assert seconds == len(sound) / RATE
    with wave.open(str(tmp_path / "new" / "a.wav")) as file:
        assert file.getparams()[:4] == (2, 2, RATE, len(sound))
        data = np.frombuffer(file.readframes(len(sound)), "<i2").reshape(-1, 2)
    np.testing.assert_allclose(data / 32767, sound, atol=1e-4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.wav"]


@pytest.mark.parametrize("form", ["ogg", "mp3"])
def test_compressed_files_are_the_same_sound(renderer: Renderer, tmp_path: Path, form: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="extra 'audio' is not installed")
    score = piece((0, 1500, 60, 100), (2000, 1500, 72, 100))
    renderer.write(score, tmp_path / f"a.{form}")
    data, rate = soundfile.read(tmp_path / f"a.{form}")
    assert rate == RATE
    assert frequency(data, 0.2, 1.4) == pytest.approx(261.63, rel=0.003)
    assert loudness(data, 0.2, 1.4) == pytest.approx(
        loudness(renderer.render(score), 0.2, 1.4), rel=0.05
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
@pytest.mark.parametrize("form", ["wav", "ogg", "mp3"])
def test_a_name_need_not_be_utf8(renderer: Renderer, tmp_path: Path, form: str) -> None:
    if form != "wav":
        pytest.importorskip("soundfile", reason="extra 'audio' is not installed")
    path = tmp_path / f"\udce9t\udce9.{form}"
    renderer.write(piece((0, 500, 60, 100)), path)
    assert path.stat().st_size > 0


def test_real_files_render(mini: Path, piano: Renderer) -> None:
    for path in sorted(mini.rglob("*.mid"))[::60]:
        sound = piano.render(path)
        score = midi.read(path)
        last = midi.seconds_of(score, midi.merged_notes(score).start[-1:])[0]
        assert len(sound) / RATE > last
        assert np.isfinite(sound).all()
        assert 0.2 < np.abs(sound).max() <= 1


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (symusic.Score(480), "no notes"),
        (piece((0, 100, 60, 100), (7 * 3_600_000, 100, 60, 100)), "longer than 6 hours"),
        (b"no music", "not readable as MIDI"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_says_why(renderer: Renderer, score: object, reason: str) -> None:
    with pytest.raises(MidiError, match=reason):
        renderer.render(score)  # type: ignore[arg-type]


def test_nothing_is_left_of_a_file_that_failed(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(MidiError):
        renderer.write(symusic.Score(480), tmp_path / "a.wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "rate", "words"), [(".flac", RATE, "wav, ogg, mp3"),
                                                       (".mp3", 44_000, "no rate")])  # fmt: skip
def test_formats_are_refused_before_the_work(
    font: Path, tmp_path: Path, suffix: str, rate: int, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        Renderer(font, rate).write(piece((0, 100, 60, 100)), tmp_path / f"a{suffix}")


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "tables"])
def test_broken_soundfonts_are_a_line(font: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.sf2"
    data = font.read_bytes()
    tables = data.rindex(b"pbag")
    bytes_of = {
        "empty": b"", "text": b"hello" * 100, "cut": data[:-50],
        "tables": data[: tables + 8] + b"\xff" * 12 + data[tables + 20 :],
    }  # fmt: skip
    if damage in bytes_of:
        path.write_bytes(bytes_of[damage])
    with pytest.raises(UserError, match=r"bad\.sf2"):
        Renderer(path).render(piece((0, 100, 60, 100)))


def test_any_damage_is_a_user_error_or_sound(font: Path, tmp_path: Path) -> None:
    """No mutation of the tables may end in anything else."""
    data = font.read_bytes()
    random = np.random.default_rng(0)
    begin = data.index(b"phdr")
    score = piece((0, 100, 60, 100))
    for number in range(60):
        changed = bytearray(data)
        for place in random.integers(begin, len(data), 6):
            changed[place] = random.integers(0, 256)
        path = tmp_path / f"{number}.sf2"
        path.write_bytes(changed)
        try:
            sound = Renderer(path, 8000).render(score)
        except UserError:
            continue
        assert np.isfinite(sound).all()


def test_generators_of_the_soundfont_count(tmp_path: Path) -> None:
    score = piece((0, 1000, 69, 100), (2000, 1000, 69, 10))
    changed = Renderer(write_soundfont(tmp_path / "a.sf2", g51=12, g17=-500), RATE)
    sound = changed.render(score)
    assert frequency(sound, 0.1, 0.9) == pytest.approx(880, rel=0.003)
    assert np.abs(sound[:, 1]).max() < 1e-3 * np.abs(sound[:, 0]).max(), "hard left"
    slow = Renderer(write_soundfont(tmp_path / "b.sf2", g34=0), RATE).render(score)
    assert loudness(slow, 0.05, 0.15) < 0.3 * loudness(slow, 0.8, 0.95), "an attack of a second"
    dull = Soundfont(write_soundfont(tmp_path / "c.sf2", g8=6900)).regions(0, 0)[0]
    assert dull.filter(60, 100) == pytest.approx(440, rel=0.01)


def test_a_better_soundfont_is_fetched_once_and_verified(
    monkeypatch: pytest.MonkeyPatch, font: Path, tmp_path: Path
) -> None:
    asked = []

    def download(url: str, path: Path, known: str, *_: object) -> Path:
        assert known.startswith("sha256:")
        asked.append(url)
        with tarfile.open(path, "w:gz") as archive:
            for name in places._MEMBERS:
                archive.add(font, name)
        return path

    monkeypatch.setattr(places, "download", download)
    monkeypatch.setattr(places, "_DIGEST", file_digest(font))
    path = places.fetch(tmp_path / "fonts")
    assert path.read_bytes() == font.read_bytes()
    names = {one.name for one in path.parent.iterdir()}
    assert names == {path.name, "FluidR3Mono_License.md"}, "its licence comes along"
    places.fetch(tmp_path / "fonts")
    assert len(asked) == 1
    path.write_bytes(b"damaged")
    assert places.fetch(tmp_path / "fonts").read_bytes() == font.read_bytes()


def test_the_soundfont_is_found_without_pretty_midi_being_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(places, "_FOLDERS", ())
    if places.packaged():
        assert places.find().name == "TimGM6mb.sf2"
    own = tmp_path / "soundfonts" / "FluidR3_GM.sf2"
    own.parent.mkdir()
    own.touch()
    assert places.find() == own
    own.unlink()
    monkeypatch.setattr(places, "packaged", lambda: None)
    with pytest.raises(UserError, match="fetch-soundfont"):
        places.find()


def test_notes_that_the_soundfont_lacks_are_counted(tmp_path: Path) -> None:
    keys = {"g43": 40 | 70 << 8}  # from 40 to 70
    renderer = Renderer(write_soundfont(tmp_path / "narrow.sf2", **keys), RATE)
    renderer.render(piece((0, 100, 60, 80), (200, 100, 71, 80), (400, 100, 71, 90)))
    assert renderer.silent == (2, 3)
    renderer.render(piece((0, 100, 60, 80)))
    assert renderer.silent == (0, 1)
