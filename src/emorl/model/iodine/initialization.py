"""IODINE's initial weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from emorl.model.initialization import Initialization, balance
from emorl.model.iodine.decoder import IodinePixelDecoder
from emorl.model.iodine.refinement import IodineRefinement, truncated_normal


class IodineInitialization(Initialization):
    """The authors' code: truncated normal weights of standard deviation 1 / sqrt(fan_in), zero biases.

    Other parameters keep the values of their construction: gains 1 and biases 0 in normalizations, truncated normal
    values in the LSTM, uniform values in lambda_0.

    >>> layer = nn.Linear(100, 100)
    >>> IodineInitialization()(nn.Sequential(layer))
    >>> bool(layer.weight.abs().max() <= 0.2), bool((layer.bias == 0).all())  # cut off at two standard deviations
    (True, True)
    """

    def __call__(self, model: nn.Module) -> None:
        """Fill the weights of all convolutions and linear layers in place."""
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                truncated_normal(layer.weight, fan_in=layer.weight[0].numel())
                if layer.bias is not None:
                    torch.nn.init.zeros_(layer.bias)


@balance.register
def _(part: IodinePixelDecoder) -> None:
    cast(nn.Conv2d, part.layers[-1]).weight.mul_(0.3)


@balance.register
def _(part: IodineRefinement) -> None:
    part.update.weight.mul_(0.1)
