"""The commands that read a data set of shards: describe, check, display and export it."""

from pathlib import Path

from jsonargparse.typing import PositiveInt

from emorl.data.commands.preview import contact_sheet
from emorl.data.shards import samples
from emorl.data.shards.manifest import Manifest
from emorl.data.write import export
from emorl.viz import save_png

_COUNT = PositiveInt(16)
_SHOWN = 60  # characters of a split's indices to print


def info(folder: str) -> None:
    """Describe a data set.

    Args:
        folder: Folder of the data set: a local path or a URL.

    Example:
        ```console
        emorl-data info data/tetrominoes
        ```
    """
    manifest = Manifest.load(folder)
    height, width = manifest.image_size
    print(f"data set    {manifest.dataset}, variant {manifest.variant}")
    print(f"source      {', '.join(f'{key} {value}' for key, value in manifest.source.items())}")
    print(f"images      {height} x {width} pixels (height x width)")
    slots = f"{manifest.slots} slots with the background"
    if manifest.variant == "folder" and manifest.max_objects == 1:  # as without masks, which objects are counted in
        slots += "; without masks, choose the number of slots by looking at the images"
    print(f"objects     at most {manifest.max_objects}: {slots}")
    for factor in manifest.factors:
        print(f"factor      {factor.name}, {factor.kind} {' '.join(factor.classes)}".rstrip())
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 1e6
        indices = split.indices if len(split.indices) <= _SHOWN else f"{split.indices[:_SHOWN]}... (see the manifest)"
        shards = f"shards: {len(split.shards)}, {size:.1f} MB"
        print(f"split       {name}: {split.samples} scenes, source indices {indices}, {shards}")
    print(f"checksum    {manifest.checksum}")


def verify(folder: str) -> int:
    """Check every shard, scene, label and factor of a data set; the exit status is 1 if there are problems.

    Args:
        folder: Folder of the data set: a local path or a URL.

    Returns:
        The exit status.

    Example:
        ```console
        emorl-data verify data/tetrominoes
        ```
    """
    problems = samples.verify(folder)
    for problem in problems:
        print(problem)
    found = f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}"
    print(f"{folder}: {found if problems else 'no problems found'}")
    return 1 if problems else 0


def preview(folder: str, output: str = "preview.png", split: str | None = None, count: PositiveInt = _COUNT) -> None:
    """Draw the first scenes of a data set, each with its segmentation if there are masks.

    Args:
        folder: Folder of the data set: a local path or a URL.
        output: PNG file to write.
        split: Name of the split; by default the first.
        count: Number of scenes.

    Example:
        ```console
        emorl-data preview data/tetrominoes --output scenes.png
        ```
    """
    former = Path(output).exists()
    save_png(contact_sheet(folder, split, count), output)
    print(f"Wrote {output}{', replacing the previous file' if former else ''}")


def export_hdf5(folder: str, output: str) -> None:
    """Write a data set as an HDF5 file in the layout of EfficientMORL's authors.

    Args:
        folder: Folder of the data set: a local path or a URL.
        output: HDF5 file to write.

    Example:
        ```console
        emorl-data export hdf5 data/tetrominoes tetrominoes.h5
        ```
    """
    export.export_hdf5(folder, output)
    print(output)
