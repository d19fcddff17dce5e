"""IODINE's initial weights."""

from __future__ import annotations

import torch
from torch import nn

from emorl.model.initialization import Initialization
from emorl.model.iodine.refinement import truncated_normal


class IodineInitialization(Initialization):
    """The release's: truncated normal weights of standard deviation 1 / sqrt(fan_in), zero biases.

    Normalizations, the LSTM and lambda_0 start as they are built: gains 1, biases 0; truncated normal, the bias too;
    and uniform.
    """

    def __call__(self, model: nn.Module) -> None:
        """Fill the weights of convolutions and linear layers."""
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                truncated_normal(layer.weight, fan_in=layer.weight[0].numel())
                if layer.bias is not None:
                    torch.nn.init.zeros_(layer.bias)
