"""The report's page as text, odd input, and the way of a listener's choices there and back."""

import csv
import io
import json
import math
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.errors import UserError
from data_tools.practice import compose
from gan.evaluation.confidence import wilson
from gan.evaluation.report import (
    REAL,
    Confusion,
    Figure,
    Frontier,
    Histogram,
    Measure,
    Point,
    Report,
    Sample,
    System,
    Table,
    read_ratings,
    write_report,
)
from gan.evaluation.report.axes import bounds, decimals, number, ticks
from gan.evaluation.report.charts import thinned
from gan.evaluation.report.music import played
from gan.evaluation.report.page import MOST_BYTES, page
from gan.evaluation.report.ratings import read_choices, win_rates
from gan.evaluation.report.tables import leader

EVIL = (
    """</script><script>alert(1)</script><img src=x onerror="alert(2)"> & 'quoted' "words" --> é"""
)
VOID = {"meta", "br", "input", "hr"}


def some_notes(count: int, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.uniform(0, seconds, count))
    length, velocity = rng.uniform(0.05, 0.6, count), rng.integers(20, 120, count)
    return np.stack([start, length, rng.integers(30, 95, count), velocity], 1)


def full(name: str = "transformer", samples: int = 2) -> Report:
    names = [name, "LSTM", "GAN"]
    systems = [
        System(
            each,
            "A description",
            "layers: 4\nwidth: 128",
            {"bits per note": Figure(12 + n, 11.9 + n, 12.1 + n, "64 pieces"), "AUC": Figure(0.9)},
            {"cross-entropy": [(step, 3 - step / 1000) for step in range(1000)]},
            [Sample(f"Piece {k}", some_notes(50, 20, k), begins=4.0) for k in range(samples)],
        )
        for n, each in enumerate(names)
    ]
    points = [Point(each, "t = 1", Figure(0.5, 0.4, 0.6), Figure(0.3)) for each in (*names, REAL)]
    return Report(
        f"Report of {name}",
        f"{name} wins.",
        systems,
        {"bits per note": Measure("lower", "How surprised it is.", 2)},
        Frontier(points, "p(jazz)", "self-distance"),
        [
            Histogram("pitch class", ["C", "D"], {each: [1, 2] for each in names}, [2, 2]),
            Histogram("velocity", [0, 64, 128], {name: [1, 2]}, None, "of 127"),
        ],
        [Confusion(name, "", 3, 1), Confusion("maestro", "not_jazz", 2, 7, 1)],
        [Table(f"Table of {name}", ["a", name], [[name, 1.5], [None, 2]], "a note")],
        "note",
    )


class Nesting(HTMLParser):
    """Collects what is wrong with the nesting of elements, and what can be seen and run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.seen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.wrong += [f"{tag} {key}" for key, _ in attrs if key.startswith("on")]
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if not set(self.open) & {"script", "style"}:
            self.seen += data


def parsed(html: str) -> Nesting:
    found = Nesting()
    found.feed(html)
    found.close()
    assert found.wrong == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert found.scripts == 3  # colours, data, players
    return found


@pytest.mark.parametrize(
    "report",
    [
        full(),
        full(samples=0),
        Report("nothing"),
        Report("one", systems=[System("alone")]),
        Report("one", "v", full().systems[:1]),
        Report("empty piece", systems=[System("a", samples=[Sample("x", None)])]),
        Report("no curve", systems=[System("a", curves={"loss": []})]),
        Report("flat", systems=[System("a", curves={"loss": [(0, 1.0), (math.nan, 2), (2, 1.0)]})]),
        Report("nan", systems=[System("a", figures={"x": Figure(math.nan, math.nan, math.inf)})]),
        Report("h", histograms=[Histogram("x", [0, 1], {"a": [0]}, [0])]),
        Report("h", frontier=Frontier([Point("a", "", Figure(math.nan), Figure(1))])),
        Report("c", confusion=[Confusion("none", "jazz", 0, 0)]),
        Report("t", tables=[Table("", [], [])]),
    ],
)
def test_a_page_is_well_formed_whatever_is_missing(report: Report) -> None:
    html = page(report)
    assert report.title in parsed(html).seen
    assert "nan" not in "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))


def test_the_page_refers_to_nothing_outside_it() -> None:
    html = page(full())
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|src=", re.sub(r"(?m)^\s*//.*$|; // .*$", "", html)
    )
    assert "default-src 'none'" in html


def test_the_verdict_comes_first() -> None:
    seen = parsed(page(full())).seen
    order = [seen.rindex(words) for words in ("In short", "transformer wins.", "Loss curves")]
    assert order == sorted(order)


def test_text_never_becomes_markup() -> None:
    report = full(EVIL)
    systems = list(report.systems)
    samples = [Sample(EVIL, some_notes(5, 2)), Sample(EVIL, b"no MIDI " + EVIL.encode())]
    figures, curves = {EVIL: Figure(1, 0, 2, EVIL)}, {EVIL: [(0.0, 1.0)]}
    systems[0] = System(EVIL, EVIL, EVIL, figures, curves, samples)
    points = report.frontier.points if report.frontier else ()
    report = Report(
        EVIL, EVIL, systems, {EVIL: Measure("", EVIL)}, Frontier(points, EVIL, EVIL),
        [Histogram(EVIL, [EVIL], {EVIL: [1]}, None, EVIL)], report.confusion, report.tables, EVIL,
    )  # fmt: skip
    html = page(report)
    found = parsed(html)
    assert EVIL in found.seen
    assert "<img" not in html
    assert html.count("</script>") == 3
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert json.loads(data[1])["systems"][0]["name"] == EVIL


def test_names_that_are_no_text_are_written_all_the_same(tmp_path: Path) -> None:
    path = write_report(Report("caf\udce9 \x00\x1b", "a\nb"), tmp_path / "new" / "page.html")
    assert "caf\\udce9 \ufffd\ufffd" in path.read_text("utf-8")


def test_arrays_do_wherever_sequences_do() -> None:
    curve = np.stack([np.arange(900), np.linspace(0, 1, 900)], 1).astype(np.float32)
    sample = Sample("x", some_notes(9, 3).astype(np.float32), np.float32(4), np.array([[0, 1]]),
                    curve, np.float32(2))  # fmt: skip
    lost = Sample("y", some_notes(9, 3), math.nan, None, [(math.nan, 1), (1, math.nan)], math.nan)
    html = page(
        Report(
            "arrays",
            systems=[
                System("a", "", "", {"b": Figure(np.float32(1))}, {"c": curve}, [sample, lost])
            ],
            histograms=[Histogram("h", np.arange(3), {"a": np.ones(2)}, np.ones(2))],
        )
    )
    data = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert data
    one, other = json.loads(data[1])["systems"][0]["samples"]
    assert (one["seconds"], one["begins"], len(one["curve"])) == (4.0, 2.0, 300)
    assert (other["begins"], other["curve"]) == (None, [])


def test_two_systems_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="named 'a'"):
        page(Report("x", systems=[System("a"), System("a")]))


def test_three_systems_of_eight_long_samples_stay_within_the_bound(tmp_path: Path) -> None:
    samples = [Sample(f"{n}", some_notes(50_000, 10_800, n)) for n in range(8)]
    systems = [System(name, samples=samples) for name in ("a", "b", "c")]
    size = write_report(Report("long", systems=systems), tmp_path / "page.html").stat().st_size
    assert 12_000_000 < size < MOST_BYTES
    assert "left out" not in parsed(page(Report("long", systems=systems))).seen


def test_what_does_not_fit_the_page_is_named_there() -> None:
    samples = [Sample(f"{n}", some_notes(50_000, 600, n)) for n in range(10)]
    systems = [
        System(name, samples=[*samples, Sample("short", some_notes(9, 3))]) for name in "abc"
    ]
    html = page(Report("too long", systems=systems))
    assert len(html) < MOST_BYTES
    assert html.count("left out: the page would be larger than 15 MB") == 5
    assert html.count(">9 notes<") == 3


def test_a_piece_of_three_hours_is_cut_to_what_a_browser_bears() -> None:
    found = played(Sample("long", some_notes(80_000, 10_800)))
    assert found.notes == 50_000
    assert found.message == "the first 50,000 of 80,000 notes"
    assert 6_000 < found.seconds < 7_500


@pytest.mark.parametrize(
    ("music", "message"),
    [
        (None, "no notes"),
        (np.zeros((0, 4)), "no notes"),
        (np.array([[0, 0, 60, 80.0]]), "no notes"),
        (np.array([[0, 1, math.nan, 80.0], [0, 1, 200, 80]]), "no notes"),
        (np.zeros((3, 2)), r"notes of shape (3, 2), wanted (N, 4)"),
        (b"", "not readable as MIDI"),
        (Path("missing.mid"), "No such file"),
    ],
)
def test_a_sample_that_cannot_be_played_says_why(music: object, message: str) -> None:
    found = played(Sample("x", music))
    assert found.notes == 0
    assert found.message.startswith(message)
    assert (
        message
        in parsed(page(Report("x", systems=[System("a", samples=[Sample("x", music)])]))).seen
    )


def test_midi_is_packed_in_its_own_seconds() -> None:
    import base64

    score = compose(0, 0, "jazz").score
    found = played(Sample("x", score))
    notes = score.instruments[0].notes
    assert found.notes == len(notes)
    seconds = score.get_tick_to_time_mapping()
    start = np.frombuffer(base64.b64decode(found.packed["start"]), "<u4") / 1000
    wanted = sorted(seconds[note.start] for note in notes)
    np.testing.assert_allclose(start, wanted, atol=6e-4)
    assert found.seconds == pytest.approx(max(seconds[note.end] for note in notes), abs=1e-3)


def test_the_best_is_named_only_where_intervals_lie_apart() -> None:
    lower, apart = Measure("lower"), {"a": Figure(1, 0.9, 1.1), "b": Figure(2, 1.8, 2.2)}
    assert leader(apart, lower) == "a"
    assert leader(apart, Measure("higher")) == "b"
    assert leader(apart, Measure()) is None
    assert leader(apart | {"c": Figure(1.1, 1.0, 1.2)}, lower) is None
    assert leader(apart | {"c": Figure(9)}, lower) is None


def test_where_real_jazz_is_to_be_matched_nobody_is_best() -> None:
    apart = {"a": Figure(1, 0.9, 1.1), "b": Figure(2, 1.8, 2.2)}
    assert leader(apart, Measure("match")) is None
    systems = [
        System(name, figures={"distance": Figure(value, value - 1, value + 1)})
        for name, value in (("near", 5), ("far", 9), (REAL, 1))
    ]
    report = Report("x", systems=systems, measures={"distance": Measure("lower", label="Apart")},
                    intervals="Over pieces.")  # fmt: skip
    html = page(report)
    cells = re.findall(r'<td data-column="([^"]*)"[^>]*>(.*?)</td>', html, re.DOTALL)
    assert [name for name, cell in cells if 'class="best"' in cell] == ["near"]
    seen = parsed(html).seen
    assert "Over pieces." in seen
    assert "Apart" in seen


def test_the_frontier_marks_real_jazz_as_what_to_match() -> None:
    points = [
        Point("a", "t = 1", Figure(0.5), Figure(0.3)),
        Point(REAL, "", Figure(0.4), Figure(1)),
    ]
    html = page(Report("x", frontier=Frontier(points)))
    assert html.count('class="target"') == 1
    assert "Nearest to real jazz's mark" in parsed(html).seen.replace("&#x27;", "'")
    assert 'class="target"' not in page(Report("x", frontier=Frontier(points[:1])))


def test_words_below_a_histogram_do_not_run_into_each_other() -> None:
    words = [str(number) for number in range(49)]
    html = page(Report("x", histograms=[Histogram("h", words, {"a": [1] * 49})]))
    places = [
        (float(x), word)
        for x, word in re.findall(r'class="tick" x="([\d.]+)" y="269"[^>]*>([^<]*)<', html)
    ]
    assert len(places) > 5
    for (left, word), (right, other) in pairwise(places):
        assert right - left > 4 * (len(word) + len(other)) + 4


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_ticks_are_few_and_within(one: float, other: float) -> None:
    low, high = bounds([one, other])
    found = ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low - (high - low) * 1e-3 <= tick <= high + (high - low) * 1e-3 for tick in found)


def test_the_last_word_below_a_histogram_is_written_where_it_can_be() -> None:
    for words in (
        [*map(str, range(48)), "≥48"],
        ["≤−12", *map(str, range(23)), "≥+12"],
        ["a", "b", "c"],
    ):
        found = Histogram("span", words, {"LSTM": [1] * len(words)})
        html = page(Report("One", "", [System("LSTM")], histograms=[found]))
        ticks_of = re.findall(r'<text class="tick"[^>]*middle">([^<]+)<', html)
        assert (ticks_of[0], ticks_of[-1]) == (words[0], words[-1])


def test_numbers_beside_curves_have_as_many_decimals() -> None:
    curves = ([(0, 3.0), (1, 2.0)], [(0, 3.0), (1, 2.951)], [(0, 3.0), (1, math.nan)])
    systems = [
        System(name, curves={"loss": curve}) for name, curve in zip("abc", curves, strict=True)
    ]
    html = page(Report("Three", "", systems))
    assert re.findall(r"<b>([^<]+)</b>", html) == ["2.00", "2.95", "3.00"]
    assert [decimals(row) for row in ([], [0.0], [0.031], [2.9, 0.1], [14.71], [2500.0])] == [
        2, 2, 4, 2, 1, 0
    ]  # fmt: skip


def test_files_left_out_are_not_called_settings() -> None:
    system = System("folder", left_out=["a.mid: not readable as MIDI", "b.mid: only 3 tokens"])
    html = page(Report("One", "", [system, System("run", settings="layers: 4")]))
    assert "<summary>2 files left out</summary><pre>a.mid: not readable as MIDI\nb.mid:" in html
    assert html.count("<summary>Settings</summary><pre>layers: 4</pre>") == 1


@pytest.mark.parametrize("theme", [":root {", ':root[data-theme="dark"] {'])
def test_colours_stand_out_from_the_page(theme: str) -> None:
    """Contrast after WCAG 2: 4.5 for words and 3 for what is drawn."""
    css = files("gan.evaluation.report").joinpath("assets", "page.css").read_text("utf-8")
    block = css.partition(theme)[2].partition("}")[0]
    shades = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))

    def light(name: str) -> float:
        parts = np.array([int(shades[name][place : place + 2], 16) for place in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    drawn = [f"s{number}" for number in range(8)] + ["real", "sblind", "faint"]
    for least, names in ((4.5, ["text", "soft", "brass"]), (3.0, drawn)):
        for name in names:
            for ground in ("paper", "card", "roll"):
                low, high = sorted((light(name), light(ground)))
                assert (high + 0.05) / (low + 0.05) >= least, (name, ground)


def test_numbers_are_for_people() -> None:
    assert [number(v) for v in (0.12345, 12.345, 1234.5, -1, math.nan)] == [
        "0.123", "12.3", "1,234", "−1", "–"]  # fmt: skip
    assert number(1.005, 1) == "1.0"


def test_a_long_curve_is_thinned_and_keeps_its_mean() -> None:
    curve = [(n, math.sin(n)) for n in range(100_000)]
    found = thinned(curve)
    assert len(found) <= 400
    assert np.mean([y for _, y in found]) == pytest.approx(np.mean([y for _, y in curve]), abs=1e-3)


# What listeners chose


def made(number: int, left: str, right: str, choice: str, who: str = "") -> dict:
    side = {"left": left, "right": right}
    return {
        "id": f"session{who}-{number}", "listener": who, "time": "2026-01-01T00:00:00Z",
        **{key: {"system": name, "sample": f"{name}, 1"} for key, name in side.items()},
        "choice": choice, "place": number, "ratings": [4, None], "heard": [1.5, 2],
    }  # fmt: skip


def as_json(path: Path, choices: list[dict]) -> Path:
    path.write_text(json.dumps({"format": 1, "report": "r", "choices": choices}), "utf-8")
    return path


def as_csv(path: Path, choices: list[dict]) -> Path:
    buffer = io.StringIO()
    names = ["id", "listener", "left_system", "left_sample", "right_system", "right_sample",
             "choice", "left_rating", "right_rating"]  # fmt: skip
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for one in choices:
        left, right, ratings = one["left"], one["right"], one["ratings"]
        writer.writerow(
            [one["id"], one["listener"], left["system"], left["sample"], right["system"],
             right["sample"], one["choice"], ratings[0], ratings[1]]
        )  # fmt: skip
    path.write_text(buffer.getvalue(), "utf-8")
    return path


def test_both_exports_read_alike_and_count_once(tmp_path: Path) -> None:
    name = 'GAN, "large"\nnew'
    choices = [made(0, "LSTM", name, "right"), made(1, name, "LSTM", "left"),
               made(2, name, "LSTM", "tie"), made(3, "LSTM", name, "left")]  # fmt: skip
    table, content = as_csv(tmp_path / "a.csv", choices), as_json(tmp_path / "a.json", choices)
    assert read_choices([table]) == read_choices([content])
    (rate,) = read_ratings(table, content)
    assert (rate.first, rate.second) == (name, "LSTM")
    assert (rate.wins, rate.ties, rate.losses, rate.listeners) == (2, 1, 1, 1)
    assert rate.rate == 2.5 / 4
    assert (rate.low, rate.high) == wilson(2.5 / 4, 4)
    assert read_choices([table])[0].left_rating == 4


def test_listeners_who_differ_widen_the_interval(tmp_path: Path) -> None:
    choices = [
        made(n, "a", "b", "left" if who < 4 else "right", str(who))
        for who in range(8)
        for n in range(30)
    ]
    (rate,) = read_ratings(as_json(tmp_path / "x.json", choices))
    assert rate.listeners == 8
    assert rate.rate == 0.5
    assert rate.high - rate.low > 2 * np.diff(wilson(0.5, 240))[0]


def test_pairs_are_apart_and_most_compared_first() -> None:
    from gan.evaluation.report.ratings import Choice

    def choice(n: int, left: str, right: str) -> Choice:
        return Choice(str(n), "x", left, right, "", "", "left")

    rates = win_rates(
        [choice(0, "a", "b"), choice(1, "c", "a"), choice(2, "a", "c"), choice(3, "a", "a")]
    )
    assert [(r.first, r.second, r.rate) for r in rates] == [("a", "c", 0.5), ("a", "b", 1.0)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "not an export"),
        ("a.json", "[]", "not an export"),
        ("a.json", '{"choices": [{"id": 1}]}', "not an export"),
        ("a.json", '{"choices": []}', "no choices"),
        ("a.csv", "", "no choices"),
        ("a.csv", "path,p_jazz\nx,1\n", "a row without id"),
        ("a.csv", "id,left_system,right_system,choice\n1,a,b,maybe\n", "a row without id"),
        ("a.csv", "id,left_system,right_system,choice,left_rating\n1,a,b,tie,9\n", "1 to 5"),
    ],
)
def test_a_file_that_is_no_export_is_named(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(UserError, match=words) as caught:
        read_ratings(path)
    assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="No such file"):
        read_ratings(tmp_path / "missing.csv")
