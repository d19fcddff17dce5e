"""Rendering of CLEVR with Blender, if it is installed: `make blender`."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from emorl.data.generate import clevr_render
from emorl.data.generate.clevr import Clevr
from emorl.data.generate.clevr_labels import FRAME, View, crop, label_map
from emorl.data.generate.clevr_render import Painter, description, find_blender
from emorl.data.images import read_image
from emorl.data.records import check_record
from emorl.errors import DataError

HUES = {"red": 0, "green": 1, "blue": 2}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def blender():
    try:
        return find_blender()
    except DataError as error:
        pytest.skip(f"no Blender: {error}")


def source(blender, size=48):
    return Clevr(10, blender, 0, "train", {"train": range(3, 11)}, size)


@pytest.fixture(scope="module")
def records(blender):
    return list(source(blender).select((range(4),)))


def test_a_scene_rendered_again_is_the_same(blender, records):
    """Also in another process and after other scenes; the denoiser may round a few values differently."""
    alone = source(blender).scene(2)
    difference = np.abs(alone.image.astype(int) - records[2].image)
    assert difference.max() <= 1
    assert (difference > 0).sum() < 10
    np.testing.assert_array_equal(alone.segmentation, records[2].segmentation)
    assert alone.factors == records[2].factors


def test_every_pixel_has_one_label_and_every_object_its_factors(blender, records):
    for record in records:
        check_record(record, source(blender))
        assert record.image.shape == (48, 48, 3)
        assert record.image.std() > 5
    (whole,) = source(blender, None).select((range(1),))
    assert whole.image.shape == (240, 320, 3)
    assert np.unique(whole.segmentation).tolist() == list(range(1 + len(whole.factors)))


def test_objects_have_their_colors(records):
    seen = 0
    for record in records:
        for label, factors in enumerate(record.factors, start=1):
            shown = record.segmentation == label
            if factors["color"] in HUES and shown.sum() > 8:
                assert record.image[shown].mean(axis=0).argmax() == HUES[factors["color"]]
                seen += 1
    assert seen
    ground = np.concatenate([record.image[record.segmentation == 0] for record in records]).mean(axis=0)
    assert np.ptp(ground) < 8  # gray
    assert 100 < ground.mean() < 150


@pytest.mark.parametrize("view", [FRAME, crop(96)])
def test_labels_are_those_of_a_pass_of_blender(blender, view: View, tmp_path):
    scene = source(blender).layout(1)
    (tmp_path / "scene.json").write_text(json.dumps(description(scene, view)))
    script = Path(__file__).with_name("clevr_mask_pass.py")
    program, *_ = blender.command
    if "python" not in Path(program).name:
        pytest.skip("the pass runs in a Python with bpy")
    folder = Path(clevr_render.__file__).parent
    command = [program, script, folder, tmp_path / "scene.json", tmp_path / "mask.png"]
    subprocess.run(command, check=True, capture_output=True)
    theirs, ours = read_image(tmp_path / "mask.png")[..., 0] // 20, label_map(scene, view)
    assert np.unique(theirs).tolist() == np.unique(ours).tolist()
    assert (theirs != ours).mean() < 0.002  # pixel centers on an edge, and flat faces of meshes


def test_an_error_of_blender_is_reported(blender):
    scene = source(blender).layout(0)
    scene.objects[0]["color"] = "mauve"
    with Painter(blender) as paint, pytest.raises(DataError, match=r"one that ended with `KeyError: .*mauve"):
        paint(scene, crop(16))
