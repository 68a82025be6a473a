"""`gan evaluate` and `gan compare`: what they write, say and refuse.

The shipped generator and the shipped judges, on composed music: the figures mean nothing here, that
they are there and agree with each other does.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from symusic import Pedal, Tempo
from symusic.core import TempoTickList

from data_tools import midi
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import EOS, PAD, Representation
from data_tools.settings import RepresentationSettings
from gan.cli import main
from gan.data import windows_once
from gan.engine import engine
from gan.evaluation import narration
from gan.evaluation.comparison import Bits, Measured, beside_first, bits_of, per_note
from gan.evaluation.confidence import share
from gan.evaluation.distances import Interval
from gan.evaluation.judging import JUDGES, SHIPPED, Judges
from gan.evaluation.paging import report
from gan.evaluation.report import Sample
from gan.evaluation.report.music import played
from gan.evaluation.systems import Written, named, opened, real_music, written
from generator.compose import Composer
from generator.settings import TransformerSettings
from generator.transformer import Transformer

FEW = ("--count", "12", "--length", "96", "--device", "cpu", "--shown", "2")


def gan(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def found(
    practice_corpus: Corpus, practice_music: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("comparison")
    music = tmp_path_factory.mktemp("files")
    for number, path in enumerate(sorted(practice_music.rglob("*.mid"))[:13]):
        (music / f"{number:02d}.mid").write_bytes(path.read_bytes())
    (music / "0-broken.mid").write_bytes(b"MThd and nothing else")
    result = gan("compare", "net=ce", f"files={music}", "--real", practice_corpus.folder,
                 "--train", practice_corpus.folder, "--split", "train", "--out", out,
                 *FEW)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "0-broken.mid" in result.output, "what was left out is named"
    return out


def test_the_numbers_are_all_there(found: Path) -> None:
    content = json.loads((found / "evaluation.json").read_text())
    net, files = content["systems"]
    for judge in JUDGES:
        for system in (net, files, content["real"]):
            rate = system["figures"][f"jazz rate, {judge}"]
            p = system["p_jazz"][judge]
            assert rate["value"] == pytest.approx(sum(x >= 0.5 for x in p) / len(p), abs=1e-4)
            assert rate["low"] <= rate["value"] <= rate["high"]
        gap = files["beside_first"][judge]
        difference = (
            files["figures"][f"jazz rate, {judge}"]["value"]
            - net["figures"][f"jazz rate, {judge}"]["value"]
        )
        assert gap["value"] == pytest.approx(difference, abs=1e-4)
    assert net["beside_first"] == {}
    for system in (net, files, content["real"]):
        both = system["figures"]["jazz rate, both"]["value"]
        pairs = zip(system["p_jazz"]["harmony"], system["p_jazz"]["rhythm"], strict=True)
        called = [harmony >= 0.5 and rhythm >= 0.5 for harmony, rhythm in pairs]
        assert both == pytest.approx(sum(called) / len(called), abs=1e-4)
    assert "harmony with rhythm" in content["verdict"]
    assert {"p(jazz), harmony", "roll"} <= files["beside_first"].keys()
    assert "beyond real, silence" in net["figures"]
    assert net["figures"]["bits a note"]["value"] > 0
    assert "bits a note" not in files["figures"], "files have no likelihood"
    assert {"frechet", "copied", "variety", "pitch_class_entropy_4"} <= net["figures"].keys()


def test_the_music_and_the_page_are_there(found: Path) -> None:
    assert len(list((found / "samples" / "net").glob("*.mid"))) == 12
    page = (found / "report.html").read_text()
    assert "net" in page
    assert "real jazz" in page
    table = (found / "table.md").read_text()
    assert table.startswith(json.loads((found / "evaluation.json").read_text())["verdict"])
    assert "| figure | net | files | real jazz |" in table
    assert "**Difference from net**" in table
    assert "| files, harmony |" in table
    assert "Difference from net" in page


def test_one_system_and_a_sweep(practice_corpus: Corpus, tmp_path: Path) -> None:
    result = gan("evaluate", "ce", "--real", practice_corpus.folder, "--split", "train",
                 "--out", tmp_path, "--frontier", "--quiet", "--count", 2, "--length", 64,
                 "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output == ""
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(content["frontier"]["ce"]) == 7
    assert "temperature 1, top-p 0.9" in content["frontier"]["ce"]


def test_listeners_come_back(found: Path, practice_corpus: Corpus, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"c{number}", "listener": "a", "left_system": "net", "right_system": "files",
            "left_sample": "No. 1", "right_sample": "No. 2", "choice": answer,
            "left_rating": "", "right_rating": "",
        }
        for number, answer in enumerate(["left", "left", "right", "tie"])
    ]  # fmt: skip
    export = tmp_path / "choices.csv"
    with export.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    result = gan("compare", "net=ce", f"files={found / 'samples' / 'net'}", "--real",
                 practice_corpus.folder, "--split", "train", "--out", tmp_path / "out",
                 "--ratings", export, "--no-judges", "--count", 2, "--length", 64,
                 "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    (rate,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["ratings"]
    assert rate["rate"] == pytest.approx(0.625 if rate["first"] == "net" else 0.375)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("evaluate", "nowhere"), "nowhere: there is nothing here; give a run"),
        (("compare", "ce", "ce"), "two systems are called 'ce'"),
        (("evaluate", "ce", "--split", "nought"), "no jazz"),
        (("evaluate", "ce", "--judges", "."), "no judge"),
        (("evaluate", "nothing"), "nothing: no MIDI file and no generator in it; give a run"),
        (("evaluate", __file__), ".py: no folder; give a run"),
        (("evaluate", "a="), "nothing after the name"),
        (("evaluate", "../up=ce"), "cannot name a folder"),
        (("evaluate", "..=ce"), "cannot name a folder"),
        (("compare", "real jazz=ce", "b=ce"), "is what the music of --real is called"),
    ],
)
def test_mistakes_are_one_line(
    practice_corpus: Corpus, tmp_path: Path, words: tuple[str, ...], says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    given = words if "--split" in words else (*words, "--split", "train")
    result = gan(*given, "--real", practice_corpus.folder, "--out", tmp_path / "out", *FEW)
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output


def test_one_system_is_no_comparison(practice_corpus: Corpus, tmp_path: Path) -> None:
    result = gan("compare", "ce", "--real", practice_corpus.folder, "--out", tmp_path)
    assert result.exit_code == 2


def test_the_judges_tell_composed_music_apart(practice_corpus: Corpus) -> None:
    judges = Judges.load(str(SHIPPED))
    pieces = [practice_corpus.piece(n).astype(int) for n in practice_corpus.select("train")]
    found = judges.p_jazz(pieces[:6], practice_corpus.representation)
    assert set(found) == set(JUDGES)
    assert all(((p > 0) & (p < 1)).all() and len(p) == 6 for p in found.values())


def test_the_judges_call_silence_no_jazz() -> None:
    found = Judges.load().p_jazz([np.zeros(0, dtype=int)], Representation())
    assert all(p.shape == (1,) and p[0] < 0.5 for p in found.values())


def test_bad_ratings_are_refused_before_the_music_is_written(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("sampled first")

    monkeypatch.setattr("gan.evaluation.systems.written", never)
    export = tmp_path / "choices.json"
    export.write_text("no choices")
    result = gan("compare", "ce", "adv", "--real", practice_corpus.folder, "--out",
                 tmp_path / "out", "--ratings", export, *FEW)  # fmt: skip
    assert result.exit_code == 1
    assert "not an export" in result.output


def test_a_wrong_second_system_is_refused_before_the_first_is_sampled(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("sampled first")

    monkeypatch.setattr("gan.evaluation.systems.written", never)
    given = ("compare", "ce", "B=nowhere", "--real", practice_corpus.folder, "--split", "train")
    result = gan(*given, "--out", tmp_path / "out", *FEW)
    assert result.exit_code == 1
    assert "nowhere: there is nothing here" in result.output


def test_a_place_may_have_the_sign_of_a_name_in_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lr=0.1").mkdir(parents=True)
    assert named(["runs/lr=0.1"]) == [("lr=0.1", "runs/lr=0.1")]
    assert named(["a=runs/lr=0.1"]) == [("a", "runs/lr=0.1")]
    assert named(["lr=0.1=runs", "ce"]) == [("lr=0.1", "runs"), ("ce", "ce")]
    assert named(["a=b=adv"]) == [("a=b", "adv")]
    with pytest.raises(UserError, match="nothing after the name"):
        named(["a="])


@pytest.mark.parametrize("preset", ["duration", "performance"])
def test_the_page_plays_what_the_files_say(practice_corpus: Corpus, preset: str) -> None:
    """Tempo, pedal and all: tokens on the beat last as long as their own tempo says."""
    score = practice_corpus.representation.decode(practice_corpus.piece(0)[:300])
    score.tempos = TempoTickList([Tempo(0, 60.0)])
    score.tracks[0].pedals.append(Pedal(0, 48))
    on_beat = Representation(RepresentationSettings(preset=preset, time_base="beat"))
    ids = on_beat.encode(on_beat.prepare(score).score)
    system = Written("a", "", [ids])
    page = report("t", [system], [Measured("a")], Measured("b"), [ids], on_beat, {}, 1)
    heard = played(page.systems[0].samples[0])
    assert heard == played(Sample("", midi.to_bytes(on_beat.decode(ids))))
    assert heard.seconds == pytest.approx(score.end() / score.ticks_per_quarter, rel=0.02)
    assert bool(heard.packed["down"]) == (preset == "performance")


def test_a_short_context_has_bits_of_its_own_windows(practice_corpus: Corpus) -> None:
    representation = Representation(practice_corpus.representation.settings)
    torch.manual_seed(0)
    model = Transformer(
        representation.vocab_size, TransformerSettings(layers=1, width=32, heads=2, max_length=64)
    )
    short = Written("short", "", [], Composer(model, representation, None, "cpu"))
    found = bits_of(short, practice_corpus, (), engine("cpu", "fp32"))
    assert found is not None
    jazz = practice_corpus.select("validation", "jazz")
    assert set(found.works) == {practice_corpus.rows[number]["group"] for number in jazz}
    assert (found.sums[:, 1] > 0).all()
    assert 10 < per_note(found).value < 60
    # Pieces of one work are one, and its bits and notes are theirs.
    corpus = Corpus(practice_corpus.folder)
    for number in jazz[:2]:
        corpus.rows[number] = corpus.rows[number] | {"group": "one work"}
    again = bits_of(short, corpus, (), engine("cpu", "fp32"))
    assert again is not None
    assert len(again.works) == len(found.works) - 1
    parts = [found.works.index(practice_corpus.rows[number]["group"]) for number in jazz[:2]]
    whole = again.sums[again.works.index("one work")]
    np.testing.assert_allclose(whole, found.sums[parts].sum(0), rtol=1e-5)


def test_windows_of_held_out_music_are_read_once(practice_corpus: Corpus) -> None:
    """However many are asked for, and each is said to be of the piece that it is of."""
    representation = practice_corpus.representation
    numbers = practice_corpus.select("validation", "jazz")[:3]
    inputs, targets, pieces = windows_once(practice_corpus, numbers, representation, 96, 500)
    assert set(pieces) == set(numbers)
    whole = {number: practice_corpus.piece(number).tolist() for number in numbers}
    predicted = dict.fromkeys(numbers, 0)
    for number, row, wanted in zip(pieces, inputs.tolist(), targets.tolist(), strict=True):
        music = [index for index in row if EOS < index < representation.music_size]
        places = range(len(whole[number]) - len(music) + 1)
        assert any(whole[number][at : at + len(music)] == music for at in places)
        predicted[number] += sum(index != PAD for index in wanted)
    # Each token is predicted at most once: it is learnt from none but the window it lies in.
    assert all(count <= len(whole[number]) + 1 for number, count in predicted.items())
    few = windows_once(practice_corpus, numbers, representation, 96, 4)
    assert few[0].tolist() == inputs[:4].tolist()
    assert few[2] == pieces[:4]


def test_bits_are_sure_as_there_are_works_not_windows() -> None:
    """Works that differ among themselves: more windows of each make nothing surer."""
    rng = np.random.default_rng(0)
    notes = np.full(20, 100.0)
    bits = Bits(tuple(map(str, range(20))), np.stack([notes * rng.normal(10, 2, 20), notes], 1))
    figure, more = per_note(bits), per_note(Bits(bits.works, bits.sums * 8))
    assert (more.value, more.low, more.high) == (figure.value, figure.low, figure.high)
    assert 1.0 < figure.high - figure.low < 2.8  # 2 · 2.09 · 2 / √20 is 1.87
    one = Bits(("only",), bits.sums[:1])
    assert np.isnan([per_note(one).low, per_note(one, one).high]).all(), "one is no evidence"
    # What is cheaper by a tenth of a bit on every work is surely cheaper, though works differ; and
    # a note more or less in a window, as with a condition before it, makes no stranger of it.
    odd = bits.sums - np.array([10.0, 0.0]) + np.array([[10.0, 1.0]]) * (np.arange(20) % 2)[:, None]
    beside = per_note(Bits(bits.works, odd), bits)
    assert beside.low < -0.1 < beside.high
    assert beside.high < 0
    assert beside.high - beside.low < 0.1


def test_a_few_works_that_weigh_most_do_not_make_bits_too_sure() -> None:
    """Long works that cost little are not in every set; a bootstrap of one knows of no other."""
    rng = np.random.default_rng(0)
    notes = np.exp(rng.normal(6, 1.2, 4000))
    sums = np.stack([notes * (15 - 0.8 * np.log(notes)), notes], 1)
    true = sums[:, 0].sum() / sums[:, 1].sum()
    held = []
    for _ in range(300):
        some = sums[rng.choice(4000, 12, replace=False)]
        figure = per_note(Bits(("",) * 12, some))
        draws = rng.multinomial(12, np.full(12, 1 / 12), size=300) @ some
        low, high = np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])
        held.append((figure.low <= true <= figure.high, low <= true <= high))
    ours, bootstrap = np.mean(held, axis=0)
    assert ours > bootstrap + 0.1


def test_a_folder_is_not_read_by_name(practice_corpus: Corpus, tmp_path: Path) -> None:
    """The first files by name may all be of one artist."""
    representation = practice_corpus.representation
    for number in range(24):
        folder = tmp_path / "music" / ("a" if number < 12 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        ids = practice_corpus.piece(number)[:200]
        (folder / f"{number:02d}.mid").write_bytes(midi.to_bytes(representation.decode(ids), "x"))
    source = opened("m", str(tmp_path / "music"), representation, "cpu")
    whole = written(source, representation, 24, 150, 0).pieces
    some = written(source, representation, 12, 150, 0).pieces
    assert len(whole) == 24
    assert [ids.tolist() for ids in some] == [ids.tolist() for ids in whole[:12]]
    first = {tuple(practice_corpus.piece(number)[:100].tolist()) for number in range(12)}
    assert 2 <= sum(tuple(ids[:100].tolist()) in first for ids in some) <= 10


def test_a_file_in_the_place_of_the_results_is_refused(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    result = gan("evaluate", "ce", "--real", practice_corpus.folder, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "is a file" in result.output


@pytest.mark.parametrize("flag", ["--real", "--train"])
def test_nothing_is_held_against_tokens_that_were_changed(
    flag: str, practice_corpus: Corpus, tmp_path: Path
) -> None:
    changed = tmp_path / "corpus"
    shutil.copytree(practice_corpus.folder, changed)
    (changed / "tokens.bin").write_bytes(bytes((changed / "tokens.bin").stat().st_size))
    corpora = {"--real": practice_corpus.folder} | {flag: changed}
    given = [word for pair in corpora.items() for word in pair]
    result = gan("evaluate", "ce", *given, "--out", tmp_path / "out", "--no-judges", "--count", 2)
    assert result.exit_code == 1
    assert "tokens.bin was changed" in result.output


def test_real_files_left_out_are_named_and_one_is_too_few(
    practice_music: Path, tmp_path: Path
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "0-broken.mid").write_bytes(b"MThd and nothing else")
    whole = sorted(practice_music.rglob("*.mid"))[:2]
    (real / "1.mid").write_bytes(whole[0].read_bytes())
    (real / "not_jazz").mkdir()
    (real / "not_jazz" / "3.mid").write_bytes(whole[1].read_bytes())
    few = ("--no-judges", "--count", 2, "--length", 64, "--device", "cpu")
    result = gan("evaluate", "ce", "--real", real, "--out", tmp_path / "out", *few)
    assert result.exit_code == 1
    assert "too few to compare with; give more" in result.output
    (real / "2.mid").write_bytes(whole[1].read_bytes())
    result = gan("evaluate", "ce", "--real", real, "--out", tmp_path / "out", *few)
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert "0-broken.mid" in result.output
    assert "too few pieces for distances" in result.output
    assert "2 pieces of" in result.output
    assert "without 1 labelled not_jazz" in result.output


def test_real_files_that_a_manifest_does_not_name_are_what_their_folders_say(
    practice_music: Path, tmp_path: Path
) -> None:
    whole = sorted(practice_music.rglob("*.mid"))[:4]
    names = ("a.mid", "b.mid", "not_jazz/c.mid", "not_jazz/d.mid")
    for path, name in zip(whole, names, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes())
    (tmp_path / "manifest.csv").write_text("path,label\na.mid,jazz\nnot_jazz/d.mid,jazz\n")
    found, _, _ = real_music(tmp_path, "test", (), 512, 64)
    assert (len(found.pieces), found.other) == (3, 1)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--judges", ".", "--no-judges"), "not both"),
        (("--split", "validation"), "--split is of a corpus"),
        (("--exclude-sources", "pijama"), "--exclude-sources is of a corpus"),
    ],
)
def test_what_would_change_nothing_is_refused(
    flags: tuple[str, ...], why: str, practice_music: Path, tmp_path: Path
) -> None:
    result = gan("evaluate", "ce", "--real", practice_music, "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2
    assert why in result.output


def test_karaoke_files_are_a_system_too(practice_music: Path, tmp_path: Path) -> None:
    """As they are everywhere else."""
    (tmp_path / "one.kar").write_bytes(next(practice_music.rglob("*.mid")).read_bytes())
    source = opened("kar", str(tmp_path), Representation(), "cpu")
    assert len(written(source, Representation(), 1, 64, 0).pieces) == 1


def test_no_shipped_judges_go_without(
    practice_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gan.evaluation.judging.SHIPPED", tmp_path / "none")
    result = gan("evaluate", "ce", "--real", practice_corpus.folder, "--split", "train", "--out",
                 tmp_path / "out", "--count", 2, "--length", 64, "--device", "cpu")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "going without" in result.output
    assert "No judges were asked" in result.output


def test_a_run_that_is_being_written_has_its_curves(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    from generator.folder import SHIPPED

    (tmp_path / "generator").symlink_to(SHIPPED["ce"])
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss/ce": 2.5}\n{"step": 2, "loss/c')
    source = opened("run", str(tmp_path), practice_corpus.representation, "cpu")
    system = written(source, practice_corpus.representation, 1, 64, 0)
    assert system.curves == {"cross-entropy, nats a token": [(1, 2.5)]}
    huge = "1" + "0" * 400
    damaged = f'{{"step": 2, "loss/ce": {huge}}}\n{{"step": {huge}, "loss/ce": 2}}\n'
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss/ce": 2.5}\n' + damaged)
    assert written(source, practice_corpus.representation, 1, 64, 0).curves == system.curves


def test_a_run_is_shown_with_its_settings_and_how_far_it_came(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    from generator.folder import SHIPPED

    run, out = tmp_path / "run", tmp_path / "out"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step-000007").symlink_to(SHIPPED["ce"])
    (run / "checkpoints" / "latest").write_text("step-000007")
    (run / "settings.yaml").write_text("steps: 4711\n")
    result = gan("evaluate", run, "--real", practice_corpus.folder, "--split", "train", "--out",
                 out, "--count", 2, "--length", 64, "--device", "cpu", "--no-judges")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "run: 2 pieces of an unfinished run, step-000007" in result.output
    page = (out / "report.html").read_text()
    assert f"2 pieces of {run}, an unfinished run: step-000007" in page
    assert "steps: 4711" in page
    (run / "generator").symlink_to(SHIPPED["ce"])
    source = opened("run", str(run), practice_corpus.representation, "cpu")
    assert not source.unfinished


def test_the_verdict_says_what_is_apart_and_what_is_not() -> None:
    def made(name: str, harmony: float, roll: float, bits: float, frechet: float) -> Measured:
        place = np.arange(100) / 100
        p = {"harmony": (place < harmony) * 1.0, "roll": (place < roll) * 1.0}
        figures = {f"jazz rate, {judge}": share(each >= 0.5) for judge, each in p.items()}
        sums = np.stack([np.full(9, 4 * bits), np.full(9, 4.0)], 1)
        cost = Bits(tuple("abcdefghi"), sums)
        figures["bits a note"] = per_note(cost)
        figures["frechet"] = Interval(frechet, frechet - 10, frechet + 10)
        return Measured(name, figures, p, cost)

    one = made("one", 0.2, 0.5, 9, 90)
    other = made("other", 0.8, 0.52, 11, 50)
    third = made("third", 0.2, 0.5, 9, 55)
    real = made("real jazz", 0.85, 0.9, 0, 30)
    beside_first([one, other, third])
    told = narration.verdict([one, other, third], real)
    assert told.startswith("Nearest to real jazz by Fréchet distance is other 50 (40–60), though")
    assert "not surely nearer than third; then third 55 (45–65), one 90 (80–100)" in told
    lines = told.splitlines()
    assert "give more pieces" not in told
    few = made("few", 0.2, 0.5, 9, 90)
    few.p_jazz = {judge: p[:9] for judge, p in few.p_jazz.items()}
    assert "Of only 9 pieces a rate is known to within about 0.3" in narration.verdict([few], real)
    assert "one is called jazz less often than real jazz by harmony and by roll." in lines
    assert (
        "other is called jazz about as often as real jazz by harmony, less often by roll." in lines
    )
    assert "More often is no gain" not in told
    assert (
        "Beside one, other is called jazz more often by harmony, Fréchet distance 50 against 90, "
        "bits a note 11.00 against 9.00." in lines
    )
    assert (
        "Beside one, third shows no difference to these judges, Fréchet distance 55 against 90."
        in lines
    )
    assert "of real jazz itself" not in told
    short = narration.verdict([one], made("real jazz", 0.15, 0.9, 0, 30))
    assert "But of real jazz itself only 15% by harmony: pieces like these" in short
    both = narration.verdict([one], made("real jazz", 0, 0.25, 0, 30))
    assert "But of real jazz itself only 0% by harmony and 25% by roll: pieces like these" in both
    assert "too little. Go by the distances, or give a larger --length." in both
    far = made("one", 0.2, 0.5, 9, 90)
    del far.figures["frechet"]
    known = made("real jazz", 0, 0.25, 0, 30)
    known.p_jazz = {judge: p[:4] for judge, p in known.p_jazz.items()}
    short = narration.verdict([far], known)
    assert "too little. Give a larger --length." in short
    assert "Of only 4 pieces of real jazz a rate" in short
    assert "give more of it as --real, or another --split." in short
    above = narration.verdict([made("high", 1.0, 0.9, 9, 40)], real)
    assert "high is called jazz about as often as real jazz by roll, more often by harmony" in above
    assert "More often is no gain" in above
    rates, others = narration.differences([one, other])
    assert [row[-1] for row in rates.rows] == ["yes", "no"]
    assert [row[-1] for row in others.rows] == ["yes", "yes"]
    assert narration.differences([one]) == []
    piped = made("a|b", 0.8, 0.5, 9, 50)
    text = narration.table([one, piped], real) + narration.markdown(narration.differences([one]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_few_pieces_are_no_finding() -> None:
    """Of four pieces none is called jazz, and one of the real ones: that says nothing."""

    def made(name: str, harmony: int, roll: int, count: int) -> Measured:
        p = {judge: (np.arange(count) < n) * 1.0 for judge, n in
             (("harmony", harmony), ("roll", roll))}  # fmt: skip
        return Measured(name, {f"jazz rate, {judge}": share(each >= 0.5) for judge, each
                               in p.items()}, p)  # fmt: skip

    told = narration.verdict([made("few", 0, 1, 4)], made("real jazz", 1, 2, 4))
    assert told.startswith(
        "Whether few is called jazz as often as real jazz: too few pieces to tell by harmony and "
        "by roll.\n"
    )
    told = narration.verdict([made("few", 0, 6, 8)], made("real jazz", 80, 70, 100))
    assert told.startswith(
        "few is called jazz less often than real jazz by harmony; too few pieces to tell by roll.\n"
    )
    assert "about as often" not in told
    # 1 of 16 beside 14 of 52 may be a third less often, or as often.
    told = narration.verdict([made("few", 1, 8, 16)], made("real jazz", 14, 27, 52))
    assert told.startswith("Whether few is called jazz as often as real jazz: too few pieces")
    two = [made("one", 0, 0, 6), made("other", 0, 1, 6)]
    beside_first(two)
    told = narration.verdict(two, made("real jazz", 80, 70, 100))
    last = "Beside one, other has too few pieces to tell by harmony and by roll."
    assert told.splitlines()[-1] == last
    for harmony, said in (
        (0, "shows no difference by harmony"),
        (18, "is called jazz more often by harmony"),
    ):
        two = [made("one", 0, 10, 20), made("other", harmony, 10, 20)]
        beside_first(two)
        told = narration.verdict(two, made("real jazz", 80, 70, 100))
        last = f"Beside one, other {said}, has too few pieces to tell by roll."
        assert told.splitlines()[-1] == last


def test_a_rerun_with_fewer_pieces_leaves_no_old_ones(
    practice_corpus: Corpus, tmp_path: Path
) -> None:
    def evaluate(count: int) -> set[str]:
        result = gan("evaluate", "ce", "--real", practice_corpus.folder, "--split", "train",
                     "--out", tmp_path, "--no-judges", "--count", count, "--length", 64,
                     "--device", "cpu", "--quiet")  # fmt: skip
        assert result.exit_code == 0, result.output
        return {path.name for path in (tmp_path / "samples" / "ce").iterdir()}

    assert evaluate(4) == {"000.mid", "001.mid", "002.mid", "003.mid"}
    (tmp_path / "samples" / "ce" / "mine.mid").write_bytes(b"a listener's own")
    (tmp_path / "samples" / "ce" / "003.mid").write_bytes(b"changed by hand")
    assert evaluate(2) == {"000.mid", "001.mid", "003.mid", "mine.mid"}
