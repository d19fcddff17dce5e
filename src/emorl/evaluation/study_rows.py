"""Rows of a study that takes minutes: what an interrupted one has computed is not computed again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.torch import save

import emorl
from emorl.data.files import atomic
from emorl.module import EfficientMORLModule

Rows = list[dict[str, Any]]


def gather(
    parts: Mapping[str, Callable[[], Rows]], kept: Path, module: EfficientMORLModule, about: Mapping[str, object]
) -> Rows:
    """Compute the rows of all parts of a study, but for those that an interrupted run of the same study has computed.

    Args:
        parts: computes a part's rows, of JSON values, by name of the part.
        kept: file that keeps the rows of finished parts until all are there.
        module: the model.
        about: what else the rows depend on, as JSON values: the checksum of the data, options.

    Raises:
        DataError: if the file cannot be written.
    """
    study = {"emorl": emorl.__version__, "model": checksum(module), **about}
    finished = _finished(kept, study)
    for name, compute in parts.items():
        if name not in finished:
            finished[name] = compute()
            with atomic(kept) as stream:
                stream.write(json.dumps({"study": study, "rows": finished}).encode())
    kept.unlink(missing_ok=True)
    return [row for name in parts for row in finished[name]]


def checksum(module: EfficientMORLModule) -> str:
    """Return the SHA-256 of a model's weights."""
    return sha256(save({name: tensor.contiguous() for name, tensor in module.network.state_dict().items()})).hexdigest()


def _finished(kept: Path, study: Mapping[str, object]) -> dict[str, Rows]:
    """Return the rows by part if there are any, of the same study."""
    content = json.loads(kept.read_text()) if kept.exists() else {}
    same = content.get("study") == study
    rows: dict[str, Rows] = content["rows"] if same else {}
    return rows
