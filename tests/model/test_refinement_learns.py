"""Training makes refinement lower the loss of new images."""

from functools import partial

import torch
from tiny_morl import enliven, named_noise

from emorl.model import EfficientMORL, GaussianLikelihood, ReversedPrior


def squares(count, generator, size=8, side=3):
    """Draw two colored squares on black."""
    image = torch.zeros(count, 3, size, size)
    for picture in image:
        for _ in range(2):
            row, column = torch.randint(0, size - side + 1, (2,), generator=generator).tolist()
            picture[:, row : row + side, column : column + side] = torch.rand(3, 1, 1, generator=generator)
    return image


def test_refinement_lowers_the_loss_of_images_not_trained_on():
    # With one layer every stage has the same loss, a negative ELBO, and here the same noise.
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    tiny = {"num_slots": 3, "slot_dim": 8, "num_layers": 1, "feature_dim": 8, "prior": ReversedPrior}
    model = enliven(EfficientMORL(**tiny, likelihood=partial(GaussianLikelihood, scale=0.1))).float()
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(30):
        adam.zero_grad()
        model(squares(8, generator), steps=2).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        adam.step()
    noise = named_noise()
    with torch.no_grad():
        stages = model.eval()(squares(32, generator), 2, noise=lambda _, like: noise("same", like)).stages
    assert stages[1].loss < stages[0].loss - 1
    assert stages[2].loss < stages[0].loss - 1
