"""The command ``emorl recipes``: list the recipes of the package, or copy them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from emorl import __version__
from emorl.command import CommandParser
from emorl.configurations import (
    BASE,
    FOLDER,
    OVERLAYS,
    STUDIES,
    SWEEPS,
    configurations,
    files,
    meant_by,
    partner_of,
    recipes,
    studies,
    sweeps,
)
from emorl.errors import DataError, refused
from emorl.files import atomic
from emorl.paths import command_line, print_any_name

_EXAMPLE = recipes()["tetrominoes-fast"]  # needs no download
_HEADINGS = ("recipe", "model", "data", "size", "K", "steps", "time of training")


def main(args: list[str] | None = None) -> int:
    """List the recipes, or copy them for editing.

    Args:
        args: the command line after ``emorl recipes``; by default that of the process.

    Returns:
        The exit status: 0, or 2 after one line on stderr about bad input.
    """
    print_any_name()
    try:
        options = _parser().parse_args(command_line(args))
        print(listing() if options.action is None else copy(options.copy.names, options.copy.out))
    except (DataError, OSError) as error:
        return refused("emorl recipes", error)
    return 0


def listing() -> str:
    """Return tables of the recipes, and of the overlays, studies and sweeps."""
    lines = [*_aligned([_HEADINGS, *(described(name, path) for name, path in _shortest(recipes()).items())])]
    for heading, folder, known in (
        ("overlays, which change a recipe: emorl fit -c RECIPE -c OVERLAY", OVERLAYS, configurations()),
        ("studies, of several runs: emorl-study STUDY OUT", STUDIES, studies()),
        ("sweeps of W&B: emorl recipes copy SWEEP, then wandb sweep configs/SWEEP.yaml", SWEEPS, files()),
    ):
        found = {name: path for name, path in known.items() if path.is_relative_to(FOLDER / folder)}
        lines += ["", heading, *_aligned([(name, _comment(path)) for name, path in _shortest(found).items()])]
    return "\n".join(lines)


def described(name: str, path: Path) -> tuple[str, ...]:
    """Return a recipe's row of the table; time and machine are read from the comment ``# Time:``."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    (time,) = re.findall(r"^# Time: (.+)$", path.read_text(), re.MULTILINE)
    model, network = content["model"], content["model"]["network"]
    size, slots, steps = model["image_size"], network["init_args"]["num_slots"], content["trainer"]["max_steps"]
    kind = network["class_path"].rpartition(".")[2]
    return name, kind, content["data"]["root"], f"{size}x{size}", str(slots), f"{steps:,}", time


def copy(names: Sequence[str], out: Path) -> str:
    """Copy files and ``base.yaml`` into a folder, in the layout of the package; return their paths and a summary.

    No file is overwritten.

    Args:
        names: names of recipes, overlays, studies and sweeps; none for all of them.
        out: the folder.

    Raises:
        DataError: if a name is unknown, which copies nothing, or if a file cannot be written.
    """
    known = files() | sweeps() | studies() | configurations()
    for name in names:
        if name in studies() and name in sweeps():
            raise DataError.of(name, expected="one file", got="two", remedy=f"name studies/{name} or sweeps/{name}")
        if name not in known:
            expected, got = "the name of a recipe, overlay, study or sweep", "another"
            remedy = f"emorl recipes lists them, and --out names the folder{meant_by(name, known)}"
            raise DataError.of(name, expected=expected, got=got, remedy=remedy)
    copies = {path: out / path.relative_to(FOLDER) for path in (BASE, *(known[name] for name in names or known))}
    new = {path: target for path, target in copies.items() if not target.exists()}
    for path, target in new.items():
        with atomic(target) as stream:
            stream.write(path.read_bytes())
    lines = [f"wrote {target}" for target in new.values()]
    lines += [f"{out}: {len(new)} of {len(copies)} files copied"]
    changed = [target for path, target in copies.items() if target.read_bytes() != path.read_bytes()]
    lines += [f"{target} differs from the package's and was not overwritten" for target in changed]
    return "\n".join([*lines, *_trainings(copies if names else {path: copies[path] for path in (BASE, _EXAMPLE)})])


def _trainings(copies: Mapping[Path, Path]) -> Iterator[str]:
    """Yield the command that trains each copied recipe, with the copied overlays for it.

    Overlays without a recipe have that of the package which the first of them is for.
    """
    known, overlays = recipes(), [path for path in copies if path.parent.name == OVERLAYS]
    partners = {path: known[name] for path in overlays if (name := partner_of(path))}
    copied = [path for path in copies if path in known.values()]
    for recipe in copied or [partners.get(path, _EXAMPLE) for path in overlays[:1]]:
        files_ = BASE, recipe, *(path for path in overlays if partners.get(path, recipe) == recipe)
        yield " -c ".join(["emorl fit", *(shlex.quote(str(copies.get(path, path.stem))) for path in files_)])


def _parser() -> CommandParser:
    about = (main.__doc__ or "").partition("\n")[0]
    parser = CommandParser(prog="emorl recipes", description=about, version=__version__)
    copies = CommandParser(description="Copy files of the package for editing, with base.yaml; none is overwritten.")
    copies.add_argument("names", nargs="*", metavar="NAME", default=[], help="what to copy; by default all files")
    copies.add_argument("--out", type=Path, default=Path("configs"), help="folder for the copies")
    places = parser.add_subcommands(required=False, dest="action", metavar="[copy]")
    places.add_subcommand("copy", copies, help=copies.description)
    return parser


def _shortest(found: Mapping[str, Path]) -> dict[str, Path]:
    """Return files by the shortest of their names."""
    names = {path: name for name, path in sorted(found.items(), key=lambda item: -len(item[0]))}
    return {name: path for path, name in sorted(names.items())}


def _comment(path: Path) -> str:
    """Return the first line of a file, a comment that says what it is for."""
    return path.read_text().partition("\n")[0].removeprefix("# ")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
