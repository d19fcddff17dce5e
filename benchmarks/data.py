"""Speed of reading shards, compared with other formats, and the fraction of time that training waits for data."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from torch.utils.data import DataLoader, Dataset

from benchmarks.cases import Step
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.data.records import Source
from emorl.data.write.export import export_hdf5
from emorl.data.write.selection import Selection
from emorl.data.write.writer import write_shards

Item = dict[str, np.ndarray]
SCENES, BATCH = 4000, 32
SOURCES: dict[str, tuple[Callable[[int], Source], int]] = {
    "tetrominoes": (Tetrominoes, 35),
    "multi_dsprites": (MultiDSprites, 64),
}


class ReopenedHDF5(Dataset[Item]):
    """As in the authors' code: the file is opened for every scene."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return SCENES

    def __getitem__(self, index: int) -> Item:
        with h5py.File(self.path) as file:
            return _item(file, index)


class OpenHDF5(ReopenedHDF5):
    """The file is kept open; each worker opens it once."""

    file: h5py.File | None = None

    def __getitem__(self, index: int) -> Item:
        self.file = self.file or h5py.File(self.path)
        return _item(self.file, index)


class Memmap(ReopenedHDF5):
    """Raw arrays on disk: the upper bound."""

    arrays: Item | None = None

    def __getitem__(self, index: int) -> Item:
        self.arrays = self.arrays or {n: np.load(self.path / f"{n}.npy", mmap_mode="r") for n in ("imgs", "masks")}
        return {name: np.array(array[index]) for name, array in self.arrays.items()}


def data(case: str) -> dict[str, Any]:
    """Return images per second of every format and number of workers, and the ratio of shards to the authors' code."""
    with tempfile.TemporaryDirectory() as folder:
        shards, chunked, by_scene = _write(case, Path(folder))
        ways = {
            "reopened_hdf5": ReopenedHDF5(chunked),
            "reopened_hdf5_one_chunk_per_scene": ReopenedHDF5(by_scene),
            "open_hdf5_one_chunk_per_scene": OpenHDF5(by_scene),
            "memmap": Memmap(shards.parent),
        }
        rates: dict[str, dict[int, float]] = {name: {} for name in ("shards", *ways)}
        for workers in (0, 1, 2):
            rates["shards"][workers] = _rate(_module(shards, case, workers).train_dataloader())
            for name, dataset in ways.items():
                rates[name][workers] = _rate(DataLoader(dataset, BATCH, shuffle=True, num_workers=workers))
        waiting = {steps: _waiting(_module(shards, case, 1), case, steps) for steps in (0, 1, 3)}
    ratios = {name: {w: rates["shards"][w] / rates[name][w] for w in rates[name]} for name in ways}
    return {"case": case, "images_per_second": rates, "ratio_shards_to": ratios, "share_of_step_waiting": waiting}


def _write(case: str, folder: Path) -> tuple[Path, Path, Path]:
    """Write the same scenes as shards, as arrays, and as HDF5 with gzip, in h5py's default chunks and one per scene."""
    source = SOURCES[case][0](SCENES)
    write_shards({"train": Selection(source, range(SCENES))}, folder / "shards")
    export_hdf5(folder / "shards", folder / "by_scene.h5")
    with h5py.File(folder / "by_scene.h5") as exported, h5py.File(folder / "chunked.h5", "w") as file:
        for name in ("imgs", "masks"):
            array = exported["train"][name][:]
            file.create_dataset(f"train/{name}", data=array, compression="gzip")
            np.save(folder / f"{name}.npy", array)
    return folder / "shards", folder / "chunked.h5", folder / "by_scene.h5"


def _module(shards: Path, case: str, workers: int) -> MultiObjectDataModule:
    module = MultiObjectDataModule(
        str(shards),
        SOURCES[case][1],
        batch_size=BATCH,
        num_workers=workers,
        train_labels=("segmentation",),  # the other formats also read masks
    )
    module.setup("fit")
    return module


def _rate(loader: Iterable[Any], seconds: float = 5.0) -> float:
    """Return images per second over an epoch or a part of it, from the second batch on, after workers have started."""
    batches = iter(loader)
    next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds and next(batches, None) is not None:
        count += 1
    return count * BATCH / (time.perf_counter() - start)


def _waiting(module: MultiObjectDataModule, case: str, steps: int, count: int = 10) -> float:
    """Return the fraction of a training step, engine in bf16, that is spent waiting for the next batch."""
    step, waited, start = Step(case, "engine_bf16", BATCH, steps), 0.0, 0.0
    before = time.perf_counter()
    for number, batch in enumerate(islice(module.train_dataloader(), count + 3)):
        now = time.perf_counter()
        if number == 3:  # the first batches wait for the worker's start
            start, waited = now, 0.0
        waited += now - before
        step.image = batch["image"].float() / 255
        step()
        before = time.perf_counter()
    return waited / (before - start)


def _item(file: h5py.File, index: int) -> Item:
    return {"imgs": file["train"]["imgs"][index], "masks": file["train"]["masks"][index]}
