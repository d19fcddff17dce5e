"""A custom decoder: an MLP of each slot and position (as in NeRF and SRT), instead of convolutions.

Use it with ``--model.network.decoder own_decoder.MLPDecoder`` and PYTHONPATH=examples, or in Python::

    model = EfficientMORL(num_slots=4, slot_dim=32, decoder=MLPDecoder)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emorl.model import Components, Decoder, EfficientMORL, FourierPosition
from emorl.model.position import PositionEmbedding


class MLPDecoder(Decoder):
    """Color and mask logit of slot z at position p: MLP(z + embedding(p)).

    Args:
        slot_dim: dimensions of a slot, D.
        hidden_dim: width of the hidden layers.
    """

    def __init__(self, slot_dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.position = PositionEmbedding(slot_dim, FourierPosition)
        widths = nn.Linear(slot_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.layers = nn.Sequential(widths[0], nn.ReLU(), widths[1], nn.ReLU(), nn.Linear(hidden_dim, 4))

    def forward(self, slots: Tensor, size: tuple[int, int]) -> Components:
        """Decode every slot at ``size`` = (height, width)."""
        canvas = slots[:, :, None, None] + self.position(*size)  # (B, K, h, w, D)
        color, logits = self.layers(canvas).movedim(-1, 2).split((3, 1), dim=2)  # (B, K, 3 + 1, h, w)
        return Components(color.sigmoid(), logits.log_softmax(dim=1))


def main() -> float:
    """Train on a batch of noise for a few steps, and return the loss."""
    torch.manual_seed(0)
    model = EfficientMORL(num_slots=3, slot_dim=16, feature_dim=16, decoder=MLPDecoder)
    optimizer, images = torch.optim.Adam(model.parameters(), lr=1e-3), torch.rand(2, 3, 16, 16)
    for _ in range(5):
        loss = model(images, steps=1).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.1f}")
    return loss.item()


if __name__ == "__main__":
    main()
