"""The report in a real browser, opened from the disk with no network: it plays, seeks and tallies.

Needs the package playwright and a Chromium, playwright's own or the system's.
"""

import csv
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan.evaluation.report import Figure, Report, Sample, System, read_ratings, write_report

pytestmark = pytest.mark.browser
EVIL = "</script><b>LSTM</b>"
LOUD = """() => {
  const wave = new Float32Array(jazz.analyser.fftSize);
  jazz.analyser.getFloatTimeDomainData(wave);
  return Math.max(...wave.map(Math.abs));
}"""
WIDTHS = (1280, 390)


def some_notes(count: int, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    start = np.sort(rng.uniform(0, seconds, count))
    start[0] = 0.0
    length = rng.uniform(0.2, 0.8, count)
    return np.stack([start, length, rng.integers(40, 84, count), rng.integers(50, 110, count)], 1)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of three systems: short pieces, one of 50,000 notes, one empty, one with pedal."""

    def pieces(seed: int) -> list[Sample]:
        pedal = np.array([[0.0, 2.0], [3.0, 6.0]])
        curve = [(1.0, 0.3), (4.0, 0.8)]
        return [
            Sample("short", some_notes(60, 8, seed), pedal=pedal, p_jazz=curve, begins=3.0),
            Sample("second", some_notes(90, 12, seed + 1)),
        ]  # fmt: skip

    long = Sample("three hours", some_notes(50_000, 10_800, 9))
    crowded = Sample("crowded", some_notes(50_000, 60, 10))
    systems = [
        System("transformer", "Reads all it wrote.", figures={"bits": Figure(12, 11, 13)},
               curves={"loss": [(0, 3), (10, 2)]}, samples=pieces(0)),
        System(EVIL, "Reads what it remembers.", samples=[*pieces(3), Sample("empty", None)]),
        System("GAN", "Listens, too.", samples=[*pieces(5), long, crowded]),
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("report")
    return write_report(Report("A report", "It plays.", systems), folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        found = own if Path(own).is_file() else next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip("no Chromium found: playwright install chromium")
        browser = playwright.chromium.launch(
            executable_path=found,
            args=["--autoplay-policy=no-user-gesture-required", "--no-sandbox"],
        )
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """The page at both widths; whatever its console or the network says is a failure."""
    with opened(browser, address, request.param) as page:
        yield page


@contextmanager
def opened(browser: Any, address: str, width: int) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, offline=True, accept_downloads=True
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: said.append(sent.url) if sent.url != address else None)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(address)
    yield page
    context.close()
    assert [words for words in said if not words.startswith("blob:")] == []


def wait(page: Any, condition: str, seconds: float = 20) -> None:
    """Until a condition holds; the page's own policy forbids playwright to wait for it there."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not so after {seconds:g} s: {condition}"
        page.wait_for_timeout(40)


def fits(page: Any) -> bool:
    return page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_every_player_plays(page: Any) -> None:
    assert fits(page)
    players = page.locator("#listen .player:has(.play)")
    assert players.count() == 8
    for number in range(players.count()):
        button = players.nth(number).locator(".play")
        before = page.evaluate("jazz.context?.currentTime ?? 0")
        button.click()
        wait(page, f"({LOUD})() > 0.01")
        playing = "[...jazz.players].filter((player) => player.playing)"
        wait(page, f"{playing}[0].position > 0.4")
        assert page.evaluate("jazz.context.currentTime") > before
        assert page.evaluate(f"{playing}.length") == 1
        assert button.get_attribute("aria-label").startswith("Pause ")
        assert page.evaluate("jazz.voices") <= 80
        button.click()
        assert page.evaluate(f"{playing}.length") == 0
        wait(page, f"({LOUD})() < 0.005")


def test_seeking_by_keys_and_by_pointer(page: Any) -> None:
    player = page.locator("#listen .player").first
    slider = player.get_by_role("slider")
    length = int(slider.get_attribute("aria-valuemax"))
    slider.focus()
    for key, second in (("ArrowRight", 2), ("ArrowRight", 4), ("ArrowLeft", 2), ("End", length),
                        ("Home", 0), ("PageUp", length)):  # fmt: skip
        page.keyboard.press(key)
        assert int(slider.get_attribute("aria-valuenow")) == second
    assert slider.get_attribute("aria-valuetext") == f"0:0{length} of 0:0{length}"
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert abs(int(slider.get_attribute("aria-valuenow")) - length / 2) <= 1
    # While it plays, it goes on from there; at the end it stops by itself.
    page.keyboard.press("Space")
    wait(page, f"({LOUD})() > 0.01")
    page.keyboard.press("End")
    wait(page, "[...jazz.players].every((player) => !player.playing)")


def test_what_stands_in_the_place_of_an_empty_piece(page: Any) -> None:
    empty = page.locator(".player:has(h4:text-is('empty'))")
    assert empty.locator(".missing").inner_text() == "no notes"
    assert empty.locator("canvas").count() == 0
    assert page.locator(f"h3 >> text={EVIL}").count() > 1


def test_colours_follow_the_system_and_the_button(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    wait(page, "document.documentElement.dataset.theme === 'dark'")
    dark = page.evaluate(paper)
    page.locator("#theme-toggle").click()
    assert page.evaluate(paper) != dark
    assert fits(page)


def test_blind_listening_hides_tallies_and_exports(page: Any, tmp_path: Path) -> None:
    page.locator("#blind-toggle").click()
    assert fits(page)
    assert "transformer" not in page.locator("body").inner_text()
    labels = page.evaluate("[...document.querySelectorAll('#blind [aria-label]')]"
                           ".map((element) => element.ariaLabel)")  # fmt: skip
    assert not [label for label in labels if "short" in label or "GAN" in label]
    room = page.locator("#blind")
    room.locator(".play").first.click()
    wait(page, f"({LOUD})() > 0.01")
    room.locator("#listener").fill("Ann O'Day")
    room.locator("input[type=radio][value='4']").first.check()
    answers = ["left", "right", "tie", "left", "left"]
    for answer in answers:
        room.locator(f"[data-choice={answer}]").click()
    assert "5 choices so far: A 3, B 1, no difference 1." in room.inner_text()
    room.get_by_role("button", name="Undo the last choice").click()
    assert "4 choices" in room.inner_text()

    files = {}
    for form in ("csv", "json"):
        with page.expect_download() as download:
            room.locator(f"#export-{form}").click()
        files[form] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[form])
    assert files["csv"].name == "ratings-Ann-O-Day.csv"
    with files["csv"].open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    choices = json.loads(files["json"].read_text("utf-8"))["choices"]
    assert [row["choice"] for row in rows] == [one["choice"] for one in choices] == answers[:4]
    assert rows[0]["left_rating"] == "4"
    assert rows[0]["listener"] == "Ann O'Day"
    assert float(rows[0]["left_heard"]) > 0
    rates = read_ratings(files["csv"], files["json"])
    assert rates == read_ratings(files["json"])
    assert sum(rate.wins + rate.ties + rate.losses for rate in rates) == 4
    assert {name for rate in rates for name in (rate.first, rate.second)} <= {
        "transformer", EVIL, "GAN"}  # fmt: skip

    assert room.locator("#results").count() == 0
    room.locator("#reveal").click()
    shown = sum(int(cell) for cell in room.locator("#results td").all_inner_texts())
    assert shown == 4
    assert fits(page)
    inside = "document.getElementById('results')"
    assert page.evaluate(f"{inside}.scrollWidth <= {inside}.clientWidth"), "the table is cut off"
    # What was chosen is there after the page has been closed and opened.
    page.reload()
    page.locator("#blind-toggle").click()
    assert "4 choices" in room.inner_text()
    room.get_by_role("button", name="Start over").click()
    assert "No choices yet." in room.inner_text()
    page.locator("#blind-toggle").click()
    assert page.locator("#listen").is_visible()


def test_a_link_leads_to_a_heading_that_is_seen(page: Any) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.locator("nav a[href='#listen']").click()
    top = "document.getElementById('listen-head').getBoundingClientRect().top"
    rail = "document.querySelector('.rail').getBoundingClientRect().bottom"
    wait(page, f"{top} >= {rail} && {top} < {rail} + 60")
    skip = page.locator(".skip")
    assert skip.get_attribute("href") == "#main"
    page.locator("#blind-toggle").click()
    assert skip.get_attribute("href") == "#blind"
    page.locator("#reveal").click()
    assert "no choices yet" in page.locator("#results").inner_text()


def test_nothing_is_cut_off_on_paper(browser: Any, tmp_path: Path) -> None:
    figures = {f"figure {n}": Figure(0.512, 0.312, 0.712) for n in range(3)}
    names = ("ce", "adversarial", "a folder of files", "real jazz")
    report = Report("Four", "", [System(name, figures=figures) for name in names])
    with opened(browser, write_report(report, tmp_path / "four.html").as_uri(), 794) as page:
        page.emulate_media(media="print")
        table = "document.querySelector('.figures')"
        assert page.evaluate(f"{table}.scrollWidth <= {table}.clientWidth")


def test_without_scripts_no_button_is_there_that_does_nothing(browser: Any, address: str) -> None:
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("noscript .missing").is_visible()
    assert not page.locator("#blind-toggle").is_visible()
    assert not page.locator("#theme-toggle").is_visible()
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("samples", [None, 0, 1])
def test_one_system_or_none_makes_a_page_that_works(
    browser: Any, tmp_path: Path, samples: int | None, width: int
) -> None:
    heard = [Sample("only", some_notes(30, 5, 1))][: samples or 0]
    figures = {"bits": Figure(12, 11, 13), "rate": Figure(1.0, 0.93, 1.0)}
    systems = [] if samples is None else [System("alone", figures=figures, samples=heard)]
    path = write_report(Report("Few", "Little to see.", systems), tmp_path / "page.html")
    with opened(browser, path.as_uri(), width) as page:
        assert fits(page)
        assert page.locator("#blind-toggle").is_disabled()
        assert page.locator("#listen .play").count() == (samples or 0)
        if samples:
            page.locator("#listen .play").click()
            wait(page, f"({LOUD})() > 0.01")
        else:
            words = page.locator("main").inner_text()
            assert "No system to show." in words or "no samples" in words


def test_the_words_of_a_roll_are_not_cut_off_and_stand_apart(page: Any) -> None:
    """What the canvas is told to write, from the lowest note to the highest and in seconds."""
    page.evaluate("""() => {
      window.written = [];
      const fillText = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (words, x, y) {
        written.push([words, x, y, x + this.measureText(words).width]);
        return fillText.call(this, words, x, y);
      };
      dispatchEvent(new Event('themechange'));
    }""")
    written = page.evaluate("written")
    assert len(written) > 20
    assert all(y >= 10 for _, _, y, _ in written)
    seconds = [row for row in written if ":" in row[0]]
    pairs = [(one, other) for one, other in pairwise(seconds) if other[1] > one[1]]
    assert pairs
    assert all(other[1] > one[3] + 2 for one, other in pairs)


def test_it_prints(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    page.emulate_media(media="print")
    page.pdf(path=path)
    assert path.read_bytes()[:5] == b"%PDF-"
