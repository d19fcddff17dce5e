"""A callback that interrupts a run of the command line; named in its arguments."""

import os
import signal

from pytorch_lightning import Callback


class Kill(Callback):
    """Ends the process as the kernel does when memory runs out.

    Args:
        step: the optimiser step that is not taken any more.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
