"""Build of the page as a folder: its contents, what it replaces, and errors of bad input."""

from __future__ import annotations

import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emorl import load_pretrained
from emorl.data.images import read_image
from emorl.errors import DataError
from emorl.explore import bundle
from emorl.explore.build import build
from emorl.explore.bundle import bundle_key
from emorl.explore.gallery import example_scenes
from emorl.module import SlotModule

PAGE = resources.files("emorl.explore") / "page"


@pytest.fixture(autouse=True)
def graphs(monkeypatch, tmp_path):
    """Skip the export, which is slow and needs onnx; return the list of requested exports."""
    asked = []

    def write_graphs(model, folder):
        asked.append(model)
        for name in ("encode", "decode"):
            (folder / f"{name}.onnx").write_bytes(b"graph")

    monkeypatch.setattr(bundle, "write_graphs", write_graphs)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


@pytest.fixture
def pictures(tmp_path):
    """A folder with three images of different sizes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, size in enumerate([(50, 40), (40, 50), (35, 35)]):
        Image.new("RGB", size, (60 * number, 80, 90)).save(folder / f"{number}.png")
    return folder


def test_the_folder_contains_page_models_scenes_and_metadata(tmp_path):
    folder = tmp_path / "site"
    build(folder, ["tetrominoes", "multi_dsprites"])
    for file in ("index.html", "style.css", "app.js", "runtime/ort-wasm-simd-threaded.wasm", "runtime/LICENSE"):
        assert (folder / file).is_file()
    models = json.loads((folder / "meta.json").read_text())["models"]
    assert [entry["title"] for entry in models] == ["Tetrominoes", "Multi-dSprites"]
    for entry, (slots, dim, size) in zip(models, [(4, 32, 35), (6, 64, 64)], strict=True):
        assert (entry["num_slots"], entry["slot_dim"], entry["image_size"]) == (slots, dim, size)
        assert len(entry["scenes"]) == 12
        assert len(set(entry["start"])) == 2
        for scene in entry["scenes"]:
            assert read_image(folder / entry["folder"] / "scenes" / scene).shape == (size, size, 3)
        assert sorted(each["number"] for each in entry["dimensions"]) == list(range(dim))
        spreads = [each["spread"] for each in entry["dimensions"]]
        assert spreads == sorted(spreads, reverse=True)
        assert (folder / entry["folder"] / "decode.onnx").is_file()


def test_scenes_are_of_the_test_split(tmp_path):
    build(tmp_path / "site", ["tetrominoes"])
    shown = read_image(tmp_path / "site" / "models" / "0" / "scenes" / "05.png")
    np.testing.assert_array_equal(shown, example_scenes(35).images[5])


def test_a_second_build_takes_the_models_from_the_cache(tmp_path, graphs):
    for _ in range(2):
        build(tmp_path / "site", ["tetrominoes"])
    assert len(graphs) == 1


def test_an_export_that_fails_leaves_neither_a_page_nor_anything_in_the_cache(tmp_path, monkeypatch):
    def fails(model, folder):
        (folder / "encode.onnx").write_bytes(b"half")
        raise DataError("no export")

    monkeypatch.setattr(bundle, "write_graphs", fails)
    with pytest.raises(DataError, match="no export"):
        build(tmp_path / "site", ["tetrominoes"])
    assert not (tmp_path / "site").exists()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_the_cache_key_depends_on_weights_and_scenes():
    model, gallery = load_pretrained("tetrominoes"), example_scenes(35)
    key = bundle_key(model, gallery)
    assert key == bundle_key(load_pretrained("tetrominoes"), example_scenes(35))
    assert key != bundle_key(model, gallery._replace(images=gallery.images[:1]))
    with torch.no_grad():
        next(model.parameters())[0] += 1
    assert key != bundle_key(model, gallery)


def test_the_cache_key_depends_on_the_configuration_of_a_model_with_the_same_weights(tmp_path):
    gallery, keys = example_scenes(35), []
    for num_slots in (4, 6):
        module = SlotModule(tiny.network(num_slots=num_slots), image_size=35)
        keys.append(bundle_key(load_pretrained(tiny.saved(module, tmp_path / f"{num_slots}.ckpt")), gallery))
    assert keys[0] != keys[1]


def test_a_folder_of_images_replaces_generated_scenes(tmp_path, pictures):
    build(tmp_path / "site", ["tetrominoes"], pictures)
    (entry,) = json.loads((tmp_path / "site" / "meta.json").read_text())["models"]
    assert entry["data"] == "pictures"
    assert entry["scenes"] == ["00.png", "01.png", "02.png"]
    assert read_image(tmp_path / "site" / "models" / "0" / "scenes" / "00.png").shape == (35, 35, 3)


def test_one_image_is_enough(tmp_path, pictures):
    for name in ("1.png", "2.png"):
        (pictures / name).unlink()
    build(tmp_path / "site", ["tetrominoes"], pictures)
    (entry,) = json.loads((tmp_path / "site" / "meta.json").read_text())["models"]
    assert entry["start"] == [0, 0]


def test_scenes_that_only_blender_renders_are_stored():
    gallery = example_scenes(96)
    assert (gallery.title, gallery.images.shape) == ("CLEVR6", (48, 96, 96, 3))
    seams = np.abs(np.diff(gallery.images.astype(int), axis=1)).mean(axis=(0, 2, 3))
    assert seams.max() < 4 * np.median(seams)  # no tile contains the border of two scenes


def test_a_model_of_another_size_needs_images():
    with pytest.raises(DataError, match=r"^mine: .* of 35x35 .* got 48x48; give a folder of images with --images"):
        example_scenes(48, "mine")


def test_an_explorer_is_replaced_and_other_files_stay(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()  # an empty folder is allowed
    build(folder, ["tetrominoes"])
    for name in (".git", "models/1"):
        (folder / name).mkdir()
    (folder / "CNAME").write_text("slots.example.org")
    build(folder, ["tetrominoes"])
    assert [path.name for path in (folder / "models").iterdir()] == ["0"]
    assert (folder / "CNAME").read_text() == "slots.example.org"
    assert (folder / ".git").is_dir()


@pytest.mark.parametrize("meta", [None, "", "[]", '{"version": 1}', '{"models": []}'])
def test_a_folder_of_something_else_is_not_replaced(meta, tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("precious")
    if meta is not None:
        (folder / "meta.json").write_text(meta)
    for path in (folder, folder / "index.html"):
        with pytest.raises(DataError, match="expected a new or empty folder, got one with other files"):
            build(path, ["tetrominoes"])
    assert (folder / "index.html").read_text() == "precious"


@pytest.mark.parametrize("out", [".", "link"])
def test_the_working_directory_and_a_link_are_folders(out, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "link").symlink_to("site")
    monkeypatch.chdir(tmp_path / ("site" if out == "." else ""))
    for _ in range(2):
        build(Path(out), ["tetrominoes"])
        assert (tmp_path / "site/models/0/model.json").is_file()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"expected a cache folder.*XDG_CACHE_HOME"):
        build(tmp_path / "site", ["tetrominoes"])


def test_the_runtime_is_the_pinned_one():
    version = json.loads((Path(__file__).parents[2] / "explorer" / "package.json").read_text())["dependencies"]
    runtime = PAGE / "runtime"
    sums = dict(line.split()[::-1] for line in (runtime / "SHA256SUMS").read_text().splitlines())
    assert {name: hashlib.sha256((runtime / name).read_bytes()).hexdigest() for name in sums} == sums
    assert f"ONNX Runtime Web v{version['onnxruntime-web']}" in (runtime / "ort.wasm.bundle.min.mjs").read_text()[:200]
    assert version["onnxruntime-web"] in (runtime / "README.md").read_text()


def test_the_page_uses_the_colors_of_viz():
    from emorl.viz import COLORS

    colors = re.findall(r"\[(\d+), (\d+), (\d+)\]", (PAGE / "compose.js").read_text().partition("];")[0])
    assert tuple(tuple(map(int, color)) for color in colors) == COLORS
