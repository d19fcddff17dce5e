"""The study of refinement steps at test."""

import csv
import json
import math

import pytest
import torch

import tiny
from emorl.evaluation.cli import main
from emorl.evaluation.inputs import infer
from emorl.evaluation.studies.refinement import SCORES, by_steps, figure, summary, zero_step_shares

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


def test_stage_i_of_a_longer_refinement_equals_i_steps(module, scenes):
    batch = next(scenes.batches())
    longer = infer(module, batch, 4).stages
    for steps in range(4):
        last, stage = infer(module, batch, steps).stages[-1], longer[steps]
        torch.testing.assert_close(last.slots, stage.slots)
        torch.testing.assert_close(last.components.masks, stage.components.masks)
        torch.testing.assert_close((last.nll, last.kl), (stage.nll, stage.kl))
    assert not longer[1].slots.allclose(longer[4].slots)


def test_a_row_has_the_scores_of_emorl_test(module, scenes, shards, tmp_path, emorl):
    rows = by_steps(module, scenes, 2)
    assert [(row["I"], row["scenes"]) for row in rows] == [(0, 5), (1, 5), (2, 5)]
    path = tiny.saved(module, tmp_path / "a.ckpt")
    quiet = ("--trainer.accelerator=cpu", "--trainer.logger=false", "--data.batch_size=2")
    options = (f"--data.root={shards}", "--model.test_refinement_steps=1", f"--output_dir={tmp_path}", *quiet)
    emorl("test", f"--ckpt_path={path}", *options)
    reported = json.loads((tmp_path / "metrics.json").read_text())
    for row in rows[:2]:
        for score in SCORES:
            mean, error = (reported[f"I={row['I']}"][score][key] for key in ("mean", "standard_error"))
            assert row[score] == pytest.approx(mean, rel=1e-5)
            assert row[f"{score}_se"] == pytest.approx(error, rel=1e-4)


def test_the_zero_step_shares():
    zero, refined = {"fg_ari": 0.9, "mse": 0.02}, {"fg_ari": 0.96, "mse": 0.015}
    assert zero_step_shares(zero, refined) == {
        "fg_ari_zero_step_share": pytest.approx(0.9375),
        "mse_zero_step_share": pytest.approx(0.75),
    }
    assert set(zero_step_shares(zero, zero).values()) == {1.0}
    nothing = {"fg_ari": 0.0, "mse": 0.0}
    assert all(map(math.isnan, zero_step_shares(nothing, nothing).values()))
    assert math.isnan(zero_step_shares(zero, refined | {"fg_ari": -0.01})["fg_ari_zero_step_share"])


def test_the_summary_names_the_best_number_of_steps():
    rows = [{"I": i, "fg_ari": value} for i, value in enumerate((0.8, 1.0, 0.9))]
    assert summary(rows) == "FG-ARI 0.8000 at I = 0 is 80.0% of the best, 1.0000 at I = 1"
    assert summary(rows[1:]) == "FG-ARI 1.0000 at I = 1 is 100.0% of the best, 1.0000 at I = 1"
    nothing = [{"I": 0, "fg_ari": 0.0}]
    assert summary(nothing) == "FG-ARI is 0.0000 at best, at I = 0: no object is found"


def test_the_command_writes_a_table_and_a_figure_with_error_bars(module, shards, tmp_path, capsys):
    path, out = tiny.saved(module, tmp_path / "a.ckpt"), tmp_path / "out"
    assert main(["refinement", path, str(shards), str(out), "--steps=1", "--count=4"]) is None
    text = capsys.readouterr().out
    assert text.endswith(f"Wrote refinement.csv, refinement.md, refinement.png to {out}\n")
    assert "FG-ARI" in text
    assert " ± " in text
    assert {path.suffix for path in out.iterdir()} == {".csv", ".md", ".png"}
    with (out / "refinement.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["I"], row["scenes"]) for row in rows] == [("0", "4"), ("1", "4")]
    panels = figure(rows).axes
    assert len(panels) == len(SCORES)
    (bars,) = panels[0].containers
    assert bars.has_yerr
    assert bars.lines[0].get_ydata().tolist() == [float(row["fg_ari"]) for row in rows]
