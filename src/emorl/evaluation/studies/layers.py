"""What each layer and each refinement step makes of a scene (figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, UInt8
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor

from emorl.evaluation.inputs import infer, load_module, load_scenes
from emorl.evaluation.outputs import write_figure, write_table
from emorl.evaluation.report.figures import labelled
from emorl.evaluation.studies.rows import Rows, discard, gather_batches
from emorl.evaluation.studies.scores import on_device, pair
from emorl.metrics import ImageMean
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels, mean_squared_error
from emorl.model import Inference
from emorl.model.decode_pass import decode_pass
from emorl.model.decoder import Components
from emorl.module import EfficientMORLModule
from emorl.types import Batch
from emorl.viz import colourise, grid, to_uint8

_COUNT, _PICTURES = PositiveInt(320), NonNegativeInt(4)


class Readings(NamedTuple):
    """How good each layer's and each refinement step's reading of each scene is."""

    names: list[str]  # "layer 1" .. "layer L", "step 1" .. "step I"
    fg_ari: Float64[Tensor, "readings scenes"]  # NaN where no object is to be seen
    mse: Float64[Tensor, "readings scenes"]

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]]) -> Readings:
        """Join the rows that `score` returns of one batch after another."""
        joined: dict[str, dict[str, list[float]]] = {}
        for row in rows:
            scores = joined.setdefault(row["slots"], {"fg_ari": [], "mse": []})
            for name, values in scores.items():
                values += row[name]
        fg_ari, mse = (
            torch.tensor([scores[name] for scores in joined.values()], dtype=torch.float64)
            for name in ("fg_ari", "mse")
        )
        return cls(list(joined), fg_ari, mse)

    def ranked(self) -> tuple[str, Float64[Tensor, " scenes"], list[int]]:
        """Return what ranks the scenes after the last step, its values, and the scenes' places from best to worst.

        It is FG-ARI, for scenes with an object; if there are none, it is MSE.
        """
        fg_ari, mse = self.fg_ari[-1], self.mse[-1]
        known = (~fg_ari.isnan()).nonzero().flatten()
        if not len(known):
            return "MSE", mse, mse.argsort(stable=True).tolist()
        return "FG-ARI", fg_ari, known[fg_ari[known].argsort(descending=True, stable=True)].tolist()

    def table(self) -> Rows:
        """Return one row a reading: mean and standard error over the scenes."""
        return [
            {"slots": name, "scenes": len(mse), **_cells("fg_ari", fg_ari), **_cells("mse", mse)}
            for name, fg_ari, mse in zip(*self, strict=True)
        ]


def layers(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    pictures: NonNegativeInt = _PICTURES,
) -> None:
    """Show and score what each bottom-up layer and each refinement step makes of a scene.

    Writes FG-ARI and MSE of the decoded slots of every layer and step to layers.csv and layers.md, and one picture for
    each of the first scenes, scene_000.png and on: what the layers attend to, and what their slots and those of the
    steps decode to. A column NAME_se is a standard error over scenes. The last layer is what I = 0 gives. After an
    interruption the same command goes on where it stopped.

    Args:
        model: Checkpoint of emorl fit, or name of shipped weights.
        data: Folder of shards: a local path or a URL.
        out: Folder for the table and the pictures.
        split: Split of the data set.
        count: Number of scenes to score, the first ones of the split.
        pictures: Number of scenes to draw.
    """
    module = load_module(model)
    scenes = load_scenes(data, module, split, count)

    def compute(batch: Batch) -> Rows:
        return score(module, *look(module, batch))

    about = {"steps": module.test_refinement_steps}
    readings = Readings.of(gather_batches(compute, scenes, out, "layers", module, about))
    paths = [*write_table(readings.table(), out, "layers")]
    for place in range(min(pictures, len(scenes.image))):
        figure = labelled(*layer_picture(module, *look(module, scenes.batch([place]))))
        paths.append(write_figure(figure, out, f"scene_{place:03d}"))
    print(*paths, sep="\n")
    discard(out, "layers")


def look(module: EfficientMORLModule, batch: Batch) -> tuple[Batch, Inference]:
    """Return a batch on the model's device, with what `emorl test` infers from it."""
    return on_device(batch, module), infer(module, batch, module.test_refinement_steps)


def read(module: EfficientMORLModule, batch: Batch, inference: Inference) -> dict[str, Components]:
    """Decode the slots of every layer, ``layer 1`` .. ``layer L``, and every refinement step, ``step 1`` .. ``step I``.

    The slots of layer l are the very z^l, a sample of q(z^l | z^{l-1}, x) or, with the module's ``test_means``, its
    mean, that the bottom-up pass went on with; those of the last layer are stage 0's.

    Args:
        module: the model.
        batch: scenes.
        inference: what is inferred from them.
    """
    network, noise = module.network, module.test_noise(batch)
    *lower, _ = inference.posteriors
    stages = [stage.components for stage in inference.stages]
    decoded = []
    for layer, posterior in enumerate(lower, start=1):
        slots = posterior.sample(noise(f"z{layer}", posterior.mean))
        image = batch["image"].to(slots.dtype) / 255
        decoded.append(decode_pass(network.score, slots, image, (), network.decode_chunk).components)
    names = [f"layer {layer}" for layer in range(1, len(decoded) + 2)] + [f"step {i}" for i in range(1, len(stages))]
    return dict(zip(names, decoded + stages, strict=True))


def score(module: EfficientMORLModule, batch: Batch, inference: Inference) -> Rows:
    """Score every reading of every scene of a batch: a row for each reading, with a list of scores in a cell.

    Args:
        module: the model.
        batch: scenes.
        inference: what is inferred from them.
    """
    image, true = batch["image"].float() / 255, batch["segmentation"]
    objects = (true > 0).any(dim=(1, 2))
    rows = []
    for name, components in read(module, batch, inference).items():
        fg_ari = adjusted_rand_index(masks_to_labels(components.masks), true).where(objects, torch.nan)
        mse = mean_squared_error(components.reconstruction, image)
        rows.append({"slots": name, "fg_ari": fg_ari.tolist(), "mse": mse.tolist()})
    return rows


def layer_picture(
    module: EfficientMORLModule, batch: Batch, inference: Inference
) -> tuple[UInt8[Tensor, "3 h w"], list[str], list[str]]:
    """Draw the attention of each layer, then what the slots of each layer and step decode to.

    A row has the image, or its reconstruction; the segmentation; and for each slot its attention, from black (none) to
    white (its own maximum), or its mask, from 0 to 1.

    Args:
        module: the model.
        batch: one scene.
        inference: what is inferred from it.

    Returns:
        The picture, and the labels of its rows and of its columns, for `labelled`.
    """
    image = batch["image"][0].float() / 255
    rows = {}
    for layer, attention in enumerate(inference.attention, start=1):
        maps = attention[0].view(-1, 1, *image.shape[-2:])
        rows[f"layer {layer}\nattention"] = _row(image, maps, maps.amax(dim=(1, 2, 3), keepdim=True))
    for name, components in read(module, batch, inference).items():
        masks = components.masks[0]
        rows[f"{name}\ndecoded"] = _row(components.reconstruction[0], masks, torch.ones_like(masks))
    slots = inference.attention[0].shape[1]
    columns = ["image", "segmentation", *(f"slot {slot}" for slot in range(slots))]
    return grid(torch.cat(list(rows.values())), len(columns)), list(rows), columns


def _row(
    image: Float[Tensor, "3 h w"], maps: Float[Tensor, "slots 1 h w"], white: Float[Tensor, "slots 1 _ _"]
) -> UInt8[Tensor, "tiles 3 h w"]:
    segmentation = colourise(maps.squeeze(1).argmax(0) + 1)
    grey = to_uint8(maps / white).expand(-1, 3, -1, -1)
    return torch.cat((to_uint8(image)[None], segmentation[None], grey)).cpu()


def _cells(name: str, values: Float64[Tensor, " scenes"]) -> dict[str, float]:
    mean = ImageMean()
    mean.update(values[~values.isnan()])
    return pair(name, mean.summary())
