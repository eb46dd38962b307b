"""The page as a browser shows it: headless Chromium, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mldebug.benchmark.report.page import page
from mldebug.benchmark.report.reading import read

from .synthetic import HOSTILE, make_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")

SIZES = ((1280, 900), (390, 844))
SCHEMES = ("light", "dark")
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = running.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    target = folder / "report.html"
    target.write_text(page(read([make_run(folder / "run", hostile=HOSTILE)])), "ascii")
    return target


class Opened:
    """A page with all that should not have happened in it."""

    def __init__(self, browser: Any, path: Path, size: tuple[int, int], scheme: str, **options: Any) -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, **options
        )
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda one: self.wrong.append(f"console: {one.text}"))
        self.page.on("pageerror", lambda one: self.wrong.append(f"error: {one}"))
        self.page.on("dialog", lambda one: self.wrong.append(f"dialog: {one.message}"))
        self.page.on("request", lambda one: self._requested(one.url, path))
        self.page.goto(path.as_uri())

    def _requested(self, url: str, path: Path) -> None:
        if url.split("#")[0] != path.as_uri():
            self.wrong.append(f"request: {url}")

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.wrong == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_agents_wrote_is_shown_as_text(
    browser: Any, hostile: Path, size: tuple[int, int], scheme: str
) -> None:
    with Opened(browser, hostile, size, scheme) as shown:
        assert shown.evaluate(OVERFLOW) == 0
        title = shown.title()
        shown.get_by_role("button", name="Open task 0000000000000001 of oracle").click()
        detail = shown.locator("#trajectory")
        detail.locator(".verdict").wait_for()
        text = detail.inner_text()
        for planted in (
            "</script><script>document.title='owned'</script>",
            "<!-- <img src=x onerror",
            "&lt;b&gt;",
        ):
            assert planted in text
        assert "⟨U+202E⟩" in text and "# of oracle on 0000000000000001" in text and "solved" in text
        for one in detail.locator("summary").all():
            one.click()
        assert "# repaired" in detail.inner_text()
        assert shown.evaluate(OVERFLOW) == 0
        assert shown.title() == title and shown.locator("img").count() == 0
        assert shown.locator("script").count() == 3
        ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground.strip("rgb()").split(","))) < 200) == (scheme == "dark")


def test_filters_choose_agents_and_classes(browser: Any, hostile: Path) -> None:
    with Opened(browser, hostile, SIZES[0], "light") as shown:
        episodes = shown.locator("#episodes tr")
        assert episodes.count() == 18
        shown.locator("#class").select_option(label="data_leakage")
        assert episodes.count() == 6
        assert shown.locator(".panel:visible").count() == 1
        assert shown.locator(".heat tbody tr:visible").count() == 2
        board = shown.locator(".board:visible tbody tr:visible")
        assert [one.inner_text().split()[:3] for one in board.all()] == [
            ["oracle", "2", "100%"],
            ["rules", "2", "50%"],
            ["null", "2", "0%"],
        ]
        shown.locator("#agent").select_option(label="rules")
        assert episodes.count() == 2 and board.count() == 1
        assert shown.locator("figure:visible").count() == 1
        assert shown.locator("#found").inner_text().startswith("2 episodes")


def test_it_can_be_used_by_keyboard(browser: Any, hostile: Path) -> None:
    with Opened(browser, hostile, SIZES[0], "light") as shown:
        shown.keyboard.press("Tab")
        shown.keyboard.press("Enter")  # the skip link
        for _ in range(12):
            shown.keyboard.press("Tab")
            if shown.evaluate("document.activeElement.tagName") == "BUTTON":
                break
        shown.keyboard.press("Enter")
        shown.locator("#trajectory .verdict").wait_for()
        assert shown.evaluate("document.activeElement.id") == "trajectory"
        shown.keyboard.press("Tab")
        shown.keyboard.press("Enter")  # close
        assert not shown.locator("#trajectory").is_visible()
        assert shown.evaluate("document.activeElement.textContent") == "0000000000000000"
        for one in shown.locator(".box").all():
            assert one.get_attribute("tabindex") == "0" and one.get_attribute("aria-label")


def test_the_policy_stops_what_should_slip_through(browser: Any, hostile: Path, tmp_path: Path) -> None:
    """The second wall: markup of others in the page would do nothing."""
    planted = (
        "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
        "<p style='color:red'>x</p></main>"
    )
    broken = tmp_path / "broken.html"
    broken.write_text(hostile.read_text("ascii").replace("</main>", planted), "ascii")
    opened = Opened(browser, broken, SIZES[0], "light")
    assert "owned" not in opened.page.title() and opened.page.locator("img").count() == 1
    assert opened.page.locator("#episodes tr").count() == 18
    opened.page.evaluate("document.body.append('x')")
    said = "\n".join(opened.wrong)
    assert said.count("script") >= 2 and "style-src" in said and "Content Security Policy" in said
    opened.context.close()


def test_without_scripts_the_figures_are_there(browser: Any, hostile: Path) -> None:
    with Opened(browser, hostile, SIZES[0], "light", java_script_enabled=False) as shown:
        assert "need it" in shown.locator("noscript").inner_text()
        assert shown.locator(".board:visible tbody tr").count() == 3


def test_a_large_page_opens_quickly(browser: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ("null", "oracle", "random", "rules", "brute_force"), 110)
    target = tmp_path / "report.html"
    target.write_text(page(read([run])), "ascii")
    with Opened(browser, target, SIZES[1], "light") as shown:
        assert shown.evaluate("performance.getEntriesByType('navigation')[0].duration") < 10_000
        assert shown.locator("#episodes tr").count() == 500
        assert "550 episodes; the first 500 are listed" in shown.locator("#found").inner_text()
        shown.goto(target.as_uri() + "#episode=549")
        shown.locator("#trajectory .verdict").wait_for()
        assert "# of rules on 000000000000006d" in shown.locator("#trajectory").inner_text()
        assert shown.evaluate(OVERFLOW) == 0
