"""`emorl-data`: make, check and display data sets. To add a data set, add an entry to `COMMANDS`."""

from emorl.interrupts import exit_on_interrupt

with exit_on_interrupt("emorl-data"):
    from emorl.command import Commands, run_command

_DESCRIPTION = "Make, check and display data sets of shards."

COMMANDS: Commands = {
    "generate": {
        "_help": "Generate a data set.",
        "tetrominoes": "emorl.data.commands.generate:tetrominoes",
        "multi_dsprites": "emorl.data.commands.generate:multi_dsprites",
        "clevr": "emorl.data.commands.generate:clevr",
    },
    "convert": {
        "_help": "Convert a folder of images, or a published data set.",
        "tetrominoes": "emorl.data.commands.convert:tetrominoes",
        "multi_dsprites": "emorl.data.commands.convert:multi_dsprites",
        "clevr": "emorl.data.commands.convert:clevr",
        "hdf5": "emorl.data.commands.convert:hdf5",
        "clevrtex": "emorl.data.commands.convert:clevrtex",
        "folder": "emorl.data.commands.convert:folder",
    },
    "export": {"_help": "Write a data set in another format.", "hdf5": "emorl.data.commands.inspect:export_hdf5"},
    "info": "emorl.data.commands.inspect:info",
    "verify": "emorl.data.commands.inspect:verify",
    "preview": "emorl.data.commands.inspect:preview",
}


def main(args: list[str] | None = None) -> int | None:
    """Run `emorl-data`, see `run_command`."""
    return run_command("emorl-data", _DESCRIPTION, COMMANDS, args)
