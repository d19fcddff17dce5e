"""Export of trained models as programs that run without this package: ONNX files and archives of torch.export."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import emorl
from emorl.errors import DataError
from emorl.files import atomic, to_write
from emorl.finite import check_weights
from emorl.model import Components, SlotModel
from emorl.model_card import Trained, license_of
from emorl.ranges import path_like

PARTS = ("reconstruct", "encode", "decode")
OPSET = 18  # the latest that onnxruntime-web's wasm runs in full


class Part(NamedTuple):
    """One method of a model as a program from tensors to tensors.

    >>> from emorl.pretrained import load_pretrained
    >>> part = parts(load_pretrained("tetrominoes"), steps=0, num_slots=4)["decode"]
    >>> part.input, part.outputs
    ('slots', ('masks', 'rgb', 'reconstruction'))
    """

    program: nn.Module
    input: str  # name of the input
    example: Tensor
    dynamic: Mapping[int, Dim]  # axes of the input with a dynamic size
    outputs: tuple[str, ...]  # names of the outputs


class _Encode(nn.Module):
    def __init__(self, network: SlotModel, steps: int | None, num_slots: int) -> None:
        super().__init__()
        self.network, self.steps, self.num_slots = network, steps, num_slots

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        encoding = self.network.encode(images, self.steps, self.num_slots)
        return tuple(value for value in encoding if value is not None)


class _Reconstruct(_Encode):
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.reconstruct(images, self.steps, self.num_slots))


class _Decode(nn.Module):
    def __init__(self, network: SlotModel, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, slots: Tensor) -> tuple[Tensor, ...]:
        components: Components = self.network.decode(slots, (self.size, self.size))
        return components.masks, components.rgb, components.reconstruction


def export(
    model: Trained,
    path: str | Path,
    steps: int | None = None,
    num_slots: int | None = None,
    name: str = "model",
    methods: Sequence[str] = PARTS,
) -> list[Path]:
    """Write ``reconstruct`` to ``path``, and ``encode`` and ``decode`` next to it, in float32 for any batch size.

    For ``out.onnx`` the files are ``out.onnx``, ``out_encode.onnx`` and ``out_decode.onnx``; ``decode`` accepts any
    number of slots. Images are [B, 3, S, S] in [0, 1], of the size that the model was trained on. The metadata of each
    file contain preprocessing, K, D, version and license. Slots are posterior means, as in `Pretrained.encode`.

    Args:
        model: the trained model, such as a `Pretrained`.
        path: a file that ends in ``.onnx`` or ``.pt2``.
        steps: iterations of Slot Attention; by default the model's.
        num_slots: number of slots K of encode and reconstruct, fixed in the files; by default the model's.
        name: name of the model in errors and metadata.
        methods: those to write, of reconstruct, encode and decode.

    Returns:
        The files.

    Raises:
        DataError: if the path has another suffix, if inference needs gradients of the loss (IODINE, EfficientMORL with
            I > 0), if a weight is a NaN or an infinity, if a package is missing, or if a file cannot be written.
        TypeError: if ``path`` is not a path.
        ValueError: if ``steps`` or ``num_slots`` is out of range, or ``methods`` is empty or has an unknown one.

    >>> import tempfile
    >>> from emorl.pretrained import load_pretrained
    >>> model = load_pretrained("tetrominoes")
    >>> [file.name for file in export(model, Path(tempfile.mkdtemp(), "out.pt2"), methods=["decode"])]
    ['out_decode.pt2']
    """
    path_like(path=path)
    if not (isinstance(methods, list | tuple) and methods and all(method in PARTS for method in methods)):
        raise ValueError(f"Expected methods as a list of {', '.join(sorted(PARTS))}, got {methods!r}.")
    path = to_write(path)
    write = {".onnx": _onnx, ".pt2": _archive}.get(path.suffix)
    if write is None:
        raise DataError.of(
            path, expected="a name that ends in .onnx or .pt2", got=path.name, remedy="choose one of them"
        )
    network = model.network
    steps, num_slots = network.checked_steps(steps), network.checked_slots(num_slots)
    check_exportable(model, steps, name)
    check_weights(network.state_dict())
    described = metadata(model, steps, num_slots, name)
    contents, programs = {}, parts(model, steps, num_slots)
    for method in methods:
        file = path if method == "reconstruct" else path.with_stem(f"{path.stem}_{method}")
        outputs = " ".join(programs[method].outputs)
        contents[file] = write(programs[method], described | {"method": method, "outputs": outputs})
    for file, content in contents.items():
        with atomic(file) as stream:
            stream.write(content)
    return list(contents)


def check_exportable(model: Trained, steps: int | None, name: str) -> None:
    """Check that inference needs no gradients of the loss.

    Raises:
        DataError: if it does, with the name of the model.

    >>> from emorl.pretrained import load_pretrained
    >>> check_exportable(load_pretrained("tetrominoes"), steps=0, name="tetrominoes")
    """
    network = model.network
    if reason := network.unrecordable(network.checked_steps(steps)):
        remedy = "export EfficientMORL with I = 0, or Slot Attention"
        raise DataError.of(name, expected="a model of plain tensor operations", got=reason, remedy=remedy)


def parts(model: Trained, steps: int, num_slots: int) -> dict[str, Part]:
    """Return the methods of a model as programs, by name.

    >>> from emorl.pretrained import load_pretrained
    >>> list(parts(load_pretrained("tetrominoes"), steps=0, num_slots=4))
    ['reconstruct', 'encode', 'decode']
    """
    network, size = deepcopy(model.network).float(), model.image_size
    like = next(network.parameters())
    images = like.new_zeros(2, 3, size, size)
    slots = like.new_zeros(2, max(2, num_slots), network.slot_dim)  # torch takes a size of one for a constant
    largest = 2**31 - 1  # torch 2.7 refuses axes without a limit
    batch, count = Dim("batch", min=1, max=largest), Dim("slots", min=1, max=largest)
    encode, reconstruct = _Encode(network, steps, num_slots), _Reconstruct(network, steps, num_slots)
    with torch.no_grad():
        found = network.encode(images, steps, num_slots)
    encoded = tuple(field for field, value in zip(found._fields, found, strict=True) if value is not None)
    return {
        "reconstruct": Part(reconstruct, "images", images, {0: batch}, ("slots", "masks", "rgb", "reconstruction")),
        "encode": Part(encode, "images", images, {0: batch}, encoded),
        "decode": Part(
            _Decode(network, size), "slots", slots, {0: batch, 1: count}, ("masks", "rgb", "reconstruction")
        ),
    }


def metadata(model: Trained, steps: int, num_slots: int, name: str) -> dict[str, str]:
    """Return the metadata of a file as strings.

    >>> from emorl.pretrained import load_pretrained
    >>> metadata(load_pretrained("tetrominoes"), steps=0, num_slots=4, name="tetrominoes")["preprocessing"]
    '{"crop": "square", "size": 35, "resample": "bicubic", "range": [0, 1]}'
    """
    size = model.image_size
    return {
        "model": type(model.network).__name__,
        "weights": name,
        "trained_on": str(model.card.get("trained_on", "")),
        "preprocessing": json.dumps({"crop": model.crop, "size": size, "resample": "bicubic", "range": [0, 1]}),
        "image_size": str(size),
        "num_slots": str(num_slots),
        "slot_dim": str(model.network.slot_dim),
        "steps": str(steps),
        "license": license_of(model.card) or "not specified",
        "emorl_version": emorl.__version__,
    }


def _recorded(part: Part) -> ExportedProgram:
    with _quiet(), torch.no_grad():
        shapes = (dict(part.dynamic),)
        return torch.export.export(part.program.eval(), (part.example,), dynamic_shapes=shapes, strict=False)


def _archive(part: Part, described: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    torch.export.save(_recorded(part), stream, extra_files={"metadata.json": json.dumps(described)})
    return stream.getvalue()


def _onnx(part: Part, described: dict[str, str]) -> bytes:
    try:
        import onnxscript  # noqa: F401  # an optional dependency
    except ImportError as error:
        remedy = "pip install 'emorl[export]', or export to .pt2"
        raise DataError.of(
            "ONNX", expected="the packages onnx and onnxscript", got=f"{error}", remedy=remedy
        ) from error
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _recorded(part),
            (part.example,),
            input_names=[part.input],
            output_names=list(part.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # because no file name was given
    proto: Any = program.model_proto
    _name_axes(proto.graph, [dim.__name__ for dim in part.dynamic.values()])
    for key, value in described.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return proto.SerializeToString()  # type: ignore[no-any-return]


def _name_axes(graph: Any, names: list[str]) -> None:
    """Name the dynamic axes."""
    (given,) = graph.input
    symbols = [dim.dim_param for dim in given.type.tensor_type.shape.dim if dim.dim_param]
    known = dict(zip(symbols, names, strict=True))
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in known:
                dim.dim_param = known[dim.dim_param]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence messages of torch's exporter about itself and about torchvision, which is not needed here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torch|copyreg")  # copyreg: copies of its objects
            yield
    finally:
        logger.setLevel(level)
