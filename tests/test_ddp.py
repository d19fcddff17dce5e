"""Two processes on the CPU compared with one: test scores, gradients and trained weights."""

import os
from functools import partial

import pytest
import torch
from pytorch_lightning import Callback
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ConstantLR

import tiny
import warm
from emorl.callbacks import AveragedWeights, RefinementCurriculum
from emorl.cli import build
from emorl.model import ImageNoise

pytestmark = pytest.mark.slow

STEPS = 4
BASELINES = ("slot_attention", "iodine")  # all of whose parameters have a part in every step
STRATEGY = "ddp_find_unused_parameters_true"


class Watch(Callback):
    """Keeps I and GECO's state after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        geco = pl_module.network.objective.geco
        self.seen.append([pl_module.refinement_steps, *(float(v) for v in (geco.step, geco.average, geco.zeta))])


def gradients(images):
    """Return the gradients of a batch of images, of which each process has its share."""
    rank, ranks = (distributed.get_rank(), 2) if distributed.is_initialized() else (0, 1)
    share = torch.arange(4).chunk(ranks)[rank]
    network = tiny.lively(tiny.network()).double()
    model = DistributedDataParallel(network, find_unused_parameters=True) if ranks > 1 else network
    inference = model(images[share], steps=2, noise=ImageNoise(share))
    inference.loss.backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def evaluated(shards, folder, **arguments):
    module = tiny.module(network=tiny.lively(tiny.network()))
    return tiny.trainer(folder, **arguments).test(module, tiny.data(shards), verbose=False)[0]


def trained(shards, folder, batch_size, **arguments):
    """Train on the same 4 scenes at every step, with I going down to 0; the first process's seed holds for all."""
    torch.manual_seed(distributed.get_rank() if distributed.is_initialized() else 0)
    watch, module = Watch(), tiny.module()
    callbacks = [RefinementCurriculum({0: 2, 1: 1, 2: 0}), watch]
    trainer = tiny.trainer(folder, callbacks=callbacks, max_steps=STEPS, limit_val_batches=0, **arguments)
    trainer.fit(module, tiny.data(shards, batch_size=batch_size))
    return {"seen": torch.tensor(watch.seen), "weights": [p.detach() for p in module.network.parameters()]}


def baseline(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny.lively(tiny.FAMILY[name]())


def steps(shards, folder, name, batch_size, **arguments):
    """Train a baseline for two steps on the same 4 scenes; return its weights."""
    settings = {"optimizer": partial(torch.optim.SGD, lr=1e-5), "scheduler": partial(ConstantLR, factor=1.0)}
    module = tiny.module(network=baseline(name), refinement_steps=2, **settings)
    torch.nn.init.constant_(module.noise_seed, 0)
    trainer = tiny.trainer(folder, max_steps=2, limit_val_batches=0, **arguments)
    trainer.fit(module, tiny.data(shards, batch_size=batch_size))
    return torch.cat([p.detach().flatten() for p in module.network.parameters()])


def commanded(shards, folder):
    """Train as ``emorl fit`` does, by a recipe that averages the weights; return the trained weights."""
    small = ("--model.image_size=16", *(f"--model.network.init_args.{name}=8" for name in ("slot_dim", "feature_dim")))
    trainer = ("devices=2", f"strategy={STRATEGY}", "accelerator=cpu", "logger=false", f"default_root_dir={folder}/run")
    options = (f"--data.root={shards}", *small, *(f"--trainer.{option}" for option in trainer))
    cli = build(["fit", "-c", "tetrominoes-fast", "-c", "smoke", *options])
    assert any(isinstance(callback, AveragedWeights) for callback in cli.trainer.callbacks)
    cli.run()
    return torch.cat([parameter.detach().flatten() for parameter in cli.model.parameters()])


def images():
    return torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def work(rank, four, shards, folder):
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": f"{rank}", "NODE_RANK": "0", "WORLD_SIZE": "2"}  # as a cluster's launcher does
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}  # not used: the group is there already
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    two = {"strategy": STRATEGY, "devices": 2}
    results = {
        "gradients": gradients(images()),
        "test": evaluated(shards, folder, **two),
        "train": trained(four, folder, 2, **two),
        **{name: steps(four, folder, name, 2, strategy="ddp", devices=2) for name in BASELINES},
        "command": commanded(shards, folder),
    }
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A data set of as many scenes as both processes take at a step."""
    return tiny.write(tmp_path_factory.mktemp("four"), train=4)


@pytest.fixture(scope="module")
def two(four, shards, tmp_path_factory):
    """The results of each of two processes."""
    folder = tmp_path_factory.mktemp("two")
    warm.ranks(work, four, shards, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_test_as_one_does(two, shards, tmp_path):
    alone = evaluated(shards, tmp_path)
    for results in two:
        assert results["test"] == pytest.approx(alone, rel=1e-9, abs=0)


def test_two_processes_have_the_gradients_of_one(two):
    alone = gradients(images())
    rounding = 1e-12 * max(gradient.abs().max().item() for gradient in alone.values())
    for results in two:
        assert results["gradients"].keys() == alone.keys()
        for name, gradient in results["gradients"].items():
            torch.testing.assert_close(gradient, alone[name], rtol=1e-9, atol=rounding)


def test_two_processes_anneal_refinement_away_without_waiting_for_each_other(two):
    for results in two:
        assert results["train"]["seen"][:, :2].tolist() == [[2, 1], [1, 2], [0, 3], [0, 4]]


def test_two_processes_stay_equal_bit_for_bit(two):
    first, second = (results["train"] for results in two)
    assert torch.equal(first["seen"], second["seen"])
    assert all(torch.equal(*pair) for pair in zip(first["weights"], second["weights"], strict=True))


def test_geco_of_two_processes_is_that_of_one(two, four, tmp_path):
    alone = trained(four, tmp_path, batch_size=4)["seen"]
    assert alone[-1, 3] > 1
    torch.testing.assert_close(two[0]["train"]["seen"], alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", BASELINES)
def test_two_processes_train_the_baselines_as_one_does(two, four, tmp_path, name):
    start = torch.cat([p.detach().flatten() for p in baseline(name).parameters()])
    moved = steps(four, tmp_path, name, batch_size=4) - start
    assert moved.norm() > 1e-4
    for results in two:
        assert (results[name] - start - moved).norm() < 1e-3 * moved.norm()


def test_two_processes_train_by_a_recipe_that_averages_weights(two):
    assert torch.equal(two[0]["command"], two[1]["command"])
    assert two[0]["command"].isfinite().all()
