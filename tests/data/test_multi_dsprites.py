"""Generated Multi-dSprites: sprites pixel for pixel, factors, variants."""

import colorsys
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emorl.data.cli import main
from emorl.data.generate.dsprites import ORIENTATIONS, POSITIONS, SCALES, SHAPES, _corners, _fill, sprite
from emorl.data.generate.multi_dsprites import VARIANTS, MultiDSprites, render
from emorl.data.records import check_record
from emorl.data.shards.manifest import Manifest
from emorl.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data" / "dsprites_frames.npz"
SYMMETRY = {"square": 4, "ellipse": 2, "heart": 1}
AREAS = {"square": 4 * 9.6**2, "ellipse": np.pi * 9.6**2, "heart": 180 * np.pi * 2 / 16 / 29 * 9.6**2}

variants = pytest.mark.parametrize("variant", VARIANTS)
shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module", params=VARIANTS)
def scenes(request):
    """Scenes of each variant, enough for statistics."""
    return request.param, list(MultiDSprites(1000, variant=request.param).records())


def assert_same(record, other):
    np.testing.assert_array_equal(record.image, other.image, strict=True)
    np.testing.assert_array_equal(record.segmentation, other.segmentation, strict=True)
    assert record.factors == other.factors


def polygon(*corners):
    """Fill a polygon given in pixels."""
    return _fill((256 * np.array(corners)).astype(np.int64))


@pytest.mark.skipif(not REAL.exists(), reason="no real frames in ../shared/data")
@pytest.mark.parametrize(("number", "shape"), list(enumerate(SHAPES, start=1)))
def test_sprites_equal_published_ones_pixel_for_pixel(number, shape):
    real = np.load(REAL)
    frames = np.unpackbits(real["image"], axis=-1).astype(bool)
    chosen = np.flatnonzero(real["shape"] == number)
    assert len(chosen) >= 23
    for i in chosen:
        factors = [real[name][i] for name in ("scale", "orientation", "pos_x", "pos_y")]
        np.testing.assert_array_equal(sprite(real["shape"][i], *factors), frames[i], strict=True)
        np.testing.assert_array_equal(sprite(shape, *factors), frames[i], strict=True)


def test_version_1_draws_these_sprites():
    digest = hashlib.sha256()
    for shape, scale, orientation in itertools.product(SHAPES, SCALES, ORIENTATIONS):
        digest.update(np.packbits(sprite(shape, scale, orientation, 0.0, 1.0)).tobytes())
    assert digest.hexdigest() == "ad1adf822121e2e6e33e376ce8b3dfa95da73be86af831336becaa5a75e31ca3"


@shapes
def test_size_and_center(shape):
    """Over all positions, the mean number of pixels is the area, and their mean position follows that of the sprite."""
    drawn = {(x, y): sprite(shape, 1.0, 0.3, x, y) for x in POSITIONS[::4] for y in POSITIONS[::4]}
    assert np.mean([frame.sum() for frame in drawn.values()]) == pytest.approx(AREAS[shape], rel=2e-3)
    rows, columns = (np.array([np.argwhere(frame)[:, axis].mean() for frame in drawn.values()]) for axis in (0, 1))
    x, y = np.array(list(drawn)).T
    assert np.ptp(columns - 32 * x) < 0.25
    assert np.ptp(rows - 32 * y) < 0.25


def test_orientation_is_counter_clockwise_and_a_heart_at_0_points_downwards():
    upright, quarter = sprite("heart", 1, 0, 0.5, 0.5), sprite("heart", 1, np.pi / 2, 0.5, 0.5)
    assert upright[:32].sum() > 1.5 * upright[32:].sum()
    np.testing.assert_array_equal(upright, upright[:, ::-1])
    assert (np.rot90(upright) != quarter).sum() <= 2  # if a corner is half-way between two grid steps


@shapes
def test_a_rotation_by_the_symmetry_of_a_shape_changes_nothing(shape):
    for turn, orientation in enumerate(ORIENTATIONS):
        reduced = ORIENTATIONS[SYMMETRY[shape] * turn % 39] / SYMMETRY[shape]
        assert reduced < 2 * np.pi / SYMMETRY[shape]
        for scale, x, y in ((0.5, 0.0, 0.0), (0.8, *POSITIONS[7:9]), (1.0, 1.0, POSITIONS[20])):
            np.testing.assert_array_equal(sprite(shape, scale, orientation, x, y), sprite(shape, scale, reduced, x, y))


@shapes
def test_no_corner_is_close_to_a_rounding_threshold(shape):
    """Sines and cosines differ between machines by some 1e-15 pixel at most."""
    factors = itertools.product(SCALES, ORIENTATIONS, POSITIONS)
    steps = np.stack([256 * _corners(shape, scale, turn, x, x) for scale, turn, x in factors])
    margin = abs(steps - np.floor(steps) - 0.5).min()
    assert margin / 256 > 1e-9


def test_pixel_centers_on_left_and_upper_edges_are_inside_on_right_and_lower_ones_outside():
    square = polygon((2.5, 3.5), (5.5, 3.5), (5.5, 6.5), (2.5, 6.5))
    np.testing.assert_array_equal(np.argwhere(square), list(itertools.product((3, 4, 5), (2, 3, 4))))
    np.testing.assert_array_equal(square, polygon((2.5, 6.5), (5.5, 6.5), (5.5, 3.5), (2.5, 3.5)))
    triangle, other = polygon((2.5, 3.5), (6.5, 3.5), (2.5, 7.5)), polygon((6.5, 3.5), (6.5, 7.5), (2.5, 7.5))
    assert not (triangle & other).any()
    np.testing.assert_array_equal(triangle | other, polygon((2.5, 3.5), (6.5, 3.5), (6.5, 7.5), (2.5, 7.5)))


def test_polygons_are_clipped_to_the_frame():
    assert polygon((-5, -5), (70, -5), (70, 70), (-5, 70)).all()
    assert not polygon((-5, -5), (-1, -5), (-1, 70)).any()
    assert polygon((60, -5), (80, -5), (80, 3), (60, 3)).sum() == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("circle", 1, 0, 0, 0), "ellipse, heart, triangle, cross or an id of 1 to 3, got 'circle'"),
        ((0, 1, 0, 0, 0), "shape: expected square, ellipse, heart, triangle, cross or an id of 1 to 3, got 0"),
        (("heart", 1, float("nan"), 0, 0), "expected finite numbers, got 1.0, nan, 0.0, 0.0"),
        (("heart", 1, 0, float("inf"), 0), "expected finite numbers, got 1.0, 0.0, inf, 0.0"),
    ],
)
def test_invalid_sprites(arguments, message):
    with pytest.raises(DataError, match=message):
        sprite(*arguments)


def test_unknown_variant():
    with pytest.raises(DataError, match=r"expected colored_on_grayscale, .*, binarized, got 'colored'; choose"):
        MultiDSprites(1, variant="colored")


@variants
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(-5, 2**70), st.sampled_from(["train", "val"]))
def test_scenes_are_valid_and_drawn_from_their_factors(variant, index, seed, split):
    source = MultiDSprites(10**6 + 1, seed, split, variant)
    scene = source.scene(index)
    check_record(scene, source)
    assert VARIANTS[variant].min_objects <= len(scene.factors) <= source.max_objects
    (background,) = np.unique(scene.image[scene.segmentation == 0], axis=0)  # one color
    image, segmentation = render(scene.factors, tuple(background.tolist()))
    assert_same(scene, scene._replace(image=image, segmentation=segmentation))


@variants
def test_a_scene_depends_on_seed_split_variant_and_index_alone(variant):
    source = MultiDSprites(10, seed=1, variant=variant)
    assert source.random_access
    for index, scene in reversed(list(enumerate(source.records()))):
        assert_same(scene, MultiDSprites(1000, seed=1, variant=variant).scene(index))
    assert_same(next(source.records(start=7)), source.scene(7))
    others = [MultiDSprites(10, seed=2, variant=variant), MultiDSprites(10, seed=1, split="val", variant=variant)]
    others += [MultiDSprites(10, seed=1, variant=name) for name in VARIANTS if name != variant]
    places = [[(o["x"], o["y"]) for o in s.factors] for s in (source.scene(1), *(other.scene(0) for other in others))]
    assert [(o["x"], o["y"]) for o in source.scene(0).factors] not in places


@pytest.mark.parametrize(
    ("variant", "checksum"),
    [
        ("colored_on_grayscale", "85168e26d2193322ef08b93d5495fc5b0ad28eab3dbea09f0e82ec485af261b2"),
        ("colored_on_colored", "a6683708f0dba80b69f44ca06368b521038847e6eab349b18883109475a14b6f"),
        ("binarized", "df76a6230cea7ebb12465d2671319d7098e6a01e014d4ff11b3f8808b287ad88"),
    ],
)
def test_version_1_draws_these_scenes(variant, checksum):
    digest = hashlib.sha256()
    for scene in MultiDSprites(20, variant=variant).records():
        digest.update(scene.image.tobytes() + scene.segmentation.tobytes() + repr(scene.factors).encode())
    assert digest.hexdigest() == checksum


def frequencies(values, classes):
    """Check that values are uniform over the classes, within 5 standard errors."""
    counts = np.array([values.count(name) for name in classes])
    assert counts.sum() == len(values)
    error = (len(values) / len(classes) * (1 - 1 / len(classes))) ** 0.5
    assert abs(counts - len(values) / len(classes)).max() < 5 * error


def test_counts_and_factors_are_uniform(scenes):
    variant, records = scenes
    low, high = VARIANTS[variant].min_objects, VARIANTS[variant].max_objects
    frequencies([len(record.factors) for record in records], range(low, high + 1))
    objects = [factors for record in records for factors in record.factors]
    for name, classes in (("shape", SHAPES), ("scale", SCALES), ("x", POSITIONS), ("y", POSITIONS)):
        frequencies([factors[name] for factors in objects], classes)
    for shape, order in SYMMETRY.items():
        turns = [round(f["orientation"] * order / 2 / np.pi * 39) for f in objects if f["shape"] == shape]
        frequencies([turn for turn in turns if turn], range(1, 39))  # 0 is also 2 pi


def test_colors(scenes):
    variant, records = scenes
    colors = [[f["red"], f["green"], f["blue"]] for r in records for f in r.factors if variant != "binarized"]
    objects = np.array(colors).reshape(-1, 3)
    backgrounds = np.array([r.image[r.segmentation == 0][0] for r in records]) / 255
    if variant == "binarized":
        assert all((r.image == 255 * (r.segmentation[..., None] > 0)).all() for r in records)
        assert "red" not in records[0].factors[0]
    elif variant == "colored_on_colored":
        for channels in (objects, backgrounds):
            assert abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.1
            np.testing.assert_allclose(channels.mean(axis=0), 0.5, atol=0.03)
            assert np.quantile(channels, [0.01, 0.99]) == pytest.approx([0.01, 0.99], abs=0.01)
    else:
        assert (np.ptp(backgrounds, axis=1) == 0).all()
        assert np.quantile(backgrounds, [0.05, 0.5, 0.95]) == pytest.approx([0.05, 0.5, 0.95], abs=0.04)
        assert np.ptp(objects, axis=1).min() > 0.249  # some channel differs from any gray by 1/8: every object is seen
        hsv = np.array([colorsys.rgb_to_hsv(*color) for color in objects])
        np.testing.assert_allclose(hsv.min(axis=0), [0, 0.5, 0.5], atol=0.01)
        np.testing.assert_allclose(hsv.max(axis=0), 1, atol=0.01)
        np.testing.assert_allclose(hsv.mean(axis=0), [0.5, 0.75, 0.75], atol=0.02)


def test_occluded_objects_keep_their_factors():
    below = {"shape": "heart", "scale": 0.5, "orientation": 0.0, "x": 0.0, "y": 0.0}
    above = {**below, "shape": "square", "scale": 1.0}
    beside = {**below, "shape": "ellipse", "x": 1.0, "y": 1.0}
    _, segmentation = render([beside, below, above], (0, 0, 0))
    np.testing.assert_array_equal(segmentation == 3, sprite("square", 1.0, 0.0, 0.0, 0.0))
    assert np.unique(segmentation).tolist() == [0, 1, 3]


def test_a_few_scenes_have_a_fully_occluded_object(scenes):
    variant, records = scenes
    hidden = [len(record.factors) - len(np.unique(record.segmentation)) + 1 for record in records]
    assert 0 < np.mean(np.array(hidden) > 0) < 0.1
    index = int(np.argmax(hidden))
    source = MultiDSprites(1000, variant=variant)
    check_record(records[index], source)
    assert_same(records[index], source.scene(index))


@variants
def test_the_command_writes_a_variant_that_verifies(variant, tmp_path, capsys):
    sizes = ["--train", "3", "--val", "0", "--test", "2", "--processes", "1"]
    assert not main(["generate", "multi_dsprites", str(tmp_path / "out"), "--variant", variant, *sizes])
    assert "multi_dsprites, 3 train, 2 test" in capsys.readouterr().out
    assert not main(["verify", str(tmp_path / "out")])
    manifest = Manifest.load(tmp_path / "out")
    assert (manifest.variant, manifest.max_objects) == (variant, VARIANTS[variant].max_objects)
