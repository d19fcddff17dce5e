"""A training run that records its samples, and that can be killed: `recorder.py ROOT FOLDER WORKERS STEP`."""

import os
import signal
import sys
from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import ModelCheckpoint

import tiny

SEEN = "seen.txt"


class Recorder(LightningModule):
    """Learns nothing, and appends the indices of each batch to a file, which survives a kill."""

    def __init__(self, path, kill_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.path = path
        self.kill_at = kill_at

    def training_step(self, batch, batch_idx):
        with self.path.open("a") as stream:
            print(*batch["index"].tolist(), file=stream)
        if self.global_step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.0 * self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def run(root, folder, num_workers, kill_at=None, resume=None, epochs=2):
    """Train with a checkpoint every 4 steps; return the samples of each batch so far."""
    checkpoints = ModelCheckpoint(folder, "{step}", every_n_train_steps=4, save_top_k=-1)
    trainer = tiny.trainer(
        folder, callbacks=[checkpoints], enable_checkpointing=True, max_epochs=epochs, limit_val_batches=0
    )
    trainer.fit(Recorder(folder / SEEN, kill_at), tiny.data(root, num_workers=num_workers), ckpt_path=resume)
    return seen(folder)


def seen(folder):
    return [[int(index) for index in line.split()] for line in (folder / SEEN).read_text().splitlines()]


if __name__ == "__main__":
    root, folder, num_workers, step = sys.argv[1:]
    run(root, Path(folder), int(num_workers), int(step))
