"""Invalid images: every network raises one clear error, not an error inside a convolution."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.models import test_pwclite as pwclite
from tests.models import test_pyramid_matcher as pyramid_matcher
from tests.models.raft import test_network as raft
from tests.models.test_backbones import SMALL, pair

NETWORKS: dict[str, Callable[[], nn.Module]] = SMALL | {
    "PWCLite": lambda: pwclite.small(),
    "RAFT": lambda: raft.tiny(),
    "PyramidMatcher": lambda: pyramid_matcher.small(),
}
WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "8 bits": (lambda x: (255 * x).byte(), r"torch\.uint8; expected floating-point numbers: use image\.float"),
    "0..255": (lambda x: 255 * x, r"values from .* to 25\d\.?\d*; expected RGB in \[0, 1\]: divide 0\.\.255 by 255"),
    "-1..1": (lambda x: 2 * x - 1, r"values from -.* undo any other normalisation"),
    "one image": (lambda x: x[0], r"\(3, 32, 48\) and .*use unsqueeze\(0\) for a single image"),
    "grey": (lambda x: x[:, :1], r"\(2, 1, 32, 48\) and .*expand\(-1, 3, -1, -1\) for a grey one"),
    "RGBA": (lambda x: torch.cat([x, x[:, :1]], dim=1), r"\(2, 4, 32, 48\) and .*image\[:, :3\] for RGBA"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), r"\(2, 32, 48, 3\) and .*permute\(0, 3, 1, 2\)"),
    "float64": (
        lambda x: x.double(),
        r"images are torch\.float64, but the weights of .* use image\.to\(torch\.float32\)",
    ),
    "float16": (
        lambda x: x.half(),
        r"images are torch\.float16, but the weights of .* use image\.to\(torch\.float32\)",
    ),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
@pytest.mark.parametrize("wrong", WRONG)
def test_other_images_are_named(name: str, wrong: str) -> None:
    change, message = WRONG[wrong]
    images = [change(image) for image in pair()]
    network = NETWORKS[name]()
    for method in (network, network.bidirectional):
        with pytest.raises(ValueError, match=message) as refused:
            method(*images)
        assert name in str(refused.value)


@every_network
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_refused_with_the_way_out(name: str, dtype: torch.dtype) -> None:
    network = NETWORKS[name]().to(dtype)
    for images in (pair(), [image.to(dtype) for image in pair()]):
        with pytest.raises(ValueError, match=f"weights of {name} are {dtype}.* 16-mixed or bf16-mixed"):
            network(*images)


@every_network
def test_images_may_overshoot_and_hold_what_is_not_finite(name: str) -> None:
    """Interpolation overshoots; what is not finite is a fault of the data, which `SkipNonFiniteSteps` skips."""
    image1, image2 = pair()
    image1[0, 0, 0, :3] = torch.tensor([1.2, -0.2, float("inf")])
    NETWORKS[name]()(image1, image2)
