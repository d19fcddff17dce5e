"""The page's look in headless Chromium: overflow, contrast, sizes, and what it shows while it loads or cannot start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from visitor import Visitor

pytestmark = pytest.mark.slow

AUDIT = Path(__file__).with_name("audit.js").read_text()
FINGER = 40  # pixels; smallest side of a control on a phone
LONG = "IMG_20260506_a_long_name_of_a_photograph_from_a_phone_1234567890.png"


def audit(page):
    """Return what makes the page hard to read or to use."""
    return page.evaluate(AUDIT, FINGER if page.viewport_size["width"] < 500 else 0)


@pytest.fixture
def opened(browser):
    """Open a page with options of the browser; the model is not loaded yet."""
    contexts = []

    def opened(**options):
        contexts.append(browser.new_context(**options))
        return contexts[-1].new_page()

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("width", "scheme", "model"), [(360, "light", "six_slots"), (1280, "dark", "Tetrominoes")])
def test_everything_is_readable_and_within_reach_in_every_state(opened, address, tmp_path, width, scheme, model):
    page = opened(viewport={"width": width, "height": 800}, color_scheme=scheme)
    visitor = Visitor(page, address, model)
    assert audit(page) == []
    for button in ("#hide", "#carry", "#more"):
        visitor.click(button)
        assert audit(page) == [], button
    visitor.click("#more")  # sliders that are not shown take no time
    Image.fromarray(np.zeros((50, 70, 3), np.uint8)).save(tmp_path / LONG)
    page.locator("input[type=file]").first.set_input_files(tmp_path / LONG)
    page.wait_for_selector(f"text={LONG}")
    visitor.wait()
    (tmp_path / "notes.png").write_text("no image")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "notes.png")
    page.wait_for_selector("#message:not([hidden])")
    assert audit(page) == []
    for scene in (0, 1):
        visitor.card(scene, 0)
        while not page.locator("#remove").is_disabled() and visitor.cards(scene):
            visitor.click("#remove")
    assert audit(page) == []


def test_it_says_that_it_loads_and_takes_no_actions_meanwhile(opened, address):
    """On a phone, which names of models fit that are longer than it is wide."""
    names = "A model of a name that is longer than a phone is wide", "runs/v/" + 5 * "deep/" + "last.ckpt"
    page, held = opened(viewport={"width": 360, "height": 800}), []
    page.route("**/meta.json", lambda route: route.fulfill(json=renamed(route.fetch().json(), names)))
    page.route("**/models/0/encode.onnx", lambda route: held.append(route))
    page.goto(address)
    page.wait_for_selector(f"text=Loading {names[0]}…")
    assert page.locator("#about").bounding_box()["y"] < 800, "without scrolling"
    assert page.evaluate("document.querySelector('main').inert")
    held[0].continue_()
    page.wait_for_selector("text=EfficientMORL: 6 slots")
    assert not page.evaluate("document.querySelector('main').inert")
    for name in names:
        page.click(f"#models button:text-is('{name}')")
        page.wait_for_selector(f"#models button[aria-pressed=true]:text-is('{name}')")
        assert audit(page) == []


def renamed(meta, names):
    """Return meta.json with other titles."""
    for model, name in zip(meta["models"], names, strict=True):
        model["title"] = name
    return meta


MISSING = {
    "meta.json": "meta.json is missing on the server.",
    "models/0/decode.onnx": "models/0/decode.onnx is missing on the server.",
    "runtime/ort-wasm-simd-threaded.wasm": "the model did not start, because WebAssembly or part of a file is missing.",
    "slots.js": "The page did not start: open it from a web server that has all of its files, as emorl explore does.",
}


@pytest.mark.parametrize("file", MISSING)
def test_a_page_that_cannot_start_says_why_in_one_sentence(opened, address, file):
    page = opened()
    page.route(f"**/{file}", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_selector("#message:not([hidden])")
    assert page.locator("#message").inner_text().removeprefix("Error: ") == MISSING[file]
    assert page.locator("#about").inner_text() == ""
    assert page.evaluate("document.querySelector('main').inert")


def test_a_page_without_connection_says_so(opened, address):
    page = opened()
    page.route("**/models/0/decode.onnx", lambda route: route.abort())
    page.goto(address)
    page.wait_for_selector("#message:not([hidden])")
    told = page.locator("#message").inner_text()
    assert told == "Error: models/0/decode.onnx was not loaded, because the server does not respond."


def test_a_page_opened_as_a_file_says_that_it_needs_a_server(opened, site):
    page = opened()
    page.goto((site / "index.html").as_uri())
    page.wait_for_selector("#message:not([hidden])")
    assert "open it from a web server" in page.locator("#message").inner_text()
