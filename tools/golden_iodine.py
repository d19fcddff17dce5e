"""The IODINE part of ``check_golden.py``.

Its files contain one training step in float64: every stage's posterior, scores, drawing and refinement inputs, then the
gradients. ``case``: B, K, D, H, W, T; decoder (channels, kernel); convs (channels, kernel, number); mlp; lstm (0:
none); coords (linear | cosine); likelihood (gaussian | logistic) and its scale; prior_var; constants; gradient (batch
mean | own).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emorl import model as m

COORDINATES = {"linear": m.LinearCoordinates, "cosine": m.CosineCoordinates}
LIKELIHOODS = {"gaussian": m.GaussianPixels, "logistic": m.LogisticPixels}
GRADIENTS = {"batch mean": m.BatchMeanGradient, "own": m.OwnGradient}
NAMES = {  # name in the files: name here
    r"decoder\.": "decoder.layers.",
    r"conv\.(\d+)\.": lambda match: f"refinement.convolutions.{2 * int(match[1])}.",  # activations between
    r"mlp\.(\d+)\.": lambda match: f"refinement.mlp.{2 * int(match[1])}.",
    r"lstm\.": "refinement.lstm.",
    r"head\.": "refinement.update.",
    r"norm\.dlambda\.gain": "refinement.norm_slope.weight",
    r"norm\.dlambda\.": "refinement.norm_slope.",
    r"norm\.dcolour\.": "refinement.inputs.norm_colors.",
    r"norm\.dlogit\.": "refinement.inputs.norm_logits.",
    r"norm\.": "refinement.inputs.norm_",
    r"lambda0": "initial",
}


def check_iodine(content: dict[str, Any], dtype: torch.dtype) -> tuple[float, float]:
    """Return the largest relative errors of values and of gradients."""
    case = content["case"]
    model = build(case, content["params"]).to(dtype)
    image = np.random.RandomState(7).uniform(0, 1, (case["B"], 3, case["H"], case["W"]))
    inputs = record_inputs(model, case)
    inference = model(torch.from_numpy(image).to(dtype), case["T"], noise=noise)
    seen, drawings = inputs.copy(), [draw(model, stage, image.shape[-2:]) for stage in inference.stages]
    inference.loss.backward()
    values = [relative(inference.loss, content["total_loss"])]
    for stage, drawing, theirs in zip(inference.stages, drawings, content["steps"], strict=True):
        values += stage_errors(stage, drawing, theirs)
        values += input_errors(seen[stage.step], theirs["inputs"]) if "inputs" in theirs else []
    return float(np.max(values)), gradient_error(model, content)


def build(case: dict[str, Any], parameters: list[dict[str, Any]]) -> m.IODINE:
    """Build the case's model and fill it by formula."""
    (decoder_channels, decoder_kernel), (channels, kernel, convolutions) = case["decoder"], case["convs"]
    names = [p["name"] for p in parameters]
    model = m.IODINE(
        num_slots=case["K"],
        slot_dim=case["D"],
        decoder=partial(
            m.IodinePixelDecoder,
            channels=decoder_channels,
            kernel=decoder_kernel,
            layers=sum(re.fullmatch(r"decoder\.\d+\.weight", name) is not None for name in names) - 1,
            constants=case["constants"],
        ),
        refinement=partial(
            m.IodineRefinement,
            channels=channels,
            kernel=kernel,
            convolutions=convolutions,
            mlp=case["mlp"],
            lstm=case["lstm"] or None,
            coordinates=COORDINATES[case["coords"]],
            constants=case["constants"],
        ),
        likelihood=partial(LIKELIHOODS[case["likelihood"]], scale=case["scale"]),
        prior_variance=case["prior_var"],
        gradient=GRADIENTS[case["gradient"]],
    ).double()
    filled = {ours(p["name"]): torch.from_numpy(parameter(p)) for p in parameters}
    buffers = dict(model.named_buffers())
    model.load_state_dict(filled | buffers)
    return model


def parameter(p: dict[str, Any]) -> np.ndarray:
    """Fill one parameter by its formula."""
    return np.random.RandomState(p["seed"]).standard_normal(p["shape"]) * p["scale"] + p["offset"]


def ours(name: str) -> str:
    """Return the name of a parameter in this package."""
    for pattern, new in NAMES.items():
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", new, name)
    return name


def noise(name: str, like: Tensor) -> Tensor:
    """Return the draws of step t, ``z0`` or ``refine{t}``."""
    step = int(re.sub(r"\D", "", name))
    return torch.from_numpy(np.random.RandomState(20000 + step).standard_normal(like.shape)).to(like)


def draw(model: m.IODINE, stage: m.Stage, size: Any) -> m.Drawing:
    """Draw a stage's slots."""
    with torch.no_grad():
        return model.decoder.draw(stage.slots, tuple(size))


def record_inputs(model: m.IODINE, case: dict[str, Any]) -> list[dict[str, Tensor]]:
    """Record the inputs of the refinement network at every step, split as in the files."""
    coordinates, constants = model.refinement.inputs.coordinates.channels, int(case["constants"])
    of_pixels = {
        "capacity": constants,
        "components": 3,
        "coordinates": coordinates,
        "counterfactual": 1,
        "dcomponents": 3,
        "dmask": 1,
        "image": 3,
        "log_prob": 1,
        "mask": 1,
        "posterior": 1,
        "pred_mask": 1,
    }
    vectors = {"dzp": 2 * case["D"], "flat_capacity": constants, "zp": 2 * case["D"]}
    found: list[dict[str, Tensor]] = []

    def keep_pixels(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        parts = arguments[0].flatten(0, 1).split(list(of_pixels.values()), dim=1)
        found.append(dict(zip(of_pixels, parts, strict=True)))

    def keep_vectors(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        joined = arguments[0].flatten(0, 1)[:, -sum(vectors.values()) :]
        found[-1].update(zip(vectors, joined.split(list(vectors.values()), dim=1), strict=True))

    model.refinement.register_forward_pre_hook(keep_pixels)
    (model.refinement.lstm or model.refinement.update).register_forward_pre_hook(keep_vectors)
    return found


def stage_errors(stage: m.Stage, drawing: m.Drawing, theirs: dict[str, Any]) -> list[float]:
    """Compare posterior, scores and drawing of a stage."""
    drawn = {"logits": drawing.logits, "colours": drawing.colors, "mean_image": stage.components.reconstruction}
    found = {"lambda": torch.cat(stage.posterior, dim=-1), "nll": stage.nll, "kl": stage.kl, "loss": stage.loss}
    summaries = [summary_error(drawn[name], theirs[name]) for name in drawn]
    components = summary_error(stage.components.rgb, theirs["colours"])
    return [*summaries, components, *(relative(found[name], theirs[name]) for name in found)]


def input_errors(ours: dict[str, Tensor], theirs: dict[str, Any]) -> list[float]:
    """Compare the refinement inputs of a step; inputs that the reference lacks must be absent."""
    ours = {name: value for name, value in ours.items() if value.numel()}
    if set(ours) != set(theirs):
        print(f"  other refinement inputs than in the reference: {sorted(set(ours) ^ set(theirs))}")
        return [float("inf")]
    return [summary_error(ours[name], theirs[name]) for name in ours]


def gradient_error(model: m.IODINE, content: dict[str, Any]) -> float:
    """Compare every gradient and the norm of all."""
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    theirs = {ours(name): summary for name, summary in content["gradients"].items()}
    if set(found) != set(theirs):
        print(f"  gradients of other parameters than in the reference: {sorted(set(found) ^ set(theirs))}")
        return float("inf")
    total = content["grad_norm"]
    errors = [summary_error(found[name], theirs[name], zero=1e-13 * total) for name in found]
    norm = torch.stack([g.norm() for g in found.values()]).norm()
    return float(np.max([*errors, relative(norm, total)]))


def relative(ours: Tensor, theirs: Any) -> float:
    """Return the largest difference, relative to the largest value."""
    difference = np.abs(ours.detach().double().numpy() - np.asarray(theirs))
    return float(difference.max() / max(np.abs(theirs).max(), 1e-300))


def summary_error(ours: Tensor, theirs: dict[str, float], zero: float = 1e-300) -> float:
    """Compare norm, mean and inner product of a tensor, relative to its norm, or to ``zero`` if that is larger."""
    flat = ours.detach().double().flatten().numpy()
    norm = max(theirs["norm"], zero)
    dot = flat @ np.random.RandomState(4242).standard_normal(flat.size)
    mean = (flat.mean() - theirs["mean"]) * flat.size**0.5
    return float(np.max(np.abs([np.linalg.norm(flat) - theirs["norm"], dot - theirs["dot"], mean])) / norm)
