"""``emorl-evaluate layers``: decoded slots and attention of every layer and step (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, UInt8
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor

from emorl.classes import ClassPaths
from emorl.evaluation.inputs import infer, load_model, load_scenes
from emorl.evaluation.outputs import check_out, show, tell, write_table
from emorl.evaluation.studies.scores import pair
from emorl.metrics import ImageMean
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels, mean_squared_error, resize_masks
from emorl.model import Components, Inference, SlotModel, unit_range
from emorl.types import Batch
from emorl.viz import PAGE, colorize, gray, save_png, sheet, slot_names, to_uint8

_COUNT, _PICTURES = PositiveInt(320), NonNegativeInt(4)


class Reading(NamedTuple):
    """The decoded slots of a layer or of a stage.

    >>> Reading("layer 1", None, Components(torch.zeros(1, 3, 3, 8, 8), torch.zeros(1, 3, 1, 8, 8))).name
    'layer 1'
    """

    name: str  # "layer 1" .. "layer L", "step 1" .. "step I"
    step: int | None  # step of the stage with these slots, if any
    components: Components


class Readings(NamedTuple):
    """The scores of each `Reading` on each scene.

    >>> ones = torch.ones(1, 2, dtype=torch.float64)
    >>> readings = Readings(["step 1"], [1], fg_ari=ones, mse=0.1 * ones)
    >>> readings.table()[0]["fg_ari"]
    1.0
    """

    names: list[str]  # names of the readings
    steps: list[int | None]  # steps of the readings
    fg_ari: Float64[Tensor, "readings scenes"]  # NaN if no object is visible
    mse: Float64[Tensor, "readings scenes"]

    @classmethod
    def of(cls, batches: Iterable[Readings]) -> Readings:
        """Concatenate the results of `score` for several batches."""
        (names, *_), (steps, *_), fg_ari, mse = zip(*batches, strict=True)
        return cls(names, steps, torch.cat(fg_ari, dim=1), torch.cat(mse, dim=1))

    def ranked(self) -> tuple[str, Float64[Tensor, " scenes"], list[int]]:
        """Return the name and values of the score that ranks scenes after the last step, and scenes from best to worst.

        The score is FG-ARI, over scenes with a visible object; if there are none, it is MSE.
        """
        fg_ari, mse = self.fg_ari[-1], self.mse[-1]
        known = (~fg_ari.isnan()).nonzero().flatten()
        if not len(known):
            return "MSE", mse, mse.argsort(stable=True).tolist()
        return "FG-ARI", fg_ari, known[fg_ari[known].argsort(descending=True, stable=True)].tolist()

    def table(self) -> list[dict[str, Any]]:
        """Return a row per reading: mean and standard error over scenes; FG-ARI only if any scene has an object."""
        return [
            {"slots": name, "scenes": len(mse)}
            | ({} if fg_ari.isnan().all() else _cells("fg_ari", fg_ari))
            | _cells("mse", mse)
            for name, fg_ari, mse in zip(self.names, self.fg_ari, self.mse, strict=True)
        ]


def layers(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    pictures: NonNegativeInt = _PICTURES,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Score and draw the decoded slots of every attention layer and every refinement step.

    Writes FG-ARI and MSE of the decoded slots to layers.csv and layers.md, and for each of the first scenes an image
    scene_000.png, ... with the attention of layers and the decoded slots of layers and steps. A column NAME_se is a
    standard error over scenes. EfficientMORL's last layer is the result at I = 0; in Slot Attention each iteration is
    a layer; a model without attention layers has steps only.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder for the table and the images.
        split: Split of the data set.
        count: Number of scenes to score, from the start of the split.
        pictures: Number of scenes to draw.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate layers tetrominoes data/tetrominoes out
        ```
    """
    check_out(out)
    module = load_model(model, test_draws, classes)
    network, steps = module.network, module.test_refinement_steps
    scenes = load_scenes(data, module, split, count)
    readings = Readings.of(score(network, batch, infer(module, batch, steps)) for batch in scenes.batches())
    paths = [*write_table(readings.table(), out, "layers")]
    for place in range(min(pictures, len(scenes.image))):
        batch = scenes.batch([place])
        save_png(layer_picture(network, batch, infer(module, batch, steps)), path := out / f"scene_{place:03d}.png")
        paths.append(path)
    show(readings.table(), "Slots of layers and steps: mean ± standard error over scenes")
    tell(paths)


def read(network: SlotModel, inference: Inference) -> list[Reading]:
    """Decode the slots of every layer, followed by the stages whose slots are not those of a layer.

    EfficientMORL has the slots of layers 1 .. L, each the sample or the mean of q(z^l | z^{l-1}, x) that is the input
    of the next layer, and those of steps 1 .. I; the slots of layer L are those of stage 0. In Slot Attention each
    iteration is a layer, and the slots of the last one are the result. A model without layers has stages only.

    Args:
        network: the model.
        inference: its inference for some scenes.

    Returns:
        Layers first, then steps.

    >>> from emorl.model import EfficientMORL
    >>> network = EfficientMORL(num_slots=3, slot_dim=8, num_layers=2)
    >>> [reading.name for reading in read(network, network(torch.zeros(1, 3, 16, 16), steps=1))]
    ['layer 1', 'layer 2', 'step 1']
    """
    stages = [stage for stage in inference.stages if stage.step >= network.min_steps]
    readings = []
    height, width = stages[-1].components.rgb.shape[-2:]
    for number, layer in enumerate(inference.layers, start=1):
        last = number == len(inference.layers) and stages[0].step == 0  # the best of several draws may be another's
        same = stages[0] if last else next((stage for stage in stages if stage.slots.equal(layer.slots)), None)
        if same is not None:
            stages.remove(same)
            readings.append(Reading(f"layer {number}", same.step, same.components))
        else:
            with torch.no_grad():
                readings.append(Reading(f"layer {number}", None, network.decode(layer.slots, (height, width))))
    return readings + [Reading(f"step {stage.step}", stage.step, stage.components) for stage in stages]


def score(network: SlotModel, batch: Batch, inference: Inference) -> Readings:
    """Score every reading of every scene of a batch.

    Args:
        network: the model.
        batch: scenes.
        inference: its inference for these scenes.

    Returns:
        FG-ARI and MSE of each reading and scene.

    >>> from emorl.model import EfficientMORL
    >>> network = EfficientMORL(num_slots=3, slot_dim=8, num_layers=2)
    >>> batch = {"image": torch.zeros(2, 3, 16, 16), "segmentation": torch.ones(2, 16, 16, dtype=torch.uint8)}
    >>> score(network, batch, network(batch["image"], steps=0)).mse.shape
    torch.Size([2, 2])
    """
    image, true = unit_range(batch["image"]), batch["segmentation"]
    objects = (true > 0).any(dim=(1, 2))
    readings, fg_ari, mse = read(network, inference), [], []
    for _, _, components in readings:
        masks = components.masks
        if masks.shape[-2:] != true.shape[-2:]:
            masks = resize_masks(masks, *true.shape[-2:])
        fg_ari.append(adjusted_rand_index(masks_to_labels(masks), true).where(objects, torch.nan))
        mse.append(mean_squared_error(components.reconstruction, image))
    names, steps, _ = zip(*readings, strict=True)
    return Readings([*names], [*steps], torch.stack(fg_ari).cpu(), torch.stack(mse).cpu())


def layer_picture(
    network: SlotModel, batch: Batch, inference: Inference
) -> UInt8[Tensor, "3 sheet_height sheet_width"]:
    """Draw the attention of each layer, followed by the decoded slots of each layer and step.

    A row shows the image, its reconstruction (not for attention), the segmentation, and for each slot its attention,
    from black (0) to white (the slot's maximum), or its mask, from 0 to 1.

    Args:
        network: the model.
        batch: one scene.
        inference: its inference for this scene.

    Returns:
        The picture, 0 to 255.

    >>> from emorl.model import EfficientMORL
    >>> network, image = EfficientMORL(num_slots=3, slot_dim=8), torch.zeros(1, 3, 16, 16)
    >>> layer_picture(network, {"image": image}, network(image, steps=0)).dtype
    torch.uint8
    """
    image = unit_range(batch["image"])[0]
    rows = {}
    for number, layer in enumerate(inference.layers, start=1):
        rows[f"layer {number}\nattention"] = _row(image, None, layer.attention[0].unsqueeze(1))
    for name, _, components in read(network, inference):
        rows[f"{name}\ndecoded"] = _row(image, components.reconstruction[0], components.masks[0], white=1.0)
    slots = inference.stages[-1].slots.shape[1]
    return sheet(torch.stack(list(rows.values())), ["image", "reconstruction", "masks", *slot_names(slots)], list(rows))


def _row(
    image: Float[Tensor, "3 h w"],
    reconstruction: Float[Tensor, "3 h w"] | None,
    maps: Float[Tensor, "slots 1 h w"],
    white: float | None = None,
) -> UInt8[Tensor, "tiles 3 h w"]:
    masks = colorize(maps.squeeze(1).argmax(0) + 1)
    shown = to_uint8(image)
    beside = torch.full_like(shown, PAGE) if reconstruction is None else to_uint8(reconstruction)
    return torch.cat((torch.stack((shown, beside, masks)), gray(maps, white))).cpu()


def _cells(name: str, values: Float64[Tensor, " scenes"]) -> dict[str, float]:
    mean = ImageMean()
    mean.update(values[~values.isnan()])
    return pair(name, mean.summary())
