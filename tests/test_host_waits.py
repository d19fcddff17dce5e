"""A training step and an inference ask the device for nothing; see docs/engine.md."""

from contextlib import suppress

import pytest
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import SingleDeviceStrategy

import emorl.finite
import tiny
from emorl.callbacks import AveragedWeights, Clock, ProgressBar, RefinementCurriculum
from emorl.model import BatchMeanGradient, Geco, ImageNoise, PosteriorMeans
from emorl.model.draws import best_of
from emorl.module import SlotModule
from waits import waits

pytestmark = pytest.mark.usefixtures("unchecked")  # as in training, where nothing checks shapes

CASES = {  # kind of model, whether with GECO, further arguments, steps
    "EfficientMORL, I = 0": ("efficient_morl", True, {}, 0),
    "EfficientMORL, I = 2": ("efficient_morl", True, {}, 2),
    "EfficientMORL in groups": ("efficient_morl", False, {"decode_chunk": 1}, 1),
    "Slot Attention": ("slot_attention", False, {}, 3),
    "IODINE": ("iodine", False, {}, 2),
    "IODINE, the authors' gradient": ("iodine", False, {"gradient": BatchMeanGradient}, 2),
}


@pytest.fixture(params=CASES)
def case(request):
    """Return a network and its steps."""
    name, geco, arguments, steps = CASES[request.param]
    return tiny.FAMILY[name](**arguments | ({"geco": Geco("auto", warm_start=1)} if geco else {})), steps


READS = {
    "item": lambda x, _: x[0].item(),
    "tolist": lambda x, _: x.tolist(),
    "if": lambda x, _: bool((x > 0).all()),
    "to the CPU": lambda x, _: x.cpu(),
    "to the CPU without waiting": lambda x, _: x.to("cpu", non_blocking=True),  # of which one must know when it is done
    "copied to the CPU": lambda x, host: host.copy_(x),
    "to the device": lambda x, host: host.to(x.device),
    "copied to the device": lambda x, host: x.copy_(host),
    "a number": lambda x, _: torch.tensor(1.0, device=x.device),
    "like": lambda x, _: x.new_tensor(1.0),
    "mask": lambda x, _: x[x > 0],
    "nonzero": lambda x, _: x.nonzero(),
    "unique": lambda x, _: x.unique(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_waiting_is_seen(read):
    with waits("meta") as found, suppress(RuntimeError, NotImplementedError):  # of meta, which has no values
        read(torch.zeros(3, device="meta"), torch.ones(3))
    assert sum(found.values()) == 1
    assert __file__ in next(iter(found))


def test_what_does_not_wait_passes():
    with waits("meta") as found:
        x = torch.ones(3).to("meta", non_blocking=True)
        x = x[torch.arange(2, device="meta")] + torch.full((), 3.0, device="meta")
        torch.where(x > 0, x, 1.0).masked_fill_(x < 0, 0)
    assert not found


def step(network, image, steps, noise):
    optimizer = torch.optim.Adam(network.parameters())
    network(image, steps, noise=noise).loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    network.end_step()


def infer(network, image, steps, noise):
    network.eval()
    draws = noise, PosteriorMeans(1)
    with torch.inference_mode():
        network.reconstruct(image.byte(), steps)  # which encodes with the draws of means
        best_of(2, lambda number: network(image, steps, noise=draws[number]), image)


@pytest.mark.parametrize("work", [step, infer])
def test_no_model_waits_for_its_device(case, work):
    network, steps = case
    network = network.to("meta")
    image, noise = torch.rand(3, 3, 12, 12, device="meta"), ImageNoise(torch.arange(3))
    with waits("meta") as found:
        work(network, image, steps, noise)
    assert not found


@pytest.mark.parametrize("work", ["loss", "infer"])
def test_no_model_reads_a_value(case, work):
    """On the CPU, where no operation does something else because values are not there."""
    network, steps = case
    image, noise = torch.rand(3, 3, 12, 12), ImageNoise(torch.arange(3))
    with waits("cpu") as found:
        if work == "loss":
            network(image, steps, noise=noise).loss.backward()
            network.end_step()
        else:
            infer(network, image, steps, noise)
    assert not found


class Meta(CPUAccelerator):
    """A device without values, on which a trainer can train all the same."""

    def setup_device(self, device):
        """Take any device."""


@pytest.mark.parametrize("case", ["EfficientMORL, I = 2", "Slot Attention"], indirect=True)
def test_a_trainer_asks_for_one_answer_a_step(case, tmp_path, monkeypatch):
    network, steps = case
    answers = []  # what the host would wait for, but a step later

    def fetched(flags):
        assert flags.is_meta
        answers.append(flags)
        return lambda: [True] * len(flags)

    monkeypatch.setattr(emorl.finite, "_fetched", fetched)
    module = tiny.module(network=network, refinement_steps=steps)
    seed = module.noise_seed
    del module.noise_seed
    module.to("meta").noise_seed = seed  # which is read once, at the first step
    trainer = tiny.trainer(
        tmp_path,
        accelerator=Meta(),
        strategy=SingleDeviceStrategy(torch.device("meta")),
        max_steps=2,
        accumulate_grad_batches=2,
        gradient_clip_val=5.0,
        limit_val_batches=0,
        log_every_n_steps=100,
        logger=CSVLogger(tmp_path),
        enable_progress_bar=True,
        callbacks=[Clock(), ProgressBar(minutes=9.0), RefinementCurriculum({0: steps}), AveragedWeights()],
    )
    monkeypatch.setattr(trainer, "_teardown", trainer._signal_connector.teardown)  # else it moves all to the CPU
    images = torch.randint(0, 256, (4, 2, 3, 12, 12), dtype=torch.uint8)
    with waits("meta") as found:
        trainer.fit(module, iter([{"image": image, "index": torch.arange(2)} for image in images]), [])
    assert not found
    assert len(answers) == trainer.global_step == 2


@pytest.mark.parametrize("hook", ["on_before_batch_transfer", "on_after_batch_transfer"])
def test_indices_follow_images_that_a_hook_reorders(hook, tmp_path):
    class Seen(SlotModule):
        def training_step(self, batch, batch_idx):
            self.seen = batch["index"].tolist()
            return super().training_step(batch, batch_idx)

    def reverse(self, batch, dataloader_idx):
        return {name: value.flip(0) for name, value in batch.items()}

    batch = {"image": torch.zeros(2, 3, 35, 35, dtype=torch.uint8), "index": torch.arange(2)}
    for cls, seen in ((Seen, [0, 1]), (type("Reversed", (Seen,), {hook: reverse}), [1, 0])):
        module = tiny.module(cls)
        tiny.trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, iter([batch]), [])
        assert module.seen == seen
