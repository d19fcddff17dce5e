"""The command ``emorl fit | validate | test | predict``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from emorl.callbacks import PredictionWriter, RunRecord, TestReport
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.errors import DataError
from emorl.module import EfficientMORLModule


class EmorlCLI(LightningCLI):
    """LightningCLI with this project's classes; a checkpoint supplies the model's configuration."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Tell the data what the model needs, and say where results go."""
        parser.link_arguments("model.image_size", "data.image_size")
        parser.link_arguments("model.crop", "data.crop")
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.add_argument(
            "--output_dir", type=str | None, default=None, help="Folder of what test and predict write."
        )
        for name, callback in (("report", TestReport), ("predictions", PredictionWriter)):
            parser.add_lightning_class_args(callback, name)
            parser.link_arguments("output_dir", f"{name}.output_dir")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, with the configuration in a checkpoint as the model's defaults: what is asked for here comes first."""
        super().parse_arguments(parser, args)
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path is not None and Path(path).is_file():
            self._subcommand_parsers[subcommand].set_defaults(model_arguments(path))
            super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Replaced by `parse_arguments`: Lightning lets the checkpoint overrule the command line."""


def model_arguments(path: str) -> dict[str, Any]:
    """Return the configuration of the model in a checkpoint, by option.

    Raises:
        DataError: if the file is no checkpoint.
    """
    try:
        arguments = torch.load(path, map_location="cpu", weights_only=True)["hyper_parameters"]
    except (EOFError, UnpicklingError, RuntimeError, KeyError, TypeError) as error:
        got, remedy = str(error).partition("\n")[0] or "an empty file", "give the path of a .ckpt file of emorl fit"
        raise DataError.of(path, expected="a checkpoint", got=got, remedy=remedy) from error
    return {f"model.{name}": value for name, value in arguments.items() if not name.startswith("_")}


def main(args: ArgsType = None) -> None:
    """Run ``emorl`` with the command line, or with ``args``; exits with 2 and one line on bad input."""
    warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # Lightning 2.6, torch 2.13
    try:
        EmorlCLI(
            EfficientMORLModule,
            MultiObjectDataModule,
            args=args,
            seed_everything_default=0,
            auto_configure_optimizers=False,  # the model's own arguments build them
            save_config_callback=RunRecord,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "emorl"},
        )
    except (DataError, MisconfigurationException, FileNotFoundError, FloatingPointError) as error:
        print(f"emorl: error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
