"""The page in headless Chromium: computed images, effects of each action, and errors of wrong files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from visitor import Visitor

from emorl import load_pretrained

pytestmark = pytest.mark.slow

MODELS = {"six_slots": "six_slots", "Tetrominoes": "tetrominoes"}  # names by their titles on the page


@pytest.fixture(scope="module")
def loaded(browser, address):
    """One page for all tests, because loading it takes seconds; a click on a model begins anew."""
    context = browser.new_context()
    yield Visitor(context.new_page(), address)
    context.close()


@pytest.fixture
def visit(loaded):
    """Begin with a model as a visitor; any browser error fails the test."""

    def visit(model="Tetrominoes", width=1280, height=720):
        loaded.failures.clear()
        loaded.page.set_viewport_size({"width": width, "height": height})
        loaded.open(model)
        return loaded

    yield visit
    assert loaded.failures == []


@pytest.fixture
def visitor(visit):
    return visit()


def different(before, after):
    return bool((before != after).any())


@pytest.mark.parametrize("title", MODELS)
def test_it_computes_what_torch_does(visit, site, models, monkeypatch, title):
    monkeypatch.chdir(models)
    visitor = visit(title)
    got = visitor.page.evaluate(
        "async () => { const { current } = await import('./app.js'); const { about, model } = current();"
        " const { fit } = await import('./images.js');"
        " const { pixels } = fit(model.scenes[3], about.image_size, '');"
        " const slots = await model.encode(pixels); const two = await model.decode(slots.slice(0, 2));"
        " const all = await model.decode(slots); const list = ({rgb, masks}) => [[...rgb], [...masks]];"
        " return { folder: about.folder, slots: slots.map(each => [...each]), two: list(two), all: list(all) } }"
    )
    model = load_pretrained(MODELS[title])
    image = np.array(Image.open(site / got["folder"] / "scenes" / "03.png"))
    with torch.inference_mode():
        slots = model.encode(torch.from_numpy(image).permute(2, 0, 1)[None]).slots
        torch.testing.assert_close(torch.tensor(got["slots"])[None], slots, atol=1e-3, rtol=0)
        for name, part in (("two", slots[:, :2]), ("all", slots)):
            expected = model.decode(part)
            for values, tensor in zip(got[name], (expected.rgb, expected.masks), strict=True):
                torch.testing.assert_close(torch.tensor(values), tensor.flatten(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("title", MODELS)
def test_it_shows_the_sum_of_masks_times_colors(visit, models, monkeypatch, title):
    monkeypatch.chdir(models)
    visitor = visit(title)
    values = torch.tensor([slot["values"] for slot in visitor.state()[0]])
    with torch.inference_mode():
        expected = load_pretrained(MODELS[title]).decode(values[None]).reconstruction[0]
    shown = torch.from_numpy(visitor.picture(0)[..., :3]).permute(2, 0, 1) / 255
    torch.testing.assert_close(shown, expected.clamp(0, 1), atol=1e-3 + 0.5 / 255, rtol=0)


def test_masks_are_those_of_a_subset(visitor):
    """Slider thumbnails are decoded together with all slots, and then compared with decoding fewer slots."""
    gap = visitor.page.evaluate(
        "async () => { const { current } = await import('./app.js'); const { among } = await import('./compose.js');"
        " const { model, state } = current(); const values = state.scenes[0].slots.map(slot => slot.values);"
        " const part = among(await model.decode(values), [2, 0]);"
        " const own = await model.decode([values[2], values[0]]);"
        " const gap = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));"
        " return Math.max(gap(part.masks, own.masks), gap(part.rgb, own.rgb)) }"
    )
    assert gap < 1e-3


# What each action changes: (buttons after slot 1 of scene A is chosen, whether scene A and scene B look different)
ACTIONS = {
    "hide": (["#hide"], True, False),
    "hide and show": (["#hide", "#hide"], False, False),
    "remove": (["#remove"], True, False),
    "duplicate": (["#duplicate"], None, False),  # the copy covers the slot: few pixels differ
    "carry": (["#carry"], False, True),
    "swap between scenes": ([".chip:has-text('B3')", "#swap"], True, True),
    "swap within a scene": ([".chip:has-text('A3')", "#swap"], False, False),
    "choose a partner": ([".chip:has-text('B3')"], False, False),
    "sweep": (["#dimensions .row:first-child .sweep"], False, False),  # returns to its value
}


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_changes_the_picture_it_should_and_no_other(visitor, action):
    buttons, *expected = ACTIONS[action]
    visitor.card(0, object_of(visitor, 0))
    before = [visitor.picture(scene) for scene in (0, 1)]
    images = [visitor.picture(scene, "image") for scene in (0, 1)]
    for button in buttons:
        visitor.click(button)
    if action == "sweep":
        visitor.page.wait_for_timeout(200)
        visitor.page.locator("#undo").wait_for()
        settled(visitor)
    for scene, changes in enumerate(expected):
        assert changes in (different(before[scene], visitor.picture(scene)), None)
        assert not different(images[scene], visitor.picture(scene, "image")), "the image is no drawing"


def settled(visitor):
    """Wait until a sweep has ended: the image does not change for half a second."""
    for _ in range(200):
        before = visitor.picture(0)
        visitor.page.wait_for_timeout(500)
        visitor.wait()
        if not different(before, visitor.picture(0)):
            return


def object_of(visitor, scene):
    """Return the position of the slot whose fraction of the image is that of an object."""
    shares = [text.split() for text in visitor.cards(scene)]
    return next(place for place, text in enumerate(shares) if 5 <= int(text[2]) <= 20)


def test_hiding_leaves_a_hole_and_removing_lets_the_others_fill_it(visitor):
    visitor.card(0, object_of(visitor, 0))
    assert visitor.picture(0)[..., 3].min() == 255
    visitor.click("#hide")
    hidden = visitor.picture(0)[..., 3]
    assert hidden.min() < 20
    assert (hidden < 128).mean() < 0.3
    visitor.click("#remove")
    assert visitor.picture(0)[..., 3].min() == 255
    assert len(visitor.cards(0)) == 3


def test_all_slots_can_be_removed(visitor):
    for scene in (0, 1):
        visitor.card(scene, 0)
        for _ in range(4):
            visitor.click("#remove")
        assert visitor.picture(scene)[..., 3].max() == 0
    assert visitor.page.locator("#tools-title").inner_text() == "No slot is left"
    assert visitor.page.locator("#remove").is_disabled()
    visitor.click("#reset")
    assert len(visitor.cards(0)) == len(visitor.cards(1)) == 4


def test_a_slider_changes_one_number_of_one_slot(visitor, site):
    place = object_of(visitor, 0)
    visitor.card(0, place)
    before, pictures = visitor.state(), [visitor.picture(scene) for scene in (0, 1)]
    visitor.slide("#dimensions .row:first-child input", 1)
    after = visitor.state()
    first = json.loads((site / "meta.json").read_text())["models"][1]["dimensions"][0]
    changed = [
        (scene, slot, index)
        for scene in (0, 1)
        for slot in range(4)
        for index, pair in enumerate(zip(before[scene][slot]["values"], after[scene][slot]["values"], strict=True))
        if pair[0] != pair[1]
    ]
    assert changed == [(0, place, first["number"])]
    assert after[0][place]["values"][first["number"]] == pytest.approx(first["high"], abs=1e-3)
    assert different(pictures[0], visitor.picture(0))
    assert not different(pictures[1], visitor.picture(1))


def test_mixing_goes_from_the_slot_to_its_partner_and_back(visitor):
    place = object_of(visitor, 0)
    visitor.card(0, place)
    visitor.click(".chip:has-text('B3')")
    before, start = visitor.state(), visitor.picture(0)
    other = visitor.picture(1)
    visitor.slide("#mix", 0.5)
    own, theirs = before[0][place]["values"], before[1][2]["values"]
    assert visitor.state()[0][place]["values"] == pytest.approx(
        [(a + b) / 2 for a, b in zip(own, theirs, strict=True)], abs=1e-6
    )
    visitor.slide("#mix", 1)
    assert visitor.state()[0][place]["values"] == pytest.approx(theirs, abs=1e-6)
    visitor.slide("#mix", 0)
    assert not different(start, visitor.picture(0))
    assert not different(other, visitor.picture(1))


def test_everything_can_be_undone_step_by_step_and_reset_at_once(visitor):
    visitor.card(0, object_of(visitor, 0))
    pictures = [(visitor.picture(0), visitor.picture(1))]
    for button in ("#carry", "#duplicate", "#remove", "#hide"):
        visitor.click(button)
        pictures.append((visitor.picture(0), visitor.picture(1)))
    visitor.slide("#dimensions .row:first-child input", 0)
    visitor.click(f"{visitor.scene(1)}.thumb >> nth=10")
    for expected in reversed(pictures):
        visitor.press("Control+z")
        if expected is pictures[-1]:
            visitor.press("Control+z")
        for scene in (0, 1):
            assert not different(expected[scene], visitor.picture(scene))
    assert visitor.page.locator("#undo").is_disabled()
    visitor.click("#carry")
    visitor.click("#remove")
    visitor.click("#remove")
    visitor.click("#reset")
    for scene in (0, 1):
        assert not different(pictures[0][scene], visitor.picture(scene))
    visitor.click("#undo")
    assert different(pictures[0][1], visitor.picture(1))


def test_a_slot_is_not_its_own_partner_after_a_reset(visitor):
    reset = (
        "async () => { const { numbered, reset } = await import('./slots.js');"
        " const slots = numbered([[1], [2]]); const scene = { original: slots, slots };"
        " return reset({ scenes: [scene], chosen: -1, partner: slots[0].id }) }"
    )
    found = visitor.page.evaluate(reset)
    assert (found["chosen"], found["partner"]) == (found["scenes"][0]["slots"][0]["id"], None)


def test_another_scene_replaces_one_alone(visitor):
    before = [visitor.picture(scene) for scene in (0, 1)]
    visitor.click(f"{visitor.scene(1)}.thumb >> nth=11")
    assert not different(before[0], visitor.picture(0))
    assert different(before[1], visitor.picture(1))


def test_a_click_on_an_object_chooses_its_slot(visitor):
    place = object_of(visitor, 1)
    visitor.card(1, place)
    rows, columns = np.nonzero(visitor.picture(1, "segmentation")[..., :3].sum(-1) != 0)
    color = (
        visitor.page.locator("section.scene")
        .nth(1)
        .locator(".card")
        .nth(place)
        .evaluate("card => card.style.getPropertyValue('--slot').match(/[0-9]+/g).map(Number)")
    )
    winners = (visitor.picture(1, "segmentation")[..., :3] == color).all(-1)
    row, column = (int(np.median(at)) for at in np.nonzero(winners))
    assert winners[row, column]
    assert len(rows) == len(columns)
    visitor.card(0, 0)
    stack = visitor.page.locator("section.scene").nth(1).locator(".stack")
    side = stack.bounding_box()["width"]
    stack.click(position={"x": (column + 0.5) / 35 * side, "y": (row + 0.5) / 35 * side})
    visitor.wait()
    cards = visitor.page.locator("section.scene").nth(1).locator(".card")
    assert [card.get_attribute("aria-pressed") for card in cards.all()].index("true") == place


def test_an_uploaded_image_is_cropped_and_resized(visitor, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    noise[:, 20:100] = (10, 200, 30)  # all of the central square
    Image.fromarray(noise).save(tmp_path / "photo.png")
    before = visitor.picture(1)
    visitor.page.locator("input[type=file]").first.set_input_files(tmp_path / "photo.png")
    visitor.page.wait_for_selector("text=photo.png")
    visitor.wait()
    assert (visitor.picture(0, "image") == (10, 200, 30, 255)).all()
    told = visitor.page.locator(".source").first.inner_text()
    assert told.replace("\u00d7", "x") == "photo.png, the central 80 x 80 of 120 x 80 pixels, resized to 35 x 35"
    assert not different(before, visitor.picture(1))


WRONG = {
    "text": ({"notes.txt": b"no image"}, "“notes.txt” is not an image that this browser can read"),
    "empty": ({"empty.png": b""}, "“empty.png” is not an image that this browser can read"),
    "truncated": ({"cut.png": b"\x89PNG\r\n\x1a\n"}, "“cut.png” is not an image that this browser can read"),
    "two": ({"a.png": b"", "b.png": b""}, "you gave 2 files"),
    "none": ({}, "Only image files can be opened"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_gives_one_sentence_and_changes_nothing(visitor, case):
    files, told = WRONG[case]
    before = visitor.picture(0)
    visitor.page.evaluate(
        "files => { const data = new DataTransfer();"
        " for (const [name, bytes] of Object.entries(files)) data.items.add(new File([new Uint8Array(bytes)], name));"
        " const drop = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });"
        " document.querySelector('section.scene').dispatchEvent(drop); }",
        {name: list(content) for name, content in files.items()},
    )
    visitor.page.wait_for_selector("#message:not([hidden])")
    assert told in visitor.message()
    assert visitor.message().count(".") - visitor.message().count(".png") - visitor.message().count(".txt") == 1
    assert not different(before, visitor.picture(0))
    visitor.click(f"{visitor.scene(0)}.thumb >> nth=0")
    assert not visitor.page.locator("#message").is_visible()


def test_a_message_remains_until_the_next_action(visitor, tmp_path):
    page = visitor.page
    visitor.click("#hide")
    assert "hole" in page.locator("#status").inner_text()
    (tmp_path / "notes.png").write_text("no image")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "notes.png")
    page.wait_for_selector("#message:not([hidden])")
    visitor.card(1, 0)
    assert not page.locator("#message").is_visible()
    assert page.locator("#status").inner_text() == ""


def test_picture_and_slots_are_saved(visitor):
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Save picture").first.click()
    saved = np.asarray(Image.open(download.value.path()).convert("RGBA")).astype(int)
    shown = visitor.picture(0)
    factor = len(saved) // len(shown)
    assert len(saved) >= 512
    assert not different(saved, shown.repeat(factor, 0).repeat(factor, 1))
    visitor.click("#hide")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Save slots").first.click()
    content = json.loads(download.value.path().read_text())
    assert content["model"] == "Tetrominoes"
    state = visitor.state()[0]
    assert [slot["values"] for slot in content["slots"]] == [slot["values"] for slot in state]
    assert sum(slot["hidden"] for slot in content["slots"]) == 1


def test_it_works_by_keyboard_alone(visitor):
    """Tab to a card, choose it, tab to Hide, and to the first slider, which moves."""
    page = visitor.page
    before = visitor.picture(0)
    reach(page, "document.activeElement.matches('.card')")
    visitor.press("Enter")
    reach(page, "document.activeElement.id === 'hide'")
    visitor.press("Enter")
    assert different(before, visitor.picture(0))
    visitor.press("Space")
    assert not different(before, visitor.picture(0))
    reach(page, "document.activeElement.matches('.chip input')")
    visitor.press("ArrowRight")
    reach(page, "document.activeElement.id === 'mix'")
    visitor.press("End")
    assert different(before, visitor.picture(0))
    visitor.press("Home")
    assert not different(before, visitor.picture(0))
    reach(page, "document.activeElement.matches('.row input')")
    values = visitor.state()
    visitor.press("ArrowRight")
    assert visitor.state() != values
    assert page.evaluate("document.activeElement.matches('.row input')"), "the focus stays where it is"


def reach(page, condition, most=80):
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(condition):
            return
    pytest.fail(f"Tab never reaches {condition}")


@pytest.mark.parametrize("title", MODELS)
def test_a_phone_needs_no_horizontal_scrolling(visit, title):
    visitor = visit(title, width=375, height=700)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == 375
    visitor.page.locator("#dimensions .row input").last.scroll_into_view_if_needed()
    assert visitor.page.locator("#view-picture").is_visible()
    top = visitor.page.locator("#view-picture").bounding_box()["y"]
    assert 0 <= top < 700, "the picture stays in sight"


def test_no_other_server_is_contacted_and_no_network_is_needed_after_loading(visit, address):
    visitor = visit("six_slots")
    visitor.page.wait_for_load_state("networkidle")
    assert all(url.startswith((address, "data:", "blob:")) for url in visitor.asked)
    assert any(url.endswith("models/1/decode.onnx") for url in visitor.asked)
    visitor.page.context.set_offline(True)
    try:
        before = visitor.picture(0)
        visitor.click(f"{visitor.scene(0)}.thumb >> nth=2")
        assert different(before, visitor.picture(0))
        visitor.open("Tetrominoes")
        assert visitor.picture(0).shape == (35, 35, 4)
        visitor.slide("#dimensions .row:first-child input", 0.2)
        assert not visitor.page.locator("#message").is_visible()
    finally:
        visitor.page.context.set_offline(False)


def test_a_missing_model_is_reported_and_the_first_remains(browser, address):
    context = browser.new_context()
    page = context.new_page()
    page.route("**/models/1/decode.onnx", lambda route: route.fulfill(status=404))
    visitor = Visitor(page, address)
    visitor.page.get_by_role("button", name="Tetrominoes").click()
    visitor.page.wait_for_selector("#message:not([hidden])")
    assert "models/1/decode.onnx is missing on the server." in visitor.message()
    visitor.wait()
    before = visitor.picture(0)
    visitor.click("#hide")
    assert different(before, visitor.picture(0))
    context.close()
