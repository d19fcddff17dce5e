"""Variants of Tetrominoes: each changes one property."""

import hashlib
import itertools
import pickle

import numpy as np
import pytest

from emorl.data.cli import main
from emorl.data.generate.tetrominoes import COLORS, NEW_COLORS, PENTOMINOES, SHAPES, TROMINOES, VARIANTS, Tetrominoes
from emorl.data.records import check_record
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards
from emorl.errors import DataError

CELLS = {"trominoes": 3, "pentominoes": 5}
CHECKSUMS = {
    "trominoes": "152f7cffa2725f6e",
    "pentominoes": "d911ddbcbe688b97",
    "new_colors": "e298a8a4bdb63944",
    "four_objects": "6289d7f921a55be0",
    "five_objects": "e13e8c4379102ab5",
}
OBJECTS = {"one_object": 1, "two_objects": 2, "four_objects": 4, "five_objects": 5}

variants = pytest.mark.parametrize("variant", VARIANTS)


@variants
def test_a_variant_changes_one_thing(variant):
    source = Tetrominoes(6, seed=1, variant=variant)
    scenes = list(source.records())
    area = 25 * CELLS.get(variant, 4)
    for scene in scenes:
        check_record(scene, source)
        assert len(scene.factors) == OBJECTS.get(variant, 3)
        assert np.bincount(scene.segmentation.ravel())[1:].tolist() == [area] * len(scene.factors)
        assert ((scene.image.max(axis=-1) > 0) == (scene.segmentation > 0)).all()
    assert source.max_objects == OBJECTS.get(variant, 3)
    colors = {factors["color"] for scene in scenes for factors in scene.factors}
    assert colors <= set(NEW_COLORS if variant == "new_colors" else COLORS)


@pytest.mark.parametrize(("variant", "checksum"), CHECKSUMS.items())
def test_version_1_draws_these_scenes(variant, checksum):
    digest = hashlib.sha256()
    for scene in Tetrominoes(5, variant=variant).records():
        factors = repr(scene.factors).replace("gray", "grey")  # as the color was called when the checksum was taken
        digest.update(scene.image.tobytes() + scene.segmentation.tobytes() + factors.encode())
    assert digest.hexdigest()[:16] == checksum


def test_every_shape_occurs_once():
    turned = [np.array([[cell == "X" for cell in row] for row in shape.split("/")]) for shape in SHAPES + TROMINOES]
    assert len({(grid.shape, grid.tobytes()) for grid in turned}) == 19 + 6
    free = {min(orientations(shape)) for shape in PENTOMINOES}
    assert len(free) == 12  # all pentominoes up to rotation and reflection
    assert all(shape.count("X") == 5 for shape in PENTOMINOES)


def orientations(shape):
    grid = np.array([list(row) for row in shape.split("/")])
    for mirrored, turns in itertools.product((grid, grid[:, ::-1]), range(4)):
        yield "/".join("".join(row) for row in np.rot90(mirrored, turns))


def test_new_colors_are_new():
    assert not set(NEW_COLORS.values()) & set(COLORS.values())
    scene = Tetrominoes(1, variant="new_colors").scene(0)
    for label, factors in enumerate(scene.factors, start=1):
        brightest = scene.image[scene.segmentation == label].max(axis=0)
        np.testing.assert_allclose(brightest / 255, NEW_COLORS[factors["color"]], atol=2e-3)


@variants
def test_variants_have_different_scenes_and_can_be_pickled(variant):
    source = Tetrominoes(3, variant=variant)
    places = [[(o["x"], o["y"]) for o in Tetrominoes(3, variant=name).scene(1).factors] for name in VARIANTS]
    assert places.count([(o["x"], o["y"]) for o in source.scene(1).factors]) == 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).scene(2).image, source.scene(2).image)


def test_a_variant_is_written_and_verified(tmp_path):
    write_shards({"test": Selection(Tetrominoes(3, 0, "test", "pentominoes"), range(3))}, str(tmp_path / "out"))
    assert not main(["verify", str(tmp_path / "out")])


def test_an_unknown_variant_is_refused():
    with pytest.raises(DataError, match=r"variant: expected standard, trominoes, .*, got 'hexominoes'; choose"):
        Tetrominoes(1, variant="hexominoes")
