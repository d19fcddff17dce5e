"""`emorl-data`: make, check and look at data sets. A further data set is a further entry of `COMMANDS`."""

import sys
from typing import Any

from jsonargparse import auto_cli

from emorl.data.commands import convert, generate, inspect
from emorl.data.errors import DataError

_DESCRIPTION = "Make, check and look at data sets of shards."

COMMANDS: dict[str, Any] = {
    "generate": {
        "_help": "Generate a data set.",
        "tetrominoes": generate.tetrominoes,
        "multi_dsprites": generate.multi_dsprites,
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
    """Run `emorl-data`; errors of data and files are one line on stderr and status 2."""
    try:
        status: int | None = auto_cli(COMMANDS, args=args, prog="emorl-data", description=_DESCRIPTION)
    except (DataError, OSError) as error:
        print(f"emorl-data: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("emorl-data: interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return status
