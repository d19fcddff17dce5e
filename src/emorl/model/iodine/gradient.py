"""The gradients that the refinement network reads: whose loss they are of."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from emorl.distributed import world_size
from emorl.model.describe import Described


class RefinementGradient(Described, ABC):
    """How large the gradients are that a layer normalization, which is not quite scale free, is shown."""

    @abstractmethod
    def forward(self, batch: int) -> float:
        """Return what an image's own gradients are multiplied by, in a batch of ``batch`` images."""


class OwnGradient(RefinementGradient):
    """Every image's gradients are those of its own loss: its slots depend on the image alone."""

    def forward(self, batch: int) -> float:
        """Return 1."""
        return 1.0


class BatchMeanGradient(RefinementGradient):
    """The gradients are those of the batch's mean loss, as in the release.

    In evaluation they are as large as in the last training step, so that an image's slots do not depend on the rest of
    its batch. (The release takes the batch at hand; so does here a model that has not been trained.)

    >>> gradient = BatchMeanGradient()
    >>> gradient(batch=4), gradient.eval()(batch=1)
    (0.25, 0.25)
    """

    training_batch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("training_batch", torch.zeros((), dtype=torch.long))  # over all processes

    def forward(self, batch: int) -> float:
        """Return 1 / B."""
        if self.training and torch.is_grad_enabled():
            self.training_batch.fill_(batch * world_size())
        return 1 / (int(self.training_batch) or batch)
