"""The training objective: a loss per stage, and their weighted sum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emorl.model.describe import Described
from emorl.model.geco import Geco
from emorl.ranges import at_least


def stage_weight(stage: int, refinement_steps: int) -> float:
    """Return the weight w_i = (I + 3 - i) / (I + 1) of stage i = 0..I.

    The paper weighs stage 0 by 1 and stage i by (I - i + 1) / (I + 1); this is the released code's form.
    """
    return (refinement_steps + 3 - stage) / (refinement_steps + 1)


class Objective(Described):
    """The negative ELBO of a stage, nll + kl_weight * KL, or GECO's form of it once its warm start is over.

    Args:
        geco: the reconstruction constraint; none for the plain negative ELBO.
        kl_weight: weight of the KL terms.
    """

    def __init__(self, geco: Geco | None = None, kl_weight: float = 1.0) -> None:
        super().__init__()
        at_least(0, kl_weight=kl_weight)
        self.geco = geco
        self.kl_weight = kl_weight
        self._observed: list[tuple[Tensor, int]] = []  # batches of the optimizer step under way

    def forward(self, nll: Float[Tensor, ""], kl: Float[Tensor, ""], dims: int) -> Float[Tensor, ""]:
        """Return the loss of one stage from batch means; an image has ``dims`` channel-pixels."""
        fit = nll if self.geco is None else torch.where(self.geco.active, self.geco(nll, dims), nll)
        return fit + self.kl_weight * kl

    def observe(self, nll: Float[Tensor, " batch"] | None, dims: int) -> None:
        """Keep the last stage's nll of a batch in training; images have ``dims`` channel-pixels."""
        if self.geco is not None and nll is not None:
            self._observed.append((nll.detach().mean(), dims))

    def end_step(self) -> None:
        """Call once after every optimizer step: GECO takes up the mean nll of the batches since the last."""
        if self._observed and self.geco is not None:
            nll, dims = zip(*self._observed, strict=True)
            self.geco.update(torch.stack(nll).mean(), dims[-1])
        self._observed.clear()
