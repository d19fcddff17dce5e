"""Rows of a study: what an interrupted one has computed is not computed again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.torch import save
from tqdm import tqdm  # type: ignore[import-untyped]

import emorl
from emorl.evaluation.inputs import Scenes
from emorl.files import atomic
from emorl.module import EfficientMORLModule
from emorl.types import Batch

Rows = list[dict[str, Any]]


def gather(
    parts: Mapping[str, Callable[[], Rows]],
    out: Path,
    name: str,
    module: EfficientMORLModule,
    about: Mapping[str, object],
) -> Rows:
    """Compute the rows of all parts of a study, but for those that an interrupted run of the same study has computed.

    Args:
        parts: computes a part's rows, of JSON values, by name of the part.
        out: folder of the study, which keeps the rows of finished parts in ``.NAME.json`` until `discard`.
        name: name of the study.
        module: the model.
        about: what else the rows depend on, as JSON values: the scenes' checksum, options.

    Raises:
        DataError: if the file cannot be written.
    """
    kept = out / f".{name}.json"
    study = {"emorl": emorl.__version__, "model": checksum(module), "means": module.test_means, **about}
    finished = _finished(kept, study)
    for part, compute in tqdm(parts.items(), name, unit="part", disable=None, leave=False):
        if part not in finished:
            finished[part] = compute()
            with atomic(kept) as stream:
                stream.write(json.dumps({"study": study, "rows": finished}).encode())
    return [row for part in parts for row in finished[part]]


def gather_batches(
    compute: Callable[[Batch], Rows],
    scenes: Scenes,
    out: Path,
    name: str,
    module: EfficientMORLModule,
    about: Mapping[str, object],
) -> Rows:
    """Compute rows of one batch of scenes after another; arguments as of `gather`, which hears of the scenes too."""

    def part(places: range) -> Rows:
        return compute(scenes.batch(places))

    parts = {f"{places.start}": partial(part, places) for places in scenes.places()}
    return gather(parts, out, name, module, {"scenes": scenes.checksum, **about})


def discard(out: Path, name: str) -> None:
    """Remove what `gather` keeps of a study, once its results are written."""
    (out / f".{name}.json").unlink(missing_ok=True)


def checksum(module: EfficientMORLModule) -> str:
    """Return the SHA-256 of a model's weights."""
    return sha256(save({name: tensor.contiguous() for name, tensor in module.network.state_dict().items()})).hexdigest()


def _finished(kept: Path, study: Mapping[str, object]) -> dict[str, Rows]:
    """Return the rows by part if there are any, of the same study."""
    content = json.loads(kept.read_text()) if kept.exists() else {}
    same = content.get("study") == study
    rows: dict[str, Rows] = content["rows"] if same else {}
    return rows
