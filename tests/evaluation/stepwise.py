"""A custom model with a stage for every step, like IODINE, but without layers, posteriors, nll and KL."""

from emorl.model import Inference, SlotAttention, Stage
from emorl.model.noise import gaussian_noise


class Stepwise(SlotAttention):
    """Slot Attention that decodes every iteration and does not return its attention."""

    def forward(self, image, steps=None, num_slots=None, noise=gaussian_noise):
        layers = self.iterate(image, self.checked_steps(steps), self.checked_slots(num_slots), noise)
        stages = []
        for step, layer in enumerate(layers, start=1):
            components = self.decode(layer.slots, tuple(image.shape[-2:]))
            loss = (image - components.reconstruction).square().sum((1, 2, 3)).mean()
            stages.append(Stage(step, layer.slots, None, components, None, None, None, loss))
        return Inference(stages, [], {}, stages[-1].loss)
