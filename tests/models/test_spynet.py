import pytest
import torch

from tests.models.test_backbones import pair
from unrollflow.models import SPyNet
from unrollflow.ops import resize_flow


def small(trained_level: int | None = None) -> SPyNet:
    torch.manual_seed(0)
    return SPyNet(levels=3, channels=[8, 6], kernel_size=3, trained_level=trained_level)


def test_published_parameter_count() -> None:
    network = SPyNet()
    assert sum(p.numel() for p in network.parameters()) == 1_200_250
    assert {sum(p.numel() for p in level.parameters()) for level in network.networks} == {240_050}


def test_estimates_are_of_every_level() -> None:
    estimates = small()(*pair())
    assert [tuple(e.raw.shape[-2:]) for e in estimates] == [(8, 12), (16, 24), (32, 48)]
    assert all(e.raw is e.flow for e in estimates[:-1])


def test_a_level_adds_to_the_flow_before_it() -> None:
    network = small()
    for level in list(network.networks)[1:]:
        torch.nn.init.zeros_(level[-1].weight)
        torch.nn.init.zeros_(level[-1].bias)
    coarse, middle, fine = (e.raw for e in network(*pair()))
    assert coarse.abs().max() > 0
    torch.testing.assert_close(middle, resize_flow(coarse, (16, 24)))
    torch.testing.assert_close(fine, resize_flow(middle, (32, 48)))


def test_a_level_sees_the_frame_that_the_flow_before_it_warped() -> None:
    network, seen = small(), []
    for level in network.networks:
        torch.nn.init.zeros_(level[-1].weight)
    torch.nn.init.constant_(network.networks[0][-1].bias, 0.5)  # one pixel at 1/2 of the image
    network.networks[1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    image1, _ = pair()
    network(image1, image1.roll((2, 2), dims=(-2, -1)))
    frame1, frame2, flow = seen[0].split([3, 3, 2], dim=1)
    torch.testing.assert_close(flow, torch.ones_like(flow))
    torch.testing.assert_close(frame2[..., :-1, :-1], frame1[..., :-1, :-1])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_one_level_is_trained_and_its_flow_enlarged(level: int) -> None:
    network = small(level)
    estimates = network(*pair())
    assert len(estimates) == level + 1
    assert tuple(estimates[-1].flow.shape[-2:]) == (32, 48)
    estimates[-1].flow.square().mean().backward()
    trained = {name.split(".")[1] for name, p in network.named_parameters() if p.grad is not None}
    assert trained == {str(level)}
    torch.testing.assert_close(estimates[-1].raw, small()(*pair())[level].raw)


def test_sizes_that_cannot_be_built_are_named() -> None:
    for options in ({"levels": 0}, {"levels": 3, "trained_level": 3}, {"kernel_size": 4}):
        with pytest.raises(ValueError, match="SPyNet needs at least one level"):
            SPyNet(**options)
