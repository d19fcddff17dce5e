"""EfficientMORL, the two-stage model (Emami et al., ICML 2021, figure 1). Start here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emorl.distributed import world_size
from emorl.model.bottom_up import BottomUp, BottomUpPass
from emorl.model.decode_pass import decode_pass
from emorl.model.decoder import Components, Decoder, SmallDecoder
from emorl.model.describe import Described
from emorl.model.encoder import ImageEncoder
from emorl.model.geco import START, Geco
from emorl.model.initialisation import Initialisation, ReleasedInitialisation
from emorl.model.likelihood import GaussianLikelihood, Likelihood
from emorl.model.noise import Noise, gaussian_noise
from emorl.model.objective import Objective, stage_weight
from emorl.model.position import PositionCode, RampPosition
from emorl.model.posterior import Gaussian, slot_kl
from emorl.model.prior import Prior, ReversedPlusPlusPrior
from emorl.model.recurrent import DualGRU, PosteriorCell
from emorl.model.refinement import Refinement, as_leaf

logger = logging.getLogger(__name__)


class Stage(NamedTuple):
    """One reading of the image: stage 0 is the bottom-up pass, stage i the i-th refinement."""

    posterior: Gaussian  # lambda^i
    slots: Float[Tensor, "batch slots dim"]  # z ~ q(z; lambda^i)
    components: Components  # without a graph: for a loss of your own, call the decoder
    nll: Float[Tensor, " batch"]  # in nats, summed over channels and pixels; without a graph
    mean_nll: Float[Tensor, ""]  # its batch mean, differentiable
    kl: Float[Tensor, " batch"]  # in nats; stage 0: the sum of L terms, later stages: one term
    loss: Float[Tensor, ""]  # loss_i of the batch


class Inference(NamedTuple):
    """All that the model infers from a batch of images."""

    posteriors: list[Gaussian]  # q(z^1 | x) .. q(z^L | z^{L-1}, x)
    attention: list[Float[Tensor, "batch slots pixels"]]  # of each layer, summing to one over slots
    kl_layers: list[Float[Tensor, " batch"]]  # the terms of stage 0's KL, of layers 1 .. L
    stages: list[Stage]  # 0 .. I

    @property
    def loss(self) -> Float[Tensor, ""]:
        """The training loss sum_i w_i loss_i."""
        steps = len(self.stages) - 1
        return sum(
            (stage_weight(i, steps) * stage.loss for i, stage in enumerate(self.stages)),
            start=self.stages[0].loss.new_zeros(()),
        )


class EfficientMORL(Described):
    """Hierarchical bottom-up inference, top-down refinement and a slot decoder.

    The defaults are the released model for Tetrominoes. Images are float in [0, 1], [B, 3, H, W], of any size that the
    decoder can render; neither the batch size, nor the image size, nor K, nor I is baked in.

    Args:
        num_slots: slots K, background included; a call may ask for another number.
        slot_dim: dimensions of a slot, D.
        num_layers: stochastic layers of the bottom-up pass, L.
        feature_dim: features of a pixel, F.
        position: builds the encoder's position code.
        encoder_stride: pixels from one of the encoder's positions to the next, see `ImageEncoder`. With 2, a quarter of
            the positions to encode, and each sees more of the image; an extension, the released model has 1.
        cell: builds the bottom-up pass's recurrent cell from D.
        prior: builds the hierarchical prior from D.
        decoder: builds the decoder from D.
        likelihood: builds the pixel likelihood; by default a Gaussian of scale 0.3.
        geco: the reconstruction constraint; none to train the plain negative ELBO.
        kl_weight: weight of the KL terms in the loss.
        initialisation: builds what fills the weights.
        decode_chunk: images that are worked on together, which bounds a training step's memory: they are decoded in
            groups of that size, and a larger batch is also encoded in such groups, whose activations are computed again
            in the backward pass. By default the encoder takes the whole batch, and the decoder as many images as make
            a quarter of a million slot pixels.

    >>> model = EfficientMORL(num_slots=4, slot_dim=32)
    >>> inference = model(torch.rand(2, 3, 35, 35), refinement_steps=1)
    >>> inference.stages[-1].components.masks.shape
    torch.Size([2, 4, 1, 35, 35])
    >>> inference.loss.backward()
    """

    gradient_batch: Tensor

    def __init__(
        self,
        num_slots: int = 4,
        slot_dim: int = 32,
        num_layers: int = 3,
        feature_dim: int = 64,
        position: Callable[[], PositionCode] = RampPosition,
        encoder_stride: int = 1,
        cell: Callable[[int], PosteriorCell] = DualGRU,
        prior: Callable[[int], Prior] = ReversedPlusPlusPrior,
        decoder: Callable[[int], Decoder] = SmallDecoder,
        likelihood: Callable[[], Likelihood] | None = None,
        geco: Geco | None = None,
        kl_weight: float = 1.0,
        initialisation: Callable[[], Initialisation] = ReleasedInitialisation,
        decode_chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.encoder = ImageEncoder(feature_dim, position, encoder_stride)
        self.bottom_up = BottomUp(feature_dim, slot_dim, num_layers, cell)
        self.prior = prior(slot_dim)
        self.decoder = decoder(slot_dim)
        self.likelihood = GaussianLikelihood() if likelihood is None else likelihood()
        self.decode_chunk = decode_chunk
        self.objective = Objective(geco, kl_weight)
        _warn_of_target(geco, self.likelihood)
        self.refinement = Refinement(slot_dim)
        self.register_buffer("gradient_batch", torch.zeros((), dtype=torch.long))  # of training, over all processes
        initialisation()(self)

    def forward(
        self,
        image: Float[Tensor, "batch 3 h w"],
        refinement_steps: int = 0,
        num_slots: int | None = None,
        noise: Noise = gaussian_noise,
    ) -> Inference:
        """Infer the slots of images in [0, 1] with I = ``refinement_steps`` refinements.

        Refinement follows gradients of the loss at test time too: inside ``torch.no_grad`` and
        ``torch.inference_mode`` they are taken locally, and what is returned carries no graph.

        Raises:
            ValueError: if I is below 0, or K below 1; or if the decoder cannot render the image's size.
        """
        if refinement_steps < 0:
            raise ValueError(f"Expected refinement_steps of 0 or more, got {refinement_steps}. Give 0 for none.")
        if self.training and torch.is_grad_enabled():
            self.gradient_batch.fill_(len(image) * world_size())
        bottom_up = self.encode(image, self.num_slots if num_slots is None else num_slots, noise)
        if refinement_steps == 0 or torch.is_grad_enabled():
            return self.top_down(image, bottom_up, refinement_steps, noise)
        with torch.inference_mode(False), torch.enable_grad():
            inference = self.top_down(image.clone(), bottom_up, refinement_steps, noise, training=False)
        return Inference(*map(_detach, inference))

    def encode(self, image: Tensor, num_slots: int, noise: Noise) -> BottomUpPass:
        """Infer q(z^l | z^{l-1}, x), l = 1..L, from images in [0, 1]."""
        if num_slots < 1:
            raise ValueError(
                f"Expected num_slots of 1 or more, got {num_slots}. Give one slot for each object, and one."
            )
        draws = self.bottom_up.draws(len(image), num_slots, noise)
        if self.decode_chunk is None or len(image) <= self.decode_chunk:
            return self.encode_group(image, draws)
        chunk = self.decode_chunk
        groups = zip(torch.split(image, chunk), torch.split(draws, chunk, dim=1), strict=True)
        parts = [checkpoint(self.encode_group, *group, use_reentrant=False) for group in groups]
        posteriors, attention = zip(*parts, strict=True)
        return BottomUpPass(
            [Gaussian(*map(torch.cat, zip(*layer, strict=True))) for layer in zip(*posteriors, strict=True)],
            [torch.cat(layer) for layer in zip(*attention, strict=True)],
        )

    def encode_group(self, image: Tensor, draws: Tensor) -> BottomUpPass:
        """Encode images that fit into memory together."""
        posteriors, attention = self.bottom_up(self.encoder(2 * image - 1), draws)
        return BottomUpPass(posteriors, [self.encoder.to_pixels(layer, *image.shape[-2:]) for layer in attention])

    def top_down(
        self, image: Tensor, bottom_up: BottomUpPass, steps: int, noise: Noise, training: bool = True
    ) -> Inference:
        """Decode the last layer's slots and refine them ``steps`` times."""
        posteriors, attention = bottom_up
        if steps and not posteriors[-1].mean.requires_grad:  # at test time, or with frozen weights: g needs a leaf
            posteriors = [as_leaf(posterior) for posterior in posteriors]
        prior = self.prior(posteriors, noise)  # p(z^l | z^{l+1}), p(z^L)
        epsilon = noise(f"z{len(posteriors)}", posteriors[-1].mean)
        stages = [self.stage(image, posteriors[-1], epsilon, torch.stack(prior.kl).sum(dim=0), training)]
        state = None
        for i in range(1, steps + 1):
            posterior, state = self.refinement(*self.gradient(stages[-1], training), state)
            if not training:
                posterior, state = as_leaf(posterior, requires_grad=i < steps), state.detach()
            epsilon = noise(f"refine{i}", posterior.mean)
            kl = slot_kl(posterior.distribution, prior.refined)
            stages.append(self.stage(image, posterior, epsilon, kl, training))
        return Inference(posteriors, attention, prior.kl, stages)

    def stage(self, image: Tensor, posterior: Gaussian, epsilon: Tensor, kl: Tensor, training: bool) -> Stage:
        """Sample slots, decode them and score the image."""
        slots = posterior.sample(epsilon)  # z ~ q(z; lambda)
        parameters = (*self.decoder.parameters(), *self.likelihood.parameters()) if training else ()
        weights = [parameter for parameter in parameters if parameter.requires_grad]
        components, nll, mean_nll = decode_pass(self.score, slots, image, weights, self.decode_chunk)
        loss = self.objective(mean_nll, kl.mean(), dims=image[0].numel())
        return Stage(posterior, slots, components, nll, mean_nll, kl, loss)

    def score(self, slots: Tensor, image: Tensor) -> tuple[Components, Tensor]:
        """Return p(x | z): the components and the nll of each image."""
        components = self.decoder(slots, (image.shape[-2], image.shape[-1]))
        return components, self.likelihood(components, image)

    def gradient(self, stage: Stage, keep_graph: bool) -> tuple[Gaussian, Gaussian]:
        """Return lambda^{i-1} and g = d loss_{i-1} / d lambda^{i-1}.

        The loss is the mean over the batch of all processes, in training; and g, whose LayerNorm is not quite scale
        free, is as large at test as it was there, so that it depends neither on how a batch is spread nor on what else
        is in it. (The released code takes the mean of each process's batch; so does, at test, a model of weights that
        this class has not trained.)
        """
        batch = len(stage.posterior.mean)
        share = 1 / world_size() if self.training else batch / (int(self.gradient_batch) or batch)
        gradient = torch.autograd.grad(stage.loss, stage.posterior, retain_graph=keep_graph)
        return stage.posterior, Gaussian(*(part * share for part in gradient))


def _warn_of_target(geco: Geco | None, likelihood: Likelihood) -> None:
    if geco is None:
        return
    if geco.target == "auto" and geco.lowest_zeta >= START:
        logger.warning(
            "GECO is to find its target by itself, but with a lowest_zeta of %g its multiplier cannot fall, and all "
            "stays as it is: set lowest_zeta to log(exp(w) - 1) for a kl_weight of w, and warm_start to 10 to 20 %% of "
            "the steps.",
            geco.lowest_zeta,
        )
    elif geco.target != "auto" and geco.target < likelihood.floor:
        logger.warning(
            "GECO's target of %g nats per channel-pixel lies below %g, the least that a likelihood of scale %g can "
            "reach. It will never be met, and its multiplier only grows: raise the target.",
            *(geco.target, likelihood.floor, likelihood.scale),
        )


def _detach(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, list):
        return [_detach(item) for item in value]
    return type(value)(*map(_detach, value))  # a NamedTuple
