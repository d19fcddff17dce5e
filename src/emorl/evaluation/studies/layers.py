"""What each layer and each step makes of a scene (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, UInt8
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor

from emorl.evaluation.inputs import infer, load_model, load_scenes
from emorl.evaluation.outputs import show, tell, write_table
from emorl.evaluation.studies.scores import pair
from emorl.metrics import ImageMean
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels, mean_squared_error, resize_masks
from emorl.model import Components, Inference, SlotModel, unit_range
from emorl.types import Batch
from emorl.viz import PAGE, colorize, gray, save_png, sheet, slot_names, to_uint8

_COUNT, _PICTURES = PositiveInt(320), NonNegativeInt(4)


class Reading(NamedTuple):
    """What the slots of a layer or of a stage decode to."""

    name: str  # "layer 1" .. "layer L", "step 1" .. "step I"
    step: int | None  # of the stage that has these slots, if there is one
    components: Components


class Readings(NamedTuple):
    """How good each layer's and each step's reading of each scene is."""

    names: list[str]  # of the readings, see `Reading`
    steps: list[int | None]  # likewise
    fg_ari: Float64[Tensor, "readings scenes"]  # NaN where no object is visible
    mse: Float64[Tensor, "readings scenes"]

    @classmethod
    def of(cls, batches: Iterable[Readings]) -> Readings:
        """Join what `score` returns of one batch after another."""
        (names, *_), (steps, *_), fg_ari, mse = zip(*batches, strict=True)
        return cls(names, steps, torch.cat(fg_ari, dim=1), torch.cat(mse, dim=1))

    def ranked(self) -> tuple[str, Float64[Tensor, " scenes"], list[int]]:
        """Return what ranks the scenes after the last step, its values, and the scenes' places from best to worst.

        It is FG-ARI, for scenes with an object; if there are none, it is MSE.
        """
        fg_ari, mse = self.fg_ari[-1], self.mse[-1]
        known = (~fg_ari.isnan()).nonzero().flatten()
        if not len(known):
            return "MSE", mse, mse.argsort(stable=True).tolist()
        return "FG-ARI", fg_ari, known[fg_ari[known].argsort(descending=True, stable=True)].tolist()

    def table(self) -> list[dict[str, Any]]:
        """Return one row a reading: mean and standard error over the scenes; FG-ARI if an object is seen in any."""
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
) -> None:
    """Show and score what each layer of attention and each refinement step makes of a scene.

    Writes FG-ARI and MSE of the decoded slots of every layer and step to layers.csv and layers.md, and one picture for
    each of the first scenes, scene_000.png and on: what the layers attend to, and what their slots and those of the
    steps decode to. A column NAME_se is a standard error over scenes. EfficientMORL's last layer is what I = 0 gives;
    in Slot Attention each iteration is a layer; a model without layers of attention has steps alone.

    Args:
        model: Checkpoint of emorl fit, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder for the table and the pictures.
        split: Split of the data set.
        count: Number of scenes to score, the first ones of the split.
        pictures: Number of scenes to draw.
    """
    module = load_model(model)
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
    """Decode the slots of every layer; after them come the stages with other slots than a layer's.

    EfficientMORL has the slots of layers 1 .. L, each the very sample of q(z^l | z^{l-1}, x), or mean, that the
    bottom-up pass continued with, and of steps 1 .. I; those of layer L are stage 0's. In Slot Attention each iteration
    is a layer, and the last one's slots are the result. Without layers there are the stages alone.

    Args:
        network: the model.
        inference: what it infers from some scenes.
    """
    stages = [stage for stage in inference.stages if stage.step >= network.min_steps]
    readings = []
    height, width = stages[-1].components.rgb.shape[-2:]
    for number, layer in enumerate(inference.layers, start=1):
        same = next((stage for stage in stages if stage.slots.equal(layer.slots)), None)
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
        inference: what is inferred from them.
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
    """Draw the attention of each layer, then what the slots of each layer and step decode to.

    A row has the image; its reconstruction, which attention has none of; the segmentation; and for each slot its
    attention, from black (none) to white (its own maximum), or its mask, from 0 to 1.

    Args:
        network: the model.
        batch: one scene.
        inference: what is inferred from it.
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
