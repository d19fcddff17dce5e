"""Documents: each command of README, docs/ and docstrings parses; files that pages link or CONTRIBUTING names exist."""

import re
import shlex
from pathlib import Path

import pytest
from jsonargparse import auto_parser

import tiny
from emorl.cli import EmorlCLI
from emorl.configurations import find, studies
from emorl.data.cli import main as emorl_data
from emorl.entry import main as emorl
from emorl.evaluation.cli import main as emorl_evaluate
from emorl.folder import files_of, write
from emorl.pretrained import load_pretrained
from emorl.study.cli import main as emorl_study
from emorl.study.cli import study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:bash|console|shell)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:emorl|emorl-data|emorl-evaluate|emorl-study|make) [^`]+)`")
PROGRAMS = {
    "emorl": emorl,
    "emorl-data": emorl_data,
    "emorl-evaluate": emorl_evaluate,
    "emorl-study": emorl_study,
}
SKETCH = {"...", "..", "|", "STUDY", "--print_completion"}  # the last is tested in test_cli.py
SHELL = re.compile(r"&&|[;>]|\d>")  # what ends a command


def commands_of(text):
    """Yield the commands of a document as lists of words, except sketches: dots, or alternatives."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    for line in (*lines, *INLINE.findall(text.replace("\n", " "))):
        words = shlex.split(line.replace("\\|", "|"), comments=True)
        for command in split(words):
            while command and (re.match(r"^[A-Z_]+=", command[0]) or command[0] == "srun"):
                command = command[1:]
            options = {word.partition("=")[0] for word in command}
            if command and command[0] in (*PROGRAMS, "make") and not SKETCH & options:
                yield [word for word in command if not word.startswith("$")]


def split(words):
    """Yield the commands of a line of shell."""
    command = []
    for word in words:
        if SHELL.fullmatch(word):
            yield command
            command = [] if word in ("&&", ";") else [""]
        else:
            command.append(word)
    yield command


DOCSTRINGS = [  # the blocks of commands in a module, without their indentation
    "".join(
        f"```console\n{block}```\n" for block in BLOCK.findall(re.sub(r"^ +", "", file.read_text(), flags=re.MULTILINE))
    )
    for file in sorted((ROOT / "src").rglob("*.py"))
]
TEXTS = [*(page.read_text() for page in PAGES), *DOCSTRINGS]
COMMANDS = sorted({tuple(command) for text in TEXTS for command in commands_of(text)})
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def named_only(command):
    """Whether a program or a subcommand is only mentioned."""
    return len(command) <= (3 if command[1] in ("convert", "export", "generate") else 2)


def without_label(text):
    """Return the rows of tables, except their headers, whose first cell is empty."""
    lines = text.splitlines()
    headers = {place - 1 for place, line in enumerate(lines) if re.fullmatch(r"\|[-:| ]+\|", line)}
    return [line for place, line in enumerate(lines) if re.match(r"\| *\|", line) and place not in headers]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_row_of_a_table_has_a_label(page):
    assert without_label(page.read_text()) == []


def test_a_row_without_a_label_is_found():
    assert without_label("| | MSE |\n|---|---|\n| I = 0 | 0.1 |\n| | 0.2 |") == ["| | 0.2 |"]


def test_documents_have_commands():
    for program in (*PROGRAMS, "make"):
        assert any(command[0] == program for command in COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_make_has_the_target(command):
    assert {word for word in command[1:] if "=" not in word} <= TARGETS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which the documents' commands can be parsed: with configurations, a run, and a saved model."""
    home = tmp_path_factory.mktemp("home")
    for name in ("configs", "examples"):
        (home / name).symlink_to(ROOT / name)
    logger = "{class_path: emorl.loggers.AppendingCSVLogger, init_args: {save_dir: runs}}"
    for run in ("runs/version_0", "runs/clevr6", "RUN"):
        (home / run / "checkpoints").mkdir(parents=True)
        tiny.saved(tiny.module(), home / run / "checkpoints" / "last.ckpt")
        (home / run / "config.yaml").write_text(f"trainer:\n  max_steps: 10\n  logger: {logger}\n")
    (home / "mine.yaml").write_text("trainer:\n  max_steps: 10\n")
    write(home / "mine", files_of(load_pretrained(home / "RUN/checkpoints/last.ckpt")))
    for cases in ("cases.yaml", "CASES"):
        (home / cases).touch()
    page = (ROOT / "docs/howto/own_decoder.md").read_text()
    (code,) = re.findall(r"```python\n(from emorl.*?)```", page, re.DOTALL)
    (home / "my_decoder.py").write_text(code)
    return home


def parse(function, args, **_):
    """Parse the arguments of a function, which is not called; a study is looked up."""
    options = auto_parser(function).parse_args(args)
    if function is study:
        find(options.cases, studies(), "study")


@pytest.fixture
def status_of(home, monkeypatch, seeded):
    """Parse a command, without running it, and return its status."""
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setattr(EmorlCLI, "instantiate_classes", lambda _: None)
    monkeypatch.setattr(EmorlCLI, "run", lambda _: None)
    monkeypatch.setattr("emorl.command.auto_cli", parse)
    monkeypatch.setattr("emorl.explore.cli.build", lambda *_: None)
    monkeypatch.setattr("emorl.explore.cli._show", lambda _: None)

    def status_of(program, *words):
        try:
            return PROGRAMS[program](list(words))
        except SystemExit as ending:  # after help, or a printed configuration, with status 0
            return ending.code

    return status_of


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] != "make" and not named_only(c)], ids=" ".join)
def test_a_command_parses(command, status_of, capsys):
    assert not status_of(*command), f"{' '.join(command)}: {capsys.readouterr().err}"


@pytest.mark.parametrize(
    "command",
    [
        "emorl fit -c base --model.network.slots 7",
        "emorl fit -c tetrominos-fast",
        "emorl recipes copy tetrominos",
        "emorl test --pretrained tetromino",
        "emorl explore tetrominoes --pictures photos",
        "emorl-data convert folder photos data/mine --side 64",
        "emorl-evaluate refine tetrominoes data/tetrominoes out",
        "emorl-study seeds runs/seeds --sedes 3",
        "emorl-study sedes runs/seeds",
    ],
)
def test_a_mistyped_command_does_not(command, status_of):
    assert status_of(*command.split()) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_links_files_that_exist(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text())
    local = [link for link in links if not re.match(r"https?:|mailto:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_files_that_contributing_names_exist():
    named = set(re.findall(r"`([\w/]+(?:/|\.(?:py|md|yaml)))`", (ROOT / "CONTRIBUTING.md").read_text()))
    missing = {name for name in named if not ((ROOT / name).exists() or (ROOT / "src/emorl" / name).exists())}
    assert missing == {"configs/my_model/", "src/emorl/data/sources/my_data.py", "src/emorl/model/my_model.py"}
