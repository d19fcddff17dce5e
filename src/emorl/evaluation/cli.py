"""`emorl-evaluate`: studies of a trained model. A further study is a further entry of `COMMANDS`."""

import sys
from typing import Any

from jsonargparse import auto_cli

from emorl.data.errors import DataError
from emorl.evaluation.layers import layers
from emorl.evaluation.refinement import refinement
from emorl.evaluation.report import report
from emorl.evaluation.representation import representation
from emorl.evaluation.robustness import robustness
from emorl.evaluation.slots import slots

_DESCRIPTION = "Study a trained model: each study writes tables and figures into a folder."

COMMANDS: dict[str, Any] = {
    "refinement": refinement,
    "slots": slots,
    "robustness": robustness,
    "layers": layers,
    "representation": representation,
    "report": report,
}


def main(args: list[str] | None = None) -> int | None:
    """Run `emorl-evaluate`; errors of models, data and files are one line on stderr and status 2."""
    try:
        status: int | None = auto_cli(COMMANDS, args=args, prog="emorl-evaluate", description=_DESCRIPTION)
    except (DataError, OSError) as error:
        print(f"emorl-evaluate: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("emorl-evaluate: interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return status
