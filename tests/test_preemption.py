"""Signals: save, requeue, resume exactly."""

import csv
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, LambdaCallback, ModelCheckpoint

import tiny
import warm
from emorl.callbacks import AveragedWeights, LogReconstructions, Preemption
from emorl.callbacks.preemption import _any
from emorl.loggers import AppendingCSVLogger
from preempted import Signal

ROOT = Path(__file__).parents[1]
SLURM = {
    "SLURM_JOB_ID": "42",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),
]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A job of one task in an empty folder; return a function that returns the arguments of `scontrol`."""
    (tmp_path / "bin").mkdir()
    calls = tmp_path / "calls"
    calls.touch()
    for name, script in (("scontrol", f'echo "$@" >> {calls}'), ("srun", 'printf "%s\\n" "$@"')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return lambda: calls.read_text().splitlines()


def submitted():
    """Return what the batch script of the documentation has `srun` run, on one device."""
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL)
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    program, *arguments = result.stdout.splitlines()
    assert program == "emorl"
    return [argument for argument in arguments if not re.match(r"--trainer\.(num_nodes|devices|strategy)=", argument)]


def small(shards, *more):
    """Return the arguments that make the documented run a small one."""
    network = ("--model.network.slot_dim=8", "--model.network.feature_dim=8")
    quiet = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
    return [
        *network,
        *quiet,
        "-c",
        "configs/overlays/smoke.yaml",
        "--trainer.max_steps=4",
        "--model.image_size=20",
        f"--data.root={shards}",
        *more,
    ]


def signaled(step, name):
    return (
        "--trainer.callbacks+=preempted.Signal",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.name={name}",
    )


def rows(folder):
    """Return what the curve says, less what depends on time; the learning rate is logged before a step, maybe twice."""
    with (folder / "metrics.csv").open(newline="") as file:
        every = [[(name, value) for name, value in row.items() if value] for row in csv.DictReader(file)]
    return list(dict.fromkeys(tuple(cell for cell in row if not cell[0].startswith("time/")) for row in every))


def checkpoint(folder):
    content = torch.load(folder / "checkpoints" / "last.ckpt")
    return (
        content["global_step"],
        content["state_dict"],
        content["optimizer_states"][0]["state"],
        content["lr_schedulers"],
    )


def assert_same(ours, theirs):
    torch.testing.assert_close(checkpoint(ours), checkpoint(theirs), rtol=0, atol=0)
    assert rows(ours) == rows(theirs)


def test_a_job_that_is_preempted_is_queued_again_and_goes_on_exactly(shards, slurm, tmp_path, emorl):
    """In a separate process, with a worker, by the batch script of the documentation."""
    worker = "--data.num_workers=1"
    first = submitted()
    assert not any("ckpt_path" in argument for argument in first)
    result = warm.emorl(*first, *small(shards, worker, *signaled(2, "SIGUSR1")))
    assert result.returncode == 128 + signal.SIGUSR1, result.stderr
    assert "saved" in result.stderr
    assert slurm() == ["requeue 42"]
    assert not list(tmp_path.rglob("hpc_ckpt*"))  # Lightning's own, of a step half taken
    assert checkpoint(tmp_path / "runs" / "job_42")[0] == 3

    again = submitted()
    assert "--ckpt_path=runs/job_42/checkpoints/last.ckpt" in again
    emorl(*again, *small(shards, worker))
    assert [path.name for path in (tmp_path / "runs" / "job_42" / "checkpoints").iterdir()] == ["last.ckpt"]
    emorl(*first, *small(shards, worker), "--trainer.logger.save_dir=whole")
    assert_same(tmp_path / "runs" / "job_42", tmp_path / "whole" / "job_42")


def test_a_validation_that_is_due_is_not_left_out(shards, tmp_path):
    """After step 2, the one in which the signal comes."""

    def run(folder, *callbacks, resume=None):
        keep = ModelCheckpoint(folder / "checkpoints", save_last=True, enable_version_counter=False)
        trainer = tiny.trainer(
            folder,
            logger=AppendingCSVLogger(folder, name=None, version=""),
            callbacks=[LogReconstructions(), Preemption(), *callbacks, keep],
            enable_checkpointing=True,
            max_steps=4,
            val_check_interval=2,
            check_val_every_n_epoch=None,
            log_every_n_steps=1,
        )
        torch.manual_seed(0)  # of the noise, which the module keeps
        trainer.fit(tiny.module(), tiny.data(shards), ckpt_path=resume)

    with pytest.raises(SystemExit):
        run(tmp_path / "runs", Signal(1, "SIGTERM"))
    run(tmp_path / "runs", resume=tmp_path / "runs" / "checkpoints" / "last.ckpt")
    run(tmp_path / "whole")
    assert_same(tmp_path / "runs", tmp_path / "whole")
    pictures = [{path.name for path in (tmp_path / run / "pictures").iterdir()} for run in ("runs", "whole")]
    assert pictures[0] == pictures[1]


def stop(shards, folder, name, step=0, workers=0, validation=False, **arguments):
    """Send a signal in the midst of a step, or of a validation; return the process's status and the checkpoint."""
    signaling = Signal(step, name, workers > 0, validation)
    callbacks = [Preemption(), signaling, ModelCheckpoint(folder, save_last=True, every_n_train_steps=3)]
    trainer = tiny.trainer(folder, callbacks=callbacks, enable_checkpointing=True, max_steps=4, **arguments)
    with pytest.raises(SystemExit) as caught:
        trainer.fit(tiny.module(), tiny.data(shards, num_workers=workers))
    return caught.value.code, torch.load(folder / "last.ckpt")


@pytest.mark.parametrize(("name", "requeued"), [("SIGTERM", []), ("SIGINT", []), ("SIGUSR1", ["requeue 42"])])
def test_only_sigusr1_queues_again(name, requeued, shards, slurm, tmp_path):
    """`scancel` sends SIGTERM."""
    before = signal.getsignal(signal.Signals[name])
    status, saved = stop(shards, tmp_path, name)
    assert status == 128 + signal.Signals[name]
    assert saved["global_step"] == 1
    assert slurm() == requeued
    assert signal.getsignal(signal.Signals[name]) is before


@pytest.mark.parametrize(
    ("name", "step", "validation", "last"),
    [("SIGTERM", 0, False, 1), ("SIGINT", 0, False, 1), ("SIGTERM", 1, True, 3), ("SIGUSR1", 1, True, 3)],
)
def test_workers_outlive_the_signal(name, step, validation, last, shards, slurm, tmp_path):
    """As where it goes to a whole group of processes; a validation is finished, and another step taken."""
    status, saved = stop(shards, tmp_path, name, step, workers=1, validation=validation, val_check_interval=2)
    assert status == 128 + signal.Signals[name]
    assert saved["global_step"] == last


def test_in_a_thread_training_saves_its_last_step(shards, tmp_path):
    """Python handles signals in the main thread only."""
    keep = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=3)
    trainer = tiny.trainer(tmp_path, callbacks=[Preemption(), keep], enable_checkpointing=True, max_steps=1)
    with ThreadPoolExecutor() as pool:
        pool.submit(trainer.fit, tiny.module(), tiny.data(shards)).result()
    assert torch.load(tmp_path / "last.ckpt")["global_step"] == 1


def test_a_second_interrupt_stops_at_once(shards, tmp_path):
    """Two in one step; Lightning turns it into its own status."""
    signals = [Signal(1, "SIGINT"), Signal(1, "SIGINT")]
    callbacks = [Preemption(), *signals, ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=3)]
    trainer = tiny.trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, max_steps=4)
    with pytest.raises(SystemExit) as caught:
        trainer.fit(tiny.module(), tiny.data(shards))
    assert isinstance(caught.value.__context__, KeyboardInterrupt)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_job_in_the_background_keeps_ignoring_an_interrupt(shards, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        callbacks = [Preemption(), Signal(1, "SIGINT"), ModelCheckpoint(tmp_path, save_last=True)]
        trainer = tiny.trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, max_steps=3)
        trainer.fit(tiny.module(), tiny.data(shards))
    finally:
        signal.signal(signal.SIGINT, before)
    assert torch.load(tmp_path / "last.ckpt")["global_step"] == 3


def test_of_an_array_of_jobs_one_task_is_queued_again(shards, slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    stop(shards, tmp_path, "SIGUSR1")
    assert slurm() == ["requeue 40_7"]


def test_outside_slurm_nothing_is_queued(shards, slurm, tmp_path, monkeypatch):
    for name in SLURM:
        monkeypatch.delenv(name)
    assert stop(shards, tmp_path, "SIGUSR1")[0] == 128 + signal.SIGUSR1
    assert slurm() == []


@pytest.mark.parametrize("status", [3, 127])
def test_a_job_that_cannot_be_queued_again_says_so(status, shards, slurm, tmp_path, caplog):
    scontrol = tmp_path / "bin" / "scontrol"
    if status == 3:
        scontrol.write_text("#!/bin/sh\nexit 3\n")
    else:
        scontrol.unlink()
    stop(shards, tmp_path, "SIGUSR1")
    assert f"'scontrol requeue 42' failed with status {status}: submit the job again" in caplog.text


def test_gradients_that_accumulate_come_first(shards, slurm, tmp_path):
    _, saved = stop(shards, tmp_path, "SIGTERM", step=1, accumulate_grad_batches=2)
    assert saved["global_step"] == 2
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] == 4


def test_the_next_checkpoint_takes_the_place_of_what_was_saved(shards, slurm, tmp_path):
    stop(shards, tmp_path, "SIGTERM")
    keep = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=3)
    trainer = tiny.trainer(tmp_path, callbacks=[Preemption(), keep], enable_checkpointing=True, max_steps=4)
    trainer.fit(tiny.module(), tiny.data(shards), ckpt_path=tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.glob("last*")] == ["last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt")["global_step"] == 4


def test_a_signal_in_the_last_step_changes_nothing(shards, slurm, tmp_path):
    callbacks = [Preemption(), Signal(3, "SIGUSR1"), ModelCheckpoint(tmp_path, save_last=True)]
    trainer = tiny.trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True, max_steps=4, val_check_interval=4)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert "val/fg_ari" in trainer.callback_metrics
    assert slurm() == []


@pytest.mark.parametrize(
    ("ending", "last"),
    [
        ({"max_steps": 5}, 5),
        ({"max_epochs": 1}, 6),
        ({"max_steps": 9, "min_steps": 5, "callbacks": "stop"}, 6),
        ({"max_steps": 9, "callbacks": "early stopping", "val_check_interval": 5}, 5),
    ],
)
def test_the_last_step_is_kept_whatever_the_interval(ending, last, shards, tmp_path):
    keep = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=4)
    ends = {
        "stop": LambdaCallback(on_train_batch_end=lambda trainer, *_: setattr(trainer, "should_stop", True)),
        "early stopping": EarlyStopping("val/fg_ari", stopping_threshold=-1, mode="max"),
    }
    callbacks = [Preemption(), keep, *([ends[ending.pop("callbacks")]] if "callbacks" in ending else [])]
    options = {"enable_checkpointing": True, "limit_val_batches": 1}
    trainer = tiny.trainer(tmp_path, callbacks=callbacks, **options, **ending)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert torch.load(tmp_path / "last.ckpt")["global_step"] == trainer.global_step == last


@pytest.mark.parametrize(
    ("least", "last"),
    [({"min_steps": 3, "min_epochs": 0}, 3), ({"min_epochs": 1}, 6), ({"max_time": "00:01:00:00"}, 1)],
)
def test_a_run_that_has_to_continue_is_saved_at_its_end(least, last, shards, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Trainer, "save_checkpoint", lambda trainer, *_, **__: saved.append(trainer.global_step))
    stop = LambdaCallback(on_train_batch_end=lambda trainer, *_: setattr(trainer, "should_stop", True))
    callbacks = [stop, Preemption(), ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=100)]
    options = {"max_steps": 9, "limit_val_batches": 0, "enable_checkpointing": True}
    trainer = tiny.trainer(tmp_path, callbacks=callbacks, **options, **least)
    trainer.fit(tiny.module(), tiny.data(shards))
    assert saved == [trainer.global_step] == [last]


@pytest.mark.parametrize("every", [3, 100])
def test_a_finished_run_can_be_made_longer_exactly(every, shards, tmp_path):
    def run(folder, steps, **arguments):
        keep = ModelCheckpoint(folder, save_last=True, every_n_train_steps=every)
        logger = AppendingCSVLogger(folder, name=None, version="logs")
        options = {"enable_checkpointing": True, "val_check_interval": 4, "logger": logger, "log_every_n_steps": 1}
        callbacks = [AveragedWeights(decay=0.7), Preemption(), keep]
        trainer = tiny.trainer(folder, callbacks=callbacks, max_steps=steps, **options)
        torch.manual_seed(0)  # of the noise, which the module keeps
        module = tiny.module()
        trainer.fit(module, tiny.data(shards), **arguments)
        return module.state_dict(), list(csv.DictReader((folder / "logs" / "metrics.csv").read_text().splitlines()))

    run(tmp_path / "short", 4)
    longer, lines = run(tmp_path / "short", 7, ckpt_path=tmp_path / "short" / "last.ckpt")
    at_once, rows = run(tmp_path / "at_once", 7)
    assert all(torch.equal(value, longer[name]) for name, value in at_once.items())
    assert [(row["step"], row["epoch"], row["train/loss"]) for row in lines] == [
        (row["step"], row["epoch"], row["train/loss"]) for row in rows
    ]


@pytest.mark.parametrize(
    ("average", "every"),
    [(partial(EMAWeightAveraging, use_buffers=False), 2), (EMAWeightAveraging, 100), (AveragedWeights, 100)],
)
@pytest.mark.parametrize(
    "ending", [{"max_steps": 3}, {"max_steps": 4}, {"max_epochs": 1}, {"max_steps": 9, "val_check_interval": 5}]
)
def test_the_last_checkpoint_has_the_current_weights_beside_their_average(ending, average, every, shards, tmp_path):
    stop = EarlyStopping("val/fg_ari", stopping_threshold=-1, mode="max", strict=False)  # for the last case
    keep = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=every)
    options = {"enable_checkpointing": True, "limit_val_batches": 1}
    trainer = tiny.trainer(tmp_path, callbacks=[average(decay=0.9), stop, Preemption(), keep], **options, **ending)
    trainer.fit(tiny.module(), tiny.data(shards))
    saved = torch.load(tmp_path / "last.ckpt")
    assert saved["global_step"] == trainer.global_step
    current, averaged = (
        saved[name]["network.refinement.mean.weight"] for name in ("current_model_state", "state_dict")
    )
    assert not torch.equal(current, averaged)


def test_a_run_with_averaged_weights_resumes_with_them_only(shards, tmp_path):
    def train(steps, *callbacks, **arguments):
        trainer = tiny.trainer(tmp_path, callbacks=[*callbacks], enable_checkpointing=True, max_steps=steps)
        trainer.fit(tiny.module(), tiny.data(shards), **arguments)

    train(2, AveragedWeights(), ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=2))
    with pytest.raises(MisconfigurationException, match=r"averages weights.*got none\. Add .*AveragedWeights"):
        train(4, ckpt_path=tmp_path / "last.ckpt")


def test_without_a_last_checkpoint_there_is_one_error(shards, tmp_path):
    trainer = tiny.trainer(tmp_path, callbacks=Preemption(), enable_checkpointing=True, max_steps=1)
    with pytest.raises(MisconfigurationException, match="Expected a ModelCheckpoint with 'save_last: true'"):
        trainer.fit(tiny.module(), tiny.data(shards))


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_lightning_queues_no_job_again(stage, slurm, tmp_path):
    """It would save a checkpoint that every later job in the folder starts from."""
    trainer = tiny.trainer(tmp_path, callbacks=ModelCheckpoint(save_last=True), enable_checkpointing=True)
    Preemption().setup(trainer, tiny.module(), stage)
    environment = trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue


def test_one_process_that_gets_the_signal_is_enough():
    trainer = Mock()
    trainer.strategy.reduce_boolean_decision.return_value = True
    assert _any(trainer, True)
    trainer.strategy.reduce_boolean_decision.assert_called_once_with(True, all=False)
