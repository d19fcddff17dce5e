import csv

import pytest
import torch

import tiny
from emorl.data.generate.tetrominoes import VARIANTS, Tetrominoes
from emorl.errors import DataError
from emorl.evaluation.cli import main
from emorl.evaluation.studies import robustness as study
from emorl.evaluation.studies.changes import UNMODIFIED
from emorl.evaluation.studies.robustness import DRAWN, against_unmodified, by_steps, changes, figure, generated
from emorl.evaluation.studies.scores import stage_scores

CHANGED = [UNMODIFIED, "new colours", "noise 0.5"]


def test_the_changes_are_the_variants_and_noise_beside_the_test_scenes_of_the_unmodified_set():
    makers = changes(35, 2, 7, (0.1, 0.25))
    variants = [name.replace("_", " ") for name in VARIANTS if name != "standard"]
    assert list(makers) == [UNMODIFIED, *variants, "noise 0.1", "noise 0.25"]
    unmodified, expected = makers[UNMODIFIED](), list(Tetrominoes(2, 7, "test").records())
    for place, record in enumerate(expected):
        assert unmodified.image[place].movedim(0, -1).equal(torch.from_numpy(record.image))
        assert unmodified.segmentation[place].equal(torch.from_numpy(record.segmentation))
    assert unmodified.factors == [record.factors for record in expected]
    assert {o["shape"] for objects in makers["pentominoes"]().factors for o in objects} <= {*VARIANTS["pentominoes"][1]}


def test_noise_has_its_deviation_and_leaves_the_truth_alone():
    def draw():
        return list(Tetrominoes(20).records())

    clean, noisy = generated(draw), generated(draw, 0.1, seed=3)
    grey = (clean.image > 90) & (clean.image < 165)  # far enough from black and white that nothing is cut off
    difference = (noisy.image.float() - clean.image.float())[grey] / 255
    assert difference.mean().item() == pytest.approx(0, abs=5e-3)
    assert difference.std().item() == pytest.approx(0.1, rel=0.05)
    assert noisy.segmentation.equal(clean.segmentation)
    assert noisy.image.equal(generated(draw, 0.1, seed=3).image)
    assert not noisy.image.equal(generated(draw, 0.1, seed=4).image)


def test_there_is_a_slot_for_every_object(module):
    for change, objects, slots in ((UNMODIFIED, 3, 4), ("four objects", 4, 5)):
        make = changes(35, 2, 0, ())[change]
        rows = by_steps(module, make, "x", 1)
        assert [(row["change"], row["objects"], row["K"], row["I"]) for row in rows] == [
            ("x", objects, slots, 0),
            ("x", objects, slots, 1),
        ]
        expected = stage_scores(module, make(), (0, 1), slots)
        assert [row["mse"] for row in rows] == [expected[i].mse.compute() for i in (0, 1)]
        assert rows[0]["mse"] != rows[1]["mse"]


def test_rows_are_compared_with_the_unmodified_set_at_the_same_number_of_steps():
    quality = {(UNMODIFIED, 0): 0.75, (UNMODIFIED, 3): 1.0, ("noise 1", 0): 0.5, ("noise 1", 3): 0.875}
    rows = [{"change": change, "I": i, "fg_ari": value} for (change, i), value in quality.items()]
    assert [row["fg_ari_change"] for row in against_unmodified(rows)] == [0, 0, -0.25, -0.125]


def test_a_model_of_another_size_is_refused():
    with pytest.raises(DataError, match="image_size: expected a model of 35x35 or 64x64 pixels, got 128"):
        changes(128, 1, 0, ())


def test_the_command_goes_on_where_it_was_interrupted(module, tmp_path, monkeypatch, capsys):
    path, out, computed = tiny.saved(module, tmp_path / "a.ckpt"), tmp_path / "out", []
    makers = {change: draw for change, draw in changes(35, 3, 0, (0.5,)).items() if change in CHANGED}
    monkeypatch.setattr(study, "changes", lambda *_: makers)

    def interrupted(module, make, change, steps):
        computed.append(change)
        if computed == [UNMODIFIED, "new colours"]:
            raise KeyboardInterrupt
        return by_steps(module, make, change, steps)

    monkeypatch.setattr(study, "by_steps", interrupted)
    command = ["robustness", path, str(out)]
    assert main(command) == 130
    assert main(command) is None
    assert computed == [UNMODIFIED, "new colours", "new colours", "noise 0.5"]
    assert capsys.readouterr().out.splitlines() == [f"{out}/robustness.{kind}" for kind in ("csv", "md", "png")]
    with (out / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    changed = [(change, i) for change in CHANGED for i in ("0", "1")]
    assert [(row["change"], row["I"]) for row in rows] == changed
    assert float(rows[0]["fg_ari_change"]) == 0


def test_the_figure_has_a_bar_for_each_change_and_number_of_steps():
    scores = dict.fromkeys(DRAWN, 0.5) | {f"{score}_se": 0.1 for score in DRAWN}
    rows = [{"change": change, "I": i, "scenes": 9} | scores for change in (UNMODIFIED, "noise 1") for i in (0, 3)]
    drawn = figure(rows)
    assert len(drawn.axes) == len(DRAWN)
    assert [len(axes.patches) for axes in drawn.axes] == [4] * len(DRAWN)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [UNMODIFIED, "noise 1"]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["I = 0", "I = 3"]
