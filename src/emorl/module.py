"""The LightningModule around a slot model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from inspect import signature
from io import BytesIO
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from lightning_fabric.utilities.cloud_io import _load
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from emorl.batches import completed
from emorl.checks import check_surroundings
from emorl.cpu import tune_cpu
from emorl.data.transforms import Crop
from emorl.errors import DataError
from emorl.finite import FiniteCheck
from emorl.lengths import warn_of_lengths
from emorl.model import EfficientMORL, ImageNoise, Inference, Noise, PosteriorMeans, SlotModel, unit_range
from emorl.model.describe import describe, difference
from emorl.model.draws import best_of, checked_draws
from emorl.model.inference import encoded
from emorl.optim import WarmupCosineDecay, WarmupExponentialDecay
from emorl.provenance import record_of, training
from emorl.ranges import counts, whole
from emorl.renamed import current
from emorl.resume import check_model, check_optimizers, check_resumed, keepers, save_last, save_safely, within_step
from emorl.scores import Scores, log_scores
from emorl.types import Batch

TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Hooks of Lightning that may reorder a batch."""


class Prediction(NamedTuple):
    """The output of ``predict`` for a batch, without padding.

    >>> from emorl.batches import completed
    >>> batch = completed({"image": torch.rand(2, 3, 35, 35)}, 0, 0)
    >>> SlotModule().predict_step(batch, 0).masks.shape
    torch.Size([2, 4, 1, 35, 35])
    """

    key: list[str]  # name of each image
    image: Float[Tensor, "batch 3 h w"]  # the model's input, in [0, 1]
    slots: Float[Tensor, "batch slots dim"]  # posterior means, or the slots themselves
    scale: Float[Tensor, "batch slots dim"] | None  # posterior standard deviations; None where slots are points
    masks: Float[Tensor, "batch slots 1 h w"]  # in [0, 1], summing to one over slots
    components: Float[Tensor, "batch slots 3 h w"]  # the color of each slot
    reconstruction: Float[Tensor, "batch 3 h w"]  # sum of masks times components


class SlotModule(LightningModule):
    """Trains, tests and predicts with a `SlotModel`.

    Logs the scores of `StageScores` under ``val/`` and ``test/``: those of the last stage, and under ``zero_step/``
    those of stage 0, if the model decodes slots before the first step. Under ``train/`` it logs the loss, nll and KL,
    and the norm of the gradient. A checkpoint contains the configuration and rebuilds the module by itself.

    Args:
        network: the model; by default the authors' EfficientMORL for Tetrominoes.
        image_size: side of the square images, in pixels.
        crop: the region that is cropped from a stored image, see `MultiObjectDataModule`.
        refinement_steps: steps I in training and validation, of refinement or, for Slot Attention, of attention; by
            default the model's ``training_steps``. `RefinementCurriculum` changes it over time.
        test_refinement_steps: I in ``test`` and ``predict``; by default the model's ``training_steps``.
        test_means: whether ``test`` decodes the means of posteriors instead of samples, as ``predict`` and
            `load_pretrained` always do (see `PosteriorMeans`). They have no ELBO.
        test_draws: number N of draws in ``test`` and ``predict``; of each image, the draw with the lowest bound,
            nll + KL, is kept (without a likelihood, with the lowest squared error). The time grows N-fold.
        score_attention: whether ``test`` also scores the attention of the last layer as masks, under ``attention/``.
        optimizer: builds the optimizer from the parameters: a class, or a ``functools.partial`` of one. A checkpoint
            cannot store a plain function: it loads with the default optimizer.
        scheduler: builds the learning-rate scheduler, stepped once per optimizer step: a class, or a
            ``functools.partial`` of one, as for ``optimizer``.

    Raises:
        MisconfigurationException: if ``score_attention`` is set for a model without attention.
        ValueError: if ``image_size`` or ``test_draws`` is below 1, or a number of pixels, steps or draws is not whole.

    >>> from emorl.model import SlotAttention
    >>> module = SlotModule(SlotAttention(num_slots=4), image_size=35, optimizer=partial(Adam, lr=1e-3))
    >>> module.refinement_steps, module.hparams["network"]["class_path"]
    (3, 'emorl.model.SlotAttention')
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
        counts(1, image_size=image_size)
        self.image_size = image_size
        self.crop = crop
        steps = self.network.training_steps
        self.refinement_steps = steps if refinement_steps is None else refinement_steps
        self.test_refinement_steps = steps if test_refinement_steps is None else test_refinement_steps
        whole(refinement_steps=self.refinement_steps, test_refinement_steps=self.test_refinement_steps)
        self.test_draws = checked_draws(test_draws)
        self.test_means = test_means
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.started_from: dict[str, Any] | None = None  # `record_of` the weights that training started from
        self._evaluated = 0  # images of this process in the epoch
        self._trained = 0  # images of this process in the optimizer step
        self._unsaved = False  # whether last.ckpt lacks a validation
        self._finite = FiniteCheck()
        self._known_seed: int | None = None
        self._saved_optimizers: list[dict[str, Any]] = []  # of a checkpoint that is being resumed
        self.validation_scores = Scores(self.network)
        self.test_scores = Scores(self.network, score_attention)
        self.register_buffer("noise_seed", torch.tensor(torch.initial_seed() % 2**63))  # of training; resumes with it

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        """Load a checkpoint of this or an earlier version, with the options of Lightning's method."""
        content = _load(checkpoint_path, map_location="cpu", weights_only=options.get("weights_only"))
        torch.save({**content, "hyper_parameters": current(content.get("hyper_parameters", {}))}, buffer := BytesIO())
        buffer.seek(0)
        module = super().load_from_checkpoint(buffer, *args, **options)
        module.started_from = record_of({**content.get("training", {}), "total_steps": content.get("global_step", 0)})
        return module

    def forward(self, image: Tensor, steps: int, noise: Noise, num_slots: int | None = None) -> Inference:
        """Infer the slots of images [B, 3, H, W], 8-bit or float in [0, 1].

        Raises:
            ValueError: if the images are of another type, range or shape.
        """
        return self.network(unit_range(image).to(self.dtype), steps, num_slots, noise)  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        """Warn of settings that do not fit the length of the run; forget a step that an error ended."""
        warn_of_lengths(self.network, self.trainer)
        self.network.discard_step()
        self._unsaved = False
        self._finite = FiniteCheck()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Save a validation that came between two batches of this step."""
        self._save_validation()

    def on_train_end(self) -> None:
        """Check the last step, see `FiniteCheck`."""
        self._finite.read()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the last step, see `FiniteCheck`, so that no checkpoint has a NaN; record the training."""
        self._finite.read()
        checkpoint["training"] = training(self._trainer, self.started_from)

    def on_fit_end(self) -> None:
        """Raise an error after training without data, which Lightning ends without a message.

        Raises:
            MisconfigurationException: if the loader is empty.
        """
        if self.trainer.num_training_batches == 0:
            raise MisconfigurationException(
                "Expected training data of one batch or more, got none. Use a larger data set, a smaller batch size "
                "or drop_last=False."
            )

    def on_validation_epoch_start(self) -> None:
        """Start without scores, such as those of a validation that failed, and count images from 0."""
        self.validation_scores.reset()
        self._evaluated = 0

    def on_test_epoch_start(self) -> None:
        """Start without scores, such as those of a test that failed, and count images from 0."""
        self.test_scores.reset()
        self._evaluated = 0

    def on_predict_epoch_start(self) -> None:
        """Count images from 0, which numbers images without an index."""
        self._evaluated = 0

    def _apply_batch_transfer_handler(self, batch: Any, *args: Any, **kwargs: Any) -> Batch:
        """Complete a batch of a user's loader, see `completed`. Overriding Lightning's public hooks would warn.

        Without ``index`` an image is numbered by its position: in evaluation within the epoch, so that scores do not
        depend on the batch size; in training within the batches of the step of all processes, because noise depends on
        the step too.
        Indices stay on the CPU, which draws the noise, unless a hook is overridden, which may reorder images.
        """
        index = batch.get("index") if isinstance(batch, Mapping) else None
        batch = super()._apply_batch_transfer_handler(batch, *args, **kwargs)
        parts = (self, self.trainer.datamodule)  # type: ignore[attr-defined]
        if index is not None and not any(is_overridden(hook, part) for hook in TRANSFER for part in parts):
            batch = {**batch, "index": index}
        complete = completed(batch, self._before() * self.trainer.world_size, self.trainer.global_rank)
        if self.trainer.training:
            self._trained += len(complete["image"])
        else:
            self._evaluated += len(complete["image"])
        return complete

    def _before(self) -> int:
        """Return the images of this process before a batch: in the optimizer step, or in the epoch of an evaluation."""
        if not self.trainer.training:
            return self._evaluated
        if self.trainer.fit_loop.epoch_loop.batch_progress.current.ready % self.trainer.accumulate_grad_batches == 0:
            self._trained = 0
        return self._trained

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the model's loss."""
        noise = ImageNoise(batch["index"], self._seed(), self.global_step)
        inference: Inference = self(batch["image"], self.refinement_steps, noise)
        last = inference.stages[-1]
        values = {"loss": inference.loss, "nll": last.nll, "kl": last.kl}
        known = {name: value.detach() for name, value in values.items() if value is not None}
        self._finite.watch(known)
        means = {name: value.mean() for name, value in known.items()}
        self._log_training(means | self.network.diagnostics(inference), len(batch["image"]))
        return inference.loss

    def _seed(self) -> int:
        """Return the seed of training's noise, read from the device once and after weights were loaded."""
        if self._known_seed is None:
            self._known_seed = int(self.noise_seed)
        return self._known_seed

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, then call the model's ``end_step``."""
        super().optimizer_step(*args, **kwargs)
        self.network.end_step()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient norm before clipping; raise an error if it is not finite, see `FiniteCheck`."""
        gradients = {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None}
        norms = torch.stack([gradient.norm() for gradient in gradients.values()])
        self._finite.guard(gradients, norms, self.global_step)
        self.log("train/grad_norm", norms.norm())

    def validation_step(self, batch: Batch, batch_idx: int) -> Inference:  # type: ignore[override]
        """Score a batch with the current I."""
        inference: Inference = self(batch["image"], self.refinement_steps, ImageNoise(batch["index"]))
        self.validation_scores.update(batch, inference)
        return inference

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        log_scores(self, self.validation_scores, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch with ``test_refinement_steps``; stage 0 equals the result of I = 0."""
        inference = self.test_inference(batch, self.test_refinement_steps)
        self.test_scores.update(batch, inference)

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        log_scores(self, self.test_scores, "test")

    def test_noise(self, batch: Batch, seed: int = 0) -> Noise:
        """Return the noise of ``test``; each seed gives independent draws."""
        return PosteriorMeans(seed) if self.test_means else ImageNoise(batch["index"], seed)

    def test_inference(
        self, batch: Batch, steps: int, num_slots: int | None = None, seed: int = 0, means: bool = False
    ) -> Inference:
        """Infer a batch as ``test`` does: return the best of ``test_draws`` draws of each image.

        Args:
            batch: the batch.
            steps: number I of steps.
            num_slots: number K of slots; by default the model's.
            seed: seed of the draws.
            means: whether to decode the means of posteriors, as ``predict`` does, even if ``test_means`` is false.
        """

        def infer(number: int) -> Inference:
            draw = seed * self.test_draws + number
            noise = PosteriorMeans(draw) if means else self.test_noise(batch, draw)
            return self(batch["image"], steps, noise, num_slots)  # type: ignore[no-any-return]

        return best_of(self.test_draws, infer, unit_range(batch["image"]).to(self.dtype))

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """Decompose a batch."""
        inference = self.test_inference(batch, self.test_refinement_steps, means=True)
        last, found = inference.stages[-1], encoded(inference)
        real = batch["index"] >= 0
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
        """Return the optimizer, and the scheduler stepped once per optimizer step.

        A `WarmupCosineDecay` without ``total_steps`` takes the trainer's ``max_steps``. A `ReduceLROnPlateau` is
        stepped after each validation, by the metric of its ``monitor``.

        Raises:
            MisconfigurationException: if a `WarmupCosineDecay` has neither length, if a class rejects its arguments, or
                if a `ReduceLROnPlateau` has no ``monitor``.
        """
        try:
            optimizer = self.optimizer(self.network.parameters())
            scheduler = self.scheduler(optimizer)
        except (ValueError, TypeError) as error:
            raise MisconfigurationException(f"Expected an optimizer and a scheduler, got: {error}") from error
        if isinstance(scheduler, ReduceLROnPlateau):
            return self._with_plateau(optimizer, scheduler)
        if isinstance(scheduler, WarmupCosineDecay) and scheduler.total_steps is None:
            scheduler.total_steps = self.trainer.max_steps
            if scheduler.total_steps == -1:
                raise MisconfigurationException(
                    "Expected max_steps, which is the length of a cosine without total_steps, got -1. "
                    "Set the trainer's max_steps, or the scheduler's total_steps."
                )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @staticmethod
    def _with_plateau(optimizer: Optimizer, scheduler: ReduceLROnPlateau) -> OptimizerLRScheduler:
        monitor = getattr(scheduler, "monitor", None)
        if monitor is None:
            raise MisconfigurationException(
                "Expected a ReduceLROnPlateau with a monitor, got torch's, which has none. Give "
                "pytorch_lightning.cli.ReduceLROnPlateau and the name of a metric, such as val/mse, as its monitor."
            )
        never = {"interval": "epoch", "frequency": sys.maxsize}  # Lightning never steps it: a stream has no epochs
        config: Any = {"scheduler": scheduler, "monitor": monitor, **never}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_validation_end(self) -> None:
        """Step a `ReduceLROnPlateau`, and save what callbacks have learned from a validation in ``last.ckpt``.

        A run that resumes does not repeat the validation. One between two batches of a step is saved after the step.

        Raises:
            MisconfigurationException: if its metric is not logged.
        """
        fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        scheduler = self.lr_schedulers() if fitting else None
        if isinstance(scheduler, ReduceLROnPlateau):
            metrics, monitor = self.trainer.callback_metrics, str(vars(scheduler)["monitor"])
            if monitor not in metrics:
                raise MisconfigurationException(
                    f"Expected a monitor of ReduceLROnPlateau that is logged, got {monitor}. "
                    f"Choose one of {', '.join(metrics)}."
                )
            scheduler.step(metrics[monitor])
        self._unsaved = fitting and bool(keepers(self.trainer))
        self._save_validation()

    def _save_validation(self) -> None:
        if self._unsaved and not within_step(self.trainer):
            self._unsaved = False
            save_last(self.trainer)

    def setup(self, stage: str) -> None:
        """Check that model, data and trainer fit together, see `check_surroundings`.

        Checkpoints are saved as by `save_safely`; on CPU, the process is tuned.
        """
        steps = self.refinement_steps, self.test_refinement_steps
        check_surroundings(self.network, self.image_size, steps, self.trainer, stage)
        save_safely(self.trainer)
        if self.trainer.strategy.root_device.type == "cpu":
            tune_cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, and to resume with other settings; see `check_resumed`."""
        if self._trainer is None:
            return
        check_model(self, checkpoint)
        if self.trainer.state.fn == TrainerFn.FITTING:
            check_resumed(self, checkpoint)
            self.started_from = checkpoint.get("training", {}).get("started_from")
            self._saved_optimizers = checkpoint["optimizer_states"]

    def on_fit_start(self) -> None:
        """Refuse to resume with an optimizer that differs from the checkpoint's; see `check_optimizers`."""
        check_optimizers(self, self._saved_optimizers)
        self._saved_optimizers = []

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights as `torch.nn.Module.load_state_dict` does.

        Raises:
            DataError: if names or shapes differ from this model's.
        """
        self._known_seed = None
        try:
            return super().load_state_dict(state_dict, *args, **kwargs)
        except RuntimeError as error:
            got, remedy = difference(self.state_dict(), state_dict), "build the model that it was trained with"
            where = "checkpoint" if self._trainer is None else self.trainer.ckpt_path or "checkpoint"
            raise DataError.of(where, expected="weights of this model", got=got, remedy=remedy) from error

    def _log_training(self, values: dict[str, Tensor], images: int) -> None:
        on_cpu = self.device.type == "cpu"  # Lightning reads what is in its bars at every step
        self.log("train/loss", values.pop("loss"), prog_bar=on_cpu, batch_size=images)
        steps = torch.full((), float(self.refinement_steps), device=self.device)  # a number would be copied: a wait
        self.log("train/refinement_steps", steps, batch_size=images)
        self.log_dict({f"train/{name}": value.detach() for name, value in values.items()}, batch_size=images)

    def _save_arguments(self, network: Any, optimizer: Any, scheduler: Any) -> None:
        """Store the configuration that rebuilds this module in each checkpoint; it contains no code."""
        self.save_hyperparameters(ignore=("network", "optimizer", "scheduler"))
        if "_instantiator" in self.hparams:  # set by LightningCLI, whose configuration covers every part
            self.save_hyperparameters()
        else:
            plain = {"network": describe(network), "_instantiator": "pytorch_lightning.cli.instantiate_module"}
            default = signature(SlotModule).parameters["optimizer"].default
            for name, part in (("optimizer", optimizer), ("scheduler", scheduler)):
                with suppress(TypeError):  # a plain function cannot be stored: the default replaces it
                    plain[name] = describe(partial(Adam, lr=4e-4) if part is default else part)
            self.save_hyperparameters({**self.hparams, **plain})


EfficientMORLModule = SlotModule  # former name
