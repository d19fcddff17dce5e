"""Activeness of latent dimensions: the variance of the decoded image when one is swept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.evaluation.representation.traversal import sweep
from emorl.figures import Figure
from emorl.model import SlotModel

_DIMS = 8  # dimensions that are swept at once, which bounds the memory


def activeness(
    network: SlotModel,
    slots: Float[Tensor, "scenes slots dim"],
    values: Float[Tensor, "dim steps"],
    size: tuple[int, int],
) -> Float[Tensor, " dim"]:
    """Return the variance of a pixel over a dimension's values, with all others fixed, averaged over pixels and slots.

    Args:
        network: the model.
        slots: slots of some scenes, which give the values of the other dimensions.
        values: values of each dimension, such as from `sweep_values`.
        size: height and width of the decoded images.

    Returns:
        The mean over scenes, slots, channels and pixels; at least 0.

    >>> from emorl.model import EfficientMORL
    >>> network = EfficientMORL(num_slots=3, slot_dim=4)
    >>> activeness(network, torch.randn(2, 3, 4), values=torch.zeros(4, 5), size=(8, 8))  # nothing is swept
    tensor([0., 0., 0., 0.])
    """
    groups = torch.split(torch.arange(len(values)), _DIMS)
    total = values.new_zeros(len(values))
    for scene in tqdm(slots, desc="activeness", unit="scene", disable=None):
        for slot in range(len(scene)):
            for dims in groups:
                pictures = sweep(network, scene, slot, dims.tolist(), values[dims], size)
                total[dims] += pictures.var(dim=1, correction=0).mean(dim=(1, 2, 3))
    return total / (slots.shape[0] * slots.shape[1])


def activeness_figure(values: Float[Tensor, " dim"]) -> Figure:
    """Draw the activeness of all dimensions, in decreasing order.

    Returns:
        The figure.

    >>> [label.get_text() for label in activeness_figure(torch.tensor([0.1, 0.3])).axes[0].get_xticklabels()]
    ['1', '0']
    """
    order = values.argsort(descending=True).tolist()
    figure = Figure(figsize=(1 + 0.16 * len(order), 3), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(order)), values[order].tolist())
    axes.set_xticks(range(len(order)), [str(dim) for dim in order], rotation=90, fontsize=7)
    axes.set(xlabel="latent dimension", ylabel="activeness", xlim=(-0.6, len(order) - 0.4))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
