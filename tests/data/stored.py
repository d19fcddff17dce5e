"""Scenes of a data set in a folder."""

from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import read_records


def records_of(folder, split):
    return list(read_records(folder, Manifest.load(folder), split))
