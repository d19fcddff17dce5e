"""Values of single images, averaged over a data set and over processes."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn
from torchmetrics import Metric


class Summary(NamedTuple):
    """Mean over images with its standard error.

    Attributes:
        mean: float64 scalar; NaN without images.
        standard_error: float64 scalar s / sqrt(n), with s the sample standard deviation (n - 1); NaN below two images.
        images: int64 scalar, the number n of images.

    >>> kl = ImageMean()
    >>> kl.update(torch.tensor([1.0, 3.0]))
    >>> kl.summary()
    Summary(mean=tensor(2., dtype=torch.float64), standard_error=tensor(1., dtype=torch.float64), images=tensor(2))
    """

    mean: Float64[Tensor, ""]
    standard_error: Float64[Tensor, ""]
    images: Int64[Tensor, ""]

    def scaled(self, factor: float, offset: float = 0.0) -> Summary:
        """Return the summary of ``factor`` times the values plus ``offset``."""
        return Summary(factor * self.mean + offset, abs(factor) * self.standard_error, self.images)


class ImageMetric(Metric, ABC):
    r"""Mean over images of one value per image; it does not depend on how images are divided into batches or processes.

    The state is the moments $(n, \mu, M)$ of the values, where $M = \sum (v - \mu)^2$. It stays float64
    when the parent module is cast, and so cannot move to a device without float64 (MPS). A NaN among the values makes
    the mean NaN until `reset`; only `SegmentationMetric` can skip such values.

    In a `MetricCollection` each metric is computed separately. torchmetrics would merge metrics whose states are equal
    after the first batch, although they may differ on the next. The state ``distinct`` is NaN to prevent this.

    Args:
        kwargs: keyword arguments of `torchmetrics.Metric`: ``sync_on_compute``, ``process_group`` and others.

    >>> class Largest(ImageMetric):
    ...     def update(self, images):
    ...         self._add(images.flatten(1).amax(dim=1).double())
    >>> metric = Largest()
    >>> metric.update(torch.tensor([[[0.0, 1.0]], [[2.0, 3.0]]]))
    >>> metric.compute()
    tensor(2., dtype=torch.float64)
    """

    __jit_ignored_attributes__: ClassVar = [*Metric.__jit_ignored_attributes__, "_arguments"]
    full_state_update = False
    is_differentiable = False
    _arguments: dict[str, str]  # source text of each argument, by name
    if TYPE_CHECKING:  # `torch.jit.script` reads annotations, and cannot resolve these
        moments: Float64[Tensor, "moments=3"]  # number of images, mean, and sum of squared deviations from it

    def __new__(cls, /, *args: Any, **kwargs: Any) -> ImageMetric:
        """Store the arguments, including those of subclasses."""
        metric = super().__new__(cls)
        metric.__dict__["_arguments"] = _written(cls.__init__, args, kwargs)
        return metric

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("moments", torch.zeros(3, dtype=torch.float64), dist_reduce_fx=pool)
        self.add_state("distinct", torch.tensor(torch.nan), dist_reduce_fx="max")

    def extra_repr(self) -> str:
        """Return the current arguments."""
        known = vars(self)
        written = {name: repr(known[name]) if name in known else text for name, text in self._arguments.items()}
        return ", ".join(f"{name}={text}" for name, text in written.items())

    @abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch of images, which may be empty."""

    def compute(self) -> Float64[Tensor, ""]:
        """Return the mean over all images of all processes; NaN without images."""
        return _summarize(self.moments).mean

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot values, as all metrics of torchmetrics do.

        Args:
            val: a result of `compute` or `forward`, or a list of results; by default the current result of `compute`.
            ax: matplotlib axes to draw on; by default those of a new figure.

        Returns:
            The figure, or None if ``ax`` is given, and the axes.

        Raises:
            ModuleNotFoundError: if matplotlib is missing.
        """
        return self._plot(val, ax)

    def summary(self) -> Summary:
        """Return mean, standard error and number of images; in a distributed run all processes must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            return _summarize(self.moments)

    def _add(self, values: Float64[Tensor, " batch"]) -> None:
        ones, zeros = torch.ones_like(values), torch.zeros_like(values)
        images = torch.stack((ones, values, zeros), dim=-1)
        self.moments = pool(torch.cat((self.moments[None], images)))

    # torchmetrics protects its states from `.half()` but not from `.to(torch.bfloat16)`, which Lightning calls for
    # precision="bf16-true". So only the device may change.
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load a persistent state, also under its former name, which contained class and arguments."""
        for former in [name for name in state_dict if name.startswith(f"{prefix}moments of ")]:
            state_dict[f"{prefix}moments"] = state_dict.pop(former)
        super()._load_from_state_dict(state_dict, prefix, *args)


class ImageMean(ImageMetric):
    """Mean over images of any value, such as a KL divergence or a negative log-likelihood.

    Arguments are those of `ImageMetric`.

    >>> kl = ImageMean()
    >>> kl.update(torch.tensor([1.0, 2.0]))
    >>> kl.update(torch.tensor([6.0]))
    >>> kl.compute()
    tensor(3., dtype=torch.float64)
    >>> kl.summary().standard_error
    tensor(1.5275, dtype=torch.float64)
    """

    is_differentiable = True

    def update(self, values: Tensor) -> None:
        """Add one value per image.

        Args:
            values: values of shape (B,) and any floating-point type.

        Raises:
            ValueError: if the shape differs, such as the scalar mean of a batch.
        """
        if values.ndim != 1:
            raise ValueError(
                f"Expected 'values' of shape (batch,), one an image, got {tuple(values.shape)}."
                " Do not average over the batch first."
            )
        self._add(values.double())


def pool(moments: Float64[Tensor, "groups 3"]) -> Float64[Tensor, "moments=3"]:
    r"""Return the moments of the union of groups of values from the moments of each group.

    $$ n = \sum_g n_g, \qquad \mu = \frac1n \sum_g n_g \mu_g, \qquad
       M = \sum_g \bigl[ M_g + n_g (\mu_g - \mu)^2 \bigr] $$

    (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983). Unlike $\sum v^2 - n \mu^2$
    it is accurate if the mean is large relative to the deviation, as for likelihoods.

    Args:
        moments: rows $(n_g, \mu_g, M_g)$; an empty group is (0, 0, 0), a single value $v$ is $(1, v, 0)$.
    """
    n, mean, squares = moments.unbind(dim=-1)
    count = n.sum()
    pooled = (n * mean).sum() / count.clamp(min=1)
    return torch.stack((count, pooled, (squares + n * (mean - pooled).square()).sum()))


def _summarize(moments: Float64[Tensor, "moments=3"]) -> Summary:
    n, mean, squares = moments
    variance = squares / (n - 1)
    return Summary(
        mean=torch.where(n > 0, mean, torch.nan),
        standard_error=torch.where(n > 1, (variance / n).sqrt(), torch.nan),
        images=n.long(),
    )


def _written(init: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, str]:
    """Return the source text of the arguments of a call of ``__init__`` by name, including defaults."""
    own = list(inspect.signature(init).parameters.values())[1:]
    try:
        bound = inspect.Signature(own).bind_partial(*args, **kwargs)
    except TypeError:  # the call itself raises it
        return {}
    bound.apply_defaults()
    found = {}
    for parameter in own:
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and parameter.name in bound.arguments:
            found[parameter.name] = bound.arguments[parameter.name]
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= bound.arguments[parameter.name]
    return {name: repr(value) for name, value in found.items()}
