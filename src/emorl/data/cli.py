"""`emorl-data`: make, check and look at data sets. A further data set is a further entry of `COMMANDS`."""

from typing import Any

from emorl.command import run_command
from emorl.data.commands import convert, generate, inspect

_DESCRIPTION = "Make, check and look at data sets of shards."

COMMANDS: dict[str, Any] = {
    "generate": {
        "_help": "Generate a data set.",
        "tetrominoes": generate.tetrominoes,
        "multi_dsprites": generate.multi_dsprites,
        "clevr": generate.clevr,
    },
    "convert": {
        "_help": "Convert a published data set.",
        "tetrominoes": convert.tetrominoes,
        "multi_dsprites": convert.multi_dsprites,
        "clevr": convert.clevr,
        "hdf5": convert.hdf5,
        "clevrtex": convert.clevrtex,
        "folder": convert.folder,
    },
    "export": {"_help": "Write a data set in another format.", "hdf5": inspect.export_hdf5},
    "info": inspect.info,
    "verify": inspect.verify,
    "preview": inspect.preview,
}


def main(args: list[str] | None = None) -> int | None:
    """Run `emorl-data`, see `run_command`."""
    return run_command("emorl-data", _DESCRIPTION, COMMANDS, args)
