"""Activeness of latent dimensions: how much the picture changes when one is swept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from emorl.evaluation.representation.traversal import sweep
from emorl.model import SlotModel

_DIMS = 8  # of a slot that are swept at once, which bounds the memory


def activeness(
    network: SlotModel,
    slots: Float[Tensor, "scenes slots dim"],
    values: Float[Tensor, "dim steps"],
    size: tuple[int, int],
) -> Float[Tensor, " dim"]:
    """Return the variance of a pixel over a dimension's values, all else unchanged, averaged over pixels and slots.

    Args:
        network: the model.
        slots: slots of some scenes, which have their values in all other dimensions.
        values: values that each dimension takes, such as `sweep_values` gives.
        size: height and width of the pictures.

    Returns:
        The mean over scenes, slots, channels and pixels.
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
    """Draw the activeness of all dimensions, the most active first."""
    order = values.argsort(descending=True).tolist()
    figure = Figure(figsize=(1 + 0.16 * len(order), 3), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(order)), values[order].tolist())
    axes.set_xticks(range(len(order)), [str(dim) for dim in order], rotation=90, fontsize=7)
    axes.set(xlabel="latent dimension", ylabel="activeness", xlim=(-0.6, len(order) - 0.4))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
