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
        mean: float64 scalar; NaN without an image.
        standard_error: float64 scalar, s / sqrt(n) with s the sample deviation (n - 1); NaN below two images.
        images: int64 scalar, their number n.
    """

    mean: Float64[Tensor, ""]
    standard_error: Float64[Tensor, ""]
    images: Int64[Tensor, ""]

    def scaled(self, factor: float, offset: float = 0.0) -> Summary:
        """Return the summary of ``factor`` times the values plus ``offset``."""
        return Summary(factor * self.mean + offset, abs(factor) * self.standard_error, self.images)


class ImageMetric(Metric, ABC):
    r"""Mean over images of one value an image, however they are spread over batches and processes.

    The state is the values' moments $(n, \mu, M)$, where $M = \sum (v - \mu)^2$; see `pool`. It stays float64
    when the module around it is cast, and so cannot move to a device without float64 (MPS). A NaN among the
    values makes the mean NaN until `reset`: only `SegmentationMetric` can be asked to skip it.

    A `MetricCollection` computes every metric by itself. torchmetrics would merge metrics whose states have equal
    values after the first batch, although they may differ on the next one, so the state ``distinct`` is NaN, which
    equals nothing.

    Args:
        kwargs: keyword arguments of `torchmetrics.Metric`: ``sync_on_compute``, ``process_group``..
    """

    __jit_ignored_attributes__: ClassVar = [*Metric.__jit_ignored_attributes__, "_arguments"]
    full_state_update = False
    is_differentiable = False
    _arguments: dict[str, str]  # as they are written, by name
    if TYPE_CHECKING:  # `torch.jit.script` reads annotations, and cannot resolve these
        moments: Float64[Tensor, 3]  # number of images, mean, and sum of squared deviations from it

    def __new__(cls, *args: Any, **kwargs: Any) -> ImageMetric:
        """Note the arguments, those of subclasses too."""
        metric = super().__new__(cls)
        metric.__dict__["_arguments"] = _written(cls.__init__, args, kwargs)
        return metric

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("moments", torch.zeros(3, dtype=torch.float64), dist_reduce_fx=pool)
        self.add_state("distinct", torch.tensor(torch.nan), dist_reduce_fx="max")

    def extra_repr(self) -> str:
        """Return the arguments, those that were changed since as they are now."""
        known = vars(self)
        written = {name: repr(known[name]) if name in known else text for name, text in self._arguments.items()}
        return ", ".join(f"{name}={text}" for name, text in written.items())

    @abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch of images; it may be empty."""

    def compute(self) -> Float64[Tensor, ""]:
        """Mean over all images of all processes; NaN without an image."""
        return _summarize(self.moments).mean

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot values, as all metrics of torchmetrics do.

        Args:
            val: what `compute` or `forward` returned, or a list of it; by default what `compute` returns now.
            ax: axes of matplotlib to draw on; by default those of a new figure.

        Returns:
            The figure, None for given axes, and the axes.

        Raises:
            ModuleNotFoundError: without matplotlib.
        """
        return self._plot(val, ax)

    def summary(self) -> Summary:
        """Mean, standard error and number of images; in a distributed run every process must call this."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            return _summarize(self.moments)

    def _add(self, values: Float64[Tensor, " batch"]) -> None:
        ones, zeros = torch.ones_like(values), torch.zeros_like(values)
        images = torch.stack((ones, values, zeros), dim=-1)
        self.moments = pool(torch.cat((self.moments[None], images)))

    # torchmetrics guards its states against `.half()` but not against `.to(torch.bfloat16)`, which is what
    # Lightning calls for precision="bf16-true": so take over the device alone.
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load a state that was made persistent, from when its name told class and arguments, too."""
        for former in [name for name in state_dict if name.startswith(f"{prefix}moments of ")]:
            state_dict[f"{prefix}moments"] = state_dict.pop(former)
        super()._load_from_state_dict(state_dict, prefix, *args)


class ImageMean(ImageMetric):
    """Mean over images of any value: a KL divergence, a negative log-likelihood. Arguments as of `ImageMetric`.

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
        """Add one value an image.

        Args:
            values: shape (B,), of any precision.

        Raises:
            ValueError: for another shape, such as the scalar of a batch already averaged.
        """
        if values.ndim != 1:
            raise ValueError(
                f"Expected 'values' of shape (batch,), one an image, got {tuple(values.shape)}."
                " Do not average over the batch first."
            )
        self._add(values.double())


def pool(moments: Float64[Tensor, "groups 3"]) -> Float64[Tensor, 3]:
    r"""Moments of the union of groups of values, from each group's own.

    $$ n = \sum_g n_g, \qquad \mu = \frac1n \sum_g n_g \mu_g, \qquad
       M = \sum_g \bigl[ M_g + n_g (\mu_g - \mu)^2 \bigr] $$

    (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", 1983). Unlike $\sum v^2 - n \mu^2$
    it keeps its accuracy where the mean is large beside the deviation, as for likelihoods.

    Args:
        moments: rows $(n_g, \mu_g, M_g)$; an empty group is (0, 0, 0), a single value $v$ is $(1, v, 0)$.
    """
    n, mean, squares = moments.unbind(dim=-1)
    count = n.sum()
    pooled = (n * mean).sum() / count.clamp(min=1)
    return torch.stack((count, pooled, (squares + n * (mean - pooled).square()).sum()))


def _summarize(moments: Float64[Tensor, 3]) -> Summary:
    n, mean, squares = moments
    variance = squares / (n - 1)
    return Summary(
        mean=torch.where(n > 0, mean, torch.nan),
        standard_error=torch.where(n > 1, (variance / n).sqrt(), torch.nan),
        images=n.long(),
    )


def _written(init: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, str]:
    """Return the arguments of a call of ``__init__`` as they are written, by name; defaults too."""
    own = list(inspect.signature(init).parameters.values())[1:]
    try:
        bound = inspect.Signature(own).bind_partial(*args, **kwargs)
    except TypeError:  # which the call itself will raise
        return {}
    bound.apply_defaults()
    found = {}
    for parameter in own:
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and parameter.name in bound.arguments:
            found[parameter.name] = bound.arguments[parameter.name]
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= bound.arguments[parameter.name]
    return {name: repr(value) for name, value in found.items()}
