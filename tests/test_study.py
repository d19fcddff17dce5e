import csv
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from emorl import study
from emorl.study import Run, main, scores_of, table

CONFIGS = Path(__file__).parents[1] / "configs"
SMOKE = [f"--config={CONFIGS / name}.yaml" for name in ("base", "demo", "smoke")]

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def finished(folder, case, seed, mean):
    run = Run(case, (), seed, folder / case / f"seed_{seed}")
    run.folder.mkdir(parents=True)
    run.scores.write_text(json.dumps({"I=0": {"fg_ari": {"mean": mean, "standard_error": 0.0, "images": 2}}}))
    return run


def test_the_table_has_mean_and_spread_over_seeds_and_lists_failures(tmp_path):
    runs = [finished(tmp_path, "a", seed, mean) for seed, mean in enumerate((0.5, 0.7, None))]
    runs += [Run("a", (), 3, tmp_path / "a" / "seed_3"), finished(tmp_path, "b", 0, 0.25)]
    assert scores_of(runs[:4]) == {("I=0", "fg_ari"): [0.5, 0.7]}
    first, second = table(runs, failed=[runs[3]])
    assert (first["case"], first["I"], first["score"], first["runs"], first["failed"]) == ("a", "0", "fg_ari", 2, "3")
    assert first["mean"] == pytest.approx(0.6)
    assert first["standard deviation"] == pytest.approx(0.1 * 2**0.5)
    assert (second["case"], second["mean"], second["failed"]) == ("b", 0.25, "")


def test_a_run_trains_from_its_last_checkpoint(tmp_path):
    run = Run("a", ("--x=1",), 5, tmp_path / "a" / "seed_5")
    fit, test = run.commands()
    assert not any(option.startswith("--ckpt_path") for option in fit)
    assert fit[:2] == ["fit", "--x=1"]
    last = run.folder / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    fit, test = run.commands()
    assert f"--ckpt_path={last}" in fit
    assert f"--ckpt_path={last}" in test


def test_a_study_trains_tests_and_goes_on_after_a_failure(tmp_path, shards, capsys):
    cases = tmp_path / "cases.yaml"
    good = [*SMOKE, f"--data.root={shards}", "--trainer.accelerator=cpu"]
    cases.write_text(yaml.safe_dump({"bad": ["--model.network.num_slots=two"], "good": []}))
    assert main([str(cases), str(tmp_path / "out"), "--seeds=1", f"--options={good}"]) == 1
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"good"}
    assert {row["score"] for row in rows} >= {"fg_ari", "mse"}
    assert (tmp_path / "out" / "scores.md").read_text().count("\n") == len(rows) + 2
    assert Image.open(tmp_path / "out" / "curves.png").format == "PNG"
    assert "num_slots" in (tmp_path / "out" / "bad" / "seed_0" / "log.txt").read_text()
    assert "log.txt tells why" in capsys.readouterr().out


def test_a_finished_run_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(study.subprocess, "run", lambda *_, **__: pytest.fail("ran"))
    assert finished(tmp_path, "a", 0, 0.5).finish()


@pytest.mark.parametrize("content", ["- a", "a: b", "", "{"])
def test_cases_that_are_none_are_refused(tmp_path, content, capsys):
    (tmp_path / "cases.yaml").write_text(content)
    assert main([str(tmp_path / "cases.yaml"), str(tmp_path / "out")]) == 2
    assert "emorl-study: error:" in capsys.readouterr().err
