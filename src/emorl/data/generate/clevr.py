"""CLEVR with masks, rendered here: scenes by the rules of CLEVR's generator, painted by Blender.

Scenes follow those of https://github.com/facebookresearch/clevr-dataset-gen, masks and factors the file of
https://github.com/google-deepmind/multi_object_datasets.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from emorl.data.generate.clevr_labels import FRAME, crop, label_map
from emorl.data.generate.clevr_render import Blender, Painter
from emorl.data.generate.clevr_scene import FACTORS, Scene, draw_objects, draw_setting
from emorl.data.generate.generated import GeneratedSource
from emorl.data.generate.random_words import key_of, words_of
from emorl.data.records import Record

MIN_PIXELS = 200  # of an object, in the frame of 240x320 pixels

_VERSION = 1


class Clevr(GeneratedSource):
    """A source of rendered CLEVR.

    As in CLEVR: the number of objects is uniform, camera and lamps are jittered, objects are placed one after another,
    apart from each other and neither beside nor behind one another to the camera. All are drawn again unless each
    shows `MIN_PIXELS` in a frame of 240x320 pixels, also where `size` crops it: the scenes of all sizes are the same.

    Scene i depends on seed, split, the numbers of objects and i alone, through arithmetic that is the same on every
    machine: so do factors and segmentation. The image is Blender's: its bytes are the same for any number of processes
    and in any order, but another version or another kind of processor may differ in single levels.

    Args:
        num_scenes: length of the source.
        blender: paints the images.
        seed: any integer.
        split: each split has scenes of its own.
        objects: numbers of objects in the scenes of each split.
        size: side of the square images, which show the crop `emorl`; without it the whole frames of 240x320 pixels.
    """

    generator = "emorl.data.generate.clevr"  # keys the random words: it stays, wherever the module moves
    version = _VERSION
    dataset = "clevr"
    variant = "standard"
    factors = FACTORS

    def __init__(
        self,
        num_scenes: int,
        blender: Blender,
        seed: int,
        split: str,
        objects: Mapping[str, range],
        size: int | None = None,
    ) -> None:
        self.num_scenes, self.seed = num_scenes, seed
        self.max_objects = max(numbers[-1] for numbers in objects.values())
        self._blender, self._objects, self._cropped = blender, dict(objects), size is not None
        self._view = FRAME if size is None else crop(size)
        self.image_size = self._view.size
        numbers = objects[split]
        self._numbers = numbers
        self._key = key_of(f"{self.generator}/{_VERSION}/{numbers[0]}-{numbers[-1]}/{seed}/{split}")

    @property
    def provenance(self) -> dict[str, str | int]:
        """The generator, the seed, and what else a scene or its image depends on."""
        objects = ", ".join(f"{split} {numbers[0]}-{numbers[-1]}" for split, numbers in self._objects.items())
        cropped: dict[str, str | int] = {"crop": "emorl"} if self._cropped else {}
        return {**super().provenance, "objects": objects, "blender": self._blender.version, **cropped}

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on.

        Raises:
            DataError: if Blender fails.
        """
        with Painter(self._blender) as paint:
            for index in range(start, self.num_scenes):
                scene = self.layout(index)
                yield Record(paint(scene, self._view), label_map(scene, self._view), scene.objects)

    def scene(self, index: int) -> Record:
        """Return a scene.

        Raises:
            DataError: if Blender fails.
        """
        return next(self.records(index))

    def layout(self, index: int) -> Scene:
        """Return what lies where in a scene, without its image."""
        stream = words_of(self._key, index)
        setting = draw_setting(stream, self._numbers)
        while True:
            objects = draw_objects(stream, setting)
            if objects is not None and _all_seen(scene := Scene(setting, objects)):
                return scene


def _all_seen(scene: Scene) -> bool:
    pixels = np.bincount(label_map(scene, FRAME).ravel(), minlength=1 + len(scene.objects))
    return bool((pixels[1:] >= MIN_PIXELS).all())
