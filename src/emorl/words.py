"""What the command line asks for before it is parsed: whose weights, and which class of network."""

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
    """Return a command line in which a network of another class than before has the defaults of its own.

    jsonargparse keeps what both classes take: a `SlotAttention` would have the decoder of the EfficientMORL that it
    replaces.

    Args:
        words: the command line.
        network: name of the class that is the default.

    >>> begin_networks_anew(["fit", "--model.network", "SlotAttention"], "EfficientMORL")
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
    """Return the name of the network's class that an option gives, or a configuration file."""
    try:
        if option == "--model.network":
            return class_name(yaml.safe_load(value))
        if option in ("-c", "--config") and Path(value).is_file():
            model = yaml.safe_load(Path(value).read_text())["model"]
            return class_name(model["network"])
    except (yaml.YAMLError, TypeError, KeyError):  # it names none; of what is wrong with it the parser tells
        pass
    return None


def class_name(network: Any) -> str | None:
    """Return the name of a class in a configuration, be it the path alone or with arguments."""
    path = network.get("class_path") if isinstance(network, dict | Namespace) else network
    return path.rpartition(".")[2] if isinstance(path, str) else None


def of_any_length(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model's configuration without the length of the run in which it was trained: another is to begin."""
    scheduler = model.get("scheduler", {})  # not there if it was built by a function
    if class_name(scheduler) != "WarmupCosineDecay":
        return model
    init_args = {**scheduler.get("init_args", {}), "total_steps": None}
    return {**model, "scheduler": {**scheduler, "init_args": init_args}}
