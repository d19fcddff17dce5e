"""Checkpoints of the authors' code: load them into a model and save them.

Their ``.pth`` file is ``{"step", "model", "model_opt", "kl_beta"}``. Its parameter names differ from this package's, it
stores the two DualGRU cells as blocks of one cell, and after data-parallel training every name starts with ``module.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor

from emorl.files import atomic
from emorl.model import BigDecoder, DualGRU, EfficientMORL, IodineDecoder, PlainGRU, SmallDecoder
from emorl.model.decoder import Decoder

_RENAMED = {  # prefix of the authors' code: prefix of this package
    "hvae_networks.encoder_pt_1.": "encoder.convolutions.",
    "hvae_networks.encoder_pt_2.": "encoder.mlp.",
    "hvae_networks.pos_embed_projection.": "encoder.position.projection.",
    "hvae_networks.norm_slots.": "bottom_up.attend.norm.",
    "hvae_networks.to_q.": "bottom_up.attend.to_query.",
    "hvae_networks.to_k.": "bottom_up.attend.to_key.",
    "hvae_networks.to_v.": "bottom_up.attend.to_value.",
    "hvae_networks.norm_mu_pre_ff.": "bottom_up.mean_mlp.0.",
    "hvae_networks.mlp_mu.0.": "bottom_up.mean_mlp.1.",
    "hvae_networks.mlp_mu.2.": "bottom_up.mean_mlp.3.",
    "hvae_networks.norm_softplus_pre_ff.": "bottom_up.rho_mlp.0.",
    "hvae_networks.mlp_softplus.0.": "bottom_up.rho_mlp.1.",
    "hvae_networks.mlp_softplus.2.": "bottom_up.rho_mlp.3.",
    "hvae_networks.project_update.": "bottom_up.cell.project.",
    **{
        f"hvae_networks.gru.{p}_l0": f"bottom_up.cell.cell.{p}"
        for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "hvae_networks.indep_prior.z_linear.0.": "prior.conditional.hidden.",
    "hvae_networks.indep_prior.z_mu.": "prior.conditional.mean.",
    "hvae_networks.indep_prior.z_softplus.": "prior.conditional.rho.",
    "hvae_networks.image_decoder.pos_embed_projection.": "decoder.position.projection.",
    "hvae_networks.image_decoder.decode.": "decoder.layers.",
    "refinenet.encoding.": "refinement.encoding.",
    **{
        f"refinenet.recurrence.{p}_l0": f"refinement.recurrence.{p}"
        for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "refinenet.loc.": "refinement.mean.",
    "refinenet.softplus.": "refinement.rho.",
    "geco_C_ema": "objective.geco.average",
    "geco_beta": "objective.geco.zeta",
}
# Errors that torch.load may raise for a file that is not a checkpoint.
UNREADABLE = EOFError, UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, AttributeError
_GECO = ("geco_C_ema", "geco_beta")
_OURS = ("objective.geco.step", "objective.geco.reached", "gradient_batch")  # buffers that the authors' files lack
_INITIAL = "hvae_networks.init_posterior"
_CELL = "hvae_networks.gru.cell."
_FEATURES = "hvae_networks.encoder_pt_1.0.bias"
_DECODERS: dict[int, type[Decoder]] = {4: SmallDecoder, 5: IodineDecoder, 6: BigDecoder}  # by number of layers


class Released(NamedTuple):
    """A checkpoint of the authors' code: the model, and the other content of the file.

    >>> Released(EfficientMORL(), step=0, optimizer={}, kl_beta=1.0).prefix
    ''
    """

    model: EfficientMORL
    step: int  # optimizer steps taken
    optimizer: dict[str, Any]  # Adam's state, with parameters in the order of the authors' code
    kl_beta: float
    prefix: str = ""  # "module." in a file of data-parallel training
    extra: dict[str, Tensor] = {}  # entries that are not parameters of this model  # noqa: RUF012
    scalar: tuple[int, ...] = ()  # shape of GECO's two scalars


def load_released(path: str | Path, **arguments: Any) -> Released:
    """Read a ``.pth`` file of the authors' code; only tensors are loaded, so that a file cannot run code.

    Sizes, recurrent cell and decoder are read from the file. It does not contain ``num_slots``, ``num_layers``,
    ``prior``, ``likelihood`` and ``geco``: give them as ``arguments`` of `EfficientMORL`, whose defaults are those of
    Tetrominoes.

    Returns:
        The model, and the other contents of the file, which `save_released` writes back.

    Raises:
        ValueError: if the file is not a checkpoint of the authors' code, or does not fit the arguments.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "model.pth")
    >>> save_released(Released(EfficientMORL(num_slots=4), step=10, optimizer={}, kl_beta=1.0), file)
    >>> load_released(file, num_slots=4).step
    10
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(f"Expected {path} to be a checkpoint that contains only tensors.") from error
    missing = {"step", "model", "model_opt", "kl_beta"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise ValueError(
            f"Expected {path} to contain step, model, model_opt and kl_beta, but it lacks {sorted(missing)}."
        )
    prefix = "module." if all(name.startswith("module.") for name in content["model"]) else ""
    named = {name.removeprefix(prefix): value for name, value in content["model"].items()}
    model = _architecture(named, path, arguments)
    expected = to_released(model.state_dict())
    extra = {name: value for name, value in named.items() if name not in expected}
    model.load_state_dict(from_released(_fitting(named, expected, path)), strict=False)
    if model.objective.geco is not None and model.objective.geco.target != "auto":  # which has a warm start before it
        model.objective.geco.step.fill_(content["step"])
    scalar = tuple(named.get("geco_beta", torch.zeros(())).shape)
    return Released(model, content["step"], content["model_opt"], content["kl_beta"], prefix, extra, scalar)


def save_released(released: Released, path: str | Path) -> None:
    """Write a file that the authors' code loads; the inverse of `load_released`.

    Raises:
        DataError: if the file cannot be written.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "model.pth")
    >>> save_released(Released(EfficientMORL(), step=10, optimizer={}, kl_beta=1.0), file)
    >>> sorted(torch.load(file))
    ['kl_beta', 'model', 'model_opt', 'step']
    """
    named = to_released(released.model.state_dict())
    scalars = {name: named[name].reshape(released.scalar) for name in _GECO if name in named}
    named |= scalars | released.extra
    content = {
        "step": released.step,
        "model": {released.prefix + name: value for name, value in named.items()},
        "model_opt": released.optimizer,
        "kl_beta": released.kl_beta,
    }
    with atomic(Path(path)) as stream:
        torch.save(content, stream)


def from_released(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors (parameters, or their gradients) from the names of the authors' code to this package's.

    Returns:
        The tensors by this package's names.

    >>> from_released({"refinenet.loc.weight": torch.zeros(8, 8)}).keys()
    dict_keys(['refinement.mean.weight'])
    """
    ours = {_rename(name, _RENAMED): v for name, v in named.items() if name != _INITIAL and not name.startswith(_CELL)}
    if _INITIAL in named:
        ours["bottom_up.initial_mean"], ours["bottom_up.initial_rho"] = named[_INITIAL].flatten().chunk(2)
    if f"{_CELL}bias_ih" in named:
        ours |= _from_block_cell({name.removeprefix(_CELL): v for name, v in named.items() if name.startswith(_CELL)})
    return ours


def to_released(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors (parameters, or their gradients) from this package's names to those of the authors' code.

    Returns:
        The tensors by the names of the authors' code.

    >>> to_released({"refinement.mean.weight": torch.zeros(8, 8)}).keys()
    dict_keys(['refinenet.loc.weight'])
    """
    back = {new: old for old, new in _RENAMED.items()}
    own = ("bottom_up.initial_", "bottom_up.cell.mean.", "bottom_up.cell.rho.", *_OURS)
    named = {_rename(name, back): value for name, value in ours.items() if not name.startswith(own)}
    if "bottom_up.initial_mean" in ours:
        named[_INITIAL] = torch.cat((ours["bottom_up.initial_mean"], ours["bottom_up.initial_rho"])).unsqueeze(0)
    if "bottom_up.cell.mean.bias_ih" in ours:
        named |= {_CELL + name: value for name, value in _to_block_cell(ours).items()}
    return named


def _rename(name: str, prefixes: Mapping[str, str]) -> str:
    for prefix, new in prefixes.items():
        if name.startswith(prefix):
            return new + name.removeprefix(prefix)
    return name


def _from_block_cell(block: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the block-diagonal pair of cells; gates are ordered reset, update, candidate as in torch's GRUCell."""
    ours = {}
    for k, cell in enumerate(("mean", "rho")):
        for side, gates, candidate in (("ih", "ih", "in"), ("hh", "hh", "hn")):
            weights = block[f"weight_{gates}_{k + 1}"], block[f"weight_{candidate}_{k + 1}"]
            biases = block[f"bias_{gates}"].chunk(2)[k], block[f"bias_{candidate}"].chunk(2)[k]
            ours[f"bottom_up.cell.{cell}.weight_{side}"] = torch.cat(weights)
            ours[f"bottom_up.cell.{cell}.bias_{side}"] = torch.cat(biases)
    return ours


def _to_block_cell(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    block = {}
    for gates, candidate in (("ih", "in"), ("hh", "hn")):
        biases = [
            ours[f"bottom_up.cell.{cell}.bias_{gates}"].tensor_split([2 * _dim(ours)]) for cell in ("mean", "rho")
        ]
        block[f"bias_{gates}"], block[f"bias_{candidate}"] = (torch.cat(part) for part in zip(*biases, strict=True))
        for k, cell in enumerate(("mean", "rho")):
            weight = ours[f"bottom_up.cell.{cell}.weight_{gates}"].tensor_split([2 * _dim(ours)])
            block[f"weight_{gates}_{k + 1}"], block[f"weight_{candidate}_{k + 1}"] = weight
    return block


def _dim(ours: Mapping[str, Tensor]) -> int:
    return ours["bottom_up.cell.mean.bias_ih"].numel() // 3


def _fitting(named: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Return the entries of the model, GECO's as scalars; any others except known unused ones are errors."""
    unknown = [n for n in named if n not in expected and "gru.cell.zeros" not in n and n not in _GECO]
    scalar = {name: named[name].reshape(()) for name in _GECO if name in named and named[name].numel() == 1}
    fitting = {name: value for name, value in {**named, **scalar}.items() if name in expected}
    wrong = [name for name, value in expected.items() if name not in fitting or fitting[name].shape != value.shape]
    if unknown or wrong:
        raise ValueError(
            f"Expected {path} to fit the model, but {unknown} are unknown and {wrong} missing or misshapen. "
            "Check the arguments that the file does not contain."
        )
    return fitting


def _architecture(named: Mapping[str, Tensor], path: str | Path, arguments: Mapping[str, Any]) -> EfficientMORL:
    layers = sum("image_decoder.decode." in name and name.endswith(".weight") for name in named)
    if not {_INITIAL, _FEATURES} <= set(named) or layers not in _DECODERS:
        raise ValueError(
            f"Expected {path} to contain the parameters of the authors' EfficientMORL, among them {_INITIAL}, "
            f"{_FEATURES} and a decoder of 4 to 6 layers, got {sorted(named)[:5]} ..."
        )
    sizes: dict[str, Any] = {
        "slot_dim": named[_INITIAL].numel() // 2,
        "feature_dim": named[_FEATURES].numel(),
        "cell": DualGRU if f"{_CELL}bias_ih" in named else PlainGRU,
        "decoder": _DECODERS[layers],
    }
    return EfficientMORL(**sizes | dict(arguments))
