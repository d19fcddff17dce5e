"""The study of the number of slots at test."""

import csv

import pytest
import torch

import tiny
from emorl.evaluation.cli import main
from emorl.evaluation.inputs import infer
from emorl.evaluation.studies.slots import SCORES, by_objects, figure, groups_of, only
from emorl.scores import StageScores


@pytest.fixture(scope="module")
def varied(scenes):
    """Five scenes, two of them without object 2, and one of these without object 1 as well."""
    segmentation = scenes.segmentation.clone()
    segmentation[:2][segmentation[:2] == 2] = 0
    segmentation[0][segmentation[0] == 1] = 0
    return scenes._replace(segmentation=segmentation)


def test_groups_are_all_scenes_and_those_of_each_number_of_visible_objects(scenes, varied):
    groups = groups_of(varied.segmentation)
    assert {name: members.nonzero().flatten().tolist() for name, members in groups.items()} == {
        "all": [0, 1, 2, 3, 4],
        "1": [0],
        "2": [1],
        "3": [2, 3, 4],
    }
    assert list(groups_of(scenes.segmentation)) == ["all"]


def test_scenes_that_are_no_members_do_not_count(varied):
    batch = list(varied.batches(size=3))[1]
    assert only(torch.tensor([True, True, True, False, True]), batch)["index"].tolist() == [-1, 4]


def test_rows_are_the_scores_of_their_scenes(module, varied):
    rows = by_objects(module, varied, 1, num_slots=5)
    assert [(row["K"], row["objects"], row["scenes"], row["I"]) for row in rows] == [
        (5, "all", 5, 1),
        (5, "1", 1, 1),
        (5, "2", 1, 1),
        (5, "3", 3, 1),
    ]
    (batch,) = varied.batches()
    last = infer(module, batch, 1, 5).stages[-1]
    for row, members in zip(rows, ([0, 1, 2, 3, 4], [0], [1], [2, 3, 4]), strict=True):
        scores = StageScores(module.network)
        scores.fg_ari.update(last.components.masks.squeeze(2).argmax(1)[members], varied.segmentation[members])
        scores.nll.update(last.nll[members])
        assert row["fg_ari"] == pytest.approx(scores.fg_ari.compute().item())
        assert row["fg_ari_se"] == pytest.approx(scores.fg_ari.summary().standard_error.item(), nan_ok=True)
    assert 1 <= rows[0]["active_slots"] <= 5


def test_the_figure_has_a_line_for_each_number_of_objects(module, varied):
    rows = [row for k in (2, 3) for row in by_objects(module, varied, 0, k)]
    panels = figure(rows).axes
    assert len(panels) == len(SCORES)
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["all", "1", "2", "3"]
    whole = panels[0].containers[0].lines[0]
    assert whole.get_xdata().tolist() == [2, 3]
    assert whole.get_ydata().tolist() == [row["fg_ari"] for row in rows if row["objects"] == "all"]


def test_the_command_writes_a_table_and_a_figure(module, shards, tmp_path, capsys):
    path, out = tiny.saved(module, tmp_path / "a.ckpt"), tmp_path / "out"
    assert main(["slots", path, str(shards), str(out), "--largest=3", "--steps=0"]) is None
    text = capsys.readouterr().out
    assert text.endswith(f"Wrote slots.csv, slots.md, slots.png to {out}\n")
    assert "FG-ARI" in text
    assert " ± " in text
    with (out / "slots.csv").open() as file:
        assert [(row["K"], row["scenes"], row["I"]) for row in csv.DictReader(file)] == [
            ("2", "5", "0"),
            ("3", "5", "0"),
        ]


def test_the_largest_number_cannot_be_below_the_smallest(tmp_path, capsys):
    assert main(["slots", "a.ckpt", "data", str(tmp_path), "--smallest=4", "--largest=3"]) == 2
    assert "largest: expected 4 slots or more, got 3" in capsys.readouterr().err
