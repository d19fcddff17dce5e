"""The LightningModule, with the defaults of a trainer."""

import math
from contextlib import nullcontext
from functools import partial
from unittest.mock import Mock

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from torch.optim import SGD

import tiny
from emorl.callbacks import CollapseAlarm
from emorl.checks import check_surroundings
from emorl.errors import DataError
from emorl.model import (
    EfficientMORL,
    FourierPosition,
    GaussianLikelihood,
    Geco,
    MixtureLikelihood,
    PlainGRU,
    PosteriorMeans,
    SmallDecoder,
    gaussian_noise,
    scale,
)
from emorl.model.describe import describe
from emorl.module import Prediction, SlotModule
from emorl.optim import WarmupExponentialDecay

# Lightning's advice that small, quiet runs do not need.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


class Watch(SlotModule):
    """Keeps the last stage's mean nll of every training batch, and what GECO is told."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.nll, self.told = [], []
        self.network.objective.geco.update = lambda nll, dims: self.told.append((nll.item(), dims))

    def forward(self, *args):
        inference = super().forward(*args)
        self.nll.append(inference.stages[-1].nll.mean().item())
        return inference


class Spoil(Callback):
    """Puts a NaN somewhere before the batch of one step."""

    def __init__(self, step, spoil):
        self.step, self.spoil = step, spoil

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.spoil(pl_module.network)


def scores(module, data, folder, **arguments):
    return tiny.trainer(folder, **arguments).test(module, data, verbose=False)[0]


def test_trainer_defaults_fit_validate_test_and_predict(shards, tmp_path):
    module, data = tiny.module(refinement_steps=2, test_refinement_steps=2), tiny.data(shards)
    Trainer(max_epochs=1, default_root_dir=tmp_path).fit(module, data)
    trainer = Trainer(default_root_dir=tmp_path, logger=False, enable_progress_bar=False)
    (validation,) = trainer.validate(module, data, verbose=False)
    (test,) = trainer.test(module, data, verbose=False)
    overlaps = ("fg_ari", "ari", "fg_miou", "miou", "fg_mbo", "fg_covering", "active_slots")
    names = {f"{stage}{name}" for stage in ("", "zero_step/") for name in (*overlaps, "mse", "nll", "kl")}
    names |= {f"kl_layers/{layer}" for layer in (1, 2, 3)}
    assert validation.keys() == {f"val/{name}" for name in names}
    assert test.keys() == {f"test/{name}" for name in names}
    total = sum(test[f"test/kl_layers/{layer}"] for layer in (1, 2, 3))
    assert test["test/zero_step/kl"] == pytest.approx(total)
    assert all(map(math.isfinite, [*validation.values(), *test.values()]))
    assert test["test/nll"] != test["test/zero_step/nll"]
    predictions = trainer.predict(module, data)
    assert all(isinstance(prediction, Prediction) for prediction in predictions)
    assert [key for prediction in predictions for key in prediction.key] == [f"test-{i:08d}" for i in range(5)]


def test_what_follows_a_failure_starts_empty(shards, tmp_path):
    """In a notebook, the module and the callbacks of a run that was stopped are used again."""
    hooks = {"validate": "on_validation_batch_end", "test": "on_test_batch_end", "fit": "on_after_backward"}

    def build():
        torch.manual_seed(0)
        return tiny.module(network=tiny.network(geco=Geco(-1.0, warm_start=0))), CollapseAlarm()

    def run(module, alarm, failing):
        found = {}
        for method, hook in hooks.items():
            fail = LambdaCallback(**{hook: Mock(side_effect=RuntimeError("a bad image") if failing else None)})
            trainer = tiny.trainer(tmp_path, callbacks=[alarm, fail], max_steps=1, limit_val_batches=1)
            data = tiny.data(shards, batch_size=3 if failing else 2)
            module.train()  # Lightning leaves it as the failure found it, with a warning
            with pytest.raises(RuntimeError, match="a bad image") if failing else nullcontext():
                getattr(trainer, method)(module, data, **({} if method == "fit" else {"verbose": False}))
            found |= trainer.callback_metrics
        return found | {"geco": module.network.objective.geco.average}

    again, fresh = build(), build()
    run(*again, failing=True)
    assert run(*again, failing=False) == run(*fresh, failing=False)


def test_refinement_in_prediction_follows_its_gradients(shards, tmp_path):
    """What inference mode gives is what the network gives outside of it."""
    module = tiny.module(network=tiny.lively(tiny.network()), test_refinement_steps=2)
    trainer = tiny.trainer(tmp_path)
    (prediction, *_) = trainer.predict(module, tiny.data(shards))
    (batch, *_) = trainer.predict_dataloaders
    outside = module.eval().predict_step(batch, 0)
    assert not any(tensor.is_inference() for tensor in outside[1:])
    for name in Prediction._fields[1:]:
        torch.testing.assert_close(getattr(prediction, name), getattr(outside, name).detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("accumulate", "groups"), [(1, [1] * 6), (4, [4, 2])])
def test_geco_hears_once_a_step_the_mean_over_accumulated_batches(shards, tmp_path, accumulate, groups):
    module = tiny.module(Watch)
    trainer = tiny.trainer(tmp_path, max_epochs=1, accumulate_grad_batches=accumulate, limit_val_batches=0)
    trainer.fit(module, tiny.data(shards))
    assert trainer.global_step == len(groups)
    parts = torch.tensor(module.nll).split(groups)
    assert [nll for nll, _ in module.told] == pytest.approx([part.mean().item() for part in parts])
    assert {dims for _, dims in module.told} == {3 * 35**2}


def test_geco_hears_of_the_images_that_there_are(shards, tmp_path):
    module = tiny.module(Watch, image_size=20)
    data = tiny.loaded(shards)
    tiny.trainer(tmp_path, max_steps=1).fit(module, data.train_dataloader(), data.val_dataloader())
    assert [dims for _, dims in module.told] == [3 * 35**2]


def test_data_of_another_size_are_refused(shards, tmp_path):
    with pytest.raises(MisconfigurationException, match="the model's image_size, 20, got 35"):
        tiny.trainer(tmp_path).test(tiny.module(image_size=20), tiny.data(shards))


def test_images_are_8_bit_or_in_the_unit_range():
    module, image = tiny.module(), torch.randint(0, 256, (2, 3, 35, 35), dtype=torch.uint8)
    with torch.no_grad():
        slots = [module(x, 0, PosteriorMeans()).stages[0].slots for x in (image, image / 255)]
    assert torch.equal(*slots)
    with pytest.raises(ValueError, match=r"Expected 8-bit images, or float images in \[0, 1\]"):
        module(image.float(), 0, gaussian_noise)


class Draws(SlotModule):
    """Keeps the seed and the step of each batch's noise."""

    def forward(self, image, steps, noise):
        self.drawn = [*getattr(self, "drawn", []), (noise.seed, noise.step)]
        return super().forward(image, steps, noise)


def test_every_step_draws_anew_and_every_validation_alike(shards, tmp_path):
    module = tiny.module(Draws)
    seed = int(module.noise_seed)
    trainer = tiny.trainer(tmp_path, max_steps=3, val_check_interval=3, limit_val_batches=1)
    trainer.fit(module, tiny.data(shards))
    assert module.drawn == [(seed, 0), (seed, 1), (seed, 2), (0, -1)]


class Stages(SlotModule):
    """Keeps what a training step infers."""

    def forward(self, *args):
        inference = super().forward(*args)
        self.first, self.last = inference.stages[0], inference.stages[-1]
        return inference


def test_what_is_logged_of_a_training_step_is_that_of_its_stages(shards, tmp_path):
    module = tiny.module(Stages, network=tiny.lively(tiny.network()))
    trainer = tiny.trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, tiny.data(shards))
    for prefix, stage in (("train/", module.last), ("train/zero_step/", module.first)):
        for name in ("nll", "kl"):
            assert trainer.callback_metrics[prefix + name] == getattr(stage, name).mean(), prefix + name
    assert module.first.nll.mean() != module.last.nll.mean()
    assert module.first.kl.mean() != module.last.kl.mean()


def test_geco_enters_the_loss_after_its_warm_start(shards, tmp_path):
    module = tiny.module()
    tiny.trainer(tmp_path, max_steps=4, limit_val_batches=0).fit(module, tiny.data(shards))
    geco = module.network.objective.geco
    assert geco.step == 4
    assert geco.zeta > 0.55
    assert geco.average < 0


def test_the_same_seed_trains_the_same_weights(shards, tmp_path):
    def trained(seed):
        torch.manual_seed(seed)
        module = tiny.module()
        tiny.trainer(tmp_path, max_steps=3, limit_val_batches=0).fit(module, tiny.data(shards))
        return torch.cat([parameter.flatten() for parameter in module.parameters()])

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_the_gradient_norm_is_that_before_clipping(shards, tmp_path):
    norms = []

    class Norm(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            gradients = [p.grad.flatten() for p in pl_module.network.parameters() if p.grad is not None]
            norms.append(torch.cat(gradients).norm().item())

    trainer = tiny.trainer(tmp_path, max_steps=1, gradient_clip_val=1e-3, callbacks=Norm(), limit_val_batches=0)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert trainer.callback_metrics["train/grad_norm"].item() == pytest.approx(norms[0], rel=1e-5)
    assert norms[0] > 1e-3


def nan_weight(network):
    with torch.no_grad():
        network.encoder.convolutions[0].weight[0, 0, 0, 0] = torch.nan


def nan_gradient(network):
    network.prior.conditional.mean.bias.register_hook(lambda gradient: gradient * torch.nan)


@pytest.mark.parametrize(
    ("spoil", "terms"),
    [(nan_weight, "loss, nll, kl"), (nan_gradient, r"gradient of prior\.conditional\.mean\.bias")],
)
def test_a_nan_stops_training_by_name_before_the_step(shards, tmp_path, spoil, terms):
    module = tiny.module()
    trainer = tiny.trainer(tmp_path, max_steps=5, callbacks=Spoil(2, spoil), limit_val_batches=0)
    with pytest.raises(
        FloatingPointError, match=rf"at step 2 these are not: {terms}\. Start a new run from the last checkpoint"
    ):
        trainer.fit(module, tiny.data(shards))
    assert trainer.global_step == 2
    assert all(parameter.isfinite().all() for parameter in module.network.decoder.parameters())


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_too_few_slots_for_the_data(shards, tmp_path, stage):
    module = tiny.module(network=tiny.network(num_slots=3))
    with pytest.raises(DataError, match=r"expected scenes for K = 3 slots, got .* 3 objects .*; set num_slots to 4"):
        getattr(tiny.trainer(tmp_path), stage)(module, datamodule=tiny.data(shards))


@pytest.mark.parametrize(("stage", "limit"), [("validate", "val"), ("test", "test"), ("predict", "predict")])
def test_a_stage_without_batches_is_refused(shards, tmp_path, stage, limit):
    trainer = tiny.trainer(tmp_path, **{f"limit_{limit}_batches": 0})
    with pytest.raises(MisconfigurationException, match=f"nothing to {stage}: limit_{limit}_batches is 0; raise"):
        getattr(trainer, stage)(tiny.module(), datamodule=tiny.data(shards))


def with_strategy(strategy):
    module = tiny.module()
    module.trainer = Trainer(strategy=strategy, accelerator="cpu", devices=1, logger=False)
    return module


def test_plain_data_parallelism_is_refused_in_training():
    with pytest.raises(
        MisconfigurationException, match=r"allows unused parameters, .* 'ddp_find_unused_parameters_true'"
    ):
        with_strategy("ddp").setup("fit")


@pytest.mark.parametrize(
    ("strategy", "stage"), [("ddp_find_unused_parameters_true", "fit"), ("ddp", "test"), ("auto", "fit")]
)
def test_other_strategies_are_fine(strategy, stage):
    with_strategy(strategy).setup(stage)


@pytest.mark.parametrize("interval", ["00:00:00:30", {"seconds": 30}])
def test_validation_at_an_interval_of_time(interval, tmp_path):
    check_surroundings(tiny.network(), 35, [1], tiny.trainer(tmp_path, val_check_interval=interval), "fit")


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "bf16-true"])
def test_precisions_that_cannot_train_are_refused_in_training(precision, monkeypatch):
    module = with_strategy("auto")
    monkeypatch.setattr(Trainer, "precision", precision)
    with pytest.raises(MisconfigurationException, match=rf"got '{precision}', .* 'bf16-mixed' or '32-true'"):
        module.setup("fit")
    module.setup("test")


def test_a_device_without_float64_is_refused(monkeypatch):
    module = with_strategy("auto")
    monkeypatch.setattr(type(module.trainer.strategy), "root_device", torch.device("mps"))
    with pytest.raises(MisconfigurationException, match=r"got mps\. Set the trainer's accelerator to 'cpu'"):
        module.setup("predict")


UNUSUAL = {
    "num_slots": 5,
    "num_layers": 2,
    "position": partial(FourierPosition, frequencies=2),
    "cell": PlainGRU,
    "decoder": partial(SmallDecoder, position=FourierPosition),
    "likelihood": partial(MixtureLikelihood, scale=0.2),
    "kl_weight": 0.5,
}


def unusual(**arguments):
    network = tiny.network(**UNUSUAL, geco=Geco(target=-1.5, warm_start=7))
    return SlotModule(network, image_size=20, crop="center", test_refinement_steps=2, **arguments)


def assert_same_module(ours, theirs):
    assert str(ours) == str(theirs)
    assert ours.network.likelihood.scale == theirs.network.likelihood.scale
    for name in ("image_size", "crop", "refinement_steps", "test_refinement_steps"):
        assert getattr(ours, name) == getattr(theirs, name)
    state = theirs.state_dict()
    assert ours.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


def test_a_checkpoint_rebuilds_what_python_built(tmp_path):
    module = unusual()
    loaded = SlotModule.load_from_checkpoint(tiny.saved(module, tmp_path / "a.ckpt"))
    assert_same_module(loaded, module)
    assert isinstance(loaded.network.bottom_up.cell, PlainGRU)
    assert loaded.network.encoder.position.code.channels == 12
    assert loaded.network.decoder.position.code.channels == 20
    assert loaded.network.objective.geco.target == -1.5
    assert loaded.network.objective.kl_weight == 0.5


def test_a_rebuilt_module_saves_and_loads_again(tmp_path):
    module = unusual()
    once = SlotModule.load_from_checkpoint(tiny.saved(module, tmp_path / "a.ckpt"))
    assert_same_module(SlotModule.load_from_checkpoint(tiny.saved(once, tmp_path / "b.ckpt")), module)


@pytest.mark.parametrize(("likelihood", "scale"), [(MixtureLikelihood, 0.1), (partial(MixtureLikelihood, 0.2), 0.2)])
def test_a_checkpoint_keeps_defaults_and_positional_arguments(tmp_path, likelihood, scale):
    module = tiny.module(network=tiny.network(likelihood=likelihood))
    loaded = SlotModule.load_from_checkpoint(tiny.saved(module, tmp_path / "a.ckpt"))
    assert loaded.network.likelihood.scale == scale


def test_a_checkpoint_rebuilds_the_default_network(tmp_path):
    module = SlotModule()
    assert_same_module(SlotModule.load_from_checkpoint(tiny.saved(module, tmp_path / "a.ckpt")), module)


def test_a_checkpoint_rebuilds_optimizer_and_scheduler_time_and_again(tmp_path):
    module = tiny.module(optimizer=partial(SGD, lr=0.5), scheduler=partial(WarmupExponentialDecay, warmup_steps=5))
    for name in ("a.ckpt", "b.ckpt"):
        module = SlotModule.load_from_checkpoint(tiny.saved(module, tmp_path / name))
        configured = module.configure_optimizers()
        assert isinstance(configured["optimizer"], SGD)
        assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(0.5 / 5)


def test_a_checkpoint_holds_no_code(tmp_path):
    module = unusual(optimizer=lambda p: SGD(p, lr=1.0), scheduler=partial(WarmupExponentialDecay, warmup_steps=1))
    content = torch.load(tiny.saved(module, tmp_path / "a.ckpt"), weights_only=True)
    assert content["hyper_parameters"]["image_size"] == 20


@pytest.fixture
def from_cli(shards, tmp_path, emorl):
    """A checkpoint of two steps by the command line with an unusual network."""
    network = {
        "num_slots": 4,
        "slot_dim": 8,
        "feature_dim": 8,
        "cell": "emorl.model.PlainGRU",
        "position": "emorl.model.FourierPosition",
        "position.frequencies": 2,
        "likelihood": "emorl.model.MixtureLikelihood",
        "likelihood.scale": 0.2,
        "geco": "emorl.model.Geco",
        "geco.target": -1.5,
    }
    options = {
        "data.root": shards,
        "data.batch_size": 2,
        "data.num_workers": 0,
        "trainer.max_steps": 2,
        "trainer.max_epochs": -1,
        "trainer.default_root_dir": tmp_path,
        "trainer.logger": False,
        "trainer.enable_progress_bar": False,
        "trainer.callbacks": "pytorch_lightning.callbacks.ModelCheckpoint",
        "trainer.callbacks.dirpath": tmp_path / "kept",
        "trainer.callbacks.filename": "last",
        "trainer.callbacks.every_n_train_steps": 2,
        "model.scheduler": "emorl.optim.WarmupExponentialDecay",
        "model.scheduler.warmup_steps": 3,
        "model.optimizer": "torch.optim.SGD",
        "model.optimizer.lr": 0.001,
    }
    options |= {f"model.network.{name}": value for name, value in network.items()}
    emorl("fit", *(f"--{name}={value}" for name, value in options.items()))
    return tmp_path / "kept" / "last.ckpt"


def test_a_checkpoint_rebuilds_what_the_command_line_built(from_cli):
    content = torch.load(from_cli, weights_only=True)
    loaded = SlotModule.load_from_checkpoint(from_cli)
    assert isinstance(loaded.network.bottom_up.cell, PlainGRU)
    assert loaded.network.encoder.position.code.channels == 12
    assert loaded.network.likelihood.scale == 0.2
    assert loaded.network.objective.geco.target == -1.5
    assert all(torch.equal(value, content["state_dict"][name]) for name, value in loaded.state_dict().items())
    configured = loaded.configure_optimizers()
    assert isinstance(configured["optimizer"], SGD)
    assert configured["optimizer"].param_groups[0]["lr"] == pytest.approx(0.001 / 3)


def test_evaluation_is_the_same_bit_for_bit(shards, tmp_path):
    module = tiny.module(network=tiny.lively(tiny.network()), test_refinement_steps=2)
    first = scores(module, tiny.data(shards), tmp_path)
    torch.manual_seed(5)
    assert scores(module, tiny.data(shards), tmp_path) == first


def test_evaluation_with_workers_is_the_same_bit_for_bit(shards, tmp_path):
    module = tiny.module(network=tiny.lively(tiny.network()), test_refinement_steps=2)
    alone = tiny.trainer(tmp_path).predict(module, tiny.data(shards))
    crowd = tiny.trainer(tmp_path).predict(module, tiny.data(shards, num_workers=2))
    alone, crowd = ({k: m for p in run for k, m in zip(p.key, p.masks, strict=True)} for run in (alone, crowd))
    assert len(alone) == 5
    assert alone.keys() == crowd.keys()
    assert all(torch.equal(masks, crowd[key]) for key, masks in alone.items())


@pytest.mark.parametrize("trained", [0, 1])
def test_scores_of_a_trained_model_depend_neither_on_padding_nor_on_the_batch(trained, shards, tmp_path):
    """A likelihood so wide makes gradients small beside LayerNorm's epsilon, so that their size matters."""
    network = tiny.lively(tiny.network(likelihood=partial(GaussianLikelihood, 30.0), kl_weight=1e-3))
    module = tiny.module(network=network, test_refinement_steps=2, refinement_steps=trained)
    tiny.trainer(tmp_path, max_steps=1).fit(module, tiny.data(shards, batch_size=4))
    assert network.gradient_batch == 4
    alone, padded = (scores(module, tiny.data(shards, batch_size=size), tmp_path)["test/kl"] for size in (5, 2))
    assert padded == pytest.approx(alone, rel=1e-6)
    network.gradient_batch.zero_()
    alone, padded = (scores(module, tiny.data(shards, batch_size=size), tmp_path)["test/kl"] for size in (5, 2))
    assert padded != pytest.approx(alone, rel=1e-4)


def test_inference_in_training_mode_leaves_the_size_of_the_batch_alone():
    network = tiny.network().train()
    with torch.no_grad():
        network(torch.rand(3, 3, 35, 35), steps=1)
    assert network.gradient_batch == 0


def test_the_means_of_posteriors_are_scored_on_request(shards, tmp_path):
    module = tiny.module(network=tiny.lively(tiny.network()), test_means=True)
    scored = scores(module, tiny.data(shards), tmp_path)
    found = tiny.trainer(tmp_path).predict(module, tiny.data(shards))
    errors = torch.cat([(part.reconstruction - part.image).square().flatten(1).mean(1) for part in found])
    assert scored["test/mse"] == pytest.approx(errors.mean().item(), rel=1e-5)
    sampled = tiny.module(network=tiny.lively(tiny.network()))
    assert scores(sampled, tiny.data(shards), tmp_path)["test/mse"] != pytest.approx(scored["test/mse"], rel=1e-3)


def test_attention_is_scored_on_request_and_all_at_the_size_asked_for(shards, tmp_path):
    module = tiny.module(network=tiny.lively(tiny.network()), score_attention=True)
    (fine,) = tiny.trainer(tmp_path).test(module, tiny.data(shards, score_size=70), verbose=False)
    (coarse,) = tiny.trainer(tmp_path).test(module, tiny.data(shards), verbose=False)
    assert fine["test/mse"] == coarse["test/mse"]
    for name in ("test/fg_miou", "test/zero_step/fg_miou", "test/attention/fg_miou"):
        assert fine[name] != coarse[name]
    module = tiny.module(network=tiny.lively(tiny.network()))
    assert "test/attention/fg_miou" not in tiny.trainer(tmp_path).test(module, tiny.data(shards), verbose=False)[0]


def test_predictions_leave_out_padding(shards, tmp_path):
    *_, last = tiny.trainer(tmp_path).predict(tiny.module(), tiny.data(shards))
    assert last.key == ["test-00000004"]
    assert {len(tensor) for tensor in last[1:]} == {1}


def test_predictions_hold_what_their_names_say(shards, tmp_path):
    module = tiny.module(network=tiny.lively(tiny.network()))
    (first, *_) = tiny.trainer(tmp_path).predict(module, tiny.data(shards))
    torch.testing.assert_close(first.masks.sum(1), torch.ones(2, 1, 35, 35))
    torch.testing.assert_close((first.masks * first.components).sum(1), first.reconstruction)
    assert first.image.max() == 1
    assert first.slots.shape == first.scale.shape == (2, 4, 8)
    assert (first.scale > 0).all()
    images = (first.image * 255).round().byte()
    with torch.no_grad():
        posterior = module.eval()(images, 1, PosteriorMeans()).stages[-1].posterior
    torch.testing.assert_close(first.slots, posterior.mean)
    torch.testing.assert_close(first.scale, scale(posterior.rho))
    with torch.inference_mode():
        decoded = module.network.decoder(first.slots, (35, 35))
    torch.testing.assert_close(decoded.masks, first.masks)


def test_the_network_alone_is_the_default(shards):
    assert describe(SlotModule().network) == describe(EfficientMORL())
