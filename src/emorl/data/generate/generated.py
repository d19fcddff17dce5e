"""What the generators share."""

from abc import abstractmethod
from collections.abc import Iterator

from emorl.data.records import Record, Source


class GeneratedSource(Source):
    """A source whose scenes depend on a seed and their index alone.

    Attributes:
        generator: name of the module that draws.
        version: version of the generator: another one draws other scenes.
        num_scenes: length of the source.
        seed: any integer.
    """

    generator: str
    version: int
    num_scenes: int
    seed: int
    random_access = True

    @property
    def provenance(self) -> dict[str, str | int]:
        """The generator with its version and the seed."""
        return {"generator": self.generator, "version": self.version, "seed": self.seed}

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on."""
        return map(self.scene, range(start, self.num_scenes))

    @abstractmethod
    def scene(self, index: int) -> Record:
        """Return a scene."""
