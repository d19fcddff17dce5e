"""`emorl-evaluate`: studies of a trained model. To add a study, add an entry to `COMMANDS`."""

from emorl.interrupts import exit_on_interrupt

with exit_on_interrupt("emorl-evaluate"):
    from emorl.command import Commands, run_command

_DESCRIPTION = (
    "Analyze a trained model: emorl-evaluate STUDY MODEL DATA OUT writes tables and figures to the folder OUT, "
    "emorl-evaluate STUDY --help lists the options. STUDY is a subcommand."
)

COMMANDS: Commands = {
    "refinement": "emorl.evaluation.studies.refinement:refinement",
    "slots": "emorl.evaluation.studies.slots:slots",
    "draws": "emorl.evaluation.studies.draws:draws",
    "robustness": "emorl.evaluation.studies.robustness:robustness",
    "layers": "emorl.evaluation.studies.layers:layers",
    "representation": "emorl.evaluation.representation.representation:representation",
    "report": "emorl.evaluation.report.report:report",
}


def main(args: list[str] | None = None) -> int | None:
    """Run `emorl-evaluate`, see `run_command`."""
    return run_command("emorl-evaluate", _DESCRIPTION, COMMANDS, args)
