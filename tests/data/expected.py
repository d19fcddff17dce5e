"""An independent interpretation of the published arrays of a scene, for comparison with the readers."""

import numpy as np
from fixtures.write_with_tensorflow import FILES, FOLDER, SCENES


def published(name):
    """Return the path of a file that TensorFlow wrote, and the arrays of its scenes."""
    return FOLDER / f"{name}.tfrecords", [FILES[name](number) for number in range(SCENES)]


def segmentation_of(masks, visibility):
    """Number the visible objects consecutively; `masks` is [entities, height, width]."""
    labels = np.zeros(masks.shape[1:], np.uint8)
    for label, entity in enumerate(objects_of(visibility), start=1):
        labels[masks[entity] == 255] = label
    return labels


def objects_of(visibility):
    """Return the entities that are objects of the scene."""
    return [entity for entity in range(1, len(visibility)) if visibility[entity] == 1]
