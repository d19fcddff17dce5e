"""The API reference of the site: it names every public class and function, and nothing that does not exist."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import emorl

PAGES = Path(__file__).parents[1] / "docs" / "api"
ENTRIES = {name for page in PAGES.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(emorl.__path__, "emorl.")
    if module.name != "emorl.__main__"
]


def exporting(name):
    """Return the package that lists its public names, of those that a module is in; the module itself if none does."""
    parents = [name.rsplit(".", i)[0] for i in range(name.count("."))]
    lists = [parent for parent in parents if hasattr(importlib.import_module(parent), "__all__")]
    return lists[0] if lists else name


def public_names():
    for module in MODULES:
        if hasattr(module, "__all__"):
            yield from (f"{module.__name__}.{name}" for name in module.__all__)
        elif exporting(module.__name__) == module.__name__:
            for name, value in vars(module).items():
                defined = inspect.isclass(value) or inspect.isroutine(value)
                if defined and not name.startswith("_") and value.__module__ == module.__name__:
                    yield f"{module.__name__}.{name}"


def missing(names, entries):
    return [name for name in names if not {name, name.rpartition(".")[0]} & entries]


def test_every_public_name_is_in_the_reference():
    assert missing(public_names(), ENTRIES) == [], "add them to a page in docs/api, as '::: module.name'"


def test_names_of_the_package_itself_are_in_the_overview():
    overview = (PAGES / "index.md").read_text()
    assert [name for name in emorl.__all__ if f"`emorl.{name}`" not in overview] == []


def test_every_entry_of_the_reference_exists():
    def exists(entry):
        module, _, name = entry.rpartition(".")
        return entry in {module.__name__ for module in MODULES} or hasattr(importlib.import_module(module), name)

    assert [entry for entry in sorted(ENTRIES) if not exists(entry)] == []


def test_a_name_that_no_page_has_is_found():
    assert missing(["emorl.optim.Muon", "emorl.new.Thing"], {"emorl.optim"}) == ["emorl.new.Thing"]
