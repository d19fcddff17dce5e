"""A callback that signals its own process in the midst of a step; named in the arguments of a run."""

import multiprocessing
import os
import signal

from pytorch_lightning import Callback


class Signal(Callback):
    """Sends a signal.

    Args:
        step: the optimiser step that is under way.
        name: of the signal.
        workers: whether it ends the worker processes, too.
    """

    def __init__(self, step: int, name: str, workers: bool = False) -> None:
        self.step = step
        self.workers = workers
        self.number = signal.Signals[name]

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)
            for worker in multiprocessing.active_children() if self.workers else []:
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
