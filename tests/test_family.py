"""Every part of the package works with every model of the family."""

import csv
import json
import shutil

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

import tiny
from emorl.entry import main
from emorl.pretrained import load_pretrained

pytestmark = [
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory|The dirpath has changed|The '.*_dataloader' does not have"),
]

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_model_summary=false")
NETWORKS = {
    "efficient_morl": ("EfficientMORL", "slot_dim=4", "feature_dim=4"),
    "slot_attention": ("SlotAttention", "slot_dim=4", "feature_dim=4", "hidden_dim=8"),
    "iodine": (
        "IODINE",
        "slot_dim=4",
        "decoder=IodinePixelDecoder",
        "decoder.init_args.channels=4",
        "refinement=IodineRefinement",
        "refinement.init_args.channels=4",
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def finished(request, shards, tmp_path_factory):
    """A folder with a run of two steps of a model, for tests to copy; the model's name, and options for data."""
    network, *sizes = NETWORKS[request.param]
    options = (f"--data.root={shards}", "--data.num_workers=0", "--trainer.num_sanity_val_steps=0", *QUIET)
    base = f"-c={tiny.CONFIGS / 'base.yaml'}"
    model = (f"--model.network={network}", *(f"--model.network.{size}" for size in sizes))
    length = (
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.log_every_n_steps=1",
        "--model.image_size=16",
    )
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PL_GLOBAL_SEED", "0")
        patch.setenv("PL_SEED_WORKERS", "0")
        main(["fit", base, *model, "--data.batch_size=2", *length, *options])
    return folder, request.param, options


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A run in the current folder; the name of its model, and options for data."""
    folder, name, options = finished
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return name, options


def test_a_run_leaves_curves_pictures_and_a_checkpoint(run, tmp_path):
    folder = tmp_path / "runs/version_0"
    with (folder / "metrics.csv").open(newline="") as stream:
        logged = set(next(csv.reader(stream)))
    assert {"train/loss", "train/grad_norm", "val/fg_ari", "val/mse", "time/minutes"} <= logged
    assert ("val/zero_step/fg_ari" in logged) == (run[0] == "efficient_morl")
    assert ("train/nll" in logged) == (run[0] != "slot_attention")
    assert list((folder / "pictures").glob("*_stage_*.png"))
    assert (folder / "checkpoints/last.ckpt").exists()


def test_a_checkpoint_is_tested_decomposes_images_and_starts_another_run(run, tmp_path, emorl):
    _, options = run
    last, nowhere = "runs/version_0/checkpoints/last.ckpt", "--trainer.logger=false"
    emorl("test", f"--ckpt_path={last}", *options, nowhere, "--output_dir=out")
    (column, *_) = json.loads((tmp_path / "out/metrics.json").read_text()).values()
    assert column["fg_ari"]["images"] == 5
    emorl("predict", f"--ckpt_path={last}", *options, nowhere, "--output_dir=predictions")
    assert len(list((tmp_path / "predictions").glob("*.npz"))) == 5
    emorl(
        "fit",
        f"--pretrained={last}",
        *options,
        "--data.batch_size=2",
        "--trainer.max_steps=1",
        "--trainer.limit_val_batches=0",
        nowhere,
    )
    model = load_pretrained(last)
    found = model.reconstruct(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert found.reconstruction.shape == (1, 3, 16, 16)


def test_a_run_resumes_from_its_own_configuration(run, tmp_path, emorl):
    last = "runs/version_0/checkpoints/last.ckpt"
    emorl("fit", "-c=runs/version_0/config.yaml", f"--ckpt_path={last}", "--trainer.max_steps=3", *QUIET)
    assert torch.load(tmp_path / last)["global_step"] == 3  # in the run's own folder


def trained(name, shards, folder, steps, resume=None):
    torch.manual_seed(steps)  # of no consequence to what is resumed
    module = tiny.module(network=tiny.FAMILY[name](), refinement_steps=2)
    every = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = tiny.trainer(folder, max_steps=steps, callbacks=every, enable_checkpointing=True, limit_val_batches=0)
    trainer.fit(module, tiny.data(shards), ckpt_path=resume)
    return module.state_dict()


@pytest.mark.parametrize("name", tiny.FAMILY)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(name, shards, tmp_path):
    whole = trained(name, shards, tmp_path / "whole", 4)
    resumed = trained(name, shards, tmp_path / "resumed", 4, tmp_path / "whole/step=2.ckpt")
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []
