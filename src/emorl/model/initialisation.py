"""The released recipe's initial weights (appendix of the paper and released code)."""

from __future__ import annotations

from torch import nn

from emorl.model.position import PositionEmbedding
from emorl.model.recurrent import DualGRU

GAIN = 0.02


def initialise_released(model: nn.Module) -> None:
    """Fill in place: Xavier-normal weights of gain 0.02 and zero biases; the DualGRU's weights and biases N(0, 1).

    Position projections, LayerNorms and the other recurrent cells keep PyTorch's defaults.
    """
    for module in model.children():
        if isinstance(module, DualGRU):
            for parameter in module.parameters():
                nn.init.normal_(parameter)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_normal_(module.weight, gain=GAIN)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif not isinstance(module, PositionEmbedding):
            initialise_released(module)
