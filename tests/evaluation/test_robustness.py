"""The study of scenes that differ from training."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emorl.data.generate.tetrominoes import VARIANTS, Tetrominoes
from emorl.data.transforms import fit
from emorl.errors import DataError
from emorl.evaluation.cli import main
from emorl.evaluation.studies import robustness as study
from emorl.evaluation.studies.changes import UNMODIFIED, multi_dsprites_changes
from emorl.evaluation.studies.robustness import DRAWN, against_unmodified, as_seen, by_steps, changes, figure, noisy
from emorl.evaluation.studies.scores import stage_scores

BICUBIC = Image.Resampling.BICUBIC
CHANGED = [UNMODIFIED, "new colors", "noise 0.5"]


def test_the_changes_are_the_variants_and_noise_beside_the_test_scenes_of_the_unmodified_set(module):
    draws = changes("tetrominoes, standard", 2, 7, (0.1, 0.25))
    variants = [name.replace("_", " ") for name in VARIANTS if name != "standard"]
    assert list(draws) == [UNMODIFIED, *variants, "noise 0.1", "noise 0.25"]
    unmodified, expected = as_seen(module, draws[UNMODIFIED]()), list(Tetrominoes(2, 7, "test").records())
    for place, record in enumerate(expected):
        assert unmodified.image[place].movedim(0, -1).equal(torch.from_numpy(record.image))
        assert unmodified.segmentation[place].equal(torch.from_numpy(record.segmentation))
    assert unmodified.factors == [record.factors for record in expected]
    shapes = {one["shape"] for record in draws["pentominoes"]() for one in record.factors}
    assert shapes <= {*VARIANTS["pentominoes"][1]}
    assert list(changes("multi_dsprites, colored_on_grayscale", 1)) == list(multi_dsprites_changes(1, 0))


def test_scenes_are_cropped_and_resized_for_the_model():
    record = Tetrominoes(1).scene(0)
    seen = as_seen(tiny.module(image_size=16, crop="center"), [record])
    np.testing.assert_array_equal(seen.image[0].movedim(0, -1), fit(record.image, "center", 16, BICUBIC))
    assert seen.segmentation.shape == (1, 16, 16)


def test_noise_has_its_deviation_and_keeps_the_ground_truth():
    def draw():
        return list(Tetrominoes(20).records())

    def images(records):
        return np.stack([record.image for record in records]).astype(float)

    clean, changed = draw(), noisy(draw, 0.1, seed=3)
    gray = (images(clean) > 90) & (images(clean) < 165)  # far enough from black and white to avoid clipping
    difference = (images(changed) - images(clean))[gray] / 255
    assert difference.mean() == pytest.approx(0, abs=5e-3)
    assert difference.std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(changed[7].segmentation, clean[7].segmentation)
    np.testing.assert_array_equal(images(changed), images(noisy(draw, 0.1, seed=3)))
    assert (images(changed) != images(noisy(draw, 0.1, seed=4))).any()
    assert (images(changed) != images(noisy(draw, 0.1, seed=10**20))).any()


def test_there_is_a_slot_for_every_object(module):
    for change, objects, slots in ((UNMODIFIED, 3, 4), ("four objects", 4, 5)):
        scenes = as_seen(module, changes("tetrominoes, standard", 2)[change]())
        rows = by_steps(module, scenes, "x", 1)
        assert [(row["change"], row["objects"], row["K"], row["I"]) for row in rows] == [
            ("x", objects, slots, 0),
            ("x", objects, slots, 1),
        ]
        expected = stage_scores(module, scenes, (0, 1), slots)
        assert [row["mse"] for row in rows] == [expected[i].mse.compute() for i in (0, 1)]
        assert rows[0]["mse"] != rows[1]["mse"]


def test_rows_are_compared_with_the_unmodified_set_at_the_same_number_of_steps():
    quality = {(UNMODIFIED, 0): 0.75, (UNMODIFIED, 3): 1.0, ("noise 1", 0): 0.5, ("noise 1", 3): 0.875}
    rows = [{"change": change, "I": i, "fg_ari": value} for (change, i), value in quality.items()]
    assert [row["fg_ari_change"] for row in against_unmodified(rows)] == [0, 0, -0.25, -0.125]


@pytest.mark.parametrize("title", ["clevr, standard", "tetrominoes, five_objects", "multi_dsprites, binarized"])
def test_a_data_set_or_variant_that_is_not_the_unmodified_one_is_refused(title):
    told = "data set: expected 'tetrominoes, standard' or 'multi_dsprites, colored_on_grayscale', got '{}'; give shards"
    with pytest.raises(DataError, match=told.format(title)):
        changes(title, 1)


def test_the_command_compares_the_changes_of_the_data_set(module, shards, tmp_path, monkeypatch, capsys):
    path, out = tiny.saved(module, tmp_path / "a.ckpt"), tmp_path / "out"
    monkeypatch.setattr(study, "changes", lambda *asked: {name: changes(*asked)[name] for name in CHANGED})
    assert main(["robustness", path, str(shards), str(out), "--count=3", "--noise=[0.5]"]) is None
    text = capsys.readouterr().out
    assert text.endswith(f"Wrote robustness.csv, robustness.md, robustness.png to {out}\n")
    assert "FG-ARI" in text
    assert " ± " in text
    with (out / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["change"], row["I"]) for row in rows] == [(change, i) for change in CHANGED for i in ("0", "1")]
    assert float(rows[0]["fg_ari_change"]) == 0


def test_the_figure_has_a_bar_for_each_change_and_number_of_steps():
    scores = dict.fromkeys(DRAWN, 0.5) | {f"{score}_se": 0.1 for score in DRAWN}
    rows = [{"change": change, "I": i, "scenes": 9} | scores for change in (UNMODIFIED, "noise 1") for i in (0, 3)]
    drawn = figure(rows)
    assert len(drawn.axes) == len(DRAWN)
    assert [len(axes.patches) for axes in drawn.axes] == [4] * len(DRAWN)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [UNMODIFIED, "noise 1"]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["I = 0", "I = 3"]
