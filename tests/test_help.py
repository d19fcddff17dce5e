"""Help: every option and every argument of a class is described."""

import inspect
import re

import pytest
from jsonargparse import ArgumentParser
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

import emorl.callbacks
import emorl.loggers
import emorl.model
import emorl.optim
from emorl.entry import SUBCOMMANDS

OPTION = re.compile(r"^  --(?P<name>\S+) (?P<value>\{.*?\}|\S+)\s+(?P<help>.*)$", re.MULTILINE)
# Named in a configuration: parts of the model, schedules, callbacks and loggers that take arguments.
CLASSES = [
    cls
    for package in (emorl.model, emorl.callbacks, emorl.optim, emorl.loggers)
    for name, cls in vars(package).items()
    if inspect.isclass(cls) and cls.__module__.startswith("emorl") and not inspect.isabstract(cls)
    if issubclass(cls, (nn.Module, LRScheduler)) or package in (emorl.callbacks, emorl.loggers)
    if not name.startswith("_") and cls is not emorl.callbacks.RunRecord  # which the command line adds by itself
]


@pytest.fixture
def help_of(emorl, capsys, monkeypatch):
    """Return what a command prints when it is asked for help, one line for each option."""
    monkeypatch.setenv("COLUMNS", "20000")

    def print_help(*arguments):
        with pytest.raises(SystemExit) as caught:
            emorl(*arguments)
        assert caught.value.code == 0
        return re.sub(r"\n {10,}", "  ", capsys.readouterr().out)

    return print_help


def is_sentence(text):
    """Whether something is said before type and default."""
    return len(text.partition("(type: ")[0].split()) >= 3


def test_the_command_says_what_it_is_for_and_what_its_subcommands_do(help_of):
    text = help_of("--help")
    assert "Train, test and apply slot models." in text
    for name, description in SUBCOMMANDS.items():
        assert re.search(rf"^ +{name}  +{description}$", text, re.MULTILINE)
        told = help_of(name, "--help")
        assert told.startswith(f"usage: emorl {name} [")
        assert f"\n{description} " in told
        assert "base.yaml first, the settings of every run; the defaults below are those without it.\n" in told


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_headings_are_whole_and_weights_described_for_every_subcommand(subcommand, help_of):
    text = help_of(subcommand, "--help")
    assert f"\nOptions of {subcommand}:\n  --" in text
    assert "--ckpt_path" in text.partition(f"\nOptions of {subcommand}:\n")[2]
    assert "Trained weights, from which fit starts and which the other subcommands use" in text


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_each_option_has_a_sentence_and_its_default(subcommand, help_of):
    options = {match["name"]: match["help"] for match in OPTION.finditer(help_of(subcommand, "--help"))}
    ours = {
        name: text
        for name, text in options.items()
        if re.match(r"(model|data|progress|curriculum|report|predictions)\.|output_dir", name)
    }
    assert ("output_dir" in options) == (subcommand in ("test", "predict"))  # the others refuse it
    assert {
        "model.network",
        "model.refinement_steps",
        "data.root",
        "progress.minutes",
        "curriculum.phases",
    } <= ours.keys()
    for name, text in ours.items():
        assert is_sentence(text), f"--{name} has no help: {text}"
        assert "(type: " not in text or "default: " in text, f"--{name} has no default: {text}"


def test_a_part_of_the_model_explains_itself(help_of):
    text = help_of("fit", "--model.network.help", "emorl.model.EfficientMORL")
    options = {match["name"]: match["help"] for match in OPTION.finditer(text)}
    assert {"model.network.num_slots", "model.network.decoder"} <= options.keys()
    assert all(is_sentence(help) for help in options.values())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_argument_of_a_part_has_a_sentence(cls):
    parser = ArgumentParser()
    names = parser.add_class_arguments(cls, "part", skip={"optimizer"}, fail_untyped=False)
    helps = {action.dest: action.help for action in parser._actions if action.dest in names}
    assert [name for name, text in helps.items() if not isinstance(text, str) or len(text.split()) < 2] == []


def test_the_help_of_fit_says_how_to_fine_tune(help_of):
    text = help_of("fit", "--help")
    assert "emorl fit --pretrained multi_dsprites --data.root data/mine" in text.splitlines()[-1]
    options = {match["name"]: match["help"] for match in OPTION.finditer(text)}
    assert "null ignores those that a configuration names" in options["pretrained"]
    assert "To start a new run from trained weights, give --pretrained." in options["ckpt_path"]
    assert "To start a new run" not in help_of("test", "--help")
