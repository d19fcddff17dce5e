"""Scenes of CLEVR before they are rendered: distances, visibility, ranges of factors."""

import hashlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from emorl.data.generate.clevr import MIN_PIXELS, Clevr
from emorl.data.generate.clevr_labels import FRAME, View, crop, label_map
from emorl.data.generate.clevr_render import Blender
from emorl.data.generate.clevr_scene import CLASSES, FACTORS, Camera, Scene, Setting
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_records, verify
from emorl.data.transforms import emorl_box

NONE = Blender(("false",), "0.0.0")  # layouts need no Blender
ALL = {"train": range(3, 11), "val": range(3, 11), "test": range(7, 11)}
CAMERA = Camera.at((7.481, -6.508, 5.344))
RADII = {"large": 0.7, "small": 0.35}
CHECKSUM = "7816dc982fafcf91"
FIXTURE = Path(__file__).with_name("fixtures") / "clevr_rendered"


def source(scenes=1000, seed=0, split="train", objects=ALL, size=None):
    return Clevr(scenes, NONE, seed, split, objects, size)


@pytest.fixture(scope="module")
def layouts():
    return [source().layout(index) for index in range(80)]


def pairs(scene):
    return itertools.combinations(scene.objects, 2)


def alone(shape, size="large", x=0.0, y=0.0, rotation=0.0):
    """A scene of one object."""
    return Scene(
        Setting(1, CAMERA, {}), [{"shape": shape, "size": size, "x": x, "y": y, "z": RADII[size], "rotation": rotation}]
    )


def test_objects_keep_their_distance(layouts):
    for scene in layouts:
        for one, other in pairs(scene):
            between = math.dist((one["x"], one["y"]), (other["x"], other["y"]))
            assert between - RADII[one["size"]] - RADII[other["size"]] >= 0.25


def test_no_object_is_beside_or_behind_another(layouts):
    for scene in layouts:
        x, y, _ = scene.setting.camera.position
        ahead = np.array([-x, -y]) / math.hypot(x, y)
        for one, other in pairs(scene):
            way = np.array([one["x"] - other["x"], one["y"] - other["y"]])
            assert abs(way @ ahead) >= 0.4 - 1e-9
            assert abs(way @ [ahead[1], -ahead[0]]) >= 0.4 - 1e-9


def test_every_object_has_enough_visible_pixels(layouts):
    for scene in layouts:
        pixels = np.bincount(label_map(scene, FRAME).ravel())
        assert len(pixels) == 1 + len(scene.objects)
        assert pixels.min() >= MIN_PIXELS == 200


def test_numbers_are_in_their_ranges(layouts):
    for scene in layouts:
        for factors in scene.objects:
            assert sorted(factors) == sorted(factor.name for factor in FACTORS)
            assert all(abs(factors[axis]) <= 3 for axis in "xy")
            assert 0 <= factors["rotation"] < 360
            assert factors["z"] == np.float32(RADII[factors["size"]])
            assert 0 <= factors["pixel_x"] <= 320
            assert 0 <= factors["pixel_y"] <= 240
            numbers = [value for value in factors.values() if isinstance(value, float)]
            assert numbers == np.float32(numbers).tolist()  # like the published file
        offset = np.subtract(scene.setting.camera.position, (7.481, -6.508, 5.344))
        assert abs(offset).max() <= 0.5 + 1e-6
        assert sorted(scene.setting.lamps) == ["back", "fill", "key"]


def test_choices_are_uniform(layouts):
    objects = [factors for scene in layouts for factors in scene.objects]
    for name, names in CLASSES.items():
        counts = np.array([sum(factors[name] == kind for factors in objects) for kind in names])
        assert sum(counts) == len(objects)
        if name != "size":  # large objects are placed less often
            assert (abs(counts / len(objects) - 1 / len(names)) < 4 * math.sqrt(1 / len(names) / len(objects))).all()
    numbers = np.bincount([len(scene.objects) for scene in layouts], minlength=11)[3:]
    assert (abs(numbers - len(layouts) / 8) < 4 * math.sqrt(len(layouts) / 8)).all()
    offsets = np.array([scene.setting.camera.position for scene in layouts]) - (7.481, -6.508, 5.344)
    assert abs(offsets.mean()) < 0.05
    assert offsets.std() == pytest.approx(0.5 / math.sqrt(3), rel=0.1)


def test_a_camera_sees_points_where_the_factors_say(layouts):
    """The pinhole camera of CLEVR, by matrices: a lens of 35 mm, a sensor of 32 mm."""
    for scene in layouts[:20]:
        position = np.array(scene.setting.camera.position)
        ahead = -position
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, (0, 0, 1))
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(ahead, right), ahead])
        for factors in scene.objects:
            x, y, depth = axes @ ([factors["x"], factors["y"], factors["z"]] - position)
            assert factors["pixel_x"] == pytest.approx(160 + 35 / 32 * 320 * x / depth, abs=0.51)
            assert factors["pixel_y"] == pytest.approx(120 + 35 / 32 * 320 * y / depth, abs=0.51)
            assert factors["pixel_z"] == pytest.approx(depth, rel=1e-6)


def test_a_scene_depends_on_seed_split_and_index_alone():
    scene = source().layout(7)
    assert source(scenes=8, size=96).layout(7) == scene
    others = (source(seed=1).layout(7), source(split="val").layout(7), source().layout(8))
    assert all(other != scene for other in others)


def test_version_1_draws_these_scenes():
    digest = hashlib.sha256()
    for index in range(20):
        scene = source().layout(index)
        digest.update(repr(scene).encode() + label_map(scene, FRAME).tobytes() + label_map(scene, crop(96)).tobytes())
    assert digest.hexdigest()[:16] == CHECKSUM


def test_numbers_of_objects_are_those_of_the_split():
    counts = {len(source(split="test").layout(index).objects) for index in range(40)}
    assert counts == {7, 8, 9, 10}
    assert source(split="test").max_objects == 10
    assert source(objects={"train": range(3, 7)}).max_objects == 6


def test_a_sphere_is_a_disc():
    labels = label_map(alone("sphere"), FRAME)
    _, columns = np.nonzero(labels)
    *_, depth = CAMERA.see((0.0, 0.0, 0.7))
    radius = 350 * math.tan(math.asin(0.7 / math.dist(CAMERA.position, (0, 0, 0.7))))
    assert np.count_nonzero(labels) == pytest.approx(math.pi * radius**2, rel=0.02)
    assert columns.mean() + 0.5 == pytest.approx(160, abs=0.1)
    assert depth > 10


@pytest.mark.parametrize(
    ("shape", "rotation"), [("cube", 0.0), ("cube", 33.0), ("cube", 200.0), ("cylinder", 33.0), ("sphere", 33.0)]
)
def test_labels_equal_those_of_ray_marching(shape, rotation):
    """Take small steps along each ray and test by distance whether a point is in the shape, without Newton's method."""
    scene = alone(shape, x=1.0, y=-0.5, rotation=rotation)
    view = View(100, 60, 8.0, (20, 20))
    half = 0.7
    columns, rows = np.meshgrid(100 + 8 * (np.arange(20) + 0.5) - 160, 120 - 60 - 8 * (np.arange(20) + 0.5))
    rays = np.array(CAMERA.ahead) + (columns[..., None] * CAMERA.right + rows[..., None] * CAMERA.up) / 350
    points = np.array(CAMERA.position) + rays[..., None, :] * np.linspace(6, 14, 8000)[:, None]
    x, y, z = np.moveaxis(points - (1.0, -0.5, half), -1, 0) / half
    turn = math.radians(rotation)
    x, y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    bevel = {"cube": 0.2, "cylinder": 0.08, "sphere": 1.0}[shape]
    if shape == "cube":
        beyond = np.maximum(abs(np.stack([x, y, z])) - (1 - bevel), 0)
    elif shape == "cylinder":
        beyond = np.maximum(np.stack([np.hypot(x, y), abs(z)]) - (1 - bevel), 0)
    else:
        beyond = np.stack([x, y, z])
    expected = (np.sqrt((beyond**2).sum(axis=0)) < bevel).any(axis=-1)
    assert 5 < expected.sum() < 300
    np.testing.assert_array_equal(label_map(scene, view) > 0, expected)


def test_the_nearer_object_hides_the_other():
    far, near = alone("cube", x=-2.0, y=1.75).objects, alone("sphere", x=0.0, y=0.0).objects
    setting = Setting(2, CAMERA, {})
    one, other = (label_map(Scene(setting, objects), FRAME) for objects in (far + near, near + far))
    np.testing.assert_array_equal(one, np.array([0, 2, 1])[other])
    both = (label_map(Scene(setting, far), FRAME) > 0) & (label_map(Scene(setting, near), FRAME) > 0)
    assert both.any()
    assert (one[both] == 2).all()


def test_the_crop_is_the_part_of_the_frame():
    scene = source().layout(0)
    left, upper, right, lower = emorl_box(240, 320)
    np.testing.assert_array_equal(label_map(scene, crop(192)), label_map(scene, FRAME)[upper:lower, left:right])
    small = label_map(scene, crop(64))  # its pixels' centers are those of every third pixel
    np.testing.assert_array_equal(small, label_map(scene, FRAME)[upper + 1 : lower : 3, left + 1 : right : 3])


def test_rendered_scenes_are_these():
    """Four scenes of 96x96 pixels, rendered by Blender 4.5."""
    manifest = Manifest.load(FIXTURE)
    assert verify(FIXTURE) == []
    assert (manifest.source["crop"], manifest.max_objects, manifest.factors) == ("emorl", 6, FACTORS)
    records = list(read_records(FIXTURE, manifest, "test"))
    assert len(records) == 4
    for index, record in enumerate(records):
        scene = source(split="test", objects={"test": range(3, 7)}, size=96).layout(index)
        assert record.factors == scene.objects
        np.testing.assert_array_equal(record.segmentation, label_map(scene, crop(96)))
    pixels = np.stack([record.image for record in records])
    assert pixels.mean(axis=(0, 1, 2)) == pytest.approx([117, 114, 106], rel=0.15)  # mean of a published scene
