"""What the refinement network sees of an image, its slots and their gradients."""

from __future__ import annotations

from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.iodine.coordinates import Coordinates
from emorl.model.iodine.decoder import Drawing
from emorl.model.iodine.likelihood import Explained, PixelMixture

CAPACITY = 0.5  # the release's constant input


class JointLayerNorm(nn.Module):
    """Stop the gradient, then normalize all of a slot's numbers together: y = gain (x - mean) / sqrt(var + eps) + bias.

    Mean and biased variance are over channels and pixels jointly; gain and bias belong to a channel, and are learned.

    Args:
        channels: channels of the input.
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
    """Return log sum_{j != k} exp(values_j) of every slot k; -inf for a single one.

    Sums up to and from every slot are put together: the largest term is never added and then subtracted.
    """
    nothing = torch.full_like(values[:, 0], -torch.inf)
    slots = values.unbind(dim=1)
    below = list(accumulate(slots[:-1], torch.logaddexp, initial=nothing))
    above = list(accumulate(slots[:0:-1], torch.logaddexp, initial=nothing))[::-1]
    return torch.stack([torch.logaddexp(a, b) for a, b in zip(below, above, strict=True)], dim=1)


def counterfactual(explained: Explained) -> Float[Tensor, "batch slots 1 h w"]:
    """Return log p(x) - log p(x | without slot k), what a pixel owes to a slot, in nats.

    The others' masks are scaled up to a sum of one. A single slot has nothing to be compared with: zero.
    """
    if explained.log_joint.shape[1] == 1:
        return torch.zeros_like(explained.log_joint)
    without = leave_one_out(explained.log_joint) - leave_one_out(explained.log_masks)
    return explained.log_prob - without


def mask_posterior(log_density: Float[Tensor, "batch slots 1 h w"]) -> Float[Tensor, "batch slots 1 h w"]:
    """Return p_k / (sum_j p_j + 1e-6), whose a pixel is by its color alone."""
    density = log_density.exp()
    return density / (density.sum(dim=1, keepdim=True) + 1e-6)


class PixelInputs(nn.Module):
    """All that the refinement network sees of every pixel, in the order of the release's names.

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

    Those marked * pass no gradient on, and are normalized by `JointLayerNorm`.

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
        """Channels in all."""
        return 15 + self.coordinates.channels + self.constants

    def forward(
        self, drawing: Drawing, image: Float[Tensor, "batch 3 h w"], likelihood: PixelMixture, share: float
    ) -> Float[Tensor, "batch slots channels h w"]:
        """Put all side by side; ``share`` is `RefinementGradient`'s."""
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
