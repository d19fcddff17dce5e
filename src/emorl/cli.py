"""The command ``emorl fit | validate | test | predict``."""

from __future__ import annotations

import argparse
import logging
import re
import signal
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.model_helpers import is_overridden

from emorl import __version__
from emorl.callbacks import (
    NextSteps,
    PredictionWriter,
    ProgressBar,
    RefinementCurriculum,
    RunRecord,
    TestReport,
)
from emorl.callbacks.folder import LIGHTNINGS, removed_if_refused, stay_in_folder
from emorl.classes import ClassPaths, imported
from emorl.command import with_values
from emorl.configurations import with_paths
from emorl.data.datamodule import MultiObjectDataModule
from emorl.entry import DESCRIPTION, SUBCOMMANDS
from emorl.errors import DataError, did_you_mean, printable, reason, refused, root_cause
from emorl.mistakes import ShortErrors
from emorl.module import SlotModule
from emorl.paths import command_line, expand_home, print_any_name
from emorl.provenance import record_of
from emorl.saved import Weights
from emorl.stored import load_weights, names, read_checkpoint, read_weights
from emorl.words import begin_networks_anew, class_of, named_classes, of_any_length, weights_parser

logger = logging.getLogger(__name__)

DEFAULTS = {  # the report contains all scores; predictions are written to files
    "test": {"verbose": False},
    "predict": {"return_predictions": False},
}

_WITHOUT_FILES = {  # subcommands without the files of --output_dir, and the remedy
    "fit": "Remove it; the folder of runs is --trainer.logger.save_dir.",
    "validate": "Remove it; validate writes no scores, but test does.",
}

_BASE = "base.yaml first, the settings of every run; the defaults below are those without it."
_LOADED = dict.fromkeys(SUBCOMMANDS, f"A recipe by name loads {_BASE}") | {"fit": f"fit loads {_BASE}"}

EPILOGS = {
    "fit": "To fine-tune trained weights on your data, which emorl-data convert folder makes of a folder of images: "
    "emorl fit --pretrained multi_dsprites --data.root data/mine --trainer.max_steps 5000 --model.optimizer.lr 2e-4"
}


class Parser(ShortErrors, LightningArgumentParser):
    """Lightning's parser, with errors in one line.

    >>> Parser().parser_mode
    'emorl'
    """

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """Write a configuration, which was checked when it was parsed; a second check would take as long."""
        return str(super().dump(*args, **{"skip_validation": True} | kwargs))


class EmorlCLI(LightningCLI):
    """LightningCLI with this project's classes; a checkpoint, or shipped weights, supply the model's configuration.

    >>> issubclass(EmorlCLI, LightningCLI)
    True
    """

    weights: Weights | None = None  # of ``--pretrained``

    def __init__(self, *classes: Any, **options: Any) -> None:
        first = command_line(options.get("args"))[:1]
        self.asked = next((word for word in first if word in SUBCOMMANDS), None)
        super().__init__(*classes, **options)

    def __deepcopy__(self, memo: dict[int, Any]) -> EmorlCLI:
        """Return itself: a module refers to it in classes that are built later; its copies need no other run."""
        return self

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Describe the subcommands, and add the option for shell completion if shtab is installed."""
        super().setup_parser(*args, **kwargs)
        _count_batches_in_integers(self._subcommand_parsers.values())
        for name in _WITHOUT_FILES:
            if refused_there := self._subcommand_parsers[name]._option_string_actions.get("--output_dir"):
                refused_there.help = argparse.SUPPRESS
        for action in self.parser._subcommands_action._choices_actions:  # type: ignore[union-attr]
            action.help = SUBCOMMANDS[action.dest]
        for subparser in self._subcommand_parsers.values():
            subparser._option_string_actions["--config"].help = "A file, or a recipe or overlay by name: emorl recipes."
        if resumed := self._subcommand_parsers["fit"]._option_string_actions.get("--ckpt_path"):
            resumed.help = f"{resumed.help} To start a new run from trained weights, give --pretrained."
        if find_spec("shtab"):  # jsonargparse's option is very slow: its script lists every subclass of every part
            self.parser.add_argument(
                "--print_completion",
                action=PrintCompletion,
                choices=import_module("shtab").SUPPORTED_SHELLS,
                help="Print a script that completes options on TAB.",
            )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Describe the options of the subcommand that the command line begins with, which saves a third of the time."""
        if self.asked not in (None, subcommand):
            self._subcommand_method_arguments[subcommand] = []
            return self.init_parser(**kwargs)
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser._action_groups[-1].title = f"Options of {subcommand}"  # it was the first line of Lightning's docstring
        parser.set_defaults(DEFAULTS.get(subcommand, {}))
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link options of the data to those of the model, and add the options of this package."""
        parser.set_defaults({"model.network": {"class_path": "emorl.model.EfficientMORL"}})
        parser.set_defaults({"trainer.enable_autolog_hparams": False})  # `RunRecord` logs hyperparameters
        parser.link_arguments("model.image_size", "data.image_size")
        parser.link_arguments("model.crop", "data.crop")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_argument(
            "--output_dir",
            type=str | None,
            default=None,
            help="Folder for the files of test and predict; by default the run's.",
        )
        parser.add_argument(
            "--pretrained",
            type=str | None,
            default=None,
            help="Trained weights, from which fit starts and which the other subcommands use: a checkpoint, a folder "
            f"of save_pretrained, or the name of shipped weights: {', '.join(names())}. null ignores those that a "
            "configuration names.",
        )
        parser.add_argument(
            "--classes",
            type=ClassPaths,
            default=[],
            help="Classes outside emorl.model that the model of a folder of save_pretrained may consist of, such as "
            "own_model.SoftKMeans, or several: '[own_model.A, own_model.B]'. Those of the network in a configuration "
            "need not be named.",
        )
        parser.add_lightning_class_args(ProgressBar, "progress")
        parser.add_lightning_class_args(RefinementCurriculum, "curriculum")
        for name, callback in (("report", TestReport), ("predictions", PredictionWriter)):
            parser.add_lightning_class_args(callback, name)
            parser.link_arguments("output_dir", f"{name}.output_dir")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the command line, with the configuration of trained weights as defaults of the model.

        Weights that the command line names are read before it is parsed, because their model determines the options.
        Weights that a configuration names are read after it is parsed.

        Raises:
            MisconfigurationException: if both a checkpoint and weights are given, except to resume a run that started
                from these weights; if a later configuration overrides a checkpoint or weights with null; if Lightning
                would have to find a checkpoint without knowing the run; if the seed is out of range, or Lightning
                would choose it after the data's; or if ``output_dir`` would have no effect.
            DataError: if the checkpoint does not exist or is not a checkpoint; or if a configuration is neither a file
                nor a name.
        """
        words = command_line(cast("list[str] | None", args))
        subcommand = next((word for word in words if word in SUBCOMMANDS), None)
        if subcommand:
            place = words.index(subcommand) + 1
            words = [*words[:place], *with_paths(words[place:], subcommand)]
        named = weights_parser().parse_known_args(words)[0]
        if subcommand and not {"-h", "--help"} & set(words):
            self._take_model(subcommand, named.ckpt_path, named.pretrained, words)
        self._parse(parser, words, subcommand)
        if subcommand := self.config.get("subcommand"):
            path, pretrained = (self.config[subcommand].get(name) for name in ("ckpt_path", "pretrained"))
            seed = self.config[subcommand].get("seed_everything")
            if seed is True:
                raise MisconfigurationException("Expected a number as seed_everything, got true. Give one, such as 0.")
            if seed is not None and not 0 <= seed < 2**32:
                raise MisconfigurationException(f"Expected seed_everything from 0 to {2**32 - 1}, got {seed}.")
            if subcommand in _WITHOUT_FILES and self.config[subcommand].get("output_dir") is not None:
                told = f"Expected --output_dir with test or predict, got it with {subcommand}."
                raise MisconfigurationException(f"{told} {_WITHOUT_FILES[subcommand]}")
            for name, value in vars(named).items():
                if value is not None and self.config[subcommand].get(name) is None:
                    raise MisconfigurationException(
                        f"--{name} {value} is overridden by '{name}: null' in a later configuration. Give it last."
                    )
            late = (path, pretrained) != (named.ckpt_path, named.pretrained)
            if late and self._take_model(subcommand, path, pretrained, words):
                self._parse(parser, words, subcommand)
            if subcommand != "fit" and path is None and pretrained is None:
                logger.warning("Neither --ckpt_path nor --pretrained is given: the model is untrained.")

    def _parse(self, parser: LightningArgumentParser, words: list[str], subcommand: str | None) -> None:
        """Parse; a network of another class than the default one starts from the defaults of its class."""
        if subcommand:
            default = self._subcommand_parsers[subcommand].get_default("model.network")
            words = with_values(self._subcommand_parsers[subcommand], begin_networks_anew(words, class_of(default)))
        self.config = expand_home(parser.parse_args(words))

    def _take_model(self, subcommand: str, path: str | None, pretrained: str | None, words: list[str]) -> bool:
        """Set the configuration of trained weights as defaults of the model; return whether there are weights."""
        if path is not None and pretrained is not None and subcommand != "fit":  # a run may have started from weights
            remedy = "Remove one of them; --pretrained null overrides that of a configuration."
            raise MisconfigurationException(f"Expected --ckpt_path or --pretrained, got both. {remedy}")
        if path == "best" or (path in LIGHTNINGS and subcommand != "fit"):  # of the same process is the best
            raise MisconfigurationException(f"Expected the path of a checkpoint, got '{path}'. Name the file.")
        if path is None or path in LIGHTNINGS:
            classes = [] if pretrained is None else imported(named_classes(words))
            found = self.weights = None if pretrained is None else read_weights(pretrained, classes)
        else:
            found, self.weights = read_checkpoint(path), None
        if found is None:
            return False
        model = found.model if self.weights is None else of_any_length(found.model)
        defaults = {f"model.{name}": value for name, value in model.items()}
        self._subcommand_parsers[subcommand].set_defaults(defaults)
        return True

    def before_instantiate_classes(self) -> None:
        """Log to a subfolder of the run in other subcommands than fit, so that the run's files are not overwritten."""
        if self.subcommand == "fit":
            return
        warnings.filterwarnings("ignore", "The dirpath has changed from")  # no checkpoint is saved there
        logger = self._get(self.config, "trainer").get("logger")
        for each in logger if isinstance(logger, list) else [logger]:
            named = isinstance(each, Namespace) and each.class_path.endswith(("CSVLogger", "TensorBoardLogger"))
            if named and (version := each.get("init_args.version")) is not None:
                run = version if isinstance(version, str) else f"version_{version}"
                each.init_args.version = f"{run}/{self.subcommand}"

    def instantiate_classes(self) -> None:
        """Build all objects, and load shipped weights; training starts with a new state of the objective.

        Raises:
            MisconfigurationException: if a class rejects its arguments.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            first = root_cause(error)  # jsonargparse wraps it in one of many lines
            if not isinstance(first, ValueError | MisconfigurationException):
                raise
            raise MisconfigurationException(str(first)) from error
        if self.weights is not None:
            load_weights(self.model.network, self.weights, objective=self.subcommand != "fit")
            self.model.started_from = record_of(self.weights.card)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer, without callbacks that would have no effect.

        Without a logger, no learning rate is logged; a trial run (``fast_dev_run``) writes no scores and predictions.
        Logs and record of a test or a prediction are written to a separate folder next to the results.
        """
        trainer, output_dir = (self._get(self.config_init, name) for name in ("trainer", "output_dir"))
        if trainer["logger"] == []:
            trainer["logger"] = False
        curve = self.subcommand == "fit" and trainer["logger"] is not False
        keys = self._parser(self.subcommand).callback_keys
        if trainer["enable_progress_bar"] is False:
            keys.remove("progress")
        if trainer["fast_dev_run"]:
            keys[:] = [key for key in keys if key not in ("report", "predictions")]
        parts = _listed(trainer["callbacks"])
        trainer["callbacks"] = [part for part in parts if curve or not isinstance(part, LearningRateMonitor)]
        if output_dir and trainer["logger"] is None:  # Lightning's default, which would repeat the report's numbers
            kwargs["logger"] = False
        if self.subcommand != "fit" and (output_dir or trainer["logger"] is False):  # not over the record of a training
            kwargs["default_root_dir"] = Path(output_dir or trainer["default_root_dir"] or "", str(self.subcommand))
        checkpoint = self._get(self.config, "ckpt_path")
        if self.subcommand == "fit" and checkpoint and checkpoint not in LIGHTNINGS:
            stay_in_folder(_listed(trainer["logger"]), checkpoint)
        if self.subcommand == "fit" and trainer["max_steps"] > 0:  # a shorter run logs a line, too
            every = trainer["log_every_n_steps"]
            kwargs["log_every_n_steps"] = min(50 if every is None else every, trainer["max_steps"])
        try:
            built = super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, RuntimeError) as error:  # Lightning's, about strategy, devices or callbacks
            if twice := _repeated(trainer["callbacks"]):
                told = f"Expected each callback of the trainer once, got {twice} twice"
                raise MisconfigurationException(f"{told}. Remove one; a recipe or overlay may have it.") from error
            known = {"strategy": ["auto", *StrategyRegistry], "accelerator": ["auto", "gpu", *AcceleratorRegistry]}
            for name, names_ in known.items():
                if isinstance(trainer[name], str) and trainer[name] not in names_:
                    got = f"got {trainer[name]!r}{did_you_mean(trainer[name], names_)}"
                    raise MisconfigurationException(f"Expected a trainer.{name} of Lightning, {got}") from error
            raise MisconfigurationException(f"Expected valid options of the trainer, got: {reason(error)}") from error
        if self.subcommand == "fit":
            built.callbacks.insert(0, NextSteps())  # type: ignore[attr-defined]  # its message, the folder, comes first
        return built

    def run(self) -> None:
        """Run the subcommand.

        Raises:
            MisconfigurationException: if Lightning would not find the checkpoint ``hpc``.
        """
        hpc = self.subcommand == "fit" and self._get(self.config, "ckpt_path") == "hpc"
        if hpc and self.trainer._checkpoint_connector._hpc_resume_path is None:
            root = self.trainer.default_root_dir
            told = f"Expected a file hpc_ckpt_N.ckpt in {root} with ckpt_path 'hpc', got none. Name the checkpoint."
            raise MisconfigurationException(told)
        with removed_if_refused(self.trainer):
            super()._run_subcommand(str(self.subcommand))

    def _run_subcommand(self, subcommand: str) -> None:
        """Do nothing: `run` runs the subcommand."""

    def _parse_ckpt_path(self) -> None:
        """Do nothing: Lightning's method lets the checkpoint override the command line; see `parse_arguments`."""


def _listed(value: Any) -> list[Any]:
    """Return the objects of an option of the trainer that may be one, a list, true, false or null."""
    if isinstance(value, bool) or value is None:
        return []
    return list(value) if isinstance(value, Iterable) else [value]


def _repeated(callbacks: Iterable[Callback]) -> str | None:
    """Return the class of a callback that is there twice, of those whose state a checkpoint keeps; None if none is."""
    seen = set()
    for part in callbacks:
        if is_overridden("state_dict", part, Callback):
            if part.state_key in seen:
                return type(part).__name__
            seen.add(part.state_key)
    return None


class PrintCompletion(argparse.Action):
    """Prints a completion script for the shell; shtab's action is a local class, which ``ddp_spawn`` cannot pickle.

    >>> parser = argparse.ArgumentParser()
    >>> parser.add_argument("--print_completion", action=PrintCompletion).dest
    'print_completion'
    """

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        """Print the script and exit."""
        print(import_module("shtab").complete(parser, values))
        parser.exit()


def _count_batches_in_integers(parsers: Iterable[LightningArgumentParser]) -> None:
    """Make ``limit_val_batches: 1`` mean one batch; parsed as 1.0 it would mean all of them.

    Lightning's type is ``Union[int, float, None]``, but `typing` returns an equal union that another library created
    before. That of rich and scikit-learn is ``Union[float, int, None]``, which parses every number as a float.
    """
    for parser in parsers:
        for action in parser._actions:
            if re.fullmatch(r"trainer\.(limit_\w+|overfit)_batches", action.dest):
                action._typehint = int | float | None  # type: ignore[attr-defined]


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """Return whether a message of Lightning is not an advertisement of another product."""
    return not record.getMessage().startswith(("💡 Tip", "TPU available: False"))


def build(args: list[str] | None = None) -> EmorlCLI:
    """Parse the command line, or ``args``, and build model, data and trainer; the result is ready to `run`."""
    return EmorlCLI(
        SlotModule,
        MultiObjectDataModule,
        args=args,
        parser_class=Parser,
        seed_everything_default=0,
        auto_configure_optimizers=False,  # the model's own arguments build them
        save_config_callback=RunRecord,
        trainer_defaults={"enable_model_summary": False},  # `Cost` prints the size
        parser_kwargs={
            "prog": "emorl",
            "description": DESCRIPTION,
            "version": __version__,
            **{
                name: {
                    "description": f"{text} {_LOADED[name]}",
                    "epilog": EPILOGS.get(name),
                    "version": __version__,
                }
                for name, text in SUBCOMMANDS.items()
            },
        },
    )


def main(args: list[str] | None = None) -> None:
    """Run ``emorl`` with the command line, or with ``args``; bad input is one line on stderr and exit status 2."""
    warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # Lightning 2.6, torch 2.13
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_no_advertisement)
    warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")  # test and predict need no curriculum
    warnings.filterwarnings("ignore", "You're using the WeightAveraging callback, but load")  # nor averaging of weights
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # `RunRecord` checks it
    warnings.filterwarnings("ignore", "The number of training batches .* smaller than the logging")  # it spans epochs
    print_any_name()
    try:
        build(args).run()
    except (DataError, MisconfigurationException, OSError, FloatingPointError) as error:
        raise SystemExit(refused("emorl", error)) from error
    except UnicodeEncodeError as error:
        name = printable(f"{error.object}")
        print(f"emorl: error: expected output folders with names in UTF-8, got {name}", file=sys.stderr)
        raise SystemExit(2) from error
    except Exception as error:
        wandb = sys.modules.get("wandb")
        if wandb is None or not isinstance(error, wandb.Error):
            raise
        remedy = "To log without an account or a network, set WANDB_MODE=offline."
        print(f"emorl: error: W&B: {' '.join(str(error).split())} {remedy}", file=sys.stderr)
        raise SystemExit(2) from error
    except SIGTERMException as error:  # Lightning would exit with status 0, as after success
        raise SystemExit(128 + signal.SIGTERM) from error
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, KeyboardInterrupt):
            raise
        print("emorl: interrupted", file=sys.stderr)  # Lightning would exit with status 1
        raise SystemExit(128 + signal.SIGINT) from None
