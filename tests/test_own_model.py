"""The commands with the example of a custom model; `test_family` has those with the models of the package."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from emorl.pretrained import load_pretrained

ROOT = Path(__file__).parents[1]
QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


@pytest.fixture
def last(shards, emorl, tmp_path, monkeypatch):
    """The last checkpoint of a training of four steps in an empty folder; the example is importable."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    configs = [f"--config={ROOT / 'configs' / name}.yaml" for name in ("base", "overlays/smoke")]
    network = ("--model.network=own_model.SoftKMeans", "--model.network.slot_dim=8")
    emorl("fit", *configs, *network, f"--data.root={shards}", *QUIET)
    return Path("runs/version_0/checkpoints/last.ckpt")


def test_it_trains_validates_tests_and_predicts(last, shards, emorl, capsys):
    assert torch.load(last)["global_step"] == 4
    common = (f"--ckpt_path={last}", f"--data.root={shards}", *QUIET)
    emorl("test", *common, "--output_dir=tested")
    scores = json.loads(Path("tested/metrics.json").read_text())
    assert scores.keys() == {"I=3"}
    assert {"fg_ari", "mse"} <= scores["I=3"].keys()
    assert not {"nll", "kl"} & scores["I=3"].keys()
    emorl("validate", *common)
    assert "val/fg_ari" in capsys.readouterr().out
    emorl("predict", *common, "--output_dir=predicted")
    arrays = [path for path in Path("predicted").iterdir() if path.suffix == ".npz"]
    assert len(arrays) == 5
    with np.load(arrays[0]) as found:
        assert found["slots"].shape == (4, 8)
        assert found["masks"].sum(axis=0) == pytest.approx(1, abs=1e-5)


def test_its_run_resumes_from_its_configuration(last, emorl):
    config = "runs/version_0/config.yaml"
    emorl("fit", "-c", config, f"--ckpt_path={last}", "--trainer.max_steps=6", "--trainer.logger.version=0")
    assert torch.load(last)["global_step"] == 6
    assert yaml.safe_load(Path(config).read_text())["model"]["network"]["init_args"]["slot_dim"] == 8


def test_its_weights_start_another_run(last, shards, emorl):
    emorl(
        "fit",
        f"--pretrained={last}",
        "--trainer.max_steps=1",
        "--model.optimizer.init_args.lr=0",
        f"--data.root={shards}",
        "--data.batch_size=2",
        *QUIET,
    )
    first, model = torch.load(last)["state_dict"], load_pretrained(str(last)).network
    assert model.slot_dim == 8
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[f"network.{name}"]), name


def test_the_recipe_of_the_example_is_one(build, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT / "examples")
    configs = [f"--config={name}.yaml" for name in ("configs/base", "examples/own_model")]
    cli = build("fit", *configs, "--trainer.logger=false", *QUIET)
    assert type(cli.model.network).__name__ == "SoftKMeans"
    assert (cli.model.refinement_steps, cli.model.test_refinement_steps) == (3, 3)
