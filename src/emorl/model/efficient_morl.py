"""EfficientMORL, the two-stage model (Emami et al., ICML 2021, figure 1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emorl.distributed import world_size
from emorl.model.bottom_up import BottomUp, BottomUpPass
from emorl.model.decode_pass import decode_pass
from emorl.model.decoder import Components, Decoder, SmallDecoder
from emorl.model.encoder import ImageEncoder
from emorl.model.geco import START, Geco
from emorl.model.inference import Encoding, Inference, Layer, Stage, encoding
from emorl.model.initialization import Initialization, ReferenceInitialization
from emorl.model.likelihood import GaussianLikelihood, Likelihood
from emorl.model.noise import Noise, gaussian_noise
from emorl.model.objective import Objective, stage_weight
from emorl.model.position import PositionCode, RampPosition
from emorl.model.posterior import Gaussian, slot_kl
from emorl.model.prior import Prior, ReversedPlusPlusPrior
from emorl.model.recording import jit_traced, refuse_recording
from emorl.model.recurrent import DualGRU, PosteriorCell
from emorl.model.refinement import Refinement, as_leaf, differentiable
from emorl.model.slot_model import SlotModel
from emorl.ranges import counts

logger = logging.getLogger(__name__)


class EfficientMORL(SlotModel):
    """Hierarchical bottom-up inference, top-down refinement and a slot decoder.

    The defaults are the authors' model for Tetrominoes. Images are floats in [0, 1], [B, 3, H, W], of any size that the
    decoder can render. Batch size, image size, K and I may change from call to call.

    Args:
        num_slots: number K of slots, background included; a call may override it.
        slot_dim: dimensions of a slot, D.
        num_layers: stochastic layers of the bottom-up pass, L.
        feature_dim: features of a pixel, F.
        position: builds the encoder's position code.
        encoder_stride: stride of the encoder in pixels, see `ImageEncoder`. With 2 it encodes a quarter of the
            positions, each with a larger receptive field. An extension: the authors' model has 1.
        cell: builds the bottom-up pass's recurrent cell from D.
        prior: builds the hierarchical prior from D.
        decoder: builds the decoder from D.
        likelihood: builds the pixel likelihood; by default a Gaussian of scale 0.3.
        geco: the reconstruction constraint; without it the loss is the negative ELBO.
        kl_weight: weight of the KL terms in the loss.
        initialization: builds the function that fills the weights.
        decode_chunk: number of images that are decoded together, which bounds the memory of a training step. A larger
            batch is also encoded in groups of that size, whose activations are recomputed in the backward pass. By
            default the encoder takes the whole batch, and the decoder as many images as make a quarter of a million
            slot pixels.

    >>> model = EfficientMORL(num_slots=4, slot_dim=32)
    >>> inference = model(torch.rand(2, 3, 35, 35), steps=1)
    >>> inference.stages[-1].components.masks.shape
    torch.Size([2, 4, 1, 35, 35])
    >>> inference.loss.backward()
    """

    default_steps: ClassVar[int] = 0
    training_steps: ClassVar[int] = 3
    min_steps: ClassVar[int] = 0
    score_names: ClassVar[tuple[str, ...]] = ("nll", "kl")
    objective_names: ClassVar[tuple[str, ...]] = ("objective.",)

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
        initialization: Callable[[], Initialization] = ReferenceInitialization,
        decode_chunk: int | None = None,
    ) -> None:
        super().__init__()
        counts(1, num_slots=num_slots, slot_dim=slot_dim, num_layers=num_layers)
        if decode_chunk is not None:
            counts(1, decode_chunk=decode_chunk)
        self.num_slots = num_slots
        self.slot_dim = slot_dim
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
        initialization()(self)

    @property
    def kl_weight(self) -> float:
        """Weight of the KL terms in the loss, and so in the gradients that refinement reads.

        A checkpoint has that of the construction, which `RefinementCurriculum` returns to at its end.
        """
        return self.objective.kl_weight

    @kl_weight.setter
    def kl_weight(self, weight: float) -> None:
        self.objective.kl_weight = weight

    @property
    def nll_constant(self) -> float:
        """Constant that the nll omits for each channel-pixel, in nats: that of the likelihood."""
        return self.likelihood.constant

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the KL terms of layers 1 .. L, whose sum is the KL of stage 0."""
        return tuple(f"kl_layers/{layer}" for layer in range(1, self.bottom_up.num_layers + 1))

    def forward(
        self,
        image: Tensor,
        steps: int | None = None,
        num_slots: int | None = None,
        noise: Noise = gaussian_noise,
    ) -> Inference:
        """Infer the slots of images in [0, 1] with I = ``steps`` refinements.

        Refinement needs gradients of the loss at test time too. Inside ``torch.no_grad`` and ``torch.inference_mode``
        they are computed locally, and the result is detached from the graph.

        Raises:
            ValueError: if I is below 0, or K below 1; or if the decoder cannot render the image's size.
        """
        steps = self.checked_steps(steps)
        refuse_recording(self.unrecordable(steps))
        training = self.training and torch.is_grad_enabled()
        if training:
            self.gradient_batch.fill_(len(image) * world_size())
        bottom_up = self.bottom_up_pass(image, self.checked_slots(num_slots), noise)
        if steps == 0 or torch.is_grad_enabled():
            inference = self.top_down(image, bottom_up, steps, noise)
            if training:
                self.objective.observe(inference.stages[-1].nll, dims=image[0].numel())
            return inference
        with torch.inference_mode(False), torch.enable_grad():
            inference = self.top_down(image.clone(), bottom_up, steps, noise, training=False)
        return _detach(inference)  # type: ignore[no-any-return]

    def unrecordable(self, steps: int) -> str | None:
        """Return why the model cannot be recorded, or None with I = 0: refinement needs gradients."""
        return "EfficientMORL with I > 0, whose steps need gradients of the loss" if steps else None

    def infer(self, image: Tensor, steps: int, num_slots: int, noise: Noise) -> Encoding:
        """Return the slots; with I = 0 nothing is decoded."""
        if steps:
            return super().infer(image, steps, num_slots, noise)
        bottom_up = self.bottom_up_pass(image, num_slots, noise)
        last = bottom_up.posteriors[-1]
        return encoding(last, last.mean, _layers(bottom_up, last.mean))

    def bottom_up_pass(self, image: Tensor, num_slots: int, noise: Noise) -> BottomUpPass:
        """Infer q(z^l | z^{l-1}, x), l = 1..L, from images in [0, 1]."""
        draws = self.bottom_up.draws(image.shape[0], num_slots, noise)
        fixed = torch.compiler.is_compiling() or jit_traced()  # a program would have a fixed number of groups
        chunk = None if fixed else self.decode_chunk
        if chunk is None or image.shape[0] <= chunk:
            return self.encode_group(image, draws)
        groups = zip(torch.split(image, chunk), torch.split(draws, chunk, dim=1), strict=True)
        parts = [
            checkpoint(self.encode_group, *group, use_reentrant=False, preserve_rng_state=False) for group in groups
        ]
        posteriors, slots, attention = zip(*parts, strict=True)
        return BottomUpPass(
            [Gaussian(*map(torch.cat, zip(*layer, strict=True))) for layer in zip(*posteriors, strict=True)],
            [torch.cat(layer) for layer in zip(*slots, strict=True)],
            [torch.cat(layer) for layer in zip(*attention, strict=True)],
        )

    def encode_group(self, image: Tensor, draws: Tensor) -> BottomUpPass:
        """Encode one group of images."""
        posteriors, slots, attention = self.bottom_up(self.encoder(2 * image - 1), draws)
        pixels = [self.encoder.to_pixels(layer, *image.shape[-2:]) for layer in attention]
        return BottomUpPass(posteriors, slots, pixels)

    def top_down(
        self, image: Tensor, bottom_up: BottomUpPass, steps: int, noise: Noise, training: bool = True
    ) -> Inference:
        """Decode the last layer's slots and refine them ``steps`` times."""
        posteriors = bottom_up.posteriors
        if steps and not all(part.requires_grad for part in posteriors[-1]):  # at test time, or with frozen weights
            posteriors = [differentiable(posterior) for posterior in posteriors]  # g needs leaves
        prior = self.prior(posteriors, noise)  # p(z^l | z^{l+1}), p(z^L)
        epsilon = noise(f"z{len(posteriors)}", posteriors[-1].mean)
        stages = [self.stage(image, 0, posteriors[-1], epsilon, torch.stack(prior.kl).sum(dim=0), training)]
        state = None
        for i in range(1, steps + 1):
            posterior, state = self.refinement(*self.gradient(stages[-1], training), state)
            if not training:
                posterior, state = as_leaf(posterior, requires_grad=i < steps), state.detach()
            epsilon = noise(f"refine{i}", posterior.mean)
            kl = slot_kl(posterior.distribution, prior.refined)
            stages.append(self.stage(image, i, posterior, epsilon, kl, training))
        loss = torch.stack([stage_weight(stage.step, steps) * stage.loss for stage in stages]).sum()
        terms = dict(zip(self.term_names, prior.kl, strict=True))
        return Inference(stages, _layers(bottom_up, stages[0].slots), terms, loss)

    def stage(
        self, image: Tensor, step: int, posterior: Gaussian, epsilon: Tensor, kl: Tensor, training: bool
    ) -> Stage:
        """Sample slots, decode them and score the image."""
        slots = posterior.sample(epsilon)  # z ~ q(z; lambda)
        parameters = (*self.decoder.parameters(), *self.likelihood.parameters()) if training else ()
        weights = [parameter for parameter in parameters if parameter.requires_grad]
        components, nll, mean_nll = decode_pass(self.score, slots, image, weights, self.decode_chunk)
        loss = self.objective(mean_nll, kl.mean(), dims=image[0].numel())
        return Stage(step, slots, posterior, components, nll, mean_nll, kl, loss)

    def score(self, slots: Tensor, image: Tensor) -> tuple[Components, Tensor]:
        """Return p(x | z): the components and the nll of each image."""
        components = self.decoder(slots, (image.shape[-2], image.shape[-1]))
        return components, self.likelihood(components, image)

    def gradient(self, stage: Stage, keep_graph: bool) -> tuple[Gaussian, Gaussian]:
        """Return lambda^{i-1} and g = d loss_{i-1} / d lambda^{i-1}.

        In training the loss is the mean over the batch of all processes. At test g keeps the scale of training, because
        its LayerNorm is not exactly scale-invariant: g then depends neither on how a batch is divided nor on its other
        images. (The authors' code takes the mean of each process's batch. So does a model at test whose weights this
        class has not trained.)
        """
        posterior = cast(Gaussian, stage.posterior)
        batch = len(posterior.mean)
        share = 1 / world_size() if self.training else batch / self.gradient_size(batch)
        gradient = torch.autograd.grad(stage.loss, posterior, retain_graph=keep_graph)
        return posterior, Gaussian(*(part * share for part in gradient))

    def gradient_size(self, batch: int) -> Tensor:
        """Return the number of images that g is a mean over at test, ``batch`` of a model not trained by this class."""
        return torch.where(self.gradient_batch > 0, self.gradient_batch, batch)

    def end_step(self) -> None:
        """Update GECO with the nll of the step's batches."""
        self.objective.end_step()

    def discard_step(self) -> None:
        """Forget the batches of a step that was not taken."""
        self.objective.discard_step()

    def diagnostics(self, inference: Inference) -> dict[str, Tensor]:
        """Return nll and KL of the bottom-up pass, and GECO's state."""
        first, geco = inference.stages[0], self.objective.geco
        values = {"zero_step/nll": first.mean_nll, "zero_step/kl": first.kl.mean()}  # type: ignore[union-attr]
        if geco is not None:
            values |= {
                "geco/zeta": geco.zeta,
                "geco/average": geco.average,
                "geco/target": torch.zeros_like(geco.zeta) + geco.goal,
            }
        return values  # type: ignore[return-value]

    def without_effect(self, steps: int | float) -> list[str]:
        """Return a sentence if GECO starts after the training."""
        geco = self.objective.geco
        if geco is None or geco.warm_start < steps:
            return []
        return [
            f"GECO starts after {geco.warm_start:,} steps, the run ends after {steps:,}: it has no effect. Lower "
            "--model.network.geco.warm_start."
        ]

    def check_training(self, precision: str, unused_parameters: bool) -> None:
        """Check the precision, and that the strategy allows steps without the refinement network."""
        super().check_training(precision, unused_parameters)
        if not unused_parameters:
            raise ValueError(
                "Expected a strategy that allows unused parameters, got plain DDP: with I = 0 a step does not use the "
                "refinement network. Set the trainer's strategy to 'ddp_find_unused_parameters_true'."
            )


def _layers(bottom_up: BottomUpPass, last: Tensor) -> list[Layer]:
    """Return z^1 .. z^L and the attention of their layers; the bottom-up pass itself does not sample z^L."""
    return [Layer(*layer) for layer in zip((*bottom_up.slots, last), bottom_up.attention, strict=True)]


def _warn_of_target(geco: Geco | None, likelihood: Likelihood) -> None:
    if geco is None:
        return
    if geco.target == "auto" and geco.lowest_zeta >= START:
        logger.warning(
            "GECO's target is 'auto', but with lowest_zeta = %g its multiplier cannot fall, so GECO has no effect: set "
            "lowest_zeta to log(exp(w) - 1) for a kl_weight of w, and warm_start to 10 to 20 %% of the steps.",
            geco.lowest_zeta,
        )
    elif geco.target != "auto" and geco.target < likelihood.floor:
        logger.warning(
            "GECO's target of %g nats per channel-pixel is below %g, the minimum of a likelihood of scale %g. It "
            "cannot be met, so the multiplier grows without limit: raise the target.",
            *(geco.target, likelihood.floor, likelihood.scale),
        )


def _detach(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, list):
        return [_detach(item) for item in value]
    if isinstance(value, dict):
        return {name: _detach(item) for name, item in value.items()}
    if not isinstance(value, tuple):
        return value
    return type(value)(*map(_detach, value))  # a NamedTuple
