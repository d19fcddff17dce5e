"""Fixtures of the explorer's tests: a built page, and a browser."""

from __future__ import annotations

import os
import shutil
from functools import partial

import pytest
from background import serving

import tiny
import warm
from emorl.pretrained import Pretrained

SYSTEM = ("chromium", "chromium-browser", "google-chrome")  # if Playwright has no browser installed


@pytest.fixture(scope="session")
def module(tmp_path_factory):
    """Run a module in a process without jaxtyping's checks, which would be exported; all calls share a cache."""
    pytest.importorskip("onnxscript", reason="the page needs exported models: install emorl[export]")
    own = tmp_path_factory.getbasetemp()
    cache = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"  # one for all of pytest's processes
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "XDG_CACHE_HOME": str(cache)}
    return partial(warm.module, environment=environment)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of a small model; shipped weights for images of 64 pixels take a browser many seconds."""
    folder = tmp_path_factory.mktemp("models")
    network = tiny.network(num_slots=6, slot_dim=24, num_layers=1)
    Pretrained(tiny.lively(network), 64, {}).eval().save_pretrained(folder / "six_slots")
    return folder


@pytest.fixture(scope="session")
def site(module, models, tmp_path_factory):
    """The page with a small model and shipped weights, as ``emorl explore MODEL ... --out`` writes it."""
    folder = tmp_path_factory.mktemp("explorer") / "site"
    ended = module("emorl", "explore", "six_slots", "tetrominoes", "--out", folder, cwd=models)
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: Playwright's, or the system's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright")
    with playwright.sync_playwright() as started:
        chromium = started.chromium
        own = [path for path in [chromium.executable_path] if shutil.which(path)]
        found = own or [path for path in map(shutil.which, SYSTEM) if path]
        if not found:
            pytest.skip("the page is tested with Chromium: playwright install chromium")
        running = chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def address(site):
    with serving(site) as found:
        yield found
