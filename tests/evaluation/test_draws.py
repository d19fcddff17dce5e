"""The study of draws of the sampling noise."""

import csv
import math

import pytest

import tiny
from emorl.evaluation.cli import main
from emorl.evaluation.inputs import infer, load_model, load_scenes
from emorl.evaluation.studies import robustness
from emorl.evaluation.studies.changes import UNMODIFIED
from emorl.evaluation.studies.draws import SCORES, figure, of_draw, over_draws
from emorl.evaluation.studies.refinement import by_steps
from emorl.evaluation.studies.robustness import changes
from ticks import overlapping


def test_the_first_draw_is_that_of_the_other_studies_and_the_next_another(module, scenes):
    first, second = (of_draw(module, scenes, 2, seed) for seed in (0, 1))
    assert [(row["draw"], row["I"], row["scenes"]) for row in first + second] == [
        (0, 0, 5),
        (0, 2, 5),
        (1, 0, 5),
        (1, 2, 5),
    ]
    expected = by_steps(module, scenes, 2)
    for row, other in zip(first, (expected[0], expected[2]), strict=True):
        for score in SCORES:
            assert row[score] == pytest.approx(other[score])
            assert row[f"{score}_se"] == pytest.approx(other[f"{score}_se"])
    assert first[0]["mse"] != second[0]["mse"]


def test_other_draws_start_from_other_slots_for_means_too(module, scenes, monkeypatch):
    monkeypatch.setattr(module, "test_means", True)
    batch = next(scenes.batches())
    first, again, second = (infer(module, batch, 0, seed=seed).stages[0] for seed in (0, 0, 1))
    assert first.slots.equal(again.slots)
    assert not first.slots.allclose(second.slots)
    assert second.slots.equal(second.posterior.mean)


def test_mean_and_deviation_over_draws():
    rows = [
        {"draw": draw, "I": i, "scenes": 9} | dict.fromkeys(SCORES, value + i)
        for draw, value in enumerate((0.5, 0.7))
        for i in (0, 1)
    ]
    zero, one = over_draws(rows)
    assert (zero["I"], zero["scenes"], zero["draws"], one["I"]) == (0, 9, 2, 1)
    assert (zero["fg_ari"], one["fg_ari"]) == pytest.approx((0.6, 1.6))
    assert zero["mse_sd"] == one["mse_sd"] == pytest.approx(0.02**0.5)
    assert over_draws(rows[:2])[0]["mse_sd"] is None
    undefined = over_draws([row | {"fg_ari": math.nan} for row in rows])[0]  # no visible object
    assert math.isnan(undefined["fg_ari"])
    assert math.isnan(undefined["fg_ari_sd"])


def test_draws_have_no_order_and_their_ticks_do_not_overlap():
    scores = {f"{score}{end}": 0.5 for score in SCORES for end in ("", "_se")}
    drawn = figure([{"draw": draw, "I": 0, "scenes": 9} | scores for draw in range(30)])
    for axes in drawn.axes:
        assert [container.lines[0].get_linestyle() for container in axes.containers] == ["None"]
    assert not overlapping(drawn)


def test_the_command_writes_each_draw_and_their_summary(module, shards, tmp_path, capsys):
    path, out = tiny.saved(module, tmp_path / "a.ckpt"), tmp_path / "out"
    assert main(["draws", path, str(shards), str(out), "--number=2", "--count=4", "--steps=1", "--means=true"]) is None
    names = ["draws.csv", "draws.md", "draws.png", "summary.csv", "summary.md"]
    text = capsys.readouterr().out
    assert f"Wrote {', '.join(names)} to {out}\n" in text
    assert "FG-ARI" in text
    assert " ± " in text
    with (out / "draws.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["draw"], row["I"], row["scenes"]) for row in rows] == [
        ("0", "0", "4"),
        ("0", "1", "4"),
        ("1", "0", "4"),
        ("1", "1", "4"),
    ]
    with (out / "summary.csv").open() as file:
        zero, one = csv.DictReader(file)
    assert float(zero["mse"]) == pytest.approx((float(rows[0]["mse"]) + float(rows[2]["mse"])) / 2)
    assert one["draws"] == "2"
    panels = figure(rows).axes
    assert [len(axes.containers) for axes in panels] == [2] * len(SCORES)
    assert {path.name for path in out.iterdir()} == set(names)


@pytest.mark.usefixtures("undrawn")
def test_means_are_decoded_on_request(module, shards, tmp_path):
    path, found = tiny.saved(module, tmp_path / "a.ckpt"), set()
    for means in ("true", "false"):
        main(["draws", path, str(shards), str(tmp_path / means), "--number=1", "--steps=0", f"--means={means}"])
        found.add((tmp_path / means / "draws.csv").read_text())
    assert len(found) == 2


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("study", ["refinement", "draws", "slots", "robustness"])
def test_a_study_takes_the_best_of_several_draws(study, module, shards, tmp_path, monkeypatch):
    """They have a lower bound, so at I = 0 a lower mean nll + KL."""
    monkeypatch.setattr(robustness, "changes", lambda *asked: {UNMODIFIED: changes(*asked)[UNMODIFIED]})
    checkpoint = tiny.saved(module, tmp_path / "last.ckpt")
    short = {"slots": ["--largest=2"], "draws": ["--number=1"]}.get(study, [])
    found = {}
    for draws in (1, 3):
        out = tmp_path / f"{draws}"
        assert main([study, checkpoint, str(shards), str(out), f"--test_draws={draws}", "--count=5", *short]) is None
        found[draws] = (out / f"{study}.csv").read_text()
    assert found[1] != found[3]
    if study == "refinement":
        best = by_steps(load_model(checkpoint, 3), load_scenes(str(shards), module, count=5), 0)
        rows = list(csv.DictReader(found[3].splitlines()))
        assert float(rows[0]["mse"]) == pytest.approx(best[0]["mse"])
        bounds = [
            [float(row["nll"]) + float(row["kl"]) for row in csv.DictReader(found[n].splitlines())] for n in (1, 3)
        ]
        assert all(better < plain for plain, better in zip(*bounds, strict=True))


def test_a_study_uses_the_draws_of_the_model_by_default(tmp_path):
    module = tiny.module(test_draws=4)
    checkpoint = tiny.saved(module, tmp_path / "last.ckpt")
    assert [load_model(checkpoint, draws).test_draws for draws in (None, 2)] == [4, 2]
