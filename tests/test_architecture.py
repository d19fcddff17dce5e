"""The rooms (groups of modules) of the package: each imports only from earlier ones, without import cycles."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

ROOMS = [  # the lowest first
    *(
        "errors",
        "classes",
        "renamed",
        "paths",
        "configurations",
        "mistakes",
        "interrupts",
        "ranges",
        "command",
        "files",
        "history",
        "types",
        "batches",
        "finite",
        "distributed",
        "cpu",
        "palette",
        "viz",
        "figures",
        "optim",
        "loggers",
        "provenance",
    ),
    *(
        "model",
        "metrics",
        "results",
        "scores",
        "data",
        "preprocess",
        "checks",
        "resume",
        "lengths",
        "module",
        "released",
        "model_card",
        "export",
        "saved",
        "stored",
        "pretrained",
        "folder",
        "hub",
        "testing",
        "weights",
    ),
    *("export_command", "recipes", "callbacks", "evaluation", "study", "explore", "words", "entry", "cli", "__main__"),
]
DATA = [
    *("schema", "runs", "records", "images", "folders", "transforms", "shards", "generate", "sources", "write"),
    *("stream", "scenes", "datamodule", "commands", "cli"),
]
EXPLORE = ["gallery", "latents", "cache", "bundle", "build", "serve", "cli"]
EVALUATION = ["outputs", "inputs", "representation", "studies", "report", "cli"]


def name_of(file):
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules():
    """Return the parsed modules of the package by name."""
    return {name_of(file): ast.parse(file.read_text()) for file in (SOURCE / "emorl").rglob("*.py")}


def imports(name):
    """Return the modules of the package that a module imports, also within functions and for type checkers alone."""
    found = set()
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("emorl"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules().keys()
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules().keys()
    return found - {"emorl"}  # the name and version alone, or what is imported on demand


def back_arrows(package, rooms):
    """Return the imports that go from a room of a package to a later one."""
    prefix = f"{package}."

    def room(name):
        return name.removeprefix(prefix).split(".")[0]

    inside = [name for name in modules() if name.startswith(prefix)]
    assert {room(name) for name in inside} <= set(rooms), "a new room has no place yet"
    return [
        f"{name} imports {other}"
        for name in inside
        for other in imports(name)
        if other.startswith(prefix) and rooms.index(room(other)) > rooms.index(room(name))
    ]


@pytest.mark.parametrize(
    ("package", "rooms"),
    [("emorl", ROOMS), ("emorl.data", DATA), ("emorl.evaluation", EVALUATION), ("emorl.explore", EXPLORE)],
)
def test_no_room_imports_from_a_later_one(package, rooms):
    assert back_arrows(package, rooms) == []


def test_no_module_imports_in_a_circle():
    try:
        list(TopologicalSorter({name: imports(name) for name in modules()}).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_the_models_need_neither_lightning_nor_any_other_room():
    allowed = ("emorl.model", "emorl.distributed", "emorl.ranges", "emorl.renamed")
    outside = {f"{name} imports {o}" for name in modules() for o in imports(name) if name.startswith("emorl.model.")}
    assert {arrow for arrow in outside if not arrow.split(" imports ")[1].startswith(allowed)} == set()
