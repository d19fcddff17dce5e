"""The curriculum: phases, their checks, and how they scale with the length of a run."""

from contextlib import nullcontext

import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import LambdaCallback

import tiny
from emorl.callbacks import RefinementCurriculum
from emorl.callbacks.curriculum import stretched
from emorl.model import EfficientMORL, SlotAttention
from emorl.module import SlotModule


class Watch(Callback):
    """Keeps I as a training batch and a validation find it, as it is logged, and as a validation's batch had it."""

    def __init__(self):
        self.training, self.validation, self.logged, self.validated = [], [], [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.training.append(pl_module.refinement_steps)
        self.logged.append(trainer.callback_metrics["train/refinement_steps"].item())

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validation.append((trainer.global_step, pl_module.refinement_steps))

    def on_validation_batch_end(self, trainer, pl_module, outputs, *_):
        self.validated.append(len(outputs.stages) - 1)


class Stages(SlotModule):
    """Keeps the refinement steps that training took."""

    def forward(self, *args, **kwargs):
        inference = super().forward(*args, **kwargs)
        if self.training:
            self.taken = [*getattr(self, "taken", []), len(inference.stages) - 1]
        return inference


@pytest.mark.parametrize(("step", "value"), [(0, 3), (9, 3), (10, 1), (19, 1), (20, 0), (10**9, 0)])
def test_a_phase_starts_at_its_step(step, value):
    assert RefinementCurriculum({0: 3, 10: 1, 20: 0}).value_at(step) == value


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ({500: 3}, r"Expected 'phases' to start at step 0, but the first starts at 500\. Add a phase '0: I'"),
        ({}, r"Expected 'phases' to start at step 0, but there is none\. Add"),
        ({0: 3, 20: 1, 10: 0}, r"in the order of their steps, got \[0, 20, 10\]\. Sort them"),
        ({0: None}, "Expected null in 'phases' only at the end, after a phase, got .* Use 0 for none"),
        ({0: 3, 10: None, 20: 0}, "Expected null in 'phases' only at the end"),
        ({0: 3, 10: -1}, "Expected every I in 'phases' to be a whole number of 0 or more, got .* Use 0 for no refine"),
        ({0: 1.5}, "Expected every I in 'phases' to be a whole number"),
        ({0: "3"}, "Expected every I in 'phases' to be a whole number"),
        ({0: 3, 3.7: 1}, r"Expected whole numbers as the steps of 'phases', got \[0, 3\.7\]\. Use numbers such as"),
        ([3, 1], r"Expected values by step, such as \{0: 3, 10_000: 1\}, got \[3, 1\]"),
        ({0: True}, "Expected every I in 'phases' to be a whole number"),
        ({0: 3, "3.7": 1}, r"Expected whole numbers as the steps of 'phases', got \[0, '3\.7'\]"),
    ],
)
def test_bad_phases_are_refused(phases, message, unchecked):
    with pytest.raises(MisconfigurationException, match=message):
        RefinementCurriculum(phases)


def test_steps_may_be_text_as_keys_of_json_are():
    curriculum = RefinementCurriculum({"0": 3, "10": 1}, {"0": 0.1, "10": 1.0})
    assert (curriculum.phases, curriculum.kl_weights) == ({0: 3, 10: 1}, {0: 0.1, 10: 1.0})


@pytest.mark.parametrize(
    ("phases", "steps", "expected"),
    [
        ({0: 1, 26000: 3, 36000: 0, 40000: None}, 40000, {0: 1, 26000: 3, 36000: 0}),
        ({0: 1, 26000: 3, 36000: 0, 40000: None}, 62000, {0: 1, 40300: 3, 55800: 0}),
        ({0: 1, 26000: 3, 36000: 0, 40000: None}, 4, {0: 1, 2: 3, 3: 0}),
        ({0: 1, 26000: 3, 36000: 0, 40000: None}, 1, {0: 1}),
        ({0: 1, 26000: 3, 36000: 0, 40000: None}, -1, {0: 1, 26000: 3, 36000: 0}),
        ({0: 3, 100000: 1}, 4, {0: 3, 100000: 1}),
        ({0: 3, 100000: None}, 4, {0: 3}),
        ({}, 4, {}),
    ],
)
def test_phases_that_end_stretch_with_the_run(phases, steps, expected):
    assert stretched(phases, steps) == expected


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.parametrize("end", [40, 4])
def test_a_run_follows_stretched_phases_and_says_so(end, shards, tmp_path, caplog):
    caplog.set_level("INFO")
    watch, curriculum = Watch(), RefinementCurriculum({0: 2, end // 2: 1, 3 * end // 4: 0, end: None})
    trainer = tiny.trainer(tmp_path, max_steps=4, callbacks=[curriculum, watch], limit_val_batches=0)
    trainer.fit(tiny.module(refinement_steps=2), tiny.data(shards))
    assert watch.training == [2, 2, 1, 0]
    said = "The curriculum's 40 steps are rescaled to 4: {0: 2, 2: 1, 3: 0}. Warm-ups, half-lives and GECO's"
    assert (said in caplog.text) == (end == 40)


def test_without_phases_there_is_no_curriculum(shards, tmp_path):
    watch = Watch()
    trainer = tiny.trainer(tmp_path, max_steps=1, callbacks=[RefinementCurriculum(), watch], limit_val_batches=1)
    trainer.fit(tiny.module(refinement_steps=2), tiny.data(shards))
    trainer.validate(tiny.module(refinement_steps=1), tiny.data(shards), verbose=False)
    assert (watch.training, watch.validated) == ([2], [1])


def test_a_model_that_does_not_take_a_phase_says_so_at_once(shards, tmp_path):
    model = SlotAttention(slot_dim=8, feature_dim=8)
    trainer = tiny.trainer(tmp_path, max_steps=1, callbacks=RefinementCurriculum({0: 1, 100: 0}))
    expected = "Expected 1 or more steps, got 0.* Give the curriculum other phases, or null"
    with pytest.raises(MisconfigurationException, match=expected):
        trainer.fit(SlotModule(model), tiny.data(shards))


def test_refinement_follows_the_phases_in_training_and_validation(shards, tmp_path):
    watch, curriculum = Watch(), RefinementCurriculum({0: 2, 1: 1, 3: 0})
    trainer = tiny.trainer(
        tmp_path,
        max_steps=4,
        callbacks=[curriculum, watch],
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
    )
    module = tiny.module(Stages, refinement_steps=2, test_refinement_steps=3)
    trainer.fit(module, tiny.data(shards))
    assert module.taken == watch.training == watch.logged == [2, 1, 1, 0]
    assert [value for step, value in watch.validation if step == 2] == [1]
    assert watch.validated == [1, 0]


def test_steps_are_those_of_the_optimizer(shards, tmp_path):
    watch = Watch()
    callbacks = [RefinementCurriculum({0: 1, 1: 0}), watch]
    trainer = tiny.trainer(tmp_path, max_steps=2, accumulate_grad_batches=2, callbacks=callbacks, limit_val_batches=0)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert watch.training == [1, 1, 0, 0]


def test_validation_alone_has_the_first_phase(shards, tmp_path):
    watch = Watch()
    trainer = tiny.trainer(tmp_path, callbacks=[RefinementCurriculum({0: 0, 5: 3}), watch], limit_val_batches=1)
    trainer.validate(tiny.module(), tiny.data(shards), verbose=False)
    assert watch.validation == [(0, 0)]


def test_validation_of_a_checkpoint_has_the_phase_of_its_step(shards, tmp_path):
    watch, curriculum = Watch(), RefinementCurriculum({0: 0, 2: 3})
    trainer = tiny.trainer(tmp_path, callbacks=[curriculum, watch], max_steps=2, limit_val_batches=1)
    trainer.fit(tiny.module(refinement_steps=0), tiny.data(shards))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    watch.validated.clear()
    alone = tiny.trainer(tmp_path, callbacks=[curriculum, watch], limit_val_batches=1)
    alone.validate(tiny.module(), tiny.data(shards), ckpt_path=tmp_path / "a.ckpt", verbose=False)
    assert watch.validated == [3]
    watch.validated.clear()
    alone.validate(tiny.module(), tiny.data(shards), verbose=False)
    assert watch.validated == [0]


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.parametrize("first", [1, 2])
def test_another_number_asked_of_the_model_is_answered(first, shards, tmp_path, caplog):
    trainer = tiny.trainer(tmp_path, callbacks=RefinementCurriculum({0: first}), max_steps=1, limit_val_batches=0)
    trainer.fit(tiny.module(refinement_steps=1), tiny.data(shards))
    assert ("The curriculum starts at I = 2 and overrides refinement_steps = 1" in caplog.text) == (first == 2)


@pytest.mark.parametrize("second", [{"phases": {0: 1}}, {"kl_weights": {0: 1.0}}])
def test_two_curricula_are_refused(second, shards, tmp_path):
    trainer = tiny.trainer(tmp_path, callbacks=[RefinementCurriculum({0: 2}), RefinementCurriculum(**second)])
    with pytest.raises(MisconfigurationException, match=r"one curriculum, got \{0: 2\} and \{0: 1"):
        trainer.fit(tiny.module(), tiny.data(shards))


class WatchWeight(Callback):
    """Keeps the weight of the KL in training batches, as it is logged, and in validation batches."""

    def __init__(self):
        self.training, self.logged, self.validation = [], [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.training.append(pl_module.network.objective.kl_weight)
        self.logged.append(trainer.callback_metrics["train/kl_weight"].item())

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validation.append(pl_module.network.objective.kl_weight)


def test_the_weight_of_the_kl_changes_by_a_constant_factor():
    curriculum = RefinementCurriculum(kl_weights={0: 0.1, 10: 0.1, 20: 1.0, 30: 0.01})
    expected = {0: 0.1, 9: 0.1, 10: 0.1, 15: 0.1**0.5, 20: 1.0, 25: 0.1, 30: 0.01, 10**9: 0.01}
    for step, weight in expected.items():
        assert curriculum.kl_weight_at(step) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({500: 0.1}, r"Expected 'kl_weights' to start at step 0, .* Add a phase '0: WEIGHT'"),
        ({0: 0.1, 20: 1.0, 10: 0.1}, r"Expected 'kl_weights' in the order of their steps"),
        ({0: 0.1, 10: None, 20: 1.0}, "Expected null in 'kl_weights' only at the end"),
        ({0: 0.1, 10: 0.0}, "Expected 'kl_weights' above 0 and finite, got"),
        *(({0: 1.0, 5: float(value)}, "Expected 'kl_weights' above 0 and finite, got") for value in ("nan", "inf")),
        ({0: "1"}, "Expected 'kl_weights' above 0 and finite, got"),
    ],
)
def test_bad_weights_are_refused(weights, message, unchecked):
    with pytest.raises(MisconfigurationException, match=message):
        RefinementCurriculum(kl_weights=weights)


def test_a_run_of_one_step_is_the_start_of_the_curriculum(shards, tmp_path):
    """Phases that are shorter than a step are left out."""
    weights, watch = {0: 1.0, 40: 0.0625, 80: None}, WatchWeight()
    curriculum = RefinementCurriculum({0: 1, 40: 0, 80: None}, weights)
    trainer = tiny.trainer(tmp_path, max_steps=1, callbacks=[curriculum, watch], limit_val_batches=1)
    module = tiny.module(network=tiny.network(kl_weight=0.0625))
    trainer.fit(module, tiny.data(shards))
    assert (module.refinement_steps, watch.training, module.network.kl_weight) == (1, [1.0], 0.0625)


@pytest.mark.parametrize(
    ("phases", "weights", "warned"),
    [
        ({0: 1, 2: 0}, {0: 1.0, 1: 0.0625}, ["phases from step 2 on have no effect", "'END: null'"]),
        ({0: 1, 1: 0, 9: 1}, {0: 1.0, 2: 0.0625}, ["phases from step 9 on"]),
        ({0: 1, 1: 0}, {0: 1.0, 1: 0.5, 3: 0.25, 4: 0.0625}, ["the kl_weights from step 3 on"]),
        ({0: 1, 20: 0, 40: None}, {0: 1.0, 40: 0.0625, 80: None}, []),
        ({0: 1, 1: 0}, {0: 1.0, 2: 0.0625}, []),
    ],
)
def test_what_a_run_does_not_reach_is_named(phases, weights, warned, shards, tmp_path, caplog):
    trainer = tiny.trainer(tmp_path, max_steps=2, callbacks=RefinementCurriculum(phases, weights), limit_val_batches=0)
    trainer.fit(tiny.module(network=tiny.network(kl_weight=0.0625), refinement_steps=1), tiny.data(shards))
    assert all(words in caplog.text for words in warned)
    assert caplog.text.count("The run ends at step 2: the") == bool(warned)


@pytest.mark.parametrize("weights", [{0: 1.0, 40: 0.0625, 80: None}, {0: 1.0, 2: 0.0625}])
def test_training_and_validation_have_the_weight_of_their_step(weights, shards, tmp_path, caplog):
    caplog.set_level("INFO")
    watch, curriculum = WatchWeight(), RefinementCurriculum(kl_weights=weights)
    options = {"val_check_interval": 1, "check_val_every_n_epoch": None, "limit_val_batches": 1}
    trainer = tiny.trainer(tmp_path, max_steps=4, callbacks=[curriculum, watch], **options)
    module = tiny.module(network=tiny.network(kl_weight=0.0625))
    trainer.fit(module, tiny.data(shards))
    assert watch.training == watch.logged == [1.0, 0.25, 0.0625, 0.0625]
    assert watch.validation == [0.25, 0.0625, 0.0625, 0.0625]
    assert ("The curriculum's 80 steps are rescaled to 4: {0: 1.0, 2: 0.0625}" in caplog.text) == (80 in weights)


def test_a_training_that_is_stopped_leaves_the_model_its_own_weight(shards, tmp_path):
    curriculum = RefinementCurriculum(kl_weights={0: 1.0, 100: 0.5})
    trainer = tiny.trainer(tmp_path, max_steps=1, callbacks=curriculum, limit_val_batches=0)
    module = tiny.module(network=tiny.network(kl_weight=0.5))
    trainer.fit(module, tiny.data(shards))
    assert module.network.kl_weight == 0.5


def test_a_training_that_fails_leaves_the_model_its_own_weight(shards, tmp_path):
    def fail(trainer, *_):
        if trainer.global_step == 2:
            raise RuntimeError("power cut")

    module = tiny.module(network=tiny.network(kl_weight=0.5))
    for callbacks in ([LambdaCallback(on_train_batch_end=fail)], []):
        curriculum = RefinementCurriculum(kl_weights={0: 1.0, 100: 0.5})
        trainer = tiny.trainer(tmp_path, max_steps=3, callbacks=[curriculum, *callbacks], limit_val_batches=0)
        with pytest.raises(RuntimeError, match="power cut") if callbacks else nullcontext():
            trainer.fit(module, tiny.data(shards))
        assert module.network.kl_weight == 0.5


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SlotAttention, "Expected a model with a kl_weight, got SlotAttention. Set kl_weights to null"),
        (EfficientMORL, r"Expected the model's kl_weight, 1\.0, as the last of kl_weights, got 0\.1\. Set both alike"),
    ],
)
def test_weights_that_do_not_fit_the_model_are_refused(model, message, shards, tmp_path):
    trainer = tiny.trainer(tmp_path, max_steps=1, callbacks=RefinementCurriculum(kl_weights={0: 0.1}))
    with pytest.raises(MisconfigurationException, match=message):
        trainer.fit(SlotModule(model(slot_dim=8, feature_dim=8)), tiny.data(shards))


def test_iodine_has_a_weight_of_the_kl_too(shards, tmp_path):
    watch = []
    curriculum = RefinementCurriculum(kl_weights={0: 0.1, 1: 1.0})
    trainer = tiny.trainer(tmp_path, max_steps=2, callbacks=curriculum, limit_val_batches=0)
    trainer.callbacks.append(
        LambdaCallback(on_train_batch_end=lambda _, module, *__: watch.append(module.network.kl_weight))
    )
    trainer.fit(SlotModule(tiny.FAMILY["iodine"](), refinement_steps=1), tiny.data(shards))
    assert watch == [0.1, 1.0]
