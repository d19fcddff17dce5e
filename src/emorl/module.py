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
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from emorl.batches import completed
from emorl.checks import check_surroundings
from emorl.cpu import tune_cpu
from emorl.data.transforms import Crop
from emorl.errors import DataError
from emorl.lengths import warn_of_lengths
from emorl.model import EfficientMORL, ImageNoise, Inference, Noise, PosteriorMeans, SlotModel, unit_range
from emorl.model.describe import describe, difference
from emorl.model.draws import best_of, checked_draws
from emorl.model.inference import encoding
from emorl.optim import WarmupCosineDecay, WarmupExponentialDecay
from emorl.ranges import at_least
from emorl.renamed import current
from emorl.resume import check_optimizers, check_resumed
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
        at_least(1, image_size=image_size)
        self.image_size = image_size
        self.crop = crop
        steps = self.network.training_steps
        self.refinement_steps = steps if refinement_steps is None else refinement_steps
        self.test_refinement_steps = steps if test_refinement_steps is None else test_refinement_steps
        self.test_draws = checked_draws(test_draws)
        self.test_means = test_means
        self.optimizer = optimizer
        self.scheduler = scheduler
        self._evaluated = 0  # images of this process in the epoch
        self._saved_optimizers: list[dict[str, Any]] = []  # of a checkpoint that is being resumed
        self.validation_scores = Scores(self.network)
        self.test_scores = Scores(self.network, score_attention)
        self.register_buffer("noise_seed", torch.tensor(torch.initial_seed() % 2**63))  # of training; resumes with it

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        """Load a checkpoint, with the options of Lightning's method; its former names become the current ones."""
        content = _load(checkpoint_path, map_location="cpu", weights_only=options.get("weights_only"))
        torch.save({**content, "hyper_parameters": current(content.get("hyper_parameters", {}))}, buffer := BytesIO())
        buffer.seek(0)
        return super().load_from_checkpoint(buffer, *args, **options)

    def forward(self, image: Tensor, steps: int, noise: Noise, num_slots: int | None = None) -> Inference:
        """Infer the slots of images [B, 3, H, W], 8-bit or float in [0, 1].

        Raises:
            ValueError: if the images are of another type, range or shape.
        """
        return self.network(unit_range(image).to(self.dtype), steps, num_slots, noise)  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        """Warn of what does not fit the length of the run."""
        warn_of_lengths(self.network, self.trainer)

    def on_fit_end(self) -> None:
        """Refuse a training without data, which Lightning ends in silence.

        Raises:
            MisconfigurationException: if the loader has no batch.
        """
        if self.trainer.num_training_batches == 0:
            raise MisconfigurationException(
                "Expected training data of one batch or more, got none. Give a data set with images, or without "
                "drop_last or with a smaller batch size."
            )

    def on_validation_epoch_start(self) -> None:
        """Count images anew, to number those that have no index."""
        self._evaluated = 0

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def _apply_batch_transfer_handler(self, batch: Any, *args: Any, **kwargs: Any) -> Batch:
        """Complete a batch of one's own loader, see `completed`. Lightning's public hooks would warn.

        Where it has no ``index``, an image's is its place: in evaluation in the epoch, so that scores do not depend on
        the batch size; in training, where noise depends on the step as well, in the batch of all processes.
        """
        batch = super()._apply_batch_transfer_handler(batch, *args, **kwargs)
        before = 0 if self.trainer.training else self._evaluated * self.trainer.world_size
        whole = completed(batch, before, self.trainer.global_rank)
        self._evaluated += len(whole["image"])
        return whole

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

        A `ReduceLROnPlateau` is stepped after each validation, by the metric of its ``monitor``.

        Raises:
            MisconfigurationException: if the run has no length either, if a class refuses its arguments, or if a
                `ReduceLROnPlateau` has no ``monitor``.
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
                    "Expected max_steps, which a cosine without total_steps ends with, got -1. "
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
        never = {"interval": "epoch", "frequency": sys.maxsize}  # by Lightning: a stream has no epochs
        config: Any = {"scheduler": scheduler, "monitor": monitor, **never}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_validation_end(self) -> None:
        """Step a `ReduceLROnPlateau`.

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

    def setup(self, stage: str) -> None:
        """Check that model, data and trainer fit together; on CPU, tune the process; see `check_surroundings`."""
        check_surroundings(self, self.trainer, stage)
        if self.trainer.strategy.root_device.type == "cpu":
            tune_cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume with other settings than the checkpoint restores; see `check_resumed`."""
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_resumed(self, checkpoint)
            self._saved_optimizers = checkpoint["optimizer_states"]

    def on_fit_start(self) -> None:
        """Refuse to resume with another optimizer than the checkpoint restores; see `check_optimizers`."""
        check_optimizers(self, self._saved_optimizers)
        self._saved_optimizers = []

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
        """Stop before a NaN or an infinity gets into the weights; one device synchronization."""
        finite = torch.stack([value.detach().isfinite().all() for value in values.values()])
        if not finite.all():
            terms = [name for name, fine in zip(values, finite.tolist(), strict=True) if not fine]
            raise FloatingPointError(
                f"Expected finite numbers, but at step {self.global_step} these are not: {', '.join(terms)}. "
                "Start a new run from the last checkpoint's weights (--pretrained CKPT, and another "
                "--trainer.logger.version) with a lower learning rate (--model.optimizer.init_args.lr), or resume "
                "(--ckpt_path CKPT) in float32 (--trainer.precision 32)."
            )

    def _save_arguments(self, network: Any, optimizer: Any, scheduler: Any) -> None:
        """Keep in every checkpoint what rebuilds this module, as a configuration that holds no code."""
        self.save_hyperparameters(ignore=("network", "optimizer", "scheduler"))
        if "_instantiator" in self.hparams:  # built by LightningCLI, which knows the configuration of every part
            self.save_hyperparameters()
        else:
            plain = {"network": describe(network), "_instantiator": "pytorch_lightning.cli.instantiate_module"}
            default = signature(SlotModule).parameters["optimizer"].default
            for name, part in (("optimizer", optimizer), ("scheduler", scheduler)):
                with suppress(TypeError):  # of a function, which comes back as the default
                    plain[name] = describe(partial(Adam, lr=4e-4) if part is default else part)
            self.save_hyperparameters({**self.hparams, **plain})


EfficientMORLModule = SlotModule  # the name in code from before there were other models
