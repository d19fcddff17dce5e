"""The model card of trained weights, in the Markdown of the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import emorl
import emorl.model
from emorl.data.transforms import Crop
from emorl.errors import DataError
from emorl.model.describe import describe
from emorl.results import with_error

PICTURE = "picture.png"
SCORES = {"fg_ari": "FG-ARI", "ari": "ARI", "fg_miou": "FG-mIoU", "mse": "MSE"}

_TEXT = """---
{front}library_name: emorl
pipeline_tag: image-segmentation
tags: [object-centric-learning, slots, unsupervised-segmentation, {model}]
---

# {title}

Unsupervised object-centric learning: the model decomposes an image into K = {num_slots} slots of D = {slot_dim}
dimensions, each with a mask and colors, without labels. Images are {size}x{size} pixels; crop '{crop}', bicubic.
{picture}
## Usage

```python
{imports}
model = emorl.from_pretrained("{repo_id}"{classes})  # pip install 'emorl[hub]'
found = model.reconstruct(model.preprocess("image.png"))
found.slots, found.masks, found.reconstruction
```

## Scores

{scores}

## Training

{training}

## License

{license}
"""
_SHIPPED = "MIT. These weights are part of emorl, which has the same license."
_OWN = "{license}. The code, emorl {version}, is under the MIT license."
_UNNAMED = "Not specified: add it here, and as `license:` to the metadata at the top of this file"


class Trained(Protocol):
    """What a model card and an export need of a trained model, such as a `Pretrained`.

    >>> from emorl.pretrained import load_pretrained
    >>> model: Trained = load_pretrained("tetrominoes")
    >>> model.image_size, model.crop
    (35, 'square')
    """

    network: emorl.model.SlotModel
    image_size: int  # side of the images that it was trained on, in pixels
    card: dict[str, Any]  # metadata of the weights
    crop: Crop  # of the training images


def model_card(model: Trained, repo_id: str) -> str:
    """Return the text of a model card: the model, its usage, and the scores, training and license in its metadata.

    The metadata of a checkpoint contain steps, data and first weights, if recorded; users may add ``license``.
    """
    card, network, others = in_lines(model.card), model.network, sorted(foreign(describe(model.network)))
    license_ = license_of(card)
    text = _SHIPPED if card.get("weights") else _OWN
    return _TEXT.format(
        front=f"license: {_yaml(license_.lower())}\n" if license_ else "",
        model=type(network).__name__,
        title=", ".join((type(network).__name__, *([str(card["trained_on"])] if "trained_on" in card else []))),
        num_slots=network.num_slots,
        slot_dim=network.slot_dim,
        size=model.image_size,
        crop=model.crop,
        repo_id=in_lines(repo_id),
        imports="".join(f"import {name}\n" for name in ("emorl", *dict.fromkeys(p.rpartition(".")[0] for p in others))),
        classes=f", classes=[{', '.join(others)}]" if others else "",
        picture=f"\n![Images, reconstructions, masks and components]({PICTURE})\n" if card.get("weights") else "",
        scores=_scores(card),
        training=_training(card),
        license=text.format(license=license_ or _UNNAMED, version=emorl.__version__),
    )


def in_lines(value: Any) -> Any:
    r"""Return metadata in which every text is a single line.

    >>> in_lines({"trained_on": "my\nimages", "steps": 3})
    {'trained_on': 'my images', 'steps': 3}
    """
    if isinstance(value, Mapping):
        return {in_lines(key): in_lines(item) for key, item in value.items()}
    return " ".join(value.split()) if isinstance(value, str) else value


def foreign(model: Any) -> set[str]:
    """Return the paths of the classes in a configuration that are not in `emorl.model`.

    >>> sorted(foreign({"network": {"class_path": "mine.Model", "init_args": {"decoder": "emorl.model.MLP"}}}))
    ['mine.Model']
    """
    parts = list(model.values()) if isinstance(model, Mapping) else model if isinstance(model, list) else []
    inner = {path for part in parts for path in foreign(part)}
    own = {str(model["class_path"])} if isinstance(model, Mapping) and "class_path" in model else set()
    return inner | own - {f"emorl.model.{name}" for name in emorl.model.__all__}


def license_of(card: dict[str, Any]) -> str:
    """Return the license of weights: MIT for shipped ones, otherwise that in their card; empty if there is none.

    Raises:
        DataError: if it is not text.
    """
    license_ = "MIT" if card.get("weights") else card.get("license", "")
    if not isinstance(license_, str):
        remedy = "give it as text, such as CC-BY-4.0, or remove it"
        raise DataError.of("card.license", expected="text", got=repr(license_), remedy=remedy)
    return license_


def _yaml(text: str) -> str:
    return text if re.fullmatch(r"[a-z][\w.-]*", text) else json.dumps(text)


def _scores(card: dict[str, Any]) -> str:
    rows = [
        [f"{test}, {steps}".replace("|", r"\|"), *(_cell(scores.get(name)) for name in SCORES)]
        for test, tested in card.get("tests", {}).items()
        for steps, scores in tested["scores"].items()
    ]
    if not rows:
        return "None are recorded. `emorl test` prints them and writes them to `metrics.json`."
    head = ["test, steps", *SCORES.values()]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\nMean ± standard error over test images. Slots are posterior means, except in tests of samples."


def _cell(score: dict[str, float] | None) -> str:
    return "-" if score is None else with_error(score["mean"], score["standard_error"])


def _training(card: dict[str, Any]) -> str:
    if "versions" not in card:
        return " ".join(_history(card)) or "Not recorded."
    versions = card.get("versions", {})
    machine = versions.get("machine", "an unknown machine")
    ran = f"{card['total_steps']:,} steps in {card.get('total_minutes', '?')} minutes on {machine}"
    how = f"seed {card.get('seed')}, torch {versions.get('torch')}, on {card['trained_on']}"
    return f"{ran}, {how}. `config.json` contains the full record, including curves."


def _history(card: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence on each training, the first one first, from a card without versions."""
    before = card.get("started_from")
    if before is not None:
        yield from _history(before) if before else ["Started from weights whose training is not recorded."]
    if base := card.get("base_weights"):
        yield f"Started from the weights `{base}` of emorl, which were changed."
    if "total_steps" in card:
        data = f" on {card['trained_on']}" if "trained_on" in card else ""
        yield f"{'' if before is None else 'Then '}{card['total_steps']:,} steps{data}."
