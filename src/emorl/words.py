"""Words of a command line that are read before it is parsed: trained weights, and the class of the network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace


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
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        named = _named_network(option, value if equals else after)
        if named not in (None, network):
            anew.append("--model.network=null")
            network = named
        anew.append(word)
    return anew


def _named_network(option: str, value: str) -> str | None:
    """Return the path of the network's class that an option gives, or a configuration file."""
    try:
        if option in ("--model.network", "--model.network.class_path"):
            return class_of(yaml.safe_load(value))
        if option == "--model":
            return class_of(yaml.safe_load(value)["network"])
        if option in ("-c", "--config") and Path(value).is_file():
            return class_of(yaml.safe_load(Path(value).read_text())["model"]["network"])
    except (
        yaml.YAMLError,
        UnicodeDecodeError,
        TypeError,
        KeyError,
    ):  # it names no class; the parser reports errors
        pass
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
