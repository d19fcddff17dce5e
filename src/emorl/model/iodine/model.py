"""IODINE: iterative variational inference, slot by slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.utils.checkpoint import checkpoint

from emorl.model.decode_pass import decode_pass
from emorl.model.decoder import Components
from emorl.model.inference import Encoding, Inference, Stage, encoding
from emorl.model.initialization import RHO, Initialization, balance
from emorl.model.iodine.decoder import Drawing, IodinePixelDecoder
from emorl.model.iodine.drawing_pass import drawing_pass
from emorl.model.iodine.gradient import OwnGradient, RefinementGradient
from emorl.model.iodine.initialization import IodineInitialization
from emorl.model.iodine.likelihood import GaussianPixels, PixelMixture
from emorl.model.iodine.refinement import IodineRefinement, State
from emorl.model.noise import Noise, gaussian_noise
from emorl.model.posterior import SoftplusGaussian, slot_kl
from emorl.model.recording import refuse_recording
from emorl.model.slot_model import SlotModel
from emorl.ranges import above, at_least, counts


class Progress(NamedTuple):
    """The state of refinement after some steps."""

    posterior: SoftplusGaussian
    state: State | None


class IODINE(SlotModel):
    """Start all slots from one learned posterior, then refine each T times.

    Step t samples z ~ q(z; lambda_t), draws it, and scores loss_t = nll_t + KL(q || p). A network then updates lambda_t
    to lambda_{t+1} from the image, the drawing and the gradients of loss_t. Training minimizes sum_t (t / T) loss_t
    over t = 0 .. T, so that the initial stage t = 0 has no weight (`step_weight`).

    The default likelihood and prior are the paper's; the nll includes the constants of its Gaussians, which
    EfficientMORL's omits. The default sizes are those of the authors' code for Tetrominoes. With T = 1 the LSTM's
    weights for its hidden state get a zero gradient, because that state is zero.

    Args:
        num_slots: number K of slots, background included; a call may override it.
        slot_dim: dimensions of a slot, D.
        decoder: builds the decoder from D.
        refinement: builds the refinement network from D.
        likelihood: builds the pixel likelihood; by default a mixture of Gaussians of scale 0.1.
        prior_variance: variance of the prior N(0, variance); log 2 in the authors' code.
        gradient: builds the scale of the gradients that the refinement network reads.
        initialization: builds the function that fills the weights.
        kl_weight: weight of the KL in the loss of each step, and so in the gradients that refinement reads; an
            extension, 1 in the paper.

    >>> model = IODINE(num_slots=3, slot_dim=8)
    >>> inference = model(torch.rand(2, 3, 16, 16), steps=2)
    >>> [stage.step for stage in inference.stages]
    [0, 1, 2]
    >>> inference.loss.backward()
    """

    default_steps: ClassVar[int] = 5
    training_steps: ClassVar[int] = 5
    score_names: ClassVar[tuple[str, ...]] = ("nll", "kl")
    has_attention: ClassVar[bool] = False

    decoder: IodinePixelDecoder

    def __init__(
        self,
        num_slots: int = 4,
        slot_dim: int = 32,
        decoder: Callable[[int], IodinePixelDecoder] = IodinePixelDecoder,
        refinement: Callable[[int], IodineRefinement] = IodineRefinement,
        likelihood: Callable[[], PixelMixture] | None = None,
        prior_variance: float = 1.0,
        gradient: Callable[[], RefinementGradient] = OwnGradient,
        initialization: Callable[[], Initialization] = IodineInitialization,
        kl_weight: float = 1.0,
    ) -> None:
        super().__init__()
        counts(1, num_slots=num_slots, slot_dim=slot_dim)
        at_least(0, kl_weight=kl_weight)
        above(0, prior_variance=prior_variance)
        self.num_slots = num_slots
        self.slot_dim = slot_dim
        self.decoder = decoder(slot_dim)
        self.refinement = refinement(slot_dim)
        self.likelihood = GaussianPixels() if likelihood is None else likelihood()
        self.prior_variance = prior_variance
        self.kl_weight = kl_weight
        self.gradient = gradient()
        bound = (3 / (2 * slot_dim)) ** 0.5
        self.initial = nn.Parameter(torch.empty(2 * slot_dim).uniform_(-bound, bound))  # lambda_0
        initialization()(self)

    def forward(
        self,
        image: Tensor,
        steps: int | None = None,
        num_slots: int | None = None,
        noise: Noise = gaussian_noise,
    ) -> Inference:
        """Infer the slots of images in [0, 1] with T = ``steps`` refinements.

        Refinement needs gradients of the loss at test time too. Inside ``torch.no_grad`` and ``torch.inference_mode``
        they are computed locally, and the result is detached from the graph.

        Raises:
            ValueError: if T or K is below 1.
        """
        steps = self.checked_steps(steps)
        stages, posterior = self.refine(image, steps, self.checked_slots(num_slots), noise)
        stages.append(self.last(image, steps, posterior, noise))
        loss = torch.stack([step_weight(stage.step, steps) * stage.loss for stage in stages]).sum()
        return Inference(stages, [], {}, loss)

    def unrecordable(self, steps: int) -> str | None:
        """Return why the model cannot be recorded: each step needs gradients."""
        return "IODINE, whose steps need gradients of the loss"

    def infer(self, image: Tensor, steps: int, num_slots: int, noise: Noise) -> Encoding:
        """Return the slots without drawing those of the last posterior."""
        _, posterior = self.refine(image, steps, num_slots, noise)
        return encoding(posterior, posterior.mean, [])

    def refine(self, image: Tensor, steps: int, num_slots: int, noise: Noise) -> tuple[list[Stage], SoftplusGaussian]:
        """Return the stages 0 .. T - 1 and lambda_T."""
        refuse_recording(self.unrecordable(steps))
        mean, rho = self.initial.repeat(image.shape[0], num_slots, 1).chunk(2, dim=-1)
        now, stages = Progress(SoftplusGaussian(mean, rho), self.refinement.start(mean)), []
        for step in range(steps):
            epsilon = noise(f"refine{step}" if step else "z0", now.posterior.mean)
            stage, now = self.step(image, step, now, epsilon, keep=step == steps - 1)
            stages.append(stage)
        return stages, now.posterior

    def step(self, image: Tensor, step: int, now: Progress, epsilon: Tensor, keep: bool) -> tuple[Stage, Progress]:
        """Sample, draw and score the slots, then update their posteriors; `drawing_pass` documents ``keep``."""
        slots = now.posterior.sample(epsilon)  # z ~ q(z; lambda)
        drawing, nll, slope = drawing_pass(self.decoder, self.likelihood, slots, image, keep)
        share = self.gradient(image.shape[0])
        slope = share * self.slope(now.posterior, epsilon, slope)
        refined = checkpoint(
            self.move, drawing, image, share, now, slope, use_reentrant=False, preserve_rng_state=False
        )
        kl = slot_kl(now.posterior.distribution, self.prior(slots))
        components = Components(*(part.detach() for part in drawing.components))
        loss = nll.mean() + self.kl_weight * kl.mean()
        return Stage(step, slots, now.posterior, components, nll.detach(), nll.mean(), kl, loss), refined

    def slope(self, posterior: SoftplusGaussian, epsilon: Tensor, slope: Tensor) -> Float[Tensor, "batch slots dim2"]:
        """Return d (nll + kl_weight KL) / d lambda of each image, given d nll / d z."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = SoftplusGaussian(*(part.detach().clone().requires_grad_() for part in posterior))
            kl = slot_kl(leaf.distribution, self.prior(leaf.mean))
            slots = leaf.sample(epsilon.clone())
            weight = torch.full_like(kl, self.kl_weight)
            return torch.cat(torch.autograd.grad((slots, kl), leaf, (slope.clone(), weight)), dim=-1)

    def move(self, drawing: Drawing, image: Tensor, share: float | Tensor, now: Progress, slope: Tensor) -> Progress:
        """Return lambda_{t+1} and the LSTM's state."""
        pixels = self.refinement.inputs(drawing, image, self.likelihood, share)
        return Progress(*self.refinement(pixels, now.posterior, slope, now.state))

    def last(self, image: Tensor, step: int, posterior: SoftplusGaussian, noise: Noise) -> Stage:
        """Sample, draw and score the slots after the last step."""
        slots = posterior.sample(noise(f"refine{step}", posterior.mean))
        weights = [weight for weight in self.decoder.parameters() if weight.requires_grad]
        components, nll, mean_nll = decode_pass(self.score, slots, image, weights)
        kl = slot_kl(posterior.distribution, self.prior(slots))
        return Stage(step, slots, posterior, components, nll, mean_nll, kl, mean_nll + self.kl_weight * kl.mean())

    def score(self, slots: Tensor, image: Tensor) -> tuple[Components, Tensor]:
        """Return p(x | z): the components and the nll of each image."""
        components = self.decoder(slots, (image.shape[-2], image.shape[-1]))
        return components, self.likelihood(components, image)

    def prior(self, like: Tensor) -> Normal:
        """Return p(z) = N(0, prior_variance) over the same slots."""
        return Normal(torch.zeros_like(like), torch.full_like(like, self.prior_variance**0.5), validate_args=False)


@balance.register
def _(part: IODINE) -> None:
    mean, rho = part.initial.chunk(2)
    mean.zero_()
    rho.fill_(RHO)


def step_weight(step: int, steps: int) -> float:
    """Return the weight t / T of stage t = 0 .. T in the training loss: 0 at the start, 1 at the result.

    >>> [step_weight(step, 4) for step in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return step / steps
