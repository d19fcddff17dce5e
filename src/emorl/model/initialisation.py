"""Initial weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from emorl.model.position import PositionEmbedding
from emorl.model.recurrent import DualGRU

if TYPE_CHECKING:
    from emorl.model.efficient_morl import EfficientMORL

GAIN = 0.02
Weighted = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


class Initialisation(ABC):
    """Fills a model's weights in place."""

    @abstractmethod
    def __call__(self, model: EfficientMORL) -> None:
        """Fill the weights."""


class ReleasedInitialisation(Initialisation):
    """The released recipe: Xavier-normal weights of gain 0.02, zero biases, all of the DualGRU N(0, 1).

    Position projections, LayerNorms and the other recurrent cells keep PyTorch's defaults.
    """

    def __call__(self, model: EfficientMORL) -> None:
        """Fill the weights."""
        for module in _weighted(model):
            nn.init.xavier_normal_(module.weight, gain=GAIN)
        if isinstance(model.bottom_up.cell, DualGRU):
            for parameter in model.bottom_up.cell.parameters():
                nn.init.normal_(parameter)


class BalancedInitialisation(Initialisation):
    """Keeps signals at unit scale on their way from pixels to slots and back, so that learning starts at once.

    With the released weights attention starts uniform to 2 %, and posterior means differ between images by a
    thousandth of their scale. Here: He-normal weights; attention logits of standard deviation about 1; values twice as
    large; small residual MLPs, which would otherwise add the same large offset to all slots; posterior and prior scales
    of about 0.35; slots that start dark and alike, and so do the pixels of a strided decoder's position (Aitken et al.,
    2017); small refinement steps. Position projections, LayerNorms and recurrent cells keep PyTorch's defaults.
    """

    def __call__(self, model: EfficientMORL) -> None:
        """Fill the weights."""
        for module in _weighted(model):
            if isinstance(module, nn.ConvTranspose2d):  # in_channels * (kernel / stride)^2 values make one
                nn.init.normal_(module.weight, std=module.stride[0] * (2 / module.weight[:, 0].numel()) ** 0.5)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        attend, rho = model.bottom_up.attend, -2.0
        for projection, scale in ((attend.to_query, 1.0), (attend.to_key, 1.0), (attend.to_value, 2.0)):
            nn.init.normal_(projection.weight, std=scale * projection.in_features**-0.5)
        residuals = cast(nn.Linear, model.bottom_up.mean_mlp[-1]), cast(nn.Linear, model.bottom_up.rho_mlp[-1])
        nn.init.constant_(residuals[1].bias, rho)
        nn.init.constant_(model.prior.conditional.rho.bias, rho)
        last = _weighted(model.decoder.layers)[-1]
        heads = model.refinement.mean, model.refinement.rho
        with torch.no_grad():
            for layers, factor in ((residuals, 0.2), ((last,), 0.3), (heads, 0.1)):
                for layer in layers:
                    layer.weight.mul_(factor)
            if isinstance(last, nn.Conv2d):
                of_pixels = last.weight.view(4, -1, *last.weight.shape[1:])  # of the stride^2 pixels of a position
                of_pixels.copy_(of_pixels[:, :1].clone().expand_as(of_pixels))
            cast(Tensor, last.bias).view(4, -1)[:3].fill_(-2.5)  # colour: sigmoid(-2.5) is 0.08


def _weighted(model: nn.Module) -> list[Weighted]:
    """Return every linear and convolutional layer but position projections, its bias set to zero."""
    found: list[Weighted] = []
    for module in model.children():
        if isinstance(module, Weighted):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            found.append(module)
        elif not isinstance(module, PositionEmbedding):
            found += _weighted(module)
    return found
