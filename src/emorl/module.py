"""The LightningModule around a slot model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam, Optimizer

from emorl.checks import check_surroundings
from emorl.cpu import tune_cpu
from emorl.data.transforms import Crop
from emorl.errors import DataError
from emorl.model import EfficientMORL, ImageNoise, Inference, Noise, PosteriorMeans, SlotModel, unit_range
from emorl.model.describe import describe, difference
from emorl.model.draws import best_of, checked_draws
from emorl.model.inference import encoding
from emorl.optim import WarmupCosineDecay, WarmupExponentialDecay
from emorl.scores import Scores, log_scores
from emorl.types import Batch


class Prediction(NamedTuple):
    """What ``predict`` returns of a batch, padding removed."""

    key: list[str]
    image: Float[Tensor, "batch 3 h w"]  # as the model saw it, in [0, 1]
    slots: Float[Tensor, "batch slots dim"]  # posterior means, or the slots themselves
    scale: Float[Tensor, "batch slots dim"] | None  # posterior standard deviations; None where slots are points
    masks: Float[Tensor, "batch slots 1 h w"]
    components: Float[Tensor, "batch slots 3 h w"]
    reconstruction: Float[Tensor, "batch 3 h w"]


class SlotModule(LightningModule):
    """Trains, tests and predicts with a `SlotModel`.

    Logs ``train/..``, ``val/..`` and ``test/..``: names of `StageScores` for the last stage, and, for a model that has
    slots before the first step, under ``zero_step/`` for those. Checkpoints rebuild the module without a configuration.

    Args:
        network: the model; by default the released EfficientMORL for Tetrominoes.
        image_size: side of the square images, in pixels.
        crop: what is cut out of a stored image, see `MultiObjectDataModule`.
        refinement_steps: steps I in training and validation, of refinement or, for Slot Attention, of attention; by
            default the model's ``training_steps``. `RefinementCurriculum` changes it over time.
        test_refinement_steps: I in ``test`` and ``predict``; likewise.
        test_means: whether ``test`` decodes the means of posteriors instead of samples, as ``predict`` and
            `load_pretrained` always do (see `PosteriorMeans`): better reconstructions, but no ELBO.
        test_draws: number N of draws in ``test`` and ``predict``, of which each image's best is kept (see `best_of`); N
            times the time of one.
        score_attention: whether ``test`` also scores the attention of the last layer as masks, under ``attention/``.
        optimizer: builds the optimizer from the parameters: a class, or a ``functools.partial`` of one. Of a function a
            checkpoint cannot say what it builds, and comes back with the default.
        scheduler: builds the learning-rate scheduler, stepped once per optimizer step; likewise.

    Raises:
        MisconfigurationException: if the attention of a model without any is to be scored.
    """

    noise_seed: Tensor

    def __init__(
        self,
        network: SlotModel | None = None,
        image_size: int = 35,
        crop: Crop = "square",
        refinement_steps: int | None = None,
        test_refinement_steps: int | None = None,
        test_means: bool = False,
        test_draws: int = 1,
        score_attention: bool = False,
        optimizer: OptimizerCallable = lambda parameters: Adam(parameters, lr=4e-4),
        scheduler: LRSchedulerCallable = WarmupExponentialDecay,
    ) -> None:
        super().__init__()
        self._save_arguments(network, optimizer, scheduler)
        self.network = EfficientMORL() if network is None else network
        if score_attention and not self.network.has_attention:
            name = type(self.network).__name__
            raise MisconfigurationException(
                f"Expected a model with attention to score, got {name}. Set score_attention to false."
            )
        self.image_size = image_size
        self.crop = crop
        steps = self.network.training_steps
        self.refinement_steps = steps if refinement_steps is None else refinement_steps
        self.test_refinement_steps = steps if test_refinement_steps is None else test_refinement_steps
        self.test_draws = checked_draws(test_draws)
        self.test_means = test_means
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.validation_scores = Scores(self.network)
        self.test_scores = Scores(self.network, score_attention)
        self.register_buffer("noise_seed", torch.tensor(torch.initial_seed() % 2**63))  # of training; resumes with it

    def forward(self, image: Tensor, steps: int, noise: Noise, num_slots: int | None = None) -> Inference:
        """Infer the slots of images [B, 3, H, W], 8-bit or float in [0, 1].

        Raises:
            ValueError: if the images are of another type, range or shape.
        """
        return self.network(unit_range(image).to(self.dtype), steps, num_slots, noise)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the model's loss."""
        noise = ImageNoise(batch["index"], int(self.noise_seed), self.global_step)
        inference: Inference = self(batch["image"], self.refinement_steps, noise)
        last = inference.stages[-1]
        values = {"loss": inference.loss, "nll": last.nll, "kl": last.kl}
        known = {name: value.detach() for name, value in values.items() if value is not None}
        self._check_finite(known)
        means = {name: value.mean() for name, value in known.items()}
        self._log_training(means | self.network.diagnostics(inference), len(batch["image"]))
        return inference.loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, and tell the model."""
        super().optimizer_step(*args, **kwargs)
        self.network.end_step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient's norm before clipping, and stop before a step that would destroy the weights."""
        gradients = {name: p.grad.norm() for name, p in self.network.named_parameters() if p.grad is not None}
        self._check_finite({f"gradient of {name}": norm for name, norm in gradients.items()})
        self.log("train/grad_norm", torch.stack(list(gradients.values())).norm())

    def validation_step(self, batch: Batch, batch_idx: int) -> Inference:  # type: ignore[override]
        """Score a batch with the current I."""
        inference: Inference = self(batch["image"], self.refinement_steps, ImageNoise(batch["index"]))
        self.validation_scores.update(batch, inference)
        return inference

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        log_scores(self, self.validation_scores, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch with the I of testing; its stage 0 is what I = 0 gives."""
        inference = self.test_inference(batch, self.test_refinement_steps)
        self.test_scores.update(batch, inference)

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        log_scores(self, self.test_scores, "test")

    def test_noise(self, batch: Batch, seed: int = 0) -> Noise:
        """Return the draws of ``test``, or with another seed others like them."""
        return PosteriorMeans(seed) if self.test_means else ImageNoise(batch["index"], seed)

    def test_inference(
        self, batch: Batch, steps: int, num_slots: int | None = None, seed: int = 0, means: bool = False
    ) -> Inference:
        """Infer a batch as ``test`` does: of ``test_draws`` draws the best, see `best_of`.

        Args:
            batch: the batch.
            steps: I.
            num_slots: K; the model's unless given.
            seed: chooses the draws.
            means: whether to decode the means of posteriors, as ``predict`` does, whatever ``test_means`` is.
        """

        def infer(number: int) -> Inference:
            draw = seed * self.test_draws + number
            noise = PosteriorMeans(draw) if means else self.test_noise(batch, draw)
            return self(batch["image"], steps, noise, num_slots)  # type: ignore[no-any-return]

        return best_of(self.test_draws, infer, unit_range(batch["image"]).to(self.dtype))

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """Decompose a batch."""
        last = self.test_inference(batch, self.test_refinement_steps, means=True).stages[-1]
        real = batch["index"] >= 0
        found = encoding(last.posterior, last.slots, [])
        tensors = (
            unit_range(batch["image"]),
            found.slots,
            found.scale,
            last.components.masks,
            last.components.rgb,
            last.components.reconstruction,
        )
        keys = [key for key, index in zip(batch["key"], batch["index"].tolist(), strict=True) if index >= 0]
        return Prediction(keys, *(None if tensor is None else tensor[real] for tensor in tensors))  # type: ignore[arg-type]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Step the scheduler with the optimizer, not with the epoch; a cosine without a length has the run's.

        Raises:
            MisconfigurationException: if the run has none either.
        """
        optimizer = self.optimizer(self.network.parameters())
        scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, WarmupCosineDecay) and scheduler.total_steps is None:
            scheduler.total_steps = self.trainer.max_steps
            if scheduler.total_steps == -1:
                raise MisconfigurationException(
                    "Expected max_steps, which a cosine without total_steps ends with, got -1. "
                    "Set the trainer's max_steps, or the scheduler's total_steps."
                )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def setup(self, stage: str) -> None:
        """Check that model, data and trainer fit together; on CPU, tune the process; see `check_surroundings`."""
        check_surroundings(self, self.trainer, stage)
        if self.trainer.strategy.root_device.type == "cpu":
            tune_cpu()

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights as `torch.nn.Module.load_state_dict` does.

        Raises:
            DataError: if they are those of another model.
        """
        try:
            return super().load_state_dict(state_dict, *args, **kwargs)
        except RuntimeError as error:
            got, remedy = difference(self.state_dict(), state_dict), "build the model that it was trained with"
            raise DataError.of("checkpoint", expected="weights of this model", got=got, remedy=remedy) from error

    def _log_training(self, values: dict[str, Tensor], images: int) -> None:
        self.log("train/loss", values.pop("loss"), prog_bar=True, batch_size=images)
        self.log("train/refinement_steps", float(self.refinement_steps), batch_size=images)
        self.log_dict({f"train/{name}": value.detach() for name, value in values.items()}, batch_size=images)

    def _check_finite(self, values: dict[str, Tensor]) -> None:
        """Stop before a NaN or an infinity gets into the weights; one device synchronisation."""
        finite = torch.stack([value.detach().isfinite().all() for value in values.values()])
        if not finite.all():
            terms = [name for name, fine in zip(values, finite.tolist(), strict=True) if not fine]
            raise FloatingPointError(
                f"Expected finite numbers, but at step {self.global_step} these are not: {', '.join(terms)}. "
                "Resume from the last checkpoint with a lower learning rate, or in float32."
            )

    def _save_arguments(self, network: Any, optimizer: Any, scheduler: Any) -> None:
        """Keep in every checkpoint what rebuilds this module, as a configuration that holds no code."""
        self.save_hyperparameters(ignore=("network", "optimizer", "scheduler"))
        if "_instantiator" in self.hparams:  # built by LightningCLI, which knows the configuration of every part
            self.save_hyperparameters()
        else:
            plain = {"network": describe(network), "_instantiator": "pytorch_lightning.cli.instantiate_module"}
            for name, part in (("optimizer", optimizer), ("scheduler", scheduler)):
                with suppress(TypeError):  # of a function, which comes back as the default
                    plain[name] = describe(part)
            self.save_hyperparameters({**self.hparams, **plain})


EfficientMORLModule = SlotModule  # the name in code from before there were other models
