"""The page of a comparison in a headless Chromium."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.comparison import group, run, sample
from unrollflow.visualization.comparison import comparison_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=SIZES)
def page(browser: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of two groups with two seeds each; fails if the page logs an error or requests another file."""
    groups = [group(0, run(1.0), run(1.2, seed=1), lam=0.1), group(1, run(3.0), run(4.0, seed=1), lam=0.3)]
    file = tmp_path / "compare.html"
    file.write_text(comparison_page(groups, [sample(0), sample(1)]), encoding="utf-8")
    width, height = SIZES[request.param]
    opened = browser.new_page(viewport={"width": width, "height": height})
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
    opened.goto(file.as_uri())
    yield opened
    opened.close()
    assert wrong == []


def chosen(page: Any) -> tuple[str, str, str]:
    """The sample that is shown, and the numbers of the left and the right run."""
    (shown,) = [one for one in page.query_selector_all(".sample") if one.is_visible()]
    return shown.get_attribute("data-name"), page.input_value("#left"), page.input_value("#right")


def pixels(page: Any, selector: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"), np.int64)


def test_a_screenshot_shows_something_and_fits_the_width(page: Any) -> None:
    assert pixels(page, "#viewer").std() > 20
    assert pixels(page, ".curves").std() > 5
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_keys_choose_sample_and_runs(page: Any) -> None:
    assert chosen(page) == ("sample 0", "0", "2"), "the first runs of both groups"
    page.keyboard.press("ArrowRight")
    assert chosen(page) == ("sample 1", "0", "2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert chosen(page) == ("sample 1", "0", "3")
    page.keyboard.press("2")
    page.keyboard.press("Shift+Digit4")
    assert chosen(page) == ("sample 1", "3", "1")
    page.keyboard.press("9")
    assert chosen(page) == ("sample 1", "3", "1"), "there is no ninth run"


def test_buttons_menus_and_pictures_choose_too(page: Any) -> None:
    page.click("#previous")
    page.select_option("#left", "2")
    page.click(".sample:not([hidden]) .run[data-run='1']")
    assert chosen(page) == ("sample 1", "2", "1")
    assert page.text_content("[data-show=left]") == "3.000 px"
    assert page.text_content("[data-show=right]") == "1.200 px"


def test_the_slider_moves_the_border(page: Any) -> None:
    before = pixels(page, ".pane[data-kind=error]")
    page.fill("#cut", "90")
    page.dispatch_event("#cut", "input")
    assert page.evaluate("getComputedStyle(viewer).getPropertyValue('--cut')") == "90%"
    after = pixels(page, ".pane[data-kind=error]")
    changed = np.abs(after - before).max(axis=(0, 2)) > 20  # by column
    width = len(changed)
    # what lies between the two borders belongs to the other run now, and what lies to the left stays
    assert changed[int(0.6 * width) : int(0.8 * width)].all()
    assert not changed[: int(0.4 * width)].any()


def test_the_border_is_dragged_over_the_picture(page: Any) -> None:
    page.locator(".pane[data-kind=flow]").scroll_into_view_if_needed()
    box = page.locator(".pane[data-kind=flow]").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 10, steps=4)
    page.mouse.up()
    assert float(page.input_value("#cut")) == pytest.approx(25, abs=1)
    page.keyboard.press("ArrowRight")
    assert chosen(page)[0] == "sample 1"
