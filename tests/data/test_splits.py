"""The published splits of CLEVR."""

import numpy as np
import pytest

from emorl.data.sources.splits import PRESETS, Preset, choose
from emorl.errors import DataError

SMALL = Preset(range(4), range(3, 6), front=6, train=3, held_out=2, records=10)


def test_train_from_the_front_the_others_from_the_end():
    #         0  1  2  3  4  5  6  7  8  9 10 11
    counts = [5, 1, 2, 9, 3, 1, 1, 3, 5, 2, 4, 0]
    assert choose(SMALL, counts) == {"train": [1, 2, 4], "val": [6, 7], "test": [8, 10]}
    assert choose(SMALL._replace(train=9), counts)["train"] == [1, 2, 4, 5]  # only from the front
    assert choose(SMALL._replace(train=9, front=10), counts)["train"] == [1, 2, 4, 5]  # only before val


def test_a_short_file_is_one_test_split():
    assert choose(SMALL, [3, 1, 9, 4, 3]) == {"test": [0, 3, 4]}
    with pytest.raises(DataError, match="preset: expected scenes of 3 to 5 objects, got none in 2; choose another"):
        choose(SMALL, [1, 9])


@pytest.mark.parametrize(
    ("name", "train", "most"), [("clevr6", 50_000, 6), ("clevr10", 70_000, 10), ("clevr6_slot_attention", None, 6)]
)
def test_presets_of_the_published_file(name, train, most):
    counts = np.random.default_rng(0).choice(range(3, 11), p=[0.14] * 4 + [0.11] * 4, size=100_000)
    splits = choose(PRESETS[name], counts.tolist())
    sizes = {split: len(indices) for split, indices in splits.items()}
    assert sizes == {"train": train or (counts[:70_000] <= most).sum(), "val": 320, "test": 320}
    assert splits["train"][-1] < splits["val"][0] < splits["val"][-1] < splits["test"][0]
    assert max(counts[splits["train"]]) == max(counts[splits["val"]]) == max(counts[splits["test"]]) == most
    assert min(counts[splits["train"]]) == min(counts[splits["val"]]) == 3
    assert min(counts[splits["test"]]) == (7 if name == "clevr10" else 3)
