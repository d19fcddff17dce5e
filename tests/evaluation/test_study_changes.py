"""Scenes that differ from a training set in one respect."""

import colorsys

import numpy as np
import pytest

from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import VARIANTS, Tetrominoes
from emorl.evaluation.studies.changes import UNMODIFIED, multi_dsprites_changes, tetrominoes_changes

COUNT, SEED = 4, 5


@pytest.fixture(scope="module")
def changed():
    """Scenes of Multi-dSprites by name of the change."""
    return {change: draw() for change, draw in multi_dsprites_changes(COUNT, SEED).items()}


def assert_same(records, others):
    for record, other in zip(records, others, strict=True):
        np.testing.assert_array_equal(record.image, other.image, strict=True)
        np.testing.assert_array_equal(record.segmentation, other.segmentation, strict=True)
        assert record.factors == other.factors


def test_tetrominoes_are_changed_by_the_variants_of_the_generator():
    draws = tetrominoes_changes(COUNT, SEED)
    assert list(draws) == [UNMODIFIED, *(name.replace("_", " ") for name in VARIANTS if name != "standard")]
    assert_same(draws[UNMODIFIED](), Tetrominoes(COUNT, SEED, "test").records())
    assert_same(draws["new colors"](), Tetrominoes(COUNT, SEED, "test", "new_colors").records())


def test_unmodified_multi_dsprites_are_the_generated_ones(changed):
    assert_same(changed[UNMODIFIED], MultiDSprites(COUNT, SEED, "test").records())


def test_unseen_shapes_replace_the_others_in_place(changed):
    for scene, plain in zip(changed["triangles and crosses"], changed[UNMODIFIED], strict=True):
        assert [one["shape"] for one in scene.factors] == ["triangle", "cross", "triangle", "cross", "triangle"][
            : len(plain.factors)
        ]
        for one, other in zip(scene.factors, plain.factors, strict=True):
            assert one | {"shape": other["shape"]} == other
        assert (scene.segmentation != plain.segmentation).any()


@pytest.mark.parametrize(("change", "ratios"), [("pale colors", (1, 0.5, 1)), ("dark colors", (1, 1, 0.5))])
def test_objects_keep_their_hue_and_lose_saturation_or_value(changed, change, ratios):
    for scene, plain in zip(changed[change], changed[UNMODIFIED], strict=True):
        np.testing.assert_array_equal(scene.segmentation, plain.segmentation)
        np.testing.assert_array_equal(scene.image[scene.segmentation == 0], plain.image[plain.segmentation == 0])
        for one, other in zip(scene.factors, plain.factors, strict=True):
            np.testing.assert_allclose(hsv(one), np.multiply(ratios, hsv(other)), atol=1e-6)


def hsv(factors):
    return colorsys.rgb_to_hsv(factors["red"], factors["green"], factors["blue"])


def test_a_colored_background_is_all_that_changes(changed):
    for scene, plain in zip(changed["colored background"], changed[UNMODIFIED], strict=True):
        seen = scene.segmentation > 0
        assert scene.factors == plain.factors
        np.testing.assert_array_equal(scene.image[seen], plain.image[seen])
        assert len(np.unique(scene.image[~seen], axis=0)) == 1
        assert np.ptp(scene.image[~seen][0]) > 0


@pytest.mark.parametrize(("change", "number"), [("six objects", 6), ("seven objects", 7)])
def test_objects_are_added_to_those_of_a_scene(changed, change, number):
    for i, (scene, plain) in enumerate(zip(changed[change], changed[UNMODIFIED], strict=True)):
        before = changed[UNMODIFIED][i - 1].factors
        assert scene.factors[: len(plain.factors)] == plain.factors
        assert scene.factors[len(plain.factors)] == before[0]
        assert len(scene.factors) == number
        assert scene.segmentation.max() <= number


def test_added_objects_are_distinct_even_in_a_single_scene():
    (scene,) = multi_dsprites_changes(1, SEED)["seven objects"]()
    assert len({tuple(one.items()) for one in scene.factors}) == 7


def test_one_object_is_the_first_of_the_scene(changed):
    for scene, plain in zip(changed["one object"], changed[UNMODIFIED], strict=True):
        assert scene.factors == plain.factors[:1]
