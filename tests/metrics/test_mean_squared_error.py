"""The mean squared error, against a loop."""

import pytest
import torch

from emorl.metrics import ReconstructionMSE
from emorl.metrics.functional import mean_squared_error


@pytest.fixture
def images():
    return torch.rand(2, 5, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def test_matches_a_loop_over_images(images):
    reconstruction, image = images
    expected = [((r - x).double() ** 2).sum() / (3 * 4 * 6) for r, x in zip(*images.double(), strict=True)]
    torch.testing.assert_close(mean_squared_error(reconstruction, image), torch.stack(expected))


def test_half_precision_is_not_averaged_in_half_precision():
    reconstruction = torch.full((1, 3, 64, 64), 0.25, dtype=torch.float16)
    value = mean_squared_error(reconstruction, torch.zeros_like(reconstruction))
    assert value.dtype == torch.float64
    assert value.item() == 0.0625


def test_nan_shows_in_its_image_alone(images):
    reconstruction, image = images
    reconstruction[1, 0, 0, 0] = torch.nan
    assert mean_squared_error(reconstruction, image).isnan().tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("reconstruction", "image", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4), r"got \(2, 3, 4, 4\) and \(2, 1, 4, 4\). Resize"),
        (torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), r"Expected .* shape \(batch, channels, height, width\)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4).byte(), "'target' as floats .* got torch.uint8"),
    ],
)
def test_bad_input_is_refused(reconstruction, image, message):
    with pytest.raises(ValueError, match=message):
        mean_squared_error(reconstruction, image)


def test_metric_averages_over_images(images):
    reconstruction, image = images
    metric = ReconstructionMSE()
    for batch in (slice(0, 2), slice(2, 2), slice(2, 5)):
        metric.update(reconstruction[batch], image[batch])
    torch.testing.assert_close(metric.compute(), (reconstruction - image).double().square().mean())
