"""The API reference of the site: it names every public class and function, with an example, and nothing else."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import emorl

PAGES = Path(__file__).parents[1] / "docs" / "api"
ENTRIES = {name for page in PAGES.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}
PROGRAMS = ("emorl.__main__", "emorl.data.generate.clevr_blender")  # the latter is run by Blender's Python
WHOLE = (
    "emorl.callbacks",
    "emorl.metrics",
    "emorl.model.",
    "emorl.optim",
    "emorl.viz",
)  # whose ``__all__`` has every public name
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(emorl.__path__, "emorl.")
    if module.name not in PROGRAMS
]


def public_names(modules=MODULES):
    """Yield each public name with the entries that show it: an entry of a module shows only classes and functions."""
    for module in modules:
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            homes = {module.__name__, getattr(value, "__module__", module.__name__)}
            named = {f"{home}.{name}" for home in homes}
            yield f"{module.__name__}.{name}", named | homes if getattr(value, "__name__", "") == name else named
        if not module.__name__.startswith(WHOLE):
            for name, value in vars(module).items():
                defined = inspect.isclass(value) or inspect.isroutine(value)
                if defined and not name.startswith("_") and value.__module__ == module.__name__:
                    yield f"{module.__name__}.{name}", {f"{module.__name__}.{name}", module.__name__}


def missing(things, entries):
    return [name for name, shown_by in things if not shown_by & entries]


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


def public_values():
    paths = (path.rpartition(".") for path, _ in public_names())
    return [getattr(importlib.import_module(module), name) for module, _, name in paths]


def unknown_references(values, known):
    """Return the names to which docstrings refer as "see `name`" and that are not known."""
    members = [member for value in values if inspect.isclass(value) for member in vars(value).items()]
    methods = [method for name, method in members if not name.startswith("_") or name == "__init__"]
    named = {
        name for each in (*values, *methods) for name in re.findall(r"[Ss]ee (?:also )?`([\w.]+)`", each.__doc__ or "")
    }
    return sorted(name for name in named if name.rpartition(".")[2] not in known | {name for name, _ in members})


def test_docstrings_refer_to_names_in_the_reference():
    known = {path.rpartition(".")[2] for path, _ in public_names()} | {name.rpartition(".")[2] for name in ENTRIES}
    assert unknown_references(public_values(), known) == []


def test_a_reference_to_a_private_name_is_found():
    def function():
        """Do something, see `emorl.private` and `other`."""

    assert unknown_references([function], {"other"}) == ["emorl.private"]


SUPPORT = {  # modules that only this package uses: a function in them needs no example
    f"emorl.{name}"
    for name in (
        *("checks", "cli", "command", "configurations", "cpu", "distributed", "entry", "export_command", "files"),
        *("folder", "history", "interrupts", "lengths", "mistakes", "model_card", "paths", "provenance", "ranges"),
        *("recipes", "renamed", "resume", "saved", "stored", "words"),
        *("data.cli", "data.commands.common", "data.write", "evaluation.cli", "evaluation.report", "explore"),
    )
}
NOT_RUN = {  # functions whose example is a block of Python that no test runs
    "emorl.evaluation.representation.representation.study_dimensions": "needs a trained model and its scenes",
    "emorl.evaluation.representation.representation.study_factors": "needs a trained model and its scenes",
    "emorl.scores.log_scores": "needs a trainer that runs",
    "emorl.study.run.run_study": "trains",
}
PROGRAM = "emorl.study.cli.main"  # the program, which the command line describes


def name_of(value):
    return f"{value.__module__}.{value.__qualname__}"


def documented(values):
    """Return the classes, and the functions that need an example."""
    support = tuple(f"{name}." for name in SUPPORT)
    functions = {name_of(value) for value in values if inspect.isroutine(value)}
    known = {name for name in functions if not name.startswith(support) and name != PROGRAM}
    return [
        value for value in values if inspect.isclass(value) or (inspect.isroutine(value) and name_of(value) in known)
    ]


def without_example(values):
    """Return the classes and functions without an example that is run, or a command that `test_documents` parses."""

    def shown(value):
        text = value.__doc__ or ""
        return ">>>" in text or "```console" in text or (name_of(value) in NOT_RUN and "```python" in text)

    return sorted({name_of(value) for value in values if not shown(value)})


def without_result(values):
    """Return the functions with a result that their docstrings do not mention."""
    functions = [value for value in values if inspect.isroutine(value)]
    results = [value for value in functions if inspect.signature(value).return_annotation not in (None, "None")]
    return sorted(
        name_of(value) for value in results if not re.search(r"\b([Rr]eturns?|Yields?)\b", value.__doc__ or "")
    )


def test_every_public_class_and_function_has_an_example():  # `test_doctests` runs them
    assert without_example(documented(public_values())) == []


def test_every_public_function_states_its_result():
    assert without_result(documented(public_values())) == []


def test_a_class_or_function_without_an_example_or_result_is_found():
    class Silent:
        """A class."""

    def silent() -> int:
        """Do something."""

    assert without_example([Silent, silent]) == sorted(map(name_of, (Silent, silent)))
    assert without_result([Silent, silent]) == [name_of(silent)]


def test_the_overview_names_the_modules_of_support():
    overview = (PAGES / "index.md").read_text()
    assert [name for name in sorted(SUPPORT) if f"`{name}`" not in overview] == []


def test_a_name_that_no_page_has_is_found():
    things = [("emorl.optim.Muon", {"emorl.optim"}), ("emorl.new.Thing", {"emorl.new"})]
    assert missing(things, {"emorl.optim"}) == ["emorl.new.Thing"]


def test_an_exported_constant_needs_its_entry():
    module = ModuleType("emorl.new")
    module.__all__, module.SIZE = ["SIZE"], (64, 64)
    assert missing(public_names([module]), {"emorl.new"}) == ["emorl.new.SIZE"]
    assert missing(public_names([module]), {"emorl.new.SIZE"}) == []
