"""Words that the package, its configurations and its documents do not use: British spellings and odd phrases."""

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
FILES = [
    HOME / "README.md",
    HOME / "CONTRIBUTING.md",
    *(file for folder in ("src", "configs", "docs", "examples", "benchmarks") for file in (HOME / folder).rglob("*")),
]
TEXTS = [file for file in FILES if file.suffix in (".md", ".py", ".yaml")]
BRITISH = (
    r"\w*colour\w*|\w*(?:initial|normal|optim|summar|serial|synchron|visual|general|special|real|minim|maxim|regular)"
    r"is(?:e|es|ed|er|ers|ing|ation)|centres?|centred|grey|licence|behaviours?|neighbours?|labelled|unlabelled|"
    r"modelled|modelling|signalled|signalling|cancelled|analyse[sd]?|favour\w*|honour\w*|catalogue|artefacts?|towards"
)
ODD = (
    r"goes on|sittings?|dies of|luck of the draw|looks into|comes about|came about|"
    r"later ones first|asked to go|dead ends|makes scenes worse|ground floor|knobs?|to be seen|tells|be it|need be|"
    r"of (?:its|their) own|forth and back"
)
FORMER = ("renamed.py", "changelog.md")  # which list the former names
QUOTED = {"sittings": "loader.py", "grey": "clevrtex.py"}  # a key of old checkpoints; a name within a file name


def unwanted(text, pattern):
    """Return the words of a text that match a pattern as a whole, whatever their case."""
    return re.findall(rf"(?<![A-Za-z])(?:{pattern})(?![a-z])", text, re.IGNORECASE)


@pytest.mark.parametrize("pattern", [BRITISH, ODD], ids=["british", "odd"])
def test_texts_are_american_and_plain(pattern):
    found = {}
    for file in TEXTS:
        words = [] if file.name in FORMER else unwanted(file.read_text(), pattern)
        if words := [word for word in words if QUOTED.get(word.lower()) != file.name]:
            found[str(file.relative_to(HOME))] = words
    assert found == {}


@pytest.mark.parametrize("text", ["a Colour", "BalancedInitialisation", "a grey_tile", "NEW_COLOURS", "optimisers"])
def test_a_british_word_is_found(text):
    assert unwanted(text, BRITISH)


@pytest.mark.parametrize("text", ["colors", "promise", "noise", "a raised error", "realism", "specialist"])
def test_other_words_are_not(text):
    assert not unwanted(text, BRITISH)


def test_an_odd_phrase_is_found():
    assert unwanted("A sitting goes on in a folder of its own.", ODD) == ["sitting", "goes on", "of its own"]


def test_each_item_of_a_list_begins_a_line():
    assert [file.name for file in TEXTS if re.search(r"[;.,:] - [a-z]", file.read_text())] == []
