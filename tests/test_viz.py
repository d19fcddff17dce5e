"""Pictures: colors, grids, sheets."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from emorl import viz
from emorl.errors import DataError


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 4, 1, 5, 6, generator=generator).softmax(1)
    components = torch.rand(2, 4, 3, 5, 6, generator=generator)
    return torch.rand(2, 3, 5, 6, generator=generator), (masks * components).sum(1), masks, components


def tile(picture, row, column, height=5, width=6, padding=2):
    top, left = padding + row * (height + padding), padding + column * (width + padding)
    return picture[:, top : top + height, left : left + width]


def at(picture, row, column, rows, columns):
    """Return a tile of a sheet of the scenes, enlarged: 26 times, to 130 x 156 pixels."""
    bottom, right = picture.shape[1] - (rows - row - 1) * 134 - 4, picture.shape[2] - (columns - column - 1) * 160 - 4
    return picture[:, bottom - 130 : bottom, right - 156 : right]


def test_eight_bit_levels_survive_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(viz.to_uint8(levels / 255), levels)
    assert viz.to_uint8(torch.tensor([-1.0, 2.0])).tolist() == [0, 255]
    assert viz.to_uint8(torch.tensor([1.0], dtype=torch.bfloat16)).tolist() == [255]


# Machado, Oliveira and Fernandes (2009): linear RGB as seen with deuteranopia and protanopia.
SIGHTS = {
    "normal": np.eye(3),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
}


def lab(colors, sight):
    linear = (np.array(colors, dtype=float) / 255) ** 2.2 @ sight.T
    xyz = linear.clip(0, 1) @ np.array([[0.434, 0.213, 0.018], [0.376, 0.715, 0.109], [0.190, 0.072, 0.873]])
    x, y, z = np.where(xyz > 0.0089, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("slots", "least"), [(7, 15), (11, 15), (15, 15)])
def test_colors_are_told_apart_whatever_the_sight(slots, least, sight):
    colors = lab([viz.BACKGROUND, *viz.COLORS[:slots]], SIGHTS[sight])
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 1e3 * np.eye(len(colors))
    assert distance.min() > least


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_labels_are_painted_and_cycle_without_the_background(dtype):
    n = len(viz.COLORS)
    painted = viz.colorize(torch.tensor([[0, 1, n, n + 1]], dtype=dtype))
    assert painted.shape == (3, 1, 4)
    expected = [viz.BACKGROUND, viz.COLORS[0], viz.COLORS[-1], viz.COLORS[0]]
    assert [tuple(color) for color in painted[:, 0].T.tolist()] == expected


def test_colorize_keeps_leading_dimensions():
    assert viz.colorize(torch.zeros(2, 7, 4, 5, dtype=torch.int64)).shape == (2, 7, 3, 4, 5)


def test_grid_places_images_row_by_row_on_white():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 4, 3)
    picture = viz.grid(images, columns=2, padding=1)
    assert picture.shape == (3, 3 * 5 + 1, 2 * 4 + 1)
    for n in range(5):
        assert (tile(picture, n // 2, n % 2, 4, 3, padding=1) == n).all()
    assert (tile(picture, 2, 1, 4, 3, padding=1) == 255).all()
    assert (picture[:, ::5] == 255).all()
    assert (picture[:, :, ::4] == 255).all()


def test_grid_without_padding():
    images = torch.arange(2, dtype=torch.uint8)[:, None, None, None].expand(2, 3, 1, 1)
    assert viz.grid(images, columns=2, padding=0)[0].tolist() == [[0, 1]]


@pytest.mark.parametrize(("n", "columns"), [(0, 2), (2, 0)])
def test_grid_refuses_nothing(n, columns):
    with pytest.raises(ValueError, match=f"at least one image and one column, got {n} images and {columns}"):
        viz.grid(torch.zeros(n, 3, 2, 2, dtype=torch.uint8), columns)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("photo_1.png", "photo_1.png"),
        ("ünï", "ünï"),
        ("u\u0308ni\u0308", "ünï"),  # as macOS names files
        ("кот, γάτα", "кот, γάτα"),
        ("日本", "\\u65e5\\u672c"),
        ("a\tb\udcff", "a\\tb\\udcff"),
    ],
)
def test_no_name_has_a_box_for_a_letter(name, told):
    font = viz._font(14, name)
    assert viz._shortened(name, font) == told
    boxes = bytes(font.getmask("\U0010ffff"))
    assert all(bytes(font.getmask(letter)) != boxes for letter in told)
    viz.sheet(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), ["image"], [name])


def test_without_matplotlib_letters_are_escaped_and_it_is_never_imported(monkeypatch):
    monkeypatch.setattr(viz, "find_spec", lambda _: None)
    assert viz._shortened("ünï", viz._font(14, "ünï")) == "\\xfcn\\xef"
    code = "import sys, torch; from emorl.viz import sheet; sheet(torch.zeros(1, 1, 3, 8, 8).byte(), ['a'], ['ünï']);"
    subprocess.run([sys.executable, "-c", f"{code} assert 'matplotlib' not in sys.modules"], check=True)


def test_names_from_before_load():
    from emorl.viz import COLOURS, colourise

    assert (COLOURS, colourise) == (viz.COLORS, viz.colorize)


def test_decomposition_is_one_row_a_scene(scene):
    image, _, masks, components = scene
    masks = torch.tensor([0.75, 0.25, 0.0, 0.0])[None, :, None, None, None].expand_as(masks).clone()
    masks[:, :, :, :, :2] = masks[:, :, :, :, :2].flip(1)
    picture = viz.decomposition(image, image.flip(0), masks, components, rows=["first", "second"])
    labels = masks[1, :, 0].argmax(0) + 1
    assert torch.equal(at(picture, 1, 0, 2, 8), viz.enlarge(viz.to_uint8(image[1])))
    assert torch.equal(at(picture, 1, 1, 2, 8), viz.outlined(at(picture, 1, 0, 2, 8), viz.enlarge(labels)))
    assert torch.equal(at(picture, 1, 2, 2, 8), viz.enlarge(viz.to_uint8(image[0])))
    assert torch.equal(at(picture, 1, 3, 2, 8), viz.enlarge(viz.colorize(labels)))
    truth = viz.decomposition(image, image, masks, components, truth=labels.expand(2, -1, -1))
    assert torch.equal(at(truth, 1, 4, 2, 9), viz.enlarge(viz.colorize(labels)))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_component_of_any_gray_is_told_from_what_is_masked(level):
    """White on white was the fault."""
    image, masks = torch.full((1, 3, 35, 35), level), torch.zeros(1, 2, 1, 35, 35)
    masks[:, 0, :, :10], masks[:, 1, :, 10:] = 1, 1
    picture = viz.decomposition(image, image, masks, image[:, None].expand(-1, 2, -1, -1, -1))
    shown = picture[:, -144:-4, -284:-148].float()
    object_, masked = shown[:, :40], shown[:, 40:]
    assert (object_ == object_[0, 0, 0]).all()
    assert set(masked.unique().tolist()) == {112.0, 144.0}
    assert (masked - object_[0, 0, 0]).abs().min() >= 16


def test_outlines_lie_within_their_regions():
    labels = torch.ones(1, 20, 20, dtype=torch.int64)
    labels[:, 5:15, 5:15] = 2
    drawn = viz.outlined(torch.full((1, 3, 20, 20), 7, dtype=torch.uint8), labels)[0]
    painted = viz.colorize(labels)[0]
    touched = (drawn != 7).any(0)
    assert torch.equal(drawn[:, touched], painted[:, touched])
    assert touched[3:17, 3:17].sum() - touched[7:13, 7:13].sum() == touched.sum()  # two pixels on both sides
    assert not touched[7:13, 7:13].any()
    assert touched[5:7, 5:15].all()
    assert touched[3:5, 5:15].all()


@pytest.mark.parametrize("size", [(1, 1), (35, 35), (64, 64), (96, 96), (128, 128), (240, 320), (20, 300)])
def test_tiles_are_enlarged_by_the_smallest_whole_factor(size):
    enlarged = viz.enlarge(torch.zeros(2, *size)).shape[1:]
    factor = enlarged[0] // size[0]
    assert enlarged == (factor * size[0], factor * size[1])
    assert min(enlarged) >= 128
    assert factor == 1 or (factor - 1) * min(size) < 128


@pytest.mark.parametrize("slots", [4, 7, 11])
@pytest.mark.parametrize("size", [35, 64, 96])
def test_a_sheet_has_names_above_and_beside_its_tiles(size, slots):
    tiles = torch.zeros(2, slots, 3, size, size, dtype=torch.uint8)
    picture = viz.sheet(tiles, viz.slot_names(slots), ["short", "a name that is far too long for any margin at all"])
    side = viz.enlarge(tiles).shape[-1] + 4
    left, top = picture.shape[2] - slots * side - 4, picture.shape[1] - 2 * side - 4
    assert (picture[:, :top, :] < 100).all(0).any(0)[left:].sum() > 10 * slots  # columns' names
    for slot in range(slots):
        bar = picture[:, top - 1, left + 4 + slot * side : left + (slot + 1) * side]
        assert torch.equal(bar, torch.tensor(viz.COLORS[slot], dtype=torch.uint8)[:, None].expand_as(bar))
    for row in range(2):
        beside = picture[:, top + row * side : top + (row + 1) * side, :left]
        assert (beside < 100).any()
        assert (beside[:, :, 0] == viz.PAGE).all()  # none is cut off
    assert left < 300


def test_a_sheet_without_names_of_rows_has_no_margin():
    picture = viz.sheet(torch.zeros(1, 1, 3, 128, 128, dtype=torch.uint8), ["image"])
    assert picture.shape[2] == 128 + 8


def test_a_name_of_any_bytes_is_drawn():
    viz.sheet(torch.zeros(1, 1, 3, 4, 4, dtype=torch.uint8), ["image"], ["a\udcff\x00ü漢"])


@pytest.mark.parametrize("size", [35, 64, 96])
def test_names_of_columns_are_large_and_separate(size):
    tiles = torch.zeros(1, 3, 3, size, size, dtype=torch.uint8)
    picture = viz.sheet(tiles, ["reconstruction"] * 3)
    side = viz.enlarge(tiles).shape[-1] + 4
    ink = (picture[:, : picture.shape[1] - side - 4] < 100).all(0)
    assert ink.any(1).sum() >= 13, "pixels, at half of which a letter is readable in a page's column"
    assert not ink[:, side : side + 4].any()


def test_a_sheet_names_all_its_tiles():
    with pytest.raises(ValueError, match="Expected names of 2 rows and 1 columns, got 1 rows and 2 columns"):
        viz.sheet(torch.zeros(2, 1, 3, 4, 4, dtype=torch.uint8), ["a", "b"], ["c"])


def test_attention_is_scaled_map_by_map():
    maps = torch.zeros(1, 2, 1, 5, 6)
    maps[0, 0, 0, 1, 2] = 1e-3
    picture = viz.attention(maps)
    first = at(picture, 0, 0, 1, 2)[:, ::26, ::26]
    assert first[:, 1, 2].tolist() == [255] * 3
    assert int(first.sum(dtype=torch.int64)) == 3 * 255
    assert (at(picture, 0, 1, 1, 2) == 0).all()


def test_a_label_map_keeps_its_labels_and_is_shown_in_the_colors_of_pictures(tmp_path):
    labels = torch.tensor([[0, 1, 2], [15, 16, 255]])
    viz.save_labels(labels, tmp_path / "labels.png")
    with Image.open(tmp_path / "labels.png") as file:
        assert (file.mode, file.size) == ("P", (3, 2))
        assert np.asarray(file).tolist() == labels.tolist()
        shown = np.asarray(file.convert("RGB"))
    assert np.array_equal(shown, viz.colorize(labels).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("label", [-1, 256])
def test_a_label_that_a_label_map_cannot_store_is_refused(label, tmp_path):
    with pytest.raises(ValueError, match=r"^Expected labels from 0 to 255, got (-1 to 0|0 to 256)\.$"):
        viz.save_labels(torch.tensor([[0, label]]), tmp_path / "labels.png")
    assert list(tmp_path.iterdir()) == []


def test_png_round_trip(tmp_path, scene):
    picture = viz.decomposition(*scene)
    viz.save_png(picture, tmp_path / "scene.png")
    with Image.open(tmp_path / "scene.png") as file:
        assert np.array_equal(np.asarray(file), picture.permute(1, 2, 0).numpy())
    assert [path.name for path in tmp_path.iterdir()] == ["scene.png"]


def test_a_failed_write_leaves_the_old_picture_alone(tmp_path, monkeypatch):
    viz.save_png(torch.zeros(3, 2, 2, dtype=torch.uint8), tmp_path / "scene.png")
    before = (tmp_path / "scene.png").read_bytes()

    def fail(self, target, format):
        target.write(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(DataError, match=r"scene\.png: cannot be written \(disk full\); free some space"):
        viz.save_png(torch.ones(3, 2, 2, dtype=torch.uint8), tmp_path / "scene.png")
    assert (tmp_path / "scene.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16])
def test_outlines_do_not_depend_on_the_type_of_labels(dtype):
    labels, image = torch.zeros(8, 8, dtype=torch.long), torch.zeros(3, 8, 8, dtype=torch.uint8)
    labels[2:7, 2:7] = 1
    assert torch.equal(viz.outlined(image, labels.to(dtype), 1), viz.outlined(image, labels, 1))


def test_a_column_may_have_a_name_like_that_of_a_slot():
    assert viz.sheet(torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8), ["slot mean"]).any()
