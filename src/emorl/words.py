"""Words of a command line that are read before it is parsed: trained weights, and the classes of the network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from emorl.model_card import foreign


def weights_parser() -> argparse.ArgumentParser:
    """Return a parser of the options that name trained weights."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("ckpt_path", "pretrained"):
        parser.add_argument(f"--{name}", type=lambda word: None if word == "null" else word)
    return parser


def begin_networks_anew(words: list[str], network: str | None) -> list[str]:
    """Return a command line in which a network of another class than before starts from the defaults of its class.

    jsonargparse keeps arguments that both classes have: a `SlotAttention` would have the decoder of the EfficientMORL
    that it replaces.

    Args:
        words: the command line.
        network: path of the default class, as `class_of` returns it.

    >>> begin_networks_anew(["fit", "--model.network", "SlotAttention"], "emorl.model.EfficientMORL")
    ['fit', '--model.network=null', '--model.network', 'SlotAttention']
    """
    anew = []
    for word, content in zip(words, _contents(words), strict=True):
        named = class_of(_network(content))
        if named not in (None, network):
            anew.append("--model.network=null")
            network = named
        anew.append(word)
    return anew


def named_classes(words: list[str]) -> list[str]:
    """Return the paths of the classes outside emorl that a command line names: with ``--classes``, or in its network.

    >>> named_classes(["--classes", "[mine.A, mine.B]", "--model.network=mine.C"])
    ['mine.A', 'mine.B', 'mine.C']
    """
    found: list[str] = []
    for content in _contents(words):
        named = content.get("classes") if isinstance(content, dict) else None
        found += named if isinstance(named, list) else [named] if isinstance(named, str) else []
        network = _network(content)
        paths = foreign({"class_path": network} if isinstance(network, str) else network)
        found += sorted(path for path in paths if "." in path and not path.startswith("emorl."))
    return found


def _contents(words: list[str]) -> Iterator[Any]:
    """Yield for each word the part of a configuration that it gives, if it is an option for a network or classes."""
    for word, after in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        yield _content(option, value if equals else after)


def _content(option: str, value: str) -> Any:
    keys = {"--classes": ["classes"], "--classes+": ["classes"], "--model": ["model"]}
    keys |= {f"--model.network{end}": ["model", "network"] for end in ("", ".class_path")}
    try:
        if option in keys:
            content = yaml.safe_load(value)
            for key in reversed(keys[option]):
                content = {key: content}
            return content
        if option in ("-c", "--config") and Path(value).is_file():
            return yaml.safe_load(Path(value).read_text())
    except (yaml.YAMLError, UnicodeDecodeError):  # it names no class; the parser reports errors
        pass
    return None


def _network(content: Any) -> Any:
    """Return the network in a configuration, a path or a mapping; None if there is none."""
    try:
        return content["model"]["network"]
    except (TypeError, KeyError):
        return None


def class_of(network: Any) -> str | None:
    """Return the path of a network's class in a configuration, which is a path, alone or with arguments.

    >>> [class_of(network) for network in ("IODINE", {"class_path": "emorl.model.iodine.model.IODINE"}, "mine.IODINE")]
    ['emorl.model.IODINE', 'emorl.model.IODINE', 'mine.IODINE']
    """
    path = network.get("class_path") if isinstance(network, dict | Namespace) else network
    if not isinstance(path, str):
        return None
    ours = path.startswith("emorl.model.") or "." not in path
    return f"emorl.model.{path.rpartition('.')[2]}" if ours else path


def of_any_length(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model's configuration without the length of the run that trained it, for a new run."""
    scheduler = model.get("scheduler", {})  # absent if a function built it
    if not scheduler.get("class_path", "").endswith("WarmupCosineDecay"):
        return model
    init_args = {**scheduler.get("init_args", {}), "total_steps": None}
    return {**model, "scheduler": {**scheduler, "init_args": init_args}}
