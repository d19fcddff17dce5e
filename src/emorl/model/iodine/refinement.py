"""The network that updates a slot's posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.iodine.convolution import SameConv2d
from emorl.model.iodine.coordinates import Coordinates, CosineCoordinates
from emorl.model.iodine.inputs import CAPACITY, PixelInputs
from emorl.model.posterior import SoftplusGaussian
from emorl.model.precision import full_precision
from emorl.model.recording import has_values
from emorl.ranges import counts


class State(NamedTuple):
    """The LSTM's state of each slot."""

    hidden: Float[Tensor, "batch slots hidden"]
    cell: Float[Tensor, "batch slots hidden"]


class IodineLSTM(nn.Module):
    """An LSTM cell with a forget bias of 1, which keeps most of its state at the start of training.

    i, f, g, o = W x + U h + b;  c' = sigmoid(f + 1) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(c').

    Args:
        input_size: dimensions of the input.
        hidden_size: dimensions of the state.

    >>> zero = torch.zeros(2, 4, 8)
    >>> IodineLSTM(16, 8)(torch.rand(2, 4, 16), State(zero, zero)).hidden.shape
    torch.Size([2, 4, 8])
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hidden = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        for parameter in self.parameters():
            truncated_normal(parameter, input_size + hidden_size)

    def forward(self, inputs: Float[Tensor, "batch slots inputs"], state: State) -> State:
        """Take a step."""
        gates = inputs @ self.weight_input.mT + state.hidden @ self.weight_hidden.mT + self.bias
        take, keep, new, show = gates.chunk(4, dim=-1)
        cell = (keep + 1).sigmoid() * state.cell + take.sigmoid() * new.tanh()
        return State(show.sigmoid() * cell.tanh(), cell)


class IodineRefinement(nn.Module):
    """lambda <- lambda + update(image, slots, gradients, lambda): a convolutional encoder, then an optional LSTM.

    The inputs are the encoding of `PixelInputs`, averaged over space, lambda, and the gradient of lambda. The defaults
    are the network of the authors' code for Tetrominoes. Its network for Multi-dSprites has an LSTM of 128; that for
    CLEVR6 has four convolutions, 64 channels, a kernel of 3, an MLP of 256 and 256, an LSTM of 256, and linear
    coordinates.

    Args:
        slot_dim: dimensions of a slot, D.
        channels: channels of the convolutions.
        kernel: side of their kernels in pixels.
        convolutions: number of convolutions; each has stride 2 and is followed by an ELU.
        mlp: widths of the layers after the mean over space, with ELUs between them.
        lstm: dimensions of the LSTM's state, one state a slot; without an LSTM no state is passed between steps.
        coordinates: builds the code of pixel positions.
        constants: whether to add a constant 0.5 to both inputs, as in the authors' code.

    >>> IodineRefinement(slot_dim=32, lstm=128).inputs.channels
    23
    """

    def __init__(
        self,
        slot_dim: int,
        channels: int = 32,
        kernel: int = 5,
        convolutions: int = 3,
        mlp: Sequence[int] = (128,),
        lstm: int | None = None,
        coordinates: Callable[[], Coordinates] = CosineCoordinates,
        constants: bool = False,
    ) -> None:
        super().__init__()
        counts(1, channels=channels, kernel=kernel, convolutions=convolutions)
        if lstm is not None:
            counts(1, lstm=lstm)
        self.inputs = PixelInputs(coordinates(), constants)
        widths = [self.inputs.channels, *[channels] * convolutions]
        self.convolutions = nn.Sequential(
            *(part for a, b in pairwise(widths) for part in (SameConv2d(a, b, kernel, stride=2), nn.ELU(inplace=True)))
        )
        layers = [part for a, b in pairwise([channels, *mlp]) for part in (nn.ELU(), nn.Linear(a, b))]
        self.mlp = nn.Sequential(*layers[1:])
        self.norm_slope = nn.LayerNorm(2 * slot_dim)
        joined = (mlp[-1] if mlp else channels) + 4 * slot_dim + constants
        self.lstm = None if lstm is None else IodineLSTM(joined, lstm)
        self.update = nn.Linear(joined if lstm is None else lstm, 2 * slot_dim)

    def start(self, like: Float[Tensor, "batch slots dim"]) -> State | None:
        """Return the LSTM's zero state."""
        if self.lstm is None:
            return None
        zero = like.new_zeros(*like.shape[:2], self.lstm.weight_hidden.shape[1])
        return State(zero, zero)

    def forward(
        self,
        pixels: Float[Tensor, "batch slots channels h w"],
        posterior: SoftplusGaussian,
        slope: Float[Tensor, "batch slots dim2"],
        state: State | None,
    ) -> tuple[SoftplusGaussian, State | None]:
        """Take a step.

        Args:
            pixels: of `PixelInputs`.
            posterior: lambda.
            slope: d loss / d lambda, which is detached from the graph.
            state: the LSTM's state.
        """
        canvas = pixels.flatten(0, 1).to(slope.dtype, memory_format=torch.channels_last)
        features = self.convolutions(canvas).to(slope.dtype).mean((2, 3)).unflatten(0, pixels.shape[:2])
        with full_precision(slope.device):  # vectors cost nothing
            old = torch.cat(posterior, dim=-1)
            vectors = [self.mlp(features), self.norm_slope(slope.detach()), old]
            if self.inputs.constants:
                vectors.insert(2, torch.full_like(old[..., :1], CAPACITY))
            joined = torch.cat(vectors, dim=-1)
            if self.lstm is not None and state is not None:
                state = self.lstm(joined, state)
                joined = state.hidden
            mean, rho = (old + self.update(joined)).chunk(2, dim=-1)
        return SoftplusGaussian(mean, rho), state


def truncated_normal(weight: Tensor, fan_in: int) -> None:
    """Fill with N(0, 1 / fan_in), cut off at two standard deviations."""
    std = fan_in**-0.5
    if has_values(weight):  # torch's function reads them
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
