"""The LightningModule around EfficientMORL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Adam, Optimizer

from emorl.cpu import tune_cpu
from emorl.data.errors import DataError
from emorl.data.transforms import Crop
from emorl.metrics import Scores
from emorl.model import EfficientMORL, ImageNoise, Inference, Noise, PosteriorMeans, scale
from emorl.model.describe import describe
from emorl.optim import WarmupExponentialDecay
from emorl.types import Batch

UNFIT = ("16-mixed", "16-true", "bf16-true")  # precisions for tests and predictions alone


class Prediction(NamedTuple):
    """What ``predict`` returns of a batch, padding removed."""

    key: list[str]
    image: Float[Tensor, "batch 3 h w"]  # as the model saw it, in [0, 1]
    slots: Float[Tensor, "batch slots dim"]  # posterior means
    scale: Float[Tensor, "batch slots dim"]  # posterior standard deviations
    masks: Float[Tensor, "batch slots 1 h w"]
    components: Float[Tensor, "batch slots 3 h w"]
    reconstruction: Float[Tensor, "batch 3 h w"]


class EfficientMORLModule(LightningModule):
    """Trains, tests and predicts with EfficientMORL.

    Logs ``train/..``, ``val/..`` and ``test/..``: names of `StageScores` for the last stage, and under ``zero_step/``
    for the bottom-up pass alone. Checkpoints rebuild the module without a configuration.

    Args:
        network: the model; by default the released one for Tetrominoes.
        image_size: side of the square images, in pixels.
        crop: what is cut out of a stored image, see `MultiObjectDataModule`.
        refinement_steps: I in training and validation; `RefinementCurriculum` changes it over time.
        test_refinement_steps: I in ``test`` and ``predict``.
        test_means: whether ``test`` decodes the means of posteriors instead of samples, as ``predict`` and
            `load_pretrained` always do (see `PosteriorMeans`): better reconstructions, but no ELBO.
        score_attention: whether ``test`` also scores the attention of the last bottom-up layer as masks, under
            ``attention/``.
        optimizer: builds the optimiser from the parameters: a class, or a ``functools.partial`` of one. Of a function a
            checkpoint cannot say what it builds, and comes back with the default.
        scheduler: builds the learning-rate scheduler, stepped once per optimiser step; likewise.
    """

    noise_seed: Tensor

    def __init__(
        self,
        network: EfficientMORL | None = None,
        image_size: int = 35,
        crop: Crop = "square",
        refinement_steps: int = 3,
        test_refinement_steps: int = 3,
        test_means: bool = False,
        score_attention: bool = False,
        optimizer: OptimizerCallable = lambda parameters: Adam(parameters, lr=4e-4),
        scheduler: LRSchedulerCallable = WarmupExponentialDecay,
    ) -> None:
        super().__init__()
        self._save_arguments(network, optimizer, scheduler)
        self.network = EfficientMORL() if network is None else network
        self.image_size = image_size
        self.crop = crop
        self.refinement_steps = refinement_steps
        self.test_refinement_steps = test_refinement_steps
        self.test_means = test_means
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.validation_scores = Scores()
        self.test_scores = Scores(self.network.bottom_up.num_layers, score_attention)
        self.register_buffer("noise_seed", torch.tensor(torch.initial_seed() % 2**63))  # of training; resumes with it
        self._step_nll: list[Tensor] = []  # of the batches that make up the optimiser step under way
        self._dims = 0  # channel-pixels of their images

    def forward(self, image: Tensor, refinement_steps: int, noise: Noise) -> Inference:
        """Infer the slots of 8-bit images [B, 3, H, W].

        Raises:
            TypeError: if the images are of another type.
        """
        if image.dtype != torch.uint8:
            raise TypeError(f"Expected 8-bit images, got {image.dtype}. Leave them as they are stored, 0 to 255.")
        return self.network(image.to(self.dtype) / 255, refinement_steps, noise=noise)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted sum of the stages' losses."""
        noise = ImageNoise(batch["index"], int(self.noise_seed), self.global_step)
        inference: Inference = self(batch["image"], self.refinement_steps, noise)
        self._check_finite({"nll": inference.stages[-1].nll, "kl": inference.stages[-1].kl, "loss": inference.loss})
        self._step_nll.append(inference.stages[-1].mean_nll.detach())
        self._dims = batch["image"][0].numel()
        self._log_training(inference)
        return inference.loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, then let GECO take up the step's nll."""
        super().optimizer_step(*args, **kwargs)
        self.network.objective.update(torch.stack(self._step_nll).mean(), self._dims)
        self._step_nll.clear()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient's norm before clipping, and stop before a step that would destroy the weights."""
        gradients = {name: p.grad.norm() for name, p in self.network.named_parameters() if p.grad is not None}
        self._check_finite({f"gradient of {name}": norm for name, norm in gradients.items()})
        self.log("train/grad_norm", torch.stack(list(gradients.values())).norm())

    def validation_step(self, batch: Batch, batch_idx: int) -> Inference:  # type: ignore[override]
        """Score a batch with the current I."""
        inference: Inference = self(batch["image"], self.refinement_steps, ImageNoise(batch["index"]))
        self._score(self.validation_scores, "val/", batch, inference)
        return inference

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch with the I of testing; its stage 0 is what I = 0 gives."""
        inference = self(batch["image"], self.test_refinement_steps, self.test_noise(batch))
        self._score(self.test_scores, "test/", batch, inference)

    def test_noise(self, batch: Batch, seed: int = 0) -> Noise:
        """Return the draws of ``test``, or with another seed others like them."""
        return PosteriorMeans(seed) if self.test_means else ImageNoise(batch["index"], seed)

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """Decompose a batch."""
        last = self(batch["image"], self.test_refinement_steps, PosteriorMeans()).stages[-1]
        real = batch["index"] >= 0
        tensors = (
            batch["image"].float() / 255,
            last.slots,
            scale(last.posterior.rho),
            last.components.masks,
            last.components.rgb,
            last.components.reconstruction,
        )
        keys = [key for key, index in zip(batch["key"], batch["index"].tolist(), strict=True) if index >= 0]
        return Prediction(keys, *(tensor[real] for tensor in tensors))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Step the scheduler with the optimiser, not with the epoch."""
        optimizer = self.optimizer(self.network.parameters())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}

    def setup(self, stage: str) -> None:
        """Check that model, data and strategy fit together; on CPU, tune the process.

        Raises:
            DataError: if the scenes need more slots than K.
            MisconfigurationException: if I is below 0; if the device has no float64, which the scores need; if the data
                have another image size than the model, or one that the decoder cannot render; if the precision cannot
                train the model; or if data parallelism would stumble over the parameters that a stage does not use.
        """
        if (steps := min(self.refinement_steps, self.test_refinement_steps)) < 0:
            raise MisconfigurationException(f"Expected refinement steps of 0 or more, got {steps}. Give 0 for none.")
        device = self.trainer.strategy.root_device.type
        if device == "mps":
            raise MisconfigurationException(
                "Expected a device with float64, in which scores are summed up, got mps. Set the trainer's accelerator "
                "to 'cpu'."
            )
        if device == "cpu":
            tune_cpu()
        if stage == "fit" and self.trainer.precision in UNFIT:
            raise MisconfigurationException(
                f"Expected a precision that can train the model, got '{self.trainer.precision}', in which gradients "
                "vanish within the decoder, or GECO stands still. Set the trainer's precision to 'bf16-mixed' or "
                "'32-true'."
            )
        self._check_data()
        strategy = self.trainer.strategy
        plain_ddp = isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters")
        if stage == "fit" and plain_ddp:
            raise MisconfigurationException(
                "Expected a strategy that allows unused parameters, got plain DDP: with I = 0 the refinement network "
                "has no part in a step. Set the trainer's strategy to 'ddp_find_unused_parameters_true'."
            )

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights as `torch.nn.Module.load_state_dict` does.

        Raises:
            DataError: if they are those of another model.
        """
        try:
            return super().load_state_dict(*args, **kwargs)
        except RuntimeError as error:
            got, remedy = " ".join(str(error).split()), "build the model by the configuration that it was trained with"
            raise DataError.of("checkpoint", expected="weights of this model", got=got, remedy=remedy) from error

    def _check_data(self) -> None:
        """Check that the data, if they are known, and the decoder fit the model's image size, and K the scenes."""
        data = getattr(self.trainer, "datamodule", None)
        size = getattr(data, "image_size", self.image_size)
        if size != self.image_size:
            raise MisconfigurationException(
                f"Expected data of the model's image_size, {self.image_size}, got {size}. Give both the same."
            )
        manifest = getattr(data, "manifest", None)
        if manifest is not None and manifest.slots > self.network.num_slots:
            raise DataError.of(
                getattr(data, "root", "data"),
                expected=f"scenes for K = {self.network.num_slots} slots",
                got=f"scenes of up to {manifest.max_objects} objects and a background",
                remedy=f"set num_slots to {manifest.slots} or more",
            )
        try:
            self.network.decoder.grid(self.image_size, self.image_size)
        except ValueError as error:
            raise MisconfigurationException(f"image_size: {error}") from error

    def _score(self, scores: Scores, prefix: str, batch: Batch, inference: Inference) -> None:
        scores.update(batch, inference)
        self.log_dict(scores.named(prefix), on_step=False, on_epoch=True, batch_size=len(batch["key"]))

    def _log_training(self, inference: Inference) -> None:
        first, last, objective = inference.stages[0], inference.stages[-1], self.network.objective
        values: dict[str, Any] = {
            "loss": inference.loss.detach(),
            "nll": last.mean_nll.detach(),
            "kl": last.kl.mean().detach(),
            "zero_step/nll": first.mean_nll.detach(),
            "zero_step/kl": first.kl.mean().detach(),
            "refinement_steps": float(self.refinement_steps),
        }
        if (geco := objective.geco) is not None:
            values |= {"geco/zeta": geco.zeta, "geco/average": geco.average, "geco/target": geco.goal}
        self.log_dict({f"train/{name}": value for name, value in values.items()}, batch_size=len(last.nll))
        self.log("fit/nll", values["nll"], prog_bar=True, logger=False, batch_size=len(last.nll))

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
