"""A driver of the page for tests: reads what it shows, and performs actions."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

IDLE = "main[aria-busy=false]"
PATIENCE = 60_000  # milliseconds


class Visitor:
    """A page of a browser, with its first model or the one of a title."""

    def __init__(self, page, address, model=None):
        self.page = page
        self.failures, self.asked = [], []  # errors, and addresses of what was requested
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on("console", lambda told: self.failures.append(told.text) if told.type == "error" else None)
        page.goto(address)
        self.wait()
        if model is not None:
            self.open(model)

    def open(self, model):
        """Begin with a model, as if the page were loaded: with its first scenes, and nothing to undo."""
        self.page.click(f"#models button:text-is('{model}')")
        self.page.wait_for_selector(f"#models button[aria-pressed=true]:text-is('{model}')", timeout=PATIENCE)
        self.wait()

    def wait(self):
        self.page.wait_for_selector(IDLE, timeout=PATIENCE)

    def click(self, selector):
        self.page.click(selector)
        self.wait()

    def press(self, key):
        self.page.keyboard.press(key)
        self.wait()

    def scene(self, number):
        return f"section.scene >> nth={number} >> "

    def card(self, scene, place):
        self.click(f"{self.scene(scene)}.card >> nth={place}")

    def cards(self, scene):
        return self.page.locator("section.scene").nth(scene).locator(".card .name").all_inner_texts()

    def picture(self, scene, kind="picture"):
        """Return the pixels of a scene's canvas: RGBA, 0 to 255."""
        canvas = self.page.locator("section.scene").nth(scene).locator(f"canvas.{kind}")
        return pixels(canvas.evaluate("canvas => canvas.toDataURL()"))

    def slide(self, selector, share):
        """Move a slider to a fraction of its range, like dragging and releasing it."""
        self.page.locator(selector).evaluate(
            "(slider, share) => {"
            " slider.value = Number(slider.min) + share * (slider.max - slider.min);"
            " slider.dispatchEvent(new Event('input')); slider.dispatchEvent(new Event('change')); }",
            share,
        )
        self.wait()

    def state(self):
        """Return the page's state: for each scene its slots' numbers, and what is hidden."""
        return self.page.evaluate(
            "async () => { const { current } = await import('./app.js'); return current().state.scenes.map("
            "scene => scene.slots.map(slot => ({ ...slot, values: [...slot.values] }))) }"
        )

    def message(self):
        return self.page.locator("#message").inner_text()


def pixels(url):
    """Return the pixels of a PNG in a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")).astype(int)
