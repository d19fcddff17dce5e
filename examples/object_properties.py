"""Predict the shape of an object from its frozen slot, compared with a baseline on the object's pixels.

``python examples/object_properties.py --scenes 400``. Needs neither data on disk nor training of the model: scenes are
generated, each object is matched to the slot whose mask fits it best, and a logistic regression is fitted to half of
the scenes and scored on the other half. The baseline's input is the masked image, resized to 16x16 pixels.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import emorl
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.evaluation.representation.matching import match


def objects(scenes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return slots [N, D], pixels [N, 768], shapes [N] and scenes [N] of N objects."""
    records = list(MultiDSprites(scenes, seed=3).records())
    model = emorl.load_pretrained("multi_dsprites").requires_grad_(False)
    images = model.preprocess([record.image for record in records])
    truth = torch.from_numpy(np.stack([record.segmentation for record in records]))
    slots, masks = [], []
    for batch in images.split(50):
        found = model.reconstruct(batch)
        slots.append(found.slots)
        masks.append(found.masks)
    slot, mask = torch.cat(slots), torch.cat(masks)
    pairs = match(mask.squeeze(2).argmax(dim=1), truth)
    cut = F.adaptive_avg_pool2d(images[pairs.scene] * mask[pairs.scene, pairs.slot], 16)
    places = zip(pairs.scene.tolist(), pairs.label.tolist(), strict=True)
    shapes = np.array([records[scene].factors[label - 1]["shape"] for scene, label in places])
    return slot[pairs.scene, pairs.slot].numpy(), cut.flatten(1).double().numpy(), shapes, pairs.scene.numpy()


def main(scenes: int) -> dict[str, float]:
    """Print and return the accuracy of each predictor."""
    slots, pixels, shapes, scene = objects(scenes)
    fitted = scene < scenes // 2
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
    guess = DummyClassifier(strategy="most_frequent")
    ways = {"slot": (regression, slots), "pixels": (regression, pixels), "guess": (guess, slots)}
    accuracy = {}
    for name, (predictor, codes) in ways.items():
        predictor.fit(codes[fitted], shapes[fitted])
        accuracy[name] = float(predictor.score(codes[~fitted], shapes[~fitted]))
        print(f"{name:>6}: {accuracy[name]:.3f} of {(~fitted).sum()} objects")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Accuracy of the shape, from slots and from pixels.")
    parser.add_argument("--scenes", type=int, default=400, help="number of scenes to generate")
    main(parser.parse_args().scenes)
