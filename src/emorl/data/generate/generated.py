"""The base class of all generators."""

from abc import abstractmethod
from collections.abc import Iterator

from emorl.data.records import Record, Source


class GeneratedSource(Source):
    """A source whose scenes depend only on a seed and their index.

    Attributes:
        generator: name of the generator's module.
        version: version of the generator; different versions generate different scenes.
        num_scenes: length of the source.
        seed: any integer.

    >>> from emorl.data.generate.tetrominoes import Tetrominoes
    >>> issubclass(Tetrominoes, GeneratedSource), len(list(Tetrominoes(num_scenes=5).records(start=3)))
    (True, 2)
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
