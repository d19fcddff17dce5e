"""The scale of the gradients that the refinement network reads."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from emorl.distributed import world_size
from emorl.model.describe import Described


class RefinementGradient(Described, ABC):
    """The factor on each image's gradients before their layer normalization, which is not exactly scale-invariant.

    >>> isinstance(OwnGradient(), RefinementGradient)
    True
    """

    @abstractmethod
    def forward(self, batch: int) -> float | Tensor:
        """Return the factor on the gradients of an image's loss in a batch of ``batch`` images."""


class OwnGradient(RefinementGradient):
    """The gradients of each image's own loss, so that its slots do not depend on the rest of the batch.

    >>> OwnGradient()(batch=4)
    1.0
    """

    def forward(self, batch: int) -> float:
        """Return 1."""
        return 1.0


class BatchMeanGradient(RefinementGradient):
    """The gradients of the batch's mean loss, as in the authors' code.

    In evaluation they keep the scale of the last training step, so that an image's slots do not depend on the rest of
    its batch. (The authors' code uses the current batch. So does an untrained model here.)

    >>> gradient = BatchMeanGradient()
    >>> float(gradient(batch=4)), float(gradient.eval()(batch=1))
    (0.25, 0.25)
    """

    training_batch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("training_batch", torch.zeros(()))  # over all processes, in the precision of the model

    def forward(self, batch: int) -> float | Tensor:
        """Return 1 / B."""
        if self.training and torch.is_grad_enabled():
            self.training_batch.fill_(batch * world_size())
        return 1 / torch.where(self.training_batch > 0, self.training_batch, batch)
