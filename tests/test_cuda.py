"""On a GPU models compute what they do on the CPU, and training repeats itself, resumes exactly and never waits."""

import os

import pytest
import torch
from pytorch_lightning import Callback

import tiny
from emorl.callbacks import AveragedWeights, Clock
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.model import Geco, ImageNoise
from emorl.optim import Muon
from emorl.pretrained import load_pretrained

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("default")]  # torch warns that its check of waits is new

PRECISIONS = {  # dtype, whether with autocast to bfloat16, allowed distance from the CPU's float64, relative
    "float64": (torch.float64, False, 1e-9),
    "float32": (torch.float32, False, 0.03),  # on a GPU convolutions are in TF32 by default
    "bf16": (torch.float32, True, 0.2),
}
STEPS = {"efficient_morl": 1, "slot_attention": 3, "iodine": 2}


@pytest.fixture(scope="module")
def device():
    """Return the device that ``EMORL_TEST_DEVICE`` names; by default a GPU, and without one the test is skipped."""
    name = os.environ.get("EMORL_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else None)
    if name is None:
        pytest.skip("needs a GPU, and CUDA_VISIBLE_DEVICES=0 to show it; EMORL_TEST_DEVICE=cpu tries the test without")
    return torch.device(name)


@pytest.fixture
def deterministic():
    """Let torch choose deterministic algorithms, and refuse operations that have none."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def network():
    """Return a function that builds a small model by name, always with the same weights."""

    def build(name, **arguments):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return tiny.lively(tiny.FAMILY[name](**arguments))

    return build


def computed(network, steps, device, dtype, bf16):
    """Return slots, loss and gradients by name, on the CPU in float64."""
    network = network.to(device, dtype)
    image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        inference = network(image, steps, noise=ImageNoise(torch.arange(3)))
    inference.loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    values = {"slots": inference.stages[-1].slots, "loss": inference.loss} | gradients
    return {name: value.detach().cpu().double() for name, value in values.items()}


@pytest.mark.parametrize(("dtype", "bf16", "allowed"), PRECISIONS.values(), ids=PRECISIONS.keys())
@pytest.mark.parametrize("name", STEPS)
def test_slots_loss_and_gradients_are_those_of_the_cpu(name, dtype, bf16, allowed, network, device):
    expected = computed(network(name), STEPS[name], torch.device("cpu"), torch.float64, bf16=False)
    found = computed(network(name), STEPS[name], device, dtype, bf16)
    assert found.keys() == expected.keys()
    slots, loss, *gradients = expected
    for part in ([slots], [loss], gradients):  # some gradients are zero but for rounding
        ours, theirs = (torch.cat([values[name].flatten() for name in part]) for values in (found, expected))
        assert (ours - theirs).norm() <= allowed * theirs.norm(), part


def test_shipped_weights_find_the_same_objects(device):
    images = torch.stack([torch.from_numpy(scene.image) for scene in Tetrominoes(4).records()]).permute(0, 3, 1, 2)
    on_cpu, on_device = load_pretrained("tetrominoes"), load_pretrained("tetrominoes").to(device)
    expected, found = on_cpu.reconstruct(images), on_device.reconstruct(images.to(device))
    assert found.masks.device.type == device.type
    assert (found.masks.cpu() - expected.masks).abs().mean() < 0.01


def train(folder, shards, device, steps, resume=None, seed=0):
    """Train a small module with the recipes' optimizer; return the path of its last checkpoint."""
    torch.manual_seed(seed)
    trainer = tiny.trainer(folder, accelerator=device.type, devices=1, max_steps=steps, limit_val_batches=0)
    trainer.fit(tiny.module(optimizer=Muon), tiny.data(shards), ckpt_path=resume)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return folder / f"{steps}.ckpt"


@pytest.mark.parametrize("stop", [0, 2], ids=["repeated", "resumed"])
def test_a_training_is_the_same_bit_for_bit(stop, shards, tmp_path, device, deterministic):
    whole = train(tmp_path, shards, device, steps=4).rename(tmp_path / "whole.ckpt")
    start = train(tmp_path, shards, device, steps=stop) if stop else None
    again = train(tmp_path, shards, device, steps=4, resume=start, seed=1 if stop else 0)
    expected, found = (torch.load(path, map_location="cpu") for path in (whole, again))
    states = [(each["state_dict"], each["optimizer_states"][0]["state"]) for each in (found, expected)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def set_waits(mode, device):
    """Make a wait of the host for a GPU an "error", or allow it by "default"."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)


class NoWaits(Callback):
    """Makes each wait within a training step an error, from the third step on."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        set_waits("error" if trainer.global_step >= 2 else "default", pl_module.device)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        set_waits("default", pl_module.device)


@pytest.mark.parametrize("name", STEPS)
def test_a_training_step_does_not_wait(name, network, shards, tmp_path, device):
    """But for one copy, that of the step before, for whose arrival an event waits: torch does not count that."""
    geco = {"geco": Geco("auto", warm_start=1)} if name == "efficient_morl" else {}
    module = tiny.module(network=network(name, **geco), refinement_steps=STEPS[name], optimizer=Muon)
    trainer = tiny.trainer(
        tmp_path,
        accelerator=device.type,
        devices=1,
        max_steps=5,
        limit_val_batches=0,
        gradient_clip_val=5.0,
        log_every_n_steps=100,
        callbacks=[Clock(), AveragedWeights(), NoWaits()],
    )
    try:
        trainer.fit(module, tiny.data(shards))
    finally:
        set_waits("default", device)
    assert trainer.global_step == 5


def test_a_wait_is_an_error(device):
    if device.type == "cpu":
        pytest.skip("torch sees waits only for a GPU")
    set_waits("error", device)
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            torch.ones(1, device=device).item()
    finally:
        set_waits("default", device)
