"""The command ``emorl explore``."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

from jsonargparse import Namespace

from emorl import __version__
from emorl.classes import ClassPaths, imported
from emorl.command import CommandParser
from emorl.errors import DataError, refused
from emorl.explore.build import MODELS, build
from emorl.explore.serve import address, server
from emorl.paths import command_line, print_any_name


def main(args: list[str] | None = None) -> int:
    """Decompose scenes into slots and edit them, on a page in the browser.

    Args:
        args: the command line after ``emorl explore``; by default that of the process.

    Returns:
        The exit status: 0, or 2 for bad input, which is reported in one line on stderr.
    """
    print_any_name()
    parser = _parser()
    try:
        options = parser.parse_args(command_line(args))
        if options.out and (options.port or not options.browser):
            parser.error("expected --out, or else --port and --browser, got both: --out does not open the page")
        if options.out is not None:
            build(options.out, options.models, options.images, imported(options.classes))
            print(f"Wrote the explorer to {options.out}: copy the folder to any web server.")
        else:
            _show(options)
    except (DataError, OSError) as error:
        return refused("emorl explore", error)
    return 0


def _show(options: Namespace) -> None:
    """Build the page in a temporary folder, and serve it until Ctrl-C."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "explorer"
        with server(folder, options.port) as running:
            print("Preparing the page; exporting a model for the first time takes half a minute.", flush=True)
            build(folder, options.models, options.images, imported(options.classes))
            print(f"The slot explorer is at {address(running)} (press Ctrl-C to stop).", flush=True)
            if options.browser:
                webbrowser.open(address(running))
            try:
                running.serve_forever()
            except KeyboardInterrupt:
                print()  # after the terminal's ^C


def _parser() -> CommandParser:
    description = (main.__doc__ or "").partition("\n")[0]
    parser = CommandParser(prog="emorl explore", description=description, version=__version__)
    about = "name of shipped weights, or path of a folder of save_pretrained or a checkpoint"
    parser.add_argument("models", nargs="*", metavar="MODEL", default=[*MODELS], help=about)
    parser.add_argument("--images", type=Path, help="folder of images to show instead of test scenes of the data set")
    parser.add_argument("--out", type=Path, help="write the page to this folder, for a web site, instead of opening it")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; by default a free one")
    parser.add_argument("--browser", type=bool, default=True, help="whether to open a browser")
    about = "classes outside emorl.model that the models of folders may consist of: own_model.SoftKMeans, or several: "
    parser.add_argument("--classes", type=ClassPaths, default=[], help=f"{about}'[own_model.A, own_model.B]'")
    return parser
