"""Initial weights: an initialization has a rule for each kind of part, and so applies to any model built from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn

from emorl.model.attention import SlotAttend
from emorl.model.bottom_up import BottomUp
from emorl.model.decoder import BroadcastDecoder, Decoder
from emorl.model.position import PositionEmbedding
from emorl.model.prior import ConditionalPrior
from emorl.model.recurrent import DualGRU, ResidualMLP
from emorl.model.refinement import Refinement

GAIN = 0.02
RHO = -2.0  # initial rho of posteriors and priors: a scale of about 0.35
Weighted = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


class Initialization(ABC):
    """Fills a model's weights in place.

    >>> isinstance(BalancedInitialization(), Initialization)
    True
    """

    @abstractmethod
    def __call__(self, model: nn.Module) -> None:
        """Fill the weights."""


class ReferenceInitialization(Initialization):
    """The authors' initialization: Xavier-normal weights of gain 0.02, zero biases, N(0, 1) in all of the DualGRU.

    The encoder's position projection, LayerNorms and the other recurrent cells keep PyTorch's defaults.

    >>> from emorl.model import EfficientMORL
    >>> model = EfficientMORL(initialization=ReferenceInitialization)
    >>> round(model.bottom_up.cell.mean.weight_hh.std().item(), 1)
    1.0
    """

    def __call__(self, model: nn.Module) -> None:
        """Fill the weights."""
        _xavier(_weighted(model))
        for part in model.modules():
            if isinstance(part, Decoder):
                _xavier(_weighted(part, positions=True))
            elif isinstance(part, DualGRU):
                for parameter in part.parameters():
                    nn.init.normal_(parameter)


class ReferenceDecoderInitialization(Initialization):
    """The authors' Slot Attention baseline: `ReferenceInitialization` in the decoder, PyTorch's defaults elsewhere.

    >>> from emorl.model import SlotAttention
    >>> model = SlotAttention(initialization=ReferenceDecoderInitialization)
    >>> bool((model.decoder.layers[0].bias == 0).all()), bool((model.mlp[1].bias == 0).all())
    (True, False)
    """

    def __call__(self, model: nn.Module) -> None:
        """Fill the decoder's weights."""
        for part in model.modules():
            if isinstance(part, Decoder):
                _xavier(_weighted(part, positions=True))


class BalancedInitialization(Initialization):
    """Keeps signals at unit scale from pixels to slots and back, so that learning starts without a long plateau.

    With the authors' initialization attention is uniform to 2 % at first, and posterior means differ between images by
    a thousandth of their scale. This one has He-normal weights; attention logits of standard deviation about 1; values
    twice as large; small residual MLPs, which would otherwise add the same large offset to all slots; posterior and
    prior scales of about 0.35; dark and equal colors of all slots, and of all pixels of a strided decoder's position
    (Aitken et al., 2017); small refinement steps. Position projections, LayerNorms and recurrent cells keep the values
    of their construction.

    >>> from emorl.model import EfficientMORL
    >>> model = EfficientMORL(initialization=BalancedInitialization)
    >>> model.prior.conditional.rho.bias.detach().unique()
    tensor([-2.])
    """

    def __call__(self, model: nn.Module) -> None:
        """Fill the weights."""
        for layer in _weighted(model):
            if isinstance(layer, nn.ConvTranspose2d):  # an output sums in_channels * (kernel / stride)^2 values
                nn.init.normal_(layer.weight, std=layer.stride[0] * (2 / layer.weight[:, 0].numel()) ** 0.5)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        with torch.no_grad():
            for part in model.modules():
                balance(part)


@singledispatch
def balance(part: nn.Module) -> None:
    """Adjust a part whose layers have He-normal weights; without a rule for its class it keeps them.

    A model of other parts registers rules for their classes.
    """


@balance.register
def _(part: SlotAttend) -> None:
    for projection, scale in ((part.to_query, 1.0), (part.to_key, 1.0), (part.to_value, 2.0)):
        nn.init.normal_(projection.weight, std=scale * projection.in_features**-0.5)


@balance.register
def _(part: ResidualMLP) -> None:
    cast(nn.Linear, part[-1]).weight.mul_(0.2)


@balance.register
def _(part: BottomUp) -> None:
    nn.init.constant_(cast(nn.Linear, part.rho_mlp[-1]).bias, RHO)


@balance.register
def _(part: ConditionalPrior) -> None:
    nn.init.constant_(part.rho.bias, RHO)


@balance.register
def _(part: BroadcastDecoder) -> None:
    last = _weighted(part.layers)[-1]
    last.weight.mul_(0.3)
    if isinstance(last, nn.Conv2d):
        of_pixels = last.weight.view(4, -1, *last.weight.shape[1:])  # weights of the stride^2 pixels of a position
        of_pixels.copy_(of_pixels[:, :1].clone().expand_as(of_pixels))
    cast(Tensor, last.bias).view(4, -1)[:3].fill_(-2.5)  # color: sigmoid(-2.5) is 0.08


@balance.register
def _(part: Refinement) -> None:
    part.mean.weight.mul_(0.1)
    part.rho.weight.mul_(0.1)


def _xavier(layers: list[Weighted]) -> None:
    for layer in layers:
        nn.init.xavier_normal_(layer.weight, gain=GAIN)


def _weighted(model: nn.Module, positions: bool = False) -> list[Weighted]:
    """Zero the biases of all linear and convolutional layers, except in position embeddings, and return the layers."""
    found: list[Weighted] = []
    for module in model.children():
        if isinstance(module, Weighted):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            found.append(module)
        elif positions or not isinstance(module, PositionEmbedding):
            found += _weighted(module, positions)
    return found
