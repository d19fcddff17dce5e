import math
from functools import partial

import pytest

import tiny
from emorl.evaluation.study_rows import gather


class Study:
    """A study of two parts that counts what it computes, and can be interrupted in a part."""

    def __init__(self, folder):
        self.out, self.module = folder / "out", tiny.module()
        self.computed = []

    def gather(self, interrupted=None, **about):
        parts = {name: partial(self.part, name, interrupted) for name in ("a", "b")}
        return gather(parts, self.out, "study", self.module, {"count": 5} | about)

    def part(self, name, interrupted):
        if name == interrupted:
            raise KeyboardInterrupt
        self.computed.append(name)
        return [{"part": name, "K": 2, "fg_ari": 1 / 3}, {"part": name, "K": 3, "fg_ari": math.inf}]


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        study.gather(interrupted="b")
    return study


def test_an_interrupted_study_computes_what_is_missing(study):
    rows = study.gather()
    assert study.computed == ["a", "b"]
    assert rows == [row for name in ("a", "b") for row in Study.part(study, name, None)]
    assert list(rows[0]) == ["part", "K", "fg_ari"]
    assert not list(study.out.iterdir())


def test_another_option_starts_again(study):
    study.gather(count=6)
    assert study.computed == ["a", "a", "b"]


def test_another_model_starts_again(study):
    study.module = tiny.module(network=tiny.network(seed=1))
    study.gather()
    assert study.computed == ["a", "a", "b"]


def test_a_finished_study_is_computed_anew(study):
    study.gather()
    study.gather()
    assert study.computed == ["a", "b", "a", "b"]
