"""Compare with golden cases of the authors' code: ``python tools/check_golden.py FILE... [--float32]``.

A file contains a small problem (sizes, parameters and noise as seeds of NumPy's frozen ``RandomState``) and the results
of the authors' code: losses, KL terms, tensors, gradients, several optimizer steps. The comparison runs in float64 on
inputs cast to float32, which excludes rounding differences. The exit status is 1 if a file exceeds its tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from emorl import model as m
from emorl.released import from_released, to_released

sys.path.append(str(Path(__file__).parent))  # needed if this file is imported by its path
from golden_iodine import check_iodine

DECODERS = {"small": m.SmallDecoder, "iodine": m.IodineDecoder, "big": m.BigDecoder}
LIKELIHOODS = {"Gaussian": m.GaussianLikelihood, "GMM": m.MixtureLikelihood}
PRIORS = {"reversed++": m.ReversedPlusPlusPrior, "reversed": m.ReversedPrior, "bottom_up": m.BottomUpPrior}
SLOT_ATTENTION = {  # name here: name in the authors' code, where from_released does not map it
    "attend.norm.": "norm_slots.",
    "attend.to_query.": "to_q.",
    "attend.to_key.": "to_k.",
    "attend.to_value.": "to_v.",
    "mlp.0.": "norm_pre_ff.",
    "mlp.1.": "mlp.0.",
    "mlp.3.": "mlp.2.",
    "encoder.convolutions.": "encoder_pt_1.",
    "encoder.mlp.": "encoder_pt_2.",
    "encoder.position.projection.": "pos_embed_projection.",
    "decoder.position.projection.": "image_decoder.pos_embed_projection.",
    "decoder.layers.": "image_decoder.decode.",
}


class Tolerance(NamedTuple):
    """Maximum relative errors; `later` is for the first two later optimizer steps, and for all following steps."""

    values: float
    gradients: float
    later: tuple[float, float]


SMALL = Tolerance(2e-6, 2e-5, (1e-4, 1e-4))
DECONVOLUTION_OR_BASELINE = Tolerance(1e-6, 1e-4, (1e-4, 1e-4))
FULL_SIZE = Tolerance(2e-5, 2e-3, (5e-3, 5e-2))  # a ReLU input close to zero may have either sign after rounding
IODINE = Tolerance(1e-9, 1e-8, (1e-8, 1e-8))
FLOAT32 = Tolerance(1e-4, 2e-3, (5e-3, 5e-2))


def tolerance(case: dict[str, Any], dtype: torch.dtype) -> Tolerance:
    """Return the tolerance of a case: full-size cases are those with more than 64 slot dimensions in all."""
    if dtype == torch.float32:
        return FLOAT32
    if case["model"] == "IODINE":
        return IODINE
    if case["K"] * case["D"] > 64:
        return FULL_SIZE
    return DECONVOLUTION_OR_BASELINE if case["decoder"] == "big" or case["model"] == "SlotAttention" else SMALL


def worst(*errors: float) -> float:
    """Return the largest error; unlike ``max``, NaN if any is NaN."""
    return float(np.max(errors))


def relative(ours: float, theirs: float, size: float | None = None) -> float:
    """Return the error relative to ``size``, by default the reference's own."""
    return abs(ours - theirs) / max(abs(theirs) if size is None else size, 1e-12)


def summary_error(ours: Tensor, theirs: dict[str, Any], zero: float = 0.0) -> float:
    """Compare a tensor with its reference summary; if the reference norm is below ``zero``, so must be the tensor's."""
    flat = ours.detach().double().flatten().numpy()
    norm = theirs["norm"]
    if norm < zero:
        return 0.0 if np.linalg.norm(flat) < zero else float("inf")
    direction = np.random.RandomState(4242).standard_normal(flat.size)
    head = np.abs(flat[:6] - theirs["head"]).max() - 5e-8  # the head is rounded to 7 decimals
    mean = relative(flat.mean(), theirs["mean"], norm / flat.size**0.5)
    dot = relative(flat @ direction, theirs["dot"], norm)
    return worst(relative(np.linalg.norm(flat), norm), dot, head / norm, mean)


class Case:
    """One golden file: a model with parameters from a formula, images and noise."""

    def __init__(self, content: dict[str, Any], dtype: torch.dtype) -> None:
        self.case, self.noise_order = content["case"], content["noise"]
        self.dtype = dtype
        self.model = (self.slot_attention if self.case["model"] == "SlotAttention" else self.efficient_morl)()
        named = {p["name"]: self.parameter(p) for p in content["params"]}
        self.model.load_state_dict(self.to_ours(named), strict=False)
        self.model.to(dtype)
        shape = (self.case["N"], 3, self.case["H"], self.case["W"])
        image = np.random.RandomState(7).uniform(-1, 1, shape).astype(np.float32)
        self.image = (torch.from_numpy(image).to(dtype) + 1) / 2

    def slot_attention(self) -> nn.Module:
        """Build the baseline of the case's sizes."""
        return m.SlotAttention(self.case["K"], self.case["D"], decoder=DECODERS[self.case["decoder"]])

    def efficient_morl(self) -> nn.Module:
        """Build the model of the case's sizes, with GECO after its warm start."""
        c, geco = self.case, None
        if c["geco"] is not None:
            g = c["geco"]
            geco = m.Geco(*(float(g[name]) for name in ("target_per_dim", "alpha", "step_size", "acceleration")))
            geco.average.fill_(g["C_ema0"])
            geco.zeta.fill_(g["beta0"])
            geco.step.fill_(geco.warm_start + 1)
        return m.EfficientMORL(
            num_slots=c["K"],
            slot_dim=c["D"],
            num_layers=c["L"],
            cell=m.DualGRU if c["dual_gru"] else m.PlainGRU,
            prior=PRIORS[c["prior"]],
            decoder=DECODERS[c["decoder"]],
            likelihood=partial(LIKELIHOODS[c["likelihood"]], scale=c["sigma"]),
            geco=geco,
        )

    @staticmethod
    def parameter(p: dict[str, Any]) -> Tensor:
        """Fill one parameter by its formula."""
        offset: Any = p["offset"]
        if offset == "zeros_then_ones":
            offset = np.repeat([0.0, 1.0], p["shape"][-1] // 2)
        value = np.random.RandomState(p["seed"]).standard_normal(p["shape"]) * p["scale"] + offset
        return torch.from_numpy(np.asarray(value, dtype=np.float32))

    def to_ours(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename parameters from the authors' names to those of this package."""
        if self.case["model"] != "SlotAttention":
            return from_released(named)
        mean, rho = named.pop("init_slots").flatten().chunk(2)
        back = {old: new for new, old in SLOT_ATTENTION.items()} | {"gru.": "cell."}
        ours = {replace_prefix(name, back).removesuffix("_l0"): value for name, value in named.items()}
        return ours | {"initial_mean": mean, "initial_rho": rho}

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients by the authors' names."""
        ours = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        if self.case["model"] != "SlotAttention":
            return to_released(ours)
        initial = torch.cat((ours.pop("initial_mean"), ours.pop("initial_rho"))).unsqueeze(0)
        gru = {f"gru.{n.removeprefix('cell.')}_l0": ours.pop(n) for n in list(ours) if n.startswith("cell.")}
        return {replace_prefix(n, SLOT_ATTENTION): g for n, g in ours.items()} | gru | {"init_slots": initial}

    def noise(self, step: int) -> m.Noise:
        """Return the draws of one optimizer step."""

        def draw(name: str, like: Tensor) -> Tensor:
            seed = 20000 + 100 * step + self.noise_order.index(name)
            shape = (like.shape[0] * like.shape[1], like.shape[2])
            value = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
            return torch.from_numpy(value).to(like).view_as(like)

        return draw


def replace_prefix(name: str, prefixes: dict[str, str]) -> str:
    """Rename by the first matching prefix."""
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def gradient_error(ours: dict[str, Tensor], theirs: dict[str, Any], total: float) -> float:
    """Compare every gradient; gradients that the reference lacks must be absent."""
    if set(ours) != set(theirs):
        print(f"  gradients of other parameters than in the reference: {sorted(set(ours) ^ set(theirs))}")
        return float("inf")
    return worst(*(summary_error(ours[name], theirs[name], zero=1e-8 * total) for name in theirs))


def scalar_error(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Compare numbers and lists of numbers."""
    return worst(
        *(
            relative(a, b)
            for name in ours
            for a, b in zip(np.atleast_1d(ours[name]), np.atleast_1d(theirs[name]), strict=True)
        )
    )


def check_baseline(golden: Case, out: dict[str, Any]) -> tuple[float, float, list[float]]:
    """Compare a SlotAttention case."""
    inference = golden.model(golden.image, noise=golden.noise(0))
    inference.loss.backward()
    stage = inference.stages[-1]
    ours = {"slots": stage.slots, "rgb": stage.components.rgb, "log_masks": stage.components.log_masks}
    values = [summary_error(ours[name], out[name]) for name in ours]
    gradients = golden.gradients()
    total = sum(float(g.square().sum()) for g in gradients.values()) ** 0.5
    loss = relative(inference.loss.item(), out["loss"])
    return worst(*values, loss), gradient_error(gradients, out["grads"], total), []


def check_training(golden: Case, steps: list[dict[str, Any]]) -> tuple[float, float, list[float]]:
    """Train an EfficientMORL case for its steps and compare each."""
    model = golden.model
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    values, gradients, later = 0.0, 0.0, []
    for s, theirs in enumerate(steps):
        adam.zero_grad()
        inference = model(golden.image, golden.case["I"], noise=golden.noise(s))
        inference.loss.backward()
        if s == 0:
            gradients = gradient_error(golden.gradients(), theirs["grads"], theirs["grad_norm"])
        norm = nn.utils.clip_grad_norm_(model.parameters(), 5.0).item()
        adam.step()
        model.end_step()
        error = scalar_error(scalars(inference, model), theirs)
        if s == 0:
            values = worst(error, tensor_error(inference, theirs))
            gradients = worst(gradients, relative(norm, theirs["grad_norm"]))
        else:
            later.append(worst(error, relative(norm, theirs["grad_norm"])))
    return values, gradients, later


def scalars(inference: m.Inference, model: nn.Module) -> dict[str, Any]:
    """Return the numbers of one optimizer step with the files' names; KL terms are in the prior's order."""
    stages, geco = inference.stages, model.objective.geco
    layers = [kl.mean().item() for kl in inference.terms.values()]
    moves = [
        torch.cat([new - old for new, old in zip(after.posterior, before.posterior, strict=True)], dim=-1)
        for before, after in pairwise(stages)
    ]
    state = {} if geco is None else {"C_ema": geco.average.item(), "beta": geco.zeta.item()}
    return state | {
        "total_loss": inference.loss.item(),
        "nll_per_stage": [stage.nll.mean().item() for stage in stages],
        "kl_per_stage": [stage.kl.mean().item() for stage in stages],
        "kl_layers_stage0": layers if isinstance(model.prior, m.BottomUpPrior) else layers[::-1],
        "delta_norms": [move.norm(dim=-1).mean().item() for move in moves],
        "final_nll": stages[-1].nll.mean().item(),
        "final_kl": stages[-1].kl.mean().item(),
    }


def tensor_error(inference: m.Inference, theirs: dict[str, Any]) -> float:
    """Compare the tensors of the first and last stage and the last layer's attention."""
    first, last = inference.stages[0].components, inference.stages[-1].components
    ours = {"rgb_stage0": first.rgb, "log_masks_stage0": first.log_masks, "attn_last": inference.layers[-1].attention}
    ours |= {"rgb_last": last.rgb, "log_masks_last": last.log_masks}
    return worst(*(summary_error(ours[name], theirs[name]) for name in ours if name in theirs))


def check(path: Path, dtype: torch.dtype) -> bool:
    """Compare one file, print a line, and return whether it is within its tolerance."""
    content = json.loads(path.read_text())
    limit, later = tolerance(content["case"], dtype), []
    if content["case"]["model"] == "IODINE":
        values, gradients = check_iodine(content, dtype)
    elif content["case"]["model"] == "SlotAttention":
        values, gradients, later = check_baseline(Case(content, dtype), content["out"])
    else:
        values, gradients, later = check_training(Case(content, dtype), content["steps"])
    passed = values <= limit.values and gradients <= limit.gradients
    passed = passed and all(e <= limit.later[s >= 2] for s, e in enumerate(later))
    shown = f"{max(later):.1e}" if later else "   -   "
    print(f"{path.name:32} {values:.1e}  {gradients:.1e}  {shown}  {'pass' if passed else 'FAIL'}")
    return passed


def main(args: list[str] | None = None) -> int:
    """Check every file; return 0 if all pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--float32", action="store_true", help="compute in float32, with wider tolerances")
    options = parser.parse_args(args)
    for path in options.files:
        if not path.is_file():
            parser.error(f"{path}: expected a golden file, got no file; check the path")
    print(f"{'largest relative error of':32} values   gradients later steps")
    dtype = torch.float32 if options.float32 else torch.float64
    passed = [check(path, dtype) for path in options.files]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
