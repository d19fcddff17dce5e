"""The API reference of the site: it names every public class and function, and nothing that does not exist."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import emorl

PAGES = Path(__file__).parents[1] / "docs" / "api"
ENTRIES = {name for page in PAGES.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}
PROGRAMS = ("emorl.__main__", "emorl.data.generate.clevr_blender")  # the latter is run by Blender's Python
WHOLE = ("emorl.callbacks", "emorl.metrics", "emorl.model.")  # whose ``__all__`` has every public name
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(emorl.__path__, "emorl.")
    if module.name not in PROGRAMS
]


def public_names():
    """Yield the names by which something public may be in the reference."""
    for module in MODULES:
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            yield f"{module.__name__}.{name}", f"{getattr(value, '__module__', module.__name__)}.{name}"
        if not module.__name__.startswith(WHOLE):
            for name, value in vars(module).items():
                defined = inspect.isclass(value) or inspect.isroutine(value)
                if defined and not name.startswith("_") and value.__module__ == module.__name__:
                    yield (f"{module.__name__}.{name}",)


def missing(things, entries):
    return [
        names[0]
        for names in things
        if not {part for name in names for part in (name, name.rpartition(".")[0])} & entries
    ]


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


def without_example(classes):
    return sorted({f"{cls.__module__}.{cls.__qualname__}" for cls in classes if ">>>" not in (cls.__doc__ or "")})


def test_every_public_class_has_an_example():  # `test_doctests` runs them
    paths = (names[0].rpartition(".") for names in public_names())
    values = [getattr(importlib.import_module(module), name) for module, _, name in paths]
    assert without_example(filter(inspect.isclass, values)) == []


def test_a_class_without_an_example_is_found():
    class Silent:
        """A class."""

    assert without_example([Silent]) == [f"{__name__}.{Silent.__qualname__}"]


def test_a_name_that_no_page_has_is_found():
    assert missing([("emorl.optim.Muon",), ("emorl.new.Thing",)], {"emorl.optim"}) == ["emorl.new.Thing"]
