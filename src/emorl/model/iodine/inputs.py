"""Inputs of the refinement network: the image, the drawing of its slots, and their gradients."""

from __future__ import annotations

from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.iodine.coordinates import Coordinates
from emorl.model.iodine.decoder import Drawing
from emorl.model.iodine.likelihood import Explained, PixelMixture

CAPACITY = 0.5  # constant input of the authors' code


class JointLayerNorm(nn.Module):
    """Stop the gradient, then normalize over channels and pixels: y = gain (x - mean) / sqrt(var + eps) + bias.

    Mean and biased variance are taken over all channels and pixels of a slot; gain and bias are learned, one of each a
    channel.

    Args:
        channels: channels of the input.

    >>> JointLayerNorm(3)(torch.rand(1, 2, 3, 8, 8)).mean((2, 3, 4)).round(decimals=3).abs().tolist()
    [[0.0, 0.0]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, image: Float[Tensor, "batch slots channels h w"]) -> Float[Tensor, "batch slots channels h w"]:
        """Normalize."""
        normal = nn.functional.layer_norm(image.detach(), image.shape[2:], eps=1e-5)
        return torch.addcmul(self.bias[:, None, None], normal, self.gain[:, None, None])


def leave_one_out(values: Float[Tensor, "batch slots ..."]) -> Float[Tensor, "batch slots ..."]:
    """Return log sum_{j != k} exp(values_j) for each slot k; -inf for a single slot.

    It combines the sums over the slots before and after k. Subtracting a term from the total would lose precision.

    >>> leave_one_out(torch.tensor([[0.0, -1.0]])).tolist()
    [[-1.0, 0.0]]
    """
    nothing = torch.full_like(values[:, 0], -torch.inf)
    slots = values.unbind(dim=1)
    below = list(accumulate(slots[:-1], torch.logaddexp, initial=nothing))
    above = list(accumulate(slots[:0:-1], torch.logaddexp, initial=nothing))[::-1]
    return torch.stack([torch.logaddexp(a, b) for a, b in zip(below, above, strict=True)], dim=1)


def counterfactual(explained: Explained) -> Float[Tensor, "batch slots 1 h w"]:
    """Return log p(x) - log p(x | without slot k) in nats: by how much slot k raises a pixel's log-likelihood.

    The masks of the other slots are rescaled to a sum of one. With a single slot the result is zero.
    """
    if explained.log_joint.shape[1] == 1:
        return torch.zeros_like(explained.log_joint)
    without = leave_one_out(explained.log_joint) - leave_one_out(explained.log_masks)
    return explained.log_prob - without


def mask_posterior(log_density: Float[Tensor, "batch slots 1 h w"]) -> Float[Tensor, "batch slots 1 h w"]:
    """Return p_k / (sum_j p_j + 1e-6): the posterior over slots of a pixel under equal masks."""
    density = log_density.exp()
    return density / (density.sum(dim=1, keepdim=True) + 1e-6)


class PixelInputs(nn.Module):
    """Inputs of the refinement network at each pixel, in the alphabetical order of the names in the authors' code.

    ======================  ==========================  ==================================================
    input                   channels                    meaning
    ======================  ==========================  ==================================================
    capacity                1, if ``constants``         0.5
    components              3                           colors x_k
    coordinates             ``coordinates.channels``    of the pixel
    counterfactual*         1                           log p(x) - log p(x | without slot k)
    dcomponents*            3                           d loss / d colors
    dmask*                  1                           d loss / d logits
    image                   3                           x
    log_prob*               1                           log p(x)
    mask                    1                           logits
    posterior               1                           p_k / (sum_j p_j + 1e-6)
    pred_mask               1                           m_k
    ======================  ==========================  ==================================================

    Inputs marked * are detached from the graph and normalized by `JointLayerNorm`.

    Args:
        coordinates: builds the pixels' code.
        constants: whether to add the constant.
    """

    def __init__(self, coordinates: Coordinates, constants: bool) -> None:
        super().__init__()
        self.coordinates = coordinates
        self.constants = constants
        self.norm_counterfactual = JointLayerNorm(1)
        self.norm_colors = JointLayerNorm(3)
        self.norm_logits = JointLayerNorm(1)
        self.norm_log_prob = JointLayerNorm(1)

    @property
    def channels(self) -> int:
        """The total number of channels."""
        return 15 + self.coordinates.channels + self.constants

    def forward(
        self, drawing: Drawing, image: Float[Tensor, "batch 3 h w"], likelihood: PixelMixture, share: float | Tensor
    ) -> Float[Tensor, "batch slots channels h w"]:
        """Concatenate the inputs; ``share`` is the factor of `RefinementGradient`."""
        explained = likelihood.explain(drawing, image)
        with torch.no_grad():
            gradient = likelihood.gradient(drawing, explained, image)
            owed = counterfactual(explained)
        parts = [
            drawing.colors,
            self.coordinates(*image.shape[-2:], like=image)[None, None],
            self.norm_counterfactual(owed),
            self.norm_colors(share * gradient.colors),
            self.norm_logits(share * gradient.logits),
            image.unsqueeze(1),
            self.norm_log_prob(explained.log_prob),
            drawing.logits,
            mask_posterior(explained.log_density),
            explained.log_masks.exp(),
        ]
        if self.constants:
            parts.insert(0, torch.full_like(drawing.logits, CAPACITY))
        shape = drawing.logits.shape
        return torch.cat([part.expand(*shape[:2], -1, *shape[3:]) for part in parts], dim=2)
