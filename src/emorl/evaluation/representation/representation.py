"""``emorl-evaluate representation``: analysis of what the slots of a trained model encode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor

from emorl.classes import ClassPaths
from emorl.data.records import Factor
from emorl.data.shards.manifest import Manifest
from emorl.errors import DataError
from emorl.evaluation.inputs import LoadedScenes, chosen_steps, infer, load_model, load_scenes
from emorl.evaluation.outputs import check_out, show, tell, write_figure, write_table
from emorl.evaluation.representation.activeness import activeness, activeness_figure
from emorl.evaluation.representation.dci import dci, importance_figure, importance_table, scores_table
from emorl.evaluation.representation.matching import MIN_PIXELS, Codes, Matches, match
from emorl.evaluation.representation.probe import PROBES, probe, probe_figure, probe_table
from emorl.evaluation.representation.traversal import animation, sweep_values, traversal, traversal_figure, write_gif
from emorl.metrics.functional import masks_to_labels
from emorl.model.inference import encoded
from emorl.module import SlotModule

_COUNT, _FIRST = PositiveInt(320), NonNegativeInt(0)
STEPS = 11  # number of values in a sweep
SWEPT = 10  # number of scenes over which activeness is averaged
SHOWN = 5  # number of dimensions in a traversal


def representation(
    model: str,
    data: str,
    out: Path,
    split: str = "test",
    count: PositiveInt = _COUNT,
    steps: NonNegativeInt | None = None,
    factors: list[str] | None = None,
    scene: NonNegativeInt = _FIRST,
    test_draws: PositiveInt | None = None,
    classes: ClassPaths = (),
) -> None:
    """Analyze what slots encode: DCI, property probes, activeness and traversals of latent dimensions.

    The code of an object is the slot matched to it, or its posterior mean if the model has posteriors. Predictors are
    fitted to the objects in the first half of the scenes and scored on those in the second half. Writes objects, dci,
    importance, probes and activeness as tables (.csv and .md), importance.png, probes.png, activeness.png and
    traversals.png and .gif.

    Args:
        model: Checkpoint of emorl fit, folder of save_pretrained, or name of shipped weights.
        data: Folder of shards whose objects have factors: a local path or a URL.
        out: Folder of the results.
        split: Split of the data set.
        count: Number of scenes from the start of the split.
        steps: Number of steps; by default that of load_pretrained, which is 0 for EfficientMORL and 3 for Slot
            Attention.
        factors: Names of the factors; by default all. The paper's eight of CLEVR are
            [x,y,z,rotation,size,material,shape,color].
        scene: Number of the scene, from 0, whose slots are swept in the traversals.
        test_draws: Number of draws per image, of which the one with the lowest bound is kept; by default the model's.
        classes: Classes outside emorl.model that the model of a folder may consist of: own_model.SoftKMeans, or
            several: '[own_model.A, own_model.B]'.

    Example:
        ```console
        emorl-evaluate representation tetrominoes data/tetrominoes out
        ```
    """
    check_out(out)
    chosen = choose(data, Manifest.load(data).factors, factors)
    module = load_model(model, test_draws, classes)
    refinements = chosen_steps(module, module.network.default_steps if steps is None else steps)
    loaded = load_scenes(data, module, split, count)
    if scene >= len(loaded.image):
        raise DataError.of(
            "scene", expected=f"a number below the {len(loaded.image)} scenes", got=f"{scene}", remedy="choose another"
        )
    slots, labels = read(module, loaded, refinements)
    matches = match(labels, loaded.segmentation.cpu())
    varying, fitted, scored = halves(chosen, slots, matches, loaded)
    left_out = {f"under {MIN_PIXELS} pixels": matches.small, "without a slot": matches.missed}
    row = {"scenes": len(slots), "fitted": len(fitted.code), "scored": len(scored.code), **left_out}
    print(f"objects: {', '.join(f'{count} {name}' for name, count in row.items())}", flush=True)
    if constant := [factor.name for factor in chosen if factor not in varying]:
        print(f"omitted constant factors: {', '.join(constant)}")
    written = [
        *write_table([row | {"mean IoU": float(matches.iou.mean())}], out, "objects"),
        *study_factors(varying, fitted, scored, out),
        *study_dimensions(module, slots, scene, out),
    ]
    tell(written)


def choose(data: str, factors: Sequence[Factor], names: Sequence[str] | None) -> list[Factor]:
    """Return the factors with the given names, or all for None.

    Raises:
        DataError: if the data set has no factors, or lacks one of the names, or if a name is repeated.

    >>> factors = [Factor("x", "continuous"), Factor("y", "continuous")]
    >>> [factor.name for factor in choose("data/mine", factors, ["y"])]
    ['y']
    """
    if not factors:
        remedy = "use a data set whose manifest lists factors, such as Tetrominoes, Multi-dSprites or CLEVR"
        raise DataError.of(data, expected="objects with factors", got="a data set without any", remedy=remedy)
    by_name = {factor.name: factor for factor in factors}
    unknown = [name for name in names or [] if name not in by_name]
    if unknown or names == []:
        got, remedy = ", ".join(unknown) or "none", "choose among them"
        raise DataError.of("factors", expected=f"names among {', '.join(by_name)}", got=got, remedy=remedy)
    if repeated := [name for name in by_name if (names or ()).count(name) > 1]:
        got, remedy = f"{', '.join(repeated)} more than once", "name each once"
        raise DataError.of("factors", expected="different names", got=got, remedy=remedy)
    return [by_name[name] for name in names or by_name]


def read(
    module: SlotModule, scenes: LoadedScenes, steps: int
) -> tuple[Float[Tensor, "scenes slots dim"], Int64[Tensor, "scenes h w"]]:
    """Return all slots, or posterior means if the model has posteriors, and the slot of each pixel.

    >>> from emorl.model import EfficientMORL
    >>> module = SlotModule(EfficientMORL(num_slots=3, slot_dim=8), image_size=16)
    >>> pixels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    >>> slots, labels = read(module, LoadedScenes(pixels[:, None].expand(-1, 3, -1, -1), pixels, [[], []]), steps=0)
    >>> slots.shape, labels.shape
    (torch.Size([2, 3, 8]), torch.Size([2, 16, 16]))
    """
    slots, labels = [], []
    for batch in scenes.batches("slots"):
        inference = infer(module, batch, steps)
        slots.append(encoded(inference).slots)
        labels.append(masks_to_labels(inference.stages[-1].components.log_masks).cpu())
    return torch.cat(slots), torch.cat(labels)


def halves(
    factors: Sequence[Factor], slots: Float[Tensor, "scenes slots dim"], matches: Matches, scenes: LoadedScenes
) -> tuple[list[Factor], Codes, Codes]:
    """Return the factors that vary, and the matched objects of the first and the second half of the scenes.

    Raises:
        DataError: if there are too few objects, or if no factor varies in the first half.

    >>> objects = [[{"x": scene + 0.1}, {"x": scene + 0.2}] for scene in range(2)]
    >>> pixels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    >>> label, scene = torch.tensor([1, 2, 1, 2]), torch.tensor([0, 0, 1, 1])
    >>> matches = Matches(scene, label, slot=label - 1, iou=torch.ones(4), small=0, missed=0)
    >>> scenes = LoadedScenes(pixels[:, None].expand(-1, 3, -1, -1), pixels, objects)
    >>> factors, fitted, scored = halves([Factor("x", "continuous")], torch.rand(2, 3, 8), matches, scenes)
    >>> fitted.code.shape, scored.value.tolist()
    ((2, 8), [[1.1], [1.2]])
    """
    codes = slots[matches.scene.to(slots.device), matches.slot.to(slots.device)].double().cpu().numpy()
    places = zip(matches.scene.tolist(), matches.label.tolist(), strict=True)
    objects = [scenes.factors[scene][label - 1] for scene, label in places]
    values = np.array([[factor.encode(object_[factor.name]) for factor in factors] for object_ in objects])
    first = (matches.scene < len(slots) / 2).numpy()
    if min(first.sum(), (~first).sum()) < 2:
        expected, got = "two matched objects in each half of the scenes", f"{first.sum()} and {(~first).sum()}"
        raise DataError.of("objects", expected=expected, got=got, remedy="give more scenes, or train the model further")
    varies = [column for column in range(len(factors)) if len(np.unique(values[first, column])) > 1]
    if not varies:
        got, remedy = "equal objects only", "give more scenes"
        raise DataError.of("objects", expected="objects with different factors", got=got, remedy=remedy)
    fitted, scored = (Codes(codes[half], values[half][:, varies]) for half in (first, ~first))
    return [factors[column] for column in varies], fitted, scored


def study_factors(factors: Sequence[Factor], fitted: Codes, scored: Codes, out: Path) -> list[Path]:
    """Write DCI and probes of the factors, and return the files.

    Example:
        ```python
        slots, labels = read(module, scenes, steps=0)
        matches = match(labels, scenes.segmentation)
        study_factors(*halves(factors, slots, matches, scenes), Path("out"))
        ```
    """
    scores = {name: probe(name, factors, fitted, scored) for name in PROBES}
    result = dci(factors, fitted, scored)
    show(of_factors := scores_table(factors, result, scores["baseline"]), "DCI")
    show(of_probes := probe_table(factors, scores), "Property probes")
    return [
        *write_table(of_factors, out, "dci"),
        *write_table(importance_table(factors, result), out, "importance"),
        write_figure(importance_figure(factors, result), out, "importance"),
        *write_table(of_probes, out, "probes"),
        write_figure(probe_figure(factors, scores), out, "probes"),
    ]


def study_dimensions(module: SlotModule, slots: Float[Tensor, "scenes slots dim"], scene: int, out: Path) -> list[Path]:
    """Write the activeness of all dimensions and traversals of the most active ones, and return the files.

    Example:
        ```python
        slots, labels = read(module, scenes, steps=0)
        study_dimensions(module, slots, scene=0, out=Path("out"))
        ```
    """
    values, size = sweep_values(slots, STEPS), (module.image_size, module.image_size)
    active = activeness(module.network, slots[:SWEPT], values, size).cpu()
    order = active.argsort(descending=True).tolist()
    dims = order[:SHOWN]
    frames = torch.stack(
        [traversal(module.network, slots[scene], k, dims, values[dims], size) for k in range(slots.shape[1])]
    )
    return [
        *write_table([{"dimension": dim, "activeness": float(active[dim])} for dim in order], out, "activeness"),
        write_figure(activeness_figure(active), out, "activeness"),
        write_figure(traversal_figure(frames, dims), out, "traversals"),
        write_gif(animation(frames), out, "traversals"),
    ]
