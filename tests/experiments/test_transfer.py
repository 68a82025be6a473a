"""The transfer table: what is left out stays out, and the figures are those of the logits kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from data_tools.corpus import Enlarged, build
from data_tools.errors import UserError
from data_tools.practice import write_practice
from data_tools.settings import ThinningSettings
from discriminator.features import PITCH
from experiments.recipes import transfer
from experiments.recipes import transfer_fits as fits
from experiments.recipes import transfer_models as models
from experiments.recipes.transfer_table import (
    against_baselines,
    joined,
    markdown,
    result_file,
    table,
)

SOURCES = {"club": "jazz", "bar": "jazz", "hall": "not_jazz", "radio": "not_jazz"}


class Rows:
    """As much of a corpus as planning needs: 40 pieces of each source, groups of two."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [
            {"source": source, "label": label if source != "bar" or n % 2 else "not_jazz",
             "group": f"{source}-{n // 2}", "timing": "performed", "split": "train"}
            for source, label in SOURCES.items() for n in range(40)
        ]  # fmt: skip

    def __len__(self) -> int:
        return len(self.rows)


@pytest.fixture
def corpus() -> Any:
    return Rows()


@pytest.mark.parametrize("left", [("club",), ("club", "hall")])
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_sources_and_groups_left_out_stay_out(
    corpus: Any, left: tuple[str, ...], seed: int
) -> None:
    train, works, sources = models.parts(corpus, left, seed)
    assert sorted(train + works + sources) == list(range(len(corpus)))
    assert {corpus.rows[n]["source"] for n in sources} == set(left)
    assert not {corpus.rows[n]["source"] for n in train + works} & set(left)
    assert not {corpus.rows[n]["group"] for n in train} & {corpus.rows[n]["group"] for n in works}
    assert 0.05 < len(works) / len(train + works) < 0.4


def test_every_source_is_left_out_once_whatever_the_protocol(corpus: Any) -> None:
    assert models.plan(corpus, "one") == [("bar",), ("club",), ("hall",), ("radio",)]
    together = [source for fold in models.plan(corpus, "folds") for source in fold]
    assert sorted(together) == sorted(SOURCES)


def test_a_corpus_of_other_sources_has_folds_too(corpus: Any) -> None:
    assert len(models.plan(corpus, "folds")) == len(SOURCES)


def test_small_sources_are_not_left_out_alone(corpus: Any) -> None:
    corpus.rows = corpus.rows[: -models.SMALLEST + 19]
    assert ("radio",) not in models.plan(corpus, "one")


def kept(corpus: Any, work: Path, name: str, seed: int, noise: float) -> None:
    for left in models.plan(corpus, models.MODELS[name].protocol):
        _, works, sources = models.parts(corpus, left, seed)
        numbers = np.array(works + sources)
        sign = [1.0 if corpus.rows[n]["label"] == "jazz" else -1.0 for n in numbers]
        draws = np.random.default_rng([seed, len(left[0])]).normal(size=len(numbers))
        np.savez(result_file(work, name, seed, left), numbers=numbers, logits=sign + noise * draws)


def test_the_table_is_of_the_logits(corpus: Any, tmp_path: Path) -> None:
    for name in models.ENSEMBLES[models.SHIPPED]:
        kept(corpus, tmp_path, name, 0, 0.05)
        kept(corpus, tmp_path, name, 1, 0.05)
    kept(corpus, tmp_path, "features + boosted trees", 0, 1.0)
    rows = {row["model"]: row for row in table(corpus, tmp_path, 3)}
    shipped = rows[models.SHIPPED]
    assert shipped["seeds"] == 2, "the third seed has no fits"
    assert shipped["left_out_sources"] == pytest.approx(1.0)
    assert shipped["average_precision"] == pytest.approx(1.0)
    assert shipped["left_out_artists"] == pytest.approx([1.0, 1.0])
    assert shipped["calibration_error"] < 0.05
    assert set(shipped["by_source"]) == set(SOURCES)
    noise = rows["features + boosted trees"]
    assert noise["seeds"] == 1
    assert 0.8 < noise["left_out_sources"] < 0.98
    low, high = noise["interval"]
    assert low < noise["left_out_sources"] < high
    assert "CNN on tokens" not in rows, "a model without fits has no row"
    shown = markdown(list(rows.values()))
    assert all(f"| {name} |" in shown for name in (*SOURCES, *rows))


def test_a_row_gains_the_seeds_it_lacked(corpus: Any, tmp_path: Path) -> None:
    name = "features + boosted trees"
    for seed in range(3):
        kept(corpus, tmp_path, name, seed, 1.0)
    (whole,), (two,) = table(corpus, tmp_path, 3), table(corpus, tmp_path, 2)
    last = table(corpus, tmp_path, 1, first=2)
    found = joined(two, last, 2)
    assert found.keys() == whole.keys()
    for key, value in whole.items():
        number = isinstance(value, float) or "interval" in key
        assert found[key] == (pytest.approx(value) if number else value), key
    assert joined(two, last, 1) is two, "seeds that it has"
    assert joined(two, [], 2) is two


def test_rows_of_fewer_seeds_stand_apart(corpus: Any, tmp_path: Path) -> None:
    trees, rags = models.BASELINES[:2]
    for seed in range(2):
        kept(corpus, tmp_path, trees, seed, 1.0)
    kept(corpus, tmp_path, rags, 0, 1.0)
    rows = table(corpus, tmp_path, 2)
    shown, below, *_ = markdown(rows).split("\n\n")
    assert f"| {trees} | one | 2 |" in shown
    assert rags not in shown
    assert below == "Steps on the way, fewer seeds than 2:"
    artists = next(row for row in rows if row["model"] == trees)["left_out_artists"]
    assert shown.endswith(f" {min(artists):.3f} to {max(artists):.3f} |")
    assert "Steps" not in markdown(rows[:1])


def test_the_table_that_is_kept_is_what_its_figures_make() -> None:
    kept = Path(transfer.__file__).parents[1] / "results" / "transfer.json"
    figures = json.loads(kept.read_text(encoding="utf-8"))
    shown = kept.with_suffix(".md").read_text(encoding="utf-8")
    assert markdown(figures["rows"], figures["against"]) == shown


def test_baselines_are_met_on_sources_of_both_labels_in_pairs(corpus: Any, tmp_path: Path) -> None:
    shipped = models.ENSEMBLES[models.SHIPPED]
    for name in shipped:
        kept(corpus, tmp_path, name, 0, 0.05)
        kept(corpus, tmp_path, name, 1, 0.05)
    trees, rags = models.BASELINES[:2]
    kept(corpus, tmp_path, trees, 0, 1.5)
    kept(corpus, tmp_path, rags, 0, 0.05)
    kept(corpus, tmp_path, rags, 1, 0.05)
    file = result_file(tmp_path, shipped[0], 0, ("bar",))
    with np.load(file) as found:
        numbers, logits = found["numbers"], found["logits"]
    place = next(p for p, n in enumerate(numbers) if corpus.rows[n]["source"] == "bar")
    logits[place] = np.nan  # too short for one of them
    np.savez(file, numbers=numbers[::-1], logits=logits[::-1])
    for row in corpus.rows:
        if row["source"] == "hall":
            row["label"] = "" if row["group"].endswith("7") else "not_jazz"
    rows = {row["baseline"]: row for row in against_baselines(corpus, tmp_path, shipped, 1)}
    assert set(rows) == {trees, rags}
    assert {row["source"] for row in rows.values()} == {"bar"}
    assert [rows[name]["pieces"] for name in (trees, rags)] == [39, 39]
    assert rows[rags]["value"] == pytest.approx(0)
    assert 0 < rows[trees]["low"] < rows[trees]["value"] < rows[trees]["high"]
    both = {
        row["baseline"]: row["seeds"] for row in against_baselines(corpus, tmp_path, shipped, 1)
    }
    assert both == {trees: 1, rags: 1}
    assert "| bar | 39 (" in markdown(table(corpus, tmp_path, 1), list(rows.values()))


def test_an_unknown_model_is_named(practice_corpus: Any, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        transfer.main,
        ["--corpus", str(practice_corpus.folder), "--work", str(tmp_path), "--models", "magic"],
    )
    assert result.exit_code == 1
    assert result.output.startswith("Error: --models 'magic': there are features + boosted trees")


def test_fits_of_other_music_are_not_taken(practice_corpus: Any, tmp_path: Path) -> None:
    (tmp_path / "of.json").write_text('{"corpus": "another"}')
    result = CliRunner().invoke(
        transfer.main, ["--corpus", str(practice_corpus.folder), "--work", str(tmp_path)]
    )
    assert result.exit_code == 1
    assert "holds fits of another corpus" in result.output


def test_a_fit_that_is_there_is_not_done_again(
    practice_corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "statistics of harmony"
    done: list[transfer.Task] = []
    monkeypatch.setattr(transfer, "fit", lambda task, corpus, work: done.append(task))
    monkeypatch.setattr(models, "SMALLEST", 1)
    everything = models.plan(practice_corpus, "one")
    np.savez(result_file(tmp_path, name, 0, everything[0]), numbers=[0], logits=[0.0])
    arguments = ["--corpus", str(practice_corpus.folder), "--work", str(tmp_path)]
    arguments += ["--models", name, "--seeds", "1"]
    assert CliRunner().invoke(transfer.main, arguments).exit_code == 0
    assert [task.left for task in done] == everything[1:]


def test_a_kept_table_says_how_many_seeds_its_rows_have(
    corpus: Any, practice_corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "features + boosted trees"
    for seed in range(3):
        kept(corpus, tmp_path, name, seed, 1.0)
    (tmp_path / "old.json").write_text(json.dumps({"seeds": 1, "rows": table(corpus, tmp_path, 1)}))
    monkeypatch.setattr(transfer, "fit", lambda task, corpus, work: None)
    monkeypatch.setattr(transfer, "table", lambda _, *rest: table(corpus, *rest))
    arguments = ["--corpus", practice_corpus.folder, "--work", tmp_path, "--models", name]
    arguments += ["--first", 1, "--seeds", 2, "--keep", tmp_path / "old.json"]
    arguments += ["--out", tmp_path / "new.json"]
    result = CliRunner().invoke(transfer.main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "new.json").read_text())
    assert [row["seeds"] for row in found["rows"]] == [3]
    assert found["seeds"] == 3


@pytest.fixture
def enlarged(practice_corpus: Any, tmp_path: Path) -> Enlarged:
    """The practice corpus, and five rags of which the second shares its artist with the test."""
    write_practice(tmp_path / "rags", 5, rags=True)
    rags, _ = build([tmp_path / "rags"], tmp_path / "second", workers=1)
    both = Enlarged(practice_corpus.folder, rags.folder)
    del both.added[1], both.rows[both.own + 1]
    return both


def test_the_second_corpus_is_only_learnt_from(practice_corpus: Any, enlarged: Enlarged) -> None:
    left = (practice_corpus.rows[0]["source"],)
    train, works, sources = models.parts(practice_corpus, left, 0)
    own = len(practice_corpus)
    assert models.parts(enlarged, left, 0) == (
        train + list(range(own, own + 4)), works, sources
    )  # fmt: skip
    assert models.parts(enlarged, (*left, "practice-ragtime"), 0) == (train, works, sources)


def test_statistics_of_both_corpora_are_joined_by_piece(enlarged: Enlarged) -> None:
    def kept(pieces: int, windows: list[int], sign: int) -> fits.Kept:
        """Every row says whose it is; pieces have different numbers of windows."""

        def of(numbers: Any) -> np.ndarray:
            return np.asarray(numbers, dtype=np.float16)[:, None] * sign

        owner = np.repeat(np.arange(pieces), windows)
        crops = np.repeat(np.arange(pieces), fits.CROPS)
        spoilt = np.repeat(np.arange(pieces), fits.CORRUPTED)
        return fits.Kept(of(crops), np.abs(crops) + 100, of(spoilt), of(owner), owner)

    own = enlarged.own
    both = fits._joined(kept(own, [2] * own, 1), kept(5, [1, 2, 1, 3, 1], -1), enlarged)
    whose = [*range(own), 0, -2, -3, -4]  # the second corpus's piece 1 was left out
    assert both.crops[:: fits.CROPS, 0].tolist() == whose
    assert both.corrupted[:: fits.CORRUPTED, 0].tolist() == whose
    assert both.lengths[own * fits.CROPS :: fits.CROPS].tolist() == [100, 102, 103, 104]
    assert [whose[owner] for owner in both.owner] == both.windows[:, 0].tolist()
    assert np.bincount(both.owner)[own:].tolist() == [1, 1, 3, 1]


def test_a_line_that_needs_a_second_corpus_says_so(practice_corpus: Any, tmp_path: Path) -> None:
    arguments = ["--corpus", str(practice_corpus.folder), "--work", str(tmp_path)]
    result = CliRunner().invoke(
        transfer.main, [*arguments, "--models", f"CNN on harmony{models.RAGS}"]
    )
    assert result.exit_code == 1
    assert "needs a second corpus as --also" in result.output


def test_thinned_crops_are_others_and_what_is_judged_is_not(
    enlarged: Enlarged, tmp_path: Path
) -> None:
    rags = enlarged.also
    plain, thinned = (
        fits.kept_statistics(
            rags, "harmony", models.STATISTICS.model_copy(update={"thinning": thinning}), file
        )
        for thinning, file in (
            (ThinningSettings(), tmp_path / "plain.npz"),
            (ThinningSettings(thin_share=1.0), tmp_path / "thinned.npz"),
        )
    )
    assert (plain.crops != thinned.crops).any(1).mean() > 0.9
    assert np.array_equal(plain.windows, thinned.windows)
    assert len(thinned.lengths) == len(plain.lengths)
    name = f"statistics of harmony and time{models.BOUNDED}"
    crops = {
        transfer._crops(transfer.Task(f"{name}{kind}{models.RAGS}", 0, ()))
        for kind in ("", models.THINNED)
    }
    assert crops == {"rhythm", "rhythm-thinned-0.8"}


def test_trees_learn_from_thinned_copies_too(
    enlarged: Enlarged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rags = enlarged.also
    plain = fits.kept_features(rags, tmp_path / "plain.npy", PITCH)
    rows = fits.kept_features(rags, tmp_path / "thinned.npy", PITCH, 2)
    assert plain.shape == (1, 5, rows.shape[2])
    assert np.array_equal(plain[0], rows[0], equal_nan=True)
    assert not np.array_equal(rows[0], rows[1], equal_nan=True)
    assert not np.array_equal(rows[1], rows[2], equal_nan=True)
    np.save(tmp_path / "old.npy", plain[0])
    assert np.array_equal(fits.kept_features(rags, tmp_path / "old.npy", PITCH), plain)
    seen: list[Any] = []
    monkeypatch.setattr(fits.FeatureJudge, "fit", lambda *arguments: seen.extend(arguments))
    fits.boosted(rags, [1, 3], rows, 0, PITCH)
    shown, labels, sources = seen[:3]
    expected = [rows[copy, number] for copy in range(3) for number in (1, 3)]
    assert np.array_equal(shown, expected, equal_nan=True)
    assert labels.tolist() == [True] * 6
    assert len(sources) == 6


def test_what_a_fit_is_of_says_what_is_not_as_by_default() -> None:
    told = {name: model.told() for name, model in models.MODELS.items()}
    assert len(set(told.values())) == len(told)
    plain = models.Model("network", "folds")
    assert "thin" not in plain.told()
    settings = plain.settings.model_copy(update={"thinning": ThinningSettings(thin_share=0.5)})
    assert replace(plain, settings=settings).told() != plain.told()
    assert replace(plain, least=7).told() != plain.told()


def test_fits_of_other_settings_are_not_taken(practice_corpus: Any, tmp_path: Path) -> None:
    name = "statistics of harmony"
    transfer._claim(tmp_path, practice_corpus, None, (name,))
    transfer._claim(tmp_path, practice_corpus, None, (name,))
    card = tmp_path / "of.json"
    card.write_text(card.read_text().replace('steps\\": 750', 'steps\\": 751'))
    with pytest.raises(UserError, match=f"holds fits of another {name};"):
        transfer._claim(tmp_path, practice_corpus, None, (name,))
