"""A resumed run equals the uninterrupted one."""

import shutil
import signal
import tempfile
from functools import partial

import pytest
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import LambdaCallback, ModelCheckpoint

import tiny
import warm
from emorl.callbacks import Preemption, RefinementCurriculum
from emorl.module import SlotModule
from emorl.optim import WarmupExponentialDecay
from emorl.resume import save_safely

# The resumed runs of these tests save no checkpoints.
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used")

STEPS = 8  # of 6 to an epoch


class Recording(SlotModule):
    """Keeps what each training step saw."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.global_step, self.refinement_steps, batch["index"].tolist()))
        return super().training_step(batch, batch_idx)


def train(shards, folder, resume=None, callbacks=(), seed=0, steps=STEPS, **data):
    """Train up to a number of steps; return the module and the trainer."""
    torch.manual_seed(seed)
    scheduler = partial(WarmupExponentialDecay, warmup_steps=5, half_life=4.0)
    module = tiny.module(Recording, image_size=20, scheduler=scheduler)
    callbacks = [RefinementCurriculum({0: 2, 2: 1, 5: 0, 7: 1}), *callbacks]
    checkpoints = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    trainer = tiny.trainer(folder, callbacks=callbacks, enable_checkpointing=checkpoints, max_steps=steps)
    trainer.fit(module, tiny.data(shards, image_size=20, **data), ckpt_path=resume)
    return module, trainer


def every_step(folder):
    return ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)


def state(module, trainer):
    """Return the state from which a run resumes."""
    (optimizer,) = trainer.optimizers
    adam = {f"{i} {k}": torch.as_tensor(v) for i, s in enumerate(optimizer.state.values()) for k, v in s.items()}
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    numbers = [trainer.global_step, trainer.current_epoch, scheduler.last_epoch, *scheduler.get_last_lr()]
    return module.state_dict() | adam | {"numbers": torch.tensor(numbers, dtype=torch.float64)}


def different(ours, theirs):
    assert ours.keys() == theirs.keys()
    return [name for name, value in ours.items() if not torch.equal(value, theirs[name])]


@pytest.fixture(scope="module", params=[0, 1], ids=["no worker", "worker"])
def uninterrupted(request, shards, tmp_path_factory):
    """A run that keeps a checkpoint of every step: its folder, its data arguments, its module and trainer."""
    folder, data = tmp_path_factory.mktemp("uninterrupted"), {"num_workers": request.param}
    return folder, data, train(shards, folder, callbacks=[every_step(folder)], **data)


once = pytest.mark.parametrize("uninterrupted", [1], indirect=True, ids=["worker"])  # for runs that differ from it


def test_the_uninterrupted_run_is_worth_resuming(uninterrupted):
    _, _, (module, _) = uninterrupted
    assert [steps for _, steps, _ in module.seen] == [2, 2, 1, 1, 1, 0, 0, 1]
    geco = module.network.objective.geco
    assert (geco.step, bool(geco.zeta > 0.55)) == (STEPS, True)


@pytest.mark.parametrize("stop", [3, 6, 7])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(shards, tmp_path, uninterrupted, stop):
    folder, data, (whole, trainer) = uninterrupted
    module, resumed = train(shards, tmp_path, folder / f"step={stop}.ckpt", seed=1, **data)
    assert module.seen == whole.seen[stop:]
    assert different(state(module, resumed), state(whole, trainer)) == []


@once
@pytest.mark.parametrize("stop", [1, 6])
def test_with_other_workers_it_sees_what_is_left_of_the_epoch_and_then_the_next(shards, tmp_path, uninterrupted, stop):
    folder, _, (whole, _) = uninterrupted
    module, _ = train(shards, tmp_path, folder / f"step={stop}.ckpt", num_workers=2)
    assert [part[:2] for part in module.seen] == [part[:2] for part in whole.seen[stop:]]
    samples = [index for *_, batch in whole.seen[:stop] + module.seen for index in batch]
    assert sorted(samples[:12]) == list(range(12))
    assert len(set(samples[12:])) == len(samples[12:]) == 2 * (STEPS - 6)


@once
def test_with_another_batch_size_the_epochs_after_are_whole(shards, tmp_path, uninterrupted):
    folder, _, (whole, _) = uninterrupted
    module, _ = train(shards, tmp_path, folder / "step=5.ckpt", steps=5 + 2 + 12, batch_size=1)
    samples = [index for *_, batch in whole.seen[:5] + module.seen for index in batch]
    assert sorted(samples[:12]) == sorted(samples[12:]) == list(range(12))


def test_a_validation_between_the_batches_of_a_step_is_saved_after_it(shards, tmp_path):
    """Gradients that accumulate are not in a checkpoint."""

    def fit(steps, resume=None):
        module, keep = tiny.module(), ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=100)
        copy = LambdaCallback(on_train_batch_start=lambda *_: shutil.copy(last, copied) if last.is_file() else None)
        options = {"accumulate_grad_batches": 2, "val_check_interval": 3, "limit_val_batches": 1}
        callbacks = [keep, copy] if resume is None else []
        trainer = tiny.trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, max_steps=steps, **options)
        trainer.fit(module, tiny.data(shards), ckpt_path=resume)
        return state(module, trainer)

    last, copied = tmp_path / "last.ckpt", tmp_path / "killed.ckpt"  # after the validation of batch 3
    torch.manual_seed(0)
    whole = fit(3)
    assert torch.load(copied)["global_step"] == 2
    assert different(fit(3, copied), whole) == []


CONFIG = """
seed_everything: 0
model:
  refinement_steps: 1
  image_size: 20
  network:
    class_path: emorl.model.EfficientMORL
    init_args: {{slot_dim: 8, feature_dim: 8}}
data:
  root: {root}
  batch_size: 2
  num_workers: 1
trainer:
  accelerator: cpu
  max_epochs: -1
  max_steps: 8
  limit_val_batches: 0
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  default_root_dir: {folder}
  callbacks:
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args:
        dirpath: {folder}/kept
        filename: "{{step}}"
        every_n_train_steps: 2
        save_top_k: -1
"""


def configured(folder, shards):
    path = folder.with_suffix(".yaml")
    path.write_text(CONFIG.format(root=shards, folder=folder))
    return f"--config={path}"


def test_a_save_that_ends_in_its_middle_leaves_the_former_checkpoint(shards, tmp_path, monkeypatch):
    """Without the folder of temporary files, which may be on another file system: a copy may end in its middle."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    last = tmp_path / "kept" / "last.ckpt"
    trainer = tiny.trainer(tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(tiny.module(), tiny.data(shards))
    trainer.save_checkpoint(last)

    def torn(checkpoint, stream):
        stream.write(b"torn")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(last)
    assert list(last.parent.iterdir()) == [last]
    assert torch.load(last, weights_only=True)["global_step"] == 1


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_trial_run_leaves_the_checkpoints_of_a_run(shards, tmp_path):
    last = tmp_path / "last.ckpt"
    last.write_bytes(b"precious")
    keeper = ModelCheckpoint(tmp_path, save_last=True, enable_version_counter=False)
    callbacks = [keeper, Preemption()]
    trainer = tiny.trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, fast_dev_run=True)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert last.read_bytes() == b"precious"


def test_a_way_to_save_of_your_own_remains(tmp_path):
    class Own(TorchCheckpointIO):
        pass

    trainer = tiny.trainer(tmp_path, plugins=[Own()])
    save_safely(trainer)
    assert type(trainer.strategy.checkpoint_io) is Own


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_killed_process_goes_on_from_its_last_checkpoint(shards, tmp_path, emorl):
    config = configured(tmp_path / "killed", shards)
    kill = ("--trainer.callbacks+=interrupted.Kill", "--trainer.callbacks.step=5")
    result = warm.emorl("fit", config, *kill)
    assert result.returncode == -signal.SIGKILL, result.stderr
    kept = tmp_path / "killed" / "kept"
    assert sorted(path.name for path in kept.iterdir()) == ["step=2.ckpt", "step=4.ckpt"]

    emorl("fit", config, f"--ckpt_path={kept / 'step=4.ckpt'}")
    emorl("fit", configured(tmp_path / "whole", shards))
    resumed, whole = (torch.load(tmp_path / run / "kept" / "step=8.ckpt") for run in ("killed", "whole"))
    assert different(resumed["state_dict"], whole["state_dict"]) == []
    for ours, theirs in zip(*(run["optimizer_states"][0]["state"].values() for run in (resumed, whole)), strict=True):
        assert different(ours, theirs) == []
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]
    assert resumed["global_step"] == whole["global_step"] == 8
