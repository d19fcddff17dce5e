"""The documentation's site: built strictly, readable, and its slot explorer is one click away and works."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from visitor import Visitor

pytestmark = pytest.mark.slow

AUDIT = Path(__file__).with_name("audit.js").read_text()


class Quiet(SimpleHTTPRequestHandler):
    """The handler of ``python -m http.server``, without its log."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def docs(module, tmp_path_factory):
    """The address of the site, as ``make docs`` builds it and ``python -m http.server`` serves it."""
    for name in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(name, reason="the site needs emorl[docs]")
    folder = tmp_path_factory.mktemp("docs") / "site"
    ended = module("mkdocs", "build", "--strict", "--site-dir", folder)
    assert ended.returncode == 0, ended.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def page(browser, request):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield context.new_page()
    context.close()


def test_the_explorer_is_one_click_from_the_home_page_and_works(page, docs):
    page.goto(f"{docs}/index.html")
    page.click("article a[href='explorer/index.html']")
    page.wait_for_url(f"{docs}/explorer/index.html")
    visitor = Visitor(page, page.url)
    assert len(visitor.cards(0)) == 4
    before = visitor.picture(0)
    visitor.click("#hide")
    assert (before != visitor.picture(0)).any()
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert visitor.failures == []


@pytest.mark.parametrize("name", ["index.html", "concepts/model.html"])
def test_every_page_has_a_tab_for_the_explorer(page, docs, name):
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{docs}/{name}")
    page.click("nav.md-tabs a:has-text('Slot explorer')")
    page.wait_for_url(f"{docs}/explorer/index.html")


@pytest.mark.parametrize("name", ["index.html", "concepts/model.html", "results.html", "notebooks/2_slots.html"])
def test_no_page_scrolls_sideways(page, docs, name):
    page.goto(f"{docs}/{name}")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


@pytest.mark.parametrize("name", ["index.html", "api/model.html", "clusters.html", "notebooks/2_slots.html"])
def test_text_has_enough_contrast(page, docs, name):
    page.goto(f"{docs}/{name}")
    assert [line for line in page.evaluate(AUDIT, 0) if line.startswith("contrast")] == []


@pytest.mark.parametrize("name", ["index.html", "results.html", "howto/python.html", "cli.html", "api/model.html"])
def test_no_line_of_code_is_cut(page, docs, name):
    page.goto(f"{docs}/{name}")
    widths = "blocks => blocks.map(block => [block.scrollWidth, block.clientWidth])"
    assert [wide for wide, shown in page.locator("pre > code").evaluate_all(widths) if wide > shown + 1] == []


def test_copied_code_has_its_line_breaks(page, docs):
    page.goto(f"{docs}/howto/python.html")
    copied = "block => { block.setAttribute('data-md-copying', ''); return block.innerText }"
    assert page.locator("pre > code").first.evaluate(copied).startswith("import emorl\nimport torch\n\nmodel = ")


def test_wide_tables_scroll_on_a_phone_instead_of_narrowing_their_columns(page, docs):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{docs}/concepts/metrics.html")
    measures = page.locator("article td:last-child").first.bounding_box()
    assert measures["width"] > 200, "of sentences"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
