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


def test_eight_bit_levels_survive_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(viz.to_uint8(levels / 255), levels)
    assert viz.to_uint8(torch.tensor([-1.0, 2.0])).tolist() == [0, 255]
    assert viz.to_uint8(torch.tensor([1.0], dtype=torch.bfloat16)).tolist() == [255]


def test_colours_are_many_and_far_apart():
    colours = np.array([viz.BACKGROUND, *viz.COLOURS], dtype=float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1e3 * np.eye(len(colours))
    assert len(viz.COLOURS) >= 12
    assert distance.min() > 60


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_labels_are_painted_and_cycle_without_the_background(dtype):
    n = len(viz.COLOURS)
    painted = viz.colourise(torch.tensor([[0, 1, n, n + 1]], dtype=dtype))
    assert painted.shape == (3, 1, 4)
    expected = [viz.BACKGROUND, viz.COLOURS[0], viz.COLOURS[-1], viz.COLOURS[0]]
    assert [tuple(colour) for colour in painted[:, 0].T.tolist()] == expected


def test_colourise_keeps_leading_dimensions():
    assert viz.colourise(torch.zeros(2, 7, 4, 5, dtype=torch.int64)).shape == (2, 7, 3, 4, 5)


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


def test_decomposition_is_one_row_a_scene(scene):
    image, reconstruction, masks, components = scene
    picture = viz.decomposition(image, reconstruction, masks, components)
    assert picture.shape == (3, 2 * 7 + 2, 7 * 8 + 2)
    assert torch.equal(tile(picture, 1, 0), viz.to_uint8(image[1]))
    assert torch.equal(tile(picture, 1, 1), viz.to_uint8(reconstruction[1]))
    assert torch.equal(tile(picture, 1, 2), viz.colourise(masks[1, :, 0].argmax(0) + 1))
    assert torch.equal(tile(picture, 1, 4), viz.to_uint8(1 - masks[1, 1] * (1 - components[1, 1])))


def test_attention_is_scaled_map_by_map():
    maps = torch.zeros(1, 2, 1, 5, 6)
    maps[0, 0, 0, 1, 2] = 1e-3
    picture = viz.attention(maps)
    assert tile(picture, 0, 0)[:, 1, 2].tolist() == [255] * 3
    assert int(tile(picture, 0, 0).sum(dtype=torch.int64)) == 3 * 255
    assert (tile(picture, 0, 1) == 0).all()


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
