"""The training objective: a loss for each stage, and their weighted sum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emorl.model.describe import Described
from emorl.model.geco import Geco
from emorl.ranges import at_least


def stage_weight(stage: int, refinement_steps: int) -> float:
    """Return the weight w_i = (I + 3 - i) / (I + 1) of stage i = 0..I.

    This is the form of the authors' code. The paper weighs stage 0 by 1 and stage i by (I - i + 1) / (I + 1).

    >>> [stage_weight(stage, 3) for stage in range(4)]
    [1.5, 1.25, 1.0, 0.75]
    """
    return (refinement_steps + 3 - stage) / (refinement_steps + 1)


class Objective(Described):
    """The negative ELBO of a stage, nll + kl_weight * KL, or its GECO form after the warm start.

    Args:
        geco: the reconstruction constraint; without it the loss is the negative ELBO.
        kl_weight: weight of the KL terms, 0 or more.

    >>> Objective(kl_weight=0.5)(torch.tensor(3.0), torch.tensor(2.0), dims=3 * 35 * 35)
    tensor(4.)
    """

    def __init__(self, geco: Geco | None = None, kl_weight: float = 1.0) -> None:
        super().__init__()
        at_least(0, kl_weight=kl_weight)
        self.geco = geco
        self.kl_weight = kl_weight
        self._observed: list[tuple[Tensor, int]] = []  # batches of the current optimizer step

    def forward(self, nll: Float[Tensor, ""], kl: Float[Tensor, ""], dims: int) -> Float[Tensor, ""]:
        """Return the loss of one stage from batch means; an image has ``dims`` channel-pixels."""
        fit = nll if self.geco is None else torch.where(self.geco.active, self.geco(nll, dims), nll)
        return fit + self.kl_weight * kl

    def observe(self, nll: Float[Tensor, " batch"] | None, dims: int) -> None:
        """Store the last stage's nll of a training batch; images have ``dims`` channel-pixels."""
        if self.geco is not None and nll is not None:
            self._observed.append((nll.detach().mean(), dims))

    def end_step(self) -> None:
        """Update GECO with the mean nll of the stored batches; call it after each optimizer step."""
        if self._observed and self.geco is not None:
            nll, dims = zip(*self._observed, strict=True)
            self.geco.update(torch.stack(nll).mean(), dims[-1])
        self.discard_step()

    def discard_step(self) -> None:
        """Forget the stored batches; call it before training, which an error may have ended within a step."""
        self._observed.clear()
