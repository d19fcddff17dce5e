"""A callback that signals its process during a step; runs name it on the command line."""

import multiprocessing
import os
import signal

from pytorch_lightning import Callback


class Signal(Callback):
    """Sends a signal.

    Args:
        step: the optimizer step that is under way.
        name: of the signal.
        workers: whether it goes to the worker processes, too.
        validation: whether it comes in the validation after that step instead.
    """

    def __init__(self, step: int, name: str, workers: bool = False, validation: bool = False) -> None:
        self.step = step
        self.workers = workers
        self.validation = validation
        self.number = signal.Signals[name]

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == self.step and not self.validation:
            self.send()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if trainer.global_step == self.step + 1 and batch_idx == 0 and self.validation:
            self.send()

    def send(self):
        os.kill(os.getpid(), self.number)
        for worker in multiprocessing.active_children() if self.workers else []:
            os.kill(worker.pid, self.number)
