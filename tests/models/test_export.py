"""Exported networks: a torch.export program with dynamic height and width is correct at every allowed size."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from tests.models import test_pwclite as pwclite
from tests.models import test_pyramid_matcher as pyramid_matcher


class Last(nn.Module):
    """The finest flow alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        return self.network(image1, image2)[-1].flow


@pytest.mark.slow
@pytest.mark.parametrize("module", [pwclite, pyramid_matcher], ids=["PWCLite", "PyramidMatcher"])
def test_an_exported_network_is_right_at_other_sizes(module: object) -> None:
    network = module.small().eval()
    if hasattr(network, "coarsest_side"):
        network.coarsest_side = 10**6  # the exported number of levels: `levels` at every size
    sides = [network.stride * Dim(name, min=4, max=64) for name in ("height", "width")]
    shapes = {2: sides[0], 3: sides[1]}
    examples = tuple(torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    exported = export(Last(network), examples, dynamic_shapes=(shapes, shapes)).module()
    for height, width in ((64, 96), (128, 64), (96, 160), (192, 256)):
        images = [torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(s)) for s in (2, 3)]
        difference = exported(*images) - Last(network)(*images)
        assert difference.abs().max() < 1e-3, (height, width)
