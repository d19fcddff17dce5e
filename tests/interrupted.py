"""Parts that interrupt a command, which names them on its command line."""

import os
import signal

from pytorch_lightning import Callback

from emorl.model import SlotModel


class Kill(Callback):
    """Ends the process as the kernel does when memory runs out.

    Args:
        step: the optimizer step that is not taken any more.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class Interrupt(Callback):
    """Presses Ctrl-C in a prediction."""

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        os.kill(os.getpid(), signal.SIGINT)


class Incomplete(SlotModel):
    """A model without `forward`."""
