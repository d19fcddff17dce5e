"""Metrics computed by two processes equal those of one."""

import pytest
import torch
from torch import distributed

import warm
from emorl.metrics import AdjustedRandIndex, ImageMean, MeanIoU

# Images on each of the two processes: unequal shares, and a process without any.
SHARES = [(5, 2), (4, 0), (0, 4), (3, 3)]


def segmentations(n):
    """Predicted and true label maps; the first image has no object."""
    maps = torch.randint(0, 4, (2, n, 6, 6), generator=torch.Generator().manual_seed(n))
    maps[1, 0] = 0
    return maps


def energies(n):
    return 1e5 + torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def scores(n, share):
    """Summaries and means, then the number of energies after one more of 0 on this process alone."""
    index, iou, energy = AdjustedRandIndex(), MeanIoU(undefined="skip"), ImageMean()
    for image in range(share.start, share.stop):
        index.update(*segmentations(n)[:, image : image + 1])
        iou.update(*segmentations(n)[:, image : image + 1])
        energy.update(energies(n)[image : image + 1])
    results = [*index.summary(), index.compute(), *iou.summary(), *energy.summary(), energy.compute()]
    energy.update(torch.zeros(1))
    return torch.stack([value.double() for value in (*results, energy.moments[0])])


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = [scores(a + b, slice(0, a) if rank == 0 else slice(a, a + b)) for a, b in SHARES]
    torch.save(torch.stack(results), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    warm.ranks(work, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", range(len(SHARES)))
def test_two_processes_give_the_result_of_one(results, case):
    n = sum(SHARES[case])
    alone = scores(n, slice(0, n))
    for rank in range(2):
        torch.testing.assert_close(results[rank][case][:-1], alone[:-1], rtol=1e-12, atol=0)


def test_every_process_has_the_same_bits(results):
    assert torch.equal(results[0][:, :-1], results[1][:, :-1])


@pytest.mark.parametrize("case", range(len(SHARES)))
def test_processes_go_on_with_their_own_images(results, case):
    assert [int(results[rank][case][-1]) for rank in range(2)] == [images + 1 for images in SHARES[case]]
