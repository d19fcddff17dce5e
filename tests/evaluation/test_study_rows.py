import math
from functools import partial

import pytest

import tiny
from emorl.evaluation.inputs import joined
from emorl.evaluation.studies.rows import discard, gather, gather_batches


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


def test_what_is_kept_stays_until_the_results_are_written(study):
    study.gather()
    study.gather()
    assert study.computed == ["a", "b"]
    discard(study.out, "study")
    assert not list(study.out.iterdir())
    study.gather()
    assert study.computed == ["a", "b", "a", "b"]


def test_another_option_starts_again(study):
    study.gather(count=6)
    assert study.computed == ["a", "a", "b"]


def test_another_model_starts_again(study):
    study.module = tiny.module(network=tiny.network(seed=1))
    study.gather()
    assert study.computed == ["a", "a", "b"]


def test_means_instead_of_samples_start_again(study):
    study.module.test_means = True
    study.gather()
    assert study.computed == ["a", "a", "b"]


def test_an_interrupted_study_of_scenes_goes_on_at_the_batch_that_is_missing_if_they_are_the_same(scenes, tmp_path):
    computed, others = [], scenes._replace(segmentation=scenes.segmentation.flip(0))

    def compute(batch):
        if len(computed) == 1:
            computed.append("interrupted")
            raise KeyboardInterrupt
        computed.append(len(batch["key"]))
        return [{"scenes": len(batch["key"])}]

    gathered = partial(gather_batches, compute, out=tmp_path, name="study", module=tiny.module(), about={})
    many = joined([scenes] * 8)
    with pytest.raises(KeyboardInterrupt):
        gathered(many)
    assert gathered(many) == [{"scenes": 32}, {"scenes": 8}]
    assert computed == [32, "interrupted", 8]
    computed.clear()
    discard(tmp_path, "study")
    with pytest.raises(KeyboardInterrupt):
        gathered(many)
    gathered(joined([others] * 8))
    assert computed == [32, "interrupted", 32, 8]
