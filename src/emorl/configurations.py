"""Configuration files by name: the recipes, overlays and studies that come with the package."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from emorl.errors import DataError, did_you_mean, reason

FOLDER = Path(__file__).parent / "configs"  # in a checkout a link to the repository's
BASE = FOLDER / "base.yaml"
OVERLAYS, STUDIES, SWEEPS = "overlays", "studies", "sweeps"
_DEFAULT = "efficient_morl"  # its recipes also have names without the model
_PARTNER = re.compile(r"# For ([\w/-]+): ")  # the start of an overlay for a single recipe
_OPTIONS = "-c", "--config"
_OTHERS = {  # the start of a key in other files of emorl: what the file is, and what to give instead
    "sha256": ("that of a model of save_pretrained", "give its folder as --pretrained"),
    "splits": ("the manifest of a data set", "give its folder as --data.root"),
    "tests": ("the card of trained weights", "give the name of the weights as --pretrained"),
    "I=": ("the scores of emorl test", "give the config.yaml of the run"),
    "git": ("the versions of a run", "give the config.yaml of the run"),
    "versions": ("the hyperparameters of a logger", "give the config.yaml of the run"),
    "parameters": ("a sweep", "give it to wandb sweep"),
}
_ATTACHED = re.compile(r"(-c|--config)=(.+)|(-c)(.+)", re.DOTALL)

logger = logging.getLogger(__name__)


def files() -> dict[str, Path]:
    """Return all files by their path in ``configs/``, without the ending."""
    return {str(path.relative_to(FOLDER).with_suffix("")): path for path in sorted(FOLDER.rglob("*.yaml"))}


def recipes() -> dict[str, Path]:
    """Return the recipes by name: MODEL/RECIPE, or RECIPE alone for EfficientMORL's."""
    others = {"", OVERLAYS, STUDIES, SWEEPS}
    found = {name: path for name, path in files().items() if name.rpartition("/")[0].split("/")[0] not in others}
    return _short(found, _DEFAULT) | found


def configurations() -> dict[str, Path]:
    """Return the files that ``-c`` takes by name: base, the recipes, and the overlays with and without their folder."""
    return {"base": BASE} | recipes() | _within(OVERLAYS)


def studies() -> dict[str, Path]:
    """Return the studies that ``emorl-study`` takes by name, with and without their folder."""
    return _within(STUDIES)


def sweeps() -> dict[str, Path]:
    """Return the W&B sweeps by name, with and without their folder."""
    return _within(SWEEPS)


def settings(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        DataError: if it cannot be read, if it is not a mapping, or if a mapping has a key twice.
    """
    remedy = "check the path; a checkpoint is given as --ckpt_path or --pretrained"
    try:
        content = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        got = "a file that is not text" if isinstance(error, UnicodeDecodeError) else reason(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            got = f"a file of another format, or with a mistake in line {error.problem_mark.line + 1} ({error.problem})"
        raise DataError.of(path, expected="a YAML file", got=got, remedy=remedy) from error
    if not isinstance(content, dict):
        got = "an empty file" if content is None else f"a {type(content).__name__}"
        raise DataError.of(path, expected="a YAML file of keys and values", got=got, remedy=remedy)
    return content


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, key in enumerate(keys):
            if key.value in [other.value for other in keys[:place]]:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
        return node


def maker_of(root: str | Path) -> str | None:
    """Return the command that makes the data of a recipe, from its comment ``# Data:``.

    Args:
        root: the folder of the data, which is known by its last part.

    >>> maker_of("/scratch/tetrominoes"), maker_of("data/mine")
    ('emorl-data generate tetrominoes /scratch/tetrominoes', None)
    """
    for path in recipes().values():
        known, command = settings(path)["data"]["root"], re.search(r"^# Data: (.+)$", path.read_text(), re.MULTILINE)
        if command and Path(known).name == Path(root).name:
            return command[1].replace(known, shlex.quote(str(root)))
    return None


def find(given: str, known: Mapping[str, Path], kind: str) -> Path:
    """Return the path of a file given by path or by name; an existing path takes precedence over a name.

    A path in the repository, such as ``configs/base.yaml``, also names the package's file if no such file exists. So
    the package's studies and sweeps find their recipes, or edited copies of them, in any working directory.

    Args:
        given: the path or the name.
        known: files by name, as `configurations` returns them.
        kind: the kind of these files, for the error message: "recipe" or "study".

    Raises:
        DataError: if it is neither a file nor a name.
    """
    if os.path.exists(given) and not os.path.isdir(given):
        return Path(given)
    if given in known:
        _warn_of_copy(given, known[given])
        return known[given]
    if path := next((path for path in known.values() if given == f"configs/{path.relative_to(FOLDER)}"), None):
        _warn(f"{given} does not exist here; using the file of that name in the emorl package.")
        return path
    if other := next(((got, use) for names, got, use in _uses() if given in names), None):
        raise DataError.of(given, expected=f"a file or the name of a {kind}", got=other[0], remedy=f"use {other[1]}")
    got = "a folder" if os.path.isdir(given) else "neither"
    remedy = f"emorl recipes lists the names{meant_by(given, known)}"
    raise DataError.of(given, expected=f"a file or the name of a {kind}", got=got, remedy=remedy)


def meant_by(given: str, known: Mapping[str, Path]) -> str:
    """Return the question whether a similar name was meant, see `did_you_mean`; a path stands for its name.

    >>> meant_by("configs/overlays/smok.yaml", configurations())
    '; did you mean overlays/smoke?'
    """
    return did_you_mean(re.sub(r"\A(?:.*/)?configs/|\.ya?ml\Z", "", given), known)


def with_paths(words: Sequence[str], subcommand: str = "fit") -> list[str]:
    """Return options of ``emorl SUBCOMMAND`` with paths in the place of names, after ``base.yaml``.

    Every training starts from ``base.yaml``, unless the first configuration has that name; so does another subcommand
    with a recipe given by name.

    Args:
        words: the command line after the subcommand.
        subcommand: fit, validate, test or predict.

    Raises:
        DataError: if a configuration is neither a file nor a name, if a recipe after an overlay overrides it, if there
            are two recipes, or if an overlay for one recipe is given without it.
    """
    known, by_name = configurations(), recipes()
    found = [part for word in words for part in _parts(word)]
    starts_from_base, paths = subcommand == "fit", dict[str, Path]()
    for place in (places := _places(found)):
        path = find(given := found[place], known, "recipe")
        starts_from_base |= path == by_name.get(given)
        if path.is_file():  # not a pipe, which can be read only once
            _check_order(given, path, paths)
        found[place] = str(path)
        paths[given] = path
    _check_recipes(paths, own=len(places) < sum(part in _OPTIONS for part in found))
    if starts_from_base and [path.name for path in paths.values()][:1] != [BASE.name]:
        _warn_of_copy("base", BASE)
        return ["--config", str(BASE), *found]
    return found


def chosen(words: Sequence[str]) -> dict[str, Path]:
    """Return the configuration files among options of ``emorl fit``, by the names or paths given there, with base.yaml.

    Raises:
        DataError: as `with_paths`.
    """
    parts, full = [part for word in words for part in _parts(word)], with_paths(words)
    base = {"base": BASE} if len(full) > len(parts) else {}
    return base | {parts[place]: Path(path) for place in _places(parts) for path in (full[place - len(parts)],)}


def _check_order(given: str, path: Path, before: Mapping[str, Path]) -> None:
    """Check that a file is YAML of a configuration, and that what it overrides is not meant to follow it.

    A recipe, of the package or copied, does not override an overlay given before it, and ``base.yaml`` nothing.
    """
    content = settings(path)
    other = next((_OTHERS[start] for start in _OTHERS for key in content if str(key).startswith(start)), None)
    if any(isinstance(value, list) and f"{value[:1]}".startswith("['-") for value in content.values()):
        other = other or ("a study", "give it to emorl-study")
    if other:
        raise DataError.of(given, expected="a configuration of emorl fit", got=other[0], remedy=other[1])
    keys = _keys(content)
    if before and content == settings(BASE):
        expected, got = "no configuration before the settings of every run", f"{', '.join(before)} before {given}"
        raise DataError.of(given, expected=expected, got=got, remedy="leave it out: emorl fit loads base.yaml first")
    if _original(path) not in recipes().values():
        return  # a user's file may override anything
    for name, overlay in before.items():
        if overlay.parent.name == OVERLAYS and overlay.is_file() and (lost := sorted(_keys(settings(overlay)) & keys)):
            expected, got = f"an overlay after the recipe that it changes ({', '.join(lost)})", f"it before {given}"
            raise DataError.of(name, expected=expected, got=got, remedy=f"give -c {name} last")


def _check_recipes(given: Mapping[str, Path], own: bool) -> None:
    """Check that there is one recipe at most, and that an overlay for one recipe is with it.

    A user's file may stand for any recipe.

    Args:
        given: the files, by their names or paths on the command line.
        own: whether there are other configurations of the user: text, or the standard input.
    """
    known = recipes()
    originals = {name: _original(path) for name, path in given.items()}
    chosen = [name for name, path in originals.items() if path in known.values()]
    if len(chosen) > 1:
        remedy = "leave the others out; changes of a recipe are a file of yours: -c RECIPE -c mine.yaml"
        raise DataError.of(chosen[1], expected="one recipe", got=" and ".join(chosen), remedy=remedy)
    for name, path in originals.items():
        partner = partner_of(path) if path else None
        if partner and known[partner] not in originals.values() and not (own or None in originals.values()):
            got, remedy = chosen[0] if chosen else "no recipe", f"give -c {partner} -c {name}"
            raise DataError.of(name, expected=f"the recipe {partner} before it", got=got, remedy=remedy)


def partner_of(path: Path) -> str | None:
    """Return the name of the only recipe that a file of the package is for, which its first line names; None for any.

    >>> partner_of(FOLDER / "overlays/demo.yaml"), partner_of(FOLDER / "overlays/smoke.yaml")
    ('tetrominoes-fast', None)
    """
    found = _PARTNER.match(path.read_text()) if path.parent.name == OVERLAYS else None
    return found[1] if found else None


def _original(path: Path) -> Path | None:
    """Return the package's file that a path names, or that it is a copy of in the same layout; None for others."""
    return BASE if path.name == BASE.name else files().get(f"{path.parent.name}/{path.stem}")


def _keys(content: Any, prefix: str = "") -> set[str]:
    """Return the dotted keys of the values in nested mappings, except lists that are appended, as ``callbacks+``."""
    if not isinstance(content, dict):
        return {prefix.rstrip(".")}
    items = [(f"{name}", value) for name, value in content.items()]
    return {key for name, value in items if name[-1:] != "+" for key in _keys(value, f"{prefix}{name}.")}


def _parts(word: str) -> list[str]:
    """Return ``--config=FILE``, ``-c=FILE`` and ``-cFILE`` as two words."""
    found = _ATTACHED.fullmatch(word)
    return [part for part in found.groups() if part] if found else [word]


def _places(parts: Sequence[str]) -> list[int]:
    """Return the positions of names and paths of configurations; YAML text and "-", the standard input, are skipped."""
    places = [place for place, option in enumerate(parts[:-1], start=1) if option in _OPTIONS]
    return [place for place in places if parts[place] != "-" and not _is_text(parts[place])]


def _is_text(given: str) -> bool:
    try:
        return isinstance(yaml.safe_load(given), dict)
    except yaml.YAMLError:
        return False


def _uses() -> list[tuple[Mapping[str, Path], str, str]]:
    """Return all files by name, with what they are and the command that takes them."""
    return [
        (configurations(), "that of a recipe", "emorl fit -c NAME"),
        (studies(), "that of a study", "emorl-study NAME OUT"),
        (sweeps(), "that of a sweep", "emorl recipes copy, then wandb sweep PATH"),
    ]


def _warn_of_copy(name: str, path: Path) -> None:
    """Warn if an edited copy of a file exists where ``emorl recipes copy`` puts it, since a name ignores it."""
    copy = Path("configs") / path.relative_to(FOLDER)
    if copy.is_file() and copy.read_bytes() != path.read_bytes():
        _warn(f"{copy} is not used: {name} is the package's; to use yours, give its path.")


@cache
def _warn(text: str) -> None:
    """Print a warning once."""
    logger.warning(text)


def _within(folder: str) -> dict[str, Path]:
    """Return the files of a folder by name, with and without the folder."""
    found = {name: path for name, path in files().items() if name.startswith(f"{folder}/")}
    return _short(found, folder) | found


def _short(found: Mapping[str, Path], folder: str) -> dict[str, Path]:
    return {name.removeprefix(f"{folder}/"): path for name, path in found.items() if name.startswith(f"{folder}/")}
