"""`emorl-evaluate`: studies of a trained model. A further study is a further entry of `COMMANDS`."""

from typing import Any

from emorl.command import run_command
from emorl.evaluation.report.report import report
from emorl.evaluation.representation.representation import representation
from emorl.evaluation.studies.draws import draws
from emorl.evaluation.studies.layers import layers
from emorl.evaluation.studies.refinement import refinement
from emorl.evaluation.studies.robustness import robustness
from emorl.evaluation.studies.slots import slots

_DESCRIPTION = "Study a trained model: each study writes tables and figures into a folder."

COMMANDS: dict[str, Any] = {
    "refinement": refinement,
    "slots": slots,
    "draws": draws,
    "robustness": robustness,
    "layers": layers,
    "representation": representation,
    "report": report,
}


def main(args: list[str] | None = None) -> int | None:
    """Run `emorl-evaluate`, see `run_command`."""
    return run_command("emorl-evaluate", _DESCRIPTION, COMMANDS, args)
